"""Array files as Dask arrays: what blocks hold, where they are cut, and how they are named."""

from __future__ import annotations

import math
import mmap
import os
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import clusters
import mapcall
import mapcall.dask
from mapcall.dask._maps import dates_writes

Script = Callable[..., str]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def value(array: da.Array) -> Any:
    return array.compute(scheduler="synchronous")


def stored(name: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    np.save(name, array)
    return array


numbers = st.lists(st.integers(0, 7), max_size=4).map(tuple)
relaxed = settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class TestBlocks:
    @relaxed
    @given(data=st.data(), shape=numbers, order=st.sampled_from("CF"))
    def test_any_view_in_any_chunks(self, data: Any, shape: tuple[int, ...], order: Any) -> None:
        whole = np.arange(math.prod(shape), dtype="i4").reshape(shape, order=order)
        np.save("x.npy", whole)
        index = tuple(
            data.draw(st.one_of(st.just(slice(None)), st.slices(length))) for length in shape
        )
        chunks = tuple(data.draw(st.integers(1, 4)) for _ in shape)
        found = mapcall.open("x.npy")[(..., *index)].to_dask(chunks)
        expected = whole[index]
        np.testing.assert_array_equal(value(found), expected)
        assert found.chunks == da.from_array(expected, chunks).chunks
        np.testing.assert_array_equal(value(found.T), expected.T)

    @pytest.mark.parametrize(
        "dtype", [">i2", "f2", "c16", "S3", "U2", "?", "M8[s]", [("a", "i4"), ("b", ">f8", (2,))]]
    )
    def test_dtypes(self, dtype: Any) -> None:
        x = mapcall.memmap("x.dat", dtype, "w+", shape=(5, 2))
        x.view("u1")[:] = np.arange(x.nbytes, dtype="u1").reshape(x.view("u1").shape) % 2
        found = x.to_dask((2, 1))
        assert found.dtype == x.dtype
        np.testing.assert_array_equal(value(found), x)

    def test_members(self) -> None:
        x = np.arange(12.0).reshape(3, 4)
        np.savez("x.npz", x=x, y=x + 1)
        found = mapcall.dask.open("x.npz", chunks=2, member="y")
        np.testing.assert_array_equal(value(found), x + 1)

    def test_blocks_are_parts_of_the_file_and_read_only(self) -> None:
        x = mapcall.create("x.npy", shape=(4, 4))
        lazy = x.to_dask((2, 2))
        (block,) = dask.get(lazy.dask, [(lazy.name, 1, 1)])
        assert isinstance(block, mapcall.memmap)
        assert not block.flags.writeable
        assert block.file_offset == x[2:, 2:].file_offset
        assert os.path.samefile(block.filename, "x.npy")

    def test_names_of_every_type(self) -> None:
        x = stored("x.npy", np.arange(4))
        for path in ("x.npy", b"x.npy", Path("x.npy")):
            np.testing.assert_array_equal(value(mapcall.dask.open(path)), x)

    def test_a_copy_on_write_map_without_changes(self) -> None:
        stored("x.npy", np.arange(4))
        x = mapcall.open("x.npy", "c")
        assert value(x.to_dask()).tolist() == [0, 1, 2, 3]
        x[0] = 5
        with pytest.raises(ValueError, match=r"'c' with changes.*numpy\.save"):
            x.to_dask()

    def test_what_has_no_file_is_refused(self) -> None:
        x = mapcall.create("x.npy", shape=4)
        with pytest.raises(ValueError, match="a copy"):
            x.copy().to_dask()
        os.unlink("x.npy")
        with pytest.raises(ValueError, match="without a name"):
            x.to_dask()


class TestChunks:
    def test_runs_of_whole_pages(self) -> None:
        with dask.config.set({"array.chunk-size": "64 KiB"}):
            x = mapcall.memmap("x.dat", "f8", "w+", shape=(1000, 100)).to_dask()
            # The smallest number of rows in whole pages, 128, is too large for a block: 13 blocks.
            assert x.chunks == ((77,) * 12 + (76,), (100,))
            y = mapcall.memmap("x.dat", "f8", "r", shape=(1000, 64)).to_dask()
            assert y.chunks == ((128,) * 7 + (104,), (64,))
            assert 128 * 64 * 8 % mmap.PAGESIZE == 0

    def test_the_order_of_the_file(self) -> None:
        with dask.config.set({"array.chunk-size": "64 KiB"}):
            shape = (64, 64, 64)
            c = mapcall.memmap("c.dat", "f8", "w+", shape=shape).to_dask()
            f = mapcall.memmap("f.dat", "f8", "w+", shape=shape, order="F").to_dask()
            assert c.chunksize == (2, 64, 64)
            assert f.chunksize == (64, 64, 2)
            wide = mapcall.memmap("w.dat", "f8", "w+", shape=(4, 65536)).to_dask()
            assert wide.chunksize == (1, 8192)

    @pytest.mark.parametrize(
        "chunks", [3, (3, 4), {0: 3}, -1, "auto", "256 B", (3, "auto"), ((4, 6), (5, 5)), None]
    )
    def test_every_form_that_dask_knows(self, chunks: Any) -> None:
        x = stored("x.npy", np.arange(100).reshape(10, 10))
        try:
            expected = da.from_array(x, chunks).chunks
        except ValueError as error:
            with pytest.raises(ValueError, match=str(error)[:20]):
                mapcall.dask.open("x.npy", chunks)
            return
        found = mapcall.dask.open("x.npy", chunks)
        if chunks == "256 B":
            assert found.chunksize == (3, 10)
        else:
            assert found.chunks == expected
        np.testing.assert_array_equal(value(found), x)


class TestSeveralFiles:
    @relaxed
    @given(data=st.data(), axis=st.integers(-3, 2), stack=st.booleans())
    def test_joined_as_numpy_does(self, data: Any, axis: int, stack: bool) -> None:
        for path in Path().glob("part-*.npy"):
            path.unlink()
        lengths = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
        arrays = []
        for number, length in enumerate(lengths):
            shape = [2, 3, 4]
            if not stack:
                shape[axis] = length
            array = np.arange(math.prod(shape)).reshape(shape) + 100 * number
            arrays.append(stored(f"part-{number}.npy", array))
        found = mapcall.dask.open(
            "part-*.npy", data.draw(st.integers(1, 4)), axis=axis, stack=stack
        )
        expected = np.stack(arrays, axis) if stack else np.concatenate(arrays, axis)
        np.testing.assert_array_equal(value(found), expected)
        assert found.shape == expected.shape

    def test_a_list_keeps_its_order(self) -> None:
        for name in "ab":
            stored(f"{name}.npy", np.full(2, ord(name)))
        assert value(mapcall.dask.open(["b.npy", Path("a.npy")])).tolist() == [98, 98, 97, 97]

    def test_headers_must_agree(self) -> None:
        stored("a.npy", np.zeros((2, 3)))
        stored("b.npy", np.zeros((2, 3), "f4"))
        stored("c.npy", np.zeros((2, 4)))
        with pytest.raises(ValueError, match=r"b\.npy: expected dtype float64, .*got float32"):
            mapcall.dask.open(["a.npy", "b.npy"])
        with pytest.raises(ValueError, match=r"c\.npy: expected shape \(2, 3\) but for axis 0"):
            mapcall.dask.open(["a.npy", "c.npy"])
        with pytest.raises(ValueError, match=r"c\.npy: expected shape \(2, 3\), as"):
            mapcall.dask.open(["a.npy", "c.npy"], stack=True)
        assert mapcall.dask.open(["a.npy", "c.npy"], axis=1).shape == (2, 7)
        with pytest.raises(ValueError, match="axis: expected -2 to 1, got 2"):
            mapcall.dask.open(["a.npy", "c.npy"], axis=2)

    def test_no_files(self) -> None:
        with pytest.raises(FileNotFoundError, match=r"none-\*"):
            mapcall.dask.open("none-*.npy")
        with pytest.raises(FileNotFoundError):
            mapcall.dask.open("none.npy")
        with pytest.raises(ValueError, match="empty list"):
            mapcall.dask.open([])

    def test_a_file_that_has_the_name_of_a_pattern(self) -> None:
        stored("x[1].npy", np.arange(3))
        stored("x1.npy", np.arange(4))
        assert mapcall.dask.open("x[1].npy").shape == (3,)


class TestNames:
    def test_equal_in_every_process(self, run_script: Script) -> None:
        stored("x.npy", np.arange(10))
        script = """
            import sys, mapcall.dask
            print(mapcall.open(sys.argv[1])[2:].to_dask(3).name)
        """
        path = os.path.abspath("x.npy")
        names = {run_script(script, path).strip() for _ in range(2)}
        assert names == {mapcall.open(path)[2:].to_dask(3).name}

    def test_what_tells_arrays_apart(self) -> None:
        x = mapcall.memmap("x.dat", "i8", "w+", shape=(4, 4))
        shutil.copy("x.dat", "y.dat")

        def read(name: str = "x.dat", dtype: str = "i8", **options: Any) -> mapcall.memmap:
            return mapcall.memmap(name, dtype, "r", **{"shape": (4, 4)} | options)

        x.flush()
        arrays = [
            read(),
            read("y.dat"),
            read(dtype="f8"),
            read(dtype="u8"),
            read(dtype=">i8"),
            read(shape=(2, 8)),
            read(shape=(16,)),
            read(order="F"),
            read()[1:3],
            read()[::2],
            read()[:, ::-1],
            read(dtype="i4", shape=(4, 4)),
            read(dtype="i4", shape=(4, 4), offset=64),
        ]
        names = [array.to_dask(2).name for array in arrays]
        assert len(set(names)) == len(names)
        assert read().to_dask(2).name == names[0]
        assert read().to_dask(1).name != names[0]

    def test_two_dtypes_over_one_file_have_their_own_values(self) -> None:
        x = mapcall.memmap("x.dat", "i8", "w+", shape=4)
        x[:] = 1
        found = dask.compute(x.to_dask(), x.view("f8").to_dask(), scheduler="synchronous")
        np.testing.assert_array_equal(found[0], x)
        np.testing.assert_array_equal(found[1], x.view("f8"))

    def test_a_change_of_the_file_changes_the_name(self) -> None:
        stored("x.npy", np.arange(10))
        before = mapcall.dask.open("x.npy").name
        stored("x.npy", np.arange(10))
        os.utime("x.npy", ns=(1, 1))
        assert mapcall.dask.open("x.npy").name != before

    def test_a_change_through_a_map_changes_the_name(self) -> None:
        x = mapcall.create("x.npy", shape=10)
        names = []
        for number in range(5):
            x[0] = number
            found = x.to_dask()
            assert value(found)[0] == number
            names.append(found.name)
            # Later than the resolution of the file system's times.
            modified = os.stat("x.npy").st_mtime_ns
            while time.time_ns() < modified + 20_000_000:
                time.sleep(0.005)
        assert len(set(names)) == 5
        assert x.to_dask().name == names[-1]

    def test_names_are_unique_where_nothing_tells_a_change(self) -> None:
        memory = Path("/dev/shm")
        if not memory.is_dir() or dates_writes(memory):
            pytest.skip("this machine has no file system in memory")
        path = memory / f"mapcall-{os.getpid()}.npy"
        try:
            x = mapcall.create(path, shape=10)
            names = []
            for number in range(3):
                x[0] = number
                found = x.to_dask()
                names.append(found.name)
                assert value(found)[0] == number
            assert len(set(names)) == 3
            # A file that only others write is as everywhere.
            assert mapcall.dask.open(path).name == mapcall.dask.open(path).name
        finally:
            path.unlink()

    def test_the_content_is_not_read(self) -> None:
        with open("x.dat", "wb") as file:
            file.truncate(1 << 40)
        x = mapcall.memmap("x.dat", mode="r")
        assert x.to_dask().shape == x.shape
        assert not x[: 1 << 24].residency().any()
        assert not x[-1 << 24 :].residency().any()

    def test_dasks_dashboard_shows_the_file(self) -> None:
        stored("my-file.npy", np.arange(10))
        assert dask.utils.key_split(mapcall.dask.open("my-file.npy").name) == "my_file.npy"


class TestSizes:
    @pytest.mark.parametrize("chunks", [1, 128, 8192])
    def test_the_graph_grows_with_the_number_of_chunks_only(self, chunks: int) -> None:
        sizes = []
        for length in (1 << 20, 1 << 40):
            with open("x.dat", "wb") as file:
                file.truncate(length)
            x = mapcall.memmap("x.dat", mode="r").to_dask(length // chunks)
            assert x.npartitions == chunks
            sizes.append(len(pickle.dumps(x.dask)))
        assert abs(sizes[0] - sizes[1]) < 16 * chunks
        assert max(sizes) < 2000 + 16 * chunks

    def test_no_data_travels(self, client: Client, tmp_path: Path) -> None:
        sent = []
        for length in (1 << 20, 1 << 28):
            x = mapcall.memmap(tmp_path / f"{length}.dat", mode="w+", shape=length)
            lazy = x.to_dask(length // 16)
            with clusters.traffic(client) as traffic:
                assert int(lazy.max().compute()) == 0
            sent.append(traffic.scheduler + traffic.workers)
        assert max(sent) < 1 << 19


class TestChangedFiles:
    def test_a_file_that_changes_between_graph_and_run(self, client: Client) -> None:
        stored("x.npy", np.arange(10))
        lazy = mapcall.dask.open(os.path.abspath("x.npy"), 5).sum()
        assert lazy.compute() == 45
        stored("y.npy", np.arange(10) + 1)
        os.replace("y.npy", "x.npy")
        with pytest.raises(mapcall.ChangedFileError, match="inode"):
            (lazy + 1).compute()
        with mapcall.trust_files():
            trusting = mapcall.dask.open(os.path.abspath("x.npy"), 5).sum()
        stored("y.npy", np.arange(10) + 2)
        os.replace("y.npy", "x.npy")
        assert trusting.compute() == 65
        assert mapcall.dask.open(os.path.abspath("x.npy"), 5).sum().compute() == 65

    def test_a_file_that_became_shorter(self) -> None:
        x = mapcall.create("x.npy", shape=10)
        lazy = x.to_dask(5)
        os.truncate("x.npy", 150)
        with pytest.raises(mapcall.ChangedFileError, match="size"):
            value(lazy)
