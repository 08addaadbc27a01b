"""The progress of a computation on a cluster, and the first of its failures."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from dask.base import compute as dask_compute
from dask.base import get_scheduler
from dask.callbacks import Callback
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

# A callable that is called with the number of blocks that are done, and with the number of all.
Progress: TypeAlias = Callable[[int, int], Any]


def compute(
    graph: dict[Any, Any],
    keys: Sequence[Any],
    blocks: Sequence[Any],
    progress: Progress | None,
    options: dict[str, Any],
) -> list[Any]:
    """Compute the results of some tasks, and report those that are done.

    >>> graph = {"one": (abs, -1), "two": (abs, "one")}
    >>> compute(graph, ["two"], ["one"], print, {"scheduler": "synchronous"})
    0 1
    1 1
    [1]

    Parameters
    ----------
    graph : dict
        The tasks.
    keys : sequence of keys
        The tasks whose results are returned.
    blocks : sequence of keys
        The tasks that are counted, in the order of the blocks.
    progress : callable or None
        It is called with the number of blocks that are done, at first 0, and with that of all.
    options : dict
        Options of `dask.compute`.

    Raises
    ------
    Exception
        That of a task; on a cluster, with `progress`, that of the first block that fails.
    """
    layer = f"tasks-{uuid.uuid4().hex}"
    layers = HighLevelGraph.from_collections(layer, graph, dependencies=[])
    values = [Delayed(key, layers, layer=layer) for key in keys]
    if progress is None:
        return list(dask_compute(*values, **options))
    client = client_of(options)
    if client is not None:
        options = {name: value for name, value in options.items() if name != "scheduler"}
        futures = client.get(graph, [*blocks, *keys], sync=False, **options)
        results = futures[len(blocks) :]
        del futures[len(blocks) :]
        follow(futures, progress)
        return list(client.gather(results))
    waiting = set(blocks)
    progress(0, len(blocks))

    def count(key: Any, *_: Any) -> None:
        if key in waiting:
            waiting.discard(key)
            progress(len(blocks) - len(waiting), len(blocks))

    with Callback(posttask=count):
        return list(dask_compute(*values, **options))


def client_of(options: dict[str, Any]) -> Any:
    """Return the client of the cluster that computes with such options; None if there is none."""
    get = get_scheduler(scheduler=options.get("scheduler"))
    client = getattr(get, "__self__", None)
    return client if hasattr(client, "run") else None


def follow(futures: list[Any], progress: Progress | None) -> None:
    """Wait until all tasks are done, and report it; the list is emptied.

    A result that nothing else refers to is released as soon as it is there, so that a worker which
    dies later need not compute it again.

    Parameters
    ----------
    futures : list of distributed.Future
        The tasks of the blocks, in the order of the blocks.
    progress : callable or None
        It is called with the number of blocks that are done, at first 0, and with that of all.

    Raises
    ------
    Exception
        That of the first block, in their order, which fails. The tasks of the blocks before it are
        done then, so that the same block is reported each time.
    """
    from distributed import as_completed

    count = len(futures)
    positions = {future.key: position for position, future in enumerate(futures)}
    waiting = as_completed(futures)
    futures.clear()
    if progress is not None:
        progress(0, count)
    failed: tuple[int, Any] | None = None
    for future in waiting:
        position = positions.pop(future.key)
        if future.status != "finished" and (failed is None or position < failed[0]):
            failed = position, future
        if failed is None:
            if progress is not None:
                progress(count - len(positions), count)
        elif all(other > failed[0] for other in positions.values()):
            failed[1].result()
