"""Differences between spec and Harbor, and their forms for conditions, Events and `status.drift`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harborhook.api.base import DRIFT_ROWS, DRIFT_VALUE_LIMIT, DriftRow
from harborhook.api.conditions import Reason, Verdict, shorten


@dataclass(frozen=True)
class Difference:
    """A field whose value in Harbor differs from the spec; both values as text for users."""

    field: str
    desired: str
    observed: str

    @property
    def group(self) -> str:
        """The field that is written as a whole: `targets` for `targets[0].address`."""
        return self.field.partition("[")[0]


def field_names(differences: Iterable[Difference]) -> str:
    """Returns the names of the differing fields for a message."""
    return ", ".join(difference.field for difference in differences)


def drift_rows(differences: Sequence[Difference]) -> list[DriftRow]:
    """Returns the rows of `status.drift`."""
    return [
        DriftRow(
            field=difference.field,
            desired=shorten(difference.desired, DRIFT_VALUE_LIMIT),
            observed=shorten(difference.observed, DRIFT_VALUE_LIMIT),
        )
        for difference in differences[:DRIFT_ROWS]
    ]


def drift_verdict(differences: Iterable[Difference]) -> Verdict:
    """Returns the verdict on differences that are only reported."""
    return Verdict(
        Reason.DRIFT_DETECTED,
        f"Harbor differs in {field_names(differences)}, see status.drift. driftPolicy Report leaves it so: change the "
        "spec, or set driftPolicy to Correct.",
    )


def newly_drifted(before: Iterable[DriftRow], differences: Iterable[Difference]) -> list[Difference]:
    """Returns the differences in fields that were not listed before."""
    known = {row.field for row in before}
    return [difference for difference in differences if difference.field not in known]
