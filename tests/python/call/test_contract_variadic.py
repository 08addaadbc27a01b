"""Variadic functions by fixed prototypes.

The caller passes in AL the maximum number of vector registers used (x86-64 psABI 3.2.3).

The last byte of each function's address is 0, which AL would be by chance if no code set it.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

import mapcall
from counted import PRELUDE, Counted

SOURCE = (
    PRELUDE
    + """
    #include <stdarg.h>
    #define FUNCTION __attribute__((aligned(256), noinline))
    FUNCTION double total(int n, ...)
    {
        CALLED;
        va_list all;
        double sum = 0;
        va_start(all, n);
        while (n--) sum += va_arg(all, double);
        va_end(all);
        return sum;
    }
    /* How curl_easy_setopt and ioctl are: what comes last depends on what was asked for. */
    FUNCTION double set(void *handle, int option, ...)
    {
        CALLED;
        va_list all;
        va_start(all, option);
        double value = option ? va_arg(all, double) : va_arg(all, long);
        va_end(all);
        return value;
    }
    FUNCTION double mean(double *out, size_t n, const double *x, ...)
    {
        CALLED;
        va_list all;
        va_start(all, x);
        *out = va_arg(all, double);
        va_end(all);
        for (size_t i = 0; i < n; i++) *out += x[i];
        return *out;
    }
    """
)


@pytest.fixture(scope="module")
def c(compile_c: Any) -> Counted:
    return Counted(compile_c(SOURCE))


@pytest.mark.parametrize("count", range(1, 13))
def test_single_calls(c: Counted, count: int) -> None:
    parameters = ", ".join(f"double x{i}" for i in range(count))
    total = c.function(f"double total(int n, {parameters})")
    values = [i + 0.5 for i in range(count)]
    for call in (total, total.unchecked):
        assert call(count, *values) == sum(values)
        assert call(n=count, **{f"x{i}": x for i, x in enumerate(values)}) == sum(values)


def test_options_of_other_types(c: Counted) -> None:
    assert c.function("double set(void *handle, int option, double value)")(None, 1, 2.5) == 2.5
    assert c.function("double set(void *handle, int option, long value)")(None, 0, 7) == 7


def test_beside_arrays(c: Counted) -> None:
    mean = c.function("double mean(double out[1], size_t n, const double x[n], double start)")
    x = np.arange(12.0).reshape(3, 4)
    out = np.zeros(1)
    assert mean(out, x[1], 0.5) == out[0] == 22.5
    starts = np.array([0.5, 1.5, 2.5])
    results, outs = mean(None, x, starts)
    assert results.tolist() == (x.sum(1) + starts).tolist() == outs[:, 0].tolist()


@pytest.mark.parametrize("threads", [1, 2])
def test_batches(c: Counted, threads: int) -> None:
    total = c.function("double total(int n, double a, double b)")
    a, b = np.arange(60.0).reshape(3, 20), np.arange(20.0)
    for x, y in [(a, b), (a[:, ::2], b[::-2]), (a, 2.5), (a.T[::-1], a.T), (1.5, b)]:
        assert np.array_equal(total(2, x, y, threads=threads), x + y)
    assert np.array_equal(total(np.full(3, 2, "i4"), a[:, 0], 1.0, threads=threads), a[:, 0] + 1)


def test_with_a_check(c: Counted) -> None:
    """The calls of a batch whose results are checked by Python are made one by one."""
    seen: list[float] = []
    total = c.function("double total(int n, double a)", check=lambda value: seen.append(value))
    total(1, np.array([1.0, 2.0]))
    assert seen == [1.0, 2.0]


def test_by_ctypes_too(c: Counted) -> None:
    """ctypes gives the same results for all arguments that it can pass."""
    total = ctypes.CDLL(str(c.path)).total
    total.restype = ctypes.c_double
    expected = total(3, *map(ctypes.c_double, (1.5, 2.5, 3.5)))
    assert (
        mapcall.load(c.path).function("double total(int n, double a, double b, double d)")(
            3, 1.5, 2.5, 3.5
        )
        == expected
    )
