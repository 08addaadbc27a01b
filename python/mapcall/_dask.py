"""Dask's names for arrays on maps.

Dask names an array by its content. For a ``numpy.memmap`` it forgets dtype and shape, so that two
different arrays on one file are taken for the same; ours are named as plain arrays are.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np

from ._memmap import memmap

MODULE = "dask.tokenize"


def register(tokenize: ModuleType | Any) -> None:
    """Make Dask's module name a memmap as it names a plain array.

    >>> import functools, types
    >>> normalize = functools.singledispatch(str)
    >>> _ = normalize.register(np.ndarray, lambda array: (array.dtype, array.shape))
    >>> register(types.SimpleNamespace(normalize_token=normalize))
    >>> normalize(memmap("x.dat", mode="w+", shape=3))
    (dtype('uint8'), (3,))
    """
    normalize = tokenize.normalize_token
    normalize.register(memmap, normalize.dispatch(np.ndarray))


class Finder:
    """Call `register` when Dask is imported later than mapcall.

    >>> Finder.find_spec("numpy") is None
    True
    """

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != MODULE:
            return None
        sys.meta_path.remove(cls)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                register(module)

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def install() -> None:
    """Register now if Dask has been imported, otherwise when it is imported.

    >>> install()
    """
    if MODULE in sys.modules:
        register(sys.modules[MODULE])
    elif Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)
