"""The command ``mapcall call --dask``: the results and messages are those without a cluster."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

import clusters
import mapcall
from mapcall import _mapcall
from mapcall.dask import _command, _progress
from terminal import COMMAND, in_a_terminal, run

SOURCE = """
#define _DEFAULT_SOURCE
#include <stddef.h>
#include <unistd.h>

void saxpy(size_t n, float a, const float *x, float *y) {
    for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}
double total(size_t n, const double *x) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum;
}
void rows(size_t m, size_t n, const double *a, const double *x, double *y) {
    for (size_t i = 0; i < m; i++) {
        y[i] = 0;
        for (size_t j = 0; j < n; j++) y[i] += a[i * n + j] * x[j];
    }
}
int parts(double x, int *whole, double *rest) {
    *whole = (int)x;
    *rest = x - *whole;
    return 0;
}
int odd(int x) { return x % 2; }
int count(const char *text, int letter) {
    int found = 0;
    for (; *text; text++) found += *text == letter;
    return found;
}
double size2(double _Complex z) { return __real__ z * __real__ z + __imag__ z * __imag__ z; }
double nap(double x) { usleep(1000); return x; }
double ends(double x) { if (x == 5000) _exit(3); return x; }
void nothing(double x) {}
"""

ROWS = "void rows(size_t m, size_t n, const double a[m][n], const double x[n], double y[m])"
# An address at which nothing listens.
NOWHERE = "tcp://127.0.0.1:1"
COUNT = "int count(const char *text, int letter)"
SAXPY = "void saxpy(size_t n, float a, const float x[n], float y[n])"
HEADER = "int odd(int x);\ntypedef double real;\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, compile_c: Callable[[str], Path]) -> Path:
    """Returns a folder with the library and files."""
    folder = tmp_path_factory.mktemp("command")
    (folder / "libk.so").symlink_to(compile_c(SOURCE))
    (folder / "k.h").write_text(HEADER)
    numbers = np.random.default_rng(1)
    np.save(folder / "x.npy", numbers.random(50_000) * 100)
    np.save(folder / "small.npy", np.array([12.0, 0.5, -3.25]))
    np.save(folder / "grid.npy", numbers.random((300, 40)))
    np.save(folder / "fortran.npy", np.asfortranarray(numbers.random((40, 300))))
    np.save(folder / "matrices.npy", numbers.random((50, 8, 5, 4)))
    np.save(folder / "even.npy", np.arange(0, 20_000, 2, dtype="i4"))
    np.save(folder / "letters.npy", np.arange(97, 123, dtype="i4"))
    np.save(folder / "complex.npy", numbers.random(100) + 1j)
    np.save(folder / "floats.npy", numbers.random((20, 1000)).astype("f4"))
    np.save(folder / "mask.npy", numbers.random(50_000) < 0.5)
    np.save(folder / "no-axes.npy", np.array(2.5))
    np.save(folder / "nothing.npy", np.zeros(0))
    # The second member is not aligned.
    np.savez(folder / "x.npz", a=np.arange(3, dtype="u1"), angles=numbers.random(5000))
    numbers.random((60, 70)).tofile(folder / "raw.bin")
    return folder


@pytest.fixture
def both(
    folder: Path,
    cluster: LocalCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str, str]]:
    """Returns a function that runs the command without a cluster and on one, in two folders.

    It checks that both have the same exit code, messages and files, and returns the former two.
    """
    monkeypatch.chdir(folder)

    def compare(*arguments: str) -> tuple[int, str, str]:
        outcomes = []
        for name, options in (("alone", []), ("cluster", ["--dask", cluster.scheduler_address])):
            place = tmp_path / name
            place.mkdir(exist_ok=True)
            given = ["mapcall", "call", *(each.replace("OUT", str(place)) for each in arguments)]
            code = _mapcall.command([*given, *options], _command.run)
            said = capfd.readouterr()
            texts = said.out.replace(str(place), "OUT"), said.err.replace(str(place), "OUT")
            outcomes.append((code, *texts, sorted(path.name for path in place.iterdir())))
        assert outcomes[0] == outcomes[1]
        for name in outcomes[0][3]:
            one, other = (np.load(tmp_path / place / name) for place in ("alone", "cluster"))
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            assert one.tobytes() == other.tobytes()
        return outcomes[0][:3]

    return compare


@pytest.mark.parametrize(
    "arguments",
    [
        ["m", "double hypot(double x, double y)", "x=x.npy", "y=2", "-o", "OUT/y.npy"],
        ["m", "double cos(double x)", "x=x.npy[::-3]", "-o", "OUT/y.npy", "--threads", "2"],
        ["m", "double cos(double x)", "x=raw.bin:f8:60x70[:,5:]", "-o", "OUT/y.npy", "--sync"],
        ["m", "double cos(double x)", "x=x.npz:angles", "-o", "OUT/y.npy"],
        ["m", "double cos(double x)", "x=small.npy", "--json"],
        ["m", "double cos(double x)", "x=nothing.npy", "-o", "OUT/y.npy"],
        ["m", "double cos(double x)", "x=x.npy", "--where", "mask.npy", "-o", "OUT/y.npy"],
        ["m", "double frexp(double x, int exponent[1])", "x=small.npy"],
        [
            *("m", "double frexp(double x, int exponent[1])", "x=small.npy"),
            *("-o", "exponent=OUT/exponent.npy", "--json"),
        ],
        ["./libk.so", "double total(size_t n, const double x[n])", "x=grid.npy", "-o", "OUT/y.npy"],
        ["./libk.so", "double total(size_t n, const double x[n])", "x=grid.npy", "n=40"],
        [
            *("./libk.so", ROWS, "a=matrices.npy", "x=grid.npy[0,:4]", "-o", "OUT/y.npy"),
        ],
        [
            *("./libk.so", "int parts(double x, int whole[1], double rest[1])", "x=grid.npy"),
            *("-o", "whole=OUT/whole.npy", "-o", "rest=OUT/rest.npy", "--check", "zero"),
        ],
        [
            "./libk.so",
            "int count(const char *text, int letter)",
            "text=alphabet",
            "letter=letters.npy",
        ],
        ["./libk.so", "double size2(double _Complex z)", "z=complex.npy", "-o", "OUT/y.npy"],
        ["./libk.so", "int odd(int x)", "x=even.npy", "--check", "zero"],
        ["./libk.so", "odd", "x=even.npy[:10]", "--header", "k.h"],
        ["./libk.so", "odd", "x=even.npy", "--header", "k.h", "--check", "zero"],
        [
            *(
                "./libk.so",
                "real total(size_t n, const real x[n])",
                "x=grid.npy",
                "--header",
                "k.h",
            ),
            *("-o", "OUT/y.npy"),
        ],
    ],
    ids=lambda arguments: " ".join(arguments[1:])[:60],
)
def test_results(both: Callable[..., tuple[int, str, str]], arguments: list[str]) -> None:
    code, _, errors = both(*arguments)
    assert (code, errors) == (0, "")


def test_a_file_that_is_written_is_replaced(
    folder: Path, cluster: LocalCluster, tmp_path: Path
) -> None:
    x = np.load(folder / "floats.npy")
    y = tmp_path / "y.npy"
    np.save(y, np.ones((20, 1000), "f4"))
    before = y.stat().st_ino
    given = [folder / "libk.so", SAXPY, "a=2", f"x={folder}/floats.npy"]
    dask = ["--dask", cluster.scheduler_address]
    done = run("call", *given, f"y={y}", *dask)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    np.testing.assert_array_equal(np.load(y), 1 + 2 * x)
    assert y.stat().st_ino != before

    refused = run("call", *given, f"y={y}[:]", *dask)
    assert refused.returncode == 2
    assert "saxpy: y: expected a whole .npy file" in refused.stderr
    np.testing.assert_array_equal(np.load(y), 1 + 2 * x)


def test_the_first_failure_is_reported(
    both: Callable[..., tuple[int, str, str]], folder: Path
) -> None:
    x = np.arange(0, 40_000, 2, dtype="i4").reshape(40, 500)
    # The later ones fail in blocks that other workers may make first.
    x[7, 123] = x[7, 400] = x[30] = x[39, 0] = 1
    np.save(folder / "failing.npy", x)
    odd = ["./libk.so", "int odd(int x)", "x=failing.npy", "--check", "zero"]
    code, out, error = both(*odd)
    assert (code, out) == (1, "")
    assert error.startswith("error: odd, at index [7, 123]: expected status 0, got 1; ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["m", "double cos(double x)", "x=2"], "cos: --dask: expected a batch, got a single call"),
        (["m", "double cos(double x)", "x=no-axes.npy"], "cos: --dask: expected a batch, got a"),
        (["m", "double cos(double x)", "x=x.npy", "--stream"], "'--stream' cannot be used with"),
        (["./libk.so", "void nothing(double x)", "x=x.npy"], "nothing: --dask: expected an output"),
        (["m", "double cos(double x)", "x=even.npy"], "cos: x: expected double"),
        (
            ["m", "double cos(double x)", "x=x.npy", "-o", "no such folder/y.npy"],
            "No such file or directory",
        ),
        (
            ["m", "double cos(double x)", "x=x.npy", "-o", "y.bin"],
            "expected a file that ends in .npy",
        ),
    ],
)
def test_refusals(
    folder: Path,
    cluster: LocalCluster,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(folder)
    given = ["mapcall", "call", *arguments, "--dask", cluster.scheduler_address]
    assert _mapcall.command(given, _command.run) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert message in said.err


def batch(cluster: LocalCluster, **options: Any) -> dict[str, Any]:
    """Returns the arguments that the command gives for a batch."""
    given = {
        "address": cluster.scheduler_address,
        "library": "m",
        "headers": [],
        "include": [],
        "define": {},
        "prototype": "double cos(double x)",
        "prototypes": [],
        "check": None,
        "where": None,
        "outputs": [True],
        "threads": 1,
        "simd": False,
        "sync": False,
        "convert": False,
        "progress": lambda done, blocks: None,
    }
    return given | options


def test_a_file_that_changes_is_an_error(
    folder: Path, cluster: LocalCluster, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.zeros(4000))
    x = mapcall.open(tmp_path / "x.npy", mode="r")

    def change(done: int, blocks: int) -> None:
        os.utime(tmp_path / "x.npy", (1, 1))

    library = {"library": str(folder / "libk.so"), "prototype": "double nap(double x)"}
    message = r"^nap: .*/x\.npy: the file has changed while the batch ran; start it again"
    with pytest.raises(RuntimeError, match=message):
        # The last blocks are called after a second.
        _command.run(**batch(cluster, arguments={"x": x}, progress=change, **library))


def test_progress_counts_blocks(cluster: LocalCluster, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.linspace(0, 1, 10_000))
    x = mapcall.open(tmp_path / "x.npy", mode="r")
    for outputs in ([True], [str(tmp_path / "y.npy")]):
        reports: list[tuple[int, int]] = []
        report = batch(
            cluster,
            arguments={"x": x},
            outputs=outputs,
            progress=lambda *counts, reports=reports: reports.append(counts),
        )
        contents = _command.run(**report)
        # 16 for each of the two threads of the cluster.
        assert reports == [(done, 32) for done in range(33)]
    assert contents == []
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), np.cos(x))


def test_an_exception_of_the_progress_report_ends_it(client: Client, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(100_000))
    x = mapcall.open(tmp_path / "x.npy", mode="r").to_dask(chunks=1000)
    cos = mapcall.load("m").function("double cos(double x)")
    reports = []

    def report(done: int, calls: int) -> None:
        reports.append((done, calls))
        if done == 5000:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cos(x, out=tmp_path / "y.npy", progress=report)
    assert reports == [(done, 100_000) for done in range(0, 5001, 1000)]
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_progress_without_a_cluster(tmp_path: Path, scheduler: str) -> None:
    np.save(tmp_path / "x.npy", np.linspace(0, 1, 10_000))
    x = mapcall.open(tmp_path / "x.npy", mode="r")
    cos = mapcall.load("m").function("double cos(double x)")
    reports = []
    with dask.config.set(scheduler=scheduler):
        lazy = x.to_dask(chunks=3000)
        y = cos(lazy, out=tmp_path / "y.npy", progress=lambda *counts: reports.append(counts))
        # The bar of tqdm, which is shown after a second.
        cos(lazy, out=tmp_path / "z.npy", progress=True)
        with pytest.raises(
            mapcall.ArgumentError, match="cos: progress: expected True or a callable"
        ):
            cos(lazy, out=tmp_path / "z.npy", progress="yes")
    assert reports == [
        (0, 10_000),
        (2500, 10_000),
        (5000, 10_000),
        (7500, 10_000),
        (10_000, 10_000),
    ]
    np.testing.assert_array_equal(y, np.cos(x))


def test_a_result_is_released_when_it_is_there(client: Client) -> None:
    futures = client.map(abs, range(-30, 0), pure=False)
    keys = [future.key for future in futures]
    _progress.follow(futures, None)
    assert futures == []
    clusters.wait_until(lambda: not tasks(client, keys))


def tasks(client: Client, keys: list[Any] | None = None) -> list[str]:
    """Returns the tasks that the scheduler has."""

    def names(dask_scheduler: Any) -> list[str]:
        return [str(key) for key in dask_scheduler.tasks if keys is None or key in keys]

    found: list[str] = client.run_on_scheduler(names)
    return found


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=clusters.long)]
)
def test_a_signal_cancels_the_tasks(
    folder: Path, client: Client, tmp_path: Path, number: signal.Signals
) -> None:
    nap = [str(folder / "libk.so"), "double nap(double x)", f"x={folder}/x.npy"]
    out = tmp_path / "y.npy"
    command = [*COMMAND, "call", *nap, "-o", str(out), "--dask", client.scheduler.address]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:

        def is_running() -> bool:
            assert process.poll() is None
            # The blocks are written to a file with a hidden name.
            return any(tmp_path.iterdir()) and bool(tasks(client))

        clusters.wait_until(is_running)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert error == f"error: nap: interrupted; not written: {out}\n"
    assert list(tmp_path.iterdir()) == []
    clusters.wait_until(lambda: not tasks(client))


@clusters.long
def test_a_local_cluster_and_a_bar(folder: Path, tmp_path: Path) -> None:
    nap = [str(folder / "libk.so"), "double nap(double x)", f"x={folder}/x.npy[:3000]"]
    out = tmp_path / "y.npy"
    code, said = in_a_terminal(["call", *nap, "-o", str(out), "--dask", "local"])
    assert code == 0, said
    assert re.search(r"nap .*\d+%  [\d.]+ \w+/s  \w+ left", said), said
    # The bar is removed, and the last line stays.
    last = said.replace("\r", "\n").strip().split("\n")[-1]
    assert re.search(r"y\.npy  float64 \(3000,\)  23\.4 KiB  [\d.]+ s  [\d.]+ \w+/s$", last), said
    np.testing.assert_array_equal(np.load(out), np.load(folder / "x.npy")[:3000])


def test_a_local_cluster_and_ctrl_c(folder: Path, tmp_path: Path) -> None:
    nap = [str(folder / "libk.so"), "double nap(double x)", f"x={folder}/x.npy"]
    out = tmp_path / "y.npy"
    code, said = in_a_terminal(["call", *nap, "-o", str(out), "--dask", "local"], until="%")
    assert code == 130, said
    # Nothing else, also not from the workers, to which a terminal sends the signal, too.
    text = re.sub(r"\x1b\[[\d;]*\w", "", said).replace("\r\n", "")
    text = re.sub(r"\r?nap [^\r]* left(\^C)?", "", text).replace("\r", "").strip()
    assert text == f"error: nap: interrupted; not written: {out}"
    assert list(tmp_path.iterdir()) == []


@clusters.long
def test_workers_of_a_local_cluster_die(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    np.save(tmp_path / "x.npy", np.arange(10_000.0))
    ends = [str(folder / "libk.so"), "double ends(double x)", f"x={tmp_path}/x.npy"]
    done = run("call", *ends, "-o", tmp_path / "y.npy", "--dask", "local", timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    expected = (
        "error: ends: expected workers that live, got ones that died while they made the calls "
    )
    assert done.stderr.startswith(f"{expected}of one block (1 tried); ")
    assert done.stderr.endswith("look at the workers' logs, or leave out --dask\n")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
    assert processes_with(str(tmp_path)) == []
    # The function ends the process by this exit code.
    assert run("call", *ends, "-o", tmp_path / "y.npy").returncode == 3


@clusters.long
def test_a_worker_that_joins_without_the_package(folder: Path, tmp_path: Path) -> None:
    """It ends when it gets a task, which other workers do in its place."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys\nsys.modules['mapcall'] = None\n")
    output = tmp_path / "y.npy"
    nap = [folder / "libk.so", "double nap(double x)", f"x={folder}/x.npy", "-o", output]
    with (
        clusters.separate(tmp_path, [()]) as cluster,
        clusters.client(cluster.address) as client,
    ):
        client.wait_for_workers(1, timeout=60)
        command = [*COMMAND, "call", *nap, "--dask", cluster.address]
        started = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
        try:
            clusters.wait_until(lambda: any(client.processing().values()))
            path = os.pathsep.join([str(hidden), *sys.path])
            cluster.join(["env", f"PYTHONPATH={path}"])
            _, error = started.communicate(timeout=600)
            assert "No module named 'mapcall" in cluster.workers[1].communicate(timeout=60)[1]
        finally:
            started.kill()
    assert started.returncode == 0, error
    np.testing.assert_array_equal(np.load(output), np.load(folder / "x.npy"))


def processes_with(text: str) -> list[int]:
    """Returns the processes that were started with a text in their arguments or environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                content = (path / name).read_bytes()
            except OSError:
                continue
            if text.encode() in content and int(path.name) != os.getpid():
                found.append(int(path.name))
    return found


def test_no_scheduler(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "1s")
    done = run("call", "m", "double cos(double x)", f"x={folder}/x.npy", "--dask", NOWHERE)
    assert (done.returncode, done.stdout) == (2, "")
    expected = "error: --dask: expected the address of a scheduler that answers, got "
    assert done.stderr.startswith(f"{expected}'{NOWHERE}': ")
    assert done.stderr.endswith("; start one with dask scheduler, or give --dask local\n")
    assert done.stderr.count("\n") == 1


def test_dask_is_not_installed(folder: Path, run_script: Callable[..., str]) -> None:
    script = """
    import subprocess, sys
    from mapcall.__main__ import main

    missing = sys.argv.pop(1)
    sys.modules[missing] = None
    sys.exit(main())
    """
    for missing in ("dask", "distributed"):
        done = subprocess.run(
            [
                *(sys.executable, "-c", textwrap.dedent(script), missing),
                *("call", "m", "double cos(double x)", f"x={folder}/x.npy", "--dask", "local"),
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ")
        assert "pip install 'mapcall[dask]'" in done.stderr
        assert done.stderr.count("\n") == 1


def test_the_command_imports_dask_only_for_it(run_script: Callable[..., str]) -> None:
    run_script(
        """
        import sys
        from mapcall.__main__ import main

        sys.argv = ["mapcall", "--version"]
        assert main() == 0
        assert not {"dask", "distributed", "logging"} & sys.modules.keys()
        """
    )
