"""Figures: the measured values, their targets, and whether a second run is worse than noise explains. No I/O.

A count is exact, so any increase is a regression. Times depend on the machine and its load: each is stored with its
ratio to a calibration loop that ran just before, and two runs are compared by these ratios.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """The kind of a figure, which decides how two of them are compared."""

    COUNT = "count"
    """Exact: any increase is a regression."""
    PACED = "paced"
    """A count that depends on timing, such as jitter or the duration of the run."""
    CPU = "cpu"
    """CPU time, in seconds, or in milliseconds for one resource; compared by the ratio to the calibration's."""
    TIME = "time"
    """Elapsed seconds, compared by the ratio to the calibration's. The noisiest kind."""
    RATE = "rate"
    """Per second; more is better."""
    MEMORY = "memory"
    SHOWN = "shown"
    """For information only: never compared."""


TOLERANCE = {Kind.COUNT: 0.0, Kind.PACED: 0.1, Kind.CPU: 0.2, Kind.TIME: 0.4, Kind.RATE: 0.3, Kind.MEMORY: 0.1}
"""The share of the former value by which a figure may be worse before it counts as a regression."""

_EPSILON = 1e-9


@dataclass(frozen=True)
class Figure:
    scenario: str
    name: str
    value: float
    kind: Kind
    unit: str = ""
    most: float | None = None
    """The target is an upper bound."""
    least: float | None = None
    """The target is a lower bound."""
    ratio: float | None = None
    """The value in units of the calibration that ran before the scenario."""

    @property
    def target(self) -> str:
        if self.most is not None:
            return f"≤ {shown(self.most)} {self.unit}".rstrip()
        return f"≥ {shown(self.least)} {self.unit}".rstrip() if self.least is not None else ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.most is None and self.least is None:
            return None
        below = self.most is None or self.value <= self.most + _EPSILON
        return below and (self.least is None or self.value >= self.least - _EPSILON)


@dataclass(frozen=True)
class Calibration:
    """The cost of a fixed reference workload just before a scenario."""

    cpu: float
    """CPU seconds of the part that only computes."""
    wall: float
    """Seconds for the whole workload: computing, requests over the loopback, patches to the API server."""


def calibrated(figure: Figure, calibration: Calibration) -> Figure:
    """Returns the figure with the ratio by which another run is compared with this one."""
    seconds = figure.value / 1000 if figure.unit == "ms" else figure.value
    ratios = {
        Kind.CPU: seconds / calibration.cpu,
        Kind.TIME: seconds / calibration.wall,
        Kind.RATE: figure.value * calibration.wall,
    }
    fields = {**asdict(figure), "ratio": ratios.get(figure.kind)}
    return Figure(**fields)


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the smallest value that at least `share` of the values do not exceed."""
    if not values:
        return math.nan
    rank = max(1, math.ceil(share * len(values) - _EPSILON))
    return sorted(values)[rank - 1]


def percentiles(scenario: str, name: str, values: Sequence[float], p99_most: float | None = None) -> list[Figure]:
    """Returns p50, p90 and p99 of times in seconds."""
    targets = {99: p99_most}
    return [
        Figure(scenario, f"{name}, p{share}", percentile(values, share / 100), Kind.TIME, "s", most=targets.get(share))
        for share in (50, 90, 99)
        if values
    ]


# Two runs


class Verdict(StrEnum):
    SAME = "same"
    NOISE = "within noise"
    BETTER = "better"
    REGRESSION = "REGRESSION"
    NEW = "new"
    GONE = "not measured now"


@dataclass(frozen=True)
class Comparison:
    scenario: str
    name: str
    before: float | None
    after: float | None
    change: float | None
    """Returns the relative growth of the compared value; for times, that of the ratio to the calibration."""
    verdict: Verdict


def compare(before: Iterable[Figure], after: Iterable[Figure]) -> list[Comparison]:
    """Compares figure by figure, those of `after` first."""
    known = {(figure.scenario, figure.name): figure for figure in before}
    rows = [_compared(known.pop((figure.scenario, figure.name), None), figure) for figure in after]
    gone = [Comparison(f.scenario, f.name, f.value, None, None, Verdict.GONE) for f in known.values()]
    return [row for row in rows if row is not None] + gone


def _compared(before: Figure | None, after: Figure) -> Comparison | None:
    if after.kind is Kind.SHOWN:
        return None
    if before is None:
        return Comparison(after.scenario, after.name, None, after.value, None, Verdict.NEW)
    old, new = _comparable(before), _comparable(after)
    change = (new - old) / old if old else (0.0 if not new else math.inf)
    worse = -change if after.kind is Kind.RATE else change
    tolerance = TOLERANCE[after.kind]
    if abs(worse) <= _EPSILON:
        verdict = Verdict.SAME
    elif worse > tolerance:
        verdict = Verdict.REGRESSION
    else:
        verdict = Verdict.BETTER if worse < -tolerance else Verdict.NOISE
    return Comparison(after.scenario, after.name, before.value, after.value, change, verdict)


def _comparable(figure: Figure) -> float:
    return figure.value if figure.ratio is None else figure.ratio


# On disk


@dataclass(frozen=True)
class Run:
    """All results of one `make bench`."""

    options: Mapping[str, Any]
    """Options that the figures depend on; runs with different options are not comparable."""
    figures: Sequence[Figure]
    tables: dict[str, Mapping[str, Mapping[str, int]]]
    """By scenario and title: counts by kind."""
    remarks: dict[str, Sequence[str]]
    calibrations: dict[str, Calibration]
    version: str = ""
    """The version of the measured operator; runs of two versions are comparable."""

    def wire(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, wire: Mapping[str, Any]) -> Run:
        figures = [Figure(**{**row, "kind": Kind(row["kind"])}) for row in wire["figures"]]
        calibrations = {name: Calibration(**row) for name, row in wire["calibrations"].items()}
        version = wire.get("version", "")
        return cls(wire["options"], figures, wire["tables"], wire["remarks"], calibrations, version)


def incomparable(before: Run, after: Run) -> list[str]:
    """Returns the options in which the runs differ."""
    names = before.options.keys() | after.options.keys()
    return sorted(name for name in names if before.options.get(name) != after.options.get(name))


def shown(value: float | None) -> str:
    """Formats a number for people, with three significant digits."""
    if value is None or math.isnan(value):
        return "–"
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
