"""Files that are mapped more than once: the same bytes at different addresses.

The oracle is NumPy on copies, and the byte ranges of the files that each array has.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import counted
import mapcall

SOURCE = (
    counted.PRELUDE
    + """
    double twice(double x) { CALLED; return 2 * x; }
    void add(size_t n, const double x[restrict n], double y[restrict n]) {
        CALLED;
        for (size_t i = 0; i < n; i++) y[i] += x[i];
    }
    void grow(double y[restrict 2], double x[2]) { CALLED; y[0] += x[1]; x[0] = y[1]; }
    double first(const double *restrict x, double *restrict y) { CALLED; return *y = *x; }
    """
)
ADD = "void add(size_t n, const double x[restrict n], double y[restrict n])"
TWICE = "double twice(double x)"
LENGTH = 40
SIZE = 8 * LENGTH


@pytest.fixture(scope="module")
def c(compile_c: Any) -> counted.Counted:
    return counted.Counted(compile_c(SOURCE))


class Files:
    """Files, and every way to have their bytes in memory. Each use opens them again."""

    def __init__(self, folder: Path) -> None:
        self.one, self.link, self.other = (folder / name for name in ("one", "link", "other"))
        for path in (self.one, self.other):
            path.write_bytes(bytes(SIZE))
        os.link(self.one, self.link)
        (folder / "symlink").symlink_to(self.one)
        self.symlink = folder / "symlink"
        self.shared = shared_memory.SharedMemory(create=True, size=SIZE)
        # Objects that no array keeps alive.
        self.opened: list[Any] = []

    def of_shared_memory(self) -> np.ndarray:
        shared = shared_memory.SharedMemory(self.shared.name)
        self.opened.append(shared)
        return np.frombuffer(shared.buf, np.uint8, SIZE)

    def of_shm_path(self) -> np.ndarray:
        path = f"/dev/shm/{self.shared.name.removeprefix('/')}"
        return mapcall.memmap(path, mode="r+", shape=SIZE)

    def of_mmap(self, path: Path, access: int = mmap.ACCESS_WRITE) -> np.ndarray:
        with path.open("r+b") as file:
            return np.frombuffer(mmap.mmap(file.fileno(), SIZE, access=access), np.uint8)

    def ways(self) -> dict[str, tuple[str, bool, Callable[[], np.ndarray]]]:
        """Returns by name: the file, whether writes reach it, and a function that opens it."""
        own, numpys = mapcall.memmap, np.memmap
        return {
            "mapcall": ("one", True, lambda: own(self.one, mode="r+")),
            "mapcall, by a link": ("one", True, lambda: own(self.link, mode="r+")),
            "mapcall, by a symlink": ("one", True, lambda: own(self.symlink, mode="r+")),
            "mapcall, from an offset": (
                "one",
                True,
                lambda: own(self.one, mode="r+", offset=24),
            ),
            "mapcall, as an ndarray": ("one", True, lambda: np.asarray(own(self.one, mode="r+"))),
            "mapcall, copy-on-write": ("one", False, lambda: own(self.one, mode="c")),
            "numpy": ("one", True, lambda: numpys(self.one, mode="r+")),
            "numpy, copy-on-write": ("one", False, lambda: numpys(self.link, mode="c")),
            "mmap": ("one", True, lambda: self.of_mmap(self.one)),
            "mmap, copy-on-write": ("one", False, lambda: self.of_mmap(self.one, mmap.ACCESS_COPY)),
            "another file": ("other", True, lambda: own(self.other, mode="r+")),
            "another file, numpy": ("other", True, lambda: numpys(self.other, mode="r+")),
            "shared memory": ("shared", True, self.of_shared_memory),
            "shared memory, by its path": ("shared", True, self.of_shm_path),
            "memory": ("none", True, lambda: np.zeros(SIZE, np.uint8)),
        }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    files = Files(tmp_path_factory.mktemp("maps"))
    yield files
    for shared in files.opened:
        # Arrays may still exist, whose memory must stay.
        shared._mmap = shared._buf = None
        shared.close()
    files.shared.close()
    files.shared.unlink()


WAYS = [
    "mapcall",
    "mapcall, by a link",
    "mapcall, by a symlink",
    "mapcall, from an offset",
    "mapcall, as an ndarray",
    "mapcall, copy-on-write",
    "numpy",
    "numpy, copy-on-write",
    "mmap",
    "mmap, copy-on-write",
    "another file",
    "another file, numpy",
    "shared memory",
    "shared memory, by its path",
    "memory",
]


def test_all_ways_are_tried(files: Files) -> None:
    assert list(files.ways()) == WAYS


class Opened:
    """An array of numbers opened in one of the ways, and the index of each number in the file."""

    def __init__(self, files: Files, way: str) -> None:
        self.file, self.is_shared, make = files.ways()[way]
        whole = make()
        skipped = 3 if whole.size < SIZE else 0
        self.numbers = whole.view("f8")
        self.indices = np.arange(skipped, LENGTH)
        self.numbers[...] = self.indices + 1.0

    def part(self, start: int, stop: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        part = slice(start, stop, step)
        return self.numbers[part], self.indices[part]


def has_common(x: Opened, y: Opened, x_indices: np.ndarray, y_indices: np.ndarray) -> bool:
    """Returns whether writing to y can change the numbers of x, which is opened in another way."""
    is_one = x.file == y.file != "none"
    return is_one and y.is_shared and bool(np.intersect1d(x_indices, y_indices).size)


parts = st.tuples(
    st.integers(0, LENGTH - 4), st.integers(2, 12), st.sampled_from([1, 1, 1, 2, 3, -1, -2])
)


def slices(x: tuple[int, int, int], y: tuple[int, int, int], length: int) -> list[tuple[int, ...]]:
    """Returns two slices of the same number of items, at most `length`."""
    shown = [np.arange(LENGTH - 3)[start::step] for start, _, step in (x, y)]
    length = min(length, *(part.size for part in shown))
    return [
        (start, None if (stop := start + step * length) < 0 else stop, step)  # type: ignore[misc]
        for start, _, step in (x, y)
    ]


quickly = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class TestAgainstCopies:
    @quickly
    @given(st.sampled_from(WAYS), st.sampled_from(WAYS), parts, parts, st.integers(0, 2))
    def test_a_batch(
        self,
        c: counted.Counted,
        files: Files,
        x_way: str,
        y_way: str,
        x_part: tuple[int, int, int],
        y_part: tuple[int, int, int],
        threads: int,
    ) -> None:
        twice = c.function(TWICE)
        x_whole, y_whole = Opened(files, x_way), Opened(files, y_way)
        x_slice, y_slice = slices(x_part, y_part, x_part[1])
        (x, x_indices), (y, y_indices) = x_whole.part(*x_slice), y_whole.part(*y_slice)
        expected = 2 * x
        clashes = has_common(x_whole, y_whole, x_indices, y_indices)
        is_in_place = np.array_equal(x_indices, y_indices)
        before = c.called
        if clashes and not is_in_place:
            with pytest.raises(mapcall.ArgumentError, match="memory that it shares with x"):
                twice(x, out=y, threads=threads)
            assert c.called == before
        else:
            twice(x, out=y, threads=threads)
            assert np.array_equal(y, expected)

    @quickly
    @given(st.sampled_from(WAYS), st.sampled_from(WAYS), parts, parts)
    def test_restrict(
        self,
        c: counted.Counted,
        files: Files,
        x_way: str,
        y_way: str,
        x_part: tuple[int, int, int],
        y_part: tuple[int, int, int],
    ) -> None:
        add = c.function(ADD)
        x_whole, y_whole = Opened(files, x_way), Opened(files, y_way)
        x_slice, y_slice = slices((*x_part[:2], 1), (*y_part[:2], 1), x_part[1])
        (x, x_indices), (y, y_indices) = x_whole.part(*x_slice), y_whole.part(*y_slice)
        expected = x + y
        clashes = has_common(x_whole, y_whole, x_indices, y_indices)
        if clashes:
            before = c.called
            for call in (add, add.unchecked, lambda *given: add(*given, n=given[0].size)):
                with pytest.raises(mapcall.ArgumentError, match=r"restrict.*shares with y"):
                    call(x, y)
            assert c.called == before
        else:
            add(x, y)
            assert np.array_equal(y, expected)


def test_the_remedy_works(c: counted.Counted, files: Files) -> None:
    x, y = Opened(files, "mapcall").numbers, Opened(files, "numpy").numbers
    with pytest.raises(mapcall.ArgumentError, match=r"pass x\.copy\(\)|pass y\.copy\(\)"):
        c.function(ADD)(x, y)
    c.function(ADD)(x.copy(), y)
    with pytest.raises(mapcall.ArgumentError, match=r"pass x\.copy"):
        c.function(TWICE)(x[:-1], out=y[1:])
    assert np.array_equal(c.function(TWICE)(x[:-1].copy(), out=y[1:]), y[1:])


def test_read_only_maps(c: counted.Counted, files: Files) -> None:
    """Read-only maps of the same file have the bytes that another map writes."""
    written = Opened(files, "mapcall")
    for read in (mapcall.memmap(files.one, "f8", "r"), np.memmap(files.link, "f8", "r")):
        with pytest.raises(mapcall.ArgumentError, match="shares with y"):
            c.function(ADD)(read, written.numbers)
        with pytest.raises(mapcall.ArgumentError, match="shares with x"):
            c.function(TWICE)(read[1:], out=written.numbers[:-1])
        c.function(ADD)(read[:5], written.numbers[5:10])
    # The ranges of the file are disjoint.
    dot = c.library.function("double first(const double x[restrict 1], double y[restrict 1])")
    dot(mapcall.memmap(files.one, "f8", "r", shape=1), written.numbers[3:4])


def test_both_written(c: counted.Counted, files: Files) -> None:
    grow = c.function("void grow(double y[restrict 2], double x[2])")
    one, other = Opened(files, "mapcall").numbers, Opened(files, "mmap").numbers
    private, copied = Opened(files, "mapcall, copy-on-write"), Opened(files, "mmap, copy-on-write")
    for y, x in [(one[:2], other[1:3]), (one[:2], private.numbers[:2]), (copied.numbers[:2], one)]:
        before = c.called
        with pytest.raises(mapcall.ArgumentError, match="shares with"):
            grow(y, x[:2])
        assert c.called == before
    # Neither of the arrays has the values that are written to the other.
    y, x = private.numbers[:2], copied.numbers[:2]
    y[:], x[:] = (1, 2), (10, 20)
    grow(y, x)
    assert (y.tolist(), x.tolist()) == ([21, 2], [2, 20])


def test_a_mask(c: counted.Counted, files: Files) -> None:
    x = np.arange(8.0)
    written = Opened(files, "mapcall").numbers[:8]
    mask = np.frombuffer(files.of_mmap(files.one), "?")[:8]
    with pytest.raises(mapcall.ArgumentError, match="shares with where"):
        c.function(TWICE)(x, out=written, where=mask)
    other = Opened(files, "another file").numbers[:8]
    c.function(TWICE)(x, out=other, where=mask)


def test_two_outputs(c: counted.Counted, files: Files) -> None:
    one, other = Opened(files, "mapcall"), Opened(files, "shared memory")
    add = c.function(ADD)
    x = np.ones((3, 2))
    # The `y` of each call is no call's `x`.
    y = one.numbers[:6].reshape(3, 2)
    add(x, y)
    shifted = Opened(files, "mapcall, by a link").numbers[1:7].reshape(3, 2)
    with pytest.raises(mapcall.ArgumentError, match="shares with"):
        add(shifted, y)
    add(other.numbers[:6].reshape(3, 2), y)


@pytest.mark.parametrize("way", ["mapcall", "numpy"])
@pytest.mark.parametrize("name", ["x.npy", "link.npy", "symlink.npy"])
def test_two_outputs_in_one_file(c: counted.Counted, tmp_path: Path, way: str, name: str) -> None:
    """A file that is written through a map isn't replaced by another output."""
    np.save(tmp_path / "x.npy", np.zeros((3, 1)))
    os.link(tmp_path / "x.npy", tmp_path / "link.npy")
    (tmp_path / "symlink.npy").symlink_to("x.npy")
    open_map = mapcall.open if way == "mapcall" else np.load
    y = open_map(tmp_path / "x.npy", "r+")
    first = c.function("double first(const double x[restrict 1], double y[restrict 1])")
    x = np.arange(3.0).reshape(3, 1)
    before = c.called
    with pytest.raises(mapcall.ArgumentError, match=r"in a file of its own, got .*, where y goes"):
        first(x, y, out=tmp_path / name)
    assert c.called == before
    result = first(x, y, out=tmp_path / "new.npy")
    assert result.tolist() == y[:, 0].tolist() == [0, 1, 2]


def test_arrays_of_other_libraries(c: counted.Counted, files: Files) -> None:
    written = Opened(files, "mapcall").numbers
    view = memoryview(files.of_mmap(files.one).view("f8"))
    with pytest.raises(mapcall.ArgumentError, match="shares with y"):
        c.function(ADD)(view, written)
    torch = pytest.importorskip("torch", reason="torch is not installed")
    tensor = torch.from_file(str(files.one), shared=True, size=LENGTH, dtype=torch.float64)
    with pytest.raises(mapcall.ArgumentError, match="shares with y"):
        c.function(ADD)(tensor, written)
    c.function(ADD)(tensor[:3], written[3:6])


def test_pointers_without_an_extent(c: counted.Counted, files: Files) -> None:
    one, other = Opened(files, "mapcall").numbers, Opened(files, "numpy").numbers
    for prototype in (
        "double first(const double *restrict x, double *restrict y)",
        "double first(const double x[restrict], double y[])",
    ):
        first = c.function(prototype).unchecked
        for x, y in [(one, other), (one[::2], other[2::2]), (one[:1], one[:2])]:
            with pytest.raises(mapcall.ArgumentError, match="shares with y"):
                first(x, y)
        assert first(one[::2], other[1::2]) == one[0] == other[1]
        assert first(one, np.zeros(1)) == one[0]
