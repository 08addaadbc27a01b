"""Compares work on a cluster of two processes with Dask's own ways: the budgets of docs/design.md.

The files are in a temporary folder, which is removed at the end of the run, also after a signal.
It must be on a disk: rows are skipped on a file system in memory (tmpfs), and if the disk or the
memory is too small.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import multiprocessing
import pickle
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy

import builds
import dask_way
import mapcall
from batch import kernels
from harness import Limited, Report, Row, Skipped, Work, alone
from stream import GIB, MIB, ROW, binary, file_system, folder_of_files, numbers, room

# The size of the blocks for which the budget is: the default of Dask.
BLOCK = 128 * MIB

# The number of elements in one call of a function that reads.
ELEMENTS = 8192

# The order of a Bessel function that takes about 150 ns, long beside the time of its memory.
ORDER = 25


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


def graph_row(directory: Path, size: int) -> Row:
    """Returns a row for a map as a Dask array, whose graph is pickled, as Dask sends it."""
    array = builds.package("dask.array")
    path = numbers(directory, size)

    def ours() -> bytes:
        return pickle.dumps(mapcall.memmap(path, "f8", "r").to_dask().dask)

    def from_array() -> bytes:
        return pickle.dumps(array.from_array(numpy.memmap(path, "f8", "r")).dask)

    name = f"a map of {binary(size)} as a graph: from_array"
    return Row(name, Work("f()", {"f": ours}), Work("f()", {"f": from_array}), 0.01)


def graph_sizes(directory: Path, row: Row) -> Iterator[Limited]:
    """Yields the size of the row's graph, and the time and size of that of 1 TiB."""
    ours, rival = (
        len(work.names["f"]()) for work in (row.ours, row.rival) if isinstance(work, Work)
    )
    yield Limited("a map as a graph, in bytes", ours, rival // 1000, "bytes")
    path = directory / "sparse.f8"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    work = Work("memmap(path, 'f8', 'r').to_dask()", {"memmap": mapcall.memmap, "path": path})
    yield Limited("1 TiB as a Dask array", alone(work, rounds=11), 0.01)
    graph = mapcall.memmap(path, "f8", "r").to_dask().dask
    yield Limited("its graph, in bytes", len(pickle.dumps(graph)), 10**6, "bytes")
    path.unlink()


def squares_row(directory: Path, libraries: Path, size: int, block: int) -> Row:
    """Returns a row for the sum of the squares of a file's numbers by a C function.

    The rival is Dask's documented way to files, with the same function by ctypes.
    """
    path = numbers(directory, size)
    shape = (size // 8 // ELEMENTS, ELEMENTS)
    rows = block // 8 // ELEMENTS
    squares = kernels(libraries).function("double squares(size_t n, const double x[n])")

    def ours() -> float:
        x = mapcall.memmap(path, "f8", "r", shape=shape).to_dask((rows, ELEMENTS))
        return float(squares(x).sum().compute())

    def dask() -> float:
        over_rows = partial(dask_way.over_rows, library=squares.library.path, name="squares")
        x = dask_way.blocks(path, 0, shape, rows)
        meta = numpy.empty(0)
        return float(x.map_blocks(over_rows, drop_axis=1, meta=meta).sum().compute())

    numpy.testing.assert_allclose(ours(), dask(), rtol=1e-12)
    name = f"squares of {binary(size)} in {binary(block)}: delayed"
    budget = 1.0 if block >= 128 * MIB else 0.8
    return Row(name, Work("f()", {"f": ours}), Work("f()", {"f": dask}), budget)


def scaling_row(client: Any, directory: Path, size: int) -> Row:
    """Returns a row for a function that computes long: both workers, or one of them."""
    jn = mapcall.load("m").function("double jn(int n, double x)")
    x = mapcall.memmap(numbers(directory, size), "f8", "r").to_dask(max(1, size // 8 // 64))
    one = [min(client.nthreads())]
    # Dask may still have the results and restrictions of a run before, under the same names.
    shifts = itertools.count()

    def both() -> float:
        return float(client.compute(jn(ORDER, x + (1 + next(shifts) / 2**40)).sum()).result())

    def single() -> float:
        values = jn(ORDER, x + (1 + next(shifts) / 2**40)).sum()
        return float(client.compute(values, workers=one).result())

    numpy.testing.assert_allclose(both(), single(), rtol=1e-9)
    name = "jn on two processes: on one"
    return Row(name, Work("f()", {"f": both}), Work("f()", {"f": single}), 0.55)


def alone_row(directory: Path, size: int) -> Row:
    """Returns a row of the same computation without Dask: what the machine's cores give at best."""
    path, parts = numbers(directory, size), 64
    length = size // 8 // parts
    one, two = (
        concurrent.futures.ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))
        for count in (1, 2)
    )
    jn = mapcall.load("m").function("double jn(int n, double x)")

    def over(pool: concurrent.futures.Executor) -> float:
        x = mapcall.memmap(path, "f8", "r")
        blocks = (x[part * length :][:length] for part in range(parts))
        return sum(pool.map(partial(total, jn), blocks))

    numpy.testing.assert_allclose(over(two), over(one), rtol=1e-12)
    name = "without Dask: on one"
    return Row(name, Work("f(p)", {"f": over, "p": two}), Work("f(p)", {"f": over, "p": one}), None)


def total(function: Any, block: Any) -> float:
    """Returns the sum of a function of a block, plus 1: what a process of a pool runs."""
    return float(function(ORDER, numpy.asarray(block) + 1).sum())


def task_row(directory: Path, libraries: Path, tasks: int) -> Row:
    """Returns a row for tasks that do next to nothing; the rival's return new memory."""
    distributed, array = builds.package("distributed"), builds.package("dask.array")
    f = kernels(libraries).function("double f(double x)")
    path = numbers(directory, max(tasks * 8, 4096))

    def ours() -> None:
        x = mapcall.memmap(path, "f8", "r", shape=tasks).to_dask(1)
        distributed.wait(f(x).persist())

    def empty() -> None:
        distributed.wait(array.empty(tasks, chunks=1).persist())

    name = f"{tasks:,} tasks of one call: empty"
    return Row(name, Work("f()", {"f": ours}), Work("f()", {"f": empty}), 1.3)


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


def store_rows(
    client: Any, directory: Path, libraries: Path, fraction: float = 1.0
) -> Iterator[Row | Skipped]:
    """Yields the rows of stores, with files of a fraction of the size for which the budgets are."""
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


def compute_rows(
    client: Any, directory: Path, libraries: Path, fraction: float = 1.0
) -> Iterator[Row | Skipped]:
    """Yields the rows of computations over files."""
    size = max(MIB, round(512 * fraction) * MIB)
    yield scaling_row(client, directory, size)
    yield alone_row(directory, size)
    size = max(2 * MIB, round(4 * fraction) * GIB)
    for block in (128 * MIB, MIB):
        try:
            room(directory, size, size)
            yield squares_row(directory, libraries, size, min(block, size // 2))
        except builds.MissingError as error:
            yield Skipped(f"squares of {binary(size)}", str(error))
    yield task_row(directory, libraries, max(10, round(1000 * fraction)))


def main() -> None:
    about = "Work on a cluster of two processes of this machine."
    with folder_of_files(about, "cluster-") as (chosen, directory):
        report = Report("Cluster", chosen.json)
        print(f"files in {chosen.directory}, on {file_system(directory)}")
        graph = graph_row(directory, max(MIB, round(300 * chosen.fraction) * MIB))
        report.measure([graph], rounds=5)
        for limited in graph_sizes(directory, graph):
            report.add(limited)
        try:
            with cluster(directory) as client:
                libraries, fraction = builds.DIRECTORY, chosen.fraction
                report.measure(compute_rows(client, directory, libraries, fraction), rounds=5)
                report.measure(store_rows(client, directory, libraries, fraction), rounds=15)
        except builds.MissingError as error:
            report.add(Skipped("a cluster", str(error)))


if __name__ == "__main__":
    main()
