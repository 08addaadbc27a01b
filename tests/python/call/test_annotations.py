"""Annotations: what a prototype says of parameters beyond their types."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall

SOURCE = r"""
    #include <stddef.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>

    double weighted(size_t n, const double *x, const double *w) {
        double s = 0;
        for (size_t i = 0; i < n; i++) s += x[i] * (w ? w[i] : 1);
        return s;
    }
    int moving(int n, const double *x, int window, int nout, double *out) {
        for (int i = 0; i < nout; i++) {
            out[i] = 0;
            for (int j = 0; j < window; j++) out[i] += x[i + j];
        }
        return nout;
    }
    double pick(int n, const double *x, int k) { return x[k]; }
    double sum_(const int *n, const double *x) {
        double s = 0;
        for (int i = 0; i < *n; i++) s += x[i];
        return s;
    }
    double scaled_(const int *n, const double *a, const double *x) { return *a * sum_(n, x); }
    int shrink(char *out, size_t *length, const char *s, size_t n) {
        if (*length < n) return -1;
        *length = 0;
        for (size_t i = 0; i < n; i++) if (s[i] != ' ') out[(*length)++] = s[i];
        return 0;
    }
    /* The sum of an m x n matrix by its rows, each row lda elements behind the one before. */
    double rows(int m, int n, const double *a, int lda) {
        double s = 0;
        for (int i = 0; i < m; i++) for (int j = 0; j < n; j++) s += (10 * i + j) * a[i * lda + j];
        return s;
    }
    double columns(int m, int n, const double *a, int lda) {
        double s = 0;
        for (int i = 0; i < m; i++) for (int j = 0; j < n; j++) s += (10 * i + j) * a[j * lda + i];
        return s;
    }
    void number(int m, int n, double *a, int lda) {
        for (int i = 0; i < m; i++) for (int j = 0; j < n; j++) a[j * lda + i] = 10 * i + j;
    }
    double dot(int n, const double *x, int incx, const double *y, int incy) {
        double s = 0;
        for (int i = 0; i < n; i++) s += x[i * incx] * y[i * incy];
        return s;
    }
    int lda_of(int m, int n, const double *a, int lda) { return lda; }
    size_t size(const void *p, size_t n) { return n; }
    void fill(void *p, size_t n, int value) { memset(p, value, n); }
    size_t size_of_doubles(const double *p, size_t n) { return n; }
    int count(const char *s, size_t n, char c) {
        int found = 0;
        for (size_t i = 0; i < n; i++) found += s[i] == c;
        return found;
    }
    void *nothing(int is_null) { return is_null ? NULL : malloc(1); }
    void set(double *x, size_t n) { for (size_t i = 0; i < n; i++) x[i] = i; }
    void add(double *x, size_t n) { for (size_t i = 0; i < n; i++) x[i] += 1; }
    double total(double *x, size_t n) {
        double s = 0;
        for (size_t i = 0; i < n; i++) s += x[i];
        return s;
    }
    int is_null(const void *p) { return p == NULL; }

    struct thing { int value; };
    static int living;
    struct thing *make(int value) {
        struct thing *t = malloc(sizeof *t);
        living++;
        t->value = value;
        return t;
    }
    void destroy(struct thing *t) { living--; free(t); }
    int destroy_both(struct thing *t, int other) { living--; free(t); return other; }
    int alive(void) { return living; }
"""


@pytest.fixture(scope="module")
def library(compile_c: Any) -> mapcall.Library:
    return mapcall.load(compile_c(SOURCE))


@pytest.fixture(params=[None, "libffi"], ids=["usual engine", "libffi"])
def bind(library: mapcall.Library, request: pytest.FixtureRequest) -> Any:
    def bound(prototype: str, **options: Any) -> mapcall.Function:
        return library.function(prototype, engine=request.param, **options)

    return bound


MOVING = (
    "int moving(int n, const double x[n], int window,"
    " [[mapcall::equals(n - window + 1)]] int nout, double out[nout])"
)


def test_a_derived_number_is_passed(bind: Any) -> None:
    moving = bind(MOVING)
    x = np.arange(6.0)
    count, out = moving(x, 3)
    assert count == 4
    np.testing.assert_array_equal(out, np.convolve(x, np.ones(3), "valid"))
    assert moving(x, 3, nout=4)[0] == 4
    with pytest.raises(
        mapcall.ArgumentError, match=r"nout: expected int that equals n-window\+1 = 4, got 5"
    ):
        moving(x, 3, nout=5)
    with pytest.raises(mapcall.ArgumentError, match="out"):
        moving(x, 3, np.zeros(5))
    with pytest.raises(mapcall.ArgumentError, match="nout"):
        moving(x, 9)
    copy = pickle.loads(pickle.dumps(moving))
    assert copy(x, 3)[0] == 4
    assert "nout : int, equals n-window+1" in moving.__doc__


def test_a_derived_number_in_a_batch(bind: Any) -> None:
    moving = bind(MOVING)
    x = np.arange(24.0).reshape(2, 2, 6)
    counts, out = moving(x, 3, threads=2)
    np.testing.assert_array_equal(counts, np.full((2, 2), 4))
    np.testing.assert_array_equal(out[1, 0], np.convolve(x[1, 0], np.ones(3), "valid"))
    with pytest.raises(mapcall.ArgumentError, match="window"):
        moving(x, np.array([3, 4], "i4"))


def test_derived_numbers_that_depend_on_each_other(bind: Any, library: mapcall.Library) -> None:
    rows = bind(
        "double rows([[mapcall::equals(n + 1)]] int m, [[mapcall::equals(lda - 2)]] int n,"
        " const double a[], int lda)"
    )
    with pytest.raises(mapcall.ArgumentError):
        rows(np.ones(12), 4)
    assert rows.unchecked(np.ones(12), 4) == sum(10 * i + j for i in range(3) for j in range(2))
    with pytest.raises(mapcall.PrototypeError, match="circle"):
        library.function(
            "double rows([[mapcall::equals(n)]] int m, [[mapcall::equals(m)]] int n,"
            " const double *a, int lda)"
        )
    with pytest.raises(mapcall.PrototypeError, match="equals"):
        library.function("double pick(int n, const double x[n], [[mapcall::equals(n)]] double k)")


def test_values_are_exact(bind: Any) -> None:
    pick = bind(
        "size_t size(const void *_Nullable p, [[mapcall::equals(k * k)]] size_t n, unsigned long k)"
    )
    with pytest.raises(mapcall.ArgumentError, match=r"n: .*k\*k"):
        pick(None, 2**33)
    assert pick(None, 2**32 - 1) == (2**32 - 1) ** 2


def test_bounds(bind: Any) -> None:
    pick = bind("double pick(int n, const double x[n], [[mapcall::between(0, n - 1)]] int k)")
    x = np.arange(5.0)
    assert pick(x, 0) == 0
    assert pick(x, 4) == 4
    for wrong in (-1, 5):
        with pytest.raises(
            mapcall.ArgumentError, match=rf"k: expected int from 0 to n-1 = 4, got {wrong}"
        ):
            pick(x, wrong)
    np.testing.assert_array_equal(pick(np.stack([x, x + 1]), 2), [2, 3])
    with pytest.raises(mapcall.ArgumentError, match="k"):
        pick(x, np.array([1, 9], "i4"))
    scaled = bind(
        "double scaled_(const int n[1], [[mapcall::between(0, 1)]] const double *a,"
        " const double x[*n])"
    )
    assert scaled(0.5, np.ones(4)) == 2
    for value in (1.5, float("nan"), -1e-300):
        with pytest.raises(mapcall.ArgumentError, match="a: expected double from 0 to 1"):
            scaled(value, np.ones(4))


def test_an_optional_array(bind: Any) -> None:
    x, w = np.arange(4.0), np.array([1.0, 2.0, 3.0, 4.0])
    for optional in ("const double w[_Nullable n]", "const double *__counted_by_or_null(n) w"):
        weighted = bind(f"double weighted(size_t n, const double x[n], {optional})")
        assert weighted(x, w) == x @ w
        assert weighted(x, None) == weighted(x) == 6
        with pytest.raises(mapcall.ArgumentError, match="w"):
            weighted(x, w[:3])
        np.testing.assert_array_equal(weighted(np.stack([x, x]), None), [6, 6])
        np.testing.assert_array_equal(weighted(np.stack([x, x]), w), [x @ w] * 2)
        np.testing.assert_array_equal(weighted(x, np.stack([w, w])), [x @ w] * 2)
        assert "or None" in repr(weighted)
        assert pickle.loads(pickle.dumps(weighted))(x, None) == 6
    plain = bind("double weighted(size_t n, const double x[n], const double w[n])")
    with pytest.raises(mapcall.ArgumentError, match="w"):
        plain(x, None)


def test_null_pointers(bind: Any) -> None:
    assert bind("int is_null(const void *p)")(None) == 1
    assert bind("int is_null(const void *_Nullable p)")() == 1
    for prototype in (
        "int is_null(const void *_Nonnull p)",
        "int is_null(const void *p) __attribute__((nonnull))",
        "int is_null(const void *p) __attribute__((__nonnull__(1)))",
    ):
        with pytest.raises(mapcall.ArgumentError, match=r"p: .* other than NULL, got NULL"):
            bind(prototype)(None)


def test_a_null_result_is_a_failure(bind: Any) -> None:
    nothing = bind("void *nothing(int is_null) __attribute__((returns_nonnull))")
    assert nothing(0) is not None
    with pytest.raises(mapcall.CallError, match="nothing"):
        nothing(1)
    assert bind("void *nothing(int is_null)")(1) is None


def test_access(bind: Any) -> None:
    total = bind("double total(double *x, size_t n) __attribute__((access(read_only, 1, 2)))")
    x = np.arange(5.0)
    x.flags.writeable = False
    assert total(x) == 10
    write = bind("void set(double *x, size_t n) __attribute__((__access__(__write_only__, 1, 2)))")
    np.testing.assert_array_equal(write(n=3), [0, 1, 2])
    with pytest.raises(mapcall.ArgumentError, match="x"):
        write(x)
    add = bind("void add(double *x, size_t n) __attribute__((access(read_write, 1, 2)))")
    y = np.zeros(3)
    assert add(y) is None
    np.testing.assert_array_equal(y, np.ones(3))
    with pytest.raises(mapcall.ArgumentError, match=r"x: .*got nothing"):
        add(n=3)


def test_numbers_by_reference(bind: Any) -> None:
    x = np.ones(3)
    assert bind("double sum_(const int n[1], const double x[3])")(3, x) == 3
    assert bind("double sum_(const int n[1], const double x[3])")(np.array([2], "i4"), x) == 2
    for extent in ("*n", "n[0]"):
        total = bind(f"double sum_(const int *n, const double x[{extent}])")
        assert total(x) == 3
        assert total(x, n=3) == 3
        with pytest.raises(mapcall.ArgumentError, match="n"):
            total(x, n=2)
        np.testing.assert_array_equal(total(np.ones((2, 4))), [4, 4])
    more = bind("double sum_(const int *n, const double x[*n + 1])")
    assert more(3, np.ones(4)) == 3
    with pytest.raises(mapcall.ArgumentError, match="x"):
        more(3, x)
    with pytest.raises(mapcall.ArgumentError, match="n"):
        more(3.5, x)
    plain = bind("double scaled_(const int *n, const double *a, const double x[*n])")
    with pytest.raises(mapcall.ArgumentError, match=r"write a\[1\]"):
        plain(2.0, x)
    assert plain.unchecked(2.0, x) == 6
    assert bind("double scaled_(const int *n, const double a[1], const double x[*n])")(2, x) == 6


def test_a_length_that_c_reads_and_writes(bind: Any) -> None:
    shrink = bind("int shrink(char out[*length], size_t *length, const char s[n], size_t n)")
    status, out, length = shrink(s="a b c", length=8)
    assert (status, length.tolist(), bytes(out[: length[0]])) == (0, [3], b"abc")
    buffer = np.zeros(5, "u1")
    status, length = shrink(buffer, None, b"a b c")
    assert (status, length[0], bytes(buffer[:3])) == (0, 3, b"abc")
    assert shrink(s="a b c", length=3)[0] == -1
    texts = np.frombuffer(b"a b cabcde", "u1").reshape(2, 5)
    status, out, length = shrink(s=texts, length=6)
    np.testing.assert_array_equal(length, [[3], [5]])


ROWS = "double rows(int m, int n, [[mapcall::stride(lda)]] const double a[m][n], int lda)"
COLUMNS = (
    "double columns(int m, int n, [[mapcall::column_major]] [[mapcall::stride(lda)]]"
    " const double a[m][n], int lda)"
)


def weighted_sum(a: np.ndarray) -> float:
    i, j = np.indices(a.shape)
    return float(((10 * i + j) * a).sum())


def test_blocks_of_larger_arrays(bind: Any) -> None:
    rows = bind(ROWS)
    a = np.random.default_rng(1).integers(0, 99, (7, 9)).astype(float)
    for block in (a, a[1:4, 2:5], a[::2, 3:], a[2:3, 1:4], a[:, 4:5], a[:0], a[:, :0]):
        assert rows(block) == weighted_sum(block), block.shape
    for wrong in (a.T, a[:, ::2], a[::-1], np.broadcast_to(a[0], (3, 9))):
        with pytest.raises(mapcall.ArgumentError, match="a: "):
            rows(wrong)
    assert rows(a[1:4, 2:5], lda=9) == weighted_sum(a[1:4, 2:5])
    with pytest.raises(mapcall.ArgumentError, match="lda"):
        rows(a[1:4, 2:5], lda=8)
    lda_of = bind(ROWS.replace("double rows", "int lda_of"))
    assert (lda_of(a[2:3, 1:4]), lda_of(a[1:3, 1:4]), lda_of(a[2:3, 1:4], lda=5)) == (3, 9, 5)
    with pytest.raises(mapcall.ArgumentError, match="a: "):
        lda_of(a[2:3, 1:4], lda=2)


def test_fortran_order(bind: Any) -> None:
    columns = bind(COLUMNS)
    a = np.asfortranarray(np.random.default_rng(1).integers(0, 99, (7, 9)).astype(float))
    for block in (a, a[1:4, 2:5], a[3:, ::2], a[2:3, 1:4], a[:, 4:5]):
        assert columns(block) == weighted_sum(block), block.shape
    with pytest.raises(mapcall.ArgumentError, match="asfortranarray"):
        columns(a.copy("C"))
    plain = bind(
        "double columns(int m, int n, [[mapcall::column_major]] const double a[m][n],"
        " [[mapcall::equals(m)]] int lda)"
    )
    assert plain(a) == weighted_sum(a)
    with pytest.raises(mapcall.ArgumentError, match="a: "):
        plain(a[1:4, 2:5])


def test_batches_in_fortran_order(bind: Any) -> None:
    columns = bind(COLUMNS)
    items = np.random.default_rng(1).integers(0, 99, (4, 7, 9)).astype(float)
    stack = items.transpose(0, 2, 1).copy().transpose(0, 2, 1)
    np.testing.assert_array_equal(columns(stack), [weighted_sum(item) for item in items])
    np.testing.assert_array_equal(
        columns(stack[::2, 1:4, 2:5], threads=2),
        [weighted_sum(item) for item in items[::2, 1:4, 2:5]],
    )
    last = np.asfortranarray(items.transpose(1, 2, 0)).transpose(2, 0, 1)
    np.testing.assert_array_equal(columns(last), [weighted_sum(item) for item in items])
    with pytest.raises(mapcall.ArgumentError, match="a: "):
        columns(items)


def test_outputs_in_fortran_order(bind: Any, tmp_path: Path) -> None:
    number = bind(
        "void number(int m, int n, [[mapcall::column_major, mapcall::stride(lda)]] double a[m][n],"
        " int lda)"
    )
    i, j = np.indices((3, 4))
    a = number(m=3, n=4)
    np.testing.assert_array_equal(a, 10 * i + j)
    assert a.flags.f_contiguous
    whole = np.zeros((6, 6), order="F")
    number(whole[1:4, 2:6])
    np.testing.assert_array_equal(whole[1:4, 2:6], 10 * i + j)
    assert whole.sum() == (10 * i + j).sum()
    with pytest.raises(mapcall.ArgumentError, match="give a"):
        number(m=3, n=4, lda=5)
    stack = np.zeros((2, 4, 3)).transpose(0, 2, 1)
    number(stack)
    np.testing.assert_array_equal(stack, [10 * i + j] * 2)
    blocks = np.zeros((6, 8), order="F").reshape(6, 2, 4, order="F").transpose(1, 0, 2)[:, 1:4]
    number(blocks)
    np.testing.assert_array_equal(blocks, [10 * i + j] * 2)


def test_vectors_with_strides(bind: Any) -> None:
    dot = bind(
        "double dot(int n, [[mapcall::stride(incx)]] const double x[n], int incx,"
        " [[mapcall::stride(incy)]] const double y[n], int incy)"
    )
    a = np.arange(20.0).reshape(4, 5)
    assert dot(a[:, 1], a[0, :4]) == a[:, 1] @ a[0, :4]
    assert dot(a[::2, 3], a[1, 1:4:2]) == a[::2, 3] @ a[1, 1:4:2]
    with pytest.raises(mapcall.ArgumentError, match="x: "):
        dot(a[0, ::-1], a[0])


def test_arrays_agree_on_strides(library: mapcall.Library, compile_c: Any) -> None:
    source = """void copy(int m, int n, const double *a, double *b, int ld) {
        for (int i = 0; i < m; i++) for (int j = 0; j < n; j++) b[i * ld + j] = a[i * ld + j]; }"""
    copy = mapcall.load(compile_c(source)).function(
        "void copy(int m, int n, [[mapcall::stride(ld)]] const double a[restrict m][n],"
        " [[mapcall::stride(ld)]] double b[restrict m][n], int ld)"
    )
    a, b = np.arange(42.0).reshape(6, 7), np.zeros((6, 7))
    copy(a[:2, :3], b[1:3, 1:4])
    np.testing.assert_array_equal(b[1:3, 1:4], a[:2, :3])
    with pytest.raises(mapcall.ArgumentError, match="ld = 7 elements apart as in a, got rows 3"):
        copy(a[:2, :3], np.zeros((2, 3)))
    with pytest.raises(mapcall.ArgumentError, match="give b"):
        copy(a[:2, :3])
    assert copy(a).shape == (6, 7)
    # Blocks of one array are apart, though their addresses are not.
    copy(a[:, :3], a[:, 3:6])
    np.testing.assert_array_equal(a[:, :3], a[:, 3:6])
    with pytest.raises(mapcall.ArgumentError, match="restrict"):
        copy(a[:, :3], a[:, 2:5])


def test_buffers(bind: Any) -> None:
    size = bind("size_t size(const void p[n], size_t n)")
    for value in (
        np.zeros(3),
        np.zeros((2, 3), "i2"),
        np.zeros(4, "M8[s]"),
        b"abc",
        bytearray(5),
        memoryview(b"abcd"),
        np.zeros(2, [("a", "i1"), ("b", "f8")]),
    ):
        assert (
            size(value)
            == memoryview(
                np.asarray(
                    bytearray(value) if isinstance(value, bytes | bytearray) else value
                ).view("u1")
                if not isinstance(value, memoryview)
                else value
            ).nbytes
        )
    assert size(np.zeros(3), n=24) == 24
    for wrong in (np.zeros(3, object), np.zeros((3, 3)).T, "text", 5, [1]):
        with pytest.raises(mapcall.ArgumentError, match="p: expected a buffer"):
            size(wrong)
    with pytest.raises(mapcall.ArgumentError, match="n"):
        size(np.zeros(3), n=3)
    fill = bind("void fill(void *__sized_by(n) p, size_t n, int value)")
    x = np.zeros((2, 2), "u4")
    fill(x, 255)
    assert (x == 2**32 - 1).all()
    np.testing.assert_array_equal(fill(value=7, n=3), np.full(3, 7, "u1"))
    x.flags.writeable = False
    with pytest.raises(mapcall.ArgumentError, match="writeable"):
        fill(x, 255)
    doubles = bind("size_t size_of_doubles(const double *__sized_by(n) p, size_t n)")
    assert doubles(np.zeros(3)) == 24
    with pytest.raises(mapcall.ArgumentError, match="p"):
        doubles(np.zeros(3, "f4"))


def test_a_handle_for_an_array_is_not_checked(bind: Any) -> None:
    allocate = bind("void *nothing(int is_null) __attribute__((malloc(free, 1)))")
    handle = allocate(0)
    for prototype in (
        "void fill(void p[n], size_t n, int value)",
        "void fill(char p[n], size_t n, int value)",
    ):
        fill = bind(prototype)
        with pytest.raises(mapcall.ArgumentError, match="p"):
            fill(handle, 7)
        fill.unchecked(handle, 7, n=1)
        assert handle.array(1, "u1") == [7]
        with pytest.raises(mapcall.ArgumentError, match="n"):
            fill.unchecked(handle, 7)


def test_dask_arrays(bind: Any) -> None:
    dask_array = pytest.importorskip("dask.array")
    x = np.arange(24.0).reshape(4, 6)
    lazy = dask_array.from_array(x, chunks=(2, 6))
    moving = bind(MOVING)
    counts, out = moving(lazy, 3)
    np.testing.assert_array_equal(out.compute(), moving(x, 3)[1])
    np.testing.assert_array_equal(counts.compute(), [4] * 4)
    weighted = bind("double weighted(size_t n, const double x[n], const double w[_Nullable n])")
    np.testing.assert_array_equal(weighted(lazy, None).compute(), x.sum(axis=1))
    total = bind("double sum_(const int *n, const double x[*n])")
    np.testing.assert_array_equal(total(lazy).compute(), x.sum(axis=1))
    assert bind(COLUMNS)(lazy).compute() == weighted_sum(x)
    assert bind("size_t size(const void p[n], size_t n)")(lazy).compute() == x.nbytes


def test_texts_with_a_length(bind: Any) -> None:
    for parameter in (
        "const char s[n]",
        "const char *__sized_by(n) s",
        "const char *__counted_by(n) s",
    ):
        count = bind(f"int count({parameter}, size_t n, char c)")
        for value in (
            "a\0bab",
            b"a\0bab",
            np.frombuffer(b"a\0bab", "u1"),
            np.frombuffer(b"a\0bab", "i1"),
        ):
            assert count(value, ord("a")) == 2
        assert count("", ord("a")) == 0
        with pytest.raises(mapcall.ArgumentError, match="s"):
            count(None, ord("a"))


def test_destructors(bind: Any) -> None:
    thing = "struct thing { int value; }; "
    alive = bind("int alive(void)")
    before = alive()
    make = bind(
        thing + "struct thing *make(int value) __attribute__((malloc(destroy_both, 2)))"
        " __attribute__((__malloc__(__builtin_destroy, 1), malloc))"
    )
    handle = make(3)
    assert alive() == before + 1
    handle.close()
    assert alive() == before
    make(4)
    assert alive() == before


def test_prototypes_are_printed_with_their_notations(library: mapcall.Library) -> None:
    for text in (
        MOVING,
        "double weighted(size_t n, const double x[n], const double w[_Nullable n])",
        "double weighted(size_t n, const double x[n], const double w[restrict _Nullable n])",
        "int is_null(const void *_Nullable p)",
        "int is_null(const void *p) __attribute__((nonnull(1)))",
        "void *nothing(int is_null) __attribute__((returns_nonnull))",
        "double total(double *x, size_t n) __attribute__((access(read_only, 1, 2)))",
        "double sum_(const int *n, const double x[*n])",
        "double pick(int n, const double x[n], [[mapcall::between(0, n-1)]] int k)",
        COLUMNS,
        "size_t size(const void p[n], size_t n)",
        "size_t size_of_doubles(const double *__sized_by(n) p, size_t n)",
        "size_t size_of_doubles(const double *__sized_by_or_null(n) p, size_t n)",
        "void *nothing(int is_null) __attribute__((malloc(free, 1)))",
    ):
        text = text.replace("n - window + 1", "n-window+1")
        printed = library.function(text).prototype
        assert printed == text
        assert library.function(printed).prototype == text


HEADER = r"""
#include <stddef.h>
#include <mapcall.h>

typedef double real;
void smooth(int n, const real x[n], MAPCALL_BETWEEN(1, n) int window,
            MAPCALL_EQUALS(n - window + 1) int nout, real out[nout]);
real weigh(size_t n, const real x[n], const real *__counted_by_or_null(n) w);
real corner(int m, int n, MAPCALL_COLUMN_MAJOR MAPCALL_STRIDE(lda) const real *a, int lda);
unsigned size_of_(const void *__sized_by(n) p, size_t n) MAPCALL_ACCESS(read_only, 1, 2);
struct thing;
void destroy(struct thing *_Nonnull t);
struct thing *make(int value) MAPCALL_DESTROYED_BY(destroy);
"""


@pytest.fixture
def header(tmp_path: Path) -> Path:
    path = tmp_path / "kern.h"
    path.write_text(HEADER)
    return path


@pytest.mark.parametrize("compiler", ["gcc", "clang", "g++"])
@pytest.mark.parametrize("standard", ["11", "17", "2x"])
def test_compilers_take_mapcall_h(compiler: str, standard: str, header: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is missing: on Debian, apt-get install {compiler}")
    text, language = HEADER, "gnu"
    if compiler == "g++":
        # C++ has no arrays of variable length.
        language, standard = "gnu++", standard.replace("2x", "20")
        text = HEADER.replace("[n]", "[]").replace("[nout]", "[]")
    options = [f"-std={language}{standard}", "-Wall", "-Wextra", "-Werror"]
    header.write_text(text)
    source = header.with_suffix(".cc" if compiler == "g++" else ".c")
    source.write_text(f'#include "{header}"\n')
    command = [compiler, *options, f"-I{mapcall.include()}", "-c", "-o", os.devnull, str(source)]
    compiled = subprocess.run(command, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stderr


def test_mapcall_reads_mapcall_h(library: mapcall.Library, header: Path) -> None:
    loaded = mapcall.load(library.path, header=header)
    assert loaded.make.prototype.endswith("__attribute__((malloc(destroy, 1)))")
    alive = library.function("int alive(void)")
    before = alive()
    handle = loaded.make(3)
    assert alive() == before + 1
    loaded.destroy(handle)
    assert alive() == before
    with pytest.raises(mapcall.ArgumentError, match="t: "):
        loaded.destroy(None)


def test_both_copies_of_mapcall_h() -> None:
    crate = Path(__file__).parents[3] / "crates/mapcall-decl/include/mapcall.h"
    assert (Path(mapcall.include()) / "mapcall.h").read_text() == crate.read_text()


def test_a_file_of_prototypes(library: mapcall.Library, tmp_path: Path) -> None:
    header, contracts = tmp_path / "kern.h", tmp_path / "kern.contracts.h"
    header.write_text(
        "#include <stddef.h>\ntypedef double real;\n"
        "real weighted(size_t n, const real *x, const real *w);\nint alive(void);\n"
    )
    contracts.write_text("real weighted(size_t n, const real x[n], const real w[_Nullable n]);\n")
    loaded = mapcall.load(library.path, header=header, prototypes=contracts)
    assert loaded.weighted(np.ones(3)) == 3
    assert loaded.alive() >= 0
    assert {"weighted", "alive"} <= set(dir(loaded))
    with pytest.raises(mapcall.ArgumentError, match="unchecked"):
        mapcall.load(library.path, header=header).weighted(3, np.ones(3), None)
    assert pickle.loads(pickle.dumps(loaded.weighted))(np.ones(3), None) == 3
    assert pickle.loads(pickle.dumps(loaded)).weighted(np.ones(3)) == 3


def test_a_file_of_prototypes_agrees_with_the_header(
    library: mapcall.Library, tmp_path: Path
) -> None:
    header, contracts = tmp_path / "kern.h", tmp_path / "kern.contracts.h"
    header.write_text("double pick(int n, const double *x, int k) __attribute__((nonnull));\n")
    contracts.write_text("double pick(int n, const float x[n], int k);\n")
    loaded = mapcall.load(library.path, header=header, prototypes=contracts)
    with pytest.raises(AttributeError, match="contradicts the header's"):
        _ = loaded.pick
    contracts.write_text(
        "#include <mapcall.h>\n"
        "double pick(int n, const double x[n], MAPCALL_BETWEEN(0, n - 1) int k);\n"
    )
    loaded = mapcall.load(library.path, header=header, prototypes=contracts)
    assert loaded.pick(np.arange(3.0), 2) == 2
    with pytest.raises(mapcall.ArgumentError, match="k: expected int from 0 to n-1 = 2, got 3"):
        loaded.pick(np.arange(3.0), 3)


def test_the_attributes_of_glibc() -> None:
    libc = mapcall.load(None, header=["stdio.h", "stdlib.h", "string.h", "wchar.h"])
    assert "malloc(fclose, 1)" in libc.fopen.prototype
    assert "malloc(free, 1)" in libc.wcsdup.prototype
    copy = libc.wcsdup.unchecked(np.array([97, 98, 0], "i4"))
    assert copy.array(3, "i4").tolist() == [97, 98, 0]
    copy.close()
    with pytest.raises(mapcall.ArgumentError, match="closed"):
        libc.free(copy)
    with libc.fopen(os.devnull, "w") as stream:
        assert libc.fputs("text", stream) >= 0
    with pytest.raises(mapcall.ArgumentError, match="closed"):
        libc.fputs("text", stream)
    strlen = libc.strlen
    assert "nonnull(1)" in strlen.prototype
    with pytest.raises(mapcall.ArgumentError, match="other than NULL"):
        strlen(None)
    # It takes over the block that it reallocates: the second declaration says so.
    block = libc.reallocarray(None, 4, 8)
    larger = libc.reallocarray(block, 8, 8)
    with pytest.raises(mapcall.ArgumentError, match="closed"):
        libc.reallocarray(block, 8, 8)
    larger.close()
