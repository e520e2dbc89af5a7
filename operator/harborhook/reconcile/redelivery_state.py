"""What this process knows of the redelivery of a policy, besides what its status says."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from harborhook.api.webhook_policy import RedeliveryAnswer
from harborhook.plan.redelivery import AttemptOutcome, Backlog


@dataclass
class OpenRequest:
    """A request by annotation that is being served."""

    text: str
    ids: list[int]
    """What is left to be sent."""
    total: int
    succeeded: int = 0
    failed: int = 0
    gone: int = 0
    untried: int = 0
    dead: set[int] = field(default_factory=set)
    """Targets that have not answered: nothing more is sent to them."""
    reason: str = ""
    """Why the last one failed."""

    def count(self, outcome: AttemptOutcome, *, is_refused: bool) -> None:
        """`is_refused`: the receiver is alive, and refused this one alone."""
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
    """What is known of the redelivery of one policy, in this process."""

    backlog: Backlog
    read_again_at: float = float("inf")
    """By the queue's clock: when the backlog is to be read again."""
    undecided: set[int] = field(default_factory=set)
    """Those in the last reading that Harbor may still have sent, by what was known then."""
    not_before: float = float("-inf")
    """By the queue's clock: when the next notification may be sent at the earliest."""
    renumbered_from: int | None = None
    """The cursor of a numbering that Harbor has given up. Until the status is rid of it, its ids mean other
    notifications."""
    outcomes: list[AttemptOutcome] = field(default_factory=list)
    """Those that the status does not have yet."""
    request: OpenRequest | None = None
    answer: RedeliveryAnswer | None = None
    """What the status has to report about a request, and does not yet."""
    sent: int = 0
    since: datetime | None = None
    """How many notifications of one batch have arrived, and since when the oldest of them had waited."""
    gone: int = 0
    """How many Harbor no longer has, which nobody was told yet."""
