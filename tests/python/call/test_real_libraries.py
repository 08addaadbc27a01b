"""Functions of common libraries, compared with other callers of the same functions."""

from __future__ import annotations

import cmath
import ctypes
import errno
import gc
import math
import os
import random
import sqlite3
import zlib
from collections.abc import Callable
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall


def load(name: str, package: str) -> mapcall.Library:
    """Loads a library of the system by its bare name."""
    if find_library(name) is None:
        pytest.skip(f"lib{name} is missing: on Debian, apt-get install {package}")
    return mapcall.load(name)


# The functions whose results are exact.
EXACT = ("fabs", "floor", "ceil", "trunc", "rint", "sqrt")
# The range of arguments for each function of one argument.
RANGES = {
    **dict.fromkeys(("sin", "cos", "tan", "asinh", "atan", "cbrt", "exp2"), (-9.0, 9.0)),
    **dict.fromkeys(("exp", "expm1", "sinh", "cosh", "tanh"), (-9.0, 9.0)),
    **dict.fromkeys(("asin", "acos", "atanh"), (-0.99, 0.99)),
    **dict.fromkeys(("log", "log2", "log10", "log1p", "sqrt"), (0.01, 1e9)),
    **dict.fromkeys(("fabs", "floor", "ceil", "trunc", "rint"), (-1e3, 1e3)),
    "acosh": (1.01, 1e9),
}
# The functions for which NumPy has another name.
UFUNCS = {
    "fabs": "abs",
    "pow": "power",
    "atan2": "arctan2",
    **{f"a{name}": f"arc{name}" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
}


def ufunc(name: str) -> Callable[..., Any]:
    return getattr(np, UFUNCS.get(name, name))


class TestLibm:
    """The mathematical functions of C, compared with NumPy's."""

    @pytest.fixture(scope="class")
    @classmethod
    def libm(cls) -> mapcall.Library:
        return load("m", "libc6")

    @pytest.mark.parametrize("name", RANGES)
    @pytest.mark.parametrize(
        ("suffix", "ctype", "dtype", "returned"),
        [
            ("", "double", np.double, float),
            ("f", "float", np.single, float),
            ("l", "long double", np.longdouble, np.longdouble),
        ],
        ids=["double", "float", "long double"],
    )
    def test_one_argument(
        self,
        libm: mapcall.Library,
        name: str,
        suffix: str,
        ctype: str,
        dtype: type[np.floating],
        returned: type,
    ) -> None:
        function = libm.function(f"{ctype} {name}{suffix}({ctype} x);")
        for x in np.random.default_rng(0).uniform(*RANGES[name], 50).astype(dtype):
            result, expected = function(x), ufunc(name)(x)
            assert type(result) is returned
            if name in EXACT:
                assert result == expected
            else:
                # The precision is that of the type: a `long double` isn't rounded to double.
                assert abs(result - expected) <= 16 * np.finfo(dtype).eps * max(1, abs(expected))

    @pytest.mark.parametrize(
        "name", ["pow", "atan2", "hypot", "fmod", "copysign", "nextafter", "fmax", "fmin"]
    )
    def test_two_arguments(self, libm: mapcall.Library, name: str) -> None:
        function = libm.function(f"double {name}(double x, double y);")
        for x, y in np.random.default_rng(0).uniform(0.1, 20, (50, 2)):
            assert math.isclose(function(x, y), ufunc(name)(x, y), rel_tol=4e-15)
            assert function(x, y=y) == function(y=y, x=x) == function(x, y)

    def test_special_numbers(self, libm: mapcall.Library) -> None:
        exp = libm.function("double exp(double x);")
        assert (exp(math.inf), exp(-math.inf)) == (math.inf, 0.0)
        assert math.isnan(exp(math.nan))
        assert math.copysign(1, libm.function("double rint(double x);")(-0.2)) == -1

    def test_integers(self, libm: mapcall.Library) -> None:
        lround = libm.function("long lround(double x);")
        ilogb = libm.function("int ilogb(double x);")
        scalbn = libm.function("double scalbn(double x, int n);")
        for x in (-2.5, -0.4, 0.5, 3e9, 1e-300):
            assert lround(x) == int(math.copysign(math.floor(abs(x) + 0.5), x))
            assert ilogb(x) == math.frexp(x)[1] - 1
            assert scalbn(x, 3) == 8 * x

    def test_a_second_result(self, libm: mapcall.Library) -> None:
        frexp = libm.function("double frexp(double x, int exponent[1]);")
        modf = libm.function("double modf(double x, double whole[1]);")
        for x in (-12.75, 0.0, 1e300):
            mantissa, exponent = frexp(x)
            assert exponent.dtype == np.intc
            assert (mantissa, *exponent) == math.frexp(x)
            whole = np.empty(1)
            assert (modf(x, whole), *whole) == math.modf(x)

    def test_complex(self, libm: mapcall.Library) -> None:
        for name in ("exp", "sqrt", "sin", "log"):
            double = libm.function(f"double _Complex c{name}(double _Complex z);")
            single = libm.function(f"float _Complex c{name}f(float _Complex z);")
            for z in (1 + 2j, -0.5 - 3j, 4j):
                expected = getattr(cmath, name)(z)
                assert cmath.isclose(double(z), expected, rel_tol=1e-14)
                assert cmath.isclose(single(np.complex64(z)), expected, rel_tol=1e-6)
        assert libm.function("double cabs(double _Complex z);")(3 + 4j) == 5.0

    def test_errno(self, libm: mapcall.Library) -> None:
        log = libm.function("double log(double x);", check="errno")
        assert log(1.0) == 0.0
        assert mapcall.get_errno() == 0
        with pytest.raises(mapcall.CallError, match="log") as caught:
            log(-1.0)
        assert caught.value.code == mapcall.get_errno() == errno.EDOM
        assert log(2.0) == math.log(2.0)


Z_STREAM = """
    typedef struct z_stream_s {
        const unsigned char *next_in;
        unsigned avail_in;
        unsigned long total_in;
        unsigned char *next_out;
        unsigned avail_out;
        unsigned long total_out;
        const char *msg;
        struct internal_state *state;
        void *(*zalloc)(void *opaque, unsigned items, unsigned size);
        void (*zfree)(void *opaque, void *address);
        void *opaque;
        int data_type;
        unsigned long adler;
        unsigned long reserved;
    } z_stream;
"""
Z_FINISH, Z_OK, Z_STREAM_END, Z_BUF_ERROR = 4, 0, 1, -5
TEXT = b"C already has the notation for it. " * 1000


class TestZlib:
    @pytest.fixture(scope="class")
    @classmethod
    def library(cls) -> mapcall.Library:
        return load("z", "zlib1g")

    @pytest.mark.parametrize("checksum", ["crc32", "adler32"])
    def test_checksums(self, library: mapcall.Library, checksum: str, tmp_path: Path) -> None:
        function = library.function(
            f"unsigned long {checksum}(unsigned long sum, const unsigned char b[len], unsigned len)"
        )
        expected = getattr(zlib, checksum)
        mapped = mapcall.create(tmp_path / "x.npy", dtype="u1", shape=len(TEXT))
        mapped[:] = np.frombuffer(TEXT, np.uint8)
        for data in (mapped, TEXT, memoryview(TEXT)[5:], bytearray(TEXT), b"", mapped[7:9]):
            assert function(1, data) == expected(data, 1)
        with pytest.raises(mapcall.ArgumentError, match=f"{checksum}: b: expected uint8"):
            function(1, mapped.view("u2"))

    def test_compress2_and_uncompress(self, library: mapcall.Library) -> None:
        bound = library.function("unsigned long compressBound(unsigned long n);")
        # The length of `to` is in `used[0]`, which no extent can express.
        compress2 = library.function(
            "int compress2(unsigned char to[], unsigned long used[1],"
            " const unsigned char from[n], unsigned long n, int level);",
            check="zero",
        )
        uncompress = library.function(
            "int uncompress(unsigned char to[], unsigned long used[1],"
            " const unsigned char from[n], unsigned long n);",
            check="zero",
        )
        with pytest.raises(mapcall.ArgumentError, match=r"compress2: to: .*compress2\.unchecked"):
            compress2(np.zeros(9, np.uint8), np.array([9], np.ulong), TEXT, 9)
        compress2, uncompress = compress2.unchecked, uncompress.unchecked
        for level in (0, 1, 9):
            packed = np.zeros(bound(len(TEXT)), np.uint8)
            used = np.array([packed.size], np.ulong)
            compress2(packed, used, TEXT, level)
            packed = packed[: used[0]]
            assert zlib.decompress(packed) == TEXT
            unpacked, used = np.zeros(len(TEXT), np.uint8), np.array([len(TEXT)], np.ulong)
            uncompress(unpacked, used, packed)
            assert used[0] == len(TEXT)
            assert unpacked.tobytes() == TEXT
        with pytest.raises(mapcall.CallError, match="compress2") as caught:
            compress2(np.zeros(3, np.uint8), np.array([3], np.ulong), TEXT, 9)
        assert caught.value.code == Z_BUF_ERROR
        assert caught.value.function == "compress2"

    def deflate(
        self, library: mapcall.Library, parameter: str, types: str
    ) -> list[mapcall.Function]:
        def not_negative(result: int) -> None:
            if result < 0:
                raise mapcall.CallError(f"deflate: got {result}")

        return [
            library.function(f"{types} {prototype}".replace("STREAM", parameter), check=check)
            for prototype, check in [
                ("int deflateInit_(STREAM, int level, const char *version, int size);", "zero"),
                ("int deflate(STREAM, int flush);", not_negative),
                ("int deflateEnd(STREAM);", "zero"),
            ]
        ]

    def test_a_stream_as_a_struct(self, library: mapcall.Library) -> None:
        init, deflate, end = self.deflate(library, "z_stream strm[1]", Z_STREAM)
        version = library.function("const char *zlibVersion(void);")()
        assert version == zlib.ZLIB_RUNTIME_VERSION
        kind = library.struct("z_stream")
        assert kind.dtype.names[:3] == ("next_in", "avail_in", "total_in")
        stream = np.zeros(1, kind.dtype)
        init(stream, 6, version, kind.size)
        source, packed = np.frombuffer(TEXT, np.uint8), np.zeros(len(TEXT), np.uint8)
        stream["next_in"], stream["avail_in"] = source.ctypes.data, source.size
        stream["next_out"], stream["avail_out"] = packed.ctypes.data, packed.size
        assert deflate(stream, Z_FINISH) == Z_STREAM_END
        assert stream["total_in"] == len(TEXT)
        end(stream)
        assert zlib.decompress(packed[: int(stream["total_out"][0])]) == TEXT

    def test_a_stream_that_is_left_out(self, library: mapcall.Library) -> None:
        init, _, end = self.deflate(library, "z_stream strm[1]", Z_STREAM)
        size = library.struct("z_stream").size
        stream = init(level=6, version="1", size=size)
        assert (stream.shape, stream.dtype) == ((1,), library.struct("z_stream").dtype)
        assert stream["state"] != 0
        end(stream)
        with pytest.raises(mapcall.CallError) as caught:
            init(level=6, version="1", size=size - 1)
        assert caught.value.code == -6

    def test_a_struct_of_another_layout(self, library: mapcall.Library) -> None:
        _, deflate, _ = self.deflate(library, "z_stream strm[1]", Z_STREAM)
        dtype = library.struct("z_stream").dtype
        packed = np.dtype([(name, dtype[name]) for name in dtype.names])
        with pytest.raises(mapcall.ArgumentError, match=r"deflate: strm: .*total_in"):
            deflate(np.zeros(1, packed), Z_FINISH)

    def test_a_stream_as_a_handle(self, library: mapcall.Library) -> None:
        opaque = "typedef struct z_stream_s z_stream;"
        process = mapcall.load(None)
        free = process.function(f"{opaque} void free(z_stream *memory);")
        calloc = process.function(
            f"{opaque} z_stream *calloc(size_t n, size_t size);", destructor=free, check="nonnull"
        )
        init, deflate, end = self.deflate(library, "z_stream *strm", opaque)
        # This prototype is the first with the members of the struct.
        library.function(f"{Z_STREAM} int deflateReset(z_stream strm[1]);")
        kind = library.struct("z_stream")
        source, packed = np.frombuffer(TEXT, np.uint8), np.zeros(len(TEXT), np.uint8)
        with calloc(1, kind.size) as stream:
            assert stream.type == "z_stream_s"
            init(stream, 6, "1", kind.size)
            fields = stream.array((), kind.dtype)
            fields["next_in"], fields["avail_in"] = source.ctypes.data, source.size
            fields["next_out"], fields["avail_out"] = packed.ctypes.data, packed.size
            assert deflate(stream, Z_FINISH) == Z_STREAM_END
            used = int(fields["total_out"])
            end(stream)
            with pytest.raises(BufferError, match="z_stream_s without arrays"):
                stream.close()
            del fields
        assert zlib.decompress(packed[:used]) == TEXT
        assert stream.closed
        with pytest.raises(mapcall.ArgumentError, match="deflate: strm: "):
            deflate(stream, Z_FINISH)

    def test_by_its_header(self, library: mapcall.Library) -> None:
        if not Path("/usr/include/zlib.h").exists():
            pytest.skip("zlib.h is missing: on Debian, apt-get install zlib1g-dev")
        whole = mapcall.load("z", header="zlib.h")
        assert whole == library
        assert {"crc32", "deflate", "compress2", "zlibVersion"} <= set(dir(whole))
        assert "gzvprintf" in whole.unsupported
        assert whole.zlibVersion() == zlib.ZLIB_RUNTIME_VERSION
        # The parameters of a header's functions are pointers without extents.
        data = np.frombuffer(TEXT, np.uint8)
        assert whole.crc32.unchecked(0, data, data.size) == zlib.crc32(TEXT)
        with pytest.raises(mapcall.ArgumentError, match=r"crc32: buf: .*\[len\]|unchecked"):
            whole.crc32(0, data, data.size)
        assert whole.struct("z_stream").size == whole.struct("z_stream_s").dtype.itemsize


class TestOpenBLAS:
    ROW_MAJOR, COLUMN_MAJOR, NO_TRANSPOSE, TRANSPOSE = 101, 102, 111, 112

    @pytest.fixture(scope="class")
    @classmethod
    def blas(cls) -> tuple[mapcall.Library, str]:
        """Loads the system's OpenBLAS, or PyPI's; returns it and the prefix of its functions."""
        if find_library("openblas") is not None:
            return mapcall.load("openblas"), ""
        wheel = pytest.importorskip(
            "scipy_openblas32",
            reason="OpenBLAS is missing: on Debian, apt-get install libopenblas0;"
            " or pip install scipy-openblas32",
        )
        path = next(Path(wheel.get_lib_dir()).glob("libscipy_openblas*"))
        return mapcall.load(path), "scipy_"

    def test_dgemm(self, blas: tuple[mapcall.Library, str]) -> None:
        library, prefix = blas
        # The rows of a matrix may be longer than their used part.
        dgemm = library.function(f"""
            enum order {{ ROW_MAJOR = 101, COLUMN_MAJOR }};
            enum transpose {{ NO_TRANSPOSE = 111, TRANSPOSE }};
            void {prefix}cblas_dgemm(enum order order, enum transpose ta, enum transpose tb,
                int m, int n, int k, double alpha,
                const double a[restrict m][lda], int lda, const double b[restrict k][ldb], int ldb,
                double beta, double c[restrict m][ldc], int ldc);
        """)
        options = self.ROW_MAJOR, self.NO_TRANSPOSE, self.NO_TRANSPOSE
        rng = np.random.default_rng(0)
        a, b = rng.standard_normal((5, 7)), rng.standard_normal((7, 3))
        c = dgemm(*options, 3, 2.0, a, b, 0.0, ldc=3)
        np.testing.assert_allclose(c, 2 * a @ b, rtol=1e-12)
        c = np.ones((5, 4))
        assert dgemm(*options, 3, 1.0, a, b, 10.0, c) is None
        np.testing.assert_allclose(c[:, :3], a @ b + 10, rtol=1e-12)
        assert (c[:, 3] == 1).all()
        # `k` is the number of rows of `b`; the rest of the longer rows of `a` isn't read.
        c[:] = dgemm(*options, 3, 1.0, a, b[:6], 0.0, ldc=4)
        np.testing.assert_allclose(c[:, :3], a[:, :6] @ b[:6], rtol=1e-12)
        with pytest.raises(mapcall.ArgumentError, match=r"cblas_dgemm: c: expected .* m = 5 as a"):
            dgemm(*options, 3, 1.0, a, b, 0.0, c[:4])
        with pytest.raises(mapcall.ArgumentError, match="cblas_dgemm: a: expected "):
            dgemm(*options, 3, 1.0, a.T, b, 0.0, c)
        with pytest.raises(mapcall.ArgumentError, match="cblas_dgemm: c: "):
            dgemm(*options, 3, 1.0, a, b, 0.0, a[:, :3])

    @pytest.mark.parametrize(("incx", "incy"), [(1, 1), (2, 1), (3, 2)])
    def test_saxpy_with_strides_as_extents(
        self, blas: tuple[mapcall.Library, str], incx: int, incy: int
    ) -> None:
        library, prefix = blas
        saxpy = library.function(f"""
            void {prefix}cblas_saxpy(int n, float alpha,
                const float x[1 + (n - 1) * incx], int incx,
                float y[1 + (n - 1) * incy], int incy);
        """)
        assert not any(parameter.is_inferred for parameter in saxpy.parameters)
        n = 10
        rng = np.random.default_rng(0)
        x = rng.standard_normal(1 + (n - 1) * incx, np.single)
        y = rng.standard_normal(1 + (n - 1) * incy, np.single)
        expected = y.copy()
        expected[::incy] += np.float32(1.5) * x[::incx]
        assert saxpy(n, 1.5, x, incx, y, incy) is None
        np.testing.assert_allclose(y, expected, rtol=1e-6)
        out = saxpy(n, 1.5, x, incx, incy=incy)
        np.testing.assert_allclose(out[::incy], np.float32(1.5) * x[::incx], rtol=1e-6)
        before = y.tobytes()
        for wrong in ((n + 1, 1.5, x, incx, y, incy), (n, 1.5, x, incx + 1, y, incy)):
            with pytest.raises(mapcall.ArgumentError, match="cblas_saxpy: x: expected "):
                saxpy(*wrong)
        assert y.tobytes() == before

    def test_sdot_of_an_array_in_a_file(
        self, blas: tuple[mapcall.Library, str], tmp_path: Path
    ) -> None:
        library, prefix = blas
        ddot = library.function(f"""
            double {prefix}cblas_ddot(int n, const double x[n], int incx,
                                      const double y[n], int incy);
        """)
        np.save(tmp_path / "x.npy", np.arange(1000.0))
        x = mapcall.open(tmp_path / "x.npy")
        assert ddot(x, 1, x, 1) == np.dot(x, x)


QSORT = "void qsort(void *base, size_t n, size_t size, int (*compare)(const void *, const void *));"
NATIVE = """
    static int calls;
    int ascending(const void *a, const void *b) {
        calls++;
        return (*(const int *)a > *(const int *)b) - (*(const int *)a < *(const int *)b);
    }
    int counted(void) { return calls; }
    int other(const void *a) { return a != 0; }
"""


class TestLibc:
    @pytest.fixture(scope="class")
    @classmethod
    def libc(cls) -> mapcall.Library:
        return mapcall.load(None)

    @pytest.fixture
    def unsorted(self) -> np.ndarray:
        return np.random.default_rng(0).integers(-1000, 1000, 200, np.intc)

    @staticmethod
    def descending(a: mapcall.Handle, b: mapcall.Handle) -> int:
        return int(b.array((), np.intc)) - int(a.array((), np.intc))

    def test_qsort_by_python(self, libc: mapcall.Library, unsorted: np.ndarray) -> None:
        qsort = libc.function(QSORT)
        expected = np.sort(unsorted)[::-1]
        qsort(unsorted, unsorted.size, unsorted.itemsize, self.descending)
        assert unsorted.tolist() == expected.tolist()

    def test_qsort_of_bytes(self, libc: mapcall.Library, unsorted: np.ndarray) -> None:
        """By the extents, the number of elements and their size are inferred."""
        qsort = libc.function(QSORT.replace("void *base", "unsigned char base[n][size]"))
        expected = np.sort(unsorted)[::-1]
        qsort(unsorted.view(np.uint8).reshape(-1, unsorted.itemsize), compare=self.descending)
        assert unsorted.tolist() == expected.tolist()

    def test_qsort_by_a_callback_that_stays(
        self, libc: mapcall.Library, unsorted: np.ndarray
    ) -> None:
        qsort = libc.function(QSORT)
        compare = qsort.callback("compare", self.descending)
        for _ in range(3):
            values = unsorted.copy()
            qsort(values, values.size, values.itemsize, compare)
            assert values.tolist() == sorted(unsorted.tolist(), reverse=True)

    def test_qsort_by_c(
        self, libc: mapcall.Library, unsorted: np.ndarray, compile_c: Callable[..., Path]
    ) -> None:
        native = mapcall.load(compile_c(NATIVE))
        compare = native.function("int ascending(const void *a, const void *b);")
        counted = native.function("int counted(void);")
        qsort = libc.function(QSORT)
        expected = np.sort(unsorted)
        qsort(unsorted, unsorted.size, unsorted.itemsize, compare)
        assert unsorted.tolist() == expected.tolist()
        assert counted() > unsorted.size
        other = native.function("int other(const void *a);")
        with pytest.raises(mapcall.ArgumentError, match="qsort: compare: expected "):
            qsort(unsorted, unsorted.size, unsorted.itemsize, other)

    def test_exceptions_of_the_comparison_are_raised(
        self, libc: mapcall.Library, unsorted: np.ndarray
    ) -> None:
        qsort = libc.function(QSORT)

        def fail(a: mapcall.Handle, b: mapcall.Handle) -> int:
            raise KeyError("compared")

        def wrong(a: mapcall.Handle, b: mapcall.Handle) -> Any:
            return "less"

        before = sorted(unsorted.tolist())
        with pytest.raises(KeyError, match="compared"):
            qsort(unsorted, unsorted.size, unsorted.itemsize, fail)
        with pytest.raises(TypeError):
            qsort(unsorted, unsorted.size, unsorted.itemsize, wrong)
        with pytest.raises(mapcall.ArgumentError, match="qsort: compare: "):
            qsort(unsorted, unsorted.size, unsorted.itemsize, 3)
        # The array has all its elements, sorted or not.
        assert sorted(unsorted.tolist()) == before

    def test_getenv(self, libc: mapcall.Library, monkeypatch: pytest.MonkeyPatch) -> None:
        prototype = "const char *getenv(const char *name);"
        getenv, getenv_bytes = libc.function(prototype), libc.function(prototype, text="bytes")
        monkeypatch.setenv("MAPCALL_TEST", "välue")
        monkeypatch.delenv("MAPCALL_NONE", raising=False)
        assert getenv("MAPCALL_TEST") == getenv(b"MAPCALL_TEST") == "välue"
        assert getenv_bytes("MAPCALL_TEST") == os.fsencode("välue")
        assert getenv("MAPCALL_NONE") is None
        with pytest.raises(mapcall.ArgumentError, match=r"getenv: name: .*NUL"):
            getenv("MAPCALL\0TEST")

    def test_snprintf(self, libc: mapcall.Library) -> None:
        snprintf = libc.function("int snprintf(char to[n], size_t n, const char *format, ...);")
        length, text = snprintf(None, "%d %s %.1f", 3, "words", 2.5, n=20)
        assert text[:length].tobytes() == b"3 words 2.5"

    def test_strlen(self, libc: mapcall.Library) -> None:
        strlen = libc.function("size_t strlen(const char *s);")
        for text in ("", "abc", "ä€", b"\xff\xfe", "x" * 100_000):
            assert strlen(text) == len(text.encode() if isinstance(text, str) else text)
        for wrong in (3, ["abc"]):
            with pytest.raises(mapcall.ArgumentError, match="strlen: s: expected "):
                strlen(wrong)

    def test_strtod(self, libc: mapcall.Library) -> None:
        strtod = libc.function("double strtod(const char *s, char **end);")
        random.seed(0)
        for x in (0.0, -1.5, 1e308, 5e-324, *(random.uniform(-1e9, 1e9) for _ in range(50))):
            assert strtod(repr(x), None) == x
        assert strtod("1.5", None) == 1.5
        with pytest.raises(mapcall.ArgumentError, match=r"strtod: end: .*unchecked"):
            strtod("1.5", np.zeros(1, np.uintp))

    def test_end_pointer_of_strtod(self, libc: mapcall.Library) -> None:
        """The text is an array, so the address is valid after the call."""
        strtod = libc.function("double strtod(const char s[], char *end[1]);")
        text = np.frombuffer(b"2.5e3 apples\0", np.int8)
        value, [end] = strtod.unchecked(text)
        assert value == 2500.0
        assert end.address - text.ctypes.data == len("2.5e3")
        assert end.array(7, "S1").tobytes() == b" apples"

    def test_struct_by_value(self, libc: mapcall.Library) -> None:
        div = libc.function("typedef struct { int quot, rem; } div_t; div_t div(int a, int b);")
        result = div(-17, 5)
        assert (result["quot"], result["rem"]) == (-3, -2)
        assert (
            result.dtype == libc.struct("div_t").dtype == np.dtype([("quot", "i4"), ("rem", "i4")])
        )


SQLITE = """
    typedef struct sqlite3 sqlite3;
    typedef struct sqlite3_stmt sqlite3_stmt;
    typedef long long sqlite3_int64;
"""
SQLITE_OK, SQLITE_ERROR, SQLITE_ROW, SQLITE_DONE, SQLITE_MISUSE = 0, 1, 100, 101, 21


class Database:
    """The functions of SQLite that the tests call."""

    def __init__(self, library: mapcall.Library) -> None:
        def function(prototype: str, **options: Any) -> mapcall.Function:
            return library.function(SQLITE + prototype, **options)

        self.close = function("int sqlite3_close(sqlite3 *db);")
        self.open = function(
            "int sqlite3_open(const char *filename, sqlite3 *db[1]);",
            destructor=self.close,
            check="zero",
        )
        self.finalize = function("int sqlite3_finalize(sqlite3_stmt *statement);")
        self.prepare = function(
            "int sqlite3_prepare_v2(sqlite3 *db, const char *sql, int size,"
            " sqlite3_stmt *statement[1], const void *tail);",
            destructor=self.finalize,
            check="zero",
        )
        self.step = function("int sqlite3_step(sqlite3_stmt *statement);")
        self.reset = function("int sqlite3_reset(sqlite3_stmt *statement);")
        self.count = function("int sqlite3_column_count(sqlite3_stmt *statement);")
        self.name = function("const char *sqlite3_column_name(sqlite3_stmt *statement, int i);")
        self.int64 = function("sqlite3_int64 sqlite3_column_int64(sqlite3_stmt *statement, int i);")
        self.double = function("double sqlite3_column_double(sqlite3_stmt *statement, int i);")
        self.text = function("const char *sqlite3_column_text(sqlite3_stmt *statement, int i);")
        self.blob = function("const void *sqlite3_column_blob(sqlite3_stmt *statement, int i);")
        self.bytes = function("int sqlite3_column_bytes(sqlite3_stmt *statement, int i);")
        self.errmsg = function("const char *sqlite3_errmsg(sqlite3 *db);")
        self.memory = function("sqlite3_int64 sqlite3_memory_used(void);")
        # SQLITE_TRANSIENT is the address -1, and no function.
        self.bind_text = function(
            "int sqlite3_bind_text(sqlite3_stmt *s, int i, const char *text, int n, long done);",
            check="zero",
        )
        self.bind_double = function(
            "int sqlite3_bind_double(sqlite3_stmt *s, int i, double value);", check="zero"
        )
        self.exec = function(
            "int sqlite3_exec(sqlite3 *db, const char *sql,"
            " int (*row)(void *context, int n, char **values, char **names),"
            " void *context, void *message);"
        )


class TestSQLite:
    ROWS = ((1, 1.5, "one"), (-(2**62), -1e300, "zwei €"), (3, 0.0, None))

    @pytest.fixture(scope="class")
    @classmethod
    def sqlite(cls) -> Database:
        return Database(load("sqlite3", "libsqlite3-0"))

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "rows.db"
        connection = sqlite3.connect(path)
        connection.execute("create table rows (i integer, x real, name text)")
        connection.executemany("insert into rows values (?, ?, ?)", self.ROWS)
        connection.commit()
        connection.close()
        return path

    def test_reads_what_python_wrote(self, sqlite: Database, file: Path) -> None:
        [db] = sqlite.open(str(file))
        assert (type(db), db.type, db.closed) == (mapcall.Handle, "sqlite3", False)
        [statement] = sqlite.prepare(db, "select * from rows", -1, tail=None)
        assert statement.type == "sqlite3_stmt"
        columns = range(sqlite.count(statement))
        assert [sqlite.name(statement, i) for i in columns] == ["i", "x", "name"]
        rows = []
        while (result := sqlite.step(statement)) == SQLITE_ROW:
            readers = (sqlite.int64, sqlite.double, sqlite.text)
            rows.append(tuple(read(statement, i) for i, read in enumerate(readers)))
        assert result == SQLITE_DONE
        assert tuple(rows) == self.ROWS
        statement.close()
        db.close()
        assert statement.closed
        assert db.closed

    def test_writes_what_python_reads(self, sqlite: Database, tmp_path: Path) -> None:
        path = tmp_path / "new.db"
        [db] = sqlite.open(str(path))
        assert sqlite.exec(db, "create table t (x real, name text)", None, None, None) == SQLITE_OK
        [insert] = sqlite.prepare(db, "insert into t values (?, ?)", -1, tail=None)
        rows = [(0.5, "half"), (math.pi, "π"), (-1.0, "")]
        with insert:
            for x, name in rows:
                sqlite.bind_double(insert, 1, x)
                sqlite.bind_text(insert, 2, name, -1, -1)
                assert sqlite.step(insert) == SQLITE_DONE
                assert sqlite.reset(insert) == SQLITE_OK
        db.close()
        connection = sqlite3.connect(path)
        assert connection.execute("select * from t").fetchall() == rows
        connection.close()

    def test_memory_that_it_returns(self, sqlite: Database) -> None:
        [db] = sqlite.open(":memory:")
        [statement] = sqlite.prepare(db, "select x'00ff10', null", -1, tail=None)
        assert sqlite.step(statement) == SQLITE_ROW
        blob = sqlite.blob(statement, 0)
        values = blob.array(sqlite.bytes(statement, 0), np.uint8, owner=statement)
        assert values.tobytes() == b"\x00\xff\x10"
        assert sqlite.blob(statement, 1) is None

    def test_an_error_has_code_and_message(self, sqlite: Database) -> None:
        [db] = sqlite.open(":memory:")
        with pytest.raises(mapcall.CallError, match="sqlite3_prepare_v2") as caught:
            sqlite.prepare(db, "selekt 1", -1, tail=None)
        assert caught.value.code == SQLITE_ERROR
        assert "selekt" in sqlite.errmsg(db)

    def test_rows_to_a_python_callable(self, sqlite: Database, file: Path) -> None:
        [db] = sqlite.open(str(file))
        rows: list[list[bytes | None]] = []

        def row(context: Any, n: int, values: mapcall.Handle, names: mapcall.Handle) -> int:
            assert context is None
            addresses = values.array(n, np.uintp)
            rows.append([ctypes.string_at(int(a)) if a else None for a in addresses])
            return 0

        query = "select i, name from rows"
        assert sqlite.exec(db, query, row, None, None) == SQLITE_OK
        assert rows == [
            [str(i).encode(), None if name is None else name.encode()] for i, _, name in self.ROWS
        ]

        def stop(*_: Any) -> int:
            raise LookupError("enough")

        with pytest.raises(LookupError, match="enough"):
            sqlite.exec(db, query, stop, None, None)

    def test_handles_of_the_wrong_kind(self, sqlite: Database) -> None:
        [db] = sqlite.open(":memory:")
        [statement] = sqlite.prepare(db, "select 1", -1, tail=None)
        with pytest.raises(mapcall.ArgumentError, match=r"sqlite3_step: statement: .*sqlite3"):
            sqlite.step(db)
        for wrong in (0, db.address, "db", np.zeros(1, np.uint8)):
            with pytest.raises(mapcall.ArgumentError, match="sqlite3_errmsg: db: "):
                sqlite.errmsg(wrong)
        statement.close()
        with pytest.raises(mapcall.ArgumentError, match=r"sqlite3_step: statement: .*closed"):
            sqlite.step(statement)
        db.close()
        db.close()
        with pytest.raises(mapcall.ArgumentError, match=r"sqlite3_errmsg: db: .*closed"):
            sqlite.errmsg(db)
        # This is SQLite's error code for NULL.
        assert sqlite.step(None) == SQLITE_MISUSE

    def test_dropped_handles_are_destroyed(self, sqlite: Database) -> None:
        def use() -> int:
            [db] = sqlite.open(":memory:")
            [statement] = sqlite.prepare(db, "select 1", -1, tail=None)
            assert sqlite.step(statement) == SQLITE_ROW
            used = sqlite.memory()
            # SQLite doesn't close a database that has open statements.
            del statement
            del db
            return used

        # SQLite keeps some memory of the first use.
        use()
        gc.collect()
        before = sqlite.memory()
        for _ in range(20):
            assert use() > before
        gc.collect()
        assert sqlite.memory() == before
