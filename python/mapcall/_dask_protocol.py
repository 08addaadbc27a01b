"""What Dask is told about maps: their names, their sizes, and how they travel.

Dask finds such functions by the class of a value, in tables of its own; `__dask_tokenize__` is not
asked of subclasses of ndarray. The functions here are given Dask's modules: none is imported.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

import numpy as np

from . import _mapcall
from ._mapcall import Function
from ._memmap import memmap


def register_tokens(tokenize: ModuleType | Any) -> None:
    """Make ``dask.tokenize`` name a map by its file, and other memmaps by content.

    >>> import functools, types
    >>> normalize = functools.singledispatch(str)
    >>> _ = normalize.register(np.ndarray, lambda array: array.tobytes())
    >>> register_tokens(types.SimpleNamespace(normalize_token=normalize))
    >>> _ = memmap("x.dat", mode="w+", shape=3)
    >>> normalize(memmap("x.dat", mode="r"))[3:]
    (0, "dtype('uint8')", (3,), (1,), 'r', False, None)
    >>> normalize(memmap("x.dat", mode="r").copy())[1:]
    (b'\\x00\\x00\\x00', "dtype('uint8')", (3,), (1,), None)
    """
    normalize = tokenize.normalize_token

    def token(array: memmap) -> tuple[Any, ...]:
        # Attributes that the user has set; unpickling restores them.
        attributes = array.__getstate__() or None
        own = None if attributes is None else normalize(attributes)
        name = f"{type(array).__module__}.{type(array).__qualname__}"
        place = name_of_place(array)
        if place is not None:
            return (name, *place, own)
        content = normalize.dispatch(np.ndarray)(np.asarray(array))
        # Dask names an array and its transpose alike.
        return name, content, repr(array.dtype), array.shape, array.strides, own

    normalize.register(memmap, token)


def name_of_place(array: memmap) -> tuple[Any, ...] | None:
    """Return what names an array on a map without its content; None if its content may change.

    >>> _ = memmap("x.dat", mode="w+", shape=3)
    >>> name_of_place(memmap("x.dat", mode="r"))[2:]
    (0, "dtype('uint8')", (3,), (1,), 'r', False)

    Bytes that are written through a map change the file's modification time at a time that the
    system chooses, so that the fingerprint of a writeable map does not tell its content.
    """
    if array.mode not in ("r", "c"):
        return None
    # The fingerprint counts here even if those that unpickle the map are to ignore it.
    trust = _mapcall._trust.set(False)
    try:
        reference = _mapcall.reduce(array)
    finally:
        _mapcall._trust.reset(trust)
    if reference is None:
        return None
    _, filename, fingerprint, offset, _, shape, strides, mode, is_writeable = reference
    dtype = repr(array.dtype)
    return os.fspath(filename), fingerprint, offset, dtype, shape, strides, mode, is_writeable


def register_sizes(sizeof: ModuleType | Any) -> None:
    """Make ``dask.sizeof`` count what a map takes in a message, as its pages are not copied.

    >>> import functools, types
    >>> size = functools.singledispatch(lambda array: array.nbytes)
    >>> register_sizes(types.SimpleNamespace(sizeof=size))
    >>> x = memmap("x.dat", mode="w+", shape=100000)
    >>> size(x) < 1000, size(x.copy())
    (True, 100000)
    """
    size = sizeof.sizeof
    plain = size.dispatch(np.ndarray)

    def size_of_map(array: memmap) -> int:
        return plain(array) if _mapcall.reduce(array) is None else array.__sizeof__()

    size.register(memmap, size_of_map)


def register_serialization(serialize: ModuleType | Any) -> None:
    """Make ``distributed`` send a map as its pickle, which refers to the file."""
    by_class = serialize.dask_serialize
    from_class = serialize.dask_deserialize
    pickle = serialize.pickle

    def dumps(array: memmap, context: dict[str, Any] | None = None) -> tuple[Any, list[Any]]:
        if _mapcall.reduce(array) is None and type(array) is memmap and not array.__getstate__():
            # A copy: as plain arrays, without a copy of its bytes.
            header, frames = by_class.dispatch(np.ndarray)(np.asarray(array), context=context)
            return {"array": header}, frames
        return {}, [pickle.dumps(array, protocol=(context or {}).get("pickle-protocol"))]

    def loads(header: dict[str, Any], frames: list[Any]) -> Any:
        if "array" in header:
            array = from_class.dispatch(np.ndarray)(header["array"], frames)
            return array.view(memmap)
        return pickle.loads(frames[0])

    by_class.register(memmap, dumps)
    from_class.register(memmap, loads)


def register_calls(core: ModuleType | Any) -> None:
    """Make bound functions build a graph when they are called with arrays of ``dask.array``.

    >>> import dask.array as da
    >>> import mapcall
    >>> cos = mapcall.load("m").function("double cos(double x)")
    >>> cos(da.zeros(3)).compute(scheduler="synchronous")
    array([1., 1., 1.])
    """
    _mapcall._lazy_arrays[core.Array] = _call


def _call(function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    from .dask._calls import call

    return call(function, args, kwargs)
