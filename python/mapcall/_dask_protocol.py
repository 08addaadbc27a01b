"""What Dask is told about maps and functions: their names, their sizes, and how they travel.

Dask finds such functions by the class of a value, in tables of its own; `__dask_tokenize__` is not
asked of subclasses of ndarray. The functions here are given Dask's modules: none is imported.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np

from . import _mapcall, _pickling
from ._mapcall import Function, Library
from ._memmap import memmap


def register_tokens(tokenize: Any) -> None:
    """Make ``dask.tokenize`` name maps and functions by reference, writeable maps also by content.

    >>> import functools, types
    >>> normalize = functools.singledispatch(str)
    >>> _ = normalize.register(np.ndarray, lambda array: array.tobytes())
    >>> register_tokens(types.SimpleNamespace(normalize_token=normalize))
    >>> x = memmap("x.dat", mode="w+", shape=3)
    >>> normalize(memmap("x.dat", mode="r"))[3:]
    (0, 'r', False, None, "dtype('uint8')", (3,), (1,), None)
    >>> normalize(x)[2:]
    (None, 0, 'r+', True, b'\\x00\\x00\\x00', "dtype('uint8')", (3,), (1,), None)
    >>> normalize(x.copy())[1:]
    (b'\\x00\\x00\\x00', "dtype('uint8')", (3,), (1,), None)

    Bytes that are written through a map change the file's modification time at a time that the
    system chooses, so that the fingerprint of the file does not tell the content of such a map.
    """
    normalize = tokenize.normalize_token
    # It runs Dask's own registrations for NumPy, which else would replace this one where a program
    # has set ``numpy.memmap`` to mapcall's class.
    normalize_content = normalize.dispatch(np.ndarray)

    def token(array: memmap) -> tuple[Any, ...]:
        place: tuple[Any, ...] = ()
        by_content = True
        if (reference := _fingerprinted(array)) is not None:
            _, filename, fingerprint, offset, *_, mode, is_writeable = reference
            by_content = mode == "r+"
            found = None if by_content else fingerprint
            place = os.fspath(filename), found, offset, mode, is_writeable
        content = normalize_content(np.asarray(array)) if by_content else None
        # Attributes that the user has set.
        own = normalize(attributes) if (attributes := array.__getstate__()) else None
        kind = f"{type(array).__module__}.{type(array).__qualname__}"
        # Dask's own names forget the strides of arrays, and the fields of dtypes.
        return kind, *place, content, repr(array.dtype), array.shape, array.strides, own

    normalize.register(memmap, token)
    for kind in (Library, Function):
        normalize.register(kind, functools.partial(_token_of_reference, normalize))


def _token_of_reference(normalize: Any, pickled: Library | Function) -> tuple[Any, ...]:
    return f"mapcall.{type(pickled).__name__}", normalize(_pickling.reference(pickled))


def _fingerprinted(array: memmap) -> tuple[Any, ...] | None:
    """Return the arguments of `reopen`, with the fingerprint also within `trust_files`.

    >>> import mapcall
    >>> x = memmap("x.dat", mode="w+", shape=3)
    >>> with mapcall.trust_files():
    ...     _mapcall.reduce(x)[2] is None, _fingerprinted(x)[2] is None
    (True, False)
    """
    trust = _mapcall._trust.set(False)
    try:
        return _mapcall.reduce(array)
    finally:
        _mapcall._trust.reset(trust)


def register_sizes(sizeof: Any) -> None:
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


def register_serialization(serialize: Any) -> None:
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


def register_calls(core: Any) -> None:
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
