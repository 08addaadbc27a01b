"""Calls allocate the memory of the objects that they return, and none besides."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest

COUNTER = """
#include <stddef.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static __thread long count;

long allocations(void) { return count; }
void *malloc(size_t size) { count++; return __libc_malloc(size); }
void *calloc(size_t items, size_t size) { count++; return __libc_calloc(items, size); }
void *realloc(void *memory, size_t size) { count++; return __libc_realloc(memory, size); }
void *aligned_alloc(size_t to, size_t size) { count++; return __libc_memalign(to, size); }
int posix_memalign(void **memory, size_t to, size_t size)
{
    count++;
    *memory = __libc_memalign(to, size);
    return *memory == NULL ? 12 : 0;
}
"""

KERNELS = """
#include <stddef.h>

void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])
{
    for (size_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

double sum(int n, const double x[n]) { return n > 0 ? x[0] : 0; }
long large(long x) { return x << 40; }
void split(double x, double parts[2]) { parts[0] = parts[1] = x / 2; }
void fill(int n, int m, float a, float out[n][m])
{
    for (int i = 0; i < n * m; i++)
        out[0][i] = a;
}
"""

SCRIPT = """
import ctypes
import sys

import numpy as np

import mapcall

allocations = ctypes.PyDLL(None).allocations
allocations.restype = ctypes.c_long

def count(call, *arguments):
    "Returns the number of allocations of a call, and of the objects that it returns."
    loop = [None] * 200
    for _ in loop:
        call(*arguments)
    before = allocations()
    for _ in loop:
        call(*arguments)
    return (allocations() - before) // len(loop)

library = mapcall.load(sys.argv[1])
bind = library.function
x, y, z = np.ones(16, "f4"), np.ones(16, "f4"), np.arange(16.0)
matrix = np.ones((3, 4), "f4")

def nothing(*arguments):
    pass

def floating(*arguments):
    return 2.0 * 3.0

def integer(number, *arguments):
    return number << 40

def pair(*arguments):
    return np.zeros(2)

cases = [
    ("saxpy", bind("void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])"),
     (2.0, x, y), nothing),
    ("on a view", bind("void saxpy(size_t n, float a, const float x[n], float y[n])"),
     (2.0, x[1:], y[1:]), nothing),
    ("a float", bind("double sum(int n, const double x[n])"), (z,), floating),
    ("an int", bind("long large(long x)"), (3,), integer),
    ("an output", bind("void split(double x, double parts[2])"), (3.0,), pair),
    ("a given output", bind("void split(double x, double parts[2])"), (3.0, np.zeros(2)), nothing),
    ("a given matrix", bind("void fill(int n, int m, float a, float out[n][m])"),
     (3.0, matrix), nothing),
]
for name, call, arguments, least in cases:
    print(name, count(call, *arguments), count(least, *arguments), sep=": ")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the counter stands before glibc's functions")
def test_allocations(compile_c: Any) -> None:
    """All of Python's objects are allocated by malloc, which is counted."""
    counter, kernels = compile_c(COUNTER), compile_c(KERNELS)
    environment = {"LD_PRELOAD": str(counter), "PYTHONMALLOC": "malloc"}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(kernels)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environment,
    )
    assert result.returncode == 0, result.stderr
    lines = [line.split(": ") for line in result.stdout.splitlines()]
    assert len(lines) == 7
    must = [name for name, _, least in lines if int(least) > 0]
    assert must == ["an int", "an output"]
    assert [ours for _, ours, _ in lines] == [least for *_, least in lines], result.stdout
