"""Flushing, advice, prefetching and residency."""

import ctypes
import errno
import mmap
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall

PAGE = mmap.PAGESIZE
ADVICE = ["normal", "random", "sequential", "willneed", "dontneed", "hugepage"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(bytes(index % 251 for index in range(10 * PAGE)))
    return made


def evict(path: Path) -> None:
    """Removes a file's pages from memory after they are written to the disk."""
    with open(path, "r+b") as file:
        os.fsync(file)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def dirty(x: mapcall.memmap) -> int:
    """Returns the number of bytes of a map in pages that are not yet written to the disk."""
    first = np.frombuffer(x._mmap, "u1").ctypes.data // PAGE * PAGE
    lines = Path("/proc/self/smaps").read_text().split(f"{first:08x}-", 1)[1].splitlines()
    fields = dict(line.split(":", 1) for line in lines[1:25] if "kB" in line)
    return 1024 * sum(int(fields[name].split()[0]) for name in ("Shared_Dirty", "Private_Dirty"))


class TestFlush:
    def test_others_read_it(self, path: Path, run_script: Callable[..., str]) -> None:
        x = mapcall.memmap(path, "i4", "r+")
        x[5:8] = [70, 80, 90]
        x[5:8].flush()
        read = "import sys; print(open(sys.argv[1], 'rb').read()[20:32].hex())"
        assert run_script(read, path).strip() == np.array([70, 80, 90], "i4").tobytes().hex()
        assert mapcall.memmap(path, "i4", "r")[5:8].tolist() == [70, 80, 90]

    def test_only_the_views_own_pages(self, path: Path) -> None:
        size = 32 << 20
        os.truncate(path, size)
        x = mapcall.memmap(path, mode="r+")
        x.flush()
        x[::PAGE] = 1
        before = dirty(x)
        if before < size:
            pytest.skip("this file system does not show dirty pages")
        # The system may write up to a large page on each side.
        x[size // 2 : size // 2 + PAGE].flush()
        assert size // 2 < dirty(x) < before
        x.flush()
        assert dirty(x) == 0

    @pytest.mark.parametrize(
        "view",
        [
            lambda x: x,
            lambda x: x[::-1],
            lambda x: x[100:200],
            lambda x: x[PAGE - 1 : PAGE + 1],
            lambda x: x[::3],
            lambda x: x[0:0],
            lambda x: x[-1:],
            lambda x: x.reshape(10, -1).T,
            lambda x: x.reshape(10, -1)[::-2, ::-7],
            lambda x: np.broadcast_to(x[:5], (4, 5), subok=True),
            lambda x: x[7:15].view("f8"),
        ],
    )
    def test_any_view(self, path: Path, view: Callable[[mapcall.memmap], mapcall.memmap]) -> None:
        x = mapcall.memmap(path, mode="r+")
        x[:] = 3
        view(x).flush()
        view(x).flush(sync=False)
        assert path.read_bytes() == bytes([3]) * (10 * PAGE)

    def test_not_waiting(self, path: Path) -> None:
        x = mapcall.memmap(path, mode="r+")
        x[:] = 4
        assert x.flush(sync=False) is None
        assert path.read_bytes() == bytes([4]) * (10 * PAGE)
        with pytest.raises(TypeError):
            x.flush(False)

    @pytest.mark.parametrize("value", [False, True])
    def test_wait_is_the_former_name_of_sync(self, path: Path, value: bool) -> None:
        x = mapcall.memmap(path, mode="r+")
        x[:] = 4
        assert x.flush(wait=value) is None
        assert x._mmap is not None
        assert x._mmap.flush(wait=value) is None
        assert path.read_bytes() == bytes([4]) * (10 * PAGE)
        for flush in (x.flush, x.copy().flush, x._mmap.flush):
            with pytest.raises(TypeError, match=r"flush: expected sync or wait, .* give sync"):
                flush(sync=value, wait=value)

    @pytest.mark.parametrize("mode", ["r", "c"])
    def test_no_op_where_nothing_reaches_the_file(self, path: Path, mode: str) -> None:
        before = path.read_bytes()
        x = mapcall.memmap(path, mode=mode)
        if mode == "c":
            x[:] = 5
        x.flush()
        x[5:].flush(sync=False)
        assert path.read_bytes() == before
        assert (x[0] == 5) == (mode == "c")

    def test_no_op_for_copies(self, path: Path) -> None:
        before = path.read_bytes()
        copied = mapcall.memmap(path, mode="r+").copy()
        copied[:] = 6
        assert copied.flush() is None
        assert path.read_bytes() == before

    def test_the_map_itself(self, path: Path) -> None:
        x = mapcall.memmap(path, mode="r+", offset=10)
        x[:] = 7
        assert x._mmap.flush() is None
        assert x._mmap.flush(PAGE, PAGE) is None
        for outside in [
            (0, x.size + 1),
            (x.size + 1, 0),
            (1, x.size),
            (-1, 1),
            (1, -1),
            (1 << 62, 1 << 62),
        ]:
            with pytest.raises(ValueError, match=r"outside|out of range"):
                x._mmap.flush(*outside)


class TestAdvice:
    @pytest.mark.parametrize("mode", ["r", "r+", "c"])
    @pytest.mark.parametrize("advice", ADVICE)
    def test_every_advice(self, path: Path, advice: str, mode: str) -> None:
        x = mapcall.memmap(path, mode=mode, offset=100)
        if advice == "dontneed" and mode == "c":
            return
        for view in (x, x[5:6], x[5:5], x[::-3], x[PAGE + 7 :]):
            try:
                assert view.advise(advice) is None
            except OSError:
                assert advice == "hugepage", "only that one may be missing from a kernel"
        assert x[:3].tolist() == [100, 101, 102]

    @pytest.mark.parametrize("advice", ["", "free", "Random", "RANDOM", "MADV_RANDOM", "random\0"])
    def test_unknown(self, path: Path, advice: str) -> None:
        with pytest.raises(ValueError, match=r"advice must be one of normal, random"):
            mapcall.memmap(path).advise(advice)
        for not_a_name in (mmap.MADV_RANDOM, None, b"random"):
            with pytest.raises(TypeError):
                mapcall.memmap(path).advise(not_a_name)

    def test_dontneed_does_not_discard_private_changes(self, path: Path) -> None:
        x = mapcall.memmap(path, mode="c")
        x[:] = 8
        with pytest.raises(ValueError, match="discard"):
            x.advise("dontneed")
        with pytest.raises(ValueError, match="discard"):
            x[:0].advise("dontneed")
        with pytest.raises(ValueError, match="discard"):
            x._mmap.madvise(mmap.MADV_DONTNEED)
        assert (x == 8).all()

    def test_dontneed_keeps_what_was_written_to_the_file(self, path: Path) -> None:
        x = mapcall.memmap(path, mode="r+")
        x[:] = 9
        x.advise("dontneed")
        assert (x == 9).all()

    def test_it_reaches_the_system(self, path: Path) -> None:
        x = mapcall.memmap(path, mode="r")
        x.advise("random")
        start = f"{x.ctypes.data:08x}-"
        text = Path("/proc/self/smaps").read_text()
        flags = text[text.index(start) :].split("VmFlags:", 1)[1].splitlines()[0].split()
        assert "rr" in flags

    def test_as_mmaps_own_method(self, path: Path) -> None:
        # Packages call `madvise` of numpy.memmap in this way.
        x = mapcall.memmap(path, mode="r", offset=100)
        assert x._mmap.madvise(mmap.MADV_RANDOM) is None
        x._mmap.madvise(mmap.MADV_SEQUENTIAL, 0, PAGE)
        x._mmap.madvise(mmap.MADV_WILLNEED, PAGE)
        x._mmap.madvise(mmap.MADV_NORMAL)
        x._mmap.madvise(mmap.MADV_NORMAL, 0, x.size + 1)
        for start, length, message in (
            (x.size, None, "start out of bounds"),
            (-1, None, "start out of bounds"),
            (0, -1, "length invalid"),
        ):
            with pytest.raises(ValueError, match=message):
                x._mmap.madvise(mmap.MADV_NORMAL, start, length)

    @pytest.mark.parametrize("mode", ["r", "r+", "c"])
    def test_every_option_of_mmap(
        self, path: Path, run_script: Callable[..., str], mode: str
    ) -> None:
        # The results are the same as those of an mmap. One option makes memory unusable for good.
        script = """
            import mmap, sys
            import mapcall

            access = {"r": mmap.ACCESS_READ, "r+": mmap.ACCESS_WRITE, "c": mmap.ACCESS_COPY}
            path, mode = sys.argv[1:]
            for name in sorted(name for name in dir(mmap) if name.startswith("MADV_")):
                option = getattr(mmap, name)
                if name in ("MADV_HWPOISON", "MADV_SOFT_OFFLINE"):
                    continue
                with open(path, "rb" if mode == "r" else "r+b") as file:
                    theirs = mmap.mmap(file.fileno(), 0, access=access[mode])
                x = mapcall.memmap(path, mode=mode)
                for arguments in ((), (mmap.PAGESIZE,), (0, mmap.PAGESIZE), (0, 1 << 40)):
                    answers = []
                    for each in (theirs, x._mmap):
                        try:
                            answers.append(each.madvise(option, *arguments))
                        except OSError as error:
                            answers.append(error.errno)
                        except ValueError as error:
                            answers.append(str(error))
                    if mode == "c" and name == "MADV_DONTNEED":
                        assert answers[0] is None and "discard" in answers[1], answers
                    else:
                        assert answers[0] == answers[1], (name, arguments, answers)
                print(name)
        """
        names = run_script(script, path, mode).split()
        assert {"MADV_NORMAL", "MADV_DONTFORK", "MADV_REMOVE", "MADV_DONTDUMP"} <= set(names)

    def test_options_that_no_system_has(self, path: Path) -> None:
        x = mapcall.memmap(path, mode="r")
        for option in (12345, -1):
            with pytest.raises(OSError, match=r".") as caught:
                x._mmap.madvise(option)
            assert caught.value.errno == errno.EINVAL

    def test_remove_takes_no_byte_outside_of_the_range(self, path: Path) -> None:
        before = path.read_bytes()
        x = mapcall.memmap(path, mode="r+", offset=100, shape=5 * PAGE)
        inside = PAGE - 100
        for start, length in ((0, None), (0, PAGE), (inside, PAGE - 1), (inside + 1, PAGE - 1)):
            with pytest.raises(ValueError, match="no whole pages"):
                x._mmap.madvise(mmap.MADV_REMOVE, start, length)
        assert path.read_bytes() == before
        try:
            x._mmap.madvise(mmap.MADV_REMOVE, inside, PAGE)
        except OSError as error:
            pytest.skip(f"this file system has no holes: {error}")
        assert path.read_bytes() == before[:PAGE] + bytes(PAGE) + before[2 * PAGE :]


class TestHugePages:
    """Files on hugetlbfs, whose pages are mapped, advised on and unmapped as a whole."""

    @pytest.fixture
    def huge(self) -> Iterator[Any]:
        """Yields a file of two huge pages, or skips the test."""
        try:
            descriptor = os.memfd_create("huge", os.MFD_HUGETLB)
        except OSError as error:
            pytest.skip(f"hugetlbfs: no file of huge pages can be made: {error}")
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            page = os.fstat(descriptor).st_blksize
            os.truncate(descriptor, 2 * page)
            try:
                with mmap.mmap(descriptor, 2 * page) as reserved:
                    del reserved
            except OSError as error:
                remedy = "as root run sysctl vm.nr_overcommit_hugepages=8"
                pytest.skip(f"hugetlbfs: no huge pages, {remedy}: {error}")
            yield file

    @pytest.mark.parametrize("advice", ADVICE)
    def test_every_advice(self, huge: Any, advice: str) -> None:
        x = mapcall.memmap(huge)
        x[::4096] = 7
        for view in (x, x[5000:9000], x[:10], x[-10:], x[x.size // 2 - 1 : x.size // 2 + 1]):
            try:
                view.advise(advice)
            except OSError:
                assert advice == "hugepage", "only that one is not for these pages"
        assert (x[::4096] == 7).all()

    def test_nothing_stays_mapped(self, huge: Any) -> None:
        page = os.fstat(huge.fileno()).st_blksize
        for offset, size in ((0, 1), (100, 5000), (4096, page), (page - 1, 2), (page + 4096, 1)):
            x = mapcall.memmap(huge, offset=offset, shape=size)
            x[0] = x[-1] = offset % 251
            assert os.pread(huge.fileno(), 1, offset) == bytes([offset % 251])
            assert x.file_offset == offset
            x.flush()
            x.prefetch()
            assert x.residency().all()
            assert len(x._mmap) == size
        del x
        assert "memfd:huge" not in Path("/proc/self/maps").read_text()


class TestResidency:
    def test_pages_that_hold_a_byte_of_the_view(self, path: Path) -> None:
        x = mapcall.memmap(path, mode="r+")
        assert x.residency().size == 10
        assert x.residency().dtype == np.bool
        assert x[PAGE - 1 : PAGE + 1].residency().size == 2
        assert x[PAGE : 2 * PAGE].residency().size == 1
        assert x[5:6].residency().size == 1
        assert x[5:5].residency().size == 0
        assert x[:: 9 * PAGE].residency().size == 10
        assert x[::-1].residency().size == 10

    def test_unaligned_offsets(self, path: Path) -> None:
        x = mapcall.memmap(path, mode="r+", offset=PAGE - 1, shape=2)
        assert x.residency().size == 2
        assert mapcall.memmap(path, mode="r+", offset=PAGE + 7).residency().size == 9

    def test_prefetch_brings_a_hole_in(self, tmp_path: Path) -> None:
        sparse = tmp_path / "sparse"
        sparse.touch()
        os.truncate(sparse, 64 * PAGE)
        x = mapcall.memmap(sparse, mode="r+")
        assert not x.residency()[32:].any()
        x[40 * PAGE + 5 : 42 * PAGE + 5].prefetch()
        assert x[40 * PAGE + 5 : 42 * PAGE + 5].residency().all()
        assert x[40 * PAGE :].residency()[:3].all()
        x.prefetch()
        assert x.residency().all()
        assert not x.any()

    def test_prefetch_brings_evicted_pages_back(self, path: Path) -> None:
        evict(path)
        x = mapcall.memmap(path, mode="r+")
        if x.residency().all():
            pytest.skip("this file system keeps everything in memory")
        x.prefetch()
        assert x.residency().all()

    @pytest.mark.parametrize("mode", ["r", "r+", "c"])
    def test_prefetch_changes_nothing(self, path: Path, mode: str) -> None:
        before = path.read_bytes()
        x = mapcall.memmap(path, mode=mode)
        if mode == "c":
            x[3] = 200
        for view in (x, x[::-1], x[4:4], x[PAGE - 1 : PAGE + 1]):
            assert view.prefetch() is None
        assert path.read_bytes() == before
        assert x[3] == (200 if mode == "c" else 3)

    def test_prefetch_of_a_file_that_has_become_shorter(self, path: Path) -> None:
        x = mapcall.memmap(path, mode="r")
        os.truncate(path, PAGE)
        with pytest.raises(OSError, match=r".") as caught:
            x.prefetch()
        assert str(path) in str(caught.value)

    def test_interrupt_stops_prefetching(self, tmp_path: Path) -> None:
        script = """
            import os, signal, sys, threading
            import mapcall

            # SIGINT is ignored if a shell has started the tests in the background.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            x = mapcall.memmap(sys.argv[1], mode="r")
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                while True:
                    x.prefetch()
                    x.advise("dontneed")
            except KeyboardInterrupt:
                print("stopped")
        """
        sparse = tmp_path / "sparse"
        sparse.touch()
        os.truncate(sparse, 4 << 30)
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), str(sparse)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.stdout == "stopped\n", result.stderr
        assert result.returncode == 0


class TestLarge:
    def test_a_sparse_file_of_100_gib(self, tmp_path: Path) -> None:
        sparse = tmp_path / "sparse"
        sparse.touch()
        os.truncate(sparse, 100 << 30)
        # The first map loads code, whose memory is not that of a map.
        mapcall.memmap(sparse, mode="r", shape=10)
        before = resident()
        maps = [mapcall.memmap(sparse, "f8", mode) for mode in ("r", "r+", "c")]
        assert [x.nbytes for x in maps] == [100 << 30] * 3
        assert maps[0][-1] == 0
        assert resident() - before < 1 << 20
        maps[1][(99 << 30) // 8] = 2.5
        assert maps[0][(99 << 30) // 8] == 2.5
        assert sparse.stat().st_blocks * 512 < 1 << 20

    def test_a_new_one_is_sparse(self, tmp_path: Path) -> None:
        x = mapcall.memmap(tmp_path / "new", "f8", "w+", shape=(1 << 20, 1 << 14))
        x[-1, -1] = 1.5
        status = (tmp_path / "new").stat()
        assert status.st_size == 1 << 37
        assert status.st_blocks * 512 < 1 << 20


def resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * PAGE


class TestMap:
    @pytest.mark.parametrize("mode", ["r", "r+", "w+", "c"])
    def test_buffer(self, path: Path, mode: str) -> None:
        x = mapcall.memmap(path, mode=mode, offset=3, shape=1000)
        view = memoryview(x._mmap)
        assert view.readonly == (mode == "r")
        assert (view.nbytes, view.format, view.ndim) == (1000, "B", 1)
        assert bytes(view) == x.tobytes()
        array = np.frombuffer(x._mmap, "u1")
        assert array.ctypes.data == x.ctypes.data
        assert array.flags.writeable == (mode != "r")
        if mode == "r":
            with pytest.raises(TypeError, match="not writable"):
                (ctypes.c_char * 4).from_buffer(x._mmap)
        else:
            view[0] = 77
            assert x[0] == 77

    def test_a_buffer_outlives_the_array(self, path: Path) -> None:
        view = memoryview(mapcall.memmap(path, mode="r")._mmap)
        assert view[250] == 250

    def test_length_size_and_repr(self, path: Path) -> None:
        x = mapcall.memmap(path, mode="r", offset=3, shape=(10, 10))
        assert len(x._mmap) == 100
        assert x._mmap.size() == 10 * PAGE
        assert x._mmap.mode == "r"
        assert x._mmap.offset == 3
        assert repr(str(path)) in repr(x._mmap)
        assert type(x._mmap) is mapcall.Map
        with pytest.raises(TypeError):
            mapcall.Map()

    def test_other_arrays_are_refused(self, path: Path) -> None:
        owner = mapcall.memmap(path, mode="r+")._mmap
        other = mapcall.memmap(path, mode="r+", offset=64)
        for array in (np.arange(10), other):
            for refused in (
                lambda array=array: owner.flush(array=array),
                lambda array=array: owner.advise(array, "random"),
                lambda array=array: owner.prefetch(array),
                lambda array=array: owner.residency(array),
            ):
                with pytest.raises(ValueError, match=r"does not lie in|outside"):
                    refused()
        with pytest.raises(TypeError):
            owner.prefetch("abc")
