"""Random C signatures, and C functions that record the arguments that they get.

Each function of `source()` writes the bytes of its arguments to `seen`, followed by a digest of all
memory that it can read. From the digest it computes its result and the items that it writes to its
other arrays, so they differ if one bit of an argument is wrong.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, cycle
from math import prod
from typing import Literal

import numpy as np

# The number of items at a pointer without an extent.
POINTED = 3
LONG_DOUBLE_BYTES = 10 if np.finfo(np.longdouble).nmant == 63 else np.dtype("g").itemsize


@dataclass(frozen=True)
class Scalar:
    """An arithmetic type: its C name and its dtype."""

    c: str
    dtype: np.dtype

    @property
    def is_half(self) -> bool:
        return self.dtype == np.float16

    @property
    def is_plain(self) -> bool:
        """Returns whether every C compiler passes the type in one register."""
        return self.dtype.kind in "biuf" and self.dtype.char not in "eg"


@dataclass(frozen=True)
class Member:
    name: str
    item: Scalar | Struct
    length: int | None = None


@dataclass(frozen=True)
class Struct:
    """A struct with a layout that NumPy computes; the C compiler asserts that its own is equal."""

    name: str
    members: tuple[Member, ...]

    @property
    def c(self) -> str:
        return f"struct {self.name}"

    @property
    def dtype(self) -> np.dtype:
        fields = [
            (m.name, m.item.dtype) if m.length is None else (m.name, m.item.dtype, (m.length,))
            for m in self.members
        ]
        return np.dtype(fields, align=True)

    @property
    def scalars(self) -> Iterator[Scalar]:
        for member in self.members:
            if isinstance(member.item, Struct):
                yield from member.item.scalars
            else:
                yield member.item

    @property
    def definition(self) -> str:
        members = "".join(
            f" {m.item.c} {m.name}{'' if m.length is None else f'[{m.length}]'};"
            for m in self.members
        )
        return f"{self.c} {{{members} }};"

    @property
    def structs(self) -> Iterator[Struct]:
        """Yields the structs in it and itself, in the order in which C has to define them."""
        for member in self.members:
            if isinstance(member.item, Struct):
                yield from member.item.structs
        yield self


@dataclass(frozen=True)
class Parameter:
    """A parameter: a value, or a pointer to memory, with or without extents."""

    name: str
    kind: Literal["value", "array", "pointer", "text", "void"]
    item: Scalar | Struct
    extents: tuple[str, ...] = ()
    is_const: bool = False
    # The qualifiers in the first bracket: `static`, `restrict`.
    qualifier: str = ""
    is_dimension: bool = False

    @property
    def is_memory(self) -> bool:
        return self.kind != "value"

    @property
    def is_output(self) -> bool:
        return self.kind == "array" and not self.is_const

    @property
    def plain(self) -> str:
        """Returns the declaration in the C definition, where an array is a pointer."""
        if not self.is_memory:
            return f"{self.item.c} {self.name}"
        target = "void" if self.kind == "void" else self.item.c
        return f"{'const ' if self.is_const else ''}{target} *{self.name}"

    @property
    def declaration(self) -> str:
        """Returns the declaration in the prototype for mapcall."""
        if self.kind != "array":
            return self.plain
        first, *rest = self.extents
        brackets = f"[{f'{self.qualifier} {first}'.strip()}]" + "".join(f"[{e}]" for e in rest)
        return f"{'const ' if self.is_const else ''}{self.item.c} {self.name}{brackets}"

    def shape(self, sizes: dict[str, int]) -> tuple[int, ...]:
        """Returns the extents for given values of the dimensions."""
        if self.kind == "array":
            return tuple(eval(e.replace("/", "//"), {}, sizes) for e in self.extents)
        return (POINTED,)


@dataclass(frozen=True)
class Signature:
    """A function. Its `result` is a type, `"text"`, `"handle"` or None for void."""

    name: str
    parameters: tuple[Parameter, ...]
    result: Scalar | Struct | Literal["text", "handle"] | None

    @property
    def inferred(self) -> frozenset[str]:
        """Returns the parameters that are the whole extent of an array."""
        extents = {e for p in self.parameters for e in p.extents}
        return frozenset(p.name for p in self.parameters if p.name in extents)

    @property
    def is_checked(self) -> bool:
        """Returns whether every pointer has an extent."""
        return all(p.kind != "pointer" for p in self.parameters)

    @property
    def is_plain(self) -> bool:
        """Returns whether no type has its own rules of passing: struct, complex, long double."""
        values = [p.item for p in self.parameters if not p.is_memory]
        if isinstance(self.result, Scalar | Struct):
            values.append(self.result)
        return all(isinstance(value, Scalar) and value.is_plain for value in values)

    @property
    def result_c(self) -> str:
        match self.result:
            case None:
                return "void"
            case "text":
                return "const char *"
            case "handle":
                return "struct opaque *"
        return self.result.c

    @property
    def structs(self) -> list[Struct]:
        items = [p.item for p in self.parameters] + [self.result]
        found = [s for item in items if isinstance(item, Struct) for s in item.structs]
        return list(dict.fromkeys(found))

    @property
    def prototype(self) -> str:
        """Returns the text for mapcall: the types, and the prototype with its extents."""
        parameters = ", ".join(p.declaration for p in self.parameters)
        structs = "".join(f"{s.definition}\n" for s in self.structs)
        return f"{ENUM}\n{structs}{self.result_c} {self.name}({parameters or 'void'});"


ENUMERATORS = {"LOW": -3, "NONE": 0, "ONE": 1, "HIGH": 70_000}
ENUM = "enum level {" + ", ".join(f"{name} = {value}" for name, value in ENUMERATORS.items()) + "};"

SCALARS = {
    c: Scalar(c, np.dtype(dtype))
    for c, dtype in {
        "_Bool": "?",
        "char": np.byte if np.array(-1, "b").item() == -1 else np.ubyte,
        "signed char": np.byte,
        "unsigned char": np.ubyte,
        "short": np.short,
        "unsigned short": np.ushort,
        "int": np.intc,
        "unsigned": np.uintc,
        "long": np.long,
        "unsigned long": np.ulong,
        "long long": np.longlong,
        "unsigned long long": np.ulonglong,
        "int8_t": "i1",
        "uint8_t": "u1",
        "int16_t": "i2",
        "uint16_t": "u2",
        "int32_t": "i4",
        "uint32_t": "u4",
        "int64_t": "i8",
        "uint64_t": "u8",
        "size_t": np.uintp,
        "ptrdiff_t": np.intp,
        "enum level": np.intc,
        "_Float16": np.half,
        "float": np.single,
        "double": np.double,
        "long double": np.longdouble,
        "float _Complex": np.csingle,
        "double _Complex": np.cdouble,
        "long double _Complex": np.clongdouble,
    }.items()
}
BYTE = SCALARS["unsigned char"]
CHAR = SCALARS["char"]
DIMENSIONS = [s for s in SCALARS.values() if s.dtype.kind in "iu" and "enum" not in s.c]


class Generator:
    """A generator of signatures, which are the same for the same seed."""

    def __init__(self, seed: int, *, has_float16: bool) -> None:
        self.random = random.Random(seed)
        self.scalars = [s for s in SCALARS.values() if has_float16 or not s.is_half]
        self.integers = [s for s in self.scalars if s.dtype.kind in "biu"]
        self.floats = [s for s in self.scalars if s.dtype.kind == "f" and s.is_plain]
        self.structs = [self.struct(f"s{i}", i) for i in range(10)]
        # Each type is chosen in turn, so that none is left out.
        self.elements = cycle([*self.scalars, *self.structs])
        self.results = cycle(self.scalars)

    def struct(self, name: str, index: int) -> Struct:
        chance = self.random
        # Small structs are passed in registers, half of them in both kinds of register.
        scalars = [s for s in self.scalars if s.dtype.itemsize <= 8] if index < 6 else self.scalars
        members = []
        for position in range(chance.randint(1, 3 if index < 6 else 5)):
            item: Scalar | Struct = chance.choice(scalars)
            if index >= 8 and position == 0:
                item = self.nested
            length = chance.choice([None, None, None, 1, 2, 3])
            members.append(Member(f"m{position}", item, length))
        self.nested = Struct(name, tuple(members))
        return self.nested

    def signatures(self, number: int) -> list[Signature]:
        return [self.signature(f"echo{i}", i) for i in range(number)]

    def signature(self, name: str, index: int) -> Signature:
        chance = self.random
        names = (f"a{i}" for i in count())
        parameters = [*self.arrays(names), *self.values(names, index)]
        chance.shuffle(parameters)
        seen = Parameter("seen", "array", BYTE, (str(seen_size(parameters)),))
        parameters.insert(chance.randint(0, len(parameters)), seen)
        result = chance.choice([None, "text", "handle", *["scalar"] * 7, "struct", "struct"])
        if result == "scalar":
            result = next(self.results)
        elif result == "struct":
            result = self.by_value()
        return Signature(name, tuple(parameters), result)

    def by_value(self) -> Struct:
        return self.random.choice([s for s in self.structs if is_known_to_libffi(s)])

    def values(self, names: Iterator[str], index: int) -> Iterator[Parameter]:
        chance = self.random
        match index % 4:
            case 0:
                # More arguments than there are registers of each kind.
                items = [*chance.choices(self.integers, k=9), *chance.choices(self.floats, k=11)]
            case 1:
                items = chance.choices(self.scalars, k=chance.randint(0, 4))
            case 2:
                items = chance.choices(self.scalars, k=chance.randint(5, 16))
            case 3:
                items = chance.choices(self.scalars, k=chance.randint(0, 12))
                items += [self.by_value() for _ in range(chance.randint(1, 3))]
        for item in items:
            yield Parameter(next(names), "value", item)
        if chance.random() < 0.2:
            yield Parameter(next(names), "text", CHAR, is_const=True)
        if chance.random() < 0.2:
            yield Parameter(next(names), "void", BYTE, is_const=chance.random() < 0.5)
        if chance.random() < 0.1:
            item = chance.choice([s for s in self.scalars if s.c != "char"])
            yield Parameter(next(names), "pointer", item, is_const=chance.random() < 0.5)

    def arrays(self, names: Iterator[str]) -> Iterator[Parameter]:
        chance = self.random
        n, k, m = (next(names) for _ in range(3))
        given = [n, k, m][: chance.randint(0, 3)]
        for name in given:
            yield Parameter(name, "value", chance.choice(DIMENSIONS), is_dimension=True)
        choices = ["3", "1", "2 * 2"]
        if given:
            choices += [n, n, n, f"{n} + 1", f"2*{n}", f"({n}+7)/8"]
        if k in given:
            choices += [k, k, f"{n}*{k}", f"{n} + {k}"]
        if m in given:
            # `m` is no whole extent of an array, so the caller passes it.
            choices += [f"{m} + 1", f"{m} * {n}"]
        for _ in range(chance.randint(0, 4)):
            extents = tuple(chance.choice(choices) for _ in range(chance.choice([1, 1, 1, 2, 3])))
            yield Parameter(
                next(names),
                "array",
                next(self.elements),
                extents,
                is_const=chance.random() < 0.5,
                qualifier=chance.choice(["", "", "", "restrict", "static", "const"]),
            )


def is_known_to_libffi(struct: Struct) -> bool:
    """Returns whether libffi can pass a struct.

    It has no `_Float16`, and looks in the wrong register for a struct of one `long double`.
    """
    kinds = [scalar.dtype.char for scalar in struct.scalars]
    return "e" not in kinds and not ("g" in kinds and struct.dtype.itemsize <= 16)


def leaves(item: Scalar | Struct, lvalue: str) -> Iterator[tuple[str, Scalar]]:
    """Yields the real numbers in a C lvalue."""
    if isinstance(item, Struct):
        for member in item.members:
            if member.length is None:
                yield from leaves(member.item, f"{lvalue}.{member.name}")
            else:
                for i in range(member.length):
                    yield from leaves(member.item, f"{lvalue}.{member.name}[{i}]")
    elif item.dtype.kind == "c":
        part = SCALARS[item.c.removesuffix(" _Complex")]
        yield f"__real__ {lvalue}", part
        yield f"__imag__ {lvalue}", part
    else:
        yield lvalue, item


def leaf_size(scalar: Scalar) -> int:
    """Return the size of a scalar in bytes, without padding."""
    return LONG_DOUBLE_BYTES if scalar.dtype.char == "g" else scalar.dtype.itemsize


def leaf_bytes(dtype: np.dtype, raw: bytes) -> bytes:
    """Return the bytes of an item without its padding, which C need not copy."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        step = base.itemsize
        return b"".join(
            leaf_bytes(base, raw[i * step : (i + 1) * step]) for i in range(prod(shape))
        )
    if dtype.fields is not None:
        fields = (dtype.fields[name] for name in dtype.names or ())
        return b"".join(leaf_bytes(f[0], raw[f[1] : f[1] + f[0].itemsize]) for f in fields)
    if dtype.char == "G":
        half = dtype.itemsize // 2
        return raw[:LONG_DOUBLE_BYTES] + raw[half : half + LONG_DOUBLE_BYTES]
    return raw[:LONG_DOUBLE_BYTES] if dtype.char == "g" else raw[: dtype.itemsize]


def seen_size(parameters: list[Parameter]) -> int:
    values = (p for p in parameters if not p.is_memory)
    sizes = (leaf_size(scalar) for p in values for _, scalar in leaves(p.item, ""))
    return sum(sizes) + DIGEST


DIGEST = 8

HEAD = """
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct opaque;
static const char *const TEXTS[] = {"", "text", "\\xc3\\xa4\\xe2\\x82\\xac", NULL};
static const enum level LEVELS[] = {LOW, NONE, ONE, HIGH};

static uint64_t mix(uint64_t digest, const void *memory, size_t size) {
    for (const unsigned char *at = memory; size > 0; size--)
        digest = (digest ^ *at++) * 0x100000001b3;
    return digest ^ (digest >> 29);
}

static uint64_t next(uint64_t *digest) {
    uint64_t z = (*digest += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static unsigned char *put(unsigned char *seen, const void *value, size_t size) {
    memcpy(seen, value, size);
    return seen + size;
}
"""


def source(structs: list[Struct], signatures: list[Signature]) -> str:
    """Returns the C file with all functions, and for each another function that calls it."""
    definitions = [ENUM, HEAD]
    for struct in structs:
        dtype = struct.dtype
        definitions.append(struct.definition)
        definitions.append(f'_Static_assert(sizeof({struct.c}) == {dtype.itemsize}, "");')
        definitions += [
            f'_Static_assert(offsetof({struct.c}, {name}) == {dtype.fields[name][1]}, "");'
            for name in dtype.names
        ]
    return "\n".join([*definitions, *map(function, signatures), *map(driver, signatures)])


def function(signature: Signature) -> str:
    lines = ["unsigned char *at = seen;", "uint64_t digest = 0xcbf29ce484222325;"]
    for parameter in signature.parameters:
        if not parameter.is_memory:
            lines += [
                f"at = put(at, &{lvalue}, {leaf_size(scalar)});"
                for lvalue, scalar in leaves(parameter.item, parameter.name)
            ]
    lines.append("digest = mix(digest, seen, (size_t)(at - seen));")
    arrays = [p for p in signature.parameters if p.is_memory and p.name != "seen"]
    lines += [f"digest = mix(digest, {p.name}, {memory_size(p)});" for p in arrays]
    lines.append("put(at, &digest, sizeof digest);")
    for parameter in arrays:
        if parameter.is_const:
            continue
        pointer = f"(({parameter.item.c} *){parameter.name})"
        writes = " ".join(assignments(parameter.item, f"{pointer}[i]"))
        lines.append(f"for (size_t i = 0; i < {length(parameter)}; i++) {{ {writes} }}")
    match signature.result:
        case None:
            pass
        case "text":
            lines.append("return TEXTS[next(&digest) % 4];")
        case "handle":
            lines.append("uint64_t address = next(&digest);")
            lines.append("return address % 4 ? (struct opaque *)(uintptr_t)(address >> 17) : NULL;")
        case item:
            lines.append(f"{item.c} result;")
            lines += assignments(item, "result")
            lines.append("return result;")
    parameters = ", ".join(p.plain for p in signature.parameters)
    body = "\n    ".join(lines)
    return f"{signature.result_c} {signature.name}({parameters}) {{\n    {body}\n}}\n"


def length(parameter: Parameter) -> str:
    """Returns the number of items as a C expression."""
    if parameter.kind == "array":
        return " * ".join(f"(size_t)({extent})" for extent in parameter.extents)
    return str(POINTED)


def memory_size(parameter: Parameter) -> str:
    if parameter.kind == "text":
        return f"strlen({parameter.name})"
    return f"{length(parameter)} * sizeof({parameter.item.c})"


def assignments(item: Scalar | Struct, lvalue: str) -> list[str]:
    return [f"{leaf} = {number(scalar)};" for leaf, scalar in leaves(item, lvalue)]


def number(scalar: Scalar) -> str:
    """Returns a C expression for a finite number of the type, from the digest."""
    if scalar.c == "enum level":
        return "LEVELS[next(&digest) % 4]"
    if scalar.is_half:
        return "(_Float16)((int8_t)next(&digest) / 8.0f)"
    if scalar.dtype.char == "g":
        # The number has more digits than a double.
        return "(int64_t)next(&digest) / 4.0L"
    if scalar.dtype.kind == "f":
        return f"({scalar.c})((int32_t)next(&digest) / 8.0)"
    if scalar.dtype.kind == "b":
        return "next(&digest) % 2"
    return f"({scalar.c})next(&digest)"


def driver(signature: Signature) -> str:
    arguments = ", ".join(
        f"*({p.plain.removesuffix(p.name)}*)arguments[{i}]"
        for i, p in enumerate(signature.parameters)
    )
    # The volatile pointer keeps the compiler from inlining the call.
    call = f"__typeof__({signature.name}) *volatile f = {signature.name};"
    store = "" if signature.result is None else f"*({signature.result_c} *)result = "
    return (
        f"void {signature.name}_driver(void **arguments, void *result) "
        f"{{ {call} (void)result; {store}f({arguments}); }}"
    )
