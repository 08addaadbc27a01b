"""Function pointers with arrays: those that C returns, stores in structs or passes on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mapcall

SOURCE = r"""
typedef double (*norm_t)(int n, const double x[]);
typedef void (*fill_t)(int m, int n, double a[m][n]);
struct ops { norm_t norm; void (*scale)(int n, double *x, double by); fill_t fill; };
static double sum(int n, const double *x) { double s = 0; while (n) s += x[--n]; return s; }
static void scale(int n, double *x, double by) { while (n) x[--n] *= by; }
static void fill(int m, int n, double a[m][n]) { for (int i = 0; i < m * n; i++) a[0][i] = i; }
norm_t chosen(void) { return sum; }
struct ops *ops(void) { static struct ops all = {sum, scale, fill}; return &all; }
double by(norm_t norm, int n, const double *x) { return norm(n, x); }
void give(void (*take)(norm_t norm)) { take(sum); }
double filled(int m, int n, double *a, fill_t f) { f(m, n, (void *)a); return sum(m * n, a); }
void fill_by_four(int m, double a[m][4]) { for (int i = 0; i < 4 * m; i++) a[0][i] = i; }
double filled_by_four(int m, double *a, void (*f)(int m, double a[m][4]))
{ f(m, (void *)a); return sum(4 * m, a); }
"""
NORM = "typedef double (*norm_t)(int n, const double x[n]);"
OPS = (
    NORM
    + "struct ops { norm_t norm; void (*scale)(int n, double x[n], double by);"
    + " void (*fill)(int m, int n, double a[m][n]); };"
)


@pytest.fixture(scope="module")
def lib(compile_c: Any) -> mapcall.Library:
    return mapcall.load(compile_c(SOURCE))


def test_returned(lib: mapcall.Library) -> None:
    sum_up = lib.function(NORM + "norm_t chosen(void)")()
    assert sum_up.prototype == "double norm_t(int n, const double x[n])"
    assert sum_up(np.arange(4.0)) == 6
    assert sum_up(x=np.arange(4.0)[:2]) == 1
    # As with bound functions: batches, keywords, and checks.
    assert sum_up(np.ones((2, 3))).tolist() == [3, 3]
    with pytest.raises(mapcall.ArgumentError, match=r"norm_t: x: expected float64\[n\], got"):
        sum_up(np.arange(4))
    with pytest.raises(mapcall.ArgumentError, match="leave n out"):
        sum_up(np.arange(4.0), n=5)
    # And back.
    by = lib.function(NORM + "double by(norm_t norm, int n, const double x[n])")
    assert by(sum_up, np.arange(4.0)) == 6
    assert by(lambda n, x: x.max(), np.arange(4.0)) == 3


def test_members(lib: mapcall.Library) -> None:
    pointer = lib.function(OPS + "struct ops *ops(void)")()
    ops = lib.struct("ops").at(pointer)
    assert ops.norm(np.arange(4.0)) == 6
    x = np.arange(4.0)
    ops.scale(x, 2)
    assert x.tolist() == [0, 2, 4, 6]
    # An array that C writes may be left out where its lengths are known.
    assert ops.fill(m=2, n=3).tolist() == [[0, 1, 2], [3, 4, 5]]
    mine = lib.struct("ops")(norm=lambda n, x: x.min(), scale=ops.scale)
    assert mine.norm(np.arange(2.0, 5)) == 2


def test_received(lib: mapcall.Library) -> None:
    results = []
    give = lib.function(NORM + "void give(void (*take)(norm_t norm))")
    give(lambda norm: results.append(norm(np.arange(3.0))))
    assert results == [3]


def test_arrays_of_axes(lib: mapcall.Library) -> None:
    filled = lib.function(
        "double filled(int m, int n, double a[m][n], void (*f)(int m, int n, double a[m][n]))"
    )
    ops = lib.struct("ops").at(lib.function(OPS + "struct ops *ops(void)")())
    assert filled(np.zeros((2, 3)), ops.fill) == 15
    by_four = lib.function("void fill_by_four(int m, double a[m][4])")
    filled = lib.function(
        "double filled_by_four(int m, double a[m][4], void (*f)(int m, double a[m][4]))"
    )
    assert filled(np.zeros((2, 4)), by_four) == 28


def test_functions_of_a_type(lib: mapcall.Library) -> None:
    """A function that is declared by a typedef has its extents, too."""
    text = "typedef void by_four(int m, double a[m][4]); by_four fill_by_four;"
    assert lib.function(text)(m=1).tolist() == [[0, 1, 2, 3]]
