"""Measures the figures of `docs/streams.md`: scans of maps, and new files, in several ways.

    python benches/paging.py [--folder DIR] [--mib 1024] [--rounds 7] [warm] [cold] [new]

Each way alternates with a plain one. The rates depend on the disk of the folder. As root, the scans
of files that are not in memory are measured with a readahead of 128 KiB, too.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import mmap
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

import mapcall
from stream import HEADER, write_back

MIB = 1 << 20
SOURCE = """
    #include <stddef.h>
    double sum(size_t n, const double *x) {
        double sum = 0;
        for (size_t i = 0; i < n; i++) sum += x[i];
        return sum;
    }
    void scale(size_t n, const double *x, double *y) {
        for (size_t i = 0; i < n; i++) y[i] = 2 * x[i] + 1;
    }
"""
SUM = "double sum(size_t n, const double x[n])"
SCALE = "void scale(size_t n, const double x[n], double y[n])"
# The size in bytes of one MADV_WILLNEED: the system reads no more than one request of the device.
REQUEST = 512 << 10

# Does the work once, and returns the seconds that it takes.
Way = Callable[[], float]


def compare(title: str, size: int, ways: dict[str, Way], rounds: int) -> None:
    """Runs the ways alternately, and prints the rate of each and its ratio to the first one's."""
    for way in ways.values():
        way()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            gc.collect()
            times[name].append(way())
    first = next(iter(times.values()))
    print(f"\n{title:44}{'GB/s':>8}{'rate':>8}  quartiles")
    for name, each in times.items():
        ratios = [ours / theirs for ours, theirs in zip(first, each, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        rate = size / statistics.median(each) / 1e9
        print(
            f"{name:44}{rate:8.2f}{statistics.median(ratios):8.2f}  {low:.2f}..{high:.2f}",
            flush=True,
        )


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def run_on(threads: int, work: Callable[[], object]) -> None:
    """Runs `work` on a number of threads, of which this is one, and waits for all.

    >>> run_on(2, partial(print, "here"))
    here
    here
    """
    others = [threading.Thread(target=work) for _ in range(threads - 1)]
    for other in others:
        other.start()
    work()
    for other in others:
        other.join()


class Files:
    """A file of numbers, and the path of a new file."""

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        self.input = folder / "input.npy"
        self.output = folder / "output.npy"
        x = mapcall.create(self.input, size // 8, "f8")
        for start in range(0, x.size, MIB):
            x[start : start + MIB] = np.arange(start, min(start + MIB, x.size))
        x.flush()

    def evict(self) -> None:
        with open(self.input, "rb") as file:
            os.fsync(file)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def read(self) -> None:
        """Reads the file into the page cache with `read`."""
        self.evict()
        with open(self.input, "rb", buffering=0) as file:
            block = bytearray(4 * MIB)
            while file.readinto(block):
                pass


class Readahead:
    """The system's readahead for the files of a folder. Open files keep the old value."""

    def __init__(self, folder: Path) -> None:
        device = folder.stat().st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        paths = [
            Path(f"/sys/class/bdi/{number}/read_ahead_kb"),
            Path(f"/sys/dev/block/{number}/../queue/read_ahead_kb"),
        ]
        self.path = next((path for path in paths if path.exists()), None)

    @property
    def usual(self) -> int | None:
        return int(self.path.read_text()) if self.path else None

    @contextlib.contextmanager
    def set(self, kib: int | None) -> Iterator[None]:
        if kib is None:
            yield
            return
        assert self.path
        before = self.path.read_text()
        self.path.write_text(str(kib))
        try:
            yield
        finally:
            self.path.write_text(before)

    @property
    def can_be_set(self) -> bool:
        return self.path is not None and os.access(self.path, os.W_OK)


class Scan:
    """A scan of a map in chunks, which threads take in order."""

    def __init__(self, files: Files, total: mapcall.Function) -> None:
        self.files, self.total = files, total

    def __call__(
        self,
        x: mapcall.memmap,
        chunk: int = 4 * MIB,
        threads: int = 1,
        ahead: int = 0,
        sequential: bool = False,
        behind: int = 0,
    ) -> float:
        """Returns the seconds that a scan takes."""
        step, size = chunk // 8, x.size
        if sequential:
            x._mmap.madvise(mmap.MADV_SEQUENTIAL)
        descriptor = os.open(self.files.input, os.O_RDONLY) if behind else -1
        starts = iter(range(0, size, step))
        lock = threading.Lock()
        asked = gone = 0

        def look_ahead(start: int) -> None:
            nonlocal asked
            end = min(8 * start + chunk + ahead, 8 * size)
            while asked < end:
                x._mmap.madvise(mmap.MADV_WILLNEED, asked, min(REQUEST, 8 * size - asked))
                asked += REQUEST

        def drop(start: int) -> None:
            nonlocal gone
            # The other thread may still read the chunk before.
            end = (8 * start - (threads - 1) * chunk) // behind * behind
            if end > gone:
                x._mmap.madvise(mmap.MADV_DONTNEED, gone, end - gone)
                os.posix_fadvise(descriptor, gone, end - gone, os.POSIX_FADV_DONTNEED)
                gone = end

        def work() -> None:
            while True:
                with lock:
                    start = next(starts, None)
                    if start is None:
                        return
                    if ahead:
                        look_ahead(start)
                    if behind:
                        drop(start)
                self.total(x[start : start + step])

        begun = time.perf_counter()
        run_on(threads, work)
        took = time.perf_counter() - begun
        if behind:
            os.close(descriptor)
        return took


def warm(files: Files, scan: Scan, rounds: int) -> None:
    files.read()
    kept = mapcall.open(files.input, "r")
    numpy = np.load(files.input, mmap_mode="r")

    def engine(chunk: int, threads: int) -> float:
        rows = kept[: kept.size // (chunk // 8) * (chunk // 8)].reshape(-1, chunk // 8)
        return timed(lambda: scan.total(rows, threads=threads))

    ways: dict[str, Way] = {"numpy.memmap's sum()": lambda: timed(numpy.sum)}
    for threads in (1, 2):
        for mib in (1, 2, 4, 8):
            name = f"chunks of {mib} MiB, {threads} thread{'s'[: threads - 1]}"
            ways[name] = partial(scan, kept, mib * MIB, threads)
    ways["a batch of rows of 1 MiB, 1 thread"] = partial(engine, MIB, 1)
    ways["a batch of rows of 1 MiB, 2 threads"] = partial(engine, MIB, 2)
    ways["a new map, 1 thread"] = lambda: scan(mapcall.open(files.input, "r"))
    ways["a new map, 2 threads"] = lambda: scan(mapcall.open(files.input, "r"), threads=2)
    compare("in memory, read before", files.size, ways, rounds)

    # The first scan reads ahead with an option, which may leave small pages in the page cache;
    # the second scan is timed.
    def asked(**options: object) -> Way:
        def way() -> float:
            files.evict()
            scan(mapcall.open(files.input, "r"), **options)  # type: ignore[arg-type]
            return scan(mapcall.open(files.input, "r"))

        return way

    ways = {
        "read plainly": asked(),
        "asked for 16 MiB ahead": asked(ahead=16 * MIB),
        "read with MADV_SEQUENTIAL": asked(sequential=True),
        "read with MADV_SEQUENTIAL by 2 threads": asked(sequential=True, threads=2),
    }
    compare("a later scan, by a new map, of what was", files.size, ways, rounds)


def cold(files: Files, scan: Scan, rounds: int) -> None:
    readahead = Readahead(files.input.parent)

    def way(kib: int | None, **options: object) -> Way:
        def run() -> float:
            # The pages that the scan will use have just been in use, after any way.
            files.read()
            files.evict()
            with readahead.set(kib):
                x = mapcall.open(files.input, "r")
            return scan(x, **options)  # type: ignore[arg-type]

        return run

    settings = [(None, f"readahead of {readahead.usual} KiB")]
    if readahead.usual != 128:
        if readahead.can_be_set:
            settings.append((128, "readahead of 128 KiB"))
        else:
            print("\nreadahead of 128 KiB: skipped, as only root can set it")
    for kib, name in settings:
        for threads in (1, 2):
            at = partial(way, kib, threads=threads)
            ways = {
                "plain": at(),
                "chunks of 1 MiB": at(chunk=MIB),
                "chunks of 2 MiB": at(chunk=2 * MIB),
                "chunks of 8 MiB": at(chunk=8 * MIB),
                "MADV_WILLNEED 8 MiB ahead": at(ahead=8 * MIB),
                "MADV_WILLNEED 16 MiB ahead": at(ahead=16 * MIB),
                "MADV_WILLNEED 32 MiB ahead": at(ahead=32 * MIB),
                "MADV_SEQUENTIAL": at(sequential=True),
                "dropped behind, pieces of 4 MiB": at(behind=4 * MIB),
                "dropped behind, pieces of 16 MiB": at(behind=16 * MIB),
                "dropped behind, pieces of 64 MiB": at(behind=64 * MIB),
                "plain, once more": at(),
            }
            title = f"on the disk, {name}, {threads} thread{'s'[: threads - 1]}"
            compare(title, files.size, ways, rounds)


class New:
    """Ways to make a new file with `2 * x + 1` of the input."""

    def __init__(self, files: Files, scale: mapcall.Function) -> None:
        self.files, self.scale = files, scale
        self.x = mapcall.open(files.input, "r")
        self.rows = self.x[: self.x.size // 1024 * 1024].reshape(-1, 1024)

    def numpy(self, durable: bool) -> float:
        def work() -> None:
            y = np.lib.format.open_memmap(self.files.output, "w+", "f8", self.x.shape)
            np.multiply(self.x, 2, out=y)
            np.add(y, 1, out=y)
            if durable:
                y.flush()

        return self.fresh(work)

    def through_numpy(self, durable: bool) -> float:
        """Runs the same kernel on NumPy's map."""

        def work() -> None:
            y = np.lib.format.open_memmap(self.files.output, "w+", "f8", self.x.shape)
            self.scale(self.rows, y[: self.rows.size].reshape(self.rows.shape))
            if durable:
                y.flush()

        return self.fresh(work)

    def through_map(self, threads: int, durable: bool, advice: str | None = None) -> float:
        def work() -> None:
            y = mapcall.create(self.files.output, self.rows.shape, "f8", overwrite=True)
            if advice:
                y.advise(advice)
            self.scale(self.rows, y, threads=threads)
            if durable:
                y.flush()

        return self.fresh(work)

    def batch(self, threads: int, durable: bool) -> float:
        def work() -> None:
            self.scale(self.rows, out=str(self.files.output), threads=threads, sync=durable)

        return self.fresh(work)

    def written(self, buffer: int, threads: int, durable: bool) -> float:
        """Runs the kernel on a buffer for each thread, and writes that with `pwrite`."""

        def work() -> None:
            descriptor = os.open(self.files.output, os.O_RDWR | os.O_CREAT)
            os.posix_fallocate(descriptor, 0, HEADER + self.x.nbytes)
            step = buffer // 8
            starts = iter(range(0, self.x.size, step))
            lock = threading.Lock()

            def part() -> None:
                room = np.zeros(step)
                while True:
                    with lock:
                        start = next(starts, None)
                    if start is None:
                        return
                    x = self.x[start : start + step]
                    self.scale(x, room[: x.size])
                    offset = HEADER + 8 * start
                    os.pwrite(descriptor, room[: x.size].data, offset)
                    if durable:
                        write_back(descriptor, offset, x.nbytes)

            run_on(threads, part)
            if durable:
                os.fdatasync(descriptor)
            os.close(descriptor)

        return self.fresh(work)

    def fresh(self, work: Callable[[], None]) -> float:
        self.files.output.unlink(missing_ok=True)
        took = timed(work)
        self.files.output.unlink()
        return took


def new(files: Files, scale: mapcall.Function, rounds: int) -> None:
    files.read()
    make = New(files, scale)
    for durable in (False, True):
        ways: dict[str, Way] = {
            "the kernel through numpy.memmap(mode='w+')": partial(make.through_numpy, durable),
            "2 * x + 1 through numpy.memmap(mode='w+')": partial(make.numpy, durable),
        }
        for threads in (1, 2):
            several = f"{threads} thread{'s'[: threads - 1]}"
            ways[f"a map after fallocate, {several}"] = partial(make.through_map, threads, durable)
            name = f"the same in huge pages, {several}"
            ways[name] = partial(make.through_map, threads, durable, "hugepage")
            for kib in (512, 1024, 2048, 4096):
                name = f"buffers of {kib} KiB and pwrite, {several}"
                ways[name] = partial(make.written, kib << 10, threads, durable)
            ways[f"a batch, {several}"] = partial(make.batch, threads, durable)
        compare(f"a new file{', durable' if durable else ''}", files.size, ways, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to put the files")
    parser.add_argument("--mib", type=int, default=1024, help="the size of the files")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("parts", nargs="*", default=["warm", "cold", "new"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        source = Path(folder, "kernels.c")
        source.write_text(SOURCE)
        flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
        library = source.with_suffix(".so")
        subprocess.run(["cc", *flags, source, "-o", library], check=True)
        kernels = mapcall.load(library)
        total, scale = kernels.function(SUM), kernels.function(SCALE)
        files = Files(Path(folder), options.mib * MIB)
        if "warm" in options.parts:
            warm(files, Scan(files, total), options.rounds)
        if "cold" in options.parts:
            cold(files, Scan(files, total), options.rounds)
        if "new" in options.parts:
            new(files, scale, options.rounds)


if __name__ == "__main__":
    main()
