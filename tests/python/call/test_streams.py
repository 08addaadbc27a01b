"""Batches into new files, and over maps larger than memory."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mapcall
from counted import PRELUDE, Counted
from long_tests import IS_LONG

Compile = Callable[..., Path]
Script = Callable[..., str]
Unchanged = Callable[[Path], contextlib.AbstractContextManager[None]]

MIB = 1 << 20
TYPES = {"f8": "double", "f4": "float", "i4": "int", "i2": "short", "u1": "unsigned char"}
SOURCE = (
    PRELUDE
    + """
    #include <unistd.h>
    int status(int code) { CALLED; return code; }
    double nap(double seconds) { CALLED; usleep(seconds * 1e6); return seconds; }
    void scale(size_t n, const double *x, double *y) {
        CALLED;
        for (size_t i = 0; i < n; i++) y[i] = 2 * x[i] + 1;
    }
    void add(size_t n, double a, double *x) {
        CALLED;
        for (size_t i = 0; i < n; i++) x[i] += a;
    }
    double sum(size_t n, const double *x) {
        CALLED;
        double sum = 0;
        for (size_t i = 0; i < n; i++) sum += x[i];
        return sum;
    }
    /* The first call is held up, as a thread may be by the system. */
    double held_up(size_t n, const double *x) {
        if (CALLED == 1) usleep(500000);
        return sum(n, x);
    }
    """
    + "".join(
        f"""
    {c} plus_{name}({c} x, {c} y) {{ CALLED; return x + y; }}
    int parts_{name}(size_t n, const {c} *x, {c} *first, {c} *twice) {{
        CALLED;
        first[0] = x[0];
        for (size_t i = 0; i < n; i++) twice[i] += 2 * x[i];
        return n;
    }}
    """
        for name, c in TYPES.items()
    )
)
NAP = "double nap(double seconds)"
STATUS = "int status(int code)"
ADD = "void add(size_t n, double a, double x[n])"
SCALE = "void scale(size_t n, const double x[n], double y[n])"
FREXP = "double frexp(double x, int exponent[1])"


def plus(name: str) -> str:
    return f"{TYPES[name]} plus_{name}({TYPES[name]} x, {TYPES[name]} y)"


def parts(name: str) -> str:
    c = TYPES[name]
    return f"int parts_{name}(size_t n, const {c} x[n], {c} first[1], {c} twice[n])"


@pytest.fixture(scope="module")
def c(compile_c: Compile) -> Counted:
    return Counted(compile_c(SOURCE))


@pytest.fixture(scope="module")
def frexp() -> mapcall.Function:
    return mapcall.load("m").function(FREXP)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def laid_out(values: np.ndarray, how: str) -> np.ndarray:
    """Returns the same values with another layout in memory."""
    if how == "F":
        return np.asfortranarray(values)
    if how == "strided":
        room = np.zeros([2 * length for length in values.shape], values.dtype)
        view = room[(..., *(slice(None, None, 2) for _ in values.shape))]
        view[...] = values
        return view
    if how == "backwards":
        turn = (..., *(slice(None, None, -1) for _ in values.shape))
        return values[turn].copy()[turn]
    return np.ascontiguousarray(values)


class TestFiles:
    """The files have the same content as arrays would have."""

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(data=st.data())
    def test_as_in_memory(self, c: Counted, tmp_path: Path, data: st.DataObject) -> None:
        shape = tuple(data.draw(st.lists(st.integers(0, 5), max_size=3), label="shape"))
        dtype = data.draw(st.sampled_from([*TYPES]), label="dtype")
        layout = st.sampled_from(["C", "F", "strided", "backwards"])
        threads = data.draw(st.sampled_from([1, 2, 5]), label="threads")
        random = np.random.default_rng(data.draw(st.integers(0, 9), label="seed"))
        x, y = (
            laid_out(random.integers(0, 50, shape).astype(dtype), data.draw(layout))
            for _ in range(2)
        )
        y = y[..., :1] if shape and data.draw(st.booleans(), label="broadcast") else y
        keywords: dict[str, Any] = {"threads": threads, "sync": data.draw(st.booleans())}
        if data.draw(st.booleans(), label="masked"):
            keywords["where"] = laid_out(random.integers(0, 2, shape) == 1, data.draw(layout))
        path = tmp_path / "out.npy"

        function = c.function(plus(dtype))
        found = function(x, y, out=path, **keywords)
        expected = np.zeros(found.shape, dtype)
        function(x, y, out=expected, **{"where": True} | keywords)
        self.equals(path, found, expected)

        # There are several outputs, one of which C adds to, and items of several elements.
        x = np.stack([x, x + x], axis=-1)
        paths = tuple(tmp_path / f"{name}.npy" for name in ("count", "first", "twice"))
        function = c.function(parts(dtype))
        all_found = function(x, out=paths, **keywords)
        batch = np.broadcast_shapes(x.shape[:-1], np.shape(keywords.get("where", True)))
        arrays = (
            np.zeros(batch, np.intc),
            np.zeros((*batch, 1), dtype),
            np.zeros((*batch, 2), dtype),
        )
        function(x, out=arrays, **{"where": True} | keywords)
        for path, found, expected in zip(paths, all_found, arrays, strict=True):
            self.equals(path, found, expected)
        # One output is written to a file, and the others to arrays.
        count, first, twice = function(x, out=(None, paths[1], None), **keywords)
        for found, expected in zip((count, first, twice), arrays, strict=True):
            np.testing.assert_array_equal(found, expected)

    def equals(self, path: Path, found: mapcall.memmap, expected: np.ndarray) -> None:
        assert type(found) is mapcall.memmap
        assert found.filename == path
        assert found.mode == "r+"
        loaded = np.load(path)
        assert (loaded.shape, loaded.dtype) == (expected.shape, expected.dtype)
        assert loaded.flags.c_contiguous
        np.testing.assert_array_equal(loaded, expected)
        np.testing.assert_array_equal(found, expected)

    @pytest.mark.any_engine
    @pytest.mark.parametrize("stream", [None, True, False])
    @pytest.mark.parametrize("threads", [1, 2])
    def test_more_than_a_buffer(
        self, c: Counted, tmp_path: Path, threads: int, stream: bool | None
    ) -> None:
        """There are several buffers of 2 MiB and pieces of 16 MiB, the last ones shorter."""
        x = np.arange(5.3 * MIB)
        np.save(tmp_path / "x.npy", x)
        mapped = mapcall.open(tmp_path / "x.npy", mode="r")
        found = c.function(plus("f8"))(
            mapped, mapped[::-1], out=tmp_path / "y.npy", threads=threads, stream=stream
        )
        np.testing.assert_array_equal(found, x + x[::-1])
        rows = mapped[: x.size // 7 * 7].reshape(-1, 7)
        found = c.function(SCALE)(rows, out=tmp_path / "y.npy", threads=threads, stream=stream)
        np.testing.assert_array_equal(found, 2 * x[: found.size].reshape(-1, 7) + 1)

    def test_an_item_larger_than_a_buffer(self, c: Counted, tmp_path: Path) -> None:
        x = np.arange(3.0 * MIB).reshape(2, -1)
        found = c.function(SCALE)(x, out=tmp_path / "y.npy", threads=2)
        np.testing.assert_array_equal(found, 2 * x + 1)

    def test_one_call(self, c: Counted, tmp_path: Path) -> None:
        found = c.function(plus("f8"))(2.0, 3.0, out=tmp_path / "y.npy")
        assert (found.shape, found) == ((), 5)
        assert np.load(tmp_path / "y.npy") == 5

    def test_no_call(self, c: Counted, tmp_path: Path) -> None:
        found = c.function(SCALE)(np.ones((0, 3)), out=tmp_path / "y.npy")
        assert found.shape == np.load(tmp_path / "y.npy").shape == (0, 3)


@pytest.mark.any_engine
class TestNames:
    """A file gets its name when it is complete; an old file with that name exists until then."""

    def test_kinds(self, c: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        function = c.function(plus("f8"))
        for name in ("a.npy", Path("b.npy"), tmp_path / "c.npy", b"d.npy"):
            assert function(np.ones(3), 1.0, out=name).tolist() == [2, 2, 2]
        assert names(tmp_path) == ["a.npy", "b.npy", "c.npy", "d.npy"]
        # A bytes object is a name, and other objects with memory are arrays.
        with pytest.raises(mapcall.ArgumentError, match="expected float64, got"):
            function(np.ones(3), 1.0, out=bytearray(b"e.npy"))
        assert names(tmp_path) == ["a.npy", "b.npy", "c.npy", "d.npy"]

    def test_replaces_a_file(self, c: Counted, tmp_path: Path) -> None:
        path = tmp_path / "y.npy"
        np.save(path, np.zeros(9))
        path.chmod(0o640)
        old, inode = mapcall.open(path, mode="r"), path.stat().st_ino
        c.function(plus("f8"))(np.ones(3), 1.0, out=path)
        assert np.load(path).tolist() == [2, 2, 2]
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert path.stat().st_ino != inode
        # A map of the replaced file still has the old content.
        assert old.tolist() == [0] * 9
        assert names(tmp_path) == ["y.npy"]

    def test_permissions_of_a_new_one(self, c: Counted, tmp_path: Path) -> None:
        before = os.umask(0o027)
        try:
            c.function(plus("f8"))(np.ones(3), 1.0, out=tmp_path / "y.npy")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "y.npy").stat().st_mode) == 0o640

    def test_follows_links(self, c: Counted, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "link.npy").symlink_to("elsewhere/y.npy")
        for _ in range(2):
            c.function(plus("f8"))(np.ones(3), 1.0, out=tmp_path / "link.npy")
            assert (tmp_path / "link.npy").is_symlink()
            assert np.load(tmp_path / "elsewhere" / "y.npy").tolist() == [2, 2, 2]
            assert names(tmp_path / "elsewhere") == ["y.npy"]

    @pytest.mark.parametrize("stream", [None, True])
    @pytest.mark.parametrize("threads", [1, 2])
    def test_an_input_by_the_same_name(
        self, c: Counted, tmp_path: Path, threads: int, stream: bool | None
    ) -> None:
        path = tmp_path / "x.npy"
        x = np.arange(3.1 * MIB)
        np.save(path, x)
        old = mapcall.open(path, mode="r")
        function = c.function(plus("f8"))
        found = function(old, 1.0, out=path, threads=threads, stream=stream)
        np.testing.assert_array_equal(found, x + 1)
        np.testing.assert_array_equal(old, x)

    def test_the_directory_is_that_of_the_call(
        self, c: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path)

        def progress(done: int, calls: int) -> None:
            os.chdir(tmp_path / "other")

        found = c.function(NAP)(np.full(100, 0.001), out="y.npy", progress=progress)
        assert Path.cwd() == tmp_path / "other"
        assert found.shape == (100,)
        assert names(tmp_path) == ["other", "y.npy"]
        assert names(tmp_path / "other") == []

    def test_two_outputs(
        self, frexp: mapcall.Function, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "folder").symlink_to(".")
        (tmp_path / "link.npy").symlink_to("same.npy")
        for other in (
            "same.npy",
            "./same.npy",
            "folder/same.npy",
            "link.npy",
            tmp_path / "same.npy",
        ):
            before = names(tmp_path)
            with pytest.raises(mapcall.ArgumentError) as caught:
                frexp(np.ones(3), out=("same.npy", other))
            assert str(caught.value) == (
                "frexp: exponent: expected int32[1] in a file of its own,"
                f" got {tmp_path / other}, where the result goes; give it another name"
            )
            assert names(tmp_path) == before
        frexp(np.ones(3), out=("same.npy", "other.npy"))
        # Two names of one file are the same file.
        os.link("same.npy", "hard.npy")
        with pytest.raises(mapcall.ArgumentError, match=r"in a file of its own, got .*hard\.npy"):
            frexp(np.full(2, 4.0), out=("same.npy", "hard.npy"))

    def test_outputs_to_paths_that_are_no_files(
        self, c: Counted, tmp_path: Path, unchanged: Unchanged
    ) -> None:
        function = c.function(plus("f8"))
        (tmp_path / "folder.npy").mkdir()
        (tmp_path / "loop.npy").symlink_to("loop.npy")
        os.mkfifo(tmp_path / "pipe.npy")
        x = np.ones(3)
        before = c.called
        with unchanged(tmp_path):
            for path, expected in [
                ("folder.npy", IsADirectoryError),
                ("missing/y.npy", FileNotFoundError),
                ("loop.npy", OSError),
                ("pipe.npy", (OSError, ValueError)),
                ("", (OSError, ValueError)),
            ]:
                with pytest.raises(expected):
                    function(x, x, out=tmp_path / path)
            with pytest.raises((OSError, ValueError)):
                function(x, x, out="/dev/null")
        assert c.called == before


@pytest.mark.any_engine
class TestEnds:
    """A batch that fails leaves no new file, and no change in an old file."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        np.save(tmp_path / "y.npy", np.zeros(9))
        return tmp_path / "y.npy"

    @pytest.mark.parametrize("threads", [1, 2])
    def test_failures(self, c: Counted, path: Path, unchanged: Unchanged, threads: int) -> None:
        def odd(done: int, calls: int) -> None:
            raise LookupError

        def last(done: int, calls: int) -> None:
            if done == calls:
                raise LookupError

        def failing(code: int) -> None:
            raise mapcall.CallError("failed")

        codes = np.zeros(50_000, np.intc)
        codes[30_000] = 3
        with unchanged(path.parent):
            with pytest.raises(mapcall.CallError) as caught:
                c.function(STATUS, check="zero")(codes, threads=threads)
            assert caught.value.index == (30_000,)
            with pytest.raises(mapcall.CallError):
                c.function(STATUS, check=failing)(codes, out=path, threads=threads)
            for progress in (odd, last):
                with pytest.raises(LookupError):
                    c.function(NAP)(np.full(200, 1e-3), out=path, progress=progress)
            with pytest.raises(mapcall.ArgumentError):
                c.function(plus("f8"))(np.ones(3), np.ones(2), out=path)
            with pytest.raises(mapcall.ArgumentError):
                c.function(plus("f8"))(np.ones(3), np.ones(3), out=path, threads=-1)

    def test_a_second_output_that_cannot_be(
        self, frexp: mapcall.Function, path: Path, unchanged: Unchanged
    ) -> None:
        with unchanged(path.parent):
            with pytest.raises(FileNotFoundError):
                frexp(np.ones(3), out=(path, path.parent / "missing" / "z.npy"))
            with pytest.raises(mapcall.ArgumentError):
                frexp(np.ones(3), out=(path, np.ones((3, 1))))

    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("sync", [False, True])
    def test_interrupt(
        self, c: Counted, path: Path, unchanged: Unchanged, threads: int, sync: bool
    ) -> None:
        script = """
            import ctypes, os, signal, sys, threading
            import numpy as np
            import mapcall

            signal.signal(signal.SIGINT, signal.default_int_handler)
            library, path, threads, sync = sys.argv[1:]
            called = ctypes.c_int.in_dll(ctypes.CDLL(library), "called")
            add = mapcall.load(library).function(
                "void scale(size_t n, const double x[n], double y[n])")
            x = np.lib.stride_tricks.as_strided(np.ones(4096), (1 << 18, 4096), (0, 8))
            sent = []

            def send():
                sent.append(called.value)
                os.kill(os.getpid(), signal.SIGINT)

            threading.Timer(0.2, send).start()
            try:
                add(x, out=path, threads=int(threads), sync=sync == "True")
            except KeyboardInterrupt:
                print(called.value - sent[0])
        """
        with unchanged(path.parent):
            command = [sys.executable, "-c", textwrap.dedent(script), c.path, path, threads, sync]
            result = subprocess.run([*map(str, command)], capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
        # The batch has a quarter of a million calls.
        assert int(result.stdout) < 1 << 15

    def test_kill(self, c: Counted, path: Path) -> None:
        np.save(path.with_name("x.npy"), np.ones(1000))
        script = """
            import os, signal, sys
            import mapcall

            def progress(done, calls):
                os.kill(os.getpid(), signal.SIGKILL)

            library, x, y = sys.argv[1:]
            nap = mapcall.load(library).function("double nap(double seconds)")
            x = mapcall.open(x, mode="r+")
            x[:] = 0.001
            nap(x, out=y, progress=progress)
        """
        for name in ("y.npy", "z.npy"):
            before = path.read_bytes()
            command = [sys.executable, "-c", textwrap.dedent(script), c.path]
            files = [path.with_name("x.npy"), path.with_name(name)]
            result = subprocess.run([*map(str, command + files)], timeout=60)
            assert result.returncode == -signal.SIGKILL
            assert path.read_bytes() == before
            assert not path.with_name("z.npy").exists()
            assert np.load(path.with_name("x.npy")).tolist() == [0.001] * 1000
        try:
            os.close(os.open(path.parent, os.O_TMPFILE | os.O_RDWR))
        except OSError:
            pytest.skip("the file system knows no files without names, so that a hidden one stays")
        assert sorted(os.listdir(path.parent)) == ["x.npy", "y.npy"]

    @contextlib.contextmanager
    def small_disk(self, tmp_path: Path) -> Iterator[Path]:
        disk = tmp_path / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("a small disk needs the rights to mount one")
        try:
            yield disk
        finally:
            subprocess.run(["umount", str(disk)], check=True)

    def test_a_full_disk(self, c: Counted, tmp_path: Path) -> None:
        with self.small_disk(tmp_path) as disk:
            (disk / "y.npy").write_bytes(b"before")
            before = c.called
            for out in (disk / "y.npy", disk / "z.npy"):
                with pytest.raises(OSError, match=str(out)) as caught:
                    c.function(plus("f8"))(np.ones(MIB), 1.0, out=out)
                assert caught.value.errno == errno.ENOSPC
            assert c.called == before
            assert (disk / "y.npy").read_bytes() == b"before"
            assert names(disk) == ["y.npy"]
            c.function(plus("f8"))(np.ones(MIB // 4), 1.0, out=disk / "y.npy")

    def test_a_limit_of_file_sizes(self, c: Counted, path: Path, unchanged: Unchanged) -> None:
        before, limits = c.called, resource.getrlimit(resource.RLIMIT_FSIZE)
        with unchanged(path.parent):
            resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, limits[1]))
            try:
                with pytest.raises(OSError, match=str(path)) as caught:
                    c.function(plus("f8"))(np.ones(MIB), 1.0, out=path)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert caught.value.errno == errno.EFBIG
        assert c.called == before

    def test_data_and_names_are_on_the_disk(self, c: Counted, path: Path) -> None:
        """Both the data and the name are on the disk."""
        strace = subprocess.run(["which", "strace"], capture_output=True, text=True).stdout.strip()
        if not strace:
            pytest.skip("strace is missing")
        script = f"""
            import numpy as np, mapcall
            plus = mapcall.load({str(c.path)!r}).function({plus("f8")!r})
            plus(np.ones(3), 1.0, out={str(path)!r}, sync=True)
        """
        calls = ["-f", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2"]
        command = [strace, *calls, sys.executable, "-c", textwrap.dedent(script)]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        made = [
            line.split("(")[0].split()[-1] for line in result.stderr.splitlines() if "(" in line
        ]
        named = next(index for index, call in enumerate(made) if call.startswith("rename"))
        assert "fdatasync" in made[:named]
        assert "fsync" in made[named:]


# A script that runs in another process: a batch over files; it prints the maximum memory.
STREAM = """
    import sys
    from pathlib import Path
    import numpy as np
    import mapcall

    library, folder, kind, threads, stream = sys.argv[1:]
    folder, threads = Path(folder), int(threads)
    stream = {"None": None, "True": True, "False": False}[stream]
    scale = mapcall.load(library).function("void scale(size_t n, const double x[n], double y[n])")
    add = mapcall.load(library).function("void add(size_t n, double a, double x[n])")
    total = mapcall.load(library).function("double sum(size_t n, const double x[n])")
    held_up = mapcall.load(library).function("double held_up(size_t n, const double x[n])")
    MARKS = 97

    def rows(path, mode):
        x = mapcall.open(path, mode=mode)
        return x.reshape(-1, 1024)

    x = rows(folder / "x.npy", "c" if kind == "private" else "r+" if kind == "in place" else "r")
    keywords = {"threads": threads, "stream": stream}
    if kind != "held up":
        scale(np.ones((4, 1024)), threads=threads)
    Path("/proc/self/clear_refs").write_text("5")
    before = int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])
    if kind == "file":
        y = scale(x, out=str(folder / "y.npy"), **keywords)
    elif kind == "map":
        y = rows(folder / "y.npy", "r+")
        scale(x, y, **keywords)
    elif kind == "out":
        y = rows(folder / "y.npy", "r+")
        scale(x, out=y, **keywords)
    elif kind in ("in place", "private"):
        add(1.0, x, **keywords)
        y = x
    elif kind == "held up":
        y = held_up(x, **keywords)
    elif kind == "columns":
        # Rows that are not whole, and longer than what is dropped at once.
        x = x.reshape(2, -1, 1024)[:, 1:]
        y = total(x, **keywords)
    elif kind == "backwards":
        y = total(x[::-1], **keywords)
    elif kind == "interleaved":
        y = total(x.reshape(2, -1, 1024).transpose(1, 0, 2), out=np.empty((len(x) // 2, 2)),
                  **keywords)
    most = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    print(most - before)
    # Is it right?
    step = 1 << 14
    for start in range(0, len(x) if kind in ("file", "map", "out") else 0, step):
        expected = np.zeros((1, 1024)) + 1
        block = y[start : start + step]
        if start % MARKS == 0:
            assert block[0, 5] == 2 * start + 1, start
            block = block[1:]
        assert (block == 1).all(), start
        y.advise("dontneed")
"""


@pytest.mark.any_engine
class Large:
    """Files of several limits. Inputs are sparse, since only their pages in memory count."""

    SIZE = 1 << (30 if IS_LONG else 29)
    # The maximum memory of the process in KiB: buffers, stacks, the piece that is not dropped yet,
    # and the pieces by which one thread is ahead of another.
    MAX_MEMORY = 150 << 10

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Iterator[Path]:
        if not Path("/proc/self/clear_refs").exists():
            pytest.skip("this system does not tell the most memory that was taken")
        room = os.statvfs(tmp_path)
        if room.f_bavail * room.f_frsize < 3 * self.SIZE:
            pytest.skip("this disk has not enough space")
        self.sparse(tmp_path / "x.npy")
        yield tmp_path
        for path in tmp_path.iterdir():
            path.unlink()

    def sparse(self, path: Path) -> None:
        """Creates a file of zeros with some other numbers."""
        with open(path, "wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "<f8", "fortran_order": False, "shape": (self.SIZE // 8,)}
            )
            file.truncate(file.tell() + self.SIZE)
        x = mapcall.open(path, mode="r+").reshape(-1, 1024)
        for start in itertools.count(0, 1 << 14):
            if start >= len(x):
                break
            if start % 97 == 0:
                x[start, 5] = start

    def max_memory(
        self,
        library: Path,
        folder: Path,
        kind: str,
        threads: int,
        stream: bool | None,
        enter: Callable[[], None] | None = None,
    ) -> int:
        """Returns the maximum memory of a process that runs the batch, in KiB."""
        command = [sys.executable, "-c", textwrap.dedent(STREAM), library, folder, kind, threads]
        result = subprocess.run(
            [*map(str, [*command, stream])],
            capture_output=True,
            text=True,
            timeout=300,
            preexec_fn=enter,
        )
        assert result.returncode == 0, result.stderr
        return int(result.stdout)


class TestMemory(Large):
    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("kind", ["file", "map", "out", "in place", "columns", "held up"])
    def test_is_bounded(self, c: Counted, folder: Path, kind: str, threads: int) -> None:
        if kind in ("map", "out"):
            self.sparse(folder / "y.npy")
        assert self.max_memory(c.path, folder, kind, threads, True) < self.MAX_MEMORY

    def test_is_not_bounded_without_a_stream(self, c: Counted, folder: Path) -> None:
        assert self.max_memory(c.path, folder, "file", 1, False) > self.SIZE >> 11

    @pytest.mark.parametrize("kind", ["backwards", "interleaved"])
    def test_other_orders_give_the_same_results(
        self, c: Counted, tmp_path: Path, kind: str
    ) -> None:
        x = np.random.default_rng(1).random((6 * 1024, 1024))
        np.save(tmp_path / "x.npy", x)
        mapped = mapcall.open(tmp_path / "x.npy", mode="r")
        total = c.function("double sum(size_t n, const double x[n])")
        if kind == "backwards":
            x, mapped = x[::-1], mapped[::-1]
        else:
            x, mapped = (each.reshape(2, -1, 1024).transpose(1, 0, 2) for each in (x, mapped))
        expected = total(x, stream=False)
        for threads in (1, 2):
            found = total(mapped, stream=True, threads=threads)
            np.testing.assert_array_equal(found, expected)

    @pytest.mark.parametrize("threads", [1, 2])
    def test_private_changes_are_kept(self, c: Counted, tmp_path: Path, threads: int) -> None:
        np.save(tmp_path / "x.npy", np.zeros((6 * 1024, 1024)))
        x = mapcall.open(tmp_path / "x.npy", mode="c")
        c.function(ADD)(1.0, x, stream=True, threads=threads)
        assert (x == 1).all()
        assert not np.load(tmp_path / "x.npy", mmap_mode="r").any()


class Group:
    """A control group with a limit of memory, version 1 or 2."""

    def __init__(self, limit: int) -> None:
        self.folder = None
        name = f"mapcall-{uuid.uuid4().hex[:8]}"
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers == "":
                root, file = Path("/sys/fs/cgroup"), "memory.max"
            elif "memory" in controllers.split(","):
                root, file = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
            else:
                continue
            parent = root / group.strip("/")
            for base in (parent, root):
                folder = base / name
                try:
                    folder.mkdir()
                except OSError:
                    continue
                try:
                    (folder / file).write_text(str(limit))
                    self.folder = folder
                except OSError:
                    folder.rmdir()
                    continue
                return

    def enter(self) -> None:
        assert self.folder
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self) -> None:
        assert self.folder
        for _ in range(100):
            try:
                self.folder.rmdir()
                return
            except OSError:
                time.sleep(0.05)
        self.folder.rmdir()


class TestLimits(Large):
    """The limit also counts cached pages, so dirty pages must not reach it."""

    LIMIT = 256 << 20

    @pytest.fixture
    def group(self) -> Iterator[Group]:
        group = Group(self.LIMIT)
        if group.folder is None:
            pytest.skip("no control group with a limit of memory can be made here")
        yield group
        group.remove()

    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("kind", ["file", "map"])
    def test_a_stream_fits(
        self, c: Counted, folder: Path, group: Group, kind: str, threads: int
    ) -> None:
        if kind == "map":
            self.sparse(folder / "y.npy")
        assert self.max_memory(c.path, folder, kind, threads, True, group.enter) < self.MAX_MEMORY

    @pytest.mark.parametrize("threads", [1, 2])
    def test_streams_by_itself(self, c: Counted, folder: Path, group: Group, threads: int) -> None:
        assert self.max_memory(c.path, folder, "file", threads, None, group.enter) < 64 << 10
        # Without `sync`, the pages of the file fill the group's memory.
        assert self.max_memory(c.path, folder, "file", threads, False, group.enter) > 100 << 10
