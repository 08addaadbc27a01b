"""Many faults at once. `make test-long` runs these tests for longer."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import stress

SECONDS = os.environ.get("MAPCALL_STRESS_SECONDS", "3")
ROUNDS = os.environ.get("MAPCALL_STRESS_ROUNDS", "1000")


def run(folder: Path, what: str, amount: str, timeout: float) -> dict[str, int]:
    result = subprocess.run(
        [sys.executable, "-W", "error", stress.__file__, what, folder, amount],
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    print(result.stdout)
    return ast.literal_eval(result.stdout)


def test_threads(tmp_path: Path) -> None:
    """Each use in eight threads gives the right result, or raises once and in its thread."""
    counts = run(tmp_path, "threads", SECONDS, 60 + 2 * float(SECONDS))
    assert set(counts) <= {"opened", "right", "truncated", "closed", "shared"}


def test_reader_against_writer(tmp_path: Path) -> None:
    """A file that another process shortens and grows again and again."""
    counts = run(tmp_path, "writer", ROUNDS, 60 + int(ROUNDS) / 20)
    assert set(counts) <= {"right", "truncated", "too short to open"}
