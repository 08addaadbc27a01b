"""Import hooks: what mapcall registers with other packages once these are imported.

mapcall imports none of these packages for it. `REGISTRATIONS` names their modules, and what to do
with each.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from _thread import get_ident
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, ClassVar

# The module of another package: the function, in a module of this one, that is called with it. Each
# function registers one thing, may be called again for the same module, and is imported by then.
REGISTRATIONS = {
    "dask.array.core": "_dask_protocol.register_calls",
    "dask.tokenize": "_dask_protocol.register_tokens",
    "dask.sizeof": "_dask_protocol.register_sizes",
    "distributed.protocol.serialize": "_dask_protocol.register_serialization",
    "joblib._dask": "_joblib_protocol.register_dask_backend",
    "joblib._memmapping_reducer": "_joblib_protocol.register_reducer",
}


def register(module: ModuleType) -> None:
    """Call the function that `REGISTRATIONS` has for a module.

    >>> import types
    >>> module = types.ModuleType("dask.tokenize")
    >>> register(module)
    Traceback (most recent call last):
    RuntimeWarning: mapcall could not register with dask.tokenize: AttributeError: ...

    Warns
    -----
    RuntimeWarning
        If the function fails, as when another version of the package lacks what it needs. The
        import of the package goes on.
    """
    name = module.__name__
    source, function = REGISTRATIONS[name].rsplit(".", 1)
    try:
        getattr(importlib.import_module(f".{source}", __package__), function)(module)
    except Exception as error:
        warnings.warn(
            f"mapcall could not register with {name}: {type(error).__name__}: {error}",
            RuntimeWarning,
            stacklevel=2,
        )


class Loader:
    """A loader that executes a module by its own loader, and then calls `register`.

    >>> import importlib.util
    >>> loader = Loader(importlib.util.find_spec("colorsys").loader)
    >>> loader.get_source("colorsys")[:3]
    '\"""'
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The module is to look as without mapcall, for those that read its source or its data.
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        register(module)


class Finder:
    """Finds the modules of `REGISTRATIONS` as the other finders do, and sets their `Loader`.

    >>> Finder.find_spec("numpy") is None
    True

    It stays in ``sys.meta_path``: a module may be imported again, or be reloaded.
    """

    # The searches that run: name and thread. Another finder may ask all finders, as this one does.
    searches: ClassVar[set[tuple[str, int]]] = set()

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        search = name, get_ident()
        if name not in REGISTRATIONS or search in cls.searches:
            return None
        cls.searches.add(search)
        try:
            for finder in list(sys.meta_path):
                find = None if finder is cls else getattr(finder, "find_spec", None)
                spec: ModuleSpec | None = None if find is None else find(name, path, target)
                if spec is not None:
                    if hasattr(spec.loader, "exec_module"):
                        spec.loader = Loader(spec.loader)  # type: ignore[assignment]
                    return spec
        finally:
            cls.searches.remove(search)
        return None


def install() -> None:
    """Register with all modules of `REGISTRATIONS`: those imported now, and others when they are.

    >>> install()
    """
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)
    for name in REGISTRATIONS:
        if wait_for(name):
            register(sys.modules[name])


def wait_for(name: str) -> bool:
    """Return whether a module is imported; wait for other threads that import it or its parents.

    >>> wait_for("os.path"), wait_for("no.such.module")
    (True, False)
    """
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        prefix = ".".join(parts[:end])
        if sys.modules.get(prefix) is None:
            return False
        # It returns the module of `sys.modules`, when the thread that imports it has finished.
        try:
            importlib.import_module(prefix)
        except ImportError:
            return False
    return True
