"""Variables that a library exports, and pointers in them."""

from __future__ import annotations

import gc
import operator
import re
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall

HEADER = """
struct pair { double x; int n; };
typedef int (*fn)(int);
enum mode { SLOW, FAST = 7 };
extern int verbosity;
extern const double table[3];
extern double grid[2][3];
extern double coeff[];
extern struct pair both;
extern const char *label;
extern double *current;
extern fn hook;
extern const long limit;
extern long long native __asm__("H5T_NATIVE_INT_g");
extern enum mode mode;
extern _Bool flag;
extern char name[8];
extern int nowhere;
int twice(int x);
double sum(int n, const double x[n]);
int level(void);
double at_current(int i);
double pair_sum(const struct pair *p);
void open_it(void);
"""
SOURCE = """
struct pair { double x; int n; };
enum mode { SLOW, FAST = 7 };
int verbosity = 5;
const double table[3] = {1, 2, 3};
double grid[2][3] = {{1, 2, 3}, {4, 5, 6}};
double coeff[4] = {1, 2, 3, 4};
struct pair both = {0.5, 3};
const char *label = "first";
double *current = coeff;
int twice(int x) { return 2 * x; }
int (*hook)(int) = twice;
const long limit = 1L << 40;
long long H5T_NATIVE_INT_g = -1;
enum mode mode = FAST;
_Bool flag = 1;
char name[8] = "abc";
double sum(int n, const double *x)
{ double s = 0; for (int i = 0; i < n; i++) s += x[i]; return s; }
int level(void) { return verbosity; }
double at_current(int i) { return current[i]; }
double pair_sum(const struct pair *p) { return p->x + p->n; }
void open_it(void) { H5T_NATIVE_INT_g = 1LL << 50; }
"""


@pytest.fixture(scope="module")
def path(compile_c: Any) -> Path:
    return compile_c(SOURCE)


@pytest.fixture(params=["header", "declaration"])
def variable(path: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Returns a variable by its name: that of the header, or of a declaration by itself."""
    (tmp_path / "v.h").write_text(HEADER)
    library = mapcall.load(path, header=tmp_path / "v.h")
    if request.param == "header":
        return lambda name: getattr(library, name)
    bare = mapcall.load(path)
    types = "".join(line for line in HEADER.splitlines() if not line.startswith("extern"))
    types = types.split("int twice")[0]

    def declared(name: str) -> mapcall.Variable:
        lines = [line for line in HEADER.splitlines() if re.search(rf"^extern.*\b{name}\b", line)]
        return bare.variable(types + lines[0])

    return declared


def test_numbers(path: Path, variable: Any) -> None:
    level = mapcall.load(path).function("int level(void)")
    verbosity = variable("verbosity")
    verbosity.value = 5
    assert (verbosity.value, int(verbosity), float(verbosity)) == (5, 5, 5.0)
    assert operator.index(verbosity) == 5
    verbosity.value = np.int32(6)
    assert level() == 6
    assert (verbosity.name, verbosity.type) == ("verbosity", "int")
    verbosity.array()[()] = 7
    assert level() == np.asarray(verbosity) == 7
    for wrong in (2**40, 1.5, "text", None):
        with pytest.raises(mapcall.ArgumentError, match="verbosity: expected int, got"):
            verbosity.value = wrong
    assert level() == 7
    assert variable("limit").value == 2**40
    with pytest.raises(AttributeError, match="limit is const"):
        variable("limit").value = 1
    assert not variable("limit").array().flags.writeable
    assert variable("mode").value == 7
    assert variable("flag").value is True


def test_arrays(variable: Any) -> None:
    table = variable("table")
    assert np.asarray(table).tolist() == table.array().tolist() == table.value.tolist() == [1, 2, 3]
    assert table.array(2).tolist() == [1, 2]
    assert not table.value.flags.writeable
    with pytest.raises(ValueError, match="at most 3 elements"):
        table.array(4)
    grid = variable("grid")
    grid.array()[1, 2] = 60
    assert grid.value[1].tolist() == [4, 5, 60]
    grid.value = [[1, 2, 3], [4, 5, 6]]
    assert grid.array((3, 2)).tolist() == [[1, 2], [3, 4], [5, 6]]
    coeff = variable("coeff")
    assert coeff.array(4).tolist() == [1, 2, 3, 4]
    for use in (coeff.array, lambda: coeff.value):
        with pytest.raises((ValueError, TypeError), match="shape"):
            use()
    name = variable("name")
    name.value = "defg"
    assert name.value.tobytes() == b"defg\0\0\0\0"


def test_an_array_keeps_the_library(path: Path) -> None:
    array = mapcall.load(path).variable("double grid[2][3]").array()
    gc.collect()
    assert array.shape == (2, 3)
    assert array.sum() == 21


def test_structs(variable: Any) -> None:
    both = variable("both")
    assert (both.value.x, both.value.n) == (0.5, 3)
    both.value.n = 4
    assert both.array()["n"] == 4
    both.value = {"x": 0.5, "n": 3}
    assert np.asarray(both).tolist() == (0.5, 3)


def test_pointers(path: Path, variable: Any) -> None:
    library = mapcall.load(path)
    at_current = library.function("double at_current(int i)")
    current = variable("current")
    old = current.value
    assert (old.type, old.array(2).tolist()) == ("double", [1, 2])
    x = np.array([10.0, 20.0])
    alive = weakref.ref(x)
    current.value = x
    del x
    gc.collect()
    assert at_current(1) == 20
    current.value = old
    gc.collect()
    assert alive() is None
    assert at_current(1) == 2
    label = variable("label")
    assert label.value.text() == "first"
    label.value = "second"
    gc.collect()
    assert label.value.text() == "second"
    label.value = "first"
    hook = variable("hook")
    assert hook.value(4) == 8
    hook.value = lambda x: x + 1
    assert hook.value(4) == 5
    hook.value = library.function("int twice(int x)")
    assert hook.value(4) == 8


def test_arguments(path: Path, variable: Any) -> None:
    library = mapcall.load(path)
    twice = library.function("int twice(int x)")
    variable("verbosity").value = 5
    assert twice(variable("verbosity")) == 10
    assert library.function("double sum(int n, const double x[n])")(variable("table")) == 6
    types = "struct pair { double x; int n; }; "
    pair_sum = library.function(types + "double pair_sum(const struct pair *p)")
    assert pair_sum(variable("both")) == 3.5


def test_a_value_that_is_set_later(path: Path, variable: Any) -> None:
    native = variable("native")
    mapcall.load(path).function("void open_it(void)")()
    assert native.value == 2**50


def test_missing(path: Path, tmp_path: Path) -> None:
    (tmp_path / "v.h").write_text(HEADER)
    library = mapcall.load(path, header=tmp_path / "v.h")
    with pytest.raises(AttributeError, match="nowhere"):
        _ = library.nowhere
    assert "verbosity" in dir(library)
    assert library.verbosity is library.verbosity
    with pytest.raises(mapcall.LibraryError, match="nothing"):
        library.variable("int nothing")
    for wrong in ("int f(int)", "int a, b", "", "struct s { int x; };"):
        with pytest.raises(
            mapcall.PrototypeError, match="expected the declaration of one variable"
        ):
            library.variable(wrong)
    with pytest.raises(mapcall.PrototypeError, match="unknown type"):
        library.variable("mystery x")


def test_of_the_process() -> None:
    libc = mapcall.load(None)
    environ = libc.variable("char **environ").value
    assert environ.type == "char *"
    assert repr(libc.variable("int opterr")) == "<mapcall.Variable: int opterr>"
