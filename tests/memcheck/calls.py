"""Calls by both engines: arguments, outputs, structs, handles, callbacks and errors."""

import errno
import gc
import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy

import mapcall

SAXPY = "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])"
MIXED = """double mixed(signed char a, unsigned short b, int c, long d, float e, double f, _Bool g,
                        long h, long i, long j, double k)"""
SUMS = """double sums(const int *n, const int *m,
    [[mapcall::column_major]] [[mapcall::stride(*lda)]] const double a[*n][*m], const int *lda,
    double sums[*m], int info[1])"""
PAIR = "struct pair { double x; int n; };"
LARGE = PAIR + "struct large { double x[5]; struct pair p; };"


def fails(kind: type[Exception] | tuple[type[Exception], ...], step: Callable[[], Any]) -> None:
    try:
        step()
    except kind:
        return
    raise AssertionError(f"{kind} was expected")


def arrays(library: mapcall.Library, engine: str) -> None:
    saxpy = library.function(SAXPY, engine=engine)
    x, y = numpy.arange(20, dtype="f4"), numpy.ones(20, "f4")
    saxpy(2.0, x, y)
    saxpy(a=2, x=x, y=y, n=20)
    assert y[3] == 13
    assert saxpy(0.5, x)[4] == 2
    bad: list[tuple[Any, ...]] = [
        (),
        (1, x, y, y),
        ("1", x, y),
        (1e300, x, y),
        (1, x.astype("f8"), y),
        (1, x[::2], y),
        (1, x, x),
        (1, x, y[:3]),
        (1, None, y),
        (1, [1.0], y),
    ]
    for arguments in bad:
        fails(mapcall.ArgumentError, lambda arguments=arguments: saxpy(*arguments))
    fails(mapcall.ArgumentError, lambda: saxpy(1, x, z=y))
    plain = library.function("void saxpy(size_t n, float a, const float *x, float *y)")
    fails(mapcall.ArgumentError, lambda: plain(20, 2, x, y))
    plain.unchecked(20, 2, x, y)
    assert pickle.loads(pickle.dumps(saxpy)) is not None
    for each in (repr(saxpy), saxpy.__doc__, saxpy.parameters, saxpy.signature, saxpy.prototype):
        assert each


def called_often(library: mapcall.Library) -> None:
    """Functions that are called so often that they get entries of their own."""
    saxpy, sums = library.function(SAXPY), library.function(SUMS)
    x, y = numpy.ones(5, "f4"), numpy.zeros(5, "f4")
    a = numpy.ones((3, 4), order="F")[:2]
    for _ in range(110_000):
        saxpy(2.0, x, y)
        sums(a)
    assert y[0] == 220_000
    total, columns, info = sums(a)
    assert (total, columns.tolist(), info.tolist()) == (2, [2] * 4, [4])
    for arguments in ((2.0, x), (2, x, y), (2.0, x[::2], y), (2.0, x, x), (1e300, x, y), (2.0,)):
        try:
            saxpy(*arguments)
        except mapcall.ArgumentError:
            continue
    fails(mapcall.ArgumentError, lambda: sums(a.astype("f4")))
    assert saxpy(a=2.0, x=x, y=y) is None


def not_negative(result: int) -> None:
    if result < 0:
        raise mapcall.CallError(f"got {result}")


def numbers(library: mapcall.Library, engine: str) -> None:
    mixed = library.function(MIXED, engine=engine)
    assert mixed(1, 2, 3, 4, 5, 6, True, 8, 9, 10, 11) == 60
    fails(mapcall.ArgumentError, lambda: mixed(128, *range(10)))
    turned = library.function("double _Complex turned(double _Complex z, float _Complex w)")
    assert turned(1 + 2j, 3) == 1 + 1j
    fail = library.function("int fail(int code)", engine=engine)
    assert fail(errno.EPERM) == -1
    assert mapcall.get_errno() == errno.EPERM
    for check in ("zero", "errno", not_negative):
        checked = library.function("int fail(int code)", engine=engine, check=check)
        fails(mapcall.CallError, lambda checked=checked: checked(errno.EPERM))


def structs(library: mapcall.Library, engine: str) -> None:
    turn = library.function(PAIR + "struct pair turn(struct pair p)", engine=engine)
    enlarge = library.function(LARGE + "struct large enlarge(struct pair p, struct large l)")
    pair = numpy.array((-2.0, 5), library.struct("pair").dtype)
    assert turn(pair)["x"] == 5
    result = enlarge(pair, numpy.zeros((), library.struct("large").dtype))
    assert (result["x"][0], result["p"]["n"]) == (5, 5)
    # libffi makes the calls whose structs are passed in memory.
    assert (turn.engine, enlarge.engine) == (engine, "libffi")
    fails(mapcall.ArgumentError, lambda: turn(3))
    fails(mapcall.ArgumentError, lambda: turn(numpy.zeros(2)))


def handles(library: mapcall.Library, engine: str) -> None:
    close = library.function("void counter_close(struct counter *c)", engine=engine)
    new = library.function(
        "struct counter *counter_open(int value)", destructor=close, engine=engine
    )
    make = library.function(
        "int counter_make(int value, struct counter *made[1])", destructor=close, engine=engine
    )
    value = library.function("int counter_value(const struct counter *c)", engine=engine)
    look = library.function("const int *counter_look(struct counter *c)", engine=engine)
    with new(3) as one:
        assert value(one) == 3
        assert look(one).array((1,))[0] == 3
    fails(mapcall.ArgumentError, lambda: value(one))
    status, [made] = make(4)
    assert (status, value(made)) == (0, 4)
    other = new(5)
    view = other.array(4, "u1", owner=other)
    del other
    assert view[0] == 5
    del view, close, new, make
    made.close()
    made.close()
    fails(mapcall.ArgumentError, lambda: value(None, None))
    fails(mapcall.ArgumentError, lambda: value(numpy.zeros(3)))


def callbacks(library: mapcall.Library, engine: str) -> None:
    apply = library.function("double apply(double (*f)(double), double x)", engine=engine)
    # Closures that have ended are kept, and used again.
    for _ in range(40):
        assert apply(lambda x: 2 * x, 4) == 9
    kept = apply.callback("f", lambda x: apply(lambda y: y, x))
    assert apply(kept, 4) == 6
    cos = mapcall.load("m").function("double cos(double x)")
    assert apply(cos, 0) == 2

    def fail(_: float) -> float:
        raise ZeroDivisionError

    fails(ZeroDivisionError, lambda: apply(fail, 1))
    fails(ZeroDivisionError, lambda: apply(lambda x: apply(fail, x), 1))
    fails(mapcall.ArgumentError, lambda: apply(lambda x: "text", 1))
    fails(mapcall.ArgumentError, lambda: apply(lambda x: None, 1))
    fails(TypeError, lambda: apply(lambda: 0, 1))
    fails(mapcall.ArgumentError, lambda: apply(3, 1))
    texts: list[str] = []

    def note(pair: Any, text: str) -> Any:
        texts.append(text)
        return pair

    pairs = library.function(
        PAIR + "struct pair apply_pair(struct pair (*f)(struct pair, const char *), struct pair p)"
    )
    pair = numpy.array((1.5, 2), library.struct("pair").dtype)
    for _ in range(40):
        assert pairs(note, pair)["x"] == 1.5
    assert texts == 40 * ["text"]
    fails(mapcall.ArgumentError, lambda: pairs(lambda pair, text: 3, pair))
    # A reference cycle through a callback.
    cycle: list[Any] = []
    cycle.append(apply.callback("f", lambda x: len(cycle)))


def batches(library: mapcall.Library, engine: str) -> None:
    mixed = library.function(MIXED, engine=engine)
    x = numpy.arange(6.0).reshape(2, 3)
    numbers = [numpy.arange(2, dtype=dtype).reshape(2, 1) for dtype in ("i1", "u2", "i4", "i8")]
    made = mixed(*numbers, 1, x, True, 0, 0, 0, x.T[:1].T)
    assert made.shape == (2, 3)
    out = numpy.zeros((3, 2)).T
    for threads in (1, 2):
        assert mixed(*numbers, 1, x, True, 0, 0, 0, x[:, :1], out=out, threads=threads) is out
        assert (out == made).all()
    half = x % 2 == 0
    assert (mixed(*numbers, 1, x, True, 0, 0, 0, x[:, :1], where=half)[half] == made[half]).all()
    saxpy = library.function(SAXPY, engine=engine)
    rows = numpy.ones((4, 5), "f4")
    assert (saxpy(2, rows) == 2 * rows).all()
    assert saxpy(numpy.arange(4, dtype="f4"), numpy.ones((4, 0), "f4")).shape == (4, 0)
    saxpy(2, rows[0].copy(), rows, threads=2)
    turn = library.function(PAIR + "struct pair turn(struct pair p)", engine=engine)
    pairs = numpy.zeros(3, library.struct("pair").dtype)
    pairs["n"] = 4
    assert (turn(pairs)["x"] == 4).all()
    apply = library.function("double apply(double (*f)(double), double x)", engine=engine)
    assert (apply(lambda x: 2 * x, x) == 2 * x + 1).all()
    fails(ZeroDivisionError, lambda: apply(lambda x: 1 / (2 - x), x))
    for check in ("zero", "errno", not_negative):
        checked = library.function("int fail(int code)", engine=engine, check=check)
        fails(
            mapcall.CallError,
            lambda checked=checked: checked(numpy.ones(3, "i4"), threads=2),
        )
    bad: list[tuple[Any, ...]] = [
        (x, x),
        (2, rows, rows[:3]),
        (2, rows, rows[:, ::2]),
        (2, rows, numpy.broadcast_to(rows[0], rows.shape)),
        (numpy.ones((7, 3)), rows),
    ]
    for arguments in bad:
        fails(mapcall.ArgumentError, lambda arguments=arguments: saxpy(*arguments))
    fails(mapcall.ArgumentError, lambda: mixed(*numbers, 1, x, True, 0, 0, 0, x, out=out[:1]))


def bindings(path: str) -> None:
    library = mapcall.load(path)
    assert library == mapcall.load(path)
    bad = ["", "int", "int f(", "int fial(int code)", "int fail(x[n)"]
    for text in bad:
        fails((ValueError, OSError), lambda text=text: library.function(text))
    fails(AttributeError, lambda: library.nothing)
    fails(OSError, lambda: mapcall.load(path + ".missing"))
    assert "saxpy" in library.symbols()
    getenv = mapcall.load(None).function("const char *getenv(const char *name)")
    assert isinstance(getenv("PATH"), str)
    assert getenv("NO SUCH NAME") is None
    fails(mapcall.ArgumentError, lambda: getenv("a\0b"))
    assert pickle.loads(pickle.dumps(library)) == library


def threads(library: mapcall.Library) -> None:
    apply = library.function("double apply(double (*f)(double), double x)", gil="release")

    def work() -> None:
        for number in range(10):
            assert apply(lambda x, number=number: x * number, 2) == 2 * number + 1

    running = [threading.Thread(target=work) for _ in range(3)]
    for each in running:
        each.start()
    for each in running:
        each.join()


def work(path: str) -> None:
    library = mapcall.load(path)
    for engine in ("cranelift", "libffi"):
        arrays(library, engine)
        numbers(library, engine)
        structs(library, engine)
        handles(library, engine)
        callbacks(library, engine)
        batches(library, engine)
    bindings(path)
    threads(library)
    called_often(library)
    del library
    gc.collect()


for _ in range(int(sys.argv[1])):
    work(sys.argv[2])
print("done")
