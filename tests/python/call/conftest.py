"""Fixtures for the tests of calls: the system's C compiler."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.register_assert_rewrite("counted")

Compile = Callable[..., Path]


@pytest.fixture(scope="session")
def compile_c(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Returns a function that compiles a C text to a shared library and returns its path."""
    compiler = shutil.which("cc")
    assert compiler, "a C compiler is missing: on Debian, apt-get install gcc"
    directory = tmp_path_factory.mktemp("c")
    numbers = itertools.count()

    def compile_text(text: str, *flags: str) -> Path:
        path = directory / f"fixture{next(numbers)}.c"
        path.write_text(text)
        library = path.with_suffix(".so")
        command = [compiler, "-std=gnu11", "-O1", "-fPIC", "-shared", *flags, path, "-o", library]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return library

    return compile_text
