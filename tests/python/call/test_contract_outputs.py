"""Results of a call: values, arrays that were left out, and failures."""

from __future__ import annotations

import errno
import os
import threading
from typing import Any
from unittest.mock import Mock, call

import numpy as np
import pytest

import mapcall
from counted import PRELUDE, Counted

SOURCE = (
    PRELUDE
    + """
    #include <errno.h>
    int status(int code) { CALLED; return code; }
    unsigned char tiny(int code) { CALLED; return code; }
    _Bool truth(int code) { CALLED; return code; }
    double real(double x) { CALLED; return x; }
    void set_errno(int code) { CALLED; errno = code; }
    int was_errno(void) { CALLED; return errno; }
    void *pointer(int is_null) { CALLED; return is_null ? 0 : &called; }
    const char *text(int which)
    { CALLED; return which == 0 ? 0 : which == 1 ? "h\\xc3\\xa9" : which == 2 ? "\\xff" : ""; }
    char *buffer(void) { CALLED; static char kept[4] = "abc"; return kept; }
    void fill(size_t n, const double x[n], double low[n], float high[2][n])
    {
        CALLED;
        for (size_t i = 0; i < n; i++) { low[i] += x[i]; high[1][i] = 2 * x[i]; }
    }
    double largest(size_t n, const double x[n], long at[1])
    {
        CALLED;
        for (size_t i = 0; i < n; i++) if (x[i] > x[at[0]]) at[0] = i;
        return n ? x[at[0]] : 0;
    }
    void blank(size_t n, int y[n]) { CALLED; for (size_t i = 0; i < n; i++) y[i] -= 1; }
    void two(size_t n, int k, double y[n * k]) { CALLED; y[0] = n; }
    void open_ended(double y[]) { CALLED; }
    int try(int code, double y[2]) { CALLED; y[0] = code; return code; }
    """
)


@pytest.fixture(scope="module")
def c(compile_c: Any) -> Counted:
    return Counted(compile_c(SOURCE))


class TestOutputs:
    X = np.arange(3.0)

    def test_one(self, c: Counted) -> None:
        blank = c.function("void blank(size_t n, int y[n])")
        y = blank(n=4)
        assert (type(y), y.dtype, y.tolist()) == (np.ndarray, np.intc, [-1] * 4)
        assert blank(None, n=4).tolist() == [-1] * 4
        assert blank(y=None, n=4).tolist() == [-1] * 4
        assert blank(n=0).shape == (0,)
        # Each call returns new memory, and an array that is passed isn't zeroed.
        again = blank(n=4)
        assert blank(y) is None
        assert (y.tolist(), again.tolist()) == ([-2] * 4, [-1] * 4)

    def test_several(self, c: Counted) -> None:
        fill = c.function("void fill(size_t n, const double x[n], double low[n], float high[2][n])")
        low, high = fill(self.X)
        assert (low.tolist(), high.tolist()) == ([0, 1, 2], [[0, 0, 0], [0, 2, 4]])
        assert (high.dtype, high.flags.c_contiguous, high.flags.owndata) == ("f4", True, True)
        given = np.ones(3)
        high = fill(self.X, given)
        assert (given.tolist(), high.shape) == ([1, 2, 3], (2, 3))
        low = fill(self.X, None, high)
        assert low.tolist() == [0, 1, 2]
        low = fill(self.X, high=high)
        assert low.tolist() == [0, 1, 2]
        assert fill(self.X, low, high) is None

    def test_behind_the_result(self, c: Counted) -> None:
        largest = c.function("double largest(size_t n, const double x[n], long at[1])")
        result, at = largest(np.array([1.0, 7, 3]))
        assert (result, at.tolist()) == (7, [1])
        assert largest(np.array([1.0, 7, 3]), at) == 7

    def test_extents_that_no_argument_sets(self, c: Counted) -> None:
        blank = c.function("void blank(size_t n, int y[n])")
        c.refuses(
            "blank: n: expected unsigned long from the shape of an array, got no array that has it;"
            " give it by name, n=...",
            blank,
        )
        two = c.function("void two(size_t n, int k, double y[n * k])")
        assert two(2, 3).shape == (6,)
        open_ended = c.function("void open_ended(double y[])")
        c.refuses(
            "open_ended: y: expected float64[?], got nothing;"
            " give y, or write y[1] in the prototype",
            open_ended,
        )

    def test_too_large(self, c: Counted) -> None:
        blank = c.function("void blank(size_t n, int y[n])")
        before = c.called
        for n in (2**60, 2**63, 2**64 - 2):
            with pytest.raises((MemoryError, ValueError, mapcall.ArgumentError)):
                blank(n=n)
        two = c.function("void two(size_t n, int k, double y[n * k])")
        for arguments in ((2**63, 4), (2**40, 2**30), (2, -1)):
            with pytest.raises((MemoryError, ValueError, mapcall.ArgumentError)):
                two(*arguments)
        assert c.called == before

    def test_with_a_check(self, c: Counted) -> None:
        attempt = c.function("int try(int code, double y[2])", check="zero")
        assert attempt(0).tolist() == [0, 0]
        y = np.ones(2)
        with pytest.raises(mapcall.CallError):
            attempt(3, y)
        assert y.tolist() == [3, 1]


class TestText:
    def test_str(self, c: Counted) -> None:
        text = c.function("const char *text(int which)")
        assert [text(which) for which in (0, 1, 3)] == [None, "hé", ""]
        with pytest.raises(UnicodeDecodeError, match="can't decode byte 0xff"):
            text(2)

    def test_bytes(self, c: Counted) -> None:
        text = c.function("const char *text(int which)", text="bytes")
        assert [text(which) for which in range(4)] == [None, b"h\xc3\xa9", b"\xff", b""]

    def test_a_text_that_may_be_written_is_a_handle(self, c: Counted) -> None:
        buffer = c.function("char *buffer(void)")()
        assert buffer.type == "char"
        assert buffer.array(3, "S1").tobytes() == b"abc"

    def test_another_kind(self, c: Counted) -> None:
        with pytest.raises(ValueError, match=r"text must be .* 'handle', got 'latin1'"):
            c.function("const char *text(int which)", text="latin1")


class TestCheck:
    @pytest.mark.parametrize(
        ("prototype", "check", "good", "bad", "code", "message"),
        [
            ("int status(int code)", "zero", 0, -3, -3, "expected status 0, got -3"),
            ("int status(int code)", "nonzero", 7, 0, 0, "expected a status other than 0, got 0"),
            ("unsigned char tiny(int code)", "zero", 256, 255, 255, "expected status 0, got 255"),
            ("_Bool truth(int code)", "nonzero", 1, 0, 0, "expected a status other than 0, got 0"),
            ("void *pointer(int is_null)", "nonnull", 0, 1, 0, "expected a pointer, got NULL"),
            ("const char *text(int which)", "nonnull", 1, 0, 0, "expected a pointer, got NULL"),
            ("const char *text(int which)", "null", 1, 0, 0, "expected a pointer, got NULL"),
            (
                "void set_errno(int code)",
                "errno",
                0,
                errno.ENOENT,
                errno.ENOENT,
                f"expected errno 0, got {os.strerror(errno.ENOENT)}",
            ),
        ],
    )
    def test_kinds(
        self, c: Counted, prototype: str, check: str, good: int, bad: int, code: int, message: str
    ) -> None:
        function = c.function(prototype, check=check)
        unjudged = c.function(prototype)
        # A status that can only be 0 is not returned.
        assert function(good) == (None if check == "zero" else unjudged(good))
        unjudged(bad)
        with pytest.raises(mapcall.CallError) as caught:
            function(bad)
        assert str(caught.value).startswith(f"{function.name}: {message}")
        assert (caught.value.function, caught.value.code) == (function.name, code)
        assert not isinstance(caught.value, (TypeError, ValueError))

    def test_a_callable(self, c: Counted) -> None:
        """It gets the result; what it returns is ignored, also by batches."""
        for returned in (None, True, False, "failed", -1):
            check = Mock(return_value=returned)
            status = c.function("int status(int code)", check=check)
            assert (status(3), status(-4)) == (3, -4)
            assert status(np.array([5, -6], "i4")).tolist() == [5, -6]
            assert check.call_args_list == [call(3), call(-4), call(5), call(-6)]

    def test_a_callable_sees_errno(self, c: Counted) -> None:
        seen = []
        set_errno = c.function(
            "void set_errno(int code)", check=lambda result: seen.append(mapcall.get_errno())
        )
        set_errno(3)
        set_errno(np.array([4, 0, 5], "i4"))
        assert seen == [3, 4, 0, 5]

    def test_a_callable_that_raises(self, c: Counted) -> None:
        """What it raises comes out as it is."""
        for raised in (LookupError("of the check"), mapcall.CallError("its own"), SystemExit(3)):
            status = c.function("int status(int code)", check=Mock(side_effect=raised))
            with pytest.raises(type(raised)) as caught:
                status(0)
            assert caught.value is raised
            assert not hasattr(raised, "__notes__")
            with pytest.raises(type(raised)) as caught:
                status(np.zeros((2, 2), "i4"))
            assert caught.value is raised
            if isinstance(raised, mapcall.CallError):
                assert (raised.index, raised.args) == ((0, 0), ("its own",))
            else:
                assert raised.__notes__ == ["raised for the call at index (0, 0) of the batch"]

    @pytest.mark.parametrize(
        ("prototype", "check", "message"),
        [
            ("int status(int code)", "none", "check must be None, 'zero', .* got 'none'"),
            ("int status(int code)", 3, "check must be None, 'zero', .* got 3"),
            ("double real(double x)", "zero", "real: check: .* returns an integer, .* double"),
            ("void set_errno(int code)", "nonzero", "set_errno: check: .* an integer, .* void"),
            ("int status(int code)", "nonnull", "status: check: .* returns a pointer, .* int"),
            ("int status(int code)", "null", "status: check: .* returns a pointer, .* int"),
        ],
    )
    def test_misfits(self, c: Counted, prototype: str, check: object, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            c.function(prototype, check=check)


class TestErrno:
    def test_after_a_call(self, c: Counted) -> None:
        set_errno = c.function("void set_errno(int code)")
        was = c.function("int was_errno(void)")
        set_errno(5)
        assert mapcall.get_errno() == 5
        # `errno` is 0 when the C function starts, whatever Python's own calls have set.
        set_errno(6)
        with pytest.raises(FileNotFoundError):
            os.stat("/nowhere")
        assert mapcall.get_errno() == 6
        assert was() == 0
        assert mapcall.get_errno() == 0

    def test_a_refused_call_leaves_it(self, c: Counted) -> None:
        set_errno = c.function("void set_errno(int code)")
        set_errno(7)
        with pytest.raises(mapcall.ArgumentError):
            set_errno("x")
        assert mapcall.get_errno() == 7

    def test_in_an_error(self, c: Counted) -> None:
        attempt = c.function("void set_errno(int code)", check="errno")
        with pytest.raises(mapcall.CallError) as caught:
            attempt(errno.EACCES)
        assert caught.value.errno == mapcall.get_errno() == errno.EACCES

    @pytest.mark.parametrize("gil", ["hold", "release"])
    def test_each_thread_has_its_own(self, c: Counted, gil: str) -> None:
        set_errno = c.function("void set_errno(int code)", gil=gil)
        number = 4
        barrier = threading.Barrier(number)
        wrong = []

        def run(code: int) -> None:
            if mapcall.get_errno() != 0:
                wrong.append(("at first", mapcall.get_errno()))
            for _ in range(50):
                barrier.wait()
                set_errno(code)
                barrier.wait()
                if mapcall.get_errno() != code:
                    wrong.append((code, mapcall.get_errno()))

        set_errno(99)
        threads = [threading.Thread(target=run, args=(code,)) for code in range(1, number + 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert mapcall.get_errno() == 99
