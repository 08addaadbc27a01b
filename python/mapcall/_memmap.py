"""Files as arrays: the ``memmap`` class, and opening and creating ``.npy`` files."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, Literal, Self, SupportsIndex, cast

import numpy
from numpy.typing import DTypeLike, NDArray

from . import _mapcall

if TYPE_CHECKING:
    from ._mapcall import _Mode
else:
    # Jedi, which completes names in IPython, fails on a property that returns a Literal.
    _Mode = str


class memmap(_mapcall.MappedArray, numpy.memmap[Any, Any]):
    """A file as an array, paged in as it is touched.

    >>> import mapcall
    >>> x = mapcall.memmap("x.dat", dtype="f4", mode="w+", shape=(3, 4))
    >>> x[1] = range(4)
    >>> x[1, ::2].tolist(), x.sum()
    ([0.0, 2.0], np.float32(6.0))
    >>> x.flush()

    It takes ``numpy.memmap``'s place: the same arguments, attributes and errors, and it is a
    subclass that uses none of its code. A view of it is a ``memmap`` that knows its own place in
    the file; what is computed from it is a plain array. It keeps no file descriptor, and pickles
    by reference.

    Parameters
    ----------
    filename : str, bytes, path or file object
        The file, or a device. An object may be closed afterwards.
    dtype : data type, default uint8
        What an element is: plain data, in any byte order.
    mode : {'r+', 'r', 'w+', 'c'}
        ``'r'`` reads; ``'r+'`` reads and writes, and grows the file to hold the array; ``'w+'``
        makes the file, or fills it with zeros and cuts off what is behind the array; ``'c'`` keeps
        changes in memory.
    offset : int, default 0
        Where in the file the array begins, in bytes: any number.
    shape : int or sequence of int, optional
        How many elements along each axis; without it, one axis with all that the file has. A
        character device doesn't tell how much it has.
    order : {'C', 'F'}
        Which axis varies fastest: the last, or the first.
    allocate : bool, default False
        Take the disk space for the array now, in the modes 'r+' and 'w+', so that a full disk is an
        error now. Otherwise the file has holes where nothing was written, as NumPy's, and writing
        there when the disk is full kills the process.

    Raises
    ------
    ValueError
        When the file and the array don't fit each other, or it is a pipe or socket. Nothing has
        been written then.
    OSError
        When the system refuses; with `allocate` when the disk is full (``ENOSPC``), or the file
        system can't take space in advance (``EOPNOTSUPP``).

    See Also
    --------
    mapcall.open, mapcall.create : ``.npy`` files, which say what is in them.
    numpy.memmap : the original.
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
    ) -> Self:
        return _mapcall.memmap(cls, filename, dtype, mode, offset, shape, order, allocate)

    @property
    def _mmap(self) -> _mapcall.Map | None:
        """The map that the array is on; None for a copy.

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
        """How the file was opened: 'r', 'r+', 'w+' or 'c'; None for a copy.

        >>> import mapcall
        >>> mapcall.memmap("x.dat", mode="write", shape=4).mode
        'w+'
        """
        owner = _mapcall.map_of(self)
        return None if owner is None else owner.mode

    @property
    def offset(self) -> int | None:  # type: ignore[override]
        """The offset in the file that was asked for, in bytes; a view has its parent's.

        >>> import mapcall
        >>> x = mapcall.memmap("x.dat", mode="w+", shape=4, offset=9)
        >>> x.offset, x[2:].offset, x[2:].file_offset
        (9, 9, 11)
        """
        owner = _mapcall.map_of(self)
        return None if owner is None else owner.offset

    @property
    def file_offset(self) -> int | None:
        """Where in the file the first element stands, in bytes; true for every view.

        >>> import mapcall
        >>> x = mapcall.memmap("x.dat", "i4", "w+", shape=(5, 6))
        >>> x[2, 3:].file_offset, x[::-1].file_offset
        (60, 96)

        None for a copy.
        """
        owner = _mapcall.map_of(self)
        return None if owner is None else owner.file_offset(self)

    def flush(self, *, sync: bool | None = None, wait: bool | None = None) -> None:
        """Writes this array's own bytes to the file.

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
            When the file's name leads to another file by now, as after ``create(...,
            overwrite=True)``: the bytes are in the file that was mapped, which lost the name.

        Notes
        -----
        A no-op for a copy, and in the modes 'r' and 'c'. Without it the system writes the bytes to
        the disk within half a minute or so; a power failure before that loses them.
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
        """Tells the system how the pages of this array will be used.

        >>> import mapcall
        >>> x = mapcall.memmap("x.dat", mode="w+", shape=10000)
        >>> x.advise("random")

        Parameters
        ----------
        advice : str
            'normal', 'random' (no reading ahead), 'sequential' (far ahead), 'willneed' (start to
            read now), 'dontneed' (give the memory back; the file keeps the content), 'hugepage'.

        Raises
        ------
        ValueError
            For another advice; for 'dontneed' in mode 'c', whose changes it would discard; for a
            copy.
        OSError
            When the system does not know the advice.
        """
        self._owner().advise(self, advice)

    def prefetch(self) -> None:
        """Brings this array into memory, and returns when it is there; Ctrl-C stops it.

        >>> import mapcall
        >>> x = mapcall.memmap("x.dat", mode="w+", shape=10000)
        >>> x.prefetch()
        >>> x.residency().all()
        np.True_

        Raises
        ------
        ValueError
            For a copy.
        OSError
            When the file can't be read.
        """
        self._owner().prefetch(self)

    def residency(self) -> NDArray[numpy.bool]:
        """Which of this array's pages are in memory, in order.

        >>> import mapcall, mmap
        >>> x = mapcall.memmap("x.dat", mode="w+", shape=10 * mmap.PAGESIZE)
        >>> x[:] = 1
        >>> x.residency().size
        10

        Returns
        -------
        array of bool
            One for each page that holds a byte of the array.

        Raises
        ------
        ValueError
            For a copy.

        Notes
        -----
        Linux tells only of files that the process may write; pages of others count as present.
        """
        return numpy.frombuffer(self._owner().residency(self), numpy.bool)

    def _owner(self) -> _mapcall.Map:
        owner = _mapcall.map_of(self)
        if owner is None:
            raise ValueError("the array is no part of a map: it was copied, or computed")
        return owner

    def __reduce__(self) -> tuple[Any, ...]:
        """By reference where it can be: where the array is, not what is in it.

        >>> import mapcall, pickle
        >>> x = mapcall.memmap("x.dat", "f8", "w+", shape=100000)
        >>> pickled = pickle.dumps(x[1000:])
        >>> len(pickled) < 500, pickle.loads(pickled).file_offset
        (True, 8000)

        By value travel copies, files without a name, and changes to a copy-on-write map. What was
        opened as 'w+' comes back as 'r+'. Attributes travel, too, and what a subclass adds to the
        state here, as NumPy's documentation advises, its ``__setstate__`` finds there.
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
        """Sets the state that a pickle has: content, when it travels by value, and attributes.

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
    """Takes files for those that maps were pickled of, without a look at inode and times.

    >>> import mapcall, os, pickle, shutil
    >>> x = mapcall.memmap("x.dat", mode="w+", shape=10)
    >>> pickled = pickle.dumps(x)
    >>> shutil.copy("x.dat", "y.dat"); os.replace("y.dat", "x.dat")
    'y.dat'
    >>> with mapcall.trust_files():
    ...     pickle.loads(pickled).size
    10

    For files that were copied on purpose, such as to each host of a cluster. A map that is loaded
    in the block opens any file of that name that has all its bytes. One that is pickled in the
    block does so wherever it is loaded: that is the way for worker processes, which load their
    arguments before they run a line of the program. The block holds for its thread, or its asyncio
    task.

    See Also
    --------
    mapcall.ChangedFileError : what is raised otherwise.
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
    verify: bool = False,
) -> memmap:
    """Maps a ``.npy`` file, or a member of a ``.npz`` file where it stands.

    >>> import mapcall
    >>> import numpy as np
    >>> np.savez("two.npz", a=np.arange(3), b=np.ones((2, 2)))
    >>> mapcall.open("two.npz", member="a")
    memmap([0, 1, 2])

    Parameters
    ----------
    path : str, bytes or path
        The file.
    mode : {'r', 'r+', 'c'}
        As for `memmap`; 'r' or 'c' for a member of a ``.npz``, which has a checksum of its bytes.
    member : str, optional
        Which array of a ``.npz``, with or without its ``.npy``; needed when there are several.
    verify : bool, default False
        Read the member of a ``.npz`` and compare its checksum, the CRC-32, as ``numpy.load`` does.
        A ``.npy`` file has none.

    Returns
    -------
    memmap
        With the dtype, shape and order that the header says. NumPy writes members of a ``.npz``
        unaligned: see ``flags.aligned``.

    Raises
    ------
    FormatError
        When the file is not what its format says, the member is compressed, or with `verify`
        damaged.
    ValueError
        For a member in mode 'r+': other readers refuse an archive whose checksums are wrong.
    OSError
        When the system refuses.

    See Also
    --------
    numpy.load : copies members of a ``.npz``.
    """
    return _mapcall.open(memmap, path, mode, member, verify)


def create(
    path: str | bytes | os.PathLike[Any],
    shape: SupportsIndex | Sequence[SupportsIndex],
    dtype: DTypeLike = "f8",
    order: Literal["C", "F"] = "C",
    *,
    overwrite: bool = False,
) -> memmap:
    """Makes a ``.npy`` file of zeros, and maps it for writing.

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
        How many elements along each axis.
    dtype : data type, default float64
        What an element is: plain data that a header can express.
    order : {'C', 'F'}
        Which axis varies fastest: the last, or the first.
    overwrite : bool, default False
        Replace a file that has the name. The new one keeps its owner, group, permissions, ACL and
        extended attributes, but no set-id bits.

    Returns
    -------
    memmap
        In mode 'w+'.

    Raises
    ------
    FileExistsError
        When a file has the name, unless `overwrite` is true.
    ValueError
        For a shape or dtype that can't be.
    OSError
        When the system refuses, or the disk is full.

    See Also
    --------
    numpy.lib.format.open_memmap : leaves a broken file when something fails.

    Notes
    -----
    The disk space is taken first. The file gets its name when it is whole: when something fails,
    what had the name before is untouched. A file is replaced when the new one is on the disk, so
    that after a power failure the name leads to one of both. Where a file can't be replaced (it has
    several hard links, belongs to another user, or its folder permits no new files), it is written
    in place: then a crash may leave a mixture. `docs/files.md` has the details.
    """
    return _mapcall.create(memmap, path, shape, dtype, order, overwrite)


# The module is private; the names are not.
memmap.__module__ = open.__module__ = create.__module__ = trust_files.__module__ = "mapcall"
