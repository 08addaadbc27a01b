"""`.npy` and `.npz` files that lie, or are damaged: a `FormatError` for each, and nothing else."""

import io
import os
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mapcall

Unchanged = Callable[[Path], AbstractContextManager[None]]


def saved(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npy_bytes(
    header: bytes | str,
    data: bytes = b"",
    *,
    magic: bytes = b"\x93NUMPY",
    version: tuple[int, int] = (1, 0),
    length: int | None = None,
) -> bytes:
    if isinstance(header, str):
        header = header.encode("utf8")
    if not header.endswith(b"\n"):
        header += b"\n"
    length = len(header) if length is None else length
    size = struct.pack("<H" if version == (1, 0) else "<I", length)
    return magic + bytes(version) + size + header + data


def header(descr: str = "'<i4'", order: str = "False", shape: str = "(2,)", more: str = "") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, {more}}}"


DATA = bytes(8)

HOSTILE_NPY: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"\x93",
    "magic only": b"\x93NUMPY",
    "no length": b"\x93NUMPY\x01\x00",
    "half a length": b"\x93NUMPY\x02\x00\x10\x00",
    "wrong magic": npy_bytes(header(), DATA, magic=b"\x93NUMPX"),
    "text": b"1.0 2.0 3.0\n",
    "version 0.0": npy_bytes(header(), DATA, version=(0, 0)),
    "version 1.1": npy_bytes(header(), DATA, version=(1, 1)),
    "version 4.0": npy_bytes(header(), DATA, version=(4, 0)),
    "version 255.255": npy_bytes(header(), DATA, version=(255, 255)),
    "header beyond the file": npy_bytes(header(), DATA, length=60_000),
    "header of 4 GiB": npy_bytes(header(), DATA, version=(2, 0), length=0xFFFF_FFFF),
    "header of no length": npy_bytes(header(), DATA, length=0),
    "header cut short": npy_bytes(header(), DATA, length=20),
    "data missing": npy_bytes(header()),
    "data cut short": npy_bytes(header(), DATA[:-1]),
    "no dict": npy_bytes("[1, 2]", DATA),
    "a number": npy_bytes("3", DATA),
    "nothing": npy_bytes("", DATA),
    "not closed": npy_bytes("{'descr': '<i4', 'fortran_order': False, 'shape': (2,)", DATA),
    "something behind": npy_bytes(header() + " 3", DATA),
    "code": npy_bytes("__import__('os').system('touch hacked')", DATA),
    "code as value": npy_bytes(header(shape="(__import__('os').getpid(),)"), DATA),
    "a call": npy_bytes("dict(descr='<i4', fortran_order=False, shape=(2,))", DATA),
    "an expression": npy_bytes(header(shape="(1 + 1,)"), DATA),
    "a comprehension": npy_bytes(header(shape="tuple(x for x in (2,))"), DATA),
    "nested deeply": npy_bytes("(" * 50_000 + ")" * 50_000, DATA, version=(2, 0)),
    "nested lists": npy_bytes(header(descr="[" * 5000 + "]" * 5000), DATA, version=(2, 0)),
    "nested dtype": npy_bytes(
        header(descr="[('a', " * 1000 + "'<i4'" + ")]" * 1000), DATA, version=(2, 0)
    ),
    "missing key": npy_bytes("{'descr': '<i4', 'shape': (2,)}", DATA),
    "no shape": npy_bytes("{'descr': '<i4', 'fortran_order': False}", DATA),
    "empty dict": npy_bytes("{}", DATA),
    "unknown key": npy_bytes(header(more="'other': 3"), DATA),
    "key twice": npy_bytes(header(more="'shape': (1,)"), DATA),
    "key of another type": npy_bytes(header(more="3: 4"), DATA),
    "bytes as key": npy_bytes("{b'descr': '<i4', 'fortran_order': False, 'shape': (2,)}", DATA),
    "object dtype": npy_bytes(header(descr="'|O'"), DATA),
    "object field": npy_bytes(header(descr="[('a', '|O')]"), DATA),
    "unknown dtype": npy_bytes(header(descr="'<q9'"), DATA),
    "dtype of no type": npy_bytes(header(descr="3"), DATA),
    "dtype None": npy_bytes(header(descr="None"), DATA),
    "empty dtype": npy_bytes(header(descr="''"), DATA),
    "huge dtype": npy_bytes(header(descr="'|S99999999999999999999'"), DATA),
    "negative dtype": npy_bytes(header(descr="'|S-3'"), DATA),
    "field twice": npy_bytes(header(descr="[('a', '<i2'), ('a', '<i2')]"), DATA),
    "field without a type": npy_bytes(header(descr="[('a',)]"), DATA),
    "huge sub-array": npy_bytes(header(descr="[('a', '<i4', (4294967296, 4294967296))]"), DATA),
    "negative sub-array": npy_bytes(header(descr="[('a', '<i4', (-1,))]"), DATA),
    "order is a number": npy_bytes(header(order="0"), DATA),
    "order is text": npy_bytes(header(order="'C'"), DATA),
    "order is None": npy_bytes(header(order="None"), DATA),
    "shape is a number": npy_bytes(header(shape="2"), DATA),
    "shape is a list": npy_bytes(header(shape="[2]"), DATA),
    "shape is text": npy_bytes(header(shape="'2'"), DATA),
    "shape of floats": npy_bytes(header(shape="(2.0,)"), DATA),
    "shape of None": npy_bytes(header(shape="(None,)"), DATA),
    "negative shape": npy_bytes(header(shape="(-2,)"), DATA),
    "two negatives": npy_bytes(header(shape="(-1, -2)"), DATA),
    "shape overflows": npy_bytes(header(shape="(4294967296, 4294967296)"), DATA),
    "shape overflows to 2": npy_bytes(header(shape="(2, 9223372036854775809)"), DATA),
    "shape of 2**63": npy_bytes(header(shape="(9223372036854775808,)"), DATA),
    "shape of 2**64": npy_bytes(header(shape="(18446744073709551616,)"), DATA),
    "shape of 10**400": npy_bytes(header(shape=f"({10**400},)"), DATA),
    "65 axes": npy_bytes(header(shape=f"({'1, ' * 65})"), DATA),
    "shape larger than the file": npy_bytes(header(shape="(1000000000000,)"), DATA),
    "not utf-8": npy_bytes(b"{'descr': '\xff\xfe', ", DATA, version=(3, 0)),
    "nul bytes": npy_bytes(b"\0" * 100, DATA),
    "binary": npy_bytes(bytes(range(256)), DATA),
    "a long string": npy_bytes(header(descr="'" + "x" * 60_000 + "'"), DATA),
}


class TestOddNpy:
    def test_subnormal_headers(self, tmp_path: Path) -> None:
        # Spaces, quotes and keys as others write them; Python 2's long integers.
        path = tmp_path / "a.npy"
        for header in [
            '{"shape":(2,3L),"descr":"<i4","fortran_order":False}',
            "{'fortran_order': False, 'shape': (2, 3), 'descr': '<i4', }   \n\n",
            "  {'descr':'<i4','fortran_order':False,'shape':(2,3)}",
            "{'descr': ('<i4'), 'fortran_order': (False), 'shape': (2, 3,)}",
            "{'descr': '<' 'i4', 'fortran_order': False, 'shape': (2, 3)}\n",
        ]:
            path.write_bytes(npy_bytes(header, np.arange(6, dtype="<i4").tobytes()))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                try:
                    expected = np.load(path)
                except ValueError:
                    with pytest.raises(mapcall.FormatError):
                        mapcall.open(path)
                    continue
            x = mapcall.open(path)
            assert x.dtype == expected.dtype
            assert x.tolist() == expected.tolist()


class TestHostileNpy:
    @pytest.mark.parametrize("mode", ["r", "r+", "c"])
    @pytest.mark.parametrize("name", HOSTILE_NPY)
    def test_refused(self, tmp_path: Path, unchanged: Unchanged, name: str, mode: str) -> None:
        path = tmp_path / "bad.npy"
        path.write_bytes(HOSTILE_NPY[name])
        with unchanged(tmp_path), pytest.raises(mapcall.FormatError) as caught:
            mapcall.open(path, mode)
        error = caught.value
        assert isinstance(error, ValueError)
        assert error.path == str(path)
        assert len(error.reason) > 10
        assert str(error) == f"{path}: {error.reason}"
        assert len(str(error)) < 1000 + len(str(path))
        assert not os.path.exists("hacked")

    def test_what_numpy_reads_is_no_more(self, tmp_path: Path) -> None:
        # A reader that is stricter than NumPy must know why.
        stricter = set()
        for name, content in HOSTILE_NPY.items():
            path = tmp_path / "bad.npy"
            path.write_bytes(content)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    np.load(path)
            except Exception:
                # NumPy's are of many kinds: SyntaxError, TokenError, RecursionError, TypeError.
                continue
            stricter.add(name)
        assert stricter <= {"key twice", "dtype None"}

    @settings(deadline=None, max_examples=500)
    @given(position=st.integers(0, 127), byte=st.integers(0, 255), size=st.integers(0, 168))
    def test_any_damage_is_an_error_or_an_array(self, position: int, byte: int, size: int) -> None:
        content = bytearray(saved(np.arange(10, dtype="<i4")))
        content[position] = byte
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.npy"
            path.write_bytes(content[:size])
            try:
                x = mapcall.open(path)
            except mapcall.FormatError:
                return
            assert x.file_offset is not None
            assert x.file_offset + x.nbytes <= size
            x.tobytes()


def damaged(change: Callable[[bytearray], None]) -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.arange(10, dtype="<i4"), b=np.arange(3))
    content = bytearray(file.getvalue())
    change(content)
    return bytes(content)


def at(signature: bytes, offset: int, value: bytes, which: int = 0) -> Callable[[bytearray], None]:
    """Overwrite bytes that stand `offset` behind a zip record's signature."""

    def change(content: bytearray) -> None:
        start = -1
        for _ in range(which + 1):
            start = content.index(signature, start + 1)
        content[start + offset : start + offset + len(value)] = value

    return change


def archive(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(file, "w") as made:
            for name, content in members:
                made.writestr(name, content)
    return file.getvalue()


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
U32 = struct.Struct("<I").pack

HOSTILE_NPZ: dict[str, bytes] = {
    "no directory": damaged(lambda content: content.__delitem__(slice(200, None))),
    "no end": damaged(lambda content: content.__delitem__(slice(-22, None))),
    "half an end": damaged(lambda content: content.__delitem__(slice(-5, None))),
    "first byte missing": damaged(lambda content: content.__delitem__(slice(0, 1))),
    "signature only": b"PK\x03\x04",
    "empty archive with members": END + struct.pack("<HHHHIIH", 0, 0, 5, 5, 0, 0, 0),
    "directory beyond the file": damaged(at(END, 16, U32(0x7FFF_FFFF))),
    "directory at -1": damaged(at(END, 16, U32(0xFFFF_FFFF))),
    "directory in the directory": damaged(at(END, 16, U32(3))),
    "too many members": damaged(at(END, 8, b"\xff\xfe\xff\xfe")),
    "too few members": damaged(at(END, 8, b"\x01\x00\x01\x00")),
    "local header beyond the file": damaged(at(CENTRAL, 42, U32(0x7FFF_FFFF))),
    "local header inside another": damaged(at(CENTRAL, 42, U32(5))),
    "local header of the other": damaged(at(CENTRAL, 42, U32(0), 1)),
    "local signature": damaged(at(LOCAL, 0, b"PK\x03\x05")),
    "local name length": damaged(at(LOCAL, 26, b"\xff\xff")),
    "local extra length": damaged(at(LOCAL, 28, b"\xff\xff")),
    "central name length": damaged(at(CENTRAL, 28, b"\xff\xff")),
    "compressed in the directory": damaged(at(CENTRAL, 10, b"\x08\x00")),
    "compressed in front": damaged(at(LOCAL, 8, b"\x08\x00")),
    "unknown method": damaged(at(CENTRAL, 10, b"\x63\x00")),
    "encrypted": damaged(at(CENTRAL, 8, b"\x01\x00")),
    "size of 4 GiB": damaged(at(CENTRAL, 20, U32(0xFFFF_FFFE) * 2)),
    "stored size differs": damaged(at(CENTRAL, 20, U32(20))),
    "member is no array": archive(("a.npy", b"no array at all, only text")),
    "member is empty": archive(("a.npy", b"")),
    "member lies": archive(
        ("a.npy", npy_bytes(header(shape="(1000,)"), DATA)), ("b.npy", bytes(9999))
    ),
    "member of objects": archive(("a.npy", npy_bytes(header(descr="'|O'"), DATA))),
}


class TestHostileNpz:
    @pytest.mark.parametrize("mode", ["r", "r+", "c"])
    @pytest.mark.parametrize("name", HOSTILE_NPZ)
    def test_refused(self, tmp_path: Path, unchanged: Unchanged, name: str, mode: str) -> None:
        path = tmp_path / "bad.npz"
        path.write_bytes(HOSTILE_NPZ[name])
        with unchanged(tmp_path), pytest.raises(mapcall.FormatError) as caught:
            mapcall.open(path, mode, "a")
        assert caught.value.path == str(path)

    @settings(deadline=None, max_examples=500)
    @given(data=st.data())
    def test_any_damage_is_an_error_or_an_array(self, data: st.DataObject) -> None:
        def change(content: bytearray) -> None:
            for _ in range(data.draw(st.integers(1, 3))):
                content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
                    st.integers(0, 255)
                )
            del content[data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content)))) :]

        content = damaged(change)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.npz"
            path.write_bytes(content)
            try:
                x = mapcall.open(path, member="a")
            except mapcall.FormatError:
                return
            assert x.file_offset is not None
            assert x.file_offset + x.nbytes <= len(content)
            x.tobytes()

    def test_the_size_of_the_directory_is_not_needed(self, tmp_path: Path) -> None:
        # What it lists is checked entry by entry; NumPy refuses the file.
        path = tmp_path / "a.npz"
        path.write_bytes(damaged(at(END, 12, U32(0x7FFF_FFFF))))
        with open(path, "rb") as file, pytest.raises(zipfile.BadZipFile):
            np.load(file)
        assert mapcall.open(path, member="a").tolist() == list(range(10))

    @pytest.mark.parametrize("member", ["", "../a", "/a", "a/", "a.npy.npy", "a\0", "A", "\ud800"])
    def test_odd_names(self, tmp_path: Path, member: str) -> None:
        np.savez(tmp_path / "a.npz", a=np.arange(3))
        with pytest.raises(ValueError):  # noqa: PT011
            mapcall.open(tmp_path / "a.npz", member=member)

    @pytest.mark.parametrize("member", [3, b"a", ["a"]])
    def test_no_names(self, tmp_path: Path, member: Any) -> None:
        np.savez(tmp_path / "a.npz", a=np.arange(3))
        with pytest.raises(TypeError):
            mapcall.open(tmp_path / "a.npz", member=member)
