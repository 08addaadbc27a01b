"""The remedies in the code base: what texts of errors have behind their last semicolon."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
# C and shell code in literals, which has semicolons too.
CODE = re.compile(r";\s*(\}|\{|$|\n|import numpy)|\bf\(|\{\{")


def rust(path: Path) -> Iterator[str]:
    """Yields the string literals of a Rust file, without those of its comments and unit tests."""
    text = path.read_text().split("#[cfg(test)]", 1)[0]
    text = re.sub(r"(?m)^\s*//.*$", "", text).replace("'\"'", "' '")
    for found in LITERAL.finditer(text):
        yield re.sub(r"\\\n\s*", "", found[1]).replace('\\"', '"').replace("\\n", "\n")


def python(path: Path) -> Iterator[str]:
    """Yields the string literals of a Python file, without docstrings; `{}` stands for values."""
    tree = ast.parse(path.read_text())
    parts = {
        id(value)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for value in node.values
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            parts.add(id(node.value))
    for node in ast.walk(tree):
        if id(node) in parts:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(value.value) if isinstance(value, ast.Constant) else "{}"
                for value in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def remedies() -> dict[str, str]:
    """Returns the remedies in the code base, with the file of each.

    >>> remedies()["open the file in mode r+ or c"]
    'crates/mapcall-array/src/error/view.rs'
    """
    found: dict[str, str] = {}
    files = [(path, rust) for path in ROOT.glob("crates/*/src/**/*.rs")]
    files += [(path, python) for path in ROOT.glob("python/mapcall/**/*.py")]
    for path, literals in sorted(files):
        for text in literals(path):
            if "; " in text and not CODE.search(text):
                found.setdefault(text.rsplit("; ", 1)[1], str(path.relative_to(ROOT)))
    # Those of prototypes and headers, and of compilers' messages, stand alone.
    for name, literal in [
        ("crates/mapcall-decl/src/error.rs", LITERAL),
        ("crates/mapcall-decl/src/source/diagnostic.rs", re.compile(r'Some\("(.*)"\)')),
    ]:
        body = (ROOT / name).read_text().split("pub fn remedy", 1)[1].split("\n    }\n", 1)[0]
        for match in literal.finditer(body):
            found.setdefault(match[1], name)
    return found


def pattern(remedy: str) -> re.Pattern[str]:
    """Returns a pattern of a remedy whose values stand in braces.

    >>> bool(pattern("write {name:?}").search('...; write "x.npy"'))
    True
    """
    parts = re.split(r"\{[^{}]*\}", remedy)
    return re.compile(".*?".join(map(re.escape, parts)), re.DOTALL)


@contextmanager
def advises(remedy: str, error: type[Exception] = Exception) -> Iterator[Any]:
    """Checks that an exception is raised whose message has a remedy of the sources."""
    with pytest.raises(error) as caught:
        yield caught
    assert pattern(remedy).search(str(caught.value)), caught.value


def complains(remedy: str, message: object = None) -> str:
    """Returns a remedy, and checks that a message has it if one is given."""
    assert message is None or pattern(remedy).search(str(message)), message
    return remedy


def done_in(path: Path) -> set[str]:
    """Returns the remedies in a test file's calls of `advises` and `complains`."""
    return {
        call.args[0].value
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and getattr(call.func, "id", None) in ("advises", "complains")
        and isinstance(call.args[0], ast.Constant)
    }
