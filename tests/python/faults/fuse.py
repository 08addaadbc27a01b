"""A FUSE file system that mirrors a folder, and answers reads of chosen bytes with EIO.

It speaks the kernel's protocol itself (`include/uapi/linux/fuse.h`, version 7.31), so that no
library is needed: `python fuse.py DESCRIPTOR FOLDER BAD` serves the connection of an open
`/dev/fuse`, where BAD is a list in JSON of (name, first byte, end). `broken.failing` mounts it. A
program that maps such a file gets SIGBUS for the pages that can't be read, as from a bad disk.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path

REQUEST, REPLY = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
ATTRIBUTES = struct.Struct("<6Q10I")
PR_SET_PDEATHSIG = 1
FATTR_SIZE = 1 << 3
# For as many seconds the kernel may keep names and attributes.
VALID = 60
MAX_WRITE = 1 << 16
FORGET, INTERRUPT, BATCH_FORGET = 2, 36, 42


class Mirror:
    """The answers to the requests: bodies of replies, or `OSError`."""

    def __init__(self, folder: Path, bad: list[tuple[str, int, int]]) -> None:
        self.paths, self.nodes = {1: folder}, {folder: 1}
        self.bad = [(folder / name, start, end) for name, start, end in bad]
        self.files: dict[int, int] = {}
        self.answers: dict[int, Callable[[int, bytes], bytes]] = {
            1: self.lookup,
            3: lambda node, _: struct.pack("<QQ", VALID, 0) + self.attributes(node),
            4: self.set_attributes,
            14: self.open,
            15: self.read,
            16: self.write,
            17: lambda *_: struct.pack(
                "<5Q4I24x", 1 << 20, 1 << 19, 1 << 19, 99, 9, 4096, 255, 4096, 0
            ),
            18: self.release,
            # FSYNC, FLUSH, OPENDIR, RELEASEDIR, FSYNCDIR and ACCESS succeed.
            20: lambda *_: b"",
            25: lambda *_: b"",
            26: self.initialise,
            27: lambda *_: struct.pack("<QII", 0, 0, 0),
            29: lambda *_: b"",
            30: lambda *_: b"",
            34: lambda *_: b"",
        }

    def serve(self, connection: int) -> None:
        """Answers requests until the file system is unmounted."""
        while True:
            try:
                request = os.read(connection, MAX_WRITE + 4096)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                # ENOENT: the request was interrupted.
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    continue
                raise
            _, opcode, number, node, *_ = REQUEST.unpack_from(request)
            if opcode in (FORGET, INTERRUPT, BATCH_FORGET):
                continue
            code, body = 0, b""
            try:
                if opcode not in self.answers:
                    raise OSError(errno.ENOSYS, "not served")
                body = self.answers[opcode](node, request[REQUEST.size :])
            except OSError as error:
                code = -(error.errno or errno.EIO)
            try:
                os.write(connection, REPLY.pack(REPLY.size + len(body), code, number) + body)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise

    def initialise(self, _node: int, body: bytes) -> bytes:
        major, minor, *_ = struct.unpack_from("<II", body)
        assert (major, minor) >= (7, 31), f"the kernel speaks version {major}.{minor} of FUSE"
        # No readahead: each page is a request of its own, and fails alone.
        return struct.pack("<IIIIHHIIHH28x", 7, 31, 0, 0, 12, 9, MAX_WRITE, 1, 1, 0)

    def attributes(self, node: int) -> bytes:
        status = self.paths[node].stat()
        times = [status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns]
        seconds, rest = zip(*(divmod(time, 10**9) for time in times), strict=True)
        counts = (status.st_mode, status.st_nlink, status.st_uid, status.st_gid, 0, 4096, 0)
        return ATTRIBUTES.pack(node, status.st_size, status.st_blocks, *seconds, *rest, *counts)

    def lookup(self, node: int, body: bytes) -> bytes:
        path = self.paths[node] / os.fsdecode(body.rstrip(b"\0"))
        if not path.exists():
            raise OSError(errno.ENOENT, "no such file")
        found = self.nodes.setdefault(path, len(self.nodes) + 1)
        self.paths[found] = path
        return struct.pack("<QQQQII", found, 0, VALID, VALID, 0, 0) + self.attributes(found)

    def set_attributes(self, node: int, body: bytes) -> bytes:
        valid, _, _, size = struct.unpack_from("<IIQQ", body)
        if valid & FATTR_SIZE:
            os.truncate(self.paths[node], size)
        return struct.pack("<QQ", VALID, 0) + self.attributes(node)

    def open(self, node: int, body: bytes) -> bytes:
        handle = os.open(self.paths[node], os.O_RDWR)
        self.files[handle] = node
        return struct.pack("<QII", handle, 0, 0)

    def release(self, _node: int, body: bytes) -> bytes:
        (handle,) = struct.unpack_from("<Q", body)
        del self.files[handle]
        os.close(handle)
        return b""

    def refuse_bad(self, node: int, offset: int, size: int) -> None:
        for path, start, end in self.bad:
            if path == self.paths[node] and offset < end and start < offset + size:
                raise OSError(errno.EIO, "these bytes can't be read")

    def read(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        self.refuse_bad(node, offset, size)
        return os.pread(handle, size, offset)

    def write(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        self.refuse_bad(node, offset, size)
        return struct.pack("<II", os.pwrite(handle, body[40 : 40 + size], offset), 0)


def main() -> None:
    # The server goes with its starter, and with it the file system's last requests.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    connection, folder, bad = sys.argv[1:]
    Mirror(Path(folder), json.loads(bad)).serve(int(connection))


if __name__ == "__main__":
    main()
