"""Maps that meet Dask anyway: their names, and the bytes that travel."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import distributed.protocol
import joblib
import numpy as np
import pytest
import xarray
from dask.sizeof import sizeof
from dask.tokenize import tokenize
from distributed import Client, get_worker
from distributed.spill import SpillBuffer

import clusters
import mapcall

RECORD = np.dtype([("time", "<f8"), ("id", ">u2")])
# What a task and its result take in messages, and a few heartbeats; see `clusters.traffic`.
SMALL = 1 << 16
VIEWS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda x: x,
    "slice": lambda x: x[1:-1],
    "steps": lambda x: x[::3],
    "reversed": lambda x: x[::-1],
    "column": lambda x: x.reshape(-1, 8)[:, 3],
    "transposed": lambda x: x.reshape(-1, 8).T,
    "repeated": lambda x: np.broadcast_to(x, (3, x.size), subok=True),
    "bytes": lambda x: x.view("u1"),
    "records": lambda x: x.view("u1")[: x.size * 8 // 10 * 10].view(RECORD),
    "field": lambda x: x.view("u1")[: x.size * 8 // 10 * 10].view(RECORD)["id"],
    "nothing": lambda x: x[:0],
    "one": lambda x: x[3:4].reshape(()),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(bytes(24) + np.arange(1600, dtype="f8").tobytes())
    return made


def sparse(folder: Path, size: int) -> Path:
    made = folder / f"{size}"
    with made.open("wb") as file:
        file.truncate(size)
    return made


class TestNames:
    SCRIPT = """
        import sys
        {imports}
        path = sys.argv[1]
        x, y = (mapcall.memmap(path, dtype, "r") for dtype in ("f4", "i4"))
        arrays = [x, y, x.reshape(2, -1), x[1:], x[1:].view("i4")]
        names = [tokenize(array) for array in arrays]
        assert len(set(names)) == len(names), names
        assert names == [tokenize(array) for array in arrays]
        assert tokenize(x) == tokenize(mapcall.memmap(path, "f4", "r"))
        assert from_array(x).name != from_array(y).name
        class Sub(mapcall.memmap):
            pass
        assert tokenize(Sub(path, "f4", "r")) != tokenize(Sub(path, "i4", "r"))
        print(*names)
    """
    DASK = "from dask.array import from_array; from dask.base import tokenize"

    def test_in_every_process(self, path: Path) -> None:
        """The names are those of every process, whatever is imported first."""
        printed = set()
        for imports in (f"import mapcall; {self.DASK}", f"{self.DASK}; import mapcall"):
            script = textwrap.dedent(self.SCRIPT).format(imports=imports)
            # Warnings are not errors here: they are Dask's.
            command = [sys.executable, "-c", script, path]
            printed.add(subprocess.run(command, check=True, timeout=60, capture_output=True).stdout)
        x = mapcall.memmap(path, "f4", "r")
        (names,) = printed
        assert names.split()[:1] == [tokenize(x).encode()]

    @pytest.mark.parametrize("mode", ["r", "r+", "c"])
    def test_different_arrays(self, path: Path, mode: str) -> None:
        dtypes = [
            "f8",
            ">f8",
            "i8",
            "M8[s]",
            [("a", "f8")],
            [("b", "f8")],
            [("a", "f4"), ("b", "f4")],
        ]
        arrays = [mapcall.memmap(path, dtype, mode, 24) for dtype in dtypes]
        x = arrays[0]
        arrays += [view(x) for view in VIEWS.values()][1:]
        # Arrays of the same bytes: Dask's own names of these two are the same.
        square = x[:9].reshape(3, 3)
        arrays += [square, square.T]
        names = [tokenize(array) for array in arrays]
        assert len(set(names)) == len(names)

    def test_files_of_one_content(self, path: Path) -> None:
        other = path.with_name("other")
        other.write_bytes(path.read_bytes())
        for mode in ("r", "r+", "c"):
            one, two = (mapcall.memmap(each, "f8", mode) for each in (path, other))
            # A function that writes to each must be called for each.
            assert tokenize(one) != tokenize(two)
            # Copies are plain values.
            assert tokenize(one.copy()) == tokenize(two.copy())

    def test_a_file_that_was_replaced(self, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "r")
        name = tokenize(x)
        other = path.with_name("other")
        other.write_bytes(path.read_bytes())
        os.replace(other, path)
        assert tokenize(mapcall.memmap(path, "f8", "r")) != name
        # The mapped file has no name any more: its array is named by content.
        assert tokenize(x) not in (name, tokenize(mapcall.memmap(path, "f8", "r")))

    def test_a_file_that_was_written(self, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "r")
        name = tokenize(x)
        os.utime(path, ns=(0, 0))
        assert tokenize(x) != name

    def test_writes_through_the_map(self, path: Path) -> None:
        """The modification time of the file need not change then."""
        x = mapcall.memmap(path, "f8", "r+")
        names = [tokenize(x)]
        for value in range(1, 6):
            x[3] = value
            names.append(tokenize(x))
            assert tokenize(x) == tokenize(mapcall.memmap(path, "f8", "r+"))
        assert len(set(names)) == 6
        x[3] = 1
        assert tokenize(x) == names[1]

    def test_changes_of_a_private_map(self, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "c")
        name = tokenize(x)
        x[3] = 9
        changed = tokenize(x)
        x[3] = 10
        assert len({name, changed, tokenize(x)}) == 3

    def test_trusted_files(self, path: Path) -> None:
        """A pickle that ignores the fingerprint has a name that does not."""
        x = mapcall.memmap(path, "f8", "r")
        with mapcall.trust_files():
            assert tokenize(x) == tokenize(mapcall.memmap(path, "f8", "r"))
            name = tokenize(x)
            os.utime(path, ns=(0, 0))
            assert tokenize(x) != name

    def test_attributes(self, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "r")
        name = tokenize(x)
        x.rate = 44100
        assert tokenize(x) != name

    def test_no_byte_is_read(self, tmp_path: Path) -> None:
        x = mapcall.memmap(sparse(tmp_path, 1 << 42), "f8", "r")
        assert tokenize(x[1:]) != tokenize(x[:-1])
        assert not x[:1000].residency().any()


class TestSerialization:
    @pytest.mark.parametrize("mode", ["r", "r+", "c"])
    @pytest.mark.parametrize("name", VIEWS)
    def test_frames_are_small(self, path: Path, mode: str, name: str) -> None:
        view = VIEWS[name](mapcall.memmap(path, "f8", mode, 24))
        header, frames = distributed.protocol.serialize(view, on_error="raise")
        assert header["serializer"] == "dask"
        assert sum(len(frame) for frame in frames) < 1000
        again = distributed.protocol.deserialize(header, frames)
        assert type(again) is mapcall.memmap
        np.testing.assert_array_equal(again, view)
        assert (again.dtype, again.strides) == (view.dtype, view.strides)
        assert again.flags.writeable == view.flags.writeable
        assert again.file_offset == view.file_offset
        assert sizeof(view) < 1000

    def test_what_has_no_file_is_sent(self, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "c", 24)
        x[0] = 7
        removed = mapcall.memmap(path.with_name("removed"), "f8", "w+", shape=100)
        removed[:] = 5
        (path.parent / "removed").unlink()
        for array in (x[:100], x[:100].copy(), removed, removed[::-2]):
            header, frames = distributed.protocol.serialize(array, on_error="raise")
            assert sum(memoryview(frame).nbytes for frame in frames) == array.nbytes
            again = distributed.protocol.deserialize(header, [bytearray(each) for each in frames])
            assert type(again) is mapcall.memmap
            assert again.filename is None
            np.testing.assert_array_equal(again, array)
            assert sizeof(array) >= array.nbytes

    def test_attributes_and_classes(self, path: Path) -> None:
        class Sub(mapcall.memmap):
            pass

        for array in (
            mapcall.memmap(path, "f8", "r"),
            Sub(path, "f8", "r"),
            Sub(path, "f8").copy(),
        ):
            array.rate = 44100
            again = distributed.protocol.deserialize(*distributed.protocol.serialize(array))
            assert type(again) is type(array)
            assert again.rate == 44100
            np.testing.assert_array_equal(again, array)

    def test_a_file_that_has_changed(self, path: Path) -> None:
        header, frames = distributed.protocol.serialize(mapcall.memmap(path, "f8", "r"))
        os.utime(path, ns=(0, 0))
        with pytest.raises(mapcall.ChangedFileError, match="modification time"):
            distributed.protocol.deserialize(header, frames)

    def test_spilling(self, tmp_path: Path) -> None:
        """Values that a worker moves to its disk, as its memory is short."""
        held = SpillBuffer(str(tmp_path / "spilled"), target=1 << 20)
        x = mapcall.memmap(sparse(tmp_path, 1 << 30), "f8", "r+")
        for name, view in VIEWS.items():
            if name not in ("records", "field", "repeated"):
                held[name] = view(x)
        x[8] = 3
        while held.fast:
            assert held.evict() != -1
        assert held.spilled_total.disk < 10000
        assert sum(file.stat().st_size for file in (tmp_path / "spilled").iterdir()) < 10000
        for name in list(held.slow):
            np.testing.assert_array_equal(held[name].flat[:20], VIEWS[name](x).flat[:20])


def seen(x: Any) -> tuple[type, float, bool]:
    return type(x), float(np.sum(x[:100], dtype="f8")), x.flags.writeable


def seen_by(x: Any, other: Any) -> tuple[Any, ...]:
    assert type(other) is type(x)
    return get_worker().address, *seen(x)


def part(x: Any) -> Any:
    return x[1::2]


class TestCluster:
    """The bytes through the scheduler and between workers do not grow with the data."""

    @pytest.mark.parametrize("size", [1 << 20, 1 << 30])
    @pytest.mark.parametrize("mode", ["r", "r+"])
    def test_bytes(self, client: Client, tmp_path: Path, size: int, mode: str) -> None:
        if mode == "r+":
            # Their names need their content.
            size >>= 4
        one, other = clusters.processes(client)
        x = mapcall.memmap(sparse(tmp_path, size), "f8", mode)
        expected = (mapcall.memmap, 0.0, mode == "r+")
        kept = []

        def scattered(data: Any, **options: Any) -> Any:
            """Keeps it: Dask may release one of the same name later than it takes this one."""
            kept.append(client.scatter(data, **options))
            return kept[-1]

        tasks: dict[str, Callable[[], Any]] = {
            "submit": lambda: client.submit(seen, x),
            "map": lambda: client.map(seen, [x])[0],
            "nested": lambda: client.submit(lambda given: seen(given["x"][0]), {"x": [x, 1]}),
            "keyword": lambda: client.submit(lambda x: seen(x), x=x[::3]),
            "scatter": lambda: client.submit(seen, scattered(x)),
            "scatter to all": lambda: client.submit(seen, scattered(x, broadcast=True)),
            "scatter a list": lambda: client.submit(seen, scattered([x[1:]])[0]),
            "delayed": lambda: client.compute(dask.delayed(seen)(x)),
            "delayed itself": lambda: client.compute(dask.delayed(seen)(dask.delayed(x))),
            "between workers": lambda: client.submit(
                seen, client.submit(part, x, workers=[one]), workers=[other]
            ),
        }
        for name, task in tasks.items():
            with clusters.traffic(client) as sent:
                assert task().result() == expected, name
            assert sent.scheduler + sent.workers < SMALL, name
        with clusters.traffic(client) as sent:
            result = client.submit(part, x[5:]).result()
        assert sent.scheduler + sent.workers < SMALL
        assert (type(result), result.file_offset) == (mapcall.memmap, 48)

    def test_writes_of_tasks(self, client: Client, path: Path) -> None:
        """They reach the file, and a task that is submitted again finds another content."""

        def increment(x: Any) -> float:
            x += 1
            return float(x[0])

        x = mapcall.memmap(path, "f8", "r+", 24)
        futures = []
        for expected in (1, 2, 3):
            futures.append(client.submit(increment, x))
            assert futures[-1].result() == x[0] == expected
        # The task has written, and its result does not tell: the same name is the same result.
        assert len({future.key for future in futures}) == 3

    def test_from_array_copies(self, client: Client, path: Path) -> None:
        """Dask copies anything array-like before it looks further; `to_dask` is the remedy."""
        x = mapcall.memmap(path, "f8", "r", 24)
        made = da.from_array(x, chunks=400)
        (held,) = (value for value in dict(made.dask).values() if isinstance(value, np.ndarray))
        assert not np.shares_memory(held, x)
        assert made.sum().compute() == x.sum()

    def test_xarray(self, client: Client, tmp_path: Path) -> None:
        """What holds a map is sent with the reference, too, and named by it."""
        x = mapcall.memmap(sparse(tmp_path, 1 << 30), "f8", "r").reshape(-1, 1024)
        table = xarray.Dataset({"a": (("time", "at"), x), "b": ("time", x[:, 3])})
        assert tokenize(table) == tokenize(table.copy())
        assert tokenize(table) != tokenize(table.assign(b=("time", x[:, 4])))
        with clusters.traffic(client) as sent:
            kind, total, _ = client.submit(lambda given: seen(given["b"].data), table).result()
        assert (kind, total) == (mapcall.memmap, 0.0)
        assert sent.scheduler + sent.workers < SMALL

    def test_joblib(self, client: Client, tmp_path: Path) -> None:
        """Plain views, too: joblib makes them of its arguments for Dask's workers."""
        x = mapcall.memmap(sparse(tmp_path, 1 << 30), "f8", "r+")
        x[1000] = 7
        plain = np.asarray(x)
        workers = set(clusters.processes(client))
        for part in (x, plain, plain[::-1], plain[5:].reshape(-1, 3).T):
            with clusters.traffic(client) as sent, joblib.parallel_config("dask"):
                found = joblib.Parallel(2)(
                    joblib.delayed(seen_by)(part, other=part[2:]) for _ in range(3)
                )
            for worker, *seen_there in found:
                assert worker in workers
                assert seen_there == [mapcall.memmap, float(np.sum(part[:100])), True]
            assert sent.scheduler + sent.workers < SMALL

    def test_joblib_and_changes_of_a_private_map(self, client: Client, path: Path) -> None:
        x = mapcall.memmap(path, "f8", "c", 24)
        x[5] = 77
        with joblib.parallel_config("dask"):
            found = joblib.Parallel(2)(
                joblib.delayed(np.array)(part) for part in (x, np.asarray(x))
            )
        for each in found:
            np.testing.assert_array_equal(each, x)
