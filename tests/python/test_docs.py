"""All public docstrings have an example. The examples that pytest can't find run here."""

from __future__ import annotations

import doctest
import inspect
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import mapcall
from mapcall import _mapcall

OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def documented() -> Iterator[tuple[str, Any]]:
    """Yields every public object of the package and of the extension, with its full name."""
    yield from ((module.__name__, module) for module in (mapcall, mapcall.ctypeslib))
    for module in (mapcall, mapcall.ctypeslib, _mapcall):
        for name, member in vars(module).items():
            public = name in getattr(module, "__all__", dir(module)) and not name.startswith("_")
            # `c_intp` is a type of ctypes.
            if public and not inspect.ismodule(member) and name != "c_intp":
                yield f"{module.__name__}.{name}", member
    for owner in (
        *(mapcall.memmap, mapcall.Map, mapcall.Ctypes, _mapcall.MappedArray, mapcall.Appender),
        *(mapcall.Library, mapcall.Function, mapcall.Parameter, mapcall.Callback),
        *(mapcall.Handle, mapcall.Struct),
    ):
        for name, member in vars(owner).items():
            if not name.startswith("_") and (callable(member) or inspect.isdatadescriptor(member)):
                yield f"{owner.__module__}.{owner.__name__}.{name}", member


# The order is always the same, since the processes that share the tests have to agree.
CASES = dict(sorted(documented()))


@pytest.mark.parametrize("name", CASES)
def test_help_shows_an_example(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doc = inspect.getdoc(CASES[name])
    assert doc is not None, f"{name} has no doc"
    test = doctest.DocTestParser().get_doctest(doc, {}, name, None, None)
    assert test.examples, f"{name} has no example"
    monkeypatch.chdir(tmp_path)
    output: list[str] = []
    outcome = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=output.append)
    assert outcome.failed == 0, "".join(output)


SECTIONS = "Parameters|Returns|Yields|Raises|Warns|See Also|Notes|Examples|Attributes"


@pytest.mark.parametrize("name", CASES)
def test_sections(name: str) -> None:
    """Headings are underlined as numpydoc asks, and each parameter begins a line."""
    lines = (inspect.getdoc(CASES[name]) or "").splitlines()
    for line, below in pairwise([*lines, ""]):
        assert not re.match(r"-{3,}\s*[^-\s]", below), below
        if re.fullmatch(SECTIONS, line):
            assert below == "-" * len(line), line
    if "Parameters" in lines:
        section = lines[lines.index("Parameters") + 2 :]
        section = section[: section.index("")] if "" in section else section
        for line in section:
            assert re.match(r"    |\*|[\w, ]+ : ", line), line
