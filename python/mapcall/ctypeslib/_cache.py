"""Types that live for as long as somebody uses them."""

import os
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T", bound=type)


class TypeCache(Generic[T]):
    """Make one type for each key, and forget it when its last user does.

    >>> cache = TypeCache()
    >>> pair = cache.get("pair", lambda: type("pair", (), {}))
    >>> cache.get("pair", lambda: type("other", (), {})) is pair
    True

    Any thread may ask at any time; all get the same type.
    """

    def __init__(self) -> None:
        self._types: WeakValueDictionary[Hashable, T] = WeakValueDictionary()
        # Reentrant: a finalizer that the garbage collector runs inside `get`
        # may itself ask for a type.
        self._lock = threading.RLock()
        if hasattr(os, "register_at_fork"):
            # No other thread holds it when the process forks.
            os.register_at_fork(
                before=self._lock.acquire,
                after_in_parent=self._lock.release,
                after_in_child=self._lock.release,
            )

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the living type of `key`, or the one that `make` gives."""
        with self._lock:
            found = self._types.get(key)
            if found is None:
                found = self._types[key] = make()
            return found

    def __len__(self) -> int:
        return len(self._types)
