"""Array files of any size as memory maps, handed to native code without a copy.

>>> import ctypes, mapcall, numpy
>>> x = mapcall.create("x.npy", shape=1000, dtype="f8")
>>> x[:] = numpy.linspace(0, 1, 1000)
>>> libm = ctypes.CDLL("libm.so.6")
>>> libm.modf.restype = ctypes.c_double
>>> libm.modf(ctypes.c_double(2.5), x[500:].ctypes)
0.5
>>> float(x[500])
2.0
"""

from . import ctypeslib
from ._mapcall import ChangedFileError, Ctypes, FormatError, Map
from ._memmap import create, memmap, open

__all__ = [
    "ChangedFileError",
    "Ctypes",
    "FormatError",
    "Map",
    "create",
    "ctypeslib",
    "memmap",
    "open",
]
