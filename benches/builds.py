"""Compiles the libraries of the benchmarks, once for each state of their sources, under `target/`.

>>> source = Path("one.c")
>>> _ = source.write_text("int one(void) { return 1; }")
>>> library = build(Path("built"), "one", [tool("cc", "gcc"), "-shared", "-fPIC"], source)
>>> import ctypes
>>> ctypes.CDLL(str(library.absolute())).one()
1
>>> build(Path("built"), "one", [tool("cc", "gcc"), "-shared", "-fPIC"], source) == library
True
"""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import subprocess
import sysconfig
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent.parent / "target" / "benches"
SOURCES = Path(__file__).parent / "saxpy"


class MissingError(Exception):
    """This machine lacks a tool or package of a rival. The message tells how to install it."""


def tool(name: str, debian: str) -> str:
    """Returns the path of a program, which is in the Debian package `debian`.

    >>> try:
    ...     tool("no-such-program", "no-such-package")
    ... except MissingError as error:
    ...     print(error)
    no-such-program is missing: on Debian, apt-get install no-such-package
    """
    path = shutil.which(name)
    if path is None:
        raise MissingError(f"{name} is missing: on Debian, apt-get install {debian}")
    return path


def package(name: str) -> Any:
    """Imports and returns the Python package `name`.

    >>> try:
    ...     package("no_such_package")
    ... except MissingError as error:
    ...     print(error)
    no_such_package is missing: pip install no_such_package
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingError(f"{name} is missing: pip install {name}") from error


def python_headers() -> str:
    """Returns the directory of `Python.h`."""
    directory = sysconfig.get_path("include")
    if not Path(directory, "Python.h").exists():
        raise MissingError("Python's headers are missing: on Debian, apt-get install python3-dev")
    return directory


def build(directory: Path, name: str, command: list[str], *sources: Path) -> Path:
    """Compiles `sources` with `command`, and returns the shared library in `directory`.

    Its name contains a digest of the command and of the sources' content.
    """
    digest = hashlib.sha256("\0".join(command).encode())
    for source in sources:
        digest.update(source.read_bytes())
    path = directory / f"{name}-{digest.hexdigest()[:16]}.so"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        # The linker needs the sources before the libraries that they use.
        whole = [command[0], *map(str, sources), *command[1:], "-o", str(partial)]
        result = subprocess.run(whole, capture_output=True, text=True)
        if result.returncode != 0:
            raise RuntimeError(f"{' '.join(whole)}\n{result.stderr}")
        partial.replace(path)
    return path


def extension(name: str, path: Path) -> Any:
    """Imports and returns the extension module `name` in the file `path`."""
    loader = ExtensionFileLoader(name, str(path))
    module = module_from_spec(ModuleSpec(name, loader, origin=str(path)))
    loader.exec_module(module)
    return module


def library(source: Path, directory: Path = DIRECTORY, optimised: str = "-O3") -> Path:
    """Compiles one C file to a shared library, and returns its path."""
    command = [tool("cc", "gcc"), optimised, "-fPIC", "-shared"]
    return build(directory.absolute(), source.stem, command, source)


def kernel(directory: Path = DIRECTORY) -> Path:
    """Returns the library with `saxpy`, which every rival calls."""
    return library(SOURCES / "saxpy.c", directory)


def linked(compiler: str, saxpy: Path, *options: str) -> list[str]:
    """Returns the command that compiles an extension module and links it with the kernel."""
    release = ["-O3", "-DNDEBUG", "-fPIC", "-shared", "-fno-plt", f"-I{python_headers()}"]
    return [compiler, *release, *options, str(saxpy)]
