"""The command `mapcall`, as ``pip install`` gives it and as ``python -m mapcall``.

It starts without NumPy. This module stands beside the package, as the import of a module in the
package imports the package, and so NumPy, first.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder

# Type checkers take this name as true. The import of `typing` would double the time.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main() -> int:
    """Run the command with the program's arguments, and return its exit code.

    >>> import subprocess, sys
    >>> subprocess.run([sys.executable, "-m", "mapcall", "--version"]).returncode
    0
    """
    # Python's own handler only takes a note, and would leave the command running. The module
    # `signal` makes enums, which takes longer than this one.
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    code: int = _load().command(["mapcall", *sys.argv[1:]], _run_on_cluster)
    return code


def _load() -> Any:
    """Return the part of the extension that needs no NumPy: the module `_command`, in its file."""
    folder = os.path.join(os.path.dirname(__file__), "mapcall")
    found = PathFinder.find_spec("_mapcall", [folder])
    if found is None or found.origin is None:
        raise ImportError(
            f"expected the extension of mapcall in {folder}, got none; install it again"
        )
    loader = ExtensionFileLoader("_command", found.origin)
    spec = ModuleSpec("_command", loader, origin=found.origin)
    module = loader.create_module(spec)
    loader.exec_module(module)
    return module


def _run_on_cluster(**batch: Any) -> list[bytes]:
    """Make the calls of ``mapcall call --dask``; Dask is imported when it is needed."""
    import logging
    import warnings

    # The command writes its errors itself, in one line.
    logging.disable()
    warnings.simplefilter("ignore")
    from mapcall.dask import _command

    return _command.run(**batch)
