# ruff: noqa: E501 (messages stand on one line)
"""Each remedy in the code base is done: the message is provoked, and what it advises works.

`remedy_texts.remedies` finds the remedies in the sources. Each is in a call of `advises` in one of `FILES`, whose test
then does what it says; or in `ELSEWHERE`, with the test that does it; or in `NOT_DONE`, with the reason. So a new remedy
without a case fails `test_all`. Those of arguments have tables of their own: `call/test_remedies.py` and
`test_command_remedies.py`.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall
import remedy_texts
from mapcall import _mapcall
from remedy_texts import advises, complains
from terminal import COMMAND

HERE = Path(__file__).parent
# The tests that do remedies: those of this file, of compilers and libraries, of clusters.
FILES = [
    Path(__file__),
    HERE / "test_compiler_remedies.py",
    HERE / "cluster/test_cluster_remedies.py",
]

# The remedies that another test does: its file, and its name or the message there.
ELSEWHERE = {
    "open the file in mode r+ or c": "/crates/mapcall-array/tests/arrays/map.rs: ReadOnly",
    # Calls, in the tables.
    "see the library's documentation": "call/test_batch_running.py: see the library's documentation",
    "start again": "call/test_forks.py: start again",
    "did you mean '{near}'?": "test_discovery.py: did you mean",
    "did you mean '{}'?": "test_discovery.py: did you mean",
    "inferred parameters are given by name": "call/test_remedies.py: OmitInferred",
    "numpy.save('{new}', numpy.load('{path}'){range}{code})\"": "test_command_remedies.py: numpy.save",
    "a handle can be passed from Python and from Rust alone": "/crates/mapcall-cli/tests/command/values.rs: a handle can be",
    "a function can be passed from Python and from Rust alone": "/crates/mapcall-cli/tests/command/values.rs: a function can be",
    "take the struct's own dtype": "call/test_contract_bit_fields.py: take the struct's own dtype",
    "pass a pointer to it": "/crates/mapcall/tests/trampolines.rs: pass a pointer to it",
    'give "./{found}"': "call/test_header_text.py: load",
    "cut it there": "/crates/mapcall/tests/library.rs: cut it there",
    "choose another": "/crates/mapcall/tests/library.rs: choose another",
    "build or install it again": "/crates/mapcall/tests/library.rs: build or install it again",
    # Maps, files and calls of Rust.
    "leave the choice of engine open": "/crates/mapcall/tests/trampolines.rs: leave the choice of engine open",
    "try its command with -E by hand": "/crates/mapcall-decl/tests/declarations/header.rs: try its command",
    "ask for fewer optimisations, or compile it by a build system": "/crates/mapcall-decl/tests/declarations/header.rs: ask for fewer",
    "choose another name, or set `overwrite` to replace it": "/crates/mapcall-array/tests/arrays/new_file.rs: choose another name",
    "give a multiple": "/crates/mapcall-array/tests/arrays/append.rs: give a multiple",
    "give another shape, dtype or offset": "/crates/mapcall-array/tests/arrays/map.rs: give another shape",
    "map it by its path": "/crates/mapcall-array/tests/arrays/map.rs: map it by its path",
    "drop them, or call guard::install()": "/crates/mapcall-array/tests/guard.rs: drop them",
    "save the array again with numpy.save, whose headers have room to grow, and append to that file": "/crates/mapcall-array/tests/arrays/append.rs: What the error advises",
    "use version 3.0": "/crates/mapcall-array/tests/arrays/formats.rs: NotLatin1",
    # Views of Rust.
    "copy the array, or view it as bytes": "/crates/mapcall-array/tests/arrays/map.rs: Unaligned",
    "drop it first": "/crates/mapcall-array/tests/arrays/map.rs: Shared",
    "take a wider type": "/crates/mapcall-array/src/ctypes.rs: take a wider type",
    "rename one": "/crates/mapcall-decl/tests/declarations/prototypes.rs: rename one",
    "give one stride, in bytes, per axis": "/crates/mapcall-array/tests/arrays/layout.rs: give one stride",
    "change the offset or the strides": "/crates/mapcall-array/tests/arrays/layout.rs: change the offset",
    "leave it out or use 1 for every element": "/crates/mapcall-array/tests/arrays/layout.rs: leave it out or use 1",
    "copy the array into contiguous memory first": "/crates/mapcall-array/tests/arrays/layout.rs: copy the array",
    # The command.
    "the outputs are {names}": "/crates/mapcall-cli/tests/command/call.rs: the outputs are",
    "the names are {names}": "/crates/mapcall-cli/tests/command/call.rs: the names",
    "leave one out": "/crates/mapcall-cli/tests/command/call.rs: leave one out",
    "leave out {name}=... or -o": "/crates/mapcall-cli/tests/command/call.rs: leave out",
    "write {}": "test_command_remedies.py: write y.npy",
    "choose another name": "/crates/mapcall-cli/tests/command/call.rs: which return has",
    "add -o {}FILE.npy": "test_command_remedies.py: add -o",
    "give a copy of one": "/crates/mapcall-cli/tests/command/call.rs: give a copy of one",
    "write it as in 'double cos(double x)', or name a header that declares it with --header": "/crates/mapcall-cli/tests/command/call.rs: with --header",
    "give --size 1GiB": "/crates/mapcall-cli/tests/command/demo.rs: give --size 1GiB",
    "set TMPDIR to another": "/crates/mapcall-cli/tests/command/demo.rs: set TMPDIR",
    "give a smaller --size, or set TMPDIR to a folder on another disk": "/crates/mapcall-cli/tests/command/demo.rs: give a smaller --size",
    "free some space, or choose another disk": "/crates/mapcall-cli/tests/command/call.rs: No space left on device",
    "raise the limit, or choose another file system": "/crates/mapcall-cli/tests/command/call.rs: raise the limit",
    "check the name of the folder": "/crates/mapcall-cli/tests/command/call.rs: check the name of",
    "check the name and the folder": "/crates/mapcall-cli/tests/command/call.rs: check the name",
    "give a range that the array has": "/crates/mapcall-cli/tests/command/call.rs: give a range",
    "write it as NumPy's basic indices": "/crates/mapcall-cli/src/value/range.rs: NumPy's basic indices",
    "install it with: pip install 'mapcall[dask]'": "/crates/mapcall-cli/tests/command/call.rs: pip install",
    "start one with dask scheduler, or give --dask local": "cluster/test_cluster_command.py: start one with dask scheduler",
    "start it again": "cluster/test_cluster_command.py: start it again",
    "install them with: pip install 'mapcall[dask]'": "test_without_dask.py: pip install",
    # Clusters.
    "build the same one there, or send it to the workers of Dask with mapcall.dask.ship(client, library)": "cluster/test_shipping.py: test_errors_until_it_is_sent",
    "install it there, or send it to the workers of Dask with mapcall.dask.ship(client, library)": "cluster/test_shipping.py: header .* of the library",
    "install the same header there, or send it to the workers of Dask with mapcall.dask.ship(client, library)": "cluster/test_shipping.py: int add",
    "call x.rechunk({0: 'auto', **dict.fromkeys(range(1, x.ndim), -1)}) first": "cluster/test_dask_store_faults.py: as 2 machines write the file",
    "build it there": "cluster/test_shipping.py: build it there",
    "the file system of {} allows no code, start the worker with another --local-directory": "cluster/test_shipping.py: start the worker with another --local-directory",
    "each worker must see the files and folders by the same paths": "cluster/test_shipping.py: each worker must see",
    "the function may crash, or need more memory than workers may use: look at the workers' logs, or leave out --dask": "cluster/test_cluster_command.py: look at the workers' logs",
    "store the array again": "cluster/test_dask_store.py: store the array again",
    # Arrays for ctypes.
    "convert the array first": "test_ctypeslib.py: convert the array first",
    "view the array as int64": "test_ctypeslib.py: view the array as int64",
    "give sync": "test_paging.py: give sync",
    "copy what can be read": "faults/test_uses.py: reason",
    "make space and open it again": "faults/test_uses.py: reason",
    "write {name:?}": "test_replacing_files.py: write",
    "open that one": "test_growing.py: another file",
    "open it again": "faults/test_uses.py: reason",
}

# Remedies that no test can do, and texts that are none: the reason.
NOT_DONE = {
    # What another system must do.
    "encode the strings to bytes": "Windows and AIX, whose wchar_t has two bytes",
    "load it by its path": "a library of a bare name with musl, whose loader tells no paths",
    "load the library by its name": "a program that is linked statically",
    "allow it for this process": "a system that refuses to map the code in the program's own file once more",
    "report it with the machine's name": "a C library whose cos is wrong",
    # Files that are damaged: what was expected, for the program that has written them.
    "expected only 'descr', 'fortran_order' and 'shape'": "a header that names an unknown key",
    "the file was cut short": "the reason, which leaves only a copy of the file",
    "the file was cut short or damaged": "the reason, which leaves only a copy of the file",
    "the file is damaged": "the reason, which leaves only a copy of the file",
    "the archive is damaged or forged": "the reason, which leaves only a copy of the file",
    # Texts with semicolons that advise nothing.
    "a .npy descriptor can't express overlapping or out-of-order fields": "the reason of an error",
    "mismatch is between argument {first} with shape {} and argument {second} with shape {}": "NumPy's text",
    "`arr.size * arr.dtype.itemsize` is larger than the maximum possible size.": "NumPy's text",
    "not written: ": "a list of files, after an interrupt",
    "written in part: ": "a list of files, after an interrupt",
    "nothing is left behind": "what an interrupt has left",
    "one line on the standard error output has the remedy": "a page of the manual",
    "the functions that could be read are listed": "what the output has",
    "what C writes is returned": "the description of a parameter",
    "NULL if left out": "the description of a parameter",
    "allocated and returned if left out": "the description of a parameter",
    "without one, each function becomes a variable": "the help of an option",
    "and {} more": "a list of workers",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.arange(6.0).reshape(3, 2))
    np.savez("z.npz", a=np.ones(3), b=np.ones(2))
    Path("raw.bin").write_bytes(np.arange(3, dtype="f4").tobytes())
    return tmp_path


def test_all() -> None:
    done = set[str]().union(*map(remedy_texts.done_in, FILES))
    known = {*done, *ELSEWHERE, *NOT_DONE}
    found = remedy_texts.remedies()
    missing = {remedy: file for remedy, file in found.items() if remedy not in known}
    assert not missing, "write a test here, which provokes the message and does what it says"
    assert not [remedy for remedy in known if remedy not in found], "no source has these"
    for place in ELSEWHERE.values():
        name, text = place.split(": ", 1)
        path = remedy_texts.ROOT / name[1:] if name[0] == "/" else HERE / name
        assert text in path.read_text(), place


def test_raw_files() -> None:
    with advises("map raw data by giving their dtype and shape", mapcall.FormatError):
        mapcall.open("raw.bin")
    assert mapcall.open("raw.bin", dtype="f4", shape=3).tolist() == [0, 1, 2]
    with advises("give the shape, or another offset or dtype"):
        mapcall.open("raw.bin", dtype="f8")
    assert len(mapcall.open("raw.bin", dtype="f8", shape=1)) == 1
    assert len(mapcall.open("raw.bin", dtype="f8", offset=4)) == 1
    assert len(mapcall.open("raw.bin", dtype="f4")) == 3
    with advises("give the shape"):
        mapcall.open("raw.bin", dtype="V0")
    assert mapcall.open("raw.bin", dtype="V0", shape=2).shape == (2,)
    with advises("give the shape"):
        mapcall.open("/dev/zero", dtype="u1")
    assert not mapcall.open("/dev/zero", dtype="u1", shape=4).any()
    with advises("give another offset or shape"):
        mapcall.open("/dev/zero", "r+", dtype="u1", shape=1, offset=1 << 20)
    assert not mapcall.open("/dev/zero", "r+", dtype="u1", shape=1, offset=0).any()
    with advises("map a device as raw data, by its dtype and shape"):
        mapcall.open("/dev/zero")
    with advises("give a smaller shape, or another dtype or offset"):
        mapcall.open("raw.bin", dtype="f8", shape=5)
    assert len(mapcall.open("raw.bin", dtype="u1", shape=5)) == 5
    with advises("give an offset in the file"):
        mapcall.open("raw.bin", dtype="f4", offset=50)
    assert mapcall.open("raw.bin", dtype="f4", offset=4).tolist() == [1, 2]
    Path("empty.bin").touch()
    with advises("write it first, or make a new one with create()"):
        mapcall.open("empty.bin", dtype="u1")
    with advises("give dtype as well"):
        mapcall.open("raw.bin", shape=3)
    with advises("leave them out"):
        mapcall.open("raw.bin", dtype="f4", member="a")
    assert len(mapcall.open("raw.bin", dtype="f4")) == 3


def test_new_files() -> None:
    with advises("make a new one with create()"):
        mapcall.open("a.npy", "w+")
    with advises("mapcall.memmap makes raw files"):
        mapcall.open("new.bin", "w+", dtype="f4", shape=2)
    mapcall.memmap("new.bin", "f4", "w+", shape=2)
    with advises("give overwrite=True to replace it"):
        mapcall.create("a.npy", (3,), "f4")
    assert mapcall.create("a.npy", (3,), "f4", overwrite=True).shape == (3,)
    with advises("take a dtype of plain data"):
        mapcall.create("o.npy", (3,), object)
    mapcall.create("o.npy", (3,), "i8")


def test_members() -> None:
    with advises("it has {}"):
        mapcall.open("z.npz", member="c")
    assert mapcall.open("z.npz", member="a").shape == (3,)
    with advises("leave the member out"):
        mapcall.open("a.npy", member="a")
    mapcall.open("a.npy")
    with advises("save the array as a .npy file to write to it"):
        mapcall.open("z.npz", "r+", member="a")
    member = mapcall.open("z.npz", member="a")
    with advises("save it as a .npy file"):
        member.grow(5)
    np.save("member.npy", member)
    assert len(mapcall.open("member.npy", "r+").grow(5)) == 5
    np.savez_compressed("c.npz", a=np.ones(3))
    with advises(
        "save it with numpy.savez instead of numpy.savez_compressed, or read it with numpy.load"
    ):
        mapcall.open("c.npz", member="a")
    np.savez("c.npz", a=np.load("c.npz")["a"])
    assert mapcall.open("c.npz", member="a").sum() == 3


def test_damaged_files() -> None:
    whole = Path("a.npy").read_bytes()
    Path("cut.npy").write_bytes(whole[:-8])
    with advises("the file was cut short or is not fully written", mapcall.FormatError):
        mapcall.open("cut.npy")
    Path("cut.npy").write_bytes(whole)
    mapcall.open("cut.npy")
    Path("version.npy").write_bytes(whole[:6] + b"\x09" + whole[7:])
    with advises("save the array again with numpy.save"):
        mapcall.open("version.npy")
    np.save("objects.npy", np.array([1, 2], object), allow_pickle=True)
    with advises("convert the array to a dtype of fixed size and save it again"):
        mapcall.open("objects.npy")
    np.save("objects.npy", np.load("objects.npy", allow_pickle=True).astype("i8"))
    assert mapcall.open("objects.npy").tolist() == [1, 2]
    assert zipfile.is_zipfile("z.npz")


def npy(descr: str, data: bytes) -> bytes:
    """Returns a .npy file of one item, whose dtype `numpy.save` may not write."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}\n".encode()
    return b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text + data


@pytest.mark.parametrize(
    ("remedy", "wrong", "right"),
    [
        (
            complains("convert the array to float64 or complex128 where it was made"),
            "'<f12'",
            np.dtype("f8"),
        ),
        (
            complains("flatten the structure"),
            "[('a', " * 65 + "'<f4'" + ")]" * 65,
            np.dtype([("a", "f4")]),
        ),
        (
            complains("write the length, as in 'S8'"),
            "[('a', '|S0', (2,))]",
            np.dtype([("a", "S8", 2)]),
        ),
        (
            complains("use fewer or shorter fields"),
            str([(f"{n:050}", "<f4") for n in range(20_000)]),
            np.dtype([(str(n), "<f4") for n in range(1000)]),
        ),
    ],
    ids=["long double", "nested", "no length", "many fields"],
)
def test_dtypes(remedy: str, wrong: str, right: np.dtype[Any]) -> None:
    Path("x.npy").write_bytes(npy(wrong, bytes(100_000)))
    with pytest.raises(mapcall.FormatError) as caught:
        mapcall.open("x.npy")
    complains(remedy, caught.value)
    np.save("x.npy", np.zeros(1, right))
    assert mapcall.open("x.npy").dtype == right


def encrypted(data: bytes, password: bytes) -> bytes:
    """Encrypts the content of a zip member (PKWARE's APPNOTE, 6.1), with a header of 12 bytes."""
    table = [0] * 256
    for n in range(256):
        value = n
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
        table[n] = value
    keys = [0x12345678, 0x23456789, 0x34567890]

    def update(byte: int) -> None:
        keys[0] = keys[0] >> 8 ^ table[(keys[0] ^ byte) & 0xFF]
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = keys[2] >> 8 ^ table[(keys[2] ^ keys[1] >> 24) & 0xFF]

    for byte in password:
        update(byte)
    found = bytearray()
    # The last byte of the header is the high byte of the checksum.
    for byte in bytes(11) + bytes([zipfile.crc32(data) >> 24]) + data:
        low = keys[2] | 2
        found.append(byte ^ (low * (low ^ 1) >> 8 & 0xFF))
        update(byte)
    return bytes(found)


def test_encrypted_members() -> None:
    plain = Path("a.npy").read_bytes()
    with zipfile.ZipFile("e.npz", "w") as archive:
        archive.writestr("a.npy", encrypted(plain, b"secret"))
    content = bytearray(Path("e.npz").read_bytes())
    # The flag, the checksum and the size before encryption, in the local header and in the directory.
    for at in (6, content.index(b"PK\x01\x02") + 8):
        content[at] |= 1
        content[at + 8 : at + 12] = zipfile.crc32(plain).to_bytes(4, "little")
        content[at + 16 : at + 20] = len(plain).to_bytes(4, "little")
    Path("e.npz").write_bytes(content)
    with advises("extract it and save it with numpy.savez"):
        mapcall.open("e.npz", member="a")
    with zipfile.ZipFile("e.npz") as archive:
        archive.extract("a.npy", "extracted", pwd=b"secret")
    np.savez("e.npz", a=np.load("extracted/a.npy"))
    assert mapcall.open("e.npz", member="a").tolist() == np.load("a.npy").tolist()


def test_lengths() -> None:
    array = mapcall.open("a.npy", "r+")
    with advises("give a larger number, or truncate the array"):
        array.grow(1)
    with advises("give a smaller number, or grow the array"):
        array.truncate(4)
    array = array.grow(4)
    with advises("use the array that was opened"):
        array[:2, 1:].grow(5)
    array = array.truncate(1)
    assert array.shape == (1, 2)
    with advises("open it in mode r+"):
        mapcall.open("a.npy").grow(2)
    assert mapcall.open("a.npy", "r+").grow(2).shape == (2, 2)


def test_appenders() -> None:
    rows = np.ones((2, 2))
    with mapcall.Appender("a.npy") as log:
        with advises("close that one first, or append by that one"):
            mapcall.Appender("a.npy")
        with advises("reshape the array"):
            log.append(np.ones(4))
        log.append(np.ones(4).reshape(2, 2))
        with advises("convert the rows by their method astype"):
            log.append(rows.astype("c16"))
        log.append(rows.astype("c16").real.astype("f8"))
    with advises("open the file again"):
        log.append(rows)
    with mapcall.Appender("a.npy") as log:
        log.append(rows)
    with advises("give that dtype, or another file"):
        mapcall.Appender("a.npy", "i4")
    with advises("give that shape, or another file"):
        mapcall.Appender("a.npy", "f8", (5,))
    mapcall.Appender("a.npy", "f8", (2,)).close()
    mapcall.Appender("b.npy", "i4", (5,)).close()
    assert len(np.load("a.npy")) == 9
    with advises("give an array with one more axis"):
        mapcall.append("new.npy", 3.0)
    mapcall.append("new.npy", [3.0])
    with advises("give a .npy file"):
        mapcall.append("z.npz", [3.0])
    np.save("scalar.npy", 3.0)
    with advises("append to a file with rows"):
        mapcall.append("scalar.npy", 3.0)
    mapcall.append("new.npy", 3.0)
    assert np.load("new.npy").tolist() == [3, 3]
    with open("two.npy", "wb") as file:
        np.save(file, np.ones(3))
        end = file.tell()
        np.save(file, np.ones(3))
    with advises(
        "append to a file of its own, or cut this one to {offset} bytes if only its first array is needed"
    ) as caught:
        mapcall.append("two.npy", [3.0])
    assert f"cut this one to {end} bytes" in str(caught.value)
    os.truncate("two.npy", end)
    mapcall.append("two.npy", [3.0])
    assert np.load("two.npy").tolist() == [1, 1, 1, 3]


def test_appenders_and_forks(folder: Path, run_in_fork: Callable[..., str]) -> None:
    script = """
        import os, sys
        import mapcall

        def in_a_child(function):
            child = os.fork()
            if child == 0:
                try:
                    function()
                except Exception as error:
                    print(error, flush=True)
                os._exit(0)
            os.waitpid(child, 0)

        log = mapcall.Appender(sys.argv[1])
        in_a_child(lambda: log.append([[1.0, 1.0]]))
        log.append([[2.0, 2.0]])
        log.close()
        in_a_child(lambda: mapcall.append(sys.argv[1], [[3.0, 3.0]]))
    """
    printed = run_in_fork(script, folder / "a.npy")
    complains("append by the parent, or open the file in the child alone", printed)
    assert printed.count("\n") == 1
    assert np.load("a.npy")[3:].tolist() == [[2, 2], [3, 3]]


def test_maps(folder: Path) -> None:
    array = mapcall.open("a.npy", "r+")
    with advises("pickle an array on it"):
        pickle.dumps(array._mmap)
    assert pickle.loads(pickle.dumps(array)).tolist() == array.tolist()
    np.save("b.npy", np.zeros(2))
    os.replace("b.npy", "a.npy")
    array[0] = 7
    with pytest.warns(mapcall.ReplacedFileWarning) as warned:
        array.flush()
    assert complains("open the new one to write to it") in str(warned[0].message)
    with advises("open that one"):
        array.refresh()
    array = mapcall.open("a.npy", "r+")
    array[0] = 7
    array.flush()
    assert np.load(folder / "a.npy").tolist() == [7, 0]


@pytest.fixture(scope="module")
def lib(compile_c: Callable[..., Any]) -> mapcall.Library:
    return mapcall.load(
        compile_c("""
        struct s { char *p; int x; };
        struct o;
        double tab[3] = {1, 2, 3};
        int number = 5;
        static struct s one;
        struct s shown;
        double twice(double x) { return 2 * x; }
        struct s *s(void) { return &one; }
        void *untyped(void) { return tab; }
        double *doubles(void) { return tab; }
        struct o *opaque(void) { return (struct o *)tab; }
        struct s by_value(struct s s) { return s; }
        int both(void (*f)(double *a, double *b)) { double x[4] = {1, 2, 3, 4}; f(x, x + 1); return x[0]; }
        """)
    )


S = "struct s { char *p; int x; }; "


def test_memory(lib: mapcall.Library) -> None:
    pointer = lib.function(S + "struct s *s(void)")
    doubles = lib.function("double *doubles(void)")()
    with advises("C does not tell how many items there are: take array(n), and the item of it"):
        doubles[1]
    assert doubles.array(3)[1] == 2
    untyped = lib.function("void *untyped(void)")()
    with advises(
        'write the type in the prototype (`double *p`, or a struct with its definition), or take array((), "f8")'
    ):
        untyped[0]
    assert doubles[0] == untyped.array((), "f8") == 1
    with advises("take an array of it"):
        doubles.text()
    opaque = lib.function("struct o *opaque(void)")()
    with advises("give it, as in array(shape, 'f8')"):
        opaque.array(3)
    assert opaque.array(3, "f8").tolist() == [1, 2, 3]
    view = doubles.array(3)
    with advises("delete them first"):
        doubles.close()
    del view
    doubles.close()
    with advises("write handle[0] for the value"):
        _ = doubles.value
    handle = pointer()
    with advises("write handle[0].{name} for the member"):
        handle.x = 3
    handle[0].x = 3
    with advises("write handle[0].{name} for the member"):
        _ = handle.x
    assert handle[0].x == 3
    struct = lib.struct("s").at(handle)
    with advises("assign None or 0"):
        del struct.p
    struct.p, struct.x = None, 0
    with advises("read its members"):
        np.asarray(struct)
    assert (struct.p, struct.x) == (None, 0)


def test_scopes(lib: mapcall.Library) -> None:
    both = lib.function("int both(void (*f)(double *a, double *b))")
    remedies: list[str] = []

    def take(a: Any, b: Any) -> None:
        small = b.array(1)
        with advises("take the larger array first, or let the other one go"):
            a.array(4)
        del small
        large = a.array(4)
        assert b.array(1).tolist() == [2]
        large[0] = 9
        remedies.append("done")

    assert both(take) == 9
    assert remedies


def test_variables(lib: mapcall.Library) -> None:
    table = lib.variable("extern double tab[]")
    with advises("read it with array(shape)"):
        _ = table.value
    with advises("give a shape"):
        table.array()
    assert table.array(3).tolist() == [1, 2, 3]
    one = lib.variable(S + "extern struct s shown")
    with advises("read its value"):
        np.asarray(one)
    assert one.value.x == 0


def test_the_process(lib: mapcall.Library, run_script: Callable[..., str]) -> None:
    with advises("the process itself has no name and is loaded without one"):
        mapcall.load("")
    assert mapcall.load(None).function("int abs(int x)")(-3) == 3
    script = """
        import importlib.machinery, importlib.util, pickle, sys

        path = importlib.util.find_spec("mapcall").submodule_search_locations[0]
        finder = importlib.machinery.PathFinder.find_spec("_mapcall", [path])
        loader = importlib.machinery.ExtensionFileLoader("mapcall._mapcall", finder.origin)
        spec = importlib.util.spec_from_loader("mapcall._mapcall", loader)
        extension = sys.modules["mapcall._mapcall"] = importlib.util.module_from_spec(spec)
        loader.exec_module(extension)
        cos = extension.load("m").function("double cos(double x)")
        try:
            pickle.dumps(cos)
        except RuntimeError as error:
            print(error)
        import mapcall
        assert mapcall._mapcall is extension
        print(pickle.loads(pickle.dumps(cos))(0))
    """
    message, result = run_script(script).splitlines()
    complains("import mapcall", message)
    assert float(result) == 1


def test_without_ctypes(run_script: Callable[..., str]) -> None:
    script = """
        import sys
        sys.modules["ctypes"] = sys.modules["_ctypes"] = None
        import numpy as np
        import mapcall
        x = np.arange(3.0)
        view = mapcall.Ctypes(x)
        try:
            view.data_as(int)
        except ImportError as error:
            print(error)
        assert view.data == x.__array_interface__["data"][0]
    """
    complains("take the address from .data", run_script(script))


def test_libraries(lib: mapcall.Library) -> None:
    process = mapcall.load(None)
    with advises("bind a function by its prototype, or load the library with header="):
        _ = process.cos
    with advises("put its definition before a prototype"):
        process.struct("pair")
    process.function("struct pair { int a, b; }; int abs(int x)")
    assert process.struct("pair").dtype.names == ("a", "b")
    with advises("write `T *`"):
        process.handle("double", ctypes.addressof(ctypes.c_double()))
    value = ctypes.c_double(2)
    assert process.handle("double *", ctypes.addressof(value))[0] == 2
    large = "struct large { char text[70000]; }; "
    with advises("pass pointers to the large ones"):
        lib.function(large + "void *untyped(struct large x)")
    lib.function(large + "void *untyped(const struct large *x)")
    by_value = lib.function(S + "struct s by_value(struct s s)")
    with advises("wrap it in a C function that takes a pointer"):
        _ = by_value.ctypes
    assert lib.function("double twice(double x)").ctypes(2) == 4


def test_headers(folder: Path) -> None:
    with advises("give its path, or the directory that it is in as one to include"):
        mapcall.load("m", header="mine.h")
    Path("in").mkdir()
    Path("in/mine.h").write_text("double cos(double x);")
    assert mapcall.load("m", header="in/mine.h").cos(0) == 1
    assert mapcall.load("m", header="mine.h", include=["in"]).cos(0) == 1
    with advises('write it as in "zlib.h"'):
        mapcall.load("m", header="")
    with advises("write NAME or NAME=VALUE"):
        mapcall.load("m", header="math.h", define={"A B": "1"})
    assert mapcall.load("m", header="in/mine.h", define={"A": "1"}).cos(0) == 1
    text = '#include "mine.h"\n'
    with advises("add the directories and macros that it needs"):
        mapcall.load("m", header_text=text)
    assert mapcall.load("m", header_text=text + "double cos(double x);", include=["in"]).cos(0) == 1


def test_compile() -> None:
    source = "int one(void) { return 1; }"
    with advises("leave it out of `flags`"):
        mapcall.compile(source, flags=["-c"])
    assert mapcall.compile(source, flags=[]).one() == 1
    with advises('write it as in "m" or "./libkern.so"'):
        mapcall.compile(source, libraries=[""])
    with advises("leave the process out, and compile others with cache=True"):
        mapcall.compile(source, libraries=[mapcall.load(None)])
    assert mapcall.compile(source, libraries=["m"]).one() == 1
    Path("one.c").write_text(source)
    with advises("give it as pathlib.Path({text:?})"):
        mapcall.compile("one.c")
    assert mapcall.compile(Path("one.c")).one() == 1


def test_bindings(lib: mapcall.Library) -> None:
    for wrong, right, remedy in [
        (
            "double twice([[mapcall::equals(2)]] double x)",
            "double twice(double x)",
            "leave `equals` out",
        ),
        (
            "void *untyped([[mapcall::between(0, 1)]] void *p)",
            "void *untyped(void *p)",
            "leave `between` out",
        ),
        (
            "void *untyped([[mapcall::column_major]] double a[][3])",
            "void *untyped(int n, [[mapcall::column_major]] double a[n][3])",
            "write all extents",
        ),
        (
            "void *untyped([[mapcall::equals(m)]] int n, [[mapcall::equals(n)]] int m)",
            "void *untyped([[mapcall::equals(m)]] int n, int m)",
            "leave it out of one parameter",
        ),
        (
            "void untyped(double p[3]) __attribute__((ownership_takes(malloc, 1)))",
            "void untyped(void *p) __attribute__((ownership_takes(malloc, 1)))",
            "write `void *{}`",
        ),
    ]:
        with pytest.raises(mapcall.PrototypeError) as caught:
            lib.function(wrong)
        assert remedy_texts.pattern(remedy).search(str(caught.value)), caught.value
        lib.function(right)


# Those of `test_bindings`, for `test_all`.
BINDINGS = [
    complains("leave `equals` out"),
    complains("leave `between` out"),
    complains("write all extents"),
    complains("leave it out of one parameter"),
    complains("write `void *{}`"),
]


PROTOTYPES = [
    (
        complains("write a C prototype, such as `void f(size_t n, const float x[n]);`"),
        "double cos(",
        "double cos(double x)",
    ),
    (
        complains("add a prototype, such as `void f(size_t n, float x[n]);`"),
        "typedef double real;",
        "typedef double real; real cos(real x);",
    ),
    (
        complains("give one prototype at a time, or read them all as a header"),
        "double cos(double x); double sin(double x);",
        "double sin(double x);",
    ),
    (
        complains("write the types in the parentheses, or `{function}(void)` if it takes nothing"),
        "double cos()",
        "double cos(double x)",
    ),
    (
        complains("remove `static`, in the library too"),
        "static double cos(double x)",
        "double cos(double x)",
    ),
    (complains("did you mean `{nearest}`?"), "duoble cos(double x)", "double cos(double x)"),
    (
        complains("put its definition before, such as `typedef int {name};`"),
        "real cos(real x)",
        "typedef double real; real cos(real x)",
    ),
    (
        complains("write one of C's types, such as `unsigned long`"),
        "unsigned double cos(double x)",
        "double cos(double x)",
    ),
    (
        complains("put the definition of `{ctype}` before, or take a pointer to it"),
        "double cos(struct pair x)",
        "double cos(struct pair *x)",
    ),
    (
        complains("rename one of them"),
        "double hypot(double x, double x)",
        "double hypot(double x, double y)",
    ),
    (
        complains("remove one of the definitions, or make them agree"),
        "struct pair { int a; }; struct pair { int b; }; double cos(double x)",
        "struct pair { int a; }; double cos(double x)",
    ),
    (
        complains("add an integer parameter `{name}`, or write a constant"),
        "double cos(const double x[count])",
        "double cos(const double x[count], int count)",
    ),
    (
        complains("make `{name}` a `size_t`, or name an integer parameter"),
        "double cos(double n, const double x[n])",
        "double cos(size_t n, const double x[n])",
    ),
    (
        complains("write an integer, such as `n * 3 / 2` for 1.5 n"),
        "double cos(int n, const double x[n * 1.5])",
        "double cos(int n, const double x[n * 3 / 2])",
    ),
    (
        complains("write names of integer parameters, integer constants and operators"),
        "double cos(int n, const double x[n ? 2 : f(n)])",
        "double cos(int n, const double x[2 * n])",
    ),
    (
        complains("write a constant, or a pointer in place of the array"),
        "struct s { int n; double x[n]; }; double cos(struct s *x)",
        "struct s { int n; double x[2]; }; double cos(struct s *x)",
    ),
    (complains("write a pointer to it"), "double cos(double x)[3]", "double *cos(double x)"),
    (
        complains("write an integer or an enumerator"),
        "enum { A = B }; double cos(double x)",
        "enum { B = 1, A = B }; double cos(double x)",
    ),
    (
        complains("write another one"),
        "enum { A = 1 / 0 }; double cos(double x)",
        "enum { A = 1 / 1 }; double cos(double x)",
    ),
]


@pytest.mark.parametrize(("remedy", "wrong", "right"), PROTOTYPES)
def test_prototypes(remedy: str, wrong: str, right: str) -> None:
    library = mapcall.load("m")
    with pytest.raises(mapcall.PrototypeError) as caught:
        library.function(wrong)
    assert remedy_texts.pattern(remedy).search(str(caught.value)), caught.value
    library.function(right)


def test_declarations() -> None:
    process, header = mapcall.load(None), mapcall.load("m", header_text="double cos(double x);")
    with advises("write one declaration, such as `int verbosity;` or `const double table[3];`"):
        process.variable("int opterr(void)")
    assert process.variable("int opterr").value == 1
    with advises("write the header's types, or load the library without its header"):
        header.function("float cos(float x)")
    assert header.function("double cos(double x)")(0) == 1


class TestArraysForCtypes:
    def test_without_a_type(self) -> None:
        from mapcall import ctypeslib

        half = np.zeros(2, "f2")
        with advises("view the array as uint16 or pass it by ndpointer"):
            ctypeslib.as_ctypes(half)
        assert len(ctypeslib.as_ctypes(half.view("u2"))) == 2
        objects = np.array([1, 2], object)
        with advises("pass the objects one by one"):
            ctypeslib.as_ctypes(objects)

    @pytest.mark.skipif(sys.version_info >= (3, 14), reason="ctypes has complex numbers")
    def test_complex_numbers(self) -> None:
        from mapcall import ctypeslib

        x = np.array([1 + 2j])
        with advises("view the array as its real type or pass it by ndpointer"):
            ctypeslib.as_ctypes(x)
        assert ctypeslib.as_ctypes(x.view("f8"))[:] == [1, 2]
        assert ctypeslib.ndpointer(complex).from_param(x)


class TestCommand:
    @pytest.fixture
    def run(self, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
        def run(*arguments: str) -> tuple[int, str, str]:
            code = _mapcall.command(["mapcall", *arguments])
            shown = capfd.readouterr()
            return code, shown.out.rstrip("\n"), shown.err.rstrip("\n")

        return run

    COS = ("call", "m", "double cos(double x)")

    @pytest.mark.parametrize(
        ("wrong", "remedy", "right"),
        [
            (
                "raw.bin",
                complains(
                    "write them behind it, as in raw.bin:f4:1000x1000, with @2880 for a header of so many bytes"
                ),
                "raw.bin:f4:3",
            ),
            ("raw.bin:f9:3", complains("write it as f4, <i2 or float64"), "raw.bin:f4:3"),
            (
                "raw.bin:f4:3@x",
                complains("write it as raw.bin:f4:1000x1000@2880"),
                "raw.bin:f4:2@4",
            ),
            (
                "raw.bin:f4:3x-1x-1",
                complains("write the lengths with x between, at most one of them as -1"),
                "raw.bin:f4:3x-1",
            ),
            ("raw.bin:f4:3[0:2", complains("write it as [0:1000]"), "raw.bin:f4:3[0:2]"),
        ],
    )
    def test_files(self, run: Any, wrong: str, remedy: str, right: str) -> None:
        code, _, error = run("call", "m", "float cosf(float x)", f"x={wrong}")
        assert code == 2
        assert remedy_texts.pattern(remedy).search(error), error
        code, shown, error = run("call", "m", "float cosf(float x)", f"x={right}")
        assert (code, error) == (0, ""), error
        assert shown

    @pytest.mark.parametrize(
        ("wrong", "remedy", "right"),
        [
            (
                ["call", "m", "cosine", "x=1", "--header", "math.h"],
                complains("mapcall prototypes lists them, or write its prototype"),
                ["call", "m", "cos", "__x=1", "--header", "math.h"],
            ),
            (
                ["call", "m", "void sincos(double x, double *s, double *c)", "x=1", "-o", "y.npy"],
                complains("leave it out"),
                ["call", "m", "void sincos(double x, double s[1], double c[1])", "x=1"],
            ),
        ],
    )
    def test_calls(self, run: Any, wrong: list[str], remedy: str, right: list[str]) -> None:
        code, _, error = run(*wrong)
        assert code == 2
        assert remedy_texts.pattern(remedy).search(error), error
        code, shown, error = run(*right)
        assert (code, error) == (0, ""), error
        assert shown

    def test_source_code(self, run: Any) -> None:
        """The tests have no cache folder."""
        Path("one.c").write_text("int one(void) { return 1; }")
        code, _, error = run("compile", "one.c")
        assert code == 2
        complains("name one with -o", error)
        assert run("compile", "one.c", "-o", "./one.so") == (0, "./one.so", "")
        assert mapcall.load("./one.so").function("int one(void)")() == 1

    def test_the_manual(self, run: Any) -> None:
        code, _, error = run("man", "calls")
        assert code == 2
        complains("the manual has pages for {names}", error)
        code, shown, error = run("man", "call")
        assert (code, error) == (0, "")
        assert "mapcall-call" in shown

    def test_a_file_that_is_replaced(self, run: Any, compile_c: Callable[..., Path]) -> None:
        np.save("y.npy", np.zeros(3))
        np.save("new.npy", np.ones(3))
        library = compile_c("""
            #include <stdio.h>
            void fill(int n, double *y) { rename("new.npy", "y.npy"); while (n--) y[n] = 7; }
        """)
        call = ("call", str(library), "void fill(int n, double y[n])", "y=y.npy")
        code, _, error = run(*call)
        assert code == 2
        complains("call it again", error)
        assert np.load("y.npy").tolist() == [1, 1, 1]
        code, _, error = run(*call)
        assert (code, error) == (0, "")
        assert np.load("y.npy").tolist() == [7, 7, 7]

    def test_damaged_members(self, run: Any) -> None:
        shutil.copy("z.npz", "copy.npz")
        content = bytearray(Path("z.npz").read_bytes())
        content[content.index(np.ones(1).tobytes())] ^= 1
        Path("z.npz").write_bytes(content)
        code, _, error = run("info", "z.npz")
        assert code == 2
        complains("restore the file from a copy", error)
        shutil.copy("copy.npz", "z.npz")
        code, _, error = run("info", "z.npz")
        assert (code, error) == (0, "")

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
    def test_memory(self) -> None:
        np.zeros(60 << 17).tofile("zeros.bin")
        call = [*COMMAND, "call", "m", "double cos(double x)", "x=zeros.bin:f8"]

        def limited(*arguments: str) -> subprocess.CompletedProcess[str]:
            """Runs the command with 60 MiB for data, as many as the result has."""
            shell = ["sh", "-c", 'ulimit -d 61440; exec "$@"', "sh", *call, *arguments]
            return subprocess.run(shell, capture_output=True, text=True)

        done = limited()
        assert done.returncode == 2
        complains("write it to a file", done.stderr)
        done = limited("-o", "y.npy")
        assert (done.returncode, done.stderr) == (0, "")
        assert (np.load("y.npy", mmap_mode="r")[::4096] == 1).all()

    def test_folders(self) -> None:
        """Another user runs the command if the tests run as root, who may write everywhere."""
        script = """
            import os, sys
            from mapcall import _mapcall
            if os.getuid() == 0:
                os.setgroups([])
                os.setuid(65534)
            os.chdir(sys.argv[1])
            save = ["mapcall", "call", "m", "double cos(double x)", "x=x.npy", "-q", "-o"]
            print(_mapcall.command([*save, "closed/y.npy"]), flush=True)
            os.makedirs("own", exist_ok=True)
            print(_mapcall.command([*save, "own/y.npy"]), flush=True)
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            folder.chmod(0o777)
            np.save(folder / "x.npy", np.zeros(3))
            (folder / "closed").mkdir(0o555)
            command = [sys.executable, "-c", textwrap.dedent(script), folder]
            environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            assert done.stdout.split() == ["2", "0"], done.stderr
            complains("choose another folder, or ask for the right", done.stderr)
            assert np.load(folder / "own/y.npy").tolist() == [1, 1, 1]
            (folder / "closed").chmod(0o777)
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            assert done.stdout.split() == ["0", "0"], done.stderr
            assert np.load(folder / "closed/y.npy").tolist() == [1, 1, 1]


class TestDask:
    da = pytest.importorskip("dask.array", reason="dask is not installed")

    def test_stores(self) -> None:
        da = self.da
        store = mapcall.dask.store
        x = da.ones((4, 6), chunks=(2, 6))
        with advises("fill it with dask.array.ma.filled(x, value)"):
            store(da.ma.masked_equal(x, 1), "x.npy")
        store(da.ma.filled(da.ma.masked_equal(x, 1), 3.0), "x.npy")
        assert np.load("x.npy").tolist() == [[3.0] * 6] * 4
        with advises(
            "write an array in memory with numpy.save, or make it a Dask array with dask.array.from_array"
        ):
            store(np.ones(3), "x.npy")
        store(da.from_array(np.ones(3)), "x.npy")
        unknown = x[x[:, 0] > 0]
        with advises("call x.compute_chunk_sizes() first"):
            store(unknown, "x.npy")
        assert store(unknown.compute_chunk_sizes(), "x.npy").shape == (4, 6)
        with advises("convert it, as with x.astype('f8') or x.astype('U20')"):
            store(x.astype(object), "x.npy")
        store(x.astype(object).astype("f8"), "x.npy")
        with advises("write {}"):
            store(x, "x.raw")
        wrong = x.map_blocks(lambda block: block[:1], dtype="f8", chunks=x.chunks)
        with advises("give map_blocks the chunks that its function returns"):
            store(wrong, "x.npy")
        right = x.map_blocks(lambda block: block[:1], dtype="f8", chunks=((1, 1), (6,)))
        assert store(right, "x.npy").shape == (2, 6)
        wrong = x.map_blocks(lambda block: block.astype("c16"), dtype="f8")
        with advises("give map_blocks the dtype that its function returns"):
            store(wrong, "x.npy")
        store(x.map_blocks(lambda block: block.astype("c16"), dtype="c16"), "x.npy")

    def test_progress(self, capsys: pytest.CaptureFixture[str]) -> None:
        from dask.diagnostics import ProgressBar

        cos = mapcall.load("m").function("double cos(double x)")
        x = self.da.zeros(6, chunks=2)
        with advises("dask.diagnostics.ProgressBar and Dask's dashboard show the computation"):
            cos(x, progress=True)
        with ProgressBar():
            assert cos(x).compute().tolist() == [1] * 6
        assert "100% Completed" in capsys.readouterr().out

    def test_arrays_in_memory(self) -> None:
        from mapcall.dask._maps import MapReference

        x = mapcall.open("a.npy", "c")
        x[0] = 7
        with advises("write it to a file with numpy.save, and open that"):
            MapReference.of(x)
        np.save("b.npy", x)
        assert MapReference.of(mapcall.open("b.npy")).shape == (3, 2)

    def test_written_arrays(self) -> None:
        doubled = mapcall.compile(
            "void doubled(int n, const double *x, double *y) { while (n--) y[n] = 2 * x[n]; }"
        )
        twice = doubled.function("void doubled(int n, const double x[n], double y[n])")
        x, y = self.da.ones((2, 3), chunks=(1, 3)), np.ones((2, 3))
        with advises("the result is returned"):
            twice(x, y)
        y = self.da.from_array(y)
        assert twice(x, y).compute().tolist() == [[2.0] * 3] * 2
