"""Calls of bound functions with Dask arrays: the graph of the blocks' calls."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

import dask
import dask.array as da
import numpy as np
from dask.blockwise import BlockwiseDep, blockwise
from dask.highlevelgraph import HighLevelGraph
from dask.tokenize import tokenize
from dask.utils import format_bytes, parse_bytes

from .. import _mapcall
from .._errors import ArgumentError, CallError
from .._mapcall import Function
from .._memmap import memmap
from .._progress import Bar
from ._arrays import Chunks, FileBlocks, file_blocks, rechunk, to_dask
from ._kernels import Kernel
from ._maps import MapReference
from ._progress import Progress
from ._store import store

# The key of the option `where` among the arrays of a call: no parameter has a name of two words.
_MASK = "option where"


def call(function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function with Dask arrays among its arguments: build the graph.

    >>> import dask.array as da
    >>> import mapcall
    >>> hypot = mapcall.load("m").function("double hypot(double x, double y)")
    >>> x = da.linspace(0, 1, 1000, chunks=300)
    >>> y = hypot(x, 2.0)                           # calls this function
    >>> y
    dask.array<hypot, shape=(1000,), dtype=float64, chunksize=(300,), chunktype=numpy.ndarray>
    >>> float(y[0].compute(scheduler="synchronous"))
    2.0

    The results are Dask arrays. As Dask's arrays are never changed, an array that C writes is
    copied for the block, and the copy is one of the results; they are in the order of the
    prototype's signature.

    Raises
    ------
    ArgumentError
        If the shapes and dtypes do not fit the prototype, as in a call with arrays; if an axis that
        belongs to one call of C is in several large chunks, or a length is not known.
    """
    _refuse_unknown_lengths(function, args, kwargs)
    arguments, loop_shape, allocated = _mapcall.describe_call(function, args, kwargs)
    parameters = {parameter.name: parameter for parameter in function.parameters}
    keywords = {name: _mapcall.keyword_of(function, name) for name in kwargs}
    options = {
        option: kwargs[name]
        for name, known in keywords.items()
        if known is not None and not known[1]
        for option in known[:1]
    }
    out = options.pop("out", None)
    sync = options.pop("sync", False)
    progress = options.pop("progress", None)
    if progress and out is None:
        raise _refused(
            function,
            "progress",
            "None for Dask arrays, as nothing is computed yet",
            "a value",
            "leave it out; dask.diagnostics.ProgressBar and Dask's dashboard show the computation",
        )
    if core_axes(None, options.get("where")) is not None:
        arguments[_MASK] = options.pop("where")

    ndim = len(loop_shape or ())
    core = {name: core_axes(parameters.get(name), value) for name, value in arguments.items()}
    arrays = {name: arguments.pop(name) for name, axes in core.items() if axes is not None}
    written = [name for name in arrays if name in parameters and _is_written(parameters[name])]
    for name in written:
        if not isinstance(arrays[name], da.Array):
            raise _refused(
                function,
                name,
                "a Dask array, as the others are",
                f"a {type(arrays[name]).__name__}, which C would write",
                f"give dask.array.from_array({name}); the result is returned",
            )
    operands = _Operands(function, arrays, core, loop_shape or ())

    # The results: that of C, then the arrays that it writes, as in the prototype's signature.
    shapes = {name: (dtype, shape[ndim:]) for name, dtype, shape in allocated}
    for name in written:
        array = operands.arrays[name]
        shapes[name] = (array.dtype, array.shape[array.ndim - len(operands.core_of(name)) :])
    names = [name for name in (None, *parameters) if name in shapes]
    block_call = BlockCall(
        function,
        {name: len(operands.core_of(name)) for name in arrays},
        frozenset(
            name for name in arrays if name in parameters and parameters[name].is_column_major
        ),
        [(name, shapes[name][0]) for name in names],
        frozenset(written),
        arguments,
        options,
    )
    results = [_result(name, *shapes[name], operands) for name in names]
    made = _graph(function, block_call, operands, results)
    if out is None:
        return None if not made else made[0] if len(made) == 1 else tuple(made)
    with _reporting(function, progress, math.prod(loop_shape or ())) as report:
        return _store(function, made, out, sync, report)


@contextlib.contextmanager
def _reporting(function: Function, progress: Any, calls: int) -> Iterator[Progress | None]:
    """Return the function that reports finished blocks to the option `progress`, as calls."""
    if not progress:
        yield None
        return
    if progress is not True and not callable(progress):
        raise _refused(
            function, "progress", "True or a callable", repr(progress), "give progress=True"
        )
    bar = Bar(function.name) if progress is True else None
    report = progress if bar is None else bar
    try:
        yield lambda done, blocks: report(calls * done // blocks, calls)
    finally:
        if bar is not None:
            bar.close()


def _store(
    function: Function, made: list[da.Array], out: Any, sync: bool, progress: Progress | None
) -> Any:
    """Compute the results into the files of the option `out`."""
    several = list(out) if isinstance(out, tuple) else [out]
    if len(several) != len(made):
        raise _refused(
            function,
            "out",
            f"a destination for each of {len(made)} results",
            f"{len(several)}",
            "give a path, or a tuple of paths with None for a result that stays a Dask array",
        )
    for path in several:
        if isinstance(path, (np.ndarray, da.Array)):
            raise _refused(
                function,
                "out",
                "a path, as arguments are Dask arrays",
                f"a {type(path).__name__}",
                "give the path of a new .npy file, or leave it out and use the result",
            )
    stored = [(array, path) for array, path in zip(made, several, strict=True) if path is not None]
    arrays, paths = [array for array, _ in stored], [path for _, path in stored]
    written = iter(store(arrays, paths, sync=sync, progress=progress))
    results = [
        array if path is None else next(written) for array, path in zip(made, several, strict=True)
    ]
    return results[0] if len(results) == 1 else tuple(results)


def _refused(
    function: Function, parameter: str, expected: str, found: str, remedy: str
) -> ArgumentError:
    error = ArgumentError(
        f"{function.name}: {parameter}: expected {expected}, got {found}; {remedy}"
    )
    error.function = function.name
    error.parameter = parameter
    error.expected = expected
    error.found = found
    error.remedy = remedy
    return error


def _refuse_unknown_lengths(
    function: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    names = [parameter.name for parameter in function.parameters if not parameter.is_inferred]
    for name, value in itertools.chain(zip(names, args, strict=False), kwargs.items()):
        if isinstance(value, da.Array) and any(math.isnan(length) for length in value.shape):
            raise _refused(
                function,
                name,
                "known lengths",
                f"shape {value.shape}",
                f"call {name}.compute_chunk_sizes() first",
            )


def core_axes(parameter: _mapcall.Parameter | None, value: Any) -> int | None:
    """Return the number of an array's core axes; None if the value is no array."""
    if not isinstance(value, da.Array) and (not isinstance(value, np.ndarray) or value.ndim == 0):
        return None
    if parameter is None:
        return 0
    if parameter.is_buffer:
        # The same for each call, whatever its shape.
        return int(value.ndim)
    if parameter.extents:
        return len(parameter.extents)
    # Each call of C gets the address of the whole array for a pointer without a length.
    is_pointer = parameter.type.rstrip().endswith("*") and parameter.dtype is not None
    return int(value.ndim) if is_pointer else 0


def _is_written(parameter: _mapcall.Parameter) -> bool:
    is_array = bool(parameter.extents) or parameter.type.rstrip().endswith("*")
    return is_array and not parameter.is_const


class _Operands:
    """The arrays of a call as Dask arrays whose chunks fit together.

    Parameters
    ----------
    function : Function
        For messages.
    arrays : dict
        The arrays by parameter.
    core : dict
        The number of core axes of each.
    loop_shape : tuple of int
        The lengths of the loop dimensions.
    """

    def __init__(
        self,
        function: Function,
        arrays: Mapping[str, Any],
        core: Mapping[str, int | None],
        loop_shape: Sequence[int],
    ) -> None:
        counter = itertools.count(len(loop_shape))
        self._core = {name: [next(counter) for _ in range(core[name] or 0)] for name in arrays}
        self._fresh = counter
        lazy = {name: value for name, value in arrays.items() if isinstance(value, da.Array)}
        for name, array in lazy.items():
            lazy[name] = _whole_core(function, name, array, len(self._core[name]))
        given = _loop_chunks(lazy, self._core, loop_shape)
        self.arrays = {
            name: lazy[name] if name in lazy else self._collect(name, value, given)
            for name, value in arrays.items()
        }
        pairs = [(array, self.axes(name, len(loop_shape))) for name, array in self.arrays.items()]
        chunks, unified = da.core.unify_chunks(*itertools.chain.from_iterable(pairs))
        for name, array in zip(self.arrays, unified, strict=True):
            self.arrays[name] = rechunk(self.arrays[name], array.chunks)
        self.loop_chunks: Chunks = tuple(chunks[axis] for axis in range(len(loop_shape)))

    def core_of(self, name: str) -> list[int]:
        """Return the labels of an array's core axes."""
        return self._core[name]

    def axes(self, name: str, ndim: int) -> tuple[int, ...]:
        """Return the labels of an array's axes; a loop dimension has its index among all."""
        loops = self.arrays[name].ndim - len(self._core[name])
        return (*range(ndim - loops, ndim), *self._core[name])

    def fresh(self, count: int) -> list[int]:
        """Return labels that no axis has."""
        return [next(self._fresh) for _ in range(count)]

    def _collect(
        self, name: str, array: np.ndarray[Any, Any], given: Mapping[int, tuple[int, ...]]
    ) -> da.Array:
        """Return the Dask array of an array in memory or on a map."""
        loops = array.ndim - len(self._core[name])
        chunks: list[Any] = [-1] * array.ndim
        for axis in range(loops):
            known = given.get(axis - loops)
            if known is not None and sum(known) == array.shape[axis]:
                chunks[axis] = known
            elif array.size:
                chunks[axis] = "auto"
        if isinstance(array, memmap) and _mapcall.reduce(array) is not None:
            return to_dask(array, tuple(chunks))
        return cast(da.Array, da.from_array(array, tuple(chunks)))


def _loop_chunks(
    lazy: Mapping[str, da.Array], core: Mapping[str, list[int]], loop_shape: Sequence[int]
) -> dict[int, tuple[int, ...]]:
    """Return the chunks that Dask arrays have, by loop dimension, counted from the last (-1)."""
    found: dict[int, tuple[int, ...]] = {}
    for name, array in lazy.items():
        loops = array.ndim - len(core[name])
        for axis in range(loops):
            at = axis - loops
            if array.shape[axis] == loop_shape[at]:
                found.setdefault(at, array.chunks[axis])
    return found


def _whole_core(function: Function, name: str, array: da.Array, core: int) -> da.Array:
    """Return the array with each core axis in one chunk.

    Raises
    ------
    ArgumentError
        If the chunks would become larger than Dask's ``array.chunk-size``.
    """
    first = array.ndim - core
    cut = [axis for axis in range(first, array.ndim) if len(array.chunks[axis]) > 1]
    if not cut:
        return array
    lengths = [max(chunks, default=0) for chunks in array.chunks[:first]]
    nbytes = math.prod([*lengths, *array.shape[first:]]) * array.dtype.itemsize
    limit = parse_bytes(dask.config.get("array.chunk-size"))
    if nbytes > limit:
        axes = ", ".join(f"{axis}: -1" for axis in cut)
        raise _refused(
            function,
            name,
            f"axis {cut[0]}, which one call of C takes as a whole, in one chunk",
            f"{len(array.chunks[cut[0]])} chunks, together {format_bytes(nbytes)}",
            f"pass {name}.rechunk({{{axes}}})",
        )
    whole = tuple((length,) for length in array.shape[first:])
    return rechunk(array, (*array.chunks[:first], *whole))


_Result: TypeAlias = tuple[str | None, np.dtype[Any], tuple[int, ...], list[int]]


def _result(
    name: str | None, dtype: np.dtype[Any], core_shape: tuple[int, ...], operands: _Operands
) -> _Result:
    return name, dtype, core_shape, operands.fresh(len(core_shape))


def _graph(
    function: Function, block_call: BlockCall, operands: _Operands, results: list[_Result]
) -> list[da.Array]:
    """Return the Dask arrays of the results of calls on blocks."""
    loops = tuple(range(len(operands.loop_chunks)))
    arrays: list[Any] = list(operands.arrays.values())
    token = tokenize(block_call, operands.loop_chunks, [array.name for array in arrays])
    name = f"{function.name}-{token}"
    pairs: list[Any] = [LoopStarts(operands.loop_chunks), loops]
    dependencies: list[Any] = []
    for key, array in operands.arrays.items():
        axes = operands.axes(key, len(loops))
        blocks = file_blocks(array)
        if blocks is None:
            pairs += [array.name, axes]
            dependencies.append(array)
        else:
            # The task opens its blocks itself. Dask would make a task of its own for each block of
            # an array with core axes: it never joins layers behind axes that a result lacks.
            core = len(operands.core_of(key))
            pairs += [OpenedByTask(blocks, core), axes[: len(axes) - core]]
    numblocks = {array.name: array.numblocks for array in dependencies}

    def layer(
        called: Any, output: str, result: _Result | None, pairs: list[Any], blocks: dict[str, Any]
    ) -> Any:
        new = {} if result is None else dict(zip(result[3], result[2], strict=True))
        return blockwise(called, output, (*loops, *new), *pairs, numblocks=blocks, new_axes=new)

    def collection(output: str, result: _Result, graph: HighLevelGraph) -> da.Array:
        _, dtype, core_shape, _ = result
        chunks = (*operands.loop_chunks, *((length,) for length in core_shape))
        return da.Array(graph, output, chunks, meta=np.empty((0,) * len(chunks), dtype))

    if len(results) == 1:
        graph = HighLevelGraph.from_collections(
            name, layer(block_call, name, results[0], pairs, numblocks), dependencies=dependencies
        )
        return [collection(name, results[0], graph)]
    calls = HighLevelGraph.from_collections(
        name, layer(block_call, name, None, pairs, numblocks), dependencies=dependencies
    )
    made = []
    for index, result in enumerate(results):
        output = f"{function.name}-{result[0] or 'result'}-{token}"
        numblocks = {name: tuple(len(chunks) for chunks in operands.loop_chunks)}
        one = layer(operator.getitem, output, result, [name, loops, index, None], numblocks)
        graph = HighLevelGraph(
            {**calls.layers, output: one}, {**calls.dependencies, output: {name}}
        )
        made.append(collection(output, result, graph))
    return made


class LoopStarts(BlockwiseDep):
    """The index of the first call of each block, in the loop dimensions of all.

    >>> LoopStarts(((2, 3), (4,)))[(1, 0)]
    (2, 0)
    """

    produces_tasks = False

    def __init__(self, chunks: Chunks) -> None:
        self.chunks = chunks
        self.numblocks = tuple(len(lengths) for lengths in chunks)
        self._starts = [list(itertools.accumulate(lengths, initial=0)) for lengths in chunks]

    def __getitem__(self, index: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(starts[at] for starts, at in zip(self._starts, index, strict=True))

    def __reduce__(self) -> tuple[Any, ...]:
        return LoopStarts, (self.chunks,)


class OpenedByTask(BlockwiseDep):
    """The blocks of an array in a file, by index in the loop dimensions; core axes are whole.

    >>> import mapcall
    >>> x = mapcall.memmap("x.dat", mode="w+", shape=(4, 3)).to_dask((2, 3))
    >>> OpenedByTask(file_blocks(x), 1)[(1,)]
    <x.dat at 6: uint8 (2, 3)>
    """

    produces_tasks = False

    def __init__(self, blocks: FileBlocks, core: int) -> None:
        self.blocks = blocks
        self.core = core
        self.numblocks = blocks.numblocks[: len(blocks.numblocks) - core]

    def __getitem__(self, index: tuple[int, ...]) -> MapReference:
        return self.blocks[(*index, *(0,) * self.core)]

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenedByTask, (self.blocks, self.core)


class BlockCall:
    """The calls of a function on the blocks of arrays: what a task runs.

    >>> import mapcall
    >>> import numpy as np
    >>> frexp = mapcall.load("m").function("double frexp(double x, int exponent[1])")
    >>> results = [(None, np.dtype("f8")), ("exponent", np.dtype("i4"))]
    >>> run = BlockCall(frexp, {"x": 0}, frozenset(), results, frozenset(), {}, {})
    >>> run((0,), np.array([12.0, 0.5]))
    (array([0.75, 0.5 ]), array([[4],
           [0]], dtype=int32))

    Parameters
    ----------
    function : Function
        The function.
    core : dict
        The number of core axes of each array that is given, by parameter, in the order of the
        blocks.
    column_major : frozenset of str
        The parameters among `core` whose core axes C takes in Fortran order.
    results : list of tuple
        The name of the parameter, None for the result of C, and the dtype of each array to return.
    written : frozenset of str
        The parameters among `core` whose arrays C writes.
    arguments, options : dict
        The other arguments, and the options of a batch.
    """

    __slots__ = (
        *("_arguments", "_column_major", "_core", "_function", "_options", "_results", "_written"),
    )

    def __init__(
        self,
        function: Function | Kernel,
        core: dict[str, int],
        column_major: frozenset[str],
        results: list[tuple[str | None, np.dtype[Any]]],
        written: frozenset[str],
        arguments: dict[str, Any],
        options: dict[str, Any],
    ) -> None:
        self._function = function if isinstance(function, Kernel) else Kernel(function)
        self._core = core
        self._column_major = column_major
        self._results = results
        self._written = written
        self._arguments = arguments
        self._options = options

    def __call__(self, starts: tuple[int, ...], *blocks: Any) -> Any:
        return self._call(starts, blocks, None)

    def _call(
        self, starts: tuple[int, ...], blocks: Sequence[Any], out: np.ndarray[Any, Any] | None
    ) -> Any:
        arguments = dict(self._arguments)
        options = dict(self._options) if out is None else {**self._options, "out": out}
        inputs = []
        for (name, core), given in zip(self._core.items(), blocks, strict=True):
            block = _only(given)
            inputs.append((core, block))
            if name == _MASK:
                options["where"] = block
                continue
            is_reversed = name in self._column_major
            array = np.asanyarray(block)
            array = _reversed(array, core) if is_reversed else array
            is_written = name in self._written
            array = np.array(array, order="C") if is_written else _contiguous(array, core)
            arguments[name] = _reversed(array, core) if is_reversed else array
        names = _mapcall.option_names(self._function.function)
        spelled = {names[option]: value for option, value in options.items()}
        try:
            returned = self._function(**arguments, **spelled)
        except CallError as error:
            _move(error, starts)
            raise
        if returned is None and len(self._results) > len(self._written):
            # Statuses, which the function does not return, as they can only be 0.
            shapes = (np.shape(block)[: np.ndim(block) - core] for core, block in inputs)
            returned = np.zeros(np.broadcast_shapes(*shapes), self._results[0][1])
        if len(self._results) - len(self._written) <= 1:
            returned = (returned,)
        allocated = iter(returned)
        results = [
            arguments[name] if name in self._written else np.asarray(next(allocated), dtype)
            for name, dtype in self._results
        ]
        return results[0] if len(results) == 1 else tuple(results)

    def pieces(
        self, nbytes: int, starts: tuple[int, ...], *blocks: Any
    ) -> Iterator[np.ndarray[Any, Any]]:
        """Make the calls in several batches; yield their results, one after the other in C order.

        >>> import mapcall
        >>> import numpy as np
        >>> cbrt = mapcall.load("m").function("double cbrt(double x)")
        >>> results = [(None, np.dtype("f8"))]
        >>> run = BlockCall(cbrt, {"x": 0}, frozenset(), results, frozenset(), {}, {})
        >>> for piece in run.pieces(16, (0,), np.array([0.0, 1, 8, 27, 64])):
        ...     print(piece)
        [0. 1.]
        [2. 3.]
        [4.]

        A batch takes and returns about `nbytes`, so that the results are still in the cache of the
        core when the caller uses them. They are in the same memory, one after the other: memory
        that is new costs as much as the copy of a result. `BlockWriter` in `_store` uses it; it is
        for calls with one result.
        """
        arrays = [np.asanyarray(_only(block)) for block in blocks]
        loops = [array.ndim - core for array, core in zip(arrays, self._core.values(), strict=True)]
        shape = np.broadcast_shapes(
            *(array.shape[:count] for array, count in zip(arrays, loops, strict=True))
        )
        axis = next((axis for axis, length in enumerate(shape) if length > 1), len(shape))
        length = math.prod(shape[axis : axis + 1])
        largest = max(
            [math.prod(shape) * self._results[0][1].itemsize, *(array.nbytes for array in arrays)]
        )
        step = max(1, nbytes * length // max(1, largest))
        reuses = axis < len(shape) and not self._written and not self._has_status()
        out = None
        for start in range(0, max(length, 1), step):
            index = slice(start, start + step)
            parts = [
                # The axis of an array that is broadcast along it is missing, or has the length 1.
                array[(slice(None),) * at + (index,)]
                if (at := axis - len(shape) + count) >= 0 and array.shape[at : at + 1] == (length,)
                else array
                for array, count in zip(arrays, loops, strict=True)
            ]
            moved = tuple(at + start * (number == axis) for number, at in enumerate(starts))
            if out is not None:
                # The last batch may be shorter.
                out = out[(slice(None),) * axis + (slice(length - start),)]
                if self._results[0][0] is not None or _MASK in self._core:
                    # The function, or the mask, may leave parts of it unwritten.
                    out[...] = 0
            piece = self._call(moved, parts, out)
            if reuses:
                out = piece
            yield piece

    def _has_status(self) -> bool:
        """Return whether the result is a status: the function returns none, as it can only be 0."""
        if self._results[0][0] is not None:
            return False
        signature = inspect.signature(self._function.function)
        return signature.return_annotation is inspect.Signature.empty

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return (
            self._function,
            self._core,
            sorted(self._column_major),
            self._results,
            sorted(self._written),
            self._arguments,
            self._options,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return BlockCall, (
            self._function,
            self._core,
            self._column_major,
            self._results,
            self._written,
            self._arguments,
            self._options,
        )

    def __repr__(self) -> str:
        return f"<calls of {self._function.__name__}>"


def _only(block: Any) -> Any:
    """Return a block: Dask passes it in a list for each core axis, which is in one chunk.

    A block that is in a file is opened.
    """
    while isinstance(block, list):
        (block,) = block
    return block.open() if isinstance(block, MapReference) else block


def _reversed(array: np.ndarray[Any, Any], core: int) -> np.ndarray[Any, Any]:
    """Return a view with the core axes in the reverse order.

    >>> _reversed(np.zeros((5, 2, 3)), 2).shape
    (5, 3, 2)
    """
    first = array.ndim - core
    return array.transpose(*range(first), *reversed(range(first, array.ndim)))


def _contiguous(array: np.ndarray[Any, Any], core: int) -> Any:
    """Return the array, or a copy if its core axes are not contiguous; a number without axes.

    The memory of an array that came in a message may not be aligned; such a one is copied, too.
    """
    if array.ndim == 0:
        return array[()]
    if not array.flags.aligned:
        return array.copy()
    step = array.itemsize
    for length, stride in zip(array.shape[::-1][:core], array.strides[::-1][:core], strict=True):
        if length > 1 and stride != step:
            return np.ascontiguousarray(array)
        step *= length
    return array


def _move(error: CallError, starts: tuple[int, ...]) -> None:
    """Make the index in an exception that of the whole array."""
    if error.index is None or not any(starts):
        return
    index = tuple(map(operator.add, error.index, starts))
    message = str(error).replace(str(list(error.index)), str(list(index)), 1)
    error.args = (message, *error.args[1:])
    error.index = index
