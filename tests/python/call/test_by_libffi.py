"""Runs the tests of calls with libffi alone, where the system refuses executable pages.

`make test` runs those in which the engine makes the difference: arguments, results, callbacks and
batches of all kinds. `make test-long` runs all.

    pytest --no-executable-pages tests/python/call/test_contract_arrays.py

runs one file of them by hand.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from long_tests import IS_LONG

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
# These files test both engines themselves.
BOTH = {"test_generated.py", "test_process.py"}
# These test what happens before an engine is asked, or functions of others, which need such pages.
BEFORE = {
    "test_c_values.py",
    "test_data_frames.py",
    "test_foreign_functions.py",
    "test_header_text.py",
    "test_keywords.py",
    "test_remedies.py",
}
# What these prove depends little on the engine, and much on what stands around it: lifetimes,
# files, locks, headers. They take most of the time.
AROUND = {
    "test_annotations.py",
    "test_batch_numpy.py",
    "test_bounds.py",
    "test_contract_libraries.py",
    "test_forks.py",
    "test_handle_lifetimes.py",
    "test_headers.py",
    "test_streams.py",
}
OTHERS = BOTH | BEFORE | {Path(__file__).name} | (set() if IS_LONG else AROUND)
FILES = sorted({path.name for path in HERE.glob("test_*.py")} - OTHERS)
# An interpreter with NumPy and pytest starts as long as the tests of a file take.
GROUPS = 8 if IS_LONG else 3
NO_MDWE = "this kernel has no PR_SET_MDWE"


@pytest.mark.parametrize("files", [FILES[group::GROUPS] for group in range(GROUPS)], ids=" ".join)
def test_the_same_tests(files: list[str], pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("no_executable_pages"):
        pytest.skip("this run is by libffi alone itself")
    options = ["--no-executable-pages", "-m", "not any_engine", "--quiet", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(HERE / file for file in files)],
        cwd=ROOT,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    if NO_MDWE in result.stdout:
        pytest.skip(f"{NO_MDWE} (it came with Linux 6.3)")
    # The output ends with the names of the failed tests.
    assert result.returncode == 0, result.stdout
