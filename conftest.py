"""What every test knows: the examples' directories, and the option `--no-executable-pages`."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Generator
from pathlib import Path

import pytest

PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-executable-pages",
        action="store_true",
        help="refuse this process and its children new executable pages: libffi makes every call",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Before any test is imported, so that nothing has been compiled yet."""
    if not config.getoption("no_executable_pages"):
        return
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_MDWE, *map(ctypes.c_ulong, (PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0))):
        error = os.strerror(ctypes.get_errno())
        raise pytest.UsageError(f"this kernel has no PR_SET_MDWE (it came with Linux 6.3): {error}")
    import mapcall

    engine = mapcall.load(None).function("int abs(int number)").engine
    assert engine == "libffi", engine


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keeps the garbage collector from what is there before the first test.

    These are some million objects, at which it would look again at each `gc.collect()` of a test.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def examples_have_a_directory(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The examples in docs and README name files plainly: each runs in a directory of its own."""
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.chdir(tmp_path)
