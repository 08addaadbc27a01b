"""Compares work on a cluster of two processes with Dask's own ways: the budgets of docs/design.md.

The files are in a temporary folder, which is removed at the end of the run, also after a signal.
It must be on a disk: rows are skipped on a file system in memory (tmpfs), and if the disk or the
memory is too small.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy

import builds
from harness import Report, Row, Skipped, Work, options
from stream import GIB, MIB, binary, file_system, room

# The rows without a file of this size would measure Dask's messages.
BLOCK = 64 * MIB


class MappedTarget:
    """What `dask.array.store` writes blocks to: a file that `numpy.memmap` has made with mode w+.

    A pickle of a `numpy.memmap` holds all bytes, and workers would write to copies of it: each
    opens the file by its name.

    >>> _ = numpy.memmap("x.dat", "i8", "w+", shape=6)
    >>> MappedTarget("x.dat", "i8", 6)[1:3] = 7
    >>> numpy.memmap("x.dat", "i8", "r").tolist()
    [0, 7, 7, 0, 0, 0]
    """

    def __init__(self, path: Path | str, dtype: Any, shape: Any) -> None:
        self.arguments = path, dtype, shape

    def __setitem__(self, index: Any, block: Any) -> None:
        path, dtype, shape = self.arguments
        numpy.memmap(path, dtype, "r+", shape=shape)[index] = block


def store_row(client: Any, directory: Path, rival: str, size: int, block: int) -> Row:
    """Returns a row for a file of numbers that the workers compute, which costs them little.

    Each side creates the file, computes the blocks and writes them. The result of the last run is
    removed before the clock starts.
    """
    array = builds.package("dask.array")
    from mapcall.dask import store

    x = array.arange(size // 8, chunks=block // 8, dtype="f8")
    path, raw, stack = directory / "x.npy", directory / "x.f8", directory / "stack"

    def ours() -> None:
        store(x, path)

    def memmap() -> None:
        numpy.memmap(raw, x.dtype, "w+", shape=x.shape)
        array.store(x, MappedTarget(raw, x.dtype, x.shape), lock=False)

    def npy_stack() -> None:
        array.to_npy_stack(str(stack), x)

    def remove() -> None:
        for each in (path, raw):
            each.unlink(missing_ok=True)
        shutil.rmtree(stack, ignore_errors=True)

    other = {"da.store into a memmap": memmap, "to_npy_stack": npy_stack}[rival]
    for make in (ours, other):
        remove()
        make()
        written = {
            ours: lambda: numpy.load(path, mmap_mode="r"),
            memmap: lambda: numpy.memmap(raw, x.dtype, "r"),
            npy_stack: lambda: numpy.load(sorted(stack.glob("*.npy"))[0], mmap_mode="r"),
        }[make]()
        assert written[0] == 0
        assert written[-1] == len(written) - 1
        del written
    remove()
    name = f"store {binary(size)}, blocks of {binary(block)}: {rival}"
    works = (Work("f()", {"f": f, "remove": remove}, "remove()") for f in (ours, other))
    return Row(name, *works, 0.7)


@contextlib.contextmanager
def cluster(directory: Path, processes: int = 2) -> Iterator[Any]:
    """Starts workers with one thread each, and returns a client, which is Dask's default."""
    distributed = builds.package("distributed")
    with (
        distributed.LocalCluster(
            n_workers=processes,
            threads_per_worker=1,
            memory_limit=0,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            local_directory=str(directory),
        ) as made,
        distributed.Client(made) as client,
    ):
        yield client


def rows(client: Any, directory: Path, fraction: float = 1.0) -> Iterator[Row | Skipped]:
    """Yields all rows, with files of a fraction of the sizes for which the budgets are."""
    size = max(MIB, round(GIB * fraction / BLOCK) * BLOCK)
    store = partial(store_row, client, directory, size=size)
    for rival in ("to_npy_stack", "da.store into a memmap"):
        for block in (BLOCK, 8 * MIB):
            try:
                # The output, and the one of the run before, if it is still being removed.
                room(directory, 3 * size, 2 * size)
                yield store(rival, block=min(block, size // 2))
            except builds.MissingError as error:
                yield Skipped(f"store {binary(size)}: {rival}", str(error))


def main() -> None:
    parser = options("Work on a cluster of two processes of this machine.")
    parser.add_argument(
        "--directory", type=Path, default=builds.DIRECTORY, help="on a disk with 5 GiB of room"
    )
    parser.add_argument(
        "--fraction", type=float, default=1.0, help="of the files' sizes, for a quick try"
    )
    chosen: argparse.Namespace = parser.parse_args()
    # Both signals raise an exception, so that the files are removed. A shell starts background
    # processes with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen.directory.mkdir(parents=True, exist_ok=True)
    report = Report("Cluster", chosen.json)
    with tempfile.TemporaryDirectory(prefix="cluster-", dir=chosen.directory) as name:
        directory = Path(name)
        print(f"files in {chosen.directory}, on {file_system(directory)}")
        try:
            with cluster(directory) as client:
                report.measure(rows(client, directory, chosen.fraction), rounds=15)
        except builds.MissingError as error:
            report.add(Skipped("a cluster", str(error)))


if __name__ == "__main__":
    main()
