"""Annotations of function pointers: what callbacks receive, and what functions of C check."""

from __future__ import annotations

import gc
import pickle
from typing import Any

import numpy as np
import pytest

import mapcall

SOURCE = r"""
#include <stdlib.h>
#include <string.h>
typedef double (*seen_t)(int m, int n, const double *a);
typedef double (*block_t)(int m, int n, double *a, int lda);
/* An m x n matrix in Fortran's order, whose element (i, j) is 10 * i + j. */
double columns(int m, int n, seen_t f)
{
    double *a = malloc(m * n * sizeof *a);
    for (int i = 0; i < m; i++) for (int j = 0; j < n; j++) a[i + j * m] = 10 * i + j;
    double r = f(m, n, a);
    memset(a, 0xff, m * n * sizeof *a);
    free(a);
    return r;
}
/* The block of m x n elements at (1, 1) of a matrix with rows (or columns) of lda elements. */
double block(int m, int n, int lda, double *whole, block_t f)
{ return f(m, n, whole + lda + 1, lda); }
double strided(int n, int step, const double *x, double (*f)(const double *x, int n, int step))
{ return f(x, n, step); }
int names(int (*f)(int n, const char *const *names))
{ static const char *const all[] = {"a", "-", "b", "-", "c"}; return f(3, all); }
typedef double (*numbers_t)(int n, int m, double x, const int *by, const double *y);
double numbers(int n, int m, double x, numbers_t f)
{ return f(n, m, x, &m, &x); }
int null(int (*f)(int n, const double *a)) { return f(3, 0); }
static double corner(int m, int n, const double *a, int lda) { return a[m - 1 + (n - 1) * lda]; }
static void grid(int m, int n, double *a)
{ for (int i = 0; i < m; i++) for (int j = 0; j < n; j++) a[i + j * m] = 10 * i + j; }
static int follows(int n, const double *x, int m) { return m; }
static double weighted(int n, const double *x, const double *w)
{ double s = 0; while (n--) s += x[n] * (w ? w[n] : 1); return s; }
static unsigned sum_bytes(const void *p, int n)
{ unsigned s = 0; while (n--) s += ((const unsigned char *)p)[n]; return s; }
struct ops {
    double (*corner)(int m, int n, const double *a, int lda);
    void (*grid)(int m, int n, double *a);
    int (*follows)(int n, const double *x, int m);
    double (*weighted)(int n, const double *x, const double *w);
    unsigned (*sum_bytes)(const void *p, int n);
};
struct ops *ops(void)
{ static struct ops all = {corner, grid, follows, weighted, sum_bytes}; return &all; }
void (*chosen(void))(int m, int n, double *a) { return grid; }
"""
COLUMNS = (
    "double columns(int m, int n, "
    "double (*f)(int m, int n, [[mapcall::column_major]] const double a[m][n]))"
)
BLOCK = """
    double block(int m, int n, int lda, double *_Nonnull whole,
                 double (*f)(int m, int n, %s double a[m][n], int lda))
"""
OPS = """
    struct ops {
        double (*corner)(int m, int n,
                         [[mapcall::column_major, mapcall::stride(lda)]] const double a[m][n],
                         int lda);
        void (*grid)(int m, int n, [[mapcall::column_major]] double a[m][n]);
        int (*follows)(int n, const double x[n], [[mapcall::equals(n + 1)]] int m);
        double (*weighted)(int n, const double x[n], const double w[_Nullable n]);
        unsigned (*sum_bytes)(const void *__sized_by(n) p, int n);
    };
    struct ops *ops(void)
"""


@pytest.fixture(scope="module")
def lib(compile_c: Any) -> mapcall.Library:
    return mapcall.load(compile_c(SOURCE))


@pytest.fixture
def ops(lib: mapcall.Library) -> Any:
    return lib.function(OPS)()[0]


def element(m: int, n: int) -> np.ndarray:
    return 10.0 * np.arange(m)[:, None] + np.arange(n)


class TestLayouts:
    @pytest.mark.parametrize(("m", "n"), [(2, 3), (3, 3), (1, 4), (4, 1), (0, 3)])
    def test_column_major(self, lib: mapcall.Library, m: int, n: int) -> None:
        columns = lib.function(COLUMNS)
        kept = []

        def f(rows: int, cols: int, a: np.ndarray) -> float:
            assert (rows, cols, a.shape, a.dtype) == (m, n, (m, n), np.dtype("f8"))
            assert a.flags.f_contiguous
            assert not a.flags.writeable
            with pytest.raises(ValueError, match="WRITEABLE"):
                a.setflags(write=True)
            kept.append(a)
            return a.sum()

        assert columns(m, n, f) == element(m, n).sum()
        gc.collect()
        # C has overwritten and freed its own memory.
        np.testing.assert_array_equal(kept[0], element(m, n))

    def test_the_order_is_not_that_of_another_call(self, lib: mapcall.Library) -> None:
        """Arrays that are not kept are used again, but not with other strides."""
        columns = lib.function(COLUMNS)
        seen = []
        for m, n in [(2, 3), (2, 3), (3, 2), (1, 6), (2, 3)]:
            columns(m, n, lambda m, n, a: seen.append(a.tolist()) or 0)
            assert seen[-1] == element(m, n).tolist()

    def test_is_understood_again(self, lib: mapcall.Library) -> None:
        columns = lib.function(COLUMNS)
        assert "[[mapcall::column_major]] const double a[m][n]" in columns.prototype
        for other in (lib.function(columns.prototype), pickle.loads(pickle.dumps(columns))):
            seen: list[Any] = []
            other(2, 3, lambda m, n, a, seen=seen: seen.append(a.tolist()) or 0)
            assert seen == [element(2, 3).tolist()]

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_stride(self, lib: mapcall.Library, order: Any) -> None:
        words = "[[mapcall::stride(lda)]]"
        if order == "F":
            words = "[[mapcall::column_major, mapcall::stride(lda)]]"
        block = lib.function(BLOCK % words).unchecked
        whole = np.zeros((5, 5), order=order)
        whole[...] = np.arange(25.0).reshape(5, 5)
        expected = whole.copy()
        expected[1:4, 1:3] *= -2

        def f(m: int, n: int, a: np.ndarray, lda: int) -> float:
            assert (a.shape, a.strides, a.flags.writeable) == ((3, 2), whole.strides, True)
            total = a.sum()
            a *= -2
            return total

        assert block(3, 2, 5, whole, f) == np.arange(25.0).reshape(5, 5)[1:4, 1:3].sum()
        # Only the block has been written.
        np.testing.assert_array_equal(whole, expected)

    def test_read_only_blocks(self, lib: mapcall.Library) -> None:
        block = lib.function(BLOCK % "[[mapcall::stride(lda)]] const").unchecked
        whole = np.arange(25.0).reshape(5, 5)
        kept: list[np.ndarray] = []
        block(3, 2, 5, whole, lambda m, n, a, lda: kept.append(a) or 0)
        whole[...] = 0
        assert kept[0].tolist() == [[6, 7], [11, 12], [16, 17]]
        assert not kept[0].flags.writeable

    def test_vectors(self, lib: mapcall.Library) -> None:
        strided = lib.function("""
            double strided(int n, int step, const double *x,
                double (*f)([[mapcall::stride(step)]] const double x[n], int n, int step))
        """).unchecked
        x = np.arange(7.0)
        assert strided(3, 3, x, lambda x, n, step: float(x.tolist() == [0, 3, 6])) == 1
        assert strided(3, 1, x, lambda x, n, step: float(x.tolist() == [0, 1, 2])) == 1
        message = r"argument x: expected .*x\[n\], but C passes arguments for which step is (0|neg)"
        for step in (0, -1):
            with pytest.raises(ValueError, match=message):
                strided(3, step, x, lambda x, n, step: 0.0)

    def test_texts(self, lib: mapcall.Library) -> None:
        names = lib.function(
            "int names(int (*f)(int n, [[mapcall::stride(2)]] const char *const names[n]))"
        )
        seen: list[Any] = []
        names(lambda n, names: seen.extend(names) or 0)
        assert seen == ["a", "b", "c"]

    def test_rows_that_would_overlap(self, lib: mapcall.Library) -> None:
        block = lib.function(BLOCK % "[[mapcall::stride(lda)]]").unchecked
        message = (
            r"callback's argument a: expected \[\[mapcall::stride\(lda\)\]\] double a\[m\]\[n\], "
            r"but C passes arguments for which lda is 2, less than the 3 elements of a row"
        )
        with pytest.raises(ValueError, match=message):
            block(2, 3, 2, np.zeros(25), lambda m, n, a, lda: 0.0)

    def test_null(self, lib: mapcall.Library) -> None:
        text = "int null(int (*f)(int n, [[mapcall::column_major]] const double a[n][n]))"
        assert lib.function(text)(lambda n, a: int(a is None)) == 1

    def test_batches(self, lib: mapcall.Library) -> None:
        columns = lib.function(COLUMNS)
        m = np.array([2, 3], "i4")
        found = columns(m, m[::-1].copy(), lambda m, n, a: float(a[m - 1, n - 1]))
        assert found.tolist() == [12, 21]


class TestRefused:
    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ("int n, [[mapcall::column_major]] double *a", "known extents"),
            ("int n, [[mapcall::column_major]] double a[][n]", "known extents"),
            ("int n, [[mapcall::stride(n)]] double a[]", "known extents"),
            # C does not pass the callback the numbers of the function that is called.
            ("int n, [[mapcall::column_major]] double a[outer][n]", "known extents"),
            ("int n, [[mapcall::stride(n)]] const void *__sized_by(n) a", "known extents"),
            ("int n, [[mapcall::equals(n)]] double x", "expected an integer"),
            ("int n, [[mapcall::between(0, n)]] float _Complex x", "expected a real number"),
            ("int n, [[mapcall::between(0, n)]] double x[n]", "expected a real number"),
        ],
    )
    def test_when_bound(self, lib: mapcall.Library, parameters: str, message: str) -> None:
        with pytest.raises(ValueError, match=rf"columns: f: .*{message}.*; \w+"):
            lib.function(f"double columns(int outer, int n, double (*f)({parameters}))")
        if "outer" not in parameters:
            lib.function(f"struct refused {{ double (*f)({parameters}); }}; double columns(int m)")
            with pytest.raises(mapcall.ArgumentError, match=rf"refused: f: .*{message}"):
                lib.struct("refused")(f=lambda *_: 0.0)

    @pytest.mark.parametrize("name", ["stride(outer)", "equals(outer)", "between(0, outer)"])
    def test_numbers_that_c_does_not_pass(self, lib: mapcall.Library, name: str) -> None:
        with pytest.raises(mapcall.PrototypeError, match="names `outer`") as caught:
            lib.function(f"""
                double columns(int outer, int n, double (*f)(int n, [[mapcall::{name}]] int m))
            """)
        assert "add an integer parameter `outer`" in str(caught.value)

    def test_the_same_of_prototypes(self, lib: mapcall.Library) -> None:
        for parameter in (
            "[[mapcall::column_major]] double *a",
            "[[mapcall::stride(2)]] double a[]",
        ):
            with pytest.raises(
                ValueError, match=r"chosen: a: .*known extents.*; write all extents"
            ):
                lib.function(f"void chosen({parameter})")


class TestNumbers:
    def text(self, m: str = "int m", x: str = "double x", y: str = "const double *y") -> str:
        return f"""
            double numbers(int n, int m, double x,
                           double (*f)(int n, {m}, {x}, const int *by, {y}))
        """

    def test_that_follow_from_others(self, lib: mapcall.Library) -> None:
        numbers = lib.function(self.text(m="[[mapcall::equals(2 * n)]] int m"))
        # The callable receives what C passes.
        assert numbers(3, 6, 0.5, lambda n, m, x, by, y: n + m + x) == 9.5
        message = (
            r"argument m: expected \[\[mapcall::equals\(2\*n\)\]\] int m, but C passes 7, not 6"
        )
        with pytest.raises(ValueError, match=message):
            numbers(3, 7, 0.5, lambda *_: 0.0)

    def test_bounds(self, lib: mapcall.Library) -> None:
        for changed, wrong in (
            ({"m": "[[mapcall::between(0, n)]] int m"}, (3, 4, 0.5)),
            ({"x": "[[mapcall::between(0, n)]] double x"}, (3, 1, 3.5)),
            ({"y": "[[mapcall::between(0, n)]] const double *y"}, (3, 1, -0.5)),
        ):
            numbers = lib.function(self.text(**changed))
            assert numbers(3, 3, 1.0, lambda n, m, x, by, y: m) == 3
            parameter = next(iter(changed))
            value = wrong[1] if parameter == "m" else wrong[2]
            message = (
                rf"argument {parameter}: expected .*between\(0, n\).*, but C passes {value}, not a"
            )
            with pytest.raises(ValueError, match=message):
                numbers(*wrong, lambda *_: 0.0)

    def test_by_reference(self, lib: mapcall.Library) -> None:
        text = self.text().replace("const int *by", "[[mapcall::equals(n)]] const int *by")
        numbers = lib.function(text)
        assert numbers(3, 3, 0.0, lambda n, m, x, by, y: by[0]) == 3
        with pytest.raises(ValueError, match=r"argument by: .* but C passes 4, not 3"):
            numbers(3, 4, 0.0, lambda *_: 0.0)


class TestFunctionsOfC:
    def test_layouts(self, ops: Any) -> None:
        whole = np.asfortranarray(np.arange(25.0).reshape(5, 5))
        assert ops.corner(whole[1:4, 1:3]) == whole[3, 2]
        with pytest.raises(mapcall.ArgumentError, match=r"corner: a: .* in Fortran order"):
            ops.corner(np.zeros((3, 2)))
        np.testing.assert_array_equal(ops.grid(m=2, n=3), element(2, 3))
        assert ops.grid(m=2, n=3).flags.f_contiguous
        assert (
            ops.grid.prototype
            == "void grid(int m, int n, [[mapcall::column_major]] double a[m][n])"
        )

    def test_a_result(self, lib: mapcall.Library) -> None:
        chosen = lib.function("""
            typedef void (*grid_t)(int m, int n, [[mapcall::column_major]] double a[m][n]);
            grid_t chosen(void)
        """)()
        np.testing.assert_array_equal(chosen(m=2, n=3), element(2, 3))
        with pytest.raises(mapcall.ArgumentError, match="in Fortran order"):
            chosen(np.zeros((2, 3)))

    def test_a_function_of_a_type(self, lib: mapcall.Library, compile_c: Any) -> None:
        other = mapcall.load(compile_c("void grid(int m, int n, double *a) { a[1] = m + n; }"))
        grid = other.function("""
            typedef void grid_t(int m, int n, [[mapcall::column_major]] double a[m][n]);
            grid_t grid;
        """)
        assert grid(m=2, n=3)[1, 0] == 5

    def test_numbers_and_null(self, ops: Any) -> None:
        x = np.arange(3.0)
        assert ops.follows(x) == 4
        with pytest.raises(mapcall.ArgumentError, match=r"follows: m: .*equals n\+1 = 4, got 5"):
            ops.follows(x, m=5)
        assert ops.weighted(x) == ops.weighted(x, None) == 3
        assert ops.weighted(x, x) == 5
        with pytest.raises(mapcall.ArgumentError):
            ops.weighted(None)
        assert ops.sum_bytes(np.ones((2, 2), "u2")) == 4

    def test_a_callable_there(self, lib: mapcall.Library) -> None:
        """A callable receives the array in the layout that C's function would get."""
        lib.function(OPS)
        seen: list[Any] = []

        def grid(m: int, n: int, a: np.ndarray) -> None:
            seen.append((a.flags.f_contiguous, a.strides))
            a[...] = element(m, n)

        mine = lib.struct("ops")(grid=grid, corner=lambda m, n, a, lda: a[-1, -1])
        np.testing.assert_array_equal(mine.grid(m=2, n=3), element(2, 3))
        assert seen == [(True, (8, 16))]
        whole = np.asfortranarray(np.arange(25.0).reshape(5, 5))
        assert mine.corner(whole[1:4, 1:3]) == whole[3, 2]

    def test_a_bound_function_as_a_callback(self, lib: mapcall.Library, ops: Any) -> None:
        """Annotations make no difference between types, as extents make none."""
        filled = lib.function(
            "double block(int m, int n, int lda, double *_Nonnull whole,"
            " double (*f)(int m, int n, const double *a, int lda))"
        ).unchecked
        assert filled(2, 2, 3, np.arange(9.0), ops.corner) == 8
