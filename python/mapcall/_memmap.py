"""Files as arrays: the ``memmap`` class, and opening and creating ``.npy`` files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, Literal, Self, SupportsIndex, cast

import numpy

from . import _mapcall

if TYPE_CHECKING:
    # Programs that do without it need not wait for it.
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from ._mapcall import _Mode
else:
    # Jedi, which completes names in IPython, fails on a property that returns a Literal.
    _Mode = str


class memmap(_mapcall.MappedArray, numpy.memmap[Any, Any]):
    """An array whose memory is a file: pages are read when they are first used.

    >>> import mapcall
    >>> x = mapcall.memmap("x.dat", dtype="f4", mode="w+", shape=(3, 4))
    >>> x[1] = range(4)
    >>> x[1, ::2].tolist(), x.sum()
    ([0.0, 2.0], np.float32(6.0))
    >>> x.flush()

    It takes the place of `numpy.memmap`: it has the same arguments, attributes and errors, and is a
    subclass that uses none of its code. A view of it is a `memmap` that knows its own position in
    the file; the result of a computation is a plain ndarray. It keeps no file descriptor, and
    pickles as the path of the file and the position in it.

    Parameters
    ----------
    filename : str, bytes, path or file object
        The file, or a device. A file object may be closed afterwards.
    dtype : dtype_like, default uint8
        The dtype, of any byte order; it may have no objects.
    mode : {'r+', 'r', 'w+', 'c'}
        ``'r'`` reads; ``'r+'`` reads and writes, and grows the file to hold the array; ``'w+'``
        makes the file, or fills an existing one with zeros and cuts it off after the array; ``'c'``
        keeps changes in memory (copy-on-write).
    offset : int, default 0
        The position in the file at which the array begins, in bytes; it need not be a multiple of
        anything.
    shape : int or sequence of int, optional
        The shape; by default ``(n,)``, with all elements that the file has from `offset` on. A
        character device has no size, and needs a shape.
    order : {'C', 'F'}, default 'C'
        The memory layout: row-major, or column-major.
    allocate : bool, default False
        In the modes 'r+' and 'w+', take the disk space for the array now, so that a full disk is an
        error now. Otherwise the file has holes where nothing was written, as NumPy's has, and
        writing there when the disk is full raises `MapFault`.
    reserve : int, default 0
        The number of rows for which addresses are reserved, up to which `grow`, `append` and
        `refresh` leave the array where it is. They take no memory.

    Raises
    ------
    ValueError
        If the file is too short for the array, its size is not a multiple of the itemsize, or it is
        a pipe or socket. Nothing has been written then.
    OSError
        If the system can't open or map the file; with `allocate` if the disk is full (``ENOSPC``),
        or the file system can't take space in advance (``EOPNOTSUPP``).

    See Also
    --------
    mapcall.open, mapcall.create : ``.npy`` files, whose header has dtype and shape.
    numpy.memmap : the class that it takes the place of.
    """

    __array_priority__ = -100.0
    # NumPy does not call its own; that of numpy.memmap is what makes its views slow.
    __array_finalize__ = numpy.ndarray.__array_finalize__  # type: ignore[assignment]

    def __new__(
        cls,
        filename: str | bytes | os.PathLike[Any] | IO[Any],
        dtype: DTypeLike = numpy.uint8,
        mode: Literal["r", "r+", "w+", "c", "readonly", "readwrite", "write", "copyonwrite"] = "r+",
        offset: SupportsIndex = 0,
        shape: SupportsIndex | Sequence[SupportsIndex] | None = None,
        order: Literal["C", "F"] = "C",
        *,
        allocate: bool = False,
        reserve: int = 0,
    ) -> Self:
        return _mapcall.memmap(cls, filename, dtype, mode, offset, shape, order, allocate, reserve)

    @property
    def _mmap(self) -> _mapcall.Map | None:
        """The `Map` that the array is on; None for a copy.

        >>> import mapcall
        >>> x = mapcall.memmap("x.dat", mode="w+", shape=4)
        >>> len(x[2:]._mmap), x.copy()._mmap
        (4, None)
        """
        return _mapcall.map_of(self)

    @property
    def filename(self) -> str | os.PathLike[Any] | None:  # type: ignore[override]
        """The file: an absolute str, or a Path when it was opened by one.

        >>> import mapcall, os
        >>> mapcall.memmap("x.dat", mode="w+", shape=4).filename == os.path.abspath("x.dat")
        True

        None for a file without a name, and for a copy.
        """
        owner = _mapcall.map_of(self)
        return None if owner is None else owner.filename

    @property
    def mode(self) -> _Mode | None:  # type: ignore[override]
        """The mode in which the file was opened: 'r', 'r+', 'w+' or 'c'; None for a copy.

        >>> import mapcall
        >>> mapcall.memmap("x.dat", mode="write", shape=4).mode
        'w+'
        """
        owner = _mapcall.map_of(self)
        return None if owner is None else owner.mode

    @property
    def offset(self) -> int | None:  # type: ignore[override]
        """The `offset` with which the file was opened, in bytes; a view has its parent's.

        >>> import mapcall
        >>> x = mapcall.memmap("x.dat", mode="w+", shape=4, offset=9)
        >>> x.offset, x[2:].offset, x[2:].file_offset
        (9, 9, 11)
        """
        owner = _mapcall.map_of(self)
        return None if owner is None else owner.offset

    @property
    def file_offset(self) -> int | None:
        """The position in the file of the first element, in bytes; a view has its own.

        >>> import mapcall
        >>> x = mapcall.memmap("x.dat", "i4", "w+", shape=(5, 6))
        >>> x[2, 3:].file_offset, x[::-1].file_offset
        (60, 96)

        None for a copy.
        """
        owner = _mapcall.map_of(self)
        return None if owner is None else owner.file_offset(self)

    def flush(self, *, sync: bool | None = None, wait: bool | None = None) -> None:
        """Write this array's own bytes to the file.

        >>> import mapcall
        >>> x = mapcall.memmap("x.dat", mode="w+", shape=10000)
        >>> x[:10] = 1
        >>> x[:10].flush()

        Parameters
        ----------
        sync : bool, default True
            Return when the bytes are on the disk. If False, the system writes them there later.
        wait : bool
            The former name of `sync`.

        Raises
        ------
        OSError
            If the disk fails.
        TypeError
            If both `sync` and `wait` are given.

        Warns
        -----
        ReplacedFileWarning
            If the file's name leads to another file, as after ``create(..., overwrite=True)``: the
            bytes are in the file that was mapped, which has lost the name.

        Notes
        -----
        It does nothing for a copy, and in the modes 'r' and 'c'. Without it, the system writes the
        bytes to the disk within half a minute or so; a power failure before that loses them.
        """
        owner = _mapcall.map_of(self)
        if owner is not None:
            owner.flush(array=self, sync=sync, wait=wait)
        elif sync is not None and wait is not None:
            raise TypeError(
                "flush: expected sync or wait, which are one option, got both; give sync"
            )

    def advise(
        self,
        advice: Literal["normal", "random", "sequential", "willneed", "dontneed", "hugepage"],
    ) -> None:
        """Advise the system how the pages of this array will be used.

        >>> import mapcall
        >>> x = mapcall.memmap("x.dat", mode="w+", shape=10000)
        >>> x.advise("random")

        Parameters
        ----------
        advice : {'normal', 'random', 'sequential', 'willneed', 'dontneed', 'hugepage'}
            'random' reads no pages ahead, 'sequential' many. 'willneed' starts to read the pages
            now. 'dontneed' frees their memory; the file keeps the content. 'hugepage' asks for
            large pages.

        Raises
        ------
        ValueError
            If there is no such advice, if 'dontneed' would discard changes in mode 'c', or if the
            array is a copy.
        OSError
            If the system does not know the advice.
        """
        self._owner().advise(self, advice)

    def prefetch(self) -> None:
        """Read this array's pages into memory, and return when they are there.

        >>> import mapcall
        >>> x = mapcall.memmap("x.dat", mode="w+", shape=10000)
        >>> x.prefetch()
        >>> x.residency().all()
        np.True_

        Raises
        ------
        ValueError
            If the array is a copy.
        OSError
            If the file can't be read.
        KeyboardInterrupt
            If Ctrl-C is pressed; some pages have been read then.
        """
        self._owner().prefetch(self)

    def residency(self) -> NDArray[numpy.bool]:
        """Return which of this array's pages are in memory.

        >>> import mapcall, mmap
        >>> x = mapcall.memmap("x.dat", mode="w+", shape=10 * mmap.PAGESIZE)
        >>> x[:] = 1
        >>> x.residency().size
        10

        Returns
        -------
        ndarray of bool, shape (pages,)
            An element for each page that holds a byte of the array, in the order of the file.

        Raises
        ------
        ValueError
            If the array is a copy.

        Notes
        -----
        Linux tells this only for files that the process may write; all pages of other files are
        reported as in memory.
        """
        return numpy.frombuffer(self._owner().residency(self), numpy.bool)

    def close(self, *, sync: bool = False) -> None:
        """Give the file back: it can be deleted, replaced and unmounted then.

        >>> import mapcall
        >>> with mapcall.memmap("x.dat", mode="w+", shape=10000) as x:
        ...     x[:10] = 1
        >>> x.closed
        True
        >>> x[0]
        Traceback (most recent call last):
        mapcall.MapFault: ... the map is closed; open the file again

        What was written is in the file. All arrays on the map are closed, views and the array that
        this one is a view of: each use of them raises `MapFault`, also of plain views, memoryviews
        and pointers. To close a closed array does nothing.

        Parameters
        ----------
        sync : bool, default False
            Write changed bytes to the disk first. Otherwise the system does so later.

        Raises
        ------
        OSError
            If the disk fails.
        ValueError
            If the array is a copy.
        """
        self._owner().close(sync=sync)

    @property
    def closed(self) -> bool:
        """True if the map was closed; False for a copy.

        >>> import mapcall
        >>> mapcall.memmap("x.dat", mode="w+", shape=4).closed
        False
        """
        owner = _mapcall.map_of(self)
        return owner is not None and owner.closed

    def grow(self, n: SupportsIndex, *, sync: bool = False) -> Self:
        """Extend the array, and its file, to `n` rows; the new ones are zeros.

        >>> import mapcall
        >>> x = mapcall.create("x.npy", shape=(2, 3), reserve=1000)
        >>> longer = x.grow(5)
        >>> longer.shape, x.shape, longer.ctypes.data == x.ctypes.data
        ((5, 3), (2, 3), True)

        A row is what one index along the first axis selects, or along the last in Fortran order.
        No array changes its shape. If addresses are reserved, the new array lies at the same ones
        and shares its memory with this one; otherwise it is on a new map of the file, and this one
        stays valid.

        Parameters
        ----------
        n : int
            The number of rows, not less than the file has.
        sync : bool, default False
            Return when the file is on the disk: the rows first, then the header.

        Returns
        -------
        memmap, shape (n, *row_shape)
            The array of the new length.

        Raises
        ------
        ValueError
            If the file has more rows; if the array is only a part of the file's; in the modes 'r'
            and 'c'; if the file has no name, or another file has it.
        FormatError
            If the header of a ``.npy`` file has no room for the number. Nothing has changed then.
        OSError
            If the disk is full, or another appender has the file open.

        See Also
        --------
        mapcall.Appender : for one process that writes while others read.
        """
        return cast(Self, _mapcall.grow(self, n, sync))

    def append(self, rows: ArrayLike, *, sync: bool = False) -> Self:
        """Extend the array, and its file, by rows.

        >>> import mapcall
        >>> x = mapcall.create("x.npy", shape=(2, 3))
        >>> x = x.append([1, 2, 3])             # one row
        >>> x = x.append([[4, 5, 6], [7, 8, 9]])
        >>> x.shape, x[-1].tolist()
        ((5, 3), [7.0, 8.0, 9.0])

        The rows come behind the last row of the file, also if another process has appended some
        meanwhile. Which arrays stay valid, and which errors are raised, is as for `grow`.

        Parameters
        ----------
        rows : array_like, shape (rows, *row_shape) or (*row_shape,)
            Any number of rows, or one, of a dtype that can be cast safely to that of the array.
        sync : bool, default False
            Return when the file is on the disk: the rows first, then the header.

        Returns
        -------
        memmap
            The array of the new length.

        Raises
        ------
        TypeError
            If the dtype can't be cast.
        ValueError, FormatError, OSError
            As for `grow`; if the rows have another shape.
        """
        return cast(Self, _mapcall.append_to(self, rows, sync))

    def truncate(self, n: SupportsIndex, *, sync: bool = False) -> Self:
        """Cut the array, and its file, to the first `n` rows.

        >>> import mapcall
        >>> x = mapcall.create("x.npy", shape=(10000, 3))
        >>> x.truncate(10).shape
        (10, 3)
        >>> x[9000]
        Traceback (most recent call last):
        mapcall.MapFault: ... the file is shorter than the map; open it again

        This array and its views keep their shapes. Each use of a page behind the end of the file
        raises `MapFault`; the rest of the page in which the file ends reads as zeros.

        Parameters
        ----------
        n : int
            The number of rows, not more than the file has.
        sync : bool, default False
            Return when the file is on the disk: the header first, then the length.

        Returns
        -------
        memmap, shape (n, *row_shape)
            The array of the new length, at the same addresses.

        Raises
        ------
        ValueError, OSError
            As for `grow`; if the file has fewer rows.
        """
        return cast(Self, _mapcall.truncate(self, n, sync))

    def refresh(self) -> Self:
        """Return the array of the file's present length, such as after another process appended.

        >>> import mapcall
        >>> x = mapcall.create("x.npy", shape=(2, 3))
        >>> x.refresh() is x
        True
        >>> mapcall.append("x.npy", [1, 2, 3])
        >>> x.refresh().shape
        (3, 3)

        Returns
        -------
        memmap
            The array itself if the length has not changed. Otherwise an array at the same addresses
            if it is shorter, or if addresses are reserved, and else on a new map.

        Raises
        ------
        ValueError
            If the array is only a part of the file's; if the file has no name, or another file has
            it; if the header of a ``.npy`` file has another dtype or other rows by now.
        FormatError
            If the file is shorter than its header says.
        OSError
            If the file can't be opened.
        """
        return cast(Self, _mapcall.refresh(self))

    def to_dask(self, chunks: Any = "auto") -> Any:
        """Return the array as a Dask array, whose blocks are opened where they are used.

        >>> import mapcall
        >>> x = mapcall.memmap("x.dat", "f8", "w+", shape=(1000, 1000))
        >>> x[:, 0] = 1
        >>> y = x[::2].to_dask(chunks=(100, 1000))
        >>> y.sum().compute(scheduler="synchronous")
        np.float64(500.0)

        No element is read. Each worker must see the file by the same path. The changed bytes of a
        writeable map are written to the disk first. `mapcall.dask.open` does the same for files,
        and describes `chunks`, the names of the arrays and the errors of workers.

        Returns
        -------
        dask.array.Array
            Its blocks are read-only.

        Raises
        ------
        ImportError
            If Dask is not installed.
        ValueError
            If no other process can open the array: a copy, a map in mode 'c' with changes, or a
            file without a name.
        """
        from .dask._arrays import to_dask

        return to_dask(self, chunks)

    def __enter__(self) -> Self:
        if self.closed:
            raise ValueError("the map is closed; open the file again")
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return self._closed_repr() if self.closed else super().__repr__()

    def __str__(self) -> str:
        return self._closed_repr() if self.closed else super().__str__()

    def _closed_repr(self) -> str:
        name = "" if self.filename is None else f" {os.path.basename(self.filename)!r}"
        return f"<closed memmap{name} shape={self.shape} dtype={self.dtype}>"

    def _owner(self) -> _mapcall.Map:
        owner = _mapcall.map_of(self)
        if owner is None:
            raise ValueError(
                "the array is no part of a map: it was copied, or computed; "
                "use the array that was opened"
            )
        return owner

    def __reduce__(self) -> tuple[Any, ...]:
        """Reduce the array for a pickle: to the file and the position in it, if possible.

        >>> import mapcall, pickle
        >>> x = mapcall.memmap("x.dat", "f8", "w+", shape=100000)
        >>> pickled = pickle.dumps(x[1000:])
        >>> len(pickled) < 500, pickle.loads(pickled).file_offset
        (True, 8000)

        The content is pickled of copies, of arrays in files without a name, and of copy-on-write
        maps with changes. A map of mode 'w+' is unpickled in mode 'r+'. Attributes are pickled,
        too. The state that a subclass adds here, as NumPy's documentation advises, is given to its
        ``__setstate__``.
        """
        reference = _mapcall.reduce(self)
        attributes = self.__getstate__()
        if type(self).__getstate__ is not object.__getstate__:
            if reference is None:
                return numpy.ndarray.view, (numpy.array(self), type(self)), attributes
            return _mapcall.reopen, reference, attributes
        own = (attributes,) if attributes else ()
        if reference is None:
            rebuild, arguments, content = cast(tuple[Any, ...], numpy.ndarray.__reduce__(self))
            return rebuild, arguments, (*content, *own)
        return _mapcall.reopen, reference, own

    def __setstate__(self, state: Any) -> None:
        """Set the state from a pickle: the attributes, and the content if it was pickled.

        >>> import mapcall, pickle
        >>> x = mapcall.memmap("x.dat", "f8", "w+", shape=100000)
        >>> x.rate = 44100
        >>> pickle.loads(pickle.dumps(x)).rate
        44100
        """
        match state:
            case ():
                return
            case dict() | (dict() | None, dict()):
                attributes = state
            case (attributes,):
                pass
            case (*content, attributes) if len(content) == 5:
                numpy.ndarray.__setstate__(self, tuple(content))
            case _:
                numpy.ndarray.__setstate__(self, state)
                return
        named, slots = attributes if isinstance(attributes, tuple) else (attributes, None)
        self.__dict__.update(named or {})
        for name, value in (slots or {}).items():
            setattr(self, name, value)


@contextlib.contextmanager
def trust_files() -> Iterator[None]:
    """Unpickle maps without comparing the inode and times of their files.

    >>> import mapcall, os, pickle, shutil
    >>> x = mapcall.memmap("x.dat", mode="w+", shape=10)
    >>> pickled = pickle.dumps(x)
    >>> shutil.copy("x.dat", "y.dat"); os.replace("y.dat", "x.dat")
    'y.dat'
    >>> with mapcall.trust_files():
    ...     pickle.loads(pickled).size
    10

    It is for files that were copied on purpose, such as to each host of a cluster. A map that is
    unpickled in the ``with`` block opens any file of that name that has all its bytes. A map that
    is pickled in the block does so wherever it is unpickled: use that for worker processes, which
    unpickle their arguments before they run a line of the program.

    Returns
    -------
    context manager
        Its block holds for its thread, or its asyncio task.

    See Also
    --------
    mapcall.ChangedFileError : the exception that is raised otherwise.
    """
    token = _mapcall._trust.set(True)
    try:
        yield
    finally:
        _mapcall._trust.reset(token)


def open(
    path: str | bytes | os.PathLike[Any],
    mode: Literal["r", "r+", "c", "readonly", "readwrite", "copyonwrite"] = "r",
    member: str | None = None,
    *,
    dtype: DTypeLike | None = None,
    shape: SupportsIndex | Sequence[SupportsIndex] | None = None,
    offset: SupportsIndex = 0,
    order: Literal["C", "F"] = "C",
    verify: bool = False,
    reserve: int = 0,
) -> memmap:
    """Map a ``.npy`` file, an array inside of a ``.npz`` file, or a raw file.

    >>> import mapcall
    >>> import numpy as np
    >>> np.savez("two.npz", a=np.arange(3), b=np.ones((2, 2)))
    >>> mapcall.open("two.npz", member="a")
    memmap([0, 1, 2])

    A file in no format that mapcall knows is opened with `dtype`, `shape` and `offset`:

    >>> import pathlib
    >>> content = bytes(2880) + np.arange(6, dtype=">f4").tobytes()
    >>> _ = pathlib.Path("image.fits").write_bytes(content)
    >>> mapcall.open("image.fits", dtype=">f4", shape=(2, 3), offset=2880)
    memmap([[0., 1., 2.],
            [3., 4., 5.]], dtype='>f4')

    Parameters
    ----------
    path : str, bytes or path
        The file.
    mode : {'r', 'r+', 'c'}
        As for `memmap`; a member of a ``.npz`` file can be opened in the modes 'r' and 'c'.
    member : str, optional
        The name of the array in a ``.npz`` file, with or without ``.npy``; needed if the file has
        several arrays.
    dtype : dtype, optional
        The dtype of a raw file; the following three are given with it only.
    shape : int or tuple of int, optional
        The shape of the array in a raw file. By default, one axis reaches to the end of the file;
        and so does the axis whose length is -1.
    offset : int, default 0
        The number of bytes before the array in a raw file.
    order : {'C', 'F'}
        The order of the elements in a raw file: the last axis varies fastest, or the first.
    verify : bool, default False
        Read the member of a ``.npz`` file and compare its checksum, the CRC-32, as `numpy.load`
        does. A ``.npy`` file has none.
    reserve : int, default 0
        The number of rows for which addresses are reserved, up to which `memmap.grow`,
        `memmap.append` and `memmap.refresh` leave the array where it is.

    Returns
    -------
    memmap
        The array, with the dtype, shape and order of the header, or those that are given. NumPy
        writes members of a ``.npz`` file unaligned: see ``flags.aligned``.

    Raises
    ------
    FormatError
        If the file is not what its format says, if the member is compressed, or, with `verify`, if
        it is damaged.
    ValueError
        If a member is opened in mode 'r+': writing to it would make its checksum wrong. If a raw
        file is shorter than its array, or its length is not that of whole rows; it is never made
        longer.
    TypeError
        If `shape`, `offset` or `order` is given without `dtype`.
    OSError
        If the system can't open or map the file.

    See Also
    --------
    numpy.load : copies members of a ``.npz``.
    """
    if dtype is not None:
        if member is not None or verify:
            raise TypeError(
                "member and verify are for .npz files, which have dtypes; leave them out"
            )
        return _mapcall.open_raw(memmap, path, dtype, mode, offset, shape, order, reserve)
    if shape is not None or offset != 0 or order != "C":
        raise TypeError("shape, offset and order are for raw files; give dtype as well")
    return _mapcall.open(memmap, path, mode, member, verify, reserve)


def create(
    path: str | bytes | os.PathLike[Any],
    shape: SupportsIndex | Sequence[SupportsIndex],
    dtype: DTypeLike = "f8",
    order: Literal["C", "F"] = "C",
    *,
    overwrite: bool = False,
    reserve: int = 0,
) -> memmap:
    """Make a ``.npy`` file of zeros, and map it for writing.

    >>> import mapcall
    >>> import numpy as np
    >>> x = mapcall.create("x.npy", shape=(2, 3), dtype="i2")
    >>> x[0] = 7
    >>> np.load(x.filename)
    array([[7, 7, 7],
           [0, 0, 0]], dtype=int16)

    A file that exists is not replaced unless that is asked for:

    >>> mapcall.create("x.npy", shape=5)
    Traceback (most recent call last):
    FileExistsError: [Errno 17] File exists; give overwrite=True to replace it: ...
    >>> mapcall.create("x.npy", shape=5, overwrite=True)
    memmap([0., 0., 0., 0., 0.])

    Parameters
    ----------
    path : str, bytes or path
        The file.
    shape : int or sequence of int
        The shape.
    dtype : dtype_like, default float64
        The dtype; it may have no objects.
    order : {'C', 'F'}, default 'C'
        The memory layout: row-major, or column-major.
    overwrite : bool, default False
        Replace a file that has the name. The new file gets its owner, group, permissions, ACL and
        extended attributes, but no set-id bits.
    reserve : int, default 0
        The number of rows for which addresses are reserved, up to which `memmap.grow` and
        `memmap.append` leave the array where it is.

    Returns
    -------
    memmap
        The array, in mode 'w+'.

    Raises
    ------
    FileExistsError
        If a file has the name, and `overwrite` is false.
    ValueError
        If an axis is negative, the array is too large, or a header can't have the dtype.
    OSError
        If the system can't make or map the file, or the disk is full.

    See Also
    --------
    numpy.lib.format.open_memmap : leaves an incomplete file if an error occurs.

    Notes
    -----
    The disk space is taken first. The file gets its name when it is complete; if an error occurs
    before, the file that had the name is unchanged. A file is replaced once the new one is on the
    disk, so that after a power failure the name leads to one of the two. A file that can't be
    replaced (it has several hard links, belongs to another user, or its folder permits no new
    files) is written in place; a crash may leave a mixture then. ``docs/files.md`` of the
    repository has the details.
    """
    return _mapcall.create(memmap, path, shape, dtype, order, overwrite, reserve)


# The module is private; the names are not.
memmap.__module__ = open.__module__ = create.__module__ = trust_files.__module__ = "mapcall"
