"""FFTW, ERFA and GSL from their headers: programs of ctypes users, and the same by prototype."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

import mapcall
from packaged import load


def test_fftw() -> None:
    """A plan is made of pointers to arrays, and executed later."""
    fftw = load("libfftw3.so", "fftw3.h")
    x = np.random.default_rng(0).normal(size=64) + 0j
    y = np.zeros_like(x)
    # As with ctypes: `fftw_complex` is `double[2]`.
    pair = ctypes.POINTER(ctypes.c_double * 2)
    plan = fftw.fftw_plan_dft_1d(
        x.size,
        x.ctypes.data_as(pair),
        y.ctypes.data_as(pair),
        fftw.FFTW_FORWARD,
        fftw.FFTW_ESTIMATE,
    )
    fftw.fftw_execute(plan)
    np.testing.assert_allclose(y, np.fft.fft(x))
    fftw.fftw_destroy_plan(plan)
    # By prototype: lengths are checked, and the plan has a destructor.
    # Behind complex.h, FFTW's type is that of C.
    fftw = load("libfftw3.so", "complex.h", "fftw3.h")
    make = fftw.function(
        "fftw_plan fftw_plan_dft_1d(int n, double _Complex in[n], double _Complex out[n], "
        "int sign, unsigned flags)",
        check="nonnull",
        destructor=fftw.fftw_destroy_plan,
    )
    back = np.zeros_like(x)
    with make(y, back, fftw.FFTW_BACKWARD, fftw.FFTW_ESTIMATE) as plan:
        fftw.fftw_execute(plan)
    np.testing.assert_allclose(back / x.size, x)
    with pytest.raises(mapcall.ArgumentError, match="with n = 64 as in has it"):
        make(y, back[:3], fftw.FFTW_BACKWARD, fftw.FFTW_ESTIMATE)


def test_erfa() -> None:
    """Numbers that are returned by reference, and vectors and matrices as arrays."""
    erfa = load("liberfa.so", "erfa.h")
    first, second = ctypes.c_double(), ctypes.c_double()
    assert erfa.eraCal2jd(2000, 1, 1, ctypes.byref(first), ctypes.byref(second)) == 0
    assert first.value + second.value == 2451544.5
    calendar = erfa.function(
        "int eraCal2jd(int iy, int im, int id, double djm0[1], double djm[1])", check="zero"
    )
    days = calendar(np.array([2000, 2001], "i4"), 1, 1)
    assert (days[0] + days[1]).ravel().tolist() == [2451544.5, 2451910.5]
    with pytest.raises(mapcall.CallError):
        calendar(2000, 13, 1)
    # In the header, `double c[3]` is written by C.
    vector = erfa.eraS2c(np.pi / 2, 0.0)
    np.testing.assert_allclose(vector, [0, 1, 0], atol=1e-15)
    turned = erfa.eraRz(np.pi / 2, np.eye(3))
    assert turned is None
    matrix = np.eye(3)
    erfa.eraRz(np.pi / 2, matrix)
    np.testing.assert_allclose(matrix @ [0, 1, 0], [1, 0, 0], atol=1e-15)


def test_gsl() -> None:
    """Objects of the library, a callback in a struct, and arrays with a stride."""
    blas = load("libgslcblas.so")
    gsl = load(
        "libgsl.so", "gsl/gsl_spline.h", "gsl/gsl_integration.h", "gsl/gsl_statistics_double.h"
    )
    x = np.linspace(0, 6, 50)
    y = np.sin(x)
    doubles = ctypes.POINTER(ctypes.c_double)
    given = x.ctypes.data_as(doubles), y.ctypes.data_as(doubles)
    spline = gsl.gsl_spline_alloc(gsl.gsl_interp_cspline, x.size)
    assert gsl.gsl_spline_init(spline, *given, x.size) == 0
    assert gsl.gsl_spline_eval(spline, 1.5, None) == pytest.approx(np.sin(1.5), abs=1e-4)
    # The same pointer, as a user of ctypes has it.
    again = gsl.handle("gsl_spline *", ctypes.c_void_p(spline.address))
    at = np.array([0.5, 1.5, 2.5])
    np.testing.assert_allclose(gsl.gsl_spline_eval(again, at, None), np.sin(at), atol=1e-4)
    gsl.gsl_spline_free(spline)

    mean = gsl.function(
        "double gsl_stats_mean(const double data[n * stride], size_t stride, size_t n)"
    )
    assert mean(x, 1, n=50) == pytest.approx(x.mean())

    workspace = gsl.gsl_integration_workspace_alloc(100)
    result, error = ctypes.c_double(), ctypes.c_double()
    function = gsl.struct("gsl_function")(function=lambda t, _: np.exp(-t * t), params=None)
    status = gsl.gsl_integration_qags(
        function, 0.0, 1.0, 0.0, 1e-9, 100, workspace, ctypes.byref(result), ctypes.byref(error)
    )
    assert status == 0
    assert result.value == pytest.approx(0.746824132812427)
    gsl.gsl_integration_workspace_free(workspace)
    assert blas.path


def test_sound_by_ctypes(tmp_path: object) -> None:
    """libsndfile's struct as a `Structure`, and a buffer of ctypes."""
    sound = load("libsndfile.so", "sndfile.h")

    class Info(ctypes.Structure):
        _fields_ = [
            ("frames", ctypes.c_int64),
            ("samplerate", ctypes.c_int),
            ("channels", ctypes.c_int),
            ("format", ctypes.c_int),
            ("sections", ctypes.c_int),
            ("seekable", ctypes.c_int),
        ]

    path = f"{tmp_path}/tone.wav".encode()
    info = Info(0, 8000, 1, sound.SF_FORMAT_WAV | sound.SF_FORMAT_PCM_16, 0, 0)
    samples = (ctypes.c_double * 100)(*np.linspace(-0.5, 0.5, 100))
    file = sound.sf_open(ctypes.c_char_p(path), sound.SFM_WRITE, ctypes.byref(info))
    assert sound.sf_write_double(file, ctypes.cast(samples, ctypes.POINTER(ctypes.c_double)), 100)
    assert sound.sf_close(file) == 0
    file = sound.sf_open(ctypes.c_char_p(path), sound.SFM_READ, ctypes.pointer(info))
    assert (info.frames, info.channels) == (100, 1)
    back = (ctypes.c_double * 100)()
    assert sound.sf_read_double(file, ctypes.byref(back), 100) == 100
    sound.sf_close(file)
    np.testing.assert_allclose(back, samples, atol=1e-4)
