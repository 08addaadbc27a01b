"""Array arguments and results of ctypes functions, checked at each call."""

import ctypes
import operator
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from .._mapcall import Ctypes
from ._cache import TypeCache
from ._memory import array_at

_FlagsObject = type(np.empty(0).flags)

# The bits of `ndarray.flags.num`, in the order in which messages list them.
_FLAGS = {
    "C_CONTIGUOUS": 0x0001,
    "F_CONTIGUOUS": 0x0002,
    "ALIGNED": 0x0100,
    "WRITEABLE": 0x0400,
    "OWNDATA": 0x0004,
    "WRITEBACKIFCOPY": 0x2000,
}
_FLAG_BITS = _FLAGS | {
    "CONTIGUOUS": _FLAGS["C_CONTIGUOUS"],
    "C": _FLAGS["C_CONTIGUOUS"],
    "FORTRAN": _FLAGS["F_CONTIGUOUS"],
    "F": _FLAGS["F_CONTIGUOUS"],
    "A": _FLAGS["ALIGNED"],
    "W": _FLAGS["WRITEABLE"],
    "O": _FLAGS["OWNDATA"],
    "X": _FLAGS["WRITEBACKIFCOPY"],
}

_pointers: "TypeCache[type[_ndptr]]" = TypeCache()


class _ndptr(ctypes.c_void_p):
    """The base of every type that `ndpointer` makes."""

    _dtype_: ClassVar[np.dtype | None]
    _shape_: ClassVar[tuple[int, ...] | None]
    _ndim_: ClassVar[int | None]
    _flags_: ClassVar[int | None]
    _optional_: ClassVar[bool]

    @classmethod
    def from_param(cls, obj: Any) -> Any:
        """Check an argument; ctypes calls this before the function."""
        if obj is None and cls._optional_:
            return None
        if not isinstance(obj, np.ndarray):
            raise TypeError("argument must be an ndarray")
        if cls._dtype_ is not None and obj.dtype != cls._dtype_:
            raise TypeError(f"array must have data type {cls._dtype_}")
        if cls._ndim_ is not None and obj.ndim != cls._ndim_:
            raise TypeError(f"array must have {cls._ndim_} dimension(s)")
        if cls._shape_ is not None and obj.shape != cls._shape_:
            raise TypeError(f"array must have shape {cls._shape_}")
        if cls._flags_ is None:
            cls._check_default(obj)
        elif obj.flags.num & cls._flags_ != cls._flags_:
            raise TypeError(f"array must have flags {_flag_names(cls._flags_)}")
        return Ctypes(obj)

    @classmethod
    def _check_default(cls, obj: np.ndarray) -> None:
        if not obj.flags.aligned:
            raise TypeError(
                "array must have flags ['ALIGNED']: copy it, "
                "or give ndpointer the flags that it must have (flags=() for none)"
            )
        if cls._dtype_ is None and not obj.dtype.isnative:
            raise TypeError(
                f"array must have native byte order, not data type {obj.dtype}: "
                "convert it, or give ndpointer that dtype"
            )


class _concrete_ndptr(_ndptr):
    """An `_ndptr` with a dtype and a shape, and so with the array that it points to."""

    _dtype_: ClassVar[np.dtype]
    _shape_: ClassVar[tuple[int, ...]]

    def _check_retval_(self) -> np.ndarray | None:
        """Turn a function's result into an array; ctypes calls this."""
        if self._optional_ and not self:
            return None
        return self.contents

    @property
    def contents(self) -> np.ndarray:
        """The array at this address, as `contents` of any ctypes pointer."""
        if self.value is None:
            raise ValueError("NULL pointer access")
        return array_at(self.value, self._shape_, self._dtype_, self)


def ndpointer(
    dtype: DTypeLike | None = None,
    ndim: int | None = None,
    shape: int | Iterable[int] | None = None,
    flags: str | Iterable[str] | int | Any | None = None,
    *,
    optional: bool = False,
) -> type[_ndptr]:
    """Describe an array parameter or result of a ctypes function.

    >>> import ctypes
    >>> import numpy as np
    >>> from mapcall.ctypeslib import ndpointer
    >>> memcmp = ctypes.CDLL(None).memcmp
    >>> row = ndpointer(np.float64, ndim=1, flags="C_CONTIGUOUS")
    >>> memcmp.argtypes = [row, row, ctypes.c_size_t]
    >>> memcmp(np.ones(3), np.ones(3), 24)
    0
    >>> memcmp(np.ones(3), np.ones(3, dtype=np.float32), 12)
    Traceback (most recent call last):
    ctypes.ArgumentError: argument 2: TypeError: array must have data type float64

    What is left out is not checked, but for this: without `flags` an array must
    be aligned, and in native byte order unless `dtype` says which; `flags`
    replaces both by what it lists, so that ``flags=()`` asks for nothing.

    Parameters
    ----------
    dtype : dtype_like, optional
        The dtype, byte order included.
    ndim : int, optional
        The number of dimensions.
    shape : int or tuple of int, optional
        The shape; an int is one dimension.
    flags : str, iterable of str, int or flags object, optional
        The flags that must be set, as names (in one string with commas, or one
        by one), as bits, or as the ``flags`` of an array:

        - ``C_CONTIGUOUS``, ``CONTIGUOUS`` or ``C``
        - ``F_CONTIGUOUS``, ``FORTRAN`` or ``F``
        - ``ALIGNED`` or ``A``
        - ``WRITEABLE`` or ``W``
        - ``OWNDATA`` or ``O``
        - ``WRITEBACKIFCOPY`` or ``X``

        Read-only arrays pass unless ``WRITEABLE`` is among them.
    optional : bool, default False
        Take ``None`` for NULL, and give ``None`` for a NULL that a function
        with this `restype` returns.

    Returns
    -------
    type
        For `argtypes` and `restype`. The same for equal descriptions, for as
        long as it is in use. As a `restype` it gives an array if both `dtype`
        and `shape` are known, a pointer otherwise; the memory behind either
        stays the function's own.

    Raises
    ------
    KeyError
        If a flag has no such name.
    TypeError
        If `flags` is of none of these kinds or `ndim` no integer. The returned
        type raises it for an array that does not fit (`ctypes.ArgumentError`
        from a call).
    """
    description = (
        None if dtype is None else np.dtype(dtype),
        None if ndim is None else operator.index(ndim),
        None if shape is None else _read_shape(shape),
        None if flags is None else _read_flags(flags),
        bool(optional),
    )
    return _pointers.get(description, lambda: _make(*description))


def _make(
    dtype: np.dtype | None,
    ndim: int | None,
    shape: tuple[int, ...] | None,
    flags: int | None,
    optional: bool,
) -> type[_ndptr]:
    parts = ["ndpointer", "any" if dtype is None else dtype.str]
    if ndim is not None:
        parts.append(f"{ndim}d")
    if shape is not None:
        parts.append("x".join(map(str, shape)))
    if flags is not None:
        parts.append("_".join(_flag_names(flags)))
    if optional:
        parts.append("optional")
    body = {
        "_dtype_": dtype,
        "_shape_": shape,
        "_ndim_": ndim,
        "_flags_": flags,
        "_optional_": optional,
    }
    vague = dtype is None or shape is None
    return type("_".join(parts), (_ndptr if vague else _concrete_ndptr,), body)


def _read_shape(shape: Any) -> tuple[int, ...]:
    try:
        return tuple(shape)
    except TypeError:
        return (shape,)


def _read_flags(flags: Any) -> int:
    """Return the bits of a flags argument of any kind."""
    if isinstance(flags, (int, np.integer)):
        return int(flags)
    if isinstance(flags, _FlagsObject):
        return flags.num
    try:
        given = flags.split(",") if isinstance(flags, str) else flags
        names = [name.strip().upper() for name in given]
    except Exception as error:
        raise TypeError("invalid flags specification") from error
    bits = 0
    for name in names:
        bits |= _FLAG_BITS[name]
    return bits


def _flag_names(bits: int) -> list[str]:
    return [name for name, bit in _FLAGS.items() if bits & bit]
