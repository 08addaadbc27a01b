"""Batches by vector variants: the option `simd` of calls and of functions."""

import inspect
import pickle
import platform

import numpy as np
import pytest

import mapcall

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc",
    reason="only the GNU C library for x86-64 has libmvec in every version that is supported",
)

X = np.linspace(-20, 20, 10_007)


@pytest.fixture(scope="module")
def libm() -> mapcall.Library:
    return mapcall.load("m")


def ulp(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.max(np.abs(found - expected) / np.spacing(np.abs(expected))))


@pytest.mark.parametrize("simd", [True, "auto"])
@pytest.mark.parametrize("threads", [1, 2])
def test_results_are_those_of_the_function_to_some_ulp(
    libm: mapcall.Library, simd: bool | str, threads: int
) -> None:
    cos = libm.function("double cos(double x)")
    found = cos(X, simd=simd, threads=threads)
    assert ulp(found, np.cos(X)) <= 4
    assert np.any(found != cos(X)), "libmvec rounds otherwise here"
    strided = cos(X[::-3], simd=simd)
    np.testing.assert_array_equal(strided, found[::-3])


def test_the_default_of_a_function_survives_pickling(libm: mapcall.Library) -> None:
    cos = libm.function("double cos(double x)", simd=True)
    expected = libm.function("double cos(double x)")(X, simd=True)
    for each in (cos, pickle.loads(pickle.dumps(cos))):
        np.testing.assert_array_equal(each(X), expected)
        np.testing.assert_array_equal(each(X, simd=False), libm.function("double cos(double x)")(X))


def test_it_composes_with_where_and_files(libm: mapcall.Library, tmp_path) -> None:
    cos = libm.function("double cos(double x)", simd=True)
    out = np.full_like(X, 7)
    cos(X, out=out, where=X > 0)
    np.testing.assert_array_equal(out, np.where(X > 0, cos(X), 7))
    written = cos(X, out=tmp_path / "y.npy", threads=2)
    np.testing.assert_array_equal(written, cos(X))


def test_a_function_without_variant(libm: mapcall.Library) -> None:
    tgamma = libm.function("double tgamma(double x)")
    x = np.arange(1.0, 6.0)
    np.testing.assert_array_equal(tgamma(x, simd="auto"), tgamma(x))
    with pytest.raises(mapcall.ArgumentError) as caught:
        tgamma(x, simd=True)
    assert caught.value.parameter == "simd"
    assert "_ZGVbN2v_tgamma" in str(caught.value)
    assert "leave simd out" in str(caught.value)


def test_a_check_of_each_result_needs_single_calls(libm: mapcall.Library) -> None:
    checked = libm.function("double cos(double x)", check=lambda result: None)
    with pytest.raises(mapcall.ArgumentError, match="bind the function without check"):
        checked(X, simd=True)
    np.testing.assert_array_equal(checked(X[:50], simd="auto"), np.cos(X[:50]))


@pytest.mark.parametrize("simd", [2, "yes", [], 1.5])
def test_other_values_are_refused(libm: mapcall.Library, simd: object) -> None:
    cos = libm.function("double cos(double x)")
    for argument in (X, 0.5):
        with pytest.raises(mapcall.ArgumentError, match="True, False or 'auto'"):
            cos(argument, simd=simd)
    with pytest.raises(ValueError, match="simd must be"):
        libm.function("double cos(double x)", simd=simd)


def test_single_calls_are_those_of_the_function(libm: mapcall.Library) -> None:
    cos = libm.function("double cos(double x)", simd=True)
    assert cos(20.0) == libm.function("double cos(double x)")(20.0)
    assert "simd" in inspect.signature(cos).parameters
