"""`mapcall.Map` against `mmap.mmap`: the same results, or the same errors."""

import copy
import ctypes
import inspect
import io
import mmap
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mapcall

ACCESS = {"r": mmap.ACCESS_READ, "r+": mmap.ACCESS_WRITE, "c": mmap.ACCESS_COPY}
CONTENT = b"one\ntwo\n\nthree two\xff\x00\n\nend"
SIZE = len(CONTENT)


def closable(path: Path, mode: str = "r+", **arguments: Any) -> mapcall.Map:
    """Returns a map without an array on it."""
    found = mapcall.memmap(path, mode=mode, **arguments)._mmap
    assert found is not None
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(CONTENT)
    return made


near = st.integers(-SIZE - 3, SIZE + 3)
number = st.one_of(
    near, st.sampled_from([0, 1, SIZE, 1 << 62, -(1 << 63), 1 << 64, True, np.int8(3)])
)
maybe = st.one_of(st.none(), near)
piece = st.one_of(
    st.binary(max_size=4),
    st.sampled_from([b"two", b"\n", b"", CONTENT, bytearray(b"wo"), memoryview(b"xtwo")[1:]]),
    st.sampled_from(["text", None, 3, [1, 2]]),
)
byte = st.one_of(
    st.integers(-2, 258), st.sampled_from([None, "a", b"a", 1.5, 1 << 70, np.uint8(7)])
)
index = st.one_of(number, st.slices(SIZE), st.sampled_from(["a", None, 1.5, slice(9, 2, 1)]))

OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["read"]), st.tuples(maybe) | st.just(()) | st.tuples(number)),
    st.tuples(st.sampled_from(["read_byte", "readline", "tell", "size", "flush"]), st.just(())),
    st.tuples(
        st.just("seek"), st.tuples(number) | st.tuples(near, st.sampled_from([0, 1, 2, 3, -1]))
    ),
    st.tuples(st.just("write"), st.tuples(piece)),
    st.tuples(st.just("write_byte"), st.tuples(byte)),
    st.tuples(st.just("move"), st.tuples(number, number, number)),
    st.tuples(
        st.sampled_from(["find", "rfind"]),
        st.tuples(piece) | st.tuples(piece, near) | st.tuples(piece, near, near),
    ),
    st.tuples(st.just("__getitem__"), st.tuples(index)),
    st.tuples(st.just("__setitem__"), st.tuples(index, byte | piece)),
    st.tuples(st.just("__delitem__"), st.tuples(index)),
    st.tuples(st.sampled_from(["__len__", "__iter__"]), st.just(())),
    st.tuples(st.just("__contains__"), st.tuples(st.sampled_from([b"t", b"two", b"", 116, "t"]))),
    st.tuples(st.just("resize"), st.tuples(st.just(SIZE))),
    st.tuples(st.just("closed"), st.none()),
)


VALID: list[tuple[str, tuple[Any, ...]]] = [
    *((name, ()) for name in ("read", "read_byte", "readline", "tell", "size", "flush", "__len__")),
    *(("seek", (1,)), ("write", (b"a",)), ("write_byte", (1,)), ("move", (0, 1, 1))),
    *(("find", (b"a",)), ("rfind", (b"a",)), ("__getitem__", (0,)), ("__setitem__", (0, 1))),
    *(("resize", (1,)), ("__iter__", ()), ("madvise", (0,)), ("__enter__", ())),
]


def answer(target: Any, name: str, arguments: tuple[Any, ...] | None) -> Any:
    """Returns the result of an operation, or the class of its error; operators are used as such."""
    operators: dict[str, Callable[..., Any]] = {
        "__getitem__": lambda key: target[key],
        "__setitem__": target.__setitem__,
        "__delitem__": lambda key: target.__delitem__(key),
        "__len__": lambda: len(target),
        "__iter__": lambda: list(target),
        "__contains__": lambda value: value in target,
    }
    try:
        if arguments is None:
            return getattr(target, name)
        given = operators.get(name) or getattr(target, name)
        result = given(*arguments)
    except (AttributeError, NotImplementedError) as error:
        return "refused" if name == "__delitem__" else repr(error)
    except Exception as error:
        return "refused" if name == "__delitem__" else type(error)
    # Since Python 3.13, `seek` returns the position.
    return target.tell() if name == "seek" else result


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@settings(deadline=None, max_examples=60)
@given(operations=st.lists(OPERATIONS, max_size=12), end=st.booleans())
def test_every_operation_as_mmap(mode: str, operations: list[Any], end: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ours_path, theirs_path = Path(folder, "ours"), Path(folder, "theirs")
        ours_path.write_bytes(CONTENT)
        theirs_path.write_bytes(CONTENT)
        with open(theirs_path, "r+b") as file:
            theirs = mmap.mmap(file.fileno(), 0, access=ACCESS[mode])
        x = mapcall.memmap(ours_path, mode=mode)
        ours = x._mmap
        assert ours is not None
        # A map with an array can't be resized, and neither can an mmap with a view.
        view = memoryview(theirs)
        for name, arguments in operations:
            if name in ("find", "rfind") and arguments[0] == b"":
                # Versions of Python differ in where nothing is found.
                continue
            found, expected = answer(ours, name, arguments), answer(theirs, name, arguments)
            assert found == expected, (name, arguments)
            assert ours.tell() == theirs.tell()
            assert ours[:] == theirs[:]
        del view
        if end:
            ours.flush()
            theirs.flush()
            del x
            ours.close()
            theirs.close()
            for name, arguments in VALID:
                assert answer(ours, name, arguments) is answer(theirs, name, arguments)
        assert ours_path.read_bytes() == theirs_path.read_bytes()


class TestSearch:
    """Maps that are searched in several pieces."""

    @pytest.fixture
    def large(self, tmp_path: Path) -> Path:
        made = tmp_path / "large"
        content = bytearray(3 << 18)
        for place in (5, (1 << 18) - 2, (2 << 18) + 1):
            content[place : place + 5] = b"abcab"
        made.write_bytes(content)
        return made

    @pytest.mark.parametrize("sub", [b"abcab", b"cab", b"b", b"ab", b"xyz", b"", bytes(300)])
    @pytest.mark.parametrize("start", [0, 6, (1 << 18) - 2, (1 << 18) - 1, 1 << 18, 3 << 18])
    def test_across_pieces(self, large: Path, sub: bytes, start: int) -> None:
        found, content = closable(large), large.read_bytes()
        for end in (3 << 18, (2 << 18) + 3, (1 << 18) + 3, 9, 0):
            assert found.find(sub, start, end) == content.find(sub, start, end)
            # `bytes.rfind` returns -1 for an empty pattern if the range starts after the end.
            assert found.rfind(sub, start, end) == content.rfind(sub, start, end)

    def test_lines(self, large: Path) -> None:
        content = large.read_bytes().replace(b"c", b"\n")
        large.write_bytes(content)
        found = closable(large)
        assert list(iter(found.readline, b"")) == io.BytesIO(content).readlines()


class TestPassesForMmap:
    @pytest.mark.parametrize("mode", ["r", "r+", "w+", "c"])
    def test_isinstance(self, path: Path, mode: str) -> None:
        x = mapcall.memmap(path, mode=mode, shape=SIZE)
        assert isinstance(x._mmap, mmap.mmap)
        assert isinstance(x._mmap, mapcall.Map)
        assert isinstance(x[3:].base.base, mmap.mmap)
        assert type(x._mmap) is mapcall.Map
        assert not isinstance(x._mmap, (bytes, memoryview))
        match x._mmap:
            case mmap.mmap():
                pass
            case _:
                pytest.fail("no mmap")

    def test_but_not_for_the_file_where_it_has_changes(self, path: Path) -> None:
        # Programs that find an mmap, such as joblib, open the file in place of sending the bytes.
        x = mapcall.memmap(path, mode="c")
        assert x.sum() > 0
        assert isinstance(x._mmap, mmap.mmap)
        x[0] = 0
        assert not isinstance(x._mmap, mmap.mmap)
        assert isinstance(x._mmap, mapcall.Map)

    def test_every_public_name_of_mmap(self) -> None:
        needs_a_descriptor = {"set_name"}
        names = {name for name in dir(mmap.mmap) if not name.startswith("_")}
        assert names - set(dir(mapcall.Map)) <= needs_a_descriptor

    @pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy, pickle.dumps])
    def test_it_is_not_copied(self, path: Path, copier: Callable[[Any], Any]) -> None:
        with pytest.raises(TypeError, match=r"cannot pickle 'mapcall\.Map'"):
            copier(closable(path))
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(closable(path), 0)

    def test_class_is_read_only(self, path: Path) -> None:
        with pytest.raises((AttributeError, TypeError)):
            closable(path).__class__ = mapcall.Map  # type: ignore[misc,assignment]

    def test_inspection(self, path: Path) -> None:
        found = closable(path)
        assert "Map" in repr(found)
        assert dict(inspect.getmembers(found))["closed"] is False

    def test_size_follows_the_file(self, path: Path) -> None:
        found = closable(path)
        with open(path, "ab") as file:
            file.write(b"more")
        assert (found.size(), len(found)) == (SIZE + 4, SIZE)
        path.unlink()
        assert found.size() == SIZE


class TestClose:
    def test_arrays_raise_afterwards(self, path: Path) -> None:
        x: Any = mapcall.memmap(path, mode="r+")
        found = x._mmap
        pointer = x.ctypes.data_as(ctypes.POINTER(ctypes.c_ubyte))
        uses: list[Callable[[], Any]] = [
            *(x[3:].copy, np.asarray(x)[::-2].tobytes, x[3:].view("S2").tolist),
            *(memoryview(x).tobytes, lambda: int(pointer[3]), lambda: x[3]),
            np.lib.stride_tricks.as_strided(x, (3,), (2,)).tolist,
        ]
        found.close()
        for use in uses:
            for _ in range(2):
                with pytest.raises(mapcall.MapFault, match="closed") as caught:
                    use()
                assert caught.value.reason == "closed"

    def test_buffers_raise_afterwards(self, path: Path) -> None:
        for make in (memoryview, lambda found: np.frombuffer(found, "u1"), iter):
            found = closable(path)
            view: Any = make(found)
            found.close()
            with pytest.raises(mapcall.MapFault):
                list(view)

    def test_the_memory_is_given_back(self, path: Path) -> None:
        found = closable(path)
        assert str(path) in Path("/proc/self/maps").read_text()
        found.close()
        found.close()
        assert str(path) not in Path("/proc/self/maps").read_text()
        assert "closed" in repr(found)
        assert found.filename == path

    def test_with(self, path: Path) -> None:
        with closable(path) as found:
            assert found.read(3) == b"one"
        assert found.closed
        with pytest.raises(ValueError, match="mmap closed or invalid"), found:
            pass
        x = mapcall.memmap(path)
        with x._mmap:
            assert x[0] == ord("o")
        assert x.closed

    def test_an_array_that_numpy_makes_of_it_raises(self, path: Path) -> None:
        # The array can't be counted. An mmap would unmap the memory while it is in use.
        found = closable(path)
        array: Any = np.ndarray(SIZE, "u1", found)
        found.close()
        with pytest.raises(mapcall.MapFault, match="closed"):
            array.tobytes()
        with pytest.raises(ValueError, match="closed"):
            memoryview(found)

    def test_closing_while_it_is_opened(self, path: Path) -> None:
        class Closing(mapcall.memmap):
            def __array_finalize__(self, other: Any) -> None:
                if other is None or isinstance(other, mapcall.Map):
                    self.base.close()

        x = Closing(path, mode="r+")
        assert x.closed
        with pytest.raises(mapcall.MapFault, match="closed"):
            x.tobytes()

    def test_closing_by_an_index(self, path: Path) -> None:
        class Closing:
            def __init__(self, found: mapcall.Map) -> None:
                self.found = found

            def __index__(self) -> int:
                self.found.close()
                return 3

        uses: list[Callable[[Any], Any]] = [
            lambda found: found[Closing(found)],
            lambda found: found[: Closing(found)],
            lambda found: found.__setitem__(0, Closing(found)),
            lambda found: found.__setitem__(Closing(found), 0),
        ]
        for use in uses:
            with pytest.raises(ValueError, match="closed"):
                use(closable(path))
        assert path.read_bytes() == CONTENT

    def test_resize(self, path: Path) -> None:
        x: Any = mapcall.memmap(path, "u1", "r+")
        found = x._mmap
        with pytest.raises(BufferError, match="extant pointers"):
            found.resize(100)
        del x
        for size in (100, SIZE, 3):
            found.resize(size)
            assert (len(found), found.size(), path.stat().st_size) == (size, size, size)
            assert path.read_bytes() == found[:] == CONTENT[:size].ljust(size, b"\0")
        for size in (-1, 1 << 62):
            with pytest.raises((ValueError, OSError)):
                found.resize(size)
        assert len(found) == 3
        for mode in "rc":
            with pytest.raises(TypeError, match="readonly or copy-on-write"):
                closable(path, mode).resize(100)
