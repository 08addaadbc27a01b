"""The progress bar of a batch."""

from __future__ import annotations

import time
from typing import Any

#: The time in seconds after which the bar is shown.
SHORT = 1.0


class Bar:
    """The progress bar of ``progress=True``, by tqdm: shown once the batch has run for a second.

    >>> bar = Bar("cos")
    >>> bar(10, 100)        # calls made, calls in all: too early to be shown
    >>> bar.close()
    """

    def __init__(self, description: str) -> None:
        self._description = description
        self._start = time.monotonic()
        self._bar: Any = None

    def __call__(self, done: int, calls: int) -> None:
        """Show the number of calls that have been made, of all calls."""
        if self._bar is None:
            if done == calls or time.monotonic() - self._start < SHORT:
                return
            from tqdm.auto import tqdm

            self._bar = tqdm(total=calls, desc=self._description, unit="call", unit_scale=True)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """End the line of the bar, if it is shown."""
        if self._bar is not None:
            self._bar.close()
