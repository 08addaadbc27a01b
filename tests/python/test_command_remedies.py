# ruff: noqa: E501 (messages stand on one line)
"""What `mapcall call` says to wrong arguments: each message is provoked, and what it says to type is typed.

The command runs in this process, as a new one for each of the calls would take most of the time.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall
from mapcall import _mapcall

SOURCE = """
#include <string.h>
int twice(int n, const double *x, double *y) { for (int i = 0; i < n; i++) y[i] = 2 * x[i]; return 0; }
double sum(int n, const double *x) { double s = 0; for (int i = 0; i < n; i++) s += x[i]; return s; }
double total(int m, int n, const double *a) { return sum(m * n, a); }
double energy(int n, const double *x) { return sum(2 * n, x); }
int length(const char *s) { return strlen(s); }
int negate(int x) { return -x; }
double half(double x) { return x / 2; }
"""
SUM = "double sum(int n, const double x[n])"
TWICE = "void twice(int n, const double x[n], double y[n])"
TOTAL = "double total(int m, int n, const double a[m][n])"


@dataclass
class Row:
    """A wrong call and the message; `right` is the output of the call that the message names.

    `then` are the arguments with which the call is made again if the remedy has no command, and `again` is its
    prototype.
    """

    prototype: str
    values: list[str]
    message: str
    right: str
    then: list[str] | None = None
    again: str = ""


ROWS = [
    Row(
        SUM,
        ["x=single.npy"],
        'sum: x: expected float64[n], got an array of float32; give x=single-new.npy after python3 -c "import '
        "numpy; numpy.save('single-new.npy', numpy.load('single.npy').astype('float64'))\"",
        "3.0",
    ),
    Row(
        SUM,
        ["x=big.npy[0:2]"],
        "sum: x: expected float64[n] in native byte order, got an array of '>f8'; give x=big-new.npy after python3 "
        "-c \"import numpy; numpy.save('big-new.npy', numpy.load('big.npy')[0:2].astype('float64'))\"",
        "1.0",
    ),
    Row(
        SUM,
        ["x=double.npy[::2]"],
        "sum: x: expected float64[n], C-contiguous, got shape (2,) with strides (16,); give x=double-new.npy after "
        "python3 -c \"import numpy; numpy.save('double-new.npy', numpy.load('double.npy')[::2].copy(order='C'))\"",
        "2.0",
    ),
    Row(
        "double total(int m, int n, [[mapcall::column_major]] const double a[m][n])",
        ["a=grid.npy"],
        "total: a: expected float64[m, n] in Fortran order, contiguous, got shape (2, 3) with strides (24, 8); give "
        "a=grid-new.npy after python3 -c \"import numpy; numpy.save('grid-new.npy', "
        "numpy.load('grid.npy').copy(order='F'))\"",
        "15.0",
    ),
    Row(
        TOTAL,
        ["a=double.npy"],
        'total: a: expected float64[m, n], 2 axes, got shape (3,); give a=double-new.npy after python3 -c "import '
        "numpy; numpy.save('double-new.npy', numpy.load('double.npy').reshape(1, 3))\"",
        "3.0",
    ),
    Row(
        SUM,
        ["x=complex.npy"],
        "sum: x: expected float64[n], got an array of complex128; write double _Complex for x in the prototype, if C "
        'takes that, or drop the imaginary parts: give x=complex-new.npy after python3 -c "import numpy; '
        "numpy.save('complex-new.npy', numpy.load('complex.npy').real.astype('float64'))\"",
        "4.0",
    ),
    Row(
        TWICE,
        ["x=double.npy", "y=single.npy"],
        'twice: y: expected float64[n], got an array of float32; give y=single-new.npy after python3 -c "import '
        "numpy; numpy.save('single-new.npy', numpy.load('single.npy').astype('float64'))\", which is written, or "
        "leave y out, and add -o y=FILE.npy",
        "",
    ),
    Row(
        SUM,
        [],
        "sum: x: expected float64[n], got nothing; give x=FILE.npy",
        "3.0",
        ["x=double.npy"],
    ),
    Row(
        "double half(double x)",
        [],
        "half: x: expected double, got nothing; give x=NUMBER",
        "1.0",
        ["x=2"],
    ),
    Row(
        "int length(const char *s)",
        [],
        "length: s: expected text, got nothing; give s=TEXT",
        "3",
        ["s=abc"],
    ),
    Row(
        "int negate(int x)",
        ["x=2.5"],
        "negate: x: expected int, got 2.5; give x=2 or x=3",
        "-2",
        ["x=2"],
    ),
    Row(
        "int negate(int x)",
        ["x=2147483648"],
        "negate: x: expected int, got 2147483648; give a value from -2147483648 to 2147483647",
        "-2147483647",
        ["x=2147483647"],
    ),
    Row(
        SUM,
        ["x=double.npy", "n=-1"],
        "sum: n: expected int, got -1; give a value from 0 to 2147483647, or leave it out",
        "3.0",
        ["x=double.npy"],
    ),
    Row(
        "double half(double x)",
        ["x=9007199254740993"],
        "half: x: expected double, got 9007199254740993; give x=9007199254740993.0, which is rounded",
        "4503599627370496.0",
        ["x=9007199254740993.0"],
    ),
    Row(SUM, ["x=double.npy", "n=4"], "", "3.0", ["x=double.npy"]),
    Row(
        TWICE,
        ["x=double.npy", "-o", "y.raw"],
        'twice: y: expected a file that ends in .npy, got "y.raw"; write y.npy',
        "",
        ["x=double.npy", "-o", "y.npy"],
    ),
    Row(
        "double sum(int n, const double *x)",
        ["n=3", "x=double.npy"],
        "sum: x: expected a pointer to double with its extent, got an array; write x[n] in the prototype, as C has it",
        "3.0",
        ["x=double.npy"],
        SUM,
    ),
    Row(
        "double half(double in)",
        ["inn=2"],
        "half: expected a parameter's name, got inn; did you mean in?",
        "1.0",
        ["in=2"],
    ),
]


@pytest.fixture(scope="module")
def folder(compile_c: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remedies")
    shutil.copy(compile_c(SOURCE), folder / "libk.so")
    return folder


def files(folder: Path) -> None:
    np.save(folder / "single.npy", np.arange(3, dtype="f4"))
    np.save(folder / "double.npy", np.arange(3.0))
    np.save(folder / "big.npy", np.arange(3, dtype=">f8"))
    np.save(folder / "grid.npy", np.arange(6.0).reshape(2, 3))
    np.save(folder / "complex.npy", np.array([1 + 2j, 3]))


@pytest.fixture
def call(folder: Path, monkeypatch: Any, capfd: Any) -> Callable[..., tuple[int, str, str]]:
    """Returns a function that runs the command in the folder: exit code, output, errors."""
    monkeypatch.chdir(folder)
    files(folder)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = _mapcall.command(["mapcall", "call", "./libk.so", *arguments])
        shown = capfd.readouterr()
        return code, shown.out.rstrip("\n"), shown.err.rstrip("\n")

    return call


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_remedy(call: Callable[..., tuple[int, str, str]], row: Row, folder: Path) -> None:
    code, _, error = call(row.prototype, *row.values)
    assert code == 2
    error = error.removeprefix("error: ")
    message = error.removesuffix(", or add --convert")
    if message != error:
        code, shown, error = call(row.prototype, *row.values, "--convert")
        assert (code, error) == (0, "")
        if row.right:
            assert shown == row.right
        else:
            assert np.load("single.npy").tolist() == [0, 2, 4]
        files(folder)
    if row.message:
        assert message == row.message
    values = row.then
    if values is None:
        made = re.search(r"give (\w+)=(\S+) after python3 -c (\".*?\")", message)
        assert made, message
        (code,) = shlex.split(made[3])
        exec(code, {})
        name = made[1] + "="
        values = [value for value in row.values if not value.startswith(name)]
        values.append(name + made[2])
    code, shown, error = call(row.again or row.prototype, *values)
    assert (code, error) == (0, "")
    if row.right:
        assert shown == row.right
    else:
        written = "y.npy" if "-o" in values else "single-new.npy"
        assert np.load(written).tolist() == [0, 2, 4]


def test_remedy_in_a_shell(call: Callable[..., tuple[int, str, str]], folder: Path) -> None:
    """The command in a message is quoted for the shell."""
    _, _, error = call(SUM, "x=single.npy")
    made = re.search(r"after python3 (.*)$", error)
    assert made
    (folder / "single-new.npy").unlink(missing_ok=True)
    subprocess.run(f"{shlex.quote(sys.executable)} {made[1]}", shell=True, check=True)
    assert np.load("single-new.npy").dtype == np.float64


def test_json_for_jq(call: Callable[..., tuple[int, str, str]]) -> None:
    """The output of a call is read by jq, as scripts do."""
    jq = shutil.which("jq")
    if jq is None:
        pytest.skip("jq is not installed; apt-get install jq, or see jqlang.org")
    code, shown, error = call(TWICE, "x=double.npy", "--json")
    assert (code, error) == (0, "")
    names = subprocess.run(
        [jq, "-c", ".outputs[] | {name, total: (.values | add)}"],
        input=shown,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [json.loads(line) for line in names.stdout.splitlines()] == [{"name": "y", "total": 6}]


def test_status_is_no_output(call: Callable[..., tuple[int, str, str]]) -> None:
    prototype = TWICE.replace("void", "int")
    code, _, error = call(prototype, "x=double.npy", "--check", "zero", "-o", "only.npy")
    assert (code, error) == (0, "")
    assert np.load("only.npy").tolist() == [0, 2, 4]
    function = mapcall.load("./libk.so").function(prototype, check="zero")
    assert function(np.ones(2)).tolist() == [2, 2]
    assert function(np.ones((3, 2)), out="only.npy").tolist() == [[2, 2]] * 3
