"""What joblib is told about plain views of maps: how they travel to its workers and back.

joblib lets workers map the file of any view of a memmap. It computes the position in the file
itself, and wrongly for views that are reversed or transposed.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from . import _mapcall
from ._memmap import memmap


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


def register_dask_backend(backend: Any) -> None:
    """Make joblib's backend of Dask, the module ``joblib._dask``, send plain views as maps.

    Dask sends plain arrays by value. Workers get a `memmap` in place of a plain view of a map that
    they can open.

    >>> import asyncio, mapcall, types
    >>> class Backend:
    ...     async def _to_func_args(self, batch):
    ...         return [type(array) for _, args, _ in batch.items for array in args]
    >>> register_dask_backend(types.SimpleNamespace(DaskDistributedBackend=Backend))
    >>> x = mapcall.memmap("x.dat", mode="w+", shape=3)
    >>> batch = types.SimpleNamespace(items=[(sum, [np.asarray(x), np.zeros(3)], {})])
    >>> asyncio.run(Backend()._to_func_args(batch))
    [<class 'mapcall.memmap'>, <class 'numpy.ndarray'>]
    """
    own = backend.DaskDistributedBackend._to_func_args

    @functools.wraps(own)
    async def to_func_args(self: Any, batch: Any) -> Any:
        batch.items = [
            (function, [_as_map(each) for each in args], {k: _as_map(v) for k, v in kwargs.items()})
            for function, args, kwargs in batch.items
        ]
        return await own(self, batch)

    backend.DaskDistributedBackend._to_func_args = to_func_args


def _as_map(value: Any) -> Any:
    """Return a memmap for a plain view of a map that other processes can open, else the value."""
    if type(value) is np.ndarray and _mapcall.map_of(value) is not None:
        view = value.view(memmap)
        return value if _mapcall.reduce(view) is None else view
    return value
