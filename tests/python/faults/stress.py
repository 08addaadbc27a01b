"""Many faults at once, in a process of its own: `python stress.py threads|writer FOLDER AMOUNT`.

`threads FOLDER SECONDS`: eight threads open, shorten, close, use and drop maps at random. Six of
them have maps of their own, so that each knows whether a use has to raise; two share theirs.
`writer FOLDER ROUNDS`: reads a file that another process shortens and grows. Each prints what it
has counted, and nothing else.
"""

from __future__ import annotations

import collections
import mmap
import os
import random
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import mapcall

PAGE = mmap.PAGESIZE
PAGES = 32
LENGTH = (PAGES * PAGE - 128) // 8
# An element of a page that shortening removes.
GONE = LENGTH - 100
SEED = int(os.environ.get("MAPCALL_SEED", "1"))
# How often a thread looks whether its exception has come, at intervals of 100 microseconds.
PATIENCE = 100_000

counts: collections.Counter[str] = collections.Counter()
lock = threading.Lock()
fabs = mapcall.load("m").function("double fabs(double x)")


def count(what: str) -> None:
    with lock:
        counts[what] += 1


def use_sum(x: Any, plain: Any) -> float:
    return float(x.sum())


def use_item(x: Any, plain: Any) -> float:
    return float(x[GONE]) * LENGTH


def use_plain(x: Any, plain: Any) -> float:
    return float(plain.sum())


def use_plain_item(x: Any, plain: Any) -> float:
    return float(plain[GONE]) * LENGTH


def use_memoryview(x: Any, plain: Any) -> float:
    return float(memoryview(plain)[GONE]) * LENGTH


def use_batch(x: Any, plain: Any) -> float:
    return float(fabs(x).sum())


def use_batch_of_threads(x: Any, plain: Any) -> float:
    return float(fabs(x, threads=2).sum())


USES: list[Callable[[Any, Any], float]] = [
    *(use_sum, use_item, use_plain, use_plain_item, use_memoryview, use_batch),
    use_batch_of_threads,
]


class Own:
    """A map of one thread."""

    def __init__(self, path: Path, mode: str) -> None:
        self.path = path
        np.save(path, np.ones(LENGTH))
        self.x = mapcall.open(path, mode)
        self.plain = np.asarray(self.x)
        self.state = "whole"

    def use(self, use: Callable[[Any, Any], float]) -> None:
        """Uses the map: it has to give the right result, or to raise once."""
        if self.state == "whole":
            assert use(self.x, self.plain) == LENGTH, use.__name__
            count("right")
            return
        found = None
        try:
            use(self.x, self.plain)
            for _ in range(PATIENCE):
                time.sleep(0.0001)
        except mapcall.MapFault as fault:
            found = fault.reason
        except mapcall.ArgumentError as error:
            found = "closed" if "closed" in str(error) else str(error)
        assert found == self.state, (use.__name__, found, self.state)
        count(self.state)

    def shorten(self) -> None:
        if self.state == "whole":
            os.truncate(self.path, PAGE)
            self.state = "truncated"

    def close(self) -> None:
        self.x.close()
        self.state = "closed"


def own_maps(number: int, folder: Path, end: float) -> None:
    chance = random.Random(f"{SEED}-{number}")
    maps: list[Own] = []
    turn = 0
    while time.monotonic() < end:
        turn += 1
        step = chance.random()
        if not maps or (step < 0.1 and len(maps) < 10):
            path = folder / f"{number}-{turn}.npy"
            maps.append(Own(path, chance.choice(["r", "r+", "c"])))
            count("opened")
            continue
        one = chance.choice(maps)
        if step < 0.2:
            one.shorten()
        elif step < 0.3:
            one.close()
        elif step < 0.4:
            maps.remove(one)
            one.path.unlink()
        else:
            one.use(chance.choice(USES))
    for one in maps:
        one.path.unlink()


def shared_maps(number: int, folder: Path, end: float, shared: list[Any]) -> None:
    """A use may be overtaken by the other thread: it gives ones, zeros of the moment, or raises."""
    chance = random.Random(f"{SEED}-{number}")
    turn = 0
    while time.monotonic() < end:
        turn += 1
        try:
            index = chance.randrange(len(shared))
            one, step = shared[index], chance.random()
            if one is None or step < 0.1:
                shared[index] = Own(folder / f"{number}-{turn}.npy", "r+")
            elif step < 0.2:
                one.shorten()
            elif step < 0.3:
                one.close()
            else:
                chance.choice(USES)(one.x, one.plain)
                # Of this use, not of the next one.
                time.sleep(0.001)
        except mapcall.MapFault as fault:
            count("shared" if fault.reason in ("truncated", "closed") else fault.reason)
        except (mapcall.ArgumentError, ValueError) as error:
            count("shared" if "closed" in str(error) else str(error))


def threads(folder: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    failures: list[str] = []
    shared: list[Any] = [None] * 4

    def run(work: Callable[..., None], *arguments: Any) -> None:
        try:
            work(*arguments)
        except BaseException:
            failures.append(traceback.format_exc())

    workers = [
        threading.Thread(target=run, args=(own_maps, number, folder, end)) for number in range(6)
    ]
    workers += [
        threading.Thread(target=run, args=(shared_maps, number, folder, end, shared))
        for number in (6, 7)
    ]
    for worker in workers:
        worker.start()
    # The main thread has no maps, so that nothing arrives here.
    for worker in workers:
        worker.join()
    assert not failures, "\n".join(failures)


WRITER = """
import os, sys
path, rounds, page = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
whole = open(path, "rb").read()
with open(path, "r+b", buffering=0) as file:
    for _ in range(rounds):
        os.ftruncate(file.fileno(), page)
        os.pwrite(file.fileno(), whole[page:], page)
"""


def writer(folder: Path, rounds: int) -> None:
    path = folder / "x.npy"
    np.save(path, np.ones(LENGTH))
    process = subprocess.Popen([sys.executable, "-c", WRITER, path, str(rounds), str(PAGE)])
    chance = random.Random(SEED)
    x: Any = None
    try:
        while process.poll() is None:
            try:
                if x is None:
                    x = mapcall.open(path, "r")
                    plain = np.asarray(x)
                use = chance.choice(USES)
                # Pages are ones, or zeros that the writer is about to overwrite.
                assert 0 <= use(x, plain) <= LENGTH
                for _ in range(50):
                    pass
                count("right")
            except mapcall.MapFault as fault:
                count(fault.reason)
                x = None
            except mapcall.FormatError:
                # The file is shorter than its header says.
                x = None
                count("too short to open")
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert mapcall.open(path, "r").sum() == LENGTH


def main() -> None:
    what, folder, amount = sys.argv[1:]
    if what == "threads":
        threads(Path(folder), float(amount))
    else:
        writer(Path(folder), int(amount))
    print(dict(counts))


if __name__ == "__main__":
    main()
