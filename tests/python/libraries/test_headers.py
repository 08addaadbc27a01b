"""Headers of Debian packages, as mapcall and as libclang read them."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

import debian

clang = pytest.importorskip("clang.cindex", reason=f"`{debian.COMMAND}` installs libclang")

import clang_oracle  # noqa: E402

NAMES = """
blosc.h cairo.h curl/curl.h erfa.h expat.h fftw3.h ft2build.h geos_c.h glib.h gmp.h
gsl/gsl_fft_complex.h gsl/gsl_integration.h gsl/gsl_linalg.h gsl/gsl_matrix.h
gsl/gsl_multifit_nlinear.h gsl/gsl_odeiv2.h gsl/gsl_rng.h gsl/gsl_sf.h gsl/gsl_spline.h
gsl/gsl_statistics.h hdf5.h hdf5_hl.h igraph.h lapack.h lapacke.h lua.h lauxlib.h lz4.h lz4frame.h
lz4hc.h metis.h mpfr.h netcdf.h nlopt.h png.h proj.h geodesic.h libqhull_r/qhull_ra.h samplerate.h
SDL.h secp256k1.h sndfile.h sqlite3.h cblas.h umfpack.h cholmod.h amd.h klu.h openssl/evp.h
openssl/ssl.h openssl/bn.h openssl/x509.h openssl/rand.h tiffio.h turbojpeg.h libxml/parser.h
libxml/tree.h libxml/xpath.h zlib.h zstd.h zdict.h libavcodec/avcodec.h libavformat/avformat.h
libavutil/avutil.h libavutil/frame.h archive_entry.h event2/event.h event2/http.h fitsio.h gdbm.h
git2.h glpk.h jansson.h lcms2.h libusb.h lmdb.h opus/opus.h pari/pari.h sodium.h udunits2.h uv.h
webp/decode.h webp/encode.h yaml.h zmq.h
"""
# The last ones expect the header before them.
HEADERS = [*NAMES.split(), "stdio.h jpeglib.h", "stdio.h archive.h"]

# The reasons for which a declaration may be listed as one that can't be called.
REASONS = [
    # No library exports it.
    r"^`\w+` is static: no library exports it$",
    # NumPy has no such numbers.
    r"^`(__float128|_Float128|long double _Complex)`",
    # Its arguments are those of a call of C.
    r"^`va_list`",
]
# Constants that are not read: a `_Pragma` that deprecates this one stands behind its value.
UNREAD = {"G_UNICODE_COMBINING_MARK"}


@pytest.fixture(scope="session")
def program() -> Path:
    """Returns the program that writes what mapcall knows of a header."""
    command = ["cargo", "build", "--quiet", "--workspace", "--example", "declarations"]
    root = Path(__file__).resolve().parents[3]
    subprocess.run(command, cwd=root, check=True)
    return root / "target/debug/examples/declarations"


@pytest.mark.parametrize("header", HEADERS)
def test_declarations(header: str, program: Path) -> None:
    assert problems(header, program) == []


def constant(text: str) -> int | float | bytes:
    """Returns the value of a constant from its text in C."""
    if text.startswith('"'):
        return ast.literal_eval(f"b{text}")
    try:
        return int(text)
    except ValueError:
        return float(text)


def problems(header: str, program: Path) -> list[tuple[object, ...]]:
    """Returns what differs: names, with what mapcall and what libclang know of them."""
    oracle = clang_oracle.read(header, debian.include(), debian.ROOT)
    assert not oracle.errors
    command = [program, header, *debian.include()]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    functions, structs, variables, constants, unsupported = {}, {}, {}, {}, {}
    problems: list[tuple[object, ...]] = []
    for line in output.splitlines():
        match line.split("\t"):
            case ["function", name, *types]:
                functions[name] = types
            case ["struct", name, size, alignment, *members]:
                structs[name] = (int(size), int(alignment), [each for each in members if each])
            case ["variable", name, ctype]:
                variables[name] = ctype
            case ["constant", name, value]:
                constants[name] = constant(value)
            case ["unsupported", name, reason]:
                unsupported[name] = reason
            case [*facts]:
                problems.append(tuple(facts))
    for name, types in oracle.functions.items():
        if reason := unsupported.get(name):
            if not any(re.search(known, reason) for known in REASONS):
                problems.append((name, reason))
        elif functions.get(name) != types:
            problems.append((name, functions.get(name), types))
    for name, struct in oracle.structs.items():
        if reason := unsupported.get(name):
            problems.append((name, reason))
        elif structs.get(name) != struct:
            problems.append((name, structs.get(name), struct))
    for found, known in [
        (variables, oracle.variables),
        (constants, oracle.enumerators),
        (constants, oracle.macros),
    ]:
        for name, value in known.items():
            if name in UNREAD:
                continue
            # A float may be no number.
            if found.get(name) != value and repr(found.get(name)) != repr(value):
                problems.append((name, found.get(name), value))
    for name, target in oracle.renamed.items():
        if name in functions and functions[name] != oracle.functions.get(target, functions[name]):
            problems.append((name, functions[name], oracle.functions[target]))
    unknown = {*functions, *structs} - {
        *[*oracle.functions, *oracle.structs, *oracle.renamed, *oracle.elsewhere]
    }
    problems += [(name, "unknown to libclang") for name in sorted(unknown)]
    return problems
