"""Numbers by value, as arguments and results, and the ways to write a call."""

from __future__ import annotations

import functools
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import mapcall
from counted import PRELUDE, Counted

INTEGERS = {
    "char": np.byte,
    "signed char": np.byte,
    "unsigned char": np.ubyte,
    "short": np.short,
    "unsigned short": np.ushort,
    "int": np.intc,
    "unsigned int": np.uintc,
    "long": np.long,
    "unsigned long": np.ulong,
    "long long": np.longlong,
    "unsigned long long": np.ulonglong,
}
TYPEDEFS = {
    "int8_t": np.int8,
    "uint8_t": np.uint8,
    "int16_t": np.int16,
    "uint16_t": np.uint16,
    "int32_t": np.int32,
    "uint32_t": np.uint32,
    "int64_t": np.int64,
    "uint64_t": np.uint64,
    "size_t": np.uintp,
    "ptrdiff_t": np.intp,
}
FLOATS = {"float": float, "double": float, "long double": np.longdouble}
COMPLEX = {
    "float _Complex": complex,
    "double _Complex": complex,
    "long double _Complex": np.clongdouble,
}
LEVEL = "enum level { LOW = -5, HIGH = 70000 };"


def echo(ctype: str) -> str:
    return "same_" + ctype.replace(" ", "_")


SOURCE = (
    PRELUDE
    + LEVEL
    + "".join(
        f"{ctype} {echo(ctype)}({ctype} x) {{ CALLED; return x; }}\n"
        for ctype in [*INTEGERS, *TYPEDEFS, *FLOATS, *COMPLEX, "_Bool"]
    )
    + """
    enum level same_level(enum level x) { CALLED; return x; }
    void nothing(void) { CALLED; }
    int digits(int hundreds, int tens, int ones) { CALLED; return 100*hundreds + 10*tens + ones; }
    double weigh(size_t n, const double x[n], double weight) { CALLED; return n * weight; }
    """
)


@pytest.fixture(scope="module")
def c(compile_c: Any) -> Counted:
    return Counted(compile_c(SOURCE))


@pytest.fixture(params=[None, "libffi"])
def engine(request: pytest.FixtureRequest) -> str | None:
    return request.param


def same(c: Counted, ctype: str, engine: str | None = None) -> mapcall.Function:
    return c.function(f"{ctype} {echo(ctype)}({ctype} x)", engine=engine)


class Index:
    """An integer of another class, with `__index__`."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class OwnInt(int):
    pass


@pytest.mark.parametrize("ctype", [*INTEGERS, *TYPEDEFS])
def test_integers(c: Counted, ctype: str, engine: str | None) -> None:
    dtype = np.dtype((INTEGERS | TYPEDEFS)[ctype])
    function = same(c, ctype, engine)
    least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    for value in (least, -1, 0, 1, most):
        if not least <= value <= most:
            continue
        forms = [value, OwnInt(value), Index(value), np.array(value, dtype), dtype.type(value)]
        for form in forms:
            result = function(form)
            assert (result, type(result)) == (value, int)
    assert function(True) == function(np.True_) == 1
    # The message has the C type, and not a typedef for it.
    name = ctype if ctype in INTEGERS else next(n for n, t in INTEGERS.items() if t is dtype.type)
    for wrong in (least - 1, most + 1, -(2**90), 2**90):
        error = c.refuses(
            f"{function.name}: x: expected {expected_name(function, name)}, got {wrong};"
            f" give a value from {least} to {most}",
            function,
            wrong,
        )
        assert (error.function, error.parameter) == (function.name, "x")
    error_of(c, function, 2**200, "an integer of 201 bits")
    error_of(c, function, -(2**200), "an integer of 201 bits")


def expected_name(function: mapcall.Function, name: str) -> str:
    """Returns the name of the type in messages: one of the types with that size and sign."""
    with pytest.raises(mapcall.ArgumentError) as caught:
        function("")
    found = caught.value.expected
    assert np.dtype(INTEGERS[found]) == np.dtype(INTEGERS[name])
    return found


def error_of(c: Counted, function: mapcall.Function, wrong: object, found: str) -> None:
    before = c.called
    with pytest.raises(mapcall.ArgumentError) as caught:
        function(wrong)
    assert (caught.value.parameter, caught.value.found) == ("x", found)
    assert c.called == before


NO_INTEGER = [
    (1.0, "1.0", "give 1"),
    (np.float64(2), "2.0", "give 2"),
    (np.float32(2), "2.0", "give 2"),
    (np.array(2.5), "2.5", "give 2 or 3"),
    (math.nan, "NaN", "give an integer"),
    (1j, "0+1i", "give x.real"),
    (Decimal(1), "a Decimal", "give a number"),
    (Fraction(1), "a Fraction", "give a number"),
    ("1", "a str", "give a number"),
    (b"1", "a bytes", "give a number"),
    (None, "None", "give a number"),
    ([1], "a list", "give a number"),
    (
        np.array([1]),
        "an array of int64",
        "convert it with x.astype('int32'), if int32 has its values",
    ),
    (np.str_("1"), "a str_", "give a number"),
    (np.datetime64(1, "s"), "a datetime64", "give a number"),
    (object(), "an object", "give a number"),
]


@pytest.mark.parametrize(("wrong", "found", "remedy"), NO_INTEGER)
def test_objects_that_are_no_integers(c: Counted, wrong: object, found: str, remedy: str) -> None:
    c.refuses(f"same_int: x: expected int, got {found}; {remedy}", same(c, "int"), wrong)


def test_exceptions_of_index_are_raised(c: Counted) -> None:
    class Broken:
        def __index__(self) -> int:
            raise ZeroDivisionError("broken")

    before = c.called
    with pytest.raises(ZeroDivisionError, match="broken"):
        same(c, "int")(Broken())
    assert c.called == before


@pytest.mark.parametrize("ctype", FLOATS)
def test_floats(c: Counted, ctype: str, engine: str | None) -> None:
    function = same(c, ctype, engine)
    forms = [0.5, -0.0, 3, True, np.float32(0.5), np.float64(0.5), np.array(0.5), np.float16(0.5)]
    for value in [*forms, np.int8(-3), np.uint64(2**40), math.inf, -math.inf, Index(7)]:
        result = function(value)
        assert type(result) is FLOATS[ctype]
        assert result == (value.value if isinstance(value, Index) else float(value))
    assert math.copysign(1, function(-0.0)) == -1
    assert math.isnan(function(math.nan))


def test_a_float_is_rounded_as_c_rounds_it(c: Counted) -> None:
    function = same(c, "float")
    for value in (0.1, math.pi, 1e-46, 3.4028235677973e38, 2.0**24 + 1):
        assert function(value) == float(np.float32(value))


def test_a_long_double_keeps_its_digits(c: Counted, engine: str | None) -> None:
    third = np.longdouble(1) / 3
    assert same(c, "long double", engine)(third) == third != np.longdouble(1 / 3)
    number = third + third * 1j
    assert same(c, "long double _Complex", engine)(number) == number
    # For a smaller type the number is rounded.
    assert same(c, "double", engine)(third) == 1 / 3


@pytest.mark.parametrize(
    ("ctype", "wrong", "found", "remedy"),
    [
        ("float", 1e39, "1e39", "give a value from -3.4028235e38 to 3.4028235e38"),
        ("float", -1e300, "-1e300", "give a value from -3.4028235e38 to 3.4028235e38"),
        ("float", 2**24 + 1, "16777217", "give float(x), which rounds"),
        ("float", np.int32(2**24 + 1), "16777217", "give float(x), which rounds"),
        ("double", 2**53 + 1, "9007199254740993", "give float(x), which rounds"),
        ("double", np.int64(2**53 + 1), "9007199254740993", "give float(x), which rounds"),
    ],
)
def test_numbers_that_a_float_cannot_hold(
    c: Counted, ctype: str, wrong: object, found: str, remedy: str
) -> None:
    function = same(c, ctype)
    c.refuses(
        f"{function.name}: x: expected {ctype}, got {found}; {remedy}",
        function,
        wrong,
    )


@pytest.mark.parametrize("ctype", ["float", "double", "float _Complex", "double _Complex", "int"])
def test_a_long_double_that_would_become_infinite(c: Counted, ctype: str) -> None:
    function = same(c, ctype)
    huge = np.longdouble("1e4000")
    wrong = [huge, -huge, np.array(huge), np.nextafter(np.longdouble(1.8e308), huge)]
    if "Complex" in ctype:
        wrong += [np.clongdouble(huge), huge * np.clongdouble(1j), np.array(huge * 1j)]
    for each in wrong:
        error_of(c, function, each, str(each))
    if ctype != "int":
        assert function(np.longdouble("inf")) == math.inf
        assert function(-np.array(np.longdouble("inf"))) == -math.inf
        assert np.isnan(function(np.longdouble("nan")))
    if "Complex" in ctype:
        # One part is infinite, and the other one is rounded.
        infinite = np.clongdouble(complex(math.inf, 0.5)) + np.finfo("g").eps * 1j
        assert infinite.imag != 0.5
        assert function(infinite) == complex(math.inf, 0.5)


def test_a_long_double_in_every_form(c: Counted, engine: str | None) -> None:
    huge, third = np.longdouble("1e4000"), np.longdouble(1) / 3
    for value in (huge, -huge, third, np.longdouble("inf")):
        assert same(c, "long double", engine)(value) == value
        assert same(c, "long double", engine)(np.array(value)) == value
        assert same(c, "long double _Complex", engine)(value) == value
        number = np.clongdouble(complex(0, 1)) * third + np.clongdouble(third)
        assert same(c, "long double _Complex", engine)(np.array(number)) == number
    error_of(c, same(c, "long double", engine), np.clongdouble(1), "1+0i")


def test_a_long_double_that_a_callback_returns(c: Counted, compile_c: Any) -> None:
    source = "double apply(double (*f)(double), double x) { return f(x); }"
    apply = mapcall.load(compile_c(source)).function("double apply(double (*f)(double), double x)")
    assert apply(lambda x: np.longdouble(x) / 3, 1.0) == 1 / 3
    for wrong, found in (
        (np.longdouble("1e4000"), r"1e\+4000; return a value from"),
        (np.ma.masked, "MaskedConstant; return a number"),
    ):
        with pytest.raises(mapcall.ArgumentError, match=f"expected double, got .*{found}"):
            apply(lambda x, wrong=wrong: wrong, 1.0)


@pytest.mark.parametrize(
    ("wrong", "found", "remedy"),
    [
        (1j, "0+1i", "give x.real"),
        (np.complex64(1), "1+0i", "give x.real"),
        (Decimal("0.5"), "a Decimal", "give a number"),
        (Fraction(1, 2), "a Fraction", "give a number"),
        ("0.5", "a str", "give a number"),
        (None, "None", "give a number"),
        (np.array([1]), "an array of int64", "convert it with x.astype('float64')"),
        (
            10**400,
            "an integer of 1329 bits",
            "give a value from -1.7976931348623157e308 to 1.7976931348623157e308",
        ),
    ],
)
def test_objects_that_are_no_floats(c: Counted, wrong: object, found: str, remedy: str) -> None:
    c.refuses(f"same_double: x: expected double, got {found}; {remedy}", same(c, "double"), wrong)


@pytest.mark.parametrize("ctype", COMPLEX)
def test_complex_numbers(c: Counted, ctype: str, engine: str | None) -> None:
    function = same(c, ctype, engine)
    for value in (1 + 2j, 3, 0.5, True, np.complex64(1 - 2j), np.float32(2), np.array(1j)):
        result = function(value)
        assert (result, type(result)) == (complex(value), COMPLEX[ctype])
    error_of(c, function, "1j", "a str")
    error_of(c, function, None, "None")


def test_a_complex_number_that_would_become_infinite(c: Counted) -> None:
    function = same(c, "float _Complex")
    error_of(c, function, 1e39j, f"0+{10**39}i")
    error_of(c, function, 1e39, "1e39")
    assert function(complex(math.inf, 0)) == complex(math.inf, 0)


def test_truth_values(c: Counted, engine: str | None) -> None:
    function = same(c, "_Bool", engine)
    for value in (True, False, 0, 1, np.True_, np.False_, np.int8(1), np.array(True)):
        result = function(value)
        assert result is bool(value)
    for wrong in (2, -1):
        c.refuses(
            f"same__Bool: x: expected _Bool, got {wrong}; give a value from 0 to 1",
            function,
            wrong,
        )
    error_of(c, function, 1.0, "1.0")
    error_of(c, function, "", "a str")
    error_of(c, function, None, "None")
    error_of(c, function, [], "a list")


def test_enumerations(c: Counted, engine: str | None) -> None:
    function = c.function(f"{LEVEL} enum level same_level(enum level x)", engine=engine)
    for value in (-5, 70000, 3, np.int16(-5)):
        result = function(value)
        assert (result, type(result)) == (value, int)
    error_of(c, function, 2**31, "2147483648")
    error_of(c, function, 1.0, "1.0")
    error_of(c, function, "LOW", "a str")


class TestWriting:
    @pytest.fixture
    def digits(self, c: Counted) -> mapcall.Function:
        return c.function("int digits(int hundreds, int tens, int ones)")

    def test_good(self, digits: mapcall.Function) -> None:
        assert digits(1, 2, 3) == 123
        assert digits(1, 2, ones=3) == digits(1, ones=3, tens=2) == 123
        assert digits(ones=3, tens=2, hundreds=1) == 123
        assert digits(*[1, 2], ones=3) == 123
        # The keyword is a str object that is not interned.
        assert digits(1, 2, **{"".join(["on", "es"]): 3}) == 123
        assert functools.partial(digits, 1, ones=3)(2) == 123
        assert list(map(digits, [1, 4], [2, 5], [3, 6])) == [123, 456]
        assert digits.__call__(1, 2, 3) == 123

    @pytest.mark.parametrize(
        ("arguments", "keywords", "message"),
        [
            ((), {}, "digits: hundreds: expected int, got nothing; give hundreds"),
            ((1, 2), {}, "digits: ones: expected int, got nothing; give ones"),
            ((1,), {"ones": 3}, "digits: tens: expected int, got nothing; give tens"),
            (
                (1, 2, 3, 4),
                {},
                "digits: expected at most 3 arguments, got 4;"
                " leave out the rest; inferred parameters are given by name",
            ),
            (
                (1, 2, 3),
                {"tens": 2},
                "digits: tens: expected int once, got it by position and by name; give it once",
            ),
            (
                (1, 2),
                {"one": 3},
                "digits: expected a parameter's name, got one; did you mean ones?",
            ),
            (
                (1, 2),
                {"x": 3},
                "digits: expected a parameter's name, got x; write one of hundreds, tens, ones",
            ),
            (
                (1, 2, 3),
                {"": 3},
                "digits: expected a parameter's name, got ; write one of hundreds, tens, ones",
            ),
        ],
    )
    def test_bad(
        self,
        c: Counted,
        digits: mapcall.Function,
        arguments: tuple[int, ...],
        keywords: dict[str, int],
        message: str,
    ) -> None:
        c.refuses(message, digits, *arguments, **keywords)

    def test_keywords_are_texts(self, digits: mapcall.Function) -> None:
        with pytest.raises(TypeError, match="keywords must be strings"):
            digits(1, 2, **{3: 3})
        with pytest.raises(mapcall.ArgumentError):
            digits(1, 2, **{"\udc80": 3})

    def test_no_parameters(self, c: Counted) -> None:
        nothing = c.function("void nothing(void)")
        assert nothing() is None
        c.refuses(
            "nothing: expected no arguments, got 1;"
            " leave out the rest; inferred parameters are given by name",
            nothing,
            1,
        )
        with pytest.raises(mapcall.ArgumentError, match="nothing: expected a parameter's name"):
            nothing(x=1)

    def test_an_inferred_one(self, c: Counted) -> None:
        weigh = c.function("double weigh(size_t n, const double x[n], double weight)")
        x = np.zeros(3)
        assert weigh(x, 2.0) == weigh(x, weight=2) == weigh(x, 2, n=3) == 6
        assert weigh(weight=2, n=np.int8(3), x=x) == 6
        c.refuses(
            "weigh: expected at most 2 arguments, got 3;"
            " leave out the rest; inferred parameters are given by name",
            weigh,
            3,
            x,
            2.0,
        )
        disagrees = (
            "weigh: x: expected float64[n] with n = {0}, got shape (3,); give an array of shape"
            " ({0},), or leave n out"
        )
        c.refuses(disagrees.format(4), weigh, x, 2.0, n=4)
        c.refuses(disagrees.format(0), weigh, x, 2.0, n=0)
        for wrong, found, remedy in [
            (-1, "-1", "give a value from 0 to 9223372036854775807, or leave it out"),
            (
                2**64,
                "18446744073709551616",
                "give a value from 0 to 9223372036854775807, or leave it out",
            ),
            (2**200, "an integer of 201 bits", "leave n out"),
            (3.0, "3.0", "give 3"),
            ("3", "a str", "give a number, or leave it out"),
            (None, "None", "give a number, or leave it out"),
        ]:
            message = f"weigh: n: expected unsigned long, got {found}; {remedy}"
            c.refuses(message, weigh, x, 2.0, n=wrong)
