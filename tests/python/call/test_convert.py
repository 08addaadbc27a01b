"""Calls that convert arrays, `convert=True`, against calls on arrays that NumPy has converted."""

from __future__ import annotations

import os
import pickle
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import mapcall

Compile = Callable[..., Path]
Script = Callable[..., str]

CASES = int(os.environ.get("MAPCALL_CONVERSIONS", "100"))
PARTICLE = "struct particle { char id; double x[3]; float mass; short n[2]; };"
SOURCE = (
    "#include <stddef.h>\n#include <complex.h>\n"
    + PARTICLE
    + """
    float sum(size_t n, const float *x)
    { float s = 0; for (size_t i = 0; i < n; i++) s += x[i]; return s; }
    float twice(float x) { return x + x; }
    int plus(int a, long b) { return a + (int)b; }
    void saxpy(size_t n, float a, const float *x, float *y)
    { for (size_t i = 0; i < n; i++) y[i] += a * x[i]; }
    void turn(size_t m, size_t n, const double *x, double *y)
    { for (size_t i = 0; i < m; i++) for (size_t j = 0; j < n; j++) y[j * m + i] = x[i * n + j]; }
    void conjugate(size_t n, const float _Complex *x, double _Complex *y)
    { for (size_t i = 0; i < n; i++) y[i] = conj(x[i]); }
    void halves(size_t n, const unsigned short *x, short *y)
    { for (size_t i = 0; i < n; i++) y[i] = x[i] / 2; }
    void heavier(size_t n, struct particle *p)
    { for (size_t i = 0; i < n; i++) { p[i].mass += p[i].x[1]; p[i].n[1]++; } }
    double weigh(struct particle p) { return p.mass + p.n[0]; }
    void columns(int m, int n, int lda, const double *a, double *sums)
    {
        for (int j = 0; j < n; j++) {
            sums[j] = 0;
            for (int i = 0; i < m; i++) sums[j] += a[j * lda + i];
        }
    }
    const float *last(size_t n, const float *x) { return x + n - 1; }
    struct slice { const float *start; };
    void keep(size_t n, const float *x, struct slice *s) { s->start = x; }
    const char *sign(size_t n, const float *x) { return x[0] < 0 ? "negative" : "positive"; }
    int fill(size_t n, float *y, int code)
    { for (size_t i = 0; i < n; i++) y[i] = code; return code == 3; }
    """
)
PROTOTYPES = {
    "sum": "float sum(size_t n, const float x[n])",
    "twice": "float twice(float x)",
    "plus": "int plus(int a, long b)",
    "saxpy": "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])",
    "turn": "void turn(size_t m, size_t n, const double x[m][n], double y[n][m])",
    "conjugate": "void conjugate(size_t n, const float _Complex x[n], double _Complex y[n])",
    "halves": "void halves(size_t n, const unsigned short x[n], short y[n])",
    "heavier": PARTICLE + "void heavier(size_t n, struct particle p[n])",
    "weigh": PARTICLE + "double weigh(struct particle p)",
    "fill": "int fill(size_t n, float y[n], int code)",
}


@pytest.fixture(scope="module")
def library(compile_c: Compile) -> mapcall.Library:
    return mapcall.load(compile_c(SOURCE))


@pytest.fixture(scope="module")
def functions(library: mapcall.Library) -> dict[str, mapcall.Function]:
    return {name: library.function(text) for name, text in PROTOTYPES.items()}


class Maker:
    """Makes arrays of a dtype and shape that lie in memory in any way."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.numbers = np.random.default_rng(seed)

    def fill(self, array: np.ndarray[Any, Any]) -> None:
        if array.dtype.names:
            for name in array.dtype.names:
                self.fill(array[name])
        else:
            array[...] = self.numbers.integers(0, 100, array.shape)
            if array.dtype.kind == "c":
                array.imag = self.numbers.integers(0, 100, array.shape)

    def array(self, dtype: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """Return an array with gaps, reversed axes, and axes in another order, at any address."""
        dtype = np.dtype(dtype)
        axes = list(range(len(shape)))
        self.random.shuffle(axes)
        strides = [0] * len(shape)
        step = dtype.itemsize + self.random.choice([0, 0, 0, 1, 8])
        for axis in axes:
            strides[axis] = step
            step = step * shape[axis] + self.random.choice([0, 0, 0, 3, 16])
        memory = np.zeros(step + 16, "u1")
        array = np.ndarray(shape, dtype, memory, self.random.choice([0, 0, 1, 8]), tuple(strides))
        for axis in range(len(shape)):
            if self.random.random() < 0.2:
                array = np.flip(array, axis)
        self.fill(array)
        return array

    def dtype(self, *names: str) -> str:
        return self.random.choice("<>=") + self.random.choice(names)


def options_of(make: Maker) -> dict[str, Any]:
    return {"threads": make.random.choice([1, 1, 2])}


def native(array: np.ndarray[Any, Any], dtype: Any) -> np.ndarray[Any, Any]:
    return np.array(array, dtype, order="C")


def in_batches(make: Maker) -> tuple[int, ...]:
    shapes = [(), (1,), (7,), (3, 5), (2, 1, 4), (0,), (400,), (30, 41)]
    return make.random.choice(shapes)


def broadcast(make: Maker, batch: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an input that is repeated along some axes of the batch."""
    shape = tuple(1 if make.random.random() < 0.25 else length for length in batch)
    return shape[make.random.choice([0, 0, len(shape)]) :]


SINGLES = ["f4", "f8", "f2", "i2", "u8", "?", "i4"]


@pytest.mark.parametrize("seed", range(CASES))
def test_calls_see_what_numpy_converts(
    functions: dict[str, mapcall.Function], seed: int, tmp_path: Path
) -> None:
    make = Maker(seed)
    name = make.random.choice(["sum", "twice", "plus", "saxpy", "turn", "conjugate", "halves"])
    function, batch, options = functions[name], in_batches(make), options_of(make)
    n = make.random.choice([1, 2, 5, 300])
    if name in ("sum", "twice"):
        core = (n,) if name == "sum" else ()
        x = make.array(make.dtype(*SINGLES), batch + core)
        if name == "twice" and not batch:
            return
        expected = function(native(x, "f4"))
        result = function(x, convert=True, **options)
        np.testing.assert_array_equal(result, expected)
        out = make.array(make.dtype("f8", "f4", "f2", "c8"), batch)
        if batch:
            mask = make.numbers.integers(0, 2, batch).astype("?")
            want = np.where(mask, np.asarray(expected).astype(out.dtype), out)
            function(x, out=out, where=mask, convert=True, **options)
            np.testing.assert_array_equal(out, want)
            file = function(x, out=tmp_path / "y.npy", convert=True, **options)
            np.testing.assert_array_equal(file, expected)
    elif name == "plus":
        a = make.array(make.dtype("i2", "u4", "i8", "i4"), broadcast(make, batch))
        b = make.array(make.dtype("i8", "u1", "?"), batch)
        if a.ndim and b.ndim:
            expected = function(native(a, "i4"), native(b, "i8"))
            np.testing.assert_array_equal(function(a, b, convert=True, **options), expected)
    elif name == "saxpy":
        x = make.array(make.dtype(*SINGLES), (*broadcast(make, batch), n))
        y = make.array(make.dtype("f4", "f8", "f2"), (*batch, n))
        want = native(y, "f4")
        function(2.0, native(x, "f4"), want)
        function(2.0, x, y, convert=True, **options)
        np.testing.assert_array_equal(y, want.astype(y.dtype))
    elif name == "turn":
        x = make.array(make.dtype("f8", "f4", "i4"), (*batch, 3, n))
        y = make.array(make.dtype("f8", "f4"), (*batch, n, 3))
        want = function(native(x, "f8"))
        np.testing.assert_array_equal(function(x, convert=True, **options), want)
        function(x, y, convert=True, **options)
        np.testing.assert_array_equal(y, want)
    elif name == "conjugate":
        x = make.array(make.dtype("c8", "c16", "f4", "i2"), (*batch, n))
        y = make.array(make.dtype("c8", "c16"), (*batch, n))
        want = function(native(x, "c8"))
        function(x, y, convert=True, **options)
        np.testing.assert_array_equal(y, want)
    else:
        x = make.array(make.dtype("u2", "u8", "?"), (*broadcast(make, batch), n))
        y = make.array(make.dtype("i2", "i1", "i8"), (*batch, n))
        want = native(y, "i2")
        function(native(x, "u2"), want)
        function(x, y, convert=True, **options)
        np.testing.assert_array_equal(y, want.astype(y.dtype))


def test_structs_of_any_layout(functions: dict[str, mapcall.Function]) -> None:
    fields = [("id", "i1"), ("x", ">f4", 3), ("mass", ">f8"), ("n", ">i8", 2)]
    for aligned in (False, True):
        for shape in ((5,), (4, 5), (200, 5)):
            make = Maker(len(shape))
            packed = make.array(np.dtype(fields, align=aligned), shape)
            before = packed.copy()
            functions["heavier"](packed, convert=True)
            np.testing.assert_array_equal(packed["mass"], before["mass"] + before["x"][..., 1])
            np.testing.assert_array_equal(
                packed["n"] - before["n"], [0, 1] * np.ones_like(packed["n"])
            )
            np.testing.assert_array_equal(packed["x"], before["x"])
    weights = functions["weigh"](packed, convert=True)
    np.testing.assert_array_equal(weights, packed["mass"] + packed["n"][..., 0])


def test_rows_become_columns(library: mapcall.Library) -> None:
    columns = library.function(
        "void columns(int m, int n, int lda, [[mapcall::column_major]] [[mapcall::stride(lda)]] "
        "const double a[m][n], double sums[n])"
    )
    a = np.arange(12.0).reshape(3, 4).astype(">f4")
    with pytest.raises(mapcall.ArgumentError, match="or give convert=True"):
        columns(a)
    np.testing.assert_array_equal(columns(a, convert=True), a.sum(axis=0))


def test_nothing_is_converted_without_being_asked(functions: dict[str, mapcall.Function]) -> None:
    x = np.arange(4, dtype=">f4")
    with pytest.raises(mapcall.ArgumentError) as raised:
        functions["sum"](x)
    assert raised.value.remedy.endswith(", or give convert=True")
    assert functions["sum"](x, convert=True) == 6
    with pytest.raises(mapcall.ArgumentError):
        functions["sum"](x, convert=False)
    for misfit in (np.zeros(4), np.zeros((8,), "f4")[::2], np.zeros(17, "u1")[1:].view("f4")):
        with pytest.raises(mapcall.ArgumentError, match="or give convert=True"):
            functions["sum"](misfit)
        assert functions["sum"](misfit, convert=True) == 0


def test_what_same_kind_forbids_is_refused(functions: dict[str, mapcall.Function]) -> None:
    f = functions
    for call in (
        lambda: f["sum"](np.zeros(3, "c8"), convert=True),
        lambda: f["plus"](np.zeros(3), np.zeros(3, "i8"), convert=True),
        lambda: f["halves"](np.zeros(3, "i2"), np.zeros(3, "i2"), convert=True),
        # C may read what it writes, so that both casts must be allowed.
        lambda: f["saxpy"](1.0, np.zeros(3, "f4"), np.zeros(3, "i8"), convert=True),
        lambda: f["saxpy"](1.0, np.zeros(3, "f4"), np.zeros(3, "c8"), convert=True),
        lambda: f["sum"](np.array(["a", "b"]), convert=True),
        lambda: f["sum"](np.array([1, 2], object), convert=True),
    ):
        with pytest.raises(mapcall.ArgumentError) as raised:
            call()
        assert "convert=True" not in raised.value.remedy
    with np.errstate(over="ignore"):
        assert f["sum"](np.array([1e300]), convert=True) == np.inf
    y = np.zeros(3, ">f4")
    y.flags.writeable = False
    with pytest.raises(mapcall.ArgumentError, match="writeable"):
        f["saxpy"](1.0, np.zeros(3, "f4"), y, convert=True)


def test_no_address_leads_into_a_copy(library: mapcall.Library) -> None:
    last = library.function("const float *last(size_t n, const float x[n])")
    keep = library.function(
        "struct slice { const float *start; };"
        "void keep(size_t n, const float x[n], struct slice s[1])"
    )
    x = np.arange(3, dtype=">f4")
    for function in (last, keep):
        with pytest.raises(mapcall.ArgumentError) as raised:
            function(x)
        assert "convert" not in raised.value.remedy.replace("convert it with", "")
        with pytest.raises(mapcall.ArgumentError):
            function(x, convert=True)
    sign = library.function("const char *sign(size_t n, const float x[n])")
    assert sign(-x - 1, convert=True) == "negative"


def test_memory_that_is_shared_is_refused(functions: dict[str, mapcall.Function]) -> None:
    turn, twice = functions["turn"], functions["twice"]
    x = np.zeros((4, 3, 3), ">f8")
    for array in (x, x[0]):
        with pytest.raises(mapcall.ArgumentError, match="shares"):
            turn(array, array, convert=True)
    y = as_strided(np.zeros(4, ">f8"), (2, 3), (8, 8))
    with pytest.raises(mapcall.ArgumentError, match="items share memory"):
        functions["saxpy"](1.0, np.zeros(3, "f4"), y, convert=True)
    # Numbers are converted in place.
    x = np.arange(1000, dtype=">f4")
    assert twice(x, out=x, convert=True) is x
    np.testing.assert_array_equal(x, 2 * np.arange(1000))
    backwards = x[::-1]
    with pytest.raises(mapcall.ArgumentError, match="shares"):
        twice(x, out=backwards, convert=True)


def test_outputs_of_calls_before_a_failure_are_written(library: mapcall.Library) -> None:
    fill = library.function(PROTOTYPES["fill"], check="zero", convert=True)
    y = np.full((8, 2), -1, ">f8")
    with pytest.raises(mapcall.CallError) as raised:
        fill(y, np.array([0, 1, 2, 3, 4, 5, 6, 7], ">i2"))
    assert raised.value.index == (3,)
    np.testing.assert_array_equal(y[:, 0], [0, 1, 2, 3, -1, -1, -1, -1])


def test_the_option_of_a_function_is_pickled(library: mapcall.Library) -> None:
    function = library.function(PROTOTYPES["sum"], convert=True)
    x = np.arange(5, dtype=">i2")
    assert function(x) == pickle.loads(pickle.dumps(function))(x) == 10
    with pytest.raises(mapcall.ArgumentError):
        function(x, convert=False)


def test_progress_ends_a_conversion(functions: dict[str, mapcall.Function]) -> None:
    class Enough(Exception):
        pass

    def report(done: int, calls: int) -> None:
        raise Enough

    x = np.zeros((1 << 16, 4), ">f4")
    with pytest.raises(Enough):
        functions["sum"](x, progress=report, convert=True)


def test_dask_arrays_are_converted_by_tasks(functions: dict[str, mapcall.Function]) -> None:
    da = pytest.importorskip("dask.array")
    x = np.arange(60, dtype=">i2").reshape(20, 3)
    lazy = da.from_array(x, chunks=(6, 3))
    with pytest.raises(mapcall.ArgumentError, match="or give convert=True"):
        functions["sum"](lazy)
    result = functions["sum"](lazy, convert=True)
    np.testing.assert_array_equal(result.compute(scheduler="synchronous"), x.sum(axis=1))


@pytest.fixture
def fits(tmp_path: Path) -> Iterator[Path]:
    """A file with a header of 2880 bytes, and 96 MiB of numbers that take no space on the disk."""
    path = tmp_path / "image.fits"
    with path.open("wb") as file:
        file.truncate(2880 + (96 << 20))
    yield path
    path.unlink()


def test_memory_stays_bounded(
    run_script: Script, functions: dict[str, mapcall.Function], library: mapcall.Library, fits: Path
) -> None:
    output = run_script(
        """
        import resource, sys
        import mapcall
        sum = mapcall.load(sys.argv[1]).function("float sum(size_t n, const float x[n])")
        sum(mapcall.open(sys.argv[2], dtype=">f4", shape=(16, 1024), offset=2880), convert=True)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        x = mapcall.open(sys.argv[2], dtype=">f4", shape=(-1, 1024), offset=2880)
        sums = sum(x, convert=True, stream=True)
        assert sums.nbytes == 96 << 10
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        """,
        library.path,
        fits,
    )
    assert int(output) << 10 < 48 << 20


def test_a_file_that_is_cut_is_a_fault(
    run_script: Script, library: mapcall.Library, tmp_path: Path
) -> None:
    np.arange(1 << 16, dtype=">f4").tofile(tmp_path / "x.f4")
    output = run_script(
        """
        import os, sys
        import mapcall
        import numpy as np
        library = mapcall.load(sys.argv[1])
        sum = library.function("float sum(size_t n, const float x[n])", convert=True)
        saxpy = library.function("void saxpy(size_t n, float a, const float x[n], float y[n])")
        x = mapcall.open(sys.argv[2], dtype=">f4", shape=(-1, 1024), mode="r+")
        os.truncate(sys.argv[2], 1024 * 4 * 5)
        y = np.zeros((2, 1024), "f4")
        def faults(call):
            try:
                call()
            except mapcall.MapFault as fault:
                note = " ".join(getattr(fault, "__notes__", []))
                print(fault.file_offset, note[note.find("(") : note.find(")") + 1])
        faults(lambda: sum(x))
        faults(lambda: sum(x, threads=2))
        faults(lambda: sum(x.reshape(-1)))
        faults(lambda: saxpy(1.0, x[9], y, convert=True))
        faults(lambda: saxpy(1.0, y[0], x[9], convert=True))
        """,
        library.path,
        tmp_path / "x.f4",
    )
    lines = output.split("\n")
    assert lines[0] == "20480 (5,)"
    assert len([line for line in lines if line]) == 5


def test_a_repeated_element_may_need_more_memory_than_there_is(
    functions: dict[str, mapcall.Function],
) -> None:
    """Its copies are contiguous, and their size in bytes may exceed all numbers of sizes."""
    sum_ = functions["sum"]
    for length, error in (
        (2**61, mapcall.ArgumentError),
        (2**62, mapcall.ArgumentError),
        (2**60, MemoryError),
    ):
        x = np.broadcast_to(np.uint8(1), (length,))
        for each in (x, x[::-1], np.broadcast_to(x[:1], (1, length))):
            with pytest.raises(error):
                sum_(each, convert=True)
