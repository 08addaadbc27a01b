"""Measures how the rate of batches grows with the threads, beside the machine's own limits.

    python benches/scale.py [--threads 1 2 4 8] [--mib 1024] [--rounds 5] [--svg scale.svg]

There are three kernels. `2 * x` over rows in memory is bound by the memory; its limit is copying
the same arrays with `memmove` in as many threads. `tgamma` is bound by the cores; its limit is a
loop in C over a part of the array in each thread. `2 * x` to a new file is bound by the system; its
limit is `pwrite` of the same bytes, which computes nothing. Both sides of a kernel run alternately.
The table has the rates and the ratio to the limit, and the picture draws both.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy

import builds
import mapcall
from batch import SOURCES, kernels
from picture import line, text
from stream import HEADER

MIB = 1 << 20
# The number of elements in one call of the kernels that are not bound by the cores.
ROW = 2 * MIB // 8

# Does the work of a kernel once, on a number of threads.
Side = Callable[[int], object]


@dataclass(frozen=True)
class Kernel:
    """A batch and the machine's limit for it, each as a function of the number of threads."""

    name: str
    limit_name: str
    unit: str
    # In units of the rate: what one run does.
    amount: float
    ours: Side
    limit: Side


@dataclass(frozen=True)
class Point:
    """The rates on a number of threads.

    >>> Point(2, 9.0, 10.0).ratio
    0.9
    """

    threads: int
    rate: float
    limit: float

    @property
    def ratio(self) -> float:
        return self.rate / self.limit


def parts(items: int, threads: int) -> list[slice]:
    """Returns a part of the items for each thread.

    >>> parts(10, 3)
    [slice(0, 3, None), slice(3, 6, None), slice(6, 10, None)]
    """
    ends = [items * thread // threads for thread in range(threads + 1)]
    return [slice(*each) for each in pairwise(ends)]


class Pool:
    """Threads for the limits, which exist before the clock starts, as no batch's do."""

    def __init__(self, threads: int) -> None:
        self.executor = ThreadPoolExecutor(threads)

    def run(self, work: Callable[[slice], object], items: int, threads: int) -> None:
        list(self.executor.map(work, parts(items, threads)))


def memory(libraries: Path, pool: Pool, size: int) -> Kernel:
    """Returns `2 * x` over rows in memory, beside `memmove`."""
    x = numpy.random.default_rng(0).random((size // 8 // ROW, ROW))
    y = numpy.zeros_like(x)
    prototype = "void scale(size_t n, double a, const double x[restrict n], double y[restrict n])"
    scale = kernels(libraries).function(prototype)

    def copy(part: slice) -> None:
        ctypes.memmove(y[part].ctypes.data, x[part].ctypes.data, x[part].nbytes)

    scale(2.0, x, out=y)
    numpy.testing.assert_array_equal(y[-1], 2 * x[-1])
    return Kernel(
        "2 * x in memory",
        "memmove",
        "GB/s, read and written",
        2 * x.nbytes / 1e9,
        lambda threads: scale(2.0, x, out=y, threads=threads),
        lambda threads: pool.run(copy, len(x), threads),
    )


def cores(libraries: Path, pool: Pool, items: int) -> Kernel:
    """Returns `tgamma` over an array, beside a loop in C."""
    tgamma = mapcall.load("m").function("double tgamma(double x)")
    x = numpy.random.default_rng(0).uniform(1, 20, items)
    y = numpy.zeros_like(x)
    loop = ctypes.CDLL(str(builds.library(SOURCES / "loops.c", libraries, "-O2"))).over_numbers
    loop.restype = None
    loop.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p]

    def in_c(part: slice) -> None:
        loop(tgamma.address, x[part].size, x[part].ctypes.data, y[part].ctypes.data)

    return Kernel(
        "tgamma",
        "loops in C",
        "million elements/s",
        items / 1e6,
        lambda threads: tgamma(x, out=y, threads=threads),
        lambda threads: pool.run(in_c, items, threads),
    )


def new_file(libraries: Path, pool: Pool, new: Path, size: int) -> Kernel:
    """Returns `2 * x` to a new file, beside `pwrite`."""
    x = numpy.random.default_rng(0).random((size // 8 // ROW, ROW))
    prototype = "void scale(size_t n, double a, const double x[restrict n], double y[restrict n])"
    scale = kernels(libraries).function(prototype)
    buffer = bytes(8 * ROW)

    def pwrite(threads: int) -> None:
        with new.open("wb", buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, HEADER + x.nbytes)

            def write(part: slice) -> None:
                for row in range(part.start, part.stop):
                    os.pwrite(file.fileno(), buffer, HEADER + row * len(buffer))

            pool.run(write, len(x), threads)

    return Kernel(
        "2 * x to a new file",
        "pwrite",
        "GB/s, written",
        x.nbytes / 1e9,
        lambda threads: scale(2.0, x, out=new, threads=threads),
        pwrite,
    )


def timed(side: Side, threads: int, new: Path) -> float:
    """Returns the seconds that a side takes. The file that it makes is removed before and after."""
    new.unlink(missing_ok=True)
    start = time.perf_counter()
    side(threads)
    elapsed = time.perf_counter() - start
    new.unlink(missing_ok=True)
    return elapsed


def points(kernel: Kernel, counts: Sequence[int], rounds: int, new: Path) -> Iterator[Point]:
    """Yields the median rates of a kernel for each number of threads."""
    for threads in counts:
        # The first run faults pages in and compiles the loop.
        for side in (kernel.ours, kernel.limit):
            timed(side, threads, new)
        times = [
            (timed(kernel.ours, threads, new), timed(kernel.limit, threads, new))
            for _ in range(rounds)
        ]
        ours, limit = (statistics.median(each) for each in zip(*times, strict=True))
        yield Point(threads, kernel.amount / ours, kernel.amount / limit)


# The size of one kernel's chart and the margins around its axes.
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 300, 260, 46, 56, 12, 44
STYLE = (
    "text{font:12px system-ui,'Segoe UI',Helvetica,Arial,sans-serif;fill:#24292f}"
    ".title{font-weight:bold;font-size:13px}.faint{fill:#6e7781}.grid{stroke:#e3e7eb}"
    ".one{stroke:#8c959f}polyline{fill:none;stroke-width:2}.ours{stroke:#1f5f8b}"
    ".limit{stroke:#e8833a;stroke-dasharray:5 3}"
)


def chart(kernel: Kernel, measured: Sequence[Point], left: float) -> Iterator[str]:
    """Yields the parts of a kernel's chart, whose left edge is at `left`.

    The threads are on a logarithmic axis, and the rates on a linear one from 0 on.
    """
    most = max(max(point.rate, point.limit) for point in measured)
    step = 10 ** math.floor(math.log10(most))
    step *= next(factor for factor in (0.2, 0.5, 1, 2) if most / step / factor <= 6)
    threads = [math.log2(point.threads) for point in measured]
    span = max(threads[-1] - threads[0], 1)

    def x(index: int) -> float:
        share = (threads[index] - threads[0]) / span
        return round(left + LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(rate: float) -> float:
        top = step * math.ceil(most / step)
        return round(HEIGHT - BOTTOM - rate / top * (HEIGHT - TOP - BOTTOM), 1)

    yield text(left + LEFT, 18, kernel.name, "title")
    yield text(left + LEFT, 36, kernel.unit, "faint")
    for tick in range(math.ceil(most / step) + 1):
        rate = tick * step
        yield line("grid" if tick else "one", (x(0), y(rate)), (left + WIDTH - RIGHT, y(rate)))
        yield text(left + LEFT - 6, y(rate) + 4, f"{rate:g}", "faint", "end")
    for index, point in enumerate(measured):
        yield text(x(index), HEIGHT - BOTTOM + 16, str(point.threads), "faint", "middle")
    for kind, rates in (
        ("limit", [point.limit for point in measured]),
        ("ours", [point.rate for point in measured]),
    ):
        path = " ".join(f"{x(index):g},{y(rate):g}" for index, rate in enumerate(rates))
        yield f'<polyline class="{kind}" points="{path}"/>'
    for place, (kind, words) in enumerate((("ours", "mapcall"), ("limit", kernel.limit_name))):
        start, end = left + LEFT + 90 * place, left + LEFT + 90 * place + 22
        yield f'<polyline class="{kind}" points="{start},{HEIGHT - 12} {end},{HEIGHT - 12}"/>'
        yield text(end + 6, HEIGHT - 8, words)


def picture(measured: Sequence[tuple[Kernel, Sequence[Point]]]) -> str:
    """Returns the charts of all kernels as SVG.

    >>> kernel = Kernel("sum", "memmove", "GB/s", 1.0, print, print)
    >>> picture([(kernel, [Point(1, 5.0, 6.0), Point(2, 9.0, 10.0)])]).count("<polyline")
    4
    """
    width = WIDTH * len(measured)
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" '
        f'width="{width}" height="{HEIGHT}">',
        "<title>The rate of batches by the number of threads, and the machine's limit</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{HEIGHT}" fill="#fff"/>',
    ]
    charts = [
        part
        for index, (kernel, rates) in enumerate(measured)
        for part in chart(kernel, rates, index * WIDTH)
    ]
    return "\n".join([*head, *charts, "</svg>", ""])


def default_counts(cpus: int) -> list[int]:
    """Returns the powers of two below a number of processors, and that number.

    >>> default_counts(1), default_counts(2), default_counts(12)
    ([1], [1, 2], [1, 2, 4, 8, 12])
    """
    return [1 << power for power in range((cpus - 1).bit_length())] + [cpus]


def run(
    directory: Path, libraries: Path, counts: Sequence[int], mib: int, rounds: int
) -> Iterator[tuple[Kernel, list[Point]]]:
    """Prints the table while it measures, and yields the points of each kernel."""
    size = max(mib, 2) // 2 * 2 * MIB
    pool, new = Pool(max(counts)), directory / "new.npy"
    makers: tuple[Callable[[], Kernel], ...] = (
        lambda: memory(libraries, pool, size),
        lambda: cores(libraries, pool, size // 512),
        lambda: new_file(libraries, pool, new, size),
    )
    for make in makers:
        kernel = make()
        print(f"\n{kernel.name} ({kernel.unit})")
        print(f"{'threads':>8}{'mapcall':>10}{kernel.limit_name:>12}{'ratio':>8}{'speed-up':>10}")
        measured: list[Point] = []
        for point in points(kernel, counts, rounds, new):
            measured.append(point)
            print(
                f"{point.threads:8}{point.rate:10.3g}{point.limit:12.3g}{point.ratio:8.2f}"
                f"{point.rate / measured[0].rate:10.2f}",
                flush=True,
            )
        yield kernel, measured


def main() -> None:
    parser = argparse.ArgumentParser(description="Rates of batches by the number of threads.")
    cpus = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, nargs="+", default=default_counts(cpus))
    parser.add_argument("--mib", type=int, default=1024, help="the size of each array, in MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the rates to FILE")
    parser.add_argument(
        "--directory", type=Path, default=builds.DIRECTORY, help="of the new files: on a disk"
    )
    chosen = parser.parse_args()
    counts = sorted(set(chosen.threads))
    if counts[0] < 1:
        parser.error(f"--threads: expected numbers from 1 on, got {counts[0]}")
    chosen.directory.mkdir(parents=True, exist_ok=True)
    print(f"{cpus} processors, files in {chosen.directory}")
    with (
        contextlib.suppress(KeyboardInterrupt),
        tempfile.TemporaryDirectory(prefix="scale-", dir=chosen.directory) as name,
    ):
        measured = list(run(Path(name), builds.DIRECTORY, counts, chosen.mib, chosen.rounds))
        if chosen.svg is not None:
            chosen.svg.write_text(picture(measured))


if __name__ == "__main__":
    main()
