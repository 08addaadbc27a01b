"""The command of the Python package; the Rust tests test its output in detail."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points, version
from pathlib import Path

import numpy as np
import pytest

import mapcall
from terminal import COMMAND, in_a_terminal, run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def header(tmp_path: Path) -> Path:
    path = tmp_path / "kernels.h"
    path.write_text(
        "#include <stddef.h>\n"
        "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n]);\n"
        "#include <stdarg.h>\n"
        "int report(va_list list);\n"
    )
    return path


def test_the_package_installs_it() -> None:
    (script,) = entry_points(group="console_scripts", name="mapcall")
    assert script.value == "_mapcall_command:main"
    assert callable(script.load())


def test_one_version() -> None:
    assert mapcall.__version__ == version("mapcall")
    shown = run("--version")
    assert (shown.returncode, shown.stdout) == (0, f"mapcall {mapcall.__version__}\n")


def test_prototypes(header: Path) -> None:
    shown = run("prototypes", header)
    assert shown.returncode == 0, shown.stderr
    first, second = shown.stdout.splitlines()
    assert first == (
        "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n]);"
    )
    assert second.startswith("// report: ")
    assert "list of arguments" in second


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
    # Behind the names stand the vector variants.
    assert [line.split("  ")[0] for line in shown.stdout.splitlines()] == mapcall.load(
        "m"
    ).symbols()
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


def console_blocks(page: str) -> list[str]:
    """Returns the examples of the command in a page; in the README, those of its section."""
    text = (ROOT / page).read_text()
    if page == "README.md":
        text = text.split("## The command\n")[1].split("\n## ")[0]
    return re.findall(r"```console\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize(
    "page", ["README.md", "docs/command.md", "docs/compile.md", "docs/conversion.md"]
)
def test_the_readme_shows_what_it_prints(page: str, tmp_path: Path) -> None:
    if not Path("/usr/include/zlib.h").exists():
        pytest.skip("zlib.h is not installed")
    command = f'mapcall() {{ {shlex.join(COMMAND)} "$@"; }}; '
    command += f'python() {{ {shlex.quote(sys.executable)} "$@"; }}; '
    # `mapcall compile` writes to the cache.
    cache = {"MAPCALL_HEADER_CACHE": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    blocks = console_blocks(page)
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
                env=os.environ | cache,
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


def test_standard_output_is_closed() -> None:
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
        # This returns when the compiler, for which the command waits, opens the pipe.
        writer = open_when_read(slow)
        try:
            process.send_signal(signal.SIGINT)
            assert process.wait(5) == -signal.SIGINT
        finally:
            os.close(writer)


@pytest.fixture
def naps(tmp_path: Path) -> list[str]:
    """Returns the arguments for calls of a function that takes a millisecond."""
    source = tmp_path / "nap.c"
    source.write_text(
        "#define _DEFAULT_SOURCE\n#include <unistd.h>\n"
        "double nap(double x) { usleep(1000); return x; }\n"
    )
    library = tmp_path / "libnap.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    np.save(tmp_path / "x.npy", np.zeros(100_000))
    out = tmp_path / "out.npy"
    return ["call", str(library), "double nap(double x)", "-o", str(out), "--threads", "2"]


def test_a_terminal_gets_a_bar_and_a_line(naps: list[str], tmp_path: Path) -> None:
    code, said = in_a_terminal([*naps, f"x={tmp_path}/x.npy[:6000]"])
    assert code == 0, said
    assert re.search(r"nap .*\d+%  [\d.]+ \w+/s  \w+ left", said), said
    # The bar is removed, and the last line stays.
    last = said.replace("\r", "\n").strip().split("\n")[-1]
    assert re.search(r"out\.npy  float64 \(6000,\)  46\.9 KiB  [\d.]+ s  [\d.]+ \w+/s$", last), said
    assert np.load(tmp_path / "out.npy").shape == (6000,)


def test_short_work_and_quiet_work_get_no_bar(naps: list[str], tmp_path: Path) -> None:
    code, said = in_a_terminal([*naps, f"x={tmp_path}/x.npy[:10]"])
    assert code == 0
    assert "%" not in said
    code, said = in_a_terminal([*naps, f"x={tmp_path}/x.npy[:3000]", "--quiet"])
    assert (code, said) == (0, "")


def test_ctrl_c_in_a_terminal(naps: list[str], tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    code, said = in_a_terminal([*naps, f"x={tmp_path}/x.npy"], until="%")
    assert code == 130, said
    assert f"nap: interrupted; not written: {tmp_path}/out.npy" in said.replace("\r\n", "")
    assert {path.name for path in tmp_path.iterdir()} == before


def test_call_and_demo(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.linspace(0, 1, 1000))
    out = tmp_path / "out.npy"
    shown = run("call", "m", "double cos(double x)", f"x={tmp_path}/x.npy", "-o", out)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "", "")
    np.testing.assert_allclose(np.load(out), np.cos(np.load(tmp_path / "x.npy")), rtol=1e-15)
    shown = run("demo", "--size", "1MiB", "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["bytes"] == 1 << 20


def open_when_read(fifo: Path) -> int:
    deadline = time.monotonic() + 30
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert time.monotonic() < deadline, "no process opens the header for reading"
            time.sleep(0.01)
