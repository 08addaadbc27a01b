"""Compares the ctypes attribute and memory maps with NumPy's: the budgets of docs/design.md."""

from __future__ import annotations

import ctypes
import os
import pickle
import tempfile
import timeit
from pathlib import Path

import numpy

import builds
import mapcall
from harness import Limited, Report, Row, Skipped, Work, options


def append_row(directory: Path) -> Row | Skipped:
    """A new file and 1,000 rows of 1 KiB, one for each call, synced once.

    >>> with tempfile.TemporaryDirectory() as directory:
    ...     row = append_row(Path(directory))
    ...     same = numpy.ones((1000, 128), bool)
    ...     if isinstance(row, Row):
    ...         row.ours.run()
    ...         row.rival.run()
    ...         same = numpy.load(f"{directory}/ours.npy") == numpy.load(f"{directory}/rival.npy")
    >>> same.shape, same.all()
    ((1000, 128), np.True_)
    """
    name = "append 1,000 rows of 1 KiB"
    values = list(numpy.arange(128_000.0).reshape(1000, 1, 128))

    def ours(path: Path) -> None:
        path.unlink(missing_ok=True)
        with mapcall.Appender(path, "f8", 128) as log:
            for value in values:
                log.append(value)
            log.sync()

    def rival(path: Path) -> None:
        # It also writes the header in each call, so that the file is complete.
        with builds.package("npy_append_array").NpyAppendArray(path, delete_if_exists=True) as log:
            for value in values:
                log.append(value)
            log.fp.flush()
            os.fdatasync(log.fp.fileno())

    try:
        builds.package("npy_append_array")
    except builds.MissingError as error:
        return Skipped(name, str(error))
    works = [
        Work("append(path)", {"append": append, "path": directory / f"{append.__name__}.npy"})
        for append in (ours, rival)
    ]
    return Row(name, works[0], works[1], 0.50)


def rows(directory: Path) -> list[Row | Skipped]:
    numpy.save(directory / "x.npy", numpy.arange(16.0))
    npy = str(directory / "x.npy")
    raw = str(directory / "raw")
    numpy.arange(1 << 19, dtype="f8").tofile(raw)

    def pair(name: str, statement: str, budget: float | None, size: int = 16) -> Row:
        """Returns a row with one statement about `m`: mapcall's map in it, and NumPy's."""
        shared = {
            "double_p": ctypes.POINTER(ctypes.c_double),
            "c_long": ctypes.c_long,
            "pickle": pickle,
        }
        ours = mapcall.memmap(raw, "f8", "r+", shape=(size,))
        rival = numpy.memmap(raw, "f8", "r+", shape=(size,))
        return Row(
            name,
            Work(statement, shared | {"m": ours}),
            Work(statement, shared | {"m": rival}),
            budget,
        )

    def opening(name: str, ours: str, rival: str, budget: float) -> Row:
        names = {"mapcall": mapcall, "numpy": numpy, "raw": raw, "npy": npy}
        return Row(name, Work(ours, names), Work(rival, names), budget)

    return [
        pair("x.ctypes", "m.ctypes", 0.10),
        pair("x.ctypes.data", "m.ctypes.data", 0.10),
        pair("x.ctypes.data_as(double *)", "m.ctypes.data_as(double_p)", None),
        pair("x.ctypes.shape_as(long)", "m.ctypes.shape_as(c_long)", None),
        pair("x.ctypes.shape", "m.ctypes.shape", None),
        pair("m[10:20]", "m[10:20]", 0.15),
        pair("m[3]", "m[3]", None),
        pair("m.view()", "m.view()", None),
        pair("m + 1 (16 elements)", "m + 1", 0.55),
        pair("m.sum() (16 elements)", "m.sum()", 0.55),
        opening(
            "open and drop a map",
            "mapcall.memmap(raw, 'f8', 'r', shape=(16,))",
            "numpy.memmap(raw, 'f8', 'r', shape=(16,))",
            0.60,
        ),
        opening(
            "open and drop a .npy",
            "mapcall.open(npy)",
            "numpy.load(npy, mmap_mode='r')",
            0.25,
        ),
        opening(
            "open and close a map",
            "mapcall.memmap(raw, 'f8', 'r', shape=(16,)).close()",
            "x = numpy.memmap(raw, 'f8', 'r', shape=(16,)); m = x._mmap; del x; m.close()",
            1.0,
        ),
        append_row(directory),
        pair("pickle a 4 MB map, and back", "pickle.loads(pickle.dumps(m))", 0.02, 1 << 19),
    ]


def refresh_beyond_stat(path: Path) -> float:
    """Returns how much longer `refresh` of an unchanged file takes than `os.stat`, in seconds."""
    names = {"x": mapcall.open(path), "os": os, "path": str(path)}

    def best(statement: str) -> float:
        return min(timeit.repeat(statement, globals=names, number=2000, repeat=31)) / 2000

    return best("x.refresh()") - best("os.stat(path)")


def fault(path: Path) -> float:
    """Returns the time from the access to a page that is gone to the exception, in seconds.

    >>> with tempfile.TemporaryDirectory() as directory:
    ...     0 < fault(Path(directory) / "x")
    True
    """
    x = mapcall.memmap(path, "u1", "w+", shape=1 << 20)
    os.truncate(path, 0)

    def use() -> None:
        try:
            x[9000]
        except mapcall.MapFault:
            return
        raise AssertionError("the page is not gone")

    return min(timeit.repeat(use, number=200, repeat=31)) / 200


def signals(path: Path, size: int, step: int) -> int:
    """Returns the number of signals of a sum over a file that was shortened to nothing.

    >>> with tempfile.TemporaryDirectory() as directory:
    ...     0 < signals(Path(directory) / "x", 1 << 30, 4096) < 1000
    True
    """
    x = mapcall.memmap(path, "u1", "w+", shape=size)
    os.truncate(path, 0)
    try:
        x[::step].sum()
    except mapcall.MapFault as error:
        return error.signals
    finally:
        path.unlink()
    raise AssertionError("the pages are not gone")


def main() -> None:
    report = Report("Attribute and map", options(__doc__).parse_args().json)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        report.measure(rows(path))
        size = len(pickle.dumps(mapcall.memmap(path / "raw", "f8", "r+")))
        report.add(Limited("a pickled 4 MB map, in bytes", size, 500, "bytes"))
        beyond = refresh_beyond_stat(path / "x.npy")
        report.add(Limited("refresh, beyond os.stat", beyond, 2e-6, "seconds"))
        report.add(Limited("a fault, to the exception", fault(path / "f"), 50e-6, "seconds"))
        for name, size, step in [
            ("2 MiB of 1 TiB", 1 << 40, 2 << 20),
            ("page of 4 GiB", 1 << 32, 1),
        ]:
            found = signals(path / "gone", size, step)
            report.add(Limited(f"a gone byte in each {name}", found, 1000, "signals"))


if __name__ == "__main__":
    main()
