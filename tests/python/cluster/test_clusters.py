"""The fixtures themselves: real processes, counted bytes, and workers that die and come back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from distributed import Client, wait

import clusters


def own_process() -> int:
    return os.getpid()


def test_workers_are_processes_that_run_functions_of_tests(client: Client) -> None:
    pids = clusters.processes(client)
    assert len(set(pids.values()) | {os.getpid()}) == 3
    assert {client.submit(own_process, workers=[at], pure=False).result() for at in pids} == set(
        pids.values()
    )


def test_bytes_are_counted(client: Client) -> None:
    one, other = clusters.processes(client)

    def same(array: Any) -> Any:
        return array

    with clusters.traffic(client) as through_the_scheduler:
        wait(sent := client.scatter(np.ones(1 << 20, "u1"), workers=[one], direct=False))
    assert 1 << 20 < through_the_scheduler.scheduler < 5 << 20
    assert through_the_scheduler.workers < 1 << 16
    with clusters.traffic(client) as between_workers:
        wait(client.submit(same, sent, workers=[other]))
    assert 1 << 20 <= between_workers.workers < 2 << 20
    assert between_workers.scheduler < 1 << 17
    with clusters.traffic(client) as small:
        assert da.ones(1 << 20, chunks=1 << 18).sum().compute() == 1 << 20
    assert small.workers + small.scheduler < 1 << 17


@clusters.long
def test_workers_that_were_killed_come_back(tmp_path: Path) -> None:
    with clusters.private_client(tmp_path) as client:
        before = clusters.processes(client)
        clusters.kill(client)
        client.wait_for_workers(2, timeout=60)
        assert da.arange(100, chunks=10).sum().compute() == 4950
        after = clusters.processes(client)
        assert not set(before.values()) & set(after.values())
