"""Signal handlers of others beside mapcall's: `python handler_cases.py LIBRARY FOLDER`.

Each case runs in a child, which opens the process's first map. `test_handlers.py` judges them.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import itertools
import mmap
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import mapcall
from cases import INDEX, SOON, Observer, sparse_file
from children import report

SIGNALS = {"SIGBUS": signal.SIGBUS, "SIGSEGV": signal.SIGSEGV}
SIGINFO, NODEFER, RESETHAND, ONSTACK, MASK, CHAINING = 1, 2, 4, 8, 16, 32
FLAGS = {"SIGINFO": 1, "NODEFER": 2, "RESETHAND": 4, "ONSTACK": 8, "MASK": 16}
# "never": what the handler sees in a process without any map, which is the oracle.
TIMES = ["never", "before", "after"]

native: ctypes.CDLL
folder: Path
_numbers = itertools.count()


def open_map() -> Any:
    return mapcall.open(sparse_file(folder / f"{os.getpid()}-{next(_numbers)}.npy"), "r+")


def shorten(x: Any) -> Any:
    os.truncate(x.filename, mmap.PAGESIZE)
    return np.asarray(x)


def fault(x: Any) -> list[str]:
    """Uses a map twice, after its file has been shortened; returns the exceptions' names."""
    plain, observer = shorten(x), Observer()
    seen = []
    for use in (lambda: plain[INDEX], lambda: x.sum()):
        seen += observer.use(use, SOON + 10)["seen"]
    return [each["kinds"][0] for each in seen]


# What two uses give.
FAULTS = ["MapFault", "MapFault"]


# Handlers of Python.


def python_handler(number: int, time: str, how: str) -> object:
    """A handler of Python gets the signals that are sent, and no fault."""
    calls: list[int] = []

    def handler(number: int, _frame: object) -> None:
        calls.append(number)

    def put() -> None:
        signal.signal(number, {"function": handler, "ignore": signal.SIG_IGN}[how])

    x = None
    if time == "after":
        x = open_map()
    put()
    # The next opening puts the guard's handler first again.
    y = open_map()
    found = fault(y) + (fault(x) if x is not None else [])
    during = len(calls)
    os.kill(os.getpid(), number)
    for _ in range(SOON):
        pass
    signal.raise_signal(number)
    for _ in range(SOON):
        pass
    return {
        "faults": found,
        "calls during faults": during,
        "calls": calls,
        "is own": how == "ignore" or signal.getsignal(number) == handler,
    }


def default_again(number: int) -> object:
    """SIG_DFL, set after a map was opened, ends the process."""
    x = open_map()
    signal.signal(number, signal.SIG_DFL)
    y = open_map()
    assert fault(x) + fault(y) == 2 * FAULTS
    os.kill(os.getpid(), number)
    return "survived"


def other_signals() -> object:
    """The handlers of no other signal change, and Ctrl-C works."""
    # SIGINT is ignored if a shell has started the tests in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    others = sorted(signal.valid_signals() - set(SIGNALS.values()))
    before = [signal.getsignal(number) for number in others]
    found = fault(open_map())
    after = [signal.getsignal(number) for number in others]
    interrupted = False
    try:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(SOON):
            pass
    except KeyboardInterrupt:
        interrupted = True
    return {"faults": found, "same": before == after, "interrupted": interrupted}


# Faults outside of any map.


def wild(kind: str) -> None:
    if kind == "null":
        ctypes.string_at(0)
    elif kind == "kill":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == "raise":
        signal.raise_signal(signal.SIGSEGV)
    elif kind == "mmap":
        path = folder / f"other-{os.getpid()}"
        path.write_bytes(bytes(2 * mmap.PAGESIZE))
        with open(path, "r+b") as file:
            foreign = mmap.mmap(file.fileno(), 0)
        os.truncate(path, 0)
        foreign[mmap.PAGESIZE]
    else:
        assert kind == "read-only"
        path = sparse_file(folder / f"other-{os.getpid()}.npy")
        y = mapcall.open(path, "r")
        # A write to a page that is there is an error of the program.
        ctypes.memset(y.ctypes.data, 1, 1)


WILD = {"null": "SIGSEGV", "kill": "SIGSEGV", "raise": "SIGSEGV", "mmap": "SIGBUS"}
WILD["read-only"] = "SIGSEGV"


def wild_after(kind: str, state: str, faults_before: bool) -> object:
    if state == "before":
        faulthandler.enable()
    x = open_map()
    if state in ("after", "disabled"):
        faulthandler.enable()
    if state == "disabled":
        faulthandler.disable()
    if faults_before:
        assert fault(x) == FAULTS
    wild(kind)
    return "survived"


def wild_ignored() -> object:
    """A fault of the process can't be ignored."""
    signal.signal(signal.SIGSEGV, signal.SIG_IGN)
    x = open_map()
    assert fault(x) == FAULTS
    wild("null")
    return "survived"


# faulthandler.

STEPS = ["enable", "disable", "open"]


def sequence(steps: tuple[str, ...], end: str) -> object:
    """Enables and disables `faulthandler` and opens maps, in any order."""
    enabled = False
    maps = []
    for step in steps:
        if step == "open":
            maps.append(open_map())
        else:
            answer = getattr(faulthandler, step)()
            # What the function of the standard library returns.
            assert answer == (enabled if step == "disable" else None)
            enabled = step == "enable"
        assert faulthandler.is_enabled() == enabled
    if end == "fault":
        return {"faults": [each for x in maps for each in fault(x)], "maps": len(maps)}
    wild("null")
    return "survived"


def faulthandler_file() -> object:
    """The traceback of a real crash goes to the file that was asked for."""
    x = open_map()
    with open(folder / "traceback", "w") as file:
        faulthandler.enable(file, all_threads=False)
        assert fault(x) == FAULTS
        wild("null")
    return "survived"


# Handlers of C.


def seen() -> dict[str, int]:
    names = ("count", "signal", "code", "blocked")
    native.seen_blocked.restype = ctypes.c_ulonglong
    return {name: getattr(native, f"seen_{name}")() for name in names}


def c_handler(number: int, flags: int, time: str, is_last: bool) -> object:
    """A handler of C gets the signals that are sent, with its flags and its mask."""
    x = open_map() if time == "after" else None
    assert native.install(number, flags) == 0
    found = []
    if time != "never":
        found = fault(open_map()) + (fault(x) if x is not None else [])
    before = seen()["count"]
    signal.raise_signal(number)
    first = seen()
    if is_last:
        # With SA_RESETHAND this ends the process.
        signal.raise_signal(number)
    return {"faults": found, "before": before, "first": first, "last": seen()}


def own_faults(flags: int, time: str) -> object:
    """A handler that opens pages of its own, as garbage collectors and emulators do."""
    native.make_own_page()
    x = open_map() if time == "after" else None
    assert native.install(signal.SIGSEGV, flags | SIGINFO) == 0
    maps = [] if time == "never" else [open_map()]
    if x is not None:
        maps.append(x)
    values = [native.use_own_page(5)]
    first = seen()
    found = [each for y in maps for each in fault(y)]
    between = seen()["count"]
    if not flags & RESETHAND:
        values.append(native.use_own_page(6))
    return {"faults": found, "values": values, "first": first, "between": between, "last": seen()}


def chaining(number: int) -> object:
    """A handler that is laid over the guard's hands on what is not its own."""
    native.make_own_page()
    x = open_map()
    assert native.install(number, SIGINFO | CHAINING | ONSTACK) == 0
    return {"faults": fault(x), "count": native.seen_count()}


# Threads and loops.


def first_map_in_worker() -> object:
    """The first map is opened by another thread than the main one."""
    maps: list[Any] = []
    inside: list[str] = []

    def work() -> None:
        maps.append(open_map())
        inside.extend(fault(maps[0]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return {"faults": inside + fault(maps[0])}


def event_loop(in_thread: bool) -> object:
    """A fault in a coroutine, or in a thread that it waits for, arrives there."""
    x = open_map()
    plain = shorten(x)

    def use() -> None:
        plain.sum()
        for _ in range(200):
            time.sleep(0.01 if in_thread else 0)

    async def step() -> str:
        try:
            if in_thread:
                await asyncio.to_thread(use)
            else:
                use()
        except mapcall.MapFault:
            return "MapFault"
        return "nothing"

    async def both() -> list[str]:
        found = [await step(), await step()]
        await asyncio.sleep(0.05)
        return found

    return {"faults": asyncio.run(both())}


def not_interrupted() -> object:
    """System calls of the main thread go on while another thread faults."""
    x = open_map()
    plain, found = shorten(x), []
    reader, writer = os.pipe()

    def work() -> None:
        observer = Observer()
        for _ in range(2):
            found.extend(observer.use(lambda: plain[INDEX], 5000)["seen"])
        os.write(writer, b"done")

    threading.Thread(target=work).start()
    read = os.read(reader, 4).decode()
    again = select.select([reader], [], [], 0)[0]
    return {"faults": [each["kinds"][0] for each in found], "read": read, "more": again}


def cases() -> Iterator[tuple[str, Callable[[], object]]]:
    for name, number in SIGNALS.items():
        for when, how in itertools.product(["before", "after"], ["function", "ignore"]):
            case = partial(python_handler, number, when, how)
            yield f"Python handler, {name}, {how}, {when}", case
        yield f"default again, {name}", partial(default_again, number)
        yield f"chaining, {name}", partial(chaining, number)
        for size in range(len(FLAGS) + 1):
            for flags in itertools.combinations(FLAGS, size):
                bits = sum(FLAGS[flag] for flag in flags)
                for when, is_last in itertools.product(TIMES, [False, True]):
                    text = f"{name}, {'+'.join(flags) or 'no flags'}, {when}, {1 + is_last} signals"
                    yield f"C handler, {text}", partial(c_handler, number, bits, when, is_last)
    for bits in (0, NODEFER, RESETHAND, ONSTACK, MASK, NODEFER | MASK | ONSTACK):
        for when in TIMES:
            yield f"own faults, {bits}, {when}", partial(own_faults, bits, when)
    yield "other signals", other_signals
    for kind, state, after in itertools.product(
        WILD, ["off", "before", "after", "disabled"], [False, True]
    ):
        name = f"wild, {kind}, {state}, {'after a fault' if after else 'first'}"
        yield name, partial(wild_after, kind, state, after)
    yield "wild, ignored", wild_ignored
    yield "faulthandler with a file", faulthandler_file
    for length in range(4):
        for steps in itertools.product(STEPS, repeat=length):
            for end in ("fault", "crash"):
                yield f"faulthandler, {'-'.join((*steps, end))}", partial(sequence, steps, end)
    yield "first map in a worker thread", first_map_in_worker
    yield "event loop", partial(event_loop, False)
    yield "event loop with thread", partial(event_loop, True)
    yield "not interrupted", not_interrupted


def main() -> None:
    global native, folder
    native = ctypes.CDLL(sys.argv[1])
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True)
    report(cases())


if __name__ == "__main__":
    main()
