"""Doing what the remedies of the table `remedy_rows.py` say: their code is extracted and run."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

import mapcall
from remedy_rows import OUT, Row


def alternatives(remedy: str) -> list[str]:
    """Return the alternatives of a remedy, of which each must work."""
    return re.split(
        r", or (?=leave|open|pass|call|write|numpy|a list|x\.data|give)| and (?=give )", remedy
    )


def found(row: Row, given: dict[str, Any], result: Any) -> Any:
    """Return what the row compares: the result, or the output, returned or in place."""
    value = result
    if isinstance(given.get(row.of), (np.ndarray, list)):
        value = given[row.of]
    if isinstance(value, np.ndarray) and value.dtype.names is None:
        return value.tolist()
    if isinstance(value, tuple):
        return tuple(each.item() if isinstance(each, np.ndarray) else each for each in value)
    return value


def check(row: Row, given: dict[str, Any], result: Any) -> None:
    value = found(row, given, result)
    if callable(row.right):
        assert row.right(value)
    else:
        assert value == row.right


def called(function: Callable[..., Any], given: dict[str, Any]) -> Any:
    return function(**{name: value for name, value in given.items() if value is not OUT})


def follow(library: mapcall.Library, row: Row, words: str) -> bool:
    """Do what an alternative of a remedy says; return False if it is in words."""
    function = library.function(row.prototype)
    given = row.makes()
    name = function.name
    scope = {"numpy": np, "mapcall": mapcall, "value": 2, name: function, **given}
    if left_out := re.fullmatch(r"leave (\w+) out", words):
        if left_out[1] == "it":
            return False
        given = {**given, left_out[1]: OUT, **row.omits}
        check(row, given, called(function, given))
    elif new := re.fullmatch(r"give out=(\w+) for a new file", words):
        given = {**given, new[1]: OUT, "out": "new.npy"}
        check(row, given, called(function, given))
        assert np.load("new.npy").tolist() == row.right
    elif copied := re.fullmatch(r"pass (\w+) = (.*), and do (.*) after the call", words):
        scope[copied[1]] = eval(copied[2], scope)
        called(function, {**given, row.of: scope[copied[1]]})
        exec(copied[3], scope)
        check(row, given, None)
    elif stays := re.fullmatch(
        r"pass (\w+) = (.*?)(, (if|which) .*)?, which has the results then", words
    ):
        given[row.of] = eval(stays[2], scope)
        called(function, given)
        check(row, given, None)
    elif passed := re.fullmatch(
        r"(?:(?:convert|copy|open) it with|make it one with|pass one of its fields, as|pass|give)"
        r" ((?:(\w+)|.*?\(\[*(\w+)).*[)\]a-z])(?:,? (?:which|if|where|without|to write).*)?",
        words,
    ):
        code = passed[1].split(", which")[0].split(", if")[0].split(", where")[0]
        code = code.split(" without the")[0].split(" to write")[0]
        try:
            tree = compile(code, "remedy", "eval")
        except SyntaxError:
            return False
        names = [each for each in re.findall(r"\w+", code) if each in given]
        if not names:
            return False
        given[names[0]] = eval(tree, scope)
        check(row, given, called(function, given))
    elif words == f"call {name}.unchecked(...)":
        check(row, given, called(function.unchecked, given))
    else:
        return False
    return True


def declared(row: Row) -> str:
    """Return the prototype of a row with what its remedy says to write there."""
    if "_Complex" in row.again:
        return f"double energy(int n, {row.again})"
    assert row.again in row.says
    name = row.again.split("[")[0]
    text, count = re.subn(rf"\*\s*{name}\b|\b{name}\[\]", " " + row.again, row.prototype)
    assert count == 1
    return text
