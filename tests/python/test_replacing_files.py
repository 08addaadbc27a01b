"""Replaced files: their attributes, their state after a crash, and full disks."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall
from disks import MIB, ext4_image, mounted
from terminal import COMMAND

Script = Callable[..., str]
Unchanged = Callable[[Path], AbstractContextManager[None]]

COS = mapcall.load("m").function("double cos(double x)")
ZEROS = np.zeros(3)
OTHER_USER = 65534


def by_create(path: Path) -> list[float]:
    x = mapcall.create(path, 3, overwrite=True)
    x[:] = 1
    return x.tolist()


def by_out(path: Path) -> list[float]:
    y: np.ndarray[Any, Any] = COS(ZEROS, out=path)
    return y.tolist()


def by_command(path: Path) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/x.npy", ZEROS)
        run_command(f"x={folder}/x.npy", "-o", path)
    return [1, 1, 1]


def run_command(*arguments: object) -> None:
    command = [*COMMAND, "call", "m", "double cos(double x)", "-q"]
    ended = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)
    if ended.returncode:
        raise OSError(ended.stderr)


# Each way replaces the file by three ones.
WAYS = [by_create, by_out, by_command]
ways = pytest.mark.parametrize("way", WAYS, ids=["create", "out", "command"])
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can change users and mount")

# The same ways for scripts of another user, who may not be allowed to import other modules.
AS_ANOTHER_USER = f"""
    import os, sys, tempfile
    import numpy as np
    import mapcall

    cos = mapcall.load("m").function("double cos(double x)")
    with tempfile.TemporaryDirectory() as folder:
        cos(np.zeros(3), out=f"{{folder}}/a.npy")
        np.load(f"{{folder}}/a.npy")
    os.setgroups([])
    os.setgid({OTHER_USER})
    os.setuid({OTHER_USER})
    made = []

    def write(way, path):
        if way == "create":
            mapcall.create(path, 3, overwrite=True)[:] = 1
        else:
            cos(np.zeros(3), out=path, progress=lambda done, calls: made.append(done))
"""


def saved(path: Path, values: Any = (7.0, 8.0)) -> Path:
    np.save(path, np.array(values))
    return path


def has_ones(path: Path) -> bool:
    return np.load(path).tolist() == [1, 1, 1]


@pytest.fixture
def public() -> Iterator[Path]:
    """Yields a folder that other users may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


class TestOverwrite:
    """`create` replaces a file only if `overwrite` is given."""

    def test_a_file_that_exists(self, tmp_path: Path, unchanged: Unchanged) -> None:
        path = saved(tmp_path / "a.npy")
        (tmp_path / "link.npy").symlink_to("a.npy")
        with unchanged(tmp_path):
            for name in ("a.npy", "link.npy"):
                with pytest.raises(FileExistsError, match="give overwrite=True") as caught:
                    mapcall.create(tmp_path / name, 3)
                assert caught.value.errno == errno.EEXIST
                assert caught.value.filename == str(tmp_path / name)
                with pytest.raises(FileExistsError):
                    mapcall.create(tmp_path / name, 3, overwrite=False)
        assert mapcall.create(path, 3, overwrite=True).tolist() == [0, 0, 0]

    def test_paths_that_are_no_files(self, tmp_path: Path, unchanged: Unchanged) -> None:
        (tmp_path / "folder").mkdir()
        os.mkfifo(tmp_path / "pipe")
        with unchanged(tmp_path):
            for overwrite in (False, True):
                with pytest.raises(IsADirectoryError):
                    mapcall.create(tmp_path / "folder", 3, overwrite=overwrite)
                with pytest.raises(ValueError, match="pipe"):
                    mapcall.create(tmp_path / "pipe", 3, overwrite=overwrite)
                for name in ("new/", "new/.", "folder/new/.."):
                    with pytest.raises(OSError, match=r"."):
                        mapcall.create(f"{tmp_path}/{name}", 3, overwrite=overwrite)

    def test_only_one_makes_it(self, tmp_path: Path) -> None:
        """The name may be a link to a missing file, which the kernel follows."""
        (tmp_path / "link.npy").symlink_to("target.npy")
        for name, target in (("a.npy", "a.npy"), ("link.npy", "target.npy")):
            for _ in range(30):
                made: list[mapcall.memmap] = []
                refused: list[OSError] = []
                barrier = threading.Barrier(3)

                def make(value: int, name: str = name, made: Any = made, b: Any = barrier) -> None:
                    b.wait()
                    try:
                        x = mapcall.create(tmp_path / name, 100)
                    except FileExistsError as error:
                        refused.append(error)  # noqa: B023
                    else:
                        x[:] = value
                        made.append(x)

                threads = [threading.Thread(target=make, args=(value,)) for value in range(3)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                assert (len(made), len(refused)) == (1, 2)
                assert np.load(tmp_path / target).tolist() == made[0].tolist()
                (tmp_path / target).unlink()
        assert os.listdir(tmp_path) == ["link.npy"]


class TestAttributes:
    """A file that is replaced keeps its attributes, except for its set-id bits."""

    @needs_root
    @ways
    def test_owner_and_permissions(self, tmp_path: Path, way: Callable[[Path], object]) -> None:
        path = saved(tmp_path / "a.npy")
        for owner, group, mode in [(1000, 1001, 0o640), (1000, 0, 0o604), (0, 1001, 0o7755)]:
            os.chown(path, owner, group)
            path.chmod(mode)
            inode = path.stat().st_ino
            way(path)
            status = path.stat()
            assert (status.st_uid, status.st_gid) == (owner, group)
            assert stat.S_IMODE(status.st_mode) == mode & 0o1777
            assert status.st_ino != inode, "it was replaced"
            assert has_ones(path)

    # The version, then user::rw-, user:12345:rw-, group::r--, mask::rw-, other::r--.
    ACL = bytes.fromhex(
        "02000000 01000600ffffffff 0200060039300000 04000400ffffffff 10000600ffffffff"
        " 20000400ffffffff"
    )

    @ways
    def test_extended_attributes(self, tmp_path: Path, way: Callable[[Path], object]) -> None:
        path = saved(tmp_path / "a.npy")
        wanted = {"user.note": b"x" * 300, "user.none": b""}
        if os.getuid() == 0:
            wanted["trusted.note"] = b"y"
        try:
            for name, value in wanted.items():
                os.setxattr(path, name, value)
        except OSError:
            pytest.skip("the file system has no extended attributes")
        way(path)
        assert {name: os.getxattr(path, name) for name in wanted} == wanted
        assert has_ones(path)

    @ways
    def test_acl(self, tmp_path: Path, way: Callable[[Path], object]) -> None:
        path = saved(tmp_path / "a.npy")
        name = "system.posix_acl_access"
        try:
            os.setxattr(path, name, self.ACL)
        except OSError:
            pytest.skip("the file system has no ACLs")
        assert stat.S_IMODE(path.stat().st_mode) == 0o664, "the mask is shown as the group's"
        way(path)
        assert os.getxattr(path, name) == self.ACL
        assert stat.S_IMODE(path.stat().st_mode) == 0o664
        # The folder's default for new files doesn't apply to a file that replaces another one.
        os.setxattr(tmp_path, "system.posix_acl_default", self.ACL)
        os.removexattr(path, name)
        path.chmod(0o640)
        way(path)
        assert name not in os.listxattr(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640

    @needs_root
    def test_capabilities_are_dropped(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.npy")
        try:
            # Version 2, effective, cap_net_raw.
            os.setxattr(path, "security.capability", bytes.fromhex("0100000200200000" + "00" * 12))
        except OSError:
            pytest.skip("the file system has no capabilities")
        for links in (1, 2):
            by_create(path)
            assert "security.capability" not in os.listxattr(path)
            if links == 1:
                os.setxattr(
                    path, "security.capability", bytes.fromhex("0100000200200000" + "00" * 12)
                )
                os.link(path, tmp_path / "hard.npy")

    def test_flags(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.npy")

        def flags() -> str:
            command = ["lsattr", str(path)]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout

        if not shutil.which("chattr") or subprocess.run(["chattr", "+d", path]).returncode:
            pytest.skip("the file system has no flags")
        before = flags()
        by_out(path)
        assert flags() == before
        assert "d" in before.split()[0]


class TestInPlace:
    """A file that can't be replaced is written in place."""

    @ways
    def test_hard_links(self, tmp_path: Path, way: Callable[[Path], object]) -> None:
        path, other = saved(tmp_path / "a.npy"), tmp_path / "b.npy"
        path.chmod(0o4755)
        os.link(path, other)
        inode = path.stat().st_ino
        for values in ([1.0], np.arange(2000.0)):
            saved(path, values)
            assert way(path) == [1, 1, 1]
            assert path.stat().st_ino == other.stat().st_ino == inode
            assert has_ones(other)
            assert path.stat().st_size == 128 + 24
            assert stat.S_IMODE(path.stat().st_mode) == 0o755, "no set-id bits"
        assert sorted(os.listdir(tmp_path)) == ["a.npy", "b.npy"]

    def test_the_map_is_of_the_file(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.npy")
        os.link(path, tmp_path / "b.npy")
        for x in (mapcall.create(path, 3, overwrite=True), COS(ZEROS, out=path)):
            x[0] = 5
            assert np.load(tmp_path / "b.npy")[0] == 5
            x.flush()

    @pytest.mark.parametrize("threads", [1, 2])
    def test_an_input_that_maps_it(self, tmp_path: Path, threads: int) -> None:
        values = np.arange(3.1 * MIB)
        path = saved(tmp_path / "a.npy", values)
        os.link(path, tmp_path / "b.npy")
        x = mapcall.open(tmp_path / "b.npy")
        y = COS(x[::-1], out=path, threads=threads)
        expected = np.empty_like(values)
        COS(values[::-1], out=expected)
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(x, expected)

    def test_failures_leave_the_file_unchanged(self, tmp_path: Path, unchanged: Unchanged) -> None:
        path = saved(tmp_path / "a.npy")
        os.link(path, tmp_path / "b.npy")

        def stop(done: int, calls: int) -> None:
            raise LookupError

        with unchanged(tmp_path):
            with pytest.raises(LookupError):
                COS(np.zeros(MIB), out=path, progress=stop)
            with pytest.raises(ValueError, match=r"."):
                mapcall.create(path, 3, "O", overwrite=True)
            with pytest.raises(OSError, match=r"."):
                mapcall.create(path, 1 << 55, overwrite=True)
            with pytest.raises(OSError, match=r"."):
                COS(np.broadcast_to(0.0, 1 << 55), out=path)

    @needs_root
    @pytest.mark.parametrize("way", ["create", "out"])
    @pytest.mark.parametrize("mode", [0o755, 0o1777, 0o1755])
    def test_a_folder_that_permits_no_rename(
        self, public: Path, run_script: Script, way: str, mode: int
    ) -> None:
        folder = public / "folder"
        folder.mkdir()
        path = saved(folder / "a.npy")
        path.chmod(0o666)
        folder.chmod(mode)
        inode = path.stat().st_ino
        run_script(AS_ANOTHER_USER + "    write(*sys.argv[1:])", way, path)
        assert has_ones(path)
        assert (path.stat().st_ino, path.stat().st_uid) == (inode, 0)
        assert os.listdir(folder) == ["a.npy"]

    @needs_root
    def test_another_owner(self, public: Path, run_script: Script) -> None:
        """The folder allows to replace the file, but not by one of the same owner or group."""
        public.chmod(0o777)
        for owner, group in [(1000, OTHER_USER), (OTHER_USER, 1000)]:
            path = saved(public / "a.npy")
            os.chown(path, owner, group)
            path.chmod(0o666)
            for way in ("create", "out"):
                run_script(AS_ANOTHER_USER + "    write(*sys.argv[1:])", way, path)
                assert has_ones(path)
                assert (path.stat().st_uid, path.stat().st_gid) == (owner, group)
            path.unlink()

    @needs_root
    @ways
    def test_the_root_of_a_mount(self, tmp_path: Path, way: Callable[[Path], object]) -> None:
        """Containers have mounts of single files."""
        path, target = saved(tmp_path / "a.npy"), saved(tmp_path / "place.npy")
        if subprocess.run(["mount", "--bind", path, target], capture_output=True).returncode:
            pytest.skip("nothing can be mounted")
        try:
            way(target)
        finally:
            subprocess.run(["umount", target], check=True)
        assert has_ones(path)
        assert np.load(target).tolist() == [7, 8]

    @pytest.mark.parametrize("way", [by_create, by_out])
    def test_a_name_of_a_descriptor(self, tmp_path: Path, way: Callable[[Path], object]) -> None:
        path = saved(tmp_path / "a.npy")
        with open(path, "r+b") as file:
            way(Path(f"/proc/{os.getpid()}/fd/{file.fileno()}"))
            assert has_ones(path)
            path.unlink()
            if way is by_create:
                way(Path(f"/proc/{os.getpid()}/fd/{file.fileno()}"))


class TestRefusedBeforeTheFirstCall:
    """A final step that isn't permitted is refused before the first call."""

    @needs_root
    def test_by_permissions(self, public: Path, run_script: Script, unchanged: Unchanged) -> None:
        script = (
            AS_ANOTHER_USER
            + """
    for path in sys.argv[1:]:
        try:
            write("out", path)
        except OSError as error:
            print(type(error).__name__, len(made))
    """
        )
        path = saved(public / "a.npy")
        path.chmod(0o644)
        with unchanged(public):
            answer = run_script(script, path, public / "new.npy")
        assert answer.split() == ["PermissionError", "0"] * 2

    @needs_root
    @pytest.mark.parametrize("flag", ["i", "a"])
    def test_by_flags(self, tmp_path: Path, unchanged: Unchanged, flag: str) -> None:
        path = saved(tmp_path / "a.npy")
        if not shutil.which("chattr") or subprocess.run(["chattr", f"+{flag}", path]).returncode:
            pytest.skip("the file system has no flags")
        made: list[int] = []
        try:
            with unchanged(tmp_path), pytest.raises(PermissionError):
                COS(ZEROS, out=path, progress=lambda done, calls: made.append(done))
        finally:
            subprocess.run(["chattr", f"-{flag}", path], check=True)
        assert made == []

    def test_on_a_file_system_for_reading(self, tmp_path: Path) -> None:
        with mounted(tmp_path / "disk", "-t", "tmpfs", "none") as disk:
            saved(disk / "a.npy")
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            made: list[int] = []
            for name in ("a.npy", "new.npy"):
                with pytest.raises(OSError, match="Read-only"):
                    COS(ZEROS, out=disk / name, progress=lambda done, calls: made.append(done))
            assert made == []


class TestLinks:
    """The kernel follows links, by its own rules."""

    @ways
    def test_links_stay(self, tmp_path: Path, way: Callable[[Path], object]) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "other").symlink_to("folder")
        (tmp_path / "first.npy").symlink_to("second.npy")
        (tmp_path / "second.npy").symlink_to("other/../other/a.npy")
        for _ in range(2):
            # In the first round, the file doesn't exist.
            way(tmp_path / "first.npy")
            assert has_ones(tmp_path / "folder" / "a.npy")
            assert os.listdir(tmp_path / "folder") == ["a.npy"]
            assert (tmp_path / "first.npy").is_symlink()
            assert (tmp_path / "second.npy").is_symlink()
        assert stat.S_IMODE((tmp_path / "folder" / "a.npy").stat().st_mode) == 0o666 & ~umask()

    def test_no_links(self, tmp_path: Path, unchanged: Unchanged) -> None:
        victim = saved(tmp_path / "victim.npy")
        with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "nosymfollow", "none") as disk:
            (disk / "a.npy").symlink_to(victim)
            (disk / "new.npy").symlink_to(tmp_path / "new.npy")
            try:
                (disk / "a.npy").read_bytes()
            except OSError:
                pass
            else:
                pytest.skip("the kernel has no nosymfollow")
            with unchanged(victim):
                for way in WAYS:
                    for name in ("a.npy", "new.npy"):
                        with pytest.raises(OSError, match=r"."):
                            way(disk / name)
            assert not (tmp_path / "new.npy").exists()

    @needs_root
    def test_links_of_others(self, public: Path, unchanged: Unchanged) -> None:
        if Path("/proc/sys/fs/protected_symlinks").read_text().strip() != "1":
            pytest.skip("fs.protected_symlinks is not 1")
        victim, folder = saved(public / "victim.npy"), public / "sticky"
        folder.mkdir()
        folder.chmod(0o1777)
        for name, target in (("a.npy", victim), ("new.npy", public / "new.npy")):
            (folder / name).symlink_to(target)
            os.chown(folder / name, 1000, 1000, follow_symlinks=False)
        with unchanged(victim):
            for way in WAYS:
                for name in ("a.npy", "new.npy"):
                    with pytest.raises(OSError, match="denied"):
                        way(folder / name)
        assert not (public / "new.npy").exists()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class TestReturnedMap:
    def test_it_is_of_the_file_that_was_written(self, tmp_path: Path) -> None:
        """Two threads write to one name, again and again."""
        foreign = []

        def work(number: float) -> None:
            x = np.full(300, number)
            for _ in range(100):
                y = COS(x, out=tmp_path / "a.npy")
                if y[0] != np.cos(number) or not (y == y[0]).all():
                    foreign.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in (1.0, 2.0)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert foreign == []
        assert os.listdir(tmp_path) == ["a.npy"]

    def test_it_needs_no_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        y = COS(ZEROS, out="a.npy")
        os.replace(saved(tmp_path / "b.npy"), "a.npy")
        assert (y.tolist(), y.filename, y.mode) == ([1, 1, 1], tmp_path / "a.npy", "r+")


class TestFlush:
    """Flushing a map warns if its file was replaced."""

    @ways
    def test_after_each_way(self, tmp_path: Path, way: Callable[[Path], object]) -> None:
        path = saved(tmp_path / "a.npy", np.arange(5.0))
        x = mapcall.open(path, "r+")
        raw = mapcall.memmap(path, "f8", "r+", offset=128)
        x[0] = raw[1] = 7
        x.flush()
        raw.flush()
        way(path)
        for flush in (
            x.flush,
            x[2:].flush,
            lambda: x.flush(sync=False),
            x.base.flush,
            raw.flush,
        ):
            with pytest.warns(mapcall.ReplacedFileWarning, match=re.escape(str(path))) as caught:
                flush()
            assert caught[0].filename == __file__
        assert has_ones(path)
        assert x[:2].tolist() == [7, 7]

    def test_flushes_that_lose_nothing_do_not_warn(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.npy")
        x, read, private = (mapcall.open(path, mode) for mode in ("r+", "r", "c"))
        os.rename(path, tmp_path / "b.npy")
        x.flush()
        saved(path)
        read.flush()
        private.flush()
        with pytest.warns(mapcall.ReplacedFileWarning):
            x.flush()
        with tempfile.NamedTemporaryFile(dir=tmp_path) as file:
            file.write(bytes(100))
            y = mapcall.memmap(file, mode="r+")
            os.unlink(file.name)
            y.flush()
            Path(file.name).touch()
        os.link(tmp_path / "b.npy", tmp_path / "c.npy")
        os.replace(tmp_path / "c.npy", path)
        x.flush()

    def test_the_command_fails(self, tmp_path: Path) -> None:
        """The results would be in a file without a name."""
        source = "int rename(const char *, const char *);\n"
        source += (
            "void f(const char *from, const char *to, double *y) { *y = 1; rename(from, to); }"
        )
        (tmp_path / "f.c").write_text(source)
        library = tmp_path / "libf.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "f.c"], check=True)
        old, new = saved(tmp_path / "old.npy", [5.0]), saved(tmp_path / "new.npy", [6.0])
        prototype = "void f(const char *from, const char *to, double y[1])"
        command = [*COMMAND, "call", str(library), prototype]
        arguments = [f"from={new}", f"to={old}", f"y={old}"]
        ended = subprocess.run([*command, *arguments], capture_output=True, text=True)
        assert ended.returncode == 2
        assert ended.stderr.startswith(f'error: f: y: expected "{old}" to stay the file that')
        assert np.load(old).tolist() == [6]


class TestWPlus:
    def test_another_map_stays_valid(self, tmp_path: Path, run_script: Script) -> None:
        """The map is read all the time while the same process opens the file again."""
        script = """
            import os, sys, threading
            import mapcall

            path, is_over = sys.argv[1], False
            x = mapcall.memmap(path, "u1", "w+", shape=1 << 20)

            def read():
                while not is_over:
                    x[::4096].sum()

            thread = threading.Thread(target=read)
            thread.start()
            for _ in range(100):
                for shape in (1 << 20, 3 << 19, 1 << 20):
                    y = mapcall.memmap(path, "u1", "w+", shape=shape)
                    y[::1000] = 1
            is_over = True
            thread.join()
            y[5] = 42
            print(x[5], os.stat(path).st_size)
        """
        assert run_script(script, tmp_path / "a").split() == ["42", str(1 << 20)]

    @pytest.mark.parametrize("allocate", [False, True])
    @pytest.mark.parametrize("old", [0, 1, 100, 5000, 100_000])
    @pytest.mark.parametrize("offset", [0, 17, 4097])
    @pytest.mark.parametrize("size", [0, 1, 4096, 50_001])
    def test_as_numpy(
        self, tmp_path: Path, old: int, offset: int, size: int, allocate: bool
    ) -> None:
        files = tmp_path / "ours", tmp_path / "numpys"
        for file in files:
            file.write_bytes(b"x" * old)
        inode = files[0].stat().st_ino
        mapcall.memmap(files[0], "u1", "w+", offset, size, allocate=allocate)
        np.memmap(files[1], "u1", "w+", offset, size)
        assert files[0].read_bytes() == files[1].read_bytes()
        assert files[0].stat().st_ino == inode
        blocks = files[0].stat().st_blocks * 512
        assert blocks >= size if allocate else blocks <= files[1].stat().st_blocks * 512 + 4096


class TestFullDisks:
    @pytest.fixture
    def small(self, tmp_path: Path) -> Iterator[Path]:
        with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=4m", "none") as disk:
            yield disk

    @pytest.fixture
    def without(self, tmp_path: Path) -> Iterator[Path]:
        """Yields a file system that can't allocate in advance: ext3."""
        image = tmp_path / "image"
        with open(image, "wb") as file:
            file.truncate(16 << 20)
        make = ["mkfs.ext3", "-q", "-F", str(image)]
        if not shutil.which("mkfs.ext3") or subprocess.run(make).returncode:
            pytest.skip("mkfs.ext3 is missing")
        with mounted(tmp_path / "disk", "-t", "ext3", "-o", "loop", str(image)) as disk:
            with open(disk / "probe", "wb") as file:
                if has_fallocate(file.fileno()):
                    pytest.skip("this ext3 can take space in advance")
            (disk / "probe").unlink()
            yield disk

    def test_memmap(self, small: Path) -> None:
        sparse = mapcall.memmap(small / "sparse", "u1", "w+", shape=1 << 40)
        assert sparse.shape == (1 << 40,)
        old = small / "old"
        old.write_bytes(b"x" * 5000)
        for name, mode in [("new", "w+"), ("old", "w+"), ("old", "r+"), ("sparse", "r+")]:
            with pytest.raises(OSError, match=re.escape(str(small / name))) as caught:
                mapcall.memmap(small / name, "u1", mode, shape=5 * MIB, allocate=True)
            assert caught.value.errno == errno.ENOSPC
        assert not (small / "new").exists()
        assert old.read_bytes() == b"x" * 5000
        with open(old, "r+b") as file, pytest.raises(OSError, match=r"."):
            mapcall.memmap(file, "u1", "r+", shape=5 * MIB, allocate=True)
        assert old.read_bytes() == b"x" * 5000
        x = mapcall.memmap(old, "u1", "r+", shape=3 * MIB, allocate=True)
        assert x[:5000].tobytes() == b"x" * 5000
        assert old.stat().st_blocks * 512 >= 3 * MIB
        free = os.statvfs(small)
        # Another file takes the free space; the allocated space can still be written.
        (small / "rest").write_bytes(bytes(free.f_bavail * free.f_frsize))
        x[:] = 1

    def test_memmap_allocates_holes(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(b"x")
        os.truncate(path, MIB)
        x = mapcall.memmap(path, "u1", "r+", allocate=True)
        assert path.stat().st_blocks * 512 >= MIB
        assert (x[0], x[1:].any()) == (ord("x"), False)
        for mode in ("r", "c"):
            assert mapcall.memmap(path, "u1", mode, allocate=True).shape == (MIB,)

    def test_nothing_is_taken_that_cannot_fit(self, small: Path) -> None:
        """Otherwise other processes would find the disk full in the meantime."""
        strace = shutil.which("strace")
        if not strace:
            pytest.skip("strace is missing")
        script = f"""
            import numpy as np, mapcall
            cos = mapcall.load("m").function("double cos(double x)")
            for make in (
                lambda: mapcall.create({str(small / "a.npy")!r}, 1 << 20),
                lambda: cos(np.zeros(1 << 20), out={str(small / "a.npy")!r}),
                lambda: mapcall.memmap({str(small / "a")!r}, "f8", "w+", 0, 1 << 20, allocate=True),
            ):
                try:
                    make()
                except OSError as error:
                    print(error.errno)
        """
        command = [strace, "-f", "-e", "trace=fallocate,fstatfs", sys.executable, "-c"]
        ended = subprocess.run([*command, textwrap.dedent(script)], capture_output=True, text=True)
        assert ended.stdout.split() == [str(errno.ENOSPC)] * 3, ended.stderr
        assert "fallocate" not in ended.stderr
        assert ended.stderr.count("fstatfs") >= 3

    @pytest.mark.parametrize("kind", ["ramfs", "tmpfs"])
    def test_a_file_system_without_a_size(self, tmp_path: Path, kind: str) -> None:
        """Allocation would take all of the memory."""
        size = ("-o", "size=0") if kind == "tmpfs" else ()
        with mounted(tmp_path / "disk", "-t", kind, *size, "none") as disk:
            for overwrite in (False, True):
                x = mapcall.create(disk / "a.npy", MIB, overwrite=overwrite)
                # ramfs counts no blocks; tmpfs reserves blocks, without their pages.
                taken = os.stat(disk / "a.npy").st_blocks * 512 >= x.nbytes
                assert taken if kind == "tmpfs" else x.residency().all()
                assert COS(np.zeros(MIB), out=disk / "a.npy").all()
                with pytest.raises(OSError, match=r"a\.npy") as caught:
                    mapcall.create(disk / "a.npy", 1 << 40, overwrite=True)
                assert caught.value.errno == errno.ENOSPC
                os.unlink(disk / "a.npy")

    def test_a_file_system_that_takes_no_space_in_advance(self, without: Path) -> None:
        x = mapcall.create(without / "a.npy", MIB // 8)
        assert (without / "a.npy").stat().st_blocks * 512 >= MIB
        assert not x.any()
        assert COS(np.zeros(MIB // 8), out=without / "b.npy").all()
        os.link(without / "b.npy", without / "c.npy")
        for name in ("a.npy", "c.npy"):
            assert COS(np.zeros(MIB // 4), out=without / name).all()
            y = mapcall.create(without / name, MIB // 2, overwrite=True)
            assert (y.any(), y.shape) == (False, (MIB // 2,))
            assert (without / name).stat().st_blocks * 512 >= 4 * MIB
        for out in ("a.npy", "new.npy"):
            with pytest.raises(OSError, match=out) as caught:
                mapcall.create(without / out, 2 * MIB, overwrite=True)
            assert caught.value.errno == errno.ENOSPC
        with pytest.raises(OSError, match="not supported"):
            mapcall.memmap(without / "raw", "u1", "w+", shape=MIB, allocate=True)
        assert sorted(set(os.listdir(without)) - {"lost+found"}) == ["a.npy", "b.npy", "c.npy"]
        # Zeros are written to the existing file.
        old = mapcall.memmap(without / "raw", "u1", "w+", shape=MIB)
        old[:] = 1
        mapcall.memmap(without / "raw", "u1", "w+", shape=MIB)
        assert not old.any()


def has_fallocate(descriptor: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    length = ctypes.c_long(4096)
    return libc.fallocate(descriptor, 0, ctypes.c_long(0), length) == 0


class TestCrashes:
    def test_a_power_failure(self, tmp_path: Path) -> None:
        """The device in the state in which the journal with the new name has been written."""
        image, copy = ext4_image(tmp_path / "image", 64 * MIB), tmp_path / "copy"
        count, found = 300_000, {}
        with mounted(tmp_path / "live", "-o", "loop", str(image)) as disk:
            for name in ("create.npy", "out.npy", "in place.npy"):
                saved(disk / name, np.full(count, 42.0))
            os.link(disk / "in place.npy", disk / "second")
            os.sync()
            mapcall.create(disk / "create.npy", count, overwrite=True)
            COS(np.zeros(count), out=disk / "out.npy")
            COS(np.zeros(count), out=disk / "in place.npy", sync=True)
            with open(disk / "other", "w") as file:
                os.fsync(file.fileno())
            subprocess.run(["cp", "--sparse=always", image, copy], check=True)
        with mounted(tmp_path / "after", "-o", "loop", str(copy)) as disk:
            for name in ("create.npy", "out.npy", "in place.npy"):
                x = np.load(disk / name)
                assert x.shape == (count,)
                found[name] = np.unique(x).tolist()
        assert found == {"create.npy": [0], "out.npy": [1], "in place.npy": [1]}

    @ways
    def test_syncs(self, tmp_path: Path, way: Callable[[Path], object]) -> None:
        """`fdatasync` precedes a rename over another file; a new name needs none."""
        path = tmp_path / "a.npy"
        for is_there in (False, True):
            made = self.calls(way.__name__, path)
            assert ("fdatasync" in made) == is_there
            assert made[-1].startswith("rename" if is_there else "linkat")
            if is_there:
                assert made.index("fdatasync") < len(made) - 1
            assert has_ones(path) or way is by_create

    def calls(self, way: str, path: Path, inject: str | None = None) -> list[str]:
        strace = shutil.which("strace")
        if not strace:
            pytest.skip("strace is missing")
        script = f"""
            from pathlib import Path
            import numpy, mapcall
            import test_replacing_files as tests
            tests.{way}(Path({str(path)!r}))
        """
        traced = "fdatasync,fsync,rename,renameat,renameat2,linkat"
        command = [strace, "-f", "-e", f"trace={traced}", *(["-e", inject] if inject else [])]
        ended = subprocess.run(
            [*command, sys.executable, "-c", textwrap.dedent(script)],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        )
        assert ended.returncode == (-signal.SIGKILL if inject else 0), ended.stderr
        pattern = r"(?:\[pid +\d+\] )?(\w+)\("
        lines = ended.stderr.splitlines()
        found = [re.match(pattern, line) for line in lines if "resumed" not in line]
        return [match[1] for match in found if match]

    @pytest.mark.parametrize("is_there", [False, True])
    def test_a_kill_between_steps(self, tmp_path: Path, is_there: bool) -> None:
        """A new file is either missing or complete, and an existing one is complete."""
        path = tmp_path / "a.npy"
        for call in ("linkat", "rename,renameat,renameat2"):
            for old in tmp_path.iterdir():
                old.unlink()
            if is_there:
                saved(path)
            if call != "linkat" and not is_there:
                continue
            self.calls("by_out", path, f"inject={call}:signal=KILL:when=1")
            names = os.listdir(tmp_path)
            if is_there:
                assert np.load(path).tolist() in ([7, 8], [1, 1, 1])
                assert all(name == "a.npy" or name.endswith(".partial") for name in names)
            else:
                assert names in ([], ["a.npy"])
                assert not names or has_ones(path)
