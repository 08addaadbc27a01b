"""A pytest plugin for the tests of other projects that `test_suites.py` runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest

import mapcall

# pandas' data files, which its wheels lack. Its tests read any table from test1.csv.
TABLE = "a,b,c\n1,one,I\n2,two,II\n3,three,III\n"
TABLES = ("test_mmap.csv", "test1.csv")

# Tests that must fail, because mapcall differs on purpose.
DIFFERENCES = {
    "test_tokenize_numpy_memmap": "maps of two files with one content have different names",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.name in DIFFERENCES:
            item.add_marker(pytest.mark.xfail(reason=DIFFERENCES[item.name], strict=True))


def pytest_sessionstart() -> None:
    assert numpy.memmap is mapcall.memmap


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: Any, request: pytest.FixtureRequest) -> Any:
    """Returns the value of pandas' fixture `datapath`; pytest sets up all others."""
    if fixturedef.argname != "datapath":
        return None
    folder = request.getfixturevalue("tmp_path_factory").mktemp("data")
    for name in TABLES:
        Path(folder, name).write_text(TABLE)

    def datapath(*parts: str) -> str:
        # Some tests ask for the folder.
        path = folder if parts[-1] == "csv" else Path(folder, parts[-1])
        if not path.exists():
            pytest.skip(f"pandas was installed without {'/'.join(parts)}")
        return str(path)

    fixturedef.cached_result = (datapath, fixturedef.cache_key(request), None)
    return datapath
