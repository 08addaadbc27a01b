"""Libraries and headers, and the prototypes that are refused."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall

HEADER = """
#ifndef SHAPES_H
#define SHAPES_H
#include <stddef.h>
#ifndef SIDE
#define SIDE 2
#endif
typedef struct { double x, y; } point;
double area(size_t n, const point corners[n]);
int sides(void);
#include <stdarg.h>
int print(const char *format, va_list list);
struct flags { __int128 low; };
void by_value(struct flags f);
double missing(double x);
#ifdef MORE
int more(int x);
#endif
#endif
"""
SOURCE = """
#include "shapes.h"
double area(size_t n, const point corners[n]) { return n; }
int sides(void) { return SIDE; }
int print(const char *format, va_list list) { return 0; }
void by_value(struct flags f) {}
int more(int x) { return x + 1; }
int data = 3;
static int hidden(void) { return 1; }
int (*use)(void) = hidden;
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("include")
    (directory / "shapes.h").write_text(HEADER)
    return directory


@pytest.fixture(scope="module")
def path(compile_c: Any, directory: Path) -> Path:
    return compile_c(SOURCE, "-I", str(directory))


@pytest.fixture
def library(path: Path) -> mapcall.Library:
    return mapcall.load(path)


class TestLoad:
    def test_by_path(self, path: Path, library: mapcall.Library) -> None:
        assert library == mapcall.load(str(path)) == mapcall.load(os.path.relpath(path))
        assert hash(library) == hash(mapcall.load(path))
        assert (type(library.path), Path(library.path)) == (str, path)
        assert repr(library) == f"<mapcall.Library: {path}>"
        with pytest.raises(AttributeError):
            library.path = "elsewhere"

    def test_by_name(self) -> None:
        for name in ("m", "libm.so.6"):
            library = mapcall.load(name)
            assert "libm" in Path(library.path).name
            assert library.function("double cos(double x)")(0) == 1
        assert mapcall.load("m") == mapcall.load("libm.so.6") != mapcall.load(None)

    def test_the_process(self) -> None:
        process = mapcall.load(None)
        assert (process.path, repr(process)) == (None, "<mapcall.Library: the process>")
        assert process == mapcall.load(None)
        assert process.function("int abs(int x)")(-3) == 3
        assert pickle.loads(pickle.dumps(process)) == process

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("misspelt", r'got "misspelt"; tried .*libmisspelt\.so .*; give a path'),
            ("/nowhere/libx.so", r'got "/nowhere/libx\.so"; tried /nowhere/libx\.so \(.*No such'),
            ("./libx.so.1", r'got "\./libx\.so\.1"; tried '),
            ("", "got an empty text"),
            ("a\0b", "without NUL"),
        ],
    )
    def test_none(self, name: str, message: str) -> None:
        with pytest.raises((mapcall.LibraryError, ValueError), match=message) as caught:
            mapcall.load(name)
        assert "\0" in name or isinstance(caught.value, OSError)

    def test_a_file_that_is_no_library(self, tmp_path: Path) -> None:
        for content in (b"", b"text", b"\x7fELF" + bytes(60)):
            wrong = tmp_path / "wrong.so"
            wrong.write_bytes(content)
            with pytest.raises(mapcall.LibraryError, match=r"wrong\.so"):
                mapcall.load(wrong)

    def test_wrong_types(self, path: Path) -> None:
        for wrong in (3, ["m"], object()):
            with pytest.raises(TypeError):
                mapcall.load(wrong)
        for keywords in ({"define": 3}, {"include": 3}, {"headers": "x"}):
            with pytest.raises(TypeError):
                mapcall.load(path, **keywords)

    def test_symbols(self, library: mapcall.Library) -> None:
        symbols = library.symbols()
        assert symbols == sorted(symbols)
        assert {"area", "sides", "print", "by_value", "more"} <= set(symbols)
        assert not {"data", "hidden", "use"} & set(symbols)
        assert len(mapcall.load("m").symbols()) > 100

    def test_missing_symbols(self, library: mapcall.Library) -> None:
        with pytest.raises(
            mapcall.LibraryError, match=r'got "aera"; did you mean area\?|aera.*did you mean area'
        ):
            library.function("double aera(double x)")
        with pytest.raises(mapcall.LibraryError, match=r'got "quite_another"; list its symbols'):
            library.function("int quite_another(void)")
        with pytest.raises(mapcall.LibraryError, match="hidden"):
            library.function("int hidden(void)")


class TestHeader:
    @pytest.fixture
    def shapes(self, path: Path, directory: Path) -> mapcall.Library:
        return mapcall.load(path, "shapes.h", include=[directory])

    def test_functions(self, path: Path, directory: Path, shapes: mapcall.Library) -> None:
        assert shapes.sides() == 2
        assert shapes.sides is shapes.sides
        corners = np.zeros(3, shapes.struct("point").dtype)
        assert shapes.area(corners) == 3
        assert shapes == mapcall.load(path)
        assert mapcall.load(path, header=directory / "shapes.h").sides() == 2
        assert "shapes.h" in repr(shapes)
        # The types of the header are known in prototypes.
        assert shapes.function("double area(size_t n, const point corners[n])")(corners) == 3

    def test_dir(self, shapes: mapcall.Library) -> None:
        assert {"area", "sides", "function", "symbols", "path"} <= set(dir(shapes))
        assert not {"print", "by_value", "more"} & set(dir(shapes))

    def test_unsupported(self, shapes: mapcall.Library) -> None:
        assert set(shapes.unsupported) == {"print", "by_value"}
        assert "list of arguments" in shapes.unsupported["print"]
        assert "flags" in shapes.unsupported["by_value"]
        with pytest.raises(AttributeError, match="list of arguments") as caught:
            _ = shapes.print
        assert "did you mean" not in str(caught.value)
        assert (caught.value.name, caught.value.obj) == ("print", None)
        assert not hasattr(shapes, "by_value")
        assert mapcall.load("m").unsupported == {}

    def test_missing_attributes(self, path: Path, shapes: mapcall.Library) -> None:
        with pytest.raises(
            AttributeError, match='declares no function, variable or constant "nothing"'
        ) as caught:
            _ = shapes.nothing
        assert (caught.value.name, caught.value.obj) == ("nothing", shapes)
        with pytest.raises(AttributeError, match="without a header has no attribute"):
            _ = mapcall.load(path).area
        with pytest.raises(AttributeError, match="missing"):
            _ = shapes.missing

    def test_include_and_define(self, path: Path, directory: Path) -> None:
        options = {"include": [directory], "define": {"MORE": None, "SIDE": 3}}
        library = mapcall.load(path, "shapes.h", **options)
        assert library.more(3) == 4
        again = pickle.loads(pickle.dumps(library))
        assert again.more(3) == pickle.loads(pickle.dumps(library.more))(3) == 4

    def test_bad_headers(self, path: Path, directory: Path) -> None:
        with pytest.raises(mapcall.PrototypeError, match=r"nowhere\.h"):
            mapcall.load(path, "nowhere.h")
        (directory / "broken.h").write_text('#error "this header is broken"\n')
        with pytest.raises(mapcall.PrototypeError, match="this header is broken"):
            mapcall.load(path, directory / "broken.h")

    def test_a_header_of_the_system(self) -> None:
        libm = mapcall.load("m", header="math.h")
        assert libm.hypot(3, 4) == 5
        assert {"cos", "pow", "fma"} <= set(dir(libm))


# The prototype, reason, line and column of each error.
PROTOTYPES = [
    ("int f(", "expected `)`", 1, 7),
    ("", "expected the prototype of a function, got none", 1, 1),
    ("int x;", "expected the prototype of a function, got none", 1, 7),
    ("int abs()", "`abs` doesn't say what its parameters are, as C before 1989", 1, 8),
    ("int abs(double[n] x)", "expected a C declaration, got `x`", 1, 19),
    ("int abs(mystery x)", "unknown type `mystery`", 1, 9),
    ("int\nabs(\nmystery x)", "unknown type `mystery`", 3, 1),
    ("int abs(float x[n])", "the extent names `n`, which is no parameter of `abs`", 1, 17),
    ("int abs(int n, float x[-1])", "this constant expression is negative: -1", 1, 24),
    (
        "int abs(double n, float x[n])",
        "the extent names `n`, which is no integer but `double`",
        1,
        27,
    ),
    ("int abs(int x, int x)", "two parameters are called `x`", 1, 20),
    ("int abs(struct nowhere x)", "`struct nowhere` is incomplete: its size is not known", 1, 24),
    ("int abs(void x)", "C has no values of type void", 1, 14),
    ("int abs(int n, float x[1/0])", "this constant expression divides by zero", 1, 24),
]


@pytest.mark.parametrize(("prototype", "reason", "line", "column"), PROTOTYPES)
def test_prototypes_that_are_refused(prototype: str, reason: str, line: int, column: int) -> None:
    """The message has a caret under the position, the reason and the remedy."""
    with pytest.raises(mapcall.PrototypeError) as caught:
        mapcall.load(None).function(prototype)
    error = caught.value
    assert (error.reason, error.line, error.column) == (reason, line, column)
    assert isinstance(error, ValueError)
    for part in (error.reason, error.remedy, "^"):
        assert part
        assert part in str(error)


def test_bad_options(library: mapcall.Library) -> None:
    prototype = "int sides(void)"
    for keywords, message in [
        ({"engine": "llvm"}, "engine must be None, 'cranelift' or 'libffi', got 'llvm'"),
        ({"gil": "keep"}, "gil must be "),
        ({"text": None}, "text|None"),
        ({"engines": "libffi"}, "engines"),
        ({"destructor": 3}, "destructor|Function"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            library.function(prototype, **keywords)
    for wrong in (None, 3, b"int sides(void)"):
        with pytest.raises(TypeError):
            library.function(wrong)


def test_a_library_that_was_replaced(path: Path, tmp_path: Path) -> None:
    """The loaded library stays unchanged."""
    own = tmp_path / "libown.so"
    shutil.copy(path, own)
    sides = mapcall.load(own).function("int sides(void)")
    own.unlink()
    assert sides() == 2


def test_libraries_and_their_functions_are_collected() -> None:
    def used(use: Callable[[mapcall.Library], object]) -> weakref.ref[mapcall.Library]:
        library = mapcall.load(None, header="stdlib.h")
        use(library)
        return weakref.ref(library)

    uses: list[Callable[[mapcall.Library], object]] = [
        lambda library: library.abs(-3),
        lambda library: library.abs.unchecked,
        lambda library: (library.abs, library.labs, library.abs),
        lambda library: library.function("int abs(int x)"),
        lambda library: library.struct("div_t"),
        lambda library: library.free,
    ]
    references = [used(use) for use in uses]
    gc.collect()
    assert [reference() for reference in references] == [None] * len(uses)


def test_a_collected_library_leaves_its_functions() -> None:
    absolute = mapcall.load(None, header="stdlib.h").abs
    gc.collect()
    assert absolute(-3) == 3
    assert absolute.library.abs is absolute


def test_threads_get_one_function_of_a_header() -> None:
    library = mapcall.load(None, header="stdlib.h")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: library.labs, range(100)))
    assert len({id(function) for function in found}) == 1
