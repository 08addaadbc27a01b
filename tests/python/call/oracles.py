"""Other callers of C as oracles: ctypes, cffi, and the C compiler itself.

Each gets the bytes of the arguments and returns the bytes of the result. A type that ctypes and
cffi lack is replaced by one that is passed in the same way: a complex number by the struct of its
parts, a `_Float16` by the low half of a `float`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path

import cffi
import numpy as np

from signatures import Parameter, Scalar, Signature, Struct

Oracle = Callable[[Signature, "Arguments"], bytes]


@dataclass(frozen=True)
class Arguments:
    """The bytes of the arguments by value, and the memory of the arguments by pointer."""

    values: dict[str, bytes]
    memory: dict[str, np.ndarray]

    def copy(self) -> Arguments:
        # A copy of all bytes: `array.copy()` would not copy the padding of structs.
        memory = {
            name: np.ndarray(array.shape, array.dtype, bytearray(array.tobytes()))
            for name, array in self.memory.items()
        }
        return Arguments(self.values, memory)


def has_oracle(signature: Signature) -> bool:
    """Returns whether ctypes and cffi can make the call, and make it correctly."""
    item = signature.result
    # A complex long double is returned in other registers than the struct of its parts.
    is_returned = not (isinstance(item, Scalar) and item.dtype.char == "G")
    return is_returned and not is_clobbered(signature)


def is_clobbered(signature: Signature) -> bool:
    """Returns whether libffi loses a floating-point argument on x86-64.

    If the first 8 bytes of a struct take the last general register, and the other 8 a floating
    one, libffi copies the whole struct to the slot of the general register. The other half
    overwrites the next slot, which is that of the first floating register.
    """
    result = signature.result
    general = int(isinstance(result, Struct) and result.dtype.itemsize > 16)
    floating = 0
    for parameter in signature.parameters:
        kinds = "i" if parameter.is_memory else eightbytes(parameter.item)
        integers, floats = kinds.count("i"), kinds.count("f")
        if general + integers > 6 or floating + floats > 8:
            # The struct is passed on the stack, and the registers stay free.
            continue
        if kinds == "if" and general == 5 and floating > 0:
            return True
        general, floating = general + integers, floating + floats
    return False


def eightbytes(item: Scalar | Struct) -> str:
    """Returns the register classes of a value on x86-64: general (i), floating (f), or none."""
    size = item.dtype.itemsize
    kinds = ["f"] * -(-size // 8)
    if size > 16 or any(dtype.char in "gG" for _, dtype in parts(item.dtype)):
        return ""
    for offset, dtype in parts(item.dtype):
        if dtype.kind in "biu":
            kinds[offset // 8] = "i"
    return "".join(kinds)


def parts(dtype: np.dtype, offset: int = 0) -> Iterator[tuple[int, np.dtype]]:
    """Yields the scalars in a dtype, with their offsets."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        for i in range(prod(shape)):
            yield from parts(base, offset + i * base.itemsize)
    elif dtype.fields is not None:
        for name in dtype.names or ():
            field = dtype.fields[name]
            yield from parts(field[0], offset + field[1])
    else:
        yield offset, dtype


def compiled(library: Path) -> Oracle:
    """Returns an oracle that calls through the functions which the C compiler has compiled."""
    loaded = ctypes.CDLL(str(library))

    def call(signature: Signature, arguments: Arguments) -> bytes:
        buffers = []
        for parameter in signature.parameters:
            if parameter.is_memory:
                address = arguments.memory[parameter.name].ctypes.data
                buffers.append(aligned(np.array(address, np.uintp).tobytes()))
            else:
                buffers.append(aligned(arguments.values[parameter.name]))
        pointers = (ctypes.c_void_p * len(buffers))(*(b.ctypes.data for b in buffers))
        result = aligned(bytes(result_size(signature)))
        loaded[f"{signature.name}_driver"](pointers, ctypes.c_void_p(result.ctypes.data))
        return result.tobytes()

    return call


def aligned(raw: bytes) -> np.ndarray:
    """Returns a copy of the bytes at an address that is aligned for every type."""
    memory = np.zeros(len(raw) + 64, np.uint8)
    start = -memory.ctypes.data % 64
    memory[start : start + len(raw)] = np.frombuffer(raw, np.uint8)
    return memory[start : start + len(raw)]


def result_size(signature: Signature) -> int:
    if isinstance(signature.result, Scalar | Struct):
        return signature.result.dtype.itemsize
    return 0 if signature.result is None else np.dtype(np.uintp).itemsize


def with_ctypes(library: Path) -> Oracle:
    loaded = ctypes.CDLL(str(library))

    def call(signature: Signature, arguments: Arguments) -> bytes:
        function = loaded[signature.name]
        function.argtypes = [
            ctypes.c_void_p if p.is_memory else ctypes_type(p.item) for p in signature.parameters
        ]
        function.restype = None
        if isinstance(signature.result, Scalar | Struct):
            function.restype = ctypes_type(signature.result)
        elif signature.result is not None:
            function.restype = ctypes_type(ADDRESS)

        def convert(parameter: Parameter) -> object:
            if parameter.is_memory:
                return arguments.memory[parameter.name].ctypes.data
            kind = ctypes_type(parameter.item)
            raw = arguments.values[parameter.name]
            return kind.from_buffer_copy(raw.ljust(ctypes.sizeof(kind), b"\0"))

        result = function(*map(convert, signature.parameters))
        return bytes(result)[: result_size(signature)] if result is not None else b""

    return call


ADDRESS = Scalar("uintptr_t", np.dtype(np.uintp))
CTYPES = {"?": ctypes.c_bool, "e": ctypes.c_float, "g": ctypes.c_longdouble}


@cache
def ctypes_type(item: Scalar | Struct) -> type:
    if isinstance(item, Struct):
        fields = []
        for member in item.members:
            kind = ctypes_type(member.item)
            fields.append((member.name, kind if member.length is None else kind * member.length))
        return type(item.name, (ctypes.Structure,), {"_fields_": fields})
    if item.dtype.kind == "c":
        part = ctypes_type(Scalar("", np.zeros(0, item.dtype).real.dtype))
        return type("Complex", (ctypes.Structure,), {"_fields_": [("re", part), ("im", part)]})
    kind = CTYPES.get(item.dtype.char) or np.ctypeslib.as_ctypes_type(item.dtype)
    # ctypes doesn't convert a result of a subclass to a Python number, so the bytes are unchanged.
    return type(kind.__name__, (kind,), {})


COMPLEX = {"F": "complex_float", "D": "complex_double", "G": "complex_long_double"}
CFFI = {"?": "_Bool", "e": "float", "f": "float", "d": "double", "g": "long double", **COMPLEX}


def cffi_type(item: Scalar | Struct) -> str:
    if isinstance(item, Struct):
        return item.c
    dtype = item.dtype
    sign = "" if dtype.kind == "i" else "u"
    return CFFI.get(dtype.char) or f"{sign}int{8 * dtype.itemsize}_t"


def cffi_struct(struct: Struct) -> str:
    members = "".join(
        f"{cffi_type(m.item)} {m.name}{'' if m.length is None else f'[{m.length}]'}; "
        for m in struct.members
    )
    return f"{struct.c} {{ {members}}};"


def with_cffi(library: Path, structs: list[Struct], signatures: list[Signature]) -> Oracle:
    ffi = cffi.FFI()
    for name in COMPLEX.values():
        part = name.removeprefix("complex_").replace("_", " ")
        ffi.cdef(f"typedef struct {{ {part} re, im; }} {name};")
    for struct in structs:
        if not any(scalar.is_half for scalar in struct.scalars):
            ffi.cdef(cffi_struct(struct))
    for signature in signatures:
        parameters = ", ".join(
            "void *" if p.is_memory else cffi_type(p.item) for p in signature.parameters
        )
        ffi.cdef(f"{cffi_result(signature)} {signature.name}({parameters});")
    loaded = ffi.dlopen(str(library))

    def call(signature: Signature, arguments: Arguments) -> bytes:
        def convert(parameter: Parameter) -> object:
            if parameter.is_memory:
                return ffi.cast("void *", arguments.memory[parameter.name].ctypes.data)
            pointer = ffi.new(f"{cffi_type(parameter.item)} *")
            raw = arguments.values[parameter.name]
            ffi.buffer(pointer)[: len(raw)] = raw
            return pointer[0]

        result = getattr(loaded, signature.name)(*map(convert, signature.parameters))
        if signature.result is None:
            return b""
        pointer = ffi.new(f"{cffi_result(signature)} *", result)
        return bytes(ffi.buffer(pointer)[: result_size(signature)])

    return call


def cffi_result(signature: Signature) -> str:
    if isinstance(signature.result, Scalar | Struct):
        return cffi_type(signature.result)
    return "void" if signature.result is None else "void *"
