"""What tasks hold for a bound function: a reference, which is bound where a task runs."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import cloudpickle
from dask.tokenize import tokenize

from .._errors import LibraryError
from .._mapcall import Function
from .._pickling import CACHE, Version, arguments_of, loaded, version_of


class _Bound(NamedTuple):
    """A bound function, and the file that it is of."""

    function: Function
    path: str | None
    version: Version | None


class Kernel:
    """A bound function that is pickled by reference, and bound again by its first call.

    >>> import pickle
    >>> import mapcall
    >>> kernel = Kernel(mapcall.load("m").function("double cos(double x)"))
    >>> again = pickle.loads(pickle.dumps(kernel))
    >>> again.__name__, again == kernel, again(0.0)
    ('cos', True, 1.0)

    A scheduler that has no such library passes it on. A worker binds the function once, and again
    when it has not been used for a minute, or the library's file has changed.
    """

    __slots__ = ("__name__", "_declared", "_function", "_payload", "_token")

    def __init__(self, function: Function) -> None:
        self.__name__ = function.name
        # The option `check` may be a callable that only cloudpickle takes.
        self._payload: bytes = cloudpickle.dumps(function)
        self._token: str = tokenize(function)
        self._declared = _declared(function)
        self._function: Function | None = function

    @property
    def function(self) -> Function:
        """The function, bound in this process.

        >>> import mapcall
        >>> Kernel(mapcall.load("m").function("double cos(double x)")).function(0.0)
        1.0

        Raises
        ------
        LibraryError
            If this machine has no such library.
        """
        if self._function is not None:
            return self._function
        bound: _Bound = CACHE.get(self._payload, self._bind)
        if bound.path is not None and bound.version != _version(bound.path):
            CACHE.discard(self._payload)
            bound = CACHE.get(self._payload, self._bind)
        return bound.function

    def _bind(self) -> _Bound:
        function: Function = loaded(pickle.loads(self._payload))
        if self._declared is not None and self._declared != (found := _declared(function)):
            raise LibraryError(
                f"{self.__name__}: expected {_text(self._declared)}, as where the task was made, "
                f"got {_text(found)} by the header on host {os.uname().nodename}; install the same "
                "header there, or send it to the workers of Dask with "
                "mapcall.dask.ship(client, library)"
            )
        path = function.library.path
        return _Bound(function, path, None if path is None else _version(path))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function.

        >>> import mapcall
        >>> Kernel(mapcall.load("m").function("double cos(double x)"))(0.0)
        1.0
        """
        return self.function(*args, **kwargs)

    def __reduce__(self) -> tuple[Callable[..., Kernel], tuple[Any, ...]]:
        return _restore, (self.__name__, self._payload, self._token, self._declared)

    def __dask_tokenize__(self) -> str:
        return self._token

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kernel) and self._token == other._token

    def __hash__(self) -> int:
        return hash(self._token)

    def __repr__(self) -> str:
        return f"<mapcall.dask kernel {self.__name__}>"


def _restore(name: str, payload: bytes, token: str, declared: tuple[str, ...] | None) -> Kernel:
    kernel = Kernel.__new__(Kernel)
    kernel.__name__, kernel._payload, kernel._token = name, payload, token
    kernel._declared = declared
    kernel._function = None
    return kernel


def _declared(function: Function) -> tuple[str, ...] | None:
    """Return the prototype and the dtypes of a function that a header declares, else None.

    The header of another machine may declare another one.
    """
    _, _, text, *_ = arguments_of(function)
    if text is not None:
        return None
    return (function.prototype, *(str(parameter.dtype) for parameter in function.parameters))


def _text(declared: tuple[str, ...] | None) -> str:
    prototype, *dtypes = declared or ("none",)
    return f"{prototype} (dtypes {', '.join(dtypes)})"


def _version(path: str) -> Version | None:
    try:
        return version_of(path)
    except OSError:
        return None
