"""The process: its exit while C and Python still run, and closed descriptors."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

SOURCE = r"""
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

int call(int (*f)(int), int a) { return f(a); }
double twice(double x) { return 2 * x; }

static void *call_for_ever(void *f)
{
    for (int i = 0;; i++) {
        ((int (*)(int))f)(i);
        usleep(50);
    }
}
void background(int (*f)(int))
{ pthread_t t; pthread_create(&t, 0, call_for_ever, (void *)f); pthread_detach(t); }

static int turns;
static void *turn_for_ever(void *p) { for (;;) turns++; }
void turn(void) { pthread_t t; pthread_create(&t, 0, turn_for_ever, 0); pthread_detach(t); }

struct h { int v; void (*cb)(int); };
struct h *h_new(int v) { struct h *h = calloc(1, sizeof *h); h->v = v; return h; }
void h_set(struct h *h, void (*cb)(int)) { h->cb = cb; }
void h_free(struct h *h) { if (h->cb) h->cb(h->v); free(h); }

static int (*last)(int);
static void at_end(void) { if (last(1)) _exit(3); }
void call_at_exit(int (*f)(int)) { last = f; atexit(at_end); }
"""

PRELUDE = """
import os, sys, threading, time
import numpy as np
import mapcall

library = mapcall.load(sys.argv[1])
directory = sys.argv[2]
call = library.function("int call(int (*f)(int), int a)")
twice = library.function("double twice(double x)")

def for_ever(work, threads=3):
    def run():
        while True:
            work()
    for _ in range(threads):
        threading.Thread(target=run, daemon=True).start()
"""

# Other threads run while the interpreter exits, and each of them ends at some instruction.
END = """
time.sleep(0.2)
class Slow:
    def __del__(self, sleep=time.sleep):
        sleep(0.1)
slow = Slow()
print("end", flush=True)
"""


@pytest.fixture(scope="module")
def library(compile_c: Any) -> Path:
    path: Path = compile_c(SOURCE, "-pthread")
    return path


@pytest.fixture
def run(library: Path, tmp_path: Path) -> Any:
    """Returns a function that runs a script in another process; returns its output and errors."""

    def run(*parts: str) -> tuple[str, str]:
        script = "\n".join(map(textwrap.dedent, (PRELUDE, *parts)))
        command = [sys.executable, "-c", script, library, tmp_path]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, f"{result.returncode}\n{result.stdout}{result.stderr}"
        return result.stdout, result.stderr

    return run


class TestEnd:
    """The interpreter exits while daemon threads, or threads of C, run code of mapcall."""

    @pytest.mark.parametrize(
        "work",
        [
            "for_ever(lambda: call(lambda a: time.sleep(0.001) or a, 1))",
            "for_ever(lambda: call(lambda a: sum(range(100)), 1))",
            "for_ever(lambda: call(lambda a: call(lambda b: time.sleep(0.001) or b, a), 1))",
            """
            class Index:
                def __index__(self):
                    time.sleep(0.001)
                    return 1
            for_ever(lambda: call(abs, Index()))
            """,
            """
            checked = library.function("double twice(double x)", check=lambda x: time.sleep(0.001))
            for_ever(lambda: checked(1.0))
            for_ever(lambda: checked(np.arange(50.0)))
            """,
            "for_ever(lambda: twice(np.ones(10_000), progress=lambda *_: time.sleep(0.001)))",
            "for_ever(lambda: twice(np.ones(100_000), threads=2))",
            """
            x = mapcall.memmap(directory + "/x", "f8", "w+", shape=100_000)
            for_ever(lambda: x + 1)
            for_ever(lambda: x[x[::-1] >= 0])
            for_ever(lambda: np.add(x, 1, out=x))
            """,
            """
            class Name(os.PathLike):
                def __fspath__(self):
                    time.sleep(0.001)
                    return directory + "/y.npy"
            mapcall.create(Name(), 10, "f8").flush()
            for_ever(lambda: mapcall.open(Name()))
            """,
            'for_ever(lambda: library.function("double twice(double x)", text=str("str")))',
            """
            mapcall.load(sys.argv[1]).function("void turn(void)")()
            """,
            """
            background = library.function("void background(int (*f)(int))")
            kept = [background.callback("f", lambda i: time.sleep(0.001) or 0) for _ in range(4)]
            for callback in kept:
                background(callback)
            """,
        ],
        ids=[
            "sleeping callback",
            "busy callback",
            "nested callback",
            "__index__",
            "check",
            "progress",
            "batch",
            "arithmetic on maps",
            "opening a map",
            "binding",
            "a thread of C",
            "callbacks on threads of C",
        ],
    )
    def test_with_threads(self, run: Any, work: str) -> None:
        assert run(work, END) == ("end\n", "")

    def test_callables_that_c_calls_for_ever(self, run: Any) -> None:
        """The exception of each callable is reported once, however often C calls it."""
        out, err = run(
            """
            background = library.function("void background(int (*f)(int))")
            background(lambda i: 0)
            """,
            END,
        )
        assert out == "end\n"
        assert err.count("background: f: expected a callable that is there when C calls it") == 1

    def test_a_destructor_that_calls_back(self, run: Any) -> None:
        assert run(
            """
            free = library.function("struct h; void h_free(struct h *h)")
            new = library.function("struct h; struct h *h_new(int v)", destructor=free)
            set_ = library.function("struct h; void h_set(struct h *h, void (*cb)(int))")
            callback = set_.callback("cb", lambda v: None)
            handle = new(1)
            set_(handle, callback)
            print("end")
            """
        ) == ("end\n", "")

    @pytest.mark.parametrize("kept", ["abs", 'at_exit.callback("f", abs)'])
    def test_c_calls_after_the_end(self, run: Any, kept: str) -> None:
        """C gets zero, and the exit status of the process stays unchanged."""
        assert run(
            f"""
            at_exit = library.function("void call_at_exit(int (*f)(int))")
            kept = {kept}
            at_exit(kept)
            print("end")
            """
        ) == ("end\n", "")


WITHOUT_DESCRIPTORS = """
header = directory + "/twice.h"
with open(header, "w") as file:
    file.write("double twice(double x);\\nint call(int (*f)(int), int a);\\n")
mapcall.create(directory + "/a.npy", 100_000, "f8")[:] = 3
numbers = mapcall.open(directory + "/a.npy", "r+")

def everything(count):
    kept = [call.callback("f", lambda a, n=n: a + n) for n in range(count)]
    for n in range(0, count, 97):
        assert call(kept[n], 1) == n + 1
    assert call(kept[-1], 1) == count
    for engine in (None, "libffi"):
        bound = library.function("int call(int (*f)(int), int a)", engine=engine)
        assert bound(lambda a: -a, 5) == -5
        assert library.function("double twice(double x)", engine=engine)(np.ones(9)).sum() == 18
    assert twice(numbers, threads=2)[-1] == 6
    assert twice(numbers, out=directory + "/b.npy", progress=lambda *_: None)[0] == 6
    assert mapcall.open(directory + "/b.npy")[5] == 6
    numbers[:5] = numbers[:5]
    numbers.flush()
    assert mapcall.memmap(directory + "/a.npy", "u1", "r").nbytes == 800_128
    assert mapcall.load(sys.argv[1], header=header).twice(4) == 8
    assert mapcall.load("m").function("double cos(double x)")(0) == 1
    run = threading.Thread(target=lambda: call(lambda a: a, 1))
    run.start()
    run.join()
    return kept

first = everything(10)
os.closerange(3, 256)
data = open(directory + "/data.bin", "w+b")
assert data.fileno() == 3
filling = b"\\xcc" * (8 << 20)
data.write(filling)
data.flush()
more = everything(20_000)
assert call(first[3], 1) == 4
data.seek(0)
assert data.read() == filling
with open("/proc/self/maps") as maps:
    lines = [line for line in maps if "data.bin" in line or "memfd" in line]
assert not any("x" in line.split()[1] for line in lines), lines
print("right")
"""

NO_EXECUTABLE_MEMORY = """
import ctypes
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
libc = ctypes.CDLL(None)
if libc.prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
    print("no PR_SET_MDWE")
    sys.exit()
"""


class TestDescriptors:
    """A program closes all its descriptors, as daemons do, and opens a file of data."""

    def test_usual(self, run: Any) -> None:
        assert run(WITHOUT_DESCRIPTORS)[0] == "right\n"

    def test_calls_if_executable_memory_is_refused(self, run: Any) -> None:
        out, _ = run(NO_EXECUTABLE_MEMORY, WITHOUT_DESCRIPTORS)
        if out == "no PR_SET_MDWE\n":
            pytest.skip("this kernel has no PR_SET_MDWE (it came with Linux 6.3)")
        assert out == "right\n"
