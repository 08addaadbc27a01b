"""Structs: their dtypes, by pointer, as arrays, and by value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mapcall
from counted import PRELUDE, Counted, remedied

TYPES = """
typedef struct { double x, y; } point;
struct particle { char tag; point at; float mass[2]; struct { short a; int b; } inner; };
union either { int whole; float part; };
struct big { double x[5]; };
struct padded { char c; double d; };
struct wide { __int128 n; };
struct hidden;
"""
SOURCE = (
    PRELUDE
    + TYPES
    + """
    double mass(size_t n, const struct particle p[n])
    {
        CALLED;
        double s = 0;
        for (size_t i = 0; i < n; i++) s += p[i].mass[1] + p[i].inner.b;
        return s;
    }
    void move(size_t n, point p[n], double by)
    { CALLED; for (size_t i = 0; i < n; i++) p[i].x += by; }
    double norm(point p) { CALLED; return p.x * p.x + p.y * p.y; }
    point swap(point p) { CALLED; return (point){p.y, p.x}; }
    struct particle particle(struct particle p) { CALLED; p.inner.b++; return p; }
    struct big big(double x) { CALLED; return (struct big){{x, 2 * x, 3 * x, 4 * x, 5 * x}}; }
    double last(struct big b) { CALLED; return b.x[4]; }
    union either either(union either e) { CALLED; return e; }
    double both(struct padded p) { CALLED; return p.c + p.d; }
    size_t size_of_particle(void) { return sizeof(struct particle); }
    size_t offset_of_b(void) { return offsetof(struct particle, inner.b); }
    """
)
MASS = TYPES + "double mass(size_t n, const struct particle p[n])"
NORM = TYPES + "double norm(point p)"
FIT = "(give an array such as|convert it with) .*"


@pytest.fixture(scope="module")
def c(compile_c: Any) -> Counted:
    return Counted(compile_c(SOURCE))


@pytest.fixture(scope="module")
def particle(c: Counted) -> np.dtype:
    c.function(MASS)
    return c.library.struct("particle").dtype


def test_dtypes(c: Counted, particle: np.dtype) -> None:
    point = np.dtype({"names": ["x", "y"], "formats": ["f8", "f8"]}, align=True)
    assert particle == np.dtype(
        [
            ("tag", "i1"),
            ("at", point),
            ("mass", "f4", 2),
            ("inner", np.dtype([("a", "i2"), ("b", "i4")], align=True)),
        ],
        align=True,
    )
    assert particle.isalignedstruct
    assert c.function("size_t size_of_particle(void)")() == particle.itemsize
    inner, offset = particle.fields["inner"]
    assert c.function("size_t offset_of_b(void)")() == offset + inner.fields["b"][1]
    struct = c.library.struct("point")
    assert (struct.name, struct.size, struct.alignment, struct.dtype) == ("point", 16, 8, point)
    assert "point" in repr(struct)
    union = c.library.struct("either").dtype
    assert {name: offset for name, (_, offset) in union.fields.items()} == {"whole": 0, "part": 0}


def test_structs_without_a_dtype(c: Counted) -> None:
    c.function(NORM)
    with pytest.raises(KeyError, match=r"expected a struct that .* defines, got 'nowhere'|nowhere"):
        c.library.struct("nowhere")
    with pytest.raises((ValueError, KeyError), match="hidden"):
        _ = c.library.struct("hidden").dtype
    with pytest.raises(AttributeError):
        c.library.struct("point").name = "other"
    with pytest.raises(TypeError):
        mapcall.Struct()


def test_arrays(c: Counted, particle: np.dtype) -> None:
    mass = c.function(MASS)
    p = np.zeros(3, particle)
    p["mass"][:, 1], p["inner"]["b"] = [1, 2, 3], 10
    assert mass(p) == mass(p.view(np.recarray)) == 36
    assert mass(p[1:2]) == 12
    move = c.function(TYPES + "void move(size_t n, point p[n], double by)")
    points = np.zeros(2, c.library.struct("point").dtype)
    assert move(points, 0.5) is None
    assert points.tolist() == [(0.5, 0), (0.5, 0)]
    # An equal dtype that is not the struct's, aligned or not; and the array left out.
    assert move(np.zeros(2, [("x", "f8"), ("y", "f8")]), 0.5) is None
    assert move(by=0.25, n=2).tolist() == [(0.25, 0), (0.25, 0)]


def changed(particle: np.dtype, **changes: Any) -> np.dtype:
    """Returns the dtype with other fields, each a format and an offset, or None to remove it."""
    fields: dict[str, Any] = {name: particle.fields[name][:2] for name in particle.names} | changes
    fields = {name: field for name, field in fields.items() if field is not None}
    return np.dtype(
        {
            "names": list(fields),
            "formats": [field[0] for field in fields.values()],
            "offsets": [field[1] for field in fields.values()],
            "itemsize": particle.itemsize,
        }
    )


NESTED = np.dtype({"names": ["a", "b"], "formats": ["i2", "u4"], "offsets": [0, 4]})
SHIFTED = np.dtype({"names": ["a", "b"], "formats": ["i2", "i4"], "offsets": [2, 4]})
SHORT = np.dtype({"names": ["a"], "formats": ["i2"], "itemsize": 8})


@pytest.mark.parametrize(
    ("changes", "expected", "found"),
    [
        ({"tag": None}, "'tag' is a field of int8", "none of that name"),
        ({"at": None}, "'at' is a field of .*", "none of that name"),
        ({"tag": ("i1", 1)}, "'tag' at byte 0", "it at byte 1"),
        ({"tag": ("u2", 0)}, "'tag' is int8 at byte 0", "uint16 at byte 0"),
        ({"mass": (("f4", 1), 24)}, "'mass' is .* at byte 24", ".* at byte 24"),
        ({"mass": (("i4", 2), 24)}, "'mass' is .* at byte 24", ".* at byte 24"),
        ({"inner": (NESTED, 32)}, r"'inner\.b' is int32 at byte 4", "uint32 at byte 4"),
        ({"inner": (SHIFTED, 32)}, r"'inner\.a' at byte 0", "it at byte 2"),
        ({"inner": (SHORT, 32)}, r"'inner\.b' is a field of int32", "none of that name"),
    ],
)
def test_fields_one_by_one(
    c: Counted, particle: np.dtype, changes: dict[str, Any], expected: str, found: str
) -> None:
    before = c.called
    expected = expected.replace("'", '"')
    whose = rf"particle\[n\] whose field {expected}, got {found}"
    # A field that is only elsewhere.
    packed = rf"particle\[n\] of 40 bytes each, with {expected}, got 40 bytes with {found}"
    with pytest.raises(
        mapcall.ArgumentError, match=f"^mass: p: expected ({whose}|{packed}); {FIT}$"
    ):
        c.function(MASS)(np.zeros(2, changed(particle, **changes)))
    assert c.called == before


def test_dtypes_that_differ_as_a_whole(c: Counted, particle: np.dtype) -> None:
    mass = c.function(MASS)
    longer = np.dtype(
        {
            "names": particle.names,
            "formats": [particle[name] for name in particle.names],
            "offsets": [particle.fields[name][1] for name in particle.names],
            "itemsize": particle.itemsize + 8,
        }
    )
    packed = np.dtype([(name, particle[name]) for name in particle.names])
    more = changed(particle, extra=("i1", 1))
    for wrong in (longer, packed, more, np.dtype("f8"), np.dtype(f"V{particle.itemsize}")):
        before = c.called
        with pytest.raises(mapcall.ArgumentError, match=r"^mass: p: expected particle\[n\]"):
            mass(np.zeros(2, wrong))
        assert c.called == before
    overlapping = changed(particle, mass=(("f4", 3), 24))
    unordered = changed(particle, at=None, where=("f8", 8))
    swapped = [particle.newbyteorder(), changed(particle, mass=((">f4", 2), 24))]
    for wrong in (overlapping, unordered, *swapped):
        before = c.called
        message = "native byte order, got" if wrong in swapped else "got an array of "
        with pytest.raises(mapcall.ArgumentError, match=message):
            mass(np.zeros(2, wrong))
        assert c.called == before


def test_the_remedy(c: Counted, particle: np.dtype) -> None:
    mass = c.function(MASS)
    given = [(1, (0, 0), (0, 5), (0, 6))]
    with pytest.raises(mapcall.ArgumentError) as caught:
        mass(given)
    assert mass(remedied(caught.value, given, mass=mass)) == 11


class TestByValue:
    def test_arguments(self, c: Counted) -> None:
        norm = c.function(NORM)
        point = c.library.struct("point").dtype
        array = np.array([(3, 4), (5, 12)], point)
        assert norm(array[0]) == norm(p=array[0]) == 25
        assert norm(np.array((3, 4), point)) == 25
        assert norm(array[1:].reshape(())) == 169
        assert norm(array.view(np.recarray)[1]) == 169

    def test_results(self, c: Counted) -> None:
        swap = c.function(TYPES + "point swap(point p)")
        point = c.library.struct("point").dtype
        result = swap(np.array((3, 4), point))
        assert type(result) is np.void
        assert (result.dtype, result.tolist()) == (point, (4, 3))
        # The result is a copy, which may be an argument.
        assert swap(swap(result)).tolist() == (4, 3)
        assert c.function(TYPES + "double norm(point p)")(result) == 25

    def test_in_memory(self, c: Counted, particle: np.dtype) -> None:
        """A struct that is too large for registers is passed in memory."""
        big = c.function(TYPES + "struct big big(double x)")
        result = big(2.0)
        assert result["x"].tolist() == [2, 4, 6, 8, 10]
        assert c.function(TYPES + "double last(struct big b)")(result) == 10
        function = c.function(TYPES + "struct particle particle(struct particle p)")
        given = np.array((1, (2, 3), (4, 5), (6, 7)), particle)
        result = function(given)
        assert result["inner"].tolist() == (6, 8)
        assert [result[name].tolist() for name in particle.names[:3]] == [1, (2, 3), [4, 5]]
        assert given["inner"].tolist() == (6, 7)

    def test_padding(self, c: Counted) -> None:
        both = c.function(TYPES + "double both(struct padded p)")
        assert both(np.array((3, 0.5), c.library.struct("padded").dtype)) == 3.5

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            (None, "expected point, got None; give a dict of its members"),
            ((3, 4), "expected point, got a tuple; make it one with numpy.asarray"),
            (3.0, "expected point, got a float; "),
            (np.zeros(1, [("x", "f8"), ("y", "f4")]), '"y" is float64 at byte 8, got float32'),
            (np.zeros((), [("x", "f8"), ("z", "f8")]), 'field "y" is a field of float64, got none'),
            (np.zeros((), [("x", "f8"), ("y", "f4")]), '"y" is float64 at byte 8, got float32'),
            (np.zeros((), "f8"), "expected point, got an array of float64; "),
            (np.zeros((), "V16"), "expected point, got "),
        ],
    )
    def test_refused(self, c: Counted, wrong: object, message: str) -> None:
        before = c.called
        with pytest.raises(mapcall.ArgumentError) as caught:
            c.function(NORM)(wrong)
        assert str(caught.value).startswith("norm: p: expected point")
        assert message in str(caught.value)
        assert c.called == before

    def test_the_remedy(self, c: Counted) -> None:
        norm = c.function(NORM)
        with pytest.raises(mapcall.ArgumentError) as caught:
            norm((3, 4))
        assert norm(remedied(caught.value, (3, 4), norm=norm)) == 25

    def test_unions(self, c: Counted) -> None:
        either = c.function(TYPES + "union either either(union either e)")
        value = np.zeros((), c.library.struct("either").dtype)
        value["whole"] = 0x3FC00000
        assert either(value)["part"] == 1.5

    def test_structs_without_a_known_layout_are_refused(self, c: Counted) -> None:
        for prototype in ("double norm(struct wide p)", "struct wide swap(void)"):
            with pytest.raises(
                mapcall.PrototypeError, match="its member `n` is of type `__int128`"
            ):
                c.function(TYPES + prototype)
        with pytest.raises(mapcall.PrototypeError, match="hidden"):
            c.function(TYPES + "double norm(struct hidden p)")
