# ruff: noqa: E501 (messages stand on one line)
"""The remedies of errors: each message is provoked, and what it says to type is done.

`ROWS` has a row or more for each variant of `Remedy` (`crates/mapcall/src/contract/error/remedy.rs`). The code in
a message is extracted and run: nothing of it is repeated in the table, except that the whole message is. For a
remedy in words (`give a number`), the row has a value that is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall

ROOT = Path(__file__).parents[3]
REMEDY = ROOT / "crates/mapcall/src/contract/error/remedy.rs"

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


ROWS = [
    # Arrays that C only reads.
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
    # Arrays that C writes: the results are not lost.
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
    # Calls.
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


def unaligned() -> np.ndarray[Any, Any]:
    array = np.zeros(9, "u1")[1:].view("f8")
    array[:] = 1
    return array


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


def alternatives(remedy: str) -> list[str]:
    """Return the alternatives of a remedy, of which each must work."""
    return re.split(
        r", or (?=leave|open|pass|call|write|numpy|a list|x\.data|give)| and (?=give )", remedy
    )


def bound(library: mapcall.Library, prototype: str) -> mapcall.Function:
    return library.function(prototype)


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
    function = bound(library, row.prototype)
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
        r"(?:convert it with|copy it with|make it one with|open it with|pass one of its fields, as|pass|give)"
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


@pytest.mark.parametrize(
    "row", ROWS, ids=[f"{row.variant}-{index}" for index, row in enumerate(ROWS)]
)
def test_remedy(library: mapcall.Library, row: Row, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("three.npy", np.arange(1.0, 4))
    function = bound(library, row.prototype)
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
        check(row, given, called(bound(library, row.prototype), given))
    if row.again:
        given = row.makes()
        result = called(bound(library, declared(row)), given)
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
