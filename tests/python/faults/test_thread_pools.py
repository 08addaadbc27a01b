"""Faults in threads of libraries, and in several threads at the same time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

SETUP = """
import ctypes, os, sys, threading
import numpy as np
import mapcall

reason, path, library = sys.argv[1:]
elsewhere = []
threading.excepthook = elsewhere.append
values = np.ones(1 << 16)

def broken():
    "Returns a map without pages, but perhaps for the first."
    np.save(path, values)
    x = mapcall.open(path, "r")
    if reason == "closed":
        x.close()
    else:
        os.truncate(path, 4096)
    return x

def work():
    for _ in range(100_000):
        pass
"""

reasons = pytest.mark.parametrize("reason", ["closed", "truncated"])


@reasons
def test_a_thread_with_a_state_and_no_code(
    reason: str, tmp_path: Path, native: Path, run_script: Callable[..., str]
) -> None:
    """The caller waits for it, in the main thread, and gets the exception."""
    output = run_script(
        SETUP
        + """
native = ctypes.CDLL(library)
native.total_with_state.restype = ctypes.c_double
native.total_with_state.argtypes = [ctypes.c_size_t, ctypes.c_void_p]
x = broken()
found = []
for _ in range(3):
    try:
        native.total_with_state(x.size, x.ctypes.data)
        work()
        found.append("none")
    except mapcall.MapFault as fault:
        found.append(fault.reason)
    work()
print(found, len(elsewhere))
""",
        *(reason, tmp_path / "x.npy", native),
    )
    assert output == f"{[reason] * 3} 0\n"


@reasons
def test_operations_at_the_same_time(
    reason: str, tmp_path: Path, native: Path, run_script: Callable[..., str]
) -> None:
    """Each of four threads gets the exception, and none the sum of zeros."""
    output = run_script(
        SETUP
        + """
found = {"sum": 0, "fault": 0}
for _ in range(50):
    x = broken()
    ready = threading.Barrier(4)

    def use(x=x, ready=ready):
        ready.wait()
        try:
            x.sum()
            found["sum"] += 1
        except mapcall.MapFault:
            found["fault"] += 1

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(found, len(elsewhere))
""",
        *(reason, tmp_path / "x.npy", native),
    )
    assert output == "{'sum': 0, 'fault': 200} 0\n"
