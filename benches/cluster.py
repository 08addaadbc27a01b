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
import mapcall
from batch import kernels
from harness import Report, Row, Skipped, Work, options
from stream import GIB, MIB, ROW, binary, file_system, numbers, room

# The size of the blocks for which the budget is: the default of Dask.
BLOCK = 128 * MIB


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


def store_row(
    client: Any, directory: Path, libraries: Path, rival: str, size: int, block: int
) -> Row:
    """Returns a row for a file of numbers that a C function computes from those of another file.

    All sides compute the same Dask array; each creates its files, and writes the blocks. The
    result of the last run is removed before the clock starts.
    """
    array = builds.package("dask.array")
    from mapcall.dask import store

    prototype = "void scale(size_t n, double a, const double x[restrict n], double y[restrict n])"
    function = kernels(libraries).function(prototype)
    shape = (size // 8 // ROW, ROW)
    x = mapcall.memmap(numbers(directory, size), "f8", "r", shape=shape)
    y = function(2.0, x.to_dask(chunks=(block // 8 // ROW, ROW)))
    path, raw, stack = directory / "y.npy", directory / "y.f8", directory / "stack"

    def ours() -> None:
        store(y, path)

    def memmap() -> None:
        numpy.memmap(raw, y.dtype, "w+", shape=shape)
        array.store(y, MappedTarget(raw, y.dtype, shape), lock=False)

    def npy_stack() -> None:
        array.to_npy_stack(str(stack), y)

    def remove() -> None:
        for each in (path, raw):
            each.unlink(missing_ok=True)
        shutil.rmtree(stack, ignore_errors=True)

    other = {"da.store into a memmap": memmap, "to_npy_stack": npy_stack}[rival]
    for make, written in (
        (ours, partial(numpy.load, path)),
        (other, partial(numpy.memmap, raw, y.dtype, "r", shape=shape)),
    ):
        remove()
        make()
        found = array.from_npy_stack(str(stack)) if make is npy_stack else written()
        for index in (0, shape[0] // 2, -1):
            numpy.testing.assert_array_equal(found[index], 2 * numpy.asarray(x[index]))
        del found
    remove()
    name = f"store {binary(size)}, blocks of {binary(block)}: {rival}"
    works = (Work("f()", {"f": f, "remove": remove}, "remove()") for f in (ours, other))
    # With smaller blocks, most of the time is that of Dask's tasks.
    return Row(name, *works, 0.7 if block >= BLOCK else None)


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


def rows(
    client: Any, directory: Path, libraries: Path, fraction: float = 1.0
) -> Iterator[Row | Skipped]:
    """Yields all rows, with files of a fraction of the sizes for which the budgets are."""
    # A multiple of the smallest block.
    size = max(1, round(GIB * fraction / (8 * MIB))) * 8 * MIB
    for rival in ("to_npy_stack", "da.store into a memmap"):
        for block in (BLOCK, 8 * MIB):
            try:
                # The input, the output, and that of the run before, if it is still being removed.
                room(directory, 3 * size, 3 * size)
                yield store_row(client, directory, libraries, rival, size, min(block, size))
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
                report.measure(
                    rows(client, directory, builds.DIRECTORY, chosen.fraction), rounds=15
                )
        except builds.MissingError as error:
            report.add(Skipped("a cluster", str(error)))


if __name__ == "__main__":
    main()
