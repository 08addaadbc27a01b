"""The exceptions of calls. Their facts are attributes; the message has them all."""

from __future__ import annotations


class LibraryError(OSError):
    """A library that can't be loaded or read, or that lacks a function.

    >>> import mapcall
    >>> mapcall.load("./misspelt.so")
    Traceback (most recent call last):
    mapcall.LibraryError: expected a library that the loader takes, got "./misspelt.so"; ...
    """

    __module__ = "mapcall"


class PrototypeError(ValueError):
    """A prototype or header that can't be read or called.

    >>> import mapcall
    >>> try:
    ...     mapcall.load("m").function("double cos(doubel x)")
    ... except mapcall.PrototypeError as error:
    ...     print(error)
    error: unknown type `doubel`
      |
    1 | double cos(doubel x)
      |            ^^^^^^
      |
      = help: did you mean `double`?

    Attributes
    ----------
    reason : str
        What is wrong, in a line.
    remedy : str
        What to write instead.
    line, column : int or None
        Where, from 1.
    """

    __module__ = "mapcall"
    reason: str = ""
    remedy: str = ""
    line: int | None = None
    column: int | None = None


class ArgumentError(TypeError, ValueError):
    """An argument that the prototype doesn't allow; nothing was called.

    >>> import mapcall
    >>> import numpy as np
    >>> modf = mapcall.load("m").function("double modf(double x, double out[1])")
    >>> try:
    ...     modf(2.5, np.zeros(1, "f4"))
    ... except mapcall.ArgumentError as error:
    ...     print(error)
    ...     print(error.parameter, "|", error.expected, "|", error.found, "|", error.remedy)
    modf: out: expected float64[1], got an array of float32; convert it with out.astype('float64')
    out | float64[1] | an array of float32 | convert it with out.astype('float64')

    Attributes
    ----------
    function, parameter : str
        Their names in the prototype; no parameter where it is about the arguments as a whole.
    expected, found, remedy : str
        What the parameter takes, what came, and what to do.
    """

    __module__ = "mapcall"
    function: str = ""
    parameter: str = ""
    expected: str = ""
    found: str = ""
    remedy: str = ""


class CallError(Exception):
    """A function that says it failed, by what its `check` looks at.

    >>> import mapcall
    >>> chdir = mapcall.load(None).function("int chdir(const char *path)", check="zero")
    >>> try:
    ...     chdir("/nowhere")
    ... except mapcall.CallError as error:
    ...     print(error.function, error.code, error.errno)
    chdir -1 2

    Attributes
    ----------
    function : str
        Its name.
    code : int
        What it returned; for ``check="errno"`` the errno.
    errno : int
        The errno after the call.
    index : tuple of int or None
        Which call of a batch it was.
    """

    __module__ = "mapcall"
    function: str = ""
    code: int = 0
    errno: int = 0
    index: tuple[int, ...] | None = None
