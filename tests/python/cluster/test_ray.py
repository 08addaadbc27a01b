"""Bound functions and maps in tasks of Ray: they travel by reference.

`make test-long` runs these: Ray takes a quarter of a gigabyte to install and half a minute to run.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcall

pytestmark = pytest.mark.skipif(not find_spec("ray"), reason="Ray is not installed")

# The maps are sparse, and larger than the memory: no copy of one fits anywhere.
SIZE = 1 << 40
STORE = 80 << 20


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Starts Ray on this machine, with two workers, and stops its processes at the end."""
    import ray

    # The paths of sockets are limited to 107 bytes: pytest's folders are too long.
    folder = tempfile.mkdtemp(prefix="ray-")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            try:
                ray.init(
                    "local",
                    num_cpus=2,
                    object_store_memory=STORE,
                    include_dashboard=False,
                    log_to_driver=False,
                    configure_logging=False,
                    _temp_dir=folder,
                )
            except Exception as error:
                pytest.skip(f"Ray can't start here: {error}")
            yield ray
        finally:
            ray.shutdown()
            ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def x(tmp_path: Path) -> mapcall.memmap:
    path = tmp_path / "x.dat"
    made = mapcall.memmap(path, "f8", "w+", shape=SIZE // 8)
    made[-1000:] = np.arange(1000)
    made.flush()
    return mapcall.memmap(path, "f8", "r")


@pytest.fixture
def cos() -> Any:
    return mapcall.load("m").function("double cos(double x)")


def seen(x: Any) -> tuple[int, type, int | None, bool]:
    return os.getpid(), type(x), x.file_offset, x.flags.writeable


class TestTasks:
    def test_a_map_and_a_function(self, ray: Any, x: mapcall.memmap, cos: Any) -> None:
        @ray.remote
        def apply(function: Any, x: Any) -> Any:
            return function.name, seen(x), function(x[-1000:])

        name, (pid, kind, offset, is_writeable), result = ray.get(apply.remote(cos, x[8:]))
        assert pid != os.getpid()
        assert (name, kind, offset, is_writeable) == ("cos", mapcall.memmap, 64, False)
        np.testing.assert_array_equal(result, cos(np.arange(1000.0)))

    def test_views(self, ray: Any, x: mapcall.memmap) -> None:
        @ray.remote
        def end(x: Any) -> Any:
            return seen(x), np.array(x[-3:])

        for view in (x, x[::7], x[::-1], x.reshape(-1, 8)[:, 3], x.view("u2")):
            (_, kind, offset, _), content = ray.get(end.remote(view))
            assert (kind, offset) == (mapcall.memmap, view.file_offset)
            np.testing.assert_array_equal(content, view[-3:])

    def test_put_and_returned(self, ray: Any, x: mapcall.memmap) -> None:
        @ray.remote
        def half(x: Any) -> Any:
            return x[x.size // 2 :]

        given = ray.put(x)
        first, second = ray.get([half.remote(given), half.remote(half.remote(given))])
        assert (type(first), first.file_offset) == (mapcall.memmap, SIZE // 2)
        assert second.file_offset == SIZE // 4 * 3
        assert second[-1] == 999

    def test_used_by_a_function(self, ray: Any, x: mapcall.memmap, cos: Any) -> None:
        """What the task's function refers to travels with the function."""

        @ray.remote
        def apply() -> Any:
            assert mapcall.load("m").path == cos.library.path
            return cos(x[-10:])

        np.testing.assert_array_equal(ray.get(apply.remote()), np.cos(np.arange(990, 1000)))

    def test_writes_reach_the_file(self, ray: Any, x: mapcall.memmap) -> None:
        @ray.remote
        def fill(x: Any, value: float) -> None:
            x[:] = value

        writeable = mapcall.memmap(x.filename, "f8", "r+")
        ray.get([fill.remote(writeable[at : at + 5], at) for at in range(0, 20, 5)])
        assert x[:20].tolist() == [at // 5 * 5 for at in range(20)]

    def test_actors(self, ray: Any, x: mapcall.memmap, cos: Any) -> None:
        @ray.remote
        class Holder:
            def __init__(self, function: Any, x: Any) -> None:
                self.function, self.x = function, x

            def at(self, index: int) -> float:
                return float(self.function(self.x[index]))

        holder = Holder.remote(cos, x)
        assert ray.get(holder.at.remote(-1)) == cos(999.0)

    def test_a_file_that_has_changed(self, ray: Any, x: mapcall.memmap) -> None:
        @ray.remote
        def nothing(x: Any) -> None:
            pass

        given = ray.put(x)
        os.utime(x.filename, ns=(0, 0))
        with pytest.raises(Exception, match="modification time"):
            ray.get(nothing.remote(given))


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning:ray")
class TestData:
    def test_map_batches(self, ray: Any, x: mapcall.memmap, cos: Any) -> None:
        data = pytest.importorskip("ray.data", reason="Ray was installed without ray.data")

        def rows(batch: dict[str, Any], function: Any, table: Any) -> dict[str, Any]:
            assert isinstance(table, mapcall.memmap)
            index = batch["id"]
            part = table[index[0] - 1000 : index[-1] - 999 or None]
            return {"id": index, "y": function(part), "pid": np.full(len(index), os.getpid())}

        def closure(batch: dict[str, Any]) -> dict[str, Any]:
            return {"z": cos(x[batch["id"] - 1000]) - batch["y"]} | batch

        data.DataContext.get_current().enable_progress_bars = False
        made = data.range(1000, override_num_blocks=4)
        made = made.map_batches(rows, fn_kwargs={"function": cos, "table": x})
        batches = list(made.map_batches(closure).iter_batches(batch_size=None))
        y, z, pid = (np.concatenate([each[key] for each in batches]) for key in ("y", "z", "pid"))
        np.testing.assert_array_equal(np.sort(y), np.sort(cos(np.arange(1000.0))))
        assert not z.any()
        assert os.getpid() not in pid

    def test_batches_are_arguments(self, ray: Any, cos: Any) -> None:
        data = pytest.importorskip("ray.data", reason="Ray was installed without ray.data")
        made = data.from_numpy(np.arange(100.0)).map_batches(
            lambda batch: {"y": cos(batch["data"])}
        )
        found = [row["y"] for row in made.take_all()]
        np.testing.assert_array_equal(found, cos(np.arange(100.0)))
