"""Invalid and damaged `.npy` and `.npz` files: each raises a `FormatError`, and nothing else."""

import io
import os
import struct
import tempfile
import warnings
import zipfile
import zlib
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
    "2L in version 3": npy_bytes(header(shape="(2L,)"), DATA, version=(3, 0)),
    "shape of a bool": npy_bytes(header(shape="(2, True)"), DATA),
    "an octal number": npy_bytes(header(shape="(02,)"), DATA),
    "underscores": npy_bytes(header(shape="(1__0,)"), DATA),
    "an f-string": npy_bytes(header(descr="f'<i4'"), DATA),
    "bytes": npy_bytes(header(descr="b'<i4'"), DATA),
    "indented": npy_bytes("\n " + header(), DATA),
    "two byte orders": npy_bytes(header(descr="'<2>i4'"), DATA),
    "repeat without a type": npy_bytes(header(descr="'3'"), DATA),
    "list of objects": npy_bytes(header(descr="'i4,O'"), DATA),
    "a huge repeat": npy_bytes(header(descr="'99999999999i4'"), DATA),
}

#: Valid headers in another notation than NumPy's.
ODD_NPY = [
    '{"shape":(2,3L),"descr":"<i4","fortran_order":False}',
    "{'fortran_order': False, 'shape': (2, 3), 'descr': '<i4', }   \n\n",
    "  {'descr':'<i4','fortran_order':False,'shape':(2,3)}",
    "{'descr': ('<i4'), 'fortran_order': (False), 'shape': (2, 3,)}",
    "{'descr': '<' 'i4', 'fortran_order': False, 'shape': (2, 3)}\n",
    "# by hand\n{'descr': '<i4', # four bytes\n 'fortran_order': False, 'shape': (2, 3)} # end",
    "{'descr': '<i4', 'fortran_order': False, 'shape': (0x2, 0b11)}",
    "{'descr': '<i4', 'fortran_order': False, 'shape': (0o2, 0_0)}",
    "{'descr': '<i4', 'fortran_order': False, 'shape': (+2, 3)}",
    "{'descr': r'<i4', 'fortran_order': False, 'shape': (2, 3)}",
    "{u'descr': R\"\"\"<i4\"\"\", 'fortran_order': False, 'shape': (2, 3)}",
    "{'d\\x65scr': '\\74i\\u0034', 'fortran_order': False, 'shape': (2, 3)}",
    "{'descr': '\\N{LESS-THAN SIGN}i4', 'fortran_order': False, 'shape': (2, 3)}",
    "{'descr': '<i\\\n4', \\\n'fortran_order': False, 'shape': (2,\r\n3)}",
    "{'descr': 'i2,>u2', 'fortran_order': False, 'shape': (2, 3)}",
    "{'descr': '<i2, (2,)u1', 'fortran_order': True, 'shape': (2, 3)}",
    "{'descr': '2<i2', 'fortran_order': False, 'shape': (2, 3)}",
    "{'descr': '2<i2', 'fortran_order': True, 'shape': (2, 3)}",
    "{'descr': ('2u1', (2,)), 'fortran_order': False, 'shape': (2, 3)}",
    "{'descr': [('x', '2u1'), ('y', 'i1,i1')], 'fortran_order': False, 'shape': (2, 3)}",
]


class TestOddNpy:
    @pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
    @pytest.mark.parametrize("header", ODD_NPY)
    def test_as_numpy(self, tmp_path: Path, header: str, version: tuple[int, int]) -> None:
        path = tmp_path / "a.npy"
        path.write_bytes(npy_bytes(header, bytes(range(24)), version=version))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                expected = np.load(path, mmap_mode="r")
            except ValueError:
                assert "L" in header
                with pytest.raises(mapcall.FormatError):
                    mapcall.open(path)
                return
        x = mapcall.open(path)
        assert (x.dtype, x.shape, x.strides) == (expected.dtype, expected.shape, expected.strides)
        assert x.tobytes() == expected.tobytes()


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

    def test_files_that_only_numpy_reads(self, tmp_path: Path) -> None:
        # mapcall refuses what NumPy reads in the cases below only.
        stricter = set()
        for name, content in HOSTILE_NPY.items():
            path = tmp_path / "bad.npy"
            path.write_bytes(content)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    np.load(path)
            except Exception:
                # NumPy's exceptions have many types, such as SyntaxError and RecursionError.
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
    """Returns a function that overwrites bytes at an offset from the signature of a zip record."""

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


def raw_archive(
    *members: tuple[bytes, bytes],
    flags: list[int] | None = None,
    extra: bytes = b"",
    comment: bytes = b"",
) -> bytes:
    """Returns an archive without zip64, with these names and flags."""
    body, directory = bytearray(), bytearray()
    for i, (name, content) in enumerate(members):
        common = struct.pack(
            "<HHHHHIIIHH",
            20,
            flags[i] if flags else 0,
            0,
            0,
            0,
            zlib.crc32(content),
            len(content),
            len(content),
            len(name),
            0,
        )
        with_extra = common[:-2] + struct.pack("<H", len(extra))
        place = struct.pack("<HHHII", 0, 0, 0, 0, len(body))
        directory += b"PK\x01\x02\x14\0" + with_extra + place + name + extra
        body += b"PK\x03\x04" + common + name + content
    count = len(members) & 0xFFFF
    end = (0, 0, count, count, len(directory), len(body), len(comment))
    return bytes(body + directory) + b"PK\x05\x06" + struct.pack("<HHHHIIH", *end) + comment


def is_utf8_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


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

    def test_more_members_than_the_count_can_say(self, tmp_path: Path) -> None:
        # Without zip64, the count of members has 16 bits. Some writers let it wrap.
        count = 65_537
        members = [(b"%d" % i, b"") for i in range(count - 1)]
        members.append((b"last.npy", saved(np.arange(3))))
        path = tmp_path / "a.npz"
        content = bytearray(raw_archive(*members))
        for claimed in (0xFFFF, count & 0xFFFF):
            content[-14:-10] = struct.pack("<HH", claimed, claimed)
            path.write_bytes(content)
            assert mapcall.open(path, member="last", verify=True).tolist() == [0, 1, 2]
        with np.load(path) as loaded:
            assert len(loaded.files) == count
        content[-14:-10] = struct.pack("<HH", 3, 3)
        path.write_bytes(content)
        with pytest.raises(mapcall.FormatError, match="list 3 members, but lists 65537"):
            mapcall.open(path, member="last")

    @settings(deadline=None, max_examples=300)
    @given(data=st.data())
    def test_names_are_numpys(self, data: st.DataObject) -> None:
        # Names of any bytes, with and without the flag for UTF-8, repeated, and as extra fields.
        names = st.one_of(
            st.sampled_from([b"a.npy", b"a", b"\x82.npy", "\u00e9.npy".encode(), b"a.npy.npy"]),
            st.sampled_from([b"a\0b.npy", b"dir/a.npy", b"\xff\x80", "\u0436.npy".encode()]),
            st.binary(min_size=1, max_size=5),
        )
        members = data.draw(st.lists(st.tuples(names, st.booleans()), min_size=1, max_size=4))
        content = raw_archive(
            *((name, saved(np.arange(i))) for i, (name, _) in enumerate(members)),
            flags=[0x800 * is_utf8 for _, is_utf8 in members],
            comment=data.draw(st.sampled_from([b"", b"by hand", b"PK\x01\x02"])),
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.npz"
            path.write_bytes(content)
            try:
                with open(path, "rb") as file, np.load(file) as loaded:
                    arrays = {name: loaded[name] for name in loaded.files}
            except (ValueError, KeyError):
                # An archive is refused if its only name is no UTF-8 in spite of its flag.
                assert any(is_utf8 and not is_utf8_text(name) for name, is_utf8 in members)
                return
            for name, array in arrays.items():
                if isinstance(array, bytes):
                    array = np.load(io.BytesIO(array))
                x = mapcall.open(path, member=name, verify=True)
                assert x.tolist() == array.tolist()

    def test_a_name_as_an_extra_field(self, tmp_path: Path) -> None:
        # Python knows Info-ZIP's Unicode path since 3.13. A member can be found by both names.
        path = tmp_path / "a.npz"
        name = b"\x82.npy"
        unicode = b"\x01" + struct.pack("<I", zlib.crc32(name)) + "\u0436.npy".encode()
        for extra, found in [
            (unicode, ["\u0436", "\u0436.npy", "\u00e9", "\u00e9.npy"]),
            (b"\x01\0\0\0\0" + unicode[5:], ["\u00e9"]),
            (b"\x02" + unicode[1:], ["\u00e9"]),
            (unicode[:5] + b"\xff.npy", ["\u00e9"]),
            (unicode[:3], ["\u00e9"]),
        ]:
            field = struct.pack("<HH", 0x7075, len(extra)) + extra
            path.write_bytes(raw_archive((name, saved(np.arange(3))), extra=field))
            for member in found:
                assert mapcall.open(path, member=member).tolist() == [0, 1, 2]

    def test_the_size_of_the_directory_is_not_needed(self, tmp_path: Path) -> None:
        # The entries of the directory are checked one by one. NumPy refuses the file.
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
