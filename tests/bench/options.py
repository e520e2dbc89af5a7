"""The options of a benchmark run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Size:
    """The numbers of objects in each scenario. The targets apply to `full`."""

    created: int
    """HarborProjects that are created at once, each with one WebhookPolicy."""
    projects: int
    """HarborProjects with four policies each, for measurements in a steady state: five times as many resources."""
    idle_projects: int
    idle_seconds: float
    outage_seconds: float
    changes: int
    failing_projects: int
    """Like `projects`, for the scenario with failing notifications."""
    failures: int
    """Undelivered events of each policy in that scenario."""
    many_projects: int
    """Like `projects`, for the scenario with very many."""
    helm_secrets: int
    """Helm's Secrets, of 700 kB each, which the operator does not use."""
    attacking: int
    """Policies with which one tenant attacks another."""
    attacked_changes: int
    """Spec changes of the other tenant, one per second, first without and then with the attack."""
    shared_projects: int
    """Like `projects`, over many connections."""
    connections: int
    slow_connections: int
    """Connections to a slow Harbor."""


SIZES = {
    "tiny": Size(5, 2, 2, 3, 3, 3, 1, 5, 3, 3, 3, 3, 4, 2, 1),
    "small": Size(100, 100, 50, 60, 20, 50, 25, 50, 200, 300, 30, 30, 100, 10, 1),
    "full": Size(1000, 1000, 500, 60, 60, 200, 125, 50, 2000, 300, 100, 120, 1000, 50, 5),
}
POLICIES = 4
"""Webhook policies of each project in the steady state."""


@dataclass(frozen=True)
class Options:
    size: str = "full"
    latency_ms: float = 5.0
    """The stand-in's delay before each answer."""
    hash_cost_ms: float = 70.0
    """The stand-in's cost to check a user's password."""
    max_concurrent_requests: int = 8
    requests_per_second: int = 2000
    """The connection's limits. The default of 50 per second protects a small Harbor, and would hide all other
    effects."""

    @property
    def numbers(self) -> Size:
        return SIZES[self.size]

    def wire(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}
