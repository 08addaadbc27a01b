"""Fixtures for the tests of faults: `native.c`, compiled."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the path of the shared library of `native.c`."""
    compiler = shutil.which("cc")
    assert compiler, "a C compiler is missing: on Debian, apt-get install gcc"
    library = tmp_path_factory.mktemp("native") / "native.so"
    source = Path(__file__).with_name("native.c")
    flags = ["-std=gnu11", "-O1", "-Wall", "-Werror", "-fPIC", "-shared", "-pthread"]
    subprocess.run([compiler, *flags, source, "-o", library], check=True)
    return library
