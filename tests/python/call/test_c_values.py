"""Values of ctypes and cffi as arguments: each where its type fits, and nowhere else."""

from __future__ import annotations

import array
import ctypes
import gc
import math
import re
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import cffi
import numpy as np
import pytest

import mapcall
from counted import PRELUDE, Counted

SOURCE = (
    PRELUDE
    + """
#include <complex.h>
double half(double x) { CALLED; return x / 2; }
int negative(int x) { CALLED; return -x; }
long double whole(long double x) { CALLED; return x; }
double _Complex conjugate(double _Complex z) { CALLED; return conj(z); }
double sum(size_t n, const double *x)
{ CALLED; double s = 0; while (n) s += x[--n]; return s; }
void increase(size_t n, double *x) { CALLED; while (n) x[--n] += 1; }
double trace(size_t n, const double *x)
{ CALLED; double s = 0; for (size_t i = 0; i < n; i++) s += x[i * n + i]; return s; }
void seven(double *x) { CALLED; *x = 7; }
int first(const int *x) { CALLED; return *x; }
typedef struct { double x, y; int id; } point;
double norm(const point *p) { CALLED; return p->x + p->y + p->id; }
double norm_of(point p) { CALLED; return p.x + p.y + p.id; }
void move(point *p) { CALLED; p->x += 1; }
void *same(const void *p) { CALLED; return (void *)p; }
void *opaque(void *p) { CALLED; return p; }
size_t length(const char *s) { CALLED; size_t n = 0; while (s && s[n]) n++; return n; }
size_t texts(size_t n, const char *const *s)
{ CALLED; size_t all = 0; while (n) all += length(s[--n]); return all; }
void fill(size_t n, unsigned char *x) { CALLED; while (n) x[--n] = 7; }
"""
)
POINT = "typedef struct { double x, y; int id; } point; "


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double), ("y", ctypes.c_double), ("id", ctypes.c_int)]


DOUBLES = ctypes.POINTER(ctypes.c_double)


@pytest.fixture(scope="module")
def c(compile_c: Callable[..., Any]) -> Counted:
    return Counted(compile_c(SOURCE))


@pytest.fixture(scope="module")
def ffi() -> cffi.FFI:
    ffi = cffi.FFI()
    ffi.cdef("typedef struct { double x, y; int id; } point; typedef struct engine engine;")
    return ffi


def test_numbers(c: Counted, ffi: cffi.FFI) -> None:
    half, negative = c.function("double half(double x)"), c.function("int negative(int x)")
    for given in (ctypes.c_double(3), ctypes.c_float(3), ffi.cast("double", 3), ffi.cast("int", 3)):
        assert half(given) == 1.5
    for name in ("byte", "ubyte", "short", "ushort", "int", "uint", "long", "ulong", "longlong"):
        given = getattr(ctypes, f"c_{name}")(3)
        assert (half(given), negative(given)) == (1.5, -3)
    assert negative(ctypes.c_bool(True)) == negative(ffi.cast("_Bool", 1)) == -1
    assert negative(ctypes.c_char(b"a")) == negative(ffi.cast("char", b"a")) == -ord("a")
    assert negative(ctypes.c_wchar("é")) == -ord("é")
    assert half(ctypes.c_double.__ctype_be__(3)) == 1.5
    assert negative(ctypes.c_int32.__ctype_be__(3)) == -3
    # All digits.
    third = np.longdouble(1) / 3
    whole = c.function("long double whole(long double x)")
    exact = ctypes.c_longdouble.from_buffer_copy(third.tobytes())
    assert whole(exact) == third
    assert half(given) == 1.5
    conjugate = c.function("double _Complex conjugate(double _Complex z)")
    assert conjugate(ffi.cast("double _Complex", 1 + 2j)) == 1 - 2j


def test_numbers_that_do_not_fit(c: Counted, ffi: cffi.FFI) -> None:
    negative = c.function("int negative(int x)")
    for given in (ctypes.c_double(0.5), ffi.cast("double", 0.5)):
        c.refuses("negative: x: expected int, got 0.5; give 0 or 1", negative, given)
    large = 1 << 40
    for given in (ctypes.c_longlong(large), ffi.cast("long long", large)):
        with pytest.raises(mapcall.ArgumentError, match=f"expected int, got {large}; give a value"):
            negative(given)
    message = "negative: x: expected int, got a {}; give a number"
    c.refuses(message.format("c_void_p"), negative, ctypes.c_void_p(3))
    c.refuses(message.format("LP_c_int"), negative, ctypes.pointer(ctypes.c_int(3)))
    c.refuses(message.format("cdata 'int *'"), negative, ffi.new("int *", 3))
    c.refuses(
        "negative: x: expected int, got a py_object (C code has no use for a Python object); "
        "give int",
        negative,
        ctypes.py_object(3),
    )


def doubles(ffi: cffi.FFI) -> dict[str, Any]:
    """Returns objects on the doubles 1, 2, 3 and 4 whose number is known."""
    array = (ctypes.c_double * 4)(1, 2, 3, 4)
    x = np.arange(1.0, 5)
    return {
        "array": array,
        "byref": ctypes.byref(array),
        "pointer to an array": ctypes.pointer(array),
        "cast": ctypes.cast(array, DOUBLES),
        "from_buffer": (ctypes.c_double * 4).from_buffer(x),
        "data_as": x.ctypes.data_as(DOUBLES),
        "data_as void": x.ctypes.data_as(ctypes.c_void_p),
        "data_as of axes": x.reshape(2, 2).ctypes.data_as(DOUBLES),
        "ctypes": x.ctypes,
        "Ctypes": mapcall.Ctypes(x),
        "numpy as_ctypes": np.ctypeslib.as_ctypes(x),
        "as_ctypes": mapcall.ctypeslib.as_ctypes(x),
        "cffi array": ffi.new("double[4]", [1, 2, 3, 4]),
        "cffi array of unknown length": ffi.new("double[]", [1, 2, 3, 4]),
        "cffi from_buffer": ffi.from_buffer("double[]", x),
        "memoryview": memoryview(x),
        "view of bytes": memoryview(x.tobytes()).cast("d"),
    }


def test_arrays(c: Counted, ffi: cffi.FFI) -> None:
    total = c.function("double sum(size_t n, const double x[n])")
    increase = c.function("void increase(size_t n, double x[n])")
    for name, given in doubles(ffi).items():
        before = total(given)
        assert before % 4 == 2, name
        if name != "view of bytes":
            increase(given)
            assert total(given) == before + 4, name
        with pytest.raises(mapcall.ArgumentError, match=r"with n = 3, got shape \(4,\)"):
            total(given, n=3)
    tail = ctypes.byref((ctypes.c_double * 4)(1, 2, 3, 4), 8)
    assert total(tail) == 9
    assert total(ctypes.c_double(5)) == total(ctypes.byref(ctypes.c_double(5))) == 5
    assert total(ctypes.pointer(ctypes.c_double(5))) == total(ffi.new("double *", 5)) == 5


def test_arrays_of_axes(c: Counted) -> None:
    trace = c.function("double trace(size_t n, const double x[n][n])")
    x = np.array([[1.0, 2], [3, 4]])
    rows = (ctypes.c_double * 2 * 2)((1, 2), (3, 4))
    for given in (
        rows,
        ctypes.byref(rows),
        ctypes.pointer(rows),
        x.ctypes,
        x.ctypes.data_as(DOUBLES),
    ):
        assert trace(given) == 5
    with pytest.raises(mapcall.ArgumentError, match="C-contiguous"):
        trace(x.T.ctypes)
    # A batch, as of any array.
    assert c.function("double half(double x)")(rows).tolist() == [[0.5, 1], [1.5, 2]]
    with pytest.raises(mapcall.ArgumentError, match=r"2 axes, got shape \(4,\)"):
        trace((ctypes.c_double * 4)())


def test_pointers_to_arrays(c: Counted) -> None:
    """A pointer to an array of 2 is one to rows of 2: their number is that of the memory."""
    pair = ctypes.POINTER(ctypes.c_double * 2)
    rows = c.function("double sum(size_t n, const double x[m][2], size_t m)")
    unmeasured = c.function("double sum(size_t n, const double x[][2])")
    x = np.arange(6.0)
    given = x.ctypes.data_as(pair)
    assert rows(6, given) == unmeasured(6, given) == 15
    with pytest.raises(mapcall.ArgumentError, match="expected unsigned long 3 as x has it"):
        rows(6, given, m=2)
    assert rows(2, ctypes.pointer((ctypes.c_double * 2)(3, 4))) == 7
    with pytest.raises(mapcall.ArgumentError, match="with its extent, got an array"):
        unmeasured(6, x.reshape(3, 2))
    with pytest.raises(mapcall.ArgumentError, match="got an array of float32"):
        unmeasured(6, ctypes.pointer((ctypes.c_float * 2)()))


def test_an_unknown_number_of_elements(c: Counted, ffi: cffi.FFI) -> None:
    total = c.function("double sum(size_t n, const double x[n])")
    x = np.arange(1.0, 5)
    pointer = ctypes.cast(x.ctypes.data, DOUBLES)
    error = c.refuses(
        "sum: x: expected float64[n], got a LP_c_double, which does not say how many elements it "
        "points to; give numpy.ctypeslib.as_array(x, (n,))",
        total,
        pointer,
    )
    assert (
        total(eval(error.remedy.removeprefix("give "), {"numpy": np, "x": pointer, "n": 4})) == 10
    )
    given = ffi.cast("double *", x.ctypes.data)
    error = c.refuses(
        "sum: x: expected float64[n], got a cdata 'double *', which does not say how many elements "
        "it points to; give numpy.frombuffer(ffi.buffer(x, 8 * n), 'float64')",
        total,
        given,
    )
    names = {"numpy": np, "ffi": ffi, "x": given, "n": 4}
    assert total(eval(error.remedy.removeprefix("give "), names)) == 10
    # Untyped ones, too.
    for given in (ctypes.c_void_p(x.ctypes.data), ffi.cast("void *", x.ctypes.data)):
        with pytest.raises(mapcall.ArgumentError) as caught:
            total(given)
        names = {"library": c.library, "x": given, "n": 4}
        assert total(eval(caught.value.remedy.removeprefix("give "), names)) == 10


def test_one_value_by_reference(c: Counted, ffi: cffi.FFI) -> None:
    x = np.zeros(3)
    number, pair = ctypes.c_double(), (ctypes.c_double * 2)()
    for prototype in ("void seven(double x[1])", "void seven(double *x)"):
        seven = c.function(prototype)
        for given, value in [
            (number, lambda: number.value),
            (ctypes.byref(number), lambda: number.value),
            (ctypes.pointer(number), lambda: number.value),
            (ctypes.byref(pair, 8), lambda: pair[1]),
            (ctypes.cast(pair, DOUBLES), lambda: pair[0]),
            (x.ctypes.data_as(DOUBLES), lambda: x[0]),
            (x[2:].ctypes.data_as(DOUBLES), lambda: x[2]),
        ]:
            number.value, pair[0], pair[1], x[:] = 0, 0, 0, 0
            seven(given)
            assert value() == 7
        owned = ffi.new("double *")
        for given in (owned, ffi.cast("double *", owned)):
            owned[0] = 0
            seven(given)
            assert owned[0] == 7
    x[:] = 0
    c.function("void seven(double x[1])")(x.ctypes)
    assert x.tolist() == [7, 0, 0]
    assert c.function("int first(const int x[1])")(ctypes.c_int(4)) == 4
    assert c.function("int first(const int x[1])")(ffi.cast("int", 4)) == 4


def test_other_types(c: Counted, ffi: cffi.FFI) -> None:
    total = c.function("double sum(size_t n, const double x[n])")
    for given in ((ctypes.c_float * 2)(), ffi.new("float[2]")):
        with pytest.raises(
            mapcall.ArgumentError, match=r"expected float64\[n\], got an array of float32"
        ):
            total(given)
    swapped = (ctypes.c_double.__ctype_be__ * 2)()
    with pytest.raises(mapcall.ArgumentError, match="in native byte order, got an array of '>f8'"):
        total(swapped)
    message = (
        "seven: x: expected a pointer to double, got a pointer to {}; give a pointer to double"
    )
    seven = c.function("void seven(double *x)")
    for given, found in [
        (ctypes.byref(ctypes.c_float()), "float"),
        (ctypes.pointer(ctypes.c_long()), "long"),
        (ffi.new("float *"), "float"),
        (ctypes.byref(Point()), "Point"),
    ]:
        c.refuses(message.format(found), seven, given)
    # C converts a pointer without a type; a handle says which.
    for given in (ctypes.c_void_p(8), ffi.cast("void *", 8)):
        error = c.refuses(
            "seven: x: expected a pointer to double, got a pointer to void; "
            "give library.handle('double *', x)",
            seven,
            given,
        )
        assert (
            eval(error.remedy.removeprefix("give "), {"library": c.library, "x": given}).address
            == 8
        )
    assert c.function("int first(const int *x)")(ctypes.byref(ctypes.c_int32(5))) == 5


def test_remedies_for_objects_without_methods(c: Counted, ffi: cffi.FFI) -> None:
    """Only NumPy's arrays have `astype` and `copy`."""
    total = c.function("double sum(size_t n, const double x[n])")
    increase = c.function("void increase(size_t n, double x[n])")
    x = np.array([1.0, 2])
    for given in ((ctypes.c_float * 2)(1, 2), array.array("f", [1, 2]), memoryview(x.astype("f4"))):
        with pytest.raises(
            mapcall.ArgumentError, match="got an array of float32; make it"
        ) as caught:
            total(given)
        code = caught.value.remedy.removeprefix("make it one with ")
        code, _, by_option = code.partition(", or give ")
        assert by_option == "convert=True"
        assert total(given, convert=True) == 3
        assert total(eval(code, {"numpy": np, "x": given})) == 3
        with pytest.raises(mapcall.ArgumentError) as caught:
            increase(given)
        found = re.match(r"pass new_x = (.*), which has the results then", caught.value.remedy)
        assert found
        new_x = eval(found[1], {"numpy": np, "x": given})
        increase(new_x)
        assert new_x.tolist() == [2, 3]
    data = x.tobytes()
    for given in (data, bytearray(data), memoryview(data), ffi.buffer(ffi.from_buffer(data))):
        with pytest.raises(mapcall.ArgumentError, match="got an array of uint8; pass ") as caught:
            total(given)
        code = caught.value.remedy.removeprefix("pass ").removesuffix(", if it has such numbers")
        assert total(eval(code, {"numpy": np, "x": given})) == 3
    fill = c.function("void fill(size_t n, unsigned char x[n])")
    for given in (b"ab", memoryview(b"ab")):
        with pytest.raises(
            mapcall.ArgumentError, match="writeable, got a read-only array"
        ) as caught:
            fill(given)
        found = re.match(r"pass new_x = (.*), which has the results then", caught.value.remedy)
        assert found
        new_x = eval(found[1], {"x": given})
        fill(new_x)
        assert new_x == b"\7\7"


def test_void_pointers(c: Counted, ffi: cffi.FFI) -> None:
    opaque = c.function("void *opaque(void *p)")
    x = np.zeros(2)
    number = ctypes.c_int()
    for given, address in [
        (ctypes.c_void_p(x.ctypes.data), x.ctypes.data),
        (x.ctypes, x.ctypes.data),
        (x.ctypes.data_as(DOUBLES), x.ctypes.data),
        (number, ctypes.addressof(number)),
        (ctypes.byref(number), ctypes.addressof(number)),
        (ffi.cast("void *", x.ctypes.data), x.ctypes.data),
        (ffi.cast("double *", x.ctypes.data), x.ctypes.data),
        (ffi.cast("int(*)(int)", 64), 64),
        (ctypes.CFUNCTYPE(None)(64), 64),
    ]:
        assert opaque(given).address == address
    for null in (ctypes.c_void_p(), DOUBLES(), ffi.NULL, ctypes.c_char_p()):
        assert opaque(null) is None
    x.flags.writeable = False
    with pytest.raises(mapcall.ArgumentError, match="read-only"):
        opaque(x.ctypes)
    assert c.function("void *same(const void *p)")(x.ctypes).address == x.ctypes.data


def test_opaque_structs(c: Counted, ffi: cffi.FFI) -> None:
    opaque = c.function("struct engine *opaque(struct engine *p)")

    class engine(ctypes.Structure):
        pass

    class Other(ctypes.Structure):
        pass

    for given in (ctypes.cast(64, ctypes.POINTER(engine)), ffi.cast("engine *", 64)):
        assert opaque(given).address == 64
    message = "opaque: p: expected a pointer to engine, got a pointer to {}; "
    message += "give library.handle('struct engine *', p)"
    c.refuses(message.format("Other"), opaque, ctypes.cast(64, ctypes.POINTER(Other)))
    c.refuses(message.format("point"), opaque, ffi.cast("point *", 64))
    c.refuses(message.format("void"), opaque, ctypes.c_void_p(64))
    assert opaque(c.library.handle("struct engine *", ctypes.c_void_p(64))).address == 64
    assert opaque(c.library.handle("struct engine *", ffi.cast("void *", 64))).address == 64


def test_structs(c: Counted, ffi: cffi.FFI) -> None:
    given = Point(1, 2, 3)
    points = (Point * 1)(given)
    values = [given, ctypes.byref(given), ctypes.pointer(given), ctypes.pointer(points), points]
    owned = ffi.new("point *", (1, 2, 3))
    values += [owned, owned[0], ffi.new("point[1]", [(1, 2, 3)])]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in values:
            assert c.function(POINT + "double norm(const point p[1])")(value) == 6
        for value in values[:4] + values[5:7]:
            assert c.function(POINT + "double norm(const point *p)")(value) == 6
        for value in (given, owned[0]):
            assert c.function(POINT + "double norm_of(point p)")(value) == 6
    move = c.function(POINT + "void move(point *p)")
    for value in (given, ctypes.byref(given), owned, owned[0]):
        move(value)
    assert (given.x, owned.x) == (3, 3)
    three = (Point * 3)(*[(i, 0, 0) for i in range(3)])
    assert c.function(POINT + "double norm_of(point p)")(three).tolist() == [0, 1, 2]


def structure(*fields: Any, pack: int = 0) -> type[ctypes.Structure]:
    return type("Point", (ctypes.Structure,), {"_pack_": pack, "_fields_": list(fields)})


X, Y, ID = Point._fields_


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ([X, ("y", ctypes.c_float), ID], 'field "y" is float64 at byte 8, got float32 at byte 8'),
        ([Y, X, ID], 'field "x" is float64 at byte 0, got float64 at byte 8'),
        ([X, Y, ("number", ctypes.c_int)], 'field "id" is a field of int32, got none of that name'),
    ],
)
def test_structs_of_another_layout(c: Counted, fields: list[tuple[str, Any]], problem: str) -> None:
    given = structure(*fields)()
    for prototype in ("norm(const point *p)", "norm(const point p[1])", "norm_of(point p)"):
        before = c.called
        with pytest.raises(mapcall.ArgumentError, match="whose " + problem):
            c.function(f"{POINT} double {prototype}")(given)
        assert c.called == before


def test_structs_without_a_dtype(c: Counted) -> None:
    class Bits(ctypes.Structure):
        _fields_ = [("x", ctypes.c_int, 3)]

    nested: Any = Point
    for _ in range(40):
        nested = structure(("inner", nested))
    wide: Any = Point
    for _ in range(13):
        wide = structure(("a", wide), ("b", wide))
    norm = c.function(POINT + "double norm(const point p[1])")
    for given, reason in [(Bits(), "bit-fields"), (nested(), "too deep"), (wide(), "too many")]:
        with pytest.raises(mapcall.ArgumentError, match=reason):
            norm(given)


def test_texts(c: Counted, ffi: cffi.FFI) -> None:
    length = c.function("size_t length(const char *s)")
    for given in (
        ctypes.c_char_p(b"abc"),
        ctypes.create_string_buffer(b"abc"),
        ctypes.create_string_buffer(b"abc", 10),
        ctypes.cast(ctypes.create_string_buffer(b"abc"), ctypes.POINTER(ctypes.c_char)),
        ffi.new("char[]", b"abc"),
        ffi.from_buffer(b"abc\0"),
        ffi.cast("char *", ffi.from_buffer(b"abc\0")),
    ):
        assert length(given) == 3
    assert length(ctypes.c_char_p()) == length(ffi.NULL) == 0
    message = "length: s: expected text, got a {} without a NUL; end the text in it with a NUL"
    c.refuses(message.format("c_char_Array_3"), length, ctypes.create_string_buffer(b"abc", 3))
    c.refuses(message.format("cdata 'char[]'"), length, ffi.from_buffer(b"abc"))
    for given in ((ctypes.c_int * 2)(), ffi.new("int[2]"), ctypes.pointer(ctypes.c_int())):
        with pytest.raises(mapcall.ArgumentError, match="length: s: expected text, got "):
            length(given)
    counted = c.function("int first(const char x[n], int n)")
    assert isinstance(counted(ctypes.c_char_p(b"abcd")), int)
    texts = c.function("size_t texts(size_t n, const char *const s[n])")
    assert texts((ctypes.c_char_p * 2)(b"a", b"bc")) == 3
    kept = [ffi.new("char[]", b"a"), ffi.new("char[]", b"bc")]
    assert texts(ffi.new("char *[]", kept)) == 3
    with pytest.raises(mapcall.ArgumentError, match=r"pointers `int \*`; give elements of "):
        texts((ctypes.POINTER(ctypes.c_int) * 2)())


def test_read_only_memory(c: Counted, ffi: cffi.FFI) -> None:
    increase = c.function("void increase(size_t n, double x[n])")
    frozen = np.zeros(2)
    frozen.flags.writeable = False
    for given in (
        frozen.ctypes,
        frozen.ctypes.data_as(DOUBLES),
        ffi.from_buffer("double[]", frozen),
    ):
        with pytest.raises(mapcall.ArgumentError, match="writeable, got a read-only array"):
            increase(given)
    seven = c.function("void seven(double *x)")
    with pytest.raises(mapcall.ArgumentError, match="read-only"):
        seven(frozen.ctypes.data_as(DOUBLES))
    assert frozen.tolist() == [0, 0]


def test_owners_are_kept(c: Counted, ffi: cffi.FFI) -> None:
    """A handle into an argument keeps the memory that the argument is a pointer to."""
    same = c.function("void *same(const void *p)")
    freed = []

    class Watched(ctypes.Array):
        _type_, _length_ = ctypes.c_double, 4

        def __del__(self) -> None:
            freed.append("ctypes")

    watched = Watched()
    handles = [same(ctypes.cast(watched, DOUBLES)), same(ctypes.byref(watched))]
    del watched
    owned = ffi.gc(ffi.new("double[4]"), lambda _: freed.append("cffi"))
    handles += [same(owned)]
    del owned
    x = np.ones(4)
    watch = weakref.ref(x)
    handles += [same(x.ctypes), same(x.ctypes.data_as(ctypes.c_void_p))]
    del x
    gc.collect()
    assert freed == []
    assert watch() is not None
    assert handles[-1].array(4, "f8").tolist() == [1, 1, 1, 1]
    handles.clear()
    gc.collect()
    assert sorted(freed) == ["cffi", "ctypes"]
    assert watch() is None


def test_a_pointer_that_was_moved(c: Counted) -> None:
    """The array of `data_as` is known, until the pointer is set to another address."""
    total = c.function("double sum(size_t n, const double x[n])")
    x, y = np.arange(3.0), (ctypes.c_double * 2)(5, 6)
    pointer = x.ctypes.data_as(DOUBLES)
    assert total(pointer) == 3
    pointer.contents = ctypes.c_double.from_buffer(y)
    assert total(pointer) == 5
    with_other = x.ctypes.data_as(ctypes.POINTER(ctypes.c_longlong))
    with pytest.raises(mapcall.ArgumentError, match="got an array of int64"):
        total(with_other)


def test_objects_that_ctypes_converts(c: Counted) -> None:
    class Wrapper:
        def __init__(self, value: Any) -> None:
            self._as_parameter_ = value

    half, seven = c.function("double half(double x)"), c.function("void seven(double *x)")
    assert half(Wrapper(ctypes.c_double(3))) == 1.5
    number = ctypes.c_double()
    seven(Wrapper(ctypes.byref(number)))
    assert number.value == 7
    assert c.function("size_t length(const char *s)")(Wrapper(ctypes.c_char_p(b"ab"))) == 2


def test_in_a_batch(c: Counted) -> None:
    scale = c.function("double sum(size_t n, const double x[n])")
    assert scale(np.ones((2, 3))).tolist() == [3, 3]
    libm = mapcall.load("m")
    hypot = libm.function("double hypot(double x, double y)")
    assert hypot(np.array([3.0, 6]), ctypes.c_double(4)).tolist() == [5, math.hypot(6, 4)]
    assert hypot((ctypes.c_double * 2)(3, 6), 4).tolist() == [5, math.hypot(6, 4)]
    assert hypot((ctypes.c_double * 2)(3, 6), 4, out=np.zeros(2), threads=2).tolist()[0] == 5
