"""The mailbox of a connection: polls and senders put in their results, and visits move them into the status."""

from __future__ import annotations

from dataclasses import dataclass, field

from harborhook.api.base import Key
from harborhook.api.webhook_policy import EndpointTest
from harborhook.harbor.models import LastTrigger
from harborhook.plan.deliveries import History
from harborhook.reconcile.redelivery_state import Redeliveries


@dataclass(frozen=True)
class DeliveryReading:
    """The last-trigger times of a policy and its notifications (None: not read yet), from the last poll."""

    policy_id: int
    rows: tuple[LastTrigger, ...] = ()
    history: History | None = None


@dataclass
class Mailbox:
    readings: dict[Key, DeliveryReading] = field(default_factory=dict)
    """By WebhookPolicy."""
    in_rhythm: set[str] = field(default_factory=set)
    """Harbor projects whose polls have got their own random moment of the interval."""
    uneventful: dict[str, tuple[object, ...]] = field(default_factory=dict)
    """What the last poll of a Harbor project considered, if it found nothing to do."""
    last_written: dict[Key, float] = field(default_factory=dict)
    """When a status was last written for news alone: deliveries for policies, counts for projects."""

    redeliveries: dict[Key, Redeliveries] = field(default_factory=dict)
    """By WebhookPolicy with failed notifications."""
    endpoint_tests: dict[Key, EndpointTest] = field(default_factory=dict)
    """Results that are not in the status yet, by WebhookPolicy."""

    def forget(self, key: Key) -> None:
        self.readings.pop(key, None)
        self.last_written.pop(key, None)
        self.redeliveries.pop(key, None)
        self.endpoint_tests.pop(key, None)

    def forget_project(self, project: str) -> None:
        """Forgets a Harbor project that is no longer polled."""
        self.in_rhythm.discard(project)
        self.uneventful.pop(project, None)
