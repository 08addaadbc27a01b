"""Runs the installed test_memmap.py of NumPy with `mapcall.memmap`."""

import numpy as np

from mapcall import memmap
from swap import exported, load_numpy_tests

NUMPY_MEMMAP = np.memmap

# The deliberate differences that make one of NumPy's tests fail; none so far.
DIFFERENCES: dict[str, str] = {}

TESTS = load_numpy_tests("numpy._core.tests.test_memmap", {"numpy.memmap": memmap}, DIFFERENCES)
globals().update(exported(TESTS))


class TestSwap:
    """The tests above use mapcall's class, and no other code does."""

    def test_the_tests_have_ours(self):
        assert TESTS.memmap is memmap
        assert np.memmap is memmap

    def test_numpy_has_its_own(self):
        assert NUMPY_MEMMAP is not memmap
        assert NUMPY_MEMMAP.__module__ == "numpy"

    def test_nothing_is_missing(self):
        # If NumPy moves its tests, this module would pass without any.
        assert len([name for name in vars(TESTS.TestMemmap) if name.startswith("test_")]) >= 20
