"""A `.npy` file that NumPy wrote, mapped by mapcall, handed to real shared libraries.

Each library gets the address of the mapped file through the `ctypes` attribute: nothing is copied.
Beside its result stands NumPy's own (for crc32, Python's), and the time that each took.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from ctypes import POINTER, c_double, c_int, c_uint, c_ulong
from ctypes.util import find_library
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


def openblas() -> tuple[ctypes.CDLL, str]:
    """The system's OpenBLAS, else PyPI's, and the prefix of its functions' names."""
    name = find_library("openblas")
    if name is not None:
        return ctypes.CDLL(name), ""
    try:
        import scipy_openblas32
    except ImportError:
        sys.exit(
            "OpenBLAS is missing: on Debian, apt-get install libopenblas0; "
            "or pip install scipy-openblas32"
        )
    path = next(Path(scipy_openblas32.get_lib_dir()).glob("libscipy_openblas*"))
    return ctypes.CDLL(str(path)), "scipy_"


def library(name: str, package: str) -> ctypes.CDLL:
    """A library of the system by its bare name."""
    found = find_library(name)
    if found is None:
        sys.exit(f"lib{name} is missing: on Debian, apt-get install {package}")
    return ctypes.CDLL(found)


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
    double_p = POINTER(c_double)

    # libm writes the whole part straight into a new mapped file.
    whole = mapcall.create(directory / "whole.npy", shape=1000)
    modf = library("m", "libc6").modf
    modf.restype, modf.argtypes = c_double, [c_double, double_p]

    def split() -> float:
        return sum(modf(x[i], whole[i:].ctypes.data_as(double_p)) for i in range(len(whole)))

    fraction, seconds = timed(split)
    parts, numpy_seconds = timed(lambda: numpy.modf(loaded[:1000]))
    yield Row("libm", "modf: result", fraction, parts[0].sum(), seconds, numpy_seconds)
    written = numpy.load(directory / "whole.npy").sum()
    yield Row("libm", "modf: file", written, parts[1].sum(), seconds, numpy_seconds)

    crc32 = library("z", "zlib1g").crc32
    crc32.restype, crc32.argtypes = c_ulong, [c_ulong, ctypes.c_void_p, c_uint]
    crc, seconds = timed(lambda: crc32(0, x.ctypes, x.nbytes))
    expected, numpy_seconds = timed(lambda: zlib.crc32(loaded))
    yield Row("zlib", "crc32", crc, expected, seconds, numpy_seconds)

    blas, prefix = openblas()
    ddot = getattr(blas, f"{prefix}cblas_ddot")
    ddot.restype, ddot.argtypes = c_double, [c_int, double_p, c_int, double_p, c_int]
    pointer = x.ctypes.data_as(double_p)
    dot, seconds = timed(lambda: ddot(x.size, pointer, 1, pointer, 1))
    expected, numpy_seconds = timed(lambda: loaded @ loaded)
    yield Row("OpenBLAS", "cblas_ddot", dot, expected, seconds, numpy_seconds)

    row_major, no_transpose = 101, 111
    y = mapcall.create(directory / "y.npy", shape=side)
    dgemv = getattr(blas, f"{prefix}cblas_dgemv")
    dgemv.restype = None
    dgemv.argtypes = [c_int, c_int, c_int, c_int, c_double, double_p, c_int, double_p, c_int]
    dgemv.argtypes += [c_double, double_p, c_int]
    arguments = (
        *(row_major, no_transpose, *matrix.shape, 1.0, matrix.ctypes.data_as(double_p), side),
        *(pointer, 1, 0.0, y.ctypes.data_as(double_p), 1),
    )
    _, seconds = timed(lambda: dgemv(*arguments))
    product, numpy_seconds = timed(lambda: loaded_matrix @ loaded[:side])
    yield Row("OpenBLAS", "cblas_dgemv", y.sum(), product.sum(), seconds, numpy_seconds)


def main() -> None:
    size = 16_000_000
    print(f"A file of {size:,} doubles ({size * 8 >> 20} MiB), mapped and handed to C:\n")
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
