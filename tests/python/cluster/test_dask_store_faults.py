"""Stores on clusters whose processes are killed, on a full disk, and of two machines."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, KilledWorker
from distributed.client import FutureCancelledError

import clusters
import mapcall
import mapcall.dask
from disks import MIB, mounted


def numbers(size: int, block: int) -> da.Array:
    """Returns an array of `size` bytes that counts from 0, in blocks of `block` bytes."""
    return da.arange(size // 8, chunks=block // 8, dtype="i8")


def assert_counts(stored: np.ndarray[Any, Any]) -> None:
    step = 4 * MIB
    for start in range(0, len(stored), step):
        part = stored[start : start + step]
        assert np.array_equal(part, np.arange(start, start + len(part))), start


def test_bytes_do_not_travel(client: Client, tmp_path: Path) -> None:
    with clusters.traffic(client) as small:
        mapcall.dask.store(numbers(16 << 12, 1 << 12), tmp_path / "small.npy")
    with clusters.traffic(client) as large:
        stored = mapcall.dask.store(numbers(64 * MIB, 4 * MIB), tmp_path / "large.npy")
    assert_counts(stored)
    for sent in (small, large):
        assert sent.scheduler < 200_000
        assert sent.workers < 50_000


def test_less_than_two_pages_of_each_block_travel(client: Client, tmp_path: Path) -> None:
    x = numbers(16 * MIB, 1000 * 1000)
    with clusters.traffic(client) as sent:
        stored = mapcall.dask.store(x, tmp_path / "x.npy")
    assert_counts(stored)
    # Each may pass a worker that merges.
    assert sent.workers < 2 * 8192 * x.npartitions + 50_000
    assert sent.scheduler < 200_000


def test_values_of_a_delayed_on_a_cluster(client: Client, tmp_path: Path) -> None:
    made = mapcall.dask.store(numbers(MIB, 100_000), tmp_path / "x.npy", compute=False, sync=True)
    future = client.compute(made)
    assert_counts(future.result())
    assert os.listdir(tmp_path) == ["x.npy"]


def test_shared_pages_on_one_machine(client: Client, tmp_path: Path) -> None:
    x = numbers(8 * 333 * 222, 8 * 333 * 222).reshape(333, 222).rechunk((50, 50))
    stored = mapcall.dask.store(x, tmp_path / "x.npy")
    np.testing.assert_array_equal(stored, np.arange(333 * 222).reshape(333, 222))


def test_a_block_that_fails(client: Client, tmp_path: Path, unchanged: Any) -> None:
    def failing(block: Any, block_info: Any = None) -> Any:
        if block_info[0]["chunk-location"] == (5,):
            raise ZeroDivisionError("no")
        return block

    np.save(tmp_path / "x.npy", 1)
    x = numbers(MIB, MIB // 8).map_blocks(failing, meta=np.empty(0, "i8"))
    with unchanged(tmp_path), pytest.raises(ZeroDivisionError, match="no"):
        mapcall.dask.store(x, tmp_path / "x.npy")


def test_a_worker_is_killed_in_the_middle(tmp_path: Path) -> None:
    """All bytes are complete and right, although half of a block and other results were lost."""
    has_room = shutil.disk_usage(tmp_path).free > 8 << 30
    size = 2 << 30 if clusters.IS_LONG and has_room else 256 * MIB
    path, marker = tmp_path / "out" / "x.npy", tmp_path / "marker"
    path.parent.mkdir()
    with clusters.private_client(tmp_path) as client:
        before = set(clusters.processes(client).values())
        client.run(clusters.die_in_a_write, str(marker), 5)
        stored = mapcall.dask.store(numbers(size, size // 64 + 8), path)
        assert marker.exists()
        client.wait_for_workers(2, timeout=60)
        after = set(clusters.processes(client).values())
        assert len(before & after) == 1, "one worker was killed"
    assert stored.nbytes == size
    assert_counts(stored)
    assert os.listdir(path.parent) == ["x.npy"]
    path.unlink()


def test_all_workers_are_killed(tmp_path: Path, unchanged: Any) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    np.save(folder / "old.npy", 1)
    x = numbers(MIB, MIB // 8).map_blocks(clusters.die, meta=np.empty(0, "i8"))
    with clusters.private_client(tmp_path) as client:
        client.cluster.scheduler.allowed_failures = 0
        with unchanged(folder), pytest.raises(KilledWorker):
            mapcall.dask.store([x, x + 1], [folder / "old.npy", folder / "new.npy"])


@pytest.mark.parametrize("killed", [pytest.param("workers", marks=clusters.long), "scheduler"])
def test_processes_that_do_not_come_back(tmp_path: Path, unchanged: Any, killed: str) -> None:
    """The user interrupts a computation without workers; one without a scheduler fails."""
    # SIGINT is ignored if a shell has started the tests in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = tmp_path / "out"
    folder.mkdir()
    x = numbers(MIB, MIB // 8).map_blocks(clusters.held, str(tmp_path), meta=np.empty(0, "i8"))
    with clusters.separate(tmp_path) as cluster:

        def kill() -> None:
            if killed == "scheduler":
                cluster.scheduler.kill()
                return
            for worker in cluster.workers:
                worker.kill()
                worker.wait()
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGINT)

        error = FutureCancelledError if killed == "scheduler" else KeyboardInterrupt
        with clusters.client(cluster.address) as client:
            client.wait_for_workers(2, timeout=60)
            timeouts = {"distributed.comm.timeouts.connect": "1s"}
            with (
                unchanged(folder),
                dask.config.set(timeouts),
                clusters.when_held(tmp_path, 2, kill),
                pytest.raises(error),
            ):
                mapcall.dask.store(x, folder / "x.npy")


def test_a_client_that_is_killed_leaves_no_name(tmp_path: Path, client: Client) -> None:
    """And the scheduler forgets its tasks, so that nothing gets the name later."""
    folder = tmp_path / "out"
    folder.mkdir()
    script = f"""
        import dask, dask.array as da, mapcall.dask, numpy as np
        import clusters
        from distributed import Client
        Client({client.scheduler.address!r})
        x = da.arange(1 << 17, chunks=1 << 14, dtype="i8")
        x = x.map_blocks(clusters.held, {str(tmp_path)!r}, meta=np.empty(0, "i8"))
        mapcall.dask.store(x, {str(folder / "x.npy")!r})
    """
    lines = "\n".join(line.strip() for line in script.splitlines())
    path = os.pathsep.join(sys.path)
    started = subprocess.Popen([sys.executable, "-c", lines], env=os.environ | {"PYTHONPATH": path})
    while len(list(tmp_path.glob("held-*"))) < 2:
        assert started.poll() is None
        time.sleep(0.02)
    started.kill()
    started.wait()
    (tmp_path / "go").touch()
    while client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)):
        time.sleep(0.02)
    (name,) = os.listdir(folder)
    assert name.startswith(".mapcall-")
    assert name.endswith(".partial")


class TestAFullDisk:
    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[Path]:
        with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=16M", "tmpfs") as folder:
            yield folder

    def test_nothing_is_computed(
        self, client: Client, disk: Path, tmp_path: Path, unchanged: Any
    ) -> None:
        np.save(disk / "x.npy", np.arange(1000))
        x = numbers(32 * MIB, MIB).map_blocks(clusters.held, str(tmp_path), meta=np.empty(0, "i8"))
        with unchanged(disk), pytest.raises(OSError, match="No space left"):
            mapcall.dask.store([numbers(MIB, MIB), x], [disk / "y.npy", disk / "x.npy"])
        assert not list(tmp_path.glob("held-*"))

    def test_the_space_is_taken_before(self, client: Client, disk: Path, tmp_path: Path) -> None:
        """Others may fill the disk while blocks are computed."""
        x = numbers(8 * MIB, MIB).map_blocks(clusters.held, str(tmp_path), meta=np.empty(0, "i8"))

        def fill() -> None:
            with open(disk / "full", "wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(bytes(4096)):
                    pass
            (tmp_path / "go").touch()

        with clusters.when_held(tmp_path, 2, fill):
            stored = mapcall.dask.store(x, disk / "x.npy")
        assert_counts(stored)
        del stored

    def test_a_delayed(self, client: Client, disk: Path) -> None:
        made = mapcall.dask.store(numbers(32 * MIB, MIB), disk / "x.npy", compute=False)
        with pytest.raises(OSError, match="No space left"):
            made.compute()
        assert os.listdir(disk) == []


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Workers that say they are machines of their own, as they have no page cache of their own."""
    folder = tmp_path_factory.mktemp("machines")
    (folder / "machine.py").write_text(
        "import os\n"
        "from mapcall.dask import _store\n"
        "_store.machine = lambda: f'machine {os.getpid()}'\n"
    )
    options = ("--no-nanny", "--preload", str(folder / "machine.py"))
    with (
        clusters.separate(folder, options=options) as cluster,
        clusters.client(cluster.address) as client,
    ):
        client.wait_for_workers(2, timeout=60)
        yield client


class TestTwoMachines:
    @staticmethod
    def never(block: Any) -> Any:
        raise AssertionError("a block was computed")

    def test_no_page_is_written_by_both(self, machines: Client, tmp_path: Path) -> None:
        stored = mapcall.dask.store(numbers(8 * MIB, 100_000), tmp_path / "x.npy")
        assert_counts(stored)

    def test_shared_pages_are_refused_at_once(self, machines: Client, tmp_path: Path) -> None:
        x = numbers(8 * MIB, 8 * MIB).reshape(1024, 1024).rechunk((1024, 100))
        y = x.map_blocks(self.never, meta=np.empty((0, 0), "i8"))
        with pytest.raises(ValueError, match="as 2 machines write the file"):
            mapcall.dask.store(y, tmp_path / "x.npy")
        assert os.listdir(tmp_path) == []
        stored = mapcall.dask.store(x.rechunk({0: "auto", 1: -1}), tmp_path / "x.npy")
        assert_counts(stored.reshape(-1))

    def test_and_at_the_end_if_the_workers_are_not_known(
        self, machines: Client, tmp_path: Path
    ) -> None:
        x = numbers(8 * MIB, 8 * MIB).reshape(1024, 1024).rechunk((1024, 100))
        made = mapcall.dask.store(x, tmp_path / "x.npy", compute=False)
        with pytest.raises(ValueError, match="as 2 machines write the file"):
            made.compute()
        assert not (tmp_path / "x.npy").exists()


@clusters.long
def test_two_machines_in_namespaces(tmp_path: Path) -> None:
    """Each worker has a network and mounts of its own; the folder of the file is at one path."""
    script = Path(__file__).with_name("two_machines.py")
    command = ["unshare", "--net", "--mount", sys.executable, str(script), str(tmp_path)]
    if not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("unshare or ip is missing: namespaces of networks and mounts need them")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode in (1, 77) and "Operation not permitted" in done.stderr:
        pytest.skip(f"namespaces of networks and mounts are not permitted: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["stored", "hidden"]
    stored = mapcall.open(tmp_path / "shared" / "x.npy")
    assert_counts(stored)
