"""The `ctypes` attribute against NumPy's, in real calls, and in a Python without ctypes."""

import ctypes
import gc
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import mapcall

POINTERS = [
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_wchar_p,
    ctypes.POINTER(ctypes.c_double),
    ctypes.POINTER(ctypes.c_int16),
    ctypes.POINTER(ctypes.c_float * 3),
    ctypes.POINTER(ctypes.POINTER(ctypes.c_int)),
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.CFUNCTYPE(ctypes.c_int),
    ctypes.py_object,
]


class Opaque(ctypes.Structure):
    pass


class VoidPointer(ctypes.c_void_p):
    pass


class Complete(ctypes.Structure):
    _fields_ = (("a", ctypes.c_int32), ("b", ctypes.c_float))


POINTERS += [ctypes.POINTER(Opaque), ctypes.POINTER(Complete), VoidPointer]

NO_POINTERS = [
    ctypes.c_int,
    ctypes.c_double,
    ctypes.c_int * 3,
    Complete,
    int,
    object,
    None,
    3,
    "c_void_p",
    ctypes.c_void_p(),
    np.dtype("f8"),
    ctypes.byref(ctypes.c_int()),
]

INTEGERS = [
    ctypes.c_byte,
    ctypes.c_short,
    ctypes.c_int,
    ctypes.c_long,
    ctypes.c_longlong,
    ctypes.c_size_t,
    ctypes.c_uint8,
    ctypes.c_ssize_t,
    ctypes.c_double,
]

ARRAYS: dict[str, Callable[[], np.ndarray[Any, Any]]] = {
    "1d": lambda: np.arange(5),
    "2d": lambda: np.ones((2, 3), "f4"),
    "0d": lambda: np.array(2.5),
    "empty": lambda: np.zeros((0, 3)),
    "fortran": lambda: np.asfortranarray(np.ones((2, 3))),
    "negative strides": lambda: np.arange(20)[::-3],
    "broadcast": lambda: np.broadcast_to(np.float64(3), (4, 5)),
    "read-only": lambda: np.frombuffer(b"12345678", "f8"),
    "unaligned": lambda: np.frombuffer(b"x12345678", "f8", offset=1),
    "big-endian": lambda: np.arange(3, dtype=">i4"),
    "structured": lambda: np.zeros(3, "i4,f8"),
    "objects": lambda: np.array([None, "a"], object),
    "strings": lambda: np.array(["one", "three"]),
    "many axes": lambda: np.ones((1,) * 64),
    "subclass": lambda: np.ma.masked_array([1, 2, 3], mask=[0, 1, 0]),
    "matrix": lambda: np.eye(3).view(np.matrix),
}


def described(value: Any) -> Any:
    """Returns a value for comparing ctypes objects."""
    if isinstance(value, ctypes.Array):
        return type(value), list(value)
    if isinstance(value, ctypes._SimpleCData | ctypes._Pointer | ctypes._CFuncPtr):
        return type(value), ctypes.cast(value, ctypes.c_void_p).value, value._arr
    return value


def attempt(step: Callable[[Any], Any], attribute: Any) -> Any:
    try:
        return described(step(attribute))
    except Exception as error:
        return type(error)


class TestAsNumpy:
    @pytest.mark.parametrize("name", ARRAYS)
    def test_attributes(self, name: str) -> None:
        array = ARRAYS[name]()
        ours, numpy = mapcall.Ctypes(array), array.ctypes
        assert ours.data == numpy.data == array.__array_interface__["data"][0]
        assert described(ours.shape) == described(numpy.shape)
        assert described(ours.strides) == described(numpy.strides)
        assert ours._zerod == numpy._zerod
        assert ours._ctypes is numpy._ctypes
        assert ours._arr is numpy._arr is array
        assert ours._data.value == numpy._data.value
        parameter = ours._as_parameter_
        assert type(parameter) is ctypes.c_void_p
        assert parameter.value == numpy._as_parameter_.value
        assert parameter._arr is array

    @pytest.mark.parametrize("name", ARRAYS)
    @pytest.mark.parametrize("pointer", POINTERS, ids=lambda pointer: pointer.__name__)
    def test_data_as(self, name: str, pointer: type) -> None:
        array = ARRAYS[name]()
        if pointer is ctypes.py_object:
            # Reading the value would use an element as the address of an object.
            assert mapcall.Ctypes(array).data_as(pointer)._arr is array
            return
        ours, numpy = mapcall.Ctypes(array).data_as(pointer), array.ctypes.data_as(pointer)
        assert type(ours) is type(numpy) is pointer
        assert ctypes.cast(ours, ctypes.c_void_p).value == array.ctypes.data
        assert ours._arr is numpy._arr is array

    @pytest.mark.parametrize("obj", NO_POINTERS, ids=lambda obj: type(obj).__name__)
    def test_no_pointer(self, obj: Any) -> None:
        array = np.arange(4)
        step = lambda attribute: attribute.data_as(obj)  # noqa: E731
        assert attempt(step, array.ctypes) is TypeError or obj == "c_void_p"
        with pytest.raises(TypeError):
            mapcall.Ctypes(array).data_as(obj)

    @pytest.mark.parametrize("name", ARRAYS)
    @pytest.mark.parametrize("integer", INTEGERS, ids=lambda integer: integer.__name__)
    def test_shape_as_and_strides_as(self, name: str, integer: type) -> None:
        array = ARRAYS[name]()
        for step in (lambda c: c.shape_as(integer), lambda c: c.strides_as(integer)):
            assert attempt(step, mapcall.Ctypes(array)) == attempt(step, array.ctypes)

    @pytest.mark.parametrize("obj", [None, "a", int, object(), ctypes.c_int(3), ctypes.c_char])
    def test_no_integer_type(self, obj: Any) -> None:
        for array in (np.ones((2, 3)), np.array(1.0)):
            for step in (lambda c: c.shape_as(obj), lambda c: c.strides_as(obj)):
                ours, numpy = attempt(step, mapcall.Ctypes(array)), attempt(step, array.ctypes)
                assert ours == numpy

    @settings(deadline=None)
    @given(
        hnp.arrays(
            hnp.scalar_dtypes() | hnp.array_dtypes(),
            hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
        ),
        st.data(),
    )
    def test_any_array(self, array: np.ndarray[Any, Any], data: st.DataObject) -> None:
        if array.ndim:
            array = array[data.draw(hnp.basic_indices(array.shape))]
        array = np.asarray(array)
        ours, numpy = mapcall.Ctypes(array), array.ctypes
        assert ours.data == numpy.data
        assert described(ours.shape) == described(numpy.shape)
        assert described(ours.strides) == described(numpy.strides)
        assert described(ours.data_as(ctypes.c_void_p)) == described(numpy.data_as(ctypes.c_void_p))

    def test_names(self) -> None:
        numpy = {name for name in dir(np.arange(3).ctypes) if name[:2] != "__"}
        ours = {name for name in dir(mapcall.Ctypes(np.arange(3))) if name[:2] != "__"}
        assert ours == numpy


class TestAttribute:
    def test_of_a_memmap_and_its_views(self, tmp_path: Path) -> None:
        x = mapcall.memmap(tmp_path / "x", "f8", "w+", 3, (4, 5))
        for view in (x, x[1:], x.T, x[::-1, ::2], x[2, 2:], x[None], x[:0]):
            assert type(view.ctypes) is mapcall.Ctypes
            assert view.ctypes.data == view.__array_interface__["data"][0]
            assert tuple(view.ctypes.shape) == view.shape
            assert tuple(view.ctypes.strides) == view.strides
            assert view.ctypes._arr is view
        assert not x.flags.aligned

    def test_a_new_object_at_each_access(self) -> None:
        x = np.arange(3).view(mapcall.memmap)
        assert x.ctypes is not x.ctypes

    def test_it_follows_the_array(self) -> None:
        x = np.arange(6).view(mapcall.memmap)
        attribute = x.ctypes
        with warnings.catch_warnings():
            # NumPy has deprecated this.
            warnings.simplefilter("ignore", DeprecationWarning)
            x.shape = (2, 3)
        assert tuple(attribute.shape) == (2, 3)
        assert tuple(attribute.strides) == (24, 8)

    def test_nothing_can_be_set(self) -> None:
        x = np.arange(3).view(mapcall.memmap)
        with pytest.raises(AttributeError):
            x.ctypes = None
        with pytest.raises(AttributeError):
            del x.ctypes
        for name in ("data", "shape", "strides", "_arr", "_as_parameter_", "other"):
            with pytest.raises(AttributeError):
                setattr(mapcall.Ctypes(x), name, 1)

    @pytest.mark.parametrize(
        "obj", [None, 3, [1, 2], b"abc", memoryview(b"abc"), np.float64(3), int]
    )
    def test_only_of_arrays(self, obj: Any) -> None:
        with pytest.raises(TypeError):
            mapcall.Ctypes(obj)
        with pytest.raises(TypeError):
            mapcall.Ctypes()

    def test_contents_and_writing_through(self, tmp_path: Path) -> None:
        x = mapcall.memmap(tmp_path / "x", "i4", "w+", 0, 4)
        pointer = x.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        pointer[2] = 42
        pointer.contents.value = 7
        assert x.tolist() == [7, 0, 42, 0]

    def test_in_calls(self, tmp_path: Path) -> None:
        libc = ctypes.CDLL(None)
        libc.memcpy.restype = ctypes.c_void_p
        libc.memcpy.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
        x = mapcall.memmap(tmp_path / "x", "f8", "w+", 0, 4)
        source = np.arange(4.0)
        libc.memcpy(x.ctypes, mapcall.Ctypes(source), 32)
        assert x.tolist() == [0, 1, 2, 3]
        # Without argtypes, ctypes reads `_as_parameter_`, too.
        untyped = ctypes.CDLL(None).memset
        untyped(x[1:3].ctypes, 0, ctypes.c_size_t(16))
        assert x.tolist() == [0, 0, 0, 3]


class TestLifetime:
    @pytest.mark.parametrize("pointer", POINTERS, ids=lambda pointer: pointer.__name__)
    @pytest.mark.parametrize("name", ["1d", "empty", "read-only", "structured", "objects"])
    def test_a_pointer_keeps_the_array_and_frees_it(self, name: str, pointer: type) -> None:
        array = ARRAYS[name]().view()
        reference = weakref.ref(array)
        gc.collect()
        gc.disable()
        try:
            held = mapcall.Ctypes(array).data_as(pointer)
            del array
            assert reference() is not None
            del held
            if pointer not in TIED_BY_CAST:
                assert reference() is None
        finally:
            gc.enable()
        gc.collect()
        assert reference() is None

    def test_a_pointer_to_a_temporary(self) -> None:
        a = np.full(100_000, 1.5)
        pointer = mapcall.Ctypes(a + a).data_as(ctypes.POINTER(ctypes.c_double))
        # These arrays would use the memory if it were freed.
        others = [np.zeros(100_000) for _ in range(10)]
        assert [pointer[index] for index in (0, 50_000, 99_999)] == [3.0] * 3
        assert len(others) == 10

    def test_a_pointer_keeps_the_map(self, tmp_path: Path) -> None:
        x = mapcall.memmap(tmp_path / "x", "i4", "w+", 0, 1000)
        x[:] = np.arange(1000)
        owner = weakref.ref(x._mmap)
        pointer = x[500:].ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        parameter = x.ctypes._as_parameter_
        attribute = x.ctypes
        del x
        assert (pointer[0], pointer[499]) == (500, 999)
        del pointer, parameter
        assert owner() is not None
        del attribute
        assert owner() is None


# Types that only `ctypes.cast` makes, which creates a reference cycle.
TIED_BY_CAST = {ctypes.c_wchar_p, ctypes.py_object, ctypes.CFUNCTYPE(ctypes.c_int)}


WITHOUT_CTYPES = """
    import sys
    sys.modules["ctypes"] = None
    import tempfile
    import numpy
    import mapcall

    x = mapcall.memmap(tempfile.NamedTemporaryFile(), "f8", "w+", shape=(2, 3))
    for array in (x, x[1:], numpy.arange(6).reshape(2, 3), numpy.array(1.0)):
        c = mapcall.Ctypes(array)
        assert type(c.data) is int
        assert c.data == array.__array_interface__["data"][0]
        if array.ndim:
            assert type(c.shape) is type(c.strides) is numpy.ndarray
            assert c.shape.dtype == c.strides.dtype == numpy.intp
            assert tuple(c.shape) == array.shape
            assert tuple(c.strides) == array.strides
        else:
            assert c.shape is c.strides is None
        assert c._arr is array
        assert c._zerod == (array.ndim == 0)
        for refused in (
            lambda: c.data_as(int),
            lambda: c._as_parameter_,
            lambda: c._data,
        ):
            try:
                refused()
            except ImportError as error:
                assert ".data" in str(error), error
            else:
                raise AssertionError("a pointer without ctypes")
    assert c._ctypes is None
    assert x.sum() == 0
    print("done")
"""


def test_without_the_ctypes_module(run_script: Callable[..., str]) -> None:
    assert run_script(WITHOUT_CTYPES) == "done\n"
