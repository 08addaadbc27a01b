"""A cache of objects that hold resources of the system: open maps and loaded libraries."""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar, cast

Value = TypeVar("Value")

_UNSET = object()


class _Entry:
    """A value, or its making by the thread that holds `making`."""

    __slots__ = ("making", "used", "value")

    def __init__(self, now: float) -> None:
        self.making = threading.RLock()
        self.used = now
        self.value: object = _UNSET


class Expiring(Generic[Value]):
    """A bounded cache that drops the values that have not been used for a while.

    >>> cache = Expiring(max_size=2, seconds=60)
    >>> cache.get("x", lambda: [0]) is cache.get("x", lambda: [1])
    True

    Threads may share it, also over a fork. A value that is dropped lives on where it is in use.

    Parameters
    ----------
    max_size : int
        The maximum number of values. Beyond it, the one that was used least recently is dropped.
    seconds : float
        The time after its last `get` at which a value is dropped, by a thread that all caches
        share and that runs while one of them has a value.
    clock : callable
        It returns the time in seconds.
    """

    def __init__(
        self, max_size: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.max_size = max_size
        self.seconds = seconds
        self._clock = clock
        self._entries: dict[Hashable, _Entry] = {}
        _caches.add(self)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key, which is made if the cache has none.

        >>> Expiring(8, 60).get("x", lambda: 3)
        3

        Threads that ask for a key while its value is made wait for it. An exception of `make` is
        raised, and nothing is cached.
        """
        entry = self._entries.get(key)
        if entry is not None and entry.value is not _UNSET:
            entry.used = self._clock()
            if _thread is None:
                _run_thread(self.seconds)
            return cast(Value, entry.value)
        with _lock:
            entry = self._entries.setdefault(key, _Entry(self._clock()))
        with entry.making:
            if entry.value is _UNSET:
                self._fill(key, entry, make)
        return cast(Value, entry.value)

    def _fill(self, key: Hashable, entry: _Entry, make: Callable[[], Value]) -> None:
        try:
            entry.value = make()
        except BaseException:
            with _lock:
                if self._entries.get(key) is entry:
                    del self._entries[key]
            raise
        entry.used = self._clock()
        with _lock:
            # It is missing if another thread has failed to make it, and in a forked process.
            self._entries.setdefault(key, entry)
        self._trim()
        _run_thread(self.seconds)

    def _trim(self) -> None:
        dropped = []
        with _lock:
            while len(made := self._made()) > self.max_size:
                dropped.append(self._entries.pop(min(made, key=lambda key: made[key].used)))
        # The values die here, without the lock.
        del dropped

    def expire(self) -> float | None:
        """Drop the values that are due; return the seconds until the next one is, or None.

        >>> now = 0.0
        >>> cache = Expiring(8, 60, clock=lambda: now)
        >>> _ = cache.get("x", list)
        >>> now = 59.0
        >>> cache.expire(), len(cache)
        (1.0, 1)
        >>> now = 60.0
        >>> cache.expire(), len(cache)
        (None, 0)
        """
        with _lock:
            now = self._clock()
            dropped = [
                self._entries.pop(key)
                for key, entry in self._made().items()
                if now - entry.used >= self.seconds
            ]
            due = [entry.used + self.seconds - now for entry in self._made().values()]
        del dropped
        return min(due, default=None)

    def discard(self, key: Hashable) -> None:
        """Drop the value of a key, if there is one.

        >>> Expiring(8, 60).discard("x")
        """
        with _lock:
            dropped = self._entries.pop(key, None)
        del dropped

    def clear(self) -> None:
        """Drop all values.

        >>> cache = Expiring(8, 60)
        >>> _ = cache.get("x", list)
        >>> cache.clear()
        >>> len(cache)
        0
        """
        with _lock:
            dropped = [self._entries.pop(key) for key in self._made()]
        del dropped

    def __len__(self) -> int:
        """Return the number of values.

        >>> len(Expiring(8, 60))
        0
        """
        with _lock:
            return len(self._made())

    # The lock is held while these run.

    def _made(self) -> dict[Hashable, _Entry]:
        return {key: entry for key, entry in self._entries.items() if entry.value is not _UNSET}

    def _forget_making(self) -> None:
        """Drop the entries whose makers are threads that a forked process does not have."""
        self._entries = self._made()


# Held while entries of a cache change and while the thread starts or ends, never while a value is
# made or dies.
_lock = threading.RLock()
_caches: weakref.WeakSet[Expiring[Any]] = weakref.WeakSet()


class _Thread(threading.Thread):
    """The thread that drops the values of all caches when they are due."""

    def __init__(self) -> None:
        super().__init__(name="mapcall-cache", daemon=True)
        self.is_stopped = False
        self.wake = threading.Event()
        # The seconds for which it sleeps; infinite while it looks for the values that are due.
        self.sleep = math.inf

    def run(self) -> None:
        global _thread
        while True:
            with _lock:
                self.wake.clear()
                self.sleep = math.inf
                caches = list(_caches)
            due = [left for cache in caches if (left := cache.expire()) is not None]
            del caches
            with _lock:
                if self.is_stopped or not any(map(len, _caches)):
                    _thread = None
                    return
                self.sleep = min([*due, threading.TIMEOUT_MAX])
            self.wake.wait(self.sleep)


_thread: _Thread | None = None


def _run_thread(seconds: float) -> None:
    """Start the thread, or wake it if it sleeps for longer."""
    global _thread
    with _lock:
        if _thread is not None:
            if seconds < _thread.sleep:
                _thread.wake.set()
            return
        _thread = _Thread()
        try:
            _thread.start()
        except RuntimeError:
            # There are too many threads, or the interpreter ends. The caches remain bounded.
            _thread = None


def _before_fork() -> None:
    """Take the lock, and end the thread: Python warns of a fork with several threads."""
    while True:
        _lock.acquire()
        thread = _thread
        if thread is None or thread is threading.current_thread():
            return
        thread.is_stopped = True
        thread.wake.set()
        _lock.release()
        thread.join()


def _after_fork_in_parent() -> None:
    has_values = any(map(len, _caches))
    _lock.release()
    if has_values:
        _run_thread(0)


def _after_fork_in_child() -> None:
    """Release the lock. The next `get` starts the thread, which many children do without."""
    global _thread
    _thread = None
    for cache in _caches:
        cache._forget_making()
    _lock.release()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
