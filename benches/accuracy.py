"""Measures the errors of the C library's vector variants and of NumPy, in units in the last place.

The reference is libm's function of `long double`, whose 64 bits of precision are 11 more than those
of a double, and that of `double` for functions of `float`. It prints the table of docs/simd.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy

import mapcall

# The functions of libmvec, and the intervals of their arguments.
FUNCTIONS: dict[str, tuple[tuple[float, float], ...]] = {
    "acos": ((-1, 1),),
    "acosh": ((1, 100),),
    "asin": ((-1, 1),),
    "asinh": ((-100, 100),),
    "atan": ((-100, 100),),
    "atan2": ((-100, 100), (-100, 100)),
    "atanh": ((-1, 1),),
    "cbrt": ((-1000, 1000),),
    "cos": ((-1000, 1000),),
    "cosh": ((-80, 80),),
    "erf": ((-6, 6),),
    "erfc": ((-5, 8),),
    "exp": ((-80, 80),),
    "exp10": ((-30, 30),),
    "exp2": ((-100, 100),),
    "expm1": ((-30, 30),),
    "hypot": ((-1000, 1000), (-1000, 1000)),
    "log": ((0, 1000),),
    "log10": ((0, 1000),),
    "log1p": ((-1, 1000),),
    "log2": ((0, 1000),),
    "pow": ((0, 100), (-15, 15)),
    "sin": ((-1000, 1000),),
    "sinh": ((-80, 80),),
    "tan": ((-1000, 1000),),
    "tanh": ((-20, 20),),
}

# NumPy's names, where they are not those of C. It has no `erf`, `erfc` and `exp10`.
NUMPYS = {
    "acos": "arccos",
    "acosh": "arccosh",
    "asin": "arcsin",
    "asinh": "arcsinh",
    "atan": "arctan",
    "atan2": "arctan2",
    "atanh": "arctanh",
    "pow": "power",
}


def bound(name: str, ctype: str) -> mapcall.Function:
    """Returns the function of libm for a C type."""
    suffix = {"float": "f", "double": "", "long double": "l"}[ctype]
    parameters = ", ".join(f"{ctype} {each}" for each in "xy"[: len(FUNCTIONS[name])])
    return mapcall.load("m").function(f"{ctype} {name}{suffix}({parameters})")


def largest(found: numpy.ndarray, reference: numpy.ndarray) -> float:
    """Returns the largest error in units in the last place of the results' dtype.

    >>> largest(numpy.array([1 + 2**-51]), numpy.array([1], "longdouble"))
    2.0

    Results that overflow have none.
    """
    is_finite = numpy.isfinite(reference.astype(found.dtype))
    found, reference = found[is_finite], reference[is_finite]
    ulp = numpy.spacing(numpy.abs(reference).astype(found.dtype)).astype(reference.dtype)
    return float(numpy.max(numpy.abs(found.astype(reference.dtype) - reference) / ulp))


def errors(name: str, dtype: str, items: int) -> tuple[float, float, float | None]:
    """Returns the largest errors of the vector variant, of libm's function, and of NumPy's."""
    generator = numpy.random.default_rng(1)
    inputs = [generator.uniform(low, high, items).astype(dtype) for low, high in FUNCTIONS[name]]
    if dtype == "float64":
        wide, ctype = "long double", "double"
        exact = bound(name, wide)(*(each.astype("longdouble") for each in inputs))
    else:
        wide, ctype = "double", "float"
        exact = bound(name, wide)(*(each.astype("f8") for each in inputs))
    function = bound(name, ctype)
    ufunc = getattr(numpy, NUMPYS.get(name, name), None)
    return (
        largest(function(*inputs, simd=True), exact),
        largest(function(*inputs), exact),
        None if ufunc is None else largest(ufunc(*inputs), exact),
    )


def table(items: int) -> Iterator[str]:
    """Yields the lines of the table."""
    yield "| function | `double`: simd | libm | NumPy | `float`: simd | libm | NumPy |"
    yield "|---|---|---|---|---|---|---|"
    for name in FUNCTIONS:
        figures = [each for dtype in ("float64", "float32") for each in errors(name, dtype, items)]
        cells = ["" if each is None else f"{each:.2f}" for each in figures]
        yield f"| `{name}` | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=10**6, help="arguments of each function")
    with numpy.errstate(over="ignore"):
        for line in table(parser.parse_args().items):
            print(line, flush=True)


if __name__ == "__main__":
    main()
