"""Dask arrays computed into files, compared with `numpy.save`; without a cluster."""

from __future__ import annotations

import errno
import itertools
import math
import os
import pickle
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.array.core import slices_from_chunks
from dask.delayed import Delayed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mapcall
import mapcall.dask
from mapcall._mapcall import PartialFile
from mapcall.dask import _store
from mapcall.dask._progress import compute
from mapcall.dask._store import PAGE

RECORD = np.dtype([("time", "<f8"), ("id", ">u2"), ("name", "S3")])
ALIGNED = np.dtype([("a", "i1"), ("b", "f8")], align=True)
DTYPES = ["?", "u1", "<i2", ">i4", "f4", "f8", ">f8", "c16", "M8[ms]", "m8[D]", "S5", "U3"]


@pytest.fixture(autouse=True)
def in_this_thread() -> Iterator[None]:
    with dask.config.set(scheduler="synchronous"):
        yield


def cuts(length: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Chunks of an axis, some of them empty."""

    def lengths(places: list[int]) -> tuple[int, ...]:
        return tuple(b - a for a, b in itertools.pairwise([0, *sorted(places), length]))

    return st.lists(st.integers(0, length), max_size=3).map(lengths)


@st.composite
def arrays(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], tuple[tuple[int, ...], ...]]:
    """An array of random bytes, and chunks; large enough for several pages or small."""
    dtype = np.dtype(draw(st.sampled_from([*DTYPES, RECORD, ALIGNED])))
    shape = draw(st.lists(st.integers(0, 7), max_size=4).map(tuple))
    if shape and draw(st.booleans()):
        axis = draw(st.integers(0, len(shape) - 1))
        large = draw(st.sampled_from([1000, 2048, 5000]))
        shape = (*shape[:axis], large, *shape[axis + 1 :])
    size = math.prod(shape)
    if size * dtype.itemsize > 1 << 20:
        shape, size = (5000,), 5000
    rng = np.random.default_rng(draw(st.integers(0, 100)))
    if dtype.kind in "SU":
        content = rng.integers(0, 99, size).astype(dtype)
    elif dtype.kind == "?":
        content = rng.integers(0, 2, size).astype(dtype)
    else:
        content = np.frombuffer(rng.bytes(size * dtype.itemsize), dtype)
    array = content.reshape(shape)
    if draw(st.booleans()):
        array = np.asarray(array, order="F")
    return array, tuple(draw(cuts(length)) for length in shape)


def same_bytes(array: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    """Compares arrays without the padding in structs, which NumPy does not copy."""
    if array.dtype.names:
        names = array.dtype.names
        return array.dtype == other.dtype and all(same_bytes(array[n], other[n]) for n in names)
    one, two = ((each.dtype, each.shape, each.tobytes()) for each in (array, other))
    return one == two


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(arrays())
def test_files_are_those_of_numpy_save(
    tmp_path: Path, given: tuple[np.ndarray[Any, Any], tuple[tuple[int, ...], ...]]
) -> None:
    """And each byte is written once, and each page by one task, if blocks are contiguous."""
    array, chunks = given
    x = da.from_array(array, chunks=chunks, name=False)
    path = tmp_path / "x.npy"
    written: list[tuple[int, int]] = []
    pwrite = _store._pwrite

    def recorded(descriptor: int, content: memoryview, offset: int) -> None:
        if len(content):
            written.append((offset, offset + len(content)))
        pwrite(descriptor, content, offset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_store, "_pwrite", recorded)
        stored = mapcall.dask.store(x, path)
    assert (type(stored), stored.mode, stored.filename) == (mapcall.memmap, "r", path)
    # The path's own file; NumPy has a limit for the length of headers.
    loaded = np.load(path)
    assert same_bytes(stored, array)
    assert same_bytes(loaded, array)
    assert not np.isfortran(loaded)
    assert path.stat().st_size == stored.file_offset + array.nbytes
    assert array.size == 0 or stored.file_offset % 4096 == 0
    assert os.listdir(tmp_path) == ["x.npy"]

    writer = _store.BlockWriter(x, 0, False)
    if writer.alignment == 0:
        assert sum(end - start for start, end in written) == array.nbytes
        # The header has the pages before the data.
        pages = [set(range(start // PAGE, -(-end // PAGE))) for start, end in written]
        assert sum(map(len, pages)) == len(set().union(*pages))


@pytest.mark.parametrize(
    ("shape", "chunks", "dtype", "alignment", "is_contiguous"),
    [
        ((), (), "f8", 0, True),
        ((100,), (100,), "f8", 0, True),
        ((100,), (7,), "f8", 56, True),
        ((4, 6), (2, 6), "f8", 96, True),
        ((1, 6), (1, 2), "f8", 16, True),
        ((4, 6), (1, 2), "f8", 16, True),
        ((4, 6), (2, 2), "f8", 16, False),
        ((4, 6), (4, 3), "f8", 24, False),
        ((8, 1024), (8, 512), "f8", 4096, False),
        ((8, 4096), (2, 4096 // 2), "u1", 2048, False),
        ((3, 5, 4), (3, 1, 2), "u1", 2, False),
        ((2, 1000), (1, 700), "u1", 100, True),
        ((2, 1000), (2, 700), "u1", 100, False),
    ],
)
def test_alignment(
    shape: Any, chunks: Any, dtype: str, alignment: int, is_contiguous: bool
) -> None:
    x = da.zeros(shape, chunks=chunks, dtype=dtype)
    writer = _store.BlockWriter(x, 0, False)
    assert (writer.alignment, writer.is_contiguous) == (alignment, is_contiguous)
    places = set()
    indices = np.arange(x.size).reshape(shape)
    for slices in slices_from_chunks(x.chunks):
        found = indices[slices].reshape(-1)
        ends = np.flatnonzero(np.diff(found) > 1)
        assert not is_contiguous or ends.size == 0
        places |= {found[0], found[-1] + 1, *found[ends + 1], *(found[ends] + 1)}
    itemsize = np.dtype(dtype).itemsize
    for place in places - {x.size}:
        assert place == 0 or (place * itemsize) % alignment == 0


@pytest.mark.parametrize(
    ("size", "chunk", "count"),
    [(8 * PAGE, PAGE, 8), (40 * PAGE, PAGE, 2), (8 * PAGE, PAGE - 8, 1), (PAGE - 8, PAGE, 1)],
)
def test_results_that_reach_the_client(tmp_path: Path, size: int, chunk: int, count: int) -> None:
    """One result if bytes are left, so that they need not travel to it."""
    x = da.zeros(size, chunks=chunk, dtype="u1")
    writer = _store.BlockWriter(x, 0, False)
    file = _store._begin(str(tmp_path / "x.npy"), writer, 1)
    tasks = _store._tasks([x], [file], [writer])
    assert [len(keys) for keys in tasks.results] == [count]
    written = compute(tasks.graph, tasks.results[0], tasks.blocks, None, {})
    assert not any(each.parts for each in written)
    _store._complete([written], [file], [writer])
    file.abandon()


@pytest.mark.parametrize("count", [1, 31, 33, 1200])
def test_many_blocks_in_one_page(tmp_path: Path, count: int) -> None:
    """Merges write pages when all their bytes are there, on three levels."""
    x = da.arange(3 * count, chunks=3, dtype="i2")
    stored = mapcall.dask.store(x, tmp_path / "x.npy")
    np.testing.assert_array_equal(stored, np.arange(3 * count))


def test_several_arrays_share_what_they_have_in_common(tmp_path: Path) -> None:
    calls = []

    def counted(block: Any) -> Any:
        calls.append(len(block))
        return block

    common = da.arange(10, chunks=4).map_blocks(counted, meta=np.empty(0, "i8"))
    paths = [tmp_path / "a.npy", str(tmp_path / "b.npy"), os.fsencode(tmp_path / "c.npy")]
    stored = mapcall.dask.store([common + 1, common * 2.5, common[:0]], paths)
    assert isinstance(stored, list)
    for array, expected in zip(stored, [np.arange(10) + 1, np.arange(10) * 2.5, []], strict=True):
        np.testing.assert_array_equal(array, expected)
    assert sorted(calls) == [2, 4, 4]


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("compute", [False, True])
def test_schedulers(tmp_path: Path, scheduler: str, sync: bool, compute: bool) -> None:
    if scheduler == "processes" and (sync or not compute):
        pytest.skip("another case starts processes")
    x = da.arange(10_000, chunks=999).reshape(100, 100)
    paths = [tmp_path / "x.npy", tmp_path / "y.npy"]
    stored = mapcall.dask.store(
        [x, x.T], paths, sync=sync, compute=compute, **{"scheduler": scheduler} if compute else {}
    )
    if not compute:
        assert isinstance(stored, Delayed)
        assert os.listdir(tmp_path) == []
        stored = stored.compute(scheduler=scheduler)
    np.testing.assert_array_equal(stored[0], np.arange(10_000).reshape(100, 100))
    np.testing.assert_array_equal(stored[1], np.arange(10_000).reshape(100, 100).T)
    assert sorted(os.listdir(tmp_path)) == ["x.npy", "y.npy"]


def test_relative_paths_and_the_value_of_a_delayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = mapcall.dask.store(da.ones(3), "x.npy", compute=False)
    os.mkdir("elsewhere")
    monkeypatch.chdir("elsewhere")
    assert dask.delayed(np.sum)(made).compute() == 3
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "x.npy"]
    # Computed once more, it writes the file once more.
    (tmp_path / "x.npy").unlink()
    assert made.compute().tolist() == [1, 1, 1]


def test_the_blocks_are_written_by_the_tasks_that_compute_them(tmp_path: Path) -> None:
    """So no block is the result of a task, whatever the layers before it are."""
    x = (da.ones((40, 40), chunks=(10, 40)).rechunk((20, 20)).T + 1)[:, ::2]
    writer = _store.BlockWriter(x, 0, False)
    file = _store._begin(str(tmp_path / "x.npy"), writer, 1)
    tasks = _store._tasks([x], [file], [writer])
    names = {key[0].rsplit("-", 1)[0] for key in tasks.graph if isinstance(key, tuple)}
    assert any("getitem-store-0" in name for name in names)
    assert not any(name.endswith(("add", "getitem")) for name in names)
    written = compute(tasks.graph, tasks.results[0], tasks.blocks, None, {})
    _store._complete([written], [file], [writer])
    assert (_store._name_files(None, [file], False, True) == 2).all()


class TestCalls:
    """The calls of a function, whose results are written while they are in the cache."""

    @pytest.fixture(scope="class")
    @classmethod
    def library(cls, tmp_path_factory: pytest.TempPathFactory) -> mapcall.Library:
        source = tmp_path_factory.mktemp("library") / "library.c"
        source.write_text(
            "#include <stddef.h>\n"
            "double add(double x, double y) { return x + y; }\n"
            "void twice(size_t n, const double *x, double *y)\n"
            "{ for (size_t i = 0; i < n; i++) y[i] = 2 * x[i]; }\n"
            "void saxpy(size_t n, double a, const double *x, double *y)\n"
            "{ for (size_t i = 0; i < n; i++) y[i] += a * x[i]; }\n"
            "void both(double x, double *low, double *high) { *low = x - 1; *high = x + 1; }\n"
            "int copied(double x, double y[1]) { *y = x; return x > 0 ? 0 : -3; }\n"
            "int checked(double x) { return x > 0 ? 0 : -3; }\n"
        )
        library = source.with_suffix(".so")
        subprocess.run(["cc", "-shared", "-fPIC", source, "-o", library], check=True)
        return mapcall.load(library)

    @pytest.fixture(autouse=True)
    def small_pieces(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Makes pieces small, and returns the number of pieces of each block."""
        counts: list[int] = []
        run = _store.BlockWriter._write_run

        def counted(self: Any, pieces: Any, *arguments: Any) -> Any:
            counts.append(0)

            def each() -> Iterator[Any]:
                for piece in pieces:
                    counts[-1] += 1
                    yield piece

            return run(self, each(), *arguments)

        monkeypatch.setattr(_store, "PIECE", 4000)
        monkeypatch.setattr(_store.BlockWriter, "_write_run", counted)
        return counts

    @pytest.mark.parametrize("chunks", [(7, 100), (1, 37), (20, 100), (20, 13)])
    def test_elements_and_broadcasting(
        self, library: mapcall.Library, tmp_path: Path, chunks: Any, small_pieces: list[int]
    ) -> None:
        add = library.function("double add(double x, double y)")
        x, y = np.arange(2000.0).reshape(20, 100), np.arange(100.0) / 7
        lazy = da.from_array(x, chunks)
        for index, (other, expected) in enumerate(
            [(y, x + y), (2.5, x + 2.5), (x[:, :1].copy(), x + x[:, :1]), (np.ones(()), x + 1)]
        ):
            stored = mapcall.dask.store(add(lazy, other), tmp_path / f"{index}.npy")
            np.testing.assert_array_equal(stored, expected)
        assert (max(small_pieces, default=0) > 1) == (chunks in [(7, 100), (20, 100)])

    @pytest.mark.parametrize("shape", [(50, 30), (1, 1, 1500), (3, 1, 7, 20), (1500,)])
    def test_core_axes(
        self, library: mapcall.Library, tmp_path: Path, shape: tuple[int, ...]
    ) -> None:
        twice = library.function("void twice(size_t n, const double x[n], double y[n])")
        x = np.random.default_rng(0).random(shape)
        stored = mapcall.dask.store(twice(da.from_array(x, (2,) * (x.ndim - 1) + (-1,))), "x.npy")
        np.testing.assert_array_equal(stored, 2 * x)
        saxpy = library.function("void saxpy(size_t n, double a, const double x[n], double y[n])")
        stored = saxpy(3.0, x[..., :], da.from_array(x), out=tmp_path / "y.npy")
        np.testing.assert_array_equal(stored, 4 * x)

    @pytest.fixture(autouse=True)
    def in_a_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def test_several_results_and_shared_ones(self, library: mapcall.Library) -> None:
        both = library.function("void both(double x, double low[1], double high[1])")
        add = library.function("double add(double x, double y)")
        x = da.arange(1000.0, chunks=300)
        low, high = mapcall.dask.store(list(both(x)), ["low.npy", "high.npy"])
        np.testing.assert_array_equal(low.reshape(-1), np.arange(1000.0) - 1)
        np.testing.assert_array_equal(high.reshape(-1), np.arange(1000.0) + 1)
        y = add(x, 1.0)
        stored = mapcall.dask.store([y, y * 2, y], ["a.npy", "b.npy", "c.npy"])
        for array, factor in zip(stored, [1, 2, 1], strict=True):
            np.testing.assert_array_equal(array, (np.arange(1000.0) + 1) * factor)
        stored = mapcall.dask.store(y, "d.npy", compute=False)
        np.testing.assert_array_equal(stored.compute(), np.arange(1000.0) + 1)

    def test_statuses(self, library: mapcall.Library, small_pieces: list[int]) -> None:
        """The function does not return its statuses, which can only be 0."""
        checked = library.function("int checked(double x)", check="zero")
        x = da.arange(1.0, 5001, chunks=2500)
        stored = checked(x, out="statuses.npy")
        assert max(small_pieces) > 1
        np.testing.assert_array_equal(stored, np.zeros(5000, "i4"))
        with pytest.raises(mapcall.CallError, match=r"at index \[\d+\]: expected status 0"):
            mapcall.dask.store(checked(-x), "others.npy")

    def test_a_mask(self, library: mapcall.Library) -> None:
        add = library.function("double add(double x, double y)")
        x, mask = np.arange(5000.0), np.arange(5000) % 3 == 0
        stored = mapcall.dask.store(
            add(da.from_array(x, 2000), 1.0, where=da.from_array(mask, 2000)), "x.npy"
        )
        np.testing.assert_array_equal(stored, np.where(mask, x + 1, 0))

    def test_an_error_has_the_index_in_the_whole_array(self, library: mapcall.Library) -> None:
        copied = library.function("int copied(double x, double y[1])", check="zero")
        x = da.from_array(np.where(np.arange(9000) == 7654, -1.0, 1.0), 4000)
        with pytest.raises(mapcall.CallError, match=r"\[7654\]"):
            mapcall.dask.store(copied(x), "x.npy")

    def test_blocks_without_elements(self, library: mapcall.Library) -> None:
        add = library.function("double add(double x, double y)")
        x = da.concatenate([da.zeros((0, 3)), da.ones((4, 3)), da.zeros((0, 3))])
        assert mapcall.dask.store(add(x, 1.0), "x.npy").tolist() == [[2.0] * 3] * 4
        assert mapcall.dask.store(add(x[:0], 1.0), "y.npy").shape == (0, 3)
        assert mapcall.dask.store(add(x[1, 1], 1.0), "z.npy").tolist() == 2.0


class TestReplacing:
    """An old file is replaced at the end; until then it can be read, also by the blocks."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "x.npy"
        np.save(path, np.arange(5000))
        path.chmod(0o604)
        return path

    def test_the_source_of_the_array(self, path: Path) -> None:
        before = path.stat()
        old = mapcall.open(path)
        x = mapcall.dask.open(path, chunks=1024)
        stored = mapcall.dask.store(x[::-1] + 1, path)
        np.testing.assert_array_equal(stored, np.arange(5000)[::-1] + 1)
        np.testing.assert_array_equal(old, np.arange(5000))
        assert path.stat().st_mode == before.st_mode
        assert path.stat().st_ino != before.st_ino

    @pytest.mark.parametrize("compute", [True, False])
    def test_hard_links_are_written_in_place(self, path: Path, compute: bool) -> None:
        os.link(path, path.with_name("other.npy"))
        before = path.stat()
        x = mapcall.dask.open(path, chunks=1024) * 2.5
        stored = mapcall.dask.store(x, path, compute=compute)
        if not compute:
            stored = stored.compute()
        np.testing.assert_array_equal(stored, np.arange(5000) * 2.5)
        np.testing.assert_array_equal(np.load(path.with_name("other.npy")), stored)
        assert (path.stat().st_ino, path.stat().st_mode) == (before.st_ino, before.st_mode)
        assert sorted(os.listdir(path.parent)) == ["other.npy", "x.npy"]

    def test_a_link_stays(self, path: Path) -> None:
        folder = path.with_name("folder")
        folder.mkdir()
        (folder / "link.npy").symlink_to("../x.npy")
        stored = mapcall.dask.store(da.ones(3), folder / "link.npy")
        assert (folder / "link.npy").is_symlink()
        np.testing.assert_array_equal(np.load(path), stored)
        # One that leads nowhere yet.
        (folder / "new.npy").symlink_to("../y.npy")
        mapcall.dask.store(da.ones(4), folder / "new.npy")
        np.testing.assert_array_equal(np.load(path.with_name("y.npy")), np.ones(4))
        assert sorted(os.listdir(folder)) == ["link.npy", "new.npy"]

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_a_failure_leaves_the_old_file(
        self, path: Path, unchanged: Any, error: type[BaseException]
    ) -> None:
        def failing(block: Any, block_info: Any = None) -> Any:
            if block_info[0]["chunk-location"] == (3,):
                raise error("no")
            return block

        x = da.arange(5000, chunks=1000).map_blocks(failing, dtype="i8", meta=np.empty(0, "i8"))
        with unchanged(path.parent), pytest.raises(error, match="no"):
            mapcall.dask.store([x, x + 1], [path, path.with_name("new.npy")])


class TestRefused:
    """Before anything is computed or created."""

    @pytest.mark.parametrize(
        ("array", "match"),
        [
            (da.arange(9, chunks=3)[da.arange(9, chunks=3) > 3], r"x\.compute_chunk_sizes\(\)"),
            (
                da.from_array(np.array(["a", 1], object), chunks=1),
                r"plain data, got object; convert it",
            ),
            (da.zeros(3, chunks=3, dtype=[("a", "O")]), "plain data"),
            (da.ma.masked_equal(da.arange(3), 1), r"dask\.array\.ma\.filled"),
        ],
    )
    @pytest.mark.parametrize("compute", [True, False])
    def test_arrays(self, tmp_path: Path, array: Any, match: str, compute: bool) -> None:
        good = da.ones(3)
        with pytest.raises(ValueError, match=match) as caught:
            mapcall.dask.store(
                [good, array], [tmp_path / "a.npy", tmp_path / "x.npy"], compute=compute
            )
        assert str(caught.value).startswith("store: arrays[1]: expected")
        assert os.listdir(tmp_path) == []

    def test_remedies_work(self, tmp_path: Path) -> None:
        x = da.arange(9, chunks=3)
        stored = mapcall.dask.store(x[x > 3].compute_chunk_sizes(), tmp_path / "x.npy")
        assert stored.tolist() == [4, 5, 6, 7, 8]
        x = da.from_array(np.array(["a", 1], object), chunks=1).astype("U20")
        assert mapcall.dask.store(x, tmp_path / "x.npy").tolist() == ["a", "1"]
        x = da.ma.filled(da.ma.masked_equal(da.arange(3), 1), 9)
        assert mapcall.dask.store(x, tmp_path / "x.npy").tolist() == [0, 9, 2]

    def test_what_is_no_dask_array(self, tmp_path: Path) -> None:
        with pytest.raises(TypeError, match=r"expected a Dask array, got ndarray; .*numpy\.save"):
            mapcall.dask.store(np.ones(3), tmp_path / "x.npy")

    def test_paths(self, tmp_path: Path) -> None:
        x = da.ones(3)
        path = tmp_path / "x.npy"
        with pytest.raises(ValueError, match="expected 2, one for each array, got 1"):
            mapcall.dask.store([x, x], path)
        with pytest.raises(ValueError, match="expected different files"):
            mapcall.dask.store([x, x], [path, tmp_path / "." / "x.npy"])
        mapcall.dask.store(x, path)
        os.link(path, tmp_path / "y.npy")
        with pytest.raises(ValueError, match="expected different files"):
            mapcall.dask.store([x, x], [path, tmp_path / "y.npy"])
        with pytest.raises(FileNotFoundError):
            mapcall.dask.store(x, tmp_path / "no" / "x.npy")
        (tmp_path / "d.npy").mkdir()
        with pytest.raises(IsADirectoryError):
            mapcall.dask.store(x, tmp_path / "d.npy")
        (tmp_path / "d.npy").rmdir()
        with pytest.raises(OSError, match="No space") as caught:
            mapcall.dask.store([x, da.zeros(1 << 55, chunks=1 << 54)], [path, tmp_path / "z.npy"])
        assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
        assert sorted(os.listdir(tmp_path)) == ["x.npy", "y.npy"]


class TestBlocks:
    """Blocks that are not what the array says."""

    @staticmethod
    def blocks(function: Any, dtype: str = "i4") -> da.Array:
        return da.ones(6, chunks=3).map_blocks(function, dtype=dtype, meta=np.empty(0, dtype))

    def test_dtypes_are_converted_as_by_assignment(self, tmp_path: Path) -> None:
        x = self.blocks(lambda block: np.full(3, 7, ">i8"))
        assert mapcall.dask.store(x, tmp_path / "x.npy").dtype == "i4"
        assert mapcall.dask.store(x, tmp_path / "x.npy").tolist() == [7] * 6

    @pytest.mark.parametrize(
        ("function", "match"),
        [
            (lambda block: np.full(3, 7.5), r"block at \[\d\]: expected dtype int32.*got float64"),
            (lambda block: np.zeros(2, "i4"), r"expected shape \(3,\).*got \(2,\)"),
            (lambda block: np.ma.masked_equal(np.arange(3, dtype="i4"), 1), "without a mask"),
        ],
    )
    def test_others_are_refused(self, tmp_path: Path, function: Any, match: str) -> None:
        with pytest.raises(ValueError, match=match):
            mapcall.dask.store(self.blocks(function), tmp_path / "x.npy")
        assert os.listdir(tmp_path) == []


class TestRepeated:
    """Each step can be repeated, by another process, at any time: Dask does so."""

    @pytest.fixture
    def writer(self) -> _store.BlockWriter:
        return _store.BlockWriter(da.arange(4000, chunks=1000), 0, False)

    @staticmethod
    def run(writer: _store.BlockWriter, file: PartialFile, blocks: Any = range(4)) -> list[Any]:
        return [
            writer((slice(at * 1000, at * 1000 + 1000),), f, np.arange(at * 1000, at * 1000 + 1000))
            for at in blocks
            for f in [pickle.loads(pickle.dumps(file))]
        ]

    @staticmethod
    def finish(written: Any, file: PartialFile, writer: _store.BlockWriter) -> Any:
        return _store._name_files(
            _store._complete([written], [file], [writer]), [file], False, True
        )

    def test_begin_does_not_zero_what_was_written(
        self, tmp_path: Path, writer: _store.BlockWriter
    ) -> None:
        path = str(tmp_path / "x.npy")
        written = self.run(writer, _store._begin(path, writer, 7), [0, 1])
        again = _store._begin(path, writer, 7)
        written += self.run(writer, again, [2, 3])
        np.testing.assert_array_equal(self.finish(written, again, writer), np.arange(4000))
        assert os.listdir(tmp_path) == ["x.npy"]

    @pytest.mark.parametrize("is_linked", [False, True])
    def test_blocks_and_finish(
        self, tmp_path: Path, writer: _store.BlockWriter, is_linked: bool
    ) -> None:
        path = tmp_path / "x.npy"
        if is_linked:
            np.save(path, 1)
            os.link(path, tmp_path / "y.npy")
        file = _store._begin(str(path), writer, 7)
        written = self.run(writer, file, [1, 0, 0, 1, 2, 0, 3])[2:]
        del written[0]
        merged = _store._merge(written[1:], file, writer)
        for _ in range(2):
            stored = self.finish([written[0], merged], file, writer)
            np.testing.assert_array_equal(stored, np.arange(4000))
            # The results were lost, and Dask starts again.
            again = self.run(writer, file)
            np.testing.assert_array_equal(self.finish(again, file, writer), np.arange(4000))
            merged = _store._merge([again[0], *again[2:]], file, writer)
        file.abandon()
        file.abandon()
        assert sorted(os.listdir(tmp_path)) == ["x.npy", "y.npy"][: 1 + is_linked]

    def test_a_file_that_was_lost(self, tmp_path: Path, writer: _store.BlockWriter) -> None:
        """The blocks in it are missed, although the new file has the same name and inode."""
        path = str(tmp_path / "x.npy")
        file = _store._begin(path, writer, 7)
        written = self.run(writer, file, [0, 1])
        os.unlink(file.partial)
        with pytest.raises(FileNotFoundError, match="cancelled, or this machine does not see"):
            self.run(writer, file, [2])
        again = _store._begin(path, writer, 7)
        assert again.partial == file.partial
        with pytest.raises(mapcall.ChangedFileError):
            self.run(writer, file, [2])
        written += self.run(writer, again, [2, 3])
        with pytest.raises(OSError, match="blocks are lost; store the array again"):
            self.finish(written, again, writer)
        assert not os.path.exists(path)
        file = _store._begin(path, writer, 8)
        stored = self.finish(self.run(writer, file), file, writer)
        np.testing.assert_array_equal(stored, np.arange(4000))

    def test_another_file_has_got_the_name(
        self, tmp_path: Path, writer: _store.BlockWriter
    ) -> None:
        path = tmp_path / "x.npy"
        file = _store._begin(str(path), writer, 7)
        written = self.run(writer, file)
        np.save(path, np.arange(3))
        np.testing.assert_array_equal(self.finish(written, file, writer), np.arange(4000))
        np.save(tmp_path / "z.npy", np.arange(3))
        os.replace(tmp_path / "z.npy", path)
        with pytest.raises(FileNotFoundError):
            self.finish(written, file, writer)
        assert np.load(path).tolist() == [0, 1, 2]


@pytest.mark.parametrize("chunks", [(10, 1000), (13, 1000), (5, 300)])
@pytest.mark.parametrize("case", ["new", "replaces", "sync"])
def test_each_task_syncs_what_it_has_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: tuple[int, int], case: str
) -> None:
    """Before the name is there, if it was asked for or if an old file is replaced."""
    path = tmp_path / "x.npy"
    if case == "replaces":
        np.save(path, 1)
    old = path.stat().st_ino if path.exists() else None
    synced: list[bool] = []
    fdatasync = os.fdatasync

    def recorded(descriptor: int) -> None:
        fdatasync(descriptor)
        synced.append((path.stat().st_ino if path.exists() else None) == old)

    monkeypatch.setattr(os, "fdatasync", recorded)
    x = da.ones((50, 1000), chunks=chunks)
    assert (mapcall.dask.store(x, path, sync=case == "sync") == 1).all()
    # The last task writes pages of several blocks: each is 4000 bytes long at least.
    several = x.npartitions + (chunks[0] != 5)
    assert synced == [True] * (0 if case == "new" else several)


class TestMachines:
    """Pages that several machines would write."""

    @staticmethod
    def written_by(machines: list[str], x: da.Array, path: Path) -> Any:
        """Stores an array; each of its tasks runs on the next of the machines."""
        turns = itertools.cycle(machines)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_store, "machine", lambda: next(turns))
            return mapcall.dask.store(x, path)

    def test_contiguous_blocks(self, tmp_path: Path) -> None:
        x = da.arange(100_000, chunks=1234)
        stored = self.written_by(["one", "other"], x, tmp_path / "x.npy")
        np.testing.assert_array_equal(stored, np.arange(100_000))

    def test_whole_pages(self, tmp_path: Path) -> None:
        x = da.arange(8 * PAGE, dtype="i4").reshape(8, PAGE).rechunk((3, PAGE // 2))
        stored = self.written_by(["one", "other"], x, tmp_path / "x.npy")
        np.testing.assert_array_equal(stored, np.arange(8 * PAGE).reshape(8, PAGE))

    def test_shared_pages_are_refused(self, tmp_path: Path) -> None:
        x = da.ones((100, 100), chunks=(50, 50))
        with pytest.raises(ValueError, match=r"as 2 machines write .* call x\.rechunk") as caught:
            self.written_by(["one", "other"], x, tmp_path / "x.npy")
        assert os.listdir(tmp_path) == []
        remedy = str(caught.value).split("call ")[1].removesuffix(" first")
        x = eval(remedy, {"x": x})
        stored = self.written_by(["one", "other"], x, tmp_path / "x.npy")
        np.testing.assert_array_equal(stored, np.ones((100, 100)))

    def test_one_machine(self, tmp_path: Path) -> None:
        x = da.ones((100, 100), chunks=(50, 50))
        assert self.written_by(["one"], x, tmp_path / "x.npy").sum() == 10_000


def test_long_headers_can_be_read_by_numpy(tmp_path: Path) -> None:
    """NumPy reads headers up to 10,000 bytes: padding may not make one longer."""
    for fields in (10, 150, 300, 330):
        dtype = np.dtype([(f"a field of a long name {i}", "i2") for i in range(fields)])
        x = da.from_array(np.ones(100, dtype), chunks=33)
        stored = mapcall.dask.store(x, tmp_path / "x.npy")
        with open(tmp_path / "x.npy", "rb") as file:
            length = len(file.read()) - stored.nbytes
        if length < 10_000:
            np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), np.ones(100, dtype))
        np.testing.assert_array_equal(stored, np.ones(100, dtype))
