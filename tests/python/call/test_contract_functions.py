"""Bound functions as objects: attributes, pickles, the interpreter's lock, leaks."""

from __future__ import annotations

import contextlib
import copy
import gc
import inspect
import pickle
import pydoc
import resource
import shutil
import sys
import threading
import time
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall
from counted import PRELUDE, Counted

SOURCE = (
    PRELUDE
    + """
    #include <stdlib.h>
    #include <unistd.h>
    void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])
    { CALLED; for (size_t i = 0; i < n; i++) y[i] += a * x[i]; }
    double apply(double (*f)(double), double x) { CALLED; return f(x); }
    int meet(size_t n, double x[n], int tries) {
        volatile double *shared = x;
        CALLED;
        shared[0] = 1;
        while (tries-- > 0 && !shared[1]) usleep(1000);
        return shared[1] != 0;
    }
    int status(int code) { CALLED; return code; }
    void *make(size_t size) { CALLED; return malloc(size); }
    void end(void *p) { CALLED; free(p); }
    const char *greet(const char *name) { CALLED; return name; }
    enum mode { A, B };
    long many(enum mode mode, _Bool b, double _Complex z, const char *s, void *p,
              struct hidden *h, int (*f)(double, const char *), size_t m, size_t n,
              const double x[m][n], unsigned char y[n], short z2[]) { CALLED; return 0; }
    """
)
SAXPY = "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])"
MANY = """
    enum mode { A, B };
    struct hidden;
    long many(enum mode mode, _Bool b, double _Complex z, const char *s, void *p,
              struct hidden *h, int (*f)(double, const char *), size_t m, size_t n,
              const double x[m][n], unsigned char y[n], short z2[]);
"""


@pytest.fixture(scope="module")
def c(compile_c: Any) -> Counted:
    return Counted(compile_c(SOURCE))


@pytest.fixture
def saxpy(c: Counted) -> mapcall.Function:
    return c.function(SAXPY)


class TestAttributes:
    def test_names_and_texts(self, c: Counted, saxpy: mapcall.Function) -> None:
        assert (saxpy.name, saxpy.__name__, saxpy.__qualname__) == ("saxpy",) * 3
        assert saxpy.signature == "(),(n)->(n)"
        assert saxpy.library is c.library
        # The prototype is C that can be parsed again.
        again = c.function(saxpy.prototype)
        assert (again.prototype, again.parameters[2].extents) == (saxpy.prototype, ("n",))

    def test_repr(self, c: Counted, saxpy: mapcall.Function) -> None:
        assert repr(saxpy) == "saxpy(a: float, x: float32[n], y: float32[n] in/out)"
        assert repr(saxpy.unchecked) == f"unchecked {saxpy!r}"
        assert repr(c.function(MANY)) == (
            "many(mode: int, b: bool, z: complex, s: str, p: Handle[void], h: Handle[hidden], "
            "f: Callable[[float, str], int], x: float64[m, n], y: uint8[n] in/out, "
            "z2: int16[?] in/out) -> int"
        )

    def test_parameters(self, saxpy: mapcall.Function) -> None:
        facts = [
            (p.name, p.type, p.dtype, p.extents, p.is_inferred, p.is_output)
            for p in saxpy.parameters
        ]
        assert facts == [
            ("n", "size_t", None, (), True, False),
            ("a", "float", None, (), False, False),
            ("x", "float", np.dtype("f4"), ("n",), False, False),
            ("y", "float", np.dtype("f4"), ("n",), False, True),
        ]
        assert [p.is_const for p in saxpy.parameters] == [False, False, True, False]
        assert [p.is_restrict for p in saxpy.parameters] == [False, False, True, True]
        assert "y" in repr(saxpy.parameters[3])

    @pytest.mark.parametrize(
        "prototype", [SAXPY, MANY, "int many(const int x[2], int y[], int z[][3], int w[2][3])"]
    )
    def test_outputs_are_what_a_call_may_leave_out(self, c: Counted, prototype: str) -> None:
        function = c.function(prototype)
        signature = inspect.signature(function)
        outputs = {parameter.name for parameter in function.parameters if parameter.is_output}
        results = function.signature.split("->")[1]
        assert results.count("(") == len(outputs) + (prototype != SAXPY)
        for name in outputs:
            assert signature.parameters[name].default is None
        assert outputs == {SAXPY: {"y"}, MANY: {"y"}}.get(prototype, {"w"})

    def test_inspect(self, saxpy: mapcall.Function) -> None:
        signature = inspect.signature(saxpy)
        assert str(signature) == (
            "(a: float, x: float32[n], y: float32[n] in/out = None, *, n: int = None, "
            "out=None, where=None, threads=None, simd=None, stream=None, sync=None, "
            "progress=None, convert=None)"
        )
        bound = signature.bind(2.0, np.zeros(3, "f4"), n=3)
        assert list(bound.arguments) == ["a", "x", "n"]
        with pytest.raises(TypeError):
            signature.bind(2.0)
        assert callable(saxpy)

    def test_inspect_many(self, c: Counted) -> None:
        signature = inspect.signature(c.function(MANY))
        names = ["mode", "b", "z", "s", "p", "h", "f", "x", "y", "z2", "m", "n"]
        batch = ["out", "where", "threads", "simd", "stream", "sync", "progress", "convert"]
        assert list(signature.parameters) == [*names, *batch]
        assert repr(signature.return_annotation) == "int"

    def test_help(self, saxpy: mapcall.Function) -> None:
        text = pydoc.plain(pydoc.render_doc(saxpy))
        assert "saxpy(a: float, x: float32[n], y: float32[n] in/out" in text
        document = saxpy.__doc__
        assert document.splitlines()[0] == repr(saxpy)
        assert saxpy.prototype in document
        for line in (
            "n : int, inferred from the arrays",
            "x : float32[n], only read",
            "y : float32[n], may be written; allocated and returned if left out",
        ):
            assert line in document
            assert line in text

    def test_they_stay_as_they_are(self, saxpy: mapcall.Function) -> None:
        for name in ("x", "name", "__doc__", "library"):
            with pytest.raises((AttributeError, TypeError)):
                setattr(saxpy, name, 1)
        for class_ in (mapcall.Function, mapcall.Library, mapcall.Parameter, mapcall.Callback):
            with pytest.raises(TypeError):
                class_()
            with pytest.raises(TypeError):
                type("Own", (class_,), {})
        assert isinstance(saxpy, mapcall.Function)
        dead = weakref.ref(saxpy)
        assert dead() is saxpy

    def test_equality(self, c: Counted, saxpy: mapcall.Function) -> None:
        assert saxpy == c.function(SAXPY)
        assert hash(saxpy) == hash(c.function(SAXPY))
        assert saxpy != c.function("int status(int code)")
        assert saxpy != saxpy.unchecked
        assert saxpy != "saxpy"

    def test_a_function_keeps_its_library(self, compile_c: Any) -> None:
        function = mapcall.load(compile_c("int three(void) { return 3; }")).function(
            "int three(void)"
        )
        gc.collect()
        assert function() == 3


class TestPickles:
    def test_round_trip(self, c: Counted, saxpy: mapcall.Function) -> None:
        status = c.function("int status(int code)", check="nonzero", gil="hold", engine="libffi")
        for function in (saxpy, saxpy.unchecked, status, c.function(MANY)):
            for again in (pickle.loads(pickle.dumps(function)), copy.copy(function)):
                assert again == function
                assert (again.prototype, repr(again)) == (function.prototype, repr(function))
                assert again.engine == function.engine
        with pytest.raises(mapcall.CallError):
            pickle.loads(pickle.dumps(status))(0)
        assert len(pickle.dumps(saxpy)) < 1000
        library = pickle.loads(pickle.dumps(c.library))
        assert (library, hash(library)) == (c.library, hash(c.library))
        text = c.function("const char *greet(const char *name)", text="bytes")
        assert pickle.loads(pickle.dumps(text))("x") == b"x"

    def test_with_a_destructor(self, c: Counted) -> None:
        end = c.function("void end(void *p)")
        make = pickle.loads(pickle.dumps(c.function("void *make(size_t size)", destructor=end)))
        before = c.called
        make(3).close()
        assert c.called == before + 2

    def test_in_another_process(
        self, saxpy: mapcall.Function, tmp_path: Path, run_script: Callable[..., str]
    ) -> None:
        (tmp_path / "f.pickle").write_bytes(pickle.dumps(saxpy))
        script = """
            import pathlib, pickle, sys, numpy
            saxpy = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
            print(saxpy(2, numpy.ones(3, "f4")).tolist())
        """
        assert run_script(script, tmp_path / "f.pickle") == "[2.0, 2.0, 2.0]\n"

    def test_of_another_library(self, c: Counted, compile_c: Any, tmp_path: Path) -> None:
        path = tmp_path / "libown.so"
        shutil.copy(c.path, path)
        function = mapcall.load(path).function("int status(int code)")
        pickled = pickle.dumps(function)
        assert pickle.loads(pickled)(3) == 3
        path.unlink()
        with pytest.raises(mapcall.LibraryError, match=r"libown\.so of host .*none \(No such"):
            pickle.loads(pickled)
        shutil.copy(compile_c("int status(int code) { return -code; }"), path)
        with pytest.raises(
            mapcall.LibraryError,
            match=r"libown\.so of host .*another file \(digest .* build the same one",
        ):
            pickle.loads(pickled)
        assert function(3) == 3

    def test_objects_that_cannot_be_pickled(self, c: Counted) -> None:
        handle = c.function("void *make(size_t size)")(3)
        c_free = c.function("void end(void *p)")
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(handle)
        c_free(handle)
        callback = c.function("double apply(double (*f)(double), double x)").callback("f", abs)
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(callback)


class TestLock:
    """Whether another thread of Python runs while C does."""

    PROTOTYPE = "int meet(size_t n, double x[n], int tries)"

    @staticmethod
    def meets(meet: mapcall.Function, size: int, tries: int) -> bool:
        """Whether another thread answers while C waits for it, up to ``tries`` milliseconds.

        It answers only when C has started, so it can't answer if C holds the lock, however long it
        waits.
        """
        x, ends = np.zeros(size), threading.Event()

        def answer() -> None:
            while not x[0] and not ends.is_set():
                time.sleep(0.001)
            x[1] = 1

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            return meet(x, tries) == 1
        finally:
            ends.set()
            thread.join()

    def test_forced(self, c: Counted) -> None:
        released, held = (c.function(self.PROTOTYPE, gil=gil) for gil in ("release", "hold"))
        assert not self.meets(held, 2, tries=50)
        assert self.meets(released, 2, tries=60_000)

    def test_by_size(self, c: Counted) -> None:
        meet, released_from = c.function(self.PROTOTYPE), (512 << 10) // 8
        assert not self.meets(meet, released_from - 1, tries=50)
        assert self.meets(meet, released_from, tries=60_000)

    def test_another_word(self, c: Counted) -> None:
        with pytest.raises(ValueError, match="gil must be None, 'hold' or 'release', got 'no'"):
            c.function(self.PROTOTYPE, gil="no")


class TestLeaks:
    NUMBER = 20_000

    def test_calls(self, c: Counted, saxpy: mapcall.Function) -> None:
        x, y, wrong = np.ones(4, "f4"), np.zeros(4, "f4"), np.zeros(3, "f8")
        text, view = "some text", memoryview(np.zeros(4, "f4"))
        greet = c.function("const char *greet(const char *name)")
        objects = [x, y, wrong, text, view, saxpy, greet, c.library, x.dtype]

        def loop(number: int) -> None:
            for _ in range(number):
                saxpy(2.5, x, y)
                saxpy(2.5, x=view)
                greet(text)
            for _ in range(number // 10):
                for arguments in ((2.5, x, wrong), (2.5, x, x), (None, x, y), (1, 2, 3, 4)):
                    try:
                        saxpy(*arguments)
                    except mapcall.ArgumentError:
                        pass
                    else:
                        raise AssertionError(arguments)

        def traced() -> int:
            """Returns the bytes that this file has allocated; other threads may run meanwhile."""
            gc.collect()
            own = [tracemalloc.Filter(True, __file__)]
            traces = tracemalloc.take_snapshot().filter_traces(own).traces
            return sum(trace.size for trace in traces)

        loop(100)
        gc.collect()
        before = [sys.getrefcount(each) for each in objects]
        loop(self.NUMBER)
        gc.collect()
        assert [sys.getrefcount(each) for each in objects] == before
        tracemalloc.start()
        try:
            loop(1000)
            before_loop = traced()
            loop(10_000)
            assert traced() - before_loop < 10_000
        finally:
            tracemalloc.stop()

    def test_references_end_with_the_call(self, c: Counted, saxpy: mapcall.Function) -> None:
        """The references are released when the call ends, and not by the next call."""

        class Interface:
            def __init__(self, x: np.ndarray) -> None:
                self.x = x

            @property
            def __array_interface__(self) -> dict[str, Any]:
                return self.x.__array_interface__

        def identity(x: float) -> float:
            return x

        given, raw = Interface(np.ones(4, "f4")), bytearray(16)
        apply = c.function("double apply(double (*f)(double), double x)")
        before = sys.getrefcount(given), sys.getrefcount(identity)
        saxpy(1, given)
        assert apply(identity, 2) == 2
        assert (sys.getrefcount(given), sys.getrefcount(identity)) == before
        with contextlib.suppress(mapcall.ArgumentError):
            saxpy(1, given, np.zeros(3, "f4"))
        assert sys.getrefcount(given) == before[0]
        # A bytearray can't be resized while its memory is exported.
        saxpy(1, memoryview(raw).cast("f"))
        raw.append(0)

    def test_callbacks_and_handles(self, c: Counted) -> None:
        apply = c.function("double apply(double (*f)(double), double x)")
        make = c.function("void *make(size_t size)", destructor=c.function("void end(void *p)"))

        def failing(x: float) -> float:
            raise LookupError

        def identity(x: float) -> float:
            return x

        def loop(number: int) -> None:
            for _ in range(number):
                apply(identity, 2.0)
                apply.callback("f", identity)
                with pytest.raises(LookupError):
                    apply(failing, 2.0)
                handle = make(4096)
                handle.array(512, "f8")
                make(4096).close()

        loop(500)
        gc.collect()
        objects = identity, failing, make
        counts = [sys.getrefcount(each) for each in objects]
        before = resident()
        loop(10_000)
        gc.collect()
        assert [sys.getrefcount(each) for each in objects] == counts
        # Two leaked blocks of 4 KiB a round would be 80 MB, one closure a round 1 MB and more.
        assert resident() - before < 3 << 20

    def test_bound_functions(self, c: Counted) -> None:
        def loop(number: int) -> None:
            for _ in range(number):
                c.function(SAXPY)(1, np.ones(2, "f4"))

        loop(200)
        gc.collect()
        before = resident()
        loop(3000)
        gc.collect()
        assert resident() - before < 4 << 20


def resident() -> int:
    """Returns the resident memory of the process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
