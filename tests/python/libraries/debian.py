"""Fetches Debian packages and unpacks them into `target/libraries`, for tests of real libraries.

Nothing is installed, nothing outside of that folder is changed, and no rights are needed. A package
of a version is fetched once: a further run of the same list needs no network.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[3] / "target/libraries"
ROOT = FOLDER / "root"
STAMPS = FOLDER / "stamps"
COMPLETE = FOLDER / "complete.json"
COMMAND = "make test-libraries"

# Packages with the headers of libraries whose functions are called. The libraries are fetched with
# them, and what these depend on, unless the system has it.
LIBRARIES = """
libcurl4-openssl-dev liberfa-dev libfftw3-dev libgeos-dev libgmp-dev libgsl-dev libhdf5-dev
libgdbm-dev libjansson-dev liblapack-dev liblz4-dev libnetcdf-dev libnlopt-dev libpcre2-dev
libproj-dev libsamplerate0-dev libsndfile1-dev libsodium-dev libsuitesparse-dev libtiff-dev
libturbojpeg0-dev libuv1-dev libyaml-dev libzstd-dev
"""
# Packages with other headers, fetched without what they depend on.
HEADERS = """
libarchive-dev libavcodec-dev libavformat-dev libavutil-dev libblosc-dev libcairo2-dev
libcfitsio-dev libevent-dev libexpat1-dev libfreetype-dev libgit2-dev libglib2.0-dev libglpk-dev
libigraph-dev libjpeg62-turbo-dev liblapacke-dev liblcms2-dev liblmdb-dev liblua5.4-dev
libmetis-dev libmpfr-dev libopenblas-pthread-dev libopus-dev libpari-dev libpng-dev libqhull-dev
libsdl2-dev libsecp256k1-dev libsqlite3-dev libssl-dev libudunits2-dev libusb-1.0-0-dev
libwebp-dev libxml2-dev libzmq3-dev zlib1g-dev
"""


class Missing(Exception):
    """What this machine lacks, with the remedy."""


def fetch() -> None:
    """Fetches what is missing in the folder.

    Raises `Missing` if the machine has no `apt-get`, no `dpkg-deb`, or no network.
    """
    if is_complete():
        return
    for tool in ["apt-get", "dpkg-deb"]:
        if not shutil.which(tool):
            raise Missing(f"{tool} is missing: the packages are Debian's, use a Debian system")
    STAMPS.mkdir(parents=True, exist_ok=True)
    ROOT.mkdir(exist_ok=True)
    try:
        _fetch([])
    except subprocess.CalledProcessError:
        # The system's lists of packages are missing or old: newer ones are fetched into the folder.
        options = _own_lists()
        try:
            _apt(options, "update", "-qq")
            _fetch(options)
        except subprocess.CalledProcessError as error:
            raise Missing(f"the packages can't be fetched: {error.stderr.strip()}") from None
    COMPLETE.write_text(json.dumps([LIBRARIES, HEADERS]))


def is_complete() -> bool:
    """Returns whether the folder has all packages of the lists."""
    try:
        return json.loads(COMPLETE.read_text()) == [LIBRARIES, HEADERS]
    except (OSError, ValueError):
        return False


def _fetch(options: list[str]) -> None:
    libraries = _libraries(options)
    install = ["install", "--print-uris", "-qq", "--yes", "--no-install-recommends"]
    dependencies = [name for name, _ in _packages(_apt(options, *install, *libraries))]
    names = sorted({*LIBRARIES.split(), *HEADERS.split(), *libraries, *dependencies})
    found = _packages(_apt(options, "download", "--print-uris", "-qq", *names))
    missing = [(name, file) for name, file in found if not (STAMPS / file).exists()]
    downloads = FOLDER / "downloads"
    downloads.mkdir(exist_ok=True)
    if missing:
        _apt(options, "download", "-qq", *[name for name, _ in missing], folder=downloads)
    for _, file in missing:
        package = downloads / file
        _run(["dpkg-deb", "-x", str(package), str(ROOT)])
        # Archives for linkers take two thirds of the space.
        for archive in ROOT.rglob("*.a"):
            archive.unlink()
        (STAMPS / file).touch()
        package.unlink()


def _libraries(options: list[str]) -> list[str]:
    """Returns the packages of the libraries themselves, whose names have their versions."""
    output = _run(["apt-cache", *options, "depends", "--important", *LIBRARIES.split()])
    names = re.findall(r"^  Depends: (lib\S+)$", output, re.MULTILINE)
    # A process has those of the system.
    loaded = {"libc6", "libgcc-s1", "libstdc++6"}
    return sorted({name for name in names if not name.endswith("-dev")} - loaded)


def _packages(uris: str) -> list[tuple[str, str]]:
    """Returns names and file names of what apt-get would fetch."""
    lines = [line.split() for line in uris.splitlines() if line.startswith("'")]
    return [(line[1].partition("_")[0], line[1]) for line in lines]


def _own_lists() -> list[str]:
    """Returns options by which apt-get keeps its lists in our folder."""
    state, cache = FOLDER / "apt/state", FOLDER / "apt/cache"
    (state / "lists/partial").mkdir(parents=True, exist_ok=True)
    (cache / "archives/partial").mkdir(parents=True, exist_ok=True)
    options = [f"Dir::State={state}", f"Dir::Cache={cache}", "Debug::NoLocking=true"]
    return [argument for option in options for argument in ("-o", option)]


def _apt(options: list[str], *arguments: str, folder: Path | None = None) -> str:
    # If this user is root, the user `_apt` may not enter our folder.
    user = ["-o", "APT::Sandbox::User=root"]
    return _run(["apt-get", *user, *options, *arguments], folder)


def _run(command: list[str], folder: Path | None = None) -> str:
    environment = os.environ | {"LC_ALL": "C"}
    result = subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return result.stdout


@functools.cache
def architecture() -> str:
    """Returns the name of the folders of this machine's architecture, as `x86_64-linux-gnu`."""
    return _run(["cc", "-print-multiarch"]).strip()


@functools.cache
def include() -> list[Path]:
    """Returns the folders in which the C compiler finds the headers of the packages."""
    usr, here = ROOT / "usr", architecture()
    folders = [
        *[usr / "include", usr / "include" / here],
        *[usr / "include/hdf5/serial", usr / "include/suitesparse", usr / "include/igraph"],
        *[usr / "include/lua5.4", usr / "include/freetype2", usr / "include/cairo"],
        *[usr / "include/libxml2", usr / "include/SDL2", usr / "include" / here / "SDL2"],
        *[usr / "include/glib-2.0", usr / "lib" / here / "glib-2.0/include"],
        *[usr / "include" / here / "openblas-pthread", usr / "include/libusb-1.0"],
    ]
    return [folder for folder in folders if folder.is_dir()]


@functools.cache
def library(name: str) -> Path:
    """Returns the path of a shared library of the packages, or of the system, by its file name."""
    folders = [ROOT / "usr/lib", ROOT / "lib", Path("/usr/lib"), Path("/lib")]
    for folder in folders:
        for path in sorted((folder / architecture()).rglob(name)):
            return path
    raise FileNotFoundError(f"{name}: no package of {COMMAND} has it")


@functools.cache
def needed(path: Path) -> list[Path]:
    """Returns the libraries of the packages that a library depends on."""
    folders = [ROOT / "usr/lib" / architecture(), ROOT / "lib" / architecture()]
    folders += [path.parent for path in folders[0].glob("*/lib*.so.*")]
    search = ":".join(map(str, dict.fromkeys(folders)))
    environment = os.environ | {"LD_LIBRARY_PATH": search}
    result = subprocess.run(["ldd", path], env=environment, capture_output=True, text=True)
    found = [line.partition("=>")[2].split() for line in result.stdout.splitlines()]
    return [Path(words[0]) for words in found if words and words[0].startswith(str(ROOT))]


if __name__ == "__main__":
    try:
        fetch()
    except Missing as problem:
        sys.exit(f"{COMMAND}: {problem}")
