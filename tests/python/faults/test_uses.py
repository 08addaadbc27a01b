"""Every use of a map whose pages are gone, for each reason, with and without `faulthandler`.

The process survives, and a `MapFault` arrives once for each use, in the thread that made it. The
cases are in `cases.py`; each runs in a process of its own.

For the order in which `faulthandler` and mapcall set their handlers, the signal matters: SIGBUS for
a shortened file, as for a device error or a full disk, and SIGSEGV for a closed map. `make
test-long` combines each order with all reasons.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cases
from broken import PAGE, REASONS
from cases import AT_ONCE, EFAULT, LATER, SOON, STATES, USES, Use
from children import Result, results
from long_tests import long

ERRNO = {"io": {None, errno.EIO}, "no space": {None, errno.ENOSPC}}


def combinations() -> Iterator[object]:
    for reason in REASONS:
        for state in STATES:
            is_usual = state == "off" or reason in ("truncated", "closed")
            yield pytest.param(reason, state, marks=() if is_usual else long)


@pytest.mark.parametrize(("reason", "state"), combinations())
@pytest.mark.parametrize("name", cases.names())
def test_use(reason: str, state: str, name: str, native: Path, shared: Path) -> None:
    place = shared / f"{reason}-{state}"
    script = Path(cases.__file__)
    result = results(script, shared, reason, state, str(native), str(place))[name]
    if "skip" in result:
        pytest.skip(result["skip"])
    check(reason, name, place, result)


@pytest.mark.parametrize("name", cases.names())
def test_intact(name: str, native: Path, shared: Path) -> None:
    """The same uses raise nothing while the pages are there."""
    place = shared / "intact"
    script = Path(cases.__file__)
    result = results(script, shared, "intact", "after", str(native), str(place))[name]
    if "skip" in result:
        pytest.skip(result["skip"])
    assert (result["status"], result["stderr"]) == (0, "")
    value = result["value"]
    assert value["others"] == []
    uses = json.loads(value["uses"]) if name.endswith("child process") else value["uses"]
    assert [each["seen"] for each in uses] == [[], []]


def check(reason: str, name: str, place: Path, result: Result) -> None:
    what, _, thread = name.rpartition(", ")
    use = USES[what]
    # Neither a signal nor "Fatal Python error".
    assert result["stderr"] == ""
    assert result["status"] == 0, "killed by a signal, or hanging (None)"
    value = result["value"]
    assert value["others"] == [], "a thread that has not used the map got an exception"
    uses = value["uses"]
    if thread == "child process":
        assert value["status of the child"] == 0
        uses = json.loads(uses)
    if thread == "thread that ends":
        assert value["threads"] == ["ending-0", "ending-1"]
    assert len(uses) == 2
    for each in uses:
        assert len(each["seen"]) == 1, "expected one exception for each use"
        [error] = each["seen"]
        check_error(reason, use, place, error)
        if thread in ("main thread", "child process"):
            assert error["thread"] == "MainThread"
            assert use.arrives == LATER or each["turns"] <= SOON
        elif thread != "thread that ends":
            assert error["thread"] == "worker"
        if use.arrives in (AT_ONCE, EFAULT) and thread != "thread that ends":
            assert not each["returned"], "the result has reached the user"


def check_error(reason: str, use: Use, place: Path, error: dict[str, Any]) -> None:
    if use.arrives == EFAULT:
        assert error["errno"] == errno.EFAULT
        assert "MapFault" not in error["kinds"]
        return
    if reason == "closed" and use.parameter and error["kinds"][0] == "ArgumentError":
        # Refused before C runs.
        assert f": {use.parameter}: " in error["text"]
        return
    assert error["kinds"][:2] == ["MapFault", "OSError"]
    assert error["reason"] == reason
    assert error["errno"] in ERRNO.get(reason, {None})
    file = Path(error["filename"])
    assert file.is_relative_to(place)
    assert file.suffix == ".npy"
    assert isinstance(error["file_offset"], int)
    # The first page of a closed map is gone, too.
    first = 0 if reason == "closed" and use.pages == cases.ALL else use.pages.start
    assert first * PAGE <= error["file_offset"] < use.pages.stop * PAGE
