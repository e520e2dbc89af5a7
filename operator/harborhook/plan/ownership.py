"""Who may write to an object in Harbor that several resources want.

Whoever has recorded `status.origin` holds the object until the resource is gone. Otherwise the eligible claims compete
by age, then by namespace and name; an ineligible one (its connection does not work, it is not allowed, what it wants
cannot be had) does not count, so nobody can squat on a name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from harborhook.api.base import Key


@dataclass(frozen=True)
class Claim:
    key: Key
    created: datetime
    holds: bool
    eligible: bool


def owner(claims: Iterable[Claim]) -> Key | None:
    """The key of the claim that wins; None if there is no eligible one."""
    candidates = list(claims)
    holders = [claim for claim in candidates if claim.holds]
    field = holders or [claim for claim in candidates if claim.eligible]
    winner = min(field, key=lambda claim: (claim.created, claim.key.namespace, claim.key.name), default=None)
    return winner.key if winner else None


CREATOR_PREFIX = "harborhook"
ADOPTER_PREFIX = "harborhook-adopted"


def creator(cluster: str, key: Key) -> str:
    """What Harbor keeps as the `creator` of a policy that we make; by it we know our own again."""
    return f"{CREATOR_PREFIX}/{cluster}/{key.namespace}/{key.name}"


def adopter(cluster: str, key: Key) -> str:
    """The same for a policy that we have adopted and written to. It does not make it one that we have made."""
    return f"{ADOPTER_PREFIX}/{cluster}/{key.namespace}/{key.name}"


@dataclass(frozen=True)
class Mark:
    """Whose policy it is, as `creator` tells."""

    cluster: str
    namespace: str


def mark_of(creator_field: str) -> Mark | None:
    """None: no operator has made the policy, nor written to it after its adoption."""
    parts = creator_field.split("/")
    if len(parts) != 4 or parts[0] not in (CREATOR_PREFIX, ADOPTER_PREFIX):
        return None
    return Mark(parts[1], parts[2])


def foreign_cluster(creator_field: str, cluster: str) -> str | None:
    """The name of the other cluster whose operator has a policy; None if none has."""
    mark = mark_of(creator_field)
    return None if mark is None or mark.cluster == cluster else mark.cluster
