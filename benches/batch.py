"""Compares batches with loops in C and other tools: the budgets of docs/design.md.

The C loop calls a function of another shared library by a pointer, so it can't be inlined. LuaJIT
and Numba call the same function. All write to an existing array, except where the name says "new".
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy

import builds
import mapcall
from harness import Report, Row, Skipped, Timed, Work, options
from rivals import LuaJIT

SOURCES = Path(__file__).parent / "batch"


@dataclass(frozen=True)
class Batch:
    """A function, and the arrays that it is called over."""

    function: mapcall.Function
    inputs: tuple[numpy.ndarray, ...]
    out: numpy.ndarray
    # Whether each call makes a new array.
    allocates: bool = False

    def work(self, **keywords: Any) -> Work:
        """Returns a batch by mapcall."""
        if keywords:
            names = {"f": self.function, "inputs": self.inputs, "out": self.out}
            return Work("f(*inputs, out=out, **keywords)", names | {"keywords": keywords})
        return self.ufunc(self.function)

    def ufunc(self, ufunc: Callable[..., Any], statement: str = "f(*inputs, out=out)") -> Work:
        statement = "f(*inputs)" if self.allocates else statement
        return Work(statement, {"f": ufunc, "inputs": self.inputs, "out": self.out})

    def result(self, work: Work) -> numpy.ndarray:
        """Runs the work, and returns the array that it returns or writes."""
        result = eval(work.statement, dict(work.names))
        return result if isinstance(result, numpy.ndarray) else self.out

    @property
    def items(self) -> int:
        return len(self.inputs[0])

    @property
    def in_c(self) -> Any:
        """The function by ctypes."""
        function = getattr(ctypes.CDLL(self.function.library.path), self.function.name)
        if self.out.ndim == 1:
            function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double]
        else:
            function.restype, function.argtypes = None, [ctypes.c_void_p] * 3
        return function


def kernels(directory: Path) -> Any:
    return mapcall.load(builds.library(SOURCES / "kernels.c", directory))


def cos(directory: Path, items: int = 10**7, allocates: bool = False) -> Batch:
    function = mapcall.load("m").function("double cos(double x)")
    return Batch(function, (numpy.linspace(0, 1, items),), numpy.zeros(items), allocates)


def plus_one(directory: Path, items: int = 10**5) -> Batch:
    """The numbers fit in a core's cache, so the calls take most of the time."""
    function = kernels(directory).function("double f(double x)")
    return Batch(function, (numpy.linspace(0, 1, items),), numpy.zeros(items))


def cross(directory: Path, items: int = 10**6) -> Batch:
    prototype = "void cross(const double a[3], const double b[3], double c[restrict 3])"
    a, b = numpy.random.default_rng(0).random((2, items, 3))
    return Batch(kernels(directory).function(prototype), (a, b), numpy.zeros((items, 3)))


def tgamma(directory: Path, items: int = 10**6) -> Batch:
    """It computes long and reads little memory, so it runs faster on two cores."""
    function = mapcall.load("m").function("double tgamma(double x)")
    return Batch(function, (numpy.linspace(1, 20, items),), numpy.zeros(items))


def c_loop(batch: Batch, directory: Path) -> Work:
    """Returns a loop in C that is compiled with `-O2`."""
    library = ctypes.CDLL(str(builds.library(SOURCES / "loops.c", directory, "-O2")))
    loop = library.over_numbers if batch.out.ndim == 1 else library.over_rows
    loop.restype = None
    loop.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_void_p] * (len(batch.inputs) + 1)]
    addresses = [each.ctypes.data for each in (*batch.inputs, batch.out)]
    names = {
        "loop": loop,
        "function": ctypes.cast(batch.in_c, ctypes.c_void_p),
        "items": batch.items,
        "addresses": addresses,
        "arrays": (batch.inputs, batch.out),
    }
    return Work("loop(function, items, *addresses)", names)


def two_c_loops(batch: Batch, directory: Path) -> Work:
    """Returns a C loop over each half of the calls, in two threads."""
    middle = batch.items // 2
    halves = [
        c_loop(
            Batch(batch.function, tuple(x[part] for x in batch.inputs), batch.out[part]), directory
        )
        for part in (slice(middle), slice(middle, None))
    ]
    runs = [partial(exec, half.statement, dict(half.names)) for half in halves]
    names = {"threads": ThreadPoolExecutor(2), "runs": runs}
    return Work("list(threads.map(lambda run: run(), runs))", names)


def luajit(batch: Batch, directory: Path) -> LuaJIT:
    """Returns a loop by LuaJIT, which has its own arrays and checks its result itself."""
    command = builds.tool("luajit", "luajit"), str(SOURCES / "luajit.lua")
    library = str(batch.function.library.path)
    return LuaJIT((*command, batch.function.name, library, str(batch.items)))


def numba(batch: Batch, directory: Path) -> Work:
    """Returns Numba's `vectorize` for numbers, `guvectorize` for rows; both call the C function."""
    package = builds.package("numba")
    function = batch.in_c
    if batch.out.ndim == 1:

        @package.vectorize("float64(float64)")
        def f(x: float) -> float:
            return function(x)

    else:

        @package.guvectorize("(float64[::1], float64[::1], float64[::1])", "(n),(n)->(n)")
        def f(a: numpy.ndarray, b: numpy.ndarray, c: numpy.ndarray) -> None:
            function(a.ctypes, b.ctypes, c.ctypes)

    return batch.ufunc(f)


def numpys(batch: Batch, directory: Path) -> Work:
    """Returns the ufunc of NumPy that computes the same."""
    if batch.function.name == "cross":
        return batch.ufunc(numpy.cross, "f(*inputs)")
    if batch.function.name == "f":
        return batch.ufunc(numpy.add, "f(*inputs, 1, out=out)")
    return batch.ufunc(getattr(numpy, batch.function.name))


Make = Callable[[Batch, Path], Timed]

# The rivals of each batch, each with its budget in docs/design.md, if it has one.
RIVALS: Mapping[str, tuple[Callable[..., Batch], Mapping[str, tuple[Make, float | None]]]] = {
    "cos on {:,}": (
        cos,
        {
            "C loop": (c_loop, 1.03),
            "LuaJIT": (luajit, None),
            "numba vectorize": (numba, None),
            "numpy.cos": (numpys, None),
        },
    ),
    "x + 1 on {:,}": (
        plus_one,
        {
            "C loop": (c_loop, 1.2),
            "LuaJIT": (luajit, None),
            "numba vectorize": (numba, None),
            "numpy.add": (numpys, None),
        },
    ),
    "cross on {:,}": (
        cross,
        {
            "C loop": (c_loop, 1.2),
            "LuaJIT": (luajit, None),
            "numba guvectorize": (numba, None),
            "numpy.cross": (numpys, None),
        },
    ),
    "cos on 16": (partial(cos, items=16), {"numpy.cos": (numpys, 1.0)}),
    "cos on 16, a new array": (
        partial(cos, items=16, allocates=True),
        {"numpy.cos": (numpys, 1.0)},
    ),
    "cross on 16": (
        partial(cross, items=16),
        {"numba guvectorize": (numba, 0.8), "numpy.cross": (numpys, None)},
    ),
}

TWO_THREADS: Mapping[str, tuple[Make, float | None]] = {
    "one thread": (lambda batch, _: batch.work(), 0.55),
    "two C loops": (two_c_loops, None),
}


def row(directory: Path, name: str, rival: str, **size: int) -> Row:
    """Returns a row of one batch and one rival, whose results are the same."""
    make_batch, others = RIVALS[name]
    batch = make_batch(directory, **size)
    make, budget = others[rival]
    ours, other = batch.work(), make(batch, directory)
    agree(batch, ours, other)
    return Row(f"{name.format(batch.items)}: {rival}", ours, other, budget)


def two_threads(directory: Path, rival: str, **size: int) -> Row:
    batch = tgamma(directory, **size)
    make, budget = TWO_THREADS[rival]
    ours, other = batch.work(threads=2), make(batch, directory)
    agree(batch, ours, other)
    return Row(f"tgamma, two threads: {rival}", ours, other, budget)


def agree(batch: Batch, ours: Work, other: Timed) -> None:
    """Runs both, and compares their results. A rival in another process checks its own result."""
    expected = batch.result(ours).copy()
    assert not numpy.array_equal(expected, numpy.zeros_like(expected))
    if isinstance(other, Work):
        batch.out[:] = 0
        # NumPy's `cos` is not that of the C library.
        numpy.testing.assert_allclose(batch.result(other), expected, rtol=1e-14, atol=1e-14)


def rows(directory: Path) -> Iterator[Row | Skipped]:
    """Yields all rows. The libraries that are compiled for them stay in `directory`."""
    for name, (_, others) in RIVALS.items():
        for rival in others:
            try:
                yield row(directory, name, rival)
            except builds.MissingError as error:
                yield Skipped(f"{name.split(' on')[0]}: {rival}", str(error))
    for rival in TWO_THREADS:
        yield two_threads(directory, rival)


def main() -> None:
    report = Report("Batch", options(__doc__).parse_args().json)
    report.measure(rows(builds.DIRECTORY), rounds=15)


if __name__ == "__main__":
    main()
