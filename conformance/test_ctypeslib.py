"""Runs the installed test_ctypeslib.py of NumPy with `mapcall.ctypeslib`."""

import numpy as np
import numpy._core._multiarray_tests  # NumPy's conftest imports it for the tests.

from mapcall import ctypeslib
from swap import exported, load_numpy_tests

NUMPY_CTYPESLIB = np.ctypeslib

# The deliberate differences that make one of NumPy's tests fail; none so far.
DIFFERENCES: dict[str, str] = {}

TESTS = load_numpy_tests("numpy.tests.test_ctypeslib", {"numpy.ctypeslib": ctypeslib}, DIFFERENCES)
globals().update(exported(TESTS))


class TestSwap:
    """The tests above use mapcall's module, and no other code does."""

    def test_while_running(self):
        assert np.ctypeslib is ctypeslib
        from numpy.ctypeslib import as_array

        assert as_array is ctypeslib.as_array

    def test_names_in_the_module(self):
        for name in ("as_array", "load_library", "ndpointer"):
            assert getattr(TESTS, name) is getattr(ctypeslib, name)

    def test_numpy_is_as_it_was(self):
        assert NUMPY_CTYPESLIB is not ctypeslib
        assert NUMPY_CTYPESLIB.__name__ == "numpy.ctypeslib"

    def test_every_public_name(self):
        assert set(ctypeslib.__all__) == set(NUMPY_CTYPESLIB.__all__)
        assert ctypeslib.c_intp is NUMPY_CTYPESLIB.c_intp
