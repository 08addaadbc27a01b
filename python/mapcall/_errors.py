"""The exceptions of calls and of the compiler. The parts of the message are attributes, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from . import _mapcall


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


class Diagnostic(NamedTuple):
    """A message of a compiler: an element of `CompileError.diagnostics`.

    >>> import mapcall
    >>> try:
    ...     mapcall.compile("int f(void) { return misspelt; }")
    ... except mapcall.CompileError as error:
    ...     message = error.diagnostics[0]
    >>> message.severity, message.line, message.column
    ('error', 1, 22)
    """

    severity: str
    """'error', 'warning' or 'note'."""
    message: str
    """The words of the compiler."""
    file: str | None
    """The file; None for the text that was given."""
    line: int | None
    """The line, from 1; None for a message without a position."""
    column: int | None
    """The column, from 1."""


class CompileError(Exception):
    """Raised if code can't be compiled: the compiler refuses it, or there is none.

    >>> import mapcall
    >>> try:
    ...     mapcall.compile("double half(double x)\\n{\\n    return x / to;\\n}")
    ... except mapcall.CompileError as error:
    ...     print(error)
    ...     print(error.reason, "|", error.line, "|", error.column)
    error: 'to' undeclared (first use in this function)
      |
    3 |     return x / to;
      |                ^^
    'to' undeclared (first use in this function) | 3 | 16

    Attributes
    ----------
    reason : str
        The first error, in one line.
    remedy : str
        What to do about it; '' if there is no suggestion.
    file : str or None
        The file that has the error; None for the text that was given.
    line, column : int or None
        The position, counted from 1; None if the error has none.
    diagnostics : list of Diagnostic
        All errors, warnings and notes, each with its position.
    compiler : str
        The command of the compiler.
    output : str
        What the compiler has written, at most 64 KiB.
    """

    __module__ = "mapcall"
    reason: str = ""
    remedy: str = ""
    file: str | None = None
    line: int | None = None
    column: int | None = None
    diagnostics: Sequence[Diagnostic] = ()
    compiler: str = ""
    output: str = ""


class CompileWarning(UserWarning):
    """A warning of the compiler about code that `mapcall.compile` was given.

    >>> import mapcall, warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     lib = mapcall.compile("int f(void) { int x; return 0; }", flags="-Wall")
    >>> print(caught[0].message)
    line 1, column 19: warning: unused variable 'x' [-Wunused-variable]
    """

    __module__ = "mapcall"


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
    modf: out: expected float64[1], got an array of float32; pass new_out = out...
    out | float64[1] | an array of float32 | pass new_out = out.astype('float64'), ...

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


class MapFault(OSError):
    """Raised if a page of a map is gone: its file was shortened, or the map was closed.

    >>> import mapcall, os
    >>> x = mapcall.memmap("x.dat", mode="w+", shape=10000)
    >>> os.truncate("x.dat", 5000)
    >>> try:
    ...     x[9000] + 1
    ... except mapcall.MapFault as error:
    ...     print(error.reason, error.file_offset)
    truncated 9000

    It is raised in the thread that made the access. The access has read zeros, or its write is
    lost, so results that the program has computed since may be wrong. Each later access to the
    page raises an exception of its own.

    Attributes
    ----------
    filename : str or None
        The file.
    file_offset : int
        The position in the file of the first byte that was accessed.
    reason : {'truncated', 'closed', 'io', 'no space'}
        The file has become shorter; the map was closed; the device can't read the page; the page is
        a hole of the file, and the disk has no space for it.
    errno : int or None
        ``EIO`` for 'io', and ``ENOSPC`` for 'no space'.
    signals : int
        The number of signals until the exception was raised. One signal may stand for accesses to
        many pages.
    """

    __module__ = "mapcall"
    file_offset: int = 0
    reason: str = ""
    signals: int = 0

    def __init__(
        self,
        message: str | None = None,
        *,
        filename: str | None = None,
        file_offset: int = 0,
        reason: str = "",
        errno: int | None = None,
        signals: int = 0,
    ) -> None:
        if message is None:
            # The interpreter makes the exception that another thread has set.
            message, fields, notes = _mapcall._take_fault() or ("a page of a map is gone", {}, [])
            self.__init__(message, **fields)  # type: ignore[misc]
            for note in notes:
                self.add_note(note)
            return
        if errno is None:
            super().__init__(message)
            self.filename = filename
        else:
            super().__init__(errno, message, filename)
        self.file_offset = file_offset
        self.reason = reason
        self.signals = signals

    def __str__(self) -> str:
        # That of OSError has the number and the file only if there is a file.
        return super().__str__() if self.errno is not None else str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        """Reduce the exception for a pickle, with its attributes."""
        message = self.strerror or self.args[0]
        fields = (self.filename, self.file_offset, self.reason, self.errno, self.signals)
        return _fault, (message, *fields)


def _fault(
    message: str,
    filename: str | None,
    file_offset: int,
    reason: str,
    errno: int | None,
    signals: int,
) -> MapFault:
    """Return the exception of a pickle."""
    return MapFault(
        message,
        filename=filename,
        file_offset=file_offset,
        reason=reason,
        errno=errno,
        signals=signals,
    )
