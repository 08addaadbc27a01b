"""Variable arguments: their C types come from the values."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

import mapcall
from counted import PRELUDE, Counted

SOURCE = (
    PRELUDE
    + """
    #include <stdarg.h>
    #include <stdio.h>
    /* The letters say which type each argument has. */
    int show(char *text, size_t n, const char *types, ...)
    {
        CALLED;
        va_list all;
        int at = 0;
        va_start(all, types);
        text[0] = 0;
        for (; *types; types++) {
            char *to = text + at;
            size_t rest = n - at;
            switch (*types) {
            case 'i': at += snprintf(to, rest, "%d ", va_arg(all, int)); break;
            case 'u': at += snprintf(to, rest, "%u ", va_arg(all, unsigned)); break;
            case 'l': at += snprintf(to, rest, "%ld ", va_arg(all, long)); break;
            case 'U': at += snprintf(to, rest, "%lu ", va_arg(all, unsigned long)); break;
            case 'd': at += snprintf(to, rest, "%g ", va_arg(all, double)); break;
            case 'g': at += snprintf(to, rest, "%Lg ", va_arg(all, long double)); break;
            case 's': at += snprintf(to, rest, "%s ", va_arg(all, const char *)); break;
            case 'p': at += snprintf(to, rest, "%d ", va_arg(all, void *) != 0); break;
            case 'a': at += snprintf(to, rest, "%g ", *va_arg(all, double *)); break;
            case 'f': at += snprintf(to, rest, "%d ", va_arg(all, int (*)(int))(-7)); break;
            }
        }
        va_end(all);
        return at;
    }
    typedef struct { double re, im; } pair;
    struct obj { double value; };
    static struct obj one = {2.5};
    struct obj *obj(void) { return &one; }
    int half(int x) { return x / 2; }
    double first(int n, ...)
    {
        va_list all;
        va_start(all, n);
        double value = va_arg(all, double);
        va_end(all);
        return value;
    }
    """
)
SHOW = "int show(char text[n], size_t n, const char *types, ...)"


@pytest.fixture(scope="module")
def c(compile_c: Any) -> Counted:
    return Counted(compile_c(SOURCE))


@pytest.fixture(scope="module", params=["default", "libffi"])
def show(c: Counted, request: pytest.FixtureRequest) -> Any:
    options = {} if request.param == "default" else {"engine": "libffi"}
    function = c.function(SHOW, **options)

    def show(types: str, *values: object) -> str:
        text = np.zeros(400, "S1")
        function(text, types, *values)
        return text.tobytes().split(b"\0")[0].decode().strip()

    return show


NUMBERS = [
    ("i", 5),
    ("i", -5),
    ("l", -5),
    ("l", 2**62),
    ("U", 2**64 - 1),
    ("d", 0.5),
    ("i", True),
    ("d", np.float32(0.5)),
    ("d", np.float16(0.5)),
    ("d", np.float64(0.5)),
    ("i", np.int8(-3)),
    ("i", np.uint8(200)),
    ("i", np.uint16(60000)),
    ("i", np.int32(-70000)),
    ("u", np.uint32(2**32 - 1)),
    ("l", np.int64(-(2**40))),
    ("U", np.uint64(2**63)),
    ("i", np.bool_(True)),
    ("d", ctypes.c_double(0.5)),
    ("d", ctypes.c_float(0.5)),
    ("i", ctypes.c_int(-2)),
    ("i", ctypes.c_short(-2)),
    ("l", ctypes.c_long(-(2**40))),
    ("U", ctypes.c_size_t(2**63)),
    ("i", ctypes.c_bool(True)),
]


@pytest.mark.parametrize(("letter", "value"), NUMBERS)
def test_numbers(show: Any, letter: str, value: Any) -> None:
    plain = getattr(value, "value", value)
    expected = f"{float(plain):g}" if letter == "d" else str(int(plain))
    # One alone, and behind as many that no register is left.
    assert show(letter, value) == expected
    many = show("dddddddddlllll" + letter, *[0.25] * 9, *[7] * 5, value)
    assert many.split()[-1] == expected


def test_long_double(show: Any) -> None:
    assert show("g", np.longdouble("0.5")) == "0.5"
    assert show("dg", 1.0, np.longdouble("1e400")) == "1 1e+400"


def test_pointers(c: Counted, show: Any) -> None:
    assert show("s", "text") == "text"
    assert show("s", b"bytes") == "bytes"
    assert show("s", ctypes.c_char_p(b"more")) == "more"
    assert show("pp", None, np.zeros(1)) == "0 1"
    assert show("a", np.array([1.5])) == "1.5"
    assert show("a", ctypes.byref(ctypes.c_double(3.5))) == "3.5"
    assert show("a", c.function("struct obj { double value; }; struct obj *obj(void)")()) == "2.5"
    item = c.library.struct("obj")(value=4.5)
    assert show("a", item) == "4.5"
    readonly = np.array([1.5])
    readonly.flags.writeable = False
    assert show("a", readonly) == "1.5"


def test_functions(c: Counted, show: Any) -> None:
    assert show("f", c.function("int half(int x)")) == "-3"
    assert show("f", c.library.callback("int f(int x)", abs)) == "7"


def test_printf_and_snprintf() -> None:
    libc = mapcall.load(None)
    snprintf = libc.function("int snprintf(char text[n], size_t n, const char *format, ...)")
    length, text = snprintf(
        None, "%s is %.2f, not %d%c", "pi", 3.14159, 3, ctypes.c_char(b"!"), n=64
    )
    assert text[:length].tobytes() == b"pi is 3.14, not 3!"
    # Without variable arguments, too.
    length, text = snprintf(None, "plain", n=64)
    assert text[:length].tobytes() == b"plain"


def test_refused(c: Counted) -> None:
    function = c.function(SHOW)
    text = np.zeros(4, "S1")
    for value, found in [
        (2**64, "18446744073709551616"),
        (-(2**63) - 1, "-9223372036854775809"),
        (2**200, "an integer of 201 bits"),
        ({}, "a dict"),
        ([1], "a list"),
        (lambda: 0, "a function"),
        (object(), "an object"),
        (1j, None),
    ]:
        if found is None:
            function(text, "", value)
            continue
        with pytest.raises(
            mapcall.ArgumentError, match=r"^show: arg3: expected .*, got "
        ) as caught:
            function(text, "", value)
        assert caught.value.found == found
    with pytest.raises(mapcall.ArgumentError, match="without NUL"):
        function(text, "", "a\0b")
    with pytest.raises(mapcall.ArgumentError, match="contiguous"):
        function(text, "", np.zeros(4)[::2])


def test_batches_are_refused(c: Counted) -> None:
    first = c.function("double first(int n, ...)")
    assert first(1, 0.5) == 0.5
    with pytest.raises(
        mapcall.ArgumentError, match="prototype with a parameter for each"
    ) as caught:
        first(np.arange(3, dtype="i4"), 0.5)
    assert caught.value.found == "a batch"
    with pytest.raises(mapcall.ArgumentError):
        first(np.arange(3, dtype="i4"))
    # The remedy.
    fixed = c.function("double first(int n, double value)")
    assert fixed(1, np.array([0.5, 1.5])).tolist() == [0.5, 1.5]


def test_many_combinations_of_types(show: Any) -> None:
    for count in range(100):
        assert show("d" * count, *[0.5] * count) == " ".join(["0.5"] * count)
    assert show("d", 0.5) == "0.5"


def test_a_header_has_them() -> None:
    stdio = mapcall.load(None, header="stdio.h")
    assert "snprintf" in dir(stdio)
    assert "printf" not in stdio.unsupported
