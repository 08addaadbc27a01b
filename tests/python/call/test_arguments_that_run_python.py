"""Python code that runs between the check of an array and the call, and changes the array."""

from __future__ import annotations

import array
import gc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall
from counted import PRELUDE, Counted

SOURCE = (
    PRELUDE
    + """
    #include <string.h>
    void put(size_t n, unsigned char x[n], int v) { CALLED; memset(x, v, n); }
    void put_to(unsigned char *x, size_t n) { CALLED; memset(x, 7, n); }
    void put_long(size_t n, unsigned char x[n], long double v) { CALLED; memset(x, (int)v, n); }
    void copy(size_t n, unsigned char x[n], const unsigned char y[n]) { CALLED; memcpy(x, y, n); }
    void put_at(size_t n, unsigned char x[n], void *p) { CALLED; memset(x, p != 0, n); }
    unsigned char next(unsigned char x) { CALLED; return x + 1; }
    struct pair { int a, b; };
    int sum(struct pair p, int v) { CALLED; return p.a + p.b + v; }
    int sums(size_t n, const struct pair p[n], int v)
    { CALLED; int s = v; for (size_t i = 0; i < n; i++) s += p[i].a + p[i].b; return s; }
    void each(size_t n, unsigned char x[n], void (*f)(size_t i))
    { CALLED; for (size_t i = 0; i < n; i++) { x[i]++; f(i); } }
    """
)
PUT = "void put(size_t n, unsigned char x[n], int v)"
NEXT = "unsigned char next(unsigned char x)"
EACH = "void each(size_t n, unsigned char x[n], void (*f)(size_t i))"
N = 64


@pytest.fixture(scope="module")
def c(compile_c: Any) -> Counted:
    return Counted(compile_c(SOURCE))


def deprecated(name: str, value: object) -> Callable[[np.ndarray], None]:
    def change(x: np.ndarray) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            setattr(x, name, value)

    return change


CHANGES: dict[str, Callable[[np.ndarray], None]] = {
    "__setstate__": lambda x: x.__setstate__((1, (1,), np.dtype("u1"), False, b"x")),
    "resize": lambda x: x.resize(1, refcheck=False),
    "resize to more": lambda x: x.resize(1 << 20, refcheck=False),
    "setflags": lambda x: x.setflags(write=False),
    "shape": deprecated("shape", (8, 8)),
    "dtype": deprecated("dtype", "u2"),
    "strides": deprecated("strides", (0,)),
}


class Running:
    """An object with all protocols of arguments, of which the last one to be called runs code."""

    def __init__(self, run: Callable[[], object]) -> None:
        self.run = run

    def __index__(self) -> int:
        self.run()
        return 7

    def __bool__(self) -> bool:
        self.run()
        return False


class Extent(Running):
    def __index__(self) -> int:
        self.run()
        return N


class Interface(Running):
    @property
    def __array_interface__(self) -> dict[str, Any]:
        self.run()
        return np.full(N, 7, "u1").__array_interface__


class Struct(Running):
    @property
    def __array_struct__(self) -> Any:
        self.run()
        return np.full(N, 7, "u1").__array_struct__


class DLPack(Running):
    values = np.full(N, 7, "u1")

    def __dlpack__(self, **keywords: Any) -> Any:
        self.run()
        return self.values.__dlpack__(**keywords)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.values.__dlpack_device__()


class Parameter(Running):
    @property
    def _as_parameter_(self) -> int:
        self.run()
        return 7


class Long(np.longdouble):
    run: Callable[[], object]

    def __float__(self) -> float:
        self.run()
        return 7.0


def long(run: Callable[[], object]) -> Long:
    made = Long(7)
    made.run = run
    return made


COPY = "void copy(size_t n, unsigned char x[n], const unsigned char y[n])"
CALLS: dict[str, tuple[str, Callable[[Any, np.ndarray, Any], object]]] = {
    "__index__": (PUT, lambda f, x, run: f(x, Running(run))),
    "__index__ by name": (PUT, lambda f, x, run: f(v=Running(run), x=x)),
    "__index__ of an extent": (
        "void put_to(unsigned char x[n], size_t n)",
        lambda f, x, run: f(x, n=Extent(run)),
    ),
    "unchecked": (
        "void put(size_t n, unsigned char *x, int v)",
        lambda f, x, run: f.unchecked(N, x, Running(run)),
    ),
    "void *": (
        "void put(size_t n, void *x, int v)",
        lambda f, x, run: f(N, x, Running(run)),
    ),
    "__float__": (
        "void put_long(size_t n, unsigned char x[n], double v)",
        lambda f, x, run: f(x, long(run)),
    ),
    "__array_interface__": (COPY, lambda f, x, run: f(x, Interface(run))),
    "__array_struct__": (COPY, lambda f, x, run: f(x, Struct(run))),
    "__dlpack__": (COPY, lambda f, x, run: f(x, DLPack(run))),
    "_as_parameter_": (
        "void put_at(size_t n, unsigned char x[n], void *p)",
        lambda f, x, run: f(x, Parameter(run)),
    ),
    "sync": (NEXT, lambda f, x, run: f(x, sync=Running(run))),
    "stream": (NEXT, lambda f, x, run: f(x, stream=Running(run))),
    "threads": (NEXT, lambda f, x, run: f(x, threads=Running(run))),
    "sync, for out": (NEXT, lambda f, x, run: f(1, out=x, sync=Running(run))),
    "sync, for where": (
        NEXT,
        lambda f, x, run: f(np.zeros(N, "u1"), where=x.view("?"), sync=Running(run)),
    ),
    "the array of a batch": (
        PUT,
        lambda f, x, run: f(x.reshape(4, -1), Running(run)),
    ),
}
# The calls that get a view of the array, which has its own shape, dtype and flags.
OF_VIEWS = ("sync, for where", "the array of a batch")
OF_MEMORY = ("__setstate__", "resize", "resize to more")


@pytest.mark.parametrize("engine", [None, "libffi"])
@pytest.mark.parametrize(
    ("call", "change"),
    [(call, change) for call in CALLS for change in (OF_MEMORY if call in OF_VIEWS else CHANGES)],
)
def test_an_array_is_changed_while_others_are_read(
    c: Counted, call: str, change: str, engine: str | None
) -> None:
    prototype, make = CALLS[call]
    function = c.function(prototype, engine=engine)
    x = np.zeros(N, "u1")
    before = c.called
    with pytest.raises(mapcall.ArgumentError, match="changed meanwhile") as caught:
        make(function, x, lambda: CHANGES[change](x))
    assert c.called == before
    # A copy of an array that C writes would have the results.
    assert caught.value.remedy.startswith("change it before the call")
    assert not x.any() or x.tobytes() == b"x"


@pytest.mark.parametrize("change", OF_MEMORY)
def test_the_owner_of_a_view_is_changed(c: Counted, change: str) -> None:
    for view in (lambda x: x[:], lambda x: x[8:].view(np.recarray), lambda x: x.reshape(8, 8)[3]):
        x = np.zeros(N, "u1")
        with pytest.raises(mapcall.ArgumentError, match="changed meanwhile"):
            c.function(PUT)(view(x), Running(lambda x=x: CHANGES[change](x)))


def test_code_that_leaves_the_array_unchanged(c: Counted) -> None:
    x, other = np.zeros(N, "u1"), np.zeros(3)
    keep: list[object] = []

    def run() -> None:
        x[0] = 1
        keep.append(x[3:])
        other.resize(1000, refcheck=False)

    c.function(PUT)(x, Running(run))
    assert x.tolist() == [7] * N


def test_an_array_that_is_changed_before_it_is_read(c: Counted) -> None:
    copy = c.function(COPY)
    x = np.zeros(N, "u1")
    copy(Interface(lambda: x.setflags(write=False)), x)
    assert not x.flags.writeable


def test_a_buffer_cannot_be_resized(c: Counted) -> None:
    put = c.function(PUT)
    for x, grow in (
        (bytearray(N), lambda x: x.extend(bytes(1 << 20))),
        (array.array("B", bytes(N)), lambda x: x.frombytes(bytes(1 << 20))),
    ):
        with pytest.raises(BufferError):
            put(x, Running(lambda x=x, grow=grow: grow(x)))
        assert not any(x)
        grow(x)


def test_a_finalizer_that_the_collector_runs(c: Counted) -> None:
    put = c.function(PUT)
    threshold = gc.get_threshold()

    class Late:
        def __init__(self, x: np.ndarray) -> None:
            self.x, self.itself = x, self

        def __del__(self) -> None:
            CHANGES["__setstate__"](self.x)

    outcomes = set()
    # The collector searches only the objects that are made from here on.
    gc.freeze()
    try:
        for number in (7, np.int32(7), np.int64(7)):
            for first in range(1, 40):
                x = np.zeros(N, "u1")
                gc.collect()
                gc.set_threshold(first)
                Late(x)
                before = c.called
                try:
                    put(x, number)
                    outcomes.add("called")
                    assert x.tolist() in ([7] * N, [7], [ord("x")])
                except mapcall.ArgumentError:
                    outcomes.add("refused")
                    assert c.called == before
    finally:
        gc.set_threshold(*threshold)
        gc.unfreeze()
        gc.collect()
    assert "called" in outcomes


def test_a_struct_is_copied_when_it_is_read(c: Counted) -> None:
    pair = "struct pair { int a, b; };"
    function = c.function(pair + "int sum(struct pair p, int v)")
    dtype = c.library.struct("pair").dtype
    one = np.array((1, 2), dtype)
    late = Running(lambda: one.__setstate__((1, (1,), np.dtype("u1"), False, b"x")))
    assert function(one, late) == 10
    many = np.array([(1, 2), (3, 4)], dtype)
    sums = c.function(pair + "int sums(size_t n, const struct pair p[n], int v)")
    assert sums(many, 7) == 17
    with pytest.raises(mapcall.ArgumentError, match="changed meanwhile"):
        sums(many, Running(lambda: many.resize(0, refcheck=False)))
    assert function(np.array([(1, 2), (3, 4)], dtype), 7).tolist() == [10, 14]


def test_a_derived_long_double_has_its_own_bytes(c: Counted) -> None:
    class Long(np.longdouble):
        def tobytes(self, order: str | None = None) -> bytes:
            return bytes(range(64))

    put = c.function("void put_long(size_t n, unsigned char x[n], long double v)")
    x = np.zeros(N, "u1")
    put(x, Long(7))
    assert x.tolist() == [7] * N


class TestDuringTheCall:
    """NumPy doesn't resize arrays of a running call, with any refcheck; other changes end it."""

    @pytest.mark.parametrize("refcheck", [True, False])
    def test_a_callback(self, c: Counted, refcheck: bool) -> None:
        x = np.zeros(N, "u1")
        with pytest.raises(ValueError, match="resize"):
            c.function(EACH)(x, lambda i: x.resize(1 << 20, refcheck=refcheck))
        assert x.size == N
        x.resize(10, refcheck=False)

    def test_a_callback_of_a_batch(self, c: Counted) -> None:
        x = np.zeros((3, N), "u1")
        with pytest.raises(ValueError, match="resize"):
            c.function(EACH)(x, lambda i: x.resize(1, refcheck=False))
        assert x.shape == (3, N)

    def test_a_callback_reshapes(self, c: Counted) -> None:
        x = np.zeros(N, "u1")
        c.function(EACH)(x, lambda i: CHANGES["shape"](x))
        assert x.tolist() == np.ones((8, 8)).tolist()

    @pytest.mark.parametrize("refcheck", [True, False])
    def test_progress(self, c: Counted, refcheck: bool) -> None:
        x = np.zeros(1000, "u1")
        out = np.zeros(1000, "u1")
        for changed in (x, out):
            with pytest.raises(ValueError, match="resize"):
                c.function(NEXT)(
                    x,
                    out=out,
                    progress=lambda done, calls, a=changed: a.resize(1, refcheck=refcheck),
                )

    @pytest.mark.parametrize("change", ["__setstate__", "setflags", "shape"])
    def test_a_check(self, c: Counted, change: str) -> None:
        x = np.zeros(N, "u1")

        def check(result: int) -> None:
            CHANGES[change](x)

        with pytest.raises(mapcall.ArgumentError, match="changed meanwhile"):
            c.function(NEXT, check=check)(x)


def test_a_path_for_an_output(c: Counted, tmp_path: Path) -> None:
    x = np.zeros(N, "u1")

    class Path:
        def __fspath__(self) -> str:
            CHANGES["__setstate__"](x)
            return str(tmp_path / "out.npy")

    made = c.function(NEXT)(x, out=Path())
    assert made.tolist() == [ord("x") + 1]
