"""Small batches, which need no plan: the same as others, which an option makes of them."""

from __future__ import annotations

import gc
import os
import pickle
import random
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall

Compile = Callable[..., Path]

SOURCE = """
    #include <complex.h>
    #include <errno.h>
    #include <signal.h>
    #include <stddef.h>
    #include <unistd.h>
    extern int PyGILState_Check(void);
    double half(double x) { return x / 2; }
    float add(float a, float b) { return a + b; }
    signed char narrow(int x, long long y) { return x + y; }
    float complex turn(float complex x) { return x * I; }
    int status(int code) { errno = code ? 1000 + code : 0; return code; }
    void cross(const double *a, const double *b, double *c)
    {
        double x = a[1] * b[2] - a[2] * b[1], y = a[2] * b[0] - a[0] * b[2];
        c[2] = a[0] * b[1] - a[1] * b[0], c[0] = x, c[1] = y;
    }
    double axpy(size_t n, double a, const double *x, double *y)
    {
        double s = 0;
        for (size_t i = 0; i < n; i++) s += y[i] += a * x[i];
        return s;
    }
    int split(int n, const float *x, float *y, float *z)
    {
        for (int i = 0; i < n; i++) y[i] = x[i] / 2, z[i] += x[i];
        return n;
    }
    /* Tells whether the batch holds the interpreter's lock, as small ones do. */
    int held(int x) { (void)x; return PyGILState_Check(); }
    int held_by(size_t n, double a, const double *x, double *y)
    { (void)a; for (size_t i = 0; i < n; i++) y[i] = x[i]; return PyGILState_Check(); }
    static double (*kept)(double);
    void keep(double (*f)(double)) { kept = f; }
    double use(double x) { return kept(x); }
    double named(double out, double x) { return out + 2 * x; }
    void nap(int microseconds, int *held)
    { if (microseconds) usleep(microseconds); *held = PyGILState_Check(); }
    /* Notices a signal late: one for -1, none for others. */
    double late(double x) { if (x < 0) { usleep(50000); raise(SIGUSR1); } return x + 1; }
"""
HELD = "int held(int x)"
HELD_BY = "int held_by(size_t n, double a, const double x[n], double y[n])"

# The prototypes, with the dtype and the core lengths of each argument.
PROTOTYPES: list[tuple[str, dict[str, Any], list[tuple[str, tuple[int, ...]]]]] = [
    ("double half(double x)", {}, [("f8", ())]),
    ("float add(float a, float b)", {}, [("f4", ()), ("f4", ())]),
    ("signed char narrow(int x, long long y)", {}, [("i4", ()), ("i8", ())]),
    ("float _Complex turn(float _Complex x)", {}, [("c8", ())]),
    ("int status(int code)", {"check": "zero"}, [("i4", ())]),
    ("int status(int code)", {"check": "errno"}, [("i4", ())]),
    (
        "void cross(const double a[3], const double b[3], double c[restrict 3])",
        {},
        [("f8", (3,)), ("f8", (3,)), ("f8", (3,))],
    ),
    (
        "void cross(const double a[3], const double b[3], double c[3])",
        {},
        [("f8", (3,)), ("f8", (3,)), ("f8", (3,))],
    ),
    (
        "double axpy(size_t n, double a, const double x[n], double y[n])",
        {},
        [("f8", ()), ("f8", (2,)), ("f8", (2,))],
    ),
    (
        "int split(int n, const float x[n], float y[n], float z[n])",
        {},
        [("f4", (2,)), ("f4", (2,)), ("f4", (2,))],
    ),
]


@pytest.fixture(scope="module")
def library(compile_c: Compile) -> mapcall.Library:
    return mapcall.load(compile_c(SOURCE))


class Subclass(np.ndarray):
    """A class that changes nothing."""


class Case:
    """The arguments of a call, which are the same for the same seed, in memory of their own."""

    def __init__(self, seed: int, arguments: list[tuple[str, tuple[int, ...]]], folder: Path):
        self.random = random.Random(seed)
        self.folder = folder / str(seed)
        self.maps = 0
        shapes = [(4,)] * 6 + [(16,), (1,), (0,), (2, 3), (2, 1, 2), ()]
        self.shape: tuple[int, ...] = self.random.choice(shapes)
        self.arrays: list[np.ndarray] = []
        self.positional = [self.argument(dtype, core) for dtype, core in arguments]
        if len(arguments) > 1 and self.random.random() < 0.4:
            del self.positional[-self.random.choice([1, 1, 1, 2]) :]
        self.keywords: dict[str, Any] = {}
        if self.random.random() < 0.4:
            dtype, core = self.random.choice([*arguments, ("f8", ()), ("i4", ()), ("i1", ())])
            out = self.argument(dtype, core)
            self.keywords["out"] = self.random.choice([out] * 5 + [(out,), None, (out, None)])

    def argument(self, dtype: str, core: tuple[int, ...]) -> Any:
        chance = self.random
        kind = chance.choice(["plain"] * 12 + ["scalar", "fixed", "shorter"] + OTHERS)
        shape = self.shape
        if kind == "scalar" and not core:
            return chance.choice([2, 0, 1.5, -3.0, np.float64(2.0), np.int32(3), True, 2**40, "x"])
        if kind in ("scalar", "fixed"):
            shape = ()
        elif kind == "shorter":
            shape = chance.choice([shape[1:], (1, *shape), (*shape[:-1], 5), (*shape[:-1], 1)])
        if kind == "core" and core:
            core = (*core[:-1], core[-1] + 1)
        if kind == "same" and self.arrays:
            return chance.choice(self.arrays)
        array = self.array(np.dtype(dtype), shape + core, kind)
        # An exception for a read of a closed map may be raised by a later statement.
        if isinstance(array, np.ndarray) and kind != "closed":
            self.arrays.append(array)
        return array

    def array(self, dtype: np.dtype, shape: tuple[int, ...], kind: str) -> Any:
        chance = self.random
        items = 1
        for length in shape:
            items *= length
        values = [float(chance.randrange(-3, 8)) for _ in range(items)]
        if kind == "ones":
            values = [0.0] * items
        if kind == "dtype":
            dtype = np.dtype(chance.choice(["f4", "f8", "i4", "u2", "O"]))
        if kind == "swapped":
            dtype = dtype.newbyteorder()
        x = np.array(values).astype(dtype).reshape(shape)
        match kind:
            case "shifted" if self.arrays:
                # Other items of the same memory.
                base = chance.choice(self.arrays)
                base = base.base if isinstance(base.base, np.ndarray) else base
                start = chance.choice([0, 0, 1, 2, items])
                flat = base.reshape(-1)[start : start + items]
                return flat.reshape(shape) if flat.size == items else x
            case "roomy":
                room = np.zeros(2 * items + 1, dtype)
                room[:items] = x.reshape(-1)
                return room[:items].reshape(shape)
            case "strided" if shape:
                wide = np.zeros((*shape[:-1], 2 * shape[-1]), dtype)
                wide[..., ::2] = x
                return wide[..., ::2]
            case "rows" if len(shape) > 1:
                wide = np.zeros((shape[0], 2, *shape[1:]), dtype)
                wide[:, 0] = x
                return wide[:, 0]
            case "reversed" if shape:
                return x[::-1]
            case "repeated" if shape:
                return np.broadcast_to(x.reshape(-1)[:1] if items else x, shape)
            case "fortran":
                return np.asfortranarray(x)
            case "readonly":
                x.flags.writeable = False
            case "unaligned":
                raw = np.zeros(x.nbytes + 1, "u1")[1:].view(dtype).reshape(shape)
                raw[...] = x
                return raw
            case "subclass":
                return x.view(Subclass)
            case "unmasked":
                return np.ma.array(x)
            case "masked":
                return np.ma.array(x, mask=True)
            case "list":
                return x.tolist()
            case "copied dtype":
                return x.view(pickle.loads(pickle.dumps(np.dtype([("a", dtype)])))["a"])
            case "map" | "closed" if items and shape and dtype.kind != "O":
                self.maps += 1
                path = self.folder.with_suffix(f".{self.maps}")
                x.tofile(path)
                mapped = mapcall.memmap(path, dtype, "r+", shape=shape)
                if kind == "closed":
                    mapped.close()
                return mapped
        return x


OTHERS = [
    "same",
    "shifted",
    "roomy",
    "strided",
    "rows",
    "reversed",
    "repeated",
    "fortran",
    "readonly",
    "unaligned",
    "subclass",
    "unmasked",
    "masked",
    "list",
    "copied dtype",
    "map",
    "closed",
    "core",
    "dtype",
    "swapped",
    "ones",
]


def outcome(function: Callable[..., Any], case: Case, **options: Any) -> Any:
    """Returns everything that can be known of a call."""
    try:
        result = function(*case.positional, **case.keywords, **options)
    except Exception as error:
        # Each case has addresses of its own.
        message = re.sub(r"0x[0-9a-f]+", "0x", str(error)).replace(str(case.folder), "")
        facts = {name: repr(vars(error).get(name)) for name in ("index", "code", "__notes__")}
        errno = mapcall.get_errno() if isinstance(error, mapcall.CallError) else None
        return type(error), message, facts, errno, contents(case)
    results = result if isinstance(result, tuple) else (result,)
    return [described(each, case) for each in results], type(result), contents(case)


def described(x: Any, case: Case) -> Any:
    if not isinstance(x, np.ndarray):
        return type(x), repr(x)
    known = [index for index, array in enumerate(case.arrays) if array is x]
    flags = x.flags.c_contiguous, x.flags.writeable, x.flags.owndata, x.flags.aligned
    return type(x), x.dtype.str, x.shape, x.strides, x.tolist(), flags, known


def contents(case: Case) -> list[Any]:
    return [array.tolist() for array in case.arrays]


@pytest.mark.parametrize("part", range(4))
def test_they_do_what_other_batches_do(library: mapcall.Library, tmp_path: Path, part: int) -> None:
    for side in "ab":
        (tmp_path / side).mkdir()
    seed = int(os.environ.get("MAPCALL_SEED", "0")) * 10**6 + part * 10**5
    for prototype, options, arguments in PROTOTYPES:
        for engine in (None, "libffi"):
            function = library.function(prototype, engine=engine, **options)
            for _ in range(120 if engine is None else 20):
                seed += 1
                first, second = (Case(seed, arguments, tmp_path / side) for side in "ab")
                expected = outcome(function, first, threads=1)
                assert outcome(function, second) == expected, (prototype, seed)


def test_which_batches_are_small(library: mapcall.Library, tmp_path: Path) -> None:
    held, held_by = library.function(HELD), library.function(HELD_BY)
    x = np.zeros(16, "i4")

    def is_small(*arguments: Any, **options: Any) -> bool:
        """Tries several times: calls are timed, so a busy machine may take some for long ones."""
        function = held if len(arguments) == 1 else held_by
        for _ in range(20):
            found = function(*arguments, **options)
            if (found[0] if isinstance(found, tuple) else found).all():
                return True
        return False

    # The first batch measures how long a call takes.
    assert held(x).tolist() == [0] * 16
    assert is_small(x)
    assert is_small(x, out=np.empty_like(x))
    assert is_small(x, out=x)
    assert is_small(x[::2])
    assert is_small(x[::-1])
    assert is_small(np.broadcast_to(x[:1], 5))
    assert is_small(x.reshape(2, 4, 2))
    assert not is_small(x.reshape(4, 4).T)
    assert not is_small(x, threads=1)
    assert not is_small(x, out=(np.empty_like(x),))
    assert not is_small(np.zeros(10**6, "i4")), "long"
    path = tmp_path / "x"
    x.tofile(path)
    mapped = mapcall.memmap(path, "i4", "r+", shape=16)
    assert is_small(mapped)
    assert is_small(mapped[2:7])
    release = library.function(HELD, gil="release")
    assert [release(x).sum() for _ in range(3)] == [0] * 3
    hold = library.function(HELD, gil="hold")
    assert [hold(x).sum() for _ in range(3)] == [16] * 3

    rows, row = np.ones((16, 3)), np.ones(3)
    assert is_small(2.0, rows), "the output is left out"
    assert is_small(np.ones(16), rows, np.zeros((16, 3)))
    assert is_small(2, row, np.zeros((16, 3))), "one row for all calls"
    assert is_small(np.ones(16), row)
    assert not is_small(np.ones((2, 1)), np.ones((2, 3, 3)))
    assert pickle.loads(pickle.dumps(held))(x).tolist() == [0] * 16


def test_results_are_new_and_no_reference_is_left(library: mapcall.Library) -> None:
    half, cross = (library.function(PROTOTYPES[index][0]) for index in (0, 6))
    x, out, rows = np.arange(16.0), np.zeros(16), np.ones((16, 3))
    empty = np.zeros((16, 3))
    for function, arguments, options in (
        (half, (x,), {}),
        (half, (x,), {"out": out}),
        (half, (2.0,), {"out": out}),
        (cross, (rows, rows), {}),
        (cross, (rows, rows, empty), {}),
    ):
        for _ in range(3):
            function(*arguments, **options)
        gc.collect()
        kept = [x, out, rows, empty, x.dtype, function]
        before = [sys.getrefcount(each) for each in kept]
        for _ in range(100):
            function(*arguments, **options)
        assert [sys.getrefcount(each) for each in kept] == before
    first, second = half(x), half(x)
    assert first is not second
    assert not np.shares_memory(first, second)
    assert sys.getrefcount(first) == 2
    assert half(x, out=out) is out


def test_a_batch_that_takes_long_is_the_last_one(library: mapcall.Library) -> None:
    """The time of a call may depend on its arguments."""
    nap = library.function("void nap(int microseconds, int held[1])")
    x = np.zeros(16, "i4")
    slow = x.copy()
    slow[0] = 50_000

    def is_small(x: np.ndarray) -> bool:
        return bool(nap(x).all())

    assert not is_small(x)
    assert any(is_small(x) and is_small(slow) and not is_small(x) for _ in range(20))


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Sets what a signal does until the end of the test."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, lambda *_: handler()) and None
    signal.signal(signal.SIGUSR1, before)


def test_a_batch_that_takes_long_answers_signals(
    library: mapcall.Library, handle: Callable[[Callable[[], None]], None]
) -> None:
    """Calls are expected to take a nanosecond or a few, so that a batch of these is a small one."""
    late = library.function("double late(double x)")
    items = 100_000
    answered: list[int] = []

    def raises() -> None:
        raise InterruptedError

    def batch(handler: Callable[[], None]) -> np.ndarray:
        late(np.zeros(items)), late(np.zeros(items))
        out = np.zeros(items)
        x = np.zeros(items)
        x[0] = -1
        handle(handler)
        try:
            return late(x, out=out)
        except InterruptedError:
            return out

    np.testing.assert_array_equal(batch(lambda: answered.append(1)), [0] + [1] * (items - 1))
    assert answered == [1]
    # A busy machine may take some batches for long ones, which end by the same signal.
    written = batch(raises)
    assert written[0] == 0
    assert written.sum() < items - 1

    x = np.zeros(items)
    late(x), late(x)
    x[0] = -1
    handle(lambda: x.resize(7, refcheck=False))
    with pytest.raises(mapcall.ArgumentError, match=r"late: x: .*changed"):
        late(x)


def test_vector_variants(library: mapcall.Library) -> None:
    """The option and the default of a function serve small batches, too."""
    libm = mapcall.load("m")
    cos = libm.function("double cos(double x)")
    by_default = libm.function("double cos(double x)", simd="auto")
    for items in (1, 2, 3, 16, 33, 10_000):
        x, out = np.linspace(-9, 9, items), np.zeros(items)
        scalar, vector = (cos(x, threads=1, simd=simd) for simd in (False, "auto"))
        for _ in range(3):
            for simd, expected in ((False, scalar), ("auto", vector)):
                np.testing.assert_array_equal(cos(x, simd=simd), expected)
                np.testing.assert_array_equal(by_default(x, simd=simd), expected)
                assert cos(x, simd=simd, out=out) is out
                np.testing.assert_array_equal(out, expected)
            np.testing.assert_array_equal(cos(x), scalar)
            np.testing.assert_array_equal(by_default(x), vector)
    half = library.function(PROTOTYPES[0][0], simd=True)
    # "auto" has found that there is no variant, which does not make True silent.
    assert half(x, simd=False).tolist() == half(x, simd="auto").tolist() == (x / 2).tolist()
    for options in ({}, {"simd": True}, {"simd": True, "out": out}) * 2:
        with pytest.raises(
            mapcall.ArgumentError, match="half: simd: expected a function with a vector variant"
        ):
            half(x, **options)
    for _ in range(2):
        with pytest.raises(mapcall.ArgumentError, match="give simd=True or simd='auto'"):
            half(x, simd="always")
        with pytest.raises(mapcall.ArgumentError, match="other"):
            half(x, simd="auto", other=1)


def test_in_the_child_of_a_fork(library: mapcall.Library) -> None:
    half = library.function(PROTOTYPES[0][0])
    x = np.arange(16.0)
    half(x)
    child = os.fork()
    if child == 0:
        ok = all(half(x).tolist() == (x / 2).tolist() for _ in range(3))
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_parameter_that_is_called_out(library: mapcall.Library) -> None:
    named = library.function("double named(double out, double x)")
    x = np.arange(4.0)
    for _ in range(3):
        assert named(x, x).tolist() == (3 * x).tolist()
        assert named(x=x, out=x).tolist() == (3 * x).tolist()
        assert named(x, x, out_=np.zeros(4)).tolist() == (3 * x).tolist()
        with pytest.raises(mapcall.ArgumentError, match="named: out: expected double once"):
            named(x, out=x)


def test_exceptions_of_callbacks(library: mapcall.Library) -> None:
    def callback(x: float) -> float:
        if x > 2:
            raise LookupError(x)
        return -x

    keep, use = (
        library.function("void keep(double (*f)(double))"),
        library.function("double use(double x)"),
    )
    kept = keep.callback("f", callback)
    keep(kept)
    # The lock is released for the longer ones.
    for items in (4, 4, 4, 1000, 1000):
        assert use(np.zeros(items)).tolist() == [0] * items
        with pytest.raises(LookupError) as caught:
            use(np.arange(items + 1.0))
        assert caught.value.args == (3.0,)


def test_faults_name_the_call(library: mapcall.Library, tmp_path: Path) -> None:
    half = library.function(PROTOTYPES[0][0])
    half(np.zeros(1024))

    def message(size: int = 8192, **options: Any) -> tuple[str, list[str]]:
        path = tmp_path / "x"
        path.write_bytes(bytes(size))
        x = mapcall.memmap(path, "f8", "r")
        os.truncate(path, 4096)
        with pytest.raises(mapcall.MapFault) as caught:
            half(x, **options)
        assert half(np.ones(4)).tolist() == [0.5] * 4
        return str(caught.value), caught.value.__notes__

    general = message(threads=1)
    assert general[1] == ["raised for the call at index (512,) of the batch"]
    assert [message() for _ in range(2)] == [general] * 2
    # The lock is released for these, if they are not found to be long.
    general = message(2**20, threads=1)
    assert [message(2**20) for _ in range(4)] == [general] * 4
