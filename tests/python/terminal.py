"""Runs the installed command, also in a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

COMMAND = [str(Path(sys.executable).with_name("mapcall"))]


def run(*arguments: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def in_a_terminal(arguments: list[str], until: str | None = None) -> tuple[int, str]:
    """Runs the command in a pseudo-terminal; types an interrupt when the output has `until`.

    The terminal has a name, also where the tests run without one: others get no bar.
    """
    process, terminal = pty.fork()
    if process == 0:
        os.execve(COMMAND[0], [*COMMAND, *arguments], os.environ | {"TERM": "xterm"})
    said = b""
    while True:
        try:
            part = os.read(terminal, 1 << 16)
        except OSError:  # Linux fails with EIO when the other end is closed.
            break
        if not part:
            break
        said += part
        if until is not None and until in said.decode(errors="replace"):
            os.write(terminal, b"\x03")
            until = None
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), said.decode(errors="replace")
