"""Functions as arguments: Python callables, bound functions, and their errors."""

from __future__ import annotations

import gc
import sys
import threading
import traceback
import weakref
from typing import Any

import numpy as np
import pytest

import mapcall
from counted import PRELUDE, Counted

SOURCE = (
    PRELUDE
    + """
    #include <pthread.h>
    #include <stdlib.h>
    typedef double (*function)(double x);
    double apply(function f, double x) { CALLED; return f ? f(x) : -1; }
    double twice(double x) { CALLED; return 2 * x; }
    int half(int x) { CALLED; return x / 2; }
    int each(size_t n, const int x[n], void (*visit)(int x, void *context), void *context)
    { CALLED; size_t i; for (i = 0; i < n; i++) visit(x[i], context); return i; }
    static function kept;
    void keep(function f) { CALLED; kept = f; }
    double call_kept(double x) { CALLED; return kept ? kept(x) : -1; }
    static double elsewhere_result;
    static void *run(void *f) { elsewhere_result = ((function)f)(3); return 0; }
    double elsewhere(function f)
    {
        CALLED;
        pthread_t thread;
        if (pthread_create(&thread, 0, run, (void *)f)) return -100;
        pthread_join(thread, 0);
        return elsewhere_result;
    }
    signed char small(signed char (*f)(unsigned short, _Bool, float))
    { CALLED; return f(65535, 1, 0.5f); }
    const char *name(const char *(*f)(const char *)) { CALLED; return f("hé") ? "text" : 0; }
    void *pointer(void *(*f)(void *)) { CALLED; return f(&called); }
    typedef struct { int a; double b; } pair;
    double choose(function (*f)(int), double x) { CALLED; function g = f(1); return g ? g(x) : -1; }
    static int number = 7;
    int *writeable(void) { CALLED; return &number; }
    const int *constant(void) { CALLED; return &number; }
    int add(int *(*f)(void)) { CALLED; int *n = f(); return n ? ++*n : -1; }
    double with_pair(pair (*f)(pair)) { CALLED; pair p = f((pair){1, 2}); return p.a + 10 * p.b; }
    """
)
FUNCTION = "typedef double (*function)(double x);"
APPLY = FUNCTION + "double apply(function f, double x)"
EACH = """
    int each(size_t n, const int x[n], void (*visit)(int x, void *context), void *context)
"""
QSORT = "void qsort(void *base, size_t n, size_t size, int (*compare)(const void *, const void *))"


@pytest.fixture(scope="module")
def c(compile_c: Any) -> Counted:
    return Counted(compile_c(SOURCE, "-pthread"))


@pytest.fixture
def apply(c: Counted) -> mapcall.Function:
    return c.function(APPLY)


def test_callables(apply: mapcall.Function) -> None:
    assert apply(lambda x: x + 1, 2) == 3
    assert apply(np.sqrt, 9) == 3
    assert apply(float.__neg__, 2) == -2
    assert apply(f=lambda x: [4.0, 5.0][int(x)], x=1) == 5
    assert apply(None, 2) == -1
    assert apply(lambda x: apply(lambda y: y * 10, x) + 1, 2) == 21


def test_qsort() -> None:
    qsort = mapcall.load(None).function(QSORT)

    def compare(a: mapcall.Handle, b: mapcall.Handle) -> int:
        return int(a.array((), "i4")) - int(b.array((), "i4"))

    x = np.random.default_rng(0).integers(-1000, 1000, 100, "i4")
    expected = np.sort(x)
    qsort(x, x.size, x.itemsize, compare)
    assert (x == expected).all()


def test_context(c: Counted) -> None:
    each = c.function(EACH)
    x = np.array([3, 1, 2], "i4")
    seen: list[Any] = []
    assert each(x, lambda *arguments: seen.append(arguments), None) == 3
    assert seen == [(3, None), (1, None), (2, None)]
    context = np.zeros(1)
    del seen[:]
    each(x, lambda _, handle: seen.append(handle.address), context)
    assert set(seen) == {context.ctypes.data}


def test_types_of_arguments_and_results(c: Counted) -> None:
    small = c.function("signed char small(signed char (*f)(unsigned short, _Bool, float))")
    seen: list[Any] = []

    def remember(*arguments: Any) -> int:
        seen.extend(arguments)
        return -128

    assert small(remember) == -128
    assert [(type(value), value) for value in seen] == [(int, 65535), (bool, True), (float, 0.5)]
    pointer = c.function("void *pointer(void *(*f)(void *))")
    assert pointer(lambda p: p).type == "void"
    assert pointer(lambda p: None) is None
    pair = "typedef struct { int a; double b; } pair;"
    with_pair = c.function(pair + "double with_pair(pair (*f)(pair))")

    def swap(p: np.void) -> np.void:
        p["a"], p["b"] = p["b"], p["a"]
        return p

    assert with_pair(swap) == 12
    with pytest.raises(mapcall.ArgumentError, match="with_pair: callback's result: expected pair"):
        with_pair(lambda p: 3)


class TestErrors:
    def test_raised_by_the_call(self, apply: mapcall.Function) -> None:
        def failing(x: float) -> float:
            raise LookupError(f"at {x}")

        with pytest.raises(LookupError, match=r"at 2\.0") as caught:
            apply(failing, 2)
        frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert frames == ["test_raised_by_the_call", "failing"]
        # The next call does not raise the exception again.
        assert apply(lambda x: x, 2) == 2

    def test_nested(self, apply: mapcall.Function) -> None:
        def failing(x: float) -> float:
            return 1 / (x - x)

        with pytest.raises(ZeroDivisionError):
            apply(lambda x: apply(failing, x), 2)

        def recovering(x: float) -> float:
            with pytest.raises(ZeroDivisionError):
                apply(failing, x)
            return apply(lambda y: y + 1, x)

        assert apply(recovering, 2) == 3

        def outer(x: float) -> float:
            try:
                return apply(failing, x)
            except ZeroDivisionError as error:
                raise LookupError("outer") from error

        with pytest.raises(LookupError, match="outer") as caught:
            apply(outer, 2)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)

    def test_nothing_runs_after_it(self, c: Counted) -> None:
        each = c.function(EACH)
        seen = []

        def visit(x: int, context: None) -> None:
            seen.append(x)
            raise LookupError(x)

        with pytest.raises(LookupError, match="3"):
            each(np.array([3, 1, 2], "i4"), visit, None)
        assert seen == [3]

    @pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, StopIteration, MemoryError])
    def test_any_exception(self, apply: mapcall.Function, raised: type[BaseException]) -> None:
        def failing(x: float) -> float:
            raise raised

        with pytest.raises(raised):
            apply(failing, 2)

    def test_before_the_check(self, c: Counted) -> None:
        """The exception of a callback is raised, and not a failed check of the result."""
        each = c.function(EACH, check="zero")
        with pytest.raises(LookupError):
            each(np.zeros(1, "i4"), lambda x, context: {}["missing"], None)

    @pytest.mark.parametrize(
        ("result", "found"),
        [("x", "a str"), (None, "None"), ([1.0], "a list"), (1j, r"0\+1i")],
    )
    def test_results(self, apply: mapcall.Function, result: object, found: str) -> None:
        message = f"apply: callback's result: expected double, got ({found}); "
        with pytest.raises(mapcall.ArgumentError, match=message):
            apply(lambda x: result, 2)

    def test_a_result_out_of_range(self, c: Counted) -> None:
        small = c.function("signed char small(signed char (*f)(unsigned short, _Bool, float))")
        with pytest.raises(mapcall.ArgumentError, match="expected signed char, got 128; "):
            small(lambda *_: 128)

    def test_wrong_number_of_parameters(self, apply: mapcall.Function) -> None:
        with pytest.raises(TypeError, match="takes 0 positional arguments but 1 was given"):
            apply(lambda: 1.0, 2)

    @pytest.mark.parametrize(
        ("wrong", "found"), [(3, "an int"), ("f", "a str"), (np.zeros(3), "a ndarray")]
    )
    def test_no_callable(
        self, c: Counted, apply: mapcall.Function, wrong: object, found: str
    ) -> None:
        before = c.called
        with pytest.raises(mapcall.ArgumentError) as caught:
            apply(wrong, 2)
        assert str(caught.value).startswith("apply: f: expected a function ")
        assert str(caught.value).endswith(f", got {found}; give a bound function or a callable")
        assert c.called == before


class TestBoundFunctions:
    def test_right(self, c: Counted, apply: mapcall.Function) -> None:
        twice = c.function("double twice(double x)")
        before = c.called
        assert apply(twice, 4) == 8
        # C gets the pointer of the function: both functions have run once, without Python.
        assert c.called == before + 2
        assert apply(mapcall.load("m").function("double cos(double x)"), 0) == 1

    def test_wrong(self, c: Counted, apply: mapcall.Function) -> None:
        for prototype in ("int half(int x)", "int twice(double x)", "double twice(double, int)"):
            wrong = c.function(prototype)
            before = c.called
            with pytest.raises(mapcall.ArgumentError) as caught:
                apply(wrong, 4)
            message = str(caught.value)
            assert message.startswith("apply: f: expected a function ")
            assert message.endswith(f"got `{wrong.prototype}`; give a function of that type")
            assert c.called == before
            # A Python callable may call the function.
        assert apply(lambda x: c.function("int half(int x)")(int(x)), 4) == 2


class TestResults:
    """What C gets of a callback's result, by the rules of arguments."""

    CHOOSE = FUNCTION + "double choose(function (*f)(int), double x)"
    ADD = "int add(int *(*f)(void))"

    def test_functions(self, c: Counted, apply: mapcall.Function) -> None:
        choose = c.function(self.CHOOSE)
        twice = c.function("double twice(double x)")
        assert choose(lambda number: twice, 3) == 6
        kept = apply.callback("f", lambda x: x + 10)
        assert choose(lambda number: kept, 3) == 13
        assert choose(lambda number: None, 3) == -1

    def test_functions_of_another_type(self, c: Counted) -> None:
        choose, half = c.function(self.CHOOSE), c.function("int half(int x)")
        message = r"choose: callback's result: expected a function .*, got `int half\(int x\)`; "
        with pytest.raises(mapcall.ArgumentError, match=message):
            choose(lambda number: half, 3)
        # The closure of a plain callable would end before C calls it.
        with pytest.raises(mapcall.ArgumentError, match="got a function; return a bound function"):
            choose(lambda number: lambda x: x, 3)

    def test_pointers_to_const(self, c: Counted) -> None:
        add = c.function(self.ADD)
        writeable, constant = (
            c.function("int *writeable(void)"),
            c.function("const int *constant(void)"),
        )
        before = writeable().array(1, "i4")[0]
        assert add(writeable) == before + 1
        assert add(lambda: writeable()) == before + 2
        assert add(lambda: None) == -1
        message = "add: callback's result: expected .*, writeable, got a handle to const int; "
        with pytest.raises(mapcall.ArgumentError, match=message):
            add(lambda: constant())
        assert writeable().array(1, "i4")[0] == before + 2


class TestKept:
    def test_as_long_as_the_object(self, c: Counted) -> None:
        keep = c.function(FUNCTION + "void keep(function f)")
        call_kept = c.function("double call_kept(double x)")
        callback = keep.callback("f", lambda x: x + 1)
        assert type(callback) is mapcall.Callback
        assert "double" in repr(callback)
        keep(callback)
        gc.collect()
        assert call_kept(2) == 3
        # Another function with a parameter of that type accepts the callback, too.
        assert c.function(APPLY)(callback, 5) == 6
        keep(None)
        assert call_kept(2) == -1

    def test_raised_by_the_call_that_was_running(self, c: Counted) -> None:
        keep = c.function(FUNCTION + "void keep(function f)")
        callback = keep.callback("f", lambda x: {}["kept"])
        keep(callback)
        with pytest.raises(KeyError, match="kept"):
            c.function("double call_kept(double x)")(2)
        keep(None)

    def test_another_type(self, c: Counted, apply: mapcall.Function) -> None:
        callback = mapcall.load(None).function(QSORT).callback("compare", lambda a, b: 0)
        c.refuses(
            "apply: f: expected a function double (double),"
            " got `int (const void *, const void *)`; give a function of that type",
            apply,
            callback,
            2,
        )

    def test_misuse(self, apply: mapcall.Function) -> None:
        with pytest.raises(TypeError, match="expected a callable, got int"):
            apply.callback("f", 3)
        with pytest.raises(ValueError, match="apply: x is no function pointer"):
            apply.callback("x", abs)
        with pytest.raises(mapcall.ArgumentError, match="expected a parameter's name, got g"):
            apply.callback("g", abs)
        with pytest.raises(TypeError):
            mapcall.Callback()

    def test_the_callable_is_freed_with_the_callback(self, apply: mapcall.Function) -> None:
        class Callable:
            def __call__(self, x: float) -> float:
                return x

        callable_ = Callable()
        dead = weakref.ref(callable_)
        assert apply(callable_, 2) == 2
        callback = apply.callback("f", callable_)
        # The collector finds a cycle through the callable.
        callable_.callback = callback
        del callable_, callback
        gc.collect()
        assert dead() is None


class TestThreads:
    def test_of_c(self, c: Counted) -> None:
        elsewhere = c.function(FUNCTION + "double elsewhere(function f)", gil="release")
        names = []

        def f(x: float) -> float:
            names.append(threading.get_ident())
            return x + 1

        assert elsewhere(f) == 4
        assert names != [threading.get_ident()]

    def test_an_exception_there(self, c: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
        """No call of mapcall runs on that thread, so `sys.unraisablehook` gets the exception."""
        elsewhere = c.function(FUNCTION + "double elsewhere(function f)", gil="release")
        heard: list[Any] = []
        monkeypatch.setattr(sys, "unraisablehook", heard.append)

        def failing(x: float) -> float:
            raise LookupError("elsewhere")

        assert elsewhere(failing) == 0
        assert [(e.exc_type, str(e.exc_value)) for e in heard] == [(LookupError, "elsewhere")]
        assert heard[0].object is failing
        assert heard[0].exc_traceback is not None
        heard.clear()
