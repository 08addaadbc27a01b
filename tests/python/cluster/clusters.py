"""Clusters of Dask on this machine: real processes, the bytes that they send, and their death.

Workers import the functions of their tasks: from test modules, and from modules of the folders that
pytest adds to the path, such as this one.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
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


# What takes five seconds or more, most of it to start and end processes of a cluster of its own.
IS_LONG = "MAPCALL_CLUSTERS" in os.environ
long = pytest.mark.skipif(
    not IS_LONG, reason="it takes long: `make test-long` runs it, and MAPCALL_CLUSTERS=1"
)


def wait_until(condition: Callable[[], Any]) -> None:
    """Waits until a condition holds; raises an exception after 6,000 looks, a minute or more."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it does not happen")


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


@dataclass
class Separate:
    """A scheduler and workers that the commands of Dask have started."""

    address: str
    scheduler: subprocess.Popen[str]
    workers: list[subprocess.Popen[str]]
    # Starts one more worker; the argument is the words that stand before its command.
    join: Callable[[Sequence[str]], None]


@contextlib.contextmanager
def separate(
    folder: Path,
    prefixes: Sequence[Sequence[str]] = ((), ()),
    *,
    host: str = "127.0.0.1",
    hosts: Sequence[str] = (),
    options: Sequence[str] = ("--no-nanny",),
) -> Iterator[Separate]:
    """Starts a scheduler and workers in processes of their own, which a test may kill.

    Parameters
    ----------
    folder : Path
        For their files.
    prefixes : sequence of commands
        For each worker the words that stand before its command, such as ``["nsenter", ...]``.
    host, hosts : str, sequence of str
        The address of the scheduler, and of each worker if it is another one.
    options : sequence of str
        Options of `dask worker`.
    """
    cli = [sys.executable, "-m"]
    places = ["--port", "0", "--dashboard-address", f"{host}:0"]
    running: list[subprocess.Popen[str]] = []

    def start(command: list[str]) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        started = subprocess.Popen(
            command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
        )
        running.append(started)
        return started

    try:
        scheduler = start([*cli, "distributed.cli.dask_scheduler", "--host", host, *places])
        address = ""
        for line in scheduler.stderr or ():
            if found := re.search(r"Scheduler at: +(\S+)", line):
                address = found[1]
                break
        assert address, f"the scheduler did not start: exit {scheduler.wait()}"
        command = [*cli, "distributed.cli.dask_worker", address, "--nthreads", "1"]
        command += ["--memory-limit", "0", "--no-dashboard", "--local-directory", str(folder)]
        workers: list[subprocess.Popen[str]] = []

        def join(prefix: Sequence[str], at: str = host) -> None:
            workers.append(start([*prefix, *command, "--host", at, *options]))

        for prefix, at in zip(prefixes, hosts or [host] * len(prefixes), strict=True):
            join(prefix, at)
        yield Separate(address, scheduler, workers, join)
    finally:
        for each in running:
            each.kill()
        for each in running:
            if each.stderr is not None and not each.stderr.closed:
                each.communicate()


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


def die(block: Any) -> Any:
    """Kills the process that computes a block."""
    os.kill(os.getpid(), signal.SIGKILL)


def held(block: Any, folder: str) -> Any:
    """Returns a block when there is a file `go` in the folder: the task of a worker that waits."""
    Path(folder, f"held-{os.getpid()}").touch()
    while not Path(folder, "go").exists():
        time.sleep(0.02)
    return block


@contextlib.contextmanager
def when_held(folder: Path, count: int, then: Callable[[], None]) -> Iterator[None]:
    """Calls a function in a thread when `count` workers are held."""

    is_over = threading.Event()

    def wait() -> None:
        while len(list(folder.glob("held-*"))) < count:
            if is_over.wait(0.02):
                return
        then()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def die_in_a_write(marker: str, call: int) -> None:
    """Makes this process kill itself in the middle of a write; one process does so."""
    from mapcall.dask import _store

    pwrite = _store._pwrite
    calls = []

    def deadly(descriptor: int, content: memoryview, offset: int) -> None:
        calls.append(offset)
        if len(calls) == call:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
                pwrite(descriptor, content[: len(content) // 2], offset)
                os.kill(os.getpid(), signal.SIGKILL)
        pwrite(descriptor, content, offset)

    _store._pwrite = deadly
