"""The cache of open maps and libraries: what it keeps, drops, and when."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable

import pytest

from mapcall import _cache
from mapcall._cache import Expiring


class Thing:
    """A value whose death can be watched."""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def no_other_values() -> None:
    """Empties the caches of earlier tests, which keep the thread running."""
    for cache in list(_cache._caches):
        cache.clear()
    for thread in threads():
        thread.wake.set()
        thread.join()


def threads() -> list[_cache._Thread]:
    return [thread for thread in threading.enumerate() if isinstance(thread, _cache._Thread)]


def test_a_value_is_made_once_and_dropped_when_unused(clock: Clock) -> None:
    cache = Expiring[Thing](8, 60, clock)
    x, y = cache.get("x", Thing), cache.get("y", Thing)
    for _ in range(5):
        clock.now += 59
        assert cache.get("x", Thing) is x
        cache.expire()
    assert len(cache) == 1
    dead = weakref.ref(y)
    del y
    assert dead() is None
    clock.now += 60
    assert cache.expire() is None
    # It is in use here, and lives on.
    assert cache.get("x", Thing) is not x


def test_the_least_recently_used_one_makes_room(clock: Clock) -> None:
    cache = Expiring[Thing](2, 60, clock)
    made = {}
    for key in ("x", "y", "x", "z"):
        clock.now += 1
        made[key] = cache.get(key, Thing)
    assert len(cache) == 2
    assert cache.get("x", Thing) is made["x"]
    assert cache.get("z", Thing) is made["z"]
    assert cache.get("y", Thing) is not made["y"]


def test_an_exception_is_not_cached(clock: Clock) -> None:
    cache = Expiring[Thing](2, 60, clock)
    with pytest.raises(ZeroDivisionError):
        cache.get("x", lambda: 1 // 0)  # type: ignore[arg-type,return-value]
    assert len(cache) == 0
    assert cache.get("x", Thing) is cache.get("x", Thing)


def test_one_may_be_made_of_another(clock: Clock) -> None:
    cache = Expiring[tuple[object, ...]](8, 60, clock)
    assert cache.get("x", lambda: (cache.get("y", lambda: (1,)),)) == ((1,),)
    assert len(cache) == 2


def test_threads_that_ask_at_once_get_one_value() -> None:
    cache = Expiring[Thing](8, 60)
    started, made, found = threading.Barrier(8), [], []

    def make() -> Thing:
        made.append(Thing())
        # The others arrive meanwhile.
        threading.Event().wait(0.05)
        return made[-1]

    def run() -> None:
        started.wait()
        found.append(cache.get("x", make))

    running = [threading.Thread(target=run) for _ in range(8)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert len(made) == 1
    assert set(map(id, found)) == {id(made[0])}
    cache.clear()


def test_a_failure_of_one_thread_leaves_the_others_their_value() -> None:
    cache = Expiring[Thing](8, 60)
    entered, go = threading.Event(), threading.Event()

    def fail() -> Thing:
        entered.set()
        go.wait()
        raise ValueError

    def run() -> None:
        with pytest.raises(ValueError, match=r"^$"):
            cache.get("x", fail)

    failing = threading.Thread(target=run)
    failing.start()
    entered.wait()
    found: list[Thing] = []
    other = threading.Thread(target=lambda: found.append(cache.get("x", Thing)))
    other.start()
    go.set()
    failing.join()
    other.join()
    assert cache.get("x", Thing) is found[0]
    cache.clear()


def test_values_are_dropped_though_nothing_happens() -> None:
    """By one thread for all caches, which ends when they are empty."""
    slow, dead = Expiring[Thing](8, 3600), threading.Event()
    slow.get("x", Thing)
    (thread,) = threads()
    quick = Expiring[Thing](8, 0.01)

    def make() -> Thing:
        thing = Thing()
        weakref.finalize(thing, dead.set)
        return thing

    quick.get("x", make)
    assert dead.wait(60)
    assert threads() == [thread]
    slow.clear()
    Expiring[Thing](8, 0.01).get("x", Thing)
    thread.join(60)
    assert not thread.is_alive()


def in_child(check: Callable[[], object]) -> None:
    """Fork, and run a check in the child."""
    pid = os.fork()
    if pid == 0:
        try:
            check()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_forks() -> None:
    """The child has the values and a thread of its own; Python does not warn of the fork."""
    gc.collect()
    cache = Expiring[Thing](8, 3600)
    x = cache.get("x", Thing)

    def check() -> None:
        assert threads() == []
        assert cache.get("x", Thing) is x
        cache.get("y", Thing)
        assert len(threads()) == 1
        assert len(cache) == 2

    in_child(check)
    assert len(threads()) == 1
    assert len(cache) == 1
    # The child of a child.
    in_child(lambda: in_child(check))
    cache.clear()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_while_another_thread_makes_a_value() -> None:
    cache = Expiring[Thing](8, 3600)
    entered, go = threading.Event(), threading.Event()

    def make() -> Thing:
        entered.set()
        go.wait()
        return Thing()

    making = threading.Thread(target=cache.get, args=("x", make))
    making.start()
    entered.wait()
    in_child(lambda: cache.get("x", Thing))
    go.set()
    making.join()
    assert len(cache) == 1
    cache.clear()
