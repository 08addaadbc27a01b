"""Draws the rows of the benchmarks: `picture.py ROWS.jsonl PICTURE.svg`.

Each row is a bar from 1, the rival's time, to mapcall's, on a logarithmic scale, with a line from
the lower to the upper quartile, and a mark at the budget. The same rows give the same picture.

>>> rows = [Drawn("Call", "saxpy: nanobind", 0.17, (0.16, 0.19), 0.25)]
>>> rows[0].work, rows[0].rival, rows[0].verdict
('saxpy', 'nanobind', 'met')
>>> picture(rows).count("<rect")    # the background, three in the legend, and the row's bar
5
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, LINE, MARGIN = 880, 17, 18
# The x coordinates at which the names of the works and the rivals, the bars and the figures begin,
# and the bars end.
WORKS, RIVALS, LEFT, RIGHT, FIGURES = MARGIN, 230, 370, 730, 742
MIN, MAX = 0.002, 25.0
TICKS = {0.01: "100x faster", 0.1: "10x faster", 1.0: "as fast", 10.0: "10x slower"}
# A dark, a medium and a light colour, which also differ in print without colours.
COLOURS = {"met": "#1f5f8b", "missed": "#e8833a", "free": "#c3ccd4"}
STYLE = (
    "text{font:12px system-ui,'Segoe UI',Helvetica,Arial,sans-serif;fill:#24292f}"
    ".group{font-weight:bold;font-size:13px}.faint{fill:#6e7781}"
    ".grid{stroke:#e3e7eb}.one{stroke:#8c959f}"
    ".spread{stroke:#24292f;stroke-opacity:.55}.budget{stroke:#111;stroke-width:2.5}"
) + "".join(f".{name}{{fill:{colour}}}" for name, colour in COLOURS.items())


@dataclass(frozen=True)
class Drawn:
    """A row of the file. It has no ratio if it wasn't measured."""

    group: str
    name: str
    ratio: float | None
    quartiles: tuple[float, float]
    budget: float | None

    @classmethod
    def from_json(cls, line: str) -> Drawn:
        """
        >>> Drawn.from_json('{"group": "Call", "name": "saxpy: LuaJIT", "skipped": "missing"}')
        Drawn(group='Call', name='saxpy: LuaJIT', ratio=None, quartiles=(1, 1), budget=None)
        """
        row = json.loads(line)
        low, high = row.get("quartiles", (1, 1))
        return cls(row["group"], row["name"], row.get("ratio"), (low, high), row.get("budget"))

    @property
    def work(self) -> str:
        return self.name.partition(": ")[0]

    @property
    def rival(self) -> str:
        """The rival's name; a row's name without one means NumPy."""
        return self.name.partition(": ")[2] or "NumPy"

    @property
    def verdict(self) -> str:
        if self.budget is None or self.ratio is None:
            return "free"
        return "met" if self.ratio <= self.budget else "missed"


def at(ratio: float) -> float:
    """Returns the x coordinate of a ratio.

    >>> at(MIN) == LEFT, at(MAX) == RIGHT, at(1000) == RIGHT
    (True, True, True)
    """
    span = math.log(min(max(ratio, MIN), MAX) / MIN) / math.log(MAX / MIN)
    return round(LEFT + span * (RIGHT - LEFT), 1)


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """
    >>> text(1, 2, "a < b", "faint")
    '<text x="1" y="2" class="faint">a &lt; b</text>'
    """
    kind = f' class="{kind}"' if kind else ""
    anchor = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:g}" y="{y:g}"{kind}{anchor}>{escape(words)}</text>'


def line(kind: str, start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line class="{kind}" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>'


def bar(kind: str, x: float, y: float, width: float, height: float) -> str:
    return (
        f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="1.5"/>'
    )


def figures(row: Drawn) -> str:
    """
    >>> figures(Drawn("Call", "saxpy", 0.3, (0.3, 0.3), 0.25))
    '0.30 of 0.25 ✗'
    """
    if row.ratio is None:
        return "not measured"
    ratio = f"{row.ratio:.3f}" if row.ratio < 0.1 else f"{row.ratio:.2f}"
    if row.budget is None:
        return ratio
    return f"{ratio} of {row.budget:.2f} {'✓' if row.verdict == 'met' else '✗'}"


def drawn(row: Drawn, y: float, is_first: bool) -> Iterator[str]:
    """Yields the parts of a row whose middle is at `y`. The first row of a work has its name."""
    if is_first:
        yield text(WORKS, y + 4, row.work)
    yield text(RIVALS, y + 4, row.rival, "faint")
    yield text(FIGURES, y + 4, figures(row), "faint" if row.budget is None else "")
    if row.ratio is not None:
        left, right = sorted((at(row.ratio), at(1)))
        yield bar(row.verdict, left, y - 5.5, max(right - left, 1), 11)
        low, high = row.quartiles
        yield line("spread", (at(low), y), (at(high), y))
    if row.budget is not None:
        yield line("budget", (at(row.budget), y - 7.5), (at(row.budget), y + 7.5))


def axis(top: float, bottom: float) -> Iterator[str]:
    for tick, words in TICKS.items():
        yield line("one" if tick == 1 else "grid", (at(tick), top), (at(tick), bottom))
        yield text(at(tick), top - 6, words, "faint", "middle")


def legend(y: float) -> Iterator[str]:
    x = float(WORKS)
    for kind, words in (("met", "budget met"), ("missed", "missed"), ("free", "no budget")):
        yield bar(kind, x, y - 5.5, 22, 11)
        yield text(x + 28, y + 4, words)
        x += 42 + 6.6 * len(words)
    yield line("budget", (x + 4, y - 7.5), (x + 4, y + 7.5))
    yield text(x + 13, y + 4, "budget")


def picture(rows: list[Drawn]) -> str:
    """Returns the picture as SVG."""
    parts: list[str] = []
    y = top = MARGIN + 2.5 * LINE
    for group, members in groupby(rows, lambda row: row.group):
        y += LINE
        parts.append(text(WORKS, y + 4, group, "group"))
        y += 1.2 * LINE
        for _, works in groupby(members, lambda row: row.work):
            index = 0
            for index, row in enumerate(works):
                parts.extend(drawn(row, y, index == 0))
                y += LINE
            y += 5 if index > 0 else 1
    height = math.ceil(y + MARGIN - LINE / 2)
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}">',
        "<title>mapcall's time, where the rival's is 1: what was measured, and its budget</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        *legend(MARGIN + 0.2 * LINE),
        *axis(top, height - MARGIN),
    ]
    return "\n".join([*head, *parts, "</svg>", ""])


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    rows = [Drawn.from_json(line) for line in source.read_text().splitlines()]
    target.write_text(picture(rows))
    verdicts = [row.verdict for row in rows if row.budget is not None]
    print(f"{target}: {verdicts.count('met')} of {len(verdicts)} budgets met")
    for row in rows:
        if row.verdict == "missed":
            print(f"  missed: {row.name}: {figures(row)}")


if __name__ == "__main__":
    main()
