"""Running batches: failures, callbacks, interrupts, progress, the lock, and references."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import os
import pickle
import pty
import struct
import subprocess
import sys
import termios
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall
from counted import PRELUDE, Counted

Compile = Callable[..., Path]
Script = Callable[..., str]

SOURCE = (
    PRELUDE
    + """
    #include <errno.h>
    #include <unistd.h>
    int status(int code) { CALLED; errno = code ? 1000 + code : 0; return code; }
    unsigned char truth(int code) { CALLED; return code; }
    void fails(int code) { CALLED; errno = code; }
    double real(double x) { CALLED; errno = (int)x; return x; }
    double apply(double (*f)(double), double x) { CALLED; return f(x) + 1; }
    int apply_status(int (*f)(int), int x) { CALLED; return f(x); }
    double nap(double seconds) { CALLED; usleep(seconds * 1e6); return seconds; }
    /* Waits until the flag is set, at most for ten seconds. */
    int wait_for(const int flag[1], int unused)
    {
        CALLED;
        for (int i = 0; i < 10000 && !*(volatile const int *)flag; i++) usleep(1000);
        return *(volatile const int *)flag;
    }
    """
)
STATUS, REAL = "int status(int code)", "double real(double x)"
APPLY = "double apply(double (*f)(double), double x)"
NAP = "double nap(double seconds)"
THREADS = [1, 2, 0]


@pytest.fixture(scope="module")
def c(compile_c: Compile) -> Counted:
    return Counted(compile_c(SOURCE))


def codes(length: int, *failing: int) -> np.ndarray:
    x = np.zeros(length, np.intc)
    for index in failing:
        x[index] = index % 100 + 1
    return x


def nonzero(status: int) -> None:
    """A check that takes 0 for a failure."""
    if status == 0:
        raise mapcall.CallError("0")


class TestChecks:
    @pytest.mark.parametrize("engine", [None, "libffi"])
    @pytest.mark.parametrize("threads", THREADS)
    @pytest.mark.parametrize("length", [60, 50_000])
    def test_the_first_that_fails(self, c: Counted, length: int, threads: int, engine: Any) -> None:
        function = c.function(STATUS, check="zero", engine=engine)
        for first in (0, 7, length // 2, length - 1):
            x = codes(length, first, length - 1)
            before = c.called
            with pytest.raises(mapcall.CallError) as caught:
                function(x, threads=threads)
            error = caught.value
            code = int(x[first])
            assert (error.index, error.code, error.function) == ((first,), code, "status")
            # The errno is that of the call that failed, on whatever thread.
            assert error.errno == 1000 + code
            assert str(error) == (
                f"status, at index [{first}]: expected status 0, got {code};"
                " see the library's documentation"
            )
            if threads == 1:
                assert c.called - before == first + 1
                assert mapcall.get_errno() == 1000 + code

    def test_all_kinds(self, c: Counted) -> None:
        x = np.array([[1, 2], [0, 3]], "i4")
        with pytest.raises(mapcall.CallError) as caught:
            c.function(STATUS, check="nonzero")(x)
        assert (caught.value.index, caught.value.code) == ((1, 0), 0)
        with pytest.raises(mapcall.CallError) as caught:
            c.function("unsigned char truth(int code)", check="nonzero")(256 * x)
        assert (caught.value.index, caught.value.code) == ((0, 0), 0)
        with pytest.raises(mapcall.CallError) as caught:
            c.function("void fails(int code)", check="errno")(
                np.where(x == 3, np.intc(errno.ENOENT), np.intc(0))
            )
        error = caught.value
        assert (error.index, error.code, error.errno) == ((1, 1), errno.ENOENT, errno.ENOENT)
        assert str(error).startswith("fails, at index [1, 1]: expected errno 0, got No ")
        # Without a failure all calls are made, and their results are returned.
        found = c.function(STATUS, check="nonzero")(x + 1)
        assert found.tolist() == [[2, 3], [1, 4]]

    def test_the_first_in_the_order_of_the_walk(self, c: Counted) -> None:
        function = c.function(STATUS, check="zero")
        x = np.asfortranarray([[0, 1], [2, 0]]).astype("i4", order="K")
        with pytest.raises(mapcall.CallError) as caught:
            function(x)
        assert caught.value.index == (1, 0)

    def test_calls_that_are_not_made_do_not_fail(self, c: Counted) -> None:
        function = c.function(STATUS, check="zero")
        assert function(codes(9, 4), where=codes(9, 4) == 0) is None
        with pytest.raises(mapcall.CallError) as caught:
            function(codes(9, 4, 6), where=np.arange(9) != 4)
        assert caught.value.index == (6,)
        with pytest.raises(mapcall.CallError) as caught:
            function(3, where=True)
        assert caught.value.index == ()

    @pytest.mark.parametrize("threads", THREADS)
    @pytest.mark.parametrize("length", [60, 5000])
    def test_a_callable(self, c: Counted, length: int, threads: int) -> None:
        seen = []

        def check(x: float) -> bool:
            seen.append(x)
            if x >= first:
                error = mapcall.CallError("too large")
                error.code, error.errno = int(x), mapcall.get_errno()
                raise error
            return True

        function = c.function(REAL, check=check)
        for first in (0, 7, length // 2, length - 1):
            before = c.called
            seen.clear()
            with pytest.raises(mapcall.CallError) as caught:
                function(np.arange(float(length)), threads=threads)
            error = caught.value
            assert (error.index, error.code) == ((first,), first)
            assert error.errno == first
            assert not hasattr(error, "__notes__")
            assert c.called - before == len(seen)
            if threads == 1:
                assert seen == [*range(first + 1)]
                assert mapcall.get_errno() == first
        first = length
        x = np.arange(float(length))
        np.testing.assert_array_equal(function(x, threads=threads), x)

    @pytest.mark.parametrize("threads", THREADS)
    def test_a_callable_that_raises(self, c: Counted, threads: int) -> None:
        class OddError(LookupError):
            index = "its own"

        def check(x: float) -> None:
            if x >= 2000:
                raise OddError(x)

        function = c.function(REAL, check=check)
        with pytest.raises(OddError) as caught:
            function(np.arange(5000.0), threads=threads)
        assert caught.value.args == (2000.0,)
        assert caught.value.index == "its own"
        assert "index" not in vars(caught.value)
        assert caught.value.__notes__ == ["raised for the call at index (2000,) of the batch"]
        with pytest.raises(OddError) as caught:
            function(2000.0)
        assert not hasattr(caught.value, "__notes__")

    def test_pickled(self, c: Counted) -> None:
        with pytest.raises(mapcall.CallError) as caught:
            c.function(STATUS, check="zero")(codes(9, 4))
        again = pickle.loads(pickle.dumps(caught.value))
        assert type(again) is mapcall.CallError
        assert str(again) == str(caught.value)
        assert (again.index, again.code, again.errno) == ((4,), 5, 1005)
        assert mapcall.CallError("alone").index is None


class TestCallbacks:
    @pytest.mark.parametrize("engine", [None, "libffi"])
    @pytest.mark.parametrize("threads", THREADS)
    def test_as_function_pointers(self, c: Counted, threads: int, engine: Any) -> None:
        apply = c.function(APPLY, engine=engine)
        x = np.arange(3000.0).reshape(3, 1000)
        np.testing.assert_array_equal(apply(lambda x: 2 * x, x, threads=threads), 2 * x + 1)
        kept = apply.callback("f", lambda x: -x)
        np.testing.assert_array_equal(apply(kept, x, threads=threads), 1 - x)
        np.testing.assert_array_equal(apply(c.function(REAL), x, threads=threads), x + 1)

    @pytest.mark.parametrize("threads", THREADS)
    def test_that_raise(self, c: Counted, threads: int) -> None:
        def odd(x: float) -> float:
            if x >= 1000:
                raise LookupError(x)
            return x

        apply = c.function(APPLY)
        with pytest.raises(LookupError):
            apply(odd, np.arange(100_000.0), threads=threads)
        # The next batch has no exception of the last one.
        assert apply(odd, np.ones(3), threads=threads).tolist() == [2, 2, 2]

    @pytest.mark.parametrize("threads", THREADS)
    @pytest.mark.parametrize("check", ["nonzero", nonzero])
    def test_exceptions_precede_a_check(self, c: Counted, threads: int, check: Any) -> None:
        """The result of the callback is 0 then, which the check would take for a failure."""

        def odd(x: int) -> int:
            if x == 1000:
                raise LookupError(x)
            return 1

        function = c.function("int apply_status(int (*f)(int), int x)", check=check)
        with pytest.raises(LookupError):
            function(odd, np.arange(3000, dtype="i4"), threads=threads)

    def test_that_make_batches_themselves(self, c: Counted) -> None:
        apply, real = c.function(APPLY), c.function(REAL)
        inner = c.function(STATUS, check="zero")

        def total(x: float) -> float:
            return float(real(np.full(10, x), threads=2).sum())

        found = apply(total, np.arange(5.0), threads=2)
        np.testing.assert_array_equal(found, 10 * np.arange(5.0) + 1)

        def failing(x: float) -> float:
            inner(codes(9, 4))
            return x

        with pytest.raises(mapcall.CallError) as caught:
            apply(failing, np.arange(5.0))
        assert (caught.value.function, caught.value.index) == ("status", (4,))
        checked = c.function(REAL, check=failing)
        with pytest.raises(mapcall.CallError) as caught:
            checked(np.arange(5.0))
        # The index is that of the inner batch, so that the outer one's becomes a note.
        assert (caught.value.function, caught.value.index) == ("status", (4,))
        assert caught.value.__notes__ == ["raised for the call at index (0,) of the batch"]


class TestInterrupts:
    SCRIPT = """
        import os, signal, sys, threading, time
        import numpy as np
        import mapcall

        path, threads, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
        # SIGINT is ignored if a shell has started the tests in the background.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        library = mapcall.load(path)
        nap = library.function(
            "double nap(double seconds)", check=(lambda x: None) if kind == "check" else None,
            gil="hold" if kind == "hold" else None)
        out = np.full(20_000, -1.0)
        sent = []

        def made():
            return int((out == 0.001).sum())

        def send():
            sent.append(made())
            os.kill(os.getpid(), signal.SIGINT)

        if kind == "hold":
            # Not a timer: its thread would need the interpreter's lock.
            def start(done, calls):
                if not sent:
                    send()
            progress = start
        else:
            threading.Timer(0.3, send).start()
            progress = None
        try:
            nap(np.full(20_000, 0.001), out=out, threads=threads, progress=progress)
        except KeyboardInterrupt:
            done = made()
            assert done + int((out == -1).sum()) == out.size
            time.sleep(0.05)
            assert done == made(), "still running"
            print(done - sent[0], done)
    """

    @pytest.mark.parametrize("kind", ["plain", "check", "hold"])
    @pytest.mark.parametrize("threads", [1, 2])
    def test_few_calls_are_made_after_the_signal(
        self, compile_c: Compile, c: Counted, threads: int, kind: str
    ) -> None:
        if kind == "hold" and threads != 1:
            pytest.skip("one thread only")
        # Each call takes 1 ms.
        assert self.interrupted(c.path, threads, kind) <= 200 * threads

    def interrupted(self, *arguments: object) -> int:
        """Return the number of calls that the script makes after the signal."""
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(self.SCRIPT), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == 0, result.stderr
        after, done = map(int, result.stdout.split())
        assert 0 < done < 20_000
        return after

    @pytest.mark.parametrize("threads", [1, 2])
    def test_in_a_callback(self, c: Counted, threads: int) -> None:
        script = """
            import os, signal, sys
            import numpy as np
            import mapcall

            signal.signal(signal.SIGINT, signal.default_int_handler)
            library = mapcall.load(sys.argv[1])
            apply = library.function("double apply(double (*f)(double), double x)")

            def send(x):
                if x == 1000:
                    os.kill(os.getpid(), signal.SIGINT)
                return x

            try:
                apply(send, np.arange(1e6), threads=int(sys.argv[2]))
            except KeyboardInterrupt:
                print("stopped")
        """
        command = [sys.executable, "-c", textwrap.dedent(script), str(c.path), str(threads)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (result.stdout, result.returncode) == ("stopped\n", 0), result.stderr

    def test_precedes_a_failure(self, run_script: Script, c: Counted) -> None:
        """An interrupt is raised even if a call fails at the same time."""
        script = """
            import os, signal, sys
            import numpy as np
            import mapcall

            signal.signal(signal.SIGINT, signal.default_int_handler)
            library = mapcall.load(sys.argv[1])

            def check(x):
                os.kill(os.getpid(), signal.SIGINT)
                raise mapcall.CallError("failed")

            real = library.function("double real(double x)", check=check)
            try:
                real(np.arange(10.0))
            except KeyboardInterrupt:
                print("stopped")
        """
        assert run_script(script, c.path) == "stopped\n"


@pytest.mark.any_engine
class TestProgress:
    @pytest.mark.parametrize("threads", [1, 2])
    def test_a_callable(self, c: Counted, threads: int) -> None:
        told: list[tuple[int, int]] = []
        nap = c.function(NAP)
        nap(np.full(300, 0.001), threads=threads, progress=lambda *calls: told.append(calls))
        assert len(told) >= 2
        assert told == sorted(told)
        assert {calls for _, calls in told} == {300}
        assert told[-1] == (300, 300)
        assert 0 < told[0][0] < 300

    def test_short_batches(self, c: Counted) -> None:
        told: list[tuple[int, int]] = []

        def progress(done: int, calls: int) -> None:
            told.append((done, calls))

        real = c.function(REAL)
        real(np.ones((2, 3)), progress=progress)
        real(np.ones((2, 0)), progress=progress)
        assert told == [(6, 6), (0, 0)]
        # One call without batch axes reports no progress.
        real(1.0, progress=progress)
        assert len(told) == 2
        with pytest.raises(mapcall.CallError):
            c.function(STATUS, check="zero")(codes(9, 4), progress=progress)
        assert len(told) == 2

    @pytest.mark.parametrize("threads", [1, 2])
    def test_its_exception_ends_the_batch(self, c: Counted, threads: int) -> None:
        nap = c.function(NAP)

        def progress(done: int, calls: int) -> None:
            raise LookupError(done)

        before = c.called
        with pytest.raises(LookupError) as caught:
            nap(np.full(5000, 0.001), threads=threads, progress=progress)
        made = c.called - before
        assert 0 < caught.value.args[0] <= made < 5000
        time.sleep(0.02)
        assert c.called - before == made
        with pytest.raises(LookupError):
            nap(np.full(3, 0.0), progress=progress)

    def test_a_bar(self, c: Counted) -> None:
        shown = in_a_terminal(self.SCRIPT, c.path, 0.05)
        assert shown == "done\r\n"
        shown = in_a_terminal(self.SCRIPT, c.path, 1.6)
        assert "nap:" in shown
        assert "call/s" in shown
        assert "100%" in shown
        assert shown.endswith("done\r\n")

    SCRIPT = """
        import sys
        import numpy as np
        import mapcall

        nap = mapcall.load(sys.argv[1]).function("double nap(double seconds)")
        calls = int(float(sys.argv[2]) / 0.001 / 1.1)
        nap(np.full(calls, 0.001), progress=True)
        print("done")
    """

    def test_a_bar_that_is_interrupted(self, c: Counted) -> None:
        script = """
            import sys
            import numpy as np
            import mapcall

            def check(seconds):
                if seconds == 0:
                    raise mapcall.CallError("0")

            nap = mapcall.load(sys.argv[1]).function("double nap(double seconds)", check=check)
            x = np.full(5000, 0.001)
            x[1500] = 0
            try:
                nap(x, progress=True)
            except mapcall.CallError as error:
                print("failed", error.index)
        """
        shown = in_a_terminal(script, c.path)
        assert "nap:" in shown
        assert "100%" not in shown
        # The line of the progress bar has ended.
        assert shown.endswith("\r\nfailed (1500,)\r\n")


def in_a_terminal(script: str, *arguments: object) -> str:
    """Returns the output of a script in a terminal."""
    ours, theirs = pty.openpty()
    # A terminal of width 0 would show no bar.
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    # Reading fails with EIO when the other end is closed.
    with contextlib.suppress(OSError):
        while block := os.read(ours, 4096):
            shown += block
    os.close(ours)
    assert process.wait(60) == 0, shown
    return shown.decode()


class TestLock:
    def counted(self, work: Callable[[], object]) -> int:
        """Returns how many steps of 1 ms another thread makes while `work` runs."""
        count, is_over = 0, False

        def steps() -> None:
            nonlocal count
            while not is_over:
                time.sleep(0.001)
                count += 1

        thread = threading.Thread(target=steps)
        thread.start()
        try:
            before = count
            work()
            return count - before
        finally:
            is_over = True
            thread.join()

    @pytest.mark.parametrize("threads", [1, 2])
    def test_is_released(self, c: Counted, threads: int) -> None:
        wait_for = c.function("int wait_for(const int flag[1], int unused)")
        flag = np.zeros(1, np.intc)
        go = threading.Event()

        def set_flag() -> None:
            go.wait()
            flag[0] = 1

        other = threading.Thread(target=set_flag)
        other.start()
        before = sys.getswitchinterval()
        # The other thread gets the lock only if this thread releases it.
        sys.setswitchinterval(1000)
        try:
            go.set()
            assert wait_for(flag, np.zeros(4, np.intc), threads=threads).tolist() == [1] * 4
        finally:
            sys.setswitchinterval(before)
            other.join()

    def test_is_held_where_that_is_asked_for(self, c: Counted) -> None:
        held, x = c.function(NAP, gil="hold"), np.full(100, 0.001)
        assert self.counted(lambda: held(x)) <= 20


@pytest.mark.any_engine
class TestLeaks:
    NUMBER = 4_000

    def test_good_and_bad(self, c: Counted) -> None:
        real, status = c.function(REAL), c.function(STATUS, check="zero")
        apply = c.function(APPLY)

        def not_two(x: float) -> None:
            if x == 2:
                raise mapcall.CallError("2")

        checked = c.function(REAL, check=not_two)
        x, y, wrong = np.ones((2, 3)), np.zeros((2, 3)), np.zeros(4, "f4")
        mask, failing = np.ones((2, 1), "?"), codes(6, 4)
        view = memoryview(np.ones(3))
        told: list[Any] = []

        def progress(done: int, calls: int) -> None:
            told.clear()

        def raising(done: int, calls: int) -> None:
            raise LookupError

        def identity(x: float) -> float:
            return x

        def odd(x: float) -> float:
            raise LookupError

        out = (y,)
        objects = [
            real,
            status,
            apply,
            checked,
            c.library,
            x,
            y,
            wrong,
            mask,
            failing,
            view,
            out,
            progress,
            raising,
            identity,
            odd,
            x.dtype,
            mask.dtype,
            np.dtype("i4"),
        ]
        good: list[Callable[[], object]] = [
            lambda: real(x),
            lambda: real(x, out=out, where=mask),
            lambda: real(x, out=y, threads=2),
            lambda: real(view, progress=progress),
            lambda: apply(identity, x),
            lambda: status(failing, where=failing == 0),
        ]
        bad: list[tuple[Callable[[], object], type[Exception]]] = [
            (lambda: real(wrong), ValueError),
            (lambda: real(x, out=wrong), ValueError),
            (lambda: real(x, out=(y, y)), ValueError),
            (lambda: real(x, out=y[0]), ValueError),
            (lambda: real(x, where=wrong), ValueError),
            (lambda: real(x, threads=-1), ValueError),
            (lambda: real(x, out=y, progress=3), ValueError),
            (lambda: real(x, progress=raising), LookupError),
            (lambda: apply(odd, x), LookupError),
            (lambda: status(failing), mapcall.CallError),
            (lambda: checked(2 * x), mapcall.CallError),
        ]

        def loop(number: int) -> None:
            for _ in range(number):
                for work in good:
                    work()
            for _ in range(number // 10):
                for work, expected in bad:
                    with contextlib.suppress(expected):
                        work()
                        raise AssertionError

        loop(20)
        gc.collect()
        before = [sys.getrefcount(each) for each in objects]
        memory = resident()
        loop(self.NUMBER)
        gc.collect()
        after = [sys.getrefcount(each) for each in objects]
        # Objects of earlier tests may have died meanwhile, which had the same dtype.
        assert all(old - 10 < new <= old for old, new in zip(before, after, strict=True))
        # One leaked array for each batch would be some 4 MB.
        assert resident() - memory < 2 << 20

    def test_new_arrays_are_released(self, c: Counted) -> None:
        def failing(x: float) -> None:
            raise mapcall.CallError("failed")

        real, x = c.function(REAL), np.ones(1 << 16)
        for _ in range(3):
            real(x)
        before = resident()
        for _ in range(200):
            real(x)
            with contextlib.suppress(mapcall.CallError):
                c.function(REAL, check=failing)(x)
        assert resident() - before < 8 << 20


def resident() -> int:
    """Returns the resident memory of the process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")
