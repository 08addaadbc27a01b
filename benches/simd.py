"""Compares batches by vector variants with NumPy's, SciPy's and Numba's own vector code.

The arrays fit in a core's cache. The rival of a function is the faster one of the packages that
have it, which is found by measuring them first. Where a batch takes longer than the rival, another
row without a budget compares it with a plain loop in C over the same variant.
"""

from __future__ import annotations

import ctypes
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

import builds
import mapcall
from harness import (
    Limited,
    Report,
    Result,
    Row,
    Skipped,
    Work,
    alone,
    measure,
    options,
    rounded,
)

SOURCES = Path(__file__).parent / "batch"

# A function of libm, and the ends of the interval of each of its arguments.
FUNCTIONS: dict[str, tuple[tuple[float, float], ...]] = {
    "cos": ((-10, 10),),
    "sin": ((-10, 10),),
    "exp": ((-10, 10),),
    "log": ((0.01, 100),),
    "tanh": ((-5, 5),),
    "cbrt": ((-100, 100),),
    "pow": ((0.1, 10), (-3, 3)),
    "atan2": ((-10, 10), (-10, 10)),
    "erf": ((-3, 3),),
}

# The functions for which NumPy has vector code of its own on a machine with AVX-512.
VECTORISED = {
    "float64": {"exp", "log", "tanh", "cbrt", "pow", "atan2", "sin", "cos"},
    "float32": set(FUNCTIONS) - {"erf"},
}

# The letters of instruction sets in the names of variants, the sizes of their registers in bytes,
# and NumPy's names.
REGISTERS = (("e", 64, "AVX512F"), ("d", 32, "AVX2"), ("b", 16, "SSE42"))

# NumPy's name, where it is not that of C.
NUMPYS = {"pow": "power", "atan2": "arctan2"}


def has(*features: str) -> bool:
    """Returns whether NumPy found all these features of the processor."""
    from numpy._core._multiarray_umath import __cpu_features__

    return all(__cpu_features__.get(feature, False) for feature in features)


@dataclass(frozen=True)
class Case:
    """A function of libm over arrays of one dtype."""

    name: str
    dtype: str
    items: int = 10**5

    @property
    def inputs(self) -> tuple[numpy.ndarray, ...]:
        generator = numpy.random.default_rng(0)
        return tuple(
            generator.uniform(low, high, self.items).astype(self.dtype)
            for low, high in FUNCTIONS[self.name]
        )

    @property
    def function(self) -> mapcall.Function:
        ctype, suffix = ("double", "") if self.dtype == "float64" else ("float", "f")
        names = ", ".join(f"{ctype} {name}" for name in "xy"[: len(FUNCTIONS[self.name])])
        return mapcall.load("m").function(f"{ctype} {self.name}{suffix}({names})")

    def work(self, **keywords: Any) -> Work:
        """Returns the batch by mapcall."""
        names = {"f": self.function, "x": self.inputs, "out": self.out(), "keywords": keywords}
        return Work("f(*x, out=out, **keywords)", names)

    def out(self) -> numpy.ndarray:
        return numpy.zeros(self.items, self.dtype)

    def ufunc(self, ufunc: Any) -> Work:
        return Work("f(*x, out=out)", {"f": ufunc, "x": self.inputs, "out": self.out()})

    def numpys(self) -> Work:
        name = NUMPYS.get(self.name, self.name)
        ufunc = getattr(builds.package("scipy.special") if name == "erf" else numpy, name)
        return self.ufunc(ufunc)

    def c_loop(self, directory: Path) -> Work:
        """Returns a loop in C over the widest variant, by its pointer."""
        letter, width = next(
            (letter, width) for letter, width, feature in REGISTERS if has(feature)
        )
        lanes = width // numpy.dtype(self.dtype).itemsize
        # The arrays fill the registers.
        assert self.items % lanes == 0
        count = len(FUNCTIONS[self.name])
        ctype, suffix = ("double", "") if self.dtype == "float64" else ("float", "f")
        symbol = f"_ZGV{letter}N{lanes}{'v' * count}_{self.name}{suffix}"
        command = [builds.tool("cc", "gcc"), "-shared", "-fPIC", "-O3", "-march=native"]
        source = SOURCES / "variants.c"
        library = builds.build(directory, "variants", [*command, f"-DBYTES={width}"], source)
        loop = getattr(ctypes.CDLL(str(library)), f"{ctype}_{count}")
        arrays = (*self.inputs, self.out())
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
        variant = ctypes.cast(getattr(ctypes.CDLL("libmvec.so.1"), symbol), ctypes.c_void_p)
        arguments = (variant, ctypes.c_size_t(self.items), *pointers)
        names = {"f": loop, "arguments": arguments, "arrays": arrays, "out": arrays[-1]}
        return Work("f(*arguments)", names)

    def numbas(self) -> Work:
        """Returns Numba's `vectorize` of the function of Python's `math`."""
        package = builds.package("numba")
        import math

        function = getattr(math, self.name)
        kind = self.dtype
        signature = f"{kind}({', '.join([kind] * len(self.inputs))})"
        calls = (lambda x: function(x)) if len(self.inputs) == 1 else (lambda x, y: function(x, y))
        try:
            return self.ufunc(package.vectorize(signature)(calls))
        except package.core.errors.TypingError as error:
            raise builds.MissingError(f"numba does not know math.{self.name}") from error


def row(case: Case, rounds: int = 5) -> Row:
    """Returns the row of a function, whose rival is the faster of NumPy (SciPy) and Numba."""
    ours = case.work(simd=True)
    rivals = {}
    for name, make in (("NumPy", case.numpys), ("numba", case.numbas)):
        try:
            rivals[name] = make()
        except builds.MissingError:
            if name == "NumPy":
                raise
    if case.name == "erf":
        rivals["SciPy"] = rivals.pop("NumPy")
    for rival in rivals.values():
        agree(case, ours, rival)
    fastest = min(rivals, key=lambda name: alone(rivals[name], rounds, 0.005))
    is_vectorised = has("AVX512F", "AVX512_SKX") and case.name in VECTORISED[case.dtype]
    budget = 1.3 if is_vectorised else None
    return Row(f"{case.name}, {case.dtype}: {fastest}", ours, rivals[fastest], budget)


def c_row(case: Case, directory: Path) -> Row:
    """Returns the row of a function against a loop in C over the variant that the batch calls."""
    ours, rival = case.work(simd=True), case.c_loop(directory)
    agree(case, ours, rival)
    return Row(f"{case.name}, {case.dtype}: C loop", ours, rival, None)


def agree(case: Case, ours: Work, rival: Work) -> None:
    """Runs both, and compares their results."""
    for work in (ours, rival):
        work.run()
    tolerance = 16 * numpy.finfo(case.dtype).eps
    numpy.testing.assert_allclose(
        ours.names["out"], rival.names["out"], rtol=tolerance, atol=tolerance
    )


def cos(items: int = 10**5) -> Row:
    """Returns the row of `cos` against NumPy alone."""
    case = Case("cos", "float64", items)
    ours, rival = case.work(simd=True), case.numpys()
    agree(case, ours, rival)
    budget = 0.20 if has("AVX2") else 0.7
    return Row(f"cos on {items:,}: numpy.cos", ours, rival, budget)


def kernel(directory: Path, items: int = 10**5) -> Row:
    """Returns the row of a kernel with vector variants against its scalar batch."""
    source = SOURCES / "simd.c"
    command = [builds.tool("cc", "gcc"), "-shared", "-fPIC", "-O2", "-fopenmp-simd", "-lmvec"]
    library = builds.build(directory, "simd", command, source)
    swish = mapcall.load(library).function("double swish(double x)")
    x = numpy.linspace(-10, 10, items)
    expected = x / (1 + numpy.exp(-x))
    numpy.testing.assert_allclose(swish(x, simd=True), expected, rtol=1e-14)
    names = {"f": swish, "x": x, "out": numpy.zeros(items)}
    ours, scalar = Work("f(x, out=out, simd=True)", names), Work("f(x, out=out)", names)
    return Row(f"x / (1 + exp(-x)) on {items:,}: scalar", ours, scalar, 0.4)


def results(directory: Path) -> Iterator[Result | Limited | Skipped]:
    """Yields all rows, measured, and the geometric mean of the functions."""
    try:
        ctypes.CDLL("libmvec.so.1")
    except OSError:
        yield Skipped("vector variants", "the C library has none: the GNU C library has libmvec")
        return
    yield measure(cos(), rounds=15)
    yield measure(kernel(directory), rounds=15)
    ratios = []
    for dtype in ("float64", "float32"):
        for name in FUNCTIONS:
            case = Case(name, dtype)
            try:
                result = measure(row(case), rounds=15)
            except builds.MissingError as error:
                yield Skipped(f"{name}, {dtype}", str(error))
                continue
            ratios.append(result.ratio)
            yield result
            if result.ratio > 1:
                yield measure(c_row(case, directory), rounds=15)
    mean = statistics.geometric_mean(ratios)
    yield Limited("geometric mean", rounded(mean), 0.7, "of the rival's time")


def main() -> None:
    report = Report("Vector variants", options(__doc__).parse_args().json)
    for result in results(builds.DIRECTORY):
        report.add(result)


if __name__ == "__main__":
    main()
