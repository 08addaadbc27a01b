"""The part of a worker that has the file of a library."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple

from distributed import Worker, WorkerPlugin

from .. import _pickling
from .._pickling import Copy

logger = logging.getLogger(__name__)

# The seconds that the initialisers of a library may take.
LOADING = 60


class LibraryPlugin(WorkerPlugin):
    """A library's file in a worker, to which references can refer.

    >>> LibraryPlugin("libkern.so", "d1ce", b"", {}).name
    'mapcall-libkern.so-d1ce'

    Parameters
    ----------
    file : str
        The name of the library's file.
    digest : str
        Its digest.
    data : bytes
        Its content.
    headers : dict
        The texts of its headers, by their `_pickling.header_key`.
    """

    idempotent = True

    def __init__(self, file: str, digest: str, data: bytes, headers: dict[Any, str]) -> None:
        self.file = file
        self.digest = digest
        self.data = data
        self.headers = headers
        self.name = f"mapcall-{file}-{digest}"
        if headers:
            self.name += "-" + _pickling.digest_of(repr(sorted(headers.items())).encode())
        self.platform = sys.platform
        self.folder: str | None = None
        self.copy: Copy | None = None
        self.refusal: str | None = None

    async def setup(self, worker: Worker) -> None:
        """Write the file, and see whether it loads."""
        self.refusal = await asyncio.to_thread(self._install, worker.local_directory)
        # The worker keeps the plugin.
        self.data, self.headers = b"", {}
        if self.refusal is not None:
            self._remove()
            _pickling.refuse_copy(self.digest, self.refusal)
            logger.warning("%s has refused %s: %s", worker.address, self.file, self.refusal)

    def teardown(self, worker: Worker) -> None:
        """Remove the file."""
        self._remove()

    def _install(self, local_directory: str) -> str | None:
        """Make the copy, and return why it can't be used."""
        if (reason := unfit(self.data, self.platform)) is not None:
            return reason
        try:
            # Only its user may enter it.
            self.folder = tempfile.mkdtemp(prefix="mapcall-", dir=local_directory)
            path = os.path.join(self.folder, self.file)
            _write(path, self.data)
            if (found := _pickling.digest(path)) != self.digest:
                return f"expected the digest {self.digest}, got {found} from the disk, in {path}"
            headers = {}
            for number, (key, text) in enumerate(self.headers.items()):
                headers[key] = os.path.join(self.folder, f"{number}.h")
                _write(headers[key], text.encode())
            if (reason := _loading_error(path)) is not None:
                return reason
        except OSError as error:
            return f"{type(error).__name__}: {error}"
        self.copy = Copy(path, headers)
        _pickling.add_copy(self.digest, self.copy)
        return None

    def _remove(self) -> None:
        if self.copy is not None:
            _pickling.remove_copy(self.digest, self.copy)
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.copy = self.folder = None


def _write(path: str, data: bytes) -> None:
    with open(path, "xb", opener=lambda path, flags: os.open(path, flags, 0o500)) as file:
        file.write(data)


# The child prints the loader's message. It has the environment of the worker.
LOAD = """
import ctypes, os, sys
try:
    ctypes.CDLL(sys.argv[1], os.RTLD_NOW)
except OSError as error:
    print(error, end="")
"""


def _loading_error(path: str) -> str | None:
    """Load a library in a child process, and return why that fails."""
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-c", LOAD, path],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LOADING,
        )
    except subprocess.TimeoutExpired:
        return f"its initialisers run for more than {LOADING} s"
    if child.returncode < 0:
        return f"its initialisers end the process by {signal.Signals(-child.returncode).name}"
    if child.returncode > 0:
        return f"its initialisers end the process with exit code {child.returncode}"
    if not child.stdout:
        return None
    if os.statvfs(path).f_flag & os.ST_NOEXEC:
        folder = os.path.dirname(path)
        return (
            f"{child.stdout}; the file system of {folder} allows no code, start the worker with "
            "another --local-directory"
        )
    return child.stdout


MACHINES = {3: "x86", 21: "ppc64", 22: "s390", 40: "arm", 62: "x86-64", 183: "aarch64"}
MACHINES |= {243: "riscv", 258: "loongarch"}
SYSTEMS = {0: "System V", 3: "Linux", 9: "FreeBSD", 12: "OpenBSD"}


class Platform(NamedTuple):
    """The platform of an ELF file: the parts of its header that differ between platforms.

    >>> str(Platform(64, "little", 0, 62))
    'x86-64 (64-bit, little-endian, System V ABI)'
    """

    bits: int
    order: str
    system: int
    machine: int

    @classmethod
    def of(cls, data: bytes) -> Platform | None:
        """Return the platform of a file by its first bytes; None if it is no ELF file.

        >>> Platform.of(b"no library") is None
        True
        """
        # The ELF header, in the gABI's chapter 4: e_ident, e_type, e_machine.
        if len(data) < 20 or data[:4] != b"\x7fELF":
            return None
        order = "big" if data[5] == 2 else "little"
        (machine,) = struct.unpack_from(">H" if order == "big" else "<H", data, 18)
        return cls(64 if data[4] == 2 else 32, order, data[7], machine)

    def __str__(self) -> str:
        machine = MACHINES.get(self.machine, f"machine {self.machine}")
        system = SYSTEMS.get(self.system, str(self.system))
        return f"{machine} ({self.bits}-bit, {self.order}-endian, {system} ABI)"


def unfit(data: bytes, platform: str) -> str | None:
    """Return why a library is not for the platform of this process; None if it is.

    >>> unfit(b"no library", "aix")
    'it was sent from aix, the worker runs on ...'

    Parameters
    ----------
    data : bytes
        The content of the library's file.
    platform : str
        The `sys.platform` of its sender.
    """
    if platform != sys.platform:
        return f"it was sent from {platform}, the worker runs on {sys.platform}"
    if not sys.platform.startswith("linux"):
        return None
    with open("/proc/self/exe", "rb") as file:
        own = Platform.of(file.read(64))
    found = Platform.of(data)
    if found is None:
        return "it is no ELF file"
    # GNU's linker sets its ABI where it uses an extension, which glibc's loader accepts.
    systems = (0, 3)
    if own is None or found._replace(system=own.system) != own or found.system not in systems:
        return f"it is for {found}, the worker is {own}"
    return None
