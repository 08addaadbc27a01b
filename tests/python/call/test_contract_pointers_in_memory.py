"""Pointers in memory: lists for arrays of pointers, structs from dicts, and members of structs."""

from __future__ import annotations

import ctypes
import gc
import pickle
import sys
import weakref
from typing import Any

import numpy as np
import pytest

import mapcall
from counted import PRELUDE, Counted

TYPES = """
struct slice { const double *data; size_t len; };
struct ops { int (*add)(int a, int b); int (*negate)(int a); };
typedef struct { char name[8]; short codes[3]; union { int whole; float part; }; } tag;
struct node { int value; struct node *next; tag tag; const char *label; char *buffer; void *any; };
struct obj;
"""
SOURCE = (
    PRELUDE
    + TYPES
    + """
    #include <string.h>
    double sum(const struct slice *s)
    { CALLED; double t = 0; for (size_t i = 0; i < s->len; i++) t += s->data[i]; return t; }
    double sum_of(struct slice s) { return sum(&s); }
    double sums(size_t n, const struct slice s[n])
    { double t = 0; for (size_t i = 0; i < n; i++) t += sum(s + i); return t; }
    int run(const struct ops *o, int a)
    { CALLED; int x = o->add(a, 1); return o->negate ? o->negate(x) : x; }
    static int add(int a, int b) { return a + b; }
    static int negate(int a) { return -a; }
    static struct ops all = {add, negate};
    struct ops *ops(void) { return &all; }
    int length(int n, const char *const *s)
    { CALLED; int t = 0; for (int i = 0; i < n; i++) t += s[i] ? strlen(s[i]) : 100; return t; }
    int count(char **argv) { CALLED; int n = 0; while (argv[n]) argv[n++][0] = '-'; return n; }
    double rows(int n, int m, double *const *r)
    {
        CALLED;
        double s = 0;
        for (int i = 0; i < n; i++) for (int j = 0; r[i] && j < m; j++) { s += r[i][j]; }
        return s;
    }
    void fill(int n, int m, double *const *r)
    { CALLED; for (int i = 0; i < n; i++) for (int j = 0; j < m; j++) r[i][j] = i + j; }
    const char *pick(int n, const char *const *s) { CALLED; return s[n - 1]; }
    double late(double *const *r, int m) { return rows(1, m, r); }
    double *row(int n, double *const *r) { CALLED; return r[n - 1]; }
    struct obj { int v; };
    void make(int n, struct obj **all)
    {
        static struct obj o[8];
        for (int i = 0; i < n; i++) { o[i].v = i; all[i] = o + i; }
    }
    int total(int n, struct obj *const *all)
    { CALLED; int t = 0; for (int i = 0; i < n; i++) t += all[i]->v; return t; }
    int both(int n, int (*const *f)(int), int x)
    { CALLED; int t = 0; for (int i = 0; i < n; i++) t += f[i](x); return t; }
    int depth(const struct node *n)
    { CALLED; int d = 0; for (; n; n = n->next) d += n->value; return d; }
    struct flags { unsigned kind : 3; int level : 6; _Bool on : 1; int rest; };
    int bits(const struct flags *f) { return f->kind + 10 * f->level + 1000 * f->on; }
    int codes(const tag *t)
    { CALLED; return t->codes[0] + 10 * t->codes[1] + 100 * t->codes[2] + t->whole; }
    void set(struct node *n) { n->value = 7; n->label = "set by C"; n->next = 0; }
    """
)


@pytest.fixture(scope="module")
def c(compile_c: Any) -> Counted:
    return Counted(compile_c(SOURCE))


class TestLists:
    def test_texts(self, c: Counted) -> None:
        length = c.function("int length(int n, const char *const s[n])")
        assert length(["a", b"bc", "def"]) == 6
        assert length([]) == 0
        assert length(("é", None)) == 102
        assert length([np.frombuffer(b"four\0", "u1")]) == 4
        for wrong, message in [
            ([1], r"length: s\[0\]: expected text, got an int; give a str"),
            (["a", "b\0c"], r"length: s\[1\]: expected text without NUL"),
            (["a", ["b"]], r"length: s\[1\]: expected text, got a list"),
            ([np.ones(2)], r"length: s\[0\]: expected text, got an array of float64"),
        ]:
            before = c.called
            with pytest.raises(mapcall.ArgumentError, match=message):
                length(wrong)
            assert c.called == before

    def test_the_number_of_elements_agrees(self, c: Counted) -> None:
        length = c.function("int length(int n, const char *const s[n])")
        assert length(["a"], n=1) == 1
        with pytest.raises(mapcall.ArgumentError, match="n"):
            length(["a"], n=2)

    def test_argv(self, c: Counted) -> None:
        count = c.function("int count(char **argv)")
        # C writes to copies.
        words = ["one", b"two", "x"]
        assert count(words) == 3
        assert words == ["one", b"two", "x"]
        assert count([]) == 0
        extents = c.function("int count(char *argv[n], int n)")
        assert extents(["one"], n=1) == 1

    def test_pointers_without_an_extent_are_refused(self, c: Counted) -> None:
        rows = c.function("double rows(int n, int m, double *const *r)")
        with pytest.raises(
            mapcall.ArgumentError, match=r"write r\[n\], r\[m\] or r\[n\*m\] in the"
        ):
            rows(1, 2, [np.ones(2)])
        assert rows.unchecked(1, 2, [np.ones(2)]) == 2

    def test_rows(self, c: Counted) -> None:
        rows = c.function("double rows(int n, int m, double *const r[n])")
        fill = c.function("void fill(int n, int m, double *const r[n])")
        x = [np.zeros(3), np.zeros((1, 3)), memoryview(bytearray(24)).cast("d")]
        fill(3, x)
        assert [np.ravel(row).tolist() for row in x] == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
        assert rows(m=3, r=x) == 18
        assert rows(3, [x[0], None]) == 3
        readonly = np.zeros(3)
        readonly.flags.writeable = False
        for wrong, message in [
            (np.zeros(3, "f4"), r"r\[1\]: expected a pointer to double, got an array of float32"),
            (np.zeros(6)[::2], r"r\[1\]: expected a pointer to double, C-contiguous"),
            (readonly, r"r\[1\]: expected a pointer to double, writeable"),
            (np.ma.masked_array([1.0], True), r"r\[1\]: expected .* without masked elements"),
            ("text", r"r\[1\]: expected a pointer to double, got a text"),
        ]:
            before = c.called
            with pytest.raises(mapcall.ArgumentError, match=message):
                rows(3, [x[0], wrong])
            assert c.called == before
        const = c.function("double rows(int n, int m, const double *const r[n])")
        assert const(3, [readonly, x[0]]) == 3

    def test_results_keep_elements_alive(self, c: Counted) -> None:
        row = c.function("double *row(int n, double *const r[n])")
        x = np.arange(3.0)
        alive = weakref.ref(x)
        handle = row([np.zeros(1), x])
        del x
        gc.collect()
        assert handle.array(3).tolist() == [0, 1, 2]
        del handle
        gc.collect()
        assert alive() is None
        pick = c.function("const char *pick(int n, const char *const s[n])")
        assert pick(["a", "last" + "!" * 3]) == "last!!!"

    def test_handles(self, c: Counted) -> None:
        make = c.function("struct obj; void make(int n, struct obj *all[n])")
        total = c.function("struct obj; int total(int n, struct obj *const all[n])")
        handles = make(n=4)
        assert total(handles) == 6
        assert total(handles[1:3]) == 3
        with pytest.raises(
            mapcall.ArgumentError, match=r"all\[1\]: expected a pointer to obj, got a handle"
        ):
            total([handles[0], mapcall.load(None).function("struct other *tmpfile(void)")()])
        handles[0].release()
        with pytest.raises(mapcall.ArgumentError, match=r"all\[0\]: .* that is open"):
            total(handles)

    def test_functions(self, c: Counted) -> None:
        both = c.function("typedef int (*fn)(int); int both(int n, const fn f[n], int x)")
        labs = mapcall.load(None).function("int abs(int j)")
        assert both([labs, lambda x: 10 * x], -2) == -18

    def test_an_array_that_changes_while_others_are_read(self, c: Counted) -> None:
        late = c.function("double late(double *const r[1], int m)")
        x = np.ones(4)

        class Shrinking:
            def __index__(self) -> int:
                x.resize(1000, refcheck=False)
                return 1

        with pytest.raises(mapcall.ArgumentError, match="stays as it is"):
            late([x], Shrinking())


class TestDicts:
    def test_by_pointer_and_value(self, c: Counted) -> None:
        for prototype in [
            "double sum(const struct slice *s)",
            "double sum(struct slice *s)",
            "double sum(const struct slice s[1])",
            "double sum_of(struct slice s)",
        ]:
            f = c.function(TYPES + prototype)
            assert f({"data": np.ones(4), "len": 4}) == 4
            assert f({"len": 0}) == 0
            assert f({}) == 0
            made = c.library.struct("slice")(data=np.arange(3.0), len=3)
            assert f(made) == 3
        sums = c.function(TYPES + "double sums(size_t n, const struct slice s[n])")
        assert sums([{"data": np.ones(4), "len": 4}, made]) == 7
        assert sums([]) == 0

    def test_refused(self, c: Counted) -> None:
        f = c.function(TYPES + "double sum(const struct slice *s)")
        for wrong, message in [
            (
                {"dat": np.ones(1)},
                "sum: s: expected the name of a member, got dat; did you mean data?",
            ),
            (
                {"data": np.ones(1, "f4")},
                "sum: s.data: expected a pointer to double, got an array of float32",
            ),
            ({"len": -1}, "sum: s.len: expected unsigned long, got -1"),
            ({"len": 1.5}, "sum: s.len: expected unsigned long, got 1.5"),
            ({"data": np.ones(4)[::2]}, "sum: s.data: expected a pointer to double, C-contiguous"),
            ({"data": {}}, "sum: s.data: expected a pointer to double, got a dict"),
            ({1: 2}, "sum: s: expected the name of a member, got 1"),
            ([], "sum: s: expected"),
            ("text", "sum: s: expected a pointer to slice, got a str"),
        ]:
            before = c.called
            with pytest.raises(mapcall.ArgumentError) as caught:
                f(wrong)
            assert str(caught.value).startswith(message)
            assert c.called == before

    def test_another_struct(self, c: Counted) -> None:
        f = c.function(TYPES + "double sum(const struct slice *s)")
        with pytest.raises(
            mapcall.ArgumentError, match="expected a pointer to slice, got a handle to ops"
        ):
            f(c.library.struct("ops")())

    def test_nested(self, c: Counted) -> None:
        depth = c.function(TYPES + "int depth(const struct node *n)")
        inner = {"value": 2, "next": {"value": 3}, "label": "text", "buffer": b"bytes"}
        assert depth({"value": 1, "next": inner, "tag": {"name": "abc", "codes": [1, 2]}}) == 6
        loop: dict[str, Any] = {"value": 1}
        loop["next"] = loop
        with pytest.raises(RecursionError):
            depth(loop)
        with pytest.raises(mapcall.ArgumentError, match=r"depth: n.tag.codes: expected short\[3\]"):
            depth({"tag": {"codes": [1, 2, 3, 4]}})
        with pytest.raises(mapcall.ArgumentError, match=r"depth: n.tag.codes\[1\]: expected short"):
            depth({"tag": {"codes": [1, 70000]}})
        with pytest.raises(mapcall.ArgumentError, match=r"depth: n.tag.name: "):
            depth({"tag": {"name": "ninechars"}})

    def test_callables(self, c: Counted) -> None:
        run = c.function(TYPES + "int run(const struct ops *o, int a)")
        assert run({"add": lambda a, b: a * b + 5}, 3) == 8
        with pytest.raises(ZeroDivisionError):
            run({"add": lambda a, b: 1 // 0}, 3)
        with pytest.raises(
            mapcall.ArgumentError, match=r"run: o.add: expected a function int \(int, int\)"
        ):
            run({"add": 3}, 3)


class TestStructObjects:
    def test_members(self, c: Counted) -> None:
        codes = c.function(TYPES + "int codes(const tag *t)")
        tag = c.library.struct("tag")(name="abc", codes=[1, 2, 3], whole=1000)
        assert codes(tag) == 1321
        assert tag.name.tobytes() == b"abc\0\0\0\0\0"
        assert (tag.codes.tolist(), tag.whole) == ([1, 2, 3], 1000)
        tag.codes[1] = 7
        tag.whole = 0
        tag.part = 0.0
        assert codes(tag) == 371
        tag.codes = np.array([4, 5, 6], "i2")
        assert np.asarray(tag)["codes"].tolist() == [4, 5, 6]
        np.asarray(tag)["codes"] = 1
        assert codes(tag) == 111
        assert {"name", "codes", "whole", "part"} <= set(dir(tag))
        assert repr(tag).startswith("<tag: name=")
        for use in (
            lambda: tag.cods,
            lambda: setattr(tag, "cods", 1),
            lambda: delattr(tag, "codes"),
        ):
            with pytest.raises(AttributeError):
                use()
        with pytest.raises(mapcall.ArgumentError, match="tag: codes: expected"):
            tag.codes = np.zeros(4, "i2")
        with pytest.raises(
            mapcall.ArgumentError, match="the name of a member, got cods; did you mean codes"
        ):
            c.library.struct("tag")(cods=1)

    def test_pointers(self, c: Counted) -> None:
        depth = c.function(TYPES + "int depth(const struct node *n)")
        node = c.library.struct("node")
        x = np.arange(4.0)
        tail = node(value=2, any=x)
        head = node(value=1, next=tail, label="head", buffer=b"written")
        assert depth(head) == 3
        assert (head.label.text(), head.buffer.text(), tail.next) == ("head", "written", None)
        assert (head.label.readonly, head.buffer.readonly) == (True, False)
        assert tail.any.array(4, "f8").tolist() == [0, 1, 2, 3]
        assert node.at(head.next).value == 2
        node.at(head.next).value = 5
        assert tail.value == 5
        head.next = {"value": 10}
        assert depth(head) == 11
        head.next = None
        assert depth(head) == 1
        with pytest.raises(TypeError, match="has pointers"):
            np.asarray(head)
        with pytest.raises(mapcall.ArgumentError, match="node: next: expected a pointer to node"):
            head.next = c.library.struct("tag")()

    def test_nested_structs_share_memory(self, c: Counted) -> None:
        node = c.library.struct("node")()
        tag = node.tag
        tag.whole = 5
        assert node.tag.whole == 5
        node.tag = {"whole": 6}
        assert node.tag.whole == 6
        other = c.library.struct("node")(tag=node.tag)
        assert other.tag.whole == 6

    def test_a_member_of_a_struct_that_was_assigned_as_a_whole(self, c: Counted) -> None:
        c.function(TYPES + "struct pairs { struct slice a, b; }; double sum(const struct slice *s)")
        pairs = c.library.struct("pairs")()
        x, y = np.ones(3), np.ones(3)
        alive = [weakref.ref(x), weakref.ref(y)]
        pairs.a = {"data": x, "len": 3}
        pairs.b = {"data": y, "len": 3}
        del x, y
        pairs.a.data = None
        pairs.a.len = 0
        gc.collect()
        assert alive[1]() is not None
        pairs.b = {}
        pairs.a = {}
        gc.collect()
        assert [other() for other in alive] == [None, None]

    def test_what_is_assigned_is_kept_alive(self, c: Counted) -> None:
        f = c.function(TYPES + "double sum(const struct slice *s)")
        s = c.library.struct("slice")(len=3)
        x = np.ones(3)
        alive = weakref.ref(x)
        s.data = x
        del x
        gc.collect()
        assert f(s) == 3
        # A handle that was read before keeps the array as well.
        handle = s.data
        s.data = None
        assert handle.array(3).tolist() == [1, 1, 1]
        del handle
        gc.collect()
        assert alive() is None
        x = np.ones(3)
        s.data = x
        with pytest.raises(ValueError, match="referenced"):
            x.resize(1000)
        with pytest.raises(ValueError, match="referenced"):
            x.resize(1000, refcheck=False)

    def test_a_handle_stays_open(self, c: Counted) -> None:
        libc = mapcall.load(None)
        freed = []
        free = libc.function("void free(void *p)")
        malloc = libc.function(
            "void *malloc(size_t n)", destructor=lambda p: (freed.append(1), free(p))
        )
        node = c.library.struct("node")(any=malloc(8))
        gc.collect()
        assert not freed
        node.any = None
        assert freed == [1]

    def test_function_pointers(self, c: Counted) -> None:
        run = c.function(TYPES + "int run(const struct ops *o, int a)")
        ops = c.library.struct("ops").at(c.function(TYPES + "struct ops *ops(void)")())
        assert (ops.add(2, 3), ops.negate(4)) == (5, -4)
        assert run(ops, 3) == -4
        mine = c.library.struct("ops")(add=ops.add)
        assert run(mine, 3) == 4
        mine.negate = lambda a: a + 100
        gc.collect()
        assert run(mine, 3) == 104
        assert mine.negate(1) == 101
        kept = c.library.struct("ops").callback("negate", lambda a: 0)
        mine.negate = kept
        assert run(mine, 3) == 0
        with pytest.raises(ValueError, match="function pointer"):
            c.library.struct("ops").callback("nothing", abs)
        with pytest.raises(mapcall.ArgumentError, match="ops: add: expected a function"):
            mine.add = ops.negate

    def test_cycles_are_collected(self, c: Counted) -> None:
        class Owner:
            pass

        owner = Owner()
        owner.ops = c.library.struct("ops")()
        owner.ops.negate = lambda a, owner=owner: a
        alive = weakref.ref(owner)
        del owner
        gc.collect()
        assert alive() is None

    def test_bit_fields(self, c: Counted) -> None:
        text = "struct flags { unsigned kind : 3; int level : 6; _Bool on : 1; int rest; };"
        bits = c.function(TYPES + text + "int bits(const struct flags *f)")
        flags = c.library.struct("flags")(kind=5, level=-7, on=True, rest=9)
        assert (flags.kind, flags.level, flags.on, flags.rest) == (5, -7, True, 9)
        assert bits(flags) == bits({"kind": 5, "level": -7, "on": True}) == 5 - 70 + 1000
        flags.kind = 2
        assert (flags.kind, flags.level, bits(flags)) == (2, -7, 2 - 70 + 1000)
        for member, wrong in [("kind", 8), ("level", -33), ("kind", 0.5), ("on", "text")]:
            with pytest.raises(mapcall.ArgumentError, match=f"flags: {member}: expected .* bits"):
                setattr(flags, member, wrong)

    def test_c_writes(self, c: Counted) -> None:
        change = c.function(TYPES + "void set(struct node *n)")
        node = c.library.struct("node")(next={}, label="mine")
        change(node)
        assert (node.value, node.next, node.label.text()) == (7, None, "set by C")

    def test_references(self, c: Counted) -> None:
        s = c.library.struct("slice")
        x = np.ones(3)
        before = sys.getrefcount(x)
        for _ in range(100):
            s(data=x, len=3)
        f = c.function(TYPES + "double sum(const struct slice *s)")
        for _ in range(100):
            f({"data": x, "len": 3})
            f([{"data": x, "len": 3}][0])
        gc.collect()
        assert sys.getrefcount(x) == before


class TestFunctionPointers:
    def test_a_result(self) -> None:
        text = "typedef int (*fn)(int); fn dlsym(void *handle, const char *name)"
        dlsym = mapcall.load(None).function(text)
        fn = dlsym(None, "abs")
        assert fn(-3) == 3
        assert fn.name == "fn"
        assert dlsym(None, "no_such_function") is None
        with pytest.raises(mapcall.ArgumentError, match="fn: arg0: expected int"):
            fn("3")
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(fn)

    def test_a_callback_that_comes_back(self) -> None:
        signal = mapcall.load(None).function(
            "typedef void (*handler)(int number); handler signal(int number, handler act)"
        )
        seen: list[int] = []
        mine = signal.callback("act", seen.append)
        old = signal(12, mine)
        back = signal(12, old)
        back(5)
        assert seen == [5]

    def test_an_address(self, c: Counted) -> None:
        libc = mapcall.load(None)
        dlsym = libc.function("void *dlsym(void *handle, const char *name)")
        address = dlsym(None, "abs")
        for given in (
            address,
            address.address,
            ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(address.address),
            libc.function("int abs(int j)"),
        ):
            assert libc.function("int magnitude(int x)", address=given)(-4) == 4
        with pytest.raises(ValueError, match="not 0"):
            libc.function("int magnitude(int x)", address=0)


class TestHandles:
    def test_from_an_address(self) -> None:
        libc = mapcall.load(None)
        x = np.arange(3.0)
        for address in (x.ctypes.data, x.ctypes.data_as(ctypes.POINTER(ctypes.c_double))):
            handle = libc.handle("double *", address)
            assert (handle.type, handle.address) == ("double", x.ctypes.data)
            assert handle.array(3).tolist() == [0, 1, 2]
        assert libc.handle("const double *", x.ctypes.data).readonly
        seen = []
        with libc.handle("struct obj *", 16, lambda h: seen.append((h.type, h.address))):
            pass
        assert seen == [("obj", 16)]
        with pytest.raises(ValueError, match="not 0"):
            libc.handle("void *", 0)
        for wrong in ("int", "int (*)(int)", "double"):
            with pytest.raises(mapcall.PrototypeError):
                libc.handle(wrong, 16)

    def test_a_destructor_in_a_cycle(self) -> None:
        libc = mapcall.load(None)
        free = libc.function("void free(void *p)")
        freed = []

        class Owner:
            def __init__(self) -> None:
                malloc = libc.function("void *malloc(size_t n)", destructor=self.destroy)
                self.memory = malloc(8)

            def destroy(self, memory: mapcall.Handle) -> None:
                freed.append(memory.type)
                free(memory)

        owner = Owner()
        del owner
        gc.collect()
        assert freed == ["void"]

    def test_an_exception_of_a_destructor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        libc = mapcall.load(None)

        def fail(handle: mapcall.Handle) -> None:
            raise KeyError(handle.address)

        malloc = libc.function("void *malloc(size_t n)", destructor=fail)
        handle = malloc(8)
        with pytest.raises(KeyError):
            handle.close()
        assert handle.closed
        seen = []
        monkeypatch.setattr(sys, "unraisablehook", lambda caught: seen.append(caught.exc_type))
        handle = malloc(8)
        del handle
        assert seen == [KeyError]
        with pytest.raises(ValueError, match="returns no pointer"):
            libc.function("int abs(int j)", destructor=fail)


def test_structs_with_pointers_that_functions_return() -> None:
    library = mapcall.compile("""
        struct slice { const double *data; long len; const char *name; };
        struct slice tail(struct slice s) { s.data++; s.len--; s.name = "tail"; return s; }
        double sum(struct slice s)
        { double t = 0; for (long i = 0; i < s.len; i++) t += s.data[i]; return t; }
    """)
    tail, total = library.tail, library.sum
    x = np.array([1.0, 2.0, 4.0])
    alive = weakref.ref(x)
    rest = tail({"data": x, "len": 3})
    assert isinstance(rest, mapcall.StructObject)
    assert (rest.len, rest.name.text(), rest.data.array(2).tolist()) == (2, "tail", [2.0, 4.0])
    assert total(rest) == 6.0
    # It keeps the array alive, as a handle that is returned does.
    del x
    last = tail(rest)
    del rest
    gc.collect()
    assert (total(last), alive() is None) == (4.0, False)
    data = last.data
    del last
    gc.collect()
    assert data.array(1).tolist() == [4.0]
    del data
    gc.collect()
    assert alive() is None
