"""Callbacks that outlive their call: pointers kept by C, objects kept by Python, and exit."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall

SOURCE = r"""
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int (*visitor)(int);

static visitor listeners[256];
static int count;
void listen(visitor f) { listeners[count++ % 256] = f; }
void forget(void) { count = 0; }
static long returned;
/* Calls them all; what they have returned can be asked for afterwards. */
int fire(int x)
{
    returned = 0;
    for (int i = 0; i < count; i++) returned += listeners[i](x);
    return count;
}
long sum(void) { return returned; }
void *where(visitor f) { return (void *)f; }
int call(visitor f, int x) { return f(x); }
int call_twice(visitor f, visitor g, int x) { return f(x) + 10 * g(x); }

static void *elsewhere(void *x) { fire(*(int *)x); return 0; }
void fire_elsewhere(int x)
{ pthread_t t; pthread_create(&t, 0, elsewhere, &x); pthread_join(t, 0); }

typedef struct { double x; long n[4]; } large;
static double (*kept_double)(double);
static large (*kept_large)(large);
static const char *(*kept_text)(void);
void keep_double(double (*f)(double)) { kept_double = f; }
void keep_large(large (*f)(large)) { kept_large = f; }
void keep_text(const char *(*f)(void)) { kept_text = f; }
static int zeros;
int call_kept(void)
{
    large given = {5, {1, 2, 3, 4}}, got = kept_large(given);
    zeros = kept_double(3) == 0 && got.x == 0 && !got.n[0] && !got.n[3] && !kept_text();
    return zeros;
}
int were_zeros(void) { return zeros; }

/* Memory of C's own, which is gone when the call returns. */
int edit(int n, const double start[n], double result[n],
         void (*f)(double *x, const double *c, int n))
{
    double *x = malloc(2 * n * sizeof *x);
    memcpy(x, start, n * sizeof *x);
    memcpy(x + n, start, n * sizeof *x);
    f(x, x + n, n);
    memcpy(result, x, n * sizeof *x);
    memset(x, 0xff, 2 * n * sizeof *x);
    free(x);
    return 0;
}
int edit_both(int n, const double start[n], double result[n], void (*f)(double *x, double *y))
{
    double *x = malloc(n * sizeof *x);
    memcpy(x, start, n * sizeof *x);
    f(x, x);
    memcpy(result, x, n * sizeof *x);
    free(x);
    return 0;
}
void scale(int n, double *x, double a) { for (int i = 0; i < n; i++) x[i] *= a; }
double add_up(int n, const double *x)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += x[i];
    return sum;
}
double add_first(double a, const double *x) { return a + x[0]; }
void spell(void (*f)(char *text)) { char text[] = "hello"; f(text); }
int identity(void *(*f)(void *)) { int x; return f(&x) == &x; }

struct h { int v; void (*cb)(int); };
struct h *h_new(int v) { struct h *h = calloc(1, sizeof *h); h->v = v; return h; }
void h_set(struct h *h, void (*cb)(int)) { h->cb = cb; }
void h_free(struct h *h) { if (h->cb) h->cb(h->v); free(h); }
char *pick(char *text, struct h *h) { return h ? text + 1 : text; }
"""
VISITOR = "typedef int (*visitor)(int);"
EDIT = """
    int edit(int n, const double start[n], double result[n],
             void (*f)(double *x, const double *c, int n))
"""


class C:
    """The library, with its functions as attributes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.library = mapcall.load(path)
        for name, prototype in {
            "listen": "void listen(visitor f)",
            "forget": "void forget(void)",
            "fire": "int fire(int x)",
            "sum": "long sum(void)",
            "where": "void *where(visitor f)",
            "call": "int call(visitor f, int x)",
            "fire_elsewhere": "void fire_elsewhere(int x)",
        }.items():
            setattr(self, name, self.function(VISITOR + prototype))

    def function(self, prototype: str, **options: Any) -> Any:
        return self.library.function(prototype, **options)


@pytest.fixture(scope="module")
def library(compile_c: Any) -> Path:
    path: Path = compile_c(SOURCE, "-pthread")
    return path


@pytest.fixture
def c(library: Path) -> Any:
    c = C(library)
    c.forget()
    yield c
    c.forget()


LATE = (
    "listen: f: expected a callable that is there when C calls it, got one that has ended; "
    'keep listen.callback("f", ...) as long as C may call it'
)


class TestKeptByC:
    def test_called_when_its_call_has_ended(self, c: C) -> None:
        c.listen(lambda x: 5)
        with pytest.raises(mapcall.ArgumentError) as caught:
            c.fire(3)
        error = caught.value
        assert str(error) == LATE
        assert (error.function, error.parameter) == ("listen", "f")
        # The C function got zero, and no state of the exception is left.
        assert c.sum() == 0
        c.forget()
        assert c.fire(3) == 0

    def test_the_remedy(self, c: C) -> None:
        listen = c.listen  # noqa: F841
        kept = eval('listen.callback("f", lambda x: x + 1)')
        c.listen(kept)
        assert (c.fire(3), c.sum()) == (1, 4)

    def test_a_callback_that_has_died(self, c: C) -> None:
        kept = c.listen.callback("f", lambda x: x + 1)
        c.listen(kept)
        assert (c.fire(3), c.sum()) == (1, 4)
        del kept
        gc.collect()
        with pytest.raises(mapcall.ArgumentError) as caught:
            c.fire(3)
        assert (str(caught.value), c.sum()) == (LATE, 0)

    def test_in_a_call_of_the_same_function(self, c: C) -> None:
        """The callable of this call is not called for function pointers that C has kept."""
        fire = c.function(VISITOR + "int fire(int x)")
        for _ in range(30):
            c.listen(lambda x: 1)

        def visit(x: int) -> int:
            with pytest.raises(mapcall.ArgumentError, match="listen: f: "):
                fire(x)
            return 7

        assert c.call(visit, 2) == 7
        c.listen(visit)
        assert c.sum() == 0

    def test_inside_a_callback(self, c: C) -> None:
        """The exception belongs to the inner call; the callable of the outer one may catch it."""
        c.listen(lambda x: 1)
        with pytest.raises(mapcall.ArgumentError, match="listen: f: "):
            c.call(lambda x: c.fire(x), 2)

        def catching(x: int) -> int:
            try:
                return int(c.fire(x))
            except mapcall.ArgumentError:
                return 6

        assert c.call(catching, 2) == 6

    def test_in_a_batch(self, c: C) -> None:
        c.listen(lambda x: 1)
        with pytest.raises(mapcall.ArgumentError, match="listen: f: "):
            c.fire(np.arange(4, dtype="i4"))

    def test_by_libffi(self, c: C) -> None:
        c.function(VISITOR + "void listen(visitor f)", engine="libffi")(lambda x: 5)
        with pytest.raises(mapcall.ArgumentError, match="listen: f: "):
            c.function("int fire(int x)", engine="libffi")(3)

    def test_any_result_is_zero(self, c: C) -> None:
        large = "typedef struct { double x; long n[4]; } large;"
        c.function("void keep_double(double (*f)(double))")(lambda x: 4.0)
        c.function(large + "void keep_large(large (*f)(large))")(lambda x: x)
        c.function("void keep_text(const char *(*f)(void))")(lambda: None)
        with pytest.raises(mapcall.ArgumentError, match="keep_"):
            c.function("int call_kept(void)")()
        assert c.function("int were_zeros(void)")() == 1

    def test_outside_of_any_call(self, c: C, monkeypatch: pytest.MonkeyPatch) -> None:
        """An exception on a thread of C is unraisable, and reported once: C may call for ever."""
        heard: list[Any] = []
        monkeypatch.setattr(sys, "unraisablehook", heard.append)
        c.listen(lambda x: 5)
        release = c.function("void fire_elsewhere(int x)", gil="release")
        release(1)
        release(1)
        assert [(h.exc_type, str(h.exc_value)) for h in heard] == [(mapcall.ArgumentError, LATE)]
        assert c.sum() == 0
        heard.clear()

    def test_the_library_stays_loaded(self, library: Path) -> None:
        """Code of the library may call as long as the process runs."""
        c = C(library)
        c.call(abs, 1)
        del c
        gc.collect()
        assert str(library) in Path("/proc/self/maps").read_text()


class TestCode:
    """The machine code of closures that have ended is used again, for the same parameter."""

    BOUND = 40

    def where(self, c: C, f: Any) -> int:
        return int(c.where(f).address)

    def test_is_bounded(self, c: C) -> None:
        assert len({self.where(c, lambda x, n=n: n) for n in range(5000)}) <= self.BOUND

    def test_is_bounded_when_the_function_is_bound_again(self, c: C) -> None:
        addresses = set()
        for _ in range(200):
            where = c.function(VISITOR + "void *where(visitor f)")
            addresses.add(where(lambda x: x).address)
        assert len(addresses) <= self.BOUND

    def test_is_bounded_when_callables_fail(self, c: C) -> None:
        addresses = set()
        for _ in range(500):
            unique: list[int] = []

            def failing(x: int, unique: list[int] = unique) -> int:
                raise LookupError

            with pytest.raises(LookupError):
                c.call(failing, 1)
            addresses.add(self.where(c, failing))
        assert len(addresses) <= self.BOUND

    def test_is_bounded_when_calls_nest(self, c: C) -> None:
        addresses: set[int] = set()

        def nested(depth: int) -> int:
            addresses.add(self.where(c, abs))
            return c.call(nested, depth - 1) + 1 if depth else 0

        for _ in range(20):
            assert c.call(nested, 40) == 40
        assert len(addresses) <= 2 * self.BOUND

    def test_is_bounded_in_threads(self, c: C, switching: None) -> None:
        addresses: set[int] = set()

        def work() -> None:
            for n in range(200):
                addresses.add(self.where(c, lambda x, n=n: n))
                assert c.call(lambda x, n=n: n, 1) == n

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(addresses) <= self.BOUND + 10 * len(threads)

    def test_callback_objects_take_part(self, c: C) -> None:
        addresses = {c.where.callback("f", lambda x, n=n: n).address for n in range(2000)}
        assert len(addresses) <= self.BOUND

    def test_is_not_shared_by_parameters(self, c: C) -> None:
        twice = c.function(VISITOR + "int call_twice(visitor f, visitor g, int x)")
        addresses = [
            {function.callback(parameter, abs).address for _ in range(100)}
            for function, parameter in [(twice, "f"), (twice, "g"), (c.call, "f"), (c.where, "f")]
        ]
        assert sum(map(len, addresses)) == len(set.union(*addresses))

    def test_is_not_used_again_at_once(self, c: C) -> None:
        """A kept function pointer raises an error, and calls no other callable."""
        for n in range(20):
            c.listen(lambda x, n=n: n)

        def last(x: int) -> int:
            with pytest.raises(mapcall.ArgumentError, match="listen: f: "):
                c.fire(x)
            return 0

        c.call(last, 1)
        assert c.sum() == 0

    def test_many_at_once(self, c: C) -> None:
        callbacks = [c.call.callback("f", lambda x, n=n: x + n) for n in range(10_000)]
        assert len({callback.address for callback in callbacks}) == len(callbacks)
        for n in (0, 1, 4094, 4095, 4096, 4097, 8191, 8192, 9999):
            assert c.call(callbacks[n], 1) == n + 1

    def test_callables_are_released(self, c: C) -> None:
        class Callable:
            def __call__(self, x: int) -> int:
                return x

        def dead(use: Any) -> bool:
            callable_ = Callable()
            reference = weakref.ref(callable_)
            use(callable_)
            del callable_
            return reference() is None

        assert dead(lambda f: c.call(f, 1))
        assert dead(c.listen)
        assert dead(lambda f: c.call(c.call.callback("f", f), 1))


class TestHandles:
    """Handles that a callback receives are closed when it returns; their arrays are copies."""

    def edit(self, c: C, f: Any, start: Any = (1.0, 2.0, 3.0, 4.0)) -> list[float]:
        start = np.array(start)
        return list(map(float, c.function(EDIT)(start, f=f)[1]))

    def test_end_with_the_callback(self, c: C) -> None:
        kept: list[mapcall.Handle] = []

        def f(x: mapcall.Handle, constant: mapcall.Handle, n: int) -> None:
            assert not x.closed
            assert x.address
            kept.extend([x, constant])

        self.edit(c, f)
        add_up = c.function("double add_up(int n, const double *x)")
        for handle in kept:
            assert handle.closed
            assert handle.address is None
            message = "got a closed one to double; copy in the callback what is needed after it"
            with pytest.raises(ValueError, match=message):
                handle.array(4)
            with pytest.raises(mapcall.ArgumentError, match="got a closed handle to double; "):
                add_up(4, handle)

    def test_end_when_the_callable_raises(self, c: C) -> None:
        kept: list[mapcall.Handle] = []

        def f(x: mapcall.Handle, *_: Any) -> None:
            kept.append(x)
            raise LookupError

        with pytest.raises(LookupError):
            self.edit(c, f)
        assert kept[0].closed

    def test_handles_that_calls_derive_from_them_end_too(self, c: C) -> None:
        libc = mapcall.load(None)
        strchr = libc.function("char *strchr(char *text, int character)")
        strdup = libc.function(
            "char *strdup(char *text)", destructor=libc.function("void free(void *p)")
        )
        kept: list[Any] = []

        def f(text: mapcall.Handle) -> None:
            end = strchr(text, ord("l"))
            array = end.array(3)
            assert (end.text(), array.tobytes()) == ("llo", b"llo")
            array[2] = ord("a")
            last = strchr(strchr(end, ord("l")), ord("a"))
            assert text.text() == "hella"
            kept.extend([end, last, array, last.array(1), strdup(text)])

        c.function("void spell(void (*f)(char *text))")(f)
        gc.collect()
        end, last, array, one, copy = kept
        assert end.closed
        assert last.closed
        with pytest.raises(ValueError, match="got a closed one to char; copy in the callback what"):
            end.text()
        with pytest.raises(mapcall.ArgumentError, match="got a closed handle to char; "):
            strchr(last, 0)
        assert (array.tobytes(), one.tobytes()) == (b"lla", b"a")
        # This handle has its own memory.
        assert not copy.closed
        assert copy.text() == "hella"

    def test_a_destructor_that_waited_for_them_calls_back(
        self, c: C, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        h_free = c.function("void h_free(struct h *h)")
        h_new = c.function("struct h *h_new(int v)", destructor=h_free)
        h_set = c.function("void h_set(struct h *h, void (*cb)(int))")
        pick = c.function("char *pick(char *text, struct h *h)")
        strchr = mapcall.load(None).function("char *strchr(char *text, int character)")
        seen: list[Any] = []

        def ended(number: int) -> None:
            seen.append(number)
            raise LookupError

        keep = h_set.callback("cb", ended)

        def f(text: mapcall.Handle) -> None:
            h = h_new(7)
            h_set(h, keep)
            # Only the handle that `pick` returned keeps `h` alive now.
            h, rest = None, pick(text, h)
            gc.collect()
            assert strchr(rest, ord("l")).text() == "llo"
            assert seen == []

        monkeypatch.setattr(sys, "unraisablehook", lambda hook: seen.append(hook.exc_type))
        c.function("void spell(void (*f)(char *text))")(f)
        gc.collect()
        assert seen == [7, LookupError]

    def test_can_be_returned(self, c: C) -> None:
        identity = c.function("int identity(void *(*f)(void *))")
        assert identity(lambda p: p) == 1
        assert identity(lambda p: None) == 0

    def test_can_be_closed_before(self, c: C) -> None:
        def f(x: mapcall.Handle, *_: Any) -> None:
            x.array(1)[0] = 9
            x.close()

        assert self.edit(c, f) == [9, 2, 3, 4]

    def test_kept_arrays_are_copies(self, c: C) -> None:
        kept: list[np.ndarray] = []

        def f(x: mapcall.Handle, constant: mapcall.Handle, n: int) -> None:
            array = x.array(n)
            kept.extend([array, array[1:], constant.array((2, 2)), x.array((), "i8"), x.array(0)])

        self.edit(c, f)
        gc.collect()
        assert kept[0].tolist() == [1, 2, 3, 4]
        assert kept[1].tolist() == [2, 3, 4]
        assert kept[2].tolist() == [[1, 2], [3, 4]]
        assert kept[3] == np.float64(1).view("i8")
        assert kept[4].shape == (0,)
        kept[0][0] = 5  # Writes to the copy only; C's memory does not change.

    def test_writes_reach_c(self, c: C) -> None:
        def f(x: mapcall.Handle, constant: mapcall.Handle, n: int) -> None:
            array = x.array(n)
            array[1:3] = -constant.array(n)[1:3]
            array[3] += 1

        assert self.edit(c, f) == [1, -2, -3, 5]

    def test_arrays_of_const_handles_are_read_only(self, c: C) -> None:
        def f(x: mapcall.Handle, constant: mapcall.Handle, n: int) -> None:
            array = constant.array(n)
            assert not array.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1
            with pytest.raises(ValueError, match="WRITEABLE"):
                array.setflags(write=True)

        assert self.edit(c, f) == [1, 2, 3, 4]

    def test_arrays_of_one_memory_share_a_copy(self, c: C) -> None:
        def f(x: mapcall.Handle, y: mapcall.Handle) -> None:
            one, two = x.array(4), y.array(2)
            one[1] = 7
            assert two.tolist() == [1, 7]
            two[0] = 6
            assert one.tolist() == [6, 7, 3, 4]

        edit_both = c.function(
            "int edit_both(int n, const double start[n], double result[n],"
            "              void (*f)(double *x, double *y))"
        )
        assert edit_both(np.arange(1.0, 5), f=f)[1].tolist() == [6, 7, 3, 4]

    def test_a_part_first(self, c: C) -> None:
        def f(x: mapcall.Handle, constant: mapcall.Handle, n: int) -> None:
            first = x.array(())
            first[...] = 8
            with pytest.raises(BufferError, match="take the larger array first"):
                x.array(n)
            del first
            array = x.array(n)
            assert array.tolist() == [8, 2, 3, 4]
            # The memory is read-only, so overlapping copies are allowed.
            one = constant.array(())
            assert constant.array(n)[0] == one
            array[3] = 9

        assert self.edit(c, f) == [8, 2, 3, 9]

    def test_functions_called_meanwhile(self, c: C) -> None:
        """Functions called in a callback read the changes of arrays; the next array has theirs."""
        scale = c.function("void scale(int n, double *x, double a)")
        add_up = c.function("double add_up(int n, const double *x)")

        def f(x: mapcall.Handle, constant: mapcall.Handle, n: int) -> None:
            array = x.array(n)
            array[0] = 10
            assert add_up(n, x) == 19
            scale(n, x, 2.0)
            array[1] = 100
            assert x.array(n).tolist() == [20, 100, 6, 8]
            assert array.tolist() == [20, 100, 6, 8]
            scale.unchecked(n, array, 3.0)
            assert array.tolist() == [60, 300, 18, 24]

        assert self.edit(c, f) == [60, 300, 18, 24]

    @pytest.mark.parametrize("threads", [1, 2])
    def test_batches_meanwhile(self, c: C, threads: int) -> None:
        add_first = c.function("double add_first(double a, const double *x)")

        def f(x: mapcall.Handle, *_: Any) -> None:
            array = x.array(1)
            array[0] = 10
            assert (add_first(np.arange(9.0), x, threads=threads) == np.arange(10.0, 19)).all()

        assert self.edit(c, f)[0] == 10

    def test_texts(self, c: C) -> None:
        seen: list[str] = []

        def f(text: mapcall.Handle) -> None:
            text.array(1)[0] = ord("j")
            seen.append(text.text())

        c.function("void spell(void (*f)(char *text))")(f)
        assert seen == ["jello"]

    def test_with_an_owner_there_is_no_copy(self) -> None:
        qsort = mapcall.load(None).function(
            "void *bsearch(const void *key, const void *base, size_t n, size_t size,"
            "              int (*compare)(void *, void *))"
        )
        x, kept = np.arange(3.0), []

        def compare(key: mapcall.Handle, item: mapcall.Handle) -> int:
            kept.append(item.array((), "f8", owner=x))
            return 0

        qsort(x, x, 3, 8, compare)
        kept[0][...] = 11
        assert 11 in x

    def test_against_memory_itself(self, c: C) -> None:
        """Random arrays, writes and calls of C, with an array as the model of C's memory."""
        rng = np.random.default_rng(0)
        scale = c.function("void scale(int n, double *x, double a)")
        for _ in range(100):
            n = int(rng.integers(1, 12))
            model = rng.integers(-9, 9, n).astype(float)

            def f(x: Any, constant: Any, n: int, model: np.ndarray = model) -> None:
                whole = x.array(n)
                for _ in range(int(rng.integers(0, 9))):
                    match rng.integers(0, 4):
                        case 0:
                            i = int(rng.integers(0, n))
                            whole[i] = model[i] = rng.integers(-9, 9)
                        case 1:
                            k = int(rng.integers(0, n + 1))
                            part = x.array(k)
                            assert part.tolist() == model[:k].tolist()
                            part += 1
                            model[:k] += 1
                        case 2:
                            k = int(rng.integers(0, n + 1))
                            scale(k, x, -2.0)
                            model[:k] *= -2
                            assert x.array(n).tolist() == model.tolist()
                        case _:
                            assert whole.tolist() == model.tolist()

            assert self.edit(c, f, model.copy()) == model.tolist()


class TestDestructors:
    """An exception of a destructor's callback belongs to no call, unless `close` runs it."""

    @pytest.fixture
    def make(self, c: C) -> Any:
        free = c.function("struct h; void h_free(struct h *h)")
        new = c.function("struct h; struct h *h_new(int v)", destructor=free)
        set_ = c.function("struct h; void h_set(struct h *h, void (*cb)(int))")

        def failing(v: int) -> None:
            raise LookupError(v)

        callback = set_.callback("cb", failing)

        def make(v: int) -> mapcall.Handle:
            handle = new(v)
            set_(handle, callback)
            return handle

        make.set = set_  # type: ignore[attr-defined]
        return make

    @pytest.fixture
    def heard(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        heard: list[str] = []
        monkeypatch.setattr(sys, "unraisablehook", lambda h: heard.append(repr(h.exc_value)))
        return heard

    def test_outside_of_a_call(self, c: C, make: Any, heard: list[str]) -> None:
        make(3)
        assert heard == ["LookupError(3)"]
        assert c.call(abs, -1) == 1

    def test_inside_a_callback(self, c: C, make: Any, heard: list[str]) -> None:
        def f(x: int) -> int:
            make(4)
            # Neither the next call nor the outer one raises the exception.
            return int(c.call(abs, -x))

        assert c.call(f, 2) == 2
        assert heard == ["LookupError(4)"]

    def test_the_callable_s_own_exception(self, c: C, make: Any, heard: list[str]) -> None:
        def f(x: int) -> int:
            handle = make(5)  # noqa: F841
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            c.call(f, 2)
        gc.collect()
        assert heard == ["LookupError(5)"]

    def test_after_a_callback_has_raised(self, c: C, make: Any, heard: list[str]) -> None:
        """The running call raises the callback's exception, and not that of the destructor."""
        handles = [make(6)]
        c.listen(kept := c.listen.callback("f", lambda x: handles.clear() or {}["first"]))
        with pytest.raises(KeyError, match="first"):
            c.fire(1)
        assert heard == ["LookupError(6)"]
        del kept

    def test_closed(self, make: Any, heard: list[str]) -> None:
        with pytest.raises(LookupError, match="7"):
            make(7).close()
        assert heard == []

    def test_while_an_exception_is_pending(self, make: Any, heard: list[str]) -> None:
        def nothing(*_: Any) -> None: ...

        with pytest.raises(ZeroDivisionError):
            nothing(make(8), 1 / 0)
        assert heard == ["LookupError(8)"]

    def test_a_callback_that_has_died(self, c: C, heard: list[str]) -> None:
        free = c.function("struct h; void h_free(struct h *h)")
        new = c.function("struct h; struct h *h_new(int v)", destructor=free)
        handle = new(9)
        c.function("struct h; void h_set(struct h *h, void (*cb)(int))")(handle, lambda v: None)
        del handle
        assert len(heard) == 1
        assert "h_set: cb: expected a callable that is there when C calls it" in heard[0]
