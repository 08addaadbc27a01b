"""The arrays of pandas, Arrow and xarray: inputs without a copy, and refused as outputs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mapcall
from counted import PRELUDE, Counted

SOURCE = (
    PRELUDE
    + """
double sum(size_t n, const double *x)
{ CALLED; double s = 0; while (n) s += x[--n]; return s; }
void increase(size_t n, double *x) { CALLED; while (n) x[--n] += 1; }
const double *start(size_t n, const double *x) { CALLED; return x; }
"""
)
SUM = "double sum(size_t n, const double x[n])"


@pytest.fixture(scope="module")
def c(compile_c: Callable[..., Any]) -> Counted:
    return Counted(compile_c(SOURCE))


pd = pytest.importorskip("pandas", reason="pandas is not installed")
pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
xr = pytest.importorskip("xarray", reason="xarray is not installed")

X = np.arange(1.0, 5)
INPUTS = {
    "Series": pd.Series(X),
    "Float64": pd.Series(X, dtype="Float64"),
    "slice": pd.Series(np.arange(0.0, 9))[1:5],
    "Index": pd.Index(X),
    "nullable array": pd.array(X, dtype="Float64"),
    "Arrow": pa.array(X),
    "Arrow slice": pa.array([None, *X])[1:],
    "DataArray": xr.DataArray(X),
    "DataArray of axes": xr.DataArray(X.reshape(2, 2), dims=("a", "b"))[:, :],
}


@pytest.mark.parametrize("given", INPUTS.values(), ids=INPUTS)
def test_inputs(c: Counted, given: Any) -> None:
    start = c.function("const double *start(size_t n, const double x[n])")
    if np.ndim(given) == 1:
        assert c.function(SUM)(given) == 10
        # Without a copy.
        with start(given) as handle:
            assert handle.address == np.asarray(given, copy=False).ctypes.data
    else:
        assert c.function(SUM)(given).tolist() == [3, 7]
    half = mapcall.load("m").function("double fabs(double x)")
    assert np.array_equal(half(given), np.asarray(given))


def test_on_arrow(c: Counted) -> None:
    """What is on Arrow's memory is read without a copy, if that is one chunk without nulls."""
    start = c.function("const double *start(size_t n, const double x[n])")
    column = pa.chunked_array([pa.array(X)])
    series = pd.Series(X, dtype="float64[pyarrow]")
    chunk = series.array.__arrow_array__().chunk(0)
    for given, memory in [
        (column, column.chunk(0)),
        (pa.table({"x": column})["x"], column.chunk(0)),
        (series, chunk),
        (series.array, chunk),
        (pd.Index(series), pd.Index(series).array.__arrow_array__().chunk(0)),
    ]:
        assert c.function(SUM)(given) == 10
        with start(given) as handle:
            assert handle.address == memory.to_numpy(zero_copy_only=True).ctypes.data
        with pytest.raises(mapcall.ArgumentError, match="lends its memory read-only"):
            c.function("void increase(size_t n, double x[n])")(given)
    missing = pd.Series([1.0, None, 3.0], dtype="float64[pyarrow]")
    for given, value in [
        (pd.concat([series, series]), 20),
        (pa.chunked_array([X[:1], X[1:]]), 10),
        (missing, 11),
        (pa.chunked_array([missing.array.__arrow_array__().chunk(0)]), 11),
    ]:
        with pytest.raises(mapcall.ArgumentError, match="doesn't share its memory") as caught:
            c.function(SUM)(given)
        code = caught.value.remedy.removeprefix("give ")
        made = eval(code, {"numpy": np, "x": given, "value": 7.0})
        assert c.function(SUM)(made) == value


def test_frames(c: Counted) -> None:
    total = c.function(SUM)
    # pandas keeps the columns one behind the other.
    frame = pd.DataFrame(np.arange(6.0).reshape(2, 3))
    assert total(frame.T).tolist() == [3, 5, 7]
    with pytest.raises(mapcall.ArgumentError, match="C-contiguous") as caught:
        total(frame)
    assert total(
        eval(
            caught.value.remedy.removeprefix("copy it with ").removesuffix(
                ", or give convert=True"
            ),
            {"numpy": np, "x": frame},
        )
    ).tolist() == [3, 12]
    columns = c.function("double sum(size_t n, const double x[n])")
    assert columns(frame[1]) == 5


def value_of(remedy: str, **names: Any) -> Any:
    return eval(remedy.removeprefix("give "), {"numpy": np, "value": 0, **names})


MISSING = {
    "Float64": (pd.Series([1, None, 3], dtype="Float64"), "x.to_numpy('float64', na_value=value)"),
    "Int64": (pd.Series([1, None, 3], dtype="Int64"), "x.to_numpy('float64', na_value=value)"),
    "array": (pd.array([1, None, 3], dtype="Float64"), "x.to_numpy('float64', na_value=value)"),
    "pyarrow": (
        pd.Series([1, None, 3], dtype="double[pyarrow]"),
        "x.to_numpy('float64', na_value=value)",
    ),
    "Arrow": (pa.array([1.0, None, 3]), "numpy.asarray(x.fill_null(value))"),
    "ChunkedArray": (pa.chunked_array([[1.0, None], [3.0]]), "numpy.asarray(x.fill_null(value))"),
    # Without missing values, but not without a copy either.
    "chunks": (pa.chunked_array([[1.0], [3.0]]), "numpy.asarray(x, 'float64')"),
    "frame": (pd.DataFrame({"a": [1.0], "b": [3]}), "numpy.asarray(x, 'float64')"),
}


@pytest.mark.parametrize(("given", "remedy"), MISSING.values(), ids=MISSING)
def test_missing_values(c: Counted, given: Any, remedy: str) -> None:
    before = c.called
    for function in (c.function(SUM), mapcall.load("m").function("double fabs(double x)")):
        with pytest.raises(mapcall.ArgumentError, match="doesn't share its memory") as caught:
            function(given)
        assert caught.value.remedy == f"give {remedy}"
    assert c.called == before
    assert np.sum(c.function(SUM)(value_of(caught.value.remedy, x=given))) == 4


@pytest.mark.parametrize("given", INPUTS.values(), ids=INPUTS)
def test_outputs(c: Counted, given: Any) -> None:
    increase = c.function("void increase(size_t n, double x[n])")
    before = np.array(given)
    with pytest.raises(mapcall.ArgumentError, match="which lends its memory read-only") as caught:
        increase(given)
    names = {"numpy": np, "x": given}
    if caught.value.remedy == "give x.data, the array that it is made of":
        increase(given.data)
        assert np.array_equal(given, before + 1)
        given.data[:] = before
        return
    found = re.fullmatch(
        r"give (values = .*), and take the results from values", caught.value.remedy
    )
    assert found
    exec(found[1], names)
    increase(names["values"])
    assert np.array_equal(names["values"], before + 1)
    assert np.array_equal(given, before)


def test_outputs_of_batches(c: Counted) -> None:
    fabs = mapcall.load("m").function("double fabs(double x)")
    for given in (pd.Series(X), pa.array(X), xr.DataArray(X)):
        with pytest.raises(
            mapcall.ArgumentError, match=r"fabs: out: .* lends its memory read-only"
        ):
            fabs(X, out=given)


def test_numbers(c: Counted) -> None:
    fabs = mapcall.load("m").function("double fabs(double x)")
    assert fabs(xr.DataArray(-2.0)) == 2
    assert fabs(pd.Series(X)[0]) == 1


def test_other_dtypes(c: Counted) -> None:
    total = c.function(SUM)
    for given, found in [
        (pd.Series(X.astype("f4")), "an array of float32"),
        (pd.Series(["a"], dtype=object), "an array of object"),
        (pa.array([1, 2]), "an array of int64"),
    ]:
        with pytest.raises(mapcall.ArgumentError, match=f"expected float64.n., got {found}"):
            total(given)
    with pytest.raises(mapcall.ArgumentError, match="got a BooleanArray that doesn't share its"):
        total(pa.array([True]))


def test_what_dask_has_not_computed(c: Counted) -> None:
    lazy = xr.DataArray(X).chunk(2)
    total = c.function(SUM)
    with pytest.raises(mapcall.ArgumentError, match="Dask has not computed it") as caught:
        total(lazy)
    assert total(value_of(caught.value.remedy, x=lazy)) == 10


def test_array_files_are_not_read(c: Counted, tmp_path: Any) -> None:
    """A data set of HDF5 is no memory: reading all of it is left to its user."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("x", data=X)
        with pytest.raises(mapcall.ArgumentError, match="doesn't share its memory") as caught:
            c.function(SUM)(data)
        assert c.function(SUM)(value_of(caught.value.remedy, x=data)) == 10


def test_nothing_is_imported() -> None:
    code = (
        "import sys, mapcall, numpy\n"
        "f = mapcall.load('m').function('double fabs(double x)')\n"
        "try:\n    f(object())\n"
        "except mapcall.ArgumentError:\n    pass\n"
        "f(numpy.ones(2))\n"
        "assert not {'pandas', 'pyarrow', 'xarray', 'cffi', '_cffi_backend'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
