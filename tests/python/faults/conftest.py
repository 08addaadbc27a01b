"""Fixtures for the tests of faults: `native.c`, compiled, and a folder of the whole run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder that all processes of this run of pytest have."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def native(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the path of the shared library of `native.c`."""
    compiler = shutil.which("cc")
    assert compiler, "a C compiler is missing: on Debian, apt-get install gcc"
    library, made = shared / "native.so", tmp_path_factory.mktemp("native") / "native.so"
    if not library.exists():
        source = Path(__file__).with_name("native.c")
        flags = ["-std=gnu11", "-O1", "-Wall", "-Werror", "-fPIC", "-shared", "-pthread"]
        subprocess.run([compiler, *flags, source, "-o", made], check=True)
        made.rename(library)
    return library
