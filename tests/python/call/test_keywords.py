"""Parameters with the names of options and of Python's keywords: both have a spelling."""

from __future__ import annotations

import inspect
import keyword
import pydoc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall
from mapcall import _mapcall

OPTIONS = ["out", "where", "threads", "simd", "stream", "sync", "progress", "convert"]
RESERVED = ["in", "lambda", "def", "None", "True", "is", "with"]
SOURCE = """
int twice(int n, const double *x, double *y)
{ for (int i = 0; i < n; i++) y[i] = 2 * x[i]; return 0; }
double twofold(double x) { return 2 * x; }
"""


@pytest.fixture(scope="module")
def c(compile_c: Any) -> mapcall.Library:
    return mapcall.load(compile_c(SOURCE))


@pytest.mark.parametrize("name", [*OPTIONS, *RESERVED, "self", "args", "kwargs", "out_", "x"])
def test_a_parameter_of_any_name(c: mapcall.Library, name: str, tmp_path: Path) -> None:
    function = c.function(f"double twofold(double {name})")
    spelled = name + "_" if keyword.iskeyword(name) else name
    assert function(**{name: 3.0}) == function(**{spelled: 3.0}) == 6.0
    signature = inspect.signature(function)
    names = list(signature.parameters)
    assert names[0] == spelled
    assert names[1:] == [option + "_" * (option == name) for option in OPTIONS] or name == "out_"
    assert spelled in pydoc.render_doc(function)
    signature.bind(**{spelled: 3.0})
    # The option has a spelling in each case: that of the signature.
    out = _mapcall.option_names(function)["out"]
    path = tmp_path / "y.npy"
    made = function(**{spelled: np.arange(3.0), out: path})
    assert made.tolist() == np.load(path).tolist() == [0, 2, 4]
    with pytest.raises(mapcall.ArgumentError, match=f"{out}: expected float64 in a file"):
        function(**{spelled: np.arange(3.0), out: tmp_path / "y.raw"})


def test_options_with_underscores(c: mapcall.Library) -> None:
    plain = c.function("double twofold(double x)")
    assert plain(np.ones(2), threads_=2, out_=np.zeros(2)).tolist() == [2, 2]
    both = c.function("void twice(int n, const double out[n], double out_[n])")
    assert list(inspect.signature(both).parameters)[:5] == ["out", "out_", "n", "out__", "where"]
    y = np.zeros((3, 2))
    assert both(np.ones((3, 2)), out__=y) is y
    assert y.tolist() == [[2, 2]] * 3
    threads = c.function("double twofold(double threads)")
    assert threads(threads=np.ones(4), threads_=2).tolist() == [2] * 4
    with pytest.raises(
        mapcall.ArgumentError, match="threads_: expected a number of threads, got -1"
    ):
        threads(np.ones(4), threads_=-1)
    with pytest.raises(
        mapcall.ArgumentError, match="twofold: expected a parameter's name, got lambda_"
    ):
        threads(lambda_=1.0)


def test_messages_have_code_that_python_reads(c: mapcall.Library) -> None:
    function = c.function("int twice(int n, const double in[n], double y[n])")
    with pytest.raises(mapcall.ArgumentError) as caught:
        function(np.ones(3, "f4"))
    assert caught.value.remedy.startswith("convert it with in_.astype('float64')")
    dollar = c.function("double twofold(double a$b)")
    assert next(iter(inspect.signature(dollar).parameters)) == "a_b"
    assert dollar(a_b=2.0) == 4.0


def test_masks_and_dask(c: mapcall.Library, tmp_path: Path) -> None:
    da = pytest.importorskip("dask.array")
    function = c.function("int twice(int n, const double where[n], double out[n])", check="zero")
    x = np.arange(6.0).reshape(3, 2)
    mask = np.array([True, False, True])
    expected = (2 * x * mask[:, None]).tolist()
    assert function(x, where_=mask).tolist() == expected
    lazy = da.from_array(x, chunks=(2, 2))
    assert function(where=lazy).compute(scheduler="synchronous").tolist() == (2 * x).tolist()
    masked = function(lazy, where_=da.from_array(mask, chunks=2))
    assert masked.compute(scheduler="synchronous").tolist() == expected
    written = function(lazy, out_=tmp_path / "y.npy")
    assert np.asarray(written).tolist() == (2 * x).tolist()
    reserved = c.function("double twofold(double lambda)")
    assert reserved(lambda_=lazy).compute(scheduler="synchronous").tolist() == (2 * x).tolist()


def test_statuses(c: mapcall.Library, tmp_path: Path) -> None:
    da = pytest.importorskip("dask.array")
    function = c.function("int twice(int n, const double x[n], double y[n])", check="zero")
    assert repr(function) == "twice(x: float64[n], y: float64[n] in/out)"
    assert inspect.signature(function).return_annotation is inspect.Signature.empty
    assert function(np.ones(2)).tolist() == [2, 2]
    assert function.unchecked(np.ones(2)).tolist() == [2, 2]
    made = function(np.ones((2, 3)), out=tmp_path / "y.npy")
    assert made.tolist() == [[2, 2, 2]] * 2
    assert function(np.ones(2), np.zeros(2)) is None
    other = c.function("int twice(int n, const double x[n], double y[n])", check="errno")
    assert other(np.ones(1))[0] == 0
    # Where nothing else is returned, Dask computes the statuses, as the calls would not be made.
    alone = c.function("int twice(int n, const double x[n], const double y[n])", check="zero")
    assert alone(np.ones(2), np.zeros(2)) is None
    lazy = alone(da.ones((4, 2), chunks=(2, 2)), np.zeros(2))
    assert lazy.compute(scheduler="synchronous").tolist() == [0] * 4
