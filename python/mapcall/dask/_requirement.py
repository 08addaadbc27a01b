"""Dask, which must be installed: imported before the modules that use it."""

import importlib


def require() -> None:
    """Import Dask's arrays.

    >>> require()

    Raises
    ------
    ImportError
        If they are not installed; the message says what to install.
    """
    try:
        importlib.import_module("dask.array")
    except ImportError as error:
        raise ImportError(
            "mapcall.dask needs Dask's arrays; install them with: pip install 'mapcall[dask]'"
        ) from error


require()
