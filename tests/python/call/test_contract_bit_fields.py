"""Bit-fields and packed structs: in dtypes, in arrays, by value, and against C."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mapcall

TYPES = """
enum mode { OFF, ON, AUTO };
struct bits
{ unsigned a : 3; int b : 6; unsigned long long c : 40; _Bool d : 1; char e; enum mode m : 2; };
union either { unsigned low : 4; unsigned whole; };
struct nested { char tag; struct { int x : 3, y : 5; }; struct bits inner[2]; };
#pragma pack(push, 1)
struct tight { char t; double v; unsigned w : 20; };
#pragma pack(pop)
struct __attribute__((packed)) inside { char t; double v; };
struct outside { int q; struct inside h; __int128 wide; };
struct fi { float x; int a : 5; };
struct if_ { int a : 5; float x; };
struct di { double x; short a : 9; };
struct unit { signed char a : 4; };
struct two { unsigned long a : 33; unsigned long b : 33; };
"""
SOURCE = (
    "#include <stddef.h>\n"
    + TYPES
    + """
long sum(size_t n, const struct bits s[n])
{
    long all = 0;
    for (size_t i = 0; i < n; i++) all += s[i].a + s[i].b + (long)s[i].c + s[i].d + s[i].e + s[i].m;
    return all;
}
void fill(size_t n, struct bits s[n])
{
    for (size_t i = 0; i < n; i++)
        s[i] = (struct bits){i, -(int)i, 1ull << (39 - i), i % 2, 'x', AUTO};
}
struct bits next(struct bits s) { s.a++; s.b--; s.c++; s.d = !s.d; s.e++; return s; }
int low(union either e) { return e.low; }
double tight(struct tight t) { return t.t + t.v + t.w; }
struct tight tighten(double v) { return (struct tight){1, v, 1000000}; }
double fi(struct fi s) { return s.x + s.a; }
double if_(struct if_ s) { return s.x + s.a; }
double di(struct di s) { return s.x + s.a; }
struct di make_di(double x, int a) { return (struct di){x, a}; }
int unit(struct unit s) { return s.a; }
struct two two(struct two s) { return (struct two){s.b, s.a}; }
int sizes[] = {
    sizeof(struct bits), sizeof(struct nested), sizeof(struct tight), sizeof(struct outside)
};
int size(int i) { return sizes[i]; }
size_t place(void) { return offsetof(struct outside, h.v); }
"""
)


@pytest.fixture(scope="module")
def library(compile_c: Any) -> mapcall.Library:
    library = mapcall.load(compile_c(SOURCE))
    library.function(TYPES + "int size(int i)")
    return library


@pytest.fixture(params=[None, "libffi"])
def engine(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_layouts_are_the_compilers(library: mapcall.Library) -> None:
    size = library.function("int size(int i)")
    for index, name in enumerate(["bits", "nested", "tight", "outside"]):
        struct = library.struct(name)
        assert struct.size == struct.dtype.itemsize == size(index)
    outside = library.struct("outside").dtype
    inside, offset = outside.fields["h"]
    assert library.function("size_t place(void)")() == offset + inside.fields["v"][1]
    assert outside["wide"] == np.dtype("V16")


def test_arrays(library: mapcall.Library) -> None:
    bits = library.struct("bits")
    fill = library.function(TYPES + "void fill(size_t n, struct bits s[n])")
    total = library.function(TYPES + "long sum(size_t n, const struct bits s[n])")
    x = fill(n=5)
    assert x.dtype == bits.dtype
    expected = {
        "a": [0, 1, 2, 3, 4],
        "b": [0, -1, -2, -3, -4],
        "c": [2**39, 2**38, 2**37, 2**36, 2**35],
        "d": [False, True, False, True, False],
        "m": [2] * 5,
    }
    for name, values in expected.items():
        got = bits.get(x, name)
        assert got.tolist() == values
        assert got.tolist() == [bits.get(item, name) for item in x]
    assert bits.get(x, "a").dtype == np.uint32
    assert bits.get(x, "d").dtype == np.bool_
    assert (x["e"] == ord("x")).all()

    y = np.zeros((2, 6), bits.dtype)
    half = y[:, ::2]
    bits.set(half, "a", 7)
    bits.set(half, "b", [[-32], [31]])
    bits.set(half, "c", np.uint64(2**40 - 1))
    bits.set(half, "d", True)
    bits.set(y[1, 1], "m", 1)
    assert bits.get(y, "b")[:, :2].tolist() == [[-32, 0], [31, 0]]
    assert total(half[0].copy()) == 3 * (7 - 32 + 2**40 - 1 + 1)
    assert total(half[1].copy()) == 3 * (7 + 31 + 2**40 - 1 + 1)
    assert total(y[1, 1:2].copy()) == 1


def test_values_that_do_not_fit_change_nothing(library: mapcall.Library) -> None:
    bits = library.struct("bits")
    x = np.zeros(2, bits.dtype)
    for name, values, error in [
        ("a", [1, 8], OverflowError),
        ("a", -1, OverflowError),
        ("b", 32, OverflowError),
        ("d", 2, OverflowError),
        ("a", 1.0, TypeError),
        ("a", "1", TypeError),
        ("a", [1, 2, 3], ValueError),
        ("e", 1, ValueError),
        ("nothing", 1, ValueError),
    ]:
        with pytest.raises(error):
            bits.set(x, name, values)
        assert not x.view("u1").any()
    x.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        bits.set(x, "a", 1)
    with pytest.raises(ValueError, match="take the struct's own dtype"):
        bits.get(np.zeros(2, "u4"), "a")


def test_members_of_unnamed_structs_and_unions(library: mapcall.Library) -> None:
    nested, either = library.struct("nested"), library.struct("either")
    x = np.zeros(1, nested.dtype)
    nested.set(x, "y", -16)
    nested.set(x, "x", 3)
    assert (nested.get(x[0], "x"), nested.get(x[0], "y")) == (3, -16)
    inner = x["inner"]
    library.struct("bits").set(inner, "a", [[1, 2]])
    assert library.struct("bits").get(x["inner"], "a").tolist() == [[1, 2]]
    u = np.zeros((), either.dtype)
    u["whole"] = 0xFF
    either.set(u, "low", 3)
    assert (int(u["whole"]), either.get(u, "low")) == (0xF3, 3)


def test_by_value(library: mapcall.Library, engine: str | None) -> None:
    def function(prototype: str) -> mapcall.Function:
        return library.function(TYPES + prototype, engine=engine)

    def value(name: str, **members: Any) -> np.ndarray:
        struct = library.struct(name)
        record = np.zeros((), struct.dtype)
        for member, number in members.items():
            if member in (struct.dtype.names or ()):
                record[member] = number
            else:
                struct.set(record, member, number)
        return record

    bits = library.struct("bits")
    first = value("bits", a=7, b=-32, c=2**40 - 1, d=True, e=4, m=2)
    result = function("struct bits next(struct bits s)")(first)
    got = [bits.get(result, name) for name in ("a", "b", "c", "d", "m")]
    assert got == [0, 31, 0, False, 2]
    assert result["e"] == 5
    assert function("int low(union either e)")(value("either", whole=0xFA)) == 10
    assert function("double tight(struct tight t)")(value("tight", t=1, v=2.5, w=7)) == 10.5
    tight = function("struct tight tighten(double v)")(0.5)
    assert (tight["v"], library.struct("tight").get(tight, "w")) == (0.5, 1000000)
    assert function("double fi(struct fi s)")(value("fi", x=1.5, a=-3)) == -1.5
    assert function("double if_(struct if_ s)")(value("if_", x=1.5, a=-3)) == -1.5
    assert function("double di(struct di s)")(value("di", x=1.5, a=-200)) == -198.5
    made = function("struct di make_di(double x, int a)")(0.25, -256)
    assert (made["x"], library.struct("di").get(made, "a")) == (0.25, -256)
    assert function("int unit(struct unit s)")(value("unit", a=-8)) == -8
    two = library.struct("two")
    swapped = function("struct two two(struct two s)")(value("two", a=5, b=2**33 - 1))
    assert [two.get(swapped, "a"), two.get(swapped, "b")] == [2**33 - 1, 5]


def test_compilers_that_disagree(library: mapcall.Library) -> None:
    with pytest.raises(mapcall.PrototypeError, match="disagree on its bit-fields without a name"):
        library.function("struct odd { int : 20; float x; }; double fi(struct odd s)")


def test_prototypes_that_contradict_the_header(compile_c: Any, tmp_path: Any) -> None:
    header = tmp_path / "h.h"
    header.write_text(
        "double hypot(double x, double y);\n"
        "int f(const char *s, void *p, int (*g)(const void *));\n"
    )
    path = compile_c("int f(const char *s, void *p, int (*g)(const void *)) { return 1; }", "-lm")
    library = mapcall.load(path, header=header)
    for prototype, difference in [
        ("double hypot(double x)", "it has 1 parameter, not 2"),
        ("float hypot(double x, double y)", "its result is `float`, not `double`"),
        ("double hypot(double x, float y)", "its parameter `y` is `float`, not `double`"),
        ("int f(const char *s, void *p, void *g)", r"its parameter `g` is `void \*`, not .*"),
        ("int f(const int *s, void *p, int (*g)(const void *))", "its parameter `s` is .*"),
    ]:
        with pytest.raises(
            mapcall.PrototypeError, match=f"contradicts the header's .*: {difference}"
        ):
            library.function(prototype)
    f = library.function("int f(const uint8_t s[4], double p[4], int (*g)(const double *x))")
    assert f.prototype == "int f(const uint8_t s[4], double p[4], int (*g)(const double *))"
