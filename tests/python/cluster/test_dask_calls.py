"""Bound functions that are called with Dask arrays, compared with calls over the whole arrays."""

from __future__ import annotations

import itertools
import math
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray
from distributed import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mapcall
import mapcall.dask

Compile = Callable[..., Path]

SOURCE = """
    #include <stdint.h>
    #include <stddef.h>
    double add(double x, double y) { return x + y; }
    void saxpy(size_t n, float a, const float *x, float *y)
    { for (size_t i = 0; i < n; i++) y[i] += a * x[i]; }
    double dot(size_t n, const double *x, const double *y)
    { double s = 0; for (size_t i = 0; i < n; i++) s += x[i] * y[i]; return s; }
    int cross(const double *a, const double *b, double *c)
    {
        c[0] = a[1] * b[2] - a[2] * b[1];
        c[1] = a[2] * b[0] - a[0] * b[2];
        c[2] = a[0] * b[1] - a[1] * b[0];
        return 0;
    }
    void extrema(size_t n, const double *x, double *low, double *high)
    {
        *low = *high = x[0];
        for (size_t i = 1; i < n; i++) {
            if (x[i] < *low) *low = x[i];
            if (x[i] > *high) *high = x[i];
        }
    }
    void matmul(int n, int k, int m, const float *a, const float *b, float *c)
    {
        for (int i = 0; i < n; i++)
            for (int j = 0; j < m; j++) {
                float s = 0;
                for (int l = 0; l < k; l++) s += a[i * k + l] * b[l * m + j];
                c[i * m + j] = s;
            }
    }
    int positive(double x) { return x > 0 ? 0 : -3; }
    double first(const double *x) { return x[0]; }
    double scaled(double x, int by) { return x * by; }
    double named(double out, double threads) { return out + 2 * threads; }
    const char *name(double x) { return x > 0 ? "positive" : "negative"; }
    double weigh(double (*f)(double), double x) { return f(x); }
"""
ADD = "double add(double x, double y)"
SAXPY = "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])"
DOT = "double dot(size_t n, const double x[n], const double y[n])"
CROSS = "int cross(const double a[3], const double b[3], double c[3])"
EXTREMA = "void extrema(size_t n, const double x[n], double low[1], double high[1])"
MATMUL = """void matmul(int n, int k, int m, const float a[restrict n][k],
                       const float b[restrict k][m], float c[restrict n][m])"""


@pytest.fixture(scope="module")
def library(compile_c: Compile) -> mapcall.Library:
    return mapcall.load(compile_c(SOURCE))


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Graphs run in this process, where a failure shows its traceback."""
    with dask.config.set(scheduler="synchronous"):
        yield


def compute(results: Any) -> tuple[Any, ...]:
    results = results if isinstance(results, tuple) else (results,)
    for result in results:
        assert isinstance(result, da.Array)
    computed: tuple[Any, ...] = dask.compute(*results)
    for result, value in zip(results, computed, strict=True):
        assert (result.shape, result.dtype) == (np.shape(value), value.dtype)
        assert result.ndim == 0 or type(value) is np.ndarray
        # What is known of a block before it is computed holds for each of them.
        for index in np.ndindex(result.numblocks) if result.ndim else ():
            block = result.blocks[index].compute()
            assert block.dtype == result.dtype
            chunk = [chunks[at] for chunks, at in zip(result.chunks, index, strict=True)]
            assert list(np.shape(block)) == chunk
    return computed


def same(found: Any, expected: Any) -> None:
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = compute(found)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def cut(draw: Callable[[Any], Any], length: int) -> tuple[int, ...]:
    """Draws the chunks of an axis."""
    if length == 0:
        return (0,)
    ends = draw(st.sets(st.integers(1, length - 1), max_size=3)) if length > 1 else set()
    ends = [0, *sorted(ends), length]
    return tuple(end - start for start, end in itertools.pairwise(ends))


@st.composite
def operands(draw: Any, *cores: tuple[int, ...], dtype: str = "f8") -> list[tuple[Any, Any]]:
    """Draws arrays whose loop dimensions broadcast; None for chunks leaves one in memory."""
    loop = draw(st.lists(st.integers(0, 5), max_size=3))
    found = []
    for core in cores:
        own = loop[draw(st.integers(0, len(loop))) :]
        own = [draw(st.sampled_from([length, 1])) for length in own]
        shape = (*own, *core)
        elements = np.arange(math.prod(shape), dtype=dtype).reshape(shape)
        chunks = (*(cut(draw, length) for length in own), *((length,) for length in core))
        found.append((elements, chunks if draw(st.booleans()) else None))
    if all(chunks is None for _, chunks in found):
        found[0] = (found[0][0], tuple((length,) for length in found[0][0].shape))
    return found


def lazily(drawn: Sequence[tuple[Any, Any]]) -> list[Any]:
    return [
        elements if chunks is None else da.from_array(elements, chunks)
        for elements, chunks in drawn
    ]


relaxed = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class TestBroadcasting:
    """Any shapes and chunks give what a call with the whole arrays gives."""

    @relaxed
    @given(drawn=operands((), ()))
    def test_numbers(self, library: mapcall.Library, drawn: Any) -> None:
        add = library.function(ADD)
        same(add(*lazily(drawn)), add(*(elements for elements, _ in drawn)))

    @relaxed
    @given(drawn=operands((4,), (4,)))
    def test_core_dimensions(self, library: mapcall.Library, drawn: Any) -> None:
        dot = library.function(DOT)
        same(dot(*lazily(drawn)), dot(*(elements for elements, _ in drawn)))

    @relaxed
    @given(drawn=operands((3,), (3,)))
    def test_result_and_output(self, library: mapcall.Library, drawn: Any) -> None:
        cross = library.function(CROSS)
        same(cross(*lazily(drawn)), cross(*(elements for elements, _ in drawn)))

    @relaxed
    @given(drawn=operands((5,)))
    def test_several_outputs(self, library: mapcall.Library, drawn: Any) -> None:
        extrema = library.function(EXTREMA)
        same(extrema(*lazily(drawn)), extrema(*(elements for elements, _ in drawn)))

    @relaxed
    @given(drawn=operands((2, 3), (3, 4), dtype="f4"))
    def test_output_of_two_axes(self, library: mapcall.Library, drawn: Any) -> None:
        matmul = library.function(MATMUL)
        same(matmul(*lazily(drawn)), matmul(*(elements for elements, _ in drawn)))

    def test_where(self, library: mapcall.Library) -> None:
        add = library.function(ADD)
        x = np.arange(12.0).reshape(3, 4)
        for where in (x % 2 == 0, np.array([True, False, True, False]), True):
            expected = add(x, 1.0, where=where)
            same(add(da.from_array(x, (2, 3)), 1.0, where=where), expected)
            if where is not True:
                lazy = da.from_array(where, 2)
                same(add(da.from_array(x, (2, 3)), 1.0, where=lazy), expected)
                same(add(x, 1.0, where=lazy), expected)

    def test_threads(self, library: mapcall.Library) -> None:
        add = library.function(ADD)
        x = np.arange(1000.0)
        same(add(da.from_array(x, 300), 1.0, threads=2), add(x, 1.0))

    def test_a_parameter_hides_an_option(self, library: mapcall.Library) -> None:
        named = library.function("double named(double out, double threads)")
        x = np.arange(5.0)
        same(named(out=da.from_array(x, 2), threads=x), named(out=x, threads=x))


class TestArraysThatAreWritten:
    def test_they_are_results(self, library: mapcall.Library) -> None:
        saxpy = library.function(SAXPY)
        x, y = np.arange(12, dtype="f4").reshape(3, 4), np.ones((3, 4), "f4")
        lazy = da.from_array(y, (2, 4))
        found = saxpy(2.0, da.from_array(x, (1, 4)), lazy)
        expected = y.copy()
        saxpy(2.0, x, expected)
        same(found, expected)
        np.testing.assert_array_equal(lazy.compute(), 1)

    def test_once_for_the_whole_array(self, library: mapcall.Library) -> None:
        saxpy = library.function(SAXPY)
        x = da.from_array(np.arange(12, dtype="f4"), 5)
        same(saxpy(2.0, x, x + 1), np.arange(12, dtype="f4") * 3 + 1)

    def test_their_place_among_the_results(self, library: mapcall.Library) -> None:
        extrema = library.function(EXTREMA)
        x = np.arange(12.0).reshape(3, 4)
        low, high = extrema(da.from_array(x, (2, 4)), low=da.zeros((3, 1)))
        same((low, high), extrema(x))
        low, high = extrema(da.from_array(x, (2, 4)), high=da.zeros((3, 1)))
        same((low, high), extrema(x))

    def test_an_array_in_memory_is_refused(self, library: mapcall.Library) -> None:
        saxpy = library.function(SAXPY)
        with pytest.raises(mapcall.ArgumentError, match="y: expected a Dask array") as caught:
            saxpy(2.0, da.zeros(4, dtype="f4"), np.zeros(4, "f4"))
        assert caught.value.parameter == "y"
        y = da.from_array(np.zeros(4, "f4"))
        same(saxpy(2.0, da.ones(4, dtype="f4"), y), np.full(4, 2, "f4"))


class TestChunksOfCoreDimensions:
    def test_small_ones_are_joined(self, library: mapcall.Library) -> None:
        dot = library.function(DOT)
        x = np.arange(12.0).reshape(3, 4)
        same(dot(da.from_array(x, (2, 3)), x), dot(x, x))

    def test_large_ones_are_refused_with_the_remedy(self, library: mapcall.Library) -> None:
        dot = library.function(DOT)
        x = da.from_array(np.arange(12.0).reshape(3, 4), (2, 3))
        with (
            dask.config.set({"array.chunk-size": "32 B"}),
            pytest.raises(mapcall.ArgumentError) as caught,
        ):
            dot(x, x)
        assert str(caught.value) == (
            "dot: x: expected axis 1, which one call of C takes as a whole, in one chunk, got "
            "2 chunks, together 64 B; pass x.rechunk({1: -1})"
        )
        with dask.config.set({"array.chunk-size": "32 B"}):
            x = x.rechunk({1: -1})
            same(dot(x, x), [14, 126, 366])

    def test_what_dask_made_strided_is_copied(self, library: mapcall.Library) -> None:
        dot = library.function(DOT)
        x = np.arange(12.0).reshape(4, 3)
        same(dot(da.from_array(x, (4, 2)).T, np.ones(4)), dot(x.T.copy(), np.ones(4)))
        # In the process it is refused.
        with pytest.raises(mapcall.ArgumentError, match="ascontiguousarray"):
            dot(x.T, np.ones(4))
        cross = library.function(CROSS)
        y = np.arange(24.0).reshape(3, 8)
        same(cross(da.from_array(y, (3, 5)).T, np.ones(3)), cross(y.T.copy(), np.ones(3)))

    def test_pointers_without_a_length(self, library: mapcall.Library) -> None:
        first = library.function("double first(const double *x)").unchecked
        same(first(da.from_array(np.arange(3.0, 9.0), 2)), 3.0)


class TestNumbers:
    def test_an_array_without_axes_is_a_number(self, library: mapcall.Library) -> None:
        add = library.function(ADD)
        x = da.from_array(np.arange(6.0), 4)
        same(add(x, x.max()), np.arange(6.0) + 5)
        same(add(x.min(), x.max()), 5.0)

    def test_its_value_is_checked_by_the_call(self, library: mapcall.Library) -> None:
        scaled = library.function("double scaled(double x, int by)")
        x = da.from_array(np.arange(6), 4)
        same(scaled(1.5, x.max()), 7.5)
        found = scaled(1.5, x.max() * 2**40)
        with pytest.raises(mapcall.ArgumentError, match="by"):
            found.compute()

    def test_other_arguments_travel_with_the_task(self, library: mapcall.Library) -> None:
        weigh = library.function("double weigh(double (*f)(double), double x)")
        cbrt = mapcall.load("m").function("double cbrt(double)")
        x = np.arange(6.0)
        same(weigh(cbrt, da.from_array(x, 4)), cbrt(x))


class TestRefusals:
    """What does not fit the prototype is refused before anything is computed, as without Dask."""

    @pytest.mark.parametrize(
        ("prototype", "arguments"),
        [
            (ADD, lambda a: (a(4), a(5))),
            (ADD, lambda a: (a(4, "f4"), 1.0)),
            (ADD, lambda a: (a(4),)),
            (ADD, lambda a: (a(4), 1.0, 2.0)),
            (ADD, lambda a: (a(4), "text")),
            (DOT, lambda a: (a(4), a(5))),
            (DOT, lambda a: (a(()), a(5))),
            (CROSS, lambda a: (a((2, 3)), a((2, 4)))),
            (SAXPY, lambda a: (2.0, a((3, 4), "f4"), a((4,), "f4"))),
            (MATMUL, lambda a: (a((2, 3), "f4"), a((4, 3), "f4"))),
            ("const char *name(double x)", lambda a: (a(3),)),
            ("double first(const double *x)", lambda a: (a(3),)),
        ],
    )
    def test_as_in_a_call_with_arrays(
        self, library: mapcall.Library, prototype: str, arguments: Any
    ) -> None:
        function = library.function(prototype)
        with pytest.raises(mapcall.ArgumentError) as expected:
            function(*arguments(lambda shape, dtype="f8": np.ones(shape, dtype)))
        with pytest.raises(mapcall.ArgumentError) as found:
            function(*arguments(lambda shape, dtype="f8": da.ones(shape, dtype=dtype)))
        assert str(found.value) == str(expected.value)

    def test_unknown_lengths(self, library: mapcall.Library) -> None:
        add = library.function(ADD)
        x = da.from_array(np.arange(6.0), 4)
        x = x[x > 2]
        with pytest.raises(mapcall.ArgumentError, match=r"x: .*x\.compute_chunk_sizes\(\)"):
            add(x, 1.0)
        with pytest.raises(mapcall.ArgumentError, match=r"y: .*y\.compute_chunk_sizes\(\)"):
            add(1.0, y=x)
        same(add(x.compute_chunk_sizes(), 1.0), [4, 5, 6])

    def test_progress(self, library: mapcall.Library) -> None:
        add = library.function(ADD)
        with pytest.raises(mapcall.ArgumentError, match=r"progress.*ProgressBar"):
            add(da.zeros(3), 1.0, progress=True)

    @pytest.mark.parametrize("out", [np.zeros(3), da.zeros(3)])
    def test_out_is_a_path(self, library: mapcall.Library, out: Any) -> None:
        add = library.function(ADD)
        with pytest.raises(mapcall.ArgumentError, match="out: expected a path"):
            add(da.zeros(3), 1.0, out=out)

    def test_arrays_that_dask_does_not_know_are_as_before(self, library: mapcall.Library) -> None:
        add = library.function(ADD)
        with pytest.raises(mapcall.ArgumentError, match="got a list"):
            add(da.zeros(3), [1.0])


class TestFailures:
    def test_the_index_is_that_of_the_whole(self, library: mapcall.Library) -> None:
        positive = library.function("int positive(double x)", check="zero")
        x = np.ones((4, 6))
        x[3, 2] = -1
        with pytest.raises(mapcall.CallError) as expected:
            positive(x)
        with pytest.raises(mapcall.CallError) as found:
            positive(da.from_array(x, (2, 2))).compute()
        assert (found.value.index, found.value.code) == ((3, 2), -3)
        assert str(found.value) == str(expected.value)

    def test_a_callable_check(self, library: mapcall.Library) -> None:
        def check(code: int) -> None:
            if code:
                raise ArithmeticError(code)

        positive = library.function("int positive(double x)", check=check)
        x = np.ones(6)
        same(positive(da.from_array(x, 4)), np.zeros(6, "i4"))
        x[5] = -1
        with pytest.raises(ArithmeticError, match="-3"):
            positive(da.from_array(x, 4)).compute()


class TestGraphs:
    def test_c_is_not_called(self, library: mapcall.Library) -> None:
        def check(_: int) -> None:
            raise AssertionError

        positive = library.function("int positive(double x)", check=check)
        assert positive(da.ones((3, 4))).shape == (3, 4)
        assert positive(da.ones((0, 4))).compute().shape == (0, 4)

    def test_names_are_those_of_the_function(self, library: mapcall.Library) -> None:
        add, extrema = library.function(ADD), library.function(EXTREMA)
        x = da.ones((3, 4))
        assert dask.utils.key_split(add(x, 1.0).name) == "add"
        assert [dask.utils.key_split(each.name) for each in extrema(x)] == [
            "extrema-low",
            "extrema-high",
        ]

    def test_equal_calls_have_equal_names(self, library: mapcall.Library) -> None:
        add = library.function(ADD)
        x = da.from_array(np.arange(4.0), 2, name="x")
        names = [
            add(x, 1.0).name,
            library.function(ADD)(x, 1.0).name,
            pickle.loads(pickle.dumps(add))(x, y=1.0).name,
        ]
        assert len(set(names)) == 1
        others = [
            add(x, 2.0).name,
            add(1.0, x).name,
            add(x + 1, 1.0).name,
            add(x, 1.0, where=np.array([True, False, True, False])).name,
            library.function("double add(double a, double b)")(x, 1.0).name,
            mapcall.load("m").function("double hypot(double x, double y)")(x, 1.0).name,
        ]
        assert len({*names, *others}) == 7

    def test_a_call_is_fused_with_what_is_around_it(self, library: mapcall.Library) -> None:
        add = library.function(ADD)
        x = da.ones(12, chunks=3)
        (optimized,) = dask.optimize(add(add(x * 2, 1.0), x) + 1)
        assert len(dict(optimized.__dask_graph__())) == 4

    def test_a_block_of_a_file_is_one_task(self, library: mapcall.Library, tmp_path: Path) -> None:
        elements = np.arange(48.0).reshape(12, 4)
        np.save(tmp_path / "x.npy", elements)
        dot, extrema = library.function(DOT), library.function(EXTREMA)
        x = mapcall.dask.open(tmp_path / "x.npy", (3, 4))
        assert len(tasks(dot(x, x))) == 4
        assert len(tasks(dot(x, np.ones(4)) + 1)) == 4 + 1
        assert len(tasks(extrema(x)[0])) == 4
        same(dot(x, x).sum(), (elements**2).sum())

    def test_files_are_cut_anew(self, library: mapcall.Library, tmp_path: Path) -> None:
        """No block is joined or cut by a task: the file is opened in other blocks."""
        elements = np.arange(48.0).reshape(12, 4)
        np.save(tmp_path / "x.npy", elements)
        dot = library.function(DOT)
        x = mapcall.dask.open(tmp_path / "x.npy", (3, 2))
        y = mapcall.dask.open(tmp_path / "x.npy", (4, 4))
        result = dot(x, y)
        assert result.chunks == ((3, 1, 2, 2, 1, 3),)
        assert len(tasks(result)) == 6
        same(result, (elements**2).sum(1))
        several = mapcall.dask.open([tmp_path / "x.npy"] * 2, (3, 2))
        same(dot(several, several), np.tile((elements**2).sum(1), 2))
        one = mapcall.dask.open(tmp_path / "x.npy", (1, 4))[:1]
        same(dot(one, y), elements @ elements[0])


def tasks(array: da.Array) -> dict[Any, Any]:
    (optimized,) = dask.optimize(array)
    return dict(optimized.__dask_graph__())


class TestXarray:
    def test_apply_ufunc(self, library: mapcall.Library) -> None:
        add, dot = library.function(ADD), library.function(DOT)
        x, y = np.arange(12.0).reshape(3, 4), np.arange(4.0)
        a = xarray.DataArray(x, dims=("row", "column")).chunk(row=2)
        b = xarray.DataArray(y, dims="column")
        for lazy in ("parallelized", "allowed"):
            options = {"output_dtypes": ["f8"]} if lazy == "parallelized" else {}
            found = xarray.apply_ufunc(add, a, b, dask=lazy, **options)
            assert isinstance(found.data, da.Array)
            np.testing.assert_array_equal(found.values, x + y)
            found = xarray.apply_ufunc(
                dot, a, a + 1, input_core_dims=[["column"]] * 2, dask=lazy, **options
            )
            np.testing.assert_array_equal(found.values, (x * (x + 1)).sum(1))

    def test_maps_stay_maps(self, library: mapcall.Library, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", np.arange(12.0).reshape(3, 4))
        lazy = mapcall.dask.open(tmp_path / "x.npy", (2, 4))
        a = xarray.DataArray(lazy, dims=("row", "column"))
        found = xarray.apply_ufunc(library.function(ADD), a, 1.0, dask="allowed")
        np.testing.assert_array_equal(found.values, np.arange(1.0, 13).reshape(3, 4))


def test_workers_build_compiled_code_themselves(client: Client) -> None:
    lib = mapcall.compile("double thrice(double x) { return 3 * x; }")
    # Without the cache, which the tests turn off, a library has no file that workers could share.
    assert lib.path is None
    x = np.arange(10.0)
    assert lib.thrice(da.from_array(x, 5)).compute().tolist() == (3 * x).tolist()
    assert client.submit(lambda function: function(4.0), lib.thrice).result() == 12
