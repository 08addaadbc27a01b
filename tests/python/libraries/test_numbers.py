"""NLopt, GMP, LAPACK and UMFPACK: callbacks, names that are macros, and Fortran's conventions."""

from __future__ import annotations

import math

import numpy as np
import pytest

import mapcall
from packaged import load

scipy_sparse = pytest.importorskip("scipy.sparse")


def test_nlopt() -> None:
    nlopt = load("libnlopt.so", "nlopt.h")
    create = nlopt.function(
        "nlopt_opt nlopt_create(nlopt_algorithm algorithm, unsigned n)",
        check="nonnull",
        destructor=nlopt.nlopt_destroy,
    )
    set_objective = nlopt.function(
        "nlopt_result nlopt_set_min_objective(nlopt_opt opt,"
        " double (*f)(unsigned n, const double *x, double *gradient, void *data), void *data)"
    )
    optimize = nlopt.function(
        "nlopt_result nlopt_optimize(nlopt_opt opt, double x[2], double f[1])"
    )
    calls = 0

    def rosenbrock(n: int, x: mapcall.Handle, gradient: mapcall.Handle | None, _: object) -> float:
        nonlocal calls
        calls += 1
        a, b = x.array(n)
        if gradient is not None:
            gradient.array(n)[:] = -2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)
        return (1 - a) ** 2 + 100 * (b - a * a) ** 2

    for algorithm in [nlopt.NLOPT_LD_LBFGS, nlopt.NLOPT_LN_NELDERMEAD]:
        with create(algorithm, 2) as opt:
            objective = set_objective.callback("f", rosenbrock)
            assert set_objective(opt, objective, None) == nlopt.NLOPT_SUCCESS
            nlopt.nlopt_set_xtol_rel(opt, 1e-8)
            x = np.array([-1.2, 1.0])
            status, f = optimize(opt, x)
            assert status > 0
        np.testing.assert_allclose(x, 1, atol=1e-4)
        assert f[0] < 1e-8
    assert calls > 50

    def broken(*_: object) -> float:
        raise ZeroDivisionError

    with create(nlopt.NLOPT_LN_NELDERMEAD, 2) as opt:
        nlopt.nlopt_set_maxeval(opt, 3)
        failing = set_objective.callback("f", broken)
        set_objective(opt, failing, None)
        with pytest.raises(ZeroDivisionError):
            optimize(opt, np.zeros(2))


def test_gmp() -> None:
    gmp = load("libgmp.so", "gmp.h")
    integer = gmp.struct("__mpz_struct")
    a, b, c = integer(), integer(), integer()
    for each in (a, b, c):
        gmp.mpz_init(each)

    def value(z: mapcall.StructObject) -> int:
        text = np.zeros(gmp.mpz_sizeinbase(z, 10) + 2, "i1")
        gmp.mpz_get_str.unchecked(text, 10, z)
        return int(text.tobytes().split(b"\0")[0])

    gmp.mpz_fac_ui(a, 100)
    assert value(a) == math.factorial(100)
    assert gmp.mpz_set_str(b, "-123456789012345678901234567890", 10) == 0
    gmp.mpz_mul(c, a, b)
    assert value(c) == math.factorial(100) * -123456789012345678901234567890
    gmp.mpz_powm(c, b, a, a)
    assert gmp.mpz_cmp(c, b) != 0
    for each in (a, b, c):
        gmp.mpz_clear(each)


A = "[[mapcall::column_major]] [[mapcall::stride(*lda)]] double a[*n][*n], const int *lda"
B = "[[mapcall::column_major]] [[mapcall::stride(*ldb)]] double b[*n][*nrhs], const int *ldb"
# What is read and written is given; what is only written is returned.
DGESV = f"""void dgesv_(const int *n, const int *nrhs, {A}, int ipiv[*n], {B}, int info[1])
    __attribute__((access(read_write, 3), access(read_write, 6)))"""
DPOTRF = f"""void dpotrf_(const char uplo[1], const int *n, {A}, int info[1])
    __attribute__((access(read_write, 3)))"""


def fortran(items: np.ndarray) -> np.ndarray:
    """Returns a copy of matrices whose columns are contiguous."""
    return items.swapaxes(-1, -2).copy().swapaxes(-1, -2)


def test_lapack() -> None:
    lapack = load("liblapack.so")
    dgesv = lapack.function(DGESV)
    rng = np.random.default_rng(1)
    a, b = rng.random((5, 5)) + 5 * np.eye(5), rng.random((5, 2))
    x = np.asfortranarray(b)
    factors = np.asfortranarray(a)
    pivots, info = dgesv(factors, x)
    assert info[0] == 0
    assert 1 <= pivots.min() <= pivots.max() <= 5
    np.testing.assert_allclose(a @ x, b)
    # A block of a larger array.
    whole = np.asfortranarray(np.pad(a, 1))
    x = np.asfortranarray(b)
    dgesv(whole[1:6, 1:6], x)
    np.testing.assert_allclose(a @ x, b)
    with pytest.raises(mapcall.ArgumentError, match="asfortranarray"):
        dgesv(a, x)
    with pytest.raises(mapcall.ArgumentError, match="b: "):
        dgesv(factors, np.asfortranarray(b[:4]))


def test_lapack_in_a_batch() -> None:
    lapack = load("liblapack.so")
    rng = np.random.default_rng(1)
    a, b = rng.random((1000, 3, 3)) + 3 * np.eye(3), rng.random((1000, 3, 1))
    x = fortran(b)
    _, info = lapack.function(DGESV)(fortran(a), x)
    assert not info.any()
    np.testing.assert_allclose(x, np.linalg.solve(a, b))

    symmetric = a @ a.swapaxes(-1, -2)
    lower = fortran(symmetric)
    (info,) = np.atleast_2d(lapack.function(DPOTRF)("L", lower))[:1]
    assert not np.any(info)
    np.testing.assert_allclose(np.tril(lower), np.linalg.cholesky(symmetric))


def test_umfpack() -> None:
    umfpack = load("libumfpack.so", "umfpack.h")
    # The number of entries is in the last element of `starts`, where no prototype can refer to it.
    matrix = "const int *starts, const int *rows, const double *values"
    options = "const double control[_Nullable UMFPACK_CONTROL], double info[_Nullable UMFPACK_INFO]"
    symbolic_of, numeric_of, solve = [
        umfpack.function(f"int umfpack_di_{rest}, {options})").unchecked
        for rest in [
            f"symbolic(int n, int m, {matrix}, void *symbolic[1]",
            f"numeric({matrix}, void *symbolic, void *numeric[1]",
            f"solve(int system, {matrix}, double *x, const double *b, void *numeric",
        ]
    ]
    random = scipy_sparse.random_array((50, 50), density=0.1, rng=1)
    a = (random + 10 * scipy_sparse.eye_array(50)).tocsc()
    columns = a.indptr.astype("i4"), a.indices.astype("i4"), a.data
    b = np.arange(50.0)
    status, (symbolic,) = symbolic_of(50, 50, *columns)
    assert status == umfpack.UMFPACK_OK
    info = np.zeros(umfpack.UMFPACK_INFO)
    status, (numeric,) = numeric_of(*columns, symbolic, info=info)
    assert status == umfpack.UMFPACK_OK == info[umfpack.UMFPACK_STATUS]
    x = np.zeros(50)
    status = solve(umfpack.UMFPACK_A, *columns, x, b, numeric)
    assert status == umfpack.UMFPACK_OK
    np.testing.assert_allclose(a @ x, b, atol=1e-12)
    # What it frees, it replaces by NULL.
    umfpack.umfpack_di_free_symbolic.unchecked([symbolic])
    umfpack.umfpack_di_free_numeric.unchecked([numeric])
