"""Maps in many threads: no deadlock, no map of another thread, no lost write."""

import ctypes
import itertools
import os
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import mapcall
from threads import THREADS, run_in_threads


def test_maps_of_ones_own(tmp_path: Path, switching: None) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))

    def work(thread: int) -> None:
        path = tmp_path / str(thread)
        x = mapcall.memmap(path, "i4", "w+", 4 * thread, (20, 30))
        x[:] = thread
        view = x[3:, ::-2].T
        assert view.file_offset == 4 * thread + 4 * (3 * 30 + 29)
        again = pickle.loads(pickle.dumps(view))
        assert (again == thread).all()
        x.flush()
        pointer = (x + 1).ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        assert pointer[599] == thread + 1
        assert np.fromfile(path, "i4", offset=4 * thread).tolist() == [thread] * 600

    assert run_in_threads(work) > THREADS
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_one_file(tmp_path: Path, switching: None) -> None:
    path = tmp_path / "file"
    path.write_bytes(np.arange(10_000, dtype="i4").tobytes())
    modes = ["r", "r+", "c", "r"]

    def work(thread: int) -> None:
        x = mapcall.memmap(path, "i4", modes[thread % 4], 4 * thread)
        assert x.shape == (10_000 - thread,)
        assert x[thread] == 2 * thread
        x.advise("random")
        x[100:200].prefetch()
        assert x.residency().size > 0
        if modes[thread % 4] == "c":
            x[:] = -1
            assert pickle.loads(pickle.dumps(x)).sum() == -x.size
        else:
            assert pickle.loads(pickle.dumps(x[5:]))[0] == thread + 5

    run_in_threads(work)
    assert np.fromfile(path, "i4").tolist() == list(range(10_000))


def test_one_array(tmp_path: Path, switching: None) -> None:
    x = mapcall.memmap(tmp_path / "file", "i4", "w+", 0, (THREADS, 1000))

    def work(thread: int) -> None:
        row = x[thread]
        row += 1
        assert row.min() == row.max()
        row.flush()
        assert row.ctypes.data == x.ctypes.data + 4000 * thread
        assert x[thread, ::-1].file_offset == 4000 * thread + 3996
        assert mapcall.Ctypes(row).data_as(ctypes.POINTER(ctypes.c_int32))[999] == row[999]

    total = run_in_threads(work)
    assert x[:, 0].sum() == total


def test_the_last_reference_dies_anywhere(tmp_path: Path, switching: None) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 16))
    shared: list[Any] = [np.zeros(1)] * 5
    turns = itertools.count()

    def work(thread: int) -> None:
        shared[next(turns) % 5] = mapcall.memmap(path, mode="r+")[thread:]
        assert shared[next(turns) % 5].T[::-1][0] == 0

    run_in_threads(work)
    shared.clear()
    assert str(path) not in Path("/proc/self/maps").read_text()


def test_the_others_run_during_a_prefetch(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    sparse.touch()
    os.truncate(sparse, 1 << 30)
    x = mapcall.memmap(sparse, mode="r")
    prefetching = threading.Thread(target=x.prefetch)
    turns = 0
    prefetching.start()
    while prefetching.is_alive():
        time.sleep(0.001)
        turns += 1
    prefetching.join()
    assert turns > 10
