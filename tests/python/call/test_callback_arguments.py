"""What callbacks receive: arrays with extents, texts with a length, values of pointers."""

from __future__ import annotations

import gc
import pickle
import warnings
import weakref
from typing import Any

import numpy as np
import pytest

import mapcall

SOURCE = r"""
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
struct point { double x, y; };
int rows(int n, int k, const double *m, int (*f)(const double *row, int k, double *out))
{
    double out[16];
    int sum = 0;
    for (int i = 0; i < n; i++) {
        double *row = malloc(k * sizeof *row);
        memcpy(row, m + i * k, k * sizeof *row);
        for (int j = 0; j < 16; j++) out[j] = -1;
        sum += f(row, k, out);
        memset(row, 0xff, k * sizeof *row);
        free(row);
        for (int j = 0; j < 16; j++) sum += (int)out[j] * (j + 1);
    }
    return sum;
}
int matrix(int (*f)(int r, int c, const float *m))
{ float m[6] = {1, 2, 3, 4, 5, 6}; return f(2, 3, m); }
int sized(int (*f)(const void *p, unsigned n))
{ char *p = malloc(8); memcpy(p, "\1\0\2\0\3\0\4\0", 8); int r = f(p, 8); free(p); return r; }
int words(int (*f)(const char *s, int len))
{ static const char t[] = "one two \xff three"; return f(t, 3) + f(t + 4, 3); }
int point(int (*f)(struct point *p, const struct point *all, int n))
{
    struct point p[2] = {{1, 2}, {3, 4}};
    int r = f(p, p, 2);
    return r + (int)(1000 * p[0].x + 100 * p[0].y + 10 * p[1].x + p[1].y);
}
int values(int (*f)(const int *a, double *b, signed char *c, _Bool *d, const void *v))
{
    int a = -7;
    double b = 1.5;
    signed char c = -1;
    _Bool d = 1;
    int r = f(&a, &b, &c, &d, &a);
    return r * 10000 + (int)(b * 100) + 10 * c + d;
}
int names(int (*f)(int n, const char *const *names))
{ const char *a[] = {"x", "yy", 0}; return f(3, a); }
int slot(char *(*f)(char **out)) { char *out = "old"; f(&out); return out ? out[0] : 0; }
int target(int (*f)(const int *n, const double *x))
{ int n = 3; double x[] = {1, 2, 3}; return f(&n, x); }
int wrong(int (*f)(int n, const double *x)) { double x = 1; return f(-1, &x); }
int null(int (*f)(int n, const double *x)) { return f(3, 0); }
int *counter(void) { static int n = 41; return &n; }
const struct point *origin(void) { static const struct point p = {5, 6}; return &p; }
int nested(int depth, int (*f)(const int *depth, int (*again)(int))) { return f(&depth, 0); }
"""
ROWS = """
    int rows(int n, int k, const double m[n][k],
             int (*f)(const double row[k], int k, double out[k]))
"""
POINT = "struct point { double x, y; };"


@pytest.fixture(scope="module")
def lib(compile_c: Any) -> mapcall.Library:
    return mapcall.load(compile_c(SOURCE))


class TestArrays:
    def test_values_and_results(self, lib: mapcall.Library) -> None:
        m = np.arange(6.0).reshape(2, 3)
        kept: list[np.ndarray] = []

        def f(row: np.ndarray, k: int, out: np.ndarray) -> int:
            assert (type(row), row.dtype, row.shape, k) == (np.ndarray, np.dtype("f8"), (3,), 3)
            assert (row.flags.writeable, out.flags.writeable) == (False, True)
            with pytest.raises(ValueError, match="WRITEABLE"):
                row.setflags(write=True)
            out[:] = 2 * row
            kept.extend([row, out, row[1:]])
            return 0

        # C adds up what it finds in `out`, each element times its number, the others being -1.
        others = -sum(range(4, 17))
        expected = sum(int(2 * x) * (j + 1) for row in m for j, x in enumerate(row)) + 2 * others
        assert lib.function(ROWS)(m, f) == expected
        # Kept arrays have their own memory, though C has freed and overwritten its own.
        gc.collect()
        assert [array.tolist() for array in kept[:3]] == [[0, 1, 2], [0, 2, 4], [1, 2]]
        assert [array.tolist() for array in kept[3:]] == [[3, 4, 5], [6, 8, 10], [4, 5]]

    def test_an_array_that_is_not_kept_is_used_again(self, lib: mapcall.Library) -> None:
        rows = lib.function(ROWS)
        m = np.arange(40.0).reshape(20, 2)
        seen, identities = [], set()

        def f(row: np.ndarray, k: int, out: np.ndarray) -> int:
            identities.add(id(row))
            seen.append(row.tolist())
            out[:] = 0
            return 0

        rows(m, f)
        assert seen == m.tolist()
        assert len(identities) == 1

    @pytest.mark.parametrize(
        "change",
        [
            lambda a: setattr(a, "shape", (2, 1)),
            lambda a: setattr(a, "dtype", "i8"),
            lambda a: setattr(a, "strides", (0,)),
            lambda a: a.__setstate__((1, (2,), np.dtype("f8"), False, b"12345678" * 2)),
            lambda a: weakrefs.append(weakref.ref(a)),
            lambda a: weakrefs.append(memoryview(a)),
            lambda a: weakrefs.append(a.base),
            lambda a: weakrefs.append(a.view("u1")),
        ],
    )
    def test_changed_arrays_are_not_used_again(self, lib: mapcall.Library, change: Any) -> None:
        m = np.arange(8.0).reshape(4, 2)
        seen = []

        def f(row: np.ndarray, k: int, out: np.ndarray) -> int:
            seen.append((row.shape, row.dtype, row.tolist()))
            change(row)
            out[:] = 0
            return 0

        with warnings.catch_warnings():
            # NumPy deprecates changes of arrays in place.
            warnings.simplefilter("ignore")
            lib.function(ROWS)(m, f)
        assert seen == [((2,), np.dtype("f8"), row) for row in m.tolist()]

    def test_several_axes(self, lib: mapcall.Library) -> None:
        matrix = lib.function("int matrix(int (*f)(int r, int c, const float m[r][c]))")
        assert matrix(lambda r, c, m: int((m @ np.ones(c)).tolist() == [6, 15])) == 1
        matrix = lib.function("int matrix(int (*f)(int r, int c, const float m[2][3]))")
        assert matrix(lambda r, c, m: int(m.shape == (2, 3))) == 1

    def test_bytes(self, lib: mapcall.Library) -> None:
        seen: list[Any] = []
        for parameter in (
            "const void p[n], unsigned n",
            "const void *__sized_by(n) p, unsigned n",
            "const short *__sized_by(n) p, unsigned n",
            "const uint16_t p[n / 2], unsigned n",
        ):
            lib.function(f"int sized(int (*f)({parameter}))")(lambda p, n: seen.append(p) or 0)
        assert [array.dtype.name for array in seen] == ["uint8", "uint8", "int16", "uint16"]
        assert seen[0].tolist() == seen[1].tolist() == [1, 0, 2, 0, 3, 0, 4, 0]
        assert seen[2].tolist() == seen[3].tolist() == [1, 2, 3, 4]

    def test_extents_behind_a_pointer(self, lib: mapcall.Library) -> None:
        for n in ("const int *n, const double x[*n]", "const int n[1], const double x[n[0]]"):
            target = lib.function(f"int target(int (*f)({n}))")
            assert target(lambda n, x: n[0] * int(x.sum())) == 18

    def test_null(self, lib: mapcall.Library) -> None:
        null = lib.function("int null(int (*f)(int n, const double x[n]))")
        assert null(lambda n, x: 1 if x is None else 0) == 1

    def test_an_extent_without_a_value(self, lib: mapcall.Library) -> None:
        wrong = lib.function("int wrong(int (*f)(int n, const double x[n]))")
        message = r"argument x: expected const double x\[n\], but C .* n is negative: -1"
        with pytest.raises(ValueError, match=message):
            wrong(lambda n, x: 1)

    def test_extents_of_the_called_function(self, lib: mapcall.Library) -> None:
        """C does not pass them to the callback: it gets a handle."""
        rows = lib.function("""
            int rows(int n, int m, const double x[n][m],
                     int (*f)(const double row[m], int k, double out[k]))
        """)

        def f(row: mapcall.Handle, k: int, out: np.ndarray) -> int:
            out[:] = row.array(k)
            return 0

        assert rows(np.zeros((1, 2)), f) == -sum(range(3, 17))
        with pytest.raises(mapcall.PrototypeError, match="extent names `q`"):
            lib.function("int wrong(int (*f)(int n, const double x[q]))")

    def test_lists_of_pointers(self, lib: mapcall.Library) -> None:
        seen: list[Any] = []
        for text in ("str", "bytes", "handle"):
            names = lib.function(
                "int names(int (*f)(int n, const char *const names[n]))", text=text
            )
            names(lambda n, names: seen.append([str(name) for name in names]) or 0)
        assert seen[:2] == [["x", "yy", "None"], ["b'x'", "b'yy'", "None"]]
        assert seen[2][0].startswith("<mapcall.Handle: char at ")


weakrefs: list[Any] = []


class TestTexts:
    @pytest.mark.parametrize(
        "prototype",
        [
            "int words(int (*f)(const char s[len], int len))",
            "int words(int (*f)(const char *__counted_by(len) s, int len))",
            "int words(int (*f)(const char *s, int len) __attribute__((access(read_only, 1, 2))))",
            "typedef int (*handler)(const char *s, int n) __attribute__((access(read_only, 1, 2)));"
            "int words(handler f)",
            "typedef int handler(const char s[len], int len); int words(handler *f)",
        ],
    )
    def test_with_a_length(self, lib: mapcall.Library, prototype: str) -> None:
        words = lib.function(prototype)
        seen: list[Any] = []
        words(lambda s, n: seen.append(s) or 0)
        lib.function(prototype, text="bytes")(lambda s, n: seen.append(s) or 0)
        assert seen == ["one", "two", b"one", b"two"]
        # The prototype that is shown is one that is understood.
        lib.function(words.prototype)(lambda s, n: seen.append(s) or 0)
        assert seen[4:] == ["one", "two"]

    def test_as_handles(self, lib: mapcall.Library) -> None:
        words = lib.function("int words(int (*f)(const char *s, int len))", text="handle")
        assert pickle.loads(pickle.dumps(words)).parameters[0].name == "f"
        seen: list[Any] = []

        def f(s: mapcall.Handle, n: int) -> int:
            seen.extend([s.text(n), s.text(n, "bytes"), s.text(kind="bytes")[:n], s.array(n)])
            with pytest.raises(ValueError, match="expected a length, got -1"):
                s.text(-1)
            return 0

        words(f)
        assert seen[:3] == ["one", b"one", b"one"]
        assert seen[3].tobytes() == b"one"

    def test_results_as_handles(self) -> None:
        strchr = mapcall.load(None).function(
            "const char *strchr(const char *s, int c)", text="handle"
        )
        found = strchr("key=value", ord("="))
        assert (found.text(), found.text(2), found[0]) == ("=value", "=v", ord("="))
        with pytest.raises(ValueError, match="text must be 'str', 'bytes' or 'handle', got 'x'"):
            mapcall.load(None).function("const char *strchr(const char *s, int c)", text="x")


class TestValues:
    VALUES = (
        "int values(int (*f)(const int *a, double *b, signed char *c, _Bool *d, const void *v))"
    )

    def test_numbers(self, lib: mapcall.Library) -> None:
        kept: list[Any] = []

        def f(a: Any, b: Any, c: Any, d: Any, v: Any) -> int:
            assert [(type(p[0]), p[0]) for p in (a, b, c, d)] == [
                (int, -7),
                (float, 1.5),
                (int, -1),
                (bool, True),
            ]
            b[0], c[0], d[0] = 2, 3, False
            # Arrays of the memory see it, and it sees what they have changed.
            array = b.array(1)
            assert array.tolist() == [2.0]
            array[0] = 2.5
            assert b[0] == 2.5
            kept.append(a)
            return a[0]

        assert lib.function(self.VALUES)(f) == -7 * 10000 + 250 + 30
        with pytest.raises(ValueError, match="got a closed one to int; copy in the callback what"):
            kept[0][0]
        assert kept[0].closed

    def test_refusals(self, lib: mapcall.Library) -> None:
        seen: list[str] = []

        def f(a: Any, b: Any, c: Any, d: Any, v: Any) -> int:
            for use in (
                lambda: a[1],
                lambda: a[-1],
                lambda: a[:2],
                lambda: a["x"],
                lambda: a[0.0],
                lambda: a.__setitem__(0, 3),
                lambda: b.__setitem__(0, "x"),
                lambda: c.__setitem__(0, 128),
                lambda: v[0],
                lambda: iter(a),
            ):
                with pytest.raises((IndexError, TypeError, ValueError)) as caught:
                    use()
                seen.append(f"{type(caught.value).__name__}: {caught.value}")
            return 0

        lib.function(self.VALUES)(f)
        index = "IndexError: expected the index 0 of a handle to int, got "
        for message, found in zip(
            seen, ["1", "-1", "slice(None, 2, None)", "'x'", "0.0"], strict=False
        ):
            assert message.startswith(f"{index}{found}; ")
            assert message.endswith("take array(n), and the item of it")
        assert "written, got one to const int" in seen[5]
        assert "expected double, got a str" in seen[6]
        assert "expected signed char, got 128" in seen[7]
        assert seen[8].startswith(
            "TypeError: expected a handle to a type with values, got one to void; "
        )
        assert "not iterable" in seen[9]

    def test_structs(self, lib: mapcall.Library) -> None:
        point = lib.function(
            POINT + "int point(int (*f)(struct point *p, const struct point all[n], int n))"
        )
        kept: list[Any] = []

        def f(p: mapcall.Handle, all_: np.ndarray, n: int) -> int:
            assert (p[0].x, p[0].y, all_["x"].tolist()) == (1, 2, [1, 3])
            p[0].x = 5
            assert p[0].x == 5
            p[0] = {"x": 6, "y": p[0].y}
            p.array(2)[1] = (8, 9)
            kept.append((p, p[0], all_))
            return 0

        assert point(f) == 6 * 1000 + 200 + 80 + 9
        handle, struct, array = kept[0]
        assert handle.closed
        assert (struct.x, array["y"].tolist()) == (6, [2, 4])

    def test_pointers(self, lib: mapcall.Library) -> None:
        slot = lib.function("int slot(char *(*f)(char **out))")
        text = mapcall.load(None).function(
            "char *strdup(const char *s)",
            destructor=mapcall.load(None).function("void free(void *p)"),
        )("new")

        def f(out: mapcall.Handle) -> None:
            assert out[0].text() == "old"
            out[0] = "text"
            assert out[0].text() == "text"
            out[0] = text

        assert slot(f) == ord("n")
        assert slot(lambda out: out.__setitem__(0, None)) == 0
        # C reads it after the callback has returned.
        assert slot(lambda out: out.__setitem__(0, "".join(["te", "xt"]))) == ord("t")

    def test_of_results(self, lib: mapcall.Library) -> None:
        counter = lib.function("int *counter(void)")()
        before = counter[0]
        counter[0] = before + 1
        assert (before, counter[0], counter.array(1).tolist()) == (41, 42, [42])
        origin = lib.function(POINT + "const struct point *origin(void)")()
        assert (origin[0].x, origin[0].y) == (5, 6)
        with pytest.raises(AttributeError, match="read-only"):
            origin[0].x = 1

    def test_a_callback_in_a_callback(self, lib: mapcall.Library) -> None:
        """The objects of the outer one are not used again by the inner one."""
        nested = lib.function(
            "int nested(int depth, int (*f)(const int *depth, int (*again)(int)))"
        )
        callback: mapcall.Callback

        def f(depth: mapcall.Handle, again: None) -> int:
            own = depth[0]
            inner = nested(own - 1, callback) if own else 0
            assert depth[0] == own
            return inner + own

        callback = nested.callback("f", f)
        assert nested(6, callback) == 21
