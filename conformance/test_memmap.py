"""NumPy's test_memmap.py, as installed, against `mapcall.memmap`."""

import numpy as np

from mapcall import memmap
from swap import exported, load_numpy_tests

NUMPY_MEMMAP = np.memmap

# Each deliberate difference that one of NumPy's tests can see; none so far.
DIFFERENCES: dict[str, str] = {}

TESTS = load_numpy_tests("numpy._core.tests.test_memmap", {"numpy.memmap": memmap}, DIFFERENCES)
globals().update(exported(TESTS))


class TestSwap:
    """The tests above run against our class, and only they do."""

    def test_the_tests_have_ours(self):
        assert TESTS.memmap is memmap
        assert np.memmap is memmap

    def test_numpy_has_its_own(self):
        assert NUMPY_MEMMAP is not memmap
        assert NUMPY_MEMMAP.__module__ == "numpy"

    def test_nothing_is_missing(self):
        # A NumPy whose tests have moved away would pass with nothing run.
        assert len([name for name in vars(TESTS.TestMemmap) if name.startswith("test_")]) >= 20
