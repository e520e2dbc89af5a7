"""Differences between a spec and what Harbor has, as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harborhook.api.base import DRIFT_ROWS, DRIFT_VALUE_LIMIT, DriftRow
from harborhook.api.conditions import Reason, Verdict, shorten


@dataclass(frozen=True)
class Difference:
    """A field of the spec whose value Harbor does not have; both values for a person."""

    field: str
    desired: str
    observed: str

    @property
    def group(self) -> str:
        """The field that is stated and written as a whole: of `targets[0].address` that is the list."""
        return self.field.partition("[")[0]


def field_names(differences: Iterable[Difference]) -> str:
    """The spec's names of what differs, for a person."""
    return ", ".join(difference.field for difference in differences)


def drift_rows(differences: Sequence[Difference]) -> list[DriftRow]:
    """For `status.drift`."""
    return [
        DriftRow(
            field=difference.field,
            desired=shorten(difference.desired, DRIFT_VALUE_LIMIT),
            observed=shorten(difference.observed, DRIFT_VALUE_LIMIT),
        )
        for difference in differences[:DRIFT_ROWS]
    ]


def drift_verdict(differences: Iterable[Difference]) -> Verdict:
    """The message about differences that are only reported."""
    return Verdict(
        Reason.DRIFT_DETECTED,
        f"Harbor differs in {field_names(differences)}, see status.drift. driftPolicy Report leaves it so: change the "
        "spec, or set driftPolicy to Correct.",
    )


def newly_drifted(before: Iterable[DriftRow], differences: Iterable[Difference]) -> list[Difference]:
    """The differences in fields that were not yet listed."""
    known = {row.field for row in before}
    return [difference for difference in differences if difference.field not in known]
