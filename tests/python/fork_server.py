"""Runs scripts, each in a fork of this process, which has imported NumPy and mapcall.

The fixture `run_in_fork` sends a line of JSON for each: the script, its arguments, and the files
for what it prints. It gets two lines: the number of the process, and how it ended.
"""

from __future__ import annotations

import json
import os
import sys
import types

import numpy  # noqa: F401

import mapcall  # noqa: F401


def run(script: str, arguments: list[str], files: list[str]) -> None:
    """Runs a script as if this interpreter had been started for it."""
    for descriptor, file in enumerate([os.devnull, *files]):
        opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.argv = ["-c", *arguments]
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    exec(compile(script, "<script>", "exec"), vars(main))


def serve() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            # The interpreter ends as usual, also by an exception.
            run(*json.loads(line))
            return
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
