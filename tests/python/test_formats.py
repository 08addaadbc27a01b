"""`.npy` and `.npz` files against `numpy.load` and `numpy.save`; `create`."""

import errno
import io
import os
import pickle
import stat
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.lib import format as npy

import mapcall

Script = Callable[..., str]
Unchanged = Callable[[Path], AbstractContextManager[None]]

VERSIONS = [(1, 0), (2, 0), (3, 0)]
UNIT_AXES = [
    (),
    (1,),
    (7,),
    (0,),
    (7, 1),
    (1, 7),
    (1, 1),
    (1, 3, 1),
    (5, 1, 1),
    (1, 1, 5),
    (2, 1, 3),
    (2, 3),
    (0, 3),
    (3, 0, 1),
    (1, 0, 3),
]
DTYPES: list[Any] = [
    "?",
    "i1",
    "u1",
    "<i2",
    ">i4",
    "u8",
    "f2",
    "<f4",
    ">f8",
    "g",
    "c8",
    ">c16",
    "S5",
    "U3",
    ">U3",
    "V7",
    "M8[ns]",
    "M8[25s]",
    "m8",
    [("a", "u1"), ("b", ">f4")],
    [("a", [("b", "i2", (2, 3)), ("c", "S1")]), ("d", "f8")],
    np.dtype([("a", "u1"), ("b", "f8")], align=True),
    {"names": ["x", "y"], "formats": ["i2", "f4"], "offsets": [0, 6], "itemsize": 12},
    [("größe", "f4"), ("名前", "S3")],
    [(("a title", "a"), "i4")],
]


def filled(dtype: Any, shape: tuple[int, ...], order: str = "C") -> np.ndarray[Any, Any]:
    """Returns an array in which all bytes of fields are set."""
    array = np.zeros(shape, dtype, order)
    if array.dtype.kind in "SU":
        array[...] = "ab"
    elif array.dtype.kind == "V":
        array[...] = np.frombuffer(bytes(range(1, array.itemsize + 1)), array.dtype)[0]
    else:
        array[...] = np.arange(array.size).reshape(shape).astype("i1").astype(array.dtype)
    return array


def write(path: Path, array: np.ndarray[Any, Any], version: tuple[int, int] | None = None) -> None:
    with open(path, "wb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        npy.write_array(file, array, version)


def assert_equal(ours: mapcall.memmap, numpy: np.ndarray[Any, Any]) -> None:
    assert type(ours) is mapcall.memmap
    assert ours.dtype == numpy.dtype
    assert ours.shape == numpy.shape
    if numpy.size > 0:
        assert ours.strides == numpy.strides
    assert ours.flags.c_contiguous == numpy.flags.c_contiguous
    assert ours.flags.f_contiguous == numpy.flags.f_contiguous
    assert ours.tobytes("A") == numpy.tobytes("A")


class TestNpy:
    @pytest.mark.parametrize("order", ["C", "F"])
    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_as_numpy_load(
        self, tmp_path: Path, dtype: Any, version: tuple[int, int], order: str
    ) -> None:
        path = tmp_path / "a.npy"
        array = filled(dtype, (3, 4), order)
        names = "".join(array.dtype.names or ())
        if version < (3, 0) and any(character > "\xff" for character in names):
            # Only version 3.0 has names that are not Latin-1.
            with pytest.raises((UnicodeEncodeError, ValueError)):
                write(path, array, version)
            return
        write(path, array, version)
        loaded = np.load(path, mmap_mode="r")
        x = mapcall.open(path)
        assert_equal(x, loaded)
        assert (x.mode, x.filename) == ("r", path)
        assert x.file_offset == x.offset == path.stat().st_size - array.nbytes
        assert x.flags.aligned == loaded.flags.aligned

    @pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (2, 3, 4), (1,) * 32])
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_shapes(self, tmp_path: Path, shape: tuple[int, ...], order: str) -> None:
        write(tmp_path / "a.npy", filled("f4", shape, order))
        assert_equal(mapcall.open(tmp_path / "a.npy"), np.load(tmp_path / "a.npy"))

    @pytest.mark.parametrize("order", [False, True])
    @pytest.mark.parametrize("shape", UNIT_AXES, ids=str)
    def test_strides_of_unit_axes(
        self, tmp_path: Path, shape: tuple[int, ...], order: bool
    ) -> None:
        # A leading dimension is computed from the strides; every way of opening has the same.
        path = tmp_path / "a.npy"
        array = npy.open_memmap(path, "w+", "f8", shape, order)
        array[...] = np.arange(array.size).reshape(shape)
        array.flush()
        for mode in ("r", "r+", "c"):
            x = mapcall.open(path, mode)
            assert (x.shape, x.strides) == (array.shape, array.strides)
            assert x.strides == np.load(path, mmap_mode="r").strides
            assert x.tolist() == array.tolist()
            again = pickle.loads(pickle.dumps(x))
            assert again.strides == x.strides
        raw = path.read_bytes()
        order_name = "F" if order else "C"
        made = mapcall.create(path, shape, "f8", order_name, overwrite=True)
        made[...] = array
        made.flush()
        assert made.strides == array.strides
        assert path.read_bytes() == raw
        opened = mapcall.memmap(path, "f8", "r", 128, shape, order_name)
        assert opened.strides == np.memmap(path, "f8", "r", 128, shape, order_name).strides
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.write(path, "a.npy")
        assert mapcall.open(tmp_path / "a.npz").strides == array.strides

    @pytest.mark.parametrize("mode", ["r", "r+", "c", "readonly", "readwrite", "copyonwrite"])
    def test_modes(self, tmp_path: Path, mode: str) -> None:
        path = tmp_path / "a.npy"
        np.save(path, np.arange(5))
        x = mapcall.open(path, mode)
        if mode in ("r", "readonly"):
            assert not x.flags.writeable
            return
        x[0] = 77
        x.flush()
        assert np.load(path)[0] == (77 if mode in ("r+", "readwrite") else 0)

    @pytest.mark.parametrize("mode", ["w+", "write"])
    def test_not_for_creating(self, tmp_path: Path, unchanged: Unchanged, mode: str) -> None:
        np.save(tmp_path / "a.npy", np.arange(5))
        with unchanged(tmp_path), pytest.raises(ValueError, match="create"):
            mapcall.open(tmp_path / "a.npy", mode)
        with pytest.raises(ValueError, match="mode must be one of"):
            mapcall.open(tmp_path / "a.npy", "x")

    def test_names(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        np.save("a.npy", np.arange(5))
        assert mapcall.open("a.npy").filename == str(tmp_path / "a.npy")
        assert mapcall.open(Path("a.npy")).filename == tmp_path / "a.npy"
        assert mapcall.open(b"a.npy").filename is None
        assert mapcall.open(b"a.npy").tolist() == list(range(5))

    def test_the_suffix_does_not_matter(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.arange(5))
        (tmp_path / "a.npy").rename(tmp_path / "a.npz")
        assert mapcall.open(tmp_path / "a.npz").tolist() == list(range(5))

    def test_bytes_behind_the_array_are_ignored(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npy"
        np.save(path, np.arange(5))
        with open(path, "ab") as file:
            file.write(b"more")
        assert mapcall.open(path).tolist() == list(range(5))

    @settings(deadline=None, max_examples=200)
    @given(
        dtype=hnp.scalar_dtypes() | hnp.array_dtypes(allow_subarrays=True),
        shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
        order=st.sampled_from("CF"),
    )
    def test_any_dtype(self, dtype: np.dtype[Any], shape: tuple[int, ...], order: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.npy"
            write(path, np.zeros(shape, dtype, order))
            assert_equal(mapcall.open(path), np.load(path))

    def test_a_pickle_of_it(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.arange(5))
        x = mapcall.open(tmp_path / "a.npy")
        again = pickle.loads(pickle.dumps(x[2:]))
        assert again.tolist() == [2, 3, 4]
        assert again.file_offset == x.file_offset + 16


class TestNpz:
    def test_stored_members(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        arrays = {
            "a": np.arange(3),
            "b": filled("f4", (2, 3), "F"),
            "empty": np.zeros((0, 2)),
            "scalar": np.array(2.5),
            "records": np.zeros(4, "i4,S3"),
            "größe": np.arange(2, dtype=">u2"),
            "folder/x": np.arange(4, dtype="i1"),
        }
        np.savez(path, **arrays)
        with np.load(path) as loaded:
            for name, array in arrays.items():
                for member in (name, f"{name}.npy"):
                    x = mapcall.open(path, member=member)
                    assert_equal(x, loaded[name])
                    start = x.file_offset
                    assert path.read_bytes()[start : start + x.nbytes] == array.tobytes("A")

    def test_unaligned_members_lack_the_flag(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        seen = set()
        for length in range(1, 9):
            np.savez(path, **{"n" * length: np.arange(10.0)})
            x = mapcall.open(path)
            assert x.flags.aligned == (x.ctypes.data % 8 == 0)
            assert (x.file_offset - x.ctypes.data) % 8 == 0
            assert x.sum() == 45
            seen.add(x.flags.aligned)
        assert False in seen

    @pytest.mark.parametrize("mode", ["r+", "readwrite"])
    def test_no_writing_in_place(self, tmp_path: Path, unchanged: Unchanged, mode: str) -> None:
        # The archive would have a wrong checksum, and NumPy would refuse it.
        path = tmp_path / "a.npz"
        np.savez(path, a=np.arange(3), b=np.arange(3))
        with unchanged(tmp_path):
            private = mapcall.open(path, "c", "a", verify=True)
            private[0] = 9
            with pytest.raises(ValueError, match=r"r or c for member .b.*r\+.*\.npy") as caught:
                mapcall.open(path, mode, "b")
            assert not isinstance(caught.value, mapcall.FormatError)
            del private
        with np.load(path) as loaded:
            assert loaded["b"].tolist() == [0, 1, 2]

    @settings(deadline=None, max_examples=100)
    @given(data=st.data())
    def test_damage_is_found_by_verify(self, data: st.DataObject) -> None:
        arrays = {"a": np.arange(5.0), "b": np.arange(40, dtype="i2"), "c": np.zeros((2, 0))}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.npz"
            np.savez(path, **arrays)
            content = bytearray(path.read_bytes())
            name = data.draw(st.sampled_from(sorted(arrays)))
            with zipfile.ZipFile(path) as archive:
                member = archive.getinfo(f"{name}.npy")
            # The byte belongs to the data, or to the padding of the header, which has no meaning.
            end = mapcall.open(path, member=name).file_offset + arrays[name].nbytes
            position = end - data.draw(st.integers(1, arrays[name].nbytes + 10))
            content[position] ^= data.draw(st.sampled_from([1, 0x20, 0x80]))
            path.write_bytes(content)
            with pytest.raises(zipfile.BadZipFile), np.load(path) as loaded:
                loaded[name]
            with pytest.raises(mapcall.FormatError) as caught:
                mapcall.open(path, member=name, verify=True)
            reason = caught.value.reason
            if "damaged" in reason:
                assert f'member "{name}"' in reason
                assert f"{member.CRC:08x}" in reason
            for other in set(arrays) - {name}:
                for mode in ("r", "c"):
                    x = mapcall.open(path, mode, other, verify=True)
                    assert x.tolist() == arrays[other].tolist()

    def test_a_npy_has_no_checksum(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npy"
        np.save(path, np.arange(3))
        for mode in ("r", "r+", "c"):
            assert mapcall.open(path, mode, verify=True).tolist() == [0, 1, 2]
        with pytest.raises(TypeError):
            mapcall.open(path, verify="yes")  # type: ignore[arg-type]

    def test_which_member(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        np.savez(path, a=np.arange(3), b=np.arange(3))
        with pytest.raises(mapcall.FormatError, match=r"expected the name.*a.*b"):
            mapcall.open(path)
        with pytest.raises(mapcall.FormatError, match=r"no member .c.*a.*b"):
            mapcall.open(path, member="c")
        np.savez(path, only=np.arange(3))
        assert mapcall.open(path).tolist() == [0, 1, 2]
        np.savez(path)
        with pytest.raises(mapcall.FormatError, match="none"):
            mapcall.open(path)
        np.save(tmp_path / "a.npy", np.arange(3))
        with pytest.raises(mapcall.FormatError, match="no members"):
            mapcall.open(tmp_path / "a.npy", member="a")

    def test_a_compressed_member(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        np.savez_compressed(path, a=np.arange(1000))
        with pytest.raises(mapcall.FormatError, match=r"compressed.*numpy\.savez ") as caught:
            mapcall.open(path, member="a")
        assert caught.value.path == str(path)
        assert "compressed" in caught.value.reason

    def test_stored_beside_compressed(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", saved(np.arange(100)), zipfile.ZIP_DEFLATED)
            archive.writestr("b.npy", saved(np.arange(3)), zipfile.ZIP_STORED)
            archive.writestr("readme.txt", b"no array")
        assert mapcall.open(path, member="b").tolist() == [0, 1, 2]
        with pytest.raises(mapcall.FormatError, match="compressed"):
            mapcall.open(path, member="a")
        with pytest.raises(mapcall.FormatError):
            mapcall.open(path, member="readme.txt")

    def test_a_member_twice(self, tmp_path: Path) -> None:
        # As in NumPy, the last one is used.
        path = tmp_path / "a.npz"
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
            warnings.simplefilter("ignore", UserWarning)
            archive.writestr("a.npy", saved(np.arange(3)))
            archive.writestr("a.npy", saved(np.arange(4)))
        with np.load(path) as loaded:
            assert_equal(mapcall.open(path, member="a"), loaded["a"])

    def test_zip64_and_comments(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        with zipfile.ZipFile(path, "w") as archive:
            with archive.open("a.npy", "w", force_zip64=True) as member:
                member.write(saved(np.arange(5)))
            archive.comment = b"made by hand"
        assert mapcall.open(path).tolist() == list(range(5))

    def test_behind_something_else(self, tmp_path: Path) -> None:
        # A zip archive may follow other bytes, as in a self-extracting archive. NumPy writes none.
        path = tmp_path / "a.npz"
        np.savez(path, a=np.arange(5))
        path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
        try:
            x = mapcall.open(path, member="a")
        except mapcall.FormatError:
            return
        assert x.tolist() == list(range(5))


def saved(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


class TestCreate:
    @pytest.mark.parametrize("order", ["C", "F"])
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_numpy_reads_it(self, tmp_path: Path, dtype: Any, order: str) -> None:
        path = tmp_path / "a.npy"
        x = mapcall.create(path, (3, 4), dtype, order)
        assert type(x) is mapcall.memmap
        assert (x.mode, x.filename, x.flags.writeable) == ("w+", path, True)
        assert x.tobytes("A") == bytes(x.nbytes)
        x[...] = filled(dtype, (3, 4))
        x.flush()
        # NumPy warns about headers of version 3.0.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            loaded = np.load(path)
        assert_equal(x, loaded)
        assert x.dtype.fields is None or list(x.dtype.names or ()) == list(loaded.dtype.names)

    def test_the_same_bytes_as_numpy(self, tmp_path: Path) -> None:
        for dtype, shape, order in [
            ("f8", (1000,), "C"),
            ("<i2", (3, 4), "F"),
            ("<i2", (3, 1), "F"),
            ("<i2", (3,), "F"),
            ("S3", (), "C"),
            ([("a", "f4"), ("b", ">i2")], (7,), "C"),
        ]:
            mapcall.create(tmp_path / "ours.npy", shape, dtype, order, overwrite=True).flush()
            npy.open_memmap(tmp_path / "numpy.npy", "w+", dtype, shape, order == "F").flush()
            assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()

    @pytest.mark.parametrize("shape", [0, 5, (), [2, 3], (3, 0), np.int8(100), np.array([2, 2])])
    def test_shapes(self, tmp_path: Path, shape: Any) -> None:
        x = mapcall.create(tmp_path / "a.npy", shape)
        expected = np.zeros(shape)
        assert (x.shape, x.dtype) == (expected.shape, np.dtype("f8"))
        assert_equal(x, np.load(tmp_path / "a.npy"))

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_a_sub_array_becomes_axes(self, tmp_path: Path, order: str) -> None:
        # NumPy makes the same array, but writes a header with void items.
        path = tmp_path / "a.npy"
        x = mapcall.create(path, (4, 5), "(2, 3)f4", order)
        expected = npy.open_memmap(tmp_path / "b.npy", "w+", "(2, 3)f4", (4, 5), order == "F")
        assert (x.shape, x.dtype, x.strides) == (expected.shape, expected.dtype, expected.strides)
        x[...] = np.arange(x.size).reshape(x.shape)
        x.flush()
        assert_equal(x, np.load(path))

    def test_the_default_dtype(self, tmp_path: Path) -> None:
        assert mapcall.create(tmp_path / "a.npy", 3).dtype == np.float64
        assert mapcall.create(tmp_path / "b.npy", 3, None).dtype == np.float64

    @settings(deadline=None, max_examples=200)
    @given(
        dtype=hnp.scalar_dtypes() | hnp.array_dtypes(allow_subarrays=True),
        shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
        order=st.sampled_from("CF"),
        data=st.data(),
    )
    def test_round_trip(
        self, dtype: np.dtype[Any], shape: tuple[int, ...], order: str, data: st.DataObject
    ) -> None:
        array = data.draw(hnp.arrays(dtype, shape))
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            path = f"{folder}/a.npy"
            x = mapcall.create(path, shape, dtype, order)
            x[...] = array
            x.flush()
            for again in (np.load(path), mapcall.open(path)):
                assert again.dtype == array.dtype
                assert again.shape == array.shape
                assert again.tobytes() == array.tobytes()

    def test_the_space_is_allocated(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npy"
        mapcall.create(path, 1 << 20, "u1")
        assert path.stat().st_blocks * 512 >= 1 << 20

    def test_it_replaces_a_file_and_leaves_its_maps_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npy"
        np.save(path, np.arange(5))
        before = mapcall.open(path)
        x = mapcall.create(path, 3, overwrite=True)
        assert before.tolist() == list(range(5))
        assert np.load(path).tolist() == [0, 0, 0]
        x[0] = 1
        assert np.load(path)[0] == 1
        assert os.listdir(tmp_path) == ["a.npy"]

    def test_permissions_honour_the_umask(self, tmp_path: Path, run_script: Script) -> None:
        script = """
            import os, sys
            import mapcall
            for mask in (0o022, 0o077, 0o000):
                os.umask(mask)
                path = f"{sys.argv[1]}/{mask}.npy"
                mapcall.create(path, 3)
                print(oct(os.stat(path).st_mode & 0o777))
        """
        assert run_script(script, tmp_path).split() == ["0o644", "0o600", "0o666"]

    def test_a_replaced_file_keeps_its_permissions(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npy"
        np.save(path, np.arange(5))
        for mode in (0o640, 0o600, 0o664):
            path.chmod(mode)
            mapcall.create(path, 3, overwrite=True)
            assert stat.S_IMODE(path.stat().st_mode) == mode

    def test_through_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        target = tmp_path / "folder" / "target.npy"
        np.save(target, np.arange(5))
        link = tmp_path / "link.npy"
        link.symlink_to(target)
        x = mapcall.create(link, 3, overwrite=True)
        assert link.is_symlink()
        assert np.load(target).tolist() == [0, 0, 0]
        assert x.filename == np.memmap(link, mode="r").filename
        assert os.listdir(target.parent) == ["target.npy"]

    def test_through_a_link_to_nothing_yet(self, tmp_path: Path) -> None:
        (tmp_path / "link.npy").symlink_to("target.npy")
        mapcall.create(tmp_path / "link.npy", 3)
        assert (tmp_path / "link.npy").is_symlink()
        assert np.load(tmp_path / "target.npy").tolist() == [0, 0, 0]

    def test_in_this_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert mapcall.create("a.npy", 3).filename == str(tmp_path / "a.npy")
        assert mapcall.create(b"b.npy", 3).filename is None
        assert sorted(os.listdir()) == ["a.npy", "b.npy"]

    BAD: ClassVar[list[tuple[dict[str, Any], type[Exception]]]] = [
        ({"shape": None}, ValueError),
        ({"shape": -1}, ValueError),
        ({"shape": (2, -1)}, ValueError),
        ({"shape": 2.5}, TypeError),
        ({"shape": "ab"}, TypeError),
        ({"shape": (1 << 40, 1 << 40)}, ValueError),
        ({"shape": (1 << 62,)}, ValueError),
        ({"shape": (1,) * 65}, ValueError),
        ({"shape": 3, "dtype": "O"}, ValueError),
        ({"shape": 3, "dtype": [("a", "O")]}, ValueError),
        ({"shape": 3, "dtype": "nonsense"}, TypeError),
        ({"shape": 3, "dtype": np.dtypes.StringDType()}, ValueError),
        # The headers of NumPy can't express this either.
        (
            {"shape": 3, "dtype": {"names": "ab", "formats": ["i2", "i2"], "offsets": [2, 0]}},
            ValueError,
        ),
        (
            {"shape": 3, "dtype": {"names": "ab", "formats": ["i2", "i2"], "offsets": [0, 1]}},
            ValueError,
        ),
        ({"shape": 3, "order": "X"}, ValueError),
        ({"shape": 3, "order": 3}, TypeError),
        ({"shape": 1 << 59}, OSError),
    ]

    @pytest.mark.parametrize(("bad", "error"), BAD, ids=str)
    def test_failing_changes_nothing(
        self, tmp_path: Path, unchanged: Unchanged, bad: dict[str, Any], error: type[Exception]
    ) -> None:
        np.save(tmp_path / "old.npy", np.arange(5))
        with unchanged(tmp_path / "old.npy"):
            for name in ("old.npy", "new.npy"):
                with pytest.raises(error):
                    mapcall.create(tmp_path / name, overwrite=True, **bad)
        assert os.listdir(tmp_path) == ["old.npy"]

    def test_a_full_disk(self, run_script: Script, unchanged: Unchanged) -> None:
        disk = Path("/dev/shm")
        if not disk.is_dir():
            pytest.skip("this system has no small disk to fill")
        script = """
            import os, sys
            import mapcall
            free = os.statvfs(sys.argv[1])
            size = free.f_blocks * free.f_frsize + (1 << 30)
            for name in ("new.npy", "old.npy"):
                try:
                    mapcall.create(f"{sys.argv[1]}/{name}", size, "u1", overwrite=True)
                except OSError as error:
                    print(error.errno, type(error).__name__)
        """
        with tempfile.TemporaryDirectory(dir=disk) as folder:
            np.save(f"{folder}/old.npy", np.arange(5))
            with unchanged(Path(folder) / "old.npy"):
                answer = run_script(script, folder)
            assert os.listdir(folder) == ["old.npy"]
        assert answer.split() == [str(errno.ENOSPC), "OSError"] * 2

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError) as caught:
            mapcall.create(tmp_path / "missing" / "a.npy", 3)
        assert os.fspath(caught.value.filename) == str(tmp_path / "missing" / "a.npy")

    def test_metadata_of_a_dtype(self, tmp_path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            x = mapcall.create(tmp_path / "a.npy", 3, np.dtype("f4", metadata={"unit": "K"}))
        assert x.dtype == "f4"
