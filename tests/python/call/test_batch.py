"""Batches of every form: foreign arrays, maps, keywords of parameters, many batches at once."""

from __future__ import annotations

import array
import ctypes
import inspect
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall
from counted import PRELUDE, Counted

Compile = Callable[..., Path]

SOURCE = (
    PRELUDE
    + """
    #include <unistd.h>
    double half(double x) { CALLED; return x / 2; }
    double sum(size_t n, const double *x)
    { CALLED; double s = 0; for (size_t i = 0; i < n; i++) s += x[i]; return s; }
    void scale(size_t n, double a, double *x) { CALLED; for (size_t i = 0; i < n; i++) x[i] *= a; }
    double named(double out, double where, double threads, double progress)
    { CALLED; return out + 2 * where + 3 * threads + 4 * progress; }
    void fill(size_t n, double value, double *out)
    { CALLED; for (size_t i = 0; i < n; i++) out[i] = value; }
    double nap(double seconds) { CALLED; usleep(seconds * 1e6); return seconds; }
    _Bool both(_Bool a, _Bool b) { CALLED; return a && b; }
    """
)
HALF = "double half(double x)"
SUM = "double sum(size_t n, const double x[n])"
SCALE = "void scale(size_t n, double a, double x[n])"


@pytest.fixture(scope="module")
def c(compile_c: Compile) -> Counted:
    return Counted(compile_c(SOURCE))


class Exporter:
    """An object that exports its memory through one protocol only."""

    def __init__(self, x: np.ndarray) -> None:
        self.kept = x


class Interface(Exporter):
    @property
    def __array_interface__(self) -> Any:
        return self.kept.__array_interface__


class Struct(Exporter):
    @property
    def __array_struct__(self) -> Any:
        return self.kept.__array_struct__


class DLPack(Exporter):
    def __dlpack__(self, **options: Any) -> Any:
        return self.kept.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def foreign(x: np.ndarray) -> dict[str, Any]:
    """Returns arrays of other libraries with the items of `x`, for reading and writing."""
    return {
        "array": array.array("d", x),
        "memoryview": memoryview(x),
        "ctypes": (ctypes.c_double * len(x))(*x),
        "interface": Interface(x),
        "struct": Struct(x),
        "dlpack": DLPack(x),
    }


class TestForeign:
    @pytest.mark.parametrize("kind", foreign(np.ones(1)))
    def test_arrays(self, c: Counted, kind: str) -> None:
        half = c.function(HALF)
        given = foreign(np.arange(4.0))[kind]
        found = half(given)
        assert type(found) is np.ndarray
        assert found.tolist() == [0, 0.5, 1, 1.5]
        out = foreign(np.zeros(4))[kind]
        assert half(given, out=out) is out
        read = out.kept if isinstance(out, Exporter) else out
        assert list(read) == [0, 0.5, 1, 1.5]
        assert half(given, out=given) is given

    @pytest.mark.parametrize("kind", [Interface, Struct, DLPack, memoryview])
    def test_with_core_axes(self, c: Counted, kind: Any) -> None:
        x = np.arange(6.0).reshape(2, 3)
        assert c.function(SUM)(kind(x)).tolist() == [3, 12]
        assert c.function(SCALE)(np.array([1.0, 2]), kind(x)) is None
        assert x.tolist() == [[0, 1, 2], [6, 8, 10]]

    def test_masks(self, c: Counted) -> None:
        half, mask = c.function(HALF), np.array([True, False])
        for where in (mask, memoryview(mask), Interface(mask), DLPack(mask)):
            assert half(np.ones(2), where=where).tolist() == [0.5, 0]

    def test_of_another_type(self, c: Counted) -> None:
        half = c.function(HALF)
        c.refuses(
            "half: x: expected double, got an array of float32;"
            " make it one with numpy.asarray(x, 'float64')",
            half,
            array.array("f", [1, 2]),
        )
        c.refuses(
            "half: out: expected float64, writeable, got a read-only array;"
            " pass new_out = numpy.array(out), which has the results then",
            half,
            np.ones(2),
            out=memoryview(bytes(16)).cast("d"),
        )

    def test_subclasses(self, c: Counted) -> None:
        class Own(np.ndarray):
            pass

        half, x = c.function(HALF), np.ones((2, 2)).view(Own)
        assert type(half(x)) is np.ndarray
        assert half(x, out=x) is x


class TestMaps:
    @pytest.mark.parametrize("threads", [1, 2])
    def test_in_and_out(self, c: Counted, tmp_path: Path, threads: int) -> None:
        half = c.function(HALF)
        mapcall.create(tmp_path / "x.npy", (1000, 7), "f8")[:] = np.arange(7)
        x = mapcall.open(tmp_path / "x.npy", mode="r")
        found = half(x, threads=threads)
        assert type(found) is np.ndarray
        y = mapcall.create(tmp_path / "y.npy", (1000, 7), "f8")
        assert half(x, out=y, threads=threads) is y
        y.flush()
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), np.arange(7) / 2 + 0 * found)
        raw = mapcall.memmap(tmp_path / "raw", "f8", "w+", shape=(7, 1000))
        assert half(x.T, out=raw) is raw
        assert (np.fromfile(tmp_path / "raw").reshape(7, 1000) == found.T).all()
        assert (c.function(SUM)(x) == 21).all()
        assert c.function(SCALE)(2.0, y) is None
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), 2 * found)

    def test_for_reading(self, c: Counted, tmp_path: Path) -> None:
        mapcall.create(tmp_path / "x.npy", 4, "f8")
        x = mapcall.open(tmp_path / "x.npy", mode="r")
        c.refuses(
            "half: out: expected float64, writeable, got a read-only array;"
            " pass new_out = out.copy(), which has the results then, or leave `out` out, or"
            " open the map for writing",
            c.function(HALF),
            x,
            out=x,
        )

    def test_two_maps_of_a_file(self, c: Counted, tmp_path: Path) -> None:
        """The maps share memory at different addresses, for which the caller is responsible."""
        mapcall.create(tmp_path / "x.npy", 4, "f8")[:] = 1
        x, y = (mapcall.open(tmp_path / "x.npy", mode=mode) for mode in ("r", "r+"))
        assert c.function(HALF)(x, out=y) is y
        assert x.tolist() == [0.5] * 4


class TestNames:
    PROTOTYPE = "double named(double out, double where, double threads, double progress)"

    def test_parameters_go_first(self, c: Counted) -> None:
        named = c.function(self.PROTOTYPE)
        x = np.array([1.0, 2])
        assert named(1, 2, 3, 4) == 30
        assert named(out=x, where=2, threads=3, progress=4).tolist() == [30, 31]
        assert named(1, where=x, threads=x, progress=0).tolist() == [6, 11]
        c.refuses(
            "named: threads: expected double once, got it by position and by name; give it once",
            named,
            1,
            2,
            3,
            4,
            threads=2,
        )
        parameters = inspect.signature(named).parameters
        assert list(parameters)[:4] == ["out", "where", "threads", "progress"]
        assert all(p.kind is p.POSITIONAL_OR_KEYWORD for p in list(parameters.values())[:4])

    def test_an_output_called_out(self, c: Counted) -> None:
        fill = c.function("void fill(size_t n, double value, double out[n])")
        out = np.zeros((2, 3))
        assert fill(np.array([1.0, 2]), out=out) is None
        assert out.tolist() == [[1] * 3, [2] * 3]
        assert fill(np.array([1.0, 2]), n=2).tolist() == [[1, 1], [2, 2]]

    def test_signature(self, c: Counted) -> None:
        half = c.function(HALF)
        parameters = inspect.signature(half).parameters
        keywords = {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
        assert {"out", "where", "threads", "progress"} <= set(keywords)
        assert all(p.default is None for p in keywords.values())
        inspect.signature(half).bind(np.ones(3), out=None, threads=2)
        assert half.signature == "()->()"
        sentence = "Given arrays with more axes, it is called for each index of these, as a batch."
        assert sentence in (half.__doc__ or "")
        assert "The options out, where, threads, " in (half.__doc__ or "")
        assert "batch" not in (c.function("const char *half(double x)").__doc__ or "")

    def test_every_keyword_is_explained(self, c: Counted) -> None:
        """The docstring of `mapcall.Function` describes every keyword."""
        text = mapcall.Function.__doc__ or ""
        half = c.function(HALF)
        for name, parameter in inspect.signature(half).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY:
                assert f"\n{name} :" in text, name

    def test_pickled(self, c: Counted) -> None:
        half = pickle.loads(pickle.dumps(c.function(HALF)))
        assert half(np.ones(3), threads=2).tolist() == [0.5] * 3


class TestSingle:
    """The arguments that make one call a batch, and their effect on the result."""

    def test_results(self, c: Counted) -> None:
        half = c.function(HALF)
        assert type(half(1.0)) is float
        assert type(half(np.float64(1))) is float
        assert type(half(np.array(1.0))) is float
        assert type(half(1.0, threads=2)) is float
        # The result is a scalar of NumPy, like that of a ufunc.
        assert type(half(1.0, where=True)) is np.float64
        assert type(half(1.0, out=(None,))) is np.float64
        assert half(np.ones((1,))).shape == (1,)
        out = np.zeros(())
        assert half(1.0, out=out) is out
        assert out == 0.5

    def test_nothing_is_called(self, c: Counted) -> None:
        half, before = c.function(HALF), c.called
        assert half(1.0, where=False) == 0
        assert half(np.ones(3), where=False).tolist() == [0, 0, 0]
        out = np.full(3, 7.0)
        assert half(np.ones(3), where=np.zeros(3, "?"), out=out).tolist() == [7, 7, 7]
        assert half(np.ones((2, 0, 3))).shape == (2, 0, 3)
        assert c.called == before
        assert half(1.0, where=np.array([True, False])).tolist() == [0.5, 0]
        assert c.called == before + 1

    def test_bytes_of_truth(self, c: Counted) -> None:
        """Masks and bool numbers have any byte: all but 0 are true in C."""
        odd = np.array([0, 1, 2, 255], "u1").view("?")
        half = c.function(HALF)
        assert half(np.ones(4), where=odd).tolist() == [0, 0.5, 0.5, 0.5]


class TestAtOnce:
    def test_a_quick_batch_does_not_wait_for_a_slow_one(self, c: Counted) -> None:
        nap, half = c.function("double nap(double seconds)"), c.function(HALF)
        begun, is_enough = threading.Event(), threading.Event()

        def progress(done: int, calls: int) -> None:
            begun.set()
            if is_enough.is_set():
                raise InterruptedError

        def run() -> None:
            # All calls would take minutes.
            with pytest.raises(InterruptedError):
                nap(np.full(100_000, 0.002), threads=2, progress=progress)

        slow = threading.Thread(target=run)
        slow.start()
        begun.wait()
        for _ in range(5):
            assert (half(np.ones(1000), threads=2) == 0.5).all()
        assert slow.is_alive()
        is_enough.set()
        slow.join()

    def test_from_many_threads(self, c: Counted) -> None:
        half, x = c.function(HALF), np.arange(10_000.0)
        wrong = []

        def work() -> None:
            for threads in (1, 2, 3, 0) * 10:
                if not np.array_equal(half(x, threads=threads), x / 2):
                    wrong.append(threads)

        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert not wrong
