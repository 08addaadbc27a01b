"""Compares calls, binding and headers with those of other tools: the budgets of docs/design.md."""

from __future__ import annotations

import ctypes
import itertools
import math
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy

import builds
import mapcall
import rivals
from harness import Limited, Report, Row, Skipped, Timed, Work, alone, measure, options

SAXPY = "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n]);"

# The rivals, each with its budget in docs/design.md if it has one.
SAXPY_RIVALS: dict[str, tuple[Callable[[Path, rivals.Vectors], Timed], float | None]] = {
    "nanobind": (rivals.nanobind, 0.25),
    "ndpointer": (rivals.ndpointer, 0.02),
    "C extension": (rivals.extension, 1.35),
    "cffi, ABI mode": (rivals.cffi_abi, None),
    "cffi, API mode": (rivals.cffi_api, None),
    "numba": (rivals.numba, None),
    "LuaJIT, no checks": (rivals.luajit, None),
}


def saxpy_row(directory: Path, rival: str) -> Row:
    """Returns a row for `saxpy` on 16 elements, with mapcall's checks and those of the rival."""
    make, budget = SAXPY_RIVALS[rival]
    kernel = builds.kernel(directory)
    vectors = {"x": numpy.arange(16, dtype="f4"), "y": numpy.ones(16, "f4")}
    function = mapcall.load(kernel).function(SAXPY)
    ours = Work("saxpy(2.0, x, y)", {**vectors, "saxpy": function})
    other = make(kernel, vectors)
    for work in (ours, other):
        # A rival in another process checks its own result.
        if isinstance(work, Work):
            agree(work)
    return Row(f"saxpy: {rival}", ours, other, budget)


def agree(saxpy: Work) -> None:
    """Runs a `saxpy` once, and compares its result with NumPy's."""
    x, y = saxpy.names["x"], saxpy.names["y"]
    y[:] = 1
    exec(saxpy.statement, dict(saxpy.names))
    numpy.testing.assert_array_equal(y, 2 * x + 1)


def cos_row(rival: str) -> Row:
    """Returns a row for `cos(1.0)`. `math.cos` is Python's binding of the same function."""
    libm = mapcall.load("m")
    prototype = "double cos(double x);"
    ours = Work("f(1.0)", {"f": libm.function(prototype)})
    if rival == "math.cos":
        names: dict[str, Any] = {"f": math.cos}
    else:
        names = by(rival, libm.path, prototype, "cos", ctypes.c_double, ctypes.c_double)
    assert ours.names["f"](1.0) == names["f"](1.0) == math.cos(1.0)
    return Row(f"cos(1.0): {rival}", ours, Work("f(1.0)", names), None)


def strlen_row(rival: str) -> Row:
    """Returns a row for `strlen` of a `str`, which has to be encoded for the rivals."""
    prototype = "size_t strlen(const char *s);"
    text = {"text": "sixteen letters."}
    ours = Work("f(text)", {**text, "f": mapcall.load(None).function(prototype)})
    names = by(rival, None, prototype, "strlen", ctypes.c_size_t, ctypes.c_char_p)
    assert ours.names["f"](text["text"]) == names["f"](text["text"].encode()) == 16
    return Row(f"strlen(text): {rival}", ours, Work("f(text.encode())", text | names), None)


# Prototypes of `qsort` on doubles, by what its comparison gets: handles or arrays.
QSORT = {
    "a[0] of a pointer": "const double *a, const double *b",
    "a[0] of an array": "const double a[1], const double b[1]",
}
# The rivals, each with its budget in docs/design.md for pointers.
QSORT_RIVALS = {"ctypes": 0.8, "cffi": 0.5}


def compare(a: Any, b: Any) -> int:
    """Compares the doubles that two pointers lead to, in each library by `a[0]`."""
    x, y = a[0], b[0]
    return -1 if x < y else 1 if x > y else 0


def qsort_row(rival: str, by_what: str) -> Row:
    """Returns a row for `qsort` of 4,096 doubles, with a comparison in Python."""
    values = numpy.random.default_rng(0).random(4096)
    qsort = mapcall.load(None).function(
        "void qsort(double base[n], size_t n, size_t size,"
        f"           int (*compare)({QSORT[by_what]}))"
    )
    names = {"values": values, "x": values.copy(), "qsort": qsort, "compare": compare}
    ours = Work("x[:] = values; qsort(x, 8, compare)", names)
    if rival == "ctypes":
        pointer = ctypes.POINTER(ctypes.c_double)
        function = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer)
        theirs = ctypes.CDLL(None).qsort
        theirs.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, function]
        theirs.restype = None
        call = "qsort(x.ctypes.data, 4096, 8, function(compare))"
        other = names | {"x": values.copy(), "qsort": theirs, "function": function}
    else:
        ffi = builds.package("cffi").FFI()
        ffi.cdef("void qsort(double *, size_t, size_t, int (*)(const double *, const double *));")
        call = (
            "qsort(ffi.from_buffer('double[]', x), 4096, 8,"
            " ffi.callback('int(const double *, const double *)', compare))"
        )
        other = names | {"x": values.copy(), "qsort": ffi.dlopen(None).qsort, "ffi": ffi}
    row = Row(
        f"qsort, {by_what}: {rival}",
        ours,
        Work(f"x[:] = values; {call}", other),
        QSORT_RIVALS[rival] if by_what == "a[0] of a pointer" else None,
    )
    for work in (ours, row.rival):
        exec(work.statement, dict(work.names))
        numpy.testing.assert_array_equal(work.names["x"], numpy.sort(values))
    return row


def by(
    rival: str, library: str | None, prototype: str, name: str, result: Any, argument: Any
) -> dict[str, Any]:
    """Returns the function `f` of one argument by ctypes or cffi, and the library, to keep it open.

    >>> by("ctypes", None, "int abs(int i);", "abs", ctypes.c_int, ctypes.c_int)["f"](-3)
    3
    """
    if rival == "ctypes":
        opened = ctypes.CDLL(library)
        function = getattr(opened, name)
        function.restype, function.argtypes = result, [argument]
    else:
        ffi = builds.package("cffi").FFI()
        ffi.cdef(prototype)
        opened = ffi.dlopen(library)
        function = getattr(opened, name)
    return {"f": function, "library": opened}


def rows(directory: Path) -> Iterator[Row | Skipped]:
    """Yields all rows that have rivals. The libraries compiled for them stay in `directory`."""
    groups = [
        ("saxpy", partial(saxpy_row, directory), tuple(SAXPY_RIVALS)),
        ("cos(1.0)", cos_row, ("math.cos", "ctypes", "cffi")),
        ("strlen(text)", strlen_row, ("ctypes", "cffi")),
        *(
            (f"qsort, {by_what}", partial(qsort_row, by_what=by_what), tuple(QSORT_RIVALS))
            for by_what in QSORT
        ),
    ]
    for work, make, names in groups:
        for name in names:
            try:
                yield make(name)
            except builds.MissingError as error:
                yield Skipped(f"{work}: {name}", str(error))


def binding(directory: Path) -> Work:
    """Returns the binding of `saxpy` by a prototype that is new each time, so it is in no cache."""
    prototypes = (SAXPY.replace("float a", f"float a{i}") for i in itertools.count())
    bind = mapcall.load(builds.kernel(directory)).function
    return Work("bind(next(prototypes))", {"bind": bind, "prototypes": prototypes})


def header(directory: Path, functions: int) -> Row:
    """Returns a row that loads a library with its header and binds the last function.

    The rival only runs the preprocessor.

    A macro that is different each time renames every `a`, so that the header is in no cache.
    """
    names = [f"saxpy{i}" for i in range(functions)]
    declarations = "".join(f"{SAXPY}\n".replace("saxpy", name) for name in names)
    path = directory / "many.h"
    path.write_text(f"#include <stddef.h>\n{declarations}")
    source = directory / "many.c"
    source.write_text("".join(f"void {name}(void) {{}}\n" for name in names))
    compiler = builds.tool("cc", "gcc")
    library = builds.build(directory, "many", [compiler, "-shared", "-fPIC"], source)

    def load(a: str) -> Any:
        return getattr(mapcall.load(library, header=path, define={"a": a}), names[-1])

    def preprocess(a: str) -> bytes:
        command = [compiler, "-E", f"-Da={a}", str(path)]
        return subprocess.run(command, check=True, capture_output=True).stdout

    fresh = (f"a{i}" for i in itertools.count())
    return Row(
        f"header of {functions}: cc -E",
        Work("load(next(fresh))", {"load": load, "fresh": fresh}),
        Work("preprocess(next(fresh))", {"preprocess": preprocess, "fresh": fresh}),
        None,
    )


def main() -> None:
    report = Report("Call", options(__doc__).parse_args().json)
    report.measure(rows(builds.DIRECTORY))
    with tempfile.TemporaryDirectory() as directory:
        loading = measure(header(Path(directory), 500))
    report.add(loading)
    report.add(Limited("header, after the preprocessor", loading.ours - loading.rival, 0.05))
    report.add(Limited("bind one prototype", alone(binding(builds.DIRECTORY)), 5e-5))


if __name__ == "__main__":
    main()
