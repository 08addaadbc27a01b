"""Runs the tests of calls with libffi alone, where the system refuses executable pages.

    pytest --no-executable-pages tests/python/call/test_contract_arrays.py

runs one file of them by hand.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
OTHERS = BOTH | BEFORE | {Path(__file__).name}
FILES = sorted({path.name for path in HERE.glob("test_*.py")} - OTHERS)
# An interpreter with NumPy and pytest starts as long as the tests of a file take.
GROUPS = 8
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
