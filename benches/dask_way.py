"""Dask's own way to files and C: a `dask.delayed` around `numpy.memmap` for each block, and ctypes.

The workers of a cluster import this module.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy

import builds


def load(path: Path, offset: int, shape: tuple[int, ...], part: slice) -> Any:
    """Returns rows of a file of numbers.

    >>> numpy.arange(8.0).tofile("x.f8")
    >>> load(Path("x.f8"), 16, (3, 2), slice(1, 2))
    memmap([[4., 5.]])
    """
    return numpy.memmap(path, "f8", "r", offset, shape)[part]


def blocks(path: Path, offset: int, shape: tuple[int, ...], rows: int) -> Any:
    """Returns a file of numbers as a Dask array, in blocks of rows.

    It is the way of Dask's documentation, "Create Dask Arrays", section "Memory mapping".

    >>> numpy.arange(8.0).tofile("x.f8")
    >>> float(blocks(Path("x.f8"), 0, (4, 2), 3).sum().compute(scheduler="synchronous"))
    28.0
    """
    dask, array = builds.package("dask"), builds.package("dask.array")
    block = dask.delayed(load)
    parts = []
    for start in range(0, shape[0], rows):
        count = min(rows, shape[0] - start)
        part = block(path, offset, shape, slice(start, start + count))
        parts.append(array.from_delayed(part, shape=(count, *shape[1:]), dtype="f8"))
    return array.concatenate(parts)


@functools.cache
def function(library: Path, name: str) -> Any:
    """Returns ``double name(size_t n, const double x[n])`` by ctypes, once in each process."""
    found = ctypes.CDLL(str(library))[name]
    found.restype = ctypes.c_double
    found.argtypes = [ctypes.c_size_t, ctypes.c_void_p]
    return found


def over_rows(block: Any, library: Path, name: str) -> Any:
    """Returns the values of a function of a library for the rows of a block.

    >>> import batch
    >>> kernels = builds.library(batch.SOURCES / "kernels.c")
    >>> over_rows(numpy.ones((2, 3)), kernels, "squares")
    array([3., 3.])
    """
    called = function(library, name)
    start, stride = block.ctypes.data, block.strides[0]
    length = block.shape[1]
    return numpy.array([called(length, start + row * stride) for row in range(len(block))])
