"""Records Events and metrics for differences between a spec and Harbor: those written, and those only listed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harborhook.plan.drift import Difference, field_names, newly_drifted
from harborhook.reconcile.visit import Visit


async def record_written(visit: Visit[Any], what: str, written: Sequence[Difference], *, asked_for: bool) -> None:
    """Records an Event that names the written fields of `what`, an object in Harbor. Changes that were not `asked_for`
    in Kubernetes are drift, which the metrics count."""
    if not written:
        return
    if asked_for:
        await visit.inform("Updated", f"Updated {field_names(written)} of {what}.")
        return
    visit.context.metrics.count_drift(visit.resource.kind, sorted({difference.group for difference in written}))
    await visit.inform("DriftCorrected", f"Set {field_names(written)} of {what} back to the spec.")


async def report(visit: Visit[Any], drift: Sequence[Difference]) -> None:
    """Records an Event if the drift differs from that before."""
    new = newly_drifted(visit.resource.status.drift, drift)
    if new:
        await visit.inform("DriftDetected", f"Harbor differs from the spec in {field_names(new)}.")
