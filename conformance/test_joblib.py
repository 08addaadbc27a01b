"""Runs joblib's installed tests of maps and of pickles with `mapcall.memmap`.

`test_suites.py` runs them again, with mapcall's class in joblib's workers, too.
"""

import joblib.numpy_pickle
import numpy as np
import pytest
from joblib._memmapping_reducer import has_shareable_memory

from mapcall import memmap
from swap import exported, load_numpy_tests

pytestmark = pytest.mark.filterwarnings(
    # joblib's tests cause these warnings.
    "ignore::PendingDeprecationWarning",
    "ignore::ResourceWarning",
)

# Tests that run scripts in other processes, where numpy.memmap is NumPy's, or that use no array.
ELSEWHERE = {
    "test_memmapping": [
        "test_resource_tracker_retries_when_permissionerror",
        "test_child_raises_parent_exits_cleanly",
        "test_multithreaded_parallel_termination_resource_tracker_silent",
        "test_many_parallel_calls_on_same_object",
        "test_permission_error_windows_memmap_sent_to_parent",
        "test_permission_error_windows_reference_cycle",
        "test_resource_tracker_silent_when_reference_cycles",
        "test_memmapping_temp_folder_thread_safety",
    ],
    "test_numpy_pickle": ["test_pickle_in_socket"],
}

# Of other modules, the tests that use a map.
ONLY = {
    "test_hashing": ["test_hash_memmap"],
    "test_memory": [
        "test_memorized_result_forwards_mmap_mode",
        "test_memory_numpy",
        "test_memory_numpy_check_mmap_mode",
    ],
    "test_parallel": ["test_memmapping_leaks"],
}

SWAP = {"numpy.memmap": memmap}
for name, only in ONLY.items():
    found = vars(load_numpy_tests(f"joblib.test.{name}", SWAP, only=only))
    globals().update({test: found[test] for test in only})
TESTS = {name: load_numpy_tests(f"joblib.test.{name}", SWAP) for name in ELSEWHERE}
for name, tests in TESTS.items():
    for test in ELSEWHERE[name]:
        delattr(tests, test)
    globals().update(exported(tests))
# A class that joblib's tests use, which pytest would collect because of its name.
TESTS["test_memmapping"].TestExecutor.__test__ = False


@pytest.fixture(autouse=True)
def in_this_process(request: pytest.FixtureRequest) -> None:
    """Skip tests that start new interpreters. Forked processes have mapcall's class."""
    if "loky" in request.node.name:
        pytest.skip("loky's workers have NumPy's own class")


class TestSwap:
    """The tests above use mapcall's class, and no other code does."""

    def test_the_tests_have_ours(self):
        assert np.memmap is memmap
        assert TESTS["test_memmapping"].np.memmap is memmap

    def test_nothing_is_missing(self):
        # If joblib moves its tests, this module would pass without any.
        for tests, least in (("test_memmapping", 15), ("test_numpy_pickle", 25)):
            assert len([name for name in vars(TESTS[tests]) if name.startswith("test_")]) >= least

    def test_it_loads_ours(self, tmp_path):
        path = joblib.numpy_pickle.dump(np.arange(1000.0), str(tmp_path / "x.pkl"))[0]
        loaded = joblib.numpy_pickle.load(path, mmap_mode="r")
        assert type(loaded) is memmap
        assert loaded._mmap is not None
        assert has_shareable_memory(np.asarray(loaded)[3:])
