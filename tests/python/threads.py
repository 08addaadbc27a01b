"""Runs work in several threads for a limited time."""

import threading
import time
from collections.abc import Callable

THREADS = 8
SECONDS = 1.0


def run_in_threads(work: Callable[[int], None], seconds: float = SECONDS) -> int:
    """Repeats `work(thread)` in each thread, at least once.

    Returns the number of runs, or raises the first error.
    """
    errors: list[BaseException] = []
    counts = [0] * THREADS
    start = threading.Barrier(THREADS)

    def loop(thread: int) -> None:
        try:
            start.wait()
            end = time.monotonic() + seconds
            while not errors and (not counts[thread] or time.monotonic() < end):
                work(thread)
                counts[thread] += 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=loop, args=(thread,)) for thread in range(THREADS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(timeout=seconds + 60)
        assert not each.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]
    assert all(counts)
    return sum(counts)
