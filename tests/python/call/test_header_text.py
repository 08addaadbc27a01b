"""Header text in place of a file, and the remedies for libraries that are not found."""

from __future__ import annotations

import ctypes
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall

TEXT = """\
#include <stddef.h>
#define LENGTH (3 + 4)
enum { FIRST = 3 };
typedef double real;
void *memcpy(void *__sized_by(n) to, const void *__sized_by(n) from, size_t n);
"""


def test_functions_and_constants() -> None:
    libm = mapcall.load("m", header_text="typedef double real; real hypot(real x, real y);")
    assert libm.hypot(3, 4) == 5
    assert libm.function("real cos(real x)")(0.0) == 1
    assert repr(libm).endswith("(header_text)>")
    libc = mapcall.load(None, header_text=TEXT)
    assert (libc.LENGTH, libc.FIRST) == (7, 3)
    x = np.zeros(3)
    libc.memcpy(x, np.arange(3.0))
    assert x.tolist() == [0, 1, 2]
    assert "memcpy" in dir(libc)
    with pytest.raises(AttributeError, match="header_text declares no function, variable or "):
        _ = libc.missing


def test_several(tmp_path: Path) -> None:
    texts = ["typedef double real;", "real erf(real x);"]
    assert mapcall.load("m", header_text=texts).erf(0.0) == 0
    # Behind a header, and before the prototypes that say more.
    libc = mapcall.load(None, "stddef.h", header_text="void *memset(void *s, int c, size_t n);")
    assert [parameter.extents for parameter in libc.memset.parameters] == [(), (), ()]
    more = tmp_path / "more.h"
    more.write_text("void *memset(void *__sized_by(n) s, int c, size_t n);")
    libc = mapcall.load(
        None, "stddef.h", header_text="void *memset(void *s, int c, size_t n);", prototypes=more
    )
    assert libc.memset.parameters[0].extents == ("n",)
    contradicting = tmp_path / "contradicting.h"
    contradicting.write_text("double erf(float x);")
    with pytest.raises(AttributeError, match="contradicts the header"):
        _ = mapcall.load("m", header_text="double erf(double x);", prototypes=contradicting).erf
    missing = tmp_path / "missing.h"
    with pytest.raises(mapcall.PrototypeError, match=r"expected a header that .* got .*missing\.h"):
        mapcall.load("m", header_text="double erf(double x);", prototypes=missing)


def test_include_and_define(tmp_path: Path) -> None:
    (tmp_path / "real.h").write_text("typedef REAL real;")
    options: dict[str, Any] = {"include": [tmp_path], "define": {"REAL": "double"}}
    libm = mapcall.load("m", header_text='#include "real.h"\nreal erf(real x);', **options)
    assert libm.erf(0.0) == 0
    again = pickle.loads(pickle.dumps(libm))
    assert again.erf(0.0) == pickle.loads(pickle.dumps(libm.erf))(0.0) == 0
    assert again == libm


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("double f(doubl x);", "<header_text>:1:10"),
        ("\n\ndouble f(doubl x);", "<header_text>:3:10"),
        ("#define A doubl\n\ndouble f(A x);", "<header_text>:3:10"),
        (["double cos(double x);", "\ndouble f(doubl x);"], "<header_text 2>:2:10"),
    ],
)
def test_errors_point_into_the_text(text: str, at: str) -> None:
    with pytest.raises(AttributeError, match=at):
        _ = mapcall.load("m", header_text=text).f


def test_errors_of_the_preprocessor() -> None:
    with pytest.raises(mapcall.PrototypeError, match=r"<header_text>:2:10: .*nowhere\.h"):
        mapcall.load("m", header_text="\n#include <nowhere.h>")
    with pytest.raises(mapcall.PrototypeError, match=r"<header_text>:1.*not here"):
        mapcall.load("m", header_text="#error not here")
    with pytest.raises(TypeError, match="header_text: expected a str or a sequence of them, got i"):
        mapcall.load("m", header_text=3)  # type: ignore[arg-type]
    assert mapcall.load("m", header_text="").unsupported == {}


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/nowhere/cc")
    libm = mapcall.load("m", header_text="#include <stddef.h>\ndouble hypot(double x, double y);")
    assert libm.hypot(3, 4) == 5
    with pytest.raises(mapcall.PrototypeError, match="line 1 has"):
        mapcall.load("m", header_text='#include "own.h"\ndouble hypot(double x, double y);')


def test_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MAPCALL_HEADER_CACHE")
    for _ in range(2):
        assert mapcall.load("m", header_text="double erf(double x);").erf(0.0) == 0
        assert mapcall.load("m", header_text="float erff(float x);").erff(0.0) == 0
    assert len(list((tmp_path / "mapcall").iterdir())) == 2


class TestLibrariesThatAreNotFound:
    @pytest.fixture
    def median(
        self,
        compile_c: Callable[..., Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Path:
        """Returns a library in the current directory that needs one in a folder beside it."""
        monkeypatch.chdir(tmp_path)
        (tmp_path / "needed").mkdir()
        needed = tmp_path / "needed" / "libneeded.so"
        compile_c("int three(void) { return 3; }", "-Wl,-soname,libneeded.so").rename(needed)
        median = tmp_path / "libmedian.so"
        source = "int three(void); int six(void) { return 2 * three(); }"
        compile_c(source, f"-L{needed.parent}", "-Wl,--no-as-needed", "-lneeded").rename(median)
        return median

    def test_a_file_in_the_current_directory(self, compile_c: Any, median: Path) -> None:
        compile_c("int three(void) { return 3; }").rename(median.parent / "libthree.so")
        for name in ("libthree.so", "three"):
            with pytest.raises(mapcall.LibraryError) as caught:
                mapcall.load(name)
            assert str(caught.value).endswith(
                "; the loader does not search the current directory, which has such a file; "
                'give "./libthree.so"'
            )
        assert mapcall.load("./libthree.so").function("int three(void)")() == 3

    def test_a_name_that_is_spelt_otherwise(self, median: Path) -> None:
        with pytest.raises(mapcall.LibraryError, match=r"; did you mean \./libmedian\.so\?$"):
            mapcall.load("./libmedain.so")
        with pytest.raises(mapcall.LibraryError, match="give a path with a separator"):
            mapcall.load("./quite_another.so")

    def test_a_library_that_is_needed(self, median: Path) -> None:
        needs = (
            r"libmedian\.so needs libneeded\.so, which the loader does not find; start the program"
        )
        with pytest.raises(mapcall.LibraryError, match=needs):
            mapcall.load(median)
        first = mapcall.load("./needed/libneeded.so")
        assert mapcall.load(median).function("int six(void)")() == 6
        assert first.path


def test_a_handle_of_an_address() -> None:
    """The address may be that of any pointer."""
    libc = mapcall.load(None)
    x = np.array([2.5, 3.5])
    pointers = [
        x.ctypes.data,
        x.ctypes,
        x.ctypes.data_as(ctypes.c_void_p),
        x.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
        (ctypes.c_double * 2).from_buffer(x),
        ctypes.byref((ctypes.c_double * 2).from_buffer(x)),
    ]
    for pointer in pointers:
        handle = libc.handle("const double *", pointer)
        assert handle.array(2).tolist() == [2.5, 3.5]
        assert handle.readonly
    with pytest.raises(TypeError, match="address: expected an int, a handle or a pointer"):
        libc.handle("double *", ctypes.c_double(3))
    for null in (0, ctypes.c_void_p(), ctypes.POINTER(ctypes.c_double)()):
        with pytest.raises(ValueError, match="expected one that is not 0, got 0"):
            libc.handle("double *", null)
