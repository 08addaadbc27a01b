"""Timing one thing against its rival, in turn, in one process.

>>> row = Row("addition", Work("1 + 1"), Work("sum((1, 1))"), budget=1.0)
>>> 0 < measure(row, rounds=3, seconds=0.001).ratio < 10
True
"""

from __future__ import annotations

import gc
import statistics
import timeit
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class Timer(Protocol):
    def timeit(self, number: int) -> float:
        """The seconds that `number` runs take."""
        ...


class Timed(Protocol):
    """What a row compares: a `Work`, or what times itself in a process of its own."""

    def timer(self) -> Timer: ...


@dataclass(frozen=True)
class Work:
    """A statement, and what its names stand for."""

    statement: str
    names: Mapping[str, Any] = field(default_factory=dict)

    def timer(self) -> timeit.Timer:
        return timeit.Timer(self.statement, globals=dict(self.names))


@dataclass(frozen=True)
class Row:
    """A piece of work, ours and the rival's, and the ratio of times that is allowed."""

    name: str
    ours: Timed
    rival: Timed
    budget: float | None


@dataclass(frozen=True)
class Skipped:
    """A row that this machine can't measure.

    >>> print(Skipped("a rival", "it is missing: install it"))
    a rival                           skipped: it is missing: install it
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name:34}skipped: {self.reason}"


@dataclass(frozen=True)
class Result:
    """What a row measured: seconds for one run, and the ratio of each round."""

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
            f"{self.row.name:34}{human(self.ours)}{human(self.rival)}{self.ratio:8.3f}"
            f"  {low:.3f}..{high:.3f}{budget:>8}{verdict}"
        )


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
    """Runs both sides in turn, each for about `seconds` a round, after a round that warms up.

    A round's ratio pairs runs that stand next to each other in time, so that a machine whose
    speed drifts moves both; the median of the rounds is what counts.
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
    """About how long one run takes, once warm."""
    count = 1
    while (elapsed := timer.timeit(count)) < 0.002:
        count *= 4
    return elapsed / count


def alone(work: Timed, rounds: int = 31, seconds: float = 0.01) -> float:
    """The seconds that one run takes, without a rival: the median of the rounds.

    >>> 0 < alone(Work("1 + 1"), rounds=3, seconds=0.001) < 1e-3
    True
    """
    timer = work.timer()
    count = max(1, int(seconds / once(timer)))
    return statistics.median(timer.timeit(count) / count for _ in range(rounds))


def within(name: str, seconds: float, budget: float) -> str:
    """A line about a time that has an absolute budget.

    >>> print(within("bind", 3e-5, 5e-5))
    bind                                 30 us                                 50 us  met
    """
    verdict = "met" if seconds <= budget else "MISSED"
    return f"{name:34}{human(seconds)}{'':30}{human(budget)}  {verdict}"


def report(rows: Iterable[Row | Skipped]) -> bool:
    """Measures and prints every row; whether all budgets are met."""
    print(f"{'':34}{'mapcall':>8}{'rival':>8}{'ratio':>8}  {'quartiles':14}{'budget':>6}")
    met = True
    for row in rows:
        if isinstance(row, Skipped):
            print(row, flush=True)
            continue
        result = measure(row)
        print(result, flush=True)
        met &= result.met
    return met
