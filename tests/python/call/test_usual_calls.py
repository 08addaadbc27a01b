"""Usual calls, of numbers and vectors, do what those of the general path do.

Functions that are called often get code of their own, which must do the same.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall

SOURCE = """
#include <errno.h>
#include <stddef.h>

void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])
{
    for (size_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

double sum(const double x[], int n)
{
    double result = 0;
    for (int i = 0; i < n; i++)
        result += x[i];
    errno = n;
    return result;
}

/* The functions of TYPES, which return a value whose bits above those of its type are anything. */
#define SAME(type, name) type same_##name(type x) { return (type)(x + (type)0); }
SAME(_Bool, 0) SAME(signed char, 1) SAME(unsigned char, 2) SAME(short, 3) SAME(unsigned short, 4)
SAME(int, 5) SAME(unsigned, 6) SAME(long, 7) SAME(unsigned long, 8)
SAME(float, 9) SAME(double, 10) SAME(long double, 11) SAME(float _Complex, 12)

short last(const long x[], int n) { return n > 0 ? (short)x[n - 1] : -1; }

short half(double x, short y, unsigned char z) { return (short)(x / 2 + y + z); }

/* The weighted sums of a matrix's columns. */
double weigh(const int *n, const int *m, const double *a, const int *lda, const double *w,
             double *sums, int *info)
{
    double total = 0;
    for (int j = 0; j < *m; j++) {
        sums[j] += 0.5;
        for (int i = 0; i < *n; i++)
            sums[j] += *w * a[i + j * *lda];
        total += sums[j];
    }
    *info = *lda;
    return total;
}

static void (*visitor)(double x);
void set(void (*visit)(double x)) { visitor = visit; }
void call(double x) { visitor(x); }
void report(double x, double out[1]) { visitor(x); out[0] = x; }

void each(size_t n, const float x[n], void (*visit)(const float *value))
{
    for (size_t i = 0; i < n; i++)
        visit(x + i);
}
"""

SAXPY = "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n]);"
SUM = "double sum(const double x[n], int n);"
HALF = "short half(double x, short y, unsigned char z);"
WEIGH = """double weigh(const int *n, const int *m,
    [[mapcall::column_major]] [[mapcall::stride(*lda)]] const double a[*n][*m], const int *lda,
    const double w[1], double sums[restrict *m], int info[1])"""
CALL = "void call(double x);"
REPORT = "void report(double x, double out[1]);"
SET = "void set(void (*visit)(double x));"
EACH = "void each(size_t n, const float x[n], void (*visit)(const float *value));"


@pytest.fixture(scope="module")
def library(compile_c: Any) -> mapcall.Library:
    return mapcall.load(compile_c(SOURCE))


# More usual calls than any function makes before its entry is compiled.
OFTEN = 110_000

USUAL = {
    "saxpy": lambda: (2.0, np.ones(3, "f4"), np.ones(3, "f4")),
    "sum": lambda: (np.zeros(0),),
    "half": lambda: (7.0, -3, 255),
    "weigh": lambda: (np.ones((2, 3), order="F"), 2.0),
}


def call_often(function: mapcall.Function, *arguments: Any) -> None:
    for _ in itertools.repeat(None, OFTEN):
        function(*arguments)


Bind = Callable[..., mapcall.Function]


@pytest.fixture(params=["new", "called often"])
def bind(request: pytest.FixtureRequest, library: mapcall.Library) -> Bind:
    """Returns a function that binds a prototype."""

    def bind(prototype: str, **options: Any) -> mapcall.Function:
        function = library.function(prototype, **options)
        # A function that prints its results is not called often.
        if request.param == "called often" and options.get("check") is not print:
            call_often(function, *USUAL[function.name]())
        return function

    return bind


class Other(np.ndarray):
    """A class of arrays without a mask."""


class Number:
    def __index__(self) -> int:
        return 3


TYPES = ["_Bool", "signed char", "unsigned char", "short", "unsigned short", "int", "unsigned"]
TYPES += ["long", "unsigned long", "float", "double", "long double", "float _Complex"]

NUMBERS = [2.0, -0.0, 3, 0, -1, 70000, 2**70, True, 1e300, float("inf"), float("nan"), 0.1]
NUMBERS += [np.float32(2), np.float64(1e300), np.int8(-4), np.array(2.5), Number(), "2", None, 2j]


def vectors(tmp_path: Path) -> list[Any]:
    """Returns new arguments for a vector: good ones, and each kind that is refused."""
    base = np.arange(1, 41, dtype="f4")
    read_only = base[:4].copy()
    read_only.flags.writeable = False
    unaligned = np.zeros(17, "u1")[1:].view("f4")
    mapped = mapcall.memmap(tmp_path / "x.f4", dtype="f4", mode="w+", shape=(4,))
    return [
        *(base[:4].copy(), base[4:8], base[6:10], base[:3].copy(), base[:0].copy(), base[8:8]),
        *(base[:8:2], base[:4].copy().view(Other), read_only, unaligned, mapped, mapped[1:]),
        *(np.ma.array(base[:4].copy(), mask=[0, 1, 0, 0]), base[:4].astype("f8")),
        *(base[:4].astype(">f4"), base[:4].reshape(2, 2).copy(), base[0:1].reshape(()), None),
        *([1.0, 2.0, 3.0, 4.0], 1.5, memoryview(base[:4].copy())),
    ]


def outcome(function: Any, arguments: tuple[Any, ...], names: tuple[str, ...]) -> Any:
    """Returns what a call returns or raises, `errno`, and its arrays after the call."""
    try:
        if names:
            result = function(**dict(zip(names, arguments, strict=True)))
        else:
            result = function(*arguments)
    except Exception as error:
        result = (type(error), str(error))
    arrays = [np.asarray(x).tolist() for x in arguments if isinstance(x, np.ndarray)]
    text = repr((type(result), result, mapcall.get_errno(), arrays))
    return re.sub("0x[0-9a-f]+", "0x", text)


def test_saxpy_by_position_and_by_name(bind: Bind, tmp_path: Path) -> None:
    saxpy = bind(SAXPY)
    names = ("a", "x", "y")
    for a in NUMBERS:
        one, other = (
            outcome(saxpy, (a, np.ones(3, "f4"), np.arange(3, dtype="f4")), given)
            for given in ((), names)
        )
        assert one == other
    count = len(vectors(tmp_path))
    pairs = [(i, 0) for i in range(count)] + [(0, i) for i in range(count)]
    # Views of one array, which overlap or follow each other.
    pairs += itertools.product((1, 2, 5, 6), repeat=2)
    for i, j in pairs:
        outcomes = []
        for given in ((), names):
            fresh = vectors(tmp_path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                outcomes.append(outcome(saxpy, (2.0, fresh[i], fresh[j]), given))
        assert outcomes[0] == outcomes[1], (i, j)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gil": "hold"},
        {"gil": "release"},
        {"check": "errno"},
        {"check": print},
        {"engine": "libffi"},
    ],
    ids=str,
)
def test_results_by_position_and_by_name(
    bind: Bind, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    total, half = bind(SUM, **options), bind(HALF)
    for x in (np.arange(3.0), np.zeros(0), np.ones(1 << 17), np.ones(3, "f4"), np.ones((2, 2))):
        assert outcome(total, (x,), ()) == outcome(total, (x,), ("x",))
    printed = capsys.readouterr().out.splitlines()
    if options.get("check") is print:
        # The last array is a batch of two.
        assert printed == ["3.0"] * 2 + ["0.0"] * 2 + ["131072.0"] * 2 + ["2.0"] * 4
    else:
        assert printed == []
    for x, y, z in itertools.product([7.0, 9, "x"], [-3, 1 << 15, 2.0], [0, 255, 256, -1]):
        assert outcome(half, (x, y, z), ()) == outcome(half, (x, y, z), ("x", "y", "z"))


@pytest.mark.parametrize("index", range(len(TYPES)), ids=TYPES)
def test_numbers_of_each_type(library: mapcall.Library, index: int) -> None:
    same = library.function(f"{TYPES[index]} same_{index}({TYPES[index]} x)")
    call_often(same, 1)
    call_often(same, 1.0 if index > 8 else 1)
    bounds = [
        sign * 2**bits + more
        for bits in (7, 8, 15, 16, 31, 32, 63, 64)
        for sign in (-1, 1)
        for more in (-1, 0, 1)
    ]
    for value in [*NUMBERS, *bounds, 3.4e38, 3.5e38, -1e-320, 1e-40]:
        assert outcome(same, (value,), ()) == outcome(same, (value,), ("x",)), value


def test_matrices_and_outputs_that_are_left_out(bind: Bind) -> None:
    weigh = bind(WEIGH)
    base = np.arange(1.0, 41).reshape((5, 8), order="F")
    read_only = base[:2, :2].copy("F")
    read_only.flags.writeable = False
    for a in (
        *(
            base,
            base[:3],
            base[1:4, 2:7],
            base[:1],
            base[:1, :1],
            base[:, :1],
            base[:0],
            base[:, :0],
        ),
        *(base[:, ::2], base[::2], base[:, ::-1], base.T, base.copy("C"), base[:2, :2].copy("C")),
        *(base[:, 0], base.astype("f4"), base.astype(">f8"), read_only, base.view(Other), None),
        *(np.ma.array(base, mask=base > 7), np.zeros((2, 600), order="F"), base.tolist()),
    ):
        for w in (2.0, 3, np.array([2.0]), np.array([2], "f4"), 1e300, "2", None):
            one, other = (outcome(weigh, (a, w), names) for names in ((), ("a", "w")))
            assert one == other, (a, w)
    # All arguments, the outputs among them.
    for sums in (np.zeros(3), np.zeros(4), np.zeros(6)[::2], np.zeros(3, "f4"), base[:3, 0]):
        outcomes = []
        for names in ((), ("a", "w", "sums", "info")):
            arguments = (base[:2, :3], 2.0, sums.copy(), np.zeros(1, "i4"))
            outcomes.append(outcome(weigh, arguments, names))
        assert outcomes[0] == outcomes[1]
    total, sums, info = weigh(base[:2, :3], 2.0)
    assert total == sums.sum()
    assert info.tolist() == [5]
    assert sys.getrefcount(sums) == sys.getrefcount(info) == 2
    assert sums.flags.owndata
    assert sums.flags.writeable


def test_a_callback_that_raises_while_outputs_are_left_out(library: mapcall.Library) -> None:
    report, register = library.function(REPORT), library.function(SET)

    def visit(x: float) -> None:
        if x == 3:
            raise KeyError(x)

    kept = register.callback("visit", visit)
    register(kept)
    call_often(report, 1.0)
    for _ in range(100):
        with pytest.raises(KeyError, match="3"):
            report(3.0)
        assert report(2.0).tolist() == [2.0]


def test_wrong_numbers_of_arguments(bind: Bind) -> None:
    x, y = np.ones(3, "f4"), np.ones(3, "f4")
    saxpy = bind(SAXPY)
    for arguments in ((), (2.0,), (2.0, x, y, y)):
        with pytest.raises((TypeError, mapcall.ArgumentError)):
            saxpy(*arguments)
    # An array that C writes may be left out.
    np.testing.assert_array_equal(saxpy(2.0, x), [2, 2, 2])
    assert saxpy(2.0, x, y=y) is None
    assert saxpy(2.0, x, y, n=3) is None
    np.testing.assert_array_equal(y, np.full(3, 5))


def test_calls_in_a_callback(bind: Bind, library: mapcall.Library) -> None:
    saxpy, each = bind(SAXPY), library.function(EACH)
    x, y = np.arange(3, dtype="f4"), np.zeros(3, "f4")

    def visit(value: Any) -> None:
        saxpy(value[0], x, y)
        if value[0] == 2:
            raise KeyError(value[0])

    with pytest.raises(KeyError, match="2"):
        each(x, visit)
    np.testing.assert_array_equal(y, 3 * x)
    saxpy(1.0, x, y)
    np.testing.assert_array_equal(y, 4 * x)


def test_calls_while_a_map_is_closed(bind: Bind, tmp_path: Path) -> None:
    """Every call then looks for closed maps among its arguments."""
    saxpy = bind(SAXPY)
    mapped = mapcall.memmap(tmp_path / "y.f4", dtype="f4", mode="w+", shape=(3,))
    x, y = np.ones(3, "f4"), np.zeros(3, "f4")
    mapped.close()
    saxpy(2.0, x, y)
    np.testing.assert_array_equal(y, [2, 2, 2])
    for arguments in ((2.0, mapped, y), (2.0, x, mapped)):
        with pytest.raises(ValueError, match="closed"):
            saxpy(*arguments)
    np.testing.assert_array_equal(y, [2, 2, 2])


def compiled_bytes() -> int:
    """Returns the size of the executable memory without a file."""
    with open("/proc/self/maps") as maps:
        areas = [line.split() for line in maps]
    code = [area[0].split("-") for area in areas if "x" in area[1] and len(area) == 5]
    return sum(int(end, 16) - int(start, 16) for start, end in code)


@pytest.mark.any_engine
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no compiled calls")
def test_a_function_that_is_called_often_is_compiled(library: mapcall.Library) -> None:
    """Once for all functions of a kind, and not if it is never called in the usual way."""
    one, other = (library.function(f"short last(const long {x}[n], int n);") for x in "xy")
    x = np.ones(3, "l")
    one(x)
    before = compiled_bytes()
    for _ in itertools.repeat(None, OFTEN):
        one(x=x)
    assert compiled_bytes() == before
    call_often(one, x)
    after = compiled_bytes()
    assert after > before
    call_often(other, x)
    assert compiled_bytes() == after


def test_a_callback_that_raises_in_a_function_that_is_called_often(
    library: mapcall.Library,
) -> None:
    seen = []

    def visit(x: float) -> None:
        seen.append(x)
        if x == 3:
            raise KeyError(x)

    call = library.function(CALL)
    register = library.function(SET)
    kept = register.callback("visit", visit)
    register(kept)
    call_often(call, 1.0)
    with pytest.raises(KeyError, match="3"):
        call(3.0)
    call(2.0)
    assert seen == [1.0] * OFTEN + [3.0, 2.0]


def test_errno_of_threads_that_call_one_function_often(library: mapcall.Library) -> None:
    total = library.function(SUM)

    def run(length: int) -> None:
        x = np.ones(length)
        for _ in itertools.repeat(None, OFTEN):
            total(x)
            assert mapcall.get_errno() == length

    # More threads, one after the other, than are alive at once.
    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(run, (1, 2)))
    run(3)


def test_a_function_that_is_called_often_in_a_child(library: mapcall.Library) -> None:
    """A new thread of the child may have the addresses of one that the parent had."""
    total = library.function(SUM)
    call_often(total, np.ones(3))

    def run(length: int) -> bool:
        return total(np.ones(length)) == length and mapcall.get_errno() == length

    done, go = threading.Event(), threading.Event()

    def hold() -> None:
        assert run(4)
        done.set()
        go.wait()

    other = threading.Thread(target=hold)
    other.start()
    done.wait()
    child = os.fork()
    if child == 0:
        with ThreadPoolExecutor(1) as pool:
            os._exit(not (run(5) and pool.submit(run, 6).result()))
    _, status = os.waitpid(child, 0)
    go.set()
    other.join()
    assert status == 0


def test_a_file_that_shrinks_under_a_function_that_is_called_often(
    library: mapcall.Library, tmp_path: Path
) -> None:
    total = library.function(SUM)
    path = tmp_path / "x.f8"
    mapped = mapcall.memmap(path, dtype="f8", mode="w+", shape=(4096,))
    mapped[:] = 1
    call_often(total, mapped[:4])
    assert total(mapped) == 4096
    os.truncate(path, 0)
    with pytest.raises(OSError, match=re.escape("x.f8")):
        total(mapped)


def test_none_and_numbers_keep_their_references(bind: Bind) -> None:
    saxpy, total = bind(SAXPY), bind(SUM)
    x, y, z = np.ones(3, "f4"), np.ones(3, "f4"), np.ones(3)
    objects = (x, y, z, x.dtype, z.dtype)
    before = [sys.getrefcount(each) for each in objects]
    none = sys.getrefcount(None)
    for _ in range(1000):
        saxpy(2.0, x, y)
        total(z)
    assert [sys.getrefcount(each) for each in objects] == before
    assert abs(sys.getrefcount(None) - none) < 100
