"""The exceptions of calls. The parts of the message are attributes, too."""

from __future__ import annotations


class LibraryError(OSError):
    """Raised if a library can't be loaded or read, or lacks a function.

    >>> import mapcall
    >>> mapcall.load("./misspelt.so")
    Traceback (most recent call last):
    mapcall.LibraryError: expected a library that the loader takes, got "./misspelt.so"; ...
    """

    __module__ = "mapcall"


class PrototypeError(ValueError):
    """Raised if a prototype or header can't be read, or its functions can't be called.

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
        The error, in one line.
    remedy : str
        What to write instead; '' if there is no suggestion.
    line, column : int or None
        The position in the text, counted from 1.
    """

    __module__ = "mapcall"
    reason: str = ""
    remedy: str = ""
    line: int | None = None
    column: int | None = None


class ArgumentError(TypeError, ValueError):
    """Raised before a call if an argument does not fit the prototype.

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
        Their names in the prototype; `parameter` is '' if the error concerns several arguments, and
        the name of the option if it concerns one (`out`, `where`, `threads`, ...).
    expected, found : str
        What the parameter takes, and what was given.
    remedy : str
        What to write instead.
    """

    __module__ = "mapcall"
    function: str = ""
    parameter: str = ""
    expected: str = ""
    found: str = ""
    remedy: str = ""


class CallError(Exception):
    """Raised if the result of a function means failure by its option `check`.

    >>> import mapcall
    >>> chdir = mapcall.load(None).function("int chdir(const char *path)", check="zero")
    >>> try:
    ...     chdir("/nowhere")
    ... except mapcall.CallError as error:
    ...     print(error.function, error.code, error.errno)
    chdir -1 2

    `Library.function` describes the option. A callable `check` may raise this exception, too.

    Attributes
    ----------
    function : str
        The name of the function.
    code : int
        The result; for ``check="errno"`` the errno.
    errno : int
        The errno after the call.
    index : tuple of int or None
        In a call over arrays with loop dimensions (a batch), the index in these of the call that
        failed.
    """

    __module__ = "mapcall"
    function: str = ""
    code: int = 0
    errno: int = 0
    index: tuple[int, ...] | None = None
