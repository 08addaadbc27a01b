"""Functions and libraries on clusters: by reference, and sent to workers that do not have them."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import multiprocessing
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from dask.tokenize import tokenize
from distributed import Client, LocalCluster

import clusters
import mapcall
import mapcall.dask
from mapcall import _mapcall, _pickling
from mapcall._cache import Expiring
from mapcall.dask import _command
from mapcall.dask._kernels import Kernel
from mapcall.dask._plugin import LibraryPlugin, Platform, unfit
from mapcall.dask._ship import _ship

SOURCE = "int add(int x) { return x + ADDED; }"
ADD = "int add(int x)"
HEADER = """
#include <stddef.h>
#define SIDE 2
typedef struct { double x, y; } point;
int add(int x);
double sum(size_t n, const point corners[n]);
"""
SUM = """
#include <stddef.h>
typedef struct { double x, y; } point;
double sum(size_t n, const point *p)
{ double s = 0; for (size_t i = 0; i < n; i++) s += p[i].x + p[i].y; return s; }
"""

numbers = itertools.count()


def compile_to(folder: Path, text: str, *flags: str, name: str | None = None) -> Path:
    """Compiles a C text to a shared library and returns its path."""
    compiler = shutil.which("cc")
    assert compiler, "a C compiler is missing: on Debian, apt-get install gcc"
    folder.mkdir(exist_ok=True)
    source = folder / f"fixture{next(numbers)}.c"
    source.write_text(text)
    made = folder / (name or source.with_suffix(".so").name)
    command = [compiler, "-O1", "-fPIC", "-shared", source, "-o", made, *flags]
    subprocess.run(command, check=True)
    return made


def adding(folder: Path, added: int, *, name: str | None = None) -> Path:
    return compile_to(folder, SOURCE, f"-DADDED={added}", name=name)


def plugin_of(path: Path, **changes: Any) -> LibraryPlugin:
    """Returns the plugin of a library that may not load here."""
    data = changes.pop("data", path.read_bytes())
    return LibraryPlugin(path.name, _pickling.digest_of(data), data, {})


def shipped(client: Client) -> set[str]:
    """Returns the names of the libraries' plugins that workers have."""

    def names(dask_worker: Any) -> list[str]:
        return [name for name in dask_worker.plugins if name.startswith("mapcall-")]

    return set(itertools.chain.from_iterable(client.run(names).values()))


def withdraw(client: Client) -> None:
    for name in shipped(client):
        client.unregister_worker_plugin(name)


@pytest.fixture
def client(client: Client) -> Iterator[Client]:
    yield client
    withdraw(client)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Expiring[Any], list[float]]]:
    """Sets a cache whose clock the test moves, and returns it with the time."""
    now = [0.0]
    made = Expiring[Any](8, 60, lambda: now[0])
    monkeypatch.setattr(_pickling, "CACHE", made)
    monkeypatch.setattr("mapcall.dask._kernels.CACHE", made)
    yield made, now
    made.clear()


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns the list of the functions that are bound for pickles during the test."""
    names = []
    rebind = _mapcall.rebind

    def counting(library: Any, name: str, *arguments: Any) -> Any:
        names.append(name)
        return rebind(library, name, *arguments)

    monkeypatch.setattr(_mapcall, "rebind", counting)
    return names


class TestReferences:
    """In this process, as in a worker."""

    def test_tasks_bind_a_function_once(
        self, tmp_path: Path, cache: tuple[Expiring[Any], list[float]], bound: list[str]
    ) -> None:
        function = mapcall.load(adding(tmp_path, 1)).function(ADD)
        for pickled in (pickle.dumps(Kernel(function)), pickle.dumps(function)):
            bound.clear()
            cache[0].clear()
            assert [pickle.loads(pickled)(x) for x in range(100)] == list(range(1, 101))
            assert bound == ["add"]
            cache[1][0] += 60
            cache[0].expire()
            assert pickle.loads(pickled)(3) == 4
            assert bound == ["add"] * 2

    def test_with_a_check_that_is_a_local_function(
        self, tmp_path: Path, cache: tuple[Expiring[Any], list[float]], bound: list[str]
    ) -> None:
        def refuse(result: int) -> None:
            if result == 4:
                raise ValueError("four")

        function = mapcall.load(adding(tmp_path, 1)).function(ADD, check=refuse)
        pickled = pickle.dumps(Kernel(function))
        for _ in range(3):
            assert pickle.loads(pickled)(2) == 3
            with pytest.raises(ValueError, match="four"):
                pickle.loads(pickled)(3)
        assert bound == ["add"]

    def test_a_library_that_is_not_used_is_unloaded(
        self, tmp_path: Path, cache: tuple[Expiring[Any], list[float]]
    ) -> None:
        path = adding(tmp_path, 1)
        pickled = pickle.dumps(Kernel(mapcall.load(path).function(ADD)))

        def is_loaded() -> bool:
            return str(path) in Path("/proc/self/maps").read_text()

        assert not is_loaded()
        assert pickle.loads(pickled)(3) == 4
        assert is_loaded()
        cache[1][0] += 60
        cache[0].expire()
        assert not is_loaded()

    @pytest.mark.parametrize("make", [Kernel, lambda function: function])
    def test_a_file_that_changes_between_two_tasks(
        self, tmp_path: Path, make: Callable[[Any], Any]
    ) -> None:
        """An error, until the file is as it was; tasks of the new file run the new code."""
        path = adding(tmp_path, 1, name="libkern.so")
        old = pickle.dumps(make(mapcall.load(path).function(ADD)))
        used = pickle.loads(old)
        used = used.function if isinstance(used, Kernel) else used
        assert used(3) == 4
        path.rename(tmp_path / "kept.so")
        with pytest.raises(mapcall.LibraryError, match=r"got none \(No such file or directory\)"):
            pickle.loads(old)(3)
        adding(tmp_path, 2, name="libkern.so")
        with pytest.raises(mapcall.LibraryError, match=r"got another file \(digest \w{32}\)"):
            pickle.loads(old)(3)
        # The old one is still loaded, under the name of the new one.
        code = "import mapcall, pickle, sys; from mapcall.dask._kernels import Kernel;"
        code += "f = mapcall.load(sys.argv[1]).function(sys.argv[2]);"
        code += "sys.stdout.buffer.write(pickle.dumps(Kernel(f)))"
        run = subprocess.run(
            [sys.executable, "-c", code, path, ADD], capture_output=True, check=True
        )
        assert pickle.loads(run.stdout)(3) == 5
        assert used(3) == 4
        (tmp_path / "kept.so").replace(path)
        assert pickle.loads(old)(3) == 4

    def test_names_for_dask(self, tmp_path: Path) -> None:
        """They differ where the results may, and are the same in each process."""
        path = adding(tmp_path, 1)
        library = mapcall.load(path)
        function = library.function(ADD)
        other = mapcall.load(adding(tmp_path, 2))
        copy = mapcall.load(shutil.copy(path, tmp_path / "copy.so"))
        different = [
            function,
            function.unchecked,
            library.function("int add(int y)"),
            library.function(ADD, check="zero"),
            library.function(ADD, check="nonzero"),
            library.function(ADD, gil="hold"),
            other.function(ADD),
            copy.function(ADD),
            library,
            other,
            mapcall.load(path, "math.h"),
            mapcall.load(None),
        ]
        names = [tokenize(each) for each in different]
        assert len(set(names)) == len(names)
        assert names == [tokenize(pickle.loads(pickle.dumps(each))) for each in different]
        assert tokenize(Kernel(function)) == tokenize(Kernel(pickle.loads(pickle.dumps(function))))
        script = f"""
            import mapcall
            from dask.tokenize import tokenize
            library = mapcall.load({str(path)!r})
            print(tokenize(library.function({ADD!r})), tokenize(library))
        """
        code = "\n".join(line.strip() for line in script.splitlines())
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert run.stdout.split() == [names[0], names[8]]

    def test_a_pickle_of_a_library_whose_file_has_changed(self, tmp_path: Path) -> None:
        """It would be one of other code."""
        path = adding(tmp_path, 1, name="libkern.so")
        function = mapcall.load(path).function(ADD)
        path.rename(tmp_path / "kept.so")
        with pytest.raises(mapcall.LibraryError, match=r"got none \(No such file"):
            pickle.dumps(function)
        adding(tmp_path, 2, name="libkern.so")
        for use in (pickle.dumps, tokenize, Kernel):
            with pytest.raises(mapcall.LibraryError, match=r"as it was loaded, .* got another one"):
                use(function)
        other = mapcall.load(shutil.copy(path, tmp_path / "own.so")).function(ADD)
        assert pickle.loads(pickle.dumps(other))(3) == 5
        (tmp_path / "kept.so").replace(path)
        assert pickle.loads(pickle.dumps(function))(3) == 4

    def test_a_scheduler_passes_on_what_it_got(self, tmp_path: Path) -> None:
        path = adding(tmp_path, 1, name="libkern.so")
        pickled = pickle.dumps(mapcall.load(path).function(ADD))
        function = pickle.loads(pickled)
        path.unlink()
        assert pickle.dumps(function) == pickled
        adding(tmp_path, 2, name="libkern.so")
        assert pickle.dumps(function) == pickled


class Unpickled:
    """It is pickled as the object of a pickle that was made before."""

    def __init__(self, pickled: bytes) -> None:
        self.pickled = pickled

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self.pickled,)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_pools_of_processes(tmp_path: Path, method: str) -> None:
    """The exception of a missing library reaches the one who waits for the task."""
    path = adding(tmp_path, 1)
    task = Unpickled(pickle.dumps(mapcall.load(path).function(ADD)))
    context = multiprocessing.get_context(method)
    with context.Pool(1) as pool, ProcessPoolExecutor(1, context) as executor:
        assert pool.apply(task, (3,)) == executor.submit(task, 3).result() == 4
        path.unlink()
        with pytest.raises(mapcall.LibraryError, match="got none"):
            pool.apply_async(task, (3,)).get(60)
        with pytest.raises(mapcall.LibraryError, match="got none"):
            executor.submit(task, 3).result(60)


class TestShip:
    """On a cluster whose processes have the same files; libraries are deleted after `ship`."""

    def test_once_to_each_worker(self, client: Client, tmp_path: Path) -> None:
        path = adding(tmp_path, 5)
        with path.open("ab") as file:
            file.write(os.urandom(1 << 20))
        kernel = Kernel(mapcall.load(path).function(ADD))
        with clusters.traffic(client) as sent:
            mapcall.dask.ship(client, kernel.function)
        # From the client to the scheduler, both of which are in this process, and to two workers.
        assert 4 << 20 <= sent.scheduler < 5 << 20
        assert len(shipped(client)) == 1
        with clusters.traffic(client) as sent:
            mapcall.dask.ship(client, kernel.function.library)
            path.unlink()
            tasks = [client.submit(pickle.loads(pickle.dumps(kernel)), x) for x in range(50)]
            assert client.gather(tasks) == list(range(5, 55))
        assert sent.scheduler < 1 << 20
        withdraw(client)
        with pytest.raises(mapcall.LibraryError, match=re.escape(str(path))):
            client.submit(pickle.loads(pickle.dumps(kernel)), -1).result()

    def test_folders_are_private_and_removed(self, client: Client, tmp_path: Path) -> None:
        path = adding(tmp_path, 6)
        mapcall.dask.ship(client, mapcall.load(path))
        (name,) = shipped(client)

        def folder(dask_worker: Any) -> str:
            return str(dask_worker.plugins[name].folder)

        folders = list(client.run(folder).values())
        assert len(set(folders)) == 2
        for each in map(Path, folders):
            assert each.stat().st_mode & 0o777 == 0o700
            assert (each / path.name).read_bytes() == path.read_bytes()
        client.unregister_worker_plugin(name)
        assert not any(map(os.path.exists, folders))

    def test_calls_with_dask_arrays(self, client: Client, tmp_path: Path) -> None:
        path = adding(tmp_path, 7)
        function = mapcall.load(path).function(ADD)
        x = da.arange(100, dtype="i4", chunks=10)
        y = function(x)
        mapcall.dask.ship(client, function)
        path.unlink()
        np.testing.assert_array_equal(y.compute(), np.arange(7, 107))

    def test_blocks_that_come_in_messages(self, client: Client, tmp_path: Path) -> None:
        """Dask does not align their memory."""
        text = "double twice(double x) { return 2 * x; }"
        twice = mapcall.load(compile_to(tmp_path, text)).function("double twice(double x)")
        for n in range(1, 20):
            x = np.arange(n, dtype="f8")
            np.testing.assert_array_equal(twice(da.from_array(x, chunks=5)).compute(), 2 * x)

    def test_refusals(self, client: Client, tmp_path: Path) -> None:
        """They name the worker and the reason, and leave nothing on any worker."""
        good = adding(tmp_path, 8)
        data = bytearray(good.read_bytes())
        data[18:20] = (183).to_bytes(2, "little")
        (tmp_path / "needed").mkdir()
        needed = compile_to(tmp_path / "needed", "int g(void) { return 1; }", name="libneeded.so")
        flags = f"-L{needed.parent}", "-lneeded", f"-Wl,-rpath,{needed.parent}"
        dependent = compile_to(tmp_path, "int g(void); int f(void) { return g(); }", *flags)
        mapcall.load(dependent)
        needed.unlink()
        refused = {
            r"it is for aarch64 \(.*\), the worker is ": plugin_of(good, data=bytes(data)),
            r"it is no ELF file": plugin_of(good, data=b"#!/bin/sh\n"),
            r"libneeded\.so: cannot open shared object file": plugin_of(dependent),
            r"undefined symbol: nowhere": plugin_of(
                compile_to(tmp_path, "int nowhere(void); int f(void) { return nowhere(); }")
            ),
            r"its initialisers end the process by SIGABRT": plugin_of(
                compile_to(
                    tmp_path,
                    "#include <stdlib.h>\n__attribute__((constructor)) void f(void) { abort(); }",
                )
            ),
        }
        before = client.run(os.getpid)
        for reason, plugin in refused.items():
            with pytest.raises(mapcall.LibraryError, match=reason) as caught:
                client.sync(_ship, client, plugin)
            assert all(address in str(caught.value) for address in before)
            assert shipped(client) == set()
        assert client.run(os.getpid) == before

    def test_a_digest_that_the_content_does_not_have(self, client: Client, tmp_path: Path) -> None:
        plugin = plugin_of(adding(tmp_path, 9))
        plugin.digest = "0" * 32
        with pytest.raises(mapcall.LibraryError, match=r"expected the digest 0{32}, got \w{32}"):
            client.sync(_ship, client, plugin)

    def test_libraries_that_are_not_sent(self, client: Client) -> None:
        with pytest.raises(mapcall.LibraryError, match="got the process"):
            mapcall.dask.ship(client, mapcall.load(None))
        with pytest.raises(mapcall.LibraryError, match=r"part of the system's C library"):
            mapcall.dask.ship(client, mapcall.load("m"))
        with pytest.raises(TypeError, match="expected a Library or a Function, got str"):
            mapcall.dask.ship(client, "libkern.so")  # type: ignore[arg-type]

    @clusters.long
    def test_a_worker_that_is_killed(self, tmp_path: Path) -> None:
        """The process that its nanny starts in its place gets the library, too."""
        path = adding(tmp_path, 10)
        kernel = Kernel(mapcall.load(path).function(ADD))
        pickled = pickle.loads(pickle.dumps(kernel))
        with clusters.private_client(tmp_path / "workers", 1) as client:
            mapcall.dask.ship(client, kernel.function)
            path.unlink()
            assert client.submit(pickled, 1).result() == 11
            clusters.kill(client)
            assert client.submit(pickled, 2).result() == 12

    def test_an_asynchronous_client(self, cluster: LocalCluster, tmp_path: Path) -> None:
        path = adding(tmp_path, 11)
        function = mapcall.load(path).function(ADD)
        kernel = pickle.loads(pickle.dumps(Kernel(function)))

        async def run() -> int:
            async with Client(cluster.scheduler_address, asynchronous=True) as client:
                await mapcall.dask.ship(client, function)
                path.unlink()
                return int(await client.submit(kernel, 3))

        with clusters.client(cluster) as client:
            assert client.sync(run) == 14
            withdraw(client)


class TestPlatforms:
    def test_own(self) -> None:
        data = Path(mapcall.load("m").path or "").read_bytes()
        assert unfit(data, sys.platform) is None
        bits = 8 * ctypes.sizeof(ctypes.c_void_p)
        assert Platform.of(data) is not None
        assert str(Platform.of(data)).find(f"({bits}-bit, {sys.byteorder}-endian, ") > 0

    @pytest.mark.parametrize(
        ("at", "value", "reason"),
        [
            (4, 1, r"it is for x86-64 \(32-bit, little-endian, System V ABI\), the worker is "),
            (5, 2, r"big-endian"),
            (7, 9, r"FreeBSD ABI"),
            (18, 40, r"it is for arm "),
        ],
    )
    def test_others(self, tmp_path: Path, at: int, value: int, reason: str) -> None:
        data = bytearray(adding(tmp_path, 1).read_bytes())
        if data[18] != 62:
            pytest.skip("the reasons are those of x86-64")
        data[at] = value
        assert re.search(reason, str(unfit(bytes(data), sys.platform)))

    def test_another_system(self, tmp_path: Path) -> None:
        reason = unfit(adding(tmp_path, 1).read_bytes(), "darwin")
        assert reason == f"it was sent from darwin, the worker runs on {sys.platform}"


UNSHARE = ["unshare", "--user", "--map-root-user", "--mount", "--uts", "sh", "-c"]


class Hosts:
    """Processes with mounts and a host name of their own: a scheduler, and workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, host: str, mounts: str, module: str, *arguments: object) -> None:
        command = f'hostname {host} && {mounts} && exec "$@"'
        run = [sys.executable, "-m", f"distributed.cli.{module}", *map(str, arguments)]
        with (self.folder / f"{host}.log").open("wb") as log:
            process = subprocess.Popen(
                [*UNSHARE, command, "sh", *run], stdout=log, stderr=log, cwd=self.folder
            )
        self.processes.append(process)

    def start_scheduler(self, mounts: str) -> str:
        file = self.folder / "scheduler.json"
        options = ["--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--no-jupyter"]
        self.start("alpha", mounts, "dask_scheduler", *options, "--scheduler-file", file)
        while True:
            assert self.processes[0].poll() is None, (self.folder / "alpha.log").read_text()
            # It may be written at this moment.
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                return str(json.loads(file.read_text())["address"])
            time.sleep(0.01)

    def start_worker(self, host: str, mounts: str, address: str) -> None:
        options = ["--name", host, "--nthreads", 1, "--memory-limit", 0, "--no-nanny"]
        options += ["--no-dashboard", "--host", "127.0.0.1", "--death-timeout", 60]
        options += ["--local-directory", self.folder / host]
        self.start(host, mounts, "dask_worker", address, *options)

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    try:
        subprocess.run([*UNSHARE, "hostname x && mount -t tmpfs none /mnt"], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"user namespaces are not allowed here: {error}")
    made = Hosts(tmp_path_factory.mktemp("hosts"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def library(hosts: Hosts) -> mapcall.Library:
    """A library with its header, in a folder that only this process has as it is."""
    (hosts.folder / "kernels").mkdir()
    (hosts.folder / "kernels" / "kern.h").write_text(HEADER)
    path = compile_to(hosts.folder / "kernels", SUM + SOURCE, "-DADDED=1", name="libkern.so")
    compile_to(hosts.folder / "others", SUM + SOURCE, "-DADDED=2", name="libkern.so")
    (hosts.folder / "others" / "kern.h").write_text(
        HEADER.replace("int add(int x)", "int add(long x)")
    )
    return mapcall.load(path, hosts.folder / "kernels" / "kern.h")


@pytest.fixture(scope="module")
def far(hosts: Hosts, library: mapcall.Library) -> Iterator[Client]:
    kernels = hosts.folder / "kernels"
    nothing = f"mount -t tmpfs none {kernels}"
    address = hosts.start_scheduler(nothing)
    hosts.start_worker("beta", nothing, address)
    hosts.start_worker("gamma", f"mount --bind {hosts.folder / 'others'} {kernels}", address)
    hosts.start_worker("delta", "true", address)
    with clusters.client(address) as made:
        made.wait_for_workers(3, timeout=60)
        yield made


class TestHosts:
    """Hosts with different files: the scheduler and one worker have none, another has others."""

    @pytest.mark.parametrize("make", [Kernel, lambda function: function])
    def test_errors_until_it_is_sent(
        self, far: Client, library: mapcall.Library, hosts: Hosts, make: Callable[[Any], Any]
    ) -> None:
        function = make(library.function(ADD))
        own = _pickling.identify(library.path or "")
        other = _pickling.digest(str(hosts.folder / "others" / "libkern.so"))

        def on(host: str) -> Any:
            return far.submit(function, 3, workers=[host], pure=False).result()

        assert on("delta") == 4
        expected = f"expected the library {library.path} of host {own.host} (digest {own.digest}), "
        for host, found in {
            "beta": "none (No such file or directory)",
            "gamma": f"another file (digest {other})",
        }.items():
            with pytest.raises(mapcall.LibraryError, match=re.escape(expected)) as caught:
                on(host)
            assert f"got {found} on host {host}" in str(caught.value)
            assert "mapcall.dask.ship(client, library)" in str(caught.value)
        mapcall.dask.ship(far, library)
        assert [on(host) for host in ("beta", "gamma", "delta")] == [4, 4, 4]
        withdraw(far)
        with pytest.raises(mapcall.LibraryError, match="on host beta"):
            on("beta")

    def test_headers(self, far: Client, library: mapcall.Library) -> None:
        corners = [("x", "f8"), ("y", "f8")]
        add, total = Kernel(library.add), Kernel(library.sum)

        def on(host: str, kernel: Kernel, argument: Any) -> Any:
            def task() -> Any:
                # An array that came in the message may not be aligned.
                return kernel(argument if argument == 3 else np.ones(3, argument))

            return far.submit(task, workers=[host], pure=False).result()

        assert on("delta", add, 3) == 4
        assert on("delta", total, corners) == 6
        for host in ("beta", "gamma"):
            with pytest.raises(mapcall.LibraryError, match=f"on host {host}"):
                on(host, add, 3)
        bare = mapcall.load(library.path)
        mapcall.dask.ship(far, bare)
        # Now they have the library, but not its header.
        with pytest.raises(mapcall.LibraryError, match=r"header .* of the library .* host beta \("):
            on("beta", add, 3)
        with pytest.raises(mapcall.LibraryError, match=r"int add\(int x\) .* int add\(long x\)"):
            on("gamma", add, 3)
        mapcall.dask.ship(far, library)
        assert [on(host, add, 3) for host in ("beta", "gamma", "delta")] == [4, 4, 4]
        assert [on(host, total, corners) for host in ("beta", "gamma", "delta")] == [6, 6, 6]
        withdraw(far)

    def test_the_command(
        self, far: Client, hosts: Hosts, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Its files are in a folder that Beta and Gamma see otherwise, and then in another one."""
        given = ["mapcall", "call", "m", "double cos(double x)"]
        given += ["--dask", far.scheduler_info()["address"], "-o", str(hosts.folder / "y.npy")]
        np.save(hosts.folder / "kernels" / "x.npy", np.zeros((100, 10)))
        assert _mapcall.command([*given, f"x={hosts.folder}/kernels/x.npy"], _command.run) == 2
        advice = "; each worker must see the files and folders by the same paths\n"
        assert capfd.readouterr().err.endswith(advice)
        shutil.move(hosts.folder / "kernels" / "x.npy", hosts.folder)
        assert _mapcall.command([*given, f"x={hosts.folder}/x.npy"], _command.run) == 0
        np.testing.assert_array_equal(np.load(hosts.folder / "y.npy"), np.ones((100, 10)))

    def test_workers_that_join_later(
        self, far: Client, library: mapcall.Library, hosts: Hosts
    ) -> None:
        """One gets the library; another refuses it, runs other tasks, and tells the reason."""
        path = adding(hosts.folder, 20)
        function = mapcall.load(path).function(ADD)
        mapcall.dask.ship(far, function)
        scratch = hosts.folder / "epsilon"
        scratch.mkdir()
        address = far.scheduler_info()["address"]
        hide = f"mount --bind /dev/null {path}"
        mounts = f"mount -t tmpfs -o noexec none {scratch} && {hide}"
        hosts.start_worker("epsilon", mounts, address)
        hosts.start_worker("zeta", hide, address)
        far.wait_for_workers(5, timeout=60)
        assert far.submit(function, 3, workers=["zeta"], pure=False).result() == 23
        assert far.submit(len, "x", workers=["epsilon"], pure=False).result() == 1
        with pytest.raises(
            mapcall.LibraryError,
            match=r"refused .* start the worker with another --local-directory; build it there",
        ):
            far.submit(function, 3, workers=["epsilon"], pure=False).result()
        # Zeta has no such file either, but another --local-directory; Epsilon gets the file.
        far.submit(subprocess.run, ["umount", path], check=True, workers=["epsilon"]).result()
        assert far.submit(function, 3, workers=["epsilon"], pure=False).result() == 23
        assert far.submit(function, 3, workers=["beta"], pure=False).result() == 23
