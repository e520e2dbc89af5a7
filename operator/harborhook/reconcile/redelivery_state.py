"""The in-memory state of a policy's redelivery, besides its status."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from harborhook.api.webhook_policy import RedeliveryAnswer
from harborhook.plan.redelivery import AttemptOutcome, Backlog


@dataclass
class OpenRequest:
    """A request by annotation in progress."""

    text: str
    ids: list[int]
    """Executions that are still to be sent."""
    total: int
    succeeded: int = 0
    failed: int = 0
    gone: int = 0
    untried: int = 0
    dead: set[int] = field(default_factory=set)
    """Targets that have not answered: they get no further notification of this request."""
    reason: str = ""
    """Why the last one failed."""

    def count(self, outcome: AttemptOutcome, *, is_refused: bool) -> None:
        """Counts a result. `is_refused`: the receiver works, and refused only this notification."""
        if outcome.result == "Succeeded":
            self.succeeded += 1
            return
        self.failed += 1
        self.gone += outcome.result == "Gone"
        self.reason = outcome.message or self.reason
        if outcome.target is not None and not is_refused:
            self.dead.add(outcome.target)


@dataclass
class Redeliveries:
    """The state of one policy's redelivery in this process."""

    backlog: Backlog
    read_again_at: float = float("inf")
    """Time of the next reading of the backlog, on the queue's clock."""
    undecided: set[int] = field(default_factory=set)
    """Executions in the last reading that Harbor might still deliver."""
    not_before: float = float("-inf")
    """Earliest time of the next notification, on the queue's clock."""
    renumbered_from: int | None = None
    """The cursor of a numbering that Harbor has abandoned. As long as the status contains it, ids there mean other
    notifications."""
    outcomes: list[AttemptOutcome] = field(default_factory=list)
    """Results that are not in the status yet."""
    request: OpenRequest | None = None
    answer: RedeliveryAnswer | None = None
    """Answer to a request that is not in the status yet."""
    sent: int = 0
    since: datetime | None = None
    """Number of notifications of a batch that have arrived, and since when the oldest of them had waited."""
    gone: int = 0
    """Number of notifications that Harbor no longer has and that no Event has reported yet."""
