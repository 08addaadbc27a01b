"""Runs tests of other projects that use memory maps, in processes that have ours in their place.

`make test-long` runs them: they need other packages, and minutes. Each runs in a process of its
own, with `everywhere/sitecustomize.py`, so that also the workers of joblib have mapcall's class.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# What the projects' own settings register.
MARKERS = ["leaks_references", "no_cover", "slow", "thread_unsafe", "timeout", "valgrind_error"]

pytestmark = pytest.mark.skipif(
    "MAPCALL_SUITES" not in os.environ, reason="these take minutes: `make test-long` runs them"
)


@dataclass(frozen=True)
class Suite:
    """The tests of a project that use maps.

    Attributes
    ----------
    modules
        The test modules, below the package.
    names
        A test runs if its name has one of these words.
    least
        How many tests have to pass: if the project moves its tests, fewer are found.
    mmap
        Whether it calls `mmap.mmap`, and not only `numpy.memmap`.
    """

    modules: list[str]
    names: list[str]
    least: int
    mmap: bool = False


SUITES = {
    "numpy": Suite(
        [
            "_core.tests.test_memmap",
            "lib.tests.test_format",
            "lib.tests.test_io",
            "lib.tests.test_nanfunctions",
            "lib.tests.test_recfunctions",
        ],
        ["mmap", "memmap", "huge_header", "structured_to_unstructured"],
        least=30,
    ),
    "joblib": Suite(
        [
            "test.test_backports",
            "test.test_hashing",
            "test.test_memmapping",
            "test.test_memory",
            "test.test_numpy_pickle",
            "test.test_parallel",
        ],
        ["mmap", "memmap", "memory_numpy", "numpy_pickle", "pool", "resource", "temp_folder"],
        least=100,
    ),
    # Two of them make maps. The others store and convert arrays.
    "dask": Suite(
        ["array.tests.test_array_core", "tests.test_tokenize"],
        ["memmap", "mmap", "store", "from_array", "asarray", "tokenize_numpy"],
        least=150,
    ),
    # pandas makes no `numpy.memmap`: these read CSV files that it maps, closes or hands to threads.
    "pandas": Suite(
        ["tests.io.parser", "tests.io.test_common"],
        ["mmap", "memmap", "memory_map", "parallel"],
        least=240,
        mmap=True,
    ),
    # It is installed with scikit-learn. netcdf_file closes a map while arrays are alive.
    "scipy": Suite(
        [
            "interpolate.tests.test_bsplines",
            "io.tests.test_netcdf",
            "io.tests.test_wavfile",
        ],
        ["memmap", "netcdf", "wavfile"],
        least=100,
        mmap=True,
    ),
    "sklearn": Suite(
        [
            "_loss.tests.test_loss",
            "cluster.tests.test_hierarchical",
            "cluster.tests.test_k_means",
            "compose.tests.test_column_transformer",
            "datasets.tests.test_svmlight_format",
            "decomposition.tests.test_dict_learning",
            "inspection.tests.test_permutation_importance",
            "linear_model.tests.test_coordinate_descent",
            "linear_model.tests.test_sparse_coordinate_descent",
            "metrics.tests.test_dist_metrics",
            "metrics.tests.test_pairwise_distances_reduction",
            "metrics.tests.test_score_objects",
            "model_selection.tests.test_validation",
            "neighbors.tests.test_kd_tree",
            "tests.test_common",
            "tree.tests.test_tree",
            "utils.tests.test_testing",
            "utils.tests.test_validation",
        ],
        [
            *("mmap", "memmap", "big_data", "dist_metrics", "loss_same_as_C"),
            *("missing_values_best", "readonly", "read_only", "svmlight"),
        ],
        least=1000,
    ),
}


@pytest.mark.parametrize("package", SUITES)
def test_suite(package: str, tmp_path: Path) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed")
    suite = SUITES[package]
    settings = tmp_path / "pytest.ini"
    settings.write_text("\n ".join(["[pytest]\nmarkers =", *MARKERS]))
    folders = [str(HERE / "everywhere"), str(HERE), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, folders))}
    environment.pop("PYTEST_ADDOPTS", None)
    if suite.mmap:
        environment["MAPCALL_MMAP"] = "1"
    command = [
        *(sys.executable, "-m", "pytest", "-c", str(settings), "-q", "-rfE", "--tb=short"),
        *("-p", "suite_plugin", "-p", "no:cacheprovider", "-p", "no:randomly"),
        *("--basetemp", str(tmp_path / "files"), "-k", " or ".join(suite.names)),
        *("--disable-warnings", "--pyargs", *(f"{package}.{each}" for each in suite.modules)),
    ]
    result = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=1200
    )
    assert result.returncode == 0, f"exit {result.returncode}\n{result.stdout}{result.stderr}"
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed is not None, result.stdout
    assert int(passed[1]) >= suite.least, result.stdout
