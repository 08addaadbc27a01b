"""Values of ctypes and cffi in C's memory, and the user data of SciPy's callables."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from typing import Any

import cffi
import numpy as np
import pytest

import mapcall

SOURCE = r"""
#include <string.h>
struct point { double x; int id; };
struct all {
    double x; int n; unsigned kind : 3; double *data; const char *name; char tag[8];
    double three[3]; void *any; struct point *first; struct point at; int (*f)(int);
};
double weigh(const struct all *a)
{
    double s = a->x + a->n + a->kind + a->three[0] + a->three[2] + a->at.x;
    for (int i = 0; a->data && i < a->n; i++) s += a->data[i];
    if (a->name) s += strlen(a->name);
    if (a->first) s += a->first->x;
    if (a->f) s += a->f(1);
    return s + strlen(a->tag);
}
double scale = 1;
double apply(double (*f)(double, void *), void *data, double x) { return f(x, data); }
double last(double (*f)(double, void *), double x, void *data) { return f(x, data); }
double pair(void *a, double (*f)(double, void *), double x, void *b) { return f(x, b); }
double nowhere(double (*f)(double, void *), double x) { return f(x, 0); }
"""
ALL = """
struct point { double x; int id; };
struct all {
    double x; int n; unsigned kind : 3; double *data; const char *name; char tag[8];
    double three[3]; void *any; struct point *first; struct point at; int (*f)(int);
};
"""


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double), ("id", ctypes.c_int)]


class Address:
    """An object whose memory is known by its address alone."""

    _as_parameter_ = 4096


@pytest.fixture(scope="module")
def lib(compile_c: Callable[..., Any]) -> mapcall.Library:
    return mapcall.load(compile_c(SOURCE))


def test_members(lib: mapcall.Library) -> None:
    weigh = lib.function(ALL + "double weigh(const struct all *a)")
    new = lib.struct("all")
    doubles = (ctypes.c_double * 2)(4, 5)
    pointers = [doubles, ctypes.cast(doubles, ctypes.POINTER(ctypes.c_double))]
    for data in [*pointers, ctypes.pointer(doubles)[0], np.array([4.0, 5]).ctypes]:
        one = new(n=ctypes.c_int(2), data=data)
        gc.collect()
        assert weigh(one) == 11
    assert weigh(new(n=1, data=ctypes.byref(ctypes.c_double(7)))) == 8
    assert weigh(new(x=ctypes.c_double(0.5), kind=ctypes.c_uint(3))) == 3.5
    for name in (ctypes.c_char_p(b"abc"), ctypes.create_string_buffer(b"abc")):
        assert weigh(new(name=name)) == 3
        assert weigh(new(tag=name)) == 3
    assert weigh(new(three=(ctypes.c_double * 3)(1, 9, 2))) == 3
    point = Point(2.5, 1)
    for first in (point, ctypes.byref(point), ctypes.pointer(point)):
        assert weigh(new(first=first)) == 2.5
    assert weigh(new(at=point)) == 2.5
    assert new(at=point).at.id == 1
    assert weigh(new(data=ctypes.POINTER(ctypes.c_double)(), name=ctypes.c_char_p())) == 0
    assert new(any=point).any.address == ctypes.addressof(point)
    assert weigh(new(f=ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda x: x + 1))) == 2
    # A dict, a variable, and what a handle points to.
    assert weigh({"x": ctypes.c_double(0.5), "n": ctypes.c_int(2), "data": doubles}) == 11.5
    scale = lib.variable("double scale")
    scale.value = ctypes.c_double(3)
    assert scale.value == 3


def test_cffi(lib: mapcall.Library) -> None:
    ffi = cffi.FFI()
    ffi.cdef("struct point { double x; int id; };")
    weigh = lib.function(ALL + "double weigh(const struct all *a)")
    new = lib.struct("all")
    point = ffi.new("struct point *", {"x": 2.5, "id": 1})
    assert weigh(new(first=point)) == weigh(new(at=point[0])) == 2.5
    data = ffi.new("double[2]", [4, 5])
    assert weigh(new(n=ffi.cast("int", 2), data=data)) == 11
    assert weigh(new(three=ffi.new("double[3]", [1, 0, 2]))) == 3
    assert weigh(new(name=ffi.new("char[]", b"abc"))) == 3
    assert weigh(new(tag=ffi.new("char[]", b"abc"))) == 3


def test_refused(lib: mapcall.Library) -> None:
    lib.function(ALL + "double weigh(const struct all *a)")
    new = lib.struct("all")
    for member, value, message in [
        ("n", ctypes.c_double(0.5), "expected int, got 0.5"),
        ("n", ctypes.c_long(1 << 40), "expected int, got 1099511627776"),
        ("x", ctypes.create_string_buffer(b"a"), "expected double, got a c_char_Array_2"),
        ("data", ctypes.pointer(ctypes.c_float(1)), "got a pointer to float"),
        ("data", (ctypes.c_int * 2)(), "got an array of int32"),
        ("three", (ctypes.c_double * 2)(), "give an array of this dtype and shape"),
        ("first", ctypes.c_double(1), "got a pointer to double"),
        ("at", (Point * 2)(), "expected struct point"),
        ("kind", ctypes.c_int(8), "got 8"),
        ("data", Address(), "give library.handle('double *', value._as_parameter_)"),
    ]:
        with pytest.raises(mapcall.ArgumentError) as caught:
            new(**{member: value})
        assert message in str(caught.value), (member, value)


class TestUserData:
    """`LowLevelCallable(function, user_data)`: C gets the data as SciPy's own functions do."""

    @pytest.fixture
    def low(self) -> Iterator[Any]:
        scipy = pytest.importorskip("scipy")
        kind = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_void_p)
        data = ctypes.c_double(10)

        def add(x: float, data: Any) -> float:
            return x + (ctypes.c_double.from_address(data).value if data else 0)

        address = ctypes.cast(ctypes.pointer(data), ctypes.c_void_p)
        yield scipy.LowLevelCallable(kind(add), address)
        assert data.value == 10

    def test_forwarded(self, lib: mapcall.Library, low: Any) -> None:
        apply = lib.function("double apply(double (*f)(double, void *), void *data, double x)")
        assert apply(low, None, 2) == apply(low, x=2) == 12
        # The user data itself, as before.
        assert apply(low, low.user_data, 2) == 12
        last = lib.function("double last(double (*f)(double, void *), double x, void *data)")
        assert last(low, 2) == last(low, 2, None) == last(f=low, x=2) == 12
        # Which of two is meant is not known.
        pair = lib.function("double pair(void *a, double (*f)(double, void *), double x, void *b)")
        with pytest.raises(mapcall.ArgumentError, match="write `void \\*data` behind it"):
            pair(None, low, 2, None)
        assert apply(low, None, np.array([1.0, 2])).tolist() == [11, 12]

    def test_refused(self, lib: mapcall.Library, low: Any) -> None:
        scipy = pytest.importorskip("scipy")
        apply = lib.function("double apply(double (*f)(double, void *), void *data, double x)")
        with pytest.raises(mapcall.ArgumentError) as caught:
            apply(low, ctypes.c_void_p(ctypes.addressof(ctypes.c_int())), 2)
        assert str(caught.value) == (
            "apply: f: expected a function double (double, void *), got a LowLevelCallable with "
            "user_data, and other data for data; leave data out, or give "
            "LowLevelCallable(f.function)"
        )
        nowhere = lib.function("double nowhere(double (*f)(double, void *), double x)")
        with pytest.raises(mapcall.ArgumentError) as caught:
            nowhere(low, 2)
        assert caught.value.remedy == (
            "write `void *data` behind it in the prototype, if C takes that, or give "
            "LowLevelCallable(f.function)"
        )
        assert nowhere(scipy.LowLevelCallable(low.function), 2) == 2
        assert apply(scipy.LowLevelCallable(low.function), None, 2) == 2
