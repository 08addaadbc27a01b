"""Calls any C function over arrays and array files, given nothing but its prototype.

>>> import numpy as np
>>> import mapcall
>>> np.save("x.npy", np.linspace(0, 1, 1_000_000))
>>> erf = mapcall.load("m").function("double erf(double x)")
>>> y = erf(mapcall.open("x.npy"), out="y.npy", threads=0)  # from file to file, on all cores
>>> y.shape, float(y[-1])
((1000000,), 0.8427007929497149)

Functions of C
--------------
- `load`: loads a shared library, and reads its C header if one is given.
- `compile`: makes a library of C code, and knows the prototypes in it; ``%load_ext mapcall`` gives
  IPython the cell magic ``%%mapcall``.
- `Library`: a loaded library; `Library.function` binds a function by its C prototype.
- `Function`: a bound C function. It takes numbers and arrays; given arrays with more axes than
  the prototype has brackets, it is called for each element or row, as a NumPy ufunc is.
- `Parameter`: a parameter of a function, as the prototype declares it.
- `Struct`: a C struct, with its dtype;
- `StructObject`: a struct in memory, whose members are attributes;
- `Variable`: a variable that a library exports.
- `Handle`: a pointer that C has returned.
- `Callback`: a Python callable as a C function pointer.
- `get_errno`: returns the C ``errno`` of this thread's last call.
- `include`: returns the folder of ``mapcall.h``, the macros for C headers that mapcall reads.

Arrays in files
---------------
- `open`: maps a ``.npy`` file, or an array inside of a ``.npz`` file.
- `create`: makes a ``.npy`` file and maps it.
- `append`: appends rows to a ``.npy`` file.
- `Appender`: does so many times, while other processes read the file.
- `memmap`: an array in a file of any format; takes the place of `numpy.memmap`.
- `Map`: the mapped part of a file, on which arrays lie.
- `trust_files`: unpickles maps of files that were copied or replaced.
- `dask`: array files and bound functions on Dask; imported when it is first used.

Code that uses ctypes
---------------------
- `ctypeslib`: takes the place of `numpy.ctypeslib`.
- `Ctypes`: the attribute ``ndarray.ctypes``, for any array.

Exceptions and warnings
-----------------------
- `ArgumentError`: an argument does not fit the prototype; nothing was called.
- `CallError`: the result of a function means failure.
- `CompileError`: code can't be compiled; its messages have the lines.
- `CompileWarning`: a warning of the compiler.
- `Diagnostic`: a message of the compiler, with its line and column.
- `LibraryError`: a library can't be loaded, or lacks a function.
- `PrototypeError`: a prototype or a header can't be read.
- `MapFault`: a page of a map is gone: its file was shortened, or the map was closed.
- `FormatError`: a file is not what its format says.
- `ChangedFileError`: a file has changed since a map of it was pickled.
- `ReplacedFileWarning`: a map was flushed whose file has lost its name to another one.

Read on
-------
``help(mapcall.Function)`` explains calls and batches, ``help(mapcall.load)`` and
``help(mapcall.Library.function)`` the options of binding, ``help(mapcall.memmap)`` maps. The pages
in ``docs`` of the repository are guides: calls, batches, maps, files, faults, the command, the
design.

`__version__` is the version of the package, the command and the extension.
"""

import importlib
from typing import TYPE_CHECKING, Any

from . import _faults, _help, _hooks, _mapcall
from ._errors import (
    ArgumentError,
    CallError,
    CompileError,
    CompileWarning,
    Diagnostic,
    LibraryError,
    MapFault,
    PrototypeError,
)
from ._headers import include
from ._mapcall import (
    Appender,
    Callback,
    ChangedFileError,
    Ctypes,
    FormatError,
    Function,
    Handle,
    Library,
    Map,
    Parameter,
    ReplacedFileWarning,
    Struct,
    StructObject,
    Variable,
    append,
    compile,
    get_errno,
    load,
)
from ._mapcall import (
    __version__ as __version__,
)
from ._memmap import create, memmap, open, trust_files

if TYPE_CHECKING:
    from . import ctypeslib


def _import_module(name: str) -> Any:
    """Return a module of the package, which is imported when it is first needed."""
    return importlib.import_module(f".{name}", __name__)


# The extension raises, makes and calls these; it never imports the package by itself.
_mapcall._initialise(
    argument_error=ArgumentError,
    call_error=CallError,
    library_error=LibraryError,
    prototype_error=PrototypeError,
    compile_error=CompileError,
    compile_warning=CompileWarning,
    diagnostic=Diagnostic,
    map_fault=MapFault,
    memmap=memmap,
    wrap_faulthandler=_faults.wrap_faulthandler,
    import_module=_import_module,
)
_mapcall._prepare_guard()
_hooks.install()

__all__ = [
    "Appender",
    "ArgumentError",
    "CallError",
    "Callback",
    "ChangedFileError",
    "CompileError",
    "CompileWarning",
    "Ctypes",
    "Diagnostic",
    "FormatError",
    "Function",
    "Handle",
    "Library",
    "LibraryError",
    "Map",
    "MapFault",
    "Parameter",
    "PrototypeError",
    "ReplacedFileWarning",
    "Struct",
    "StructObject",
    "Variable",
    "append",
    "compile",
    "create",
    "ctypeslib",
    "get_errno",
    "include",
    "load",
    "memmap",
    "open",
    "trust_files",
]


def load_ipython_extension(shell: Any) -> None:
    """Register the cell magic ``%%mapcall``, as ``%load_ext mapcall`` asks for."""
    # Only IPython calls this.
    from . import _magic

    _magic.register(shell)


def __getattr__(name: str) -> Any:
    """Import `mapcall.ctypeslib` and `mapcall.dask` when they are first used."""
    if name in ("ctypeslib", "dask"):
        return _import_module(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_help.install(__name__)
