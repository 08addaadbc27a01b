"""Run the lifetimes of maps, views and pointers under valgrind, and fail on what is ours.

    python tests/memcheck/run.py

Python and NumPy have findings of their own, which no list of suppressions describes for long. So
nothing is suppressed: valgrind reports all, and what counts is what names a frame of mapcall's
extension in one of its stacks:

- an access to memory that is not there, or has no value: always;
- memory that is not given back: when there is more of it after more rounds. What is kept for ever
  on purpose, such as types and interned names, is there from the first round on.

Python allocates by malloc here, so that each object is a block of its own. Two runs come first
whose defects are planted: in one, mapcall reads an array that has been freed under it; in the
other, objects that it has allocated are lost. When they are not found, this script fails, for it
could not find anything.
"""

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
EXTENSION = re.compile(r"/(_mapcall\.[^/]*|libmapcall[^/]*)\.so$")
FEW, MANY = 2, 5
TIMEOUT = 1800

Stack = tuple[tuple[str, str], ...]


@dataclass
class Report:
    """What names mapcall in a report of valgrind's."""

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
        if not any(EXTENSION.search(frame.findtext("obj") or "") for frame in error.iter("frame")):
            continue
        kind = error.findtext("kind") or ""
        if kind.startswith("Leak_"):
            report.blocks[stack] += int(error.findtext("xwhat/leakedblocks") or 0)
        else:
            report.accesses.append(f"{kind}: {error.findtext('what')}\n{pretty(stack)}")
    return report


def pretty(stack: Stack) -> str:
    return "\n".join(f"    {function} ({library})" for library, function in stack)


def grown(few: Report, many: Report) -> list[str]:
    """The stacks whose blocks become more with each round."""
    return [
        f"lost: {few.blocks[stack]} blocks in {FEW} rounds, {blocks} in {MANY}\n{pretty(stack)}"
        for stack, blocks in many.blocks.items()
        if blocks - few.blocks[stack] >= MANY - FEW
    ]


def main() -> None:
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is missing: on Debian, apt-get install valgrind")

    planted = run("planted.py", "invalid", 1).accesses
    if not any(each.startswith("InvalidRead") for each in planted):
        sys.exit("the planted read of freed memory was not found: this check finds nothing")
    print(f"planted read of freed memory: found {len(planted)} times")

    planted = grown(run("planted.py", "leak", FEW), run("planted.py", "leak", MANY))
    if not planted:
        sys.exit("the planted leak was not found: this check finds nothing")
    print(f"planted leak: found, {planted[0].splitlines()[0]}")

    few, many = run("lifetimes.py", FEW), run("lifetimes.py", MANY)
    found = [*many.accesses, *grown(few, many)]
    print(
        f"lifetimes, {MANY} rounds: {many.findings} findings of valgrind's, "
        f"{len(many.accesses) + len(many.blocks)} with a frame in mapcall, {len(found)} count"
    )
    for each in found:
        print(each)
    if found:
        sys.exit(1)


if __name__ == "__main__":
    main()
