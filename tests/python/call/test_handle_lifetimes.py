"""Owners of handles, the objects that a handle keeps alive, and read-only memory."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import sys
import threading
import weakref
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
    #include <stdlib.h>
    #include <string.h>
    #include <unistd.h>
    struct box { int value; void (*told)(int); };
    int ended;
    struct box *box_new(int value)
    {
        CALLED;
        struct box *b = calloc(1, sizeof *b);
        b->value = value;
        return b;
    }
    int box_value(const struct box *b) { CALLED; return b->value; }
    void box_tell(struct box *b, void (*told)(int)) { CALLED; b->told = told; }
    int box_end(struct box *b)
    {
        CALLED;
        int value = b->value;
        if (b->told) b->told(value);
        free(b);
        __atomic_add_fetch(&ended, 1, __ATOMIC_SEQ_CST);
        return value;
    }
    int box_take(struct box *b, int x) { box_end(b); return x; }
    static struct box *held;
    void box_hold(struct box *b) { CALLED; held = b; }
    void box_end_held(void) { box_end(held); }
    struct box *box_same(struct box *b) { CALLED; return b; }
    struct box *box_from(struct box *b) { return box_new(b->value); }
    struct box *box_resized(struct box *b, int value)
    {
        CALLED;
        b = realloc(b, sizeof *b + 4096);
        if (b) b->value = value;
        return b;
    }
    void box_pair(struct box *b, struct box *pair[2]) { CALLED; pair[0] = b; pair[1] = 0; }
    int is_ended(void) { CALLED; return __atomic_load_n(&ended, __ATOMIC_SEQ_CST); }
    /* Tells by one pipe that it runs, and waits for the other. */
    int box_wait(struct box *b, int tell, int wait)
    {
        CALLED;
        char byte = 0;
        if (write(tell, &byte, 1) != 1 || read(wait, &byte, 1) != 1) return -1;
        return b->value;
    }
    /* An object that points into an array and a text. */
    struct reader { const double *x; const char *s; };
    struct reader *reader_new(const double *x, size_t n, const char *s)
    {
        CALLED;
        struct reader *r = malloc(sizeof *r);
        r->x = x; r->s = s;
        return r;
    }
    double reader_number(const struct reader *r) { CALLED; return r->x[0]; }
    int reader_byte(const struct reader *r) { CALLED; return r->s[0]; }
    const double *reader_x(const struct reader *r) { CALLED; return r->x; }
    void reader_end(struct reader *r) { CALLED; r->x[0] == 1 ? free(r) : abort(); }
    void first(const double *x, size_t n, double **p, const double **q)
    { CALLED; *p = (double *)x; *q = x; }
    double *into(const double *x, size_t n, size_t i) { CALLED; return (double *)x + i; }
    double *into_void(const void *x) { CALLED; return (double *)x; }
    void set(double *x, double value) { CALLED; *x = value; }
    double get(const double *x) { CALLED; return *x; }
    void zero(void *x) { CALLED; memset(x, 0, 4); }
    static const double constants[3] = {1, 2, 3};
    const double *table(void) { CALLED; return constants; }
    void tables(const double **all) { CALLED; *all = constants; }
    double each(const double *x, size_t n, double (*f)(const double *))
    { CALLED; double sum = 0; for (size_t i = 0; i < n; i++) sum += f(x + i); return sum; }
    """
)
NEW = "struct box *box_new(int value)"
END = "int box_end(struct box *b)"
TAKE = "int box_take(struct box *b, int x) __attribute__((ownership_takes(box, 1)))"


@pytest.fixture(scope="module")
def c(compile_c: Any) -> Counted:
    return Counted(compile_c(SOURCE))


@pytest.fixture
def end(c: Counted) -> mapcall.Function:
    return c.function(END)


@pytest.fixture
def new(c: Counted, end: mapcall.Function) -> mapcall.Function:
    return c.function(NEW, destructor=end)


@pytest.fixture
def ended(c: Counted) -> Callable[[], int]:
    """Returns a function for the number of boxes that have ended since the test began."""
    is_ended = c.function("int is_ended(void)")
    gc.collect()
    before = is_ended()
    return lambda: is_ended() - before


def ways(c: Counted) -> list[Callable[..., Any]]:
    end = c.function(END)
    return [
        end,
        end.unchecked,
        pickle.loads(pickle.dumps(end)),
        lambda handle: end(b=handle),
        c.function("int box_end(void *object)"),
        c.function("typedef struct box *pointer; int box_end(pointer b)"),
        c.function('int by_another_name(struct box *b) __asm__("box_end")'),
        *(c.function(END, **options) for options in OPTIONS),
    ]


OPTIONS: list[dict[str, Any]] = [
    {"engine": "libffi"},
    {"gil": "release"},
    {"gil": "hold"},
    {"check": "errno"},
]


def kept_by(handle: mapcall.Handle) -> list[Any]:
    """Returns the tuples of objects that a handle refers to for the garbage collector."""
    return [each for each in gc.get_referents(handle) if isinstance(each, tuple)]


class TestOwnership:
    @pytest.mark.parametrize("way", range(7 + len(OPTIONS)))
    def test_its_destructor_closes_it(self, c: Counted, new: Any, ended: Any, way: int) -> None:
        handle = new(3)
        assert ways(c)[way](handle) == 3
        assert (handle.closed, handle.address, ended()) == (True, None, 1)
        handle.close()
        del handle
        gc.collect()
        assert ended() == 1

    def test_also_when_the_call_fails(self, c: Counted, new: Any, ended: Any) -> None:
        def wrong(result: object) -> None:
            raise LookupError(result)

        for check, error in [("zero", mapcall.CallError), (wrong, LookupError)]:
            handle = new(3)
            with pytest.raises(error):
                c.function(END, check=check)(handle)
            assert handle.closed
        handle = new(3)

        def told(value: int) -> None:
            raise LookupError(value)

        tell = c.function("void box_tell(struct box *b, void (*told)(int))")
        kept = tell.callback("told", told)
        tell(handle, kept)
        with pytest.raises(LookupError):
            c.function(END)(handle)
        assert handle.closed
        del handle
        assert ended() == 3

    def test_not_when_it_is_refused(self, c: Counted, new: Any, ended: Any) -> None:
        take = c.function(TAKE)
        handle = new(3)
        for wrong in ("x", 1.5, None, 2**40):
            before = c.called
            with pytest.raises(mapcall.ArgumentError):
                take(handle, wrong)
            assert c.called == before
            assert not handle.closed
        with pytest.raises(mapcall.ArgumentError):
            take(handle)
        assert c.function("int box_value(const struct box *b)")(handle) == 3
        del handle
        assert ended() == 1

    def test_ownership_attributes_of_a_prototype(
        self, c: Counted, new: Any, ended: Any, tmp_path: Path
    ) -> None:
        header = tmp_path / "box.h"
        header.write_text(f"struct box;\n{TAKE};\n")
        takes = [
            c.function(TAKE),
            c.function(TAKE, engine="libffi").unchecked,
            pickle.loads(pickle.dumps(c.function(TAKE))),
            c.function("[[clang::ownership_takes(box, 1)]] int box_take(struct box *b, int x)"),
            mapcall.load(c.path, header=header).box_take,
        ]
        assert takes[0].prototype == TAKE.replace("(box,", "(malloc,")
        for count, take in enumerate(takes, 1):
            handle = new(3)
            assert take(handle, 7) == 7
            assert (handle.closed, ended()) == (True, count)
        handle = c.function(NEW)(3)
        takes[0](handle, 7)
        assert handle.closed
        with pytest.raises(mapcall.PrototypeError, match="number of a pointer parameter"):
            c.function("int box_take(struct box *b, int x) __attribute__((ownership_takes(x, 2)))")

    def test_an_object_that_moves(self, c: Counted, new: Any, end: Any, ended: Any) -> None:
        resized = c.function(
            "struct box *box_resized(struct box *b, int value)"
            " __attribute__((ownership_takes(box, 1)))",
            destructor=end,
        )
        handle = new(1)
        for value in range(100):
            old, handle = handle, resized(handle, value)
            assert old.closed
            assert not handle.closed
        assert ended() == 0
        handle.close()
        assert ended() == 1

    def test_an_object_that_is_held(self, c: Counted, new: Any, ended: Any) -> None:
        hold = c.function("void box_hold(struct box *b) __attribute__((ownership_holds(box, 1)))")
        handle = new(3)
        hold(handle)
        assert not handle.closed
        assert c.function("int box_value(const struct box *b)")(handle) == 3
        handle.close()
        del handle
        assert ended() == 0
        c.function("void box_end_held(void)")()
        assert ended() == 1

    def test_release(self, c: Counted, new: Any, ended: Any) -> None:
        handle = new(3)
        address = handle.address
        view = handle.array(1, "i4")
        with pytest.raises(BufferError, match="got one with 1"):
            handle.release()
        del view
        assert handle.release() == address
        assert handle.closed
        assert handle.release() is None
        del handle
        assert ended() == 0

    def test_only_a_handle_is_taken(self, c: Counted) -> None:
        zero = c.function("void zero(void *x) __attribute__((ownership_takes(malloc, 1)))")
        x = np.ones(4)
        for wrong, found in [(x, "a ndarray"), (bytearray(8), "an array")]:
            for function in (zero, zero.unchecked):
                c.refuses(
                    "zero: x: expected a pointer whose object C may own, got "
                    f"{found}; give a handle or None",
                    function,
                    wrong,
                )
        with pytest.raises(mapcall.ArgumentError, match="whose object C may own"):
            zero.unchecked(x.ctypes)
        for text in ("double x[4]", "const char *x"):
            with pytest.raises(mapcall.PrototypeError, match="expected a pointer that takes a"):
                c.function(f"void zero({text}) __attribute__((ownership_takes(malloc, 1)))")

    def test_batches(self, c: Counted, new: Any, end: Any, ended: Any) -> None:
        handle = new(3)
        many = (
            "box_end: b: expected one call, as C owns a pointer to box then, got a batch;"
            " call it once for each item"
        )
        c.refuses(many, end, handle, out=np.empty(3, "i4"))
        c.refuses(many, end, handle, out=np.empty(0, "i4"))
        c.refuses(many, end, handle, where=np.array([True, False]))
        c.refuses(many, end, handle, where=False)
        take = c.function(TAKE)
        c.refuses(many.replace("_end", "_take"), take, handle, np.arange(3, dtype="i4"))
        assert not handle.closed
        assert end(handle, out=np.empty((), "i4")) == 3
        assert (handle.closed, ended()) == (True, 1)
        handle = new(3)
        assert take(handle, np.array([7], "i4")).tolist() == [7]
        assert (handle.closed, ended()) == (True, 2)

    def test_arrays_on_its_memory(self, c: Counted, new: Any, end: Any, ended: Any) -> None:
        handle = new(3)
        view = handle.array(1, "i4")
        before = c.called
        with pytest.raises(BufferError, match="box without arrays on its memory, got one with 1"):
            end(handle)
        assert (c.called, handle.closed, view.tolist()) == (before, False, [3])
        del view
        end(handle)
        assert ended() == 1

    def test_one_handle_twice(self, c: Counted, new: Any, ended: Any) -> None:
        handle = new(3)
        for numbers in ("1", "2", "1, 2"):
            both = c.function(
                "int box_value(struct box *b, struct box *other)"
                f" __attribute__((ownership_takes(box, {numbers})))"
            )
            before = c.called
            with pytest.raises(mapcall.ArgumentError, match=r"in use;|a closed handle"):
                both(handle, handle)
            assert c.called == before
        assert not handle.closed
        del handle
        assert ended() == 1

    def test_another_handle_to_the_object(self, c: Counted, new: Any, end: Any, ended: Any) -> None:
        same = c.function("struct box *box_same(struct box *b)")
        handle = new(3)
        other = same(same(handle))
        end(other)
        assert handle.closed
        assert other.closed
        del handle, other
        assert ended() == 1

    def test_while_another_thread_uses_it(self, c: Counted, new: Any, end: Any, ended: Any) -> None:
        wait = c.function("int box_wait(struct box *b, int tell, int wait)", gil="release")
        handle = new(3)
        (told, tell), (waited, go) = os.pipe(), os.pipe()
        results: list[int] = []
        thread = threading.Thread(target=lambda: results.append(wait(handle, tell, waited)))
        thread.start()
        os.read(told, 1)
        c.refuses(
            "box_end: b: expected a pointer to box that nothing else uses, got a handle to box in"
            " use; wait for the other calls, and drop the arrays on its memory",
            end,
            handle,
        )
        assert not handle.closed
        os.write(go, b"x")
        thread.join()
        end(handle)
        assert (results, ended()) == ([3], 1)
        for descriptor in (told, tell, waited, go):
            os.close(descriptor)

    @pytest.mark.usefixtures("switching")
    def test_many_threads_end_it_once(self, c: Counted, new: Any, ended: Any) -> None:
        end = c.function(END, gil="release")
        rounds, count = 100, 4
        start = threading.Barrier(count)
        handles = [new(value) for value in range(rounds)]

        def run(number: int) -> None:
            for handle in handles:
                start.wait()
                if number == 0:
                    handle.close()
                    continue
                with contextlib.suppress(mapcall.ArgumentError):
                    end(handle)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        handles.clear()
        assert ended() == rounds

    def test_an_argument_that_ends_it_meanwhile(
        self, c: Counted, new: Any, end: Any, ended: Any
    ) -> None:
        class Number:
            def __init__(self, act: Callable[[], object]) -> None:
                self.act = act

            def __index__(self) -> int:
                self.act()
                return 7

        take = c.function(TAKE)
        handle = new(3)
        assert take(handle, Number(handle.close)) == 7
        assert (handle.closed, ended()) == (True, 1)
        handle = new(3)
        with pytest.raises(mapcall.ArgumentError, match="a closed handle to box"):
            take(handle, Number(lambda: end(handle)))
        assert not handle.closed
        value = c.function("int box_value(const struct box *b, int x)")
        assert value(handle, Number(handle.close)) == 3
        assert (handle.closed, ended()) == (True, 2)


class TestKeptAlive:
    def test_a_text(self, c: Counted) -> None:
        strchr = mapcall.load(None).function("char *strchr(const char *s, int c)")
        for text in (("k" * 500 + "=v").encode(), "k" * 500 + "=v"):
            found = strchr(text, ord("="))
            assert kept_by(found) == [(text,)]
            assert found.readonly

    def test_freed_memory_is_not_read(
        self, run_script: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Freed memory is overwritten in this test."""
        monkeypatch.setenv("MALLOC_PERTURB_", "165")
        monkeypatch.setenv("PYTHONMALLOC", "malloc")
        script = """
            import ctypes, gc, numpy as np, mapcall
            libc = mapcall.load(None)
            strchr = libc.function("char *strchr(const char *s, int c)")
            print(strchr("k" * 5000 + "=text", ord("=")).text())
            print(strchr(b"k" * 5000 + b"=bytes", ord("=")).text())
            measured = "void *memchr(const unsigned char s[n], int c, size_t n)"
            unmeasured = "void *memchr(const void *s, int c, size_t n)"
            for size in (100, 1 << 22):
                array = libc.function(measured)(np.ones(size, "u1"), 1).array(3, "u1")
                gc.collect()
                junk = [np.full(size, 2, "u1") for _ in range(9)]
                print(array.tolist())
                memchr = libc.function(unmeasured)
                class Interface:
                    def __init__(self):
                        self.array = np.ones(size, "u1")
                    @property
                    def __array_interface__(self):
                        return self.array.__array_interface__
                for given in (bytearray(b"\\1" * size), memoryview(b"\\1" * size), Interface(),
                              np.ones(size, "u1"), (ctypes.c_ubyte * size)(1, 1, 1)):
                    found = memchr(given, 1, 3)
                    del given
                    found = memchr(found, 1, 3)
                    gc.collect()
                    print(found.array(1, "u1").tolist())
            # A text is copied in time, also from what is only seen as an array.
            name = libc.function("const char *strdup(const void *s)")
            print(libc.function("const char *strstr(const char *s, const char *t)")(
                "k" * 5000 + "=copy", "="))
        """
        expected = ["=text", "=bytes"] + 2 * (["[1, 1, 1]"] + 5 * ["[1]"]) + ["=copy"]
        assert run_script(script).splitlines() == expected

    def test_an_object_that_points_into_arguments(self, c: Counted) -> None:
        end = c.function("void reader_end(struct reader *r)")
        reader_new = c.function(
            "struct reader *reader_new(const double x[n], size_t n, const char *s)",
            destructor=end,
        )
        number = c.function("double reader_number(const struct reader *r)")
        x, text = np.ones(1 << 20), b"text" * 1000
        memory = weakref.ref(x)
        reader = reader_new(x, text)
        del x, text
        gc.collect()
        assert number(reader) == 1
        assert c.function("int reader_byte(const struct reader *r)")(reader) == ord("t")
        # The returned handle keeps both alive, and their destructors run after it.
        inner = c.function("const double *reader_x(const struct reader *r)")(reader)
        del reader
        gc.collect()
        assert (memory() is None, inner.readonly) == (False, True)
        array = inner.array(1 << 20)
        del inner
        gc.collect()
        assert array.sum() == 1 << 20
        del array
        gc.collect()
        assert memory() is None

    def test_outputs(self, c: Counted) -> None:
        first = c.function(
            "void first(const double x[n], size_t n, double *p[1], const double *q[1])"
        )
        x = np.arange(3.0)
        [p], [q] = first(x)
        memory = weakref.ref(x)
        del x
        gc.collect()
        assert (p.readonly, q.readonly) == (False, True)
        assert p.array(3).tolist() == q.array(3).tolist() == [0, 1, 2]
        del p
        gc.collect()
        assert memory() is not None
        del q
        gc.collect()
        assert memory() is None

    def test_handles(self, c: Counted, new: Any, end: Any, ended: Any) -> None:
        same = c.function("struct box *box_same(struct box *b)")
        value = c.function("int box_value(const struct box *b)")
        parent = new(3)
        child = same(parent)
        del parent
        gc.collect()
        assert (value(child), ended()) == (3, 0)
        pair = c.function("void box_pair(struct box *b, struct box *pair[2])")(child)
        del child
        gc.collect()
        assert (value(pair[0]), pair[1], ended()) == (3, None, 0)
        del pair
        gc.collect()
        assert ended() == 1
        # A handle can be closed in any case, and the handle made from it stays open.
        parent = new(3)
        child = c.function("struct box *box_from(struct box *b)", destructor=end)(parent)
        parent.close()
        assert ended() == 2
        assert value(child) == 3
        del child
        assert ended() == 3

    def test_a_chain_doesnt_grow(self, c: Counted, new: Any, end: Any, ended: Any) -> None:
        found = c.function("double *into(const void *x, size_t n, size_t i)")
        x = np.arange(4.0)
        handle = found(x, 4, 0)
        before = sys.getrefcount(x)
        for _ in range(1000):
            handle = found(handle, 4, 0)
        ((only,),) = kept_by(handle)
        assert only is x
        del only
        assert sys.getrefcount(x) == before
        # Each handle keeps the one before it alive. Dropping the chain must not overflow the stack.
        derive = c.function("struct box *box_from(struct box *b)", destructor=end)
        handle = new(1)
        for _ in range(10_000):
            handle = derive(handle)
        assert ended() == 0
        del handle
        assert ended() == 10_001

    def test_an_array_that_is_pointed_into_is_not_resized(self, c: Counted) -> None:
        x = np.arange(3.0)
        handle = c.function("double *into(const double x[n], size_t n, size_t i)")(x, 1)
        with pytest.raises(ValueError, match="cannot resize an array that references"):
            x.resize(1 << 20)
        assert handle.array(2).tolist() == [1, 2]

    def test_cycles_are_collected(self, c: Counted) -> None:
        class Array(np.ndarray):
            handle: mapcall.Handle

        into = c.function("double *into(const double x[n], size_t n, size_t i)")
        x = np.arange(3.0).view(Array)
        x.handle = into(x, 1)
        memory = weakref.ref(x)
        ((kept,),) = kept_by(x.handle)
        assert kept is x
        del x, kept
        gc.collect()
        assert memory() is None

    def test_numbers_keep_nothing(self, c: Counted) -> None:
        x = np.ones(3)
        before = sys.getrefcount(x)
        result = c.function("double get(const double x[1])")(x[:1])
        assert (result, sys.getrefcount(x)) == (1, before)


class TestConst:
    def test_results(self, c: Counted) -> None:
        for prototype in (
            "const double *table(void)",
            "double const *table(void)",
            "typedef const double fixed; fixed *table(void)",
            "const double (*table(void))[3]",
            "const void *table(void)",
        ):
            handle = c.function(prototype)()
            assert handle.readonly
            array = handle.array((), "f8")
            assert array.tolist() == 1
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 9
            with pytest.raises(ValueError, match="cannot set WRITEABLE"):
                array.flags.writeable = True
            with pytest.raises(ValueError, match="cannot set WRITEABLE"):
                array[...].setflags(write=True)
        [handle] = c.function("void tables(const double *all[1])")()
        assert (handle.readonly, handle.array(3).flags.writeable) == (True, False)
        owned = c.function("const double *table(void)")().array(3, owner=object())
        assert not owned.flags.writeable
        assert not c.function("double *table(void)")().readonly

    def test_callbacks(self, c: Counted) -> None:
        each = c.function("double each(const double x[n], size_t n, double (*f)(const double *))")
        x = np.arange(3.0)
        x.setflags(write=False)
        seen: list[bool] = []

        def look(item: mapcall.Handle) -> float:
            seen.append(item.readonly)
            array = item.array(())
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 9
            return float(array)

        assert each(x, look) == 3
        assert (seen, x.tolist()) == ([True] * 3, [0, 1, 2])

    def test_into_memory_that_is_read_only(
        self, c: Counted, tmp_path: Path, run_script: Callable[..., str]
    ) -> None:
        """The result of `strchr` isn't const although its argument may be."""
        into = c.function("double *into(const double x[n], size_t n, size_t i)")
        x = np.arange(4.0)
        assert into(x, 1).array(2).flags.writeable
        frozen = x[:]
        frozen.setflags(write=False)
        assert into(frozen, 1).readonly
        path = tmp_path / "x.dat"
        x.tofile(path)
        mapped = mapcall.memmap(path, np.float64, mode="r")
        handle = into(mapped, 3)
        array = handle.array(1)
        assert array.tolist() == [3]
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 9
        put = c.function("void set(double *x, double value)")
        refused = (
            "set: x: expected a pointer to double, writeable, got a handle to const double;"
            " bind it with const for x, if it only reads"
        )
        for given in (handle, into(frozen, 0), c.function("const double *table(void)")()):
            c.refuses(refused, put, given, 9)
            c.refuses(refused, put.unchecked, given, 9)
            with pytest.raises(mapcall.ArgumentError, match="writeable"):
                c.function("void zero(void *x)")(given)
            assert c.function("double get(const double *x)")(given) == given.array(1)[0]
        put(into(x, 0), 9)
        assert x[0] == 9
        # Pointers made from pointers, and memory that is exported as an array.
        again = c.function("double *into_void(const void *x)")
        assert again(handle).readonly
        assert again(bytes(8)).readonly
        assert not again(bytearray(8)).readonly
        # Const is not checked for an opaque struct: a C compiler only warns about it.
        box = c.function("const struct box *box_new(int value)", destructor=c.function(END))(3)
        tell = c.function("void box_tell(struct box *b, void (*told)(int))")
        tell(box, None)
        assert (box.readonly, c.function(END)(box), box.closed) == (True, 3, True)


class TestDestructors:
    SCRIPT = """
        import sys, mapcall
        lib = mapcall.load(sys.argv[1])
        end = lib.function("int box_end(struct box *b)")
        new = lib.function("struct box *box_new(int value)", destructor=end)
        same = lib.function("struct box *box_same(struct box *b)")
        tell = lib.function("void box_tell(struct box *b, void (*told)(int))")
        log, unraisable = [], []
        sys.unraisablehook = lambda what: unraisable.append(what.exc_type.__name__)
        keep = tell.callback("told", log.append)
        def fail(value):
            raise LookupError(value)
        fails = tell.callback("told", fail)
        def make(value, told=keep):
            box = new(value)
            tell(box, told)
            return box
    """

    def test_while_an_exception_is_pending(
        self, c: Counted, run_script: Callable[..., str]
    ) -> None:
        script = (
            self.SCRIPT
            + """
        class Evil:
            def __index__(self):
                raise KeyError("evil")
        def nothing(*arguments): pass
        value = lib.function("int box_value(const struct box *b, int x)")
        for act in (
            lambda: nothing(make(1), 1 / 0),
            lambda: [make(2), make(3)][Evil()],
            lambda: value(make(4), Evil()),
            lambda: nothing(make(5).array(1, "i4"), 1 / 0),
            lambda: nothing(same(make(6)), 1 / 0),
            lambda: sorted([make(7), 1]),
            lambda: nothing(make(8, fails), 1 / 0),
        ):
            try:
                act()
            except (ZeroDivisionError, KeyError, TypeError) as error:
                print(type(error).__name__, log, unraisable)
            log.clear()
            """
        )
        assert run_script(script, c.path).splitlines() == [
            "ZeroDivisionError [1] []",
            "KeyError [3, 2] []",
            "KeyError [4] []",
            "ZeroDivisionError [5] []",
            "ZeroDivisionError [6] []",
            "TypeError [7] []",
            "ZeroDivisionError [] ['LookupError']",
        ]

    def test_close_raises(self, c: Counted, run_script: Callable[..., str]) -> None:
        script = (
            self.SCRIPT
            + """
        box = make(1, fails)
        try:
            box.close()
        except LookupError as error:
            print(repr(error), box.closed, unraisable)
        """
        )
        assert run_script(script, c.path) == "LookupError(1) True []\n"
