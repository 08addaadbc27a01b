"""Fixtures for many tests: a new interpreter, a C compiler, the proof that no file has changed."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import hypothesis
import pytest

Script = Callable[..., str]
Compile = Callable[..., Path]
Unchanged = Callable[[Path], AbstractContextManager[None]]


# To explain failures, Hypothesis traces tests by `sys.settrace` on Python 3.11. There a thread that
# asks for the interpreter's lock may leave the flag for pending work set without any work, as the
# flag and the request are stored one after the other. A traced function then looks for that work
# for ever when it starts.
EXPLAINED = {hypothesis.Phase.explain}
hypothesis.settings.register_profile("untraced", phases=set(hypothesis.Phase) - EXPLAINED)
hypothesis.settings.load_profile("untraced")

# The tests leave the user's cache folder alone, unless they set both.
os.environ["MAPCALL_HEADER_CACHE"] = "0"


@pytest.fixture
def run_script() -> Script:
    """Returns a function that runs a script in a new interpreter and returns its output.

    The arguments are the script's `sys.argv[1:]`. The test fails if the script does, with all its
    output. The script is killed after `timeout` seconds. `environment` has variables to add.
    """

    def run(
        script: str,
        *arguments: object,
        timeout: float = 60,
        user: int | None = None,
        environment: dict[str, str] | None = None,
    ) -> str:
        result = subprocess.run(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            user=user,
            # Unprivileged users may enter this folder, too.
            cwd="/",
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | (environment or {}),
        )
        assert result.returncode == 0, f"exit {result.returncode}\n{result.stdout}{result.stderr}"
        return result.stdout

    return run


@pytest.fixture(scope="session")
def fork_server() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error", Path(__file__).with_name("fork_server.py")]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env=environment,
    ) as server:
        yield server
        assert server.stdin
        server.stdin.close()


@pytest.fixture
def run_in_fork(
    fork_server: subprocess.Popen[str], tmp_path_factory: pytest.TempPathFactory
) -> Script:
    """Returns a function like that of `run_script`, for many short scripts.

    Each has a process of its own, which has imported NumPy and mapcall: a fork of one that has
    done nothing else. Its end is that of an interpreter.
    """

    def run(script: str, *arguments: object, timeout: float = 60) -> str:
        assert fork_server.stdin
        assert fork_server.stdout
        folder = tmp_path_factory.mktemp("fork")
        files = [folder / "stdout", folder / "stderr"]
        request = textwrap.dedent(script), [*map(str, arguments)], [*map(str, files)]
        fork_server.stdin.write(json.dumps(request) + "\n")
        fork_server.stdin.flush()
        process = int(fork_server.stdout.readline())
        timer = threading.Timer(timeout, os.kill, (process, signal.SIGKILL))
        timer.start()
        status = int(fork_server.stdout.readline())
        timer.cancel()
        printed, errors = (file.read_text() for file in files)
        assert status == 0, f"exit {status}\n{printed}{errors}"
        return printed

    return run


@pytest.fixture(scope="session")
def compile_c(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Returns a function that compiles a C text to a shared library and returns its path."""
    compiler = shutil.which("cc")
    assert compiler, "a C compiler is missing: on Debian, apt-get install gcc"
    directory = tmp_path_factory.mktemp("c")
    numbers = itertools.count()

    def compile_text(text: str, *flags: str) -> Path:
        path = directory / f"fixture{next(numbers)}.c"
        path.write_text(text)
        library = path.with_suffix(".so")
        command = [compiler, "-std=gnu11", "-O1", "-fPIC", "-shared", *flags, path, "-o", library]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return library

    return compile_text


@pytest.fixture(params=[None, 1e-6], ids=["usual", "switching often"])
def switching(request: pytest.FixtureRequest) -> Iterator[None]:
    before = sys.getswitchinterval()
    if request.param is not None:
        sys.setswitchinterval(request.param)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def unchanged() -> Unchanged:
    """Returns a check that no name, byte, size, permission or time below a path changes."""

    @contextmanager
    def check(path: Path) -> Iterator[None]:
        before = _state(path)
        yield
        assert _state(path) == before

    return check


def _state(path: Path) -> dict[str, tuple[object, ...]]:
    paths = [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]
    state = {}
    for each in paths:
        status = each.lstat()
        content = each.read_bytes() if each.is_file() and status.st_size < 1 << 24 else None
        state[str(each)] = (
            status.st_ino,
            status.st_mode,
            status.st_size,
            # A temporary file may have been created and removed in a folder.
            status.st_mtime_ns if not each.is_dir() else None,
            content,
        )
    return state
