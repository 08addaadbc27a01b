"""Faults, closing and growing in several threads. `run.py` runs it under valgrind.

Each map has one fault: its pages have no access afterwards, and valgrind would report the next use.
"""

import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import mapcall

THREADS = 3
fabs = mapcall.load("m").function("double fabs(double x)")


def use_plain(x: Any) -> None:
    np.asarray(x).sum()
    for _ in range(1000):
        pass


USES: list[Callable[[Any], object]] = [
    lambda x: x.sum(),
    lambda x: x[5000],
    lambda x: x.__setitem__(5000, 7),
    lambda x: fabs(x),
    lambda x: fabs(x, threads=2),
    use_plain,
]


def work(folder: Path, number: int, rounds: int) -> None:
    for turn in range(rounds):
        for index, use in enumerate(USES):
            path = folder / f"{number}-{turn}-{index}"
            x = mapcall.memmap(path, "f8", "w+", shape=10_000)
            os.truncate(path, 0)
            found = ""
            try:
                use(x)
            except mapcall.MapFault as error:
                found = error.reason
            assert found == "truncated", (index, found)
            x.close()
            path.unlink()
        path = folder / f"{number}-{turn}.npy"
        y = mapcall.create(path, (3, 4), reserve=1000)
        y = y.grow(5).append(np.ones((700, 4))).truncate(2).append([1, 2, 3, 4]).refresh()
        assert y.shape == (3, 4)
        y.close()
        path.unlink()


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        threads = [
            threading.Thread(target=work, args=(Path(folder), number, rounds))
            for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        work(Path(folder), THREADS, rounds)
        for thread in threads:
            thread.join()
    print("done")


if __name__ == "__main__":
    main(int(sys.argv[1]))
