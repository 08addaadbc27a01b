"""Compares batches that read and write files in the page cache: the budgets of docs/design.md.

The files are in a temporary folder, which is removed at the end of the run, also after a signal.
It must be on a disk: rows are skipped on a file system in memory (tmpfs), and if the disk or the
memory is too small.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy

import builds
import dask_way
import mapcall
from batch import kernels
from harness import Report, Row, Skipped, Work, options

MIB, GIB = 1 << 20, 1 << 30

# The size of a `.npy` header in bytes. Pieces that don't start at a page take Linux twice as long
# to write back one by one.
HEADER = 128

# The number of elements in one call of the kernel.
ROW = 2 * MIB // 8
# The number of float32 in one call: 256 KiB.
FLOATS = 1 << 16


def scan_row(directory: Path, libraries: Path, rival: str, threads: int, size: int) -> Row:
    """Returns a row for the sum of a file's numbers. Each side maps the file, adds, and unmaps it.

    mapcall calls a C function for each 2 MiB. Dask has two threads, too.
    """
    path = numbers(directory, size)
    total = kernels(libraries).function("double sum(size_t n, const double x[n])")

    def ours() -> float:
        rows = mapcall.memmap(path, "f8", "r").reshape(-1, ROW)
        return float(total(rows, threads=threads).sum())

    def memmap() -> float:
        return float(numpy.memmap(path, "f8", "r").sum())

    def dask() -> float:
        blocks = dask_way.blocks(path, 0, (size // 8 // ROW, ROW), 64 * MIB // 8 // ROW)
        return float(blocks.sum().compute(scheduler="threads", num_workers=2))

    if rival == "Dask":
        builds.package("dask.array")
    other = {"memmap": memmap, "Dask": dask}[rival]
    # The order of additions differs.
    numpy.testing.assert_allclose(ours(), other(), rtol=1e-9)
    budget = 0.55 if (threads, rival) == (2, "memmap") else None
    name = f"sum of {binary(size)}, {counted(threads)}: {rival}"
    return Row(name, Work("f()", {"f": ours}), Work("f()", {"f": other}), budget)


def converted_row(directory: Path, libraries: Path, threads: int, size: int) -> Row:
    """Returns a row for the sum of a file's big-endian float32, which mapcall converts in cache.

    The rival copies the array by `astype`, and calls the same function on one thread.
    """
    path = numbers(directory, size, ">f4")
    total = kernels(libraries).function("double sum_floats(size_t n, const float x[n])")
    shape = (-1, FLOATS)

    def ours() -> float:
        x = mapcall.open(path, dtype=">f4", shape=shape)
        return float(total(x, threads=threads, convert=True).sum())

    def astype() -> float:
        x = numpy.memmap(path, ">f4", "r").reshape(shape)
        return float(total(x.astype("f4")).sum())

    numpy.testing.assert_allclose(ours(), astype(), rtol=1e-12)
    name = f"sum of {binary(size)} of >f4, {counted(threads)}: astype"
    budget = {1: 0.5, 2: 0.35}[threads]
    return Row(name, Work("f()", {"f": ours}), Work("f()", {"f": astype}), budget)


def file_row(
    directory: Path, libraries: Path, rival: str, threads: int, is_durable: bool, size: int
) -> Row:
    """Returns a row for a new file with `2 * x` of another file: allocated, written and closed.

    The rival maps a new file with `mode="w+"`, and calls the same C function once, or a ufunc.
    If the row is durable, it flushes its map. `pwrite` computes nothing and writes one buffer again
    and again, which is the time that the system needs in any case. The file of the last run is
    removed before the clock starts.
    """
    source, new = numbers(directory, size), directory / "new.npy"
    shape = (size // 8 // ROW, ROW)
    prototype = "void scale(size_t n, double a, const double x[restrict n], double y[restrict n])"
    function = kernels(libraries).function(prototype)
    in_c = ctypes.CDLL(function.library.path).scale
    in_c.restype = None
    in_c.argtypes = [ctypes.c_size_t, ctypes.c_double, ctypes.c_void_p, ctypes.c_void_p]
    mapped = mapcall.memmap(source, "f8", "r", shape=shape)
    rivals_own = numpy.memmap(source, "f8", "r", shape=shape)

    def ours() -> None:
        function(2.0, mapped, out=new, threads=threads, sync=is_durable)

    def memmap() -> None:
        y = numpy.memmap(new, "f8", "w+", shape=shape)
        if rival == "numpy.multiply":
            numpy.multiply(rivals_own, 2.0, out=y)
        else:
            in_c(y.size, 2.0, rivals_own.ctypes.data, y.ctypes.data)
        if is_durable:
            y.flush()

    buffer = memoryview(bytearray(2 * MIB))

    def pwrite() -> None:
        with new.open("wb", buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, HEADER + size)
            for start in range(0, size, buffer.nbytes):
                written = buffer[: size - start]
                os.pwrite(file.fileno(), written, HEADER + start)
                if is_durable:
                    write_back(file.fileno(), HEADER + start, written.nbytes)
            if is_durable:
                os.fdatasync(file.fileno())

    def remove() -> None:
        new.unlink(missing_ok=True)

    for make, read in (
        (ours, mapcall.open),
        (memmap, partial(numpy.memmap, dtype="f8", shape=shape)),
    ):
        remove()
        make()
        written = read(new)
        for index in (0, shape[0] // 2, -1):
            numpy.testing.assert_array_equal(written[index], 2 * rivals_own[index])
        del written
    remove()
    is_budgeted = rival == "memmap w+"
    budget = (1 / 1.8 if is_durable else 0.50) if is_budgeted else None
    name = f"{'durable' if is_durable else 'new'} {binary(size)}, {counted(threads)}: {rival}"
    other = pwrite if rival == "pwrite" else memmap
    works = (Work("f()", {"f": f, "remove": remove}, "remove()") for f in (ours, other))
    return Row(name, *works, budget)


def write_back(descriptor: int, start: int, nbytes: int) -> None:
    """Starts writing a part of a file to the disk, and doesn't wait for it.

    >>> with tempfile.TemporaryFile() as file:
    ...     write_back(file.fileno(), 0, 1)
    """
    SYNC_FILE_RANGE(descriptor, start, nbytes, SYNC_FILE_RANGE_WRITE)


SYNC_FILE_RANGE = mapcall.load(None).function(
    "int sync_file_range(int fd, int64_t offset, int64_t nbytes, unsigned int flags)", check="zero"
)
SYNC_FILE_RANGE_WRITE = 2


def numbers(directory: Path, size: int, dtype: str = "f8") -> Path:
    """Returns a file of random numbers, with the page cache as after it has been read once."""
    path = directory / f"{size}.{dtype}"
    if path.exists():
        return path
    block = numpy.random.default_rng(0).random(min(size, 64 * MIB) // numpy.dtype(dtype).itemsize)
    block = block.astype(dtype)
    with path.open("wb", buffering=0) as file:
        for left in range(size, 0, -block.nbytes):
            file.write(block[: left // block.itemsize])
        os.fsync(file.fileno())
        # The page cache has smaller pages for written files than for read ones, so maps of written
        # files have more page faults.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    read(path)
    return path


def read(path: Path) -> None:
    space = bytearray(4 * MIB)
    with path.open("rb", buffering=0) as file:
        while file.readinto(space):
            pass


def room(directory: Path, disk: int, memory: int) -> None:
    """Raises `MissingError` if a folder is in memory, or disk or memory have too few bytes.

    >>> room(Path(), 0, 0)
    >>> try:
    ...     room(Path(), 0, 1 << 60)
    ... except builds.MissingError as error:
    ...     print(error)
    it needs 1,073,741,824.0 GiB of memory, and ... GiB are available
    """
    if (kind := file_system(directory)) in ("tmpfs", "ramfs"):
        raise builds.MissingError(f"{directory} is in memory ({kind}): name another --directory")
    for what, needed, available in (
        ("disk", disk, shutil.disk_usage(directory).free),
        ("memory", memory, available_memory()),
    ):
        if available < needed:
            text = f"it needs {needed / GIB:,.1f} GiB of {what}, and {available / GIB:.1f} GiB are"
            raise builds.MissingError(f"{text} available")


def file_system(directory: Path) -> str:
    """Returns the type of a folder's file system, by the name that `stat` of coreutils has for it.

    >>> file_system(Path("/proc"))
    'proc'
    """
    command = ["stat", "--file-system", "--format=%T", str(directory)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def available_memory() -> int:
    """Returns the available memory in bytes: the system's, or a container's limit if that is less.

    >>> 0 < available_memory() < 1 << 60
    True
    """
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(lines["MemAvailable"].split()[0]) * 1024
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return available if text == "max" else min(available, int(text))


def binary(size: int) -> str:
    """
    >>> binary(4 << 30), binary(1 << 28)
    ('4 GiB', '256 MiB')
    """
    return f"{size // GIB} GiB" if size % GIB == 0 else f"{size // MIB} MiB"


def counted(threads: int) -> str:
    return "one thread" if threads == 1 else "two threads"


def rows(directory: Path, libraries: Path, fraction: float = 1.0) -> Iterator[Row | Skipped]:
    """Yields all rows, with files of a fraction of the sizes for which the budgets are."""

    def of(size: int) -> int:
        # A multiple of a row.
        return max(1, round(size * fraction / 8 / ROW)) * 8 * ROW

    scan = partial(scan_row, directory, libraries, size=of(4 * GIB))
    file = partial(file_row, directory, libraries, size=of(GIB))
    groups: list[tuple[str, int, int, list[partial[Row]]]] = [
        (
            f"sum of {binary(of(4 * GIB))}",
            *(of(4 * GIB), of(4 * GIB) + GIB // 2),
            [
                partial(scan, "memmap", threads=2),
                partial(scan, "memmap", threads=1),
                partial(scan, "Dask", threads=2),
            ],
        ),
        (
            f"sum of {binary(of(4 * GIB))} of >f4",
            # The copy that `astype` makes is as large as the file.
            *(of(4 * GIB), 2 * of(4 * GIB) + GIB // 2),
            [partial(converted_row, directory, libraries, n, of(4 * GIB)) for n in (1, 2)],
        ),
        (
            f"new {binary(of(GIB))}",
            # The input, the output, and the output of the run before, if it is still being removed.
            *(3 * of(GIB), 3 * of(GIB) + GIB // 2),
            [
                partial(file, "memmap w+", threads=1, is_durable=False),
                partial(file, "numpy.multiply", threads=1, is_durable=False),
                partial(file, "pwrite", threads=1, is_durable=False),
                partial(file, "memmap w+", threads=2, is_durable=False),
                partial(file, "memmap w+", threads=1, is_durable=True),
                partial(file, "pwrite", threads=1, is_durable=True),
                partial(file, "memmap w+", threads=2, is_durable=True),
            ],
        ),
    ]
    for name, disk, memory, makers in groups:
        try:
            room(directory, disk, memory)
        except builds.MissingError as error:
            yield Skipped(name, str(error))
            continue
        for make in makers:
            try:
                yield make()
            except builds.MissingError as error:
                yield Skipped(f"{name}: {make.args[-1]}", str(error))
        # The files of a group are removed before the next group.
        for path in directory.iterdir():
            path.unlink()


@contextlib.contextmanager
def folder_of_files(about: str, prefix: str) -> Iterator[tuple[argparse.Namespace, Path]]:
    """Reads the options of a benchmark on files; yields them, and a folder for the block."""
    parser = options(about)
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
    with tempfile.TemporaryDirectory(prefix=prefix, dir=chosen.directory) as name:
        yield chosen, Path(name)


def main() -> None:
    about = "Files in the page cache, read and written by batches."
    with folder_of_files(about, "stream-") as (chosen, directory):
        report = Report("Stream", chosen.json)
        print(f"files in {chosen.directory}, on {file_system(directory)}")
        report.measure(rows(directory, builds.DIRECTORY, chosen.fraction), rounds=21)


if __name__ == "__main__":
    main()
