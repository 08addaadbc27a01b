"""Texts, pointers without an extent, and handles."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mapcall
from counted import PRELUDE, Counted

SOURCE = (
    PRELUDE
    + """
    #include <stdlib.h>
    #include <string.h>
    long length(const char *s) { CALLED; return s ? (long)strlen(s) : -1; }
    int byte(const char *s, int i) { CALLED; return (unsigned char)s[i]; }
    double first(const double *p) { CALLED; return p ? *p : -1; }
    void set(double *p, double x) { CALLED; if (p) *p = x; }
    int peek(const void *p) { CALLED; return p ? *(const unsigned char *)p : -1; }
    void poke(void *p, int x) { CALLED; if (p) *(unsigned char *)p = x; }
    struct shelf { int books; int open; };
    struct other { int x; };
    int live, destroyed;
    struct shelf *new_shelf(int books)
    {
        CALLED;
        if (books < 0) return 0;
        struct shelf *s = calloc(1, sizeof *s);
        s->books = books;
        live++;
        return s;
    }
    int books(const struct shelf *s) { CALLED; return s ? s->books : -1; }
    struct shelf *same(struct shelf *s) { CALLED; return s; }
    struct other *other(void) { CALLED; static struct other kept; return &kept; }
    void end(struct shelf *s) { CALLED; live--; destroyed++; free(s); }
    int failing_end(struct shelf *s) { CALLED; live--; destroyed++; free(s); return 7; }
    int make(int books, struct shelf *shelf[1], struct shelf *pair[2])
    {
        CALLED;
        shelf[0] = new_shelf(books);
        pair[0] = new_shelf(books + 1);
        return 5;
    }
    int is_live(void) { CALLED; return live; }
    int is_destroyed(void) { CALLED; return destroyed; }
    #include <stdio.h>
    __attribute__((destructor)) static void report(void)
    { if (getenv("REPORT_DESTROYED")) printf("%d destroyed, %d live\\n", destroyed, live); }
    double *numbers(void) { CALLED; static double kept[3] = {1, 2, 3}; return kept; }
    double at(const double *p, int i) { CALLED; return p[i]; }
    double scaled(double x, const double *p) { CALLED; return x * p[1]; }
    double counting(double x, double *p) { CALLED; return *p += x; }
    int one_book(const struct shelf *s) { CALLED; return s ? s->books : -1; }
    int row(int n, const double (*p)[n], double *q) { CALLED; q[0] = p[1][n - 1]; return n; }
    void diagonal(int n, double *a, int lda, double x)
    { CALLED; for (int i = 0; i < n; i++) a[i * lda + i] = x; }
    """
)
NEW = "struct shelf *new_shelf(int books)"


@pytest.fixture(scope="module")
def c(compile_c: Any) -> Counted:
    return Counted(compile_c(SOURCE))


class TestText:
    @pytest.mark.parametrize("text", ["", "abc", "hé€", "x" * 10_000, "\U0001f40d"])
    def test_good(self, c: Counted, text: str) -> None:
        length = c.function("long length(const char *s)")
        assert length(text) == length(text.encode()) == len(text.encode())
        assert length(np.str_(text)) == length(np.bytes_(text.encode())) == len(text.encode())
        assert c.function("int byte(const char *s, int i)")(text, len(text.encode())) == 0

    def test_none_is_null(self, c: Counted) -> None:
        assert c.function("long length(const char *s)")(None) == -1

    @pytest.mark.parametrize(("text", "at"), [("\0", 0), ("ab\0c", 2), ("é\0", 2), (b"a\0", 1)])
    def test_nul(self, c: Counted, text: str | bytes, at: int) -> None:
        cut = text.index("\0") if isinstance(text, str) else at
        c.refuses(
            f"length: s: expected text without NUL, got one at byte {at}; pass s[:{cut}]",
            c.function("long length(const char *s)"),
            text,
        )

    @pytest.mark.parametrize(
        ("wrong", "found"),
        [(3, "an int"), (["a"], "a list"), (bytearray(b"a"), "a bytearray"), (1.5, "a float")],
    )
    def test_no_text(self, c: Counted, wrong: object, found: str) -> None:
        c.refuses(
            f"length: s: expected text, got {found}; give a str or bytes",
            c.function("long length(const char *s)"),
            wrong,
        )

    def test_text_that_utf8_cannot_encode(self, c: Counted) -> None:
        before = c.called
        with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
            c.function("long length(const char *s)")("\udc80")
        assert c.called == before


class Parameter:
    def __init__(self, value: object) -> None:
        self._as_parameter_ = value


class TestPointer:
    X = np.array([2.5, 3.5])

    def test_none_is_null(self, c: Counted) -> None:
        first = c.function("double first(const double *p)")
        assert first(None) == first.unchecked(None) == -1
        c.function("void set(double *p, double x)")(None, 1)

    @pytest.mark.parametrize(
        ("given", "found"),
        [(X, "an array"), (memoryview(X), "an array"), (X.ctypes, "a _ctypes object")],
    )
    def test_an_array_is_refused(self, c: Counted, given: object, found: str) -> None:
        first = c.function("double first(const double *p)")
        length = 1 if found == "a _ctypes object" else 2
        c.refuses(
            f"first: p: expected a pointer to double with its extent, got {found};"
            f" write p[{length}] in the prototype, or call first.unchecked(...)",
            first,
            given,
        )
        assert first.unchecked(given) == 2.5

    def test_unchecked(self, c: Counted) -> None:
        first = c.function("double first(const double *p)")
        x = self.X.copy()
        assert first.unchecked(x) == first.unchecked(p=x[:1]) == 2.5
        assert first.unchecked(x[1:]) == 3.5
        assert first.unchecked(Parameter(x.ctypes.data)) == 2.5
        assert first.unchecked(Parameter(ctypes.c_void_p(x.ctypes.data))) == 2.5
        pointer = ctypes.cast(x.ctypes.data, ctypes.POINTER(ctypes.c_double))
        assert first.unchecked(Parameter(pointer)) == 2.5
        put = c.function("void set(double *p, double x)").unchecked
        put(x, 9)
        assert x.tolist() == [9, 3.5]
        assert "unchecked" in repr(put)
        assert put.unchecked == put != c.function("void set(double *p, double x)")

    def test_unchecked_checks_all_but_the_extent(self, c: Counted) -> None:
        put = c.function("void set(double *p, double x)").unchecked
        frozen = self.X.copy()
        frozen.flags.writeable = False
        raw = np.zeros(17, np.uint8)
        for wrong, expected in [
            (self.X.astype("f4"), "expected a pointer to double, got an array of float32"),
            (self.X.astype(">f8"), "in native byte order, got an array of '>f8'"),
            (raw[1:].view("f8"), "aligned to 8 bytes, got address 0x"),
            (np.zeros(4, "f8,i4")["f0"], "aligned to 8 bytes, got address 0x"),
            (frozen, "writeable, got a read-only array"),
            ([1.0], "got a list"),
            ("x", "got a str"),
            (3, "got an int"),
        ]:
            before = c.called
            with pytest.raises(mapcall.ArgumentError) as caught:
                put(wrong, 1)
            assert str(caught.value).startswith("set: p: expected ")
            assert expected in str(caught.value)
            assert c.called == before

    def test_void(self, c: Counted) -> None:
        peek = c.function("int peek(const void *p)")
        assert peek(None) == -1
        for given in (np.array([7], "<i4"), b"\x07", bytearray(b"\x07"), np.zeros(2, "M8[s]") + 7):
            assert peek(given) == 7
        x = np.zeros(2, "u1")
        c.function("void poke(void *p, int x)")(x, 3)
        assert x.tolist() == [3, 0]
        error = "poke: p: expected a pointer, writeable, got a read-only array; "
        with pytest.raises(mapcall.ArgumentError, match=error):
            c.function("void poke(void *p, int x)")(b"x", 3)
        c.refuses(
            "peek: p: expected a pointer, got a str; give an array, a handle or None", peek, "x"
        )


class TestSpellings:
    """`T p[]` and `T *p` are the same type: both take the address of any array, for one call."""

    @pytest.mark.parametrize("at", ["const double *p", "const double p[]"])
    def test_any_rank_and_strides(self, c: Counted, at: str) -> None:
        at = c.function(f"double at({at}, int i)")
        x = np.arange(24.0).reshape(2, 3, 4)
        frozen = x.copy()
        frozen.flags.writeable = False
        given = [
            x,
            x[1],
            x[:, 1:, ::2],
            x.T,
            x[::-1, :, ::-1],
            x[0, 0, :1],
            x[0, 1, 2:3].reshape(()),
            frozen,
        ]
        for array in [*given, np.asfortranarray(x), memoryview(x)]:
            before = c.called
            assert at.unchecked(array, 0) == np.asarray(array).flat[0]
            assert c.called == before + 1
            with pytest.raises(
                mapcall.ArgumentError, match=r"write p\[i\] in the prototype, as C has it, or "
            ):
                at(array, 0)
            assert c.called == before + 1

    @pytest.mark.parametrize("a", ["double *a", "double a[]", "double a[restrict]"])
    def test_blocks(self, c: Counted, a: str) -> None:
        """A matrix as for BLAS and LAPACK: an address and a leading dimension."""
        diagonal = c.function(f"void diagonal(int n, {a}, int lda, double x)").unchecked
        whole = np.zeros((6, 7))
        block = whole[1:4, 2:5]
        before = c.called
        diagonal(3, block, 7, 1.0)
        assert c.called == before + 1
        assert np.array_equal(block, np.eye(3))
        assert whole.sum() == 3
        fortran = np.zeros((4, 4), order="F")
        diagonal(4, fortran, 4, 2.0)
        assert np.array_equal(fortran, 2 * np.eye(4))

    @pytest.mark.parametrize("a", ["double *a", "double a[]"])
    def test_a_batch_needs_an_extent(self, c: Counted, a: str) -> None:
        diagonal = c.function(f"void diagonal(int n, {a}, int lda, double x)").unchecked
        for x in (np.ones(3), np.ones((1, 1)), np.ones(0)):
            before = c.called
            with pytest.raises(mapcall.ArgumentError) as caught:
                diagonal(1, np.zeros((3, 3)), 1, x)
            assert "with its extent, as this is a batch" in str(caught.value)
            says = "write a[n], a[lda], a[n*lda] or a[1] in the prototype, as C has it"
            assert caught.value.remedy == says
            assert c.called == before
        # The prototype of the remedy works.
        diagonal = c.function("void diagonal(int n, double a[n], int lda, double x)")
        a = np.zeros((3, 1))
        diagonal(a, 1, np.array([1.0, 2, 3]))
        assert a.tolist() == [[1], [2], [3]]

    @pytest.mark.parametrize("p", ["double *p", "double p[]"])
    def test_in_a_batch_it_is_only_read(self, c: Counted, p: str) -> None:
        """Each call gets the same address, and none of them may write to it."""
        scaled = c.function(f"double scaled(double x, const {p})").unchecked
        x, table = np.arange(5.0), np.array([[1.0, 3.0], [5.0, 7.0]])
        assert scaled(x, table).tolist() == (3 * x).tolist()
        assert scaled(x, table[1:], threads=2).tolist() == (7 * x).tolist()
        with pytest.raises(mapcall.ArgumentError, match="memory that it shares with p"):
            scaled(x[:2], table, out=table[0])
        counting = c.function(f"double counting(double x, {p})").unchecked
        y = np.zeros(1)
        before = c.called
        with pytest.raises(mapcall.ArgumentError, match=r"p: expected .* as this is a batch"):
            counting(x, y)
        assert (c.called, y[0]) == (before, 0)
        assert counting(2.0, y) == y[0] == 2

    @pytest.mark.parametrize("p", ["(*p)[n]", "p[][n]"])
    def test_known_axes_after_the_first(self, c: Counted, p: str) -> None:
        row = c.function(f"int row(int n, const double {p}, double q[1])").unchecked
        x = np.arange(24.0).reshape(2, 3, 4)
        for array, expected in [(x, 7), (x[1], 19), (x[::-1, :, :], 19), (x[:, ::2], 7)]:
            # C reads the next row in memory, whatever the strides.
            before = c.called
            n, q = row(array)
            assert (n, q[0], c.called) == (4, expected, before + 1)
        for wrong, expected in [
            (x[..., ::2], "C-contiguous"),
            (np.array(1.0), "2 axes, got shape ()"),
        ]:
            with pytest.raises(mapcall.ArgumentError, match=expected.replace("()", r"\(\)")):
                row(wrong)
        three = c.function("int row(int n, const double p[][3], double q[n])").unchecked
        with pytest.raises(
            mapcall.ArgumentError, match=r"with 3 along axis 1, got shape \(2, 3, 4\)"
        ):
            three(x, np.zeros(4))

    def test_all_that_a_pointer_takes(self, c: Counted) -> None:
        for prototype in ("double first(const double *p)", "double first(const double p[])"):
            first = c.function(prototype)
            assert first(None) == first.unchecked(None) == -1
            x = np.array([2.5])
            assert first.unchecked(Parameter(x.ctypes.data)) == 2.5
            kept = c.function("double *numbers(void)")()
            assert first(kept) == 1
        for prototype in ("const struct shelf *s", "const struct shelf s[]"):
            text = f"struct shelf {{ int books; int open; }}; int one_book({prototype})"
            one_book = c.function(text)
            assert one_book(None) == -1
            shelves = np.array([[(7, 1)]], "i4,i4")
            shelves.dtype.names = ("books", "open")
            assert one_book.unchecked(shelves) == 7
        for prototype in ("long length(const char *s)", "long length(const char s[])"):
            length = c.function(prototype)
            assert (length("four"), length(b"abc"), length(None)) == (4, 3, -1)
            for dtype in ("i1", "u1", "S1"):
                text = np.frombuffer(b"hello\0", dtype)
                assert length.unchecked(text.reshape(2, 3)) == 5
            with pytest.raises(mapcall.ArgumentError, match="give a str, bytes or an array"):
                length.unchecked(3)
            with pytest.raises(mapcall.ArgumentError, match="expected text, got an array of int16"):
                length.unchecked(np.zeros(1, "i2"))


class TestHandle:
    @pytest.fixture
    def end(self, c: Counted) -> mapcall.Function:
        return c.function("void end(struct shelf *s)")

    @pytest.fixture
    def new(self, c: Counted, end: mapcall.Function) -> mapcall.Function:
        return c.function(NEW, destructor=end)

    @pytest.fixture
    def books(self, c: Counted) -> mapcall.Function:
        return c.function("int books(const struct shelf *s)")

    @pytest.fixture
    def destroyed(self, c: Counted) -> mapcall.Function:
        return c.function("int is_destroyed(void)")

    def test_attributes_and_repr(self, new: mapcall.Function, books: mapcall.Function) -> None:
        handle = new(3)
        assert type(handle) is mapcall.Handle
        assert (handle.type, handle.closed) == ("shelf", False)
        assert books(handle) == books(s=handle) == 3
        assert repr(handle) == f"<mapcall.Handle: shelf at {handle.address:#x}>"
        assert new(-1) is None
        assert books(None) == -1
        for attribute in ("type", "address", "closed"):
            with pytest.raises(AttributeError):
                setattr(handle, attribute, 1)
        with pytest.raises(TypeError):
            mapcall.Handle()

    def test_equality(self, c: Counted, new: mapcall.Function) -> None:
        same = c.function("struct shelf *same(struct shelf *s)")
        handle, other = new(1), new(1)
        assert handle == same(handle) != other
        assert hash(handle) == hash(same(handle))
        assert handle != handle.address
        assert same(handle).address == handle.address

    def test_close(
        self,
        c: Counted,
        new: mapcall.Function,
        books: mapcall.Function,
        destroyed: mapcall.Function,
    ) -> None:
        handle = new(3)
        before = destroyed()
        handle.close()
        assert (handle.closed, handle.address, destroyed() - before) == (True, None, 1)
        assert repr(handle) == "<mapcall.Handle: shelf, closed>"
        handle.close()
        del handle
        gc.collect()
        assert destroyed() - before == 1
        handle = new(3)
        handle.close()
        c.refuses(
            "books: s: expected a pointer to shelf that is open, got a closed handle to shelf;"
            " open a new one",
            books,
            handle,
        )
        with pytest.raises(ValueError, match="expected an open handle, got a closed one to shelf"):
            handle.array(1, "i4")

    def test_with(self, new: mapcall.Function, destroyed: mapcall.Function) -> None:
        before = destroyed()
        with new(3) as handle:
            assert not handle.closed
        assert (handle.closed, destroyed() - before) == (True, 1)
        with pytest.raises(LookupError, match="of the body"), new(3) as handle:
            raise LookupError("of the body")
        assert (handle.closed, destroyed() - before) == (True, 2)

    def test_dies(self, new: mapcall.Function, destroyed: mapcall.Function) -> None:
        before = destroyed()
        handle = new(3)
        del handle
        gc.collect()
        assert destroyed() - before == 1
        # The handle is in a reference cycle.
        cycle = [new(3)]
        cycle.append(cycle)
        del cycle
        gc.collect()
        assert destroyed() - before == 2

    def test_without_a_destructor(self, c: Counted, destroyed: mapcall.Function) -> None:
        before = destroyed()
        handle = c.function(NEW)(3)
        handle.close()
        assert (handle.closed, destroyed()) == (True, before)

    def test_another_type(self, c: Counted, books: mapcall.Function, end: Any) -> None:
        other = c.function("struct other *other(void)")()
        refused = (
            "expected a pointer to shelf, got a handle to other;"
            " give the handle that the library made for it"
        )
        c.refuses(f"books: s: {refused}", books, other)
        c.refuses(f"books: s: {refused}", books.unchecked, other)
        assert c.function("int peek(const void *p)")(other) == 0
        c.refuses(
            "books: s: expected a pointer to shelf, got an int; give a handle or None",
            books,
            other.address,
        )
        with pytest.raises(ValueError, match=r"other: destructor: .* pointer to other, got .*end"):
            c.function("struct other *other(void)", destructor=end)
        with pytest.raises(TypeError):
            c.function(NEW, destructor=3)

    def test_outputs(self, c: Counted, end: Any, books: Any, destroyed: Any) -> None:
        make = c.function(
            "int make(int books, struct shelf *shelf[1], struct shelf *pair[2])", destructor=end
        )
        before = destroyed()
        code, [one], [two, none] = make(3)
        assert (code, books(one), books(two), none) == (5, 3, 4, None)
        del one, two
        gc.collect()
        assert destroyed() - before == 2

    def test_a_destructor_that_fails(self, c: Counted) -> None:
        failing = c.function("int failing_end(struct shelf *s)", check="zero")
        handle = c.function(NEW, destructor=failing)(3)
        with pytest.raises(mapcall.CallError, match="failing_end: expected status 0, got 7"):
            handle.close()
        assert handle.closed
        handle.close()

    def test_arrays_on_its_memory(
        self, c: Counted, new: mapcall.Function, books: mapcall.Function, destroyed: Any
    ) -> None:
        handle = new(3)
        before = destroyed()
        view = handle.array((2,), "i4")
        assert (view.tolist(), view.flags.writeable, view.shape) == ([3, 0], True, (2,))
        view[0] = 8
        assert books(handle) == 8
        part = view[:1]
        del view
        with pytest.raises(BufferError, match="shelf without arrays on its memory, got one with 1"):
            handle.close()
        assert not handle.closed
        # The array keeps the handle alive.
        del handle
        gc.collect()
        assert (destroyed() - before, part.tolist()) == (0, [8])
        del part
        gc.collect()
        assert destroyed() - before == 1

    def test_an_array_with_another_owner(self, new: mapcall.Function) -> None:
        class Owner:
            pass

        handle, owner = new(3), Owner()
        view = handle.array(2, np.int32, owner=owner)
        assert view.base is owner
        handle.close()

    def test_the_dtype_of_an_array(self, c: Counted) -> None:
        numbers = c.function("double *numbers(void)")()
        assert numbers.type == "double"
        assert numbers.array(3).tolist() == [1, 2, 3]
        assert numbers.array((3, 1)).shape == (3, 1)
        assert numbers.array(()) == 1
        incomplete = c.function("void *numbers(void)")()
        with pytest.raises(TypeError, match="array: expected a dtype, got none"):
            incomplete.array(3)
        assert incomplete.array(3, float).tolist() == [1, 2, 3]
        for wrong in (-1, (2, -1), 2**62, (2**40, 2**40), "3", 1.5):
            with pytest.raises((ValueError, TypeError, MemoryError)):
                numbers.array(wrong)
        with pytest.raises((ValueError, TypeError)):
            numbers.array(3, object)

    def test_at_exit(
        self, c: Counted, run_script: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All handles are destroyed once when the interpreter ends."""
        monkeypatch.setenv("REPORT_DESTROYED", "1")
        script = """
            import sys, mapcall
            lib = mapcall.load(sys.argv[1])
            end = lib.function("void end(struct shelf *s)")
            new = lib.function("struct shelf *new_shelf(int books)", destructor=end)
            kept = new(1)
            view = new(2).array(1, "i4")
            cycle = [new(3)]
            cycle.append(cycle)
        """
        assert run_script(script, c.path) == "3 destroyed, 0 live\n"
