"""The import hook: it acts once a module is imported, however that comes about."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import inspect
import subprocess
import sys
import textwrap
import threading
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mapcall import _hooks

SOURCE = "VALUE = 1\n"


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Returns what the hook of the module `hooked.inner`, in `tmp_path`, was called with.

    It records the module's `VALUE`: the module has been executed by then.
    """
    found: list[Any] = []
    recorder = types.ModuleType("mapcall._recorder")
    recorder.register = lambda module: found.append(module.VALUE)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mapcall._recorder", recorder)
    monkeypatch.setattr(_hooks, "REGISTRATIONS", {"hooked.inner": "_recorder.register"})
    write(tmp_path, SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    # mapcall.__init__ has installed it; the doctests of the module have a copy of the class.
    others = [finder for finder in sys.meta_path if finder is not _hooks.Finder]
    monkeypatch.setattr(sys, "meta_path", [_hooks.Finder, *others])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    forget()
    yield found
    forget()


def write(folder: Path, source: str) -> Path:
    package = folder / "hooked"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").touch()
    path = package / "inner.py"
    path.write_text(textwrap.dedent(source))
    importlib.invalidate_caches()
    return path


def forget() -> None:
    for name in ("hooked", "hooked.inner"):
        sys.modules.pop(name, None)


def load() -> Any:
    return importlib.import_module("hooked.inner")


def in_threads(count: int, function: Callable[[], Any]) -> list[Any]:
    results: list[Any] = []
    barrier = threading.Barrier(count)

    def run() -> None:
        barrier.wait(60)
        results.append(function())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == count
    return results


def test_at_the_import(seen: list[Any]) -> None:
    _hooks.install()
    assert seen == []
    importlib.import_module("hooked")
    assert seen == []
    load()
    assert seen == [1]
    load()
    assert seen == [1]


def test_at_once_if_it_is_imported(seen: list[Any]) -> None:
    sys.meta_path.remove(_hooks.Finder)
    load()
    _hooks.install()
    assert seen == [1]
    assert sys.meta_path.count(_hooks.Finder) == 1


def test_the_module_is_as_without_the_hook(seen: list[Any], tmp_path: Path) -> None:
    module = load()
    assert type(module.__loader__) is importlib.machinery.SourceFileLoader
    assert module.__spec__.loader is module.__loader__
    assert inspect.getsource(module) == SOURCE
    assert Path(module.__file__) == tmp_path / "hooked" / "inner.py"


def test_imported_again_and_reloaded(seen: list[Any], tmp_path: Path) -> None:
    module = load()
    write(tmp_path, "VALUE = 'reloaded'")
    assert importlib.reload(module) is module
    write(tmp_path, "VALUE = 'again'")
    forget()
    assert load() is not module
    assert seen == [1, "reloaded", "again"]


def test_an_import_that_fails(seen: list[Any], tmp_path: Path) -> None:
    write(tmp_path, "1 / 0")
    with pytest.raises(ZeroDivisionError):
        load()
    write(tmp_path, "import no_such_module_at_all")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        load()
    (tmp_path / "hooked" / "inner.py").unlink()
    importlib.invalidate_caches()
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'hooked\.inner'"):
        load()
    assert seen == []
    write(tmp_path, SOURCE)
    load()
    assert seen == [1]


def test_a_module_that_is_barred(seen: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hooked", None)
    _hooks.install()
    with pytest.raises(ModuleNotFoundError):
        load()
    assert seen == []


def test_a_registration_that_fails(seen: list[Any], tmp_path: Path) -> None:
    write(tmp_path, "OTHER = 2")
    with pytest.warns(RuntimeWarning, match=r"register with hooked\.inner: AttributeError"):
        module = load()
    assert module.OTHER == 2
    assert sys.modules["hooked.inner"] is module


class Asking:
    """A finder that asks all finders, as `Finder` and those of some debuggers do."""

    def __init__(self) -> None:
        self.is_asking = False

    def find_spec(self, name: str, *_arguments: object) -> Any:
        if self.is_asking or name != "hooked.inner":
            return None
        self.is_asking = True
        try:
            return importlib.util.find_spec(name)
        finally:
            self.is_asking = False


@pytest.mark.parametrize("position", [0, 1])
def test_several_finders(seen: list[Any], position: int) -> None:
    other = type("Other", (_hooks.Finder,), {"searches": set()})
    sys.meta_path.insert(position, other)
    sys.meta_path.insert(position, Asking())
    sys.meta_path.append(types.SimpleNamespace())
    module = load()
    assert set(seen) == {1}
    assert type(module.__loader__) is importlib.machinery.SourceFileLoader


def test_another_loader(seen: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("hooked/__init__.py", "")
        file.writestr("hooked/inner.py", "VALUE = 'zipped'")
        file.writestr("hooked/other.py", "VALUE = 'other'")
    monkeypatch.syspath_prepend(archive)
    load()
    importlib.import_module("hooked.other")
    sys.modules.pop("hooked.other")
    assert seen == ["zipped"]


def test_looking_for_the_module_imports_nothing(seen: list[Any]) -> None:
    spec = importlib.util.find_spec("hooked.inner")
    assert spec is not None
    assert spec.loader is not None
    assert not spec.loader.is_package("hooked.inner")  # type: ignore[attr-defined]
    assert seen == []
    # `importlib.util.LazyLoader` executes the module when it is first used.
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert seen == []
    assert module.VALUE == 1
    assert seen == [1]


def test_threads_that_import_at_once(seen: list[Any], tmp_path: Path) -> None:
    for _ in range(20):
        modules = in_threads(8, load)
        assert len(set(map(id, modules))) == 1
        assert seen == [1]
        seen.clear()
        forget()


def test_a_thread_that_is_importing_is_waited_for(seen: list[Any], tmp_path: Path) -> None:
    """The thread has found the module before the hook is installed."""
    write(
        tmp_path,
        """
        import sys
        sys.modules["mapcall._recorder"].started.set()
        assert sys.modules["mapcall._recorder"].may_end.wait(60)
        VALUE = "late"
        """,
    )
    recorder: Any = sys.modules["mapcall._recorder"]
    recorder.started, recorder.may_end = threading.Event(), threading.Event()
    sys.meta_path.remove(_hooks.Finder)
    importing = threading.Thread(target=load)
    importing.start()
    assert recorder.started.wait(60)
    installing = threading.Thread(target=_hooks.install)
    installing.start()
    assert seen == []
    recorder.may_end.set()
    importing.join(60)
    installing.join(60)
    assert seen == ["late"]


def test_the_import_of_mapcall_leaves_dask_alone(run_script: Callable[..., str]) -> None:
    script = """
        import sys
        import mapcall
        print({"dask", "distributed", "mapcall._dask_protocol"} & set(sys.modules))
    """
    assert run_script(script) == "set()\n"


def test_python_without_dask(tmp_path: Path) -> None:
    script = """
        import sys
        sys.modules["dask"] = None
        import mapcall
        try:
            import dask.tokenize
        except ImportError:
            print("no dask")
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script)]
    assert subprocess.run(command, check=True, capture_output=True, cwd=tmp_path).stdout
