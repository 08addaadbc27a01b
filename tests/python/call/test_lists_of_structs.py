"""Structs that lead to others of their kind, as lists and trees do."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mapcall

SOURCE = """
    #include <stdlib.h>
    struct node { struct node *next; double v; };
    static struct node c = {0, 3}, b = {&c, 2}, a = {&b, 1};
    struct node *head(void) { return &a; }
    void get(struct node **to) { *to = &a; }
    void visit(void (*f)(struct node *)) { f(&a); }
    struct node *append(struct node *head, double v)
    {
        struct node *new = malloc(sizeof *new);
        new->next = 0, new->v = v;
        if (!head) return new;
        struct node *last = head;
        while (last->next) last = last->next;
        last->next = new;
        return head;
    }
    void drop(struct node *head)
    { while (head) { struct node *next = head->next; free(head); head = next; } }
    struct branch;
    struct leaf { struct branch *up; int n; };
    struct branch { struct leaf leaves[2]; struct branch *inner; };
    static struct branch lower, upper;
    struct branch *tree(void)
    {
        upper.inner = &lower;
        upper.leaves[0].up = upper.leaves[1].up = &upper;
        lower.leaves[0].up = lower.leaves[1].up = &lower;
        lower.leaves[1].n = 7;
        return &upper;
    }
"""
NODE = "struct node { struct node *next; double v; }; "
TREE = (
    "struct leaf { struct branch *up; int n; }; "
    "struct branch { struct leaf leaves[2]; struct branch *inner; }; "
)


@pytest.fixture
def library(compile_c: Callable[..., Path]) -> mapcall.Library:
    return mapcall.load(compile_c(SOURCE))


def values(node: Any) -> list[float]:
    found = []
    while node is not None:
        found.append(node[0].v)
        node = node[0].next
    return found


def test_a_list_is_walked(library: mapcall.Library) -> None:
    head = library.function(NODE + "struct node *head(void)")()
    assert values(head) == [1, 2, 3]
    assert head[0].next.array(())["v"] == 2
    with pytest.raises(AttributeError, match=r"write handle\[0\].v for the member"):
        _ = head[0].next.v
    head[0].next[0].next[0].v = 4.5
    assert values(head) == [1, 2, 4.5]
    head[0].next[0].next[0].v = 3
    get = library.function("void get(struct node *to[1])")
    assert values(get()[0]) == [1, 2, 3]
    address = library.handle("struct node *", head.address)
    assert values(address) == [1, 2, 3]
    assert library.struct("node").at(address).next[0].next[0].v == 3


def test_a_list_that_its_handle_owns(library: mapcall.Library) -> None:
    drop = library.function(NODE + "void drop(struct node *head)")
    append = library.function("struct node *append(struct node *_Nullable head, double v)")
    owned = library.function("struct node *append(void *_Nullable head, double v)", destructor=drop)
    head = owned(None, 1.0)
    for value in (2.0, 3.0):
        append(head, value)
    assert values(head) == [1, 2, 3]


def test_a_tree_of_two_kinds(library: mapcall.Library) -> None:
    top = library.function(TREE + "struct branch *tree(void)")()
    inner = top[0].inner
    assert inner[0].leaves[1].n == 7
    assert inner[0].leaves[0].up[0].leaves[1].up[0].leaves[1].n == 7
    assert top[0].leaves[1].up[0].inner[0].inner is None


def test_a_callback_walks_the_list_that_it_receives(library: mapcall.Library) -> None:
    visit = library.function(NODE + "void visit(void (*f)(struct node *head))")
    found: list[float] = []
    visit(lambda head: found.extend(values(head)))
    assert found == [1, 2, 3]


def test_a_definition_may_come_with_each_prototype(library: mapcall.Library) -> None:
    for _ in range(100):
        head = library.function(NODE + "struct node *head(void)")()
        top = library.function(TREE + "struct branch *tree(void)")()
    assert values(head) == [1, 2, 3]
    assert top[0].inner[0].leaves[1].n == 7


def test_a_handle_and_its_library_are_collected(compile_c: Callable[..., Path]) -> None:
    library = mapcall.load(compile_c(SOURCE))
    head = library.function(NODE + "struct node *head(void)")()
    node = head[0].next
    found = weakref.ref(library)
    del library, head
    gc.collect()
    assert values(node) == [2, 3]
    del node
    gc.collect()
    assert found() is None
