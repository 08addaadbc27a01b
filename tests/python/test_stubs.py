"""The stubs and the extension have the same names and signatures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from long_tests import long


@pytest.mark.parametrize(
    "module",
    # All other modules are their own stubs, of which few errors are left after mypy's.
    ["mapcall._mapcall", pytest.param("mapcall", marks=long)],
)
def test_stubs_agree_with_the_extension(module: str) -> None:
    command = [sys.executable, "-m", "mypy.stubtest", module]
    command += ["--mypy-config-file", "pyproject.toml"]
    root = Path(__file__).parents[2]
    outcome = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
