"""Clusters of Dask on this machine: real processes, the bytes that they send, and their death.

Workers import modules of the folders that pytest adds to the path, such as this one; `conftest.py`
makes Dask send what test modules define.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster
from distributed.comm import tcp

# A task may lose three workers before it fails.
SETTINGS: dict[str, Any] = {
    "distributed.scheduler.allowed-failures": 3,
    "distributed.comm.timeouts.connect": "30s",
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.gil.enabled": False,
}


@contextlib.contextmanager
def cluster(folder: Path, workers: int = 2, **options: Any) -> Iterator[LocalCluster]:
    """Starts a scheduler in this process and workers with one thread in processes of their own.

    `folder` is for the workers' temporary files; `options` are those of `LocalCluster`.
    """
    options = {"threads_per_worker": 1, "memory_limit": 0} | options
    with (
        dask.config.set(SETTINGS),
        LocalCluster(
            n_workers=workers,
            processes=True,
            host="127.0.0.1",
            scheduler_port=0,
            dashboard_address="127.0.0.1:0",
            local_directory=str(folder),
            **options,
        ) as made,
    ):
        yield made


@contextlib.contextmanager
def client(of: LocalCluster | str) -> Iterator[Client]:
    """Connects a client, which is Dask's default scheduler inside of the block."""
    with dask.config.set(SETTINGS), Client(of) as made:
        yield made


@contextlib.contextmanager
def private_client(folder: Path, workers: int = 2, **options: Any) -> Iterator[Client]:
    """Starts a cluster for one test, which may kill its workers, and connects a client."""
    with cluster(folder, workers, **options) as made, client(made) as connected:
        connected.wait_for_workers(workers, timeout=60)
        yield connected


def processes(connected: Client) -> dict[str, int]:
    """Returns the process id of each worker, by the worker's address."""
    return dict(connected.run(os.getpid))


def kill(connected: Client, *addresses: str) -> None:
    """Kills workers with SIGKILL, by default all; their nannies start new ones."""
    of = processes(connected)
    for address in addresses or of:
        os.kill(of[address], signal.SIGKILL)


@dataclass
class Traffic:
    """Bytes that were sent: by and to the scheduler and the client, and between workers."""

    scheduler: int = 0
    workers: int = 0


@contextlib.contextmanager
def traffic(connected: Client) -> Iterator[Traffic]:
    """Counts bytes in the block; the figures are complete after it.

    The scheduler runs in this process, and heartbeats count, too: a few kilobytes a second.
    """
    counted = Traffic()
    write, from_frames = tcp.TCP.write, tcp.from_frames

    async def counting_write(self: Any, *arguments: Any, **options: Any) -> int:
        sent: int = await write(self, *arguments, **options)
        counted.scheduler += sent
        return sent

    async def counting_from_frames(frames: Any, *arguments: Any, **options: Any) -> Any:
        counted.scheduler += sum(memoryview(frame).nbytes for frame in frames)
        return await from_frames(frames, *arguments, **options)

    before = _sent_between_workers(connected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tcp.TCP, "write", counting_write)
        patch.setattr(tcp, "from_frames", counting_from_frames)
        yield counted
    after = _sent_between_workers(connected)
    counted.workers = sum(sent - before.get(address, 0) for address, sent in after.items())


def _sent_between_workers(connected: Client) -> dict[str, int]:
    def sent(dask_worker: Any) -> int:
        return int(dask_worker.transfer_outgoing_bytes_total)

    return dict(connected.run(sent))
