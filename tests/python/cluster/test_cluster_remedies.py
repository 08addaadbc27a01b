# ruff: noqa: E501 (messages stand on one line)
"""The remedies in messages of `--dask`, `ship` and `store`: each is done on the cluster, and works.

`test_every_remedy.py` knows which remedies there are, and reads this file for the calls of `advises`.
`TestHosts` of `test_shipping.py` has those of hosts that have other files.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster

import mapcall
import mapcall.dask
from mapcall import _mapcall
from mapcall.dask import _command
from remedy_texts import advises, complains

CODE = """
void nothing(double x) { }
double first(int n, const double *x) { return x[0]; }
void twice(int n, const double *x, double *y) { while (n--) y[n] = 2 * x[n]; }
"""
TWICE = "void twice(int n, const double x[n], double y[n])"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.arange(12.0).reshape(4, 3))
    np.save("scalar.npy", 2.0)
    return tmp_path


@pytest.fixture
def cached(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.delenv("MAPCALL_HEADER_CACHE")


@pytest.fixture
def on_cluster(
    cluster: LocalCluster, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Returns a function that runs `mapcall call` with arguments, by default on the cluster."""

    def run(*arguments: object, dask: bool = True) -> tuple[int, str]:
        options = ["--dask", cluster.scheduler_address] if dask else []
        given = ["mapcall", "call", *map(str, arguments), *options]
        code = _mapcall.command(given, _command.run)
        return code, capfd.readouterr().err

    return run


class TestCommand:
    def test_single_calls(self, on_cluster: Callable[..., tuple[int, str]]) -> None:
        code, error = on_cluster("m", "double cos(double x)", "x=2")
        assert code == 2
        complains(
            "give a file for a number, or an array with more axes than its parameter has brackets, or leave out --dask",
            error,
        )
        cos = ("m", "double cos(double x)")
        assert on_cluster(*cos, "x=x.npy") == (0, "")
        assert on_cluster(*cos, "x=2", dask=False) == (0, "")

    def test_arrays(
        self, on_cluster: Callable[..., tuple[int, str]], compile_c: Callable[[str], Path]
    ) -> None:
        first = (compile_c(CODE), "double first(int n, const double x[n])")
        np.save("row.npy", np.arange(3.0))
        code, error = on_cluster(*first, "x=row.npy")
        assert code == 2
        assert "an array with more axes than its parameter has brackets" in error
        assert on_cluster(*first, "x=x.npy", "-o", "y.npy") == (0, "")
        assert np.load("y.npy").tolist() == [0, 3, 6, 9]

    def test_no_output(
        self, on_cluster: Callable[..., tuple[int, str]], compile_c: Callable[[str], Path]
    ) -> None:
        nothing = (compile_c(CODE), "void nothing(double x)", "x=x.npy")
        code, error = on_cluster(*nothing)
        assert code == 2
        assert error.endswith(f"; {complains('leave out --dask')}\n")
        assert on_cluster(*nothing, dask=False) == (0, "")

    def test_outputs_in_place(
        self, on_cluster: Callable[..., tuple[int, str]], compile_c: Callable[[str], Path]
    ) -> None:
        x = np.load("x.npy")
        np.save("y.npy", np.zeros((8, 3)))
        twice = (compile_c(CODE), TWICE, "x=x.npy")
        code, error = on_cluster(*twice, "y=y.npy[4:]")
        assert code == 2
        complains("copy it to a .npy file, or leave out --dask", error)
        assert not np.load("y.npy").any()
        assert on_cluster(*twice, "y=y.npy[4:]", dask=False) == (0, "")
        np.testing.assert_array_equal(np.load("y.npy"), np.concatenate([0 * x, 2 * x]))
        np.save("part.npy", np.load("y.npy")[4:])
        assert on_cluster(*twice, "y=part.npy") == (0, "")
        np.testing.assert_array_equal(np.load("part.npy"), 2 * x)

    def test_source_code(
        self,
        on_cluster: Callable[..., tuple[int, str]],
        capfd: pytest.CaptureFixture[str],
        cached: None,
    ) -> None:
        Path("kern.c").write_text(CODE)
        code, error = on_cluster("kern.c", "twice", "x=x.npy")
        assert code == 2
        complains('give "$(mapcall compile {})" in its place, and write the prototype', error)
        assert _mapcall.command(["mapcall", "compile", "kern.c"]) == 0
        library = capfd.readouterr().out.strip()
        assert on_cluster(library, TWICE, "x=x.npy", "-o", "y.npy") == (0, "")
        np.testing.assert_array_equal(np.load("y.npy"), 2 * np.load("x.npy"))

    def test_workers_without_the_package(
        self, on_cluster: Callable[..., tuple[int, str]], client: Client
    ) -> None:
        def hide(dask_worker: Any) -> None:
            names = [name for name in sys.modules if name.split(".")[0] == "mapcall"]
            dask_worker.hidden = {name: sys.modules.pop(name) for name in names}
            sys.modules["mapcall"] = None  # type: ignore[assignment]

        def install(dask_worker: Any) -> None:
            del sys.modules["mapcall"]
            sys.modules.update(dask_worker.hidden)

        cos = ("m", "double cos(double x)", "x=x.npy")
        client.run(hide)
        try:
            code, error = on_cluster(*cos)
        finally:
            client.run(install)
        assert code == 2
        complains(
            "install it in the environment of the workers: pip install 'mapcall[dask]'", error
        )
        assert on_cluster(*cos) == (0, "")


class TestShip:
    def test_source_code(self, client: Client, cached: None) -> None:
        code = "int seven(void) { return 7; }"
        library = mapcall.compile(code, cache=False)
        with advises(
            "without a compiler there, compile it with cache=True and ship mapcall.load(library.path)"
        ):
            mapcall.dask.ship(client, library)
        compiled = mapcall.compile(code, cache=True)
        library = mapcall.load(compiled.path)
        seven = library.function("int seven(void)")
        pickled = pickle.dumps(seven)
        mapcall.dask.ship(client, library)

        def there(pickled: bytes) -> int:
            return int(pickle.loads(pickled)())

        try:
            Path(str(compiled.path)).unlink()
            assert client.submit(there, pickled, pure=False).result() == 7
        finally:
            for name in client.run(names_of_plugins).popitem()[1]:
                client.unregister_worker_plugin(name)

    def test_the_process(self, client: Client) -> None:
        with advises(
            "each worker has its own C library, in which mapcall.load(None) finds functions there"
        ):
            mapcall.dask.ship(client, mapcall.load(None))

        def there(x: int) -> int:
            absolute = mapcall.load(None).function("int abs(int x)")
            return int(absolute(x))

        assert client.submit(there, -3).result() == 3

    def test_the_c_library(self, client: Client) -> None:
        with advises("call mapcall.load in the task, so that each worker loads its own"):
            mapcall.dask.ship(client, mapcall.load("m"))

        def there(x: float) -> float:
            return float(mapcall.load("m").function("double cos(double x)")(x))

        assert client.submit(there, 0.0).result() == 1


def names_of_plugins(dask_worker: Any) -> list[str]:
    return [name for name in dask_worker.plugins if name.startswith("mapcall-")]
