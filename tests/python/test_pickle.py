"""Pickles by reference: between processes, after the file has changed, and from hostile sources."""

import contextlib
import copy
import multiprocessing
import os
import pickle
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.array_utils import byte_bounds

import mapcall
from mapcall import _mapcall

Unchanged = Callable[[Path], AbstractContextManager[None]]

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)
RECORD = np.dtype([("time", "<f8"), ("id", ">u2"), ("place", "f4", (2,)), ("name", "S3")])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(np.arange(120, dtype="f8").tobytes())
    return made


def round_trip(x: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> Any:
    return pickle.loads(pickle.dumps(x, protocol))


def assert_same_place(again: mapcall.memmap, x: mapcall.memmap) -> None:
    assert type(again) is type(x)
    assert again._mmap is not None
    assert again._mmap is not x._mmap
    assert again.filename == x.filename
    assert type(again.filename) is type(x.filename)
    assert again.file_offset == x.file_offset
    # The array is the first one on a new map, so its offset is that of its lowest byte.
    assert again.file_offset is not None
    assert again.offset == again.file_offset - (again.ctypes.data - byte_bounds(again)[0])
    assert (again.shape, again.strides) == (x.shape, x.strides)
    assert again.dtype == x.dtype
    assert again.mode == ("r+" if x.mode == "w+" else x.mode)
    assert again.flags.writeable == x.flags.writeable
    assert again.flags.aligned == x.flags.aligned
    np.testing.assert_array_equal(again, x)


VIEWS: dict[str, Callable[[mapcall.memmap], mapcall.memmap]] = {
    "whole": lambda x: x,
    "slice": lambda x: x[2:5],
    "transpose": lambda x: x.T,
    "negative strides": lambda x: x[::-1, ::-2],
    "row": lambda x: x[3],
    "column": lambda x: x[:, 3],
    "zero-dimensional": lambda x: x[3, 4, ...],
    "empty": lambda x: x[3:3],
    "broadcast": lambda x: np.broadcast_to(x[1], (3, 12), subok=True),
    "new axes": lambda x: x[None, :, None],
    "as bytes": lambda x: x.view("u1")[:, 3:],
    "unaligned": lambda x: x.view("u1")[:, 3:11].view(">f8"),
    "structured": lambda x: x.view([("a", "f4"), ("b", "<i2"), ("c", "V2")]),
    "field": lambda x: x.view([("a", "f4"), ("b", "<i2"), ("c", "V2")])["b"],
    "reshaped": lambda x: x.reshape(2, -1, 3),
    "dates": lambda x: x.view("M8[us]"),
}


class TestByReference:
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    @pytest.mark.parametrize("mode", ["r", "r+", "c"])
    @pytest.mark.parametrize("view", VIEWS)
    def test_every_view(self, path: Path, view: str, mode: str, protocol: int) -> None:
        x = VIEWS[view](mapcall.memmap(path, "f8", mode, shape=(10, 12)))
        pickled = pickle.dumps(x, protocol)
        assert len(pickled) < 425 + len(str(path))
        assert_same_place(pickle.loads(pickled), x)

    @pytest.mark.parametrize("name", ["file", "f" * 150])
    @pytest.mark.parametrize("make", [str, Path])
    def test_size(self, tmp_path: Path, name: str, make: type) -> None:
        path = make(tmp_path / name)
        x = mapcall.memmap(path, RECORD, "w+", 7, (1000, 100))
        for view in (x, x[5:], x.T[::-2], x[3, ::-1]):
            assert len(pickle.dumps(view)) < 500 + len(str(path))
            assert_same_place(round_trip(view), view)

    def test_it_is_shared(self, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "r+")
        again = round_trip(x[10:20])
        again[0] = -1
        assert x[10] == -1
        x[11] = -2
        assert again[1] == -2

    def test_a_new_file_is_not_emptied_again(self, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "w+", shape=50)
        x[:] = 3
        again = round_trip(x)
        assert again.mode == "r+"
        assert (x == 3).all()
        assert (again == 3).all()

    def test_opened_by_a_file_object(self, path: Path) -> None:
        with open(path, "r+b") as file:
            x = mapcall.memmap(file, "f8", "r+")
        assert_same_place(round_trip(x), x)

    def test_opened_by_a_relative_name(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(path.parent)
        pickled = pickle.dumps(mapcall.memmap(path.name, "f8", "r"))
        monkeypatch.chdir("/")
        assert pickle.loads(pickled).filename == str(path)

    def test_opened_by_bytes(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # As in NumPy, these maps have no `filename`, but the file has a name.
        for name in (os.fsencode(path), os.fsencode(path.name)):
            monkeypatch.chdir(path.parent)
            x = mapcall.memmap(name, "f8", "r")[3:]
            pickled = pickle.dumps(x)
            monkeypatch.chdir("/")
            again = pickle.loads(pickled)
            assert again.filename is None
            assert again.file_offset == 24
            assert again.tolist() == x.tolist()

    def test_views_of_views_read_only(self, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "r+")[5:]
        assert round_trip(round_trip(x)[1:]).file_offset == 48

    def test_a_locked_view_stays_locked(self, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "r+")
        x.setflags(write=False)
        again = round_trip(x)
        assert not again.flags.writeable

    def test_a_subclass(self, path: Path) -> None:
        again = round_trip(Sub(path, "f8", "r")[2:])
        assert type(again) is Sub
        assert again.file_offset == 16

    def test_metadata_of_a_dtype(self, path: Path) -> None:
        dtype = np.dtype("f8", metadata={"unit": "K"})
        assert round_trip(mapcall.memmap(path, dtype, "r")).dtype.metadata == {"unit": "K"}

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_cloudpickle(self, path: Path, protocol: int) -> None:
        class Local(mapcall.memmap):
            pass

        x = mapcall.memmap(path, "f8", "r+", 16)[::-3]
        assert_same_place(pickle.loads(cloudpickle.dumps(x, protocol)), x)
        local = Local(path, "f8", "r")
        assert pickle.loads(cloudpickle.dumps(local, protocol)).file_offset == 0

    def test_out_of_band_buffers_are_not_used(self, path: Path) -> None:
        buffers: list[pickle.PickleBuffer] = []
        x = mapcall.memmap(path, "f8", "r")
        pickle.dumps(x, 5, buffer_callback=buffers.append)
        assert buffers == []

    def test_several_in_one_pickle(self, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "r+")
        a, b = round_trip([x[:5], x[3:]])
        a[3] = 99
        assert b[0] == 99

    @settings(deadline=None, max_examples=100)
    @given(st.data())
    def test_any_slices(self, data: st.DataObject) -> None:
        with tempfile.NamedTemporaryFile() as file:
            x: Any = mapcall.memmap(file.name, "i2", "w+", 5, (4, 5, 6))
            x[:] = np.arange(120).reshape(x.shape)
            for _ in range(data.draw(st.integers(1, 3))):
                index = tuple(data.draw(st.slices(length)) for length in x.shape)
                x = x[index].transpose(data.draw(st.permutations(range(3))))
            assert_same_place(round_trip(x), x)


class Sub(mapcall.memmap):
    pass


def make(kind: str, cls: type[Any], path: Path) -> Any:
    """Returns an array of a class that is pickled by reference, or by value."""
    x = cls(path, "f8", "r+")
    return x[3:9] if kind == "by reference" else x[3:9].copy()


KINDS = ["by reference", "by value"]


class Recipe(mapcall.memmap):
    """A subclass as in NumPy's documentation."""

    def __array_finalize__(self, other: Any) -> None:
        self.rate = getattr(other, "rate", None)

    def __reduce__(self) -> Any:
        rebuild, arguments, state = super().__reduce__()
        return rebuild, arguments, (*state, self.rate)

    def __setstate__(self, state: Any) -> None:
        self.rate = state[-1]
        super().__setstate__(state[:-1])


class NumpyRecipe(np.memmap):
    """The same subclass of NumPy's class, as the oracle."""

    __array_finalize__ = Recipe.__array_finalize__

    def __reduce__(self) -> Any:
        rebuild, arguments, state = super().__reduce__()
        return rebuild, arguments, (*state, self.rate)

    def __setstate__(self, state: Any) -> None:
        self.rate = state[-1]
        super().__setstate__(state[:-1])


class Nested(mapcall.memmap):
    """A subclass whose state is nested, like that of astropy's quantities."""

    def __reduce__(self) -> Any:
        rebuild, arguments, state = super().__reduce__()
        return rebuild, arguments, (state, self.__dict__)

    def __setstate__(self, state: Any) -> None:
        array, own = state
        super().__setstate__(array)
        self.__dict__.update(own)


class WholeReduce(mapcall.memmap):
    def __reduce__(self) -> Any:
        return _whole, (np.asarray(self).copy(), self.rate)


def _whole(array: Any, rate: int) -> Any:
    array = array.view(WholeReduce)
    array.rate = rate
    return array


class ReduceEx(mapcall.memmap):
    def __reduce_ex__(self, protocol: Any) -> Any:
        rebuild, arguments, *rest = super().__reduce_ex__(protocol)
        return _rated, (rebuild, arguments, rest, self.rate)


def _rated(rebuild: Any, arguments: Any, rest: Any, rate: int) -> Any:
    array = rebuild(*arguments)
    for state in rest:
        array.__setstate__(state)
    array.rate = rate
    return array


class OnlySetState(mapcall.memmap):
    """NumPy calls `__setstate__` with its own state, even if `__reduce__` is not overridden."""

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        self.rate = 30000


class GetState(mapcall.memmap):
    def __getstate__(self) -> Any:
        return {"rate": self.rate}


class GetSetState(mapcall.memmap):
    def __getstate__(self) -> Any:
        return [self.rate]

    def __setstate__(self, state: Any) -> None:
        (self.rate,) = state


class Slots(mapcall.memmap):
    __slots__ = ("rate",)


class Arguments(mapcall.memmap):
    """A subclass whose constructor has other arguments, which a pickle doesn't need."""

    def __new__(cls, path: Any, dtype: Any, mode: Any, *, rate: int = 30000) -> Any:
        made = super().__new__(cls, path, dtype, mode)
        made.rate = rate
        return made

    def __getnewargs__(self) -> Any:
        raise AssertionError("NumPy does not call it")


class TestSubclasses:
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        "cls",
        [
            *(mapcall.memmap, Sub, Recipe, Nested, WholeReduce, ReduceEx, OnlySetState),
            *(GetState, GetSetState, Slots, Arguments),
        ],
    )
    def test_attributes(self, path: Path, cls: type[Any], kind: str, protocol: int) -> None:
        x = make(kind, cls, path)
        x.rate = 30000
        dumps = [pickle.dumps, cloudpickle.dumps]
        for again in [round_trip(x, protocol)] + [pickle.loads(dump(x)) for dump in dumps]:
            assert type(again) is cls
            assert again.rate == 30000
            np.testing.assert_array_equal(again, x)
            is_reference = kind == "by reference" and cls is not WholeReduce
            assert (again._mmap is not None) == is_reference

    @pytest.mark.parametrize("kind", KINDS)
    def test_as_numpy(self, path: Path, kind: str) -> None:
        for cls in (Recipe, NumpyRecipe):
            x = make(kind, cls, path)
            x.rate = 30000
            again = round_trip(x)
            assert (type(again), again.rate, again.tolist()) == (cls, 30000, x.tolist())

    @pytest.mark.parametrize("kind", KINDS)
    def test_slots_and_a_dict(self, path: Path, kind: str) -> None:
        x = make(kind, Slots, path)
        x.rate, x.unit, x.itself = 30000, "V", x
        again = round_trip(x)
        assert (again.rate, again.unit) == (30000, "V")
        assert again.itself is again

    def test_state_of_numpys_own(self, path: Path) -> None:
        # A memmap can load the state of a NumPy array.
        for state in (np.arange(3).__reduce__()[2], np.arange(3).__reduce__()[2][1:]):
            x = mapcall.memmap(path, "f8", "r").copy()
            x.__setstate__(state)
            assert x.tolist() == [0, 1, 2]

    @pytest.mark.parametrize("state", [None, 3, "ab", (1, 2), (1, 2, 3), (1, 2, 3, 4, 5, 6, 7)])
    def test_nonsense_is_refused(self, path: Path, state: Any) -> None:
        x = mapcall.memmap(path, "f8", "r").copy()
        with pytest.raises((TypeError, ValueError)):
            x.__setstate__(state)


class TestByValue:
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_copies(self, path: Path, protocol: int) -> None:
        x = mapcall.memmap(path, "f8", "r").copy()
        again = round_trip(x, protocol)
        assert type(again) is mapcall.memmap
        assert again._mmap is None
        assert again.flags.writeable
        np.testing.assert_array_equal(again, x)

    def test_files_without_a_name(self) -> None:
        with tempfile.TemporaryFile() as file:
            x = mapcall.memmap(file, "i4", "w+", shape=5)
            x[:] = range(5)
            again = round_trip(x)
        assert again._mmap is None
        assert again.tolist() == list(range(5))

    @pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
    @pytest.mark.parametrize("mode", ["r", "r+", "c"])
    def test_copying_copies(self, path: Path, copier: Callable[[Any], Any], mode: str) -> None:
        x = mapcall.memmap(path, "f8", mode)[5:]
        copied = copier(x)
        assert type(copied) is mapcall.memmap
        assert copied._mmap is None
        copied[0] = -7
        assert x[0] == 5
        assert copier([x])[0] is x or copier is copy.deepcopy

    def test_private_changes_are_pickled(self, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "c")
        unmodified = round_trip(x)
        assert unmodified._mmap is not None
        assert unmodified.mode == "c"
        x[3] = -1
        modified = round_trip(x)
        assert modified._mmap is None
        assert modified[3] == -1
        assert modified[4] == 4
        assert unmodified[3] == 3
        assert np.fromfile(path)[3] == 3

    def test_private_changes_elsewhere_do_not_matter(self, tmp_path: Path) -> None:
        path = tmp_path / "large"
        path.write_bytes(bytes(1 << 20))
        x = mapcall.memmap(path, mode="c")
        x[0] = 1
        assert round_trip(x[1 << 19 :])._mmap is not None
        assert round_trip(x[:10])._mmap is None

    def test_read_pages_of_a_private_map_are_no_changes(self, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "c")
        assert x.sum() == sum(range(120))
        assert round_trip(x)._mmap is not None

    def test_a_file_that_has_lost_its_name(self, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "r+")
        path.unlink()
        again = round_trip(x)
        assert again._mmap is None
        np.testing.assert_array_equal(again, np.arange(120))

    def test_a_file_whose_name_leads_elsewhere(self, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "r+")
        other = path.with_name("other")
        other.write_bytes(bytes(960))
        other.replace(path)
        again = round_trip(x)
        assert again._mmap is None
        np.testing.assert_array_equal(again, np.arange(120))

    def test_plain_views_are_numpys(self, path: Path) -> None:
        x = np.asarray(mapcall.memmap(path, "f8", "r"))
        assert len(pickle.dumps(x)) > 960


class TestChangedFile:
    def test_missing(self, path: Path) -> None:
        pickled = pickle.dumps(mapcall.memmap(path, "f8", "r+"))
        path.unlink()
        with pytest.raises(FileNotFoundError) as caught:
            pickle.loads(pickled)
        assert os.fspath(caught.value.filename) == str(path)
        assert not path.exists()

    @pytest.mark.parametrize("size", [0, 23, 959])
    @pytest.mark.parametrize("mode", ["r", "r+", "c"])
    def test_shorter(self, path: Path, size: int, mode: str) -> None:
        pickled = pickle.dumps(mapcall.memmap(path, "f8", mode)[:3])
        os.truncate(path, size)
        assert changes(path, pickled) == ("size", 960, size)
        assert path.stat().st_size == size

    @pytest.mark.parametrize("size", [961, 10_000])
    @pytest.mark.parametrize("mode", ["r", "r+", "c"])
    def test_grown(self, path: Path, size: int, mode: str) -> None:
        x = mapcall.memmap(path, "f8", mode)[:3]
        pickled = pickle.dumps(x)
        with open(path, "ab") as file:
            file.write(bytes(size - 960))
        set_modified(path, 1)
        assert_same_place(pickle.loads(pickled), x)

    @pytest.mark.parametrize("mode", ["r", "r+", "c"])
    def test_another_file_of_the_same_size(self, path: Path, mode: str) -> None:
        pickled = pickle.dumps(mapcall.memmap(path, "f8", mode)[:3])
        inode, status = path.stat().st_ino, path.stat()
        other = path.with_name("other")
        other.write_bytes(np.full(120, 7.0).tobytes())
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        other.replace(path)
        assert changes(path, pickled) == ("inode", inode, path.stat().st_ino)

    @pytest.mark.parametrize("mode", ["r", "r+", "c"])
    def test_a_new_file_that_has_the_inode_of_the_old_one(self, path: Path, mode: str) -> None:
        path.unlink()
        for attempt in range(20):
            old = path.with_name(f"old{attempt}")
            old.write_bytes(bytes(960))
            inode = old.stat().st_ino
            pickled = pickle.dumps(mapcall.memmap(old, "f8", mode))
            # The clock of some file systems has a resolution of milliseconds.
            time.sleep(0.02)
            old.unlink()
            old.write_bytes(np.full(120, 7.0).tobytes())
            if old.stat().st_ino == inode:
                break
        else:
            pytest.skip("this file system does not use inode numbers again")
        with pytest.raises(mapcall.ChangedFileError) as caught:
            pickle.loads(pickled)
        assert caught.value.changed in ("creation time", "modification time")

    @pytest.mark.parametrize("mode", ["r", "c"])
    def test_changed_in_place(self, path: Path, mode: str) -> None:
        pickled = pickle.dumps(mapcall.memmap(path, "f8", mode)[:3])
        before = path.stat().st_mtime_ns
        with open(path, "r+b") as file:
            file.write(bytes(8))
        after = set_modified(path, 1)
        assert changes(path, pickled) == ("modification time", before, after)

    def test_changed_through_maps_that_write(self, path: Path) -> None:
        # Mode 'r+' lets workers write to the file.
        x = mapcall.memmap(path, "f8", "r+")
        pickled = pickle.dumps(x)
        x[0] = -1
        x.flush()
        set_modified(path, 1)
        assert pickle.loads(pickled)[0] == -1

    @pytest.mark.parametrize("mode", ["r", "c"])
    def test_changed_between_opening_and_pickling(self, path: Path, mode: str) -> None:
        x = mapcall.memmap(path, "f8", mode)
        with open(path, "r+b") as file:
            file.write(np.float64(5).tobytes())
        set_modified(path, 1)
        assert round_trip(x)[0] == x[0] == 5

    def test_a_time_before_1970(self, path: Path) -> None:
        os.utime(path, ns=(-1, -(10**18) - 1))
        x = mapcall.memmap(path, "f8", "r")
        pickled = pickle.dumps(x)
        assert_same_place(pickle.loads(pickled), x)
        before = path.stat().st_mtime_ns
        after = set_modified(path, 1)
        assert changes(path, pickled) == ("modification time", before, after)

    def test_grown_before_pickling(self, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "r")
        with open(path, "ab") as file:
            file.write(bytes(40))
        assert_same_place(round_trip(x), x)

    def test_replaced_by_a_directory(self, path: Path) -> None:
        pickled = pickle.dumps(mapcall.memmap(path, "f8", "r"))
        path.unlink()
        path.mkdir()
        with pytest.raises(OSError, match=r"."):
            pickle.loads(pickled)


def set_modified(path: Path, seconds: int) -> int:
    """Changes a file's modification time, whose resolution may be low; returns the new one."""
    modified = path.stat().st_mtime_ns + seconds * 10**9
    os.utime(path, ns=(modified, modified))
    return path.stat().st_mtime_ns


def changes(path: Path, pickled: bytes) -> tuple[str, int, int]:
    """Returns the change that the error of loading reports."""
    with pytest.raises(mapcall.ChangedFileError, match="pickle the map again") as caught:
        pickle.loads(pickled)
    error = caught.value
    assert isinstance(error, OSError)
    assert error.path == str(path)
    assert str(path) in str(error)
    assert str(error.expected) in str(error)
    assert str(error.found) in str(error)
    return error.changed, error.expected, error.found


def replaced_by_a_copy(path: Path, tail: bytes = b"") -> None:
    copied = path.with_name("copied")
    copied.write_bytes(path.read_bytes() + tail)
    copied.replace(path)


class TestTrust:
    """Files that were copied on purpose."""

    @pytest.mark.parametrize("mode", ["r", "r+", "c"])
    @pytest.mark.parametrize("tail", [b"", b"more"])
    def test_trusted_when_loading(self, path: Path, mode: str, tail: bytes) -> None:
        x = mapcall.memmap(path, "f8", mode)[3:]
        pickled = pickle.dumps(x)
        replaced_by_a_copy(path, tail)
        set_modified(path, 1)
        with mapcall.trust_files():
            assert pickle.loads(pickled).tolist() == x.tolist()
        with pytest.raises(mapcall.ChangedFileError):
            pickle.loads(pickled)

    @pytest.mark.parametrize("mode", ["r", "r+", "c"])
    def test_trusted_when_pickling(self, path: Path, mode: str) -> None:
        x = mapcall.memmap(path, "f8", mode)[3:]
        with mapcall.trust_files():
            pickled = pickle.dumps(x)
        replaced_by_a_copy(path)
        set_modified(path, 1)
        assert pickle.loads(pickled).tolist() == x.tolist()

    @pytest.mark.parametrize("pickled_within", [False, True])
    def test_the_bytes_must_be_there(self, path: Path, pickled_within: bool) -> None:
        x = mapcall.memmap(path, "f8", "r+")
        with mapcall.trust_files() if pickled_within else contextlib.nullcontext():
            pickled, start = pickle.dumps(x), pickle.dumps(x[:3])
        os.truncate(path, 24)
        with mapcall.trust_files():
            assert pickle.loads(start).tolist() == [0, 1, 2]
            assert changes(path, pickled) == ("size", 960, 24)
        assert path.stat().st_size == 24

    def test_it_is_lifted_again(self, path: Path) -> None:
        pickled = pickle.dumps(mapcall.memmap(path, "f8", "r"))
        replaced_by_a_copy(path)
        with pytest.raises(KeyError), mapcall.trust_files(), mapcall.trust_files():
            raise KeyError
        with mapcall.trust_files():
            with mapcall.trust_files():
                pass
            assert pickle.loads(pickled).size == 120
        changes(path, pickled)

    def test_each_thread_for_itself(self, path: Path) -> None:
        pickled = pickle.dumps(mapcall.memmap(path, "f8", "r"))
        replaced_by_a_copy(path)
        with mapcall.trust_files(), ThreadPoolExecutor(1) as pool:
            assert pool.submit(changes, path, pickled).result()[0] == "inode"

    def test_workers(self, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "r+")
        with mapcall.trust_files():
            pickled = pickle.dumps(x[:3])
        replaced_by_a_copy(path)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply(pickle.loads, (pickled,)).tolist() == [0, 1, 2]
            pool.close()
            pool.join()


class TestWorkers:
    """Real processes, which open the same file."""

    def test_multiprocessing(self, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "r+")
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            answers = pool.map(_double, [x[:10], x[10:20].view(), x[29:19:-1]])
            pool.close()
            pool.join()
        assert [type_name for type_name, _, _ in answers] == ["memmap"] * 3
        assert [offset for _, offset, _ in answers] == [0, 80, 232]
        assert all(pid != os.getpid() for _, _, pid in answers)
        assert x[:31].tolist() == [2 * value for value in range(30)] + [30]

    def test_joblib(self, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "r+")
        pieces = [x[start : start + 40] for start in (0, 40, 80)]
        # joblib would dump everything larger than a byte to a file if it were no reference.
        run = joblib.Parallel(n_jobs=2, backend="loky", max_nbytes=1, mmap_mode="r")
        answers = run(joblib.delayed(_double)(piece) for piece in pieces)
        assert [offset for _, offset, _ in answers] == [0, 320, 640]
        assert x.tolist() == [2 * value for value in range(120)]
        joblib.externals.loky.get_reusable_executor().shutdown(wait=True)

    def test_a_new_file_in_a_worker(self, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "w+", shape=10)
        x[:] = 1
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(_double, (x,))
            pool.close()
            pool.join()
        assert x.tolist() == [2] * 10


def _double(x: mapcall.memmap) -> tuple[str, int | None, int]:
    x *= 2
    return type(x).__name__, x.file_offset, os.getpid()


def recorded(path: Path, **changes: Any) -> tuple[Any, ...]:
    """Returns a fingerprint as in a pickle, with changes."""
    status = path.stat()
    fingerprint = {
        "inode": status.st_ino,
        "created": None,
        "len": status.st_size,
        "modified": status.st_mtime_ns,
    }
    return tuple((fingerprint | changes).values())


def reopen_arguments(path: Path, **changes: Any) -> tuple[Any, ...]:
    """Returns the arguments of `reopen`, with changes."""
    arguments = {
        "class": mapcall.memmap,
        "filename": str(path),
        "recorded": recorded(path),
        "file_offset": 0,
        "dtype": "<f8",
        "shape": (10,),
        "strides": (8,),
        "mode": "r+",
        "writeable": True,
    }
    return tuple((arguments | changes).values())


HOSTILE = [
    {"file_offset": 960 - 79},
    {"file_offset": 1 << 40},
    {"file_offset": (1 << 64) - 8},
    {"file_offset": -8},
    {"file_offset": 1 << 70},
    {"shape": (121,)},
    {"shape": (1 << 62,)},
    {"shape": (1 << 64,)},
    {"shape": (-1,)},
    {"shape": (10, 10)},
    {"shape": ()},
    {"shape": (1,) * 65, "strides": (8,) * 65},
    {"shape": "ab"},
    {"shape": None},
    {"strides": (-8,)},
    {"strides": (1 << 40,)},
    {"strides": ((1 << 63) - 1,)},
    {"strides": (-(1 << 63),)},
    {"strides": (1 << 64,)},
    {"strides": ()},
    {"strides": (8, 8)},
    {"shape": (1 << 32, 1 << 32), "strides": (0, 1)},
    {"shape": (3, 3), "strides": (1 << 62, 1 << 62)},
    {"dtype": "O"},
    {"dtype": [("a", "O")]},
    {"dtype": ("O", (2,))},
    {"dtype": "V1000"},
    {"dtype": "nonsense"},
    {"dtype": 3},
    {"dtype": "S2147483647"},
    {"recorded": ()},
    {"recorded": 960},
    {"recorded": "abcd"},
    {"recorded": (0, None, 960)},
    {"recorded": (0, None, 960, 0)},
    {"recorded": (0, None, 960, 0, 0)},
    {"recorded": (1 << 64, None, 960, 0)},
    {"recorded": (-1, None, 960, 0)},
    {"recorded": (0, 1 << 127, 960, 0)},
    {"recorded": (0, None, 1 << 64, 0)},
    {"recorded": (0, None, -1, 0)},
    {"recorded": (0, None, 960, 1 << 127)},
    {"recorded": (0, None, 960, 0.5)},
    {"recorded": None, "shape": (121,)},
    {"recorded": None, "file_offset": 960 - 79},
    {"mode": "w+"},
    {"mode": "write"},
    {"mode": "x"},
    {"mode": None},
    {"class": int},
    {"class": type},
    {"class": object},
    {"class": None},
    {"class": "memmap"},
    {"filename": 3},
    {"filename": None},
    {"filename": "/nonexistent/file"},
    {"filename": "/dev/zero", "recorded": None},
    {"filename": "/dev/null", "recorded": None, "shape": (0,)},
    {"filename": "/", "recorded": None},
    {"filename": "a\0b"},
]


class TestHostile:
    @pytest.mark.parametrize("changes", HOSTILE, ids=str)
    def test_refused(self, path: Path, unchanged: Unchanged, changes: dict[str, Any]) -> None:
        errors = (TypeError, ValueError, OverflowError, OSError)
        with unchanged(path.parent), pytest.raises(errors):
            _mapcall.reopen(*reopen_arguments(path, **changes))

    def test_the_unchanged_arguments_are_good(self, path: Path) -> None:
        assert _mapcall.reopen(*reopen_arguments(path)).tolist() == list(range(10))

    @settings(deadline=None, max_examples=500)
    @given(
        file_offset=st.integers(0, 1100),
        shape=st.lists(st.integers(0, 12), max_size=3).map(tuple),
        data=st.data(),
    )
    def test_no_byte_outside_the_file(
        self, file_offset: int, shape: tuple[int, ...], data: st.DataObject
    ) -> None:
        numbers = st.one_of(st.integers(-100, 100), st.integers(-(1 << 63), (1 << 63) - 1))
        strides = data.draw(st.tuples(*[numbers] * len(shape)))
        with tempfile.NamedTemporaryFile() as file:
            file.write(bytes(range(240)) * 4)
            file.flush()
            arguments = reopen_arguments(
                Path(file.name), file_offset=file_offset, shape=shape, strides=strides, dtype="u1"
            )
            reach = [(length - 1) * stride for length, stride in zip(shape, strides, strict=True)]
            first = file_offset + sum(step for step in reach if step < 0)
            last = file_offset + sum(step for step in reach if step > 0)
            inside = 0 in shape or (first >= 0 and last < 960)
            try:
                x = _mapcall.reopen(*arguments)
            except (ValueError, OverflowError):
                # An empty array may have any offset, but some are refused.
                assert not inside or 0 in shape
                return
            assert inside
            assert x.tolist() == _read(file.name, file_offset, shape, strides)

    def test_an_empty_array_may_stand_at_the_end(self, path: Path) -> None:
        x = _mapcall.reopen(*reopen_arguments(path, shape=(0,), file_offset=960))
        assert x.shape == (0,)

    def test_it_does_not_grow_the_file(self, path: Path) -> None:
        path.write_bytes(b"")
        with pytest.raises((ValueError, OSError)):
            _mapcall.reopen(*reopen_arguments(path, recorded=None, shape=(1,)))
        assert path.stat().st_size == 0

    def test_it_does_not_wait_for_a_pipe(
        self, tmp_path: Path, run_script: Callable[..., str]
    ) -> None:
        os.mkfifo(tmp_path / "pipe")
        script = """
            import sys
            from mapcall import _mapcall, memmap
            try:
                _mapcall.reopen(memmap, sys.argv[1], None, 0, "u1", (0,), (1,), "r", False)
            except Exception as error:
                print(type(error).__name__)
        """
        answer = run_script(script, tmp_path / "pipe", timeout=20)
        assert answer.strip() in ("ValueError", "OSError")


def _read(name: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Any:
    content = Path(name).read_bytes()
    if not shape:
        return content[offset]
    return [
        _read(name, offset + index * strides[0], shape[1:], strides[1:])
        for index in range(shape[0])
    ]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_package_in_a_function(path: Path, protocol: int) -> None:
    """cloudpickle sends the modules that a function of a script refers to."""
    assert round_trip(mapcall, protocol) is mapcall
    source = "def size(path): return mapcall.memmap(path, 'f8', 'r').size"
    names: dict[str, Any] = {"mapcall": mapcall, "__name__": "__main__"}
    exec(source, names)
    assert pickle.loads(cloudpickle.dumps(names["size"], protocol))(path) == 120
