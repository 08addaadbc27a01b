"""Deliberate defects, by which `run.py` checks that it finds defects."""

import ctypes
import sys

import numpy

import mapcall


def invalid() -> None:
    """Make mapcall read an array's freed memory."""
    # The attribute has a reference to the array, but the count is one too low: the array is freed.
    array = numpy.zeros((3, 4, 5))
    attribute = mapcall.Ctypes(array)
    address = id(array)
    ctypes.pythonapi.Py_DecRef(ctypes.py_object(array))
    del array
    assert attribute.data != address
    # The count is corrected before the attribute releases its reference.
    ctypes.pythonapi.Py_IncRef(ctypes.c_void_p(id(attribute)))


def leak() -> None:
    """Lose objects that mapcall has allocated."""
    attribute = mapcall.Ctypes(numpy.zeros(3))
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(attribute))


def read_beyond() -> None:
    """Let a C function read beyond the end of its array."""
    for engine in ("cranelift", "libffi"):
        read = mapcall.load(sys.argv[3]).function(
            "double sum_beyond(size_t n, const double x[n])", engine=engine
        )
        read(numpy.zeros(8))


def lose_handle() -> None:
    """Lose memory that a C function has allocated: the handle has no destructor."""
    mapcall.load(sys.argv[3]).function("struct counter *counter_open(int value)")(1)


defects = {"invalid": invalid, "leak": leak, "read beyond": read_beyond, "lost handle": lose_handle}
for _ in range(int(sys.argv[2])):
    defects[sys.argv[1]]()
print("done")
