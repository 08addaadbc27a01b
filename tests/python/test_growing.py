"""Maps that grow, are cut, and follow files that others change."""

from __future__ import annotations

import mmap
import os
import pickle
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
Case = tuple[str, str, int]


def made(folder: Path, kind: str, order: str, reserve: int, rows: int = 4) -> Any:
    """Makes a file of `rows` rows of 3, counted from 0, and maps it."""
    content = counted(0, rows, order)
    path = folder / f"x.{kind}"
    if kind == "npy":
        np.save(path, content)
        return mapcall.open(path, "r+", reserve=reserve)
    content.T.tofile(path) if order == "F" else content.tofile(path)
    form: Any = order
    return mapcall.memmap(path, "f8", "r+", 0, content.shape, form, reserve=reserve)


def counted(start: int, rows: int, order: str) -> Any:
    content = np.arange(3.0 * start, 3.0 * (start + rows)).reshape(rows, 3)
    return np.asfortranarray(content.T) if order == "F" else content


def read(x: Any, order: str) -> Any:
    """Returns what the file has, read by NumPy."""
    if x.filename.suffix == ".npy":
        return np.load(x.filename)
    found = np.fromfile(x.filename, "f8").reshape(-1, 3)
    return found.T if order == "F" else found


@pytest.fixture(
    params=[(k, o, r) for k in ("npy", "raw") for o in "CF" for r in (0, 10**6)], ids=str
)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def test_grow_and_append(tmp_path: Path, case: Case) -> None:
    _, order, reserve = case
    x = made(tmp_path, *case)
    view, plain = x[1:], np.asarray(x)
    grown = x.grow(6)
    assert type(grown) is mapcall.memmap
    axis = 1 if order == "F" else 0
    assert (grown.shape[axis], x.shape[axis]) == (6, 4)
    expected = np.concatenate([counted(0, 4, order), 0 * counted(0, 2, order)], axis)
    np.testing.assert_array_equal(grown, expected)
    longer = grown.append(counted(6, 10000, order))
    assert longer.shape[axis] == 10006
    expected = np.concatenate([expected, counted(6, 10000, order)], axis)
    np.testing.assert_array_equal(longer, expected)
    np.testing.assert_array_equal(read(x, order), expected)
    # One row.
    longer = longer.append([7, 8, 9])
    assert np.take(longer, -1, axis).tolist() == [7, 8, 9]
    # The older arrays are valid, and share the file.
    longer[:] = 5
    for each in (x, view, plain, grown):
        assert (each == 5).all()
    assert (longer.ctypes.data == x.ctypes.data) == bool(reserve)
    assert (longer._mmap is x._mmap) == bool(reserve)
    assert pickle.loads(pickle.dumps(longer)).shape == longer.shape
    longer.flush()


def test_an_older_array_follows_the_file(tmp_path: Path, case: Case) -> None:
    _, order, _ = case
    x = made(tmp_path, *case)
    x.append(counted(4, 2, order))
    longer = x.append(counted(6, 1, order))
    np.testing.assert_array_equal(longer, counted(0, 7, order))
    np.testing.assert_array_equal(x.refresh(), longer)


def test_truncate(tmp_path: Path, case: Case) -> None:
    _, order, _ = case
    x = made(tmp_path, *case, rows=5000)
    plain = np.asarray(x)
    shorter = x.truncate(10)
    np.testing.assert_array_equal(shorter, counted(0, 10, order))
    np.testing.assert_array_equal(read(x, order), counted(0, 10, order))
    for each in (x, plain):
        for _ in range(2):
            with pytest.raises(mapcall.MapFault) as caught:
                each.sum()
            assert caught.value.reason == "truncated"
    np.testing.assert_array_equal(shorter, counted(0, 10, order))
    # The pages have no access in the old map, so that a longer array is on a new one.
    longer = shorter.grow(5000)
    assert longer.sum() == counted(0, 10, order).sum()
    with pytest.raises(mapcall.MapFault):
        plain.sum()


def test_refresh(tmp_path: Path, case: Case) -> None:
    kind, order, reserve = case
    writer = made(tmp_path, *case)
    form: Any = order
    if kind == "npy":
        reader = mapcall.open(writer.filename, reserve=reserve)
    else:
        shape = writer.shape
        reader = mapcall.memmap(writer.filename, "f8", "r", 0, shape, form, reserve=reserve)
    assert reader.refresh() is reader
    writer = writer.append(counted(4, 3000, order))
    longer = reader.refresh()
    np.testing.assert_array_equal(longer, counted(0, 3004, order))
    assert (longer.ctypes.data == reader.ctypes.data) == bool(reserve)
    assert not longer.flags.writeable
    assert longer.refresh() is longer
    writer.truncate(3)
    shorter = longer.refresh()
    np.testing.assert_array_equal(shorter, counted(0, 3, order))
    assert shorter.ctypes.data == longer.ctypes.data


@pytest.mark.parametrize("mode", ["r", "c"])
def test_refresh_after_a_fault(tmp_path: Path, mode: Any) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.arange(10000.0))
    x = mapcall.open(path, mode)
    content = path.read_bytes()
    os.truncate(path, mmap.PAGESIZE)
    with pytest.raises(mapcall.MapFault):
        x.sum()
    with pytest.raises(mapcall.FormatError):
        x.refresh()
    path.write_bytes(content)
    with pytest.raises(mapcall.MapFault):
        x.sum()
    assert x.refresh().sum() == np.arange(10000.0).sum()


def test_refresh_of_a_copy_on_write_map(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros(4))
    x = mapcall.open(path, "c", reserve=1000)
    x[0] = 5
    mapcall.append(path, [1.0, 2.0])
    longer = x.refresh()
    assert (longer.tolist(), x.tolist()) == ([0, 0, 0, 0, 1, 2], [5, 0, 0, 0])
    longer[:] = 3
    assert np.load(path).tolist() == [0, 0, 0, 0, 1, 2]


@pytest.mark.parametrize("kind", ["npy", "raw"])
def test_refusals_leave_the_file(tmp_path: Path, kind: str, unchanged: Unchanged) -> None:
    x = made(tmp_path, kind, "C", 0)
    offset = x.file_offset
    read_only = mapcall.memmap(x.filename, "f8", "r", offset, (4, 3))
    with open(bytes(x.filename), "r+b") as file:
        unnamed = mapcall.memmap(file, "f8", "r+", offset, (4, 3))
    refused: list[tuple[Any, Any, str]] = [
        (lambda: x.grow(3), ValueError, "at least 4 rows.*truncate"),
        (lambda: x.truncate(5), ValueError, "at most 4 rows.*grow"),
        (lambda: x.grow(-1), OverflowError, "negative"),
        (lambda: x.grow(1 << 62), (ValueError, OSError), "."),
        (lambda: x[1:].grow(9), ValueError, "whole array"),
        (lambda: x[:, ::-1].append([1, 2, 3]), ValueError, "whole array"),
        (lambda: x[::2].refresh(), ValueError, "whole array"),
        (lambda: x.append([1, 2]), ValueError, "shape"),
        (lambda: x.append(["a", "b", "c"]), TypeError, "dtype"),
        (lambda: x.append(np.ones((2, 3), "c16")), TypeError, "astype"),
        (lambda: x.copy().grow(9), ValueError, "no part of a map"),
        (lambda: read_only.grow(9), ValueError, r"mode r\+"),
        (lambda: read_only.truncate(1), ValueError, r"mode r\+"),
        (lambda: unnamed.grow(9), ValueError, "by its path"),
    ]
    with unchanged(tmp_path):
        for call, error, message in refused:
            with pytest.raises(error, match=message):
                call()
    x.close()
    with pytest.raises(ValueError, match="closed"):
        x.grow(9)
    with pytest.raises(ValueError, match="closed"):
        x.refresh()


def test_a_replaced_file(tmp_path: Path, unchanged: Unchanged) -> None:
    x = made(tmp_path, "npy", "C", 0)
    os.replace(x.filename, tmp_path / "old")
    np.save(x.filename, np.ones((9, 3)))
    with unchanged(tmp_path):
        for call in (lambda: x.grow(9), lambda: x.append([1, 2, 3]), x.refresh):
            with pytest.raises(ValueError, match="another file has the path"):
                call()


def test_a_member_of_an_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.ones(3))
    x = mapcall.open(tmp_path / "x.npz", "c")
    for call in (lambda: x.grow(9), x.refresh):
        with pytest.raises(ValueError, match="npz"):
            call()


def test_no_room_in_the_header(tmp_path: Path, unchanged: Unchanged) -> None:
    path = tmp_path / "x.npy"
    # A header of a writer that leaves no room but the digit of the length.
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (4, 3), }\n"
    header = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    path.write_bytes(header + np.zeros((4, 3)).tobytes())
    x = mapcall.open(path, "r+")
    with unchanged(tmp_path), pytest.raises(mapcall.FormatError, match="room"):
        x.grow(10**9)


def test_another_appender(tmp_path: Path) -> None:
    x = made(tmp_path, "npy", "C", 0)
    with mapcall.Appender(x.filename) as log:
        with pytest.raises(BlockingIOError):
            x.append([1, 2, 3])
        log.append([1, 2, 3])
    assert x.refresh().append([4, 5, 6]).shape == (6, 3)


def test_offset_and_dtype_of_a_raw_file(tmp_path: Path) -> None:
    path = tmp_path / "x.raw"
    path.write_bytes(b"header" + np.arange(5, dtype="i2").tobytes())
    x = mapcall.memmap(path, "i2", "r+", offset=6, reserve=100)
    x = x.append(np.array([5, 6], "i2"))
    assert (x.tolist(), x.offset, x.file_offset) == ([0, 1, 2, 3, 4, 5, 6], 6, 6)
    assert path.read_bytes() == b"header" + np.arange(7, dtype="i2").tobytes()
    # An incomplete row of another writer does not count, and is overwritten.
    with path.open("ab") as file:
        file.write(b"?")
    assert x.refresh().size == 7
    assert x.append(np.array([7], "i2")).tolist() == list(range(8))
    with path.open("ab") as file:
        file.write(b"?")
    assert x.grow(10).tolist() == [*range(8), 0, 0]
    record = np.dtype([("a", "i1"), ("b", "<f8")])
    y = mapcall.memmap(tmp_path / "y.raw", record, "w+", shape=2)
    y = y.append(np.array([(1, 2.5)], record))
    assert y[2].tolist() == (1, 2.5)


def test_sync(tmp_path: Path) -> None:
    x = made(tmp_path, "npy", "C", 10)
    x = x.grow(5, sync=True).append([1, 2, 3], sync=True).truncate(2, sync=True)
    assert np.load(x.filename).shape == (2, 3)


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from("gatr"), st.integers(0, 700)), max_size=12),
    reserve=st.sampled_from([0, 5, 500, 10**6]),
    kind=st.sampled_from(["npy", "raw"]),
    order=st.sampled_from("CF"),
)
def test_any_sequence(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, int]],
    reserve: int,
    kind: str,
    order: str,
) -> None:
    folder = tmp_path_factory.mktemp("growing")
    x = made(folder, kind, order, reserve)
    axis = 1 if order == "F" else 0
    model = counted(0, 4, order)
    for step, n in steps:
        rows = model.shape[axis]
        if step == "g":
            more = max(n - rows, 0)
            x = x.grow(rows + more)
            model = np.concatenate([model, 0 * counted(0, more, order)], axis)
        elif step == "a":
            x = x.append(counted(rows, n, order))
            model = np.concatenate([model, counted(rows, n, order)], axis)
        elif step == "t":
            x = x.truncate(min(n, rows))
            model = np.take(model, range(min(n, rows)), axis)
        else:
            x = x.refresh()
        np.testing.assert_array_equal(x, model)
        if model.size:
            np.testing.assert_array_equal(read(x, order), model)


WRITER = """
import sys, mapcall, numpy as np
with mapcall.Appender(sys.argv[1]) as log:
    for row in range(3000):
        log.append(np.full((1, 100), row))
"""


def test_a_reader_refreshes_while_a_process_appends(tmp_path: Path, run_script: Any) -> None:
    """It sees whole rows, at the same addresses."""
    run_script(
        """
        import subprocess, sys
        import numpy as np, mapcall
        x = mapcall.create(sys.argv[1], (0, 100), "i8", reserve=100_000)
        writer = subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1]])
        first = x.ctypes.data
        while len(x) < 3000:
            assert writer.poll() in (None, 0)
            x = x.refresh()
            assert x.ctypes.data == first
            if len(x):
                assert (x[-1] == len(x) - 1).all()
        assert (x == np.arange(3000)[:, None]).all()
        assert writer.wait() == 0
        """,
        tmp_path / "x.npy",
        WRITER,
    )
