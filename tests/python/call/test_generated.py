"""Random prototypes, called through each engine, ctypes, cffi and the C compiler.

`MAPCALL_SEED=7 MAPCALL_SIGNATURES=1000` tests other signatures, and more than a usual run.
"""

from __future__ import annotations

import ctypes
import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mapcall
from oracles import Arguments, Oracle, compiled, has_oracle, with_cffi, with_ctypes
from signatures import (
    ENUMERATORS,
    POINTED,
    SCALARS,
    Generator,
    Parameter,
    Scalar,
    Signature,
    Struct,
    leaf_bytes,
    source,
)

SEED = int(os.environ.get("MAPCALL_SEED", "3"))
NUMBER = int(os.environ.get("MAPCALL_SIGNATURES", "40"))
HALF = "_Float16 twice(_Float16 x) { return x + x; }"
SOME = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True)
class Generated:
    """Generated functions in a library, and the oracles that can call them."""

    library: mapcall.Library
    signatures: list[Signature]
    oracles: dict[str, Oracle]


@pytest.fixture(scope="module")
def generated(compile_c: Any) -> Generated:
    try:
        compile_c(HALF)
        has_float16 = True
    except AssertionError:
        has_float16 = False
    generator = Generator(SEED, has_float16=has_float16)
    signatures = generator.signatures(NUMBER)
    path = compile_c(source(generator.structs, signatures), "-Wall", "-Wextra", "-Werror")
    some = [signature for signature in signatures if has_oracle(signature)]
    oracles = {
        "the compiler": compiled(path),
        "ctypes": with_ctypes(path),
        "cffi": with_cffi(path, generator.structs, some),
    }
    return Generated(mapcall.load(path), signatures, oracles)


@dataclass(frozen=True)
class Drawn:
    """One call: the arguments as bytes for the oracles, and the numbers as Python objects."""

    signature: Signature
    arguments: Arguments
    numbers: dict[str, Any]
    sizes: dict[str, int]


@st.composite
def calls(draw: st.DrawFn, signature: Signature) -> Drawn:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    numbers: dict[str, Any] = {}
    values: dict[str, bytes] = {}
    sizes: dict[str, int] = {}
    memory: dict[str, np.ndarray] = {}
    for parameter in signature.parameters:
        if parameter.is_memory:
            continue
        name, dtype = parameter.name, parameter.item.dtype
        if isinstance(parameter.item, Struct):
            number = filled((), dtype, random)[()]
        elif parameter.is_dimension:
            number = sizes[name] = draw(st.integers(0, 4))
        else:
            number = draw(numbers_of(parameter.item))
        array = np.zeros((), dtype)
        array[()] = number
        values[name] = array.tobytes()
        # The scalars of NumPy are numbers, too.
        numbers[name] = array[()] if draw(st.booleans()) else number
    for parameter in signature.parameters:
        if parameter.kind == "text":
            text = draw(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20))
            numbers[parameter.name] = draw(st.sampled_from([text, text.encode()]))
            memory[parameter.name] = np.frombuffer(text.encode() + b"\0", np.uint8)
        elif parameter.is_memory:
            shape = parameter.shape(sizes)
            memory[parameter.name] = filled(shape, parameter.item.dtype, random)
            if parameter.name == "seen":
                memory["seen"][...] = 0
    return Drawn(signature, Arguments(values, memory), numbers, sizes)


def numbers_of(scalar: Scalar) -> st.SearchStrategy[Any]:
    """Returns a strategy for numbers of the type, some of which have to be rounded."""
    if scalar.c == "enum level":
        return st.sampled_from(list(ENUMERATORS.values()))
    match scalar.dtype.kind:
        case "b":
            return st.booleans()
        case "i" | "u":
            limits = np.iinfo(scalar.dtype)
            return st.integers(int(limits.min), int(limits.max))
        case "f":
            return floats(scalar.dtype)
    part = np.zeros(0, scalar.dtype).real.dtype
    return st.builds(complex, floats(part), floats(part))


def floats(dtype: np.dtype) -> st.SearchStrategy[float]:
    most = min(float(np.finfo(dtype).max), float(np.finfo(np.double).max))
    return st.floats(-most, most) | st.sampled_from([math.inf, -math.inf, math.nan, -0.0])


def filled(shape: tuple[int, ...], dtype: np.dtype, random: np.random.Generator) -> np.ndarray:
    """Returns an array of random bytes, padding included, whose items are valid for the dtype."""
    raw = bytearray(random.bytes(math.prod(shape) * dtype.itemsize))
    array = np.frombuffer(raw, dtype).reshape(shape) if raw else np.zeros(shape, dtype)
    make_valid(array, random)
    return array


def make_valid(array: np.ndarray, random: np.random.Generator) -> None:
    for name in array.dtype.names or ():
        make_valid(array[name], random)
    if array.dtype.char in "?gG":
        array[...] = random.integers(0, 2, array.shape)


@dataclass(frozen=True)
class Observed:
    """The result of a call and the memory that it has written."""

    result: Any
    arrays: dict[str, bytes]


def decode(signature: Signature, raw: bytes) -> Any:
    """Returns the result in Python: a struct's bytes without padding, a pointer's address."""
    result = signature.result
    match result:
        case None:
            return None
        case Struct():
            return leaf_bytes(result.dtype, raw)
        case Scalar():
            number = np.frombuffer(raw, result.dtype)[0]
            # Python's numbers have fewer digits than a `long double`.
            return number if result.dtype.char in "gG" else number.item()
    address = int.from_bytes(raw, "little") or None
    if result == "text" and address:
        return ctypes.string_at(address).decode()
    return address


def observe(oracle: Oracle, drawn: Drawn) -> Observed:
    arguments = drawn.arguments.copy()
    raw = oracle(drawn.signature, arguments)
    arrays = {name: array.tobytes() for name, array in arguments.memory.items()}
    return Observed(decode(drawn.signature, raw), arrays)


def expected(generated: Generated, drawn: Drawn) -> Observed:
    """Returns the result on which all oracles agree."""
    first, *others = (
        observe(oracle, drawn)
        for name, oracle in generated.oracles.items()
        if name == "the compiler" or has_oracle(drawn.signature)
    )
    for other in others:
        assert other == first
    return first


@dataclass(frozen=True)
class Written:
    """A call in Python: its arguments."""

    positional: list[Any]
    keywords: dict[str, Any]
    # The arrays that are left out, and returned.
    outputs: list[str]
    arrays: dict[str, np.ndarray]


@st.composite
def writings(draw: st.DrawFn, drawn: Drawn) -> Written:
    signature = drawn.signature
    arrays = drawn.arguments.copy().memory
    outputs = [p.name for p in signature.parameters if p.is_output and draw(st.booleans())]
    for name in outputs:
        drawn.arguments.memory[name][...] = np.zeros((), arrays[name].dtype)
        drawn.arguments.memory[name].reshape(-1).view(np.uint8)[...] = 0
        del arrays[name]
    given = {e for p in signature.parameters if p.name in arrays for e in p.extents}
    explicit = [p for p in signature.parameters if p.name not in signature.inferred]
    keywords_from = draw(st.integers(0, len(explicit)))
    positional = []
    keywords = {}
    for position, parameter in enumerate(explicit):
        name = parameter.name
        value = drawn.numbers.get(name, arrays.get(name))
        if position < keywords_from:
            positional.append(value)
        elif value is not None:
            keywords[name] = value
    for name in sorted(signature.inferred):
        # The caller passes the extent if no array has it, and sometimes in any case.
        if name not in given or draw(st.booleans()):
            keywords[name] = drawn.numbers[name]
    return Written(positional, keywords, outputs, arrays)


def call(function: mapcall.Function, drawn: Drawn, written: Written) -> Observed:
    signature = drawn.signature
    invoke = function if signature.is_checked else function.unchecked
    returned = invoke(*written.positional, **written.keywords)
    parts = list(returned) if isinstance(returned, tuple) else [returned]
    if signature.result is None and not written.outputs:
        assert parts == [None]
        parts = []
    result = parts.pop(0) if signature.result is not None else None
    assert len(parts) == len(written.outputs)
    arrays = written.arrays | dict(zip(written.outputs, parts, strict=True))
    for parameter in signature.parameters:
        if parameter.name in written.outputs:
            array = arrays[parameter.name]
            assert array.dtype == parameter.item.dtype
            assert array.shape == parameter.shape(drawn.sizes)
    memory = {name: arrays[name].tobytes() for name in drawn.arguments.memory}
    return Observed(plain(signature, result), memory)


def plain(signature: Signature, result: Any) -> Any:
    """Returns a result of mapcall in the form of `decode`."""
    match signature.result:
        case Struct() as struct:
            assert result.dtype == struct.dtype
            return leaf_bytes(struct.dtype, result.tobytes())
        case "handle":
            assert result is None or result.type == "opaque"
            return result and result.address
        case Scalar() as scalar:
            expected = np.zeros((), scalar.dtype)[()]
            is_extended = scalar.dtype.char in "gG"
            assert type(result) is type(expected if is_extended else expected.item())
    return result


@pytest.mark.parametrize("index", range(NUMBER))
@pytest.mark.parametrize("engine", ["cranelift", "libffi"])
def test_as_the_oracles(
    generated: Generated, index: int, engine: str, pytestconfig: pytest.Config
) -> None:
    signature = generated.signatures[index]
    can_compile = signature.is_plain and not pytestconfig.getoption("no_executable_pages")
    if engine == "cranelift" and not can_compile:
        # Without the option, mapcall must choose libffi itself.
        engine = None
    function = generated.library.function(signature.prototype, engine=engine)
    assert function.name == signature.name
    assert {p.name for p in function.parameters if p.is_inferred} == signature.inferred

    @SOME
    @given(st.data())
    def check(data: st.DataObject) -> None:
        drawn = data.draw(calls(signature))
        written = data.draw(writings(drawn))
        assert call(function, drawn, written) == expected(generated, drawn)

    check()


def test_the_oracles_see_one_changed_bit(generated: Generated) -> None:
    """The oracles find every change of an argument, so that the comparison is complete."""

    def changed(value: bytes | np.ndarray, dtype: np.dtype) -> Any:
        raw = np.frombuffer(bytearray(value), np.uint8)
        if dtype.kind in "fc":
            # Some oracles pass a Python number, which may change a bit of a NaN.
            numbers = raw.view(dtype)
            numbers[0] = -numbers[0]
        else:
            raw[0] ^= 1
        return raw.tobytes() if isinstance(value, bytes) else raw

    @settings(SOME, max_examples=100)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        signature = data.draw(st.sampled_from(generated.signatures))
        drawn = data.draw(calls(signature))
        before = expected(generated, drawn).arrays["seen"]
        values, memory = drawn.arguments.values, drawn.arguments.memory
        parameters = [p for p in signature.parameters if is_changeable(p, memory)]
        if not parameters:
            return
        parameter = data.draw(st.sampled_from(parameters))
        of = memory if parameter.is_memory else values
        of[parameter.name] = changed(of[parameter.name], parameter.item.dtype)
        assert expected(generated, drawn).arrays["seen"] != before

    check()


def is_changeable(parameter: Parameter, memory: dict[str, np.ndarray]) -> bool:
    """Returns whether a change of the first bit makes another argument."""
    if parameter.name == "seen" or parameter.kind == "text" or parameter.is_dimension:
        return False
    return not parameter.is_memory or memory[parameter.name].size > 0


UNKNOWN_TO_LIBFFI = """
struct one { long double x; };
struct half { _Float16 x, y; };
struct one one(double x) { return (struct one){x / 3.0L}; }
struct half half(double x) { return (struct half){x, -x}; }
double sum(struct half s, struct one t) { return s.x + 2 * s.y + (double)t.x; }
"""


def test_structs_that_libffi_does_not_know(compile_c: Any) -> None:
    try:
        library = mapcall.load(compile_c(UNKNOWN_TO_LIBFFI))
    except AssertionError:
        pytest.skip("the compiler has no _Float16")
    definitions = UNKNOWN_TO_LIBFFI[: UNKNOWN_TO_LIBFFI.index("struct one one")]
    one = library.function(definitions + "struct one one(double x);")
    half = library.function(definitions + "struct half half(double x);")
    total = library.function(definitions + "double sum(struct half s, struct one t);")
    third, pair = one(1.0), half(1.5)
    assert third["x"] == np.longdouble(1) / 3
    assert pair.tolist() == (1.5, -1.5)
    assert total(pair, third) == -1.5 + 1 / 3


CLOBBERED = """
struct pair { long i; double x; };
double last(double x, long a, long b, long c, long d, long e, struct pair s)
"""


@pytest.mark.parametrize("engine", [None, "libffi"])
def test_a_struct_in_the_last_register(compile_c: Any, engine: str | None) -> None:
    """libffi loses `x` in this case: see `is_clobbered`."""
    body = "{ return x + 10 * s.i + 100 * s.x + a + b + c + d + e; }"
    library = mapcall.load(compile_c(CLOBBERED + body))
    last = library.function(CLOBBERED, engine=engine)
    pair = np.array((2, 3.0), library.struct("pair").dtype)
    assert last(1.0, 0, 0, 0, 0, 0, pair) == 321.0


def test_struct_dtypes(generated: Generated) -> None:
    for signature in generated.signatures:
        if signature.structs:
            generated.library.function(signature.prototype)
        for struct in signature.structs:
            found = generated.library.struct(struct.name)
            assert found.dtype == struct.dtype
            assert found.dtype.isalignedstruct
            assert (found.size, found.alignment) == (struct.dtype.itemsize, struct.dtype.alignment)


def test_the_signatures_are_worth_it(generated: Generated) -> None:
    """They have all types by value, in arrays and as results, and more arguments than registers."""
    parameters = [p for signature in generated.signatures for p in signature.parameters]
    results = [signature.result for signature in generated.signatures]
    scalars = {s.c for s in SCALARS.values()} - {"_Float16"}
    assert scalars <= {p.item.c for p in parameters if p.kind == "value"}
    assert scalars <= {p.item.c for p in parameters if p.kind == "array"}
    assert scalars <= {r.c for r in results if isinstance(r, Scalar)}
    assert {None, "text", "handle"} <= set(results)
    assert any(isinstance(r, Struct) for r in results)
    assert any(isinstance(p.item, Struct) and p.kind == "array" for p in parameters)
    assert {p.kind for p in parameters} == {"value", "array", "pointer", "text", "void"}
    assert POINTED > 1
    for kinds, registers in (("biu", 6), ("f", 8)):
        assert registers < max(
            sum(p.item.dtype.kind in kinds for p in signature.parameters if p.kind == "value")
            for signature in generated.signatures
        )
