"""C functions that count their calls, to prove that a refused call runs none of them."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

import mapcall

PRELUDE = """
#include <stddef.h>
#include <stdint.h>
int called;
#define CALLED __atomic_add_fetch(&called, 1, __ATOMIC_SEQ_CST)
"""


CONVERT = ", or give convert=True"


class Counted:
    """A library whose functions all start with `CALLED`, which counts the calls."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.library = mapcall.load(path)
        self._called = ctypes.c_int.in_dll(ctypes.CDLL(str(path)), "called")

    @property
    def called(self) -> int:
        return self._called.value

    def function(self, prototype: str, **options: Any) -> mapcall.Function:
        return self.library.function(prototype, **options)

    def refuses(
        self, message: str, function: Callable[..., Any], *arguments: Any, **keywords: Any
    ) -> mapcall.ArgumentError:
        """Checks that a call is refused with this message and runs no C; returns the error."""
        before = self.called
        with pytest.raises(mapcall.ArgumentError) as caught:
            function(*arguments, **keywords)
        error = caught.value
        # The same alternative for all arrays that can be converted: `test_remedies.py` follows it.
        error.remedy = error.remedy.removesuffix(CONVERT)
        assert str(error).removesuffix(CONVERT) == message
        assert self.called == before
        assert isinstance(error, TypeError)
        assert isinstance(error, ValueError)
        where = f"{error.function}: {error.parameter}" if error.parameter else error.function
        assert message == f"{where}: expected {error.expected}, got {error.found}; {error.remedy}"
        return error


def remedied(error: mapcall.ArgumentError, argument: Any, **names: Any) -> Any:
    """Applies the call that the error's remedy names to the argument, and returns the result."""
    code = r"(?:.* with|pass) (?:new_\w+ = )?(\w.*?\))(?:, (?:or|and|if|which|true) .*)?"
    call = re.fullmatch(code, error.remedy.removesuffix(CONVERT))
    assert call, error.remedy
    return eval(call[1], {"numpy": numpy, error.parameter: argument, **names})
