"""Runs each case of a script in a child process, and tells a test how it ended.

A script that faults may die, so a test can't run it. Starting an interpreter with NumPy and mapcall
for each of some hundred cases takes minutes, so a script imports them once and forks for each case.
`report` does so in the script; `results` runs the script from a test.
"""

from __future__ import annotations

import faulthandler
import fcntl
import functools
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Result = dict[str, Any]
# After as many seconds a case counts as hanging. It decides nothing else.
HANGING = 15.0


class SkippedError(Exception):
    """Raised by a case that this machine can't run; says what it lacks."""


def isolated(case: Callable[[], object], timeout: float = HANGING) -> Result:
    """Runs a case in a child and returns how it ended.

    `status` is the exit code, or minus the number of the signal; None if the case hung. `value` is
    what the case returned, `stderr` what the process printed there, `skip` why it did not run.
    """
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as stderr:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            os.close(reader)
            os.dup2(stderr.fileno(), 2)
            _run(case, writer)
        os.close(writer)
        answer, deadline, hung = b"", time.monotonic() + timeout, False
        while True:
            if not select.select([reader], [], [], max(0, deadline - time.monotonic()))[0]:
                hung = True
                break
            part = os.read(reader, 1 << 16)
            if not part:
                break
            answer += part
        os.close(reader)
        # A child can close the pipe and hang.
        while not hung and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            hung = time.monotonic() > deadline
            time.sleep(0.0005)
        if hung:
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        stderr.seek(0)
        result: Result = {"status": None if hung else status}
        result["stderr"] = stderr.read().decode(errors="replace")
    return result | (json.loads(answer) if answer else {})


def _run(case: Callable[[], object], writer: int) -> None:
    code = 1
    # As in an interpreter that has just been started, also if pytest has forked.
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    if faulthandler.is_enabled():
        faulthandler.disable()
    try:
        try:
            answer: Result = {"value": case()}
        except SkippedError as error:
            answer = {"skip": str(error)}
        with os.fdopen(writer, "w") as pipe:
            json.dump(answer, pipe)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def report(cases: Iterable[tuple[str, Callable[[], object]]]) -> None:
    """Prints a line of JSON for each case."""
    for name, case in cases:
        print(json.dumps({"case": name, **isolated(case)}), flush=True)


@functools.cache
def results(script: Path, shared: Path, *arguments: str) -> dict[str, Result]:
    """Runs a script of cases once, and returns its results by case.

    The processes of one run of pytest find each other's results in the folder `shared`.
    """
    name = hashlib.sha256(repr((script, arguments)).encode()).hexdigest()
    with (shared / name).open("a+") as file:
        # The first process has the file until it has the results.
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        printed = file.read()
        if not printed:
            printed = _output(script, *arguments)
            file.write(printed)
    lines = map(json.loads, printed.splitlines())
    return {line.pop("case"): line for line in lines}


def _output(script: Path, *arguments: str) -> str:
    process = subprocess.run(
        [sys.executable, "-W", "error", script, *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONFAULTHANDLER": ""},
    )
    assert process.returncode == 0, f"exit {process.returncode}\n{process.stdout}{process.stderr}"
    return process.stdout
