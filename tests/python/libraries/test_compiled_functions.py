"""What users of numba and SciPy do: functions of theirs in C, and of C in theirs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mapcall

SOURCE = r"""
double midpoint(double (*f)(double x, void *data), double a, double b, int n, void *data)
{
    double sum = 0, h = (b - a) / n;
    for (int i = 0; i < n; i++) sum += f(a + (i + 0.5) * h, data);
    return sum * h;
}
double each(int n, const double *x, double (*f)(const double *x, int n)) { return f(x, n); }
double square(double x) { return x * x; }
"""
MIDPOINT = """
    double midpoint(double (*f)(double x, void *data), double a, double b, int n, void *data)
"""


@pytest.fixture(scope="module")
def lib(compile_c: Any) -> mapcall.Library:
    return mapcall.load(compile_c(SOURCE))


def test_numba(lib: mapcall.Library) -> None:
    numba = pytest.importorskip("numba")
    types = numba.types

    @numba.cfunc(types.float64(types.float64, types.voidptr))
    def scaled(x: Any, data: Any) -> Any:
        return 3 * x * x * numba.carray(data, 1, types.float64)[0]

    midpoint = lib.function(MIDPOINT)
    assert midpoint(scaled, 0, 1, 1000, np.array([2.0])) == pytest.approx(2, abs=1e-5)

    @numba.cfunc(types.float64(types.CPointer(types.float64), types.int32))
    def total(x: Any, n: Any) -> Any:
        return numba.carray(x, n).sum()

    each = lib.function(
        "double each(int n, const double x[n], double (*f)(const double x[n], int n))"
    )
    assert each(np.arange(5.0), total) == 10
    with pytest.raises(mapcall.ArgumentError, match=r"got `double \(double, void \*\)`"):
        each(np.arange(5.0), scaled)

    # A function of C in compiled code.
    square = lib.function("double square(double x)").ctypes
    sum_up = each.ctypes
    of_c = total.ctypes

    @numba.njit
    def norm(x: Any) -> Any:
        result = 0.0
        for value in x:
            result += square(value)
        return result

    assert norm(np.arange(4.0)) == 14
    assert of_c is not None
    assert sum_up is not None


def test_scipy(lib: mapcall.Library) -> None:
    scipy = pytest.importorskip("scipy")
    from scipy import integrate

    square = lib.function("double square(double x)")
    low = scipy.LowLevelCallable(square.ctypes)
    assert low.signature == "double (double)"
    assert integrate.quad(low, 0, 3)[0] == pytest.approx(9)
    midpoint = lib.function(MIDPOINT)
    callback = midpoint.callback("f", lambda x, data: x * x)
    low = scipy.LowLevelCallable(callback.ctypes)
    assert integrate.quad(low, 0, 3)[0] == pytest.approx(9)
    # And back.
    assert midpoint(low, 0, 3, 1000, None) == pytest.approx(9, abs=1e-4)
    with pytest.raises(mapcall.ArgumentError, match=r"got `double \(double\)`"):
        midpoint(scipy.LowLevelCallable(square.ctypes), 0, 3, 1000, None)
