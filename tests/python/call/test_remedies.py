"""The remedies of errors: each message is provoked, and what it says to type is done.

`remedy_rows.ROWS` has a row or more for each variant of `Remedy`, in
`crates/mapcall/src/contract/error/remedy.rs`. The code in a message is extracted and run: nothing
of it is repeated in the table, except that the whole message is. For a remedy in words (`give a
number`), the row has a value that is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall
from remedy_rows import PARTICLE, ROWS, SCALE, SOURCE, SUM, WEIGH, Row
from remedy_steps import alternatives, called, check, declared, follow

ROOT = Path(__file__).parents[3]
REMEDY = ROOT / "crates/mapcall/src/contract/error/remedy.rs"

# Variants with tests of their own below, or in Rust where only Rust has them.
ELSEWHERE = {
    "GiveOwnHandle": "test_handles",
    "OpenObject": "test_handles",
    "WaitForUsers": "tests/python/call/test_handle_lifetimes.py",
    "BindConst": "test_handles",
    "GiveFunctionOfType": "test_functions",
    "OmitInferred": "test_calls",
    "BindVariant": "test_calls",
    "RenameFile": "test_calls",
    "OpenAgain": "test_calls",
    "GiveOnce": "test_calls",
    "MapPart": "test_calls",
    "GivePointer": "tests/python/call/test_c_values.py",
    "Words": "test_calls",
    "KeepArgument": "crates/mapcall/tests/calls/lifetimes.rs",
    "CallEach": "test_calls",
    "DropOthers": "crates/mapcall/tests/calls/structs.rs",
}


def variants() -> set[str]:
    """Return the variants of `Remedy`."""
    text = REMEDY.read_text()
    body = text[text.index("pub enum Remedy {") :]
    body = body[: body.index("\n}\n")]
    return set(re.findall(r"^    (\w+)", body, re.M))


def test_each_remedy_has_a_row() -> None:
    known = {row.variant for row in ROWS} | set(ELSEWHERE)
    assert variants() - known == set(), "add a row to ROWS that does what the remedy says"
    assert known - variants() == set()
    for place in ELSEWHERE.values():
        assert place in globals() or (ROOT / place).exists()


@pytest.fixture(scope="module")
def library(compile_c: Any) -> mapcall.Library:
    library = mapcall.load(compile_c(SOURCE))
    library.function(PARTICLE + WEIGH)
    return library


@pytest.mark.parametrize(
    "row", ROWS, ids=[f"{row.variant}-{index}" for index, row in enumerate(ROWS)]
)
def test_remedy(library: mapcall.Library, row: Row, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("three.npy", np.arange(1.0, 4))
    function = library.function(row.prototype)
    if row.binds:
        function = function.unchecked
    given = row.makes()
    with pytest.raises(mapcall.ArgumentError) as caught:
        called(function, given)
    error = caught.value
    assert str(error).endswith(f"; {error.remedy}")
    says = error.remedy.removesuffix(", or give convert=True")
    if says != error.remedy:
        given = row.makes()
        check(row, given, called(function, {**given, "convert": True}))
    assert says == row.says.replace("{here}", str(tmp_path)), str(error)
    done = [follow(library, row, words) for words in alternatives(row.says)]
    assert any(done) or row.then or row.again, row.says
    for values in row.then:
        given = {**row.makes(), **values}
        check(row, given, called(library.function(row.prototype), given))
    if row.again:
        given = row.makes()
        result = called(library.function(declared(row)), given)
        check(row, given, result)


def refused(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> str:
    """Return the remedy of a call that is refused."""
    with pytest.raises(mapcall.ArgumentError) as caught:
        function(*arguments, **keywords)
    return str(caught.value.remedy)


def test_handles(library: mapcall.Library) -> None:
    types = "struct box; struct lid; "
    library.function(types + "void box_free(struct box *b)")
    new = library.function(
        types + "struct box *box_new(void)",
        destructor=library.function("void box_free(struct box *b)"),
    )
    lid = library.function(
        "struct lid *lid_new(void)", destructor=library.function("void lid_free(struct lid *b)")
    )()
    get = library.function("int box_get(struct box *b)")
    assert refused(get, lid) == "give the handle that the library made for it"
    box = new()
    assert get(box) == 1
    box.close()
    assert refused(get, box) == "open a new one"
    assert get(new()) == 1
    lid.close()
    # Memory of an array that C only reads comes back as a handle to const.
    find = library.function("const double *memchr(const double x[n / 8], int c, size_t n)")
    handle = find(np.ones(2), 0, n=16)
    scale = library.function("void scale(int n, double a, double *x)")
    assert refused(scale.unchecked, 1, 2.0, handle) == "bind it with const for x, if it only reads"
    total = library.function("double sum(int n, const double *x)")
    assert total.unchecked(2, find(np.ones(2), 0, n=16)) == 2.0


def test_functions(library: mapcall.Library) -> None:
    choose = library.function("int choose(int (*f)(int), int x)")
    assert (
        refused(choose, library.function("double half(double x)"), 1)
        == "give a function of that type"
    )
    assert choose(library.function("int negate(int x)"), 1) == -1
    callback = choose.callback("f", lambda x: 2 * x)
    assert choose(callback, 2) == 4


def test_calls(library: mapcall.Library, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    total = library.function(SUM)
    says = "leave out the rest; inferred parameters are given by name"
    assert refused(total, np.ones(3), 3) == says
    assert total(np.ones(3)) == total(np.ones(3), n=3) == 3.0
    assert refused(total, np.ones(3), x=np.ones(3)) == "give it once"
    half = library.function("double half(double x)")
    assert refused(half, np.ones(3), out=(None, None)) == "give an array or a path as `out`"
    twice = library.function("int twice(int n, const double x[n], double y[n])")
    says = "give a tuple of 2 as `out`, with None for an output that is to be allocated"
    assert refused(twice, np.ones((2, 3)), out="y.npy") == says
    assert twice(np.ones((2, 3)), out=(None, "y.npy"))[1].tolist() == [[2, 2, 2]] * 2
    assert refused(twice, np.ones((2, 3)), out=("y.npy", "y.npy")) == "give it another name"
    assert twice(np.ones((2, 3)), out=("x.npy", "z.npy"))[1].tolist() == [[2, 2, 2]] * 2
    quiet = library.function(SCALE)
    assert refused(quiet, 2.0, np.ones(3), out="y.npy") == "leave `out` out"
    mapped = mapcall.open("y.npy")
    mapped.close()
    assert refused(half, mapped) == "open the file again"
    assert half(mapcall.open("y.npy")).tolist() == [[1, 1, 1]] * 2
    add = library.function("double add(int n, ...)")
    says = "bind add by a prototype with a parameter for each argument, without a header"
    assert refused(add, np.ones(2, "i4"), 1.5) == says
    fixed = library.function("double add(int n, double first)")
    assert fixed(np.ones(2, "i4"), 1.5).tolist() == [1.5, 1.5]
    huge = np.broadcast_to(np.float64(1), (2**40,))
    hypot = library.function("double two(double x, double y)")
    says = "map it over a part at a time"
    assert refused(hypot, huge[:, None], huge) == says
    assert hypot(huge[:2, None], huge[:3]).shape == (2, 3)
    name = library.function("const char *named(int code)")
    assert refused(name, np.zeros(2, "i4")) == "call it once for each item"
    assert [name(code) for code in np.zeros(2, "i4")] == ["none"] * 2
    # Words: those of options.
    assert refused(half, np.ones(2), threads=-1) == "give 1, or 0 for every core"
    assert half(np.ones(2), threads=0).tolist() == [0.5, 0.5]
    bound = library.function("double half(double x)", gil="hold")
    assert refused(bound, np.ones(2), threads=2) == "bind it without gil"
    assert half(np.ones(2), threads=2).tolist() == [0.5, 0.5]
    says = "give a function of the calls made and of all calls"
    assert refused(half, np.ones(2), progress=3) == says
    assert half(np.ones(2), progress=lambda done, calls: None).tolist() == [0.5, 0.5]
