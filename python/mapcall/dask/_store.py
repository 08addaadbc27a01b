"""Dask arrays computed into ``.npy`` files, each block written where it was computed."""

from __future__ import annotations

import errno
import functools
import itertools
import math
import mmap
import os
import platform
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import dask.array as da
import numpy as np
from dask.blockwise import blockwise
from dask.delayed import Delayed, delayed, unpack_collections
from dask.highlevelgraph import HighLevelGraph
from dask.layers import ArraySliceDep
from dask.utils import key_split
from numpy.typing import NDArray

from .._mapcall import MappedArray, PartialFile
from .._memmap import memmap
from ._arrays import Chunks
from ._progress import Progress, client_of
from ._progress import compute as compute_tasks

_Path: TypeAlias = str | bytes | os.PathLike[Any]
_Slices: TypeAlias = tuple[slice, ...]
# A part of the file: the offset of its first byte, and its bytes.
_Part: TypeAlias = tuple[int, bytes]

# The unit in which pages of files are counted: no system has smaller ones.
PAGE = max(mmap.PAGESIZE, 4096)

# Shorter runs of a file are written through a map, which costs less than a call of the system each.
MIN_RUN = 16 << 10

# How many bytes of results are computed before they are written: they are in the cache of the core.
PIECE = 4 << 20

# How many results one task merges.
FAN_IN = 32


def store(
    arrays: da.Array | Sequence[da.Array],
    paths: _Path | Sequence[_Path],
    *,
    sync: bool = False,
    compute: bool = True,
    progress: Progress | None = None,
    **options: Any,
) -> Any:
    """Compute Dask arrays into ``.npy`` files, each block written once by the worker that made it.

    >>> import dask.array as da
    >>> import mapcall.dask
    >>> x = da.arange(1_000_000, chunks=250_000)
    >>> y = mapcall.dask.store(x ** 2, "squares.npy", scheduler="threads")
    >>> y[-1]
    np.int64(999998000001)

    The file is created first, with all its disk space, under a hidden name in the folder of `path`.
    It gets its name when all blocks are there. No block travels to be written; the scheduler and
    the client see a few hundred bytes for each.

    Parameters
    ----------
    arrays : dask.array.Array, or sequence of them
        The arrays. Several are computed together, and no file gets its name before all blocks of
        all arrays are there.
    paths : str, bytes, path, or sequence of them
        A new file for each array. An existing file is replaced at the end, and keeps its owner,
        permissions and attributes; it is written in place if it has several hard links or if its
        folder permits no rename. Until then it is unchanged, so that the arrays may be computed
        from it.
    sync : bool, default False
        Return when the data and the name are on the disk. Each block is synced by the worker that
        wrote it, then the file, and after the rename its folder: after a power failure of any
        machine, a name that was there is there, with all data. Without it, the same holds for a
        file that replaces another one, except that after a power failure the name may still lead
        to the old file.
    compute : bool, default True
        Whether to compute now. The client then creates the files itself, so that a full disk or a
        folder without permission is an error before anything is computed.
    progress : callable, optional
        Called with the number of blocks that are written, and with the number of all; not with
        ``compute=False``. An exception that it raises ends the computation.
    **options
        For `dask.compute`, such as ``scheduler="threads"``.

    Returns
    -------
    memmap, or list of memmap
        The files, mapped in mode 'r'. With ``compute=False``, a `dask.delayed.Delayed` whose value
        they are.

    Raises
    ------
    TypeError
        If an array is not a Dask array.
    ValueError
        If chunks have unknown lengths, if a dtype holds Python objects, if two paths are one
        file, or one does not end in ``.npy``;
        if a block has another shape, or a dtype that can't be converted, than the array says; if
        several machines would write to the same pages (see the notes).
    OSError
        If a file can't be created or written; `OSError` with ``errno.ENOSPC`` if the disk has too
        little space, before anything is computed.
    Exception
        What the computation of a block raises.

    Notes
    -----
    All machines must see the folder by the same path. After an error, or an interrupt by the user,
    nothing is left: the name leads to the old file, or to none, and the hidden file is removed. If
    the client itself is killed, or if the value of a Delayed fails, the hidden file
    (``.mapcall-*.partial``) stays until it is deleted; the Delayed finds it again when it is
    computed again. A worker that is killed loses nothing: Dask repeats its blocks, and a block that
    is written twice is the same bytes.

    Dask joins the writing of a block with the operations before it, and with a call of a bound
    function so closely that the results are written while they are in the core's cache. With
    ``compute=False``, it does not join it with operations that move blocks, such as `rechunk`: a
    task returns the block, and another one, on the same worker as a rule, writes it.

    Two machines that write to different bytes of one page of a file in a network file system may
    undo each other's bytes, as each writes the whole page from its memory. So no page is written by
    two machines: the bytes of a block in a page that it shares with another block (less than a page
    at each end) travel, and are written when all bytes of the page are there. This needs blocks
    that are contiguous in the file: chunks along the first axis only. Other chunks, such as columns
    of a matrix, must be whole pages, or all workers must run on one machine; this is refused,
    before anything is computed if the workers are known then.
    """
    is_single = not isinstance(arrays, (list, tuple))
    several: list[Any] = list(arrays) if isinstance(arrays, (list, tuple)) else [arrays]
    names = [paths] if isinstance(paths, (str, bytes, os.PathLike)) else list(paths)
    targets = _checked(several, names)
    writers = [BlockWriter(array, index, sync) for index, array in enumerate(several)]
    tokens = [uuid.uuid4().int for _ in several]
    if not compute:
        begun = [
            delayed(_begin)(path, writer, token, dask_key_name=f"store-begin-{token:x}")
            for path, writer, token in zip(targets, writers, tokens, strict=True)
        ]
        finish = functools.partial(_name_files, sync=sync, is_single=is_single)
        return _delayed(_tasks(several, begun, writers), begun, writers, finish)
    files: list[PartialFile] = []
    try:
        for path, writer, token in zip(targets, writers, tokens, strict=True):
            files.append(_begin(path, writer, token))
        tasks = _tasks(several, files, writers)
        _refuse_known_machines(files, writers, options)
        keys = list(itertools.chain.from_iterable(tasks.results))
        found = iter(compute_tasks(tasks.graph, keys, tasks.blocks, progress, options))
        # The rest is done here: one more task would wait for results of other workers, and one that
        # named the files would keep their maps open until the worker learns that they are released.
        _complete([[next(found) for _ in each] for each in tasks.results], files, writers)
        return _name_files(None, files, sync, is_single)
    finally:
        # A file that has its name has lost this one.
        for file in files:
            file.abandon()


def _checked(arrays: list[Any], paths: list[Any]) -> list[str]:
    """Check the arguments; return absolute paths."""
    if len(arrays) != len(paths):
        raise ValueError(
            f"store: paths: expected {len(arrays)}, one for each array, got {len(paths)}"
        )
    for index, array in enumerate(arrays):
        name = f"store: arrays[{index}]"
        if not isinstance(array, da.Array):
            raise TypeError(
                f"{name}: expected a Dask array, got {type(array).__name__}; write an array in "
                "memory with numpy.save, or make it a Dask array with dask.array.from_array"
            )
        if any(math.isnan(length) for length in array.shape):
            raise ValueError(
                f"{name}: expected known lengths, got shape {array.shape}; call "
                "x.compute_chunk_sizes() first"
            )
        if array.dtype.hasobject or array.dtype.kind not in "?biufcSUVMm":
            raise ValueError(
                f"{name}: expected a dtype of plain data, got {array.dtype}; convert it, as with "
                "x.astype('f8') or x.astype('U20')"
            )
        _refuse_mask(array._meta, name)
    targets = [os.path.abspath(os.fsdecode(os.fspath(path))) for path in paths]
    for path in targets:
        name = os.path.splitext(path)[0] + ".npy"
        # A link may have any name.
        if ".npy" not in (os.path.splitext(each)[1] for each in (path, os.path.realpath(path))):
            raise ValueError(
                f"store: paths: expected files that end in .npy, got {path!r}; write {name!r}"
            )
    seen: dict[Any, str] = {}
    for path in targets:
        real = os.path.realpath(path)
        status = os.stat(real) if os.path.exists(real) else None
        for key in [real] if status is None else [real, (status.st_dev, status.st_ino)]:
            if key in seen:
                raise ValueError(
                    f"store: paths: expected different files, got {seen[key]!r} and {path!r}"
                )
            seen[key] = path
    return targets


def _refuse_mask(array: Any, name: str) -> None:
    if isinstance(array, np.ma.MaskedArray):
        raise ValueError(
            f"{name}: expected an array without a mask, which a .npy file can't hold, got a masked "
            "array; fill it with dask.array.ma.filled(x, value)"
        )


def _begin(path: str, writer: BlockWriter, token: int) -> PartialFile:
    """Create the file of an array with a hidden name; or find it, if it was created before."""
    return PartialFile.begin(path, writer.shape, writer.dtype, "C", token)


class Written(NamedTuple):
    """What a task has written.

    Attributes
    ----------
    identities : frozenset of tuple
        The inode and creation time of the file: two if it was lost and created again meanwhile.
    machines : frozenset of tuple
        What identifies the page caches that were written to, and the size of their pages.
    parts : tuple
        Bytes that lie in a page that has bytes of other blocks, too, and are to be written.
    """

    identities: frozenset[tuple[int, int | None]]
    machines: frozenset[tuple[str, int]]
    parts: tuple[_Part, ...] = ()


class BlockWriter:
    """Writes blocks of an array to its file: what a task runs.

    >>> import dask.array as da
    >>> writer = BlockWriter(da.zeros(6, chunks=3), 0, False)
    >>> file = _begin("x.npy", writer, 1)
    >>> one = writer((slice(0, 3),), file, np.arange(3))
    >>> other = writer((slice(3, 6),), file, np.arange(3))
    >>> len(one.parts), other.parts[0][0] - file.data_offset   # they share a page
    (1, 24)
    >>> _name_files(_complete([[one, other]], [file], [writer]), [file], False, True)
    memmap([0., 1., 2., 0., 1., 2.])

    Parameters
    ----------
    array : dask.array.Array
        The array.
    index : int
        Its number, for messages.
    sync : bool
        Whether the bytes must be on the disk.

    Attributes
    ----------
    alignment : int
        A number of bytes that divides the position, in the data, of each place where one block ends
        and another one begins; 0 if there is none.
    is_contiguous : bool
        Whether each block is one run of the file.
    """

    __slots__ = ("alignment", "dtype", "index", "is_contiguous", "shape", "sync")

    def __init__(self, array: da.Array, index: int, sync: bool) -> None:
        self.index = index
        self.shape = tuple(int(length) for length in array.shape)
        self.dtype = array.dtype
        self.sync = sync
        self.alignment = _alignment(array.chunks, self.shape, self.dtype.itemsize)
        self.is_contiguous = _is_contiguous(array.chunks)

    def leaves_parts(self, file: PartialFile) -> bool:
        """Return whether a task leaves bytes unwritten, whose pages have bytes of other blocks."""
        is_page = math.gcd(self.alignment, file.data_offset) % PAGE == 0
        return self.is_contiguous and self.alignment > 0 and not is_page

    def __call__(self, slices: _Slices, file: PartialFile, block: Any) -> Written:
        """Write a block."""
        shape = _shape(slices)
        if np.shape(block) != shape:
            raise ValueError(
                f"{self._name(slices)}: expected shape {shape}, as the chunks say, got "
                f"{np.shape(block)}; give map_blocks the chunks that its function returns"
            )
        return self.write([block], slices, file)

    def write(self, pieces: Iterable[Any], slices: _Slices, file: PartialFile) -> Written:
        """Write a block that comes in one piece, or in several that are contiguous in the file."""
        descriptor = _open(file)
        if descriptor is None:
            # Dask repeats a block of a file that was finished, because the result was lost.
            return Written(frozenset([file.identity]), frozenset())
        try:
            parts: tuple[_Part, ...] = ()
            if not self.is_contiguous:
                (block,) = pieces
                self._write_scattered(self._convert(block, slices), slices, file, descriptor)
            else:
                parts = self._write_run(pieces, slices, file, descriptor)
            cache = self.flush(descriptor, file)
        finally:
            os.close(descriptor)
        return Written(frozenset([file.identity]), frozenset([cache]), parts)

    def flush(self, descriptor: int, file: PartialFile) -> tuple[str, int]:
        """Sync what was written, if that was asked for; return the page cache that it is in."""
        if self.sync or file.replaces:
            getattr(os, "fdatasync", os.fsync)(descriptor)
        return f"{machine()} {os.fstat(descriptor).st_dev}", PAGE

    def _name(self, slices: _Slices) -> str:
        return f"store: arrays[{self.index}]: the block at {[part.start for part in slices]}"

    def _convert(self, block: Any, slices: _Slices) -> NDArray[Any]:
        """Return the block as a contiguous array of the file's dtype."""
        _refuse_mask(block, self._name(slices))
        array = np.asarray(block)
        if array.dtype == self.dtype:
            return np.ascontiguousarray(array)
        try:
            return array.astype(self.dtype, order="C", casting="same_kind")
        except TypeError:
            raise ValueError(
                f"{self._name(slices)}: expected dtype {self.dtype}, as the array says, got "
                f"{array.dtype}; give map_blocks the dtype that its function returns"
            ) from None

    def _start(self, slices: _Slices, file: PartialFile) -> int:
        """Return the offset of a block's first byte in the file."""
        strides = _strides(self.shape, self.dtype.itemsize)
        starts = [part.start * stride for part, stride in zip(slices, strides, strict=True)]
        return file.data_offset + int(sum(starts))

    def _write_run(
        self, pieces: Iterable[Any], slices: _Slices, file: PartialFile, descriptor: int
    ) -> tuple[_Part, ...]:
        """Write the whole pages of a run; return the rest."""
        start = self._start(slices, file)
        size = math.prod(_shape(slices)) * self.dtype.itemsize
        end = file.data_offset + math.prod(self.shape) * self.dtype.itemsize
        first, last = _own_pages(start, size, (file.data_offset, end))
        parts = []
        done = 0
        for piece in pieces:
            content = _bytes(self._convert(piece, slices))
            head = min(max(first - done, 0), len(content))
            tail = min(max(last - done, head), len(content))
            position = start + done
            _pwrite(descriptor, content[head:tail], position + head)
            parts += [(position, bytes(content[:head])), (position + tail, bytes(content[tail:]))]
            done += len(content)
        assert done == size
        return tuple(part for part in parts if part[1])

    def _write_scattered(
        self, array: NDArray[Any], slices: _Slices, file: PartialFile, descriptor: int
    ) -> None:
        """Write a block that is no contiguous run of the file."""
        outer = _outer_axes(array.shape, self.shape)
        run = math.prod(array.shape[outer:]) * self.dtype.itemsize
        if run < MIN_RUN:
            with open(descriptor, "r+b", buffering=0, closefd=False) as opened:
                whole = memmap(opened, self.dtype, "r+", file.data_offset, self.shape)
                whole[slices] = array
            return
        start = self._start(slices, file)
        strides = _strides(self.shape, self.dtype.itemsize)[:outer]
        content = _bytes(array)
        indices = itertools.product(*(range(length) for length in array.shape[:outer]))
        for number, index in enumerate(indices):
            position = start + sum(i * stride for i, stride in zip(index, strides, strict=True))
            _pwrite(descriptor, content[number * run : (number + 1) * run], position)


class CallWriter:
    """Makes the calls of a function on blocks, and writes the results while they are in the cache.

    Parameters
    ----------
    writer : BlockWriter
        The writer of the result's array.
    call : BlockCall
        The calls on a block, which can be made in several batches: see `BlockCall.pieces`.
    """

    __slots__ = ("call", "writer")

    def __init__(self, writer: BlockWriter, call: Any) -> None:
        self.writer = writer
        self.call = call

    def __call__(self, slices: _Slices, file: PartialFile, *arguments: Any) -> Written:
        if not self.writer.is_contiguous:
            return self.writer(slices, file, self.call(*arguments))
        return self.writer.write(self.call.pieces(PIECE, *arguments), slices, file)


def _shape(slices: _Slices) -> tuple[int, ...]:
    return tuple(part.stop - part.start for part in slices)


def _bytes(array: NDArray[Any]) -> memoryview:
    """Return the bytes of a contiguous array, which is not copied.

    >>> bytes(_bytes(np.array(0x4241, "<i2")))
    b'AB'
    """
    return array.reshape(-1).view(np.uint8).data


def _strides(shape: Sequence[int], itemsize: int) -> list[int]:
    """Return the distance in bytes of successive indices, of each axis.

    >>> _strides((2, 3, 4), 8)
    [96, 32, 8]
    """
    products = itertools.accumulate(reversed(shape), lambda one, other: one * other, initial=1)
    return [itemsize * product for product in products][-2::-1]


def _outer_axes(block: Sequence[int], shape: Sequence[int]) -> int:
    """Return the number of axes before those along which a block is a contiguous run of the array.

    >>> _outer_axes((2, 3, 4), (2, 6, 4)), _outer_axes((1, 3, 4), (2, 3, 4))
    (1, 0)
    """
    cut = [axis for axis, length in enumerate(block) if length < shape[axis]]
    return cut[-1] if cut else 0


def _is_contiguous(chunks: Chunks) -> bool:
    """Return whether each block is a contiguous run of the array, in C order.

    >>> _is_contiguous(((2, 2), (3,))), _is_contiguous(((1, 1), (3, 3)))
    (True, True)
    >>> _is_contiguous(((2, 2), (3, 3)))
    False
    """
    lengths = [[length for length in each if length] for each in chunks]
    cut = [axis for axis, each in enumerate(lengths) if len(each) > 1]
    return not cut or all(length == 1 for each in lengths[: cut[-1]] for length in each)


def _alignment(chunks: Chunks, shape: Sequence[int], itemsize: int) -> int:
    """Return the attribute `BlockWriter.alignment`.

    >>> _alignment(((2, 2), (3,)), (4, 3), 8), _alignment(((1, 1), (3, 3)), (2, 6), 8)
    (48, 24)
    >>> _alignment(((4,), (512, 1024)), (4, 1536), 8), _alignment(((3,),), (3,), 8)
    (4096, 0)
    """
    lengths = [[length for length in each if length] for each in chunks]
    strides = _strides(shape, itemsize)
    found = 0
    for axis, each in enumerate(lengths):
        if len(each) > 1:
            outer = [
                stride for stride, length in zip(strides, shape[:axis], strict=False) if length > 1
            ]
            found = math.gcd(found, math.gcd(*each[:-1]) * strides[axis], *outer)
    return found


def _own_pages(start: int, size: int, data: tuple[int, int], page: int = PAGE) -> tuple[int, int]:
    """Return the range of a run's bytes that lie in pages with no bytes of other runs.

    >>> _own_pages(4096, 10000, (4096, 50000), page=4096)      # it ends within a page
    (0, 8192)
    >>> _own_pages(5000, 100, (4096, 50000), page=4096)
    (100, 100)
    >>> _own_pages(5000, 10000, (4096, 15000), page=4096)      # it ends with the data
    (3192, 10000)
    """
    end = start + size
    first = start if start == data[0] else min(end, -(-start // page) * page)
    last = end if end == data[1] else max(first, end // page * page)
    return first - start, last - start


def _pwrite(descriptor: int, content: memoryview, offset: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, offset)
        content = content[written:]
        offset += written


def _open(file: PartialFile) -> int | None:
    try:
        return file.open()
    except FileNotFoundError:
        raise FileNotFoundError(
            errno.ENOENT,
            f"store: the file that is to become {file.path} is not there: the computation was "
            "cancelled, or this machine does not see the folder by this path",
            file.partial,
        ) from None


def machine() -> str:
    """Return what identifies the running system, and so its page cache: the kernel's boot id.

    >>> machine() == machine()
    True

    Containers on one machine have the same. A page cache belongs to a mounted file system, too:
    `BlockWriter` adds the device number.
    """
    return _boot_id()


def _read_boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{platform.node()} {uuid.getnode():x}"


_boot_id = functools.lru_cache(maxsize=1)(_read_boot_id)


def _cache() -> tuple[str, int]:
    return machine(), PAGE


def _refuse_known_machines(
    files: list[PartialFile], writers: list[BlockWriter], options: dict[str, Any]
) -> None:
    """Refuse what `_refuse_machines` would, if the workers of a cluster are known already."""
    if all(writer.is_contiguous for writer in writers):
        return
    client = client_of(options)
    if client is not None:
        found = client.run(_cache, on_error="return").values()
        machines = {each for each in found if isinstance(each, tuple)}
        for file, writer in zip(files, writers, strict=True):
            _refuse_machines(file, writer, machines)


def _refuse_machines(
    file: PartialFile, writer: BlockWriter, machines: Iterable[tuple[str, int]]
) -> None:
    machines = set(machines)
    if writer.is_contiguous or len(machines) < 2:
        return
    alignment = math.gcd(file.data_offset, writer.alignment)
    page = max(size for _, size in machines)
    if alignment % page:
        raise ValueError(
            f"store: arrays[{writer.index}]: expected chunks along the first axis only, or whole "
            f"pages of {page} bytes, as {len(machines)} machines write the file {file.path}; got "
            f"chunks that share pages; call x.rechunk({{0: 'auto', **dict.fromkeys(range(1, "
            "x.ndim), -1)}) first"
        )


class _Tasks(NamedTuple):
    """The tasks of a store.

    Attributes
    ----------
    graph : dict
        The tasks.
    results : list of list of keys
        Those whose results are what was written of each array: `FAN_IN` at most, and one if tasks
        leave bytes that another one has to write.
    blocks : list of keys
        Those that write blocks.
    """

    graph: dict[Any, Any]
    results: list[list[Any]]
    blocks: list[Any]


def _tasks(
    arrays: list[da.Array], files: Sequence[PartialFile | Delayed], writers: list[BlockWriter]
) -> _Tasks:
    """Return the tasks: blocks, written where they are computed; then merges of their results."""
    token = uuid.uuid4().hex
    graphs, results = [], []
    for array, file, writer in zip(arrays, files, writers, strict=True):
        name = f"{key_split(array.name)}-store-{writer.index}-{token}"
        is_shared = sum(array.name in other.dask.layers for other in arrays) > 1
        made, names = _blocks(array, file, writer, name, is_shared)
        graphs.append(made)
        results.append(names)
    merged = HighLevelGraph.merge(*graphs)
    blocks = list(itertools.chain.from_iterable(results))
    # The arrays are optimised together, so that what they have in common is computed once.
    begun = [file.key for file in files if isinstance(file, Delayed)]
    graph: dict[Any, Any] = dict(da.Array.__dask_optimize__(merged, [*begun, *blocks]))
    for index, (file, writer) in enumerate(zip(_references(files), writers, strict=True)):
        leaves_parts = isinstance(file, PartialFile) and writer.leaves_parts(file)
        for level in itertools.count():
            keys = results[index]
            if len(keys) <= (1 if leaves_parts else FAN_IN):
                break
            groups = [keys[at : at + FAN_IN] for at in range(0, len(keys), FAN_IN)]
            results[index] = [
                (f"store-merge-{token}", index, level, at) for at in range(len(groups))
            ]
            for key, group in zip(results[index], groups, strict=True):
                graph[key] = (_merge, group, file, writer)
    return _Tasks(graph, results, blocks)


def _delayed(
    tasks: _Tasks, files: list[Delayed], writers: list[BlockWriter], finish: Callable[..., Any]
) -> Delayed:
    """Return a `Delayed`: tasks complete the files, call `finish`, which names them, and tidy."""
    token = uuid.uuid4().hex
    references = _references(files)
    complete, named, final = (f"store{step}-{token}" for step in ("-complete", "-finish", ""))
    graph = tasks.graph | {
        complete: (_complete, tasks.results, references, writers),
        named: (finish, complete, references),
        final: (_tidy, named, references),
    }
    return Delayed(final, HighLevelGraph.from_collections(final, graph, dependencies=[]))


def _references(files: Sequence[PartialFile | Delayed]) -> list[Any]:
    """Return the files as arguments of tasks."""
    return [file.key if isinstance(file, Delayed) else file for file in files]


def _blocks(
    array: da.Array,
    file: PartialFile | Delayed,
    writer: BlockWriter,
    name: str,
    is_shared: bool,
) -> tuple[HighLevelGraph, list[tuple[Any, ...]]]:
    """Return the graph of the tasks that compute and write the blocks of an array, and their keys.

    If the last operation of the array is a call of a bound function, the calls and the writing
    become one operation, unless the result `is_shared`: other arrays need it.
    """
    layers, dependencies = dict(array.dask.layers), dict(array.dask.dependencies)
    axes: Any = tuple(range(array.ndim))
    run: Any = writer
    pairs: list[Any] = [array.name, axes]
    new_axes: Any = {}
    numblocks: Any = {array.name: array.numblocks}
    needed = {array.name}
    layer: Any = layers[array.name]
    call = getattr(getattr(layer, "task", None), "func", None)
    if hasattr(call, "pieces") and not is_shared:
        del layers[array.name]
        needed = set(dependencies.pop(array.name))
        axes, new_axes, numblocks = layer.output_indices, layer.new_axes, layer.numblocks
        run = CallWriter(writer, call)
        inputs = ((layer.io_deps.get(key, key), indices) for key, indices in layer.indices)
        pairs = list(itertools.chain.from_iterable(inputs))
    reference: Any = file
    if isinstance(file, Delayed):
        reference, _ = unpack_collections(file)
        layers |= file.dask.layers
        dependencies |= file.dask.dependencies
        needed |= set(file.__dask_layers__())
    layers[name] = blockwise(
        run,
        name,
        axes,
        *(ArraySliceDep(array.chunks), axes, reference, None, *pairs),
        numblocks=numblocks,
        new_axes=new_axes,
    )
    dependencies[name] = needed
    keys = itertools.product([name], *map(range, array.numblocks))
    return HighLevelGraph(layers, dependencies), list(keys)


def _merge(written: Sequence[Written], file: PartialFile, writer: BlockWriter) -> Written:
    """Write the pages whose bytes are all there; return the rest, as one result."""
    identities = frozenset().union(*(each.identities for each in written))
    machines = frozenset().union(*(each.machines for each in written))
    data = file.data_offset, file.data_offset + math.prod(writer.shape) * writer.dtype.itemsize
    whole, rest = [], []
    for start, content in _joined(part for each in written for part in each.parts):
        first, last = _own_pages(start, len(content), data)
        whole.append((start + first, content[first:last]))
        rest += [(start, content[:first]), (start + last, content[last:])]
    descriptor = _open(file) if any(content for _, content in whole) else None
    if descriptor is not None:
        try:
            for start, content in whole:
                _pwrite(descriptor, memoryview(content), start)
            machines |= {writer.flush(descriptor, file)}
        finally:
            os.close(descriptor)
    return Written(identities, machines, tuple(part for part in rest if part[1]))


def _joined(parts: Iterable[_Part]) -> list[_Part]:
    """Return parts with those that are adjacent joined.

    >>> _joined([(0, b"ab"), (5, b"c"), (2, b"d")])
    [(0, b'abd'), (5, b'c')]
    """
    joined: list[tuple[int, list[bytes]]] = []
    end = None
    for start, content in sorted(parts):
        if start == end:
            joined[-1][1].append(content)
        else:
            joined.append((start, [content]))
        end = start + len(content)
    return [(start, b"".join(contents)) for start, contents in joined]


def _complete(
    written: Sequence[Sequence[Written]],
    files: Sequence[PartialFile],
    writers: Sequence[BlockWriter],
) -> None:
    """Write what the blocks have left, and check that each file has all its bytes."""
    for each, file, writer in zip(written, files, writers, strict=True):
        if (descriptor := _open(file)) is None:
            # Dask repeats this task, and perhaps blocks of it, because the result was lost.
            continue
        os.close(descriptor)
        rest = _merge(each, file, writer)
        if rest.parts:
            raise AssertionError(f"store: {file.path}: pages without all of their bytes")
        if rest.identities != {file.identity}:
            raise OSError(
                errno.ESTALE,
                "store: another process has removed the file while it was written, and blocks are "
                "lost; store the array again",
                file.partial,
            )
        _refuse_machines(file, writer, rest.machines)


def _name_files(
    _completed: None, files: Sequence[PartialFile], sync: bool, is_single: bool
) -> MappedArray | list[MappedArray]:
    """Give each complete file its name."""
    maps = [file.finish(sync) for file in files]
    return maps[0] if is_single else maps


def _tidy(maps: Any, files: Sequence[PartialFile]) -> Any:
    """Remove the hidden names of files whose bytes were copied; return the first argument."""
    for file in files:
        file.abandon()
    return maps
