"""Pointers that are assigned to elements: structs of C behind handles, structs in structs, lists.

What they lead to lives as long as the owner of the memory, until another value is assigned.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import mapcall

SOURCE = r"""
#include <stdlib.h>
#include <string.h>
struct part { double (*f)(double x); const double *data; int n; const char *name; };
struct context { struct part part; struct part parts[2]; struct part *more; struct part **all;
                 struct context *next; int events; };
struct context *create(void)
{
    struct context *c = calloc(1, sizeof *c);
    c->more = calloc(2, sizeof *c->more);
    c->all = calloc(2, sizeof *c->all);
    for (int i = 0; i < 2; i++) c->all[i] = &c->parts[i];
    return c;
}
void destroy(struct context *c)
{ if (c->part.f) c->part.f(-1); free(c->more); free(c->all); free(c); }
struct context *append(struct context *c)
{ struct context *next = create(); next->next = c->next; return c->next = next; }
struct context *next(struct context *c) { return c->next; }
void release(struct context *c)
{ if (c->next) release(c->next); destroy(c); }
static struct context common;
struct context *shared(void) { return &common; }
struct context *variable = &common;
double run(const struct part *p, double x)
{
    double s = p->f ? p->f(x) : 0;
    for (int i = 0; i < p->n; i++) s += p->data[i];
    return s + (p->name ? 1000 * (double)strlen(p->name) : 0);
}
double at(const struct context *c, int which, double x)
{
    const struct part *all[] = {&c->part, &c->parts[0], &c->parts[1], &c->more[0], &c->more[1]};
    return run(all[which], x);
}
double fill(struct part *p, void (*f)(struct part *p), double x) { f(p); return run(p, x); }
typedef void (*filler)(struct part *p);
static filler kept;
void keep(void (*f)(struct part *p)) { kept = f; }
void call_kept(struct part *p) { kept(p); }
double total(const double *const *rows, int n)
{ double s = 0; for (int i = 0; i < n; i++) s += rows[i][0]; return s; }
const double **rows(void) { static const double *all[2]; return all; }
"""
TYPES = """
    struct part { double (*f)(double x); const double *data; int n; const char *name; };
    struct context { struct part part; struct part parts[2]; struct part *more; struct part **all;
                     struct context *next; int events; };
"""


class C:
    def __init__(self, library: mapcall.Library) -> None:
        self.library = library
        self.destroy = self.function(TYPES + "void destroy(struct context *c)")
        self.release = self.function("void release(struct context *c)")
        self.create = self.function("struct context *create(void)", destructor=self.destroy)
        self.at = self.function("double at(const struct context *c, int which, double x)")
        self.run = self.function("double run(const struct part *p, double x)")

    def function(self, prototype: str, **options: Any) -> Any:
        return self.library.function(prototype, **options)

    def struct(self, name: str) -> Any:
        return self.library.struct(name)


@pytest.fixture(scope="module")
def c(compile_c: Any) -> C:
    return C(mapcall.load(compile_c(SOURCE)))


class Adder:
    """A callable, of which weak references tell whether it is alive."""

    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self, x: float) -> float:
        return x + self.by


# How the five parts of a context are reached, in the order of `at`.
PLACES: list[Any] = [
    lambda context: context[0].part,
    lambda context: context[0].parts[0],
    lambda context: context[0].parts[1],
    lambda context: context[0].more[0],
    # The same memory as the second one.
    lambda context: context[0].all[0][0],
]
WHICH = [0, 1, 2, 3, 1]


def alive(references: list[Any]) -> list[bool]:
    gc.collect()
    return [reference() is not None for reference in references]


@pytest.mark.parametrize(("place", "which"), list(zip(PLACES, WHICH, strict=True)))
class TestMemoryOfC:
    def test_a_callable(self, c: C, place: Any, which: int) -> None:
        context = c.create()
        one, other = Adder(1), Adder(10)
        references = [weakref.ref(one), weakref.ref(other)]
        place(context).f = one
        del one
        gc.collect()
        assert c.at(context, which, 2) == 3
        assert place(context).f(5) == 6
        # Another one ends the first; None ends any.
        place(context).f = other
        del other
        assert alive(references) == [False, True]
        assert c.at(context, which, 2) == 12
        place(context).f = None
        assert alive(references) == [False, False]
        assert c.at(context, which, 2) == 0

    def test_an_array(self, c: C, place: Any, which: int) -> None:
        context = c.create()
        x, y = np.arange(1000.0), np.full(3, 5.0)
        references = [weakref.ref(x), weakref.ref(y)]
        place(context).data = x
        place(context).n = 1000
        del x
        gc.collect()
        assert c.at(context, which, 0) == 999 * 1000 / 2
        with pytest.raises(ValueError, match="referenced"):
            references[0]().resize(3)
        # A handle that was read before keeps the array.
        handle = place(context).data
        place(context).data = y
        place(context).n = 3
        del y
        assert alive(references) == [True, True]
        assert handle.array(1000).sum() == 999 * 1000 / 2
        del handle
        assert alive(references) == [False, True]
        assert c.at(context, which, 0) == 15
        place(context).data = None
        assert alive(references) == [False, False]

    def test_a_text(self, c: C, place: Any, which: int) -> None:
        context = c.create()
        place(context).name = "ab" * 500
        gc.collect()
        others = ["xy" * 500 for _ in range(100)]
        assert c.at(context, which, 0) == 1000 * 1000
        assert place(context).name.text() == "ab" * 500
        del others

    def test_a_struct_as_a_whole(self, c: C, place: Any, which: int) -> None:
        context = c.create()
        f, x = Adder(1), np.ones(3)
        references = [weakref.ref(f), weakref.ref(x)]
        if which == 3:
            context[0].more[0] = {"f": f, "data": x, "n": 3}
        elif which == 0:
            context[0].part = {"f": f, "data": x, "n": 3}
        else:
            parts = [{"f": f, "data": x, "n": 3}, {}]
            context[0].parts = parts if which == 1 else parts[::-1]
            del parts
        del f, x
        gc.collect()
        assert c.at(context, which, 2) == 6
        # One of its pointers is assigned.
        place(context).f = None
        assert alive(references) == [False, True]
        assert c.at(context, which, 2) == 3
        place(context).data = None
        assert alive(references) == [False, False]

    def test_ends_with_the_handle(self, c: C, place: Any, which: int) -> None:
        context = c.create()
        f = Adder(1)
        references = [weakref.ref(f)]
        place(context).f = f
        view = place(context)
        del f, context
        # A view of the element keeps the handle.
        assert alive(references) == [True]
        assert view.f(1) == 2
        del view
        assert alive(references) == [False]

    def test_ends_when_the_handle_is_closed(self, c: C, place: Any, which: int) -> None:
        context = c.create()
        calls: list[float] = []

        def f(x: float) -> float:
            calls.append(x)
            return 0.0

        references = [weakref.ref(f)]
        place(context).f = f
        del f
        context.close()
        assert alive(references) == [False]
        # The destructor has called the one that it knows, before that ended.
        assert calls == ([-1] if which == 0 else [])

    def test_cycles_are_collected(self, c: C, place: Any, which: int) -> None:
        context = c.create()
        f = Adder(1)
        f.context = context  # type: ignore[attr-defined]
        references = [weakref.ref(f), weakref.ref(context)]
        place(context).f = f
        del f, context
        assert alive(references) == [False, False]


class TestHandles:
    def test_any_handle_to_the_memory(self, c: C) -> None:
        """A handle that a function returns shares what is kept with the first one that it got."""
        append = c.function("struct context *append(struct context *c)")
        following = c.function("struct context *next(struct context *c)")
        first = c.function("struct context *create(void)", destructor=c.release)()
        last = first
        references = []
        for number in range(5):
            last = append(last)
            f = Adder(number)
            references.append(weakref.ref(f))
            last[0].part.f = f
        del f, last
        # The nodes belong to the list, whose handle is the only one.
        assert alive(references) == [True] * 5
        node, seen = first, []
        while (node := following(node)) is not None:
            seen.append(c.at(node, 0, 10))
        assert seen == [10, 11, 12, 13, 14]
        # A list of pushed elements, of which the first was pushed last.
        second = c.struct("context").at(first).next
        assert second[0].part.f(0) == 0
        second[0].part.f = None
        assert alive(references) == [False, True, True, True, True]
        following(following(first))[0].part.f = None
        assert alive(references) == [False, False, True, True, True]
        del second, node
        first.close()
        assert alive(references) == [False] * 5

    def test_memory_that_is_in_use_when_the_handle_is_closed(self, c: C) -> None:
        context, x = c.create(), np.full(100, 2.0)
        references = [weakref.ref(x)]
        context[0].part = {"data": x, "n": 100}
        other = c.struct("context")(next=context)
        del x
        context.close()
        context.close()
        assert alive(references) == [True]
        assert c.at(other.next, 0, 0) == 200
        other.next = None
        del context
        assert alive(references) == [False]

    @pytest.mark.parametrize(
        "assign",
        [
            lambda c, context: setattr(context[0], "next", context),
            lambda c, context: setattr(context[0], "more", context[0].parts[1]),
            lambda c, context: setattr(context[0], "part", context[0].parts[1]),
            lambda c, context: setattr(c.struct("context").at(context), "next", context[0]),
        ],
    )
    def test_memory_that_points_to_itself(self, c: C, assign: Any) -> None:
        """The owner does not keep itself, so that it ends with its last reference."""
        ended: list[Any] = []
        create = c.function("struct context *create(void)", destructor=ended.append)
        context = create()
        f = Adder(1)
        context[0].part.f = f
        references = [weakref.ref(context), weakref.ref(f)]
        assign(c, context)
        gc.disable()
        try:
            del f, context
            assert [reference() for reference in references] == [None, None]
        finally:
            gc.enable()
        assert len(ended) == 1
        # It can be closed, too.
        context = create()
        assign(c, context)
        context.close()
        assert len(ended) == 2

    def test_memory_that_points_to_each_other(self, c: C) -> None:
        ended: list[Any] = []
        create = c.function("struct context *create(void)", destructor=ended.append)
        one, other = create(), create()
        one[0].next, other[0].next = other, one
        references = [weakref.ref(one), weakref.ref(other)]
        del one
        assert (alive(references), ended) == ([True, True], [])
        del other
        assert alive(references) == [False, False]
        assert len(ended) == 2

    def test_pointers_to_pointers(self, c: C) -> None:
        rows = c.function("const double **rows(void)")()
        total = c.function("double total(const double *const *rows, int n)")
        x, y = np.full(100, 7.0), np.full(100, 8.0)
        references = [weakref.ref(x), weakref.ref(y)]
        rows[0] = x
        del x
        gc.collect()
        assert total(rows, 1) == 7
        handle = rows[0]
        rows[0] = y
        del y
        assert alive(references) == [True, True]
        assert (handle.array(100).sum(), total(rows, 1)) == (700, 8)
        del handle
        assert alive(references) == [False, True]
        rows[0] = None
        assert alive(references) == [False, False]

    def test_whole_structs(self, c: C) -> None:
        context = c.create()
        f = Adder(1)
        references = [weakref.ref(f)]
        context[0].more[0] = {"f": f}
        del f
        gc.collect()
        assert c.at(context, 3, 1) == 2
        context[0].more[0] = {}
        assert alive(references) == [False]

    def test_batches(self, c: C) -> None:
        context = c.create()
        context[0].part.f = Adder(1)
        assert c.at(context, 0, np.arange(3.0)).tolist() == [1, 2, 3]

    def test_memory_that_may_only_be_read(self, c: C) -> None:
        shared = c.function("const struct context *shared(void)")()
        with pytest.raises(AttributeError, match="read-only"):
            shared[0].part.f = abs

    def test_variables(self, c: C) -> None:
        c.function("double run(const struct part *p, double x)")
        variable = c.library.variable("struct context *variable")
        f = Adder(1)
        references = [weakref.ref(f)]
        variable.value[0].part.f = f
        del f
        gc.collect()
        shared = c.function("struct context *shared(void)")()
        assert c.at(shared, 0, 1) == 2
        variable.value[0].part.f = None
        assert alive(references) == [False]


class TestMemoryOfPython:
    @pytest.mark.parametrize("kind", ["struct", "dict", "list"])
    def test_behind_a_pointer(self, c: C, kind: str) -> None:
        f, g = Adder(1), Adder(10)
        references = [weakref.ref(f), weakref.ref(g)]
        context = c.struct("context")()
        part = c.struct("part")(f=f) if kind == "struct" else {"f": f}
        context.more = [part] if kind == "list" else part
        del f, part
        gc.collect()
        assert c.at(context, 3, 2) == 3
        context.more[0].f = g
        del g
        assert alive(references) == [False, True]
        assert c.at(context, 3, 2) == 12
        more = context.more
        context.more = None
        # The handle still leads there.
        assert alive(references) == [False, True]
        assert c.run(more, 2) == 12
        del more
        assert alive(references) == [False, False]

    def test_through_two_structs(self, c: C) -> None:
        """The memory belongs to the inner struct, by whatever pointer it is reached."""
        part = c.struct("part")(f=Adder(0))
        context = c.struct("context")(more=part)
        f = Adder(1)
        references = [weakref.ref(f)]
        context.more[0].f = f
        del f, context
        assert alive(references) == [True]
        assert c.run(part, 1) == 2
        part.f = None
        assert alive(references) == [False]

    def test_structs_in_structs_and_their_arrays(self, c: C) -> None:
        context = c.struct("context")()
        values = [Adder(1), Adder(2), Adder(3)]
        references = [weakref.ref(value) for value in values]
        context.part.f, context.parts[0].f, context.parts[1].f = values
        del values
        gc.collect()
        assert [c.at(context, which, 0) for which in range(3)] == [1, 2, 3]
        context.parts[0].f = None
        assert alive(references) == [True, False, True]
        context.parts = []
        assert alive(references) == [True, False, False]
        context.part = {}
        assert alive(references) == [False, False, False]

    def test_a_copy_has_its_own(self, c: C) -> None:
        """A struct that is assigned is copied: its pointers outlive those of the original."""
        x, y = np.full(100, 1.0), np.full(100, 2.0)
        references = [weakref.ref(x), weakref.ref(y)]
        part = c.struct("part")(data=x, n=100)
        context = c.struct("context")(part=part)
        context.parts = [part, {}]
        del x
        part.data = y
        del y
        assert alive(references) == [True, True]
        assert [c.at(context, which, 0) for which in (0, 1)] == [100, 100]
        context.part.data = None
        context.parts[0].data = None
        assert alive(references) == [False, True]
        context.part = part
        del part
        assert alive(references) == [False, True]
        assert c.at(context, 0, 0) == 200

    def test_a_part_of_a_struct_that_a_function_got(self, c: C) -> None:
        same = c.function("struct context *next(struct context *c)")
        inner = c.struct("context")()
        outer = c.struct("context")(next=inner)
        f = Adder(1)
        references = [weakref.ref(f)]
        same(outer)[0].part.f = f
        del f
        gc.collect()
        assert c.at(inner, 0, 1) == 2
        del inner
        gc.collect()
        assert c.at(outer.next, 0, 1) == 2
        outer.next = None
        assert alive(references) == [False]


class TestCallbacks:
    """What a callable assigns in C's memory lives as long as the callback."""

    FILL = "double fill(struct part *p, void (*f)(struct part *p), double x)"

    def test_during_the_call(self, c: C) -> None:
        fill = c.function(self.FILL)
        references = []

        def f(p: Any) -> None:
            x, g = np.full(1000, 3.0), Adder(1)
            references.extend([weakref.ref(x), weakref.ref(g)])
            p[0].data = x
            p[0].n = len(x)
            p[0].f = g
            p[0].name = "ab" * 100

        context = c.create()
        # C uses them when the callback has returned.
        assert fill(context[0].all[0], f, 1) == 3000 + 2 + 200_000
        assert alive(references) == [False, False]

    def test_a_callback_that_is_kept(self, c: C) -> None:
        keep = c.function("void keep(void (*f)(struct part *p))")
        call_kept = c.function("void call_kept(struct part *p)")
        numbers = iter(range(1, 4))
        references = []

        def f(p: Any) -> None:
            g = Adder(next(numbers))
            references.append(weakref.ref(g))
            p[0].f = g

        callback = keep.callback("f", f)
        keep(callback)
        context = c.create()
        one, other = context[0].parts
        call_kept(one)
        call_kept(other)
        gc.collect()
        assert [c.run(part, 0) for part in (one, other)] == [1, 2]
        # The same pointer is assigned again.
        call_kept(one)
        assert alive(references) == [False, True, True]
        assert [c.run(part, 0) for part in (one, other)] == [3, 2]
        one.f = other.f = None
        del callback, f
        assert alive(references) == [False, False, False]

    def test_cycles_are_collected(self, c: C) -> None:
        keep = c.function("void keep(void (*f)(struct part *p))")
        call_kept = c.function("void call_kept(struct part *p)")
        part = c.struct("part")()

        class Owner:
            def __init__(self) -> None:
                self.callback = keep.callback("f", self.fill)

            def fill(self, p: Any) -> None:
                p[0].f = self.value

            def value(self, x: float) -> float:
                return x

        owner = Owner()
        keep(owner.callback)
        call_kept(part)
        references = [weakref.ref(owner)]
        assert c.run(part, 3) == 3
        del owner
        assert alive(references) == [False]
