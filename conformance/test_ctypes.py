"""Runs the installed TestCTypes of NumPy with `mapcall.Ctypes`.

`ndarray.ctypes` calls `numpy._core._internal._ctypes(array, pointer)` at each access. While these
tests run, that name is a function that returns mapcall's object.
"""

from typing import Any

import numpy as np

from mapcall import Ctypes
from swap import exported, load_numpy_tests


def make_ctypes(array: np.ndarray[Any, Any], pointer: int) -> Ctypes:
    return Ctypes(array)


# The deliberate differences that make one of NumPy's tests fail.
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
    """The tests above use mapcall's class, and no other code does."""

    def test_ndarray_has_ours(self):
        assert type(np.arange(3).ctypes) is Ctypes
        assert type(np.zeros(2).ctypes) is Ctypes

    def test_nothing_is_missing(self):
        assert len([name for name in vars(TESTS.TestCTypes) if name.startswith("test_")]) >= 4


# When this module is imported, outside of any test, NumPy uses its own class.
assert type(np.arange(3).ctypes) is not Ctypes
