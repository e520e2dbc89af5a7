"""The mailbox of a connection's deliveries: the poll puts in what it has read, visits take it out into the status."""

from __future__ import annotations

from dataclasses import dataclass, field

from harborhook.api.base import Key
from harborhook.api.webhook_policy import EndpointTest
from harborhook.harbor.models import LastTrigger
from harborhook.plan.deliveries import History
from harborhook.reconcile.redelivery_state import Redeliveries


@dataclass(frozen=True)
class DeliveryReading:
    """The last-trigger times of a policy and its notifications (None: not read yet), as last read."""

    policy_id: int
    rows: tuple[LastTrigger, ...] = ()
    history: History | None = None


@dataclass
class Mailbox:
    readings: dict[Key, DeliveryReading] = field(default_factory=dict)
    """By WebhookPolicy."""
    in_rhythm: set[str] = field(default_factory=set)
    """Harbor projects whose last-trigger times are read at moments of their own, apart from those of others."""
    last_written: dict[Key, float] = field(default_factory=dict)
    """When a status was last written for news alone, for policies their deliveries, for projects their counts."""

    redeliveries: dict[Key, Redeliveries] = field(default_factory=dict)
    """By WebhookPolicy of which something failed."""
    endpoint_tests: dict[Key, EndpointTest] = field(default_factory=dict)
    """Results that are not in the status yet, by WebhookPolicy."""

    def forget(self, key: Key) -> None:
        self.readings.pop(key, None)
        self.last_written.pop(key, None)
        self.redeliveries.pop(key, None)
        self.endpoint_tests.pop(key, None)
