"""Runs NumPy's installed tests of functions that make or know maps, with `mapcall.memmap`.

`numpy.load(mmap_mode=...)` and `numpy.lib.format.open_memmap` make them; the functions that ignore
NaN, and those on the fields of structured arrays, treat their class as `numpy.ndarray`.
"""

from typing import Any

import numpy as np

from mapcall import memmap
from swap import exported, load_numpy_tests

# NumPy's tests by module; of the classes, `keep` leaves only tests of maps.
ONLY = {
    "numpy.lib.tests.test_io": ["TestPathUsage", "TestSaveLoad"],
    "numpy.lib.tests.test_format": ["test_memmap_roundtrip", "test_version_2_0_memmap"],
    "numpy.lib.tests.test_nanfunctions": ["test_memmap_takes_fast_route"],
    "numpy.lib.tests.test_recfunctions": ["TestRecFunctions"],
}
IN_CLASSES = {
    "TestPathUsage": ["test_save_load_memmap", "test_save_load_memmap_readwrite"],
    "TestSaveLoad": ["test_mmap"],
    "TestRecFunctions": ["test_structured_to_unstructured"],
}


def keep(owner: type, names: list[str]) -> type:
    """Returns a class that has only these tests of `owner`."""
    others = {name: None for name in dir(owner) if name.startswith("test") and name not in names}
    assert all(hasattr(owner, name) for name in names)
    return type(owner.__name__, (owner,), others)


SWAP = {"numpy.memmap": memmap}
TESTS = {name: load_numpy_tests(name, SWAP, only=only) for name, only in ONLY.items()}
for tests in TESTS.values():
    globals().update(exported(tests))
for name, names in IN_CLASSES.items():
    globals()[name] = keep(globals()[name], names)


class TestSwap:
    """The tests above use mapcall's class, and no other code does."""

    def test_load_makes_ours(self, tmp_path: Any):
        np.save(tmp_path / "x.npy", np.arange(3))
        assert type(np.load(tmp_path / "x.npy", mmap_mode="r")) is memmap


assert np.memmap is not memmap
