"""Refused batches: the whole message, and no call made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided, sliding_window_view

import mapcall
from counted import PRELUDE, Counted, remedied

Compile = Callable[..., Path]

SOURCE = (
    PRELUDE
    + """
    struct thing { int n; };
    static struct thing one;
    double half(double x) { CALLED; return x / 2; }
    double add(double x, double y) { CALLED; return x + y; }
    float single(float x) { CALLED; return x; }
    double sum(size_t n, const double *x)
    { CALLED; double s = 0; for (size_t i = 0; i < n; i++) s += x[i]; return s; }
    void copy(size_t n, const double *x, double *y)
    { CALLED; for (size_t i = 0; i < n; i++) y[i] = x[i]; }
    void head(int k, const double *x, double *y) { CALLED; }
    int parts(double x, double *whole) { CALLED; *whole = (int)x; return x < 0; }
    void touch(double x) { CALLED; }
    const char *text(int which) { CALLED; return "text"; }
    struct thing *make(int n) { CALLED; one.n = n; return &one; }
    int make_in(int n, struct thing **things) { CALLED; things[0] = &one; return 0; }
    """
)
HALF, ADD = "double half(double x)", "double add(double x, double y)"
COPY = "void copy(size_t n, const double x[n], double y[n])"
APART = "void copy(size_t n, const double x[restrict n], double y[restrict n])"
SUM = "double sum(size_t n, const double x[n])"
PARTS = "int parts(double x, double whole[1])"


@pytest.fixture(scope="module")
def c(compile_c: Compile) -> Counted:
    return Counted(compile_c(SOURCE))


@pytest.fixture(scope="module")
def half(c: Counted) -> mapcall.Function:
    return c.function(HALF)


class TestAxes:
    def test_that_do_not_broadcast(self, c: Counted) -> None:
        add = c.function(ADD)
        c.refuses(
            "add: y: expected double with batch axes that broadcast with (2, 3), those of x,"
            " got batch axes (2,); give axes that are equal or 1",
            add,
            np.ones((2, 3)),
            np.ones(2),
        )
        c.refuses(
            "add: where: expected an array of bool with batch axes that broadcast with (3,),"
            " those of y, got batch axes (4,); give axes that are equal or 1",
            add,
            1.0,
            np.ones(3),
            where=np.ones(4, "?"),
        )
        c.refuses(
            "add: out: expected float64 with batch axes that broadcast with (3,), those of x,"
            " got batch axes (4,); give axes that are equal or 1",
            add,
            np.ones(3),
            1,
            out=np.ones(4),
        )
        c.refuses(
            "copy: y: expected float64[n] with batch axes that broadcast with (2,), those of x,"
            " got batch axes (3,); give axes that are equal or 1",
            c.function(COPY),
            np.ones((2, 5)),
            np.ones((3, 5)),
        )

    def test_too_few_for_what_is_written(self, c: Counted, half: mapcall.Function) -> None:
        c.refuses(
            "half: out: expected float64 with the batch axes (2, 3), got batch axes (3,);"
            " give an array with the axes 2, 3 before its own, or leave `out` out",
            half,
            np.ones((2, 3)),
            out=np.ones(3),
        )
        c.refuses(
            "half: out: expected float64 with the batch axes (1,), got batch axes ();"
            " give an array with the axes 1 before its own, or leave `out` out",
            half,
            np.ones(1),
            out=np.ones(()),
        )
        c.refuses(
            "half: out: expected float64 with the batch axes (3,), got batch axes (1,);"
            " give an array with the axes 3 before its own, or leave `out` out",
            half,
            1.0,
            where=np.ones(3, "?"),
            out=np.ones(1),
        )
        c.refuses(
            "copy: y: expected float64[n] with the batch axes (3,), got batch axes ();"
            " give an array with the axes 3 before its own, or leave y out",
            c.function(COPY),
            np.ones((3, 2)),
            np.ones(2),
        )

    def test_core_axes(self, c: Counted) -> None:
        total, copy = c.function(SUM), c.function(COPY)
        x = np.ones((4, 3, 2))
        error = c.refuses(
            "sum: x: expected float64[n], C-contiguous, got shape (3,) with strides (16,);"
            " copy it with numpy.ascontiguousarray(x)",
            total,
            x.swapaxes(1, 2),
        )
        swapped = x.swapaxes(1, 2)
        assert total(remedied(error, swapped)).tolist() == [[3.0, 3.0]] * 4
        c.refuses(
            "copy: y: expected float64[n] with n = 2 as x has it, got shape (4, 3, 3);"
            " give arrays that agree",
            copy,
            x,
            np.ones((4, 3, 3)),
        )
        c.refuses(
            "sum: x: expected float64[n], 1 axis, got shape (); pass x.reshape(1)",
            total,
            np.ones(()),
        )


class TestMemory:
    def test_items_that_overlap(self, c: Counted, half: mapcall.Function) -> None:
        message = (
            "half: out: expected float64, each item in memory of its own,"
            " got an array whose items share memory; pass new_out = out.copy(), which has"
            " the results then, or leave `out` out"
        )
        for out in (
            as_strided(np.zeros(1), (3,), (0,)),
            as_strided(np.zeros(4), (2, 3), (8, 8)),
            sliding_window_view(np.zeros(4), 3, writeable=True),
        ):
            c.refuses(message, half, np.ones(out.shape), out=out)
        # Calls share items although no batch axis has a stride of 0.
        windows = sliding_window_view(np.zeros(5), 2, writeable=True)
        c.refuses(
            "copy: y: expected float64[n], each item in memory of its own,"
            " got an array whose items share memory; pass new_y = y.copy(), which has the results"
            " then, or leave y out",
            c.function(COPY),
            np.ones((4, 2)),
            windows,
        )
        # Calls may share items that are only read; the stride of an axis of length 1 has no effect.
        assert c.function(SUM)(windows).shape == (4,)
        assert half(np.ones((1, 1)), out=as_strided(np.zeros(1), (1, 1), (0, 0))) == 0.5

    def test_that_another_argument_has(self, c: Counted, half: mapcall.Function) -> None:
        x = np.zeros(6)
        message = (
            "half: out: expected float64 in memory of its own, or item by item in that of x,"
            " got memory that it shares with x; pass x.copy()"
        )
        c.refuses(message, half, x[:-1], out=x[1:])
        c.refuses(message, half, x[::-1], out=x)
        c.refuses(message, half, x[:2].reshape(2, 1), out=x[:4].reshape(2, 2))
        c.refuses(message, half, x[:1], out=x[:3])
        # Calls may read the item that they write, and different items of one array.
        assert half(x, out=x) is x
        half(x[::2], out=x[1::2])
        half(np.zeros(0), out=np.zeros(0))
        c.refuses(
            "half: out: expected float64 in memory of its own, or item by item in that of where,"
            " got memory that it shares with where; pass new_out = out.copy(), which has the"
            " results then, or leave `out` out",
            half,
            np.ones(6),
            out=x,
            where=x.view("?")[:6],
        )
        c.refuses(
            "copy: y: expected float64[n] in memory of its own, or item by item in that of x,"
            " got memory that it shares with x; pass x.copy()",
            c.function(COPY),
            x.reshape(3, 2),
            x.reshape(3, 2)[::-1],
        )

    def test_restrict(self, c: Counted) -> None:
        x = np.zeros((3, 2))
        c.refuses(
            "copy: y: expected float64[n] in memory of its own (restrict),"
            " got memory that it shares with x; pass x.copy()",
            c.function(APART),
            x,
            x,
        )
        y = c.function(COPY)(x, x)
        assert y is None

    def test_alignment(self, c: Counted, half: mapcall.Function) -> None:
        packed = np.zeros(3, [("tag", "u1"), ("x", "f8")])["x"]
        address = packed.ctypes.data
        error = c.refuses(
            f"half: x: expected double, aligned to 8 bytes, got address {address:#x};"
            " pass x.copy()",
            half,
            packed,
        )
        assert half(remedied(error, packed)).tolist() == [0, 0, 0]
        # The first item is aligned, and the second is not.
        memory = np.zeros(64, "u1")
        start = -memory.ctypes.data % 8
        odd = np.ndarray((3,), "f8", memory, start, (9,))
        c.refuses(
            "half: x: expected double, aligned to 8 bytes,"
            f" got address {odd.ctypes.data + 9:#x}; pass x.copy()",
            half,
            odd,
        )
        c.refuses(
            "half: out: expected float64, aligned to 8 bytes,"
            f" got address {odd.ctypes.data + 9:#x}; pass new_out = out.copy(), and do"
            " out[...] = new_out after the call, or leave `out` out",
            half,
            np.ones(3),
            out=odd,
        )
        rows = np.ndarray((3, 2), "f8", memory, start, (17, 8))
        c.refuses(
            "sum: x: expected float64[n], aligned to 8 bytes,"
            f" got address {rows.ctypes.data + 17:#x}; pass x.copy()",
            c.function(SUM),
            rows,
        )
        assert half(odd[:1]) == 0

    def test_read_only(self, c: Counted, half: mapcall.Function) -> None:
        x = np.ones((3, 2))
        x.flags.writeable = False
        c.refuses(
            "half: out: expected float64, writeable, got a read-only array;"
            " pass new_out = out.copy(), which has the results then, or leave `out` out, or"
            " open the map for writing",
            half,
            np.ones((3, 2)),
            out=x,
        )
        c.refuses(
            "copy: y: expected float64[n], writeable, got a read-only array;"
            " pass new_y = y.copy(), which has the results then, or leave y out, or open the map"
            " for writing",
            c.function(COPY),
            x,
            x,
        )
        assert half(x).tolist() == [[0.5, 0.5]] * 3


class TestTypes:
    @pytest.mark.parametrize(
        ("found", "remedy"),
        [
            (np.ones(3, "f4"), "convert it with x.astype('float64')"),
            (np.ones(3, "i8"), "convert it with x.astype('float64')"),
            (
                np.ones(3, "c16"),
                "write double _Complex for x in the prototype, if C takes that, or pass"
                " x.real.astype('float64') without the imaginary parts",
            ),
            (np.ones(3, "O"), "convert it with x.astype('float64'), if its elements are numbers"),
            (np.ones(3, "?"), "convert it with x.astype('float64')"),
            (np.ones(0, "U1"), "convert it with x.astype('float64'), if its elements are numbers"),
        ],
        ids=lambda value: str(value.dtype) if isinstance(value, np.ndarray) else "",
    )
    def test_scalars(
        self, c: Counted, half: mapcall.Function, found: np.ndarray, remedy: str
    ) -> None:
        c.refuses(f"half: x: expected double, got an array of {found.dtype}; {remedy}", half, found)

    def test_byte_order(self, c: Counted, half: mapcall.Function) -> None:
        x = np.ones(3, ">f8")
        error = c.refuses(
            "half: x: expected double in native byte order, got an array of '>f8';"
            " convert it with x.astype('float64')",
            half,
            x,
        )
        assert half(remedied(error, x)).tolist() == [0.5] * 3

    def test_out(self, c: Counted, half: mapcall.Function) -> None:
        error = c.refuses(
            "half: out: expected float64, got an array of float32;"
            " pass new_out = out.astype('float64'), which has the results then, or leave `out` out",
            half,
            np.ones(3),
            out=np.ones(3, "f4"),
        )
        assert half(np.ones(3), out=remedied(error, np.ones(3, "f4"))).tolist() == [0.5] * 3
        for out, found in (
            ([np.ones(3)], "a list"),
            (3.0, "a float"),
            (np.float64(3), "a float64"),
        ):
            c.refuses(
                f"half: out: expected float64, got {found};"
                " pass new_out = numpy.asarray(out, 'float64'), which has the results then, or"
                " leave `out` out",
                half,
                np.ones(3),
                out=out,
            )

    def test_where(self, c: Counted, half: mapcall.Function) -> None:
        c.refuses(
            "half: where: expected an array of bool, got an array of int64;"
            " convert it with where.astype('bool'), true where it is not 0",
            half,
            np.ones(3),
            where=np.array([1, 0, 1]),
        )
        c.refuses(
            "half: where: expected an array of bool, got an array of int64;"
            " convert it with where.astype('bool'), true where it is not 0",
            half,
            np.ones(3),
            where=np.int64(1),
        )
        asarray = "make it one with numpy.asarray(where, 'bool')"
        for where, found, remedy in (
            ([True] * 3, "a list", asarray),
            (1, "an int", asarray),
            ("x", "a str", "open it with mapcall.open(where)"),
        ):
            c.refuses(
                f"half: where: expected an array of bool, got {found}; {remedy}",
                half,
                np.ones(3),
                where=where,
            )

    @pytest.mark.parametrize(
        ("given", "found"),
        [([1.0, 2.0], "a list"), ((1.0, 2.0), "a tuple"), ("ab", "a str"), (b"ab", "a bytes")],
    )
    def test_no_array(self, c: Counted, half: mapcall.Function, given: object, found: str) -> None:
        c.refuses(f"half: x: expected double, got {found}; give a number", half, given)

    def test_a_tensor_that_refuses_to_share(self, c: Counted, half: mapcall.Function) -> None:
        class Tensor:
            def __dlpack_device__(self) -> tuple[int, int]:
                return 1, 0

            def __dlpack__(self, **options: Any) -> Any:
                raise BufferError("use detach()")

        x = np.ones(3)
        found = "a Tensor that doesn't share its memory (use detach())"
        remedy = "make it one that does, or a copy"
        for name, expected, given in (
            ("x", "double", {"x": Tensor()}),
            ("out", "float64", {"x": x, "out": Tensor()}),
            ("where", "an array of bool", {"x": x, "where": Tensor()}),
        ):
            message = f"half: {name}: expected {expected}, got {found}; {remedy}"
            error = c.refuses(message, half, **given)
            assert isinstance(error.__cause__, BufferError)

    def test_an_array_for_a_number_in_an_extent(self, c: Counted) -> None:
        head = c.function("void head(int k, const double x[3], double y[2 * k])")
        c.refuses(
            "head: k: expected one int for all calls, as it measures an array, got shape (2,);"
            " give a number",
            head,
            np.array([3, 3], "i4"),
            np.ones((2, 3)),
        )
        assert head(3, np.ones((2, 3))).shape == (2, 6)
        total = c.function(SUM)
        c.refuses(
            "sum: n: expected one unsigned long for all calls, as it measures an array,"
            " got shape (2,); give a number, or leave it out",
            total,
            np.ones((2, 3)),
            n=np.array([3, 3]),
        )
        assert total(np.ones((2, 3)), n=3).tolist() == [3, 3]
        c.refuses(
            "sum: x: expected float64[n] with n = 2, got shape (2, 3);"
            " give an array of shape (2, 2), or leave n out",
            total,
            np.ones((2, 3)),
            n=2,
        )


class TestResults:
    def test_that_no_array_holds(self, c: Counted) -> None:
        for prototype, name, returns in (
            ("const char *text(int which)", "text", "const char *"),
            ("struct thing *make(int n)", "make", "struct thing *"),
        ):
            function = c.function(prototype)
            message = (
                f"{name}: expected one call, as no array can hold results of type {returns},"
                " got a batch; call it once for each item"
            )
            c.refuses(message, function, np.array([1, 2], "i4"))
            c.refuses(message, function, 1, where=True)
            c.refuses(
                f"{name}: expected no output, got 1; leave `out` out",
                function,
                1,
                out=np.zeros((), "u8"),
            )
        assert c.function("const char *text(int which)")(1) == "text"

    def test_handles_that_would_have_no_end(self, c: Counted) -> None:
        make = c.function("int make_in(int n, struct thing *things[1])")
        c.refuses(
            "make_in: things: expected one call, as no array can hold results of type"
            " struct thing *, got a batch; call it once for each item",
            make,
            np.array([1, 2], "i4"),
        )
        status, [handle] = make(1)
        assert (status, handle.type) == (0, "thing")
        # A caller that passes the memory for handles has to close them.
        addresses = np.zeros((2, 1), np.uintp)
        assert make(np.array([1, 2], "i4"), addresses).tolist() == [0, 0]
        assert (addresses == handle.address).all()


class TestOut:
    def test_counts(self, c: Counted, half: mapcall.Function) -> None:
        x, y, whole = np.ones(3), np.ones(3, "i4"), np.ones((3, 1))
        one = "give an array or a path as `out`"
        two = "give a tuple of 2 as `out`, with None for an output that is to be allocated"
        for out, found in (((), 0), ((x, x), 2), ((None, None), 2)):
            c.refuses(f"half: expected 1 output, got {found}; {one}", half, x, out=out)
        parts = c.function(PARTS)
        for out, found in ((y, 1), ((y,), 1), ((), 0), ((y, whole, x), 3)):
            c.refuses(
                f"parts: expected 2 outputs, got {found}; {two}",
                parts,
                x,
                out=out,
            )
        # `whole` is also an argument, so the function has one output only.
        c.refuses(f"parts: expected 1 output, got 2; {one}", parts, x, whole, out=(y, whole))
        c.refuses(
            "touch: expected no output, got 1; leave `out` out",
            c.function("void touch(double x)"),
            x,
            out=x,
        )
        returned = parts(x, out=(None, whole))
        assert returned[0].tolist() == [0, 0, 0]
        assert returned[1] is whole

    def test_both_by_name_and_in_out(self, c: Counted) -> None:
        parts = c.function(PARTS)
        whole = np.ones((3, 1))
        found = parts(np.ones(3), whole=whole, out=np.ones(3, "i4"))
        assert found.tolist() == [0, 0, 0]


class TestKeywords:
    @pytest.mark.parametrize("x", [1.0, np.ones(3)], ids=["one call", "batch"])
    @pytest.mark.parametrize(
        ("threads", "found"),
        [(-1, "-1"), (2**64, str(2**64)), ("2", "a str"), (2.0, "a float"), ([2], "a list")],
    )
    def test_threads(
        self, c: Counted, half: mapcall.Function, x: Any, threads: object, found: str
    ) -> None:
        c.refuses(
            f"half: threads: expected a number of threads, got {found};"
            " give 1, or 0 for every core",
            half,
            x,
            threads=threads,
        )

    @pytest.mark.parametrize("x", [1.0, np.ones(3)], ids=["one call", "batch"])
    @pytest.mark.parametrize("threads", [2, 0])
    def test_threads_that_wait_for_the_lock(self, c: Counted, x: Any, threads: int) -> None:
        held = c.function(HALF, gil="hold")
        c.refuses(
            "half: threads: expected 1, as the function is bound with gil='hold',"
            f" got {threads}; bind it without gil",
            held,
            x,
            threads=threads,
        )
        assert (held(np.ones(3), threads=1) == 0.5).all()

    @pytest.mark.parametrize("x", [1.0, np.ones(3)], ids=["one call", "batch"])
    def test_progress(self, c: Counted, half: mapcall.Function, x: Any) -> None:
        for progress, found in ((3, "an int"), ("yes", "a str")):
            c.refuses(
                f"half: progress: expected True or a callable, got {found};"
                " give a function of the calls made and of all calls",
                half,
                x,
                progress=progress,
            )
        assert np.all(half(x, progress=False) == 0.5)

    def test_more_threads_than_a_machine_has(self, half: mapcall.Function) -> None:
        x = np.arange(8.0)
        for threads in (64, 2**40, 2**63, 2**64 - 1):
            np.testing.assert_array_equal(half(x, threads=threads), x / 2)
        assert half(x[:0], threads=2**63).shape == (0,)

    def test_unknown(self, c: Counted, half: mapcall.Function) -> None:
        c.refuses(
            "half: expected a parameter's name, got thread; did you mean threads?",
            half,
            np.ones(3),
            thread=2,
        )
        c.refuses(
            "half: expected a parameter's name, got other; write x",
            half,
            np.ones(3),
            other=2,
        )

    def test_none_is_nothing(self, half: mapcall.Function) -> None:
        found = half(np.ones(3), out=None, where=None, threads=None, progress=None)
        assert found.tolist() == [0.5] * 3
        one = half(1.0, out=None, where=None, threads=None, progress=None)
        assert (type(one), one) == (float, 0.5)
