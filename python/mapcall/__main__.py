"""The command `mapcall`, as ``pip install`` gives it and as ``python -m mapcall``."""

from __future__ import annotations

import signal
import sys
from typing import Any

from ._mapcall import command


def main() -> int:
    """Run the command with the program's arguments, and return its exit code.

    >>> import subprocess, sys
    >>> subprocess.run([sys.executable, "-m", "mapcall", "--version"]).returncode
    0
    """
    # Python's own handler only takes a note, and would leave the command running.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return command(["mapcall", *sys.argv[1:]], _run_on_cluster)


def _run_on_cluster(**batch: Any) -> list[bytes]:
    """Make the calls of ``mapcall call --dask``; Dask is imported when it is needed."""
    import logging
    import warnings

    # The command writes its errors itself, in one line.
    logging.disable()
    warnings.simplefilter("ignore")
    from .dask import _command

    return _command.run(**batch)


if __name__ == "__main__":
    sys.exit(main())
