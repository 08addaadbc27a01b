"""Maps that other libraries hold, and that are closed, deleted or shortened meanwhile.

A library that has an array of a closed map raises `MapFault` at its next use; nothing crashes, and
the file is given back at once.
"""

from __future__ import annotations

import gc
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor

import mapcall

ROWS, COLUMNS = 4096, 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "x.npy"
    np.save(made, np.arange(ROWS * COLUMNS, dtype="f8").reshape(ROWS, COLUMNS))
    return made


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """`numpy.load` and joblib make mapcall's maps."""
    monkeypatch.setattr(np, "memmap", mapcall.memmap)


def work() -> None:
    """Gives an exception that comes at the next check for signals the time to come."""
    for _ in range(1000):
        pass


def completed(use: Callable[[], object]) -> None:
    use()
    work()


def assert_fault(use: Callable[[], object], reason: str = "closed") -> None:
    """Each of two uses raises `MapFault` once, and nothing is left to be raised."""
    for _ in range(2):
        with pytest.raises(mapcall.MapFault) as caught:
            completed(use)
        assert caught.value.reason == reason
        work()


def is_mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


@pytest.mark.usefixtures("ours")
class TestNumpyLoad:
    """What programs do today to get rid of a map of `numpy.load(mmap_mode=...)`."""

    @pytest.mark.parametrize("mode", ["r", "r+", "c"])
    def test_close_delete_remove(self, path: Path, mode: str) -> None:
        x = np.load(path, mmap_mode=mode)  # type: ignore[call-overload]
        assert type(x) is mapcall.memmap
        row, plain, total = x[3], np.asarray(x)[5:], x.sum()
        x._mmap.close()
        assert not is_mapped(path)
        del x
        os.remove(path)
        gc.collect()
        assert_fault(lambda: row.sum())
        assert_fault(lambda: plain.sum())
        assert total == sum(range(ROWS * COLUMNS))

    def test_close_and_save_again(self, path: Path) -> None:
        """The usual way of replacing a file in place: it must not be mapped meanwhile."""
        x = np.load(path, mmap_mode="r")
        old = x[:2]
        new = np.array(x) + 1
        x._mmap.close()
        np.save(path, new)
        assert (np.load(path, mmap_mode="r") == new).all()
        assert_fault(lambda: old.sum())

    def test_close_in_a_function(self, path: Path) -> None:
        """The map of a result that is no copy, as `return x[...]` leaves it."""

        def first_row() -> Any:
            x = np.load(path, mmap_mode="r")
            try:
                return x[0]
            finally:
                x._mmap.close()

        row = first_row()
        assert_fault(lambda: row.tolist())

    def test_save_over_the_mapped_file(self, path: Path) -> None:
        """`numpy.save` empties the file before it writes."""
        x = np.load(path, mmap_mode="r")
        np.save(path, np.arange(10.0))
        assert_fault(lambda: x.sum(), "truncated")

    def test_savez_of_a_closed_map(self, path: Path, tmp_path: Path) -> None:
        x = np.load(path, mmap_mode="r")
        x._mmap.close()
        for save in (np.save, np.savez):
            # A write of the memory by the system fails with another message.
            with pytest.raises(OSError, match=r"closed|Bad address|requested and"):
                completed(lambda save=save: save(tmp_path / "y", x))  # type: ignore[misc]
            work()

    def test_of_an_open_file(self, path: Path) -> None:
        with open(path, "rb") as file:
            x = np.lib.format.open_memmap(file.name, mode="r")
        x._mmap.close()
        path.unlink()
        assert_fault(lambda: x[0, 0])


def double(x: Any) -> Any:
    return x * 2


def close_it(x: Any) -> tuple[str, bool]:
    """Closes the map that a worker was given; returns the name of the exception of a later use."""
    # joblib's workers have `numpy.memmap`, which crashes, unless the map is pickled by reference.
    assert type(x) is mapcall.memmap
    x.close()
    try:
        x.sum()
    except mapcall.MapFault as fault:
        return fault.reason, x.closed
    return "", x.closed


def total_of(x: Any) -> float:
    return float(x.sum())


@pytest.fixture(scope="module")
def workers() -> Iterator[None]:
    """Ends the workers of loky after the tests."""
    yield
    get_reusable_executor().shutdown(wait=True)


class TestJoblib:
    @pytest.mark.usefixtures("ours")
    def test_results_of_a_memory(self, tmp_path: Path) -> None:
        """The cache is emptied, its files are deleted, and it works again."""
        memory = joblib.Memory(tmp_path / "cache", mmap_mode="r", verbose=0)
        cached = memory.cache(double)
        y = cached(np.ones(ROWS))
        assert type(y) is mapcall.memmap
        plain = np.asarray(y)
        y._mmap.close()
        assert not is_mapped(tmp_path)
        memory.clear(warn=False)
        assert_fault(lambda: y.sum())
        assert_fault(lambda: plain.sum())
        again = cached(np.ones(ROWS))
        assert again.sum() == 2 * ROWS
        assert_fault(lambda: y.sum())

    @pytest.mark.usefixtures("ours")
    def test_a_shortened_result_of_a_memory(self, tmp_path: Path) -> None:
        memory = joblib.Memory(tmp_path / "cache", mmap_mode="r", verbose=0)
        cached = memory.cache(double)
        y = cached(np.ones(ROWS))
        os.truncate(y.filename, 64)
        assert_fault(lambda: y.sum(), "truncated")
        # joblib finds the damage, logs a warning and computes it again.
        assert cached(np.ones(ROWS)).sum() == 2 * ROWS

    def test_a_closed_argument_of_a_memory(self, path: Path, tmp_path: Path) -> None:
        """Its hash is not that of zeros."""
        memory = joblib.Memory(tmp_path / "cache", verbose=0)
        cached = memory.cache(double)
        x = mapcall.open(path)
        cached(x)
        x.close()
        with pytest.raises((mapcall.MapFault, ValueError)):
            completed(lambda: cached(x))
        work()
        with pytest.raises((mapcall.MapFault, ValueError)):
            completed(lambda: joblib.hash(x))
        work()

    @pytest.mark.usefixtures("workers")
    @pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
    def test_a_closed_argument_of_parallel(self, path: Path, tmp_path: Path, backend: str) -> None:
        """The caller gets the exception; the folder of joblib's copies is deleted as ever."""
        folder = tmp_path / "copies"
        folder.mkdir()
        x = mapcall.open(path)
        x.close()
        parallel = joblib.Parallel(2, backend=backend, temp_folder=folder, max_nbytes=1)
        with pytest.raises(Exception, match=r"closed|pickle") as caught:
            parallel(joblib.delayed(total_of)(each) for each in (x, np.ones(ROWS)))
        error: BaseException | None = caught.value
        found = []
        while error is not None:
            found.append(str(error))
            error = error.__cause__ or error.__context__
        assert "closed" in "\n".join(found)
        work()
        # The next one works; another object, as joblib may return results of the failed call, too.
        parallel = joblib.Parallel(2, backend=backend, temp_folder=folder, max_nbytes=1)
        arrays = [mapcall.open(path), np.ones(ROWS)]
        assert parallel(joblib.delayed(total_of)(each) for each in arrays)[1] == ROWS
        # joblib's own tests wait in this way: another process deletes the copies.
        for _ in range(600):
            if not any(folder.iterdir()):
                break
            time.sleep(0.1)
        assert not any(folder.iterdir())

    @pytest.mark.usefixtures("workers")
    @pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
    def test_a_worker_closes_it(self, path: Path, backend: str) -> None:
        """Its own map: the caller's stays, except that threads have no other."""
        x = mapcall.open(path)
        # Two threads would read the same pages at the same time: see faults/test_thread_pools.py.
        count = 1 if backend == "threading" else 2
        parallel = joblib.Parallel(2, backend=backend)
        results = parallel(joblib.delayed(close_it)(x) for _ in range(count))
        assert results == [("closed", True)] * count
        if backend == "threading":
            assert x.closed
        else:
            assert x.sum() == sum(range(ROWS * COLUMNS))

    @pytest.mark.usefixtures("ours")
    def test_the_folder_is_deleted_before_the_arrays(self, tmp_path: Path) -> None:
        """`joblib.load(mmap_mode)` in a folder that is removed, as scikit-learn's tests do."""
        folder = tmp_path / "dumped"
        folder.mkdir()
        joblib.dump([np.ones(ROWS), "text", np.arange(3)], folder / "data.pkl")
        first, text, second = joblib.load(folder / "data.pkl", mmap_mode="r+")
        first[0] = 7
        first._mmap.close()
        shutil.rmtree(folder)
        assert text == "text"
        assert_fault(lambda: first.sum())
        # Another map of the same file, which has no name now.
        assert second.tolist() == [0, 1, 2]


class TestPandas:
    @pytest.fixture
    def pandas(self) -> Any:
        return pytest.importorskip("pandas", reason="pandas is not installed")

    def test_a_frame(self, pandas: Any, path: Path) -> None:
        x = mapcall.open(path)
        frame = pandas.DataFrame(x, columns=list("abcdefgh"), copy=False)
        assert np.shares_memory(frame.to_numpy(), x)
        column, total = frame["c"], frame.sum().sum()
        x.close()
        assert not is_mapped(path)
        for use in (
            frame.sum,
            frame.describe,
            frame.copy,
            column.mean,
            lambda: frame + 1,
            lambda: frame[frame["a"] > 3],
            lambda: frame.groupby("a").sum(),
            lambda: frame.sort_values("b"),
            lambda: frame.iloc[0, 0],
            lambda: repr(frame),
        ):
            assert_fault(use)
        assert frame.shape == (ROWS, COLUMNS)
        assert total == sum(range(ROWS * COLUMNS))

    def test_a_truncated_file(self, pandas: Any, path: Path) -> None:
        x = mapcall.open(path)
        frame = pandas.DataFrame(x, copy=False)
        os.truncate(path, 8192)
        assert frame.iloc[0, 1] == 1
        assert_fault(lambda: frame.sum(), "truncated")
        assert_fault(lambda: frame.iloc[-1, -1], "truncated")

    def test_writes(self, pandas: Any, path: Path) -> None:
        x = mapcall.open(path, "r+")
        frame = pandas.DataFrame(x, copy=False)
        frame.iloc[0, 0] = 5
        x.close()
        before = path.read_bytes()

        def write() -> None:
            frame.iloc[0, 1] = 6

        assert_fault(write)
        assert path.read_bytes() == before

    @pytest.mark.parametrize("reason", ["truncated", "closed"])
    def test_reading_csv_from_a_map(self, pandas: Any, tmp_path: Path, reason: str) -> None:
        """As from an `mmap.mmap`; a closed one raises ValueError, as CPython's does."""
        path = tmp_path / "x.csv"
        pandas.DataFrame({"a": range(20_000)}).to_csv(path, index=False)
        found = mapcall.memmap(path, "u1", "r")._mmap
        assert pandas.read_csv(found)["a"].tolist() == list(range(20_000))
        found.seek(0)
        if reason == "closed":
            found.close()
            with pytest.raises(ValueError, match="closed"):
                pandas.read_csv(found)
            return

        def read() -> None:
            found.seek(0)
            pandas.read_csv(found)

        os.truncate(path, 4096)
        assert_fault(read, "truncated")

    def test_copies_stay(self, pandas: Any, path: Path) -> None:
        with mapcall.open(path) as x:
            frame = pandas.DataFrame(x, copy=True)
        assert frame.sum().sum() == sum(range(ROWS * COLUMNS))


class TestScikitLearn:
    """Estimators read a map by NumPy, and by loops of Cython without the interpreter's lock."""

    @pytest.fixture
    def make(self, request: pytest.FixtureRequest) -> Callable[[], Any]:
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
        from sklearn.cluster import KMeans
        from sklearn.linear_model import SGDRegressor
        from sklearn.neighbors import KNeighborsRegressor
        from sklearn.preprocessing import StandardScaler
        from sklearn.tree import DecisionTreeRegressor

        return {
            "KMeans": lambda: KMeans(3, n_init=1, random_state=0),
            "SGDRegressor": lambda: SGDRegressor(max_iter=2, tol=None, random_state=0),
            "KNeighborsRegressor": lambda: KNeighborsRegressor(algorithm="brute"),
            "StandardScaler": lambda: StandardScaler(),
            "DecisionTreeRegressor": lambda: DecisionTreeRegressor(max_depth=3),
        }[request.param]

    estimators = pytest.mark.parametrize(
        "make",
        [
            "KMeans",
            "SGDRegressor",
            "KNeighborsRegressor",
            "StandardScaler",
            "DecisionTreeRegressor",
        ],
        indirect=True,
    )

    @pytest.fixture
    def data(self, path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        random = np.random.default_rng(3)
        x = random.normal(size=(ROWS, COLUMNS))
        np.save(path, x)
        return x, random.normal(size=ROWS)

    @estimators
    def test_a_truncated_file(self, make: Callable[[], Any], path: Path, data: Any) -> None:
        x, y = mapcall.open(path), data[1]
        os.truncate(path, 8192)
        assert_fault(lambda: make().fit(x, y), "truncated")
        # The file has come back: as if nothing had happened.
        np.save(path, data[0])
        attributes = [vars(make().fit(each, y)) for each in (mapcall.open(path), data[0])]
        for name, value in attributes[0].items():
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                np.testing.assert_allclose(value, attributes[1][name])

    @estimators
    def test_a_closed_map(self, make: Callable[[], Any], path: Path, data: Any) -> None:
        x, y = mapcall.open(path), data[1]
        plain = np.asarray(x)
        x.close()
        assert_fault(lambda: make().fit(x, y))
        assert_fault(lambda: make().fit(plain, y))

    @pytest.mark.parametrize("reason", ["truncated", "closed"])
    @pytest.mark.parametrize(
        "threads",
        [
            1,
            4,
        ],
    )
    def test_loops_without_the_lock(
        self, path: Path, run_script: Callable[..., str], reason: str, threads: int
    ) -> None:
        """Nothing of the map is read before; the threads are those of OpenMP."""
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
        output = run_script(
            """
            import os, sys
            import numpy as np
            import sklearn
            from sklearn.cluster import KMeans
            import mapcall

            reason, path, threads = sys.argv[1:]
            values = np.random.default_rng(3).normal(size=(4096, 8))
            np.save(path, values)
            model = KMeans(3, n_init=1, random_state=0).fit(values)
            model._n_threads = int(threads)
            x = mapcall.open(path)
            found = []
            with sklearn.config_context(assume_finite=True):
                assert (model.predict(x) == model.predict(values)).all()
                if reason == "closed":
                    x.close()
                else:
                    os.truncate(path, 8192)
                for each in [x, np.asarray(x)] * 3:
                    try:
                        model.predict(each)
                        for _ in range(100_000):
                            pass
                        found.append("none")
                    except mapcall.MapFault as fault:
                        found.append(fault.reason)
            print(found)
            """,
            *(reason, path, threads),
        )
        assert output == f"{[reason] * 6}\n"

    def test_a_fitted_model_on_a_map(
        self, path: Path, data: Any, tmp_path: Path, ours: None
    ) -> None:
        """`joblib.load(mmap_mode)` of a model: its coefficients are maps."""
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
        from sklearn.neighbors import KNeighborsRegressor

        x, y = data
        model = KNeighborsRegressor(3, algorithm="brute").fit(x, y)
        joblib.dump(model, tmp_path / "model.pkl")
        loaded = joblib.load(tmp_path / "model.pkl", mmap_mode="r")
        np.testing.assert_allclose(loaded.predict(x[:9]), model.predict(x[:9]))
        assert type(loaded._fit_X) is mapcall.memmap
        loaded._fit_X.close()
        (tmp_path / "model.pkl").unlink()
        assert_fault(lambda: loaded.predict(x[:9]))
