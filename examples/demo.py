"""A `.npy` file that NumPy wrote, mapped by mapcall, handed to functions of shared libraries.

Each function is called by its C prototype, on the mapped file itself: nothing is copied. Beside its
result stands NumPy's own (for crc32, Python's), and the time that each took.
"""

from __future__ import annotations

import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy

import mapcall


class Row(NamedTuple):
    """One call of a library, with NumPy's beside it."""

    library: str
    call: str
    result: float
    expected: float
    seconds: float
    numpy_seconds: float

    @property
    def agrees(self) -> bool:
        return bool(numpy.isclose(self.result, self.expected, rtol=1e-10))


def load(name: str, package: str) -> mapcall.Library:
    """A library of the system by its bare name."""
    try:
        return mapcall.load(name)
    except mapcall.LibraryError as error:
        sys.exit(f"{error}\non Debian: apt-get install {package}")


def openblas() -> tuple[mapcall.Library, str]:
    """The system's OpenBLAS, else PyPI's, and the prefix of its functions' names."""
    try:
        return mapcall.load("openblas"), ""
    except mapcall.LibraryError as error:
        missing = error
    try:
        import scipy_openblas32
    except ImportError:
        sys.exit(
            f"{missing}\non Debian: apt-get install libopenblas0; or pip install scipy-openblas32"
        )
    path = next(Path(scipy_openblas32.get_lib_dir()).glob("libscipy_openblas*"))
    return mapcall.load(path), "scipy_"


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def rows(directory: Path, size: int) -> Iterator[Row]:
    """Calls every library on a file of `size` doubles in `directory`."""
    rng = numpy.random.default_rng(0)
    numpy.save(directory / "x.npy", rng.standard_normal(size))
    side = int(size**0.5)
    numpy.save(directory / "matrix.npy", rng.standard_normal((side, side)))

    x = mapcall.open(directory / "x.npy")
    matrix = mapcall.open(directory / "matrix.npy")
    loaded, loaded_matrix = numpy.array(x), numpy.array(matrix)

    # libm writes the whole part straight into a new mapped file.
    modf = load("m", "libc6").function("double modf(double x, double whole[1])")
    whole = mapcall.create(directory / "whole.npy", shape=1000)

    def split() -> float:
        return sum(modf(x[i], whole[i : i + 1]) for i in range(len(whole)))

    fraction, seconds = timed(split)
    parts, numpy_seconds = timed(lambda: numpy.modf(loaded[:1000]))
    yield Row("libm", "modf: result", fraction, parts[0].sum(), seconds, numpy_seconds)
    written = numpy.load(directory / "whole.npy").sum()
    yield Row("libm", "modf: file", written, parts[1].sum(), seconds, numpy_seconds)

    crc32 = load("z", "zlib1g").function(
        "unsigned long crc32(unsigned long crc, const unsigned char data[size], unsigned size)"
    )
    crc, seconds = timed(lambda: crc32(0, x.view("u1")))
    expected, numpy_seconds = timed(lambda: zlib.crc32(loaded))
    yield Row("zlib", "crc32", crc, expected, seconds, numpy_seconds)

    blas, prefix = openblas()
    ddot = blas.function(
        f"double {prefix}cblas_ddot("
        "    int n, const double x[n], int incx, const double y[n], int incy)"
    )
    dot, seconds = timed(lambda: ddot(x, 1, x, 1))
    expected, numpy_seconds = timed(lambda: loaded @ loaded)
    yield Row("OpenBLAS", "cblas_ddot", dot, expected, seconds, numpy_seconds)

    dgemv = blas.function(
        f"void {prefix}cblas_dgemv("
        "    int order, int transpose, int m, int n, double alpha, const double a[m][n], int lda,"
        "    const double x[n], int incx, double beta, double y[restrict m], int incy)"
    )
    y = mapcall.create(directory / "y.npy", shape=side)
    row_major, no_transpose = 101, 111
    _, seconds = timed(
        lambda: dgemv(row_major, no_transpose, 1.0, matrix, side, x[:side], 1, 0.0, y, 1)
    )
    product, numpy_seconds = timed(lambda: loaded_matrix @ loaded[:side])
    yield Row("OpenBLAS", "cblas_dgemv", y.sum(), product.sum(), seconds, numpy_seconds)


def main() -> None:
    size = 16_000_000
    print(f"A file of {size:,} doubles ({size * 8 >> 20} MiB), mapped, and C called on it:\n")
    print(f"{'':24}{'---- result ----':^40}{'-- ms --':^20}")
    print(f"{'library':10}{'function':14}{'mapcall':>20}{'NumPy':>20}{'mapcall':>10}{'NumPy':>10}")
    agree = True
    with tempfile.TemporaryDirectory() as directory:
        for row in rows(Path(directory), size):
            print(
                f"{row.library:10}{row.call:14}{row.result:20.12g}{row.expected:20.12g}"
                f"{row.seconds * 1e3:10.1f}{row.numpy_seconds * 1e3:10.1f}"
                f"  {'agrees' if row.agrees else 'DIFFERS'}",
                flush=True,
            )
            agree &= row.agrees
    if not agree:
        sys.exit("\nA result differs from NumPy's.")


if __name__ == "__main__":
    main()
