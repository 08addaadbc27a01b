"""What joblib is told about plain views of maps: how they travel to its workers and back.

joblib lets workers map the file of any view of a memmap. It computes the position in the file
itself, and wrongly for views that are reversed or transposed.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from . import _mapcall


def register_reducer(reducer: Any) -> None:
    """Make ``joblib._memmapping_reducer`` send plain views of maps as maps are pickled.

    >>> import mapcall, types
    >>> reducer = types.SimpleNamespace(_reduce_memmap_backed=lambda array, backing: "joblib's")
    >>> register_reducer(reducer)
    >>> x = mapcall.memmap("x.dat", mode="w+", shape=3)
    >>> reopen, reference = reducer._reduce_memmap_backed(np.asarray(x)[::-1], x)
    >>> reference[3:7]
    (2, '|u1', (3,), (-1,))
    >>> reducer._reduce_memmap_backed(np.memmap("x.dat"), None)
    "joblib's"
    """
    own = reducer._reduce_memmap_backed

    @functools.wraps(own)
    def reduce_view(array: Any, backing: Any) -> Any:
        if _mapcall.map_of(array) is None:
            return own(array, backing)
        reference = _mapcall.reduce(array)
        if reference is None:
            return np.asarray(array).__reduce__()
        return _mapcall.reopen, reference

    reducer._reduce_memmap_backed = reduce_view
