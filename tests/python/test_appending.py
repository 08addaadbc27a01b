"""Rows appended to files: NumPy as the oracle, readers meanwhile, crashes and full disks."""

from __future__ import annotations

import ctypes
import errno
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall
from disks import MIB, ext4_image, mounted

Script = Callable[..., str]
Unchanged = Callable[[Path], AbstractContextManager[None]]

STRUCTURED = np.dtype([("a", "<i4"), ("b", ">f8", (2,)), ("c", "S3")])


def equal(path: Path, expected: np.ndarray) -> bool:
    found = np.load(path)
    return found.dtype == expected.dtype and np.array_equal(found, expected)


class TestAsNumpy:
    """Each step gives what `numpy.concatenate` gives."""

    @pytest.mark.parametrize("dtype", ["<f8", ">i2", "|b1", "<U3", "|S5", "<M8[us]", STRUCTURED])
    @pytest.mark.parametrize("row", [(), (3,), (2, 2), (0,)])
    def test_new_files(self, tmp_path: Path, dtype: Any, row: tuple[int, ...]) -> None:
        path = tmp_path / "a.npy"
        expected = np.zeros((0, *row), dtype)
        with mapcall.Appender(path, dtype, row) as log:
            for count in (0, 1, 9, 90):
                rows = np.zeros((count, *row), dtype)
                rows.view("u1")[...] = np.arange(rows.nbytes).reshape(rows.view("u1").shape) % 2
                for given in (rows, rows[::-1], rows[::-2]):
                    log.append(given)
                    expected = np.concatenate((expected, given), dtype=dtype)
                    assert equal(path, expected)
                    assert len(log) == len(expected)
            log.append(rows[0])
        with mapcall.Appender(path, dtype, row) as log:
            log.append(rows)
        assert equal(path, np.concatenate((expected, rows[:1], rows), dtype=dtype))

    @pytest.mark.parametrize("made", ["C", "F"])
    @pytest.mark.parametrize("by", ["numpy", "create", "append"])
    def test_files_of_each_writer(self, tmp_path: Path, made: str, by: str) -> None:
        path, x = tmp_path / "a.npy", np.arange(24.0).reshape(2, 3, 4)
        if by == "numpy":
            np.save(path, np.asarray(x, order=made))
        elif by == "create":
            mapcall.create(path, x.shape, x.dtype, made)[...] = x
        else:
            made = "C"
            mapcall.append(path, x)
        axis = -1 if made == "F" else 0
        offset = mapcall.open(path).offset
        for rows in (x, np.asfortranarray(x), x[::-1, :, ::-1], np.take(x, [0], axis)):
            before = np.load(path)
            mapcall.append(path, rows)
            assert equal(path, np.concatenate((before, rows), axis))
        mapcall.append(path, np.take(x, 1, axis))
        after = np.load(path)
        np.testing.assert_array_equal(np.take(after, -1, axis), np.take(x, 1, axis))
        assert mapcall.open(path).flags.fnc == (made == "F")
        assert mapcall.open(path).offset == offset
        np.testing.assert_array_equal(mapcall.open(path), after)

    def test_rows_without_a_dtype(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npy"
        with mapcall.Appender(path, "f4", 2) as log:
            for rows in ([1, 2], (3.5, 4.5), [[5, True]], np.zeros((0, 2), "f4"), range(2)):
                log.append(rows)
        assert np.load(path).tolist() == [[1, 2], [3.5, 4.5], [5, 1], [0, 1]]
        with mapcall.Appender(tmp_path / "b.npy", "u1") as log:
            log.append(3)
            log.append([4, 255])
            log.append([])
            with pytest.raises(OverflowError):
                log.append([1, 256])
            with pytest.raises(TypeError, match="uint8"):
                log.append([1.5])
            with pytest.raises(TypeError, match="uint8"):
                log.append([1 << 70])
        assert np.load(tmp_path / "b.npy").tolist() == [3, 4, 255]
        with mapcall.Appender(tmp_path / "c.npy", STRUCTURED) as log:
            log.append([(1, (2, 3), b"abc")])
            log.append((4, 5, b"d"))
        expected = np.array([(1, (2, 3), b"abc"), (4, 5, b"d")], STRUCTURED)
        assert equal(tmp_path / "c.npy", expected)

    def test_dtypes_are_cast_without_loss(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npy"
        mapcall.append(path, np.zeros(1, "f8"))
        for rows in (np.ones(2, ">f4"), np.array([3], "i4"), np.float64(4), np.array([True])):
            mapcall.append(path, rows)
        assert equal(path, np.array([0, 1, 1, 3, 4, 1.0]))
        before = path.read_bytes()
        for rows in (np.ones(1, "c16"), np.array(["a"]), np.array([None]), [None], ["a"], [1j]):
            with pytest.raises(TypeError, match="float64"):
                mapcall.append(path, rows)
        assert path.read_bytes() == before

    def test_an_array_can_be_appended_to_its_own_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npy"
        np.save(path, np.arange(3))
        for _ in range(3):
            mapcall.append(path, mapcall.open(path))
        assert np.load(path).tolist() == [0, 1, 2] * 8

    def test_a_long_file(self, tmp_path: Path) -> None:
        """The header grows from one digit to six."""
        path = tmp_path / "a.npy"
        np.save(path, np.zeros(0, "u1"))
        with mapcall.Appender(path) as log:
            for count in [1] * 12 + [88, 900, 9000, 90_000]:
                log.append(np.ones(count, "u1"))
                assert len(np.load(path, mmap_mode="r")) == len(log)
        assert len(np.load(path)) == 100_000


class TestRefusals:
    def test_files(self, tmp_path: Path, unchanged: Unchanged) -> None:
        np.save(tmp_path / "a.npy", np.zeros((2, 3)))
        np.save(tmp_path / "single.npy", np.float64(1))
        np.savez(tmp_path / "a.npz", a=np.zeros(3))
        (tmp_path / "raw").write_bytes(b"no array")
        (tmp_path / "short.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
        with open(tmp_path / "two.npy", "wb") as file:
            np.save(file, np.zeros(3))
            np.save(file, np.zeros(3))
        os.mkfifo(tmp_path / "pipe")
        row = np.zeros(3)
        with unchanged(tmp_path):
            for name, error, text in [
                ("single.npy", mapcall.FormatError, "an axis to grow"),
                ("a.npz", ValueError, "give a .npy file"),
                ("raw", mapcall.FormatError, "x93NUMPY"),
                ("short.npy", mapcall.FormatError, "cut short"),
                ("two.npy", ValueError, "one array"),
                ("pipe", ValueError, "pipe"),
                (".", IsADirectoryError, r"."),
                ("none/a.npy", FileNotFoundError, r"."),
            ]:
                with pytest.raises(error, match=text):
                    mapcall.append(tmp_path / name, row)
            with pytest.raises(FileNotFoundError) as missing:
                mapcall.Appender(tmp_path / "new.npy")
            assert "dtype" in missing.value.__notes__[0]
            for dtype, shape in [("f4", 3), (None, 4), ("f8", ()), ("f8", (1, 3)), (">f8", 3)]:
                with pytest.raises(ValueError, match=r"a\.npy: expected .*, got"):
                    mapcall.Appender(tmp_path / "a.npy", dtype, shape)
            for rows in (np.zeros(2), np.zeros((3, 2)), np.zeros((1, 1, 3)), 1.0):
                with pytest.raises(ValueError, match=r"\(3,\).* axis 0, got shape \("):
                    mapcall.append(tmp_path / "a.npy", rows)
            with pytest.raises(ValueError, match="Python objects"):
                mapcall.Appender(tmp_path / "new.npy", object)
            with pytest.raises(ValueError, match="Python objects"):
                mapcall.append(tmp_path / "new.npy", [None])
            with pytest.raises(ValueError, match=r"shape \(\)"):
                mapcall.append(tmp_path / "new.npy", 1.0)

    def test_the_remedies_work(self, tmp_path: Path) -> None:
        """A header without room, as other writers make it."""
        path = tmp_path / "a.npy"
        text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (9, 1), }\n"
        header = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
        path.write_bytes(header + np.arange(9.0).tobytes())
        before = path.read_bytes()
        with pytest.raises(mapcall.FormatError, match=r"numpy\.save") as error:
            mapcall.append(path, [[9]])
        assert error.value.path == str(path)
        assert path.read_bytes() == before
        np.save(tmp_path / "b.npy", np.load(path))
        mapcall.append(tmp_path / "b.npy", [[9]])
        assert np.load(tmp_path / "b.npy").ravel().tolist() == list(range(10))

    def test_two_appenders(self, tmp_path: Path, run_script: Script) -> None:
        path = tmp_path / "a.npy"
        script = """
            import sys, mapcall
            try:
                mapcall.append(sys.argv[1], [1.0])
            except BlockingIOError as error:
                print(error.filename, "another appender" in error.strerror)
        """
        with mapcall.Appender(path, "f8") as log:
            assert run_script(script, path).split() == [str(path), "True"]
            with pytest.raises(BlockingIOError) as caught:
                mapcall.Appender(path)
            assert caught.value.errno == errno.EAGAIN
            log.append(2.0)
        assert run_script(script, path) == ""
        assert np.load(path).tolist() == [2, 1]

    def test_closed(self, tmp_path: Path) -> None:
        log = mapcall.Appender(tmp_path / "a.npy", "f8")
        assert log
        with log:
            assert not log.closed
        assert log.closed
        log.close()
        for use in (lambda: log.append(1.0), log.sync, lambda: len(log), log.__enter__):
            with pytest.raises(ValueError, match="closed"):
                use()


def test_links(tmp_path: Path) -> None:
    (tmp_path / "link.npy").symlink_to("a.npy")
    mapcall.append(tmp_path / "link.npy", [1.0])
    os.link(tmp_path / "a.npy", tmp_path / "b.npy")
    mapcall.append(str(tmp_path / "b.npy").encode(), [2.0])
    assert np.load(tmp_path / "link.npy").tolist() == [1, 2]
    assert (tmp_path / "link.npy").is_symlink()
    assert (tmp_path / "a.npy").stat().st_nlink == 2


@pytest.mark.parametrize("mode", ["r", "c", "r+"])
def test_pickles_of_a_file_that_has_grown(tmp_path: Path, mode: Any) -> None:
    path = tmp_path / "a.npy"
    with mapcall.Appender(path, "i8", 2) as log:
        log.append(np.arange(20).reshape(10, 2))
        x = mapcall.open(path, mode)
        pickles = [pickle.dumps(x), pickle.dumps(x[3:, 1])]
        log.append(np.zeros((1000, 2), int))
        whole, part = map(pickle.loads, pickles)
        np.testing.assert_array_equal(whole, np.arange(20).reshape(10, 2))
        np.testing.assert_array_equal(part, np.arange(20).reshape(10, 2)[3:, 1])
        assert mapcall.open(path).shape == (1010, 2)


# A process that appends rows, each filled with its number. It records the number of rows before and
# after each call in a file that the test maps.
WRITER = """
    import sys
    import numpy as np
    import mapcall

    def write(path, record, sync=False, limit=1 << 60, size=125):
        counts = np.memmap(record, "i8", "r+", shape=2)
        with mapcall.Appender(path, "i8", size, sync=sync) as log:
            # The writer before may have been killed between an append and its record.
            counts[1] = number = len(log)
            while number < limit:
                count = 1 + number % 3
                rows = np.arange(number, number + count)[:, None] + np.zeros(size, int)
                counts[0] = number + count
                log.append(rows)
                number += count
                counts[1] = number
"""


def record(path: Path) -> Path:
    path.write_bytes(bytes(16))
    return path


def is_whole(x: np.ndarray, start: int = 0) -> bool:
    """Returns whether each row from `start` on is filled with its number."""
    return bool((x[start:] == np.arange(start, len(x))[:, None]).all())


class TestReaders:
    @pytest.mark.parametrize("by", ["numpy", "mapcall"])
    def test_find_whole_rows_only(self, tmp_path: Path, by: str) -> None:
        path, counts = tmp_path / "a.npy", np.memmap(record(tmp_path / "record"), "i8")
        mapcall.Appender(path, "i8", 125).close()
        script = textwrap.dedent(WRITER) + "write(*sys.argv[1:], limit=20_000)"
        command = [sys.executable, "-c", script, str(path), str(tmp_path / "record")]
        with subprocess.Popen(command) as writer:
            length = 0
            while writer.poll() is None:
                written = int(counts[1])
                if by == "numpy":
                    x: np.ndarray = np.load(path, mmap_mode="r")
                else:
                    x = mapcall.open(path)
                assert max(length, written) <= len(x) <= counts[0]
                assert is_whole(x, max(0, length - 100))
                length = len(x)
        assert writer.returncode == 0
        assert len(np.load(path)) >= 20_000
        assert is_whole(np.load(path))

    def test_find_one_of_the_two_headers(self, tmp_path: Path) -> None:
        """The rows have no bytes, so that the writer does nothing but update headers."""
        files = 30
        script = """
            import sys
            import numpy as np
            import mapcall

            row = np.zeros((1, 0))
            for number in range(int(sys.argv[2])):
                with mapcall.Appender(f"{sys.argv[1]}/{number}.npy", "f8", 0) as log:
                    log.append(np.zeros((1000, 0)))
                    # Of numbers with four digits, many updates change the first three.
                    while len(log) < 9999:
                        log.append(row)
        """
        command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path), str(files)]
        with subprocess.Popen(command) as writer:
            for number in range(files):
                path = tmp_path / f"{number}.npy"
                while not path.exists():
                    assert not writer.poll()
                with open(path, "rb") as file:
                    length = 0
                    while length < 9999:
                        header = os.pread(file.fileno(), 128, 0)
                        # With digits of both lengths, it would be less than the one before it or
                        # more than the one behind it.
                        found = int(header.partition(b"'shape': (")[2].partition(b",")[0])
                        assert found >= length, header
                        length = found
        assert writer.returncode == 0


def test_threads_share_an_appender(tmp_path: Path) -> None:
    with mapcall.Appender(tmp_path / "a.npy", "i8", 100) as log:

        def write(number: int) -> None:
            for _ in range(100):
                log.append(np.full((2, 100), number))

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    x = np.load(tmp_path / "a.npy")
    assert (x == x[:, :1]).all()
    assert np.bincount(x[:, 0]).tolist() == [200] * 4


class TestForks:
    def test_a_child_has_an_appender_of_its_own(self, tmp_path: Path, run_script: Script) -> None:
        """It can't use its parent's, and does not keep the parent's lock."""
        script = """
            import os, sys, warnings
            import mapcall

            warnings.simplefilter("ignore")
            log = mapcall.Appender(sys.argv[1], "f8")
            log.append(1.0)
            (from_parent, to_child), (from_child, to_parent) = os.pipe(), os.pipe()
            if os.fork() == 0:
                try:
                    log.append(2.0)
                except ValueError as error:
                    assert "fork" in str(error), error
                    os.write(to_parent, b"x")
                os.read(from_parent, 1)
                mapcall.append(sys.argv[1], [4.0])
                log.close()
                os._exit(0)
            os.read(from_child, 1)
            log.append(3.0)
            log.close()
            log = mapcall.Appender(sys.argv[1])
            log.close()
            os.write(to_child, b"x")
            print(os.waitstatus_to_exitcode(os.wait()[1]))
        """
        assert run_script(script, tmp_path / "a.npy").strip() == "0"
        assert np.load(tmp_path / "a.npy").tolist() == [1, 3, 4]


class TestCrashes:
    def test_a_kill_at_any_moment(self, tmp_path: Path, run_script: Script) -> None:
        """A killed writer leaves the old or the new length, and the next one goes on from there."""
        script = textwrap.dedent(WRITER) + textwrap.dedent(
            """
            import os, random, signal, time, warnings

            warnings.simplefilter("ignore")
            path, record = sys.argv[1:]
            counts = np.memmap(record, "i8", "r+", shape=2)
            for _ in range(100):
                child = os.fork()
                if child == 0:
                    write(path, record)
                time.sleep(random.random() * 0.01)
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                if not os.path.exists(path):
                    continue
                x = np.load(path)
                assert len(x) in (counts[0], counts[1]), (x.shape, counts)
                assert (x == np.arange(len(x))[:, None]).all()
                if len(x) > 5000:
                    os.unlink(path)
                    counts[:] = 0
            """
        )
        run_script(script, tmp_path / "a.npy", record(tmp_path / "record"))

    def test_a_power_failure(self, tmp_path: Path) -> None:
        """The bytes of the disk after each system call of several appends.

        The system may write the pages that are not synced yet in any order: in half of the cases,
        it writes that of the header first.
        """
        if not (strace := shutil.which("strace")):
            pytest.skip("strace is missing")
        image, counts = ext4_image(tmp_path / "image", 16 * MIB), record(tmp_path / "record")
        script = textwrap.dedent(WRITER) + "write(*sys.argv[1:], sync=True, size=600)"
        # An append makes four calls, and the writer is stopped behind each ninth: by turns, behind
        # each of the four.
        stop = "inject=pwrite64,fdatasync:signal=STOP:when=9+9"
        command = [strace, "-D", "-q", "-e", "trace=pwrite64,fdatasync", "-e", stop]
        command += [sys.executable, "-c", script]
        numbers = np.memmap(counts, "i8")
        with mounted(tmp_path / "live", "-o", "loop", str(image)) as disk:
            path = disk / "a.npy"
            arguments = [*command, str(path), str(counts)]
            with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as writer:
                try:
                    for number in range(16):
                        os.waitid(os.P_PID, writer.pid, os.WSTOPPED)
                        if number % 8 >= 4:
                            write_back(path, 4096)
                        begun, done = map(int, numbers)
                        (tmp_path / "copy").write_bytes(stable(image))
                        after = tmp_path / f"after {number}"
                        with mounted(after, "-o", "loop", str(tmp_path / "copy")) as copy:
                            x = np.load(copy / "a.npy")
                            assert len(x) in (begun, done)
                            assert is_whole(x)
                        writer.send_signal(signal.SIGCONT)
                finally:
                    writer.kill()
            assert len(np.load(path)) >= 16

    @pytest.mark.parametrize("sync", [False, True])
    def test_the_order_on_the_disk(self, tmp_path: Path, sync: bool) -> None:
        path = tmp_path / "a.npy"
        mapcall.append(path, np.zeros((2, 100)))
        calls = traced(path, sync)
        assert [call for call, _ in calls] == (
            ["pwrite64", "fdatasync"] * 2 if sync else ["pwrite64"] * 2
        )
        offsets = [offset for call, offset in calls if call == "pwrite64"]
        assert offsets == [128 + 1600, 0]

    @pytest.mark.parametrize("fault", ["pwrite64 1", "fdatasync 1", "pwrite64 2", "fdatasync 2"])
    def test_an_error_of_each_call(self, tmp_path: Path, fault: str) -> None:
        """After an error of the device, the file is as before."""
        path = tmp_path / "a.npy"
        np.save(path, np.zeros((2, 100)))
        before = path.read_bytes()
        call, number = fault.split()
        traced(path, True, f"inject={call}:error=EIO:when={number}")
        assert path.read_bytes() == before
        mapcall.append(path, np.ones((1, 100)))
        assert np.load(path).sum() == 100


def traced(path: Path, sync: bool, inject: str | None = None) -> list[tuple[str, int]]:
    """Returns the system calls of one append, each with its last argument."""
    strace = shutil.which("strace")
    if not strace:
        pytest.skip("strace is missing")
    script = f"""
        import numpy, mapcall
        with mapcall.Appender({str(path)!r}, sync={sync}) as log:
            try:
                log.append(numpy.ones((1, 100)))
            except OSError as error:
                assert error.errno == {errno.EIO} and len(log) == 2
            else:
                assert {inject is None}
    """
    command = [strace, "-f", "-e", "trace=pwrite64,fdatasync", *(["-e", inject] if inject else [])]
    ended = subprocess.run(
        [*command, sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    calls = []
    for line in ended.stderr.splitlines():
        name, bracket, rest = line.rpartition("] ")[2].partition("(")
        if bracket and name in ("pwrite64", "fdatasync"):
            last = rest.rpartition(" = ")[0].rstrip(" )").rpartition(", ")[2]
            calls.append((name, int(last)))
    return calls


def write_back(path: Path, length: int) -> None:
    """Writes the first pages of a file to the disk, and no metadata (`sync_file_range`)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(path, "rb") as file:
        arguments = ctypes.c_int64(0), ctypes.c_int64(length), ctypes.c_uint(7)
        assert libc.sync_file_range(file.fileno(), *arguments) == 0


def stable(path: Path) -> bytes:
    """Returns the bytes that a file has at one moment: two copies in a row that are equal."""
    last = path.read_bytes()
    while (again := path.read_bytes()) != last:
        last = again
    return last


def fill(log: mapcall.Appender, row: np.ndarray) -> None:
    while True:
        log.append(row)


class TestFullDisks:
    def test_the_file_stays(self, tmp_path: Path) -> None:
        row = np.ones(MIB // 64)
        with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m", "none") as disk:
            path = disk / "a.npy"
            for sync in (False, True):
                with mapcall.Appender(path, "f8", row.shape, sync=sync) as log:
                    with pytest.raises(OSError, match=r"a\.npy") as caught:
                        fill(log, row)
                    assert caught.value.errno == errno.ENOSPC
                    before, size = np.load(path), path.stat().st_size
                    assert size == 128 + before.nbytes
                    assert (len(before), before.all()) == (len(log), True)
                    with pytest.raises(OSError, match="space"):
                        log.append(np.ones((2, *row.shape)))
                    assert equal(path, before)
                    assert path.stat().st_size == size
            # The appender goes on when there is space.
            subprocess.run(["mount", "-o", "remount,size=2m", disk], check=True)
            mapcall.append(path, row)
            assert len(np.load(path)) == len(before) + 1

    def test_rows_of_a_map_that_was_cut_short(self, tmp_path: Path) -> None:
        """The system finds no bytes at their addresses, and the process is not killed."""
        path, other = tmp_path / "a.npy", tmp_path / "b.npy"
        np.save(path, np.zeros(3))
        np.save(other, np.ones(3000))
        before, rows = path.read_bytes(), mapcall.open(other)
        os.truncate(other, 4096)
        with pytest.raises(OSError, match=r"a\.npy") as caught:
            mapcall.append(path, rows)
        assert caught.value.errno == errno.EFAULT
        assert path.read_bytes() == before

    def test_a_limit_of_the_size(self, tmp_path: Path, run_script: Script) -> None:
        """The rows are written in part, up to the limit."""
        script = """
            import errno, resource, sys
            import numpy as np, mapcall

            path = sys.argv[1]
            np.save(path, np.zeros((3, 100)))
            before = open(path, "rb").read()
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 1000,) * 2)
            with mapcall.Appender(path) as log:
                for rows in (np.ones((2, 100)), np.ones((100, 100))):
                    try:
                        log.append(rows)
                    except OSError as error:
                        print(error.errno == errno.EFBIG, open(path, "rb").read() == before)
                log.append(np.ones(100))
                print(len(log), np.load(path).sum())
        """
        assert run_script(script, tmp_path / "a.npy").split() == ["True"] * 4 + ["4", "100.0"]
