"""Functions of ctypes, cffi and SciPy as arguments, and functions of mapcall for them."""

from __future__ import annotations

import ctypes
import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall

SOURCE = r"""
struct pair { int a; double b; };
double twice(double x) { return 2 * x; }
double apply(double (*f)(double), double x) { return f(x); }
double with_data(double (*f)(double, void *), double x, void *data) { return f(x, data); }
int by_pair(int (*f)(struct pair), int a) { struct pair p = {a, 1.5}; return f(p); }
double over(double (*f)(const double *, int), int n, const double *x) { return f(x, n); }
typedef double (*function)(double);
double chosen(function (*f)(int), double x) { return f(1)(x); }
double *first(double *x, double (*f)(double)) { return x; }
"""
APPLY = "double apply(double (*f)(double x), double x)"
DOUBLE = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)


@pytest.fixture(scope="module")
def path(compile_c: Any) -> Path:
    return Path(compile_c(SOURCE))


@pytest.fixture(scope="module")
def lib(path: Path) -> mapcall.Library:
    return mapcall.load(path)


def refused(apply: Any, function: Any, found: str) -> None:
    with pytest.raises(mapcall.ArgumentError) as caught:
        apply(function, 2)
    message = "f: expected a function double (double), got `{}`; give a function of that type"
    assert str(caught.value).endswith(message.format(found))


class TestCtypes:
    def test_functions(self, lib: mapcall.Library, path: Path) -> None:
        apply = lib.function(APPLY)
        assert apply(DOUBLE(lambda x: x + 1), 2) == 3
        # Without `argtypes` it has no signature.
        twice = ctypes.CDLL(str(path)).twice
        assert apply(twice, 4) == 8
        twice.argtypes, twice.restype = [ctypes.c_double], ctypes.c_double
        assert apply(twice, 4) == 8
        twice.argtypes = [ctypes.c_float]
        refused(apply, twice, "double (float)")

    def test_signatures(self, lib: mapcall.Library) -> None:
        apply = lib.function(APPLY)
        refused(apply, ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(abs), "int (int)")
        refused(apply, ctypes.CFUNCTYPE(None)(lambda: None), "void (void)")
        over = lib.function(
            "double over(double (*f)(const double x[n], int n), int n, const double x[n])"
        )
        of_pointer = ctypes.CFUNCTYPE(
            ctypes.c_double, ctypes.POINTER(ctypes.c_double), ctypes.c_int
        )
        assert over(of_pointer(lambda x, n: sum(x[:n])), np.array([1.0, 2.0, 4.0])) == 7
        of_address = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_void_p, ctypes.c_int)
        assert over(of_address(lambda x, n: n), np.ones(2)) == 2
        of_floats = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.POINTER(ctypes.c_float), ctypes.c_int)
        with pytest.raises(mapcall.ArgumentError, match=r"got `double \(float \*, int\)`"):
            over(of_floats(lambda x, n: 0), np.ones(1))

    def test_structs_by_value(self, lib: mapcall.Library) -> None:
        pair = "struct pair { int a; double b; };"
        by_pair = lib.function(pair + "int by_pair(int (*f)(struct pair p), int a)")

        class Pair(ctypes.Structure):
            _fields_ = (("a", ctypes.c_int), ("b", ctypes.c_double))

        class Other(ctypes.Structure):
            _fields_ = (("a", ctypes.c_int), ("b", ctypes.c_float))

        # ctypes passes no struct to a callback of its own; the signature alone is compared.
        kind = ctypes.CFUNCTYPE(ctypes.c_int, Pair)
        assert by_pair(kind(lambda p: int(10 * p.a + p.b)), 3) == 31
        with pytest.raises(mapcall.ArgumentError, match="by_pair: f: expected a function"):
            by_pair(ctypes.CFUNCTYPE(ctypes.c_int, Other)(lambda p: 0), 3)

    def test_results_of_callbacks(self, lib: mapcall.Library) -> None:
        chosen = lib.function(
            "typedef double (*function)(double); double chosen(function (*f)(int), double x)"
        )
        negative = DOUBLE(lambda x: -x)
        assert chosen(lambda _: negative, 3) == -3

    def test_members_of_structs(self, lib: mapcall.Library) -> None:
        lib.function("struct ops { double (*f)(double x); }; double twice(double x)")
        function = DOUBLE(lambda x: x * 5)
        dead = weakref.ref(function)
        ops = lib.struct("ops")(f=function)
        del function
        gc.collect()
        assert ops.f(2) == 10
        del ops
        gc.collect()
        assert dead() is None

    def test_a_handle_keeps_the_function(self, lib: mapcall.Library) -> None:
        first = lib.function("double *first(double x[1], double (*f)(double x))")
        function = DOUBLE(lambda x: x)
        dead = weakref.ref(function)
        handle = first(np.ones(1), function)
        del function
        gc.collect()
        assert dead() is not None
        del handle
        gc.collect()
        assert dead() is None


class TestOurs:
    def test_address_and_ctypes(self, lib: mapcall.Library, path: Path) -> None:
        twice = lib.function("double twice(double x)")
        assert DOUBLE(twice.address)(4) == 8
        function = twice.ctypes
        assert (function(4), function.restype) == (8, ctypes.c_double)
        assert lib.function(APPLY)(function, 3) == 6
        callback = lib.function(APPLY).callback("f", lambda x: x + 1)
        assert callback.ctypes(4) == 5

    def test_ctypes_keeps_alive(self, path: Path) -> None:
        library = mapcall.load(path)
        function = library.function("double twice(double x)").ctypes
        callback = library.function(APPLY).callback("f", lambda x: x + 1)
        of_callback, dead = callback.ctypes, weakref.ref(callback)
        del library, callback
        gc.collect()
        assert (function(4), of_callback(4)) == (8, 5)
        del of_callback
        gc.collect()
        assert dead() is None

    def test_types(self, lib: mapcall.Library) -> None:
        over = lib.function(
            "double over(double (*f)(const double x[n], int n), int n, const double x[n])"
        )
        assert over.ctypes.argtypes == (
            ctypes.c_void_p,
            ctypes.c_int,
            ctypes.POINTER(ctypes.c_double),
        )
        pair = "struct pair { int a; double b; };"
        lib.function(pair + "int by_pair(int (*f)(struct pair p), int a)")
        csqrt = mapcall.load("m").function("double _Complex csqrt(double _Complex z)")
        with pytest.raises(TypeError, match="types ctypes has, got `double _Complex`"):
            _ = csqrt.ctypes


def test_cffi(lib: mapcall.Library, path: Path) -> None:
    cffi = pytest.importorskip("cffi")
    ffi = cffi.FFI()
    ffi.cdef("double twice(double x); double apply(double (*f)(double), double x);")
    opened = ffi.dlopen(str(path))
    apply = lib.function(APPLY)
    assert apply(opened.twice, 3) == 6
    assert apply(ffi.addressof(opened, "twice"), 3) == 6
    assert apply(ffi.cast("void *", opened.twice), 3) == 6
    assert apply(ffi.callback("double(double)", lambda x: x - 1), 3) == 2
    refused(apply, ffi.callback("double(double, int *)", lambda x, y: x), "double (double, int *)")
    refused(apply, ffi.callback("float(float)", lambda x: x), "float (float)")
    # Other pointers are no functions.
    with pytest.raises(mapcall.ArgumentError, match="expected a function"):
        apply(ffi.new("double *"), 3)


def capsule(address: int, name: bytes | None) -> Any:
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = (
        ctypes.py_object,
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p],
    )
    return new(address, name, None)


def test_capsules(lib: mapcall.Library) -> None:
    apply, twice = lib.function(APPLY), lib.function("double twice(double x)")
    names = [b"double (double)", b"double(double x)", b"int (int)", b"no signature"]
    assert apply(capsule(twice.address, names[0]), 3) == 6
    assert apply(capsule(twice.address, names[1]), 3) == 6
    assert apply(capsule(twice.address, None), 3) == 6
    refused(apply, capsule(twice.address, names[2]), "int (int)")
    refused(apply, capsule(twice.address, names[3]), "no signature")
