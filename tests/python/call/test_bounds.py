"""Bounds of texts and types: texts that are too long, too deep or too many are refused at once."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mapcall

Compile = Callable[..., Path]
Script = Callable[..., str]

# The length of a text in characters: with a stack frame for each, it would overflow any stack here.
LONG = 60_000


@pytest.mark.any_engine
@pytest.mark.parametrize("part", ["*/*", "(", "{", "[", "struct a{", "int(", "a ", "/*"])
def test_long_texts_that_are_no_c(part: str, run_in_fork: Script) -> None:
    script = """
        import sys
        import mapcall

        text = sys.argv[1] * (int(sys.argv[2]) // len(sys.argv[1]))
        for text in [text, text + " void f(void)", f"int abs(int x[{text}])"]:
            try:
                mapcall.load(None).function(text)
            except mapcall.PrototypeError:
                continue
            raise AssertionError(text[:20])
    """
    run_in_fork(script, part, LONG)


# 3 MB, in which each word is an error.
WRONG = "/ *" * 1_000_000 + " void f(void)"


@pytest.mark.any_engine
def test_a_long_text_of_errors() -> None:
    with pytest.raises(mapcall.PrototypeError, match="expected a name, got `/`"):
        mapcall.load(None).function(WRONG)
    assert mapcall.load(None).function("int abs(int x)")(-3) == 3


@pytest.mark.any_engine
def test_other_threads_run_while_a_text_is_parsed() -> None:
    library = mapcall.load(None)
    # Each struct is parsed before the error.
    text = "".join(f"struct s{n} {{ int a, b; }};" for n in range(100_000)) + "gone f(void);"
    turns, state = 0, []

    def parse() -> None:
        state.append("begun")
        with pytest.raises(mapcall.PrototypeError):
            library.function(text)
        state.append("over")

    before = sys.getswitchinterval()
    parser = threading.Thread(target=parse)
    parser.start()
    while "begun" not in state:
        time.sleep(0)
    # From here on, a thread releases the lock only when it waits.
    sys.setswitchinterval(1000)
    try:
        while "over" not in state:
            turns += 1
            time.sleep(0.001)
    finally:
        sys.setswitchinterval(before)
    parser.join()
    assert turns > 10


def doubled(levels: int) -> str:
    """Returns definitions of structs, each with two members of the type of the one before."""
    rest = (f"struct t{n + 1} {{ struct t{n} a, b; }};" for n in range(levels))
    return "struct t0 { char a; };" + "".join(rest)


@pytest.mark.any_engine
def test_a_pointer_to_a_struct_of_structs() -> None:
    library = mapcall.load(None)
    function = library.function(f"{doubled(50)} void *memchr(struct t50 *s, int c, size_t n)")
    assert str(function) == "memchr(s: Handle[t50], c: int, n: int) -> Handle[void]"
    assert library.struct("t10").dtype.itemsize == 1 << 10
    with pytest.raises(ValueError, match="more than 16384 members"):
        library.struct("t13").dtype  # noqa: B018
    with pytest.raises(mapcall.PrototypeError, match="more than 16384 members"):
        library.function(f"{doubled(50)} int abs(struct t13 x)")
    with pytest.raises(mapcall.PrototypeError, match="more than 16384 members"):
        library.function(f"{doubled(50)} int abs(const struct t13 x[3])")


@pytest.mark.any_engine
def test_structs_of_prototypes_are_kept_by_name() -> None:
    library = mapcall.load(None)

    def define(first: int, count: int) -> None:
        structs = "".join(
            f"struct s{n} {{ int a[{n + 1}]; }};" for n in range(first, first + count)
        )
        library.function(f"{structs} int abs(int x)")

    for first in range(0, 12_000, 1000):
        define(first, 1000)
    # The latest definitions are kept, and not all.
    assert library.struct("s11999").size == 4 * 12_000
    assert library.struct("s8000").size == 4 * 8001
    with pytest.raises(KeyError, match="s0"):
        library.struct("s0")
    # A later definition replaces an earlier one.
    library.function("struct s11999 { char a; }; int abs(int x)")
    assert library.struct("s11999").size == 1


# The minimum for Python is 32 KiB, in which not even its own modules can be imported.
STACK = 64 << 10


@pytest.mark.parametrize(
    "work",
    [
        "mapcall.load('m')",
        "mapcall.load('m', header='math.h').cos(0.0)",
        "libm.function('double cos(double x)')",
        "libm.function('double fmod(double x, double y)')(5.0, 3.0)",
        "libm.function('double cos(double x)', engine='libffi')(1.0)",
        "libm.function('double cos(double x[' + '(int)' * 60 + '1])')",
        "libm.function('double cos(struct s { struct { int a; } b; } *x)')",
        "refused('double cos(double x', libm)",
        "refused('*/*' * 20_000, libm)",
        "libm.function('double sin(double x)')(x)",
        "libm.function('double sin(double x)')(x, threads=3)",
        "libm.function('double sin(double x)')(x, out='y.npy')",
        "sort(x.copy(), 3, 8, lambda a, b: 0)",
        "mapcall.open('x.npy').sum()",
    ],
)
def test_threads_with_small_stacks(work: str, tmp_path: Path, run_in_fork: Script) -> None:
    script = """
        import os, sys, threading
        import numpy as np
        import mapcall

        os.chdir(sys.argv[1])
        libm, x = mapcall.load("m"), np.arange(100.0)
        np.save("x.npy", x)
        sort = mapcall.load(None).function(
            "void qsort(void *base, size_t n, size_t size,"
            "           int (*compare)(const void *, const void *))"
        )

        def refused(text, library):
            try:
                library.function(text)
            except mapcall.PrototypeError:
                return
            raise AssertionError(text[:20])

        def work():
            exec(sys.argv[2])
            done.append(True)

        done = []
        threading.stack_size(int(sys.argv[3]))
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert done
    """
    run_in_fork(script, tmp_path, work, STACK)


def test_a_struct_array_in_a_batch_is_as_before(compile_c: Compile) -> None:
    library = mapcall.load(
        compile_c(
            "struct in { int a; short b; }; struct out { struct in x, y[2]; };"
            "int total(struct out s) { return s.x.a + s.y[0].a + s.y[1].b; }"
        )
    )
    total = library.function(
        "struct in { int a; short b; }; struct out { struct in x, y[2]; }; int total(struct out s)"
    )
    values = np.zeros(4, library.struct("out").dtype)
    values["x"]["a"], values["y"]["a"], values["y"]["b"] = 1, 20, 300
    assert total(values).tolist() == [321] * 4
