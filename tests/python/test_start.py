"""What a new process imports: for the package, and for the command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import start
from terminal import run


def test_the_package_imports_little(run_script: Callable[..., str]) -> None:
    """Beside NumPy: what each program needs; `pathlib` alone takes as long as all of it."""
    run_script(
        """
        import sys
        import numpy

        before = set(sys.modules)
        import mapcall

        added = set(sys.modules) - before
        own = {name for name in added if name.startswith("mapcall")}
        parts = ["_errors", "_faults", "_headers", "_help", "_hooks", "_mapcall", "_memmap"]
        assert own == {"mapcall", *(f"mapcall.{part}" for part in parts)}, own
        # The last two are compiled into the interpreter.
        assert added - own <= {"__future__", "atexit", "faulthandler"}, added - own

        assert "ctypeslib" in dir(mapcall)
        assert mapcall.ctypeslib.c_intp is numpy.ctypeslib.c_intp
        assert mapcall.ctypeslib is sys.modules["mapcall.ctypeslib"]
        """
    )


# Runs the command where NumPy and the package can't be imported.
WITHOUT_NUMPY = """
import sys

sys.modules["numpy"] = sys.modules["mapcall"] = None
from _mapcall_command import main

sys.exit(main())
"""


def test_the_command_needs_no_numpy(tmp_path: Path) -> None:
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(x, np.linspace(0, 1, 1000))
    command = [sys.executable, "-c", WITHOUT_NUMPY, "call", "m", "double cos(double x)", f"x={x}"]
    subprocess.run([*command, "-o", y], check=True, timeout=60)
    np.testing.assert_allclose(np.load(y), np.cos(np.load(x)), rtol=1e-15)
    # Only a cluster needs the package.
    refused = subprocess.run(
        [*command, "--dask", "local"], capture_output=True, text=True, timeout=60
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: import of mapcall halted"), refused.stderr


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "mapcall", "--version"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (shown.returncode, shown.stdout) == (0, run("--version").stdout)


def test_an_installation_without_the_extension(tmp_path: Path) -> None:
    source = Path(sys.modules["mapcall"].__file__ or "").parents[1] / "_mapcall_command.py"
    (tmp_path / "_mapcall_command.py").write_text(source.read_text())
    program = "import _mapcall_command; _mapcall_command.main()"
    outcome = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert "expected the extension of mapcall in " in outcome.stderr
    assert outcome.stderr.endswith("install it again\n")


def test_the_benchmarks_run(tmp_path: Path) -> None:
    start.call(tmp_path, items=100)
    # The rivals take long: Numba compiles for a second.
    for ours in (start.importing().ours, start.version().ours, start.first_use_of_mapcall()):
        assert ours.timer().timeit(1) > 0
    with pytest.raises(subprocess.CalledProcessError):
        start.python("raise SystemExit(1)").timeit(1)
