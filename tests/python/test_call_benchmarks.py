"""The benchmarks of calls run, and their rivals give the same results; `make bench` measures them.

Only the rivals that `make test` installs run here. The others check their results themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pytest

import builds
import call
import harness
import mapcall
import rivals


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return builds.kernel(tmp_path_factory.mktemp("benches"))


def vectors() -> dict[str, numpy.ndarray]:
    return {"x": numpy.arange(16, dtype="f4"), "y": numpy.ones(16, "f4")}


@pytest.fixture(params=["mapcall", "extension"])
def saxpy(request: pytest.FixtureRequest, kernel: Path) -> Any:
    if request.param == "mapcall":
        return mapcall.load(kernel).function(call.SAXPY)
    try:
        return rivals.extension(kernel, vectors()).names["saxpy"]
    except builds.MissingError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("make", [rivals.ndpointer, rivals.extension])
def test_a_rival_agrees_with_numpy(make: Callable[..., harness.Work], kernel: Path) -> None:
    try:
        work = make(kernel, vectors())
    except builds.MissingError as error:
        pytest.skip(str(error))
    call.agree(work)


def test_a_wrong_result_is_noticed() -> None:
    with pytest.raises(AssertionError):
        call.agree(harness.Work("y += x", vectors()))


@pytest.mark.parametrize("a", [2.5, 3, numpy.float64(0.1), numpy.float32(0.1), numpy.int8(-3)])
def test_numbers_that_the_extension_takes(saxpy: Any, a: Any) -> None:
    x, y = vectors().values()
    expected = numpy.float32(a) * x + y
    saxpy(a, x, y)
    numpy.testing.assert_allclose(y, expected, rtol=1e-6)


X, Y = vectors().values()
READ_ONLY = numpy.ones(16, "f4")
READ_ONLY.flags.writeable = False
UNALIGNED = numpy.zeros(65, "u1")[1:].view("f4")
SHARED = numpy.zeros(31, "f4")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("2", X, Y), id="a is text"),
        pytest.param((None, X, Y), id="a is None"),
        pytest.param((2j, X, Y), id="a is complex"),
        pytest.param((2**24 + 1, X, Y), id="a is an integer that no float has"),
        pytest.param((10**400, X, Y), id="a is a huge integer"),
        pytest.param((1e39, X, Y), id="a overflows"),
        pytest.param((2.0, X.astype("f8"), Y), id="dtype"),
        pytest.param((2.0, X.astype(">f4"), Y), id="byte order"),
        pytest.param((2.0, UNALIGNED, Y), id="alignment"),
        pytest.param((2.0, X[::2], Y[:8]), id="contiguity"),
        pytest.param((2.0, numpy.array(2, "f4"), Y), id="no dimension"),
        pytest.param((2.0, X[:15], Y), id="lengths"),
        pytest.param((2.0, X, READ_ONLY), id="writeability"),
        pytest.param((2.0, SHARED[:16], SHARED[15:]), id="overlap"),
        pytest.param((2.0, X.tolist(), Y), id="a list"),
        pytest.param((), id="no argument"),
        pytest.param((2.0, X, Y, 16, 16), id="too many arguments"),
    ],
)
def test_the_extension_refuses_what_mapcall_refuses(saxpy: Any, arguments: tuple) -> None:
    before = [numpy.array(each) for each in (X, Y, READ_ONLY, SHARED)]
    with pytest.raises((TypeError, ValueError, OverflowError)):
        saxpy(*arguments)
    for now, then in zip((X, Y, READ_ONLY, SHARED), before, strict=True):
        numpy.testing.assert_array_equal(now, then)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(partial(call.saxpy_row, rival="ndpointer"), id="saxpy: ndpointer"),
        pytest.param(partial(call.saxpy_row, rival="C extension"), id="saxpy: C extension"),
        pytest.param(lambda _: call.cos_row("math.cos"), id="cos: math.cos"),
        pytest.param(lambda _: call.cos_row("ctypes"), id="cos: ctypes"),
        pytest.param(lambda _: call.strlen_row("ctypes"), id="strlen: ctypes"),
        pytest.param(lambda _: call.qsort_row("ctypes", "a[0] of a pointer"), id="qsort: ctypes"),
        pytest.param(lambda _: call.qsort_row("cffi", "a[0] of an array"), id="qsort: cffi"),
        pytest.param(partial(call.header, functions=5), id="header"),
    ],
)
def test_a_row_runs(make: Callable[[Path], harness.Row], kernel: Path) -> None:
    try:
        row = make(kernel.parent)
    except builds.MissingError as error:
        pytest.skip(str(error))
    result = harness.measure(row, rounds=2, seconds=0.0001)
    assert row.name in str(result)


def test_binding_runs(kernel: Path) -> None:
    harness.alone(call.binding(kernel.parent), rounds=2, seconds=0.0001)


def test_missing_tools_are_skipped_and_named(
    kernel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(builds.MissingError, match="apt-get install luajit") as caught:
        rivals.luajit(kernel, vectors())
    report = harness.Report("Call")
    report.measure([harness.Skipped("LuaJIT", str(caught.value))])
    assert report.met
    assert "skipped: luajit is missing" in capsys.readouterr().out
