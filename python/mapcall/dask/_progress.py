"""The progress of a computation on a cluster, and the first of its failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

# A callable that is called with the number of blocks that are done, and with the number of all.
Progress: TypeAlias = Callable[[int, int], Any]


def follow(futures: list[Any], progress: Progress | None) -> None:
    """Wait until all tasks are done, and report it; the list is emptied.

    A result that nothing else refers to is released as soon as it is there, so that a worker which
    dies later need not compute it again.

    Parameters
    ----------
    futures : list of distributed.Future
        The tasks of the blocks, in the order of the blocks.
    progress : callable or None
        It is called with the number of blocks that are done, and with the number of all.

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
