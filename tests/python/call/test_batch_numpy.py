"""Batches against NumPy: shapes, values, strides and refusals, for random arguments.

`numpy.vectorize` makes each call with the function of the batch. The strides of the outputs are
compared with those of NumPy's iterator.

Two differences are deliberate. An array that overlaps an output is refused, while NumPy would copy
it; and no dtype is cast, and no list converted. NumPy's gufuncs have no `where=`, and leave the old
content of an output; here `where=` is allowed, and new outputs start as zeros. NumPy's gufuncs
accept an output that lacks leading axes of length 1, and its ufuncs refuse it; here it is always
refused.

`MAPCALL_BATCHES=1000` runs more cases than a usual run.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

import mapcall
from counted import PRELUDE
from signatures import SCALARS

Compile = Callable[..., Path]

BATCHES = int(os.environ.get("MAPCALL_BATCHES", "25"))
PAIR = np.dtype([("x", "f8"), ("n", "i4")], align=True)
STRUCT = "struct pair { double x; int n; };"
SOURCE = (
    PRELUDE
    + STRUCT
    + """
    #include <complex.h>
    double sum(size_t n, const double *x)
    { CALLED; double s = 0; for (size_t i = 0; i < n; i++) s += x[i]; return s; }
    double dot(size_t n, const double *x, const double *y)
    { CALLED; double s = 0; for (size_t i = 0; i < n; i++) s += x[i] * y[i]; return s; }
    void turn(size_t m, size_t n, float a, const float *x, float *y)
    {
        CALLED;
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < n; j++) y[j * m + i] += a * x[i * n + j];
    }
    void apply(size_t m, size_t n, const int *a, const int *x, int *y)
    {
        CALLED;
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < n; j++) y[i] += a[i * n + j] * x[j];
    }
    void sums(size_t n, const double *x, double *y)
    { CALLED; y[0] = 1; for (size_t i = 0; i < n; i++) y[i + 1] = y[i] + x[i]; }
    double dot3(const double *x, const double *y)
    { CALLED; return x[0] * y[0] + x[1] * y[1] + x[2] * y[2]; }
    void cross(const double *x, const double *y, double *z)
    {
        CALLED;
        for (int i = 0; i < 3; i++)
            z[i] += x[(i + 1) % 3] * y[(i + 2) % 3] - x[(i + 2) % 3] * y[(i + 1) % 3];
    }
    void axpy(size_t n, double a, const double *x, double *y)
    { CALLED; for (size_t i = 0; i < n; i++) y[i] += a * x[i]; }
    int extremes(size_t n, const short *x, short *both, long *at)
    {
        CALLED;
        if (!n) return -1;
        both[0] = both[1] = x[0];
        at[0] = 0;
        for (size_t i = 0; i < n; i++) {
            if (x[i] < both[0]) both[0] = x[i];
            if (x[i] > both[1]) { both[1] = x[i]; at[0] = i; }
        }
        return (int)n;
    }
    struct pair swap(struct pair p, int k)
    { CALLED; return (struct pair){p.n + k, (int)p.x}; }
    struct pair total(size_t n, const struct pair *p)
    {
        CALLED;
        struct pair sum = {0, 0};
        for (size_t i = 0; i < n; i++) { sum.x += p[i].x; sum.n += p[i].n; }
        return sum;
    }
    void tally(unsigned char x, _Bool is_on, unsigned *count)
    { CALLED; if (is_on) *count += x; }
    void nothing(size_t n, const double *x) { CALLED; }
    """
)
#: The formula for each kind of scalar.
FORMULAS = {"b": "a && !b", "i": "3 * a + b", "u": "3 * a + b", "f": "2 * a + b / 4", "c": "a * b"}


@dataclass(frozen=True)
class Parameter:
    """A parameter; its core axes are names of dimensions, or lengths."""

    name: str
    dtype: np.dtype[Any]
    core: tuple[str, ...] = ()
    is_written: bool = False


@dataclass(frozen=True)
class Case:
    prototype: str
    parameters: tuple[Parameter, ...]
    result: np.dtype[Any] | None = None
    engines: tuple[mapcall.Function, ...] = field(default=(), compare=False)


def core(name: str, dtype: str | np.dtype[Any], *axes: str, written: bool = False) -> Parameter:
    return Parameter(name, np.dtype(dtype), axes, written)


CASES = [
    Case("double sum(size_t n, const double x[n])", (core("x", "f8", "n"),), np.dtype("f8")),
    Case(
        "double dot(size_t n, const double x[n], const double y[n])",
        (core("x", "f8", "n"), core("y", "f8", "n")),
        np.dtype("f8"),
    ),
    Case(
        "void turn(size_t m, size_t n, float a, const float x[m][n], float y[n][m])",
        (core("a", "f4"), core("x", "f4", "m", "n"), core("y", "f4", "n", "m", written=True)),
    ),
    Case(
        "void apply(size_t m, size_t n, const int a[m][n], const int x[n], int y[m])",
        (core("a", "i4", "m", "n"), core("x", "i4", "n"), core("y", "i4", "m", written=True)),
    ),
    Case(
        "void sums(size_t n, const double x[n], double y[n + 1])",
        (core("x", "f8", "n"), core("y", "f8", "n + 1", written=True)),
    ),
    Case(
        "double dot3(const double x[3], const double y[3])",
        (core("x", "f8", "3"), core("y", "f8", "3")),
        np.dtype("f8"),
    ),
    Case(
        "void cross(const double x[3], const double y[3], double z[3])",
        (core("x", "f8", "3"), core("y", "f8", "3"), core("z", "f8", "3", written=True)),
    ),
    Case(
        "void axpy(size_t n, double a, const double x[n], double y[n])",
        (core("a", "f8"), core("x", "f8", "n"), core("y", "f8", "n", written=True)),
    ),
    Case(
        "int extremes(size_t n, const short x[n], short both[2], long at[1])",
        (
            core("x", "i2", "n"),
            core("both", "i2", "2", written=True),
            core("at", np.dtype(np.long), "1", written=True),
        ),
        np.dtype("i4"),
    ),
    Case(
        f"{STRUCT} struct pair swap(struct pair p, int k)",
        (core("p", PAIR), core("k", "i4")),
        PAIR,
    ),
    Case(
        f"{STRUCT} struct pair total(size_t n, const struct pair p[n])",
        (core("p", PAIR, "n"),),
        PAIR,
    ),
    Case(
        "void tally(unsigned char x, _Bool is_on, unsigned count[1])",
        (core("x", "u1"), core("is_on", "?"), core("count", "u4", "1", written=True)),
    ),
    Case("void nothing(size_t n, const double x[n])", (core("x", "f8", "n"),)),
]


def of_scalars(index: int, c: str, dtype: np.dtype[Any]) -> tuple[Case, str]:
    """Returns a case with a function of two numbers of a type, and its definition."""
    name = f"scalar{index}"
    case = Case(f"{c} {name}({c} a, {c} b)", (core("a", dtype), core("b", dtype)), dtype)
    return case, f"{c} {name}({c} a, {c} b) {{ CALLED; return {FORMULAS[dtype.kind]}; }}\n"


class Cases(list[Case]):
    """A list of all cases, whose repr is short, since failures show it."""

    def __repr__(self) -> str:
        return "Cases()"


@pytest.fixture(scope="module")
def cases(compile_c: Compile) -> Cases:
    scalars = {c: scalar.dtype for c, scalar in SCALARS.items() if "enum" not in c}
    try:
        compile_c("_Float16 twice(_Float16 x) { return x + x; }")
    except AssertionError:
        del scalars["_Float16"]
    made = [of_scalars(i, c, dtype) for i, (c, dtype) in enumerate(scalars.items())]
    library = mapcall.load(compile_c(SOURCE + "".join(text for _, text in made), "-fwrapv"))
    return Cases(bound(library, case) for case in [*CASES, *(case for case, _ in made)])


def bound(library: mapcall.Library, case: Case) -> Case:
    engines = (
        library.function(case.prototype),
        library.function(case.prototype, engine="libffi"),
    )
    return Case(case.prototype, case.parameters, case.result, engines)


class Arguments:
    """Random arguments of a case, and NumPy's result for them."""

    def __init__(self, case: Case, chance: random.Random) -> None:
        self.case, self.chance = case, chance
        self.numbers = np.random.default_rng(chance.getrandbits(32))
        self.batch = tuple(self.length() for _ in range(chance.choice([0, 1, 1, 2, 2, 3, 4])))
        self.sizes = {name: chance.choice([0, 1, 2, 3]) for name in "mn"}
        self.given: dict[str, Any] = {}
        self.out: list[np.ndarray | None] = []
        self.mask: Any = None
        for parameter in case.parameters:
            if not parameter.is_written:
                self.given[parameter.name] = self.input(parameter)
        for parameter in [None, *case.parameters]:
            if parameter is None and case.result is not None:
                self.out.append(self.output(case.result, ()))
            elif parameter is not None and parameter.is_written:
                array = self.output(parameter.dtype, self.core(parameter))
                if array is not None and chance.random() < 0.5:
                    self.given[parameter.name] = array
                else:
                    self.out.append(array)
        if chance.random() < 0.3:
            self.mask = self.a_mask()

    def length(self) -> int:
        return self.chance.choice([0, 1, 2, 2, 3, 3])

    def core(self, parameter: Parameter) -> tuple[int, ...]:
        return tuple(int(eval(axis, {}, self.sizes)) for axis in parameter.core)

    def some_axes(self) -> tuple[int, ...]:
        """Returns batch axes, which usually broadcast."""
        chance = self.chance
        shape = self.batch[chance.choice([0, 0, 0, 1, 2, 4]) :]
        shape = tuple(1 if chance.random() < 0.2 else length for length in shape)
        if shape and chance.random() < 0.02:
            shape = (*shape[:-1], 5)
        return shape

    def input(self, parameter: Parameter) -> Any:
        axes = self.some_axes()
        array = self.array(axes, self.core(parameter), parameter.dtype, may_repeat=True)
        if array.shape or parameter.dtype.names:
            return array
        kinds: list[Callable[[np.ndarray], Any]] = [lambda x: x, lambda x: x[()]]
        if parameter.dtype.char not in "gG":
            kinds.append(np.ndarray.item)
        return self.chance.choice(kinds)(array)

    def output(self, dtype: np.dtype[Any], axes: tuple[int, ...]) -> np.ndarray | None:
        chance = self.chance
        if chance.random() < 0.6:
            return None
        batch = self.batch
        if chance.random() < 0.1:
            batch = self.some_axes()
        elif chance.random() < 0.1:
            batch = (2, *batch)
        return self.array(batch, axes, dtype)

    def a_mask(self) -> Any:
        kind = self.chance.randrange(6)
        if kind < 4:
            return (True, False, np.True_, np.zeros(self.some_axes(), "?"))[kind]
        return self.array(self.some_axes(), (), np.dtype("?"), may_repeat=True)

    def array(
        self,
        batch: tuple[int, ...],
        core: tuple[int, ...],
        dtype: np.dtype[Any],
        may_repeat: bool = False,
    ) -> np.ndarray:
        """Returns an array of random numbers whose batch axes have random strides."""
        chance, ndim = self.chance, len(batch)
        order = list(range(ndim))
        if chance.random() < 0.4:
            chance.shuffle(order)
        repeated = {axis for axis in order if may_repeat and chance.random() < 0.1}
        steps = [chance.choice([1, 1, 1, 1, 2, -1, -2]) for _ in batch]
        lengths = [1 if i in repeated else batch[i] * abs(steps[i]) for i in order]
        base = self.some_numbers((*lengths, *core), dtype)
        array = base.transpose(*(order.index(i) for i in range(ndim)), *range(ndim, base.ndim))
        array = array[(*(slice(None, None, step) for step in steps), ...)]
        if repeated:
            array = np.broadcast_to(array, (*batch, *core))
        assert array.shape == (*batch, *core)
        return array

    def some_numbers(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        array = np.zeros(shape, dtype)
        if dtype.names:
            for name in dtype.names:
                array[name] = self.some_numbers(shape, dtype[name])
            return array
        low = 0 if dtype.kind in "bu" else -100
        high = 2 if dtype.kind == "b" else 100
        array[...] = np.asarray(self.numbers.integers(low, high, shape)).astype(dtype)
        if dtype.kind == "c":
            array += 1j * self.numbers.integers(-9, 9, shape).astype(dtype)
        return array

    def expected(self) -> list[np.ndarray] | None:
        """Returns the expected outputs, the result first; `None` if NumPy refuses the arguments."""
        case = self.case
        written = [p for p in case.parameters if p.is_written]
        out = iter(self.out)
        result = next(out) if case.result is not None else None
        outputs = [self.given[p.name] if p.name in self.given else next(out) for p in written]
        cores = [self.core(p) for p in written]
        inputs = [self.given[p.name] for p in case.parameters if not p.is_written]
        # The inputs are repeated along the axes of outputs and of the mask.
        dummies = [
            np.zeros(x.shape[: x.ndim - len(c)])
            for x, c in zip([result, *outputs], [(), *cores], strict=True)
            if x is not None
        ]
        mask = np.asarray(True if self.mask is None else self.mask)
        input_cores = [p.core for p in case.parameters if not p.is_written]
        try:
            batch = np.broadcast_shapes(
                mask.shape,
                *(x.shape for x in dummies),
                *(
                    np.shape(x)[: np.ndim(x) - len(c)]
                    for x, c in zip(inputs, input_cores, strict=True)
                ),
            )
        except ValueError:
            return None
        if any(x.shape != batch for x in dummies):
            return None
        zeros = [np.zeros((*batch, *c), p.dtype) for p, c in zip(written, cores, strict=True)]
        starts = [z if x is None else x for x, z in zip(outputs, zeros, strict=True)]
        start = result if result is not None else np.zeros(batch, case.result or "f8")
        if 0 in batch:
            return [*([start] if case.result is not None else []), *starts]
        self.called = 0
        signature = ",".join(
            [
                "()",
                "()",
                *(core_text(c) for c in input_cores),
                *(core_text(p.core) for p in written),
            ]
        )
        signature += "->" + ",".join(["()", *(core_text(p.core) for p in written)])
        vectorized = np.vectorize(self.one_call, signature=signature)
        found = vectorized(mask, start, *inputs, *starts)
        found = list(found) if isinstance(found, tuple) else [found]
        return found if case.result is not None else found[1:]

    def one_call(self, is_made: Any, start: Any, *arguments: Any) -> Any:
        """Makes one call with copies of the arrays that it writes."""
        case = self.case
        inputs = iter(arguments)
        outputs = iter(
            [x.copy() for x in arguments[-sum(p.is_written for p in case.parameters) :]]
            if any(p.is_written for p in case.parameters)
            else []
        )
        given = {}
        for parameter in case.parameters:
            if parameter.is_written:
                given[parameter.name] = next(outputs)
            else:
                value = next(inputs)
                given[parameter.name] = np.ascontiguousarray(value) if parameter.core else value
        result = start
        if is_made:
            returned = case.engines[1](**given)
            if case.result is not None:
                result = np.asarray(returned, case.result)[()]
        written = [given[p.name] for p in case.parameters if p.is_written]
        return (result, *written) if written else result


def core_text(axes: tuple[str, ...]) -> str:
    return f"({','.join(axis.replace(' + ', '_') for axis in axes)})"


def batch_of(array: Any, core: tuple[Any, ...]) -> np.ndarray:
    """Returns the first element of each item."""
    array = np.asanyarray(array)
    ndim = array.ndim - len(core)
    return as_strided(array, array.shape[:ndim], array.strides[:ndim], writeable=False)


def strides_of_numpy(arguments: Arguments, shape: tuple[int, ...], nbytes: int) -> tuple[int, ...]:
    """Returns the strides that NumPy's iterator gives an output with items of `nbytes` bytes."""
    parameters = arguments.case.parameters
    operands = [
        batch_of(arguments.given[p.name], p.core) for p in parameters if p.name in arguments.given
    ]
    cores = [p.core for p in parameters if p.is_written and p.name not in arguments.given]
    if arguments.case.result is not None:
        cores.insert(0, ())
    operands += [batch_of(x, c) for x, c in zip(arguments.out, cores, strict=True) if x is not None]
    if arguments.mask is not None:
        operands.append(np.asarray(arguments.mask))
    iterator = np.nditer(
        [*operands, None],
        ["zerosize_ok", "refs_ok"],
        [["readonly"]] * len(operands) + [["writeonly", "allocate"]],
        [None] * len(operands) + [np.dtype(f"V{nbytes}")],
        order="K",
    )
    made = iterator.operands[-1]
    assert made.shape == shape
    return made.strides


@pytest.mark.parametrize("index", range(len(CASES) + len(SCALARS) - 1))
@settings(
    max_examples=BATCHES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(chance=st.randoms(use_true_random=False))
def test_as_numpy(cases: Cases, index: int, chance: random.Random) -> None:
    if index >= len(cases):
        pytest.skip("the compiler has no _Float16")
    case = cases[index]
    arguments = Arguments(case, chance)
    expected = arguments.expected()
    threads = chance.choice([None, 1, 2, 0])
    found = [call(arguments, function, threads) for function in case.engines]
    if expected is None:
        assert found == [None, None]
        return
    for outputs in found:
        assert outputs is not None
        for output, wanted in zip(outputs, expected, strict=True):
            assert output.shape == wanted.shape
            assert output.dtype == wanted.dtype
            np.testing.assert_array_equal(output, wanted)
    assert found[0] is not None
    assert found[1] is not None
    for one, other in zip(*found, strict=True):
        if one.dtype.char in "gGV":
            # These dtypes have padding bytes.
            np.testing.assert_array_equal(one, other)
        else:
            assert one.tobytes() == other.tobytes()


def call(
    arguments: Arguments, function: mapcall.Function, threads: int | None
) -> list[np.ndarray] | None:
    """Calls a function with copies of the written arrays; returns all outputs, the result first."""
    case, chance = arguments.case, arguments.chance
    given = dict(arguments.given)
    for parameter in case.parameters:
        if parameter.is_written and parameter.name in given:
            given[parameter.name] = like(given[parameter.name])
    out: Any = tuple(None if x is None else like(x) for x in arguments.out)
    kept = out
    keywords: dict[str, Any] = {"threads": threads, "where": arguments.mask, "out": out}
    if len(out) == 1 and out[0] is not None:
        keywords["out"] = chance.choice([out, out[0]])
    if all(x is None for x in out):
        keywords["out"] = chance.choice([out, None]) if out else None
    by_position = chance.random() < 0.3
    try:
        if by_position:
            positional = [given.get(p.name) for p in case.parameters]
            returned = function(*positional, **keywords)
        else:
            returned = function(**given, **keywords)
    except mapcall.ArgumentError:
        return None
    returned = list(returned) if type(returned) is tuple else [returned]
    if not out:
        assert returned == [None]
        returned = []
    for array, output in zip(returned, kept, strict=True):
        assert output is None or array is output
    for array, output, cored in zip(returned, kept, cores_returned(case, given), strict=True):
        if output is None:
            check_made(arguments, np.asanyarray(array), cored)
    found = iter(np.asanyarray(x) for x in returned)
    outputs = [np.asarray(next(found), case.result)] if case.result is not None else []
    written = (p for p in case.parameters if p.is_written)
    return outputs + [given[p.name] if p.name in given else next(found) for p in written]


def like(array: np.ndarray) -> np.ndarray:
    """Returns a copy with the same strides, with separate memory between the items."""
    low, high = np.lib.array_utils.byte_bounds(array)
    memory = np.zeros(high - low + 1, "u1")
    offset = array.ctypes.data - low if array.size else 0
    copy = np.ndarray(array.shape, array.dtype, memory, offset, array.strides)
    copy[...] = array
    return copy


def cores_returned(case: Case, given: dict[str, Any]) -> list[tuple[str, ...]]:
    cores = [p.core for p in case.parameters if p.is_written and p.name not in given]
    return [()] * (case.result is not None) + cores


def check_made(arguments: Arguments, array: np.ndarray, core: tuple[str, ...]) -> None:
    ndim = array.ndim - len(core)
    assert type(array) is np.ndarray
    if not array.size or not ndim:
        return
    item = array[(*(0,) * ndim, ...)]
    assert item.flags.c_contiguous
    strides = strides_of_numpy(arguments, array.shape[:ndim], item.nbytes)
    for length, found, wanted in zip(array.shape, array.strides, strides, strict=False):
        assert length == 1 or found == wanted


NUMPYS_OWN = """
    #include <math.h>
    #include <stddef.h>
    double positive(double x) { return x; }
    double add(double x, double y) { return x + y; }
    double clip(double x, double low, double high) { return fmin(fmax(x, low), high); }
    void matmul(size_t l, size_t m, size_t n, const double *a, const double *b, double *c)
    {
        for (size_t i = 0; i < l; i++)
            for (size_t j = 0; j < n; j++) {
                double sum = 0;
                for (size_t k = 0; k < m; k++) sum += a[i * m + k] * b[k * n + j];
                c[i * n + j] = sum;
            }
    }
"""


@pytest.fixture(scope="module")
def library(compile_c: Compile) -> mapcall.Library:
    return mapcall.load(compile_c(NUMPYS_OWN))


class TestNumPysOwn:
    """Ufuncs and gufuncs of NumPy give the same results, strides and refusals."""

    def same(self, arguments: Arguments, ufunc: Any, function: mapcall.Function) -> None:
        """Compares a call with that of a ufunc, with the case's arguments by position."""
        given = list(arguments.given.values())
        keywords: dict[str, Any] = {}
        if arguments.mask is not None:
            keywords["where"] = arguments.mask
        [out] = arguments.out
        theirs, ours = (None, None) if out is None else (like(out), like(out))
        try:
            wanted = ufunc(*given, out=theirs, **keywords)
        except (TypeError, ValueError):
            with pytest.raises(mapcall.ArgumentError):
                function(*given, out=ours, **keywords)
            return
        cored = [p.core for p in arguments.case.parameters if not p.is_written]
        ndims = [np.ndim(x) - len(c) for x, c in zip(given, cored, strict=True)]
        if ours is not None and cored[0] and ours.ndim - 2 < max(ndims):
            with pytest.raises(mapcall.ArgumentError, match="with the batch axes"):
                function(*given, out=ours)
            return
        found = function(*given, out=ours, **keywords)
        made = np.broadcast_to(np.asarray(keywords.get("where", True)), np.shape(found))
        if type(found) is float:
            # Arguments without batch axes make one call, whose result is a Python number.
            found = np.float64(found)
            assert out is None
            assert not keywords
        assert type(found) is type(wanted)
        assert found.shape == wanted.shape
        if out is None:
            np.testing.assert_array_equal(found[made], wanted[made])
            assert not found[~made].any()
        else:
            np.testing.assert_array_equal(found, wanted)
        if found.size:
            for length, stride, other in zip(
                found.shape, found.strides, wanted.strides, strict=True
            ):
                assert length == 1 or stride == other

    @pytest.mark.parametrize("name", ["positive", "add", "clip"])
    @settings(
        max_examples=4 * BATCHES,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(chance=st.randoms(use_true_random=False))
    def test_ufuncs(self, library: mapcall.Library, name: str, chance: random.Random) -> None:
        names = {"positive": ["x"], "add": ["x", "y"], "clip": ["x", "low", "high"]}[name]
        ufunc = {"positive": np.positive, "add": np.add, "clip": np._core.umath.clip}[name]
        double = np.dtype("f8")
        arguments = Arguments(Case("", tuple(core(x, double) for x in names), double), chance)
        prototype = f"double {name}({', '.join(f'double {x}' for x in names)})"
        self.same(arguments, ufunc, library.function(prototype))

    @settings(
        max_examples=4 * BATCHES,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(chance=st.randoms(use_true_random=False))
    def test_a_gufunc(self, library: mapcall.Library, chance: random.Random) -> None:
        function = library.function(
            "void matmul(size_t l, size_t m, size_t n,"
            " const double a[l][m], const double b[m][n], double c[l][n])"
        )
        double = np.dtype("f8")
        parameters = (
            core("a", double, "m", "n"),
            core("b", double, "n", "m"),
            core("c", double, "m", "m", written=True),
        )
        arguments = Arguments(Case("", parameters), chance)
        arguments.mask = None
        if not arguments.out:
            arguments.out.append(arguments.given.pop("c"))
        self.same(arguments, np.matmul, function)

    def test_how_many_outs(self) -> None:
        """A ufunc of two outputs accepts and refuses the same numbers of outputs."""
        frexp = mapcall.load("m").function("double frexp(double x, int exponent[1])")
        fraction, exponent = np.zeros(3), np.zeros(3, "i4")
        outs = [
            (),
            fraction,
            (fraction,),
            (None,),
            (None, None),
            (fraction, None),
            (None, exponent),
            (fraction, exponent),
            (None, None, None),
        ]
        for out in outs:
            given = out
            if isinstance(out, tuple):
                given = tuple(x[:, None] if x is exponent else x for x in out)
            try:
                wanted = np.frexp(np.arange(3.0), out=out)
            except (TypeError, ValueError):
                with pytest.raises(mapcall.ArgumentError):
                    frexp(np.arange(3.0), out=given)
            else:
                found = frexp(np.arange(3.0), out=given)
                np.testing.assert_array_equal(found[0], wanted[0])
                np.testing.assert_array_equal(found[1][:, 0], wanted[1])
