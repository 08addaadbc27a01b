"""Batches of the command ``mapcall call --dask``."""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import mmap
import os
import signal
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from multiprocessing import resource_tracker
from typing import Any, TypeAlias

import dask
import dask.array as da
import numpy as np
from dask.system import CPU_COUNT
from dask.utils import parse_bytes, parse_timedelta

from .. import _mapcall
from .._errors import ArgumentError, CallError, LibraryError, MapFault
from .._mapcall import ChangedFileError
from .._memmap import open as open_file
from ._arrays import Chunks, to_dask
from ._calls import core_axes
from ._progress import Progress, follow

try:
    import distributed
except ImportError as _error:
    raise ImportError(
        "--dask: expected dask.distributed, which is not installed; install it with: "
        "pip install 'mapcall[dask]'"
    ) from _error

# The number of blocks for each thread of the cluster: so many that threads end at about the same
# time, and so few that the scheduler's milliseconds for each block do not count.
BLOCKS_PER_THREAD = 16

# The time in seconds after which a scheduler is taken as absent, if Dask's configuration has none
# that is shorter.
TIMEOUT = 10

# The destination of an output: a new file, memory if True, nothing if None.
_Target: TypeAlias = str | bool | None


class Interrupted(KeyboardInterrupt):
    """Raised in the main thread by SIGINT and SIGTERM; the argument is the signal's number."""


def run(
    *,
    address: str,
    library: str,
    headers: list[str],
    prototypes: Sequence[str],
    include: Sequence[str],
    define: Mapping[str, str | None],
    prototype: str,
    check: str | None,
    arguments: Mapping[str, Any],
    where: Any,
    outputs: Sequence[_Target],
    threads: int,
    simd: bool | str,
    sync: bool,
    convert: bool,
    progress: Progress,
) -> list[bytes]:
    """Run a batch that the command has checked, and return the elements of outputs in memory.

    The command describes the batch by these arguments: `crates/mapcall-py/src/command.rs`.

    Parameters
    ----------
    address : str
        The scheduler; 'local' for a cluster that is started for the batch.
    library, headers, prototypes, include, define
        Those of `mapcall.load`.
    prototype : str
        The prototype; or the name of a function of the header.
    check, where, threads, simd, sync, convert
        Options of `Library.function` and of a batch.
    arguments : dict
        Numbers, texts, None and arrays in files, by the parameters' names.
    outputs : list of str, bool and None
        The destination of each output: the path of a new file; True for the memory of this process,
        None for an output that is not wanted.
    progress : callable
        It is called with the number of blocks of calls that are done, and with the number of all.

    Returns
    -------
    list of bytes
        The elements of outputs whose destination is True, in C order.

    Raises
    ------
    CallError
        If a call fails, as without a cluster: with the index of the first one.
    Interrupted
        After SIGINT or SIGTERM.
    RuntimeError
        If there is no such cluster, or a worker can't do its part; the message has a remedy.
    """
    function = _function(library, headers, prototypes, include, define, prototype, check)
    with contextlib.ExitStack() as stack, _interruptible():
        client = stack.enter_context(_connected(address))
        try:
            if address != "local":
                _require_package(client)
            results = _graph(client, function, arguments, where, threads, simd, convert)
            return _compute(client, results, outputs, sync, progress)
        except (ArgumentError, CallError):
            raise
        except Exception as error:
            raise RuntimeError(f"{function.name}: {_explained(error, address)}") from error


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Raise `Interrupted` in the block at a signal; a second signal ends the process."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def interrupt(number: int, _: Any) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            # None is a handler that other code than Python's has installed.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def _connected(address: str) -> Iterator[distributed.Client]:
    """Connect a client; for 'local', to a cluster that lives as long as the block."""
    with contextlib.ExitStack() as stack:
        if address != "local":
            try:
                client = stack.enter_context(_client(address))
            except Exception as error:
                raise RuntimeError(
                    f"--dask: expected the address of a scheduler that answers, got {address!r}: "
                    f"{error}; start one with dask scheduler, or give --dask local"
                ) from error
            yield client
            return
        # The workers inherit the blocked signal, as a terminal sends Ctrl-C to them, too. Python
        # unblocks it in the thread in which it starts the tracker.
        resource_tracker.ensure_running()
        with _blocked(signal.SIGINT):
            cluster = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=0,
                    threads_per_worker=1,
                    processes=True,
                    memory_limit=0,
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                )
            )
        cluster.scale(CPU_COUNT)
        yield stack.enter_context(_client(cluster))


def _require_package(client: distributed.Client) -> None:
    """Raise `ModuleNotFoundError` if a worker lacks a package.

    A worker that can't read the message with a task loses its connection, so that the batch would
    never end.
    """
    client.run(importlib.import_module, f"{__package__}._maps")


def _client(of: Any) -> distributed.Client:
    configured = parse_timedelta(dask.config.get("distributed.comm.timeouts.connect"))
    return distributed.Client(of, timeout=min(TIMEOUT, configured), name="mapcall")


@contextlib.contextmanager
def _blocked(number: int) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _function(
    library: str,
    headers: list[str],
    prototypes: Sequence[str],
    include: Sequence[str],
    define: Mapping[str, str | None],
    prototype: str,
    check: str | None,
) -> _mapcall.Function:
    # Workers read the header, too, and have other working directories.
    headers = [os.path.abspath(name) if os.path.isfile(name) else name for name in headers]
    folders = [os.path.abspath(folder) for folder in include]
    files = [os.path.abspath(file) for file in prototypes]
    loaded = _mapcall.load(library, headers, prototypes=files, include=folders, define=dict(define))
    if prototype.strip().isidentifier():
        bound: _mapcall.Function = getattr(loaded, prototype.strip())
        return bound
    return loaded.function(prototype, check=check)  # type: ignore[arg-type]


def _graph(
    client: distributed.Client,
    function: _mapcall.Function,
    arguments: Mapping[str, Any],
    where: Any,
    threads: int,
    simd: bool | str,
    convert: bool,
) -> list[da.Array]:
    """Return the outputs of the batch as Dask arrays."""
    keywords = {**arguments, "threads": threads, "simd": simd}
    if convert:
        keywords["convert"] = True
    if where is not None:
        keywords["where"] = where
    parameters = {parameter.name: parameter for parameter in function.parameters}
    arrays: dict[str, tuple[Any, int]] = {}
    for name, value in keywords.items():
        core = core_axes(parameters.get(name), value)
        if core is not None:
            arrays[name] = value, core
    # In one chunk each, as a graph needs no alignment.
    whole = {name: to_dask(array, array.shape) for name, (array, _) in arrays.items()}
    _, shape, outputs = _mapcall.describe_call(function, (), keywords | whole)
    loop_shape = shape or ()
    ndim = len(loop_shape)
    rows = [array.shape[array.ndim - core :] for array, core in arrays.values()]
    sizes = [
        math.prod(row) * array.dtype.itemsize
        for row, (array, _) in zip(rows, arrays.values(), strict=True)
    ]
    written = [math.prod(shape[ndim:]) * dtype.itemsize for _, dtype, shape in outputs]
    workers = sum(client.nthreads().values()) or CPU_COUNT
    chunks = loop_chunks(loop_shape, sum(sizes) + sum(written), written, workers)
    lazy = {
        name: to_dask(array, _chunks_of(array.shape, core, loop_shape, chunks))
        for name, (array, core) in arrays.items()
    }
    made = function(**keywords | lazy)
    return list(made) if isinstance(made, tuple) else [made]


def loop_chunks(shape: Sequence[int], nbytes: int, written: Sequence[int], threads: int) -> Chunks:
    """Return the chunks of the loop dimensions: blocks are runs of calls, in C order.

    >>> loop_chunks((1_000_000,), 16, [8], 1)         # the boundaries are those of whole pages
    ((62976, 62976, 62976, ..., 55360),)
    >>> loop_chunks((3, 4), 16, [8], 1)
    ((1, 1, 1), (1, 1, 1, 1))

    Parameters
    ----------
    shape : sequence of int
        The lengths of the loop dimensions.
    nbytes : int
        The size of all arrays of one call, in bytes.
    written : sequence of int
        The size of each output of one call, in bytes.
    threads : int
        The number of threads of the cluster.
    """
    limit = parse_bytes(dask.config.get("array.chunk-size")) // max(nbytes, 1)
    limit = max(min(limit, -(-math.prod(shape) // (threads * BLOCKS_PER_THREAD))), 1)
    lengths = [1] * len(shape)
    calls = 1
    for axis in reversed(range(len(shape))):
        length = shape[axis]
        if calls * length <= limit:
            lengths[axis] = length
            calls *= length
            continue
        even = -(-length // -(-length // max(limit // calls, 1)))
        # The number of indices for which each output takes whole pages.
        step = math.lcm(
            *(mmap.PAGESIZE // math.gcd(calls * size, mmap.PAGESIZE) for size in written if size)
        )
        lengths[axis] = even if step > even else min(-(-even // step) * step, length)
        break
    return tuple(
        (each,) * (length // each) + ((length % each,) if length % each else ()) if each else (0,)
        for length, each in zip(shape, lengths, strict=True)
    )


def _chunks_of(
    shape: Sequence[int], core: int, loop_shape: Sequence[int], chunks: Chunks
) -> Chunks:
    """Return the chunks of an array; an axis of length 1 is broadcast, and core axes are whole."""
    loops = len(shape) - core
    first = len(loop_shape) - loops
    return (
        *(
            chunks[first + axis] if shape[axis] == loop_shape[first + axis] else (shape[axis],)
            for axis in range(loops)
        ),
        *((length,) for length in shape[loops:]),
    )


def _compute(
    client: distributed.Client,
    results: list[da.Array],
    outputs: Sequence[_Target],
    sync: bool,
    progress: Progress,
) -> list[bytes]:
    """Compute the outputs to their destinations, and return the elements of those in memory."""
    wanted = [(array, to) for array, to in zip(results, outputs, strict=True) if to is not None]
    paths = [to for _, to in wanted if isinstance(to, str)]
    if not wanted:
        blocks = [da.map_blocks(_nothing, array, meta=array._meta) for array in results]
        follow(distributed.futures_of(client.persist(blocks)), progress)
        return []
    if not paths:
        computed = client.persist([array for array, _ in wanted])
        follow(distributed.futures_of(computed), progress)
        return [each.tobytes() for each in client.gather(client.compute(computed))]
    from ._store import store

    # The calls are made once if all outputs are stored. Those in memory are small.
    folder = os.path.dirname(os.path.abspath(paths[0]))
    hidden = [f".mapcall-{uuid.uuid4().hex}.npy" for _ in range(len(wanted) - len(paths))]
    hidden = [os.path.join(folder, name) for name in hidden]
    names = iter(hidden)
    targets = [to if isinstance(to, str) else next(names) for _, to in wanted]
    try:
        store([array for array, _ in wanted], targets, sync=sync, progress=progress)
        return [open_file(path).tobytes() for path in hidden]
    finally:
        for path in hidden:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _nothing(block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return block[:0]


def _explained(error: Exception, address: str) -> str:
    """Return a message with a remedy for an exception of a worker."""
    if isinstance(error, distributed.KilledWorker):
        return (
            "expected workers that live, got ones that died while they made the calls of one block "
            f"({error.allowed_failures + 1} tried); the function may crash, or need more memory "
            "than workers may use: look at the workers' logs, or leave out --dask"
        )
    if isinstance(error, CancelledError):
        return f"the scheduler {address} has ended or lost the batch; start it again"
    if isinstance(error, ChangedFileError):
        return f"{error.path}: the file has changed while the batch ran; start it again"
    if isinstance(error, FileNotFoundError):
        return f"{error}; each worker must see the files and folders by the same paths"
    if isinstance(error, ModuleNotFoundError):
        return (
            f"a worker lacks a package: {error}; install it in the environment of the workers: "
            "pip install 'mapcall[dask]'"
        )
    if isinstance(error, (LibraryError, MapFault, OSError, ValueError)):
        return str(error)
    return f"{type(error).__name__}: {error}"
