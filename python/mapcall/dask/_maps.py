"""Arrays on maps by reference: what a task of a graph holds in place of the elements."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from .. import _mapcall
from .._memmap import memmap

# Inode, creation time, size and modification time of the file.
_Fingerprint: TypeAlias = tuple[int, int | None, int, int]


class MapReference:
    """A part of a file that holds an array: the path, the position, and the file's fingerprint.

    >>> import mapcall
    >>> x = mapcall.memmap("x.dat", "i4", "w+", shape=(3, 4))
    >>> x[1] = 7
    >>> MapReference.of(x)[1:, 2].open()
    memmap([7, 0], dtype=int32)

    It is what an array on a map is pickled as, without the class. Each `open` maps the part anew:
    the memory of a process counts the pages of live blocks only, and the fingerprint is compared
    with the file that is mapped, each time.
    """

    __slots__ = ("_fingerprint", "_mode", "_offset", "_path", "dtype", "shape", "strides")

    def __init__(
        self,
        path: str | bytes | os.PathLike[Any],
        fingerprint: _Fingerprint | None,
        offset: int,
        dtype: Any,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        mode: str,
    ) -> None:
        self._path = path
        self._fingerprint = fingerprint
        self._offset = offset
        self.dtype = np.dtype(dtype)
        self.shape = shape
        self.strides = strides
        self._mode = mode

    @classmethod
    def of(cls, array: memmap) -> MapReference:
        """Return the reference of an array.

        Raises
        ------
        ValueError
            If another process can't open the array: it is a copy, the file has lost its name, or
            the map has changes that are in the memory of this process only.
        """
        reference = _mapcall.reduce(array)
        if reference is None:
            raise ValueError(
                "expected an array that another process can open, got one whose content is in the "
                "memory of this process only: a copy, a map in mode 'c' with changes, or a file "
                "without a name; write it to a file with numpy.save, and open that"
            )
        _, path, fingerprint, offset, dtype, shape, strides, mode, _ = reference
        if fingerprint is None:
            # Within `trust_files` any file of that name is opened.
            path = os.path.abspath(path)
        return cls(path, fingerprint, offset, dtype, shape, strides, mode)

    @property
    def name(self) -> str:
        """The name of the file, without its folder."""
        return os.path.basename(os.fsdecode(self._path))

    def open(self) -> memmap:
        """Map the part; the array is read-only.

        Raises
        ------
        ChangedFileError
            If the file has been replaced or written since. Writing to a file that was opened in
            mode 'r+' is no change.
        OSError
            If the file can't be opened.
        """
        return _mapcall.reopen(
            memmap,
            self._path,
            self._fingerprint,
            self._offset,
            self.dtype,
            self.shape,
            self.strides,
            self._mode,
            False,
        )

    def __getitem__(self, index: Any) -> MapReference:
        """Return the reference of a part; `index` has slices and integers only."""
        index = index if isinstance(index, tuple) else (index,)
        offset = self._offset
        shape, strides = [], []
        whole = (slice(None),) * (len(self.shape) - len(index))
        for length, stride, at in zip(self.shape, self.strides, index + whole, strict=True):
            if isinstance(at, slice):
                taken = range(length)[at]
                shape.append(len(taken))
                strides.append(stride * taken.step)
                offset += stride * taken.start if taken else 0
            else:
                offset += stride * range(length)[operator.index(at)]
        return MapReference(
            self._path,
            self._fingerprint,
            # An array without elements may have no place in the file.
            self._offset if 0 in shape else offset,
            self.dtype,
            tuple(shape),
            tuple(strides),
            self._mode,
        )

    def expand(self, axis: int) -> MapReference:
        """Return the reference with a new axis of length 1."""
        shape = (*self.shape[:axis], 1, *self.shape[axis:])
        strides = (*self.strides[:axis], 0, *self.strides[axis:])
        arguments = (self._path, self._fingerprint, self._offset, self.dtype)
        return MapReference(*arguments, shape, strides, self._mode)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        """Return what tells the array from others, for Dask: no content."""
        fingerprint: Any = self._fingerprint
        if fingerprint is None:
            status = os.stat(self._path)
            fingerprint = (status.st_size, status.st_mtime_ns)
        path = os.fsdecode(self._path)
        return path, fingerprint, self._offset, self.dtype, self.shape, self.strides

    def __reduce__(self) -> tuple[Any, ...]:
        plain = self.dtype.fields is None and self.dtype.metadata is None
        dtype = self.dtype.str if plain else self.dtype
        arguments = (self._path, self._fingerprint, self._offset, dtype)
        return MapReference, (*arguments, self.shape, self.strides, self._mode)

    def __repr__(self) -> str:
        return f"<{self.name} at {self._offset}: {self.dtype} {self.shape}>"


def dates_writes(path: str | os.PathLike[Any]) -> bool:
    """Return whether the modification time of a file tells that it was written through a map.

    >>> dates_writes("/proc/self/stat")
    True

    File systems in memory don't change it. False also if the kind of file system is not known.
    """
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    for mount in mounts:
        fields, _, kind = mount.partition(" - ")
        if fields.split()[2] == number:
            return kind.split()[0] not in ("tmpfs", "devtmpfs", "ramfs", "hugetlbfs")
    return False


def open_block(reference: MapReference) -> memmap:
    """Map a block: the function of the tasks.

    >>> import mapcall
    >>> open_block(MapReference.of(mapcall.memmap("x.dat", mode="w+", shape=3)))
    memmap([0, 0, 0], dtype=uint8)
    """
    return reference.open()
