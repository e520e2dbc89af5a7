"""Checks whether the operator's memory stays flat. Pure arithmetic on samples."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

WARM_UP = 180.0
"""Seconds after its start in which a process may grow."""
ALLOWED_SHARE = 0.10
ALLOWED_MEGABYTES = 10.0
"""Maximum growth between the first and the last third of a process's samples: the larger of the two values."""
ENOUGH = 6
"""Minimum number of samples after the warm-up."""


@dataclass(frozen=True)
class Sample:
    age: float
    """Seconds since the process started."""
    rss: float
    """MB"""


@dataclass(frozen=True)
class Growth:
    """The memory of one process after its warm-up."""

    first: float
    last: float
    hours: float

    @property
    def flat(self) -> bool:
        return self.last - self.first <= max(ALLOWED_MEGABYTES, ALLOWED_SHARE * self.first)

    def __str__(self) -> str:
        return f"{self.first:.0f} MB at first, {self.last:.0f} MB at last, {self.hours * 60:.0f} minutes"


def growth(samples: Sequence[Sample]) -> Growth | None:
    """Returns the medians of the first and the last third of the samples; None if there are too few."""
    settled = [sample for sample in samples if sample.age >= WARM_UP]
    if len(settled) < ENOUGH:
        return None
    third = len(settled) // 3
    return Growth(
        first=statistics.median(sample.rss for sample in settled[:third]),
        last=statistics.median(sample.rss for sample in settled[-third:]),
        hours=(settled[-1].age - settled[0].age) / 3600,
    )
