"""NumPy's TestCTypes, as installed, against `mapcall.Ctypes`.

`ndarray.ctypes` calls `numpy._core._internal._ctypes(array, pointer)` at each access; while these
tests run, that name is a function that makes our object.
"""

from typing import Any

import numpy as np

from mapcall import Ctypes
from swap import exported, load_numpy_tests


def make_ctypes(array: np.ndarray[Any, Any], pointer: int) -> Ctypes:
    return Ctypes(array)


# Each deliberate difference that one of NumPy's tests can see.
DIFFERENCES = {
    "TestCTypes.test_ctypes_is_not_available": (
        "it empties a private variable of NumPy's, which mapcall has no part in; "
        "tests/python/test_ctypes.py proves the same with a Python that can't import ctypes"
    ),
}

TESTS = load_numpy_tests(
    "numpy._core.tests.test_multiarray",
    {"numpy._core._internal._ctypes": make_ctypes},
    DIFFERENCES,
    only=["TestCTypes"],
)
globals().update(exported(TESTS))


class TestSwap:
    """The tests above run against our class, and only they do."""

    def test_ndarray_has_ours(self):
        assert type(np.arange(3).ctypes) is Ctypes
        assert type(np.zeros(2).ctypes) is Ctypes

    def test_nothing_is_missing(self):
        assert len([name for name in vars(TESTS.TestCTypes) if name.startswith("test_")]) >= 4


# At import, outside of any test, NumPy has its own.
assert type(np.arange(3).ctypes) is not Ctypes
