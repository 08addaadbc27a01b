"""Compares LAPACK's `dgesv_`, called by its Fortran conventions, with SciPy and NumPy.

Both sides solve in place, and call OpenBLAS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy

import builds
import mapcall
from harness import Report, Row, Skipped, Work, options

DGESV = """void {}dgesv_(const int *n, const int *nrhs,
    [[mapcall::column_major]] [[mapcall::stride(*lda)]] double a[*n][*n], const int *lda,
    int ipiv[*n],
    [[mapcall::column_major]] [[mapcall::stride(*ldb)]] double b[*n][*nrhs], const int *ldb,
    int info[1]) __attribute__((access(read_write, 3), access(read_write, 6)))"""


def dgesv() -> mapcall.Function:
    """Binds `dgesv_` of the system's OpenBLAS, or of PyPI's."""
    try:
        return mapcall.load("openblas").function(DGESV.format(""))
    except mapcall.LibraryError:
        wheel = builds.package("scipy_openblas32")
        path = next(Path(wheel.get_lib_dir()).glob("libscipy_openblas*"))
        return mapcall.load(path).function(DGESV.format("scipy_"))


def one_call() -> Row:
    """Returns a row for one system of 3 equations.

    The identity is its own factor, so that each call does the same.
    """
    lapack = builds.package("scipy.linalg.lapack")
    a, b = numpy.eye(3, order="F"), numpy.ones((3, 1), order="F")
    ours = Work("dgesv(a, b)", {"dgesv": dgesv(), "a": a, "b": b})
    rival = Work(
        "dgesv(a, b, overwrite_a=1, overwrite_b=1)",
        {"dgesv": lapack.dgesv, "a": a.copy("F"), "b": b.copy("F")},
    )
    for work in (ours, rival):
        work.run()
        numpy.testing.assert_array_equal(work.names["b"], b)
    return Row("dgesv of 3x3: SciPy", ours, rival, 0.5)


def columns(items: numpy.ndarray) -> numpy.ndarray:
    """Returns a copy of matrices in which each column is contiguous, as LAPACK takes them."""
    return items.swapaxes(-1, -2).copy().swapaxes(-1, -2)


def batch(items: int = 10**5) -> Row:
    """Returns a row for many systems of 3 equations.

    `dgesv_` overwrites its matrices, so both sides read the same arrays, and copy them.
    """
    rng = numpy.random.default_rng(0)
    a, b = rng.random((items, 3, 3)) + 3 * numpy.eye(3), rng.random((items, 3, 1))
    names = {"a": columns(a), "b": b, "factors": columns(a), "x": columns(b), "dgesv": dgesv()}
    ours = Work("factors[:] = a; x[:] = b; dgesv(factors, x)", names)
    rival = Work("solve(a, b)", {"solve": numpy.linalg.solve, "a": a, "b": b})
    ours.run()
    numpy.testing.assert_allclose(names["x"], numpy.linalg.solve(a, b))
    return Row(f"dgesv of {items} of 3x3: NumPy", ours, rival, 1.0)


def rows() -> Iterator[Row | Skipped]:
    makers: dict[str, Callable[[], Row]] = {
        "dgesv of 3x3: SciPy": one_call,
        "dgesv of 100000 of 3x3: NumPy": batch,
    }
    for name, make in makers.items():
        try:
            yield make()
        except builds.MissingError as error:
            yield Skipped(name, str(error))


def main() -> None:
    report = Report("LAPACK", options(__doc__).parse_args().json)
    report.measure(rows())


if __name__ == "__main__":
    main()
