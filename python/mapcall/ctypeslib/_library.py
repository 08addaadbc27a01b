"""Finding a shared library by its bare name."""

import ctypes
import os
import sys
import sysconfig
from typing import Any


def load_library(
    libname: str | bytes | os.PathLike[Any], loader_path: str | bytes | os.PathLike[Any]
) -> ctypes.CDLL:
    """Load a shared library by name from a known folder.

    >>> import numpy as np
    >>> from mapcall.ctypeslib import load_library
    >>> load_library("_umath_linalg", np.linalg.__file__)  # doctest: +ELLIPSIS
    <CDLL '..._umath_linalg...', handle ...>

    The first of these that exists is loaded: the name with the suffix of Python
    extension modules, then with the suffix of the platform's shared libraries
    (``.so``, ``.dylib`` or ``.dll``). A library that was loaded before is
    returned again.

    Parameters
    ----------
    libname : path-like
        Name of the library, with its ``lib`` if it has one. Whatever follows a
        dot counts as the extension, and then no other is tried.
    loader_path : path-like
        Folder of the library, or a file in that folder, such as ``__file__``.

    Returns
    -------
    ctypes.CDLL
        The loaded library.

    Raises
    ------
    OSError
        If no such file exists (the error's notes list the paths tried), or if
        it cannot be loaded.
    """
    name = os.fsdecode(libname)
    folder = os.path.abspath(os.fsdecode(loader_path))
    if not os.path.isdir(folder):
        folder = os.path.dirname(folder)

    paths = [os.path.join(folder, file) for file in _file_names(name)]
    for path in paths:
        if os.path.exists(path):
            return ctypes.cdll[path]
    error = OSError("no file with expected extension")
    error.add_note("tried " + ", ".join(paths))
    raise error


def _file_names(name: str) -> list[str]:
    """List the file names that a library of this name may have, best first."""
    if os.path.splitext(name)[1]:
        return [name]
    suffixes = [sysconfig.get_config_var("EXT_SUFFIX"), _shared_suffix()]
    # A dict keeps the order and drops the second of two equal suffixes.
    return [name + suffix for suffix in dict.fromkeys(suffixes) if suffix]


def _shared_suffix() -> str:
    if sys.platform.startswith("darwin"):
        return ".dylib"
    if sys.platform.startswith("win"):
        return ".dll"
    return ".so"
