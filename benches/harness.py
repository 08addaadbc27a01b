"""Times mapcall and a rival alternately, in one process.

>>> row = Row("addition", Work("1 + 1"), Work("sum((1, 1))"), budget=1.0)
>>> 0 < measure(row, rounds=3, seconds=0.001).ratio < 10
True
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import timeit
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

# The width of the column of names, in characters.
WIDTH = 40


class Timer(Protocol):
    def timeit(self, number: int) -> float:
        """Returns the seconds that `number` runs take."""
        ...


class Timed(Protocol):
    """One side of a row: a `Work`, or a program that times itself in another process."""

    def timer(self) -> Timer: ...


@dataclass(frozen=True)
class Work:
    """A statement, the values of its names, and a statement that runs before the clock starts."""

    statement: str
    names: Mapping[str, Any] = field(default_factory=dict)
    setup: str = "pass"

    def timer(self) -> timeit.Timer:
        return timeit.Timer(self.statement, self.setup, globals=dict(self.names))

    def run(self) -> None:
        """Runs the statement once."""
        self.timer().timeit(1)


@dataclass(frozen=True)
class Row:
    """The same work by mapcall and by the rival, and the maximum ratio of their times."""

    name: str
    ours: Timed
    rival: Timed
    budget: float | None


@dataclass(frozen=True)
class Skipped:
    """A row that can't be measured on this machine.

    >>> print(Skipped("a rival", "it is missing: install it"))
    a rival                                 skipped: it is missing: install it
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name:{WIDTH}}skipped: {self.reason}"

    def record(self) -> dict[str, Any]:
        return {"name": self.name, "skipped": self.reason}


@dataclass(frozen=True)
class Result:
    """The result of a row: the seconds of one run, and the ratio of each round."""

    row: Row
    ours: float
    rival: float
    ratios: list[float]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool:
        return self.row.budget is None or self.ratio <= self.row.budget

    def __str__(self) -> str:
        low, _, high = statistics.quantiles(self.ratios, n=4)
        budget = "" if self.row.budget is None else f"{self.row.budget:8.2f}"
        verdict = "" if self.row.budget is None else "  met" if self.met else "  MISSED"
        return (
            f"{self.row.name:{WIDTH}}{human(self.ours)}{human(self.rival)}{self.ratio:8.3f}"
            f"  {low:.3f}..{high:.3f}{budget:>8}{verdict}"
        )

    def record(self) -> dict[str, Any]:
        """Returns the row for the file. More than three digits would be noise."""
        low, _, high = statistics.quantiles(self.ratios, n=4)
        return {
            "name": self.row.name,
            "mapcall": rounded(self.ours),
            "rival": rounded(self.rival),
            "ratio": rounded(self.ratio),
            "quartiles": [rounded(low), rounded(high)],
            "budget": self.row.budget,
        }


@dataclass(frozen=True)
class Limited:
    """A figure in seconds, bytes or another unit that has a limit and no rival.

    >>> print(Limited("bind", 3e-5, 5e-5))
    bind                                       30 us                                 50 us  met
    >>> print(Limited("a pickled map, in bytes", 612, 500, "bytes"))
    a pickled map, in bytes                      612                                   500  MISSED
    """

    name: str
    figure: float
    limit: float
    unit: str = "seconds"

    @property
    def met(self) -> bool:
        return self.figure <= self.limit

    def __str__(self) -> str:
        figure, limit = (
            human(each) if self.unit == "seconds" else f"{each:8}"
            for each in (self.figure, self.limit)
        )
        verdict = "met" if self.met else "MISSED"
        return f"{self.name:{WIDTH}}{figure}{'':30}{limit}  {verdict}"

    def record(self) -> dict[str, Any]:
        ratio = rounded(self.figure / self.limit)
        limit = human(self.limit).strip() if self.unit == "seconds" else str(self.limit)
        return {
            "name": f"{self.name}: at most {limit}",
            "ratio": ratio,
            "quartiles": [ratio, ratio],
            "budget": 1.0,
        }


def rounded(figure: float) -> float:
    """
    >>> rounded(0.123456), rounded(1234.5)
    (0.123, 1230.0)
    """
    return float(f"{figure:.3g}")


def human(seconds: float) -> str:
    """
    >>> human(1.5e-7), human(0.002)
    ('  150 ns', '    2 ms')
    """
    for unit, scale in (("ns", 1e9), ("us", 1e6), ("ms", 1e3)):
        if seconds * scale < 1000:
            return f"{seconds * scale:5.3g} {unit}"
    return f"{seconds:5.3g}  s"


def measure(row: Row, rounds: int = 31, seconds: float = 0.01) -> Result:
    """Runs both sides alternately, each for about `seconds` a round.

    The ratio of a round is that of two successive runs, so a slow change of the machine's speed
    changes both. The result is the median of the rounds.
    """
    ours, rival = row.ours.timer(), row.rival.timer()
    counts = [max(1, int(seconds / once(timer))) for timer in (ours, rival)]
    times: list[tuple[float, float]] = []
    gc.collect()
    for _ in range(rounds):
        times.append((ours.timeit(counts[0]) / counts[0], rival.timeit(counts[1]) / counts[1]))
    return Result(
        row,
        statistics.median(time for time, _ in times),
        statistics.median(time for _, time in times),
        [mine / theirs for mine, theirs in times],
    )


def once(timer: Timer) -> float:
    """Returns about how many seconds one run takes after the first ones."""
    count = 1
    while (elapsed := timer.timeit(count)) < 0.002:
        count *= 4
    return elapsed / count


def alone(work: Timed, rounds: int = 31, seconds: float = 0.01) -> float:
    """Returns the seconds that one run takes: the median of the rounds.

    >>> 0 < alone(Work("1 + 1"), rounds=3, seconds=0.001) < 1e-3
    True
    """
    timer = work.timer()
    count = max(1, int(seconds / once(timer)))
    return statistics.median(timer.timeit(count) / count for _ in range(rounds))


class Report:
    """Prints rows as they are measured, and adds them to a file, one line of JSON each."""

    def __init__(self, group: str, path: Path | None = None) -> None:
        self.group = group
        self.path = path
        self.met = True
        print(
            f"{group:{WIDTH}}{'mapcall':>8}{'rival':>8}{'ratio':>8}  {'quartiles':14}{'budget':>6}"
        )

    def add(self, line: Result | Limited | Skipped) -> None:
        print(line, flush=True)
        self.met &= isinstance(line, Skipped) or line.met
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps({"group": self.group} | line.record()) + "\n")

    def measure(self, rows: Iterable[Row | Skipped], rounds: int = 31) -> None:
        for row in rows:
            self.add(row if isinstance(row, Skipped) else measure(row, rounds))


def options(about: str) -> argparse.ArgumentParser:
    """Returns a parser of the options that every benchmark has.

    >>> options("Counts.").parse_args(["--json", "rows"]).json.name
    'rows'
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--json", type=Path, metavar="FILE", help="add each row to FILE, as JSON")
    return parser
