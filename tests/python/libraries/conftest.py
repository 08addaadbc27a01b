"""Skips the tests of real libraries where the packages are missing."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

import debian

# The search for examples imports all modules.
collect_ignore = [] if find_spec("clang") else ["clang_oracle.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if debian.is_complete():
        return
    missing = pytest.mark.skip(reason=f"its packages are missing: `{debian.COMMAND}` fetches them")
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(missing)
