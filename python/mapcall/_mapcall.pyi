"""The Rust extension, as Python sees it."""

import sys
from collections.abc import Sequence
from ctypes import Array
from os import PathLike
from typing import IO, Any, Literal, SupportsIndex, TypeVar, final

import numpy
from numpy.typing import DTypeLike, NDArray

__all__ = [
    "ChangedFileError",
    "Ctypes",
    "FormatError",
    "Map",
    "MappedArray",
    "create",
    "map_of",
    "memmap",
    "open",
    "reduce",
    "reopen",
]

_Pointer = TypeVar("_Pointer")
_Class = TypeVar("_Class", bound=MappedArray)
_Mode = Literal["r", "r+", "w+", "c"]
_Path = str | bytes | PathLike[Any]
_Shape = SupportsIndex | Sequence[SupportsIndex]

class FormatError(ValueError):
    path: str
    reason: str

class ChangedFileError(OSError):
    path: str
    expected: int
    found: int

@final
class Ctypes:
    def __new__(cls, array: NDArray[Any]) -> Ctypes: ...
    @property
    def data(self) -> int: ...
    @property
    def shape(self) -> Array[Any] | None: ...
    @property
    def strides(self) -> Array[Any] | None: ...
    def data_as(self, obj: type[_Pointer]) -> _Pointer: ...
    def shape_as(self, obj: type[Any]) -> Array[Any] | None: ...
    def strides_as(self, obj: type[Any]) -> Array[Any] | None: ...
    @property
    def _as_parameter_(self) -> Any: ...
    @property
    def _arr(self) -> NDArray[Any]: ...
    @property
    def _data(self) -> Any: ...
    @property
    def _ctypes(self) -> Any: ...
    @property
    def _zerod(self) -> bool: ...

@final
class Map:
    @property
    def filename(self) -> str | PathLike[Any] | None: ...
    @property
    def offset(self) -> int: ...
    @property
    def mode(self) -> _Mode: ...
    def file_offset(self, array: NDArray[Any]) -> int: ...
    def size(self) -> int: ...
    def flush(
        self,
        offset: int = 0,
        size: int | None = None,
        *,
        array: NDArray[Any] | None = None,
        wait: bool = True,
    ) -> None: ...
    def madvise(self, option: int, start: int = 0, length: int | None = None) -> None: ...
    def advise(self, array: NDArray[Any], advice: str) -> None: ...
    def prefetch(self, array: NDArray[Any]) -> None: ...
    def residency(self, array: NDArray[Any]) -> bytes: ...
    def __len__(self) -> int: ...
    if sys.version_info >= (3, 12):
        def __buffer__(self, flags: int, /) -> memoryview: ...

class MappedArray(numpy.ndarray[Any, Any]):
    # Ours knows the pointers' types and keeps no private names of NumPy's.
    @property
    def ctypes(self) -> Ctypes: ...  # type: ignore[override]

def map_of(array: NDArray[Any]) -> Map | None: ...
def memmap(
    class_: type[_Class],
    filename: _Path | IO[Any],
    dtype: DTypeLike,
    mode: str,
    offset: SupportsIndex,
    shape: _Shape | None,
    order: str,
    /,
) -> _Class: ...
def open(class_: type[_Class], path: _Path, mode: str, member: str | None, /) -> _Class: ...
def create(
    class_: type[_Class], path: _Path, shape: _Shape, dtype: DTypeLike, order: str, /
) -> _Class: ...
def reduce(array: NDArray[Any]) -> tuple[Any, ...] | None: ...
def reopen(
    class_: type[_Class],
    filename: _Path,
    file_len: int,
    file_offset: int,
    dtype: DTypeLike,
    shape: Sequence[int],
    strides: Sequence[int],
    mode: str,
    offset: int,
    writeable: bool,
    /,
) -> _Class: ...
