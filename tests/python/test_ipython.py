"""The cell magic `%%mapcall`, and completion, in an IPython session on a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("IPython")

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")


class Session:
    """An IPython session on a pseudo-terminal, which is read until it has written something."""

    def __init__(self, folder: Path) -> None:
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.chdir(folder)
            os.environ.update(IPYTHONDIR=str(folder / "ipython"), TERM="xterm", PAGER="cat")
            options = ["--no-banner", "--no-confirm-exit", "--colors=NoColor", "--quick"]
            os.execv(sys.executable, [sys.executable, "-m", "IPython", *options])
        self.said = ""

    def wait(self, text: str, seconds: float = 30) -> str:
        """Returns the output until it has a text."""
        end = time.monotonic() + seconds
        while text not in self.said:
            ready, _, _ = select.select([self.terminal], [], [], max(0, end - time.monotonic()))
            assert ready, f"expected {text!r}, got {self.said!r}"
            part = os.read(self.terminal, 1 << 16).decode(errors="replace")
            if "\x1b[6n" in part:  # It asks where the cursor is.
                os.write(self.terminal, b"\x1b[1;1R")
            self.said += ESCAPES.sub("", part)
        before, _, self.said = self.said.partition(text)
        return before

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def close(self) -> None:
        self.type("exit\r")
        end = time.monotonic() + 20
        while select.select([self.terminal], [], [], max(0, end - time.monotonic()))[0]:
            try:
                if not os.read(self.terminal, 1 << 16):
                    break
            except OSError:  # Linux fails with EIO when the other end is closed.
                break
        else:
            os.kill(self.process, signal.SIGKILL)
        os.close(self.terminal)
        os.waitpid(self.process, 0)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    made = Session(tmp_path)
    made.wait("In [1]:")
    yield made
    made.close()


def test_functions_of_a_cell_are_completed_and_called(session: Session) -> None:
    session.type("%load_ext mapcall\r")
    session.wait("In [2]:")
    # Alt-Enter ends the cell.
    session.type(
        "%%mapcall kern -f '-O1 -Wall'\x1b[200~\n#define WIDTH 7\ndouble twice_as_much(double x) "
        "{ return 2 * x; }\x1b[201~\x1b\r"
    )
    session.wait("In [3]:")
    session.type("kern.twice_a\t")
    session.wait("s_much")  # Only what is new is written.
    session.type("(21) + kern.WIDTH\r")
    session.wait("Out[3]: 49.0")
    session.wait("In [4]:")
    session.type("kern.twice_as_much?\r")
    session.wait("double twice_as_much(double x)")
    session.wait("In [5]:")
    session.type("%%mapcall\x1b[200~\nint f(void)\n{ return misspelt; }\x1b[201~\x1b\r")
    shown = session.wait("In [6]:")
    assert "3 | { return misspelt; }" in shown
    assert "Traceback" not in shown
    session.type("%%mapcall\x1b[200~\nint f_of_cellar(void) { return 6; }\x1b[201~\x1b\r")
    session.wait("In [7]:")
    session.type("f_of_c\t")
    session.wait("ellar")
    session.type("() * 7\r")
    session.wait("Out[7]: 42")
