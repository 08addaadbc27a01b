"""Pickles of libraries: the path, and a digest of the file to compare."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ._errors import LibraryError
from ._mapcall import Library, load


def digest(path: str) -> str:
    """Return the digest of a file, which is read again only if it has changed.

    >>> import mapcall
    >>> path = mapcall.load("m").path
    >>> digest(path) == digest(path), len(digest(path))
    (True, 32)
    """
    status = os.stat(path)
    return _cached_digest(path, (status.st_ino, status.st_size, status.st_mtime_ns))


def _digest(path: str, _version: tuple[int, int, int]) -> str:
    # It loads OpenSSL, which no call needs.
    import hashlib

    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


_cached_digest = functools.lru_cache(maxsize=256)(_digest)


def reload(
    path: str | None,
    expected: str | None,
    header: tuple[str, Sequence[str], Mapping[str, Any]] | None,
) -> Library:
    """Load the library that a pickle refers to.

    >>> import mapcall, pickle
    >>> libm = mapcall.load("m")
    >>> pickle.loads(pickle.dumps(libm)) == libm
    True

    Raises
    ------
    LibraryError
        If the file is missing, or has changed since it was pickled.
    """
    if path is not None:
        try:
            found = digest(path)
        except OSError as error:
            raise LibraryError(f"expected the library {path}, which was pickled; {error}") from None
        if found != expected:
            raise LibraryError(
                f"expected the library {path} as it was pickled (digest {expected}), got another "
                f"file of that name (digest {found}); build the same one on both sides"
            )
    if header is None:
        return load(path)
    name, include, define = header
    return load(path, name, include=include, define=dict(define))
