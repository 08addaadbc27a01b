# ruff: noqa: E501 (messages stand on one line)
"""The table of remedies: how each is provoked, what the message says, and what comes of doing that.

`test_remedies.py` does what the messages say, with the functions of `remedy_steps.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

SOURCE = """
#include <complex.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
int twice(int n, const double *x, double *y) { for (int i = 0; i < n; i++) y[i] = 2 * x[i]; return 0; }
double sum(int n, const double *x) { double s = 0; for (int i = 0; i < n; i++) s += x[i]; return s; }
double total(int m, int n, const double *a) { return sum(m * n, a); }
int whole(int n, const int *x) { int s = 0; for (int i = 0; i < n; i++) s += x[i]; return s; }
double energy(int n, const double complex *x)
{ double s = 0; for (int i = 0; i < n; i++) s += creal(x[i] * conj(x[i])); return s; }
void scale(int n, double a, double *x) { for (int i = 0; i < n; i++) x[i] *= a; }
double mean(const float *img, int rows, int cols, double *m)
{ double s = 0; for (int i = 0; i < rows * cols; i++) s += img[i]; return *m = s / (rows * cols); }
int lengths(int n, const char *const *s) { int t = 0; for (int i = 0; i < n; i++) t += strlen(s[i]); return t; }
double corner(int m, const double *const *rows) { double s = 0; for (int i = 0; i < m; i++) s += rows[i][0]; return s; }
struct particle { char name[16]; double mass; float at[3]; };
double weigh(int n, const struct particle *p)
{ double s = 0; for (int i = 0; i < n; i++) s += p[i].mass * strlen(p[i].name); return s; }
void age(int n, struct particle *p) { for (int i = 0; i < n; i++) p[i].mass += 1; }
double mass(struct particle p) { return p.mass; }
int negate(int x) { return -x; }
int is(_Bool x) { return x; }
double half(double x) { return x / 2; }
int length(const char *s) { return strlen(s); }
int choose(int (*f)(int), int x) { return f ? f(x) : 0; }
int count(int n, int (**f)(int)) { int s = 0; for (int i = 0; i < n; i++) s += f[i](1); return s; }
struct box; struct lid;
struct box *box_new(void) { return calloc(1, 8); }
struct lid *lid_new(void) { return calloc(1, 8); }
int box_get(struct box *b) { return b ? 1 : 0; }
int boxes(int n, struct box **b) { int s = 0; for (int i = 0; i < n; i++) s += b[i] != 0; return s; }
void box_free(struct box *b) { free(b); }
void lid_free(struct lid *b) { free(b); }
void grid(int m, int n, double *a) { for (int i = 0; i < m * n; i++) a[i] = i; }
double first(const double *a) { return *a; }
double inner(int n, int k, const double *x) { return sum(n - k, x); }
const char *named(int code) { return code ? "other" : "none"; }
double two(double x, double y) { return x + y; }
double tail(const double *x, int n) { return sum(n, x); }
void step(double *x, int by, int n) { for (int i = 0; i < n; i++) x[i] += by; }
void fill(double v, int m, int n, double *a) { for (int i = 0; i < m * n; i++) a[i] = v + i; }
double norm(const double *v) { return v[0] + v[1] + v[2]; }
double add(int n, ...) { va_list l; va_start(l, n); double s = 0; while (n--) s += va_arg(l, double); return s; }
"""

PARTICLE = "struct particle { char name[16]; double mass; float at[3]; };"
SUM = "double sum(int n, const double x[n])"
TWICE = "void twice(int n, const double x[n], double y[n])"
SCALE = "void scale(int n, double a, double x[n]) __attribute__((access(read_write, 3)))"
TOTAL = "double total(int m, int n, const double a[m][n])"
WHOLE = "int whole(int n, const int x[n])"
WEIGH = "double weigh(int n, const struct particle p[n])"
AGE = "void age(int n, struct particle p[n])"


def read_only(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array.flags.writeable = False
    return array


def packed() -> np.ndarray[Any, Any]:
    array = np.zeros(2, [("name", "S16"), ("mass", "f8"), ("at", "f4", 3)])
    array["name"], array["mass"] = [b"a", b"bc"], 2
    return array


def reordered() -> np.ndarray[Any, Any]:
    array = np.zeros(2, [("mass", "f8"), ("name", "S16"), ("at", "f4", 3)])
    array["name"], array["mass"] = [b"a", b"bc"], 2
    return array


def unaligned() -> np.ndarray[Any, Any]:
    array = np.zeros(9, "u1")[1:].view("f8")
    array[:] = 1
    return array


# Leaves an argument out.
OUT = object()


class Changing:
    """A number that changes an array when it is read."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array

    def __index__(self) -> int:
        self.array.resize(1, refcheck=False)
        return 2


@dataclass
class Row:
    """A remedy: what is provoked, what the message says, and what comes of doing that.

    `omits` are the arguments that a call needs in which the output is left out. `again` is a parameter that the
    remedy says to write in the prototype. `makes` makes the arguments, in a folder with the files that it writes. `then` are the values that are given
    if the remedy is in words: one call for each dict, whose None leaves an argument out. `right` is the result, or
    what an argument holds after the call.
    """

    variant: str
    prototype: str
    makes: Callable[[], dict[str, Any]]
    says: str
    right: Any
    of: str = ""
    then: list[dict[str, Any]] = field(default_factory=list)
    binds: dict[str, Any] = field(default_factory=dict)
    again: str = ""
    omits: dict[str, Any] = field(default_factory=dict)


# Arrays that C only reads.
READ = [
    Row(
        "Replace",
        SUM,
        lambda: {"x": np.arange(4, dtype="f4")},
        "convert it with x.astype('float64')",
        6.0,
    ),
    Row(
        "Replace",
        WHOLE,
        lambda: {"x": np.array([1.5, 2])},
        "convert it with x.astype('int32'), which cuts fractions off",
        3,
    ),
    Row(
        "Replace",
        WHOLE,
        lambda: {"x": np.array([1, 2])},
        "convert it with x.astype('int32'), if int32 has its values",
        3,
    ),
    Row(
        "Replace",
        "double mean(const float img[rows*cols], int rows, int cols, double m[1])",
        lambda: {"img": np.ones(4), "rows": 2, "cols": 2},
        "convert it with img.astype('float32'), which rounds",
        (1.0, 1.0),
    ),
    Row(
        "Replace",
        SUM,
        lambda: {"x": np.array(["1", "2"], object)},
        "convert it with x.astype('float64'), if its elements are numbers",
        3.0,
    ),
    Row(
        "Replace",
        SUM,
        lambda: {"x": np.arange(3, dtype=">f8")},
        "convert it with x.astype('float64')",
        3.0,
    ),
    Row(
        "Replace",
        SUM,
        lambda: {"x": np.arange(6.0)[::2]},
        "copy it with numpy.ascontiguousarray(x)",
        6.0,
    ),
    Row(
        "Replace",
        "double total(int m, int n, [[mapcall::column_major]] const double a[m][n])",
        lambda: {"a": np.ones((2, 3))},
        "copy it with numpy.asfortranarray(a)",
        6.0,
    ),
    Row(
        "Replace",
        "double total(int m, int n, [[mapcall::column_major]] const double a[m][n])",
        lambda: {"a": np.ones((2, 2, 3))},
        "copy it with a.swapaxes(-2, -1).copy().swapaxes(-2, -1)",
        [6.0, 6.0],
    ),
    Row(
        "Replace",
        "double total(int m, int n, [[mapcall::column_major]] const double a[m][n][2])",
        lambda: {"a": np.ones((2, 2, 3, 2))},
        "copy it with numpy.moveaxis(numpy.moveaxis(a, [-3, -2, -1], [-1, -2, -3]).copy(), "
        "[-3, -2, -1], [-1, -2, -3])",
        [6.0, 6.0],
    ),
    Row("Replace", SUM, lambda: {"x": unaligned()}, "pass x.copy()", 1.0),
    Row("Replace", SUM, lambda: {"x": [1, 2]}, "make it one with numpy.asarray(x, 'float64')", 3.0),
    Row("Replace", SUM, lambda: {"x": 3.0}, "make it one with numpy.full(1, x, 'float64')", 3.0),
    Row(
        "Replace", TOTAL, lambda: {"a": 3}, "make it one with numpy.full((1, 1), a, 'float64')", 3.0
    ),
    Row("Replace", TOTAL, lambda: {"a": np.ones(6)}, "pass a.reshape(1, 6)", 6.0),
    Row(
        "Replace",
        "double total(int m, int n, const double a[m][3])",
        lambda: {"a": np.ones(6), "n": 3},
        "pass a.reshape(2, 3)",
        6.0,
    ),
    Row(
        "Replace",
        "double mean(const float img[rows*cols], int rows, int cols, double m[1])",
        lambda: {"img": np.ones((3, 4), "f4"), "rows": 3, "cols": 4},
        "pass img.reshape(12)",
        (1.0, 1.0),
    ),
    Row(
        "Replace",
        WEIGH,
        lambda: {"p": packed()},
        "convert it with p.astype(weigh.parameters[1].dtype)",
        6.0,
    ),
    Row(
        "Replace",
        WEIGH,
        lambda: {"p": reordered()},
        "convert it with p[['name', 'mass', 'at']].astype(weigh.parameters[1].dtype)",
        6.0,
    ),
]

# Arrays that C writes: the results are not lost.
WRITTEN = [
    Row(
        "Replace",
        TWICE,
        lambda: {"x": np.ones(3), "y": np.zeros(3, "f4")},
        "pass new_y = y.astype('float64'), which has the results then, or leave y out",
        [2.0, 2, 2],
        of="y",
    ),
    Row(
        "Replace",
        TWICE,
        lambda: {"x": np.ones(3), "y": np.zeros(6)[::2]},
        "pass new_y = numpy.ascontiguousarray(y), and do y[...] = new_y after the call, or leave y out",
        [2.0, 2, 2],
        of="y",
    ),
    Row(
        "Replace",
        TWICE,
        lambda: {"x": np.ones(3), "y": np.zeros(3, ">f8")},
        "pass new_y = y.astype('float64'), and do y[...] = new_y after the call, or leave y out",
        [2.0, 2, 2],
        of="y",
    ),
    Row(
        "Replace",
        TWICE,
        lambda: {"x": np.ones(3), "y": read_only(np.zeros(3))},
        "pass new_y = y.copy(), which has the results then, or leave y out, or open the map for writing",
        [2.0, 2, 2],
        of="y",
    ),
    Row(
        "Replace",
        SCALE,
        lambda: {"a": 3.0, "x": np.ones(6)[::2]},
        "pass new_x = numpy.ascontiguousarray(x), and do x[...] = new_x after the call",
        [3.0, 3, 3],
        of="x",
    ),
    Row(
        "Replace",
        SCALE,
        lambda: {"a": 3.0, "x": [1, 1]},
        "pass new_x = numpy.asarray(x, 'float64'), which has the results then",
        [3.0, 3],
        of="x",
    ),
    Row(
        "Replace",
        AGE,
        lambda: {"p": packed()},
        "pass new_p = p.astype(age.parameters[1].dtype), and do p[...] = new_p after the call, or leave p out",
        lambda p: p["mass"].tolist() in ([3, 3], [1, 1]) and len(p) == 2,
        of="p",
        omits={"n": 2},
    ),
    Row(
        "Replace",
        "void twice(int n, const double x[restrict n], double y[restrict n])",
        lambda: (lambda z: {"x": z, "y": z})(np.ones(3)),
        "pass x.copy()",
        [2.0, 2, 2],
        of="y",
    ),
    Row(
        "Replace",
        "void grid(int m, int n, double a[m][n])",
        lambda: {"a": np.zeros(6), "m": 2, "n": 3},
        "pass a.reshape(2, 3, copy=False)",
        np.arange(6.0).reshape(2, 3).tolist(),
        of="a",
    ),
]

# Complex numbers, masks, files and lists in the place of an array.
OTHER_KINDS = [
    # Complex numbers.
    Row(
        "TakeComplex",
        SUM,
        lambda: {"x": np.array([1 + 2j, 3])},
        "pass x.view('float64'), where real and imaginary parts alternate, or write double _Complex for x in the "
        "prototype, if C takes that",
        lambda result: result in (6.0, 14.0),
        again="const double _Complex x[n]",
    ),
    Row(
        "TakeComplex",
        "double total(int m, int n, const double a[m*n])",
        lambda: {"a": np.array([1 + 2j, 3]), "m": 1, "n": 2},
        "write double _Complex for a in the prototype, if C takes that, or pass a.real.astype('float64') without "
        "the imaginary parts",
        4.0,
    ),
    Row(
        "GiveField",
        SUM,
        lambda: {"x": packed()},
        "pass one of its fields, as numpy.ascontiguousarray(x['mass'], 'float64')",
        4.0,
    ),
    # Masks.
    Row(
        "Unmask",
        SUM,
        lambda: {"x": np.ma.array([1.0, 2], mask=[0, 1])},
        "pass x.filled(value), or x.data to have the masked elements count",
        3.0,
    ),
    Row(
        "Unmask",
        SCALE,
        lambda: {"a": 2.0, "x": np.ma.array([1.0, 2], mask=[0, 1])},
        "pass x.data, where the masked elements are written too",
        [2.0, 4],
        of="x",
    ),
    # Files.
    Row("OpenFile", SUM, lambda: {"x": "three.npy"}, "open it with mapcall.open(x)", 6.0),
    Row(
        "OpenFile",
        TWICE,
        lambda: {"x": np.ones(3), "y": "three.npy"},
        "leave y out and give out=y for a new file, or pass mapcall.open(y, 'r+') to write a file that exists",
        [2.0, 2, 2],
        of="y",
    ),
    Row(
        "OpenFile",
        SCALE,
        lambda: {"a": 2.0, "x": Path("three.npy")},
        "pass mapcall.open(x, 'r+') to write a file that exists",
        [2.0, 4, 6],
        of="x",
    ),
    # Lists.
    Row(
        "GiveList",
        "int lengths(int n, const char *const s[n])",
        lambda: {"s": np.array([b"12", b"345"])},
        "pass s.tolist()",
        5,
    ),
    Row(
        "GiveList",
        "int lengths(int n, const char *const s[n])",
        lambda: {"s": np.arange(2)},
        "give a list of str or bytes",
        3,
        then=[{"s": ["1", b"23"]}],
    ),
    Row(
        "GiveList",
        "double corner(int m, const double *const rows[m])",
        lambda: {"rows": np.arange(6.0).reshape(2, 3)},
        "pass list(rows)",
        3.0,
    ),
    Row(
        "GiveList",
        "double corner(int m, const double *const rows[m])",
        lambda: {"rows": np.ones(2, "i4")},
        "give a list of arrays of float64",
        3.0,
        then=[{"rows": [np.ones(1), np.full(2, 2.0)]}],
    ),
    Row(
        "GiveList",
        "int count(int n, int (*f[n])(int))",
        lambda: {"f": np.ones(2, "i4")},
        "give a list of bound functions or callables",
        3,
        then=[{"f": [lambda x: x, lambda x: 2 * x]}],
    ),
    Row(
        "GiveList",
        "struct box; int boxes(int n, struct box *b[n])",
        lambda: {"b": np.ones(2, "i4")},
        "give a list of handles or None",
        0,
        then=[{"b": [None, None]}],
    ),
    Row(
        "GiveRecords",
        WEIGH,
        lambda: {"p": np.ones(2)},
        "give an array such as numpy.zeros(n, weigh.parameters[1].dtype) with its fields set, or a list of dicts",
        2.0,
        then=[{"p": [{"name": "a", "mass": 2.0}]}],
    ),
]

# Shapes and extents of arrays.
EXTENTS = [
    Row(
        "GiveArray",
        TWICE,
        lambda: {"x": np.ones(2), "y": np.zeros(2, "S8")},
        "give an array such as numpy.zeros(shape, 'float64'), or leave y out",
        [2.0, 2],
        of="y",
        then=[{"y": np.zeros(2, "float64")}],
    ),
    Row(
        "GiveShape",
        "double norm(const double v[3])",
        lambda: {"v": np.ones(4)},
        "give an array of shape (3,)",
        3.0,
        then=[{"v": np.ones((3,))}],
    ),
    Row(
        "GiveAxes",
        "double total(int m, int n, const double a[n][n])",
        lambda: {"a": np.ones(4), "m": 2},
        "give an array with 2 axes",
        4.0,
        then=[{"a": np.ones((2, 2))}],
    ),
    Row(
        "GiveBatch",
        TWICE,
        lambda: {"x": np.ones((4, 3)), "y": np.zeros(3)},
        "give an array with the axes 4 before its own, or leave y out",
        np.full((4, 3), 2.0).tolist(),
        of="y",
        then=[{"y": np.zeros((4, 3))}],
    ),
    Row(
        "Agree",
        TWICE,
        lambda: {"x": np.ones(3), "y": np.zeros(4)},
        "give arrays that agree",
        [2.0, 2, 2],
        of="y",
        then=[{"y": np.zeros(3)}],
    ),
    Row(
        "GiveShorter",
        "int whole(signed char n, const int x[n])",
        lambda: {"x": np.ones(128, "i4")},
        "give arrays with at most 127 elements there",
        127,
        then=[{"x": np.ones(127, "i4")}],
    ),
    Row(
        "ChangeSizes",
        "double inner(int n, int k, const double x[n-k])",
        lambda: {"x": np.ones(1), "n": 1, "k": 2},
        "give other values for n or k",
        1.0,
        then=[{"n": 2, "k": 1}],
    ),
    Row(
        "Broadcast",
        TWICE,
        lambda: {"x": np.ones((2, 3)), "y": np.zeros((4, 3))},
        "give axes that are equal or 1",
        [[2.0, 2, 2]] * 4,
        of="y",
        then=[{"x": np.ones((1, 3))}],
    ),
    Row("Give", SUM, lambda: {"x": None}, "give x", 3.0, then=[{"x": np.ones(3)}]),
    Row("Give", SUM, dict, "give x", 3.0, then=[{"x": np.ones(3)}]),
    Row(
        "GiveOrMeasure",
        "void grid(int m, int n, double a[])",
        lambda: {"m": 2, "n": 3},
        "give a, or write a[m], a[n], a[m*n] or a[1] in the prototype, as C has it",
        np.arange(6.0).tolist(),
        of="a",
        again="a[m*n]",
    ),
    Row(
        "Measure",
        "double mean(const float *img, int rows, int cols, double m[1])",
        lambda: {"img": np.ones(12, "f4"), "rows": 3, "cols": 4},
        "write img[rows], img[cols] or img[rows*cols] in the prototype, as C has it, or call mean.unchecked(...)",
        (1.0, 1.0),
        again="img[rows*cols]",
    ),
    Row(
        "Measure",
        "double mean(const float img[rows*cols], int rows, int cols, double *m)",
        lambda: {"img": np.ones(12, "f4"), "rows": 3, "cols": 4, "m": np.zeros(1)},
        "write m[rows], m[cols], m[rows*cols] or m[1] in the prototype, as C has it, or call mean.unchecked(...)",
        [1.0],
        of="m",
        again="m[1]",
    ),
    Row(
        "Measure",
        "double norm(const double *v)",
        lambda: {"v": np.ones(3)},
        "write v[3] in the prototype, or call norm.unchecked(...)",
        3.0,
        again="v[3]",
    ),
    Row(
        "Measure",
        "double first(const double *a)",
        lambda: {"a": 2.0},
        "write a[1] in the prototype, or call first.unchecked(...)",
        2.0,
        again="a[1]",
    ),
    Row(
        "MeasureBatch",
        "double mean(const float img[n], int n, int cols, double m[])",
        lambda: {"img": np.ones((2, 3), "f4"), "cols": 1, "m": np.zeros((2, 1))},
        "write m[n], m[cols] or m[1] in the prototype, as C has it",
        [[1.0], [1.0]],
        of="m",
        again="m[1]",
        binds={"unchecked": True},
    ),
    Row(
        "Omit",
        "double tail(const double x[n], int n)",
        lambda: {"n": 4, "x": np.ones(3)},
        "leave n out",
        3.0,
    ),
    Row(
        "GiveShape",
        SUM,
        lambda: {"n": 4, "x": np.ones(3)},
        "give an array of shape (4,), or leave n out",
        3.0,
        then=[{"n": OUT}],
    ),
]

# Numbers, texts, handles, functions and structs.
VALUES = [
    # Numbers.
    Row(
        "GiveNumber",
        "int negate(int x)",
        lambda: {"x": "one"},
        "give a number",
        -1,
        then=[{"x": 1}],
    ),
    Row(
        "GiveNumber",
        SUM,
        lambda: {"n": "three", "x": np.ones(3)},
        "give a number, or leave it out",
        3.0,
        then=[{"n": 3}, {"n": OUT}],
    ),
    Row(
        "GiveBetween",
        "int negate(int x)",
        lambda: {"x": 2**31},
        "give a value from -2147483648 to 2147483647",
        2147483647,
        then=[{"x": -2147483647}],
    ),
    Row(
        "GiveBetween",
        SUM,
        lambda: {"n": -1, "x": np.ones(3)},
        "give a value from 0 to 2147483647, or leave it out",
        3.0,
        then=[{"n": 3}, {"n": OUT}],
    ),
    Row(
        "GiveBetween",
        "int is(_Bool x)",
        lambda: {"x": 2},
        "give a value from 0 to 1",
        1,
        then=[{"x": 1}],
    ),
    Row(
        "GiveBetween",
        "int negate([[mapcall::between(0, 9)]] int x)",
        lambda: {"x": 10},
        "give a value from 0 to 9",
        -9,
        then=[{"x": 9}],
    ),
    Row(
        "GiveBetween",
        "double half(double x)",
        lambda: {"x": 10**400},
        "give a value from -1.7976931348623157e308 to 1.7976931348623157e308",
        5e307,
        then=[{"x": 1e308}],
    ),
    Row(
        "GiveFloat",
        "double half(double x)",
        lambda: {"x": 2**53 + 1},
        "give float(x), which rounds",
        2.0**52,
    ),
    Row(
        "GiveOneOf",
        "int negate(int x)",
        lambda: {"x": 2.5},
        "give 2 or 3",
        lambda r: r in (-2, -3),
        then=[{"x": 2}, {"x": 3}],
    ),
    Row("GiveOneOf", "int negate(int x)", lambda: {"x": 2.0}, "give 2", -2, then=[{"x": 2}]),
    Row("GiveReal", "double half(double x)", lambda: {"x": 3 + 1j}, "give x.real", 1.5),
    # Texts.
    Row(
        "GiveText",
        "int length(const char *s)",
        lambda: {"s": 3},
        "give a str or bytes",
        3,
        then=[{"s": "abc"}, {"s": b"abc"}],
    ),
    Row("CutText", "int length(const char *s)", lambda: {"s": "äb\0c"}, "pass s[:2]", 3),
    Row("CutText", "int length(const char *s)", lambda: {"s": b"ab\0c"}, "pass s[:2]", 2),
    # Handles, functions and structs.
    Row(
        "GiveHandle",
        "struct box; int box_get(struct box *b)",
        lambda: {"b": 3},
        "give a handle or None",
        0,
        then=[{"b": None}],
    ),
    Row(
        "GiveFunction",
        "int choose(int (*f)(int), int x)",
        lambda: {"f": 3, "x": 1},
        "give a bound function or a callable",
        2,
        then=[{"f": lambda x: 2 * x}],
    ),
    Row(
        "GiveStruct",
        "double mass(struct particle p)",
        lambda: {"p": 3},
        "give a dict of its members, or numpy.zeros((), mass.parameters[0].dtype) with its fields set",
        2.0,
        then=[{"p": {"mass": 2.0}}],
    ),
]

# Calls.
CALLS = [
    Row(
        "GiveExtent",
        TWICE.replace("x[n]", "x[3]"),
        lambda: {"x": np.ones(3)},
        "give it by name, n=...",
        [2.0, 2, 2],
        of="y",
        then=[{"n": 3}],
    ),
    Row(
        "GiveOutputs",
        TWICE,
        lambda: {"x": np.ones(3), "out": (None, None)},
        "give an array or a path as `out`",
        [2.0, 2, 2],
        of="y",
        then=[{"out": np.zeros(3)}, {"out": "y.npy"}],
    ),
    Row(
        "WritePath",
        TWICE,
        lambda: {"x": np.ones(3), "out": "y.raw"},
        "write {here}/y.npy",
        [2.0, 2, 2],
        of="y",
        then=[{"out": "y.npy"}],
    ),
    Row(
        "ChangeBefore",
        "void step(double x[n], int by, int n)",
        lambda: (lambda x: {"by": Changing(x), "x": x})(np.ones(3)),
        "change it before the call",
        [3.0],
        of="x",
        then=[{"by": 2, "x": np.ones(1)}],
    ),
    Row(
        "DidYouMean",
        SUM,
        lambda: {"xx": np.ones(3)},
        "did you mean x?",
        3.0,
        then=[{"xx": OUT, "x": np.ones(3)}],
    ),
    Row(
        "NameOneOf",
        SUM,
        lambda: {"values": np.ones(3)},
        "write one of x, n",
        3.0,
        then=[{"values": OUT, "x": np.ones(3)}],
    ),
]

ROWS = [*READ, *WRITTEN, *OTHER_KINDS, *EXTENTS, *VALUES, *CALLS]
