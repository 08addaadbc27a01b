"""Lifetimes of maps, views, buffers and pointers, and the exit of the interpreter."""

import ctypes
import gc
import mmap
import os
import sys
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import mapcall

Script = Callable[..., str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(np.arange(1000, dtype="i4").tobytes())
    return made


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def mapped(path: Path) -> int:
    """Returns how many times a file is mapped into this process."""
    return Path("/proc/self/maps").read_text().count(str(path))


def test_the_last_view_frees_the_map(path: Path, no_collector: None) -> None:
    x = mapcall.memmap(path, "i4", "r")
    view = x[10:].reshape(2, -1).T[::-1]
    plain = np.asarray(view)[3:]
    assert mapped(path) == 1
    del x
    assert view[0, 0] == 10 + view.shape[0] - 1
    del view
    assert mapped(path) == 1
    assert plain.sum() > 0
    del plain
    assert mapped(path) == 0


@pytest.mark.parametrize("mode", ["r", "r+", "w+", "c"])
def test_methods_keep_no_reference(path: Path, no_collector: None, mode: str) -> None:
    x = mapcall.memmap(path, "i4", mode, shape=10)
    array, owner = weakref.ref(x), weakref.ref(x._mmap)
    for each in (x.filename, x.mode, x.offset, x.file_offset, x.ctypes.data, x + 1, x.sum()):
        assert each is not None
    x.flush()
    x.advise("normal")
    x.prefetch()
    x.residency()
    del each, x
    assert array() is None
    assert owner() is None
    assert mapped(path) == 0


def test_failures_keep_nothing(path: Path, no_collector: None) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for arguments in [
        ("f4", "r", 0, 10**6),
        ("S7", "r"),
        ("u1", "r", -1),
        ("O", "r+"),
        ("u1", "x"),
    ]:
        with pytest.raises((ValueError, OverflowError)):
            mapcall.memmap(path, *arguments)
    assert mapped(path) == 0
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_file_object_may_be_closed(path: Path) -> None:
    with open(path, "r+b") as file:
        x = mapcall.memmap(file, "i4", "r+")
    assert file.closed
    x[0] = 77
    x.flush()
    assert np.fromfile(path, "i4")[0] == 77


def test_the_file_object_is_not_kept(path: Path, no_collector: None) -> None:
    file = open(path, "r+b")  # noqa: SIM115
    reference = weakref.ref(file)
    x = mapcall.memmap(file, "i4", "r+")
    file.close()
    del file
    assert reference() is None
    assert x[999] == 999


def test_a_temporary_file_that_is_gone() -> None:
    with tempfile.NamedTemporaryFile() as file:
        x = mapcall.memmap(file, "i4", "w+", shape=100)
        x[:] = 3
    assert not os.path.exists(file.name)
    assert x.sum() == 300
    x.flush()


def test_a_file_that_is_removed_or_replaced(path: Path) -> None:
    x = mapcall.memmap(path, "i4", "r")
    other = path.with_name("other")
    other.write_bytes(bytes(4000))
    other.replace(path)
    assert x[5] == 5
    path.unlink()
    assert x[999] == 999


def test_a_buffer_keeps_the_map(path: Path, no_collector: None) -> None:
    x = mapcall.memmap(path, "i4", "r")
    owner = weakref.ref(x._mmap)
    view = memoryview(x._mmap)[8:12]
    del x
    assert bytes(view) == np.int32(2).tobytes()
    assert owner() is not None
    view.release()
    del view
    assert owner() is None


def test_a_pointer_to_a_temporary(path: Path, no_collector: None) -> None:
    x = mapcall.memmap(path, "i4", "r")
    pointer = (x + x).ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
    others = [np.full(1000, -1, "i4") for _ in range(100)]
    assert [pointer[index] for index in (0, 500, 999)] == [0, 1000, 1998]
    del others


def test_a_pointer_to_a_view_of_a_dead_map(path: Path, no_collector: None) -> None:
    pointer = mapcall.memmap(path, "i4", "r")[500:].ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
    assert pointer[499] == 999
    assert mapped(path) == 1
    del pointer
    assert mapped(path) == 0


def test_as_parameter_keeps_the_array_alive(path: Path, no_collector: None) -> None:
    x = mapcall.memmap(path, "i4", "r")
    array = weakref.ref(x)
    parameter = x.ctypes._as_parameter_
    del x
    assert array() is not None
    assert ctypes.string_at(parameter, 8) == np.arange(2, dtype="i4").tobytes()
    del parameter
    assert array() is None


@pytest.mark.parametrize("through", ["array", "map", "ctypes", "pointer"])
def test_a_cycle_is_collected(path: Path, through: str) -> None:
    x = mapcall.memmap(path, "i4", "r")
    x.itself = {
        "array": x,
        "map": [x._mmap, x],
        "ctypes": x.ctypes,
        "pointer": x.ctypes.data_as(ctypes.c_void_p),
    }[through]
    reference = weakref.ref(x)
    del x
    gc.collect()
    assert reference() is None
    assert mapped(path) == 0


class Canary:
    """An object that is callable and a path, and may have weak references."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made: list[object] = []

    def __call__(self, *arguments: object) -> int:
        return len(self.made) - len(self.made)

    def __fspath__(self) -> str:
        return str(self.path)

    def resolve(self) -> "Canary":
        return self


def function(check: Canary) -> mapcall.Function:
    return mapcall.load(None).function("int abs(int a)", check=check)


def callback(called: Canary) -> mapcall.Callback:
    prototype = "void qsort(void *, size_t, size_t, int (*compare)(const void *, const void *))"
    return mapcall.load(None).function(prototype).callback("compare", called)


def destroying(check: Canary) -> mapcall.Function:
    library = mapcall.load(None)
    free = library.function("void free(void *p)", check=check)
    return library.function("void *malloc(size_t n)", destructor=free)


class Attribute(mapcall.memmap):
    pass


def attribute(canary: Canary) -> np.ndarray:
    made = mapcall.memmap(canary.path, "i4", "r").view(Attribute)
    made.canary = canary
    return made


# Functions that make an object which keeps a canary alive.
KEEPERS: dict[str, Callable[[Canary], list[object]]] = {
    "a function": lambda canary: [function(canary)],
    "an unchecked one": lambda canary: [function(canary).unchecked],
    "both": lambda canary: [f := function(canary), f.unchecked],
    "unchecked ones": lambda canary: [(f := function(canary)).unchecked, f.unchecked, f.unchecked],
    "a destructor": lambda canary: [f := destroying(canary), f.unchecked],
    "a callback": lambda canary: [callback(canary)],
    "a map": lambda canary: [mapcall.memmap(canary, "i4", "r")],
    "a map without its array": lambda canary: [mapcall.memmap(canary, "i4", "r")._mmap],
    "an array": lambda canary: [attribute(canary)],
    "a pointer": lambda canary: [attribute(canary).ctypes],
    "a view": lambda canary: [attribute(canary)[3:]],
    "a handle": lambda canary: [
        mapcall.load(None).function("void *memchr(const void *s, int c, size_t n)")(
            attribute(canary), 0, 4
        )
    ],
}


def ours() -> list[object]:
    """Returns all objects of mapcall's types that the garbage collector tracks."""
    return [each for each in gc.get_objects() if "mapcall" in str(type(each).__module__)]


def check_reports() -> None:
    """Checks that no object is visited more often than it is referenced, for the collector."""
    reported = Counter(id(kept) for each in ours() for kept in gc.get_referents(each))
    for each in ours():
        for kept in gc.get_referents(each):
            assert reported[id(kept)] <= sys.getrefcount(kept), (each, kept)


@pytest.mark.parametrize("keeper", KEEPERS)
def test_the_collector_keeps_referenced_objects(path: Path, keeper: str) -> None:
    canary = Canary(path)
    kept = KEEPERS[keeper](canary)
    check_reports()
    # The collector frees the cycle, but not the canary, to which this function has a reference.
    cycle: list[object] = [kept]
    cycle.append(cycle)
    canary.made.append(1)
    del kept, cycle
    gc.collect()
    assert canary() == 0
    assert canary.made == [1]
    assert sys.getrefcount(canary) == 2


@pytest.mark.parametrize("keeper", KEEPERS)
def test_every_cycle_is_collected(path: Path, keeper: str) -> None:
    canary = Canary(path)
    canary.made = KEEPERS[keeper](canary)
    reference = weakref.ref(canary)
    gc.collect()
    assert reference() is canary
    del canary
    gc.collect()
    assert reference() is None
    assert mapped(path) == 0


def test_live_functions_under_the_collector(path: Path) -> None:
    threshold = gc.get_threshold()
    try:
        gc.set_threshold(1)
        for _ in range(20):
            canary = Canary(path)
            f = function(canary)
            canary.made = [f.unchecked, f, callback(canary), f.unchecked]
            canary.made.append(canary.made)
            assert f.unchecked(-3) == f(-3) == 3
            assert f.unchecked.library is f.library
            del f
            assert canary.made[0](-3) == 3  # type: ignore[operator]
            check_reports()
    finally:
        gc.set_threshold(*threshold)
        gc.collect()


def test_many_maps(path: Path) -> None:
    maps = [mapcall.memmap(path, "i4", "r", mmap.PAGESIZE // 4 * (i % 3)) for i in range(2000)]
    assert len({x.ctypes.data for x in maps}) == 2000
    del maps
    assert mapped(path) == 0


def test_descriptors_run_out(path: Path, run_script: Script) -> None:
    script = """
        import os, resource, sys
        import mapcall
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        maps = [mapcall.memmap(sys.argv[1], "i4", "r+") for _ in range(1000)]
        print(sum(int(x[1]) for x in maps), len(os.listdir("/proc/self/fd")) < 10)
        # And when there is none left, that is the error, and nothing leaks.
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 64))
        for _ in range(100):
            try:
                mapcall.memmap(sys.argv[1], "i4", "r+")
            except OSError as error:
                assert error.errno == 24, error
            else:
                raise AssertionError("no descriptor was needed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (4, 64))
        print(mapcall.memmap(sys.argv[1], "i4", "r")[3])
    """
    assert run_script(script, path) == "1000 True\n3\n"


@pytest.mark.parametrize(
    "held",
    [
        "x",
        "x[3:]",
        "x._mmap",
        "memoryview(x._mmap)",
        "x.ctypes",
        "x.ctypes.data_as(ctypes.c_void_p)",
        "(x + 1).ctypes.data_as(ctypes.POINTER(ctypes.c_int))",
        "numpy.asarray(x)",
        "mapcall.memmap",
        "type('Sub', (mapcall.memmap,), {})(sys.argv[1])",
    ],
)
def test_the_interpreter_ends(path: Path, run_script: Script, held: str) -> None:
    script = f"""
        import builtins, ctypes, sys, threading
        import numpy, mapcall
        x = mapcall.memmap(sys.argv[1], "i4", "r+")
        held = {held}
        builtins.held = held
        sys.held = [held]
        sys.modules["held"] = held

        class AtTheEnd:
            def __del__(self, x=x, held=held):
                x[0] = 5
                x[1:].flush()
                x.ctypes.data

        sys.last = AtTheEnd()
        x.cycle = [x, held, AtTheEnd()]
        print("done")
    """
    assert run_script(script, path) == "done\n"
    assert np.fromfile(path, "i4", 1).tolist() in ([0], [5])


def test_the_interpreter_ends_under_a_thread(path: Path, run_script: Script) -> None:
    script = """
        import sys, threading, time
        import mapcall

        def work():
            while True:
                x = mapcall.memmap(sys.argv[1], "i4", "r")
                x[3:].prefetch()
                x.sum()

        for _ in range(4):
            threading.Thread(target=work, daemon=True).start()
        time.sleep(0.3)
        print("done")
    """
    assert run_script(script, path) == "done\n"


def test_a_forked_child_has_the_maps(path: Path, run_script: Script) -> None:
    script = """
        import os, sys
        import mapcall
        x = mapcall.memmap(sys.argv[1], "i4", "r+")
        private = mapcall.memmap(sys.argv[1], "i4", "c")
        child = os.fork()
        if child == 0:
            x[0] = 42
            private[1] = 43
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(x[0], private[1])
    """
    assert run_script(script, path) == "42 1\n"
