"""The functions of `mapcall.ctypeslib` in a Python without the ctypes module."""

from typing import NoReturn


def _unavailable(*args: object, **kwargs: object) -> NoReturn:
    """Stand in for a function that needs the ctypes module.

    Raises
    ------
    ImportError
        Always.
    """
    raise ImportError("ctypes is not available.")


load_library = ndpointer = as_array = as_ctypes = as_ctypes_type = _unavailable
