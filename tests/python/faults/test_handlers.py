"""mapcall's signal handler beside those of Python, `faulthandler` and C libraries.

The cases are in `handler_cases.py`; each runs in a process of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import handler_cases
from children import Result, results
from handler_cases import FAULTS, SIGNALS, WILD

FATAL = "Fatal Python error"


@pytest.fixture(scope="session")
def found(native: Path, shared: Path) -> dict[str, Result]:
    return results(Path(handler_cases.__file__), shared, str(native), str(shared / "handlers"))


def named(start: str) -> list[str]:
    return [name for name, _ in handler_cases.cases() if name.startswith(start)]


def value(result: Result) -> Result:
    assert (result["status"], result["stderr"]) == (0, "")
    return result["value"]


def is_killed(result: Result, name: str) -> bool:
    return result["status"] == -SIGNALS[name]


@pytest.mark.parametrize("name", named("Python handler"))
def test_handlers_of_python(name: str, found: dict[str, Result]) -> None:
    _, number, how, when = name.split(", ")
    result = value(found[name])
    assert result["faults"] == FAULTS * (2 if when == "after" else 1)
    assert result["calls during faults"] == 0
    assert result["calls"] == ([] if how == "ignore" else 2 * [SIGNALS[number]])
    assert result["is own"]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_default_action_ends_the_process(number: str, found: dict[str, Result]) -> None:
    result = found[f"default again, {number}"]
    assert is_killed(result, number)
    assert result["stderr"] == ""


def test_other_signals(found: dict[str, Result]) -> None:
    assert value(found["other signals"]) == {"faults": FAULTS, "same": True, "interrupted": True}


@pytest.mark.parametrize("name", [name for name in named("wild") if "ignored" not in name])
def test_faults_outside_of_maps_end_the_process(name: str, found: dict[str, Result]) -> None:
    _, kind, state, _ = name.split(", ")
    result = found[name]
    assert is_killed(result, WILD[kind])
    assert (FATAL in result["stderr"]) == (state in ("before", "after"))
    assert result["stderr"].count(FATAL) <= 1
    if state in ("before", "after"):
        # The traceback names the line.
        assert "in wild" in result["stderr"]


def test_a_fault_outside_of_maps_is_not_ignored(found: dict[str, Result]) -> None:
    assert is_killed(found["wild, ignored"], "SIGSEGV")


def test_faulthandler_keeps_its_file(found: dict[str, Result], shared: Path) -> None:
    result = found["faulthandler with a file"]
    assert is_killed(result, "SIGSEGV")
    assert result["stderr"] == ""
    assert FATAL in (shared / "handlers" / "traceback").read_text()


@pytest.mark.parametrize("name", named("faulthandler, "))
def test_faulthandler_in_any_order(name: str, found: dict[str, Result]) -> None:
    *steps, end = name.removeprefix("faulthandler, ").split("-")
    result = found[name]
    if end == "fault":
        answer = value(result)
        assert answer["faults"] == FAULTS * steps.count("open")
        return
    is_enabled = [step == "enable" for step in steps if step != "open"][-1:] == [True]
    assert is_killed(result, "SIGSEGV")
    assert (FATAL in result["stderr"]) == is_enabled
    assert result["stderr"].count(FATAL) <= 1


@pytest.mark.parametrize("name", [name for name in named("C handler") if "never" not in name])
def test_handlers_of_c(name: str, found: dict[str, Result]) -> None:
    """The handler sees what it sees in a process without maps: flags, mask, and whether it dies."""
    when = "before" if "before" in name else "after"
    oracle = found[name.replace(when, "never")]
    result = found[name]
    assert (result["status"], result["stderr"]) == (oracle["status"], "")
    if result["status"] != 0:
        assert "RESETHAND" in name
        assert result["status"] in (-signal.SIGBUS, -signal.SIGSEGV)
        return
    expected = oracle["value"] | {"faults": FAULTS * (2 if when == "after" else 1)}
    assert expected["first"]["count"] == 1
    assert result["value"] == expected


@pytest.mark.parametrize("name", [name for name in named("own faults") if "never" not in name])
def test_handlers_of_c_with_faults_of_their_own(name: str, found: dict[str, Result]) -> None:
    when = "before" if "before" in name else "after"
    expected = value(found[name.replace(when, "never")])
    assert expected["values"][0] == 5
    expected |= {"faults": FAULTS * (2 if when == "after" else 1)}
    assert value(found[name]) == expected


@pytest.mark.parametrize("number", SIGNALS)
def test_a_handler_over_ours_that_hands_on(number: str, found: dict[str, Result]) -> None:
    """Faults of a shortened file come by SIGBUS, and later uses by SIGBUS or SIGSEGV."""
    result = value(found[f"chaining, {number}"])
    assert result["faults"] == FAULTS
    assert number == "SIGSEGV" or result["count"] > 0


@pytest.mark.parametrize(
    "name", ["first map in a worker thread", "event loop", "event loop with thread"]
)
def test_threads_and_event_loops(name: str, found: dict[str, Result]) -> None:
    assert value(found[name])["faults"] == FAULTS * (2 if "worker" in name else 1)


def test_system_calls_of_the_main_thread_go_on(found: dict[str, Result]) -> None:
    result = value(found["not interrupted"])
    assert result == {"faults": FAULTS, "read": "done", "more": []}


def test_imported_in_a_worker_thread(run_script, tmp_path: Path) -> None:
    """Only the main thread may set handlers of Python."""
    output = run_script(
        """
        import os, sys, threading

        thread = threading.Thread(target=lambda: __import__("mapcall"))
        thread.start()
        thread.join()
        import mapcall
        import numpy as np

        x = mapcall.memmap(sys.argv[1], "u1", "w+", shape=40960)
        plain = np.asarray(x)
        os.truncate(sys.argv[1], 0)
        for _ in range(2):
            try:
                plain[20000]
                for _ in range(1000):
                    pass
            except mapcall.MapFault as fault:
                print(fault.reason)
        """,
        tmp_path / "x",
    )
    assert output.split() == ["truncated", "truncated"]


def test_under_address_sanitizer(tmp_path: Path) -> None:
    """Faults are survived, and the sanitizer still reports what is not a fault of a map."""
    found = subprocess.run(
        ["cc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    library = found.stdout.strip()
    if not os.path.isabs(library):
        pytest.skip("the C compiler has no libasan.so")
    script = """
import ctypes, os, sys
import numpy as np
import mapcall
x = mapcall.memmap(sys.argv[1], "u1", "w+", shape=100_000)
os.truncate(sys.argv[1], 0)
fabs = mapcall.load("m").function("double fabs(double x)")
plain = np.asarray(x)
for use in (x.sum, lambda: int(plain[5000]), lambda: fabs(plain.view("f8"))):
    try:
        use()
    except mapcall.MapFault:
        print("fault", flush=True)
ctypes.string_at(0)
"""
    environment = os.environ | {"LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0"}
    command = [sys.executable, "-c", script, str(tmp_path / "x.dat")]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.stdout.split() == ["fault"] * 3, result.stderr
    assert result.returncode != 0
    assert "AddressSanitizer: SEGV on unknown address 0x000000000000" in result.stderr
