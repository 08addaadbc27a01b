"""Files that can't be mapped: each raises its own error, and nothing changes on the disk."""

import os
import socket
import subprocess
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import mapcall

Script = Callable[..., str]
Unchanged = Callable[[Path], AbstractContextManager[None]]

MODES = ["r", "r+", "w+", "c"]
NOBODY_UID = 65534


# A script that tries one way to open a file, and prints the error.
ATTEMPT = """
    import sys
    import mapcall
    way, path, mode = sys.argv[1:]
    try:
        if way == "memmap":
            mapcall.memmap(path, "u1", mode, shape=4)
        elif way == "file object":
            with open(path, "rb" if mode in "rc" else "r+b", buffering=0) as file:
                mapcall.memmap(file, "u1", mode, shape=4)
        elif way == "open":
            mapcall.open(path, mode)
        else:
            mapcall.create(path, 4)
    except Exception as error:
        print(type(error).__name__, getattr(error, "errno", None), error, sep="|")
    else:
        print("no error")
"""


def ways() -> list[tuple[str, str]]:
    named = [("memmap", mode) for mode in MODES]
    return [*named, *[("open", mode) for mode in ("r", "r+", "c")], ("create", "w+")]


class TestNotRegular:
    """Opening must neither block nor read data that can be read only once."""

    @pytest.mark.parametrize(("way", "mode"), ways())
    def test_pipe(
        self, tmp_path: Path, run_in_fork: Script, unchanged: Unchanged, way: str, mode: str
    ) -> None:
        os.mkfifo(tmp_path / "pipe")
        with unchanged(tmp_path):
            answer = run_in_fork(ATTEMPT, way, tmp_path / "pipe", mode, timeout=20)
        kind, _, message = answer.split("|", 2)
        assert kind in ("ValueError", "OSError")
        assert "regular" in message or "pipe" in message or "No such device" in message

    @pytest.mark.parametrize(("way", "mode"), ways())
    def test_socket(
        self,
        tmp_path: Path,
        run_in_fork: Script,
        monkeypatch: pytest.MonkeyPatch,
        way: str,
        mode: str,
    ) -> None:
        # The names of sockets must be short.
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
            answer = run_in_fork(ATTEMPT, way, tmp_path / "socket", mode, timeout=20)
        assert answer.split("|")[0] in ("ValueError", "OSError")

    @pytest.mark.parametrize(
        ("way", "mode"), [*ways(), ("file object", "r"), ("file object", "r+")]
    )
    @pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/urandom"])
    def test_device(self, run_in_fork: Script, device: str, way: str, mode: str) -> None:
        before = os.stat(device)
        answer = run_in_fork(ATTEMPT, way, device, mode, timeout=20)
        # Devices with memory can be mapped as raw files.
        if device == "/dev/zero" and way in ("memmap", "file object"):
            assert answer.strip() == "no error"
        else:
            assert answer.split("|")[0] in ("ValueError", "OSError")
        after = os.stat(device)
        assert (after.st_mode, after.st_rdev) == (before.st_mode, before.st_rdev)

    @pytest.mark.parametrize(("way", "mode"), ways())
    def test_directory(
        self, tmp_path: Path, run_in_fork: Script, unchanged: Unchanged, way: str, mode: str
    ) -> None:
        (tmp_path / "folder").mkdir()
        with unchanged(tmp_path):
            answer = run_in_fork(ATTEMPT, way, tmp_path / "folder", mode)
        kind, number, message = answer.split("|", 2)
        assert (kind, number) == ("IsADirectoryError", "21")
        assert str(tmp_path / "folder") in message

    def test_a_pipe_as_object(self) -> None:
        reading, writing = os.pipe()
        with open(reading, "rb", buffering=0) as pipe, open(writing, "wb", buffering=0) as other:
            other.write(b"12345678")
            with pytest.raises(OSError, match=r"."):
                mapcall.memmap(pipe, mode="r", shape=4)
            assert pipe.read(8) == b"12345678"

    @pytest.mark.parametrize("name", ["/proc/self/status", "/proc/self/mem", "/sys/kernel/notes"])
    def test_pseudo_files(self, name: str) -> None:
        if not os.path.exists(name):
            pytest.skip(f"this system has no {name}")
        with pytest.raises((ValueError, OSError)):
            mapcall.memmap(name, mode="r", shape=10_000_000)


class TestNames:
    @pytest.mark.parametrize(("way", "mode"), ways())
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("missing/file", "FileNotFoundError"),
            ("file/below", "NotADirectoryError"),
            ("loop", "OSError"),
            ("n" * 300, "OSError"),
            ("", "FileNotFoundError"),
        ],
    )
    def test_lead_nowhere(
        self,
        tmp_path: Path,
        run_in_fork: Script,
        unchanged: Unchanged,
        name: str,
        expected: str,
        way: str,
        mode: str,
    ) -> None:
        (tmp_path / "file").write_bytes(b"x" * 100)
        (tmp_path / "loop").symlink_to("loop")
        with unchanged(tmp_path):
            answer = run_in_fork(ATTEMPT, way, f"{tmp_path}/{name}" if name else "", mode)
        assert answer.split("|")[0] == expected

    @pytest.mark.parametrize("mode", ["r", "r+", "c"])
    def test_missing(self, tmp_path: Path, unchanged: Unchanged, mode: str) -> None:
        with unchanged(tmp_path):
            for missing in (
                lambda: mapcall.memmap(tmp_path / "a", mode=mode),
                lambda: mapcall.open(tmp_path / "a", mode),
            ):
                with pytest.raises(FileNotFoundError) as caught:
                    missing()
                assert caught.value.filename == str(tmp_path / "a")

    @pytest.mark.parametrize("name", [3, None, 2.5, ["a"], object(), np.str_])
    def test_no_names(self, name: Any) -> None:
        for refused in (mapcall.memmap, mapcall.open, lambda name: mapcall.create(name, 3)):
            with pytest.raises(TypeError):
                refused(name)

    def test_nul(self, tmp_path: Path, unchanged: Unchanged) -> None:
        with unchanged(tmp_path):
            for refused in (
                lambda: mapcall.memmap(f"{tmp_path}/a\0b", mode="w+", shape=3),
                lambda: mapcall.open(f"{tmp_path}/a\0b"),
                lambda: mapcall.create(f"{tmp_path}/a\0b", 3),
            ):
                with pytest.raises(ValueError, match="null byte"):
                    refused()

    def test_closed_file(self, tmp_path: Path) -> None:
        with open(tmp_path / "file", "w+b") as file:
            file.write(b"x" * 10)
        with pytest.raises(ValueError, match="closed file"):
            mapcall.memmap(file)

    def test_an_object_that_lies(self, tmp_path: Path) -> None:
        class Liar:
            name = "x"

            def __init__(self, descriptor: Any) -> None:
                self.descriptor = descriptor

            def read(self) -> bytes:
                return b""

            def seek(self, *_: int) -> int:
                return 0

            def tell(self) -> int:
                return 100

            def fileno(self) -> Any:
                return self.descriptor

        for descriptor in (-1, 12345, "3", None, 1 << 40, 2.5):
            with pytest.raises((TypeError, ValueError, OverflowError, OSError)):
                mapcall.memmap(Liar(descriptor), mode="r")


class TestPermissions:
    @pytest.fixture
    def as_nobody(self, run_in_fork: Script) -> Script:
        """Returns a function like `run_in_fork`, which runs a script as an unprivileged user."""
        become = f"os.setgroups([]); os.setgid({NOBODY_UID}); os.setuid({NOBODY_UID})"

        def run(script: str, *arguments: object) -> str:
            return run_in_fork(f"import os; {become}\n{textwrap.dedent(script)}", *arguments)

        return run

    @pytest.fixture
    def forbidden(self) -> Iterator[Path]:
        """Yields a file without permissions for others, in a folder that they may only enter."""
        if os.getuid() != 0:
            pytest.skip("only root can change the user id")
        # Others may not enter pytest's folders.
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            path = Path(folder) / "file.npy"
            np.save(path, np.arange(10))
            path.chmod(0o600)
            yield path

    @pytest.mark.parametrize(("way", "mode"), ways())
    def test_none(
        self, as_nobody: Script, forbidden: Path, unchanged: Unchanged, way: str, mode: str
    ) -> None:
        with unchanged(forbidden.parent):
            answer = as_nobody(ATTEMPT, way, forbidden, mode)
        kind, number, message = answer.split("|", 2)
        assert (kind, number) == ("PermissionError", "13")
        assert str(forbidden) in message

    @pytest.mark.parametrize("way", ["memmap", "open"])
    @pytest.mark.parametrize("mode", ["r", "c"])
    def test_reading_is_enough_for_reading(
        self, as_nobody: Script, forbidden: Path, way: str, mode: str
    ) -> None:
        forbidden.chmod(0o644)
        assert as_nobody(ATTEMPT, way, forbidden, mode) == "no error\n"

    @pytest.mark.parametrize(
        ("way", "mode"), [("memmap", "r+"), ("memmap", "w+"), ("open", "r+"), ("create", "w+")]
    )
    def test_reading_is_not_enough_for_writing(
        self, as_nobody: Script, forbidden: Path, unchanged: Unchanged, way: str, mode: str
    ) -> None:
        forbidden.chmod(0o644)
        with unchanged(forbidden.parent):
            answer = as_nobody(ATTEMPT, way, forbidden, mode)
        assert answer.split("|")[0] == "PermissionError"

    @pytest.mark.parametrize("way", ["memmap", "create"])
    def test_a_new_file_in_a_folder_of_others(
        self, as_nobody: Script, forbidden: Path, unchanged: Unchanged, way: str
    ) -> None:
        with unchanged(forbidden.parent):
            answer = as_nobody(ATTEMPT, way, forbidden.parent / "new", "w+")
        assert answer.split("|")[0] == "PermissionError"

    def test_a_file_opened_for_reading(self, tmp_path: Path, unchanged: Unchanged) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"x" * 100)
        with open(path, "rb") as file, unchanged(path):
            for mode in ("r+", "w+"):
                with pytest.raises(PermissionError):
                    mapcall.memmap(file, mode=mode, shape=10)
                # If the file has to grow, the file object raises the error.
                with pytest.raises(OSError, match=r"."):
                    mapcall.memmap(file, mode=mode, shape=1000)
            assert mapcall.memmap(file, mode="c", shape=10)[0] == ord("x")

    def test_a_file_opened_for_writing_only(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        with open(path, "wb") as file:
            file.write(b"x" * 100)
            for mode in MODES:
                with pytest.raises(PermissionError):
                    mapcall.memmap(file, mode=mode, shape=10)
        assert path.read_bytes() == b"x" * 100

    def test_a_running_program(self, tmp_path: Path) -> None:
        program = tmp_path / "sleep"
        program.write_bytes(Path("/bin/sleep").read_bytes())
        program.chmod(0o755)
        with subprocess.Popen([program, "60"]) as running:
            try:
                with pytest.raises(OSError, match="busy"):
                    mapcall.memmap(program, mode="w+", shape=10)
            finally:
                running.kill()
        assert program.read_bytes() == Path("/bin/sleep").read_bytes()


HUGE = [
    1 << 31,
    1 << 32,
    1 << 40,
    1 << 62,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
    1 << 64,
    1 << 100,
]


class TestNumbers:
    """A number that doesn't fit is written in no mode; NumPy grows or empties the file first."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        made = tmp_path / "file"
        made.write_bytes(bytes(range(100)))
        return made

    @pytest.mark.parametrize("mode", ["r", "c"])
    @pytest.mark.parametrize("number", HUGE)
    def test_beyond_the_file(
        self, path: Path, unchanged: Unchanged, number: int, mode: str
    ) -> None:
        with unchanged(path):
            for arguments in [
                ("u1", mode, number),
                ("u1", mode, number, 1),
                ("u1", mode, 0, number),
                ("u1", mode, 0, (number, number)),
                ("u1", mode, 1, (number, 3)),
                ("f8", mode, number, number),
                ("V1000", mode, 0, (number,)),
            ]:
                with pytest.raises((ValueError, OverflowError)):
                    mapcall.memmap(path, *arguments)

    @pytest.mark.parametrize("mode", ["r+", "w+"])
    @pytest.mark.parametrize("number", [each for each in HUGE if each >= 1 << 62])
    def test_beyond_any_file(
        self, path: Path, unchanged: Unchanged, number: int, mode: str
    ) -> None:
        with unchanged(path):
            for arguments in [
                ("f8", mode, number, 1),
                ("f8", mode, 0, number),
                ("u1", mode, 0, (number, number)),
                ("f8", mode, 1, (number, 3)),
                ("f8", mode, number, number),
            ]:
                with pytest.raises((ValueError, OverflowError, OSError)):
                    mapcall.memmap(path, *arguments)

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("offset", [-1, -(1 << 62), np.int8(-1), np.int64(-4096)])
    def test_negative_offset(
        self, path: Path, unchanged: Unchanged, offset: int, mode: str
    ) -> None:
        with unchanged(path), pytest.raises(OverflowError, match="offset must be positive"):
            mapcall.memmap(path, mode=mode, offset=offset, shape=3)

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("shape", [-1, (2, -1), (0, -1), (np.int8(-1),)])
    def test_negative_shape(self, path: Path, unchanged: Unchanged, shape: Any, mode: str) -> None:
        with unchanged(path), pytest.raises(ValueError, match="negative dimensions"):
            mapcall.memmap(path, mode=mode, shape=shape)

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("number", [-(1 << 63) - 1, -(1 << 100)])
    def test_below_any_integer_of_c(
        self, path: Path, unchanged: Unchanged, number: int, mode: str
    ) -> None:
        with unchanged(path):
            for arguments in [
                {"offset": number, "shape": 3},
                {"shape": number},
                {"shape": (2, number)},
            ]:
                with pytest.raises((ValueError, OverflowError)):
                    mapcall.memmap(path, mode=mode, **arguments)

    @pytest.mark.parametrize("mode", MODES)
    def test_too_many_axes(self, path: Path, unchanged: Unchanged, mode: str) -> None:
        with unchanged(path):
            with pytest.raises(ValueError, match="maximum supported dimension"):
                mapcall.memmap(path, mode=mode, shape=(1,) * 65)
            # The message is NumPy's for axes of a dtype.
            with pytest.raises(ValueError, match=r"number of dimensions must be within"):
                mapcall.memmap(path, ("u1", (1,) * 60), mode, shape=(1,) * 5)

    def test_a_shape_that_raises(self, path: Path, unchanged: Unchanged) -> None:
        def lengths() -> Any:
            yield 3
            raise KeyError("mine")

        with unchanged(path), pytest.raises(KeyError, match="mine"):
            mapcall.memmap(path, mode="w+", shape=lengths())

    def test_more_than_the_address_space(self, path: Path, unchanged: Unchanged) -> None:
        with unchanged(path), pytest.raises(OSError, match=r"."):
            mapcall.memmap(path, mode="w+", shape=1 << 60)

    def test_a_full_disk_is_not_noticed_by_a_sparse_file(self, path: Path) -> None:
        # The file is sparse, as with numpy.memmap; `create` allocates.
        x = mapcall.memmap(path, mode="r+", shape=1 << 40)
        assert x[99] == 99
        assert path.stat().st_blocks * 512 < 1 << 20

    def test_no_memory_for_the_map(self, path: Path, run_script: Script) -> None:
        script = """
            import resource, sys
            import mapcall
            size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + (64 << 20), -1))
            for mode in ("r+", "w+"):
                try:
                    mapcall.memmap(sys.argv[1], mode=mode, shape=1 << 32)
                except OSError as error:
                    print(error.errno)
        """
        assert run_script(script, path) == "12\n12\n"
        assert path.read_bytes() == bytes(range(100))

    def test_a_file_size_limit(self, path: Path, unchanged: Unchanged, run_script: Script) -> None:
        script = """
            import resource, signal, sys
            import mapcall
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, -1))
            for mode in ("r+", "w+"):
                try:
                    mapcall.memmap(sys.argv[1], mode=mode, shape=1 << 21)
                except OSError as error:
                    print(error.errno)
            try:
                mapcall.create(sys.argv[1] + ".npy", 1 << 21)
            except OSError as error:
                print(error.errno)
        """
        with unchanged(path.parent):
            assert run_script(script, path) == "27\n27\n27\n"


class TestAfterwards:
    """If the arguments of 'w+' can't work, the old file stays, and no new one is created."""

    BAD: ClassVar[list[dict[str, Any]]] = [
        {"shape": None},
        {"shape": -1},
        {"shape": (1 << 62, 8)},
        {"shape": 2.5},
        {"shape": 4, "dtype": "nonsense"},
        {"shape": 4, "dtype": "O"},
        {"shape": 4, "offset": -1},
        {"shape": 4, "offset": 1 << 63},
        {"shape": 4, "offset": "4"},
        {"shape": 4, "order": "X"},
        {"shape": (1,) * 65},
        {"shape": 1 << 60},
        {"shape": 4, "mode": "w"},
    ]

    @pytest.mark.parametrize("bad", BAD, ids=str)
    def test_an_old_file_is_left_unchanged(
        self, tmp_path: Path, unchanged: Unchanged, bad: dict[str, Any]
    ) -> None:
        (tmp_path / "file").write_bytes(b"precious")
        with unchanged(tmp_path), pytest.raises((ValueError, TypeError, OverflowError, OSError)):
            mapcall.memmap(tmp_path / "file", **{"mode": "w+"} | bad)

    @pytest.mark.parametrize("bad", BAD, ids=str)
    def test_no_new_file_is_made(
        self, tmp_path: Path, unchanged: Unchanged, bad: dict[str, Any]
    ) -> None:
        (tmp_path / "folder").mkdir()
        with pytest.raises((ValueError, TypeError, OverflowError, OSError)):
            mapcall.memmap(tmp_path / "folder" / "file", **{"mode": "w+"} | bad)
        assert list((tmp_path / "folder").iterdir()) == []

    @pytest.mark.parametrize("size", [0, 1, 99])
    @pytest.mark.parametrize("mode", ["r", "c"])
    def test_reading_modes_never_grow(
        self, tmp_path: Path, unchanged: Unchanged, size: int, mode: str
    ) -> None:
        path = tmp_path / "file"
        path.write_bytes(bytes(size))
        with unchanged(path), pytest.raises(ValueError, match=r"greater than file size|empty"):
            mapcall.memmap(path, mode=mode, shape=100)
