"""The benchmarks of batches and streams run on small arrays; their rivals give the same results."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import dask
import numpy
import pytest

import batch
import builds
import cluster
import harness
import picture
import scale
import stream

BENCHES = Path(batch.__file__).parent
DOCS = BENCHES.parent / "docs"


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("libraries")


@pytest.mark.parametrize(
    ("name", "rival"), [(name, rival) for name in batch.RIVALS for rival in batch.RIVALS[name][1]]
)
def test_a_batch_agrees_with_its_rival(libraries: Path, name: str, rival: str) -> None:
    try:
        row = batch.row(libraries, name, rival, items=100)
        harness.measure(row, rounds=2, seconds=0.0001)
    except builds.MissingError as error:
        pytest.skip(str(error))
    assert row.name.endswith(rival)


@pytest.mark.parametrize("rival", batch.TWO_THREADS)
def test_two_threads_agree_with_one(libraries: Path, rival: str) -> None:
    row = batch.two_threads(libraries, rival, items=101)
    harness.measure(row, rounds=2, seconds=0.0001)


def test_a_wrong_batch_is_noticed(libraries: Path) -> None:
    wrong = batch.cos(libraries, items=10)
    with pytest.raises(AssertionError):
        batch.agree(wrong, wrong.work(), wrong.ufunc(numpy.sin))


def test_streams_run_and_leave_nothing(
    libraries: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(stream.rows(tmp_path, libraries, fraction=0.0))
    if isinstance(rows[0], harness.Skipped) and "is in memory" in rows[0].reason:
        pytest.skip(rows[0].reason)
    assert list(tmp_path.iterdir()) == []
    assert {row.name for row in rows} >= {
        "sum of 2 MiB, two threads: memmap",
        "new 2 MiB, one thread: memmap w+",
        "durable 2 MiB, two threads: memmap w+",
    }


def test_streams_are_measured(libraries: Path, tmp_path: Path) -> None:
    for row in stream.rows(tmp_path, libraries, fraction=0.001):
        if isinstance(row, harness.Row):
            harness.measure(row, rounds=2, seconds=0.0001)


def test_rows_of_a_cluster_are_measured(libraries: Path, tmp_path: Path) -> None:
    """Both sides give the same numbers, or the row refuses; without workers of their own."""
    with dask.config.set(scheduler="threads"):
        rows: list[harness.Row | harness.Skipped] = [
            cluster.graph_row(tmp_path, 1 << 20),
            cluster.squares_row(tmp_path, libraries, 1 << 20, 1 << 18),
            *cluster.store_rows(None, tmp_path, libraries, fraction=0.01),
        ]
        for row in rows:
            if isinstance(row, harness.Skipped) and "is in memory" in row.reason:
                pytest.skip(row.reason)
            assert isinstance(row, harness.Row)
            harness.measure(row, rounds=2, seconds=0.0001)
        for limited in cluster.graph_sizes(tmp_path, rows[0]):
            assert limited.unit == "seconds" or limited.met


def test_rows_without_disk_space_are_skipped(
    libraries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "file_system", lambda _: "tmpfs")
    for row in stream.rows(tmp_path, libraries):
        assert isinstance(row, harness.Skipped)
        assert "is in memory (tmpfs): name another --directory" in row.reason
    monkeypatch.setattr(stream, "file_system", lambda _: "ext4")
    monkeypatch.setattr(stream, "available_memory", lambda: 1 << 30)
    for row in stream.rows(tmp_path, libraries, fraction=0.5):
        assert isinstance(row, harness.Skipped)
        assert row.reason.endswith("GiB of memory, and 1.0 GiB are available")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_files_go_away_when_a_run_is_stopped(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, BENCHES / "stream.py", "--directory", tmp_path, "--fraction", "0.05"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not any(tmp_path.glob("*/*.f8")):
        if process.poll() == 0:
            pytest.skip("there is no room for files")
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, how)
    assert process.wait(30) != 0
    assert list(tmp_path.iterdir()) == []


def test_rows_are_kept(libraries: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows"
    report = harness.Report("Some", path)
    row = harness.Row("work: rival", harness.Work("1"), harness.Work("sum((1, 1))"), 1e-9)
    report.measure([row, harness.Skipped("other", "it is missing")], rounds=2)
    report.add(harness.Limited("bind", 2e-5, 5e-5))
    measured, skipped, limited = map(json.loads, path.read_text().splitlines())
    assert (measured["group"], measured["name"]) == ("Some", "work: rival")
    assert measured["ratio"] > 1e-9
    assert measured["budget"] == 1e-9
    assert skipped == {"group": "Some", "name": "other", "skipped": "it is missing"}
    assert (limited["name"], limited["ratio"]) == ("bind: at most 50 us", 0.4)
    assert not report.met


def test_scale_measures_and_draws_each_kernel(
    libraries: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = list(scale.run(tmp_path, libraries, [1, 2], mib=4, rounds=1))
    assert [kernel.limit_name for kernel, _ in measured] == ["memmove", "loops in C", "pwrite"]
    for _, points in measured:
        assert [point.threads for point in points] == [1, 2]
    assert capsys.readouterr().out.count("threads   mapcall") == 3
    assert list(tmp_path.iterdir()) == []
    root = ElementTree.fromstring(scale.picture(measured))
    # Two lines, and their marks in the legend, for each kernel.
    assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 12


def test_the_picture_is_of_the_kept_rows() -> None:
    lines = (DOCS / "budgets.jsonl").read_text().splitlines()
    rows = [picture.Drawn.from_json(line) for line in lines]
    assert (DOCS / "budgets.svg").read_text() == picture.picture(rows)


def test_a_picture_is_well_formed() -> None:
    rows = [
        picture.Drawn("Some & more", "x < y: rival", 1e-9, (0.0, 1e9), 0.5),
        picture.Drawn("Some & more", "x < y: other", 2.0, (1.0, 3.0), 0.5),
        picture.Drawn("Others", "skipped", None, (1, 1), None),
    ]
    root = ElementTree.fromstring(picture.picture(rows))
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    # The picture has the name of each work once.
    assert texts.count("x < y") == 1
    assert {"0.000 of 0.50 ✓", "2.00 of 0.50 ✗", "not measured"} <= set(texts)
