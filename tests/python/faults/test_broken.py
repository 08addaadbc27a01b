"""What the tests of faults rest on: broken files, as programs without mapcall see them."""

from __future__ import annotations

import errno
import mmap
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from broken import PAGE, MissingError, failing, full, have_own_mounts
from children import Result, SkippedError, isolated


def value(result: Result) -> Any:
    if "skip" in result:
        pytest.skip(result["skip"])
    assert (result["status"], result["stderr"]) == (0, "")
    return result["value"]


def in_own_mounts(case: Callable[[], object]) -> Any:
    def run() -> object:
        try:
            have_own_mounts()
            return case()
        except MissingError as error:
            raise SkippedError(str(error)) from None

    return value(isolated(run))


def killed_by(use: Callable[[], object]) -> str:
    """Returns the name of the signal that a use dies of."""
    status = isolated(use)["status"]
    return signal.Signals(-status).name if status else "survived"


def code(use: Callable[[], object]) -> str:
    try:
        use()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "no error"


def test_device_error(tmp_path: Path) -> None:
    def case() -> object:
        source = tmp_path / "source"
        (source / "inner").mkdir(parents=True)
        content = bytes(range(256)) * (8 * PAGE // 256)
        (source / "inner" / "x").write_bytes(content)
        with failing(source, tmp_path / "disk", [("inner/x", 5 * PAGE, 7 * PAGE)]) as disk:
            path = disk / "inner" / "x"
            assert path.stat().st_size == len(content)
            assert code(lambda: (disk / "missing").stat()) == "ENOENT"
            with open(path, "r+b", buffering=0) as file:
                found = mmap.mmap(file.fileno(), 0)
                assert os.pread(file.fileno(), 5 * PAGE, 0) == content[: 5 * PAGE]
                assert os.pread(file.fileno(), PAGE, 7 * PAGE) == content[7 * PAGE :]
                errors = [code(partial(os.pread, file.fileno(), 1, n * PAGE)) for n in range(8)]
            assert found[: 5 * PAGE] == content[: 5 * PAGE]
            found[3] = 99
            found.flush()
            assert (source / "inner" / "x").read_bytes()[:5] == bytes([0, 1, 2, 99, 4])
            reads = [killed_by(partial(found.__getitem__, n * PAGE)) for n in range(8)]
            writes = [killed_by(partial(found.__setitem__, n * PAGE, 1)) for n in range(8)]
            return errors, reads, writes

    good, bad = [True] * 5 + [False] * 2 + [True], {True: "no error", False: "EIO"}
    errors, reads, writes = in_own_mounts(case)
    assert errors == [bad[each] for each in good]
    assert reads == writes == ["survived" if each else "SIGBUS" for each in good]


def test_disk_full(tmp_path: Path) -> None:
    def case() -> object:
        def populate(disk: Path) -> None:
            (disk / "x").write_bytes(bytes([7]) * PAGE)
            os.truncate(disk / "x", 4 * PAGE)

        with full(tmp_path / "disk", populate) as disk, open(disk / "x", "r+b") as file:
            found = mmap.mmap(file.fileno(), 0)
            assert found[5] == 7
            reads = [killed_by(partial(found.__getitem__, n * PAGE)) for n in range(4)]
            writes = [killed_by(partial(found.__setitem__, n * PAGE, 1)) for n in range(4)]
            error = code(lambda: os.pwrite(file.fileno(), b"x", 2 * PAGE))
            return reads, writes, error

    reads, writes, error = in_own_mounts(case)
    assert reads == writes == ["survived", "SIGBUS", "SIGBUS", "SIGBUS"]
    assert error == "ENOSPC"


def test_mounts_end_with_the_process(tmp_path: Path) -> None:
    def case() -> object:
        with full(tmp_path / "disk", lambda _: None):
            assert str(tmp_path) in Path("/proc/mounts").read_text()
            os.kill(os.getpid(), signal.SIGKILL)
        return None

    isolated(lambda: in_own_mounts(case))
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


def test_results_of_children() -> None:
    """A child's signal, its output, and that it hangs are seen."""
    assert value(isolated(lambda: [1, "two"])) == [1, "two"]
    assert isolated(lambda: os.kill(os.getpid(), signal.SIGSEGV))["status"] == -signal.SIGSEGV
    assert isolated(lambda: os.write(2, b"text"))["stderr"] == "text"
    assert isolated(signal.pause, timeout=0.1)["status"] is None
    assert "ZeroDivisionError" in isolated(lambda: 1 // 0)["stderr"]
