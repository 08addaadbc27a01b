"""Closing maps: the file is given back, and arrays that are alive raise."""

from __future__ import annotations

import copy
import ctypes
import gc
import mmap
import os
import pickle
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall
from long_tests import IS_LONG

PAGE = mmap.PAGESIZE
LENGTH = 4 * PAGE // 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "x.npy"
    np.save(made, np.arange(LENGTH, dtype="f8"))
    return made


def openings(path: Path) -> dict[str, Callable[[], Any]]:
    """Returns every way of having a map, by name."""
    raw = path.with_suffix(".raw")
    np.arange(LENGTH, dtype="f8").tofile(raw)
    archive = path.with_suffix(".npz")
    np.savez(archive, x=np.arange(LENGTH, dtype="f8"))
    return {
        "open r": lambda: mapcall.open(path, "r"),
        "open r+": lambda: mapcall.open(path, "r+"),
        "open c": lambda: mapcall.open(path, "c"),
        "npz": lambda: mapcall.open(archive, "r", member="x"),
        "create": lambda: mapcall.create(path.with_name("new.npy"), (LENGTH,), "f8"),
        "memmap": lambda: mapcall.memmap(raw, "f8", "r+"),
        "memmap w+": lambda: mapcall.memmap(
            path.with_name("new.raw"), "f8", "w+", offset=24, shape=LENGTH
        ),
        "memmap of a file object": lambda: of_file_object(raw),
        "unpickled": lambda: pickle.loads(pickle.dumps(mapcall.open(path, "r"))),
    }


def of_file_object(path: Path) -> Any:
    with open(path, "r+b") as file:
        return mapcall.memmap(file, "f8")


OPENINGS = [
    *("open r", "open r+", "open c", "npz", "create"),
    *("memmap", "memmap w+", "memmap of a file object", "unpickled"),
]


@pytest.fixture(params=OPENINGS)
def opened(request: pytest.FixtureRequest, path: Path) -> Any:
    return openings(path)[request.param]()


def is_mapped(path: object) -> bool:
    inode = str(os.stat(path).st_ino)  # type: ignore[arg-type]
    lines = Path("/proc/self/maps").read_text().splitlines()
    return any(line.split()[4] == inode for line in lines)


def work() -> None:
    """Gives an exception that comes at the next check for signals the time to come."""
    for _ in range(1000):
        pass


def assert_closed(use: Callable[[], object], x: Any, arrives_late: bool = True) -> None:
    """Each of two uses raises `MapFault` once."""

    def once() -> None:
        use()
        if arrives_late:
            work()

    for _ in range(2):
        with pytest.raises(mapcall.MapFault) as caught:
            once()
        assert caught.value.reason == "closed"
        assert caught.value.errno is None
        assert isinstance(caught.value, OSError)
        assert os.fspath(caught.value.filename) == os.fspath(x.filename)
        assert isinstance(caught.value.file_offset, int)
        work()


class TestState:
    def test_closed(self, opened: Any) -> None:
        assert opened.closed is False
        assert opened.close() is None
        assert opened.closed is True
        assert opened._mmap.closed is True

    def test_twice(self, opened: Any) -> None:
        opened.close()
        opened.close()
        opened.close(sync=True)
        opened._mmap.close()
        assert opened.closed

    def test_with(self, opened: Any) -> None:
        with opened as x:
            assert x is opened
            assert not x.closed
            x.sum()
        assert opened.closed

    def test_with_closes_on_an_exception(self, opened: Any) -> None:
        with pytest.raises(ZeroDivisionError), opened:
            raise ZeroDivisionError
        assert opened.closed

    def test_with_of_a_closed_map(self, opened: Any) -> None:
        """As of a closed file."""
        opened.close()
        with pytest.raises((ValueError, mapcall.MapFault)), opened:
            pass

    def test_views_share_it(self, opened: Any) -> None:
        view = opened[3:9]
        view.close()
        assert opened.closed
        assert view.closed
        assert view[:2].closed

    def test_by_its_map(self, opened: Any) -> None:
        opened._mmap.close()
        assert opened.closed
        assert_closed(lambda: opened.sum(), opened, arrives_late=False)

    def test_copies_in_memory_have_nothing_to_close(self, opened: Any) -> None:
        x = opened + 1
        before = x.copy()
        opened.close()
        assert (x == before).all()

    def test_sync_is_by_keyword(self, opened: Any) -> None:
        with pytest.raises(TypeError):
            opened.close(True)
        assert not opened.closed

    def test_metadata_stays(self, opened: Any) -> None:
        facts = ("shape", "dtype", "strides", "filename", "offset", "mode", "nbytes")
        before = [getattr(opened, name) for name in facts]
        opened.close()
        assert [getattr(opened, name) for name in facts] == before

    def test_repr(self, opened: Any) -> None:
        """Shows no element, and says why."""
        opened.close()
        view = opened[2:4]
        for text in (repr(opened), str(opened), repr(view), f"{opened}"):
            assert "closed" in text
        assert "memmap" in repr(opened)
        work()

    def test_empty_and_zero_dimensional_arrays(self, path: Path) -> None:
        np.save(path, np.zeros((0, 3)))
        x = mapcall.open(path)
        x.close()
        assert x.closed
        assert x.sum() == 0
        np.save(path, np.float64(3))
        y = mapcall.open(path)
        y.close()
        assert_closed(lambda: y[()], y, arrives_late=False)

    def test_pickle_and_copy_are_errors(self, opened: Any) -> None:
        view = opened[3:5]
        opened.close()
        for x in (opened, view):
            for make in (pickle.dumps, copy.copy, copy.deepcopy, lambda x: x.copy()):
                with pytest.raises((ValueError, mapcall.MapFault), match="closed"):
                    make(x)
        work()

    def test_flush_of_a_closed_map(self, opened: Any) -> None:
        """As of a closed file."""
        opened.close()
        with pytest.raises((ValueError, mapcall.MapFault), match="closed"):
            opened.flush()

    def test_methods_of_the_map(self, opened: Any) -> None:
        """As CPython's `mmap`: ValueError."""
        opened.close()
        m = opened._mmap
        for use in (
            lambda: m[0],
            lambda: m[0:2],
            lambda: m.read(1),
            lambda: m.find(b"x"),
            lambda: m.size(),
            lambda: m.flush(),
            lambda: memoryview(m),
        ):
            with pytest.raises((ValueError, mapcall.MapFault), match="closed"):
                use()


class TestFile:
    """The file is given back at once, although arrays are alive."""

    def test_no_longer_mapped(self, opened: Any) -> None:
        view = np.asarray(opened)[5:]
        assert is_mapped(opened.filename)
        opened.close()
        assert not is_mapped(opened.filename)
        assert view.shape == (LENGTH - 5,)

    def test_other_maps_of_the_file_stay(self, path: Path) -> None:
        x, y = mapcall.open(path), mapcall.open(path)
        x.close()
        assert not y.closed
        assert y.sum() == LENGTH * (LENGTH - 1) / 2

    def test_unlink(self, path: Path) -> None:
        x = mapcall.open(path, "r+")
        view = x[5:]
        x.close()
        path.unlink()
        assert_closed(lambda: view.sum(), x, arrives_late=False)

    def test_unlink_frees_the_space(self, disk: Path) -> None:
        path = disk / "x.npy"
        np.save(path, np.ones(1 << 18))
        x = mapcall.open(path, "r+")
        x[:] = 2
        keeps = [x, np.asarray(x), memoryview(x)]
        path.unlink()
        used = os.statvfs(disk).f_bfree
        x.close()
        assert (os.statvfs(disk).f_bfree - used) * os.statvfs(disk).f_frsize >= 1 << 21
        del keeps

    def test_rename_over(self, path: Path) -> None:
        x = mapcall.open(path, "r+")
        other = path.with_name("other.npy")
        np.save(other, np.full(LENGTH, 7.0))
        x.close()
        other.rename(path)
        assert (mapcall.open(path) == 7).all()
        assert_closed(lambda: x[0], x, arrives_late=False)

    def test_unmount(self, disk: Path) -> None:
        path = disk / "x.npy"
        np.save(path, np.ones(LENGTH))
        x = mapcall.open(path, "r+")
        view, pointer = np.asarray(x), x.ctypes.data_as(ctypes.c_void_p)
        busy = subprocess.run(["umount", disk], capture_output=True)
        assert busy.returncode != 0
        x.close()
        subprocess.run(["umount", disk], check=True)
        assert_closed(lambda: view.sum(), x)
        assert pointer.value

    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[Path]:
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
        if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("a tmpfs can't be mounted here")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", folder], capture_output=True)

    @pytest.mark.parametrize("sync", [False, True])
    def test_changes_reach_the_file(self, path: Path, sync: bool) -> None:
        x = mapcall.open(path, "r+")
        x[:] = 3
        np.asarray(x)[5] = 4
        x.close(sync=sync)
        found = np.load(path)
        assert found[5] == 4
        assert (np.delete(found, 5) == 3).all()

    def test_sync_writes_to_the_disk(self, path: Path) -> None:
        """After `close(sync=True)`, no page of the file is dirty: dropping them loses nothing."""
        if on_tmpfs(path):
            pytest.skip("a tmpfs has no disk")
        x = mapcall.open(path, "r+")
        x[:] = 3
        x.close(sync=True)
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as again:
                libc = ctypes.CDLL(None, use_errno=True)
                view = np.frombuffer(again, "u1")
                pages = (len(view) + PAGE - 1) // PAGE
                states = (ctypes.c_ubyte * pages)()
                size = ctypes.c_size_t(len(view))
                status = libc.mincore(ctypes.c_void_p(view.ctypes.data), size, states)
                assert status == 0
                resident = sum(state & 1 for state in states)
                del view
        assert resident == 0

    def test_copy_on_write_changes_are_lost(self, path: Path) -> None:
        before = path.read_bytes()
        x = mapcall.open(path, "c")
        x[:] = 3
        x.close(sync=True)
        assert path.read_bytes() == before


def on_tmpfs(path: Path) -> bool:
    output = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True)
    return output.stdout.strip() in ("tmpfs", "overlayfs", "ramfs")


class TestUses:
    """Whatever shows the memory raises at its next use, each time."""

    @pytest.mark.parametrize(
        "use",
        [
            lambda x: x[7],
            lambda x: x.sum(),
            lambda x: x + 1,
            lambda x: -x,
            lambda x: x[[1, 2]],
            lambda x: x[x.size - 1 :].max(),
            lambda x: x.tolist(),
            lambda x: x.astype("f4"),
            lambda x: float(x[3]),
            lambda x: np.sort(x),
        ],
    )
    def test_operations(self, opened: Any, use: Callable[[Any], object]) -> None:
        opened.close()
        assert_closed(lambda: use(opened), opened)

    @pytest.mark.parametrize("mode", ["r+", "c"])
    def test_writes(self, path: Path, mode: str) -> None:
        x = mapcall.open(path, mode)
        before = path.read_bytes()
        x.close()

        def item() -> None:
            x[3] = 4

        def whole() -> None:
            x[:] = 4

        def add() -> None:
            y = x
            y += 1

        for use in (item, whole, add, lambda: x.fill(3)):
            assert_closed(use, x)
        assert path.read_bytes() == before

    def test_slices(self, opened: Any) -> None:
        view, chain = opened[5:20], opened[2:].reshape(-1)[::2]
        opened.close()
        assert_closed(lambda: view.sum(), opened, arrives_late=False)
        assert_closed(lambda: chain[3], opened, arrives_late=False)
        # A slice reads nothing.
        late = opened[4:6]
        assert_closed(lambda: late[1], opened, arrives_late=False)

    def test_plain_views(self, opened: Any) -> None:
        plain = np.asarray(opened)
        other = plain[5:].view("u1")[::3]
        opened.close()
        assert_closed(lambda: plain.sum(), opened)
        assert_closed(lambda: other[7], opened)
        assert_closed(lambda: np.copyto(np.empty(LENGTH), plain), opened)

    def test_memoryviews(self, opened: Any) -> None:
        view = memoryview(opened).cast("B")
        opened.close()
        assert_closed(lambda: view[5], opened)
        assert_closed(lambda: bytes(view[5:900]), opened)
        assert_closed(lambda: bytearray(view), opened)

    def test_memoryview_of_the_map(self, opened: Any) -> None:
        """CPython's `mmap` refuses to close while one is alive; this one does not."""
        view = memoryview(opened._mmap)
        opened._mmap.close()
        assert_closed(lambda: view[5], opened)

    def test_pointers(self, opened: Any) -> None:
        pointer = opened.ctypes.data_as(ctypes.POINTER(ctypes.c_double))
        opened.close()
        assert_closed(lambda: pointer[3], opened)

    def test_addresses_stay_reserved(self, path: Path) -> None:
        """No other memory moves in while an array is alive."""
        x = mapcall.open(path)
        pointer = x.ctypes.data_as(ctypes.c_void_p)
        assert pointer.value is not None
        first = pointer.value
        x.close()
        others = [mmap.mmap(-1, 4 * PAGE) for _ in range(100)]
        maps = [mapcall.open(path) for _ in range(100)]
        for other in [np.frombuffer(each, "u1") for each in others] + maps:
            address = other.ctypes.data
            assert address >= first + 8 * LENGTH or address + other.nbytes <= first
        assert_closed(lambda: x[0], x, arrives_late=False)

    def test_system_calls(self, opened: Any, tmp_path: Path) -> None:
        opened.close()
        with open(tmp_path / "out", "wb", buffering=0) as file:
            with pytest.raises(OSError, match="Bad address"):
                file.write(opened)
            work()

    @pytest.mark.parametrize("module", ["torch", "pyarrow"])
    def test_other_libraries(self, path: Path, module: str) -> None:
        library = pytest.importorskip(module, reason=f"{module} is not installed")
        x = mapcall.open(path, "r+")
        if module == "torch":
            tensor = library.from_numpy(np.asarray(x))
            use = tensor.sum
        else:
            import pyarrow.compute

            array = library.Array.from_buffers(
                library.float64(), LENGTH, [None, library.py_buffer(x)]
            )

            def use() -> object:
                return pyarrow.compute.sum(array)

        x.close()
        assert_closed(use, x)


class TestCalls:
    """Functions refuse closed arrays, and name the parameter."""

    def test_call(self, opened: Any) -> None:
        memcmp = mapcall.load(None).function(
            "int memcmp(const void *first, const void *second, size_t size)"
        )
        opened.close()
        with pytest.raises(mapcall.ArgumentError, match=r"first.*closed"):
            memcmp.unchecked(opened, np.zeros(LENGTH), 8)
        with pytest.raises(mapcall.ArgumentError, match=r"second.*closed"):
            memcmp.unchecked(np.zeros(LENGTH), opened[2:], 8)
        work()

    def test_nothing_is_called(self, opened: Any) -> None:
        called: list[int] = []
        qsort = mapcall.load(None).function(
            "void qsort(double base[n], size_t n, size_t size,"
            " int (*compare)(const void *, const void *))"
        )
        opened.close()
        with pytest.raises(mapcall.ArgumentError):
            qsort(opened, size=8, compare=lambda a, b: called.append(1) or 0)
        assert called == []

    @pytest.mark.parametrize("threads", [1, 2])
    def test_batch(self, opened: Any, threads: int, tmp_path: Path) -> None:
        cos = mapcall.load("m").function("double cos(double angle)")
        opened.close()
        with pytest.raises(mapcall.ArgumentError, match=r"angle.*closed"):
            cos(opened, threads=threads)
        if opened.flags.writeable:
            with pytest.raises(mapcall.ArgumentError, match="closed"):
                cos(np.zeros(LENGTH), out=opened, threads=threads)
        with pytest.raises(mapcall.ArgumentError, match=r"angle.*closed"):
            cos(opened, out=tmp_path / "y.npy", stream=True, threads=threads)
        assert not (tmp_path / "y.npy").exists()
        work()


class TestGarbage:
    def test_nothing_stays_mapped(self, path: Path, run_script: Callable[..., str]) -> None:
        """Maps that were closed, half of them before their arrays were dropped."""
        output = run_script(
            """
            import sys
            import numpy as np
            import mapcall

            def state():
                fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
                with open("/proc/self/maps") as maps:
                    return int(fields["VmSize"].split()[0]), sum(1 for _ in maps)

            def use(count):
                alive = []
                for number in range(count):
                    x = mapcall.open(sys.argv[1], "r")
                    if number % 2:
                        alive.append(np.asarray(x)[3:])
                    if len(alive) > 100:
                        alive.clear()
                    if number % 3:
                        x.close()
                    else:
                        with x:
                            pass

            use(1000)
            before = state()
            use(int(sys.argv[2]))
            after = state()
            print(after[0] - before[0], after[1] - before[1])
            """,
            path,
            100_000 if IS_LONG else 20_000,
            timeout=120,
        )
        kibibytes, ranges = map(int, output.split())
        # Of the 600 MB or more that all maps took: an arena of the allocator, and its ranges.
        assert kibibytes < 1 << 14
        assert ranges < 20

    def test_cycles(self, path: Path) -> None:
        class Node:
            pass

        for _ in range(10):
            node = Node()
            node.x = mapcall.open(path)  # type: ignore[attr-defined]
            node.me = node  # type: ignore[attr-defined]
            node.x.close()  # type: ignore[attr-defined]
            del node
        gc.collect()
        assert not is_mapped(path)


class TestWhileRunning:
    """In a process of its own, which a mistake ends."""

    def test_batches_end_with_an_exception(
        self, tmp_path: Path, run_script: Callable[..., str]
    ) -> None:
        """Another thread closes the map at random moments of a batch."""
        output = run_script(
            """
            import random, sys, threading
            import numpy as np
            import mapcall

            cos = mapcall.load("m").function("double cos(double x)")
            np.save(sys.argv[1], np.ones(1 << 18))
            expected = cos(np.ones(1 << 18))
            outcomes = set()
            random.seed(3)
            for number in range(60):
                x = mapcall.open(sys.argv[1], "r+" if number % 2 else "r")
                started = threading.Event()

                def close(x=x, turns=random.randrange(3000)):
                    started.wait()
                    for _ in range(turns):
                        pass
                    x.close()

                thread = threading.Thread(target=close)
                thread.start()
                started.set()
                try:
                    y = cos(x, threads=1 + number % 2)
                    # It was over before.
                    assert (y == expected).all()
                    outcomes.add("whole")
                except mapcall.MapFault as fault:
                    assert fault.reason == "closed"
                    outcomes.add("MapFault")
                except mapcall.ArgumentError as error:
                    assert "closed" in str(error)
                    outcomes.add("refused")
                thread.join()
                assert x.closed
            assert outcomes <= {"whole", "MapFault", "refused"}
            print("end")
            """,
            tmp_path / "x.npy",
        )
        assert output == "end\n"

    def test_threads_that_read(self, tmp_path: Path, run_script: Callable[..., str]) -> None:
        """Each thread that reads gets its exception; the one that closes gets none."""
        output = run_script(
            """
            import sys, threading
            import numpy as np
            import mapcall

            np.save(sys.argv[1], np.ones(1 << 16))
            x = mapcall.open(sys.argv[1])
            plain, found = np.asarray(x), []
            ready = threading.Barrier(5)

            def read(array):
                try:
                    ready.wait()
                    while True:
                        array.sum()
                except mapcall.MapFault as fault:
                    found.append(fault.reason)

            arrays = [x, x[5:], plain, plain[9:]]
            threads = [
                threading.Thread(target=read, args=(each,), daemon=True) for each in arrays
            ]
            for thread in threads:
                thread.start()
            ready.wait()
            x.close()
            for thread in threads:
                thread.join()
            print(found)
            """,
            tmp_path / "x.npy",
        )
        assert output == f"{['closed'] * 4}\n"
