"""Disks of files, which a test mounts, fills and copies."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

MIB = 1 << 20


@contextlib.contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[Path]:
    """Mounts a file system for a block; skips the test where that is not permitted."""
    folder.mkdir()
    mount = ["mount", *arguments, str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip(f"{' '.join(mount[:-1])} is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def ext4_image(path: Path, size: int) -> Path:
    """Makes a file that holds an empty ext4."""
    if not shutil.which("mkfs.ext4"):
        pytest.skip("mkfs.ext4 is missing")
    with open(path, "wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-F", path], check=True)
    return path
