"""Files whose pages can't be used, for each reason of a fault, and the mounts that they need."""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PAGE = mmap.PAGESIZE
REASONS = ["truncated", "closed", "io", "no space"]
CLONE_NEWNS = 0x20000
MS_NOSUID, MS_NODEV, MS_REC, MS_PRIVATE = 2, 4, 1 << 14, 1 << 18
MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


class MissingError(Exception):
    """Raised if this machine can't make files of a kind; says what it lacks."""


def _system(call: str, *arguments: object) -> None:
    if getattr(_libc, call)(*arguments):
        code = ctypes.get_errno()
        raise MissingError(f"{call} is not permitted here: {os.strerror(code)}")


def have_own_mounts() -> None:
    """Gives this process mounts of its own, which end with it and its children."""
    _system("unshare", CLONE_NEWNS)
    _system("mount", b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)


@contextmanager
def mounted(kind: str, folder: Path, options: str) -> Iterator[None]:
    """Mounts a file system, and unmounts it whether it is in use or not."""
    folder.mkdir(exist_ok=True)
    flags = ctypes.c_ulong(MS_NOSUID | MS_NODEV)
    target = os.fsencode(folder)
    _system("mount", b"mapcall-test", target, kind.encode(), flags, options.encode())
    try:
        yield
    finally:
        _libc.umount2(target, MNT_DETACH)


@contextmanager
def failing(source: Path, folder: Path, bad: list[tuple[str, int, int]]) -> Iterator[Path]:
    """Mirrors a folder through FUSE; reads of the bytes in `bad` (name, start, end) give EIO."""
    try:
        connection = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        raise MissingError(f"/dev/fuse can't be opened: {error.strerror}") from None
    try:
        options = f"fd={connection},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
        with mounted("fuse", folder, options):
            script = Path(__file__).with_name("fuse.py")
            server = subprocess.Popen(
                [sys.executable, "-I", "-S", script, str(connection), source, json.dumps(bad)],
                pass_fds=[connection],
            )
            os.close(connection)
            connection = -1
            try:
                yield folder
            finally:
                # Without its server, every request to the file system fails at once.
                server.kill()
                server.wait()
    finally:
        if connection >= 0:
            os.close(connection)


@contextmanager
def full(folder: Path, populate: Callable[[Path], object]) -> Iterator[Path]:
    """Mounts a tmpfs, has it populated, and takes what space is left."""
    with mounted("tmpfs", folder, "size=2m"):
        populate(folder)
        with open(folder / "filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(PAGE))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        yield folder
