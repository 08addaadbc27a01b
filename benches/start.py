"""Compares fresh processes: the import, the first calls, and the command; see docs/design.md."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy

import builds
from harness import Report, Row, Skipped, options

# Each prints the seconds that its statements take, without the start of the interpreter.
IMPORT = """
import time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""

FIRST_USE = """
import time
import numpy
import mapcall
x = numpy.linspace(0, 1, 1000)
start = time.perf_counter()
cos = mapcall.load("m").function("double cos(double x)")
one, many = cos(0.5), cos(x)
print(time.perf_counter() - start)
numpy.testing.assert_allclose([one, many[-1]], [numpy.cos(0.5), numpy.cos(1)])
"""

FIRST_USE_BY_NUMBA = """
import math
import time
import numpy
import numba
x = numpy.linspace(0, 1, 1000)
start = time.perf_counter()
cos = numba.vectorize(["float64(float64)"])(lambda x: math.cos(x))
one, many = cos(0.5), cos(x)
print(time.perf_counter() - start)
numpy.testing.assert_allclose([one, many[-1]], [numpy.cos(0.5), numpy.cos(1)])
"""

COS_BY_NUMPY = """
import sys
import numpy as np
np.save(sys.argv[2], np.cos(np.load(sys.argv[1])))
"""


@dataclass(frozen=True)
class Process:
    """A program that runs in a new process.

    Its time is that of the whole process, or what it prints if `prints_seconds`.

    >>> 0 < Process([sys.executable, "-c", "pass"]).timer().timeit(1) < 60
    True
    >>> Process([sys.executable, "-c", "print(0.5)"], prints_seconds=True).timeit(2)
    1.0
    """

    command: list[str]
    prints_seconds: bool = False

    def timer(self) -> Process:
        return self

    def timeit(self, number: int) -> float:
        # As an installed package is imported: from the bytecode that the first run leaves.
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
        seconds = 0.0
        for _ in range(number):
            start = time.perf_counter()
            ended = subprocess.run(
                self.command, stdout=subprocess.PIPE, env=environment, check=True
            )
            whole = time.perf_counter() - start
            seconds += float(ended.stdout) if self.prints_seconds else whole
        return seconds


def python(program: str, *arguments: str, prints_seconds: bool = False) -> Process:
    """Returns the process of a program in Python."""
    return Process([sys.executable, "-c", program, *arguments], prints_seconds)


def importing() -> Row:
    """Returns the row of the import, within the interpreter."""
    ours, rival = (
        python(IMPORT.format(module=module), prints_seconds=True) for module in ("mapcall", "numpy")
    )
    return Row("import mapcall: import numpy", ours, rival, 1.1)


def first_use_of_mapcall() -> Process:
    """Returns the process that loads a library, binds a function, and calls it twice."""
    return python(FIRST_USE, prints_seconds=True)


def first_use() -> Row:
    """Returns the row of a function that is made, and called with a number and an array."""
    builds.package("numba")
    return Row(
        "load, bind, first calls: numba",
        first_use_of_mapcall(),
        python(FIRST_USE_BY_NUMBA, prints_seconds=True),
        0.05,
    )


def command() -> str:
    """Returns the command that is installed beside the interpreter."""
    found = shutil.which("mapcall", path=str(Path(sys.executable).parent))
    if found is None:
        raise builds.MissingError("the command mapcall is not installed beside the interpreter")
    return found


def version() -> Row:
    """Returns the row of a command that does nothing, beside an import that it does without."""
    ours = Process([command(), "--version"])
    return Row("mapcall --version: import numpy", ours, python("import numpy"), 0.3)


def call(directory: Path, items: int = 100_000) -> Row:
    """Returns the row of the cosines of the numbers in a file, as whole processes."""
    x, ours, theirs = (directory / name for name in ("x.npy", "ours.npy", "theirs.npy"))
    numpy.save(x, numpy.linspace(0, 1, items))
    row = Row(
        f"mapcall call, cos of {items:,}",
        Process([command(), "call", "m", "double cos(double x)", f"x={x}", "-o", str(ours)]),
        python(COS_BY_NUMPY, str(x), str(theirs)),
        0.3,
    )
    row.ours.timer().timeit(1)
    row.rival.timer().timeit(1)
    numpy.testing.assert_allclose(numpy.load(ours), numpy.load(theirs), rtol=1e-15)
    return row


def rows(directory: Path) -> Iterator[Row | Skipped]:
    for name, row in (
        ("import mapcall", importing),
        ("load, bind, first calls: numba", first_use),
        ("mapcall --version", version),
        ("mapcall call", lambda: call(directory)),
    ):
        try:
            yield row()
        except builds.MissingError as error:
            yield Skipped(name, str(error))


def main() -> None:
    report = Report("Start of a process", options(__doc__).parse_args().json)
    with tempfile.TemporaryDirectory() as directory:
        report.measure(rows(Path(directory)), rounds=15)


if __name__ == "__main__":
    main()
