"""Arrays: the memory that a prototype accepts, and the memory that it refuses."""

from __future__ import annotations

import array
import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall
from counted import PRELUDE, Counted, remedied

SOURCE = (
    PRELUDE
    + """
    double sum(size_t n, const double x[n])
    { CALLED; double s = 0; for (size_t i = 0; i < n; i++) s += x[i]; return s; }
    void scale(size_t n, double a, double x[n])
    { CALLED; for (size_t i = 0; i < n; i++) x[i] *= a; }
    void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])
    { CALLED; for (size_t i = 0; i < n; i++) y[i] += a * x[i]; }
    double dot(const double *x, const double *y, int n)
    { CALLED; double s = 0; for (int i = 0; i < n; i++) s += x[i] * y[i]; return s; }
    double at(size_t m, size_t n, const double x[m][n], size_t i, size_t j)
    { CALLED; return i < m && j < n ? x[i][j] : -1; }
    int total(uint8_t n, const int32_t x[n])
    { CALLED; int s = 0; for (int i = 0; i < n; i++) s += x[i]; return s; }
    double norm(const double x[3]) { CALLED; return x[0]*x[0] + x[1]*x[1] + x[2]*x[2]; }
    void pack(size_t n, const _Bool x[n], uint8_t bits[(n + 7) / 8])
    { CALLED; for (size_t i = 0; i < n; i++) if (x[i]) bits[i / 8] |= 1 << i % 8; }
    void outer(size_t m, size_t n, const float x[m], const float y[n], float z[m * n])
    { CALLED; for (size_t i = 0; i < m * n; i++) z[i] = x[i / n] * y[i % n]; }
    int below(int n, const char x[n - 2]) { CALLED; return n; }
    int ratio(int n, int k, const char x[n / k]) { CALLED; return n / k; }
    """
)
SUM = "double sum(size_t n, const double x[n])"
SCALE = "void scale(size_t n, double a, double x[n])"
SAXPY = "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])"
AT = "double at(size_t m, size_t n, const double x[m][n], size_t i, size_t j)"


@pytest.fixture(scope="module")
def c(compile_c: Any) -> Counted:
    return Counted(compile_c(SOURCE))


def test_arrays_and_subclasses(c: Counted, tmp_path: Path) -> None:
    total = c.function(SUM)
    x = np.arange(6.0)
    mapped = mapcall.memmap(tmp_path / "x", "f8", "w+", shape=6)
    mapped[:] = x
    created = mapcall.create(tmp_path / "x.npy", 6, "f8")
    created[:] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    forms = [x, x.view(np.recarray), np.ma.array(x), mapped, created, mapped[:], frozen]
    forms += [x.astype("=f8"), np.memmap(tmp_path / "x", "f8", "r"), x.reshape(2, 3).ravel()]
    for form in forms:
        assert total(form) == total(x=form) == 15
    assert total(mapped[2:4]) == total(x[2:4]) == 5
    assert total(np.zeros(0)) == total(np.zeros((3, 2))[1, :0]) == 0
    # The stride of an axis of length 1 has no effect.
    assert total(x[::6]) == 0


class Masked(np.ndarray):
    """An array with a mask, like astropy's."""

    mask: Any = False

    @property
    def unmasked(self) -> np.ndarray:
        return self.view(np.ndarray)

    def filled(self, value: float) -> np.ndarray:
        return np.where(self.mask, value, self.unmasked)


def masked_like_astropy(x: np.ndarray, mask: list[bool]) -> Masked:
    made = x.view(Masked)
    made.mask = np.array(mask)
    return made


MASK = [False, True, False]


def masked() -> list[Any]:
    x = np.arange(1.0, 4.0)
    return [
        np.ma.array(x, mask=MASK),
        np.ma.array(x, mask=MASK, hard_mask=True),
        np.ma.array(x.view(np.recarray), mask=MASK),
        np.ma.masked_equal(x, 2),
        np.ma.array(np.stack([x, x]), mask=[MASK, MASK])[0],
        type("Derived", (np.ma.MaskedArray,), {})(x, mask=MASK),
        masked_like_astropy(x, MASK),
    ]


@pytest.mark.parametrize("index", range(len(masked())))
def test_masked_arrays(c: Counted, index: int, tmp_path: Path) -> None:
    given = masked()[index]
    name = type(given).__name__
    article = "an" if name[0] in "aei" else "a"
    total = c.function(SUM)
    for call in (total, lambda x: total(x=x), c.function(SUM, engine="libffi")):
        error = c.refuses(
            f"sum: x: expected float64[n] without masked elements, got {article} {name} with masked"
            " elements; pass x.filled(value), or x.data to have the masked elements count",
            call,
            given,
        )
    assert total(remedied(error, given, value=10.0)) == 14
    assert total(given.data) == 6
    error = c.refuses(
        f"scale: x: expected float64[n] without masked elements, got {article} {name} with masked"
        " elements; pass x.data, where the masked elements are written too",
        c.function(SCALE),
        2,
        given,
    )
    c.function(SCALE)(2, given.data)
    assert np.asarray(given).tolist() == [2, 4, 6]


def test_masked_arrays_everywhere(c: Counted) -> None:
    x, mask = np.ma.array([1.0, 2.0, 3.0], mask=MASK), np.ma.array([True, True, False], mask=MASK)
    norm = c.function("double norm(const double x[3])")
    sqrt = mapcall.load("m").function("double sqrt(double x)")
    free = mapcall.load(None).function("void *memchr(const void *s, int c, size_t n)")
    strided = np.ma.array(np.ones((4, 3)), mask=[MASK] * 4)
    plain = np.ones(3)
    out = np.ma.array(np.zeros(3), mask=MASK)
    calls: list[tuple[str, Any]] = [
        ("x", lambda: norm(x)),
        ("x", lambda: norm(strided)),
        ("x", lambda: sqrt(x)),
        ("x", lambda: sqrt(np.ma.masked)),
        ("x", lambda: sqrt(np.ma.array(4.0, mask=True))),
        ("out", lambda: sqrt(plain, out=out)),
        ("where", lambda: sqrt(plain, where=mask)),
        ("where", lambda: sqrt(plain, where=np.ma.masked)),
        ("s", lambda: free(x, 0, 3)),
        ("n", lambda: c.function(SUM)(plain, n=np.ma.array(3, mask=True))),
    ]
    for parameter, call in calls:
        before = c.called
        with pytest.raises(mapcall.ArgumentError, match="masked elements") as caught:
            call()
        assert (caught.value.parameter, c.called) == (parameter, before)
    assert sqrt(plain, out=out.data).tolist() == [1, 1, 1]
    assert sqrt(plain, where=mask.filled(False)).tolist() == [1, 0, 0]
    assert sqrt(np.ma.masked.filled(4)) == 2


def test_masked_structs(compile_c: Any) -> None:
    source = "struct pair { int a, b; }; int add(struct pair p) { return p.a + p.b; }"
    add = mapcall.load(compile_c(source)).function(
        "struct pair { int a, b; }; int add(struct pair p)"
    )
    values = np.array([(1, 2), (3, 4)], add.library.struct("pair").dtype)
    pairs = np.ma.array(values, mask=[(False, False), (False, True)])
    assert add(pairs[0]) == 3
    for given in (pairs, pairs[1]):
        with pytest.raises(mapcall.ArgumentError, match="masked elements"):
            add(given)
    assert add(pairs.filled(0)).tolist() == [3, 3]
    assert add(pairs.data).tolist() == [3, 7]


def test_masked_arrays_without_masked_elements(c: Counted) -> None:
    total = c.function(SUM)
    given = np.ma.array([1.0, 2.0, 3.0], mask=False)
    assert total(given) == total(np.ma.array([1.0, 2.0, 3.0])) == 6

    matrix = np.ma.array([[1.0, 2.0, 3.0]], mask=False)

    class Late:
        def __index__(self) -> int:
            matrix[0, 1] = np.ma.masked
            return 0

    at = c.function(AT)
    assert at(matrix, 0, 1) == 2
    with pytest.raises(mapcall.ArgumentError, match="masked elements"):
        at(matrix, Late(), 1)


def test_a_mask_in_the_array_interface(c: Counted) -> None:
    x = np.arange(1.0, 4.0)
    interface = x.__array_interface__
    kept = type("Kept", (), {"__array_interface__": {**interface, "mask": None}, "x": x})
    assert c.function(SUM)(kept()) == 6
    kept.__array_interface__ = {**interface, "mask": np.array(MASK)}
    with pytest.raises(mapcall.ArgumentError, match=r"a Kept that .*it has a mask"):
        c.function(SUM)(kept())


class Interface:
    """An array of another library, with `__array_interface__` on the instance."""

    def __init__(self, x: np.ndarray) -> None:
        self.kept = x
        self.__array_interface__ = x.__array_interface__


class ByClass:
    """An array of another library, with `__array_interface__` on the class."""

    def __init__(self, x: np.ndarray) -> None:
        self.kept = x

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self.kept.__array_interface__


class Struct:
    def __init__(self, x: np.ndarray) -> None:
        self.kept = x

    @property
    def __array_struct__(self) -> Any:
        return self.kept.__array_struct__


class DLPack:
    """An exporter of DLPack 1.0, which has a read-only flag."""

    def __init__(self, x: np.ndarray, device: tuple[int, int] = (1, 0)) -> None:
        self.kept = x
        self.device = device

    def __dlpack__(self, **options: Any) -> Any:
        return self.kept.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


def foreign(x: np.ndarray) -> list[Any]:
    return [
        array.array("d", x),
        memoryview(x),
        memoryview(bytearray(x)).cast("d"),
        (ctypes.c_double * len(x))(*x),
        ByClass(x),
        Struct(x),
        DLPack(x),
    ]


@pytest.mark.parametrize("index", range(7))
def test_arrays_of_other_libraries(c: Counted, index: int) -> None:
    """There is no copy: the array has the values that C writes."""
    given = foreign(np.arange(4.0))[index]
    assert c.function(SUM)(given) == 6
    assert c.function(SCALE)(2, given) is None
    assert c.function(SUM)(given) == 12
    read = given.kept if hasattr(given, "kept") else given
    assert list(read) == [0, 2, 4, 6]


def test_bytes(c: Counted) -> None:
    count = c.function("int below(int n, const char x[n - 2])")
    for given in (b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(b"xabcy")[1:-1]):
        assert count(5, given) == 5
    assert count(5, np.frombuffer(b"abc", "S1")) == count(5, np.zeros(3, "u1")) == 5


@pytest.mark.parametrize("kind", ["torch", "pyarrow"])
def test_tensors_and_arrow(c: Counted, kind: str) -> None:
    module = pytest.importorskip(kind, reason=f"{kind} is not installed")
    if kind == "torch":
        given = module.arange(4, dtype=module.float64)
        c.function(SCALE)(2, given)
        assert given.tolist() == [0, 2, 4, 6]
    else:
        given = module.array(np.arange(4.0) * 2)
        with pytest.raises(mapcall.ArgumentError, match="read-only"):
            c.function(SCALE)(2, given)
    assert c.function(SUM)(given) == 12


def test_memory_of_another_device(c: Counted) -> None:
    c.refuses(
        "sum: x: expected float64[n], got a DLPack; make it one with numpy.asarray(x, 'float64')",
        c.function(SUM),
        DLPack(np.arange(4.0), (2, 0)),
    )


class Refusing:
    """A tensor whose library refuses to export its memory."""

    error: BaseException

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def __dlpack__(self, **options: Any) -> Any:
        raise self.error


class RefusingInterface(Refusing):
    @property
    def __array_interface__(self) -> Any:
        raise self.error


class Negated(DLPack):
    """A tensor like PyTorch's with the negative bit: its memory has the values without the sign."""

    def is_neg(self) -> bool:
        return True


NOT_SHARED = "make it one that does, or a copy"


def test_arrays_of_other_libraries_that_refuse_to_share_memory(c: Counted) -> None:
    total = c.function(SUM)
    for given in (Refusing(), RefusingInterface()):
        for refusal in (BufferError("not now"), ValueError("not now"), RuntimeError("not now")):
            given.error = refusal
            error = c.refuses(
                f"sum: x: expected float64[n], got a {type(given).__name__} that doesn't share its"
                f" memory (not now); {NOT_SHARED}",
                total,
                given,
            )
            assert error.__cause__ is refusal
        for other in (KeyboardInterrupt, SystemExit, MemoryError):
            given.error = other()
            with pytest.raises(other):
                total(given)
    c.refuses(
        "sum: x: expected float64[n], got a Negated that doesn't share its memory (its negative bit"
        f" is set, use tensor.resolve_neg()); {NOT_SHARED}",
        total,
        Negated(np.arange(4.0)),
    )


def test_tensors_that_are_not_what_is_in_memory(c: Counted) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    total, float64 = c.function(SUM), torch.float64
    given = torch.arange(4, dtype=float64)
    assert total(given[1:3]) == 3
    negated = torch.ones(1, dtype=torch.complex128).mul(1 + 2j).conj().imag
    assert total(negated.resolve_neg()) == -2
    freed = torch.ones(3, dtype=float64)
    freed.untyped_storage().resize_(0)
    for wrong, reason in (
        (negated, "negative bit"),
        (freed, "it has no memory"),
        (given.clone().requires_grad_(), "require gradient"),
        (given.to_sparse(), "layout"),
        (given.to("meta"), "meta"),
        (given.bfloat16(), "dtype"),
    ):
        before = c.called
        with pytest.raises(mapcall.ArgumentError, match=f"got a Tensor that .*{reason}"):
            total(wrong)
        assert c.called == before


def readonly() -> list[Any]:
    x = np.arange(4.0)
    x.flags.writeable = False
    return [x, bytes(x), memoryview(bytes(x)).cast("d"), ByClass(x), DLPack(x), memoryview(x)]


@pytest.mark.parametrize("index", [0, 2, 3, 4, 5])
def test_read_only(c: Counted, index: int, tmp_path: Path) -> None:
    given = readonly()[index]
    assert c.function(SUM)(given) == 6
    if isinstance(given, np.ndarray):
        copy, others = "x.copy()", ", or leave x out, or open the map for writing"
    elif isinstance(given, DLPack):
        copy, others = "numpy.array(numpy.from_dlpack(x))", ""
    else:
        copy, others = "numpy.array(x)", ""
    error = c.refuses(
        "scale: x: expected float64[n], writeable, got a read-only array;"
        f" pass new_x = {copy}, which has the results then{others}",
        c.function(SCALE),
        2,
        given,
    )
    fitting = remedied(error, given)
    c.function(SCALE)(2, fitting)
    assert fitting.tolist() == [0, 2, 4, 6]


def test_a_map_for_reading(c: Counted, tmp_path: Path) -> None:
    mapcall.create(tmp_path / "x.npy", 4, "f8")[:] = 1
    given = mapcall.open(tmp_path / "x.npy", mode="r")
    with pytest.raises(mapcall.ArgumentError, match="open the map for writing"):
        c.function(SCALE)(2, given)
    c.function(SCALE)(2, mapcall.open(tmp_path / "x.npy", mode="r+"))
    assert c.function(SUM)(given) == 8


def unaligned(x: np.ndarray) -> np.ndarray:
    raw = np.zeros(x.nbytes + 1, np.uint8)
    result = raw[1:].view(x.dtype)
    result[:] = x
    assert not result.flags.aligned
    return result


X = np.arange(4.0)
TEXT = "convert it with x.astype('float64'), if its elements are numbers"
COMPLEX = (
    "pass x.view('float64'), where real and imaginary parts alternate, or write double _Complex"
    " for x in the prototype, if C takes that"
)
BAD = [
    (X.astype("f4"), "float64[n]", "an array of float32", "convert it with x.astype('float64')"),
    (X.astype("i8"), "float64[n]", "an array of int64", "convert it with x.astype('float64')"),
    (X.astype(bool), "float64[n]", "an array of bool", "convert it with x.astype('float64')"),
    # NumPy would discard the imaginary parts with a warning.
    (X + 0j, "float64[n]", "an array of complex128", COMPLEX),
    (X.astype(object), "float64[n]", "an array of object", TEXT),
    (X.astype("U"), "float64[n]", "an array of <U32", TEXT),
    (
        X.astype(">f8"),
        "float64[n] in native byte order",
        "an array of '>f8'",
        "convert it with x.astype('float64')",
    ),
    (
        np.arange(8.0)[::2],
        "float64[n], C-contiguous",
        "shape (4,) with strides (16,)",
        "copy it with numpy.ascontiguousarray(x)",
    ),
    (
        X[::-1],
        "float64[n], C-contiguous",
        "shape (4,) with strides (-8,)",
        "copy it with numpy.ascontiguousarray(x)",
    ),
    (
        np.broadcast_to(X[:1], 4),
        "float64[n], C-contiguous",
        "shape (4,) with strides (0,)",
        "copy it with numpy.ascontiguousarray(x)",
    ),
    ([0.0, 1.0], "float64[n]", "a list", "make it one with numpy.asarray(x, 'float64')"),
    ((0.0, 1.0), "float64[n]", "a tuple", "make it one with numpy.asarray(x, 'float64')"),
    (range(3), "float64[n]", "a range", "make it one with numpy.asarray(x, 'float64')"),
    (
        array.array("f", X),
        "float64[n]",
        "an array of float32",
        "make it one with numpy.asarray(x, 'float64')",
    ),
    (
        b"\0" * 16,
        "float64[n]",
        "an array of uint8",
        "pass numpy.frombuffer(x, 'float64'), if it has such numbers",
    ),
]


@pytest.mark.parametrize(("given", "expected", "found", "remedy"), BAD)
def test_the_remedy_makes_the_array_fit(
    c: Counted, given: Any, expected: str, found: str, remedy: str
) -> None:
    function = c.function(SUM)
    error = c.refuses(f"sum: x: expected {expected}, got {found}; {remedy}", function, given)
    if isinstance(given, bytes):
        assert function(remedied(error, given)) == 0
    elif remedy == COMPLEX:
        assert function(given.view("f8")) == X.sum()
    else:
        assert function(remedied(error, given)) == np.asarray(given).astype("f8").sum()


def test_unaligned(c: Counted) -> None:
    given = unaligned(X)
    function = c.function(SUM)
    error = c.refuses(
        "sum: x: expected float64[n], aligned to 8 bytes,"
        f" got address {given.ctypes.data:#x}; pass x.copy()",
        function,
        given,
    )
    assert function(remedied(error, given)) == 6


@pytest.mark.parametrize(
    ("given", "found"),
    [(None, "None"), (3, "an int"), (1.5, "a float"), ("abc", "a str"), (object(), "an object")],
)
def test_objects_that_are_no_arrays(c: Counted, given: object, found: str) -> None:
    made = "full(1, x" if isinstance(given, (int, float)) else "asarray(x"
    remedy = f"make it one with numpy.{made}, 'float64')"
    if given is None:
        remedy = "give x"
    elif isinstance(given, str):
        remedy = "open it with mapcall.open(x)"
    c.refuses(f"sum: x: expected float64[n], got {found}; {remedy}", c.function(SUM), given)


def test_the_number_of_axes(c: Counted) -> None:
    at = c.function(AT)
    x = np.arange(6.0).reshape(2, 3)
    assert [at(x, i, j) for i in range(2) for j in range(3)] == list(range(6))
    assert at(x[1:], 0, 2) == 5
    c.refuses(
        "at: x: expected float64[m, n], 2 axes, got shape (6,); pass x.reshape(1, 6)",
        at,
        x.ravel(),
        0,
        0,
    )
    c.refuses(
        "at: x: expected float64[m, n], 2 axes, got shape (); pass x.reshape(1, 1)",
        at,
        np.array(1.0),
        0,
        0,
    )
    # Additional axes are those of a batch.
    assert at(x[None], 0, 2).tolist() == [2]
    for wrong in (x.T, np.asfortranarray(x), x[:, :2]):
        with pytest.raises(mapcall.ArgumentError, match="C-contiguous") as caught:
            at(wrong, 0, 0)
        assert at(remedied(caught.value, wrong), 0, 1) == wrong[0, 1]


def test_inferred_extents_agree(c: Counted) -> None:
    dot = c.function("double dot(const double x[restrict n], const double y[restrict n], int n)")
    x = np.arange(4.0)
    assert dot(x, x) == dot(x, x, n=4) == 14
    c.refuses(
        "dot: y: expected float64[n] with n = 4 as x has it, got shape (3,);"
        " give arrays that agree",
        dot,
        x,
        x[:3],
    )


def test_an_extent_fits_its_integer(c: Counted) -> None:
    total = c.function("int total(uint8_t n, const int32_t x[n])")
    assert total(np.ones(255, "i4")) == 255
    c.refuses(
        "total: n: expected unsigned char, at most 255, got 256; give arrays with at most 255"
        " elements there",
        total,
        np.ones(256, "i4"),
    )


def test_constant_extents(c: Counted) -> None:
    norm = c.function("double norm(const double x[3])")
    assert norm(np.array([1.0, 2, 3])) == 14
    for length in (0, 2, 4):
        c.refuses(
            f"norm: x: expected float64[3] with 3 along axis 0, got shape ({length},);"
            " give an array of shape (3,)",
            norm,
            np.zeros(length),
        )


def test_computed_extents(c: Counted) -> None:
    pack = c.function("void pack(size_t n, const _Bool x[n], uint8_t bits[(n + 7) / 8])")
    x = np.arange(11) % 3 == 0
    bits = np.zeros(2, "u1")
    assert pack(x, bits) is None
    assert (bits == np.packbits(x, bitorder="little")).all()
    with pytest.raises(
        mapcall.ArgumentError,
        match=r"pack: bits: expected uint8\[\(n\+7\)/8\] .* = 2, got shape \(1,\)",
    ):
        pack(x, bits[:1])
    outer = c.function(
        "void outer(size_t m, size_t n, const float x[m], const float y[n], float z[m * n])"
    )
    a, b = np.arange(3, dtype="f4"), np.arange(2, dtype="f4")
    c.refuses(
        "outer: z: expected float32[m*n] with m*n = 6, got shape (5,); give an array of shape (6,)",
        outer,
        a,
        b,
        np.zeros(5, "f4"),
    )
    assert (outer(a, b) == np.outer(a, b).ravel()).all()


def test_extents_without_a_value(c: Counted) -> None:
    below = c.function("int below(int n, const char x[n - 2])")
    assert below(2, b"") == 2
    ratio = c.function("int ratio(int n, int k, const char x[n / k])")
    assert ratio(6, 2, b"abc") == 3
    before = c.called
    for function, arguments in ((below, (1, b"")), (ratio, (6, 0, b"")), (ratio, (-6, 2, b""))):
        with pytest.raises(mapcall.ArgumentError, match=r"x: expected .* of some size, got "):
            function(*arguments)
    assert c.called == before


class TestRestrict:
    def test_apart(self, c: Counted) -> None:
        saxpy = c.function(SAXPY)
        x = np.arange(8, dtype="f4")
        saxpy(2, x[:4], x[4:])
        assert x.tolist() == [0, 1, 2, 3, 4, 7, 10, 13]

    @pytest.mark.parametrize("shift", [0, 1, 3])
    def test_overlapping(self, c: Counted, shift: int) -> None:
        saxpy = c.function(SAXPY)
        x = np.arange(8, dtype="f4")
        error = c.refuses(
            "saxpy: x: expected float32[n] in memory of its own (restrict),"
            " got memory that it shares with y; pass x.copy()",
            saxpy,
            2,
            x[:4],
            x[shift : shift + 4],
        )
        saxpy(2, remedied(error, x[:4]), x[shift : shift + 4])

    def test_both_only_read(self, c: Counted) -> None:
        dot = c.function(
            "double dot(const double x[restrict n], const double y[restrict n], int n)"
        )
        assert dot(X, X) == 14

    def test_nothing_overlaps_in_nothing(self, c: Counted) -> None:
        x = np.zeros(4, "f4")
        c.function(SAXPY)(2, x[2:2], x[2:2])


def test_other_names_of_a_dtype(c: Counted, compile_c: Any) -> None:
    """`long` and `long long` are two dtypes of NumPy with one layout."""
    total = c.function("int total(uint8_t n, const int32_t x[n])")
    for dtype in (np.intc, np.int32, "=i4", "i", np.dtype("i4", metadata={"unit": "m"})):
        assert total(np.ones(3, dtype)) == 3
    c.refuses(
        "total: x: expected int32[n], got an array of uint32; convert it with x.astype('int32'),"
        " if int32 has its values",
        total,
        np.ones(3, "u4"),
    )
    c.refuses(
        "total: x: expected int32[n], got an array of <m8[s]; convert it with x.astype('int32'),"
        " if its elements are numbers",
        total,
        np.ones(3, "m8[s]"),
    )


EMPTY = """
double total(int n, const double *x) { return n; }
void rows(int n, int m, double *x, long double *y) {}
void part(int n, int m, const double *a, int lda) {}
void raw(void *p, unsigned long n) {}
"""


def test_arrays_without_elements_need_no_alignment(compile_c: Any) -> None:
    """The memory of those that were pickled may begin anywhere. NumPy takes it as aligned."""
    library = mapcall.load(compile_c(EMPTY))
    total = library.function("double total(int n, const double x[n])")
    rows = library.function("void rows(int n, int m, double x[n][m], long double y[n])")
    part = library.function(
        "void part(int n, int m, [[mapcall::column_major]] [[mapcall::stride(lda)]] "
        "const double a[n][m], int lda)"
    )
    pointer = library.function("double total(int n, const double *x)").unchecked
    raw = library.function("void raw(void *__sized_by(n) p, unsigned long n)")

    def empty(*shape: int, dtype: str = "f8") -> np.ndarray:
        array = np.ndarray(shape, dtype, bytearray(9), offset=1)
        assert array.ctypes.data % 8 == 1
        return array

    for _ in range(2):
        assert total(empty(0)) == 0
        rows(empty(0, 3), empty(0, dtype="g"))
        part(empty(0, 2))
        part(empty(2, 0))
        assert pointer(0, empty(0)) == 0
        raw(empty(0))
    # A batch without calls.
    assert total(empty(0, 3)).shape == (0,)
    assert total(x=empty(0)) == 0
    with pytest.raises(mapcall.ArgumentError, match="aligned to 8 bytes"):
        total(np.ndarray((1,), "f8", bytearray(9), offset=1))
