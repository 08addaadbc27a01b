"""The uses of a map whose pages are gone, each in a child.

`python cases.py REASON STATE LIBRARY FOLDER`: REASON is one of `broken.REASONS`, or "intact" for
a map whose pages are all there, STATE tells when `faulthandler` is enabled, and LIBRARY is
`native.c`, compiled. `test_uses.py` judges the results.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import mapcall
from broken import PAGE, MissingError, failing, full, have_own_mounts
from children import HANGING, SkippedError, report

STATES = ["off", "before", "after"]
PAGES = 2048
SIZE, HEADER = PAGES * PAGE, 128
LENGTH = (SIZE - HEADER) // 8
# A page in the middle of those that are gone, and the elements that lie in it.
GONE = 1000
FIRST, LAST = (GONE * PAGE - HEADER) // 8, ((GONE + 1) * PAGE - HEADER) // 8
INDEX = FIRST + 7

# How many turns of a loop the main thread may make before a fault arrives, and how many a thread
# makes to show that nothing more arrives.
SOON, QUIET = 50, 5_000


@dataclass
class Setup:
    """A map, and what was made of it while its pages were there."""

    x: Any
    library: Any
    folder: Path
    module: ModuleType | None = None
    plain: Any = field(init=False)
    view: Any = field(init=False)
    part: Any = field(init=False)
    rows: Any = field(init=False)
    vector: Any = field(init=False)

    def __post_init__(self) -> None:
        self.plain = np.asarray(self.x)
        assert type(self.plain) is np.ndarray
        self.view = memoryview(self.plain).cast("B")
        self.part = self.x[FIRST:LAST]
        self.rows = self.x[FIRST : FIRST + 4 * 512].reshape(4, 512)
        self.vector = np.zeros(LAST - FIRST)
        self.address = self.plain.ctypes.data + 8 * FIRST
        self.native = ctypes.CDLL(self.library.path)
        function = self.library.function
        self.total = function("double total(size_t n, const double x[n])")
        self.total_at = function("double total(size_t n, const double *x)")
        self.fill = function("void fill(size_t n, double y[n], double value)")
        self.row_total = function("double row_total(const double x[512])")
        self.call_back = function("int call_back(int (*f)(int), int value)")
        self.total_in_thread = function(
            "double total_in_thread(size_t n, const double x[n], int has_alternate_stack)"
        )
        self.call_back_in_thread = function(
            "int call_back_in_thread(int (*f)(int), int has_alternate_stack)"
        )
        self.cos = mapcall.load("m").function("double cos(double x)")

    def tensor(self) -> Any:
        assert self.module
        return self.module.from_numpy(self.plain)

    def arrow(self) -> Any:
        assert self.module
        buffer = self.module.py_buffer(self.plain)
        return self.module.Array.from_buffers(self.module.float64(), LENGTH, [None, buffer])


# Raised by the operation itself; at the next check for signals; when another thread has brought
# it; or by the system call.
AT_ONCE, SOON_AFTER, LATER, EFAULT = "at once", "soon after", "later", "EFAULT"
ALL, ONE = range(1, PAGES), range(GONE, GONE + 1)


@dataclass(frozen=True)
class Use:
    """A use of the memory of a map."""

    run: Callable[[Setup], object]
    arrives: str
    # The pages of which the first fault can be.
    pages: range
    # A module that it needs.
    module: str | None = None
    # The parameter of a call, which refuses a closed map.
    parameter: str | None = None


def assign_item(a: Any) -> None:
    a[INDEX] = 3


def assign_slice(a: Any) -> None:
    a[FIRST:LAST] = 3


def write_view(s: Setup) -> None:
    s.view[8 * INDEX] = 3


def write_file(s: Setup) -> None:
    with open(s.folder / f"written-{os.getpid()}", "wb", buffering=0) as file:
        file.write(s.part)


def pipe(s: Setup) -> None:
    reader, writer = os.pipe()
    try:
        os.write(writer, s.part)
    finally:
        os.close(reader)
        os.close(writer)


def copy_from(s: Setup) -> None:
    to = (ctypes.c_char * PAGE)()
    ctypes.memmove(to, s.address, LAST * 8 - FIRST * 8)


def copy_into(s: Setup) -> None:
    ctypes.memmove(s.address, bytes(PAGE), LAST * 8 - FIRST * 8)


def stream(s: Setup, threads: int) -> None:
    name = s.folder / f"output-{os.getpid()}.npy"
    try:
        s.cos(s.x, out=name, stream=True, threads=threads)
    except BaseException:
        assert not name.exists(), "a batch that failed has left a file"
        raise


def call_back(s: Setup) -> None:
    s.call_back(lambda _: int(s.plain[INDEX]), 1)


def call_back_in_thread(s: Setup, has_alternate_stack: int) -> None:
    """The call raises it, or `sys.unraisablehook` gets it, as any exception of such a callback."""
    found = []

    def hook(arguments: Any) -> None:
        found.append(arguments.exc_value)

    sys.unraisablehook = hook
    try:
        s.call_back_in_thread(lambda _: int(s.plain[INDEX]), has_alternate_stack)
    finally:
        sys.unraisablehook = sys.__unraisablehook__
    for error in found:
        raise error


def outside(s: Setup, has_alternate_stack: int) -> None:
    n, address = ctypes.c_size_t(LAST - FIRST), ctypes.c_void_p(s.address)
    assert s.native.start_outside(n, address, has_alternate_stack) == 0
    assert s.native.join_outside() == 0


def arrow_sum(s: Setup) -> None:
    import pyarrow.compute

    pyarrow.compute.sum(s.arrow())


USES: dict[str, Use] = {
    # Operations of the type itself.
    "memmap sum": Use(lambda s: s.x.sum(), AT_ONCE, ALL),
    "memmap + 1": Use(lambda s: s.x + 1, AT_ONCE, ALL),
    "memmap comparison": Use(lambda s: s.part > 1, AT_ONCE, ONE),
    "memmap item": Use(lambda s: s.x[INDEX], AT_ONCE, ONE),
    "memmap integer array index": Use(lambda s: s.x[[INDEX, INDEX]], AT_ONCE, ONE),
    "memmap item assignment": Use(lambda s: assign_item(s.x), AT_ONCE, ONE),
    "memmap slice assignment": Use(lambda s: assign_slice(s.x), AT_ONCE, ONE),
    "memmap as out": Use(lambda s: np.add(s.part, 1, out=s.part), AT_ONCE, ONE),
    # Any other.
    "plain sum": Use(lambda s: s.plain.sum(), SOON_AFTER, ALL),
    "plain item": Use(lambda s: s.plain[INDEX], SOON_AFTER, ONE),
    "plain item assignment": Use(lambda s: assign_item(s.plain), SOON_AFTER, ONE),
    "plain slice assignment": Use(lambda s: assign_slice(s.plain), SOON_AFTER, ONE),
    "memmap + array": Use(lambda s: s.part + s.vector, SOON_AFTER, ONE),
    "memoryview item": Use(lambda s: s.view[8 * INDEX], SOON_AFTER, ONE),
    "memoryview item assignment": Use(write_view, SOON_AFTER, ONE),
    "memoryview to bytes": Use(lambda s: s.view[8 * FIRST : 8 * LAST].tobytes(), SOON_AFTER, ONE),
    "ctypes reading": Use(copy_from, SOON_AFTER, ONE),
    "ctypes writing": Use(copy_into, SOON_AFTER, ONE),
    "torch": Use(lambda s: s.tensor().sum(), SOON_AFTER, ALL, module="torch"),
    "pyarrow": Use(arrow_sum, SOON_AFTER, ALL, module="pyarrow"),
    "thread of C outside of any call": Use(partial(outside, has_alternate_stack=0), LATER, ONE),
    "thread of C with alternate stack outside of any call": Use(
        partial(outside, has_alternate_stack=1), LATER, ONE
    ),
    # System calls.
    "file.write": Use(write_file, EFAULT, ONE),
    "write to a pipe": Use(pipe, EFAULT, ONE),
    # Calls.
    "call": Use(lambda s: s.total(s.x), AT_ONCE, ALL, parameter="x"),
    "call that writes": Use(lambda s: s.fill(s.part, 3.0), AT_ONCE, ONE, parameter="y"),
    "call with a plain view": Use(lambda s: s.total(s.plain), AT_ONCE, ALL, parameter="x"),
    "call with a pointer": Use(
        lambda s: s.total_at.unchecked(9, s.part), AT_ONCE, ONE, parameter="x"
    ),
    "call that starts a thread": Use(
        lambda s: s.total_in_thread(s.x, has_alternate_stack=0), AT_ONCE, ALL, parameter="x"
    ),
    "call that starts a thread with alternate stack": Use(
        lambda s: s.total_in_thread(s.x, has_alternate_stack=1), AT_ONCE, ALL, parameter="x"
    ),
    "callback": Use(call_back, AT_ONCE, ONE),
    "callback in a thread of C": Use(
        partial(call_back_in_thread, has_alternate_stack=0), LATER, ONE
    ),
    "callback in a thread of C with alternate stack": Use(
        partial(call_back_in_thread, has_alternate_stack=1), LATER, ONE
    ),
    "batch, 1 thread": Use(lambda s: s.cos(s.x, threads=1), AT_ONCE, ALL, parameter="x"),
    "batch, 2 threads": Use(lambda s: s.cos(s.x, threads=2), AT_ONCE, ALL, parameter="x"),
    "batch of rows": Use(
        lambda s: s.row_total(s.rows), AT_ONCE, range(GONE, GONE + 5), parameter="x"
    ),
    "batch that writes": Use(lambda s: s.cos(s.part, out=s.part), AT_ONCE, ONE, parameter="x"),
    "stream, 1 thread": Use(partial(stream, threads=1), AT_ONCE, ALL, parameter="x"),
    "stream, 2 threads": Use(partial(stream, threads=2), AT_ONCE, ALL, parameter="x"),
}

# Of the uses in other threads.
SOME = ["memmap sum", "plain item", "memoryview item assignment", "call", "batch, 2 threads"]


class Observer:
    """What arrives in one thread: the exceptions, in order."""

    def __init__(self) -> None:
        self.seen: list[dict[str, object]] = []

    def record(self, error: BaseException) -> None:
        names = ("filename", "file_offset", "reason", "errno")
        facts = {name: getattr(error, name, None) for name in names}
        if facts["filename"] is not None:
            facts["filename"] = os.fsdecode(facts["filename"])
        kinds = [each.__name__ for each in type(error).__mro__]
        thread = threading.current_thread().name
        self.seen.append({"kinds": kinds, "text": str(error), "thread": thread, **facts})

    def use(self, use: Callable[[], object], limit: int) -> dict[str, object]:
        """Uses a map once; returns what arrived, and how late."""
        self.seen = []
        returned, turns = False, 0
        try:
            use()
            returned = True
            while turns < limit:
                turns += 1
                # Another thread can't bring an exception while this one holds the lock.
                if turns > SOON:
                    time.sleep(0.001)
        except BaseException as error:
            self.record(error)
        self.be_quiet()
        return {"returned": returned, "turns": turns, "seen": self.seen}

    def be_quiet(self) -> None:
        """Does other work for a while, in which nothing should arrive."""
        turns = 0
        while turns < QUIET:
            try:
                while turns < QUIET:
                    turns += 1
                    if turns % 100 == 0:
                        time.sleep(0)
            except BaseException as error:
                self.record(error)


class Bystander(threading.Thread):
    """A thread that uses no map."""

    def __init__(self) -> None:
        super().__init__(name="bystander", daemon=True)
        self.observer, self.has_to_end = Observer(), False
        self.turns = 0

    def run(self) -> None:
        while not self.has_to_end:
            try:
                while not self.has_to_end:
                    self.turns += 1
                    if self.turns % 100 == 0:
                        time.sleep(0.0001)
            except BaseException as error:
                self.observer.record(error)


Break = Callable[[Any], object]
Prepare = Callable[[], tuple[Any, Break]]


@dataclass
class Machine:
    """What the cases share: how files are made and broken, and when `faulthandler` is enabled."""

    prepare: Prepare
    state: str
    library: Path
    folder: Path
    # For as many milliseconds a fault is waited for that another thread brings.
    patience: int = int(1000 * HANGING / 4)

    def setup(self, module: str | None = None) -> Setup:
        imported = None
        if module is not None:
            try:
                imported = __import__(module)
            except ImportError:
                raise SkippedError(f"{module} is not installed") from None
        if self.state == "before":
            faulthandler.enable()
        x, break_ = self.prepare()
        if self.state == "after":
            faulthandler.enable()
        setup = Setup(x, mapcall.load(self.library), self.folder, imported)
        break_(x)
        return setup

    def in_main_thread(self, use: Use) -> dict[str, object]:
        setup, bystander, observer = self.setup(use.module), Bystander(), Observer()
        bystander.start()
        # A system call raises without a signal.
        limit = 0 if use.arrives == EFAULT else SOON + min(self.patience, 500)
        uses = [observer.use(lambda: use.run(setup), limit) for _ in range(2)]
        bystander.has_to_end = True
        bystander.join()
        return {"uses": uses, "others": bystander.observer.seen, "turns": bystander.turns}

    def in_thread(self, use: Use, daemon: bool, is_blocked: bool) -> dict[str, object]:
        """Uses the map in another thread, while the main thread works or waits for a lock."""
        setup, bystander, main = self.setup(use.module), Bystander(), Observer()
        uses: list[dict[str, object]] = []
        lock = threading.Lock()

        def work() -> None:
            observer = Observer()
            limit = SOON + self.patience
            try:
                uses.extend(observer.use(lambda: use.run(setup), limit) for _ in range(2))
            finally:
                lock.release()

        lock.acquire()
        bystander.start()
        thread = threading.Thread(target=work, name="worker", daemon=daemon)
        thread.start()
        try:
            if is_blocked:
                with lock:
                    pass
            else:
                while lock.locked():
                    main.be_quiet()
        except BaseException as error:
            main.record(error)
        thread.join()
        main.be_quiet()
        bystander.has_to_end = True
        bystander.join()
        return {"uses": uses, "others": main.seen + bystander.observer.seen}

    def in_thread_that_ends(self, use: Use) -> dict[str, object]:
        """The use is the last thing that a thread does."""
        setup, main, hook = self.setup(use.module), Observer(), Observer()
        threads = []

        def excepthook(arguments: threading.ExceptHookArgs) -> None:
            assert arguments.exc_value is not None
            hook.record(arguments.exc_value)
            threads.append(arguments.thread and arguments.thread.name)

        threading.excepthook = excepthook
        uses = []
        for number in range(2):
            hook.seen = []
            thread = threading.Thread(target=partial(use.run, setup), name=f"ending-{number}")
            thread.start()
            thread.join()
            # The hook may be called by another thread, later.
            turns = 0
            try:
                while not hook.seen and turns < self.patience:
                    turns += 1
                    time.sleep(0.001)
            except BaseException as error:
                main.record(error)
            main.be_quiet()
            uses.append({"returned": True, "turns": 0, "seen": hook.seen})
        return {"uses": uses, "others": main.seen, "threads": threads}

    def in_fork(self, use: Use) -> dict[str, object]:
        """The use is made by a child of the process that has the map."""
        setup = self.setup(use.module)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            import json

            code = 1
            try:
                observer = Observer()
                uses = [observer.use(lambda: use.run(setup), SOON + 10) for _ in range(2)]
                os.write(writer, json.dumps(uses).encode())
                code = 0
            finally:
                os._exit(code)
        os.close(writer)
        answer = b""
        while part := os.read(reader, 1 << 16):
            answer += part
        main = Observer()
        main.be_quiet()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return {"uses": answer.decode(), "others": main.seen, "status of the child": status}

    def cases(self) -> Iterator[tuple[str, Callable[[], object]]]:
        for name, use in USES.items():
            yield f"{name}, main thread", partial(self.in_main_thread, use)
        for name in SOME:
            use = USES[name]
            yield f"{name}, daemon thread", partial(self.in_thread, use, True, False)
            yield f"{name}, worker thread", partial(self.in_thread, use, False, False)
            yield f"{name}, main thread blocked", partial(self.in_thread, use, False, True)
            yield f"{name}, thread that ends", partial(self.in_thread_that_ends, use)
            yield f"{name}, child process", partial(self.in_fork, use)


def names() -> list[str]:
    """Returns the names of all cases."""
    return [name for name, _ in Machine(lambda: (None, print), "off", Path(), Path()).cases()]


def header() -> bytes:
    """Returns the first page of the file: that of a `.npy`, and ones."""
    from io import BytesIO

    file = BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<f8", "fortran_order": False, "shape": (LENGTH,)}
    )
    assert file.tell() == HEADER
    return file.getvalue() + np.ones((PAGE - HEADER) // 8).tobytes()


def sparse_file(path: Path) -> Path:
    path.write_bytes(header())
    os.truncate(path, SIZE)
    return path


def preparation(reason: str, folder: Path, stack: ExitStack) -> Prepare:
    """Returns a function that opens a map, and one that takes its pages away, but the first."""

    def opened(path: Path, break_: Break) -> tuple[Any, Break]:
        return mapcall.open(path, "r+"), break_

    if reason == "truncated":
        return lambda: opened(
            path := sparse_file(folder / f"{os.getpid()}.npy"), lambda _: os.truncate(path, PAGE)
        )
    if reason == "intact":
        return lambda: opened(sparse_file(folder / f"{os.getpid()}.npy"), lambda _: None)
    if reason == "closed":
        return lambda: opened(sparse_file(folder / f"{os.getpid()}.npy"), lambda x: x.close())
    have_own_mounts()
    if reason == "io":
        (folder / "source").mkdir()
        sparse_file(folder / "source" / "x.npy")
        bad = [("x.npy", PAGE, SIZE)]
        disk = stack.enter_context(failing(folder / "source", folder / "disk", bad))
    else:
        assert reason == "no space"
        disk = stack.enter_context(full(folder / "disk", lambda disk: sparse_file(disk / "x.npy")))
    return lambda: opened(disk / "x.npy", lambda _: None)


def main() -> None:
    reason, state, library, place = sys.argv[1:]
    folder = Path(place)
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        try:
            prepare = preparation(reason, folder, stack)
        except MissingError as error:
            missing = str(error)

            def refuse() -> None:
                raise SkippedError(missing)

            report((name, refuse) for name in names())
            return
        machine = Machine(prepare, state, Path(library), folder)
        if reason == "intact":
            machine.patience = 10
        report(machine.cases())


if __name__ == "__main__":
    main()
