"""Headers: constants, other names by macros, several headers, the cache."""

from __future__ import annotations

import ctypes
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import mapcall

HEADER = r"""
#include <stddef.h>
enum mode { FAST = 3, SLOW = FAST << 2 };
struct pair { int a; double b; };
#define SIZE sizeof(struct pair)
#define OFFSET (offsetof(struct pair, b) + 1)
#define NAME "k" VERSION
#define VERSION "1.2"
#define NO_UTF8 "\xff"
#define LETTER 'a'
#define HALF (1.0 / 2)
#define BITS (-1ull)
#define symbols 5
#define absolute abs
#define lapack_int int
int absolute(int x);
int broken(int [;
struct unread { gone x; };
"""


@pytest.fixture
def header(tmp_path: Path) -> Path:
    path = tmp_path / "k.h"
    path.write_text(HEADER)
    return path


@pytest.mark.parametrize("compiler", ["cc", "clang"])
def test_constants(header: Path, compiler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is missing: on Debian, apt-get install {compiler}")
    monkeypatch.setenv("CC", compiler)

    class Pair(ctypes.Structure):
        _fields_ = (("a", ctypes.c_int), ("b", ctypes.c_double))

    expected = {
        "FAST": 3,
        "SLOW": 12,
        "SIZE": ctypes.sizeof(Pair),
        "OFFSET": Pair.b.offset + 1,
        "NAME": "k1.2",
        "VERSION": "1.2",
        "NO_UTF8": b"\xff",
        "LETTER": 97,
        "HALF": 0.5,
        "BITS": 2**64 - 1,
        "symbols": 5,
    }
    lib = mapcall.load(None, header=header)
    for name, value in expected.items():
        if name != "symbols":
            assert getattr(lib, name) == value
            assert type(getattr(lib, name)) is type(value)
    # The name of a method; `constants` has it.
    assert callable(lib.symbols)
    assert dict(lib.constants) == expected
    assert set(expected) | {"absolute", "abs"} <= set(dir(lib))
    with pytest.raises(TypeError, match="does not support item assignment"):
        lib.constants["FAST"] = 1  # type: ignore[index]
    with pytest.raises(AttributeError, match='declares no function, variable or constant "SLOWER"'):
        _ = lib.SLOWER


def test_renamed_functions_and_what_cannot_be_read(header: Path) -> None:
    lib = mapcall.load(None, header=header)
    assert lib.absolute(-3) == lib.abs(-3) == 3
    assert lib.function("lapack_int absolute(lapack_int x)")(-4) == 4
    copied = pickle.loads(pickle.dumps(lib.absolute))
    assert copied(-5) == 5
    assert "gone" in lib.unsupported["unread"]
    assert "expected" in lib.unsupported["broken"]


def test_several_headers(tmp_path: Path) -> None:
    (tmp_path / "a.h").write_text("typedef int number;\n#define A 1\n")
    (tmp_path / "b.h").write_text("number abs(number x);\n#define B (A + 1)\n")
    names = [tmp_path / "a.h", "b.h"]
    lib = mapcall.load(None, header=names, include=[tmp_path])
    assert (lib.abs(-3), lib.A, lib.B) == (3, 1, 2)
    assert "a.h, b.h" in repr(lib)
    again = pickle.loads(pickle.dumps(lib))
    assert (again.abs(-3), again.B) == (3, 2)
    with pytest.raises(AttributeError, match="unknown type"):
        mapcall.load(None, header=[tmp_path / "b.h"]).abs  # noqa: B018
    with pytest.raises(mapcall.PrototypeError, match=r"misspelt\.h"):
        mapcall.load(None, header=["math.h", "misspelt.h"])
    assert mapcall.load(None, header=[]).constants == {}


def test_later_prototypes_know_earlier_types() -> None:
    lib = mapcall.load("m")
    lib.function("typedef double real; enum { N = 2 }; real cos(real x)")
    assert lib.function("real sin(real x)")(0.0) == 0.0
    with pytest.raises(mapcall.PrototypeError, match="real"):
        mapcall.load("m").function("real sin(real x)")


def test_threads_and_a_fork_share_a_header(header: Path) -> None:
    lib = mapcall.load(None, header=["stdio.h", "stdlib.h", header])
    names = ["strtod", "strtol", "abs", "labs", "fputs", "fputc", "absolute"]
    found: list[object] = []

    def use() -> None:
        found.extend(getattr(lib, name).name for name in names if name in dir(lib))

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    child = os.fork()
    if child == 0:
        os._exit(0 if (lib.absolute(-3), lib.SIZE) == (3, 16) else 1)
    for thread in threads:
        thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(found) == 3 * len(names)


@pytest.mark.parametrize("is_cached", [True, False])
def test_cache(tmp_path: Path, header: Path, is_cached: bool) -> None:
    script = "import mapcall, sys; print(mapcall.load(None, sys.argv[1], header_cache={}).SIZE)"
    command = [sys.executable, "-c", script.format(is_cached), str(header)]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "MAPCALL_HEADER_CACHE": "1"}
    for _ in range(2):
        assert subprocess.check_output(command, env=environment) == b"16\n"
    assert (tmp_path / "mapcall").exists() == is_cached
