"""Runs Dask's installed tests of maps with `mapcall.memmap`.

`test_suites.py` runs more of Dask's tests, in a process where all maps are mapcall's.
"""

import numpy as np
import pytest

from mapcall import memmap
from swap import load_numpy_tests

pytest.importorskip("dask.array", reason="Dask is not installed")

SWAP = {"numpy.memmap": memmap}
ARRAYS = load_numpy_tests("dask.array.tests.test_array_core", SWAP, only=["test_memmap"])
TOKENS = load_numpy_tests(
    "dask.tests.test_tokenize",
    SWAP,
    only=[
        "test_tokenize_numpy_memmap",
        "test_tokenize_numpy_memmap_no_filename",
        "test_tokenize_numpy_memmap_offset",
    ],
    differences={
        "test_tokenize_numpy_memmap": "maps of two files with one content have different names",
    },
)
for tests in (ARRAYS, TOKENS):
    globals().update(
        {name: test for name, test in vars(tests).items() if name.startswith(("test_", "swapped"))}
    )


def test_the_tests_have_ours() -> None:
    assert np.memmap is memmap
    assert ARRAYS.np.memmap is memmap
    assert TOKENS.np.memmap is memmap
