"""Who may write to an object in Harbor that several resources want.

Whoever has recorded `status.origin` holds the object until the resource is gone. Otherwise the eligible claims compete
by age, then by namespace and name; an ineligible one (its connection does not work, it is not allowed, what it wants
cannot be had) does not count, so nobody can squat on a name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from harborhook.api.base import Key, Metadata


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


def is_younger(made: datetime | None, metadata: Metadata) -> bool:
    """Whether what was made at that time in Harbor can have been made for this resource, and not for one of the same
    name that was deleted before."""
    # The resource's time has whole seconds, so Harbor's is cut to them too.
    return made is not None and made.replace(microsecond=0) >= metadata.creation_timestamp


CREATOR_PREFIX = "harborhook"


def creator(cluster: str, key: Key) -> str:
    """What Harbor keeps as the `creator` of a policy that we make; by it we know our own again."""
    return f"{CREATOR_PREFIX}/{cluster}/{key.namespace}/{key.name}"


class Mark(NamedTuple):
    """Whose a policy is that an operator made."""

    cluster: str
    namespace: str
    name: str


def mark_of(creator_field: str) -> Mark | None:
    """The mark that an operator, of whatever cluster, has left; None if none made the policy."""
    prefix, *parts = creator_field.split("/")
    return Mark(*parts) if prefix == CREATOR_PREFIX and len(parts) == 3 else None


def foreign_cluster(creator_field: str, cluster: str) -> str | None:
    """The name of the other cluster whose operator made a policy; None if none did."""
    mark = mark_of(creator_field)
    return None if mark is None or mark.cluster == cluster else mark.cluster
