"""Column-major arrays, buffers, and numbers that C reads and writes: files, the command, Dask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest

import mapcall
from mapcall import _mapcall

SOURCE = """
#include <stddef.h>
void grid(int m, int n, double *a, int lda, double k)
{ for (int i = 0; i < m; i++) for (int j = 0; j < n; j++) a[j * lda + i] = k * (10 * i + j) + 1; }
void cube(int m, int n, short *a, const short *b)
{ for (int i = 0; i < 2 * m * n; i++) a[i] = 3 * b[i] + i; }
int shrink(char *out, size_t *length, const char *s, size_t n)
{
    if (*length < n) return -1;
    *length = 0;
    for (size_t i = 0; i < n; i++) if (s[i] != ' ') out[(*length)++] = s[i];
    return 0;
}
double lookup(double x, const void *table, size_t n)
{ return x + ((const double *)table)[n / 8 - 1]; }
double checksum(const void *p, size_t n)
{ double s = 0; for (size_t i = 0; i < n; i++) s += ((const unsigned char *)p)[i]; return s; }
void wipe(void *p, size_t n, unsigned char value)
{ for (size_t i = 0; i < n; i++) ((unsigned char *)p)[i] += value; }
void scale(int m, int n, double *a)
{ for (int j = 0; j < n; j++) for (int i = 0; i < m; i++) a[j * m + i] *= i + 10 * j; }
"""
GRID = (
    "void grid(int m, int n, [[mapcall::column_major, mapcall::stride(lda)]] double a[m][n], "
    "int lda, double k)"
)
CUBE = (
    "void cube(int m, int n, [[mapcall::column_major]] short a[m][n][2], [[mapcall::column_major]] "
    "const short b[m][n][2])"
)
SHRINK = "int shrink(char t[*length], size_t *length, const char s[n], size_t n)"
LOOKUP = "double lookup(double x, const void table[n], size_t n)"
SCALE = (
    "void scale(int m, int n, [[mapcall::column_major]] double a[m][n]) "
    "__attribute__((access(read_write, 3)))"
)


@pytest.fixture(scope="module")
def path(compile_c: Callable[..., Path]) -> Path:
    return compile_c(SOURCE)


@pytest.fixture(scope="module")
def bind(path: Path) -> Callable[[str], mapcall.Function]:
    return mapcall.load(path).function


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    with dask.config.set(scheduler="synchronous"):
        yield tmp_path


def items_of(array: np.ndarray, core: int) -> np.ndarray:
    """Returns a copy in which the last axes are in Fortran order."""
    first = array.ndim - core
    order = [*range(first), *reversed(range(first, array.ndim))]
    return array.transpose(order).copy().transpose(order)


@pytest.mark.parametrize("threads", [1, 2])
def test_outputs_in_files(bind: Any, threads: int) -> None:
    grid, cube = bind(GRID), bind(CUBE)
    k = np.arange(3 * 6_000.0).reshape(3, -1)
    expected = grid(m=3, n=5, k=k)
    for given in (k, np.asfortranarray(k)):
        written = grid(m=3, n=5, k=given, out="a.npy", threads=threads)
        np.testing.assert_array_equal(written, expected)
        assert np.load("a.npy").flags.c_contiguous
    mask = k % 3 == 0
    written = grid(m=3, n=5, k=k, out="a.npy", threads=threads, where=mask)
    np.testing.assert_array_equal(written, grid(m=3, n=5, k=k, where=mask))
    b = np.arange(7 * 3 * 4 * 2, dtype="h").reshape(7, 3, 4, 2)
    expected = cube(items_of(b, 3))
    np.testing.assert_array_equal(expected, cube(b, convert=True))
    np.testing.assert_array_equal(cube(items_of(b, 3), out="b.npy", threads=threads), expected)
    # One large item, and none.
    written = grid(m=1500, n=300, k=k[0, :2], out="a.npy", threads=threads)
    np.testing.assert_array_equal(written, grid(m=1500, n=300, k=k[0, :2]))
    assert grid(m=3, n=0, k=k[0, :2], out="a.npy").shape == (2, 3, 0)
    # A call that is no batch keeps the order in its file.
    assert grid(m=2, n=3, k=2.0, out="one.npy").flags.f_contiguous
    np.testing.assert_array_equal(np.load("one.npy"), grid(m=2, n=3, k=2.0))


def test_numbers_that_c_writes_in_files(bind: Any) -> None:
    shrink = bind(SHRINK)
    texts = np.frombuffer(b"a b c cabcde     ab  ", "u1").reshape(3, 7)
    expected = shrink(s=texts, length=8)
    written = shrink(s=texts, length=8, out=("s.npy", "o.npy", "l.npy"))
    for one, other in zip(written, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    where = np.array([True, False, True])
    masked = shrink(s=texts, length=8, where=where, out=(None, "o.npy", "l.npy"))
    np.testing.assert_array_equal(masked[2], shrink(s=texts, length=8, where=where)[2])


def test_command(bind: Any, path: Path) -> None:
    def command(*arguments: str) -> int:
        return _mapcall.command(["mapcall", "call", str(path), *arguments])

    k = np.arange(10.0)
    np.save("k.npy", k)
    assert command(GRID, "m=3", "n=2", "k=k.npy", "-o", "a.npy") == 0
    np.testing.assert_array_equal(np.load("a.npy"), bind(GRID)(m=3, n=2, k=k))
    texts = np.frombuffer(b"a b cabcde", "i1").reshape(2, 5)
    np.save("s.npy", texts)
    files = ["-o", "return=r.npy", "-o", "t=o.npy", "-o", "length=l.npy"]
    assert command(SHRINK, "s=s.npy", "length=6", *files) == 0
    for file, expected in zip("rol", bind(SHRINK)(s=texts, length=6), strict=True):
        np.testing.assert_array_equal(np.load(f"{file}.npy"), expected)
    b = np.arange(48, dtype="h").reshape(2, 3, 4, 2)
    np.save("b.npy", b)
    assert command(CUBE, "b=b.npy", "-o", "c.npy") == 2
    assert command(CUBE, "b=b.npy", "-o", "c.npy", "--convert") == 0
    np.testing.assert_array_equal(np.load("c.npy"), bind(CUBE)(items_of(b, 3)))


def test_what_the_command_says_to_items_in_c_order(bind: Any, path: Path, capfd: Any) -> None:
    np.save("b.npy", np.zeros((2, 3, 4, 2), "h"))
    assert _mapcall.command(["mapcall", "call", str(path), CUBE, "b=b.npy"]) == 2
    assert capfd.readouterr().err.endswith("; add --convert\n")


def test_dask(bind: Any) -> None:
    grid, cube, scale = bind(GRID), bind(CUBE), bind(SCALE)
    b = np.arange(7 * 3 * 4 * 2, dtype="h").reshape(7, 3, 4, 2)
    lazy = da.from_array(b, chunks=(3, 2, 4, 1))
    expected = cube(items_of(b, 3))
    np.testing.assert_array_equal(cube(lazy).compute(), expected)
    np.testing.assert_array_equal(cube(lazy, out="b.npy"), expected)
    np.save("c.npy", b)
    np.testing.assert_array_equal(cube(mapcall.open("c.npy").to_dask()).compute(), expected)
    np.testing.assert_array_equal(cube(lazy[0]).compute(), expected[0])
    k = da.arange(10.0, chunks=4)
    np.testing.assert_array_equal(grid(m=3, n=2, k=k).compute(), grid(m=3, n=2, k=np.arange(10.0)))
    a = np.arange(24.0).reshape(4, 2, 3)
    changed = items_of(a, 2)
    scale(changed)
    np.testing.assert_array_equal(scale(da.from_array(a, chunks=(2, 2, 3))).compute(), changed)
    shrink = bind(SHRINK)
    texts = np.frombuffer(b"a b c cabcde     ab  ", "u1").reshape(3, 7)
    found = dask.compute(*shrink(s=da.from_array(texts, chunks=(2, 7)), length=8))
    for one, other in zip(found, shrink(s=texts, length=8), strict=True):
        np.testing.assert_array_equal(one, other)


def test_buffers_of_dask(bind: Any) -> None:
    lookup = bind(LOOKUP)
    x, table = np.arange(9.0), np.arange(6.0).reshape(2, 3)
    lazy = da.from_array(table, chunks=(1, 2))
    for each in (x, da.from_array(x, chunks=4)):
        np.testing.assert_array_equal(lookup(each, lazy).compute(), lookup(x, table))
    np.testing.assert_array_equal(lookup(da.from_array(x, chunks=4), table), lookup(x, table))
    assert lookup(1.0, lazy).compute() == 6.0
    checksum = bind("double checksum(const void *__sized_by(n) p, size_t n)")
    values = da.arange(200, dtype="u1", chunks=30)
    assert checksum(values).compute() == checksum(values.compute())
    wipe = bind("void wipe(void *__sized_by(n) p, size_t n, unsigned char value)")
    np.testing.assert_array_equal(wipe(values[:9], value=2).compute(), np.arange(9) + 2)
    cut = da.zeros((10, 1000), chunks=(1, 1000))
    with (
        dask.config.set({"array.chunk-size": "10kB"}),
        pytest.raises(mapcall.ArgumentError, match=r"pass table.rechunk\(\{0: -1\}\)"),
    ):
        lookup(x, cut)
    assert lookup(1.0, cut.rechunk({0: -1})).compute() == 1.0
