"""Libraries of Debian packages, for tests that use them as their users do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import debian
import mapcall

Load = Callable[[str, str], mapcall.Library]
# A library finds those that it depends on if they are loaded, under whatever path.
dependencies: dict[str, mapcall.Library] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if debian.is_complete():
        return
    missing = pytest.mark.skip(reason=f"its packages are missing: `{debian.COMMAND}` fetches them")
    for item in items:
        if item.path.parent == debian.FOLDER.parents[1] / "tests/python/libraries":
            item.add_marker(missing)


@pytest.fixture
def load() -> Load:
    """Returns a function that loads a library of the packages, with its header."""

    def load_library(file: str, header: str) -> mapcall.Library:
        path = debian.library(file)
        rest = [each for each in debian.needed(path) if str(each) not in dependencies]
        while rest:
            left = [each for each in rest if not _load_dependency(each)]
            assert len(left) < len(rest), f"{file}: {left} can't be loaded"
            rest = left
        return mapcall.load(path, header=header, include=debian.include())

    return load_library


def _load_dependency(path: object) -> bool:
    try:
        dependencies[str(path)] = mapcall.load(str(path))
    except mapcall.LibraryError:
        return False
    return True
