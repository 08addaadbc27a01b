"""What other libraries do when a file changes, fails or closes under a live array.

`python fault_rivals.py` prints the table of `docs/faults.md` as Markdown, `--only NAME` one column
of it. Each cell is found in a child. `test_fault_rivals.py` compares the table with the page.
"""

from __future__ import annotations

import argparse
import importlib
import mmap
import os
import signal
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from broken import PAGE, MissingError, failing, full, have_own_mounts
from children import Result, SkippedError, isolated

# 64 pages of numbers, of which none is 0.
PAGES = 64
LENGTH = PAGES * PAGE // 8
VALUES = np.arange(1, LENGTH + 1, dtype="f8")
# Which elements the tests use: half of the file is beyond them, and half before.
GONE = slice(LENGTH // 2, LENGTH // 2 + 100)


class Library:
    """A way to have an array in a file: it opens the file, reads and writes parts of it.

    `array` is what a user keeps and indexes; `handle` is what is closed.
    """

    name: ClassVar[str]
    # The distribution that has to be installed.
    module: ClassVar[str]
    # The file in the folder that holds the numbers.
    data: ClassVar[str] = "x"

    def __init__(self, folder: Path, mode: str) -> None:
        self.path, self.mode = folder / self.data.partition("/")[0], mode
        self.array: Any
        self.handle: Any
        self.open()

    @classmethod
    def create(cls, folder: Path) -> None:
        VALUES.tofile(folder / cls.data)

    @classmethod
    def create_sparse(cls, folder: Path) -> None:
        """Makes an array whose numbers take no space on the disk yet."""
        with open(folder / cls.data, "wb") as file:
            file.truncate(VALUES.nbytes)

    def open(self) -> None:
        raise NotImplementedError

    def read(self) -> Any:
        return self.array[GONE]

    def write(self, value: float) -> None:
        self.array[GONE] = value

    def whole(self) -> Any:
        return self.array[:]

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.handle.close()

    def view(self) -> Any:
        """Returns what a user may keep after closing: a view without a copy where there is one."""
        return np.asarray(self.array)[GONE]

    def grow(self) -> None:
        """Doubles the length."""
        raise NotImplementedError


class Memmap(Library):
    name, module = "`numpy.memmap`", "numpy"

    def open(self) -> None:
        self.array = np.memmap(self.path, "f8", self.mode)
        self.handle = self.array._mmap

    def flush(self) -> None:
        self.array.flush()

    def grow(self) -> None:
        self.handle.resize(2 * VALUES.nbytes)


class Mmap(Library):
    name, module = "`mmap`", "mmap"

    def open(self) -> None:
        access = mmap.ACCESS_READ if self.mode == "r" else mmap.ACCESS_WRITE
        with open(self.path, "rb" if self.mode == "r" else "r+b") as file:
            self.handle = mmap.mmap(file.fileno(), 0, access=access)

    def read(self) -> Any:
        return np.frombuffer(self.handle[8 * GONE.start : 8 * GONE.stop])

    def whole(self) -> Any:
        return np.frombuffer(self.handle)

    def write(self, value: float) -> None:
        self.handle[8 * GONE.start : 8 * GONE.stop] = np.full(100, value).tobytes()

    def flush(self) -> None:
        self.handle.flush()

    def view(self) -> Any:
        return np.frombuffer(self.handle)[GONE]

    def grow(self) -> None:
        self.handle.resize(2 * VALUES.nbytes)


class Pyarrow(Library):
    name, module = "`pyarrow.memory_map`", "pyarrow"

    def open(self) -> None:
        self.handle = importlib.import_module("pyarrow").memory_map(str(self.path), self.mode)
        self.array = np.frombuffer(self.handle.read_buffer())

    def write(self, value: float) -> None:
        self.handle.seek(8 * GONE.start)
        self.handle.write(np.full(100, value).tobytes())

    def flush(self) -> None:
        self.handle.flush()

    def read(self) -> Any:
        self.handle.seek(8 * GONE.start)
        return np.frombuffer(self.handle.read_buffer(800))[:]

    def view(self) -> Any:
        return self.array[GONE]

    def grow(self) -> None:
        self.handle.resize(2 * VALUES.nbytes)


class H5py(Library):
    name, module, data = "`h5py`", "h5py", "x.h5"

    @classmethod
    def create(cls, folder: Path) -> None:
        with importlib.import_module("h5py").File(folder / cls.data, "w") as file:
            file.create_dataset("x", data=VALUES, chunks=(PAGE // 8,), maxshape=(None,))

    @classmethod
    def create_sparse(cls, folder: Path) -> None:
        with importlib.import_module("h5py").File(folder / cls.data, "w") as file:
            file.create_dataset("x", VALUES.shape, "f8", chunks=(PAGE // 8,), maxshape=(None,))

    def open(self) -> None:
        self.handle = importlib.import_module("h5py").File(self.path, self.mode)
        self.array = self.handle["x"]

    def flush(self) -> None:
        self.handle.flush()

    def view(self) -> Any:
        # Indexing copies; this is the nearest to a view.
        return self.array

    def grow(self) -> None:
        self.array.resize((2 * LENGTH,))


class Zarr(Library):
    name, module, data = "`zarr`", "zarr", "x.zarr/c/0"

    @classmethod
    def create(cls, folder: Path) -> None:
        cls._make(folder)[:] = VALUES

    @classmethod
    def create_sparse(cls, folder: Path) -> None:
        cls._make(folder)

    @classmethod
    def _make(cls, folder: Path) -> Any:
        return importlib.import_module("zarr").create_array(
            folder / "x.zarr", shape=VALUES.shape, dtype="f8", chunks=VALUES.shape, compressors=None
        )

    def open(self) -> None:
        self.array = importlib.import_module("zarr").open_array(self.path, mode=self.mode)
        self.handle = self.array.store

    def view(self) -> Any:
        return self.array

    def grow(self) -> None:
        self.array.resize((2 * LENGTH,))


class Mapcall(Library):
    name, module, data = "mapcall", "mapcall", "x.npy"

    @classmethod
    def create(cls, folder: Path) -> None:
        np.save(folder / cls.data, VALUES)

    @classmethod
    def create_sparse(cls, folder: Path) -> None:
        path = folder / cls.data
        cls.create(folder)
        head = path.read_bytes()[:128]
        path.write_bytes(head)
        os.truncate(path, 128 + VALUES.nbytes)

    def open(self) -> None:
        self.array = self.handle = importlib.import_module("mapcall").open(self.path, self.mode)

    def flush(self) -> None:
        self.array.flush()

    def grow(self) -> None:
        self.array = self.handle = self.array.grow(2 * LENGTH)


class RefusedError(Exception):
    """Raised if a library refuses to close or to grow a map."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(reason)
        self.reason = reason


LIBRARIES: list[type[Library]] = [Mapcall, Memmap, Mmap, Pyarrow, H5py, Zarr]


def settle() -> None:
    """Does other work, so that an exception that comes late arrives here."""
    for _ in range(1000):
        pass


def read_shortened(library: type[Library], folder: Path) -> str:
    library.create(folder)
    opened = library(folder, "r")
    os.truncate(folder / library.data, PAGE)
    return judged_read(opened.read)


def write_shortened(library: type[Library], folder: Path) -> str:
    library.create(folder)
    opened = library(folder, "r+")
    os.truncate(folder / library.data, PAGE)
    return judged_write(opened, library, folder)


def view_of_closed(library: type[Library], folder: Path) -> str:
    library.create(folder)
    opened = library(folder, "r")
    view = opened.view()
    try:
        opened.close()
    except Exception as error:
        raise RefusedError(error) from None
    result = judged_read(lambda: view[:] if isinstance(view, np.ndarray) else view[GONE])
    is_mapped = str(opened.path) in Path("/proc/self/maps").read_text()
    return f"{result}, the file stays mapped" if is_mapped else result


def used_after_close(library: type[Library], folder: Path) -> str:
    library.create(folder)
    opened = library(folder, "r")
    opened.close()
    return judged_read(opened.read)


def device_error(library: type[Library], folder: Path) -> str:
    have_own_mounts()
    source = folder / "source"
    source.mkdir()
    library.create(source)
    size = (source / library.data).stat().st_size
    # Of HDF5, the index of the chunks lies in the first part.
    bad = [(library.data, size // 2 // PAGE * PAGE, size)]
    with failing(source, folder / "disk", bad) as disk:
        return judged_read(library(disk, "r").read)


def disk_full(library: type[Library], folder: Path) -> str:
    have_own_mounts()
    with full(folder / "disk", library.create_sparse) as disk:
        return judged_write(library(disk, "r+"), library, disk, np.zeros(LENGTH))


def grown(library: type[Library], folder: Path) -> str:
    library.create(folder)
    opened = library(folder, "r+")
    view = opened.view()
    try:
        opened.grow()
    except Exception as error:
        raise RefusedError(error) from None
    result = judged_read(lambda: view[:] if isinstance(view, np.ndarray) else view[GONE])
    if result != RIGHT or not isinstance(view, np.ndarray):
        return result
    # The view has to show the file: what is written through it is found there.
    view[:] = -1
    opened.flush()
    return RIGHT if (library(folder, "r").read() == -1).all() else WRONG


CASES: dict[str, Callable[[type[Library], Path], str]] = {
    "file shortened, read": read_shortened,
    "file shortened, write": write_shortened,
    "close with a live view, read the view": view_of_closed,
    "close, read": used_after_close,
    "device error, read": device_error,
    "disk full, write to a sparse file": disk_full,
    "grow with a live view": grown,
}

RIGHT, WRONG = "right data", "**silent wrong data**"


def judged_read(read: Callable[[], Any]) -> str:
    result = np.array(read())
    settle()
    return RIGHT if np.array_equal(result, VALUES[GONE]) else WRONG


def judged_write(
    opened: Library, library: type[Library], folder: Path, before: Any = VALUES
) -> str:
    """Writes, flushes, and compares the file with what should be in it."""
    opened.write(-1)
    settle()
    opened.flush()
    settle()
    expected = before.copy()
    expected[GONE] = -1
    again = library(folder, "r")
    return RIGHT if np.array_equal(np.array(again.whole()), expected) else WRONG


def tried(case: Callable[[type[Library], Path], str], library: type[Library], folder: Path) -> str:
    try:
        return case(library, folder)
    except MissingError as error:
        raise SkippedError(str(error)) from None
    except RefusedError as refused:
        return f"refused ({named(refused.reason)})"
    except Exception as error:
        return f"exception ({named(error)})"


def named(error: Exception) -> str:
    kind = type(error)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def cell(result: Result) -> str:
    if "skip" in result:
        raise SkippedError(result["skip"])
    if result["status"] is None:
        return "**hangs**"
    if result["status"] < 0:
        return f"**killed ({signal.Signals(-result['status']).name})**"
    assert result["status"] == 0, result["stderr"]
    return str(result["value"])


@cache
def row(library: type[Library]) -> dict[str, str]:
    """Returns what a library does in each case.

    Raises `SkippedError` if the library is not installed, or this machine can't make a case.
    """
    try:
        importlib.import_module(library.module)
    except ImportError:
        raise SkippedError(f"{library.module} is not installed") from None
    cells = {}
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            cells[name] = cell(isolated(partial(tried, case, library, Path(folder))))
    return cells


def table(libraries: list[type[Library]]) -> str:
    """Returns the table as Markdown: a line for each case, a column for each library."""
    rows = {library.name: row(library) for library in libraries}
    lines = ["| | " + " | ".join(rows) + " |", "|---" * (len(rows) + 1) + "|"]
    lines += [
        f"| {case} | " + " | ".join(cells[case] for cells in rows.values()) + " |" for case in CASES
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=[each.name.strip("`") for each in LIBRARIES])
    only = parser.parse_args().only
    libraries = [each for each in LIBRARIES if only in (None, each.name.strip("`"))]
    print(table(libraries))
    versions = {each.module: importlib.import_module(each.module) for each in libraries}
    known = [f"{name} {module.__version__}" for name, module in versions.items() if name != "mmap"]
    print(f"\n{', '.join(known)}")


if __name__ == "__main__":
    main()
