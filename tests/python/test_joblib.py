"""Plain views of maps in joblib and other users of `numpy.memmap`, with real workers."""

import importlib
import mmap
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor

import mapcall

RECORD = np.dtype([("time", "<f8"), ("id", ">u2")])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Returns the folder for joblib's copies."""
    made = tmp_path_factory.mktemp("joblib")
    yield made
    get_reusable_executor().shutdown(wait=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(bytes(24) + np.arange(1200, dtype="f8").tobytes())
    return made


def seen(array: Any, folder: Path) -> dict[str, Any]:
    """Returns the properties of an array in a worker; writes a number to it if it is writeable."""
    owner = array
    while not isinstance(owner, mmap.mmap) and owner is not None:
        owner = getattr(owner, "base", None)
    found = {
        "pid": os.getpid(),
        "content": np.array(array),
        "is_mapped": owner is not None,
        "is_writeable": array.flags.writeable,
        "copied": sum(entry.stat().st_size for entry in folder.rglob("*") if entry.is_file()),
    }
    if array.flags.writeable and array.dtype == "f8" and array.size:
        array.flat[0] = -1
    return found


# joblib's own code maps the last five wrongly, for any numpy.memmap.
VIEWS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda x: x,
    "slice": lambda x: x[2:5],
    "row": lambda x: x[3],
    "column": lambda x: x[:, 3],
    "steps": lambda x: x[1::3, ::2],
    "slice of a slice": lambda x: x[2:][3:, 1:],
    "bytes": lambda x: x[2:].view("u1"),
    "flat": lambda x: x.reshape(-1)[7:700],
    "nothing": lambda x: x[5:5],
    "windows": lambda x: np.lib.stride_tricks.sliding_window_view(x.reshape(-1), 9),
    "repeated": lambda x: np.broadcast_to(x, (2, *x.shape)),
    "axes": lambda x: x.reshape(12, 10, 10).transpose(2, 0, 1),
    "reversed": lambda x: x[::-1],
    "both reversed": lambda x: x[::-1, ::-1],
    "transposed": lambda x: x.T,
    "transposed steps": lambda x: x[::2, 3:].T,
    "fortran": lambda x: x.reshape(100, 12, order="A").T[3:],
}


class TestPlainViews:
    @pytest.mark.parametrize(
        ("mode", "backend"),
        [*((mode, "loky") for mode in ("r", "r+", "w+", "c")), ("r+", "multiprocessing")],
    )
    def test_workers_map_the_file(self, path: Path, folder: Path, mode: str, backend: str) -> None:
        content = np.fromfile(path, "f8", offset=24).reshape(12, 100)
        x = mapcall.memmap(path, "f8", mode, 24, (12, 100))
        if mode == "w+":
            x[:] = content
        plain = {name: np.asarray(view(x)) for name, view in VIEWS.items()}
        expected = {name: np.array(view) for name, view in plain.items()}
        with joblib.Parallel(2, backend, max_nbytes=1, temp_folder=folder) as run:
            for name in plain:
                (found,) = run([joblib.delayed(seen)(plain[name], folder)])
                assert found["pid"] != os.getpid()
                assert found["is_mapped"], name
                assert found["copied"] == 0, name
                assert found["is_writeable"] == plain[name].flags.writeable
                if mode in ("r+", "w+"):
                    # Other workers have written these numbers.
                    np.testing.assert_array_equal(found["content"], expected[name])
                    if found["is_writeable"] and plain[name].dtype == "f8" and plain[name].size:
                        assert plain[name].flat[0] == -1
                        plain[name].flat[0] = expected[name].flat[0]
                    np.testing.assert_array_equal(x, content)
                else:
                    np.testing.assert_array_equal(found["content"], plain[name])

    def test_of_an_array_that_was_pickled(self, path: Path, folder: Path) -> None:
        x = mapcall.memmap(path, "f8", "r", 24, (12, 100))
        run = joblib.Parallel(2, "loky", max_nbytes=1, temp_folder=folder)
        for view in VIEWS.values():
            again = np.asarray(pickle.loads(pickle.dumps(view(x)[1:].view(mapcall.memmap))))[1:]
            (found,) = run([joblib.delayed(seen)(again, folder)])
            assert found["pid"] != os.getpid()
            np.testing.assert_array_equal(found["content"], again)
            assert found["copied"] == 0

    @pytest.mark.parametrize("offset", [0, 24, 4096 + 24])
    def test_formats_and_offsets(self, tmp_path: Path, folder: Path, offset: int) -> None:
        records = mapcall.memmap(tmp_path / "records", RECORD, "w+", offset, 100)
        records["id"] = range(100)
        fortran = mapcall.memmap(tmp_path / "fortran", "i2", "w+", offset, (5, 7), "F")
        fortran[:] = np.arange(35).reshape(5, 7)
        npy = mapcall.create(tmp_path / "x.npy", (6, 7), ">i4")
        npy[:] = np.arange(42).reshape(6, 7)
        np.savez(tmp_path / "x.npz", a=np.arange(30.0))
        npz = mapcall.open(tmp_path / "x.npz", member="a")
        run = joblib.Parallel(2, "loky", max_nbytes=1, temp_folder=folder)
        for x in (records[5:], records["id"], fortran, fortran[:, 2:], npy[1:], npz[7:]):
            (found,) = run([joblib.delayed(seen)(np.asarray(x), folder)])
            np.testing.assert_array_equal(found["content"], x)
            assert found["copied"] == 0

    def test_changes_of_a_private_map_are_pickled(self, path: Path, folder: Path) -> None:
        # A worker that maps the file, as with numpy.memmap, would not have the changes.
        x = mapcall.memmap(path, "f8", "c", 24)
        x[5] = 77
        (found,) = joblib.Parallel(2, "loky", max_nbytes=1, temp_folder=folder)(
            [joblib.delayed(seen)(np.asarray(x)[3:], folder)]
        )
        np.testing.assert_array_equal(found["content"], np.asarray(x)[3:])
        assert found["content"][2] == 77
        assert np.fromfile(path)[3 + 5] == 5

    def test_a_file_without_its_name_is_pickled(self, path: Path, folder: Path) -> None:
        x = mapcall.memmap(path, "f8", "r", 24)
        path.unlink()
        (found,) = joblib.Parallel(2, "loky", max_nbytes=1, temp_folder=folder)(
            [joblib.delayed(seen)(np.asarray(x)[::-1], folder)]
        )
        assert not found["is_mapped"]
        np.testing.assert_array_equal(found["content"], x[::-1])

    def test_results(self, path: Path, folder: Path) -> None:
        """Plain views come back from workers as maps of the file, too."""
        x = mapcall.memmap(path, "f8", "r", 24, (12, 100))
        (found,) = joblib.Parallel(2, "loky", max_nbytes=1, temp_folder=folder)(
            [joblib.delayed(np.asarray)(x[::-1, 3:])]
        )
        assert type(found) is np.ndarray
        assert found.view(mapcall.memmap).file_offset == x[::-1, 3:].file_offset
        np.testing.assert_array_equal(found, x[::-1, 3:])

    def test_a_file_that_has_changed(self, path: Path) -> None:
        reduce: Any = importlib.import_module("joblib._memmapping_reducer")._reduce_memmap_backed
        x = mapcall.memmap(path, "f8", "r", 24)
        reopen, reference = reduce(np.asarray(x)[3:], x)
        os.utime(path, ns=(0, 0))
        with pytest.raises(mapcall.ChangedFileError, match="modification time"):
            reopen(*reference)


def test_an_instance_of_numpys_class(path: Path) -> None:
    for x in (
        mapcall.memmap(path, "f8", "r"),
        mapcall.memmap(path, "f8", "r")[3:],
        mapcall.memmap(path, "f8", "r").copy(),
        mapcall.create(path.with_name("x.npy"), 3),
        mapcall.open(path.with_name("x.npy")),
    ):
        assert isinstance(x, np.memmap)
        assert issubclass(type(x), np.memmap)
        match x:
            case np.memmap():
                pass
            case _:
                pytest.fail("no memmap")
    assert not isinstance(np.memmap(path), mapcall.memmap)


def test_none_of_numpys_code_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All methods that numpy.memmap overrides in Python are mapcall's or ndarray's."""
    plumbing = {"__module__", "__doc__", "__dict__", "__weakref__", "__firstlineno__"}
    plumbing |= {"__static_attributes__", "__annotations__", "__annotate_func__"}

    def broken(*arguments: object, **keywords: object) -> None:
        raise AssertionError("numpy.memmap's own")

    for name, member in list(vars(np.memmap).items()):
        if name in plumbing:
            continue
        assert getattr(mapcall.memmap, name) is not member or not callable(member), name
        if callable(member) and name != "__new__":
            monkeypatch.setattr(np.memmap, name, broken)
    x = mapcall.memmap(path, "f8", "r+")
    x[3:].flush()
    assert x[1:].sum() + (x + 1)[0] + x[[1, 2]][0] + np.add(x, 1, out=x)[0] != 0
    assert x.view().copy()._mmap is None


def test_a_memmap_of_numpys_seen_as_ours(path: Path) -> None:
    x = np.memmap(path, "u1", "r").view(mapcall.memmap)
    assert (x._mmap, x.filename, x.mode, x.offset) == (None,) * 4
    assert x[3:].tobytes() == path.read_bytes()[3:]
