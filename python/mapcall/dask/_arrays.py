"""Array files as Dask arrays, each block of which is opened where it is used."""

from __future__ import annotations

import glob
import itertools
import math
import mmap
import os
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, cast

import dask
import dask.array as da
import numpy as np
from dask.array.core import normalize_chunks
from dask.blockwise import BlockwiseDep, blockwise
from dask.highlevelgraph import HighLevelGraph
from dask.tokenize import tokenize
from dask.utils import parse_bytes

from .. import _memmap
from .._memmap import memmap
from ._maps import MapReference, dates_writes, open_block

Chunks: TypeAlias = tuple[tuple[int, ...], ...]
_Path: TypeAlias = str | bytes | os.PathLike[Any]


def open(
    paths: _Path | Sequence[_Path],
    chunks: Any = "auto",
    member: str | None = None,
    *,
    axis: int = 0,
    stack: bool = False,
) -> da.Array:
    """Open array files as a Dask array; no element is read.

    >>> import mapcall.dask
    >>> import numpy as np
    >>> np.save("part-0.npy", np.arange(6).reshape(2, 3))
    >>> np.save("part-1.npy", np.arange(9).reshape(3, 3))
    >>> x = mapcall.dask.open("part-*.npy")
    >>> x.shape, x.chunks
    ((5, 3), ((2, 3), (3,)))
    >>> x.sum().compute(scheduler="synchronous")
    np.int64(51)

    A task of the graph holds the path and the position of its block, and opens the file where it
    runs. Each worker must see the files by the same paths.

    Parameters
    ----------
    paths : str, bytes, path, or sequence of them
        A ``.npy`` or ``.npz`` file; a pattern with ``*``, ``?`` or ``[...]``, whose files are taken
        in the order of their names; or several files. A file whose name is the pattern itself is
        taken as that file.
    chunks : default "auto"
        The blocks, in any form that `dask.array` knows: a length, a tuple, a size such as ``"64
        MiB"``. By default, blocks are runs of the file of at most the size in the configuration of
        Dask (``array.chunk-size``), whole pages where rows permit. With several files, these are
        the chunks of each.
    member : str, optional
        The name of the array in ``.npz`` files.
    axis : int, default 0
        The axis along which the arrays of several files are joined.
    stack : bool, default False
        Stack the arrays along a new axis, as `numpy.stack` does; otherwise they are concatenated,
        as by `numpy.concatenate`.

    Returns
    -------
    dask.array.Array
        Its name is made of the path, the fingerprint of the file, the position in it, dtype, shape
        and strides; never of the content.

    Raises
    ------
    FormatError, OSError, ValueError
        As for `mapcall.open`.
    FileNotFoundError
        If no file has the pattern.
    ValueError
        If the files have different dtypes, or shapes that can't be joined.

    See Also
    --------
    mapcall.memmap.to_dask : for an array that is open already, and for files of any format.

    Notes
    -----
    A block is mapped anew for each task, and its file is compared with the fingerprint: a file that
    was replaced or written since raises `ChangedFileError`. The pages of a block are the worker's
    as long as the block is used.

    The name of a writeable map whose file is in memory (tmpfs) is unique, because nothing tells
    there that the file was written.
    """
    several = _expand(paths)
    if several is None:
        return to_dask(_memmap.open(paths, member=member), chunks)  # type: ignore[arg-type]
    parts = [MapReference.of(_memmap.open(path, member=member)) for path in several]
    return _join(parts, chunks, axis, stack)


def _expand(paths: _Path | Sequence[_Path]) -> list[_Path] | None:
    """Return the files of a pattern or list; None for one file."""
    if not isinstance(paths, (str, bytes, os.PathLike)):
        several = list(paths)
        if not several:
            raise ValueError("expected files, got an empty list")
        return several
    path: Any = os.fspath(paths)
    if os.path.lexists(path) or not glob.has_magic(path):
        return None
    found = sorted(glob.glob(path))
    if not found:
        raise FileNotFoundError(f"no file has the pattern {os.fsdecode(path)!r}")
    return found


def to_dask(array: memmap, chunks: Any = "auto") -> da.Array:
    """Return an array on a map as a Dask array: see `mapcall.memmap.to_dask`.

    >>> import mapcall
    >>> x = mapcall.memmap("x.dat", "f4", "w+", shape=(4, 6))
    >>> to_dask(x[:, ::2], chunks=(2, 3))
    dask.array<x.dat, shape=(4, 3), dtype=float32, chunksize=(2, 3), chunktype=numpy.ndarray>
    """
    if array.mode in ("r+", "w+"):
        array.flush()
    reference = MapReference.of(array)
    normalized = _normalize(reference, chunks)
    blocks = FileBlocks([reference], normalized, None)
    is_dated = array.mode not in ("r+", "w+") or dates_writes(cast(str, array.filename))
    return _collection([reference], blocks, normalized, None if is_dated else uuid.uuid4())


def _join(parts: list[MapReference], chunks: Any, axis: int, stack: bool) -> da.Array:
    """Return the Dask array of several files."""
    first = parts[0]
    ndim = len(first.shape) + stack
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis: expected -{ndim} to {ndim - 1}, got {axis}")
    axis %= ndim
    for part in parts[1:]:
        _check_agreement(first, part, None if stack else axis)
    if stack:
        normalized = _normalize(first, chunks)
        joined = (*normalized[:axis], (1,) * len(parts), *normalized[axis:])
        return _collection(parts, FileBlocks(parts, joined, axis), joined)
    each = [_normalize(part, chunks) for part in parts]
    # The other axes are cut alike in all files: as in the first one.
    joined = (
        *each[0][:axis],
        tuple(itertools.chain.from_iterable(one[axis] for one in each)),
        *each[0][axis + 1 :],
    )
    return _collection(
        parts, FileBlocks(parts, joined, axis, [len(one[axis]) for one in each]), joined
    )


def _check_agreement(first: MapReference, part: MapReference, axis: int | None) -> None:
    """Raise an exception unless the arrays of two files can be joined along an axis, or stacked."""

    def others(shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape if axis is None else (*shape[:axis], *shape[axis + 1 :])

    if part.dtype != first.dtype:
        raise ValueError(
            f"{part.name}: expected dtype {first.dtype}, as {first.name} has, got {part.dtype}"
        )
    if len(part.shape) != len(first.shape) or others(part.shape) != others(first.shape):
        free = "" if axis is None else f" but for axis {axis}"
        raise ValueError(
            f"{part.name}: expected shape {first.shape}{free}, as {first.name} has, "
            f"got {part.shape}"
        )


def _collection(
    parts: list[MapReference], blocks: FileBlocks, chunks: Chunks, own: uuid.UUID | None = None
) -> da.Array:
    """Return the Dask array of blocks in files; its name is its alone if `own` is given."""
    first = parts[0]
    # The first part of a name is what Dask's dashboard shows.
    name = f"{first.name.replace('-', '_')}-{tokenize(parts, chunks, blocks.axis, own)}"
    axes = tuple(range(len(chunks)))
    layer = blockwise(open_block, name, axes, blocks, axes, numblocks={}, _data_producer=True)
    # For `file_blocks`.
    layer.file_blocks = blocks
    graph = HighLevelGraph.from_collections(name, layer)
    meta = np.empty((0,) * len(chunks), first.dtype)
    return da.Array(graph, name, chunks, meta=meta)


def file_blocks(array: da.Array) -> FileBlocks | None:
    """Return the blocks of an array that `open` or `to_dask` made; None for any other array.

    >>> import mapcall
    >>> x = mapcall.memmap("x.dat", mode="w+", shape=10).to_dask(4)
    >>> file_blocks(x).chunks, file_blocks(x + 1)
    (((4, 4, 2),), None)
    """
    return getattr(array.dask.layers.get(array.name), "file_blocks", None)


def rechunk(array: da.Array, chunks: Chunks) -> da.Array:
    """Return an array in other chunks; one that is a file is cut anew, and no block is joined.

    >>> import mapcall
    >>> x = mapcall.memmap("x.dat", mode="w+", shape=10).to_dask(4)
    >>> y = rechunk(x, ((5, 5),))
    >>> y.chunks, len(y.dask.layers)
    (((5, 5),), 1)
    """
    if array.chunks == chunks:
        return array
    blocks = file_blocks(array)
    if blocks is None or blocks.axis is not None:
        return cast(da.Array, array.rechunk(chunks))
    return _collection(blocks.parts, FileBlocks(blocks.parts, chunks, None), chunks)


class FileBlocks(BlockwiseDep):
    """The blocks of an array in one or several files, as references, for a layer of a graph.

    >>> import mapcall
    >>> x = MapReference.of(mapcall.memmap("x.dat", mode="w+", shape=10))
    >>> FileBlocks([x], ((4, 4, 2),), None)[(2,)]
    <x.dat at 8: uint8 (2,)>

    Parameters
    ----------
    parts : list of MapReference
        The arrays in the files.
    chunks : tuple of tuples
        The lengths of the blocks along each axis of the whole.
    axis : int or None
        The axis along which the parts follow each other.
    counts : list of int, optional
        The number of blocks that each part has along the axis; None if the parts are stacked.
    """

    produces_tasks = False

    def __init__(
        self,
        parts: list[MapReference],
        chunks: Chunks,
        axis: int | None,
        counts: list[int] | None = None,
    ) -> None:
        self.parts = parts
        self.chunks = chunks
        self.axis = axis
        self.counts = counts
        self.numblocks = tuple(len(lengths) for lengths in chunks)
        # Where each block begins, in its part.
        self._starts = [list(itertools.accumulate(lengths, initial=0)) for lengths in chunks]
        self._part_of: list[int] = []
        if axis is not None and counts is not None:
            self._part_of = [part for part, count in enumerate(counts) for _ in range(count)]
            ends = iter(chunks[axis])
            self._starts[axis] = []
            for count in counts:
                lengths = itertools.islice(ends, count)
                self._starts[axis] += list(itertools.accumulate(lengths, initial=0))[:-1]

    def __getitem__(self, index: tuple[int, ...]) -> MapReference:
        starts = [begins[at] for begins, at in zip(self._starts, index, strict=True)]
        lengths = [chunks[at] for chunks, at in zip(self.chunks, index, strict=True)]
        block = [
            slice(start, start + length) for start, length in zip(starts, lengths, strict=True)
        ]
        if self.axis is None:
            return self.parts[0][tuple(block)]
        if self.counts is not None:
            return self.parts[self._part_of[index[self.axis]]][tuple(block)]
        part = self.parts[index[self.axis]]
        del block[self.axis]
        return part[tuple(block)].expand(self.axis)

    def __reduce__(self) -> tuple[Any, ...]:
        return FileBlocks, (self.parts, self.chunks, self.axis, self.counts)


def _normalize(array: MapReference, chunks: Any) -> Chunks:
    """Return the chunks of an array in Dask's form."""
    limit = None
    if isinstance(chunks, str):
        limit = dask.config.get("array.chunk-size") if chunks == "auto" else chunks
        limit = parse_bytes(limit)
        if array.shape and 0 not in array.shape:
            return tuple(_runs(array, limit))
    chunks = normalize_chunks(chunks, array.shape, dtype=array.dtype, limit=limit)
    return cast(Chunks, chunks)


def _runs(array: MapReference, limit: int) -> Iterator[tuple[int, ...]]:
    """Yield the chunks of each axis, so that a block is a run of the file of at most `limit` bytes.

    Axes are kept whole from the innermost on as long as the block fits; the next one is cut, and
    those outside of it have blocks of one element.
    """
    order = sorted(range(len(array.shape)), key=lambda axis: (abs(array.strides[axis]), -axis))
    lengths = dict.fromkeys(order, 1)
    nbytes = max(array.dtype.itemsize, 1)
    for axis in order:
        length = array.shape[axis]
        if nbytes * length <= limit:
            lengths[axis] = length
            nbytes *= length
            continue
        most = max(limit // nbytes, 1)
        # The number of rows that take whole pages.
        step = mmap.PAGESIZE // math.gcd(nbytes, mmap.PAGESIZE)
        even = -(-length // -(-length // most))
        lengths[axis] = min(-(-even // step) * step, most // step * step) or even
        break
    for axis, length in enumerate(array.shape):
        count, rest = divmod(length, lengths[axis])
        yield (lengths[axis],) * count + ((rest,) if rest else ())
