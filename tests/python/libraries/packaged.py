"""Loads libraries of the packages that `debian.py` has unpacked."""

from __future__ import annotations

from pathlib import Path

import debian
import mapcall

# A library finds those that it depends on if they are loaded, under whatever path.
_dependencies: dict[Path, mapcall.Library] = {}


def load(file: str, *headers: str, prototypes: Path | None = None) -> mapcall.Library:
    """Loads a library by its file name, with its headers and a file of prototypes."""
    path = debian.library(file)
    missing = [each for each in debian.needed(path) if each not in _dependencies]
    while missing:
        left = [each for each in missing if not _load_dependency(each)]
        assert len(left) < len(missing), f"{file}: {left} can't be loaded"
        missing = left
    options = {"prototypes": prototypes, "include": debian.include()}
    return mapcall.load(path, header=list(headers) or None, **options)


def _load_dependency(path: Path) -> bool:
    try:
        _dependencies[path] = mapcall.load(path)
    except mapcall.LibraryError:
        return False
    return True
