"""Maps, views, buffers and pointers that are made, used, outlived and dropped in every order."""

import copy
import ctypes
import gc
import io
import os
import pickle
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy

import mapcall
from mapcall import ctypeslib

MODES = ["r", "r+", "w+", "c"]


class Sub(mapcall.memmap):
    """A subclass, as users define them."""


def fails(step: Callable[[], Any]) -> None:
    try:
        step()
    except (ValueError, TypeError, OverflowError, OSError, ZeroDivisionError, IndexError):
        return
    raise AssertionError("an error was expected")


def views(path: Path) -> None:
    for mode in MODES:
        x = mapcall.memmap(path, "f8", mode, 8, (3, 5, 4))
        made = [
            x[1:],
            x.T[::-1],
            x.reshape(-1)[::-3],
            x.view("u1")[..., 3:],
            x[:, None, 2],
            x[0:0],
            numpy.asarray(x),
            numpy.broadcast_to(x, (2, *x.shape), subok=True),
        ]
        computed = [x + 1, x.sum(), x.sum(axis=0), x[[0, 1]], x[x > 0], x.copy(), numpy.sin(x)]
        if mode != "r":
            numpy.add(x, 1, out=x)
            x += 1
            x[...] = 0
        for view in made:
            if isinstance(view, mapcall.memmap):
                view.flush()
                view.flush(sync=False)
                view.advise("willneed")
                view.prefetch()
                view.residency()
                assert view.file_offset is not None
        assert len(computed) == 7
        del x
        while made:
            made.pop(0).tobytes()


def orders_of_death(path: Path) -> None:
    """Deletes an array, views, a buffer, the attribute and a pointer of a map in every order."""
    for order in permutations(range(6)):
        x = mapcall.memmap(path, "i4", "r+")
        held: list[Any] = [
            x,
            x[10:],
            numpy.asarray(x)[5:],
            memoryview(x._mmap),
            x.ctypes,
            x[3:].ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
        ]
        del x
        for index in order:
            held[index] = None
            for each in held:
                if isinstance(each, numpy.ndarray):
                    each.sum()
                elif isinstance(each, memoryview):
                    bytes(each)
                elif isinstance(each, mapcall.Ctypes):
                    assert each.data + sum(each.shape) + sum(each.strides) > 0
                elif each is not None:
                    assert each[5] == 8


def pointers(path: Path) -> None:
    x = mapcall.memmap(path, "i4", "r+")
    arrays = [
        x,
        x[5:],
        x[::-2],
        x + x,
        numpy.array(3.5),
        numpy.zeros((0, 3)),
        numpy.zeros(3, "i4,S3"),
    ]
    kinds = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.POINTER(ctypes.c_int32),
        ctypes.POINTER(ctypes.c_double * 3),
        ctypes.CFUNCTYPE(None),
    ]
    for array in arrays:
        attribute = mapcall.Ctypes(array)
        for kind in kinds:
            assert attribute.data_as(kind)._arr is array
        for each in ("data", "shape", "strides", "_as_parameter_", "_arr", "_data", "_ctypes"):
            getattr(attribute, each)
        attribute.shape_as(ctypes.c_short)
        attribute.strides_as(ctypes.c_longlong)
        fails(lambda attribute=attribute: attribute.data_as(int))
        fails(lambda attribute=attribute: attribute.data_as(3))
    fails(lambda: mapcall.Ctypes(3))
    temporary = (x + x).ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
    others = [numpy.full(x.size, -1, "i4") for _ in range(20)]
    assert temporary[7] == 14
    libc = ctypes.CDLL(None)
    libc.memcpy(x.ctypes, temporary, ctypes.c_size_t(8))
    assert len(others) == 20


def pickles(path: Path) -> None:
    for mode in ("r", "r+", "c"):
        x = mapcall.memmap(path, "i4", mode)
        for view in (x, x[3:], x[::-2], x.reshape(2, -1).T, x[:0], x[:4].view("i2,i2"), x.copy()):
            for protocol in range(2, 6):
                assert pickle.loads(pickle.dumps(view, protocol)).tobytes() == view.tobytes()
            copy.copy(view)
            copy.deepcopy(view)
    x = Sub(path, "i4", "c")
    x.note = x
    x[0] = 77
    assert pickle.loads(pickle.dumps(x.view(mapcall.memmap)))[0] == 77
    pickled = pickle.dumps(mapcall.memmap(path, "i4", "r"))
    os.truncate(path, 100)
    fails(lambda: pickle.loads(pickled))
    path.unlink()
    fails(lambda: pickle.loads(pickled))


def formats(folder: Path) -> None:
    dtypes: list[Any] = ["f8", ">i2", "S3", "U2", "M8[ns]", [("a", "f4"), ("b", "i2", (2, 3))]]
    for dtype in dtypes:
        for order in "CF":
            x = mapcall.create(folder / "x.npy", (3, 4), dtype, order, overwrite=True)
            x.flush()
            for mode in ("r", "r+", "c"):
                assert mapcall.open(folder / "x.npy", mode).tobytes() == x.tobytes()
    numpy.savez(folder / "x.npz", a=numpy.arange(5), b=numpy.ones((2, 3)))
    fails(lambda: mapcall.open(folder / "x.npz", "r+", "b"))
    x = mapcall.open(folder / "x.npz", "c", "b")
    assert mapcall.Ctypes(x).data == x.ctypes.data
    fails(lambda: mapcall.open(folder / "x.npz"))
    fails(lambda: mapcall.open(folder / "x.npz", "r", "c"))
    fails(lambda: mapcall.open(folder / "x.npy", "w+"))
    fails(lambda: mapcall.create(folder / "missing" / "x.npy", 3))
    fails(lambda: mapcall.create(folder / "x.npy", 3))
    fails(lambda: mapcall.create(folder / "x.npy", 1 << 60, overwrite=True))
    fails(lambda: mapcall.create(folder / "x.npy", 3, "O", overwrite=True))
    with zipfile.ZipFile(folder / "y.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        file = io.BytesIO()
        numpy.save(file, numpy.arange(100))
        archive.writestr("a.npy", file.getvalue())
    fails(lambda: mapcall.open(folder / "y.npz"))
    good = (folder / "x.npy").read_bytes(), (folder / "x.npz").read_bytes()
    for content in good:
        for size in range(0, len(content), 7):
            (folder / "bad").write_bytes(content[:size])
            with suppress(mapcall.FormatError):
                mapcall.open(folder / "bad").tobytes()
        for position in range(0, min(len(content), 400), 3):
            damaged = bytearray(content)
            damaged[position] ^= 0x55
            (folder / "bad").write_bytes(damaged)
            with suppress(mapcall.FormatError):
                mapcall.open(folder / "bad").tobytes()


def errors(path: Path) -> None:
    for arguments in [
        ("f8", "r", 0, 10**9),
        ("f8", "r", 10**9),
        ("S7", "r"),
        ("V0", "r"),
        ("O", "r+"),
        ("u1", "x"),
        ("u1", "r", -1),
        ("u1", "r+", 0, -1),
        ("u1", "r+", 0, (1 << 40, 1 << 40)),
        ("u1", "r", 0, (1,) * 65),
        ("u1", "r", 0, 3, "X"),
        ("u1", "w+"),
        ("u1", "r+", 1 << 62, 3),
    ]:
        fails(lambda arguments=arguments: mapcall.memmap(path, *arguments))
    for name in (path / "x", "/missing", "/", 3, io.BytesIO(b"x"), "a\0b", "/dev/null"):
        fails(lambda name=name: mapcall.memmap(name))
        fails(lambda name=name: mapcall.open(name))
    x = mapcall.memmap(path, "i4", "r")
    fails(lambda: x[10**6])
    fails(lambda: x["a"])
    fails(lambda: x.advise("nonsense"))
    fails(lambda: x._mmap.madvise(12345))
    fails(lambda: x._mmap.flush(0, 10**9))
    fails(lambda: x._mmap.prefetch(numpy.zeros(3)))
    fails(lambda: x.__array_wrap__())
    fails(lambda: x.__array_wrap__(3))
    fails(lambda: x.copy().prefetch())


def objects() -> None:
    with tempfile.NamedTemporaryFile() as file:
        x = mapcall.memmap(file, "i4", "w+", 0, (10, 10))
    x[:] = 3
    x.flush()
    with tempfile.TemporaryFile() as file:
        y = mapcall.memmap(file, "i4", "w+", 0, (10, 10))
    assert (x + y).sum() == 300
    x.itself = [x, x._mmap, x.ctypes]
    repr(x)
    repr(x._mmap)


def interfaces() -> None:
    x = numpy.arange(6, dtype="i4").reshape(2, 3)
    assert ctypeslib.as_array(ctypeslib.as_ctypes(x)).tolist() == x.tolist()
    pointer = x.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
    assert ctypeslib.as_array(pointer, (2, 3)).tolist() == x.tolist()
    fails(lambda: ctypeslib.ndpointer("f8").from_param(x))


def work(folder: Path) -> None:
    for step in (views, orders_of_death, errors, pointers, pickles):
        path = folder / "file"
        path.write_bytes(numpy.arange(1000, dtype="i4").tobytes())
        step(path)
    formats(folder)
    objects()
    interfaces()
    gc.collect()


with tempfile.TemporaryDirectory() as name:
    for _ in range(int(sys.argv[1])):
        work(Path(name))
    # A map that is alive when the interpreter ends.
    last = Path(name) / "last"
    last.write_bytes(bytes(4000))
    kept = mapcall.memmap(last, "i4", "r+")[3:].ctypes.data_as(ctypes.c_void_p)
print("done")
