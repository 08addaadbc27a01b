"""The demo and the benchmarks run without errors; `make bench` measures them."""

from __future__ import annotations

from pathlib import Path

import attribute_and_map
import demo
import harness


def test_the_demo_agrees_with_numpy(tmp_path: Path) -> None:
    rows = list(demo.rows(tmp_path, 10_000))
    assert {row.library for row in rows} == {"libm", "zlib", "OpenBLAS"}
    assert all(row.agrees for row in rows), rows


def test_every_benchmark_runs(tmp_path: Path) -> None:
    for row in attribute_and_map.rows(tmp_path):
        if not isinstance(row, harness.Skipped):
            result = harness.measure(row, rounds=2, seconds=0.0001)
            assert row.name in str(result)
