"""What a newcomer meets: completion, help, and the suggestions for misspelt names."""

from __future__ import annotations

import inspect
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mapcall

ABS = "int abs(int number)"


@pytest.fixture
def x(tmp_path: Path) -> mapcall.memmap:
    return mapcall.memmap(str(tmp_path / "x.dat"), mode="w+", shape=4)


def rendered(thing: object) -> list[str]:
    return pydoc.plain(pydoc.render_doc(thing)).splitlines()


class TestCompletion:
    """By Jedi, which IPython asks."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("x.", {"file_offset", "flush", "mode", "sum"}),
            ("x[1:].T.", {"file_offset", "flush", "mode", "sum"}),
            ("x.fl", {"flags", "flat", "flatten", "flush"}),
            ("x.mode.", {"startswith"}),
            ("x.filename.", {"startswith"}),
            ("x._mmap.", {"closed", "flush"}),
            ("x.flush(", {"sync="}),
            ("mapcall.", {"load", "memmap", "open"}),
            ("library.", {"function", "symbols"}),
            ("function.", {"parameters", "prototype", "unchecked"}),
            ("function.parameters[0].", {"dtype", "is_output"}),
        ],
    )
    def test_names(self, x: mapcall.memmap, text: str, expected: set[str]) -> None:
        jedi = pytest.importorskip("jedi")
        library = mapcall.load(None)
        names = {"x": x, "mapcall": mapcall, "library": library, "function": library.function(ABS)}
        found = {each.name for each in jedi.Interpreter(text, [names]).complete()}
        assert expected <= found

    def test_all_public_names_are_listed(self) -> None:
        assert set(mapcall.__all__) <= set(dir(mapcall))
        names: dict[str, object] = {}
        exec("from mapcall import *", names)
        assert set(mapcall.__all__) == set(names) - {"__builtins__"}
        assert "memmap" in mapcall.__all__


class TestHelp:
    def test_the_package_is_a_page(self) -> None:
        lines = rendered(mapcall)
        assert len(lines) < 120
        for name in mapcall.__all__:
            listed = [line for line in lines if re.match(rf"\s*- `{name}`: ", line)]
            assert len(listed) == 1, name
        assert any("help(mapcall.Function)" in line for line in lines)

    def test_a_map_begins_with_its_own(self) -> None:
        lines = rendered(mapcall.memmap)
        inherited = next(
            n for n, line in enumerate(lines) if "inherited from numpy.ndarray" in line
        )
        own = "\n".join(lines[:inherited])
        # Thirty lines for each of its own names, most of them of examples.
        names = [*("advise", "append", "close", "closed", "file_offset", "flush", "grow", "mode")]
        names += ["prefetch", "refresh", "residency", "to_dask", "truncate"]
        assert inherited < 500
        for name in names:
            assert re.search(rf"^ \|  {name}\b", own, re.M), name

    @pytest.mark.parametrize("name", sorted(set(mapcall.__all__) - {"ctypeslib", "memmap"}))
    def test_others_fit_on_few_pages(self, name: str) -> None:
        assert len(rendered(getattr(mapcall, name))) < 350


class TestSuggestions:
    @pytest.mark.parametrize(
        ("keyword", "near"), [("thread", "threads"), ("wher", "where"), ("nmber", "number")]
    )
    def test_keywords_of_a_batch(self, keyword: str, near: str) -> None:
        function = mapcall.load(None).function(ABS)
        with pytest.raises(mapcall.ArgumentError, match=rf"got {keyword}; did you mean {near}\?"):
            function(np.ones(3, "i4"), **{keyword: 2})
        with pytest.raises(mapcall.ArgumentError, match="got other; write number"):
            function(np.ones(3, "i4"), other=2)

    def test_keywords_of_binding(self) -> None:
        library = mapcall.load(None)
        message = r"^Library\.function\(\) got an unexpected keyword argument 'chek'; "
        with pytest.raises(TypeError, match=message + r"did you mean 'check'\?$"):
            library.function(ABS, chek="zero")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match=r"^load\(\) .* 'heder'; did you mean 'header'\?$"):
            mapcall.load("m", heder="math.h")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match=r"unexpected keyword argument 'colour'$"):
            library.function(ABS, colour=1)  # type: ignore[call-arg]
        assert "unknown" not in str(inspect.signature(library.function))
        assert "unknown" not in str(inspect.signature(mapcall.load))

    @pytest.mark.parametrize(
        ("owner", "name", "near"),
        [
            ("mapcall", "laod", "load"),
            ("mapcall", "Memmap", "memmap"),
            ("library", "fucntion", "function"),
            ("library", "hypott", "hypot"),
            ("bare", "fucntion", "function"),
            ("library.hypot", "unchekced", "unchecked"),
            ("handle", "adress", "address"),
            # By the interpreter itself.
            ("library.hypot.parameters[0]", "is_outptu", "is_output"),
            ("x", "file_ofset", "file_offset"),
        ],
    )
    def test_attributes(self, owner: str, name: str, near: str, tmp_path: Path) -> None:
        """A suggestion is shown once: by the message, or by the interpreter that prints it."""
        script = f"""
import mapcall
library = mapcall.load("m", header="math.h")
bare = mapcall.load("m")
handle = mapcall.load(None).function("void *malloc(size_t size)")(8)
x = mapcall.memmap("x.dat", mode="w+", shape=4)
{owner}.{name}
"""
        command = [sys.executable, "-c", script]
        outcome = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        last = outcome.stderr.splitlines()[-1]
        assert last.startswith("AttributeError: ")
        assert name in last
        assert last.endswith(f"'{near}'?")
        assert last.lower().count("did you mean") == 1

    def test_no_suggestions(self, x: mapcall.memmap) -> None:
        library = mapcall.load(None)
        for owner in (mapcall, library, library.function(ABS)):
            for name in ("quite_another", "__lod__"):
                with pytest.raises(AttributeError, match=name) as caught:
                    getattr(owner, name)
                assert "did you mean" not in str(caught.value)
                assert (caught.value.name, caught.value.obj) == (name, owner)
                assert not hasattr(owner, name)
