"""`mapcall.ctypeslib` against `numpy.ctypeslib`, in real calls, and for leaks."""

import ctypes
import gc
import math
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapcall import ctypeslib
from mapcall.ctypeslib import (
    as_array,
    as_ctypes,
    as_ctypes_type,
    load_library,
    ndpointer,
)
from mapcall.ctypeslib._cache import TypeCache

C_SOURCE = """
#include <stddef.h>
#include <stdint.h>

struct sample { int16_t id; double value[2]; };

double total(const double *x, size_t n)
{
    if (x == NULL)
        return -1.0;
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

void scale(struct sample *s, size_t n, double by)
{
    for (size_t i = 0; i < n; i++) {
        s[i].value[0] *= by;
        s[i].value[1] *= by;
        s[i].id += 1;
    }
}

static double table[6] = {0, 1, 2, 3, 4, 5};

double *get_table(int have) { return have ? table : NULL; }
"""

SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")


@pytest.fixture(scope="session")
def kernels(tmp_path_factory):
    """Compiles `C_SOURCE` with the system's compiler, and returns the path of the library."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.fail("these tests need a C compiler: install one as cc or set CC")
    folder = tmp_path_factory.mktemp("kernels")
    source, library = folder / "kernels.c", folder / f"libkernels{SUFFIX}"
    source.write_text(C_SOURCE)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return library


@pytest.fixture
def lib(kernels):
    """Returns the library, with function objects that no other test has changed."""
    return ctypes.CDLL(kernels)


def outcome(function, *args, **kwargs):
    """Returns the result of a call, or the type and message of its error."""
    try:
        return function(*args, **kwargs), None
    except Exception as error:
        return None, error


def assert_same_error(ours, numpys):
    assert type(ours) is type(numpys), (ours, numpys)
    assert str(ours) == str(numpys)


def unaligned(dtype, n=4):
    raw = np.zeros(n * np.dtype(dtype).itemsize + 1, np.uint8)
    return raw[1:].view(dtype)


# dtypes ---------------------------------------------------------------------

NUMPY_SCALARS = [
    order + code
    for order in "<>"
    for code in ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
]
MORE_SCALARS = ["g", "S1", "S5", "U1", "U3", "V1", "V7"]
REFUSED = ["f2", ">f2", "M8[s]", "m8[ns]", "O", ">U2"]


def fields_of(elements, least):
    """Returns a strategy for structured dtypes: packed, aligned, with gaps, or out of order."""
    shapes = st.lists(st.integers(least, 3), min_size=1, max_size=2).map(tuple)
    field = elements | st.tuples(elements, shapes).map(np.dtype)

    @st.composite
    def build(draw):
        formats = draw(st.lists(field, min_size=1, max_size=4))
        names = [f"f_{i}" for i in range(len(formats))]
        if draw(st.booleans()):
            layout = {"names": names, "formats": formats}
            return np.dtype(layout, align=draw(st.booleans()))
        offsets, end = [], 0
        for dtype in formats:
            offsets.append(end + draw(st.integers(0, 3)))
            end = offsets[-1] + dtype.itemsize
        order = draw(st.permutations(range(len(formats))))
        return np.dtype(
            {
                "names": [names[i] for i in order],
                "formats": [formats[i] for i in order],
                "offsets": [offsets[i] for i in order],
                "itemsize": end + draw(st.integers(0, 3)),
            }
        )

    return build()


def dtypes(codes, least=0):
    """Returns a strategy for dtypes of these scalars; sub-arrays have extents >= `least`."""
    scalars = st.sampled_from(codes).map(np.dtype)
    return st.recursive(scalars, lambda inner: fields_of(inner, least), max_leaves=6)


@st.composite
def overlapping_dtypes(draw):
    codes = draw(st.lists(st.sampled_from(["u1", "u2", ">u4"]), min_size=2, max_size=3))
    same = draw(st.booleans())
    layout = {
        "names": [f"f_{i}" for i in range(len(codes))],
        "formats": codes,
        "offsets": [0 if same else draw(st.integers(0, 3)) for _ in codes],
    }
    return np.dtype(layout | {"itemsize": 8} if draw(st.booleans()) else layout)


def as_ctypes_sees(dtype):
    """Returns the dtype after a conversion to ctypes and back."""
    base, extents = dtype.subdtype or (dtype, ())
    if base.names is not None:
        names = list(base.names)
        if any(base.fields[name][1] for name in names):
            names.sort(key=lambda name: (base.fields[name][1], base[name].itemsize))
        base = np.dtype(
            {
                "names": names,
                "formats": [as_ctypes_sees(base.fields[name][0]) for name in names],
                "offsets": [base.fields[name][1] for name in names],
                "itemsize": base.itemsize,
            }
        )
    elif base.kind in "SUV":
        unit, code = {"S": (1, "S1"), "U": (4, "U1"), "V": (1, "u1")}[base.kind]
        base, extents = np.dtype(code), (*extents, base.itemsize // unit)
    return np.dtype((base, extents)) if extents else base


def described(ctype):
    """Returns all properties of a ctypes type, for comparisons."""
    if issubclass(ctype, ctypes.Array):
        return ctype.__name__, ctype._length_, described(ctype._type_)
    if issubclass(ctype, (ctypes.Structure, ctypes.Union)):
        fields = [(name, described(field)) for name, field in ctype._fields_]
        base = ctypes.Union if issubclass(ctype, ctypes.Union) else ctypes.Structure
        return base, ctype.__name__, ctype.__module__, ctype._pack_, fields
    return ctype


def assert_same_layout(ctype, dtype):
    assert ctypes.sizeof(ctype) == dtype.itemsize
    base, extents = dtype.subdtype or (dtype, ())
    for extent in extents:
        assert ctype._length_ == extent
        ctype = ctype._type_
    for name in base.names or ():
        field_dtype, offset = base.fields[name][:2]
        field = getattr(ctype, name)
        assert (field.offset, field.size) == (offset, field_dtype.itemsize)
        assert_same_layout(dict(ctype._fields_)[name], field_dtype)


class TestAsCtypesType:
    @settings(deadline=None)
    @given(dtypes(NUMPY_SCALARS + MORE_SCALARS))
    def test_layout_is_the_dtypes(self, dtype):
        ctype = as_ctypes_type(dtype)
        assert_same_layout(ctype, dtype)
        array = as_array(ctype())
        # The dtype of an array is never a sub-array, whose axes belong to the array.
        sees = as_ctypes_sees(dtype)
        assert (array.dtype, array.shape) == (sees.base, sees.shape)

    @settings(deadline=None)
    @given(dtypes(NUMPY_SCALARS, least=1) | overlapping_dtypes())
    def test_same_as_numpy(self, dtype):
        ours, our_error = outcome(as_ctypes_type, dtype)
        numpys, numpy_error = outcome(np.ctypeslib.as_ctypes_type, dtype)
        if numpy_error is not None:
            assert_same_error(our_error, numpy_error)
        else:
            assert described(ours) == described(numpys)

    @settings(deadline=None)
    @given(dtypes([*REFUSED, "i4"], least=1))
    def test_refused_as_numpy_refuses_and_with_a_remedy(self, dtype):
        ours, our_error = outcome(as_ctypes_type, dtype)
        numpys, numpy_error = outcome(np.ctypeslib.as_ctypes_type, dtype)
        if numpy_error is None:
            assert described(ours) == described(numpys)
        else:
            assert type(our_error) is type(numpy_error) is NotImplementedError
            assert str(our_error).startswith(f"{numpy_error}: ")

    @pytest.mark.parametrize(
        ("code", "remedy"),
        [
            ("f2", "view the array as uint16"),
            (">f2", "view the array as uint16"),
            ("M8[s]", "view the array as int64"),
            ("m8[s]", "view the array as int64"),
            ("O", "would not count the references"),
            (">g", "convert the array first"),
            (">U3", "convert the array first"),
        ],
    )
    def test_remedies(self, code, remedy):
        with pytest.raises(NotImplementedError, match=remedy):
            as_ctypes_type(code)

    @pytest.mark.parametrize(("code", "name"), [("F", "float"), ("D", "double")])
    def test_complex_where_ctypes_has_it(self, code, name):
        expected = getattr(ctypes, f"c_{name}_complex", None)
        if expected is None:
            with pytest.raises(NotImplementedError, match="view the array as its real"):
                as_ctypes_type(code)
        else:
            assert as_ctypes_type(code) is expected
            assert as_array(expected(1 + 2j)).dtype == np.dtype(code)

    def test_a_field_of_no_bytes_overlaps_nothing(self):
        layout = {
            "names": ["a", "none", "b"],
            "formats": ["i4", ("i4", (0,)), "i4"],
            "offsets": [0, 0, 4],
        }
        assert_same_layout(as_ctypes_type(layout), np.dtype(layout))

    def test_strings_and_bytes(self):
        assert as_ctypes_type("S4") is ctypes.c_char * 4
        assert as_ctypes_type("V4") is ctypes.c_ubyte * 4
        assert as_ctypes_type("U4") is ctypes.c_wchar * 4
        assert as_ctypes_type(("S4", (2, 3))) is ctypes.c_char * 4 * 3 * 2

    def test_long_double(self):
        assert as_ctypes_type("g") is ctypes.c_longdouble
        assert np.dtype(as_ctypes_type("g")) == np.longdouble
        x = np.array([1, 2], np.longdouble)
        c = as_ctypes(x)
        c[1] = 0.5
        assert x.tolist() == [1, 0.5] == as_array(c).tolist()

    def test_equal_dtypes_share_a_type_while_it_lives(self):
        def make():
            return np.dtype([("a", "i4"), ("b", [("c", "f8"), ("d", "u1", 3)])])

        ctype = as_ctypes_type(make())
        assert as_ctypes_type(make()) is ctype
        assert dict(ctype._fields_)["b"] is as_ctypes_type(make()["b"])
        assert as_ctypes_type([("a", "i4"), ("b", "f8")]) is not ctype
        last_seen = weakref.ref(ctype)
        del ctype
        gc.collect()
        assert last_seen() is None


# as_array and as_ctypes -------------------------------------------------------


class TestAsCtypes:
    @settings(deadline=None)
    @given(
        dtypes(NUMPY_SCALARS + MORE_SCALARS),
        st.lists(st.integers(0, 3), max_size=3),
        st.randoms(use_true_random=False),
    )
    def test_there_and_back(self, dtype, shape, random):
        x = np.zeros(shape, dtype)
        address = x.__array_interface__["data"][0]
        ctypes.memmove(address, random.randbytes(x.nbytes), x.nbytes)
        c = as_ctypes(x)
        back = as_array(c)
        sees = as_ctypes_sees(x.dtype)
        assert (back.dtype, back.shape) == (sees.base, x.shape + sees.shape)
        assert back.nbytes == ctypes.sizeof(c) == x.nbytes
        assert back.__array_interface__["data"] == (address, False)
        assert back.size == 0 or back.flags.c_contiguous

    @settings(deadline=None)
    @given(
        st.sampled_from(NUMPY_SCALARS).map(np.dtype),
        st.lists(st.integers(0, 3), max_size=3),
    )
    def test_same_as_numpy(self, dtype, shape):
        x = np.arange(math.prod(shape)).astype(dtype).reshape(shape)
        ours, numpys = as_ctypes(x), np.ctypeslib.as_ctypes(x)
        assert type(ours) is type(numpys)
        assert ctypes.addressof(ours) == ctypes.addressof(numpys)

    def test_structured(self):
        dtype = np.dtype(
            [("id", "i2"), ("pos", [("x", "f8"), ("y", ">f4")], 2), ("tag", "S3")],
            align=True,
        )
        x = np.zeros((2, 3), dtype)
        x["pos"]["y"] = 1.5
        c = as_ctypes(x)
        assert c[1][2].pos[1].y == 1.5
        c[1][2].pos[0].x = 7
        c[1][2].tag = b"abc"
        assert x[1, 2]["pos"]["x"].tolist() == [7, 0]
        assert x[1, 2]["tag"] == b"abc"

    def test_a_field_may_have_any_name(self):
        x = np.zeros((), [("__keep", "i4"), ("__array_interface__", "f8")])
        c = as_ctypes(x)
        setattr(c, "__keep", 3)
        assert x["__keep"] == 3

    @pytest.mark.parametrize(
        "refused",
        [
            np.zeros((4, 4))[:, :2],
            np.zeros((2, 3), order="F"),
            np.zeros(4)[::-1],
            np.broadcast_to(np.zeros(1), (3,)),
            np.frombuffer(b"abcd", "u1"),
            [1, 2],
            None,
        ],
        ids=["columns", "fortran", "reversed", "broadcast", "readonly", "list", "None"],
    )
    def test_refused_as_numpy_refuses(self, refused):
        _, ours = outcome(as_ctypes, refused)
        _, numpys = outcome(np.ctypeslib.as_ctypes, refused)
        assert_same_error(ours, numpys)

    def test_a_numpy_scalar_has_no_memory_to_share(self):
        with pytest.raises(TypeError, match="readonly arrays unsupported"):
            as_ctypes(np.float64(1))

    def test_anything_with_the_interface(self):
        class Foreign:
            def __init__(self, array, **changes):
                self.array = array
                self.__array_interface__ = array.__array_interface__ | changes

        x = np.zeros(2, [("a", "i2"), ("b", "f8")])
        c = as_ctypes(Foreign(x))
        c[1].b = 5
        assert x["b"].tolist() == [0, 5]
        with pytest.raises(TypeError, match="only __array_interface__ version 3"):
            as_ctypes(Foreign(x, version=2))

    def test_keeps_the_array_alive_and_frees_it_without_the_collector(self):
        for shape, dtype in [((3, 4), "f8"), (3, [("a", "i4"), ("b", "f8")])]:
            x = np.zeros(shape, dtype)
            alive = weakref.ref(x)
            gc.disable()
            try:
                c = as_ctypes(x)
                element = c[1]
                del x, c
                assert alive() is not None
                del element
                assert alive() is None
            finally:
                gc.enable()


class Pair(ctypes.Structure):
    _fields_ = [("a", ctypes.c_int16), ("b", ctypes.c_double)]


class Packed(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = Pair._fields_


class Swapped(ctypes.BigEndianStructure):
    _fields_ = Pair._fields_


class Either(ctypes.Union):
    _fields_ = Pair._fields_


class Longer(Pair):
    _fields_ = [("c", ctypes.c_int32)]


class Bits(ctypes.Structure):
    _fields_ = [("a", ctypes.c_int, 3), ("b", ctypes.c_int, 5)]


class Incomplete(ctypes.Structure):
    pass


def pointer_to(ctype, n):
    return ctypes.cast((ctype * n)(), ctypes.POINTER(ctype))


class TestAsArray:
    @pytest.mark.filterwarnings("ignore:A builtin ctypes object:RuntimeWarning")
    @pytest.mark.parametrize(
        "ctype",
        [
            ctypes.c_bool,
            ctypes.c_int,
            ctypes.c_char,
            ctypes.c_double,
            ctypes.c_double.__ctype_be__,
            ctypes.py_object,
            ctypes.c_int * 3,
            ctypes.c_int * 3 * 2,
            Pair,
            Pair * 2,
            Packed,
            Swapped,
            Either,
        ],
    )
    def test_same_as_numpy(self, ctype):
        for obj in (ctype(), (ctype * 0)(), (ctype * 3)()):
            ours, numpys = as_array(obj), np.ctypeslib.as_array(obj)
            assert (ours.dtype, ours.shape) == (numpys.dtype, numpys.shape)
            assert ours.flags == numpys.flags
            if ours.size:
                assert ours.ctypes.data == numpys.ctypes.data == ctypes.addressof(obj)
        pointer = pointer_to(ctype, 6)
        for shape in ((), (6,), (2, 3), [3, 2], (0,), (np.int64(4), 1)):
            ours = as_array(pointer, shape)
            numpys = np.ctypeslib.as_array(pointer, shape)
            assert (ours.dtype, ours.shape) == (numpys.dtype, numpys.shape)
            assert ours.flags == numpys.flags
            assert ours.ctypes.data == numpys.ctypes.data

    @pytest.mark.filterwarnings("ignore:A builtin ctypes object:RuntimeWarning")
    @pytest.mark.parametrize(
        ("obj", "shape"),
        [
            (pointer_to(ctypes.c_int, 2), None),
            (pointer_to(ctypes.c_int, 2), (-1,)),
            (pointer_to(ctypes.c_int, 2), (2**62,)),
            (pointer_to(ctypes.c_int, 2), (2**62, 2**62)),
            (ctypes.POINTER(ctypes.c_int)(), (2,)),
            (ctypes.POINTER(ctypes.c_int)(), ()),
            (ctypes.c_void_p(8), None),
            (ctypes.c_void_p(8), (2,)),
            (Bits(), None),
        ],
    )
    def test_refused_as_numpy_refuses(self, obj, shape):
        _, ours = outcome(as_array, obj, shape)
        _, numpys = outcome(np.ctypeslib.as_array, obj, shape)
        assert_same_error(ours, numpys)

    @pytest.mark.parametrize(
        ("obj", "shape", "message"),
        [
            (pointer_to(ctypes.c_int, 2), 1.5, "interpreted as an integer"),
            (pointer_to(ctypes.c_int, 2), "ab", "interpreted as an integer"),
            ((ctypes.POINTER(ctypes.c_int) * 2)(), None, "no dtype equivalent"),
            (pointer_to(Bits, 1), (1,), "no dtype equivalent"),
            (ctypes.POINTER(Incomplete)(), (1,), "Incomplete is incomplete"),
        ],
    )
    def test_refused(self, obj, shape, message):
        with pytest.raises(TypeError, match=message):
            as_array(obj, shape)

    def test_objects_that_numpy_refuses(self):
        assert as_array((ctypes.c_wchar * 2)("a", "é")).tolist() == ["a", "é"]
        assert as_array(ctypes.c_longdouble(2)).dtype == np.longdouble
        assert as_array(Longer(1, 2, 3)).tolist() == (1, 2, 3)
        assert as_array(pointer_to(ctypes.c_int, 6), 6).shape == (6,)
        # A dtype cannot describe more than 2 GiB, but an array can.
        assert as_array((ctypes.c_char * 2**31).from_address(8)).shape == (2**31,)

    def test_other_objects_are_converted_by_numpy(self):
        assert as_array([1, 2]).tolist() == [1, 2]
        x = np.zeros(3)
        assert as_array(x) is x

    def test_keeps_the_memory_alive_and_frees_it_without_the_collector(self):
        gc.disable()
        try:
            target = Pair(1, 2)
            alive = weakref.ref(target)
            pointer = ctypes.pointer(target)
            x = as_array(pointer, (1,))
            y = x[0:1]["b"]
            del target, pointer, x
            assert alive() is not None
            assert y.tolist() == [2]
            del y
            assert alive() is None
            numbers = (ctypes.c_int * 3)(1, 2, 3)
            alive = weakref.ref(numbers)
            x = as_array(numbers)
            del numbers
            assert alive() is not None
            del x
            assert alive() is None
        finally:
            gc.enable()


# ndpointer ---------------------------------------------------------------------

FLAG_SETS = [
    (),
    "C",
    "F_CONTIGUOUS",
    "c, w",
    ["ALIGNED", "o"],
    "A,X",
    0,
    257,
    np.int32(1),
    np.zeros((2, 3)).flags,
]
ARRAYS = [
    np.zeros(3),
    np.zeros((2, 3), order="F"),
    np.zeros((2, 3), ">i4"),
    np.frombuffer(bytes(24)),
    unaligned("f8"),
    np.zeros((2, 3), [("a", "i4"), ("b", "f8")]),
    np.zeros(()),
    np.float64(1),
    [1.0],
    None,
]


class TestNdpointer:
    @settings(deadline=None)
    @given(
        st.sampled_from([None, "f8", ">i4", "i4", [("a", "i4"), ("b", "f8")]]),
        st.sampled_from([None, 0, 1, 2]),
        st.sampled_from([None, (), 3, (2, 3), [2, 3]]),
        st.sampled_from(FLAG_SETS),
        st.sampled_from(ARRAYS),
    )
    def test_with_flags_it_is_numpys(self, dtype, ndim, shape, flags, array):
        ours = ndpointer(dtype, ndim, shape, flags)
        numpys = np.ctypeslib.ndpointer(dtype, ndim, shape, flags)
        for name in ("_dtype_", "_ndim_", "_shape_", "_flags_"):
            assert getattr(ours, name) == getattr(numpys, name)
        assert hasattr(ours, "contents") == hasattr(numpys, "contents")

        taken, our_error = outcome(ours.from_param, array)
        _, numpy_error = outcome(numpys.from_param, array)
        if numpy_error is None:
            assert taken._as_parameter_.value == array.ctypes.data
        else:
            assert_same_error(our_error, numpy_error)

    @settings(deadline=None)
    @given(
        st.sampled_from([None, "f8", ">i4", "i4"]),
        st.sampled_from([None, 0, 1, 2]),
        st.sampled_from(ARRAYS),
    )
    def test_without_flags_it_also_checks_alignment_and_order(self, dtype, ndim, array):
        _, ours = outcome(ndpointer(dtype, ndim).from_param, array)
        _, numpys = outcome(np.ctypeslib.ndpointer(dtype, ndim).from_param, array)
        if numpys is not None:
            assert_same_error(ours, numpys)
        elif not array.flags.aligned:
            assert type(ours) is TypeError
            assert str(ours).startswith("array must have flags ['ALIGNED']")
        elif dtype is None and not array.dtype.isnative:
            assert type(ours) is TypeError
            assert str(ours).startswith("array must have native byte order, not")
        else:
            assert ours is None

    def test_the_rule_for_alignment_and_order(self):
        packed = np.zeros(3, [("a", "u1"), ("b", "f8")])
        ndpointer().from_param(packed)
        with pytest.raises(TypeError, match="ALIGNED"):
            ndpointer().from_param(packed["b"])
        ndpointer(flags=()).from_param(packed["b"])
        with pytest.raises(TypeError, match="native byte order, not data type >i4"):
            ndpointer().from_param(np.zeros(3, ">i4"))
        with pytest.raises(TypeError, match="native byte order"):
            ndpointer().from_param(np.zeros(3, [("a", "i1"), ("b", ">i4")]))
        ndpointer(">i4").from_param(np.zeros(3, ">i4"))
        ndpointer(flags="C").from_param(np.zeros(3, ">i4"))

    @pytest.mark.parametrize(
        "arguments",
        [
            {"flags": "Z"},
            {"flags": ""},
            {"flags": "C,,W"},
            {"flags": 1.5},
            {"flags": b"C"},
            {"flags": [1]},
            {"dtype": "no such type"},
            {"shape": ([2], 3)},
        ],
    )
    def test_bad_descriptions_as_numpy_refuses_them(self, arguments):
        _, ours = outcome(ndpointer, **arguments)
        _, numpys = outcome(np.ctypeslib.ndpointer, **arguments)
        assert_same_error(ours, numpys)

    def test_names(self):
        for arguments in [(), ("f8", 2), (None, None, (2, 3)), (">i4", 1, 3, 257)]:
            numpys = np.ctypeslib.ndpointer(*arguments).__name__
            assert ndpointer(*arguments).__name__ == numpys
        # In NumPy the name has the flag as it was first spelt.
        assert ndpointer(flags="c").__name__ == "ndpointer_any_C_CONTIGUOUS"

    def test_ndim_is_an_integer(self):
        assert ndpointer(ndim=np.int8(2)) is ndpointer(ndim=2)
        for ndim in ("2", 2.5):
            with pytest.raises(TypeError, match="as an integer"):
                ndpointer(ndim=ndim)

    def test_a_flag_may_be_repeated(self):
        # NumPy adds the bits, so "C,C" means Fortran order.
        assert ndpointer(flags="C,CONTIGUOUS")._flags_ == ndpointer(flags="C")._flags_

    def test_optional(self):
        plain, optional = ndpointer("f8", 1), ndpointer("f8", 1, optional=True)
        assert optional is not plain
        assert optional is ndpointer("f8", 1, optional=1)
        assert optional.__name__ == plain.__name__ + "_optional"
        assert optional.from_param(None) is None
        with pytest.raises(TypeError, match="argument must be an ndarray"):
            plain.from_param(None)
        with pytest.raises(TypeError, match="array must have data type float64"):
            optional.from_param(np.zeros(3, "f4"))
        with pytest.raises(TypeError):
            ndpointer("f8", 1, None, None, True)

    def test_same_while_alive_and_not_kept_after(self):
        one = ndpointer("f8", shape=[2, 3], flags="C")
        assert ndpointer(np.float64, shape=(2, 3), flags=["CONTIGUOUS"]) is one
        assert ndpointer(np.float64, shape=(2, 3), flags=()) is not one
        last_seen = weakref.ref(one)
        del one
        gc.collect()
        assert last_seen() is None

    def test_a_type_is_made_once(self):
        cache, begun, made = TypeCache(), threading.Event(), []

        def make():
            begun.set()
            time.sleep(0.1)
            made.append(type("made", (), {}))
            return made[-1]

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(cache.get, "key", make)
            begun.wait()
            second = pool.submit(cache.get, "key", make)
            assert first.result() is second.result()
        assert len(made) == 1

    def test_threads_get_one_type(self):
        start = threading.Barrier(8)

        def work(trial):
            start.wait()
            record = as_ctypes_type([(f"f{trial}", "i4"), ("g", [("h", "f8")])])
            return ndpointer("f8", shape=(trial, 1)), record

        with ThreadPoolExecutor(8) as pool:
            for trial in range(100):
                made = list(pool.map(work, [trial] * 8))
                assert len(set(made)) == 1


class TestCalls:
    def test_argument(self, lib):
        lib.total.restype = ctypes.c_double
        lib.total.argtypes = [ndpointer("f8", 1), ctypes.c_size_t]
        assert lib.total(np.arange(4.0), 4) == 6
        assert lib.total(np.frombuffer(np.ones(3).tobytes()), 3) == 3
        for refused in (np.zeros(3, "f4"), np.zeros((1, 3)), unaligned("f8"), None):
            with pytest.raises(ctypes.ArgumentError, match="argument 1: TypeError"):
                lib.total(refused, 3)

    def test_temporary(self, lib):
        lib.total.restype = ctypes.c_double
        lib.total.argtypes = [ndpointer("f8"), ctypes.c_size_t]
        x = np.ones(100_000)
        assert lib.total(x + x, x.size) == 200_000

    def test_null(self, lib):
        lib.total.restype = ctypes.c_double
        lib.total.argtypes = [ndpointer("f8", optional=True), ctypes.c_size_t]
        assert lib.total(None, 4) == -1
        assert lib.total(np.ones(4), 4) == 4

    def test_writeable_only_where_asked(self, lib):
        lib.scale.restype = None
        x = np.zeros(2, np.dtype([("id", "i2"), ("value", "f8", 2)], align=True))
        x["value"] = 1
        lib.scale.argtypes = [
            ndpointer(x.dtype, flags="C,W"),
            ctypes.c_size_t,
            ctypes.c_double,
        ]
        lib.scale(x, 2, 3.0)
        assert x["value"].tolist() == [[3, 3], [3, 3]]
        assert x["id"].tolist() == [1, 1]
        x.flags.writeable = False
        with pytest.raises(ctypes.ArgumentError, match="'C_CONTIGUOUS', 'WRITEABLE'"):
            lib.scale(x, 2, 3.0)
        ndpointer(x.dtype).from_param(x)

    def test_structured_as_ctypes(self, lib):
        lib.scale.restype = None
        x = np.zeros(2, np.dtype([("id", "i2"), ("value", "f8", 2)], align=True))
        x["value"] = 2
        lib.scale(as_ctypes(x), ctypes.c_size_t(2), ctypes.c_double(0.5))
        assert x["value"].tolist() == [[1, 1], [1, 1]]

    def test_returned_array(self, lib):
        lib.get_table.restype = ndpointer("f8", shape=(2, 3))
        table = lib.get_table(1)
        assert table.tolist() == [[0, 1, 2], [3, 4, 5]]
        table[1, 2] = 50
        lib.total.restype = ctypes.c_double
        lib.total.argtypes = [ndpointer("f8"), ctypes.c_size_t]
        assert lib.total(lib.get_table(1), 6) == 60
        table[1, 2] = 5

    def test_returned_pointer(self, lib):
        lib.get_table.restype = ndpointer("f8")
        result = lib.get_table(1)
        assert isinstance(result, ndpointer("f8"))
        again = ctypes.cast(result, ctypes.POINTER(ctypes.c_double))
        assert as_array(again, (2,)).tolist() == [0, 1]

    def test_returned_null(self, lib):
        lib.get_table.restype = ndpointer("f8", shape=(2, 3))
        with pytest.raises(ValueError, match="NULL pointer access"):
            lib.get_table(0)
        lib.get_table.restype = ndpointer("f8", shape=(2, 3), optional=True)
        assert lib.get_table(0) is None
        assert lib.get_table(1).shape == (2, 3)

    def test_contents(self):
        x = np.arange(6, dtype="i4")
        address = x.ctypes.data
        pair = [("a", "u1"), ("b", ">i2")]
        for shape, dtype in [((2, 3), "i4"), ((), "i4"), (6, ("u1", 4)), (8, pair)]:
            ours = ndpointer(dtype, shape=shape)(address).contents
            numpys = np.ctypeslib.ndpointer(dtype, shape=shape)(address).contents
            assert (ours.dtype, ours.shape) == (numpys.dtype, numpys.shape)
            assert (ours.flags.num, ours.ctypes.data) == (numpys.flags.num, address)
        assert ndpointer("i4", shape=(0, 3))(address).contents.shape == (0, 3)
        with pytest.raises(ValueError, match="NULL pointer access"):
            _ = ndpointer("i4", shape=2)(0).contents
        pointer = ndpointer("i4", shape=6)(address)
        alive = weakref.ref(pointer)
        view = pointer.contents
        del pointer
        assert alive() is not None
        assert view.tolist() == [0, 1, 2, 3, 4, 5]


# Types over time -----------------------------------------------------------------


def count_types():
    """Returns the number of classes of ctypes and `ndpointer`."""
    # The number of other classes depends on the imports of other tests.
    made = (ctypes.Array, ctypes.Structure, ctypes.Union, ctypes._Pointer, ctypes.c_void_p)
    # `isinstance(obj, type)` could be true for a proxy.
    classes = (obj for obj in gc.get_objects() if issubclass(type(obj), type))
    return sum(issubclass(obj, made) for obj in classes)


def live_types():
    """Returns how many of these classes are in use, and how many pointer types ctypes keeps."""
    gc.collect()
    cache = ctypes._pointer_type_cache
    return count_types(), len(cache) if isinstance(cache, dict) else 0


class TestNoTypeIsLeaked:
    SHAPES = tuple((i % 50 + 1, i // 50 + 1) for i in range(2000))

    def use_as_array(self, shape):
        assert as_array(self.pointer, shape).shape == shape

    def use_as_ctypes(self, shape):
        assert len(as_ctypes(np.empty(shape, "u1"))) == shape[0]

    def use_ndpointer(self, shape):
        assert ndpointer("u1", shape=shape)(8).contents.shape == shape

    def use_as_ctypes_type(self, shape):
        assert as_ctypes_type([("a", "u1", shape), ("b", [("c", "u1", shape)])])

    @pytest.mark.parametrize(
        "use", [use_as_array, use_as_ctypes, use_ndpointer, use_as_ctypes_type]
    )
    def test_2000_shapes(self, use):
        self.pointer = pointer_to(ctypes.c_ubyte, 2000)
        use(self, (1, 2001))
        types, held = live_types()
        for shape in self.SHAPES:
            use(self, shape)
        types_after, held_after = live_types()
        assert types_after - types < 20
        assert held_after == held

    def test_as_array_makes_no_type_at_all(self):
        pointer = pointer_to(ctypes.c_ubyte, 2000)
        gc.disable()
        try:
            as_array(pointer, (1, 1))
            before = count_types()
            for shape in self.SHAPES:
                as_array(pointer, shape)
            assert count_types() == before
        finally:
            gc.enable()

    def test_the_count_sees_a_leak(self):
        types, _ = live_types()
        for shape in self.SHAPES[:100]:
            np.ctypeslib.ndpointer("V13", shape=shape)
        assert live_types()[0] - types >= 100


# load_library ----------------------------------------------------------------------


class TestLoadLibrary:
    def test_by_bare_name(self, kernels):
        lib = load_library("libkernels", kernels.parent)
        assert isinstance(lib, ctypes.CDLL)
        for name in ("libkernels", b"libkernels", Path("libkernels"), kernels.name):
            for place in (kernels.parent, kernels, str(kernels), os.fsencode(kernels)):
                assert load_library(name, place) is lib

    def test_suffix_of_extension_modules_goes_first(self, kernels, tmp_path):
        first = tmp_path / f"libk{sysconfig.get_config_var('EXT_SUFFIX')}"
        shutil.copy(kernels, first)
        shutil.copy(kernels, tmp_path / f"libk{SUFFIX}")
        assert load_library("libk", tmp_path)._name == str(first)
        first.unlink()
        second = tmp_path / f"libk{SUFFIX}"
        assert load_library("libk", tmp_path / "x")._name == str(second)

    @pytest.mark.parametrize("name", ["nothing", "libkernels.1", "libkernels.dat"])
    def test_missing(self, kernels, name):
        _, ours = outcome(load_library, name, kernels.parent)
        _, numpys = outcome(np.ctypeslib.load_library, name, kernels.parent)
        assert_same_error(ours, numpys)
        assert str(kernels.parent / name) in ours.__notes__[0]

    def test_defective(self, tmp_path):
        (tmp_path / f"libbad{SUFFIX}").write_bytes(b"no library")
        _, ours = outcome(load_library, "libbad", tmp_path)
        _, numpys = outcome(np.ctypeslib.load_library, "libbad", tmp_path)
        assert_same_error(ours, numpys)

    def test_bad_names(self):
        _, ours = outcome(load_library, 3, ".")
        _, numpys = outcome(np.ctypeslib.load_library, 3, ".")
        assert_same_error(ours, numpys)


def test_c_intp():
    assert ctypeslib.c_intp is np.ctypeslib.c_intp
    assert np.dtype(ctypeslib.c_intp) == np.intp


def test_public_names():
    assert sorted(ctypeslib.__all__) == sorted(np.ctypeslib.__all__)
    for name in set(ctypeslib.__all__) - {"c_intp"}:
        assert ">>> " in getattr(ctypeslib, name).__doc__


def test_without_the_ctypes_module():
    script = """
import sys
sys.modules["ctypes"] = None
sys.modules["_ctypes"] = None
import numpy as np
from mapcall import ctypeslib

assert ctypeslib.c_intp is np.intp
for name in set(ctypeslib.__all__) - {"c_intp"}:
    try:
        getattr(ctypeslib, name)(np.zeros(3), shape=3)
    except ImportError as error:
        assert str(error) == "ctypes is not available."
    else:
        raise AssertionError(name)
print("checked")
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "checked\n"
