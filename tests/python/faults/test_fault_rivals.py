"""The table of `docs/faults.md` says what the libraries do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fault_rivals
from children import SkippedError
from fault_rivals import CASES, LIBRARIES, Library

PAGE = Path(__file__).parents[3] / "docs" / "faults.md"


def documented() -> dict[str, dict[str, str]]:
    """Returns the cells of the page's table by library and case."""
    lines = PAGE.read_text().splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("| | mapcall |"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    heading, _, *rest = rows
    return {
        library: {row[0]: row[column] for row in rest}
        for column, library in enumerate(heading)
        if column
    }


def without_types(cells: dict[str, str]) -> dict[str, str]:
    """Leaves out the types of exceptions, which differ between the versions of a library."""
    return {
        name: re.sub(r"(exception|refused) \(.*?\)", r"\1", cell) for name, cell in cells.items()
    }


def test_the_page_has_every_library_and_case() -> None:
    table = documented()
    assert list(table) == [library.name for library in LIBRARIES]
    for cells in table.values():
        assert list(cells) == list(CASES)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.module)
def test_the_page_says_what_a_library_does(
    library: type[Library], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        cells = fault_rivals.row(library)
    except SkippedError as error:
        pytest.skip(str(error))
    print(fault_rivals.table([library]))
    page = documented()[library.name]
    if library is fault_rivals.Mapcall:
        assert cells == page
    else:
        assert without_types(cells) == without_types(page)
