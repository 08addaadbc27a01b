"""Keeps the guard of maps and the module ``faulthandler`` out of each other's way."""

import faulthandler
import functools
from collections.abc import Callable
from typing import Any

from . import _mapcall


def wrap_faulthandler() -> None:
    """Wrap the functions of `faulthandler` that set handlers of the same signals.

    `faulthandler.enable` would lay its handlers over those of the guard, and print a "Fatal Python
    error" for a fault that is survived; `faulthandler.disable` would remove those of the guard.
    """
    for name in ("enable", "disable"):
        setattr(faulthandler, name, _wrapped(getattr(faulthandler, name)))


def _wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return _mapcall._without_guard(function, args, kwargs)

    return call
