"""Computations over maps on a real cluster whose workers die, restart, come and go."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from distributed import Client

import clusters
import mapcall
import mapcall.dask

Compile = Callable[..., Path]

SOURCE = "double square(double x) { return x * x; }"


@pytest.fixture(scope="module")
def square(compile_c: Compile) -> mapcall.Function:
    return mapcall.load(compile_c(SOURCE)).function("double square(double x)")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Returns a client of a cluster whose workers these tests may kill."""
    with clusters.private_client(tmp_path_factory.mktemp("workers")) as connected:
        yield connected


@pytest.fixture
def x(tmp_path: Path) -> np.ndarray[Any, Any]:
    elements = np.arange(100_000.0)
    np.save(tmp_path / "x.npy", elements)
    return elements


def gate(block: Any, folder: Path) -> Any:
    """Tells that a block has begun, and waits until the test lets it pass."""
    (folder / f"begun-{os.getpid()}-{time.monotonic_ns()}").touch()
    while not (folder / "open").exists():
        time.sleep(0.01)
    return block


def count_tasks(dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks)


class TestWorkersThatDie:
    @pytest.mark.parametrize(
        "everyone", [False, pytest.param(True, marks=clusters.long)], ids=["one", "all"]
    )
    def test_killed(
        self,
        client: Client,
        square: mapcall.Function,
        x: Any,
        tmp_path: Path,
        everyone: bool,
    ) -> None:
        client.wait_for_workers(2, timeout=60)
        lazy = square(mapcall.dask.open(tmp_path / "x.npy", 5000))
        total = lazy.map_blocks(gate, tmp_path, meta=np.empty(0)).sum()
        future = client.compute(total)
        clusters.wait_until(lambda: len(list(tmp_path.glob("begun-*"))) >= 2)
        of = clusters.processes(client)
        clusters.kill(client, *(of if everyone else list(of)[:1]))
        (tmp_path / "open").touch()
        assert future.result(timeout=120) == (x**2).sum()

    @clusters.long
    def test_restarted_by_the_nanny(self, square: mapcall.Function, x: Any, tmp_path: Path) -> None:
        # A cluster of its own: a nanny that restarts a killed worker restarts it twice.
        with clusters.private_client(tmp_path / "workers") as client:
            lazy = square(mapcall.dask.open(tmp_path / "x.npy", 5000))
            assert lazy.sum().compute() == (x**2).sum()
            client.restart(timeout=60)
            assert lazy.sum().compute() == (x**2).sum()

    @clusters.long
    def test_adaptive_scaling(self, square: mapcall.Function, x: Any, tmp_path: Path) -> None:
        with clusters.cluster(tmp_path / "workers", workers=0) as cluster:
            cluster.adapt(minimum=0, maximum=2, interval="50ms", wait_count=1)
            with clusters.client(cluster):
                lazy = square(mapcall.dask.open(tmp_path / "x.npy", 5000))
                assert lazy.sum().compute() == (x**2).sum()

    def test_retries(self, client: Client, square: mapcall.Function, tmp_path: Path) -> None:
        """A task that failed because of its file succeeds when it is repeated."""
        x = mapcall.memmap(tmp_path / "x.dat", "f8", "w+", shape=1000)
        lazy = square(x.to_dask(500)).sum()
        os.rename(tmp_path / "x.dat", tmp_path / "away.dat")
        with pytest.raises(FileNotFoundError):
            lazy.compute()
        # Until then the scheduler returns the exception again, as the tasks have the same names.
        clusters.wait_until(lambda: client.run_on_scheduler(count_tasks) == 0)
        os.rename(tmp_path / "away.dat", tmp_path / "x.dat")
        x[:] = 2
        x.flush()
        with dask.annotate(retries=3):
            assert lazy.compute() == 4000


class TestErrorsOfWorkers:
    """What a worker raises arrives with its attributes."""

    def test_map_fault(self, client: Client, square: mapcall.Function, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", np.arange(100_000.0))
        lazy = mapcall.dask.open(tmp_path / "x.npy", 100_000)

        def shorten(block: Any) -> Any:
            os.truncate(tmp_path / "x.npy", 4096)
            return square(block)

        with pytest.raises(mapcall.MapFault) as caught:
            lazy.map_blocks(shorten, meta=np.empty(0)).sum().compute()
        assert caught.value.reason == "truncated"
        assert caught.value.filename == str(tmp_path / "x.npy")

    def test_changed_file(self, client: Client, x: Any, tmp_path: Path) -> None:
        lazy = mapcall.dask.open(tmp_path / "x.npy", 5000)
        os.utime(tmp_path / "x.npy", ns=(5, 5))
        with pytest.raises(mapcall.ChangedFileError) as caught:
            lazy.sum().compute()
        assert caught.value.changed == "modification time"
        assert caught.value.path == str(tmp_path / "x.npy")
