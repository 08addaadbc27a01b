"""The programs in the pages for users of numba and f2py that the examples do not run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall

DOCS = Path(__file__).parents[2] / "docs"


def code(page: str, language: str) -> str:
    """Returns the first block of a page in a language that is no example."""
    blocks = re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    return next(block for block in blocks if not block.startswith(">>>"))


def compiled(page: str) -> mapcall.Library:
    """Returns the library of the C code in a page."""
    return mapcall.compile(argument(page, "mapcall.compile"))


def argument(page: str, function: str) -> str:
    """Returns the text in triple quotes that a function is given in a page."""
    text = re.sub(r"^(?:>>>|\.\.\.) ?", "", (DOCS / page).read_text(), flags=re.MULTILINE)
    found = re.search(rf'{re.escape(function)}\("""(.*?)"""\)', text, re.DOTALL)
    assert found
    return found[1]


def test_numba() -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    names: dict[str, Any] = {}
    exec(code("from-numba.md", "python"), names)
    ours = compiled("from-numba.md").smooth
    assert np.array_equal(ours(names["rows"], 2), names["result"])
    assert ours.signature == names["smooth"].signature


def test_numba_cfunc() -> None:
    numba = pytest.importorskip("numba", reason="numba is not installed")
    half = numba.cfunc("float64(float64)")(lambda x: x / 2)
    bound = mapcall.load(None).function("double half(double x)", address=half.address)
    assert bound(np.array([1.0, 3])).tolist() == [0.5, 1.5]


def test_fortran(tmp_path: Path) -> None:
    compiler = shutil.which("gfortran")
    if compiler is None:
        pytest.skip("gfortran is not installed")
    routine = tmp_path / "relax.f90"
    routine.write_text(code("from-f2py.md", "fortran"))
    library = tmp_path / "librelax.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, routine], check=True)
    relax = mapcall.load(library).function(argument("from-f2py.md", "library.function"))
    a = np.zeros((4, 5), order="F")
    a[0] = 1
    assert relax(a, 1.0).tolist() == [0.328125]
