"""Run lifetimes, calls and threads under valgrind, and fail on mapcall's errors.

    python tests/memcheck/run.py

valgrind also reports errors of Python and NumPy, which differ from version to version, so there is
no list of suppressions. A report counts if one of its stacks has a frame of mapcall's extension:

- an access to memory that is not allocated: always;
- a use of memory that is not initialised: unless it is by Python code that mapcall has called, as
  the interpreter's integers have unused bytes, which it compares;
- memory that is not freed: if there is more of it after more rounds. Objects that are never freed
  on purpose, such as types and interned names, exist from the first round on.

Python allocates by malloc here, so that each object is a separate block. The first runs have
deliberate defects: mapcall reads an array that has been freed, a C function that either engine
calls reads beyond the end of its array, and objects that mapcall or C has allocated are lost. The
script fails if they are not found.

The Rust tests with many threads run under valgrind, too. All of their reports count.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
EXTENSION = re.compile(r"/(_mapcall\.[^/]*|libmapcall[^/]*)\.so$")
FEW, MANY = 2, 5
TIMEOUT = 1800
VALGRIND_ERROR = 99
ENGINES = ("cranelift", "libffi")
# The Rust test binaries that run here, and the names of the tests; none means all.
RUST_TESTS = {"threads": [], "library": ["eight_threads"]}

Stack = tuple[tuple[str, str], ...]


@dataclass
class Report:
    """The errors in a report of valgrind whose stacks have a frame of mapcall."""

    findings: int = 0
    accesses: list[str] = field(default_factory=list)
    blocks: Counter[Stack] = field(default_factory=Counter)


def run(script: str, *arguments: object) -> Report:
    """Run a script under memcheck, and read the report."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.xml"
        command = [
            "valgrind",
            "--quiet",
            "--tool=memcheck",
            "--leak-check=full",
            "--show-leak-kinds=all",
            "--num-callers=30",
            "--xml=yes",
            f"--xml-file={path}",
            sys.executable,
            str(HERE / script),
            *map(str, arguments),
        ]
        settings = {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
        result = subprocess.run(
            command, env=os.environ | settings, capture_output=True, text=True, timeout=TIMEOUT
        )
        if result.returncode != 0 or result.stdout.split() != ["done"]:
            sys.exit(
                f"{script} failed under valgrind with exit code {result.returncode}:\n"
                f"{result.stdout}{result.stderr}"
            )
        return read(path)


def read(path: Path) -> Report:
    report = Report()
    for error in ElementTree.parse(path).iter("error"):
        report.findings += 1
        stack = tuple(
            (Path(frame.findtext("obj") or "").name, frame.findtext("fn") or "?")
            for frame in error.iter("frame")
        )
        objects = [frame.findtext("obj") or "" for frame in error.iter("frame")]
        ours = next((at for at, path in enumerate(objects) if EXTENSION.search(path)), None)
        if ours is None:
            continue
        kind = error.findtext("kind") or ""
        is_in_python = any(function == "_PyEval_EvalFrameDefault" for _, function in stack[:ours])
        if kind.startswith("Uninit") and is_in_python:
            continue
        if kind.startswith("Leak_"):
            report.blocks[stack] += int(error.findtext("xwhat/leakedblocks") or 0)
        else:
            report.accesses.append(f"{kind}: {error.findtext('what')}\n{pretty(stack)}")
    return report


def pretty(stack: Stack) -> str:
    return "\n".join(f"    {function} ({library})" for library, function in stack)


def grown(few: Report, many: Report) -> list[str]:
    """Return the stacks whose blocks become more with each round."""
    return [
        f"lost: {few.blocks[stack]} blocks in {FEW} rounds, {blocks} in {MANY}\n{pretty(stack)}"
        for stack, blocks in many.blocks.items()
        if blocks - few.blocks[stack] >= MANY - FEW
    ]


def main() -> None:
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is missing: on Debian, apt-get install valgrind")

    with tempfile.TemporaryDirectory() as folder:
        library = compile_library(Path(folder))
        find_planted(library)
        found = [*check("lifetimes.py"), *check("calls.py", library), *check("faults.py")]
    found += check_rust()
    for each in found:
        print(each)
    if found:
        sys.exit(1)


def compile_library(folder: Path) -> Path:
    """Compile the library for `calls.py`, and return its path."""
    compiler = shutil.which("cc")
    if compiler is None:
        sys.exit("a C compiler is missing: on Debian, apt-get install gcc")
    library = folder / "calls.so"
    source = HERE / "calls.c"
    subprocess.run([compiler, "-O1", "-g", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def find_planted(library: Path) -> None:
    """Fail if the deliberate defects are not found."""
    for defect, count in (("invalid", 1), ("read beyond", len(ENGINES))):
        accesses = run("planted.py", defect, 1, library).accesses
        reads = [each for each in accesses if each.startswith("InvalidRead")]
        if len(reads) < count:
            sys.exit(f'the planted defect "{defect}" was not found: this check finds nothing')
        print(f'planted defect "{defect}": found {len(reads)} times')
    for defect in ("leak", "lost handle"):
        few, many = (run("planted.py", defect, rounds, library) for rounds in (FEW, MANY))
        lost = grown(few, many)
        if not lost:
            sys.exit(f'the planted defect "{defect}" was not found: this check finds nothing')
        print(f'planted defect "{defect}": found, {lost[0].splitlines()[0]}')


def check(script: str, *arguments: object) -> list[str]:
    """Run a script, and return the errors that count."""
    few, many = (run(script, rounds, *arguments) for rounds in (FEW, MANY))
    found = [*many.accesses, *grown(few, many)]
    print(
        f"{script}, {MANY} rounds: {many.findings} findings of valgrind's, "
        f"{len(many.accesses) + len(many.blocks)} with a frame in mapcall, {len(found)} count"
    )
    return found


def check_rust() -> list[str]:
    """Run the Rust tests that call C from many threads, and return the errors."""
    build = ["cargo", "test", "--quiet", "--no-run", "--message-format=json", "--package=mapcall"]
    build += [f"--test={name}" for name in RUST_TESTS]
    result = subprocess.run(build, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    messages = [json.loads(line) for line in result.stdout.splitlines()]
    binaries = {
        message["target"]["name"]: message["executable"]
        for message in messages
        if message.get("executable")
    }
    planted = run_rust(binaries["threads"], "--ignored", "planted_read_of_freed_memory")
    if "Invalid read" not in planted:
        sys.exit(f"the planted read of freed memory was not found in Rust:\n{planted}")
    print("planted read of freed memory in Rust: found")
    found = []
    for name, arguments in RUST_TESTS.items():
        errors = run_rust(binaries[name], *arguments)
        print(f"{name}.rs: {'errors' if errors else 'no errors'}")
        found += [errors] if errors else []
    return found


def run_rust(binary: str, *arguments: str) -> str:
    """Run a test binary under memcheck, and return valgrind's report if it has errors.

    A block counts as lost if no pointer to it exists. Compiled code is never freed, and the
    pointers to it are into the middle of its blocks.
    """
    result = subprocess.run(
        [
            "valgrind",
            "--quiet",
            "--tool=memcheck",
            "--leak-check=full",
            "--show-leak-kinds=definite",
            "--errors-for-leak-kinds=definite",
            "--num-callers=30",
            "--fair-sched=yes",
            f"--error-exitcode={VALGRIND_ERROR}",
            binary,
            "--test-threads=1",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    if result.returncode == VALGRIND_ERROR:
        return result.stderr
    if result.returncode != 0 or "test result: ok" not in result.stdout:
        sys.exit(f"{binary} failed under valgrind:\n{result.stdout}{result.stderr}")
    return ""


if __name__ == "__main__":
    main()
