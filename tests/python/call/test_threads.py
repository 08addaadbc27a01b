"""Calls in many threads: results, exceptions and errno of each thread."""

from __future__ import annotations

import errno
import gc
import pickle
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall
from threads import THREADS, run_in_threads

Compile = Callable[..., Path]
Script = Callable[..., str]

C = """
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

void saxpy(size_t n, float a, const float *x, float *y) {
    for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}
int fail(int code) { errno = code; return -1; }
int fail_after(int code, void (*f)(void)) { f(); errno = code; return -1; }
double apply(double (*f)(double), double x) { return f(x) + 1; }

struct pair { double x; int n; };
struct pair turn(struct pair p) { return (struct pair){p.n, (int)p.x}; }

struct counter { int value; };
static atomic_int alive;
struct counter *counter_open(int value) {
    struct counter *c = malloc(sizeof *c);
    if (c) { c->value = value; atomic_fetch_add(&alive, 1); }
    return c;
}
int counter_value(const struct counter *c) { return c->value; }
void counter_close(struct counter *c) { free(c); atomic_fetch_sub(&alive, 1); }
int counter_alive(void) { return atomic_load(&alive); }
/* When the library is unloaded, all of its handles have been closed. */
__attribute__((destructor)) static void leave(void) { if (atomic_load(&alive)) abort(); }

struct task { double (*f)(double); double x, result; };
static void *start(void *task) { struct task *t = task; t->result = t->f(t->x); return 0; }
double in_threads(double (*f)(double), int count) {
    pthread_t threads[16];
    struct task tasks[16];
    double sum = 0;
    if (count > 16) return -1;
    for (int i = 0; i < count; i++) {
        tasks[i] = (struct task){f, i, 0};
        if (pthread_create(&threads[i], 0, start, &tasks[i])) abort();
    }
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], 0);
        sum += tasks[i].result;
    }
    return sum;
}
"""

SAXPY = "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])"
TURN = "struct pair { double x; int n; }; struct pair turn(struct pair p)"
APPLY = "double apply(double (*f)(double), double x)"
FAIL = "int fail(int code)"


@pytest.fixture(scope="module")
def path(compile_c: Compile) -> Path:
    return compile_c(C, "-pthread")


def check_saxpy(saxpy: mapcall.Function, seed: int) -> None:
    x = np.arange(seed % 50, dtype="f4")
    y = np.full_like(x, seed)
    saxpy(2.0, x, y)
    np.testing.assert_array_equal(y, seed + 2 * x)
    np.testing.assert_array_equal(saxpy(a=2.0, x=x), 2 * x)
    with pytest.raises(mapcall.ArgumentError, match="y: expected"):
        saxpy(2.0, x, np.zeros(99, "f4"))


@pytest.mark.parametrize("gil", [None, "hold", "release"])
def test_functions_are_shared_bound_pickled_and_released(
    path: Path, switching: None, gil: str | None
) -> None:
    library = mapcall.load(path)
    shared = library.function(SAXPY, gil=gil)
    turn = library.function(TURN, gil=gil)
    pair = library.struct("pair").dtype
    pickled = pickle.dumps(shared)
    rounds = [0] * THREADS

    def work(thread: int) -> None:
        rounds[thread] += 1
        seed = 31 * thread + rounds[thread]
        check_saxpy(shared, seed)
        # These functions are bound in this thread.
        check_saxpy(mapcall.load(path).function(SAXPY, gil=gil), seed)
        check_saxpy(library.function(SAXPY, engine="libffi", gil=gil), seed)
        check_saxpy(pickle.loads(pickled), seed)
        assert pickle.loads(pickle.dumps(turn)).name == "turn"
        result = turn(np.array((-2.0, seed), pair))
        assert (result["x"], result["n"]) == (seed, -2)
        assert repr(shared).startswith("saxpy(a: float")

    assert run_in_threads(work, 1) >= THREADS


def test_signatures_are_compiled_by_all_threads_at_once(compile_c: Compile) -> None:
    def prototype(number: int) -> str:
        types = ("double" if number >> index & 1 else "long" for index in range(7))
        return f"double f{number}({', '.join(f'{t} p{i}' for i, t in enumerate(types))})"

    numbers = range(128)
    total = " + ".join(f"{index + 1} * p{index}" for index in range(7))
    library = mapcall.load(
        compile_c("\n".join(f"{prototype(n)} {{ return {n} + {total}; }}" for n in numbers))
    )
    functions = [library.function(prototype(number), gil="release") for number in numbers]
    rounds = [0] * THREADS

    def work(thread: int) -> None:
        number = rounds[thread] % len(numbers)
        rounds[thread] += 1
        arguments = [thread + index for index in range(7)]
        expected = number + sum((i + 1) * value for i, value in enumerate(arguments))
        assert functions[number](*arguments) == expected

    assert run_in_threads(work, 1) >= THREADS


def test_libraries_and_handles_come_and_go(path: Path, switching: None) -> None:
    def work(thread: int) -> None:
        library = mapcall.load(path)
        close = library.function("void counter_close(struct counter *c)")
        new = library.function("struct counter *counter_open(int value)", destructor=close)
        value = library.function("int counter_value(const struct counter *c)", gil="release")
        one, other = new(thread), new(thread + 1)
        assert (value(one), value(other)) == (thread, thread + 1)
        with one:
            pass
        with pytest.raises(mapcall.ArgumentError, match="closed"):
            value(one)
        # Only the handle keeps the library alive, which has the handle's destructor.
        del library, close, new, value, one
        del other

    assert run_in_threads(work, 1) >= THREADS
    gc.collect()
    alive = mapcall.load(path).function("int counter_alive(void)")
    assert alive() == 0


def test_a_handle_is_closed_once(path: Path, switching: None) -> None:
    library = mapcall.load(path)
    close = library.function("void counter_close(struct counter *c)", gil="release")
    new = library.function("struct counter *counter_open(int value)", destructor=close)
    alive = library.function("int counter_alive(void)")
    start = threading.Barrier(THREADS, timeout=30)
    handles: list[Any] = [None]

    def work(thread: int) -> None:
        # All threads make the same number of rounds.
        for _ in range(50):
            if start.wait() == 0:
                handles[0] = new(1)
            start.wait()
            handle = handles[0]
            handle.close()
            assert handle.closed
            start.wait()
            assert alive() == 0

    run_in_threads(work, 0)


def test_callbacks_and_what_they_raise_stay_in_their_thread(path: Path, switching: None) -> None:
    library = mapcall.load(path)
    apply = library.function(APPLY, gil="release")
    twice = apply.callback("f", lambda x: 2 * x)
    qsort = mapcall.load(None).function(
        """void qsort(int base[nmemb], size_t nmemb, size_t size,
                      int (*compar)(const int *, const int *))""",
        gil="release",
    )

    def compare(one: Any, other: Any) -> int:
        a, b = (int(each.array(())[()]) for each in (one, other))
        return (a > b) - (a < b)

    def work(thread: int) -> None:
        error = ValueError(thread)

        def fail(x: float) -> float:
            raise error

        assert apply(twice, thread) == 2 * thread + 1
        assert apply(lambda x: x - thread, thread) == 1
        with pytest.raises(ValueError, match=f"^{thread}$") as caught:
            apply(fail, thread)
        assert caught.value is error
        # This call runs in a callback of another call.
        with pytest.raises(ValueError, match=f"^{thread}$") as caught:
            apply(lambda x: apply(fail, x), thread)
        assert caught.value is error
        assert apply(lambda x: apply(twice, x), thread) == 2 * thread + 2
        numbers = np.random.default_rng(thread).integers(-99, 99, 20, "i4")
        expected = np.sort(numbers)
        qsort(numbers, 4, compare)
        np.testing.assert_array_equal(numbers, expected)

    assert run_in_threads(work, 1) >= THREADS


def test_threads_of_c_call_back(path: Path) -> None:
    in_threads = mapcall.load(path).function(
        "double in_threads(double (*f)(double), int count)", gil="release"
    )
    seen: set[int] = set()

    def square(x: float) -> float:
        seen.add(threading.get_ident())
        return x * x

    for _ in range(20):
        assert in_threads(square, 8) == sum(x * x for x in range(8))
    assert threading.get_ident() not in seen
    run_in_threads(lambda thread: check_equal(in_threads(lambda x: x, thread), thread), 0.5)


def check_equal(count_sum: float, count: int) -> None:
    assert count_sum == count * (count - 1) / 2


def test_exceptions_in_threads_of_c_are_reported(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_threads = mapcall.load(path).function(
        "double in_threads(double (*f)(double), int count)", gil="release"
    )
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)

    def fail(x: float) -> float:
        if x == 2:
            raise ValueError("in a thread of C's")
        return x

    # No call runs in that thread that could raise the exception, so C gets zero.
    assert in_threads(fail, 4) == 0 + 1 + 0 + 3
    [report] = reported
    assert str(report.exc_value) == "in a thread of C's"
    reported.clear()


def test_errno_is_the_threads_own(path: Path, switching: None) -> None:
    library = mapcall.load(path)
    fail = library.function(FAIL, gil="release")
    checked = library.function(FAIL, check="errno", gil="release")
    after = library.function("int fail_after(int code, void (*f)(void))", gil="release")
    fails_with = [errno.EPERM + thread for thread in range(THREADS)]

    def work(thread: int) -> None:
        code = fails_with[thread]
        assert fail(code) == -1
        for _ in range(10):
            assert mapcall.get_errno() == code
        with pytest.raises(mapcall.CallError) as caught:
            checked(code)
        assert caught.value.code == code
        # The call in the callback doesn't change the errno of the outer one.
        assert after(code, lambda: fail(99)) is not None
        assert mapcall.get_errno() == code
        fail(0)
        assert mapcall.get_errno() == 0

    assert run_in_threads(work, 1) >= THREADS


def panics() -> list[type[BaseException]]:
    """Returns the classes of the exceptions for Rust panics."""
    with pytest.raises(mapcall.PrototypeError):
        # PyO3 makes the class when it takes the first exception.
        mapcall.load(None).function("int")
    return [each for each in BaseException.__subclasses__() if each.__name__ == "PanicException"]


def test_a_panic_in_a_callback_is_raised_by_the_call(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # PyO3 panics when it takes such an exception from Python, so the callback's Rust code panics.
    library = mapcall.load(path)
    apply = library.function(APPLY, gil="release")
    classes = panics()
    assert classes
    for panic in classes:

        def fail(x: float, panic: type[BaseException] = panic) -> float:
            raise panic("on purpose")

        with pytest.raises(panic, match="on purpose"):
            apply(fail, 1.0)
        with pytest.raises(panic, match="on purpose"):
            apply(lambda x: apply(fail, x), 1.0)
        assert apply(lambda x: 2 * x, 3) == 7
    assert "on purpose" in capfd.readouterr().err


def test_libffi_makes_the_calls_if_code_cannot_be_written(path: Path, run_script: Script) -> None:
    printed = run_script(
        """
        import ctypes, os, sys, threading
        PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_MDWE, *map(ctypes.c_ulong, (PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0))):
            print("skipped:", os.strerror(ctypes.get_errno()))
            sys.exit()

        import numpy as np
        import mapcall

        library = mapcall.load(sys.argv[1])
        saxpy = library.function(sys.argv[2])
        x, y = np.arange(100, dtype="f4"), np.ones(100, "f4")
        saxpy(2.0, x, y)
        assert (y == 1 + 2 * x).all()
        try:
            library.function(sys.argv[2], engine="cranelift")
        except ValueError as error:
            refused = str(error)
        turn = library.function(sys.argv[3])
        item = turn(np.array((-2.0, 5), library.struct("pair").dtype))
        assert (item["x"], item["n"]) == (5, -2)
        apply = library.function(sys.argv[4], gil="release")
        def work(thread):
            for _ in range(100):
                assert apply(lambda x: x - thread, thread) == 1
        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        def fail(x):
            raise ValueError("in a callback")
        try:
            apply(fail, 1)
        except ValueError as error:
            print(error)
        print({each.engine for each in (saxpy, turn, apply)})
        print(refused)
        """,
        path,
        SAXPY,
        TURN,
        APPLY,
    )
    if printed.startswith("skipped:"):
        pytest.skip(f"this kernel has no PR_SET_MDWE (it came with Linux 6.3): {printed[9:]}")
    raised, engines, refused = printed.splitlines()
    assert (raised, engines) == ("in a callback", "{'libffi'}")
    assert "Cranelift" in refused or "cranelift" in refused
