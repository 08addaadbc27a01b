"""The command as the package gives it; what it prints in detail is the Rust tests' affair."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

import mapcall

COMMAND = [sys.executable, "-m", "mapcall"]
README = Path(__file__).parents[2] / "README.md"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def header(tmp_path: Path) -> Path:
    path = tmp_path / "kernels.h"
    path.write_text(
        "#include <stddef.h>\n"
        "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n]);\n"
        "int report(const char *format, ...);\n"
    )
    return path


def test_the_package_installs_it() -> None:
    (script,) = entry_points(group="console_scripts", name="mapcall")
    assert script.value == "mapcall.__main__:main"
    assert callable(script.load())


def test_prototypes(header: Path) -> None:
    shown = run("prototypes", header)
    assert shown.returncode == 0, shown.stderr
    first, second = shown.stdout.splitlines()
    assert first == (
        "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n]);"
    )
    assert second.startswith("// report: ")
    assert "variable number of arguments" in second


@pytest.mark.parametrize("name", ["math.h", "stdlib.h"])
def test_prototypes_are_those_that_a_library_binds(name: str) -> None:
    shown = run("prototypes", "--json", name)
    assert shown.returncode == 0, shown.stderr
    functions = [json.loads(line) for line in shown.stdout.splitlines()]
    library = mapcall.load(None, header=name)
    reasons = {each["name"]: each["unsupported"] for each in functions if each["unsupported"]}
    assert reasons == library.unsupported
    bindable = {each["name"] for each in functions} - reasons.keys()
    assert bindable
    assert bindable <= set(dir(library))


def test_symbols() -> None:
    shown = run("symbols", "m")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines() == mapcall.load("m").symbols()
    lines = run("symbols", "m", "--json").stdout.splitlines()
    assert [json.loads(line)["name"] for line in lines] == mapcall.load("m").symbols()


def test_info(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 4), ">f4"))
    shown = run("info", "--json", f"{tmp_path}/x.npy[1:]")
    assert shown.returncode == 0, shown.stderr
    facts = json.loads(shown.stdout)
    x = mapcall.open(tmp_path / "x.npy", mode="r")[1:]
    assert facts["dtype"] == x.dtype.str
    assert tuple(facts["shape"]) == x.shape
    assert tuple(facts["strides"]) == x.strides
    assert facts["offset"] == x.file_offset
    assert facts["order"] == "C"


def test_info_of_members(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    arrays = {"a": np.arange(3), "b": np.zeros((2, 2), order="F")}
    np.savez(path, **arrays)
    lines = run("info", "--json", path).stdout.splitlines()
    facts = [json.loads(line) for line in lines]
    assert [each["member"] for each in facts] == list(arrays)
    assert [tuple(each["shape"]) for each in facts] == [x.shape for x in arrays.values()]


@pytest.mark.parametrize("shell", ["bash", "elvish", "fish", "powershell", "zsh"])
def test_completions(shell: str) -> None:
    shown = run("completions", shell)
    assert shown.returncode == 0, shown.stderr
    assert "prototypes" in shown.stdout


def test_the_manual() -> None:
    shown = run("man", "info")
    assert shown.returncode == 0, shown.stderr
    assert ".TH mapcall-info 1" in shown.stdout


def console_blocks() -> list[str]:
    """The examples of the command in the README."""
    section = README.read_text().split("## The command\n")[1].split("\n## ")[0]
    return re.findall(r"```console\n(.*?)```", section, re.DOTALL)


def test_the_readme_shows_what_it_prints(tmp_path: Path) -> None:
    if not Path("/usr/include/zlib.h").exists():
        pytest.skip("zlib.h is not installed")
    command = f'mapcall() {{ {shlex.join(COMMAND)} "$@"; }}; '
    command += f'python() {{ {shlex.quote(sys.executable)} "$@"; }}; '
    blocks = console_blocks()
    assert blocks
    for block in blocks:
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, expected = example.partition("\n")
            shown = subprocess.run(
                ["bash", "-c", command + line],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
                check=False,
                cwd=tmp_path,
            )
            assert shown.stdout == expected, line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["symbols", "./misspelt.so"], "misspelt.so"),
        (["prototypes", "misspelt.h"], "misspelt.h"),
        (["info", "misspelt.npy"], "misspelt.npy"),
        (["info", "misspelt.npy[0:3]"], "check the name"),
        (["misspelt"], "Usage: mapcall"),
        ([], "Usage: mapcall"),
    ],
)
def test_errors_have_a_code(arguments: list[str], said: str) -> None:
    outcome = run(*arguments)
    assert outcome.returncode == 2
    assert said in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == ""


def test_nobody_reads_the_output() -> None:
    with subprocess.Popen(
        [*COMMAND, "symbols", "m"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_an_interrupt_ends_it(tmp_path: Path) -> None:
    slow = tmp_path / "slow.h"
    os.mkfifo(slow)
    header = tmp_path / "waits.h"
    header.write_text('#include "slow.h"\n')
    with subprocess.Popen(
        [*COMMAND, "prototypes", str(header)], stderr=subprocess.DEVNULL
    ) as process:
        # Opens as soon as the compiler, which the command waits for, reads.
        writer = open_when_read(slow)
        try:
            process.send_signal(signal.SIGINT)
            assert process.wait(5) == -signal.SIGINT
        finally:
            os.close(writer)


def open_when_read(fifo: Path) -> int:
    deadline = time.monotonic() + 30
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert time.monotonic() < deadline, "nobody reads the header"
            time.sleep(0.01)
