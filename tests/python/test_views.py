"""Arrays made from a memmap, against those made from NumPy's: types, offsets, attributes."""

import copy
import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mapcall

NUMPY, OURS = np.memmap, mapcall.memmap


class NumpySub(np.memmap):
    pass


class OurSub(mapcall.memmap):
    pass


# The names are in the representations.
NumpySub.__name__ = OurSub.__name__ = "Sub"


# A user's class of each. All other types must be the same on both sides.
TWINS = {NUMPY: OURS, NumpySub: OurSub}

SHAPE = (4, 5, 6)
OFFSET = 24

Step = Callable[[Any], Any]

index_along_axis = st.one_of(
    st.integers(-7, 7),
    st.slices(6),
    st.just(slice(None)),
    st.just(slice(None, None, -1)),
    st.just(Ellipsis),
    st.just(None),
    st.sampled_from([[0, 1], [True, False, True, False], np.array([-1, 0]), np.int64(1), []]),
)
indices = st.one_of(index_along_axis, st.lists(index_along_axis, max_size=4).map(tuple))


@dataclass
class Apply:
    """A step, with a name for messages."""

    name: str
    step: Step

    def __repr__(self) -> str:
        return self.name

    def __call__(self, x: Any) -> Any:
        return self.step(x)


FIXED = [
    Apply(name, eval(f"lambda x: {name}", {"np": np, "copy": copy}))
    for name in [
        "x.T",
        "x.transpose()",
        "np.swapaxes(x, 0, -1)",
        "np.moveaxis(x, 0, -1)",
        "x.reshape(-1)",
        "x.reshape(2, -1)",
        "x.reshape(x.shape[::-1])",
        "x.reshape(-1, order='F')",
        "x.ravel()",
        "x.ravel('K')",
        "x.flatten()",
        "x.squeeze()",
        "x.view()",
        "x.view('u1')",
        "x.view('i2')",
        "x.view('>f4')",
        "x.view([('a', 'i2'), ('b', 'i2')])",
        "x['a']",
        "x[['a']]",
        "x.view(np.ndarray)",
        "x.view(type(x))",
        "np.asarray(x)",
        "np.asanyarray(x)",
        "np.array(x)",
        "np.array(x, subok=True)",
        "np.array(x, subok=True, copy=False)",
        "np.ascontiguousarray(x)",
        "np.require(x, requirements='O')",
        "np.atleast_2d(x)",
        "np.broadcast_to(x, (2, *x.shape))",
        "np.broadcast_to(x, (2, *x.shape), subok=True)",
        "np.expand_dims(x, 0)",
        "np.flip(x)",
        "np.rot90(x)",
        "x.copy()",
        "copy.copy(x)",
        "x.copy('F')",
        "copy.deepcopy(x)",
        "x.astype('f8')",
        "x.astype(x.dtype, copy=False)",
        "x.astype(x.dtype)",
        "x.byteswap()",
        "x.diagonal()",
        "x.real",
        "x.imag",
        "x.flat[1:5]",
        "x.flat[0]",
        "x.item(0)",
        "x.take([0, 1])",
        "x.take([0, 1], axis=0)",
        "x.repeat(2)",
        "x.clip(1, 5)",
        "x.clip(1, 5, out=x)",
        "x.round()",
        "x.sum()",
        "x.sum(axis=0)",
        "x.sum(axis=0, keepdims=True)",
        "x.sum(axis=())",
        "x.mean()",
        "x.mean(axis=-1)",
        "x.max()",
        "x.argmax()",
        "x.any()",
        "x.cumsum()",
        "x.std(axis=0)",
        "np.add.reduce(x)",
        "np.add.accumulate(x)",
        "np.add.outer(x[:1], x[:1])",
        "np.add.reduceat(x, [0])",
        "x + 1",
        "1 + x",
        "x + x",
        "x == x",
        "x > 3",
        "-x",
        "abs(x)",
        "x @ x",
        "x.dot(x)",
        "np.sin(x)",
        "np.divmod(x, 3)",
        "np.frexp(x)",
        "np.modf(x)",
        "np.add(x, 1, out=x)",
        "np.add(x, 1, out=np.empty(x.shape))",
        "np.add(x, 1, where=x > 3, out=x)",
        "np.modf(x, x.copy(), x)",
        "np.sum(x, axis=0, out=np.empty(x.shape[1:]))",
        "np.negative(np.asarray(x), out=x)",
        "np.concatenate([x, x])",
        "np.stack([x, x])",
        "np.where(x > 1, x, 0)",
        "np.zeros_like(x)",
        "np.empty_like(x).shape",
        "np.full_like(x, 3)",
        "np.sort(x)",
        "np.unique(x)",
        "np.array_split(x, 2)",
        "np.linalg.norm(x)",
        "np.average(x)",
        "np.nonzero(x)",
        "np.linspace(x, x + 1, 2)",
        "np.kron(x[:1], x[:1])",
        "np.einsum('...i->...', x)",
        "np.einsum('...ij->...ji', x)",
        "np.lib.stride_tricks.sliding_window_view(x, 2, axis=0)",
        "np.lib.stride_tricks.as_strided(x, (2,), (4,))",
        "np.lib.stride_tricks.as_strided(x, (2,), (4,), subok=True)",
        "x.tolist()",
        "x.tobytes()",
        "x.__array__()",
        "x.__array_ufunc__(np.add, '__call__', x, 1)",
        "x.__array_wrap__(np.zeros(3))",
        "x.__array_wrap__(np.array(3), None, True)",
        "x.__array_wrap__(np.array(3), None, False)",
        "x.__array_wrap__(x)",
        "memoryview(x).shape",
        "len(x)",
        "list(x)",
        "next(iter(x))",
        "x.shape",
        "x.flags.writeable",
        "x.__array_priority__",
        "x.__array_interface__['shape']",
        "bool(x.size)",
        "repr(x)",
        "str(x)",
        "format(x[(0,) * x.ndim])",
        "x.dtype",
        "x.nbytes",
        "x.setfield(1, 'u1')",
        "x.getfield('u1')",
        "x.to_device('cpu')",
    ]
]

steps = st.one_of(
    st.sampled_from(FIXED),
    indices.map(lambda index: Apply(f"x[{index!r}]", lambda x: x[index])),
    st.permutations([0, 1, 2]).map(
        lambda axes: Apply(f"x.transpose({axes})", lambda x: x.transpose(axes))
    ),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("views")
    content = bytes(OFFSET) + (np.arange(120, dtype="f4").reshape(SHAPE) / 7).tobytes()
    for name in ("numpy", "ours"):
        (folder / name).write_bytes(content)
    return folder / "numpy", folder / "ours"


def twins(files: tuple[Path, Path], mode: str, order: str, sub: bool) -> tuple[Any, Any]:
    numpy, ours = (NumpySub, OurSub) if sub else (NUMPY, OURS)
    return (
        numpy(files[0], "f4", mode, OFFSET, SHAPE, order),
        ours(files[1], "f4", mode, OFFSET, SHAPE, order),
    )


def attempt(step: Step, x: Any) -> tuple[Any, Exception | None]:
    try:
        return step(x), None
    except Exception as error:
        return None, error


def pairs(numpy: Any, ours: Any) -> Iterator[tuple[Any, Any]]:
    """Yields the pairs of arrays in two results."""
    if isinstance(numpy, (tuple, list)):
        assert type(ours) is type(numpy)
        assert len(ours) == len(numpy)
        for each in zip(numpy, ours, strict=True):
            yield from pairs(*each)
    else:
        yield numpy, ours


def assert_alike(numpy: Any, ours: Any) -> None:
    """Checks that two arrays have the same type, or its twin, content, layout, and file."""
    kind = TWINS.get(type(numpy), type(numpy))
    if is_empty(numpy) and type(ours) is OURS:
        kind = OURS
    assert type(ours) is kind
    if not isinstance(numpy, np.ndarray):
        np.testing.assert_equal(ours, numpy)
        return
    assert ours.shape == numpy.shape
    assert ours.dtype == numpy.dtype
    if numpy.size > 0:
        assert ours.strides == numpy.strides
    for flag in ("c_contiguous", "f_contiguous", "aligned", "writeable"):
        assert getattr(ours.flags, flag) == getattr(numpy.flags, flag), flag
    # NumPy returns a view of the computed array, and mapcall the array itself.
    assert ours.flags.owndata >= numpy.flags.owndata
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(numpy))
    if isinstance(numpy, np.memmap) and not is_empty(numpy):
        assert (ours._mmap is None) == (numpy._mmap is None)
        assert ours.offset == numpy.offset
        assert ours.mode == numpy.mode
        assert (ours.filename is None) == (numpy.filename is None)


def is_empty(numpy: Any) -> bool:
    """Returns whether a view is empty. NumPy takes one for a copy, since it shares no memory."""
    return isinstance(numpy, np.ndarray) and numpy.size == 0


def assert_in_place(ours: Any, base: Any) -> None:
    """Checks that the file offset of a view fits its address."""
    if ours._mmap is None:
        assert ours.file_offset is None
        return
    assert ours._mmap is base._mmap
    assert ours.file_offset == OFFSET + ours.ctypes.data - base.ctypes.data


@settings(max_examples=500, deadline=None)
@given(
    chain=st.lists(steps, min_size=1, max_size=4),
    mode=st.sampled_from(["r", "c"]),
    order=st.sampled_from("CF"),
    sub=st.booleans(),
)
@np.errstate(all="ignore")
def test_chain(
    files: tuple[Path, Path], chain: list[Apply], mode: str, order: str, sub: bool
) -> None:
    numpy, ours = twins(files, mode, order, sub)
    base = ours
    for step in chain:
        numpy, numpy_error = attempt(step, numpy)
        ours, our_error = attempt(step, ours)
        assert type(our_error) is type(numpy_error)
        if numpy_error is not None:
            assert str(our_error) == str(numpy_error)
            return
        for numpy_part, our_part in pairs(numpy, ours):
            assert_alike(numpy_part, our_part)
            if isinstance(our_part, OURS):
                assert_in_place(our_part, base)
        if not isinstance(numpy, np.ndarray) or is_empty(numpy):
            return


@pytest.fixture
def x(tmp_path: Path) -> mapcall.memmap:
    made = OURS(tmp_path / "x", "i4", "w+", 8, (3, 4))
    made[:] = np.arange(12).reshape(3, 4)
    return made


def test_views_share_the_map(x: mapcall.memmap) -> None:
    for view in (x[1:], x.T, x.view("u1"), x.reshape(-1)[::-2], x[...], x[None], x[1, 1:]):
        assert type(view) is OURS
        assert view._mmap is x._mmap
        assert view.filename == x.filename
        assert (view.mode, view.offset) == ("w+", 8)


def test_file_offset_is_that_of_the_first_element(x: mapcall.memmap) -> None:
    assert x.file_offset == 8
    assert x[1:].file_offset == 8 + 16
    assert x[1, 2:].file_offset == 8 + 24
    assert x[::-1].file_offset == 8 + 32
    assert x[::-1, ::-1].file_offset == 8 + 44
    assert x.T[3].file_offset == 8 + 12
    assert x.view("u1")[:, 5:].file_offset == 8 + 5
    assert x.view([("a", "i2"), ("b", "i2")])["b"].file_offset == 8 + 2
    assert x.copy().file_offset is None


def test_an_empty_view_is_a_view(x: mapcall.memmap) -> None:
    # NumPy checks whether memory is shared, and an empty view shares none.
    empty = x[2:2]
    assert type(empty) is OURS
    assert empty._mmap is x._mmap
    assert empty.file_offset == 8 + empty.ctypes.data - x.ctypes.data
    assert x[2:, 1:1].file_offset == 8 + 32


@pytest.mark.parametrize(
    "make",
    [
        lambda x: np.lib.stride_tricks.as_strided(x[1:], (2, 2), (16, 4), subok=True),
        lambda x: np.lib.stride_tricks.sliding_window_view(x, (2, 2), subok=True, writeable=True)[
            1
        ],
    ],
    ids=["as_strided", "sliding_window_view"],
)
def test_stride_tricks(x: mapcall.memmap, make: Callable[[Any], Any]) -> None:
    # The base of these views is no array, but an object that keeps one alive.
    view = make(x)
    assert type(view) is OURS
    assert view._mmap is x._mmap
    assert view.file_offset == 8 + 16
    view[0] = 77
    view.flush()
    assert x[1, 0] == 77


def test_a_memmap_again_from_a_plain_view(x: mapcall.memmap) -> None:
    # NumPy's memmap no longer has its file.
    again = np.asarray(x)[1:].view(OURS)
    assert again._mmap is x._mmap
    assert again.file_offset == 8 + 16


def test_copies_have_no_file(x: mapcall.memmap) -> None:
    for each in (x.copy(), x.astype("f8"), np.array(x, subok=True), copy.deepcopy(x), copy.copy(x)):
        assert type(each) is OURS
        assert each._mmap is None
        assert each.filename is None
        assert each.mode is None
        assert each.offset is None
        assert each.file_offset is None
        assert type(each[1:]) is np.ndarray


def test_a_memmap_of_no_file(x: mapcall.memmap) -> None:
    plain = np.arange(5).view(OURS)
    assert plain._mmap is None
    plain.flush()
    for refused in (lambda: plain.advise("random"), plain.prefetch, plain.residency):
        with pytest.raises(ValueError, match="no part of a map"):
            refused()


def test_ufunc_results_own_their_memory(x: mapcall.memmap) -> None:
    for result in (x + 1, x.sum(axis=0), np.sin(x), *np.modf(x)):
        assert type(result) is np.ndarray
        assert result.base is None
        assert result.flags.owndata


def test_reductions_are_scalars(x: mapcall.memmap) -> None:
    assert type(x.sum()) is np.int64
    assert type(x.mean()) is np.float64
    assert type(x.max()) is np.int32
    assert type(x[1, 1]) is np.int32


def test_out_stays_a_memmap(x: mapcall.memmap) -> None:
    y = np.add(x, 1, out=x)
    assert y is x
    x += 1
    assert type(x) is OURS
    assert x[0].tolist() == [2, 3, 4, 5]


def test_a_plain_array_as_out(x: mapcall.memmap) -> None:
    out = np.empty((3, 4), "i4")
    assert np.add(x, 1, out=out) is out


def test_higher_priority_wins(x: mapcall.memmap) -> None:
    class Other(np.ndarray):
        __array_priority__ = 1

    other = np.ones((3, 4)).view(Other)
    assert type(x + other) is Other
    assert type(other + x) is Other
    assert type(np.ma.masked_array(x, mask=False) + x) is np.ma.MaskedArray
    assert type(np.asarray(x).view(np.matrix) + x) is np.matrix


def test_match(x: mapcall.memmap) -> None:
    match x:
        case mapcall.memmap(mode="w+", shape=(rows, columns)):
            assert (rows, columns) == (3, 4)
        case _:
            pytest.fail("a memmap is not recognised")
    match x + 1:
        case mapcall.memmap():
            pytest.fail("a computed array is taken for a memmap")
        case np.ndarray(ndim=2):
            pass
    # From NumPy 2.5 on, ndarrays match sequence patterns.
    assert matches_as_a_sequence(x) == matches_as_a_sequence(np.asarray(x))


def matches_as_a_sequence(array: np.ndarray) -> bool:
    match array:
        case [_, _, _]:
            return True
        case _:
            return False


def test_attributes_can_be_set(x: mapcall.memmap) -> None:
    x.note = "raw counts"
    assert x.note == "raw counts"
    assert vars(x) == {"note": "raw counts"}
    assert not hasattr(x[1:], "note")
    del x.note
    assert not hasattr(x, "note")


def test_weak_references(x: mapcall.memmap) -> None:
    view = x[1:]
    array, owner = weakref.ref(view), weakref.ref(view._mmap)
    assert array() is view
    del view
    assert array() is None
    assert owner() is x._mmap


def test_a_subclass_keeps_its_attributes(tmp_path: Path) -> None:
    class Image(OURS):
        def __array_finalize__(self, obj: Any) -> None:
            self.gain = getattr(obj, "gain", 1.0)

    image = Image(tmp_path / "image", "f4", "w+", 0, (2, 2))
    image.gain = 2.5
    assert image.__dict__ == {"gain": 2.5}
    for derived in (image[1:], image.T, image + 1, image[[0, 1]], image.copy(), image.sum(axis=0)):
        assert type(derived) is Image
        assert derived.gain == 2.5
    assert image[1:].file_offset == 8
    assert (image + 1).file_offset is None


def test_a_subclass_with_slots_and_its_own_wrap(tmp_path: Path) -> None:
    class Loud(OURS):
        def __array_wrap__(
            self, array: Any, context: Any = None, return_scalar: bool = False
        ) -> Any:
            wrapped = super().__array_wrap__(array, context, return_scalar)
            return (type(wrapped).__name__, wrapped.tolist())

    x = Loud(tmp_path / "x", "i4", "w+", 0, 2)
    assert x + 1 == ("Loud", [1, 1])


@pytest.mark.parametrize("arguments", [(), (1,), (None,), (np.zeros(2), None, False, 4)])
def test_array_wrap_refuses_nonsense(x: mapcall.memmap, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        x.__array_wrap__(*arguments)


def test_a_read_only_map_stays_read_only(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(16))
    x = OURS(path, "i4", "r")
    for view in (x, x[1:], np.asarray(x), x.view("u1")):
        with pytest.raises(ValueError, match="cannot set WRITEABLE flag"):
            view.setflags(write=True)
        with pytest.raises(ValueError, match="read-only"):
            view[...] = 1
    assert path.read_bytes() == bytes(16)


def test_a_writeable_map_can_be_locked_and_unlocked(x: mapcall.memmap) -> None:
    x.setflags(write=False)
    view = x[1:]
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    x.setflags(write=True)
    x[1] = 9
    assert view[0, 0] == 9


def test_a_copy_of_a_read_only_map_is_writeable(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(16))
    copied = OURS(tmp_path / "x", "i4", "r").copy()
    copied[:] = 1
    assert copied.tolist() == [1] * 4


def test_indexing_errors_are_numpys(x: mapcall.memmap) -> None:
    for index in (3, (0, 0, 0), "a", 1.5, slice(0, 1, 0), ([0], [9])):
        ours, numpy = (
            attempt(lambda a, i=index: a[i], x),
            attempt(lambda a, i=index: a[i], np.asarray(x)),
        )
        assert type(ours[1]) is type(numpy[1])
        assert str(ours[1]) == str(numpy[1])


def test_views_make_no_cycles(x: mapcall.memmap) -> None:
    gc.collect()
    gc.disable()
    try:
        owner = weakref.ref(OURS(x.filename, mode="r")[3:].T.view("u1")[::-1]._mmap)
        assert owner() is None
    finally:
        gc.enable()


def test_an_empty_view_beyond_either_end(x: mapcall.memmap) -> None:
    for empty in (x[len(x) :], x[::-1][len(x) :], x.ravel()[::-3][x.size :]):
        assert empty.size == 0
        assert 0 <= empty.file_offset <= x.file_offset + x.nbytes
        empty.flush()
        empty.prefetch()
        assert empty.residency().size == 0


def test_another_owner_that_names_a_map(x: mapcall.memmap) -> None:
    class Stranger:
        def __init__(self, array: np.ndarray, base: object) -> None:
            self.__array_interface__ = array.__array_interface__
            self.base = base

    other = np.zeros(3)
    liar = np.asarray(Stranger(other, x)).view(mapcall.memmap)
    assert liar._mmap is None
    honest = np.asarray(Stranger(x[1:], x)).view(mapcall.memmap)
    assert honest.file_offset == x[1:].file_offset
    circle = Stranger(other, None)
    circle.base = circle
    assert np.asarray(circle).view(mapcall.memmap)._mmap is None
