"""Arrays over memory that another object owns."""

import math
import sys

import numpy as np


class Memory:
    """Bytes at an address, with the object that keeps them valid.

    NumPy takes it for an array of bytes and holds on to it as the base.
    """

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, address: int, nbytes: int, owner: object) -> None:
        self.owner = owner
        self.__array_interface__ = {
            "version": 3,
            "data": (address, False),
            "typestr": "|u1",
            "shape": (nbytes,),
        }


def array_at(address: int, shape: tuple[int, ...], dtype: np.dtype, owner: object) -> np.ndarray:
    """Return the C-ordered array at `address`; it keeps `owner` alive.

    >>> import ctypes
    >>> pair = (ctypes.c_int16 * 2)(3, 4)
    >>> array_at(ctypes.addressof(pair), (2,), np.dtype("i2"), pair)
    array([3, 4], dtype=int16)

    Nothing is copied and no ctypes type is made. The address is taken on trust.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes > sys.maxsize:
        raise OverflowError("array too large")
    return np.ndarray(shape, dtype, np.asarray(Memory(address, nbytes, owner)))
