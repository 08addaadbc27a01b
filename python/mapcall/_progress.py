"""A bar for batches that take long."""

from __future__ import annotations

import time
from typing import Any

#: Less than so many seconds of work need no bar.
SHORT = 1.0


class Bar:
    """What ``progress=True`` stands for: a bar of tqdm's, once the work has taken a second.

    >>> bar = Bar("cos")
    >>> bar(10, 100)        # calls made, calls in all: too early to be shown
    >>> bar.close()
    """

    def __init__(self, description: str) -> None:
        self._description = description
        self._start = time.monotonic()
        self._bar: Any = None

    def __call__(self, done: int, calls: int) -> None:
        """Shows how many calls have been made."""
        if self._bar is None:
            if done == calls or time.monotonic() - self._start < SHORT:
                return
            from tqdm.auto import tqdm

            self._bar = tqdm(total=calls, desc=self._description, unit="call", unit_scale=True)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Ends the bar's line, if there is one."""
        if self._bar is not None:
            self._bar.close()
