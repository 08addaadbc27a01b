"""Forks: a child waits for no lock that another thread of its parent held."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from long_tests import IS_LONG

Compile = Callable[..., Path]
Script = Callable[..., str]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")

FORKS = 300 if IS_LONG else 30
C = """
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int anything(void) { return 7; }

/* Forks once, in the process's first thread. */
static atomic_int has_forked;
int fork_once(int call) {
    usleep(500);
    if (gettid() == getpid() && !atomic_exchange(&has_forked, 1)) fork();
    return call;
}
"""

# Code that takes locks: binding, compiling, loading, batches, callbacks, headers.
WORK = """
import itertools, multiprocessing, os, signal, sys, threading, time, warnings
import numpy as np
import mapcall

# Newer versions of Python warn of forks beside threads.
warnings.simplefilter("ignore", DeprecationWarning)
path, directory = sys.argv[1:]
library, libc = mapcall.load(path), mapcall.load(None)
fabs = mapcall.load("m").function("double fabs(double x)")
x = np.arange(2000.0)
file = os.path.join(directory, "x.npy")
np.save(file, x)
DTYPES = {"long": "i8", "double": "f8", "int": "i4", "float": "f4"}
numbers = itertools.count()


def new_signature(number=None):
    number = next(numbers) if number is None else number
    kinds = [list(DTYPES)[number >> 2 * index & 3] for index in range(7)]
    parameters = ", ".join(f"{kind} a{index}" for index, kind in enumerate(kinds))
    function = library.function(f"int anything({parameters})")
    assert function(*[1] * 7) == 7
    # In a batch, another one is compiled.
    assert function(*[np.ones(3, DTYPES[kind]) for kind in kinds]).tolist() == [7] * 3


def load():
    assert mapcall.load(path) == library
    assert mapcall.open(file)[3] == 3


def batch():
    assert (fabs(-x, threads=2) == x).all()


def call_back():
    sort = libc.function(
        "void qsort(void *base, size_t n, size_t size, int (*compare)(const void *, const void *))"
    )
    sort(x.copy(), 3, 8, lambda a, b: 0)


def everything(number):
    signal.alarm(60)
    new_signature(number)
    load()
    batch()
    call_back()


def for_ever(work):
    while True:
        work()


def fork_storm(fork, count, work=everything):
    for number in range(count):
        time.sleep(0.0005)
        child = fork()
        if not child:
            status = 1
            try:
                work(10_000 + number)
                status = 0
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status == 0, f"child {number} ended with {status}"
"""

THREADS = """
def start_threads():
    for work in [new_signature, load, batch, call_back]:
        threading.Thread(target=for_ever, args=(work,), daemon=True).start()
"""


@pytest.fixture(scope="module")
def library(compile_c: Compile) -> Path:
    return compile_c(C, "-D_GNU_SOURCE")


def test_a_child_waits_for_no_lock(library: Path, tmp_path: Path, run_script: Script) -> None:
    script = f"{WORK}{THREADS}\nstart_threads()\nfork_storm(os.fork, {FORKS})\n"
    script += "print('done', flush=True)\nos._exit(0)\n"
    assert run_script(script, library, tmp_path, timeout=300) == "done\n"


def test_a_child_waits_for_no_first_use(library: Path, tmp_path: Path, run_script: Script) -> None:
    # Nothing is used before it is used by several threads, while one forks.
    script = f"""{WORK}{THREADS}
def first_uses(number):
    start_threads()
    time.sleep(number % 20 * 0.0005)
    fork_storm(os.fork, 1)


fork_storm(os.fork, {FORKS}, first_uses)
print("done", flush=True)
"""
    assert run_script(script, library, tmp_path, timeout=300) == "done\n"


def test_a_child_that_c_forks(library: Path, tmp_path: Path, run_script: Script) -> None:
    # There are no other threads of Python: only `os.fork` prepares those.
    fork = """
everything(1)
fork_storm(libc.function("int fork(void)"), 5)
print("done", flush=True)
"""
    assert run_script(WORK + fork, library, tmp_path, timeout=300) == "done\n"


def test_processes_of_multiprocessing(library: Path, tmp_path: Path, run_script: Script) -> None:
    script = f"""{WORK}{THREADS}
start_threads()
context = multiprocessing.get_context("fork")
for _ in range(5):
    workers = [context.Process(target=everything, args=(20_000 + n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0, worker.exitcode
print("done", flush=True)
os._exit(0)
"""
    assert run_script(script, library, tmp_path, timeout=300) == "done\n"


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_fork_within_a_batch(threads: int, library: Path, run_script: Script) -> None:
    script = """
        import os, signal, sys
        import numpy as np
        import mapcall

        path, threads = sys.argv[1], int(sys.argv[2])
        parent = os.getpid()
        fork_once = mapcall.load(path).function("int fork_once(int call)")
        calls = np.arange(64, dtype="i4")
        try:
            ended = "done" if (fork_once(calls, threads=threads) == calls).all() else "wrong"
        except RuntimeError as error:
            ended = str(error)
        if os.getpid() != parent:
            print(ended, flush=True)
            os._exit(0)
        signal.alarm(60)
        os.wait()
        print("parent", ended)
    """
    lines = run_script(script, library, threads).splitlines()
    # The child has none of the other threads, so calls that they should make are missing.
    interrupted = "fork_once: interrupted, so that outputs may be written in part; start again"
    assert lines == ["done" if threads == 1 else interrupted, "parent done"]


def test_no_thread_outlives_its_batch(run_script: Script) -> None:
    script = """
        import os
        import numpy as np
        import mapcall

        cos = mapcall.load("m").function("double cos(double x)")
        before = os.listdir("/proc/self/task")
        for threads in [2, 3, 5, 8, 2]:
            cos(np.arange(1000.0), threads=threads)
            assert os.listdir("/proc/self/task") == before, threads
    """
    if not Path("/proc/self/task").exists():
        pytest.skip("the system doesn't list a process's threads in /proc")
    run_script(script)


def test_initialisers_that_fork(compile_c: Compile, run_script: Script) -> None:
    library = compile_c("""
        #include <sys/wait.h>
        #include <unistd.h>
        static int status = -1;
        __attribute__((constructor)) static void enter(void) {
            pid_t child = fork();
            if (!child) _exit(5);
            waitpid(child, &status, 0);
        }
        int child_status(void) { return WEXITSTATUS(status); }
    """)
    script = """
        import sys
        import mapcall

        print(mapcall.load(sys.argv[1]).function("int child_status(void)")())
    """
    assert run_script(script, library) == "5\n"


def test_initialisers_that_wait_for_the_forking_thread(
    compile_c: Compile, run_script: Script
) -> None:
    library = compile_c("""
        #include <dlfcn.h>
        /* Runs Python, as the initialiser of an embedding library does. */
        __attribute__((constructor)) static void enter(void) {
            int (*ensure)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "PyGILState_Ensure");
            void (*release)(int) = (void (*)(int))dlsym(RTLD_DEFAULT, "PyGILState_Release");
            int (*run)(const char *);
            run = (int (*)(const char *))dlsym(RTLD_DEFAULT, "PyRun_SimpleString");
            int state = ensure();
            run("import __main__; __main__.entered.set(); __main__.time.sleep(0.2)");
            release(state);
        }
    """)
    script = """
        import os, sys, threading, time, warnings
        import mapcall

        warnings.simplefilter("ignore", DeprecationWarning)
        entered = threading.Event()
        loader = threading.Thread(target=mapcall.load, args=sys.argv[1:])
        loader.start()
        entered.wait()
        # Held from here on, until the fork is over.
        sys.setswitchinterval(100)
        child = os.fork()
        if not child:
            os._exit(3)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        loader.join()
    """
    assert run_script(script, library) == "3\n"


def test_types_of_ctypeslib_are_made_beside_forks(run_script: Script) -> None:
    script = """
        import os, signal, threading, warnings
        from mapcall import ctypeslib

        warnings.simplefilter("ignore", DeprecationWarning)

        def make():
            number = 0
            while True:
                number += 1
                ctypeslib.ndpointer("f8", shape=(number % 50 + 1,))

        threading.Thread(target=make, daemon=True).start()
        for _ in range(60):
            child = os.fork()
            if not child:
                signal.alarm(60)
                ctypeslib.ndpointer("f4", shape=(3,))
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        os._exit(0)
    """
    run_script(script)
