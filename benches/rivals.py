"""Calls `saxpy(2.0, x, y)` by each rival: the same function of the same shared library.

>>> saxpy, y = builds.kernel(), numpy.ones(3, "f4")
>>> work = ndpointer(saxpy, {"x": numpy.arange(3, dtype="f4"), "y": y})
>>> exec(work.statement, dict(work.names))
>>> y
array([1., 3., 5.], dtype=float32)

The parameters of each function are the path of the library and the arrays. It raises
`builds.MissingError` if this machine lacks the rival.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

import builds
from harness import Work

Vectors = Mapping[str, numpy.ndarray]
DECLARATION = "void saxpy(size_t n, float a, const float *x, float *y);"


def nanobind(saxpy: Path, vectors: Vectors) -> Work:
    """`nb::ndarray` of `float`, 1-d, C-contiguous, on the CPU; built as nanobind's docs advise."""
    include = Path(builds.package("nanobind").include_dir())
    command = builds.linked(
        builds.tool("c++", "g++"),
        saxpy,
        "-std=c++17",
        "-DNB_COMPACT_ASSERTIONS",
        "-fvisibility=hidden",
        "-fno-strict-aliasing",
        f"-I{include}",
        f"-I{include.parent / 'ext/robin_map/include'}",
        # The macro has no use in the source; the digest of the command changes with the version.
        f"-DBUILT_WITH={builds.package('nanobind').__version__}",
    )
    sources = [builds.SOURCES / "nanobind.cpp", include.parent / "src/nb_combined.cpp"]
    path = builds.build(saxpy.parent, "nanobind", command, *sources)
    module = builds.extension("saxpy_nanobind", path)
    return Work("saxpy(2.0, x, y)", {**vectors, "saxpy": module.saxpy})


def ndpointer(saxpy: Path, vectors: Vectors) -> Work:
    """ctypes, with `ndpointer`, which checks dtype, dimensions and flags, and no lengths."""
    function = ctypes.CDLL(str(saxpy)).saxpy
    function.restype = None
    function.argtypes = [
        ctypes.c_size_t,
        ctypes.c_float,
        numpy.ctypeslib.ndpointer("f4", ndim=1, flags="C,A"),
        numpy.ctypeslib.ndpointer("f4", ndim=1, flags="C,A,W"),
    ]
    return Work("saxpy(len(x), 2.0, x, y)", {**vectors, "saxpy": function})


def extension(saxpy: Path, vectors: Vectors) -> Work:
    """A hand-written extension module that makes the checks that mapcall makes."""
    command = builds.linked(builds.tool("cc", "gcc"), saxpy, f"-I{numpy.get_include()}")
    path = builds.build(saxpy.parent, "extension", command, builds.SOURCES / "extension.c")
    module = builds.extension("saxpy_extension", path)
    return Work("saxpy(2.0, x, y)", {**vectors, "saxpy": module.saxpy})


def cffi_abi(saxpy: Path, vectors: Vectors) -> Work:
    """cffi without a compiler. `from_buffer` checks contiguity and writeability, and no dtype."""
    ffi = builds.package("cffi").FFI()
    ffi.cdef(DECLARATION)
    # cffi closes the library when the object is deleted.
    library = ffi.dlopen(str(saxpy))
    return _cffi(ffi, library, vectors)


def cffi_api(saxpy: Path, vectors: Vectors) -> Work:
    """cffi with a compiled module; the same checks."""
    ffi = builds.package("cffi").FFI()
    ffi.cdef(DECLARATION)
    ffi.set_source("saxpy_cffi", DECLARATION)
    source = saxpy.parent / "saxpy_cffi.c"
    # `emit_c_code` prints a line.
    with contextlib.redirect_stdout(io.StringIO()):
        ffi.emit_c_code(str(source))
    command = builds.linked(builds.tool("cc", "gcc"), saxpy)
    module = builds.extension("saxpy_cffi", builds.build(saxpy.parent, "cffi", command, source))
    return _cffi(module.ffi, module.lib, vectors)


def _cffi(ffi: Any, library: Any, vectors: Vectors) -> Work:
    return Work(
        "saxpy(len(x), 2.0, from_buffer(floats, x), from_buffer(floats, y, True))",
        {
            **vectors,
            "floats": ffi.typeof("float[]"),
            "from_buffer": ffi.from_buffer,
            "library": library,
            "saxpy": library.saxpy,
        },
    )


def numba(saxpy: Path, vectors: Vectors) -> Work:
    """A compiled function of fixed types that calls the C function and checks the lengths.

    A loop in Numba in place of the call takes as long: unpacking the arguments takes the time.
    """
    jit = builds.package("numba").njit
    function = ctypes.CDLL(str(saxpy)).saxpy
    function.restype = None
    function.argtypes = [ctypes.c_size_t, ctypes.c_float, ctypes.c_void_p, ctypes.c_void_p]

    @jit("void(float32, float32[::1], float32[::1])")
    def checked(a: float, x: numpy.ndarray, y: numpy.ndarray) -> None:
        if x.size != y.size:
            raise ValueError("x and y differ in length")
        function(x.size, a, x.ctypes, y.ctypes)

    return Work("saxpy(2.0, x, y)", {**vectors, "saxpy": checked})


@dataclass(frozen=True)
class LuaJIT:
    """A LuaJIT program that makes the calls in a loop without checks, and times them itself."""

    command: tuple[str, ...]

    def timer(self) -> LuaJIT:
        return self

    def timeit(self, number: int) -> float:
        command = [*self.command, str(number)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def luajit(saxpy: Path, vectors: Vectors) -> LuaJIT:
    """LuaJIT, which has its own arrays of 16 elements and checks its result itself."""
    script = builds.SOURCES / "luajit.lua"
    return LuaJIT((builds.tool("luajit", "luajit"), str(script), str(saxpy)))
