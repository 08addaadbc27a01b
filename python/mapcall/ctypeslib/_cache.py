"""A cache of types with weak references: a type is freed with the last reference to it."""

import os
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T", bound=type)


class TypeCache(Generic[T]):
    """Cache one type for each key, with a weak reference to it.

    >>> cache = TypeCache()
    >>> pair = cache.get("pair", lambda: type("pair", (), {}))
    >>> cache.get("pair", lambda: type("other", (), {})) is pair
    True

    The cache is thread-safe: all threads get the same type for a key.
    """

    def __init__(self) -> None:
        self._types: WeakValueDictionary[Hashable, T] = WeakValueDictionary()
        # Reentrant: a finalizer that the garbage collector runs inside `get`
        # may itself ask for a type.
        self._lock = threading.RLock()
        if hasattr(os, "register_at_fork"):
            # The lock is taken before a fork, so that no other thread holds it in the child.
            os.register_at_fork(
                before=self._lock.acquire,
                after_in_parent=self._lock.release,
                after_in_child=self._lock.release,
            )

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the cached type of `key`, or cache the type that `make` returns."""
        with self._lock:
            found = self._types.get(key)
            if found is None:
                found = self._types[key] = make()
            return found

    def __len__(self) -> int:
        return len(self._types)
