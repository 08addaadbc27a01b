"""Puts `mapcall.memmap` in the place of `numpy.memmap` in every Python process.

With this folder in ``PYTHONPATH``, Python imports this module when it starts: in the tests of
another project, in joblib's workers and in each script that these tests run. If ``MAPCALL_MMAP``
is set, maps of whole files by `mmap.mmap` are `mapcall.Map` objects, too.
"""

import mmap
import os
from typing import Any

import numpy

import mapcall

MMAP = mmap.mmap
MODES = {mmap.ACCESS_READ: "r", mmap.ACCESS_WRITE: "r+", mmap.ACCESS_COPY: "c"}


class AnyMmap(type):
    """The type of `WholeFile`: both kinds of maps are instances of it."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, (MMAP, mapcall.Map))

    def __call__(cls, fileno: int, length: int, **options: int) -> Any:
        if fileno == -1 or length or not os.fstat(fileno).st_size or options.keys() - {"access"}:
            return MMAP(fileno, length, **options)
        # By its name: `mmap.mmap` does not move the position of the file object.
        path = os.readlink(f"/proc/self/fd/{fileno}")
        mode = MODES[options.get("access", mmap.ACCESS_WRITE)]
        made = mapcall.memmap(path, "u1", mode)._mmap
        # A class that was derived from this one records its instances in this way.
        if cls.__init__ is not object.__init__:
            cls.__init__(made, fileno, length, **options)  # type: ignore[arg-type]
        return made


class WholeFile(metaclass=AnyMmap):
    """Takes the place of `mmap.mmap`."""


numpy.memmap = mapcall.memmap  # type: ignore[misc, assignment]
if "MAPCALL_MMAP" in os.environ:
    mmap.mmap = WholeFile  # type: ignore[misc, assignment]
