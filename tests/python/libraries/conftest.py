"""Skips the tests of real libraries where the packages are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

import debian


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if debian.is_complete():
        return
    missing = pytest.mark.skip(reason=f"its packages are missing: `{debian.COMMAND}` fetches them")
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(missing)
