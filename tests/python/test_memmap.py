"""The constructor against that of `numpy.memmap`: the same array, or the same error."""

import os
import pickle
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mapcall

NUMPY, OURS = np.memmap, mapcall.memmap

DTYPES = [
    "u1",
    "i2",
    ">i4",
    "<f8",
    ">f4",
    "f2",
    "c16",
    "g",
    "?",
    "S3",
    "U2",
    "V5",
    "M8[ns]",
    ">m8[3D]",
    np.float32,
    np.dtype("i8"),
    None,
    [("a", "u1"), ("b", ">f4")],
    np.dtype([("a", "u1"), ("b", "f8")], align=True),
    {"names": ["x", "y"], "formats": ["i2", "f4"], "offsets": [6, 0], "itemsize": 10},
    [("outer", [("inner", "i2", (2,))])],
    ("i2", (2, 3)),
    np.dtype("u2", metadata={"unit": "m"}),
    # The dtype has no size.
    "S0",
    "V0",
    [],
]
MODES = ["r", "r+", "w+", "c", "readonly", "readwrite", "write", "copyonwrite"]

OFFSETS = [0, 0, 1, 3, 4, 8, 16, 24, 4095, 4096, 4097, 70000, True, np.int8(24), np.uint64(4096)]

SHAPES = [
    None,
    None,
    0,
    1,
    5,
    True,
    (),
    [],
    (3,),
    [2, 3],
    (0, 4),
    (4, 0),
    (2, 1, 3),
    (1,) * 20,
    np.int64(3),
    np.array([2, 2]),
    np.array(4),
    (np.int8(100), np.uint8(2)),
    range(2, 4),
]

ORDERS = ["C", "F", "A", "K", "c", "f", None, b"F", b"c", b"K", np.str_("F")]

SIZES = [0, 1, 4, 7, 8, 24, 240, 4096, 4100, 70008]


def path_str(path: Path, stack: ExitStack) -> object:
    return str(path)


def path_relative(path: Path, stack: ExitStack) -> object:
    return os.path.relpath(path)


def path_bytes(path: Path, stack: ExitStack) -> object:
    return os.fsencode(path)


def path_object(path: Path, stack: ExitStack) -> object:
    return path


def file_r(path: Path, stack: ExitStack) -> object:
    return stack.enter_context(open(path, "rb"))


def file_rw(path: Path, stack: ExitStack) -> object:
    return stack.enter_context(open(path, "r+b"))


def file_unbuffered(path: Path, stack: ExitStack) -> object:
    return stack.enter_context(open(path, "r+b", buffering=0))


def file_with_pending_write(path: Path, stack: ExitStack) -> object:
    file: Any = file_rw(path, stack)
    file.seek(0, 2)
    file.write(b"12345678")
    return file


def file_by_descriptor(path: Path, stack: ExitStack) -> object:
    return stack.enter_context(open(os.open(path, os.O_RDWR), "r+b"))


def missing(path: Path, stack: ExitStack) -> object:
    path.unlink()
    return str(path)


FILES = [
    path_str,
    path_relative,
    path_bytes,
    path_object,
    file_r,
    file_rw,
    file_unbuffered,
    file_with_pending_write,
    file_by_descriptor,
    missing,
]


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    """Returns arguments that are valid each, but not always together."""
    choices = {
        "file": FILES,
        "size": SIZES,
        "dtype": DTYPES,
        "mode": MODES,
        "offset": OFFSETS,
        "shape": SHAPES,
        "order": ORDERS,
    }
    return {name: draw(st.sampled_from(values)) for name, values in choices.items()}


@dataclass
class Outcome:
    """The result of a constructor."""

    array: dict[str, Any] | None
    error: tuple[type[BaseException], str] | None
    size: int | None
    content: bytes | None
    position: int | None


def outcome(memmap: type, path: Path, call: dict[str, Any]) -> Outcome:
    if path.is_dir():
        path.rmdir()
    path.write_bytes(content(call["size"]))
    array: dict[str, Any] | None = None
    error = None
    with ExitStack() as stack:
        file = call["file"](path, stack)
        try:
            made = memmap(
                file, call["dtype"], call["mode"], call["offset"], call["shape"], call["order"]
            )
        except Exception as raised:
            words = str(raised)
            if hasattr(file, "read"):
                # mapcall's error also has the name of the file if a file object was passed.
                words = words.removesuffix(f": {str(path)!r}")
            error = type(raised), words
        else:
            array = described(made, path)
            del made
        position = file.tell() if hasattr(file, "tell") else None
    exists = path.is_file()
    return Outcome(
        array,
        error,
        path.stat().st_size if exists else None,
        path.read_bytes() if exists and path.stat().st_size < 1 << 20 else None,
        position,
    )


def content(size: int) -> bytes:
    return bytes(index % 251 for index in range(size))


def described(array: Any, path: Path) -> dict[str, Any]:
    flags = array.flags
    name = array.filename
    if name is not None:
        assert Path(name) == path.resolve()
    return {
        "shape": array.shape,
        "strides": array.strides,
        "dtype": array.dtype,
        "metadata": array.dtype.metadata,
        "c_contiguous": flags.c_contiguous,
        "f_contiguous": flags.f_contiguous,
        "aligned": flags.aligned,
        "writeable": flags.writeable,
        "owndata": flags.owndata,
        "offset": array.offset,
        "mode": array.mode,
        "filename": type(name),
        # The order is that in memory: a copy in another order would not have the padding of fields.
        "content": (array if flags.c_contiguous else array.T).tobytes(),
        "priority": array.__array_priority__,
        "base": array.base is array._mmap,
    }


def begins_past_the_end(call: dict[str, Any]) -> bool:
    if call["shape"] is not None or call["mode"] in ("w+", "write") or call["file"] is missing:
        return False
    size = call["size"] + 8 * (call["file"] is file_with_pending_write)
    return int(call["offset"]) > size


@settings(max_examples=600, deadline=None)
@given(calls())
def test_as_numpy(call: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        ours = outcome(OURS, path, call)
        if begins_past_the_end(call):
            # mapcall raises one error; NumPy's depends on the item size and the mode.
            assert ours.error == (ValueError, "negative dimensions are not allowed")
            return
        if isinstance(call["offset"], np.integer):
            # NumPy's arithmetic may wrap or overflow with these.
            call = call | {"offset": int(call["offset"])}
        numpy = outcome(NUMPY, path, call)
    assert ours.error == numpy.error
    assert ours.array == numpy.array
    if ours.error is None:
        assert ours.size == numpy.size
        assert ours.content == numpy.content
        assert ours.position == numpy.position
    elif call["file"] is not missing:
        # A call that fails changes nothing; NumPy may have emptied or grown the file.
        pending = b"12345678" if call["file"] is file_with_pending_write else b""
        assert ours.content == content(call["size"]) + pending


# Invalid values for one argument, in a call that is valid without them.


def in_missing_directory(path: Path, stack: ExitStack) -> object:
    return str(path / "deeper")


def directory(path: Path, stack: ExitStack) -> object:
    path.unlink()
    path.mkdir()
    return path


def no_file(path: Path, stack: ExitStack) -> object:
    return BytesIO(bytes(100))


def a_number(path: Path, stack: ExitStack) -> object:
    return 3


def with_a_nul(path: Path, stack: ExitStack) -> object:
    return str(path) + "\0"


GOOD = {
    "file": path_str,
    "size": 24,
    "dtype": "f4",
    "mode": "r+",
    "offset": 0,
    "shape": (2, 3),
    "order": "C",
}
SAME_WORDS = [
    *[("file", each) for each in (missing, in_missing_directory, directory)],
    *[("file", each) for each in (no_file, a_number, with_a_nul)],
    *[("dtype", each) for each in ("nonsense", "i3", 3.5, [("a", "i4"), ("a", "i4")])],
    *[("mode", each) for each in ("x", "", "R", "rw", 3, None, b"r", ("r",), [])],
    *[("offset", each) for each in (-1, -4096)],
    *[("shape", each) for each in ((1,) * 65,)],
    *[("order", each) for each in ("X", "", "CF", 3, 2.5)],
]
SAME_TYPE = [
    *[("offset", each) for each in (1.0, "4", None, 1 << 63, 1 << 70)],
    *[("shape", each) for each in (2.0, (2.0, 3), "3", (2, None), {"a": 1})],
]


def spoiled(argument: str, value: Any, mode: str) -> dict[str, Any]:
    return GOOD | {"mode": mode} | {argument: value}


@pytest.mark.parametrize("mode", ["r", "r+", "w+", "c"])
@pytest.mark.parametrize(("argument", "value"), SAME_WORDS)
def test_error_in_the_same_words(tmp_path: Path, argument: str, value: Any, mode: str) -> None:
    call = spoiled(argument, value, mode)
    ours = outcome(OURS, tmp_path / "file", call)
    numpy = outcome(NUMPY, tmp_path / "file", call)
    assert ours.error == numpy.error
    if argument != "file":
        assert ours.content == content(24)


@pytest.mark.parametrize("mode", ["r", "r+", "w+", "c"])
@pytest.mark.parametrize(("argument", "value"), SAME_TYPE)
def test_error_of_the_same_type(tmp_path: Path, argument: str, value: Any, mode: str) -> None:
    # NumPy's message is that of the arithmetic that failed.
    call = spoiled(argument, value, mode)
    ours = outcome(OURS, tmp_path / "file", call)
    numpy = outcome(NUMPY, tmp_path / "file", call)
    assert ours.error is not None
    assert numpy.error is not None
    assert issubclass(numpy.error[0], ours.error[0])
    assert ours.content == content(24)


# Deliberate differences from NumPy: see DIFFERENCES.md.


@pytest.mark.parametrize("mode", ["r", "r+", "w+", "c"])
@pytest.mark.parametrize("dtype", ["f4", "V0"])
@pytest.mark.parametrize("shape", [-1, (2, -3), [-1, 0], (-1, -1), np.int8(-128), (1 << 40, -1)])
def test_negative_shape(tmp_path: Path, shape: Any, dtype: str, mode: str) -> None:
    call = GOOD | {"shape": shape, "dtype": dtype, "mode": mode}
    ours = outcome(OURS, tmp_path / "file", call)
    assert ours.error == (ValueError, "negative dimensions are not allowed")
    assert ours.content == content(24)


@pytest.mark.parametrize("mode", ["r", "r+", "w+", "c"])
@pytest.mark.parametrize(
    "shape", [(1 << 40, 1 << 40), (1 << 62,), (1 << 31, 1 << 32), (0, 1 << 62), 1 << 64, (1 << 63,)]
)
def test_shape_beyond_any_memory(tmp_path: Path, shape: Any, mode: str) -> None:
    ours = outcome(OURS, tmp_path / "file", GOOD | {"shape": shape, "mode": mode})
    assert ours.error is not None
    assert ours.error[0] in (ValueError, OverflowError)
    assert ours.content == content(24)


@pytest.mark.parametrize("mode", ["r", "r+", "w+", "c"])
@pytest.mark.parametrize("dtype", ["O", [("a", "i4"), ("b", "O")], ("O", 3), [("a", [("b", "O")])]])
def test_object_dtype(tmp_path: Path, dtype: Any, mode: str) -> None:
    ours = outcome(OURS, tmp_path / "file", GOOD | {"dtype": dtype, "mode": mode, "shape": 0})
    assert ours.error is not None
    assert ours.error[0] is ValueError
    assert "Python objects" in ours.error[1]
    assert ours.content == content(24)


@pytest.mark.parametrize("integer", [np.int8, np.uint8, np.int16, np.uint32, np.int64, np.uint64])
def test_numpy_integers_never_wrap(tmp_path: Path, integer: type[np.integer[Any]]) -> None:
    path = tmp_path / "file"
    path.write_bytes(content(300))
    x = OURS(path, "u1", "r", integer(100), (integer(100), integer(2)))
    assert (x.offset, x.shape) == (100, (100, 2))
    assert x.tobytes() == content(300)[100:]
    assert OURS(path, "u1", "r", integer(100)).size == 200


def test_offset_of_a_small_numpy_integer_in_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 6 << 30)
    offset = np.uint32((1 << 32) - 8)
    x = OURS(path, "u1", "r+", offset, shape=(np.uint32(1 << 30), np.uint8(2)))
    x[-1, -1] = 7
    assert x.file_offset == (1 << 32) - 8
    assert x[-1:].file_offset == (1 << 32) - 8 + (1 << 31) - 2
    assert os.stat(path).st_size == max(6 << 30, (1 << 32) - 8 + (1 << 31))


@pytest.mark.parametrize("module", [mapcall, np])
def test_a_name_that_is_a_subclass_of_str(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    class Name(str):
        __slots__ = ("note",)

        def __str__(self) -> str:
            return "another"

    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(content(8))
    names = [Name("file"), Name(tmp_path / "file"), np.str_("file"), np.str_(tmp_path / "file")]
    for name in names:
        x = module.memmap(name)
        assert type(x.filename) is str
        assert x.filename == os.path.join(tmp_path, "file")
        # The class is defined in this function, so it can't be pickled.
        assert pickle.loads(pickle.dumps(x)).tobytes() == content(8)
    with open(Name("file"), "rb") as file:
        x = module.memmap(file, mode="r")
    assert type(x.filename) is str


def test_every_way_to_give_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class BytesPath:
        def __init__(self, path: str) -> None:
            self.path = os.fsencode(path)

        def __fspath__(self) -> bytes:
            return self.path

    monkeypatch.chdir(tmp_path)
    add = mapcall.load("m").function("double fmax(double x, double y)")
    for kind in (str, os.fsencode, Path, BytesPath, np.str_, np.bytes_):
        for name in ("x.npy", "é\udcff.npy" if kind not in (np.str_, np.bytes_) else "y.npy"):
            given = kind(name)
            mapcall.create(given, 3)[:] = 7
            np.testing.assert_array_equal(mapcall.open(given), [7, 7, 7])
            assert mapcall.memmap(given, mode="r").size == 128 + 24
            written = add(np.arange(3.0), 1.0, out=given)
            np.testing.assert_array_equal(written, [1, 1, 2])
            np.testing.assert_array_equal(np.load(tmp_path / name), [1, 1, 2])
            (tmp_path / name).unlink()
    for given in (b"a\0b", "a\0b"):
        with pytest.raises(ValueError, match="null byte"):
            add(np.arange(3.0), 1.0, out=given)


@pytest.mark.parametrize("order", [b"X", b"\xff", b"", b"Fortran", 3, bytearray(b"F"), ["F"]])
def test_orders_that_are_none(tmp_path: Path, order: Any) -> None:
    for module in (mapcall, np):
        with pytest.raises((ValueError, TypeError)):
            module.memmap(tmp_path / "x", mode="w+", shape=3, order=order)


def test_a_path_without_resolve(tmp_path: Path) -> None:
    class OnlyFsPath:
        def __fspath__(self) -> str:
            return str(tmp_path / "file")

    (tmp_path / "file").write_bytes(content(8))
    with pytest.raises(AttributeError):
        NUMPY(OnlyFsPath())
    assert OURS(OnlyFsPath()).filename == str(tmp_path / "file")


def test_names_are_resolved_as_numpy_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(content(8))
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder").mkdir()
    for name in (
        "file",
        "./file",
        "folder/../file",
        "link",
        f"{tmp_path}//file",
        f"{tmp_path}/./link",
    ):
        for given_name in (name, Path(name)):
            ours, numpy = OURS(given_name).filename, NUMPY(given_name).filename
            assert ours == numpy
            assert type(ours) is type(numpy)


def test_an_existing_file_keeps_its_inode_and_its_other_names(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content(24))
    os.link(path, tmp_path / "other")
    x = OURS(path, mode="w+", shape=6)
    x[:] = 9
    assert (tmp_path / "other").read_bytes() == bytes([9] * 6)


def test_no_descriptor_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content(24))
    before = os.listdir("/proc/self/fd")
    with open(path, "r+b") as file:
        maps = [OURS(path, mode=mode, shape=8) for mode in ("r", "r+", "c", "w+")]
        maps.append(OURS(file))
    assert os.listdir("/proc/self/fd") == before
    assert [x.size for x in maps] == [8] * 5


def test_keywords_and_subclasses(tmp_path: Path) -> None:
    class Sub(OURS):
        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            made = super().__new__(cls, *args, **kwargs)
            made.note = "kept"
            return made

    x = Sub(filename=tmp_path / "f", dtype="i2", mode="w+", offset=2, shape=(2, 2), order="F")
    assert type(x) is Sub
    assert (x.note, x.strides, x.file_offset) == ("kept", (2, 4), 2)
    with pytest.raises(TypeError):
        OURS()
    with pytest.raises(TypeError):
        OURS(tmp_path / "f", nonsense=1)


@pytest.mark.parametrize("name", ["filename", "offset", "mode", "_mmap", "file_offset", "ctypes"])
def test_attributes_are_read_only(tmp_path: Path, name: str) -> None:
    x = OURS(tmp_path / "f", mode="w+", shape=3)
    before = getattr(x, name)
    with pytest.raises(AttributeError):
        setattr(x, name, None)
    if name != "ctypes":
        assert getattr(x, name) == before


def test_a_new_file_through_a_link(tmp_path: Path) -> None:
    for module, name in ((mapcall, "ours"), (np, "numpy")):
        (tmp_path / name).symlink_to(f"{name}.dat")
        x = module.memmap(tmp_path / name, mode="w+", shape=3)
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / f"{name}.dat").stat().st_size == 3
        assert x.filename == tmp_path / f"{name}.dat"


class TestDevices:
    """The length of a device doesn't change, and that of a character device is unknown."""

    @pytest.mark.parametrize("mode", ["r", "c", "r+", "w+"])
    @pytest.mark.parametrize("as_object", [False, True])
    def test_a_character_device(self, mode: str, as_object: bool) -> None:
        if not os.path.exists("/dev/zero"):
            pytest.skip("the system has no /dev/zero")
        results = []
        for class_ in (NUMPY, OURS):
            with ExitStack() as stack:
                file: Any = "/dev/zero"
                if as_object:
                    # NumPy's w+ writes a byte at the supposed end of the file.
                    file = stack.enter_context(open(file, "r+b" if mode[1:] else "rb"))
                x = class_(file, ">i4", mode, 12, (3, 4), "F")
            if mode != "r":
                x[1] = [1, 2, 3, 4]
                x.flush()
            results.append((x.shape, x.strides, x.dtype, x.offset, x.filename, x.tolist()))
            if class_ is OURS:
                # Another map of the device has other memory.
                again = pickle.loads(pickle.dumps(x))
                assert again.tolist() == x.tolist()
                assert x._mmap.size() == 0
        assert results[0] == results[1]

    @pytest.mark.parametrize("mode", ["r", "c", "r+"])
    def test_its_shape_must_be_given(self, mode: Any) -> None:
        with pytest.raises(ValueError, match=r"/dev/zero: .*length; give the shape"):
            mapcall.memmap("/dev/zero", "f4", mode)
        with pytest.raises(ValueError, match="shape must be given"):
            mapcall.memmap("/dev/zero", "f4", "w+")

    def test_offset_without_memory(self) -> None:
        # The first use of NumPy's array kills the process.
        with pytest.raises(ValueError, match=r"no 16 bytes at offset 40960; give another"):
            mapcall.memmap("/dev/zero", "f4", "r+", offset=40960, shape=4)

    def test_a_block_device(self, tmp_path: Path) -> None:
        path = tmp_path / "disk"
        path.write_bytes(bytes(range(256)) * 4096)
        attach = ["losetup", "--find", "--show", str(path)]
        found = shutil.which("losetup") and subprocess.run(attach, capture_output=True, text=True)
        if not found or found.returncode:
            pytest.skip("a block device needs losetup and the rights to attach one")
        device = found.stdout.strip()
        try:
            x = mapcall.memmap(device, "<u2", "r")
            assert (x.size, x._mmap.size()) == (1 << 19, 1 << 20)
            assert x[:3].tolist() == [0x0100, 0x0302, 0x0504]
            assert pickle.loads(pickle.dumps(x[:3])).tolist() == x[:3].tolist()
            y = mapcall.memmap(device, "u1", "r+", offset=4096, shape=10)
            y[:] = 7
            y.flush()
            assert mapcall.memmap(device, "u1", "c", 4096, (2, 5)).tolist() == [[7] * 5] * 2
            for mode in ("r", "r+", "c", "w+"):
                with pytest.raises(ValueError, match="mmap length is greater than file size"):
                    mapcall.memmap(device, "u1", mode, shape=(1 << 20) + 1)
            assert mapcall.memmap(device, "u1", "w+", shape=4).tolist() == [0, 1, 2, 3]
            del x, y
        finally:
            subprocess.run(["losetup", "--detach", device], check=True)
