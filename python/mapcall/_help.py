"""The page of `help(mapcall)`, and the suggestions for misspelt names of the package."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any, NoReturn


class Names(list[str]):
    """The value of ``__all__``, which looks empty to pydoc.

    pydoc documents each name that is in ``__all__``, and each class with all that it inherits: the
    methods of ndarray are thousands of lines. With no name in the list, `help` shows the docstring
    of the package alone.

    >>> names = Names(["load"])
    >>> "load" in names, list(names)
    (True, ['load'])
    """

    def __contains__(self, name: object) -> bool:
        caller = sys._getframe(1).f_globals.get("__name__")
        return caller != "pydoc" and super().__contains__(name)


class Package(ModuleType):
    """The class of a module that names the most similar public name if a name is missing.

    >>> sketch = Package("sketch")
    >>> sketch.__all__ = ["line"]
    >>> sketch.lien
    Traceback (most recent call last):
    AttributeError: module 'sketch' has no attribute 'lien'; did you mean 'line'?
    """

    def __getattr__(self, name: str) -> NoReturn:
        message = f"module '{self.__name__}' has no attribute '{name}'"
        # Names with underscores are asked for by protocols, which expect that a module lacks them.
        if not name.startswith("_"):
            # Imported here, as programs without mistakes don't need it.
            import difflib

            for near in difflib.get_close_matches(name, self.__all__, n=1):
                message = f"{message}; did you mean '{near}'?"
                # Without `obj`, as the interpreter would add its own suggestion.
                raise AttributeError(message, name=name, obj=None)
        raise AttributeError(message, name=name, obj=self)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        # cloudpickle, which Dask, joblib and Ray send functions with, knows only plain modules: it
        # sends the globals that a function uses, such as this module.
        return importlib.import_module, (self.__name__,)


def install(name: str) -> None:
    """Give a module with an ``__all__`` a short `help` and suggestions for misspelt names.

    >>> import mapcall
    >>> mapcall.laod
    Traceback (most recent call last):
    AttributeError: module 'mapcall' has no attribute 'laod'; did you mean 'load'?
    """
    module: Any = sys.modules[name]
    module.__all__ = Names(module.__all__)
    module.__class__ = Package
