"""`mapcall.compile`: C code becomes a library whose functions are known by their prototypes."""

from __future__ import annotations

import ctypes
import os
import pickle
import re
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import joblib
import numpy as np
import pytest

import mapcall
from terminal import run

# Every feature of the language that the tests use, compiled once.
CODE = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <math.h>

#define WIDTH 3
#define HALF (WIDTH / 2.0)
enum { RED = 1, GREEN };
typedef float sample;
typedef struct { double re, im; } pair;
struct particle { double x[3]; int32_t id; };

static int compare(const void *a, const void *b)
{
    return *(const uint16_t *)a - *(const uint16_t *)b;
}

/* The median of 3 by 3 elements; the border is copied. */
void median3(int rows, int cols,
             const uint16_t image[restrict rows][cols], uint16_t filtered[restrict rows][cols])
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) {
            uint16_t window[9];
            if (i == 0 || j == 0 || i == rows - 1 || j == cols - 1) {
                filtered[i][j] = image[i][j];
                continue;
            }
            for (int k = 0; k < 9; k++)
                window[k] = image[i + k / 3 - 1][j + k % 3 - 1];
            qsort(window, 9, sizeof *window, compare);
            filtered[i][j] = window[4];
        }
}

void windowed_rms(int n, const double x[n], int window,
                  MAPCALL_EQUALS(n - window + 1) int nout, double out[nout])
{
    for (int i = 0; i < nout; i++) {
        double sum = 0;
        for (int k = 0; k < window; k++)
            sum += x[i + k] * x[i + k];
        out[i] = sqrt(sum / window);
    }
}

double complex turn(double complex z, double I) { return z * (cos(I) + 1i * sin(I)); }
double sum_counted(const double *__counted_by(n) x, int n)
{
    double s = 0;
    for (int i = 0; i < n; i++) s += x[i];
    return s;
}
double shifted(const struct particle p[1], double by) { return p->x[0] + by; }
sample twice(sample x) { return 2 * x; }
pair swapped(pair p) { return (pair){p.im, p.re}; }
size_t size_of(const char *text) { size_t n = 0; while (text[n]) n++; return n; }
void both(double angle, double sine[1], double cosine[1]) { sincos(angle, sine, cosine); }
int calls = 0;
int counted(void) { return ++calls; }
static inline double hidden(double x) { return x; }
inline double inlined(double x) { return x; }
"""

NAMES = {
    *["median3", "windowed_rms", "turn", "sum_counted", "shifted", "twice", "swapped", "size_of"],
    *["both", "counted"],
}


@pytest.fixture(scope="module")
def lib() -> mapcall.Library:
    return mapcall.compile(CODE)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MAPCALL_HEADER_CACHE", raising=False)
    return tmp_path / "cache" / "mapcall"


def median(image: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(-2, -1))
    result = image.copy()
    result[..., 1:-1, 1:-1] = np.median(windows, axis=(-2, -1)).astype("u2")
    return result


def test_the_median_over_an_image_stack(lib: mapcall.Library, tmp_path: Path) -> None:
    stack = np.random.default_rng(1).integers(0, 1 << 16, (5, 12, 17), "u2")
    path, filtered = tmp_path / "stack.npy", tmp_path / "filtered.npy"
    np.save(path, stack)
    lib.median3(mapcall.open(path), out=str(filtered), threads=0, progress=True)
    np.testing.assert_array_equal(np.load(filtered), median(stack))
    # A second time with prototype and parameters of the C code.
    assert [p.name for p in lib.median3.parameters] == ["rows", "cols", "image", "filtered"]
    assert "const uint16_t image[restrict rows][cols]" in (lib.median3.__doc__ or "")
    with pytest.raises(mapcall.ArgumentError, match="median3: image: expected uint16"):
        lib.median3(stack.astype("i4"))


def test_the_windowed_rms_has_a_derived_length(lib: mapcall.Library) -> None:
    x = np.random.default_rng(2).normal(size=(4, 100))
    windows = np.lib.stride_tricks.sliding_window_view(x, 9, axis=-1)
    expected = np.sqrt(np.mean(windows**2, axis=-1))
    np.testing.assert_allclose(lib.windowed_rms(x[0], 9), expected[0])
    np.testing.assert_allclose(lib.windowed_rms(x, 9, threads=2), expected)


def test_the_code_has_the_types_and_constants(lib: mapcall.Library) -> None:
    functions = {n for n in dir(lib) if isinstance(getattr(lib, n, None), mapcall.Function)}
    assert functions == NAMES
    assert lib.turn(1j, np.pi / 2) == pytest.approx(-1)
    assert lib.sum_counted(np.arange(4.0)) == 6
    assert lib.twice(1.5) == 3
    assert lib.size_of("four") == 4
    assert lib.both(0.5) == (pytest.approx(np.sin(0.5)), pytest.approx(np.cos(0.5)))
    particle = lib.struct("particle").dtype
    assert particle.itemsize == 32
    assert particle["id"] == np.dtype("i4")
    made = np.zeros(1, particle)
    made["x"] = 7
    assert lib.shifted(made, 0.5) == 7.5
    assert (lib.WIDTH, lib.HALF, lib.GREEN) == (3, 1.5, 2)
    assert "RAND_MAX" not in lib.constants
    assert "INT8_MAX" not in lib.constants
    before = lib.calls.value
    assert lib.counted() == before + 1 == lib.calls.value
    assert set(lib.symbols()) >= NAMES
    assert "hidden" not in lib.symbols()
    with pytest.raises(
        AttributeError, match='declares no function, variable or constant "nothing"'
    ):
        lib.nothing  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "struct complex { double re, im; }; double f(struct complex z) { return z.re; }",
        "typedef int complex; double f(complex I) { return I; }",
        "#include <complex.h>\ndouble f(double complex z) { return creal(z * I); }",
        "#include <stdint.h>\n#include <mapcall.h>\ndouble f(size_t n) { return n; }",
        "#define MAX(a) ((a) > 2 ? (a) : 2)\ndouble f(int complex) { return MAX(complex); }",
    ],
)
def test_identifiers_of_users_stay_theirs(code: str) -> None:
    assert mapcall.compile(code, flags="-Wall -Wextra -std=c11 -Wpedantic -Werror").f.prototype


# The code, and the line, column and words of its first error.
ERRORS = [
    ("int f(void)\n{\n    return misspelt;\n}", 3, 12, "misspelt"),
    ("int f(void)\n{\n\tint é = 1; return é + q;\n}", 3, 24, "'q'"),
    ("int f(void) { return 1 }", 1, 23, "expected ';'"),
    ("#include <nowhere.h>\nint f(void);", 1, 10, "nowhere.h"),
    ("int f(void);\n#error stop\n", 2, 2, "stop"),
    ("int g(int);\nint f(void) { return g(1); }", 1, 5, "undefined reference to `g`"),
    ("int f(int n, double x[m]) { return n; }", 1, 23, "'m'"),
]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_compilers(compiler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is missing: on Debian, apt-get install {compiler}")
    monkeypatch.setenv("CC", compiler)
    library = mapcall.compile("enum { TWO = 2 }; int twice(int x) { return TWO * x; }")
    assert (library.twice(3), library.TWO) == (6, 2)
    with pytest.raises(mapcall.CompileError, match="misspelt") as caught:
        mapcall.compile("int f(void) { return misspelt; }")
    assert (caught.value.line, caught.value.column) == (1, 22)


@pytest.mark.parametrize(("code", "line", "column", "words"), ERRORS)
def test_errors_point_into_the_text(code: str, line: int, column: int, words: str) -> None:
    with pytest.raises(mapcall.CompileError) as caught:
        mapcall.compile(code)
    error = caught.value
    assert (error.line, error.column, error.file) == (line, column, None)
    assert words in error.reason
    assert words in str(error)
    first = error.diagnostics[0]
    assert (first.severity, first.line, first.column) == ("error", line, column)
    again = pickle.loads(pickle.dumps(error))
    assert (again.reason, again.line, str(again)) == (error.reason, line, str(error))


def test_errors_in_files_have_their_names(tmp_path: Path) -> None:
    (tmp_path / "kern.h").write_text("\n\tint broken(;\n")
    (tmp_path / "kern.c").write_text('#include "kern.h"\nint f(void) { return 0; }')
    with pytest.raises(mapcall.CompileError) as caught:
        mapcall.compile(tmp_path / "kern.c")
    assert caught.value.file == str(tmp_path / "kern.h")
    assert f"{tmp_path / 'kern.h'}, line 2" in str(caught.value)
    (tmp_path / "kern.h").write_text("\n")
    (tmp_path / "kern.c").write_text('#include "kern.h"\nint f(void)\n{\n\treturn é;\n}')
    with pytest.raises(mapcall.CompileError) as caught:
        mapcall.compile(tmp_path / "kern.c")
    assert (caught.value.file, caught.value.line, caught.value.column) == (None, 4, 9)


def test_arguments_that_are_none() -> None:
    code = "int f(void) { return 0; }"
    for keywords, error, message in [
        ({"flags": ["-c"]}, mapcall.CompileError, "leave it out of `flags`"),
        ({"flags": "-fno-such-thing"}, mapcall.CompileError, "leave it out of `flags`"),
        ({"libraries": "no-such-library"}, mapcall.CompileError, "cannot find -lno-such-library"),
        ({"language": "pascal"}, ValueError, "expected the language c, c.. or fortran"),
        ({"define": {"2D": None}}, mapcall.CompileError, "write NAME or NAME=VALUE"),
        ({"flag": "-O3"}, TypeError, "did you mean 'flags'"),
        ({"compiler": "no-cc"}, mapcall.CompileError, "no-cc: No such file.*apt-get install gcc"),
    ]:
        with pytest.raises(error, match=message):
            mapcall.compile(code, **keywords)
    with pytest.raises(
        ValueError, match=r"looks like the name of a file; give it as pathlib\.Path"
    ):
        mapcall.compile("kern.c")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.c"):
        mapcall.compile(Path("nowhere.c"))
    with pytest.raises(TypeError, match="got an object of type int"):
        mapcall.compile(3)  # type: ignore[arg-type]


def test_warnings_are_those_of_the_compiler_each_time() -> None:
    for _ in range(2):
        with pytest.warns(mapcall.CompileWarning, match="line 2, column 5: warning: unused var"):
            mapcall.compile("int f(void) {\nint unused; return 0; }", flags=["-Wall"])


def test_options_and_libraries(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "kern.h").write_text("#define TWO 2\nint helper(int);")
    (tmp_path / "kern.c").write_text(
        '#include "kern.h"\nint main_part(int x) { return helper(x); }'
    )
    helper = mapcall.compile(
        "int helper(int x) { return TWO * x + MORE; }",
        flags=["-include", str(tmp_path / "kern.h")],
        define={"MORE": 1},
    )
    both = mapcall.compile(tmp_path / "kern.c", libraries=[helper, "z"], include=tmp_path)
    assert both.main_part(3) == 7
    assert both.helper(4) == 9
    assert "helper" not in both.symbols()
    with pytest.raises(mapcall.CompileError, match="undefined reference to `helper`"):
        mapcall.compile(tmp_path / "kern.c")
    assert "kern.c" in repr(both)
    with pytest.raises(ValueError, match="got one without a file"):
        mapcall.compile("int f(void) { return 0; }", libraries=mapcall.load(None))
    # Prototypes that say more.
    code = "double sum(const double *x, int n) { return n ? x[n - 1] : 0; }"
    assert mapcall.compile(code, prototypes="double sum(const double x[n], int n);").sum(
        np.arange(3.0)
    )
    with pytest.raises(AttributeError, match="contradicts"):
        mapcall.compile(code, prototypes="double sum(const float x[n], int n);").sum  # noqa: B018


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_cpp_needs_prototypes() -> None:
    code = """
    #include <algorithm>
    extern "C" double largest(int n, const double *x) { return *std::max_element(x, x + n); }
    """
    prototypes = "double largest(int n, const double x[n]);"
    lib = mapcall.compile(code, language="c++", prototypes=prototypes)
    assert lib.largest(np.array([1.0, 5.0, 2.0])) == 5
    assert pickle.loads(pickle.dumps(lib)).largest(np.ones(1)) == 1
    bare = mapcall.compile(code, language="c++")
    assert bare.symbols()[:1] == ["largest"]
    assert bare.function(prototypes)(np.ones(1)) == 1
    with pytest.raises(mapcall.CompileError) as caught:
        mapcall.compile("int f() {\n  return std::nothing; }", language="c++")
    assert caught.value.line == 2


@pytest.mark.skipif(shutil.which("gfortran") is None, reason="no Fortran compiler")
def test_fortran_needs_prototypes(tmp_path: Path) -> None:
    code = """
    subroutine scale(n, x, by) bind(c)
      use iso_c_binding
      integer(c_int), value :: n
      real(c_double) :: x(n)
      real(c_double), value :: by
      x = by * x
    end subroutine
    """
    (tmp_path / "kern.f90").write_text(code)
    prototypes = "void scale(int n, double x[n], double by);"
    for source in (code, tmp_path / "kern.f90"):
        lib = mapcall.compile(source, language="fortran", prototypes=prototypes)
        x = np.arange(3.0)
        lib.scale(x, 2)
        np.testing.assert_array_equal(x, [0, 2, 4])
    with pytest.raises(mapcall.CompileError) as caught:
        mapcall.compile("subroutine s()\n  implicit none\n  x = 1\nend", language="fortran")
    assert caught.value.line == 3


def test_the_cache(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = tmp_path / "number.h"
    header.write_text("#define NUMBER 1\n")
    log = tmp_path / "log"
    compiler = tmp_path / "logging-cc"
    compiler.write_text(f'#!/bin/sh\necho run >> "{log}"\nexec cc "$@"\n')
    compiler.chmod(0o700)

    def compile(**options: object) -> tuple[mapcall.Library, int]:
        """Returns the library, and how often the compiler ran."""
        log.write_text("")
        code = "#include <number.h>\nint number(void) { return NUMBER; }"
        options = {"include": tmp_path, "compiler": compiler, **options}
        return mapcall.compile(code, **options), len(log.read_text().split())

    first, runs = compile()
    assert runs == 2
    assert first.number() == 1
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    path = Path(first.path or "")
    assert path.parent == cache
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    again, runs = compile()
    assert runs == 0
    assert again == first
    # What the library is made of.
    header.write_text("#define NUMBER 2\n")
    changed, runs = compile()
    assert runs == 2
    assert changed.number() == 2
    assert first.number() == 1
    for options in ({"flags": "-O1"}, {"define": {"X": 1}}, {"flags": "-march=native"}):
        _, runs = compile(**options)
        assert runs == 2, options
        _, runs = compile(**options)
        assert runs == 0, options
    # Entries that are damaged are made again.
    path = Path(changed.path or "")
    for damage in (b"", b"\x7fELF damaged", path.read_bytes()[:-1] + b"?"):
        path.unlink()
        path.write_bytes(damage)
        again, runs = compile()
        assert runs == 2
        assert again.number() == 2
    for entry in list(cache.iterdir()):
        # A file that is loaded must not be written.
        entry.unlink()
        entry.write_bytes(b"no entry")
    again, runs = compile()
    assert runs == 2
    assert again.number() == 2
    # Without a cache, nothing is left.
    before = set(cache.iterdir())
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    bare, runs = compile(cache=False)
    assert runs == 2
    assert bare.number() == 2
    assert bare.symbols() == ["number"]
    assert bare.path is None
    assert set(cache.iterdir()) == before
    monkeypatch.setenv("MAPCALL_HEADER_CACHE", "0")
    assert compile()[1] == 2
    monkeypatch.delenv("MAPCALL_HEADER_CACHE")
    cache.chmod(0o755)
    shared, runs = compile()
    assert runs == 2
    assert shared.path is None
    with pytest.raises(mapcall.CompileError):
        mapcall.compile("broken", cache=False)
    assert list((tmp_path / "temporary").iterdir()) == []


def number(lib: mapcall.Library) -> int:
    return lib.answer()


KERNEL = "int answer(void) { return 42; }\ndouble scaled(double x) { return 3 * x; }"


def test_workers_compile_what_is_missing(cache: Path, tmp_path: Path) -> None:
    lib = mapcall.compile(KERNEL)
    x = np.arange(4.0)
    assert len(pickle.dumps(lib.scaled)) < 1000
    # The cache of the workers is empty, as on another machine.
    shutil.rmtree(cache)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(number, [lib] * 4)) == [42] * 4
        np.testing.assert_array_equal(pool.submit(lib.scaled, x).result(), 3 * x)
    assert list(cache.glob("*.so"))
    shutil.rmtree(cache)
    with get_context("spawn").Pool(1) as workers:
        assert workers.map(lib.scaled, [1.0, 2.0]) == [3.0, 6.0]
    assert joblib.Parallel(2)(joblib.delayed(lib.scaled)(i) for i in range(3)) == [0, 3, 6]
    shutil.rmtree(cache)
    # A file need not exist elsewhere.
    (tmp_path / "kern.c").write_text(KERNEL)
    pickled = pickle.dumps(mapcall.compile(tmp_path / "kern.c"))
    (tmp_path / "kern.c").unlink()
    assert pickle.loads(pickled).answer() == 42


def test_a_worker_without_a_compiler_says_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pickled = pickle.dumps(mapcall.compile(KERNEL).scaled)
    shutil.rmtree(cache)
    mapcall._pickling.CACHE.clear()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(mapcall.CompileError, match="expected a C compiler, found none"):
        pickle.loads(pickled)


def test_processes_may_compile_the_same_at_once(cache: Path) -> None:
    program = f"import mapcall; print(mapcall.compile({KERNEL!r}).answer())"
    runs = [subprocess.Popen([sys.executable, "-c", program], stdout=-1) for _ in range(3)]
    assert [run.communicate(timeout=60)[0] for run in runs] == [b"42\n"] * 3


INTERRUPTED = """
import os, signal, sys, threading, time
import mapcall
ready, = sys.argv[1:]
def interrupt():
    while not os.path.exists(ready):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    mapcall.compile("int f(void) { return 0; }", compiler=os.path.abspath("slow-cc"))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_stops_the_compiler(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    ready = tmp_path / "ready"
    compiler = tmp_path / "slow-cc"
    compiler.write_text(
        f'#!/bin/sh\ntouch "$TMPDIR/left"\necho $$ > "{ready}.new"\nmv "{ready}.new" "{ready}"\n'
        "sleep 600 & wait\n"
    )
    compiler.chmod(0o700)
    found = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(ready)],
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (found.stdout, found.stderr) == ("interrupted\n", "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(ready.read_text()), 0)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_command(cache: Path, tmp_path: Path) -> None:
    code = tmp_path / "kern.c"
    code.write_text("double scaled(double x, int by) { return by * x; }\n")
    np.save(tmp_path / "x.npy", np.arange(3.0))
    made = run("compile", code)
    path = made.stdout.removesuffix("\n")
    assert (made.returncode, made.stderr) == (0, "")
    assert Path(path).parent == cache
    x = f"x={tmp_path / 'x.npy'}"
    called = run("call", path, "double scaled(double x, int by)", x, "by=3")
    assert called.stdout == "[0.0 3.0 6.0]\n", called
    # Without a prototype.
    assert run("call", code, "scaled", x, "by=3").stdout == called.stdout
    assert run("call", code, "scale", x, "by=3").returncode == 2
    assert run("call", code, "scaled", x, "by=3", "--dask", "local").returncode == 2
    named = run("compile", code, "-f", "-O3 -DX", "-o", tmp_path / "libkern.so")
    assert named.stdout == f"{tmp_path / 'libkern.so'}\n"
    assert ctypes.CDLL(named.stdout.strip()).scaled
    code.write_text("int f(void)\n{ return x; }")
    failed = run("compile", code)
    assert failed.returncode == 2
    assert failed.stdout == ""
    assert re.search(r"line 2, column 10: error: .*'x'", failed.stderr)
    assert run("compile", tmp_path / "nowhere.c").returncode == 2
    compiler = tmp_path / "slow-cc"
    compiler.write_text("#!/bin/sh\necho started >&2\nkill -INT $PPID\nsleep 600 & wait\n")
    compiler.chmod(0o700)
    assert run("compile", code, "--compiler", compiler).returncode == 130
