"""LAPACK and BLAS by their notations: numbers by reference, column order, leading dimensions."""

from __future__ import annotations

import sys
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall

MATRIX = "[[mapcall::column_major, mapcall::stride({stride})]]"
DGESV = f"""
    void dgesv_(const int *n, const int *nrhs,
                {MATRIX.format(stride="*lda")} double a[*n][*n], const int *lda, int ipiv[*n],
                {MATRIX.format(stride="*ldb")} double b[*n][*nrhs], const int *ldb, int info[1])
        __attribute__((access(read_write, 3), access(read_write, 6)))
"""
DPOTRF = f"""
    void dpotrf_(const char uplo[1], const int *n,
                 {MATRIX.format(stride="*lda")} double a[*n][*n], const int *lda, int info[1])
        __attribute__((access(read_write, 3)))
"""


@pytest.fixture(scope="module")
def bind() -> Any:
    """Binds a function of the system's OpenBLAS, or of PyPI's, whose symbols have a prefix."""
    if find_library("openblas") is not None:
        return mapcall.load("openblas").function
    wheel = pytest.importorskip(
        "scipy_openblas32",
        reason="OpenBLAS is missing: on Debian, apt-get install libopenblas0;"
        " or pip install scipy-openblas32",
    )
    library = mapcall.load(next(Path(wheel.get_lib_dir()).glob("libscipy_openblas*")))

    def function(prototype: str, **options: Any) -> mapcall.Function:
        name = prototype.split("(")[0].split()[-1]
        head, brace, attributes = prototype.partition("__attribute__")
        return library.function(f'{head} __asm__("scipy_{name}") {brace}{attributes}', **options)

    return function


@pytest.mark.parametrize("engine", [None, "libffi"])
def test_linear_systems(bind: Any, engine: str | None) -> None:
    dgesv = bind(DGESV, engine=engine)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((5, 5)), rng.standard_normal((5, 2))
    lu, x = np.asfortranarray(a), np.asfortranarray(b)
    pivots, info = dgesv(lu, x)
    assert info == [0]
    np.testing.assert_allclose(a @ x, b, atol=1e-12)
    assert set(pivots) <= {1, 2, 3, 4, 5}

    # Blocks of larger matrices.
    whole, right = np.zeros((9, 9), order="F"), np.zeros((7, 4), order="F")
    lu, x = whole[2:7, 3:8], right[1:6, 1:3]
    lu[:], x[:] = a, b
    assert dgesv(lu, x)[1] == [0]
    np.testing.assert_allclose(a @ x, b, atol=1e-12)
    assert np.count_nonzero(whole) == 25
    assert np.count_nonzero(right) == 10

    # A singular matrix is reported by info.
    assert dgesv(np.zeros((2, 2), order="F"), np.ones((2, 1), order="F"))[1] == [1]

    for wrong_a, wrong_b, message in (
        (a, x, "a: .*asfortranarray"),
        (lu[:, :4], x, "a: "),
        (lu, x[:4], "b: expected .* n = 5 as a has it"),
        (lu, x.astype("f4"), "b: "),
        (lu, x[:, 0], "b: "),
    ):
        with pytest.raises(mapcall.ArgumentError, match=message):
            dgesv(wrong_a, wrong_b)
    with pytest.raises(mapcall.ArgumentError, match="nrhs"):
        dgesv(lu, x, nrhs=1)


def test_keywords_make_no_difference(bind: Any) -> None:
    """Calls with arguments by name take the general path, the others a quicker one."""
    dgesv = bind(DGESV)
    rng = np.random.default_rng(0)
    for rows, columns, pad in ((1, 1, 0), (3, 1, 0), (4, 2, 3), (1, 3, 1), (0, 2, 0)):
        results = []
        for by_name in (False, True):
            rng = np.random.default_rng(0)
            whole = rng.standard_normal((2, rows + pad, rows + columns)).transpose(0, 2, 1)[0].T
            whole = np.asfortranarray(whole)
            lu, x = whole[pad:, :rows], whole[pad:, rows:]
            outputs = dgesv(a=lu, b=x) if by_name else dgesv(lu, x)
            for output in outputs:
                assert output.base is None
                assert output.flags.owndata
                assert output.flags.writeable
            results.append((whole, *outputs))
        for one, other in zip(*results, strict=True):
            np.testing.assert_array_equal(one, other)
            assert (one.dtype, one.strides) == (other.dtype, other.strides)


def test_outputs_are_freed(bind: Any) -> None:
    dgesv = bind(DGESV)
    a, b = np.eye(3, order="F"), np.ones((3, 1), order="F")
    pivots = dgesv(a, b)[0]
    counts = [sys.getrefcount(thing) for thing in (a, b, pivots, pivots.dtype, None)]
    for _ in range(100):
        dgesv(a, b)
    after = [sys.getrefcount(thing) for thing in (a, b, pivots, pivots.dtype, None)]
    assert after == pytest.approx(counts, abs=5)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_batch_of_linear_systems(bind: Any, threads: int) -> None:
    dgesv = bind(DGESV)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((50, 3, 3)), rng.standard_normal((50, 3, 2))

    def columns(x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2)

    x = columns(b)
    pivots, info = dgesv(columns(a), x, threads=threads)
    assert pivots.shape == (50, 3)
    assert not info.any()
    np.testing.assert_allclose(x, np.linalg.solve(a, b), rtol=1e-6, atol=1e-9)


def test_cholesky(bind: Any) -> None:
    dpotrf = bind(DPOTRF)
    rng = np.random.default_rng(0)
    half = rng.standard_normal((20, 4, 4))
    a = half @ half.swapaxes(1, 2) + np.eye(4)
    factor = np.ascontiguousarray(a.swapaxes(1, 2)).swapaxes(1, 2)
    info = dpotrf("L", factor)
    assert info.shape == (20, 1)
    assert not info.any()
    np.testing.assert_allclose(np.tril(factor), np.linalg.cholesky(a), rtol=1e-10)
    one = np.asfortranarray(a[0])
    assert dpotrf("L", one) == [0]
    for uplo in ("LU", "", 1.5, None):
        with pytest.raises(mapcall.ArgumentError, match="uplo"):
            dpotrf(uplo, one)
    np.testing.assert_array_equal(np.tril(one), np.tril(factor[0]))


def test_blocks_in_c_order(bind: Any) -> None:
    dgemm = bind("""
        void cblas_dgemm(int order, int ta, int tb, int m, int n, int k, double alpha,
            [[mapcall::stride(lda)]] const double a[restrict m][k], int lda,
            [[mapcall::stride(ldb)]] const double b[restrict k][n], int ldb,
            double beta, [[mapcall::stride(ldc)]] double c[restrict m][n], int ldc)
    """)
    whole = np.random.default_rng(0).standard_normal((12, 9))
    a, b = whole[1:5, 2:5], whole[3:6, 4:9]
    options = 101, 111, 111
    np.testing.assert_allclose(dgemm(*options, 1.0, a, b, 0.0), a @ b, rtol=1e-12)
    out = np.zeros((8, 8))
    dgemm(*options, 2.0, a, b, 0.0, out[2:6, 1:6])
    np.testing.assert_allclose(out[2:6, 1:6], 2 * (a @ b), rtol=1e-12)
    assert np.count_nonzero(out) == 20
    with pytest.raises(mapcall.ArgumentError, match="restrict"):
        dgemm(*options, 1.0, a, b, 0.0, whole[2:6, 3:8])
    dgemm(*options, 1.0, a, b, 0.0, whole[6:10, :5])
