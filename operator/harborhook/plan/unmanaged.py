"""Finds the webhook policies in Harbor that no WebhookPolicy declares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.harbor.models import Policy
from harborhook.plan.ownership import parse_creator

UNMANAGED_SHOWN = 20
"""Number of names that the status lists."""


@dataclass(frozen=True)
class Declared:
    """The policies of a Harbor project that WebhookPolicies declare, adopted or not: by name, and by id for those about
    to be renamed."""

    names: frozenset[str]
    ids: frozenset[int]

    def includes(self, policy: Policy) -> bool:
        return policy.name in self.names or policy.id in self.ids


def declared(policies: Iterable[WebhookPolicy]) -> Declared:
    """Collects the policies that these WebhookPolicies of one Harbor project declare."""
    listed = list(policies)
    names = {name for policy in listed for name in (policy.harbor_name, policy.status.policy_name) if name is not None}
    ids = {policy.status.policy_id for policy in listed if policy.status.policy_id is not None}
    return Declared(frozenset(names), frozenset(ids))


def is_unmanaged(
    policy: Policy, declared: Declared, *, cluster: str, project_id: int, watched: Iterable[str] = ()
) -> bool:
    """Whether no resource declares the policy. A policy with the mark of another cluster, or of a namespace outside
    `watched` (none: all are watched), counts as declared."""
    if policy.project_id != project_id or declared.includes(policy):
        return False
    made_by = parse_creator(policy.creator)
    if made_by is None:
        return True
    namespaces = set(watched)
    return made_by.cluster == cluster and (not namespaces or made_by.namespace in namespaces)
