"""Who may write to an object in Harbor that several resources want.

A resource that has recorded `status.origin` holds the object until the resource is gone. Otherwise the eligible claims
compete by age, then by namespace and name; an ineligible one (its connection does not work, it is not allowed, what it
wants cannot be had) does not count, so nobody can squat on a name.

A claim that an administrator of the cluster has granted, by the access rules of a ClusterHarborConnection, takes
precedence over all claims over a team's own HarborConnection, also over one that holds the object.

Harbor keeps the `creator` that a webhook policy is created with. The operator writes the resource there, and recognises
its own policies by it.
"""

from __future__ import annotations

import hashlib
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
    granted: bool = True
    """Over a ClusterHarborConnection whose access rules give the project to the namespace."""


def owner(claims: Iterable[Claim]) -> Key | None:
    """The key of the claim that wins; None if there is no eligible one."""
    candidates = [claim for claim in claims if claim.holds or claim.eligible]
    strongest = [claim for claim in candidates if claim.granted] or candidates
    holders = [claim for claim in strongest if claim.holds]
    winner = min(
        holders or strongest, key=lambda claim: (claim.created, claim.key.namespace, claim.key.name), default=None
    )
    return winner.key if winner else None


def is_younger(made: datetime | None, metadata: Metadata) -> bool:
    """Whether what was made at that time in Harbor can have been made for this resource, and not for one of the same
    name that was deleted before."""
    # The resource's time has whole seconds, so Harbor's is cut to them too.
    return made is not None and made.replace(microsecond=0) >= metadata.creation_timestamp


CREATOR_PREFIX = "harborhook"
CREATOR_LIMIT = 255
"""Harbor's column has 256 characters; a longer value is answered with 500 (HARBOR: varchar(256))."""
_CUT = "~"
"""Stands between the beginning of a name that was cut and a hash; no name in Kubernetes has it."""
_HASH_DIGITS = 32


class Creator(NamedTuple):
    """The resource that made a policy, as its `creator` in Harbor says it."""

    cluster: str
    namespace: str
    name: str
    """Cut, with a hash behind it, where all of it did not fit."""


def creator(cluster: str, key: Key) -> str:
    """What Harbor keeps as the `creator` of a policy that a resource of this cluster made.

    A name for which there is no room is cut, and a hash of it keeps two such names apart. Cluster and namespace are
    always whole: the settings limit a cluster's name to 100 characters, Kubernetes a namespace's to 63.
    """
    head = f"{CREATOR_PREFIX}/{cluster}/{key.namespace}/"
    if len(head) + len(key.name) <= CREATOR_LIMIT:
        return head + key.name
    digest = hashlib.sha256(key.name.encode()).hexdigest()[:_HASH_DIGITS]
    room = CREATOR_LIMIT - len(head) - len(_CUT) - _HASH_DIGITS
    return f"{head}{key.name[:room]}{_CUT}{digest}"


def parse_creator(text: str) -> Creator | None:
    """The resource, of any cluster, that a `creator` in Harbor names; None if no operator made the policy."""
    prefix, *parts = text.split("/")
    return Creator(*parts) if prefix == CREATOR_PREFIX and len(parts) == 3 else None


def names_resource(text: str, key: Key, *, cluster: str, former: str | None) -> bool:
    """Whether a `creator` in Harbor is what the operator wrote for this resource, now or under the cluster's former
    name. It finds a policy whose id got lost, so namespace and name have to be the resource's."""
    return text == creator(cluster, key) or (former is not None and text == creator(former, key))


def foreign_cluster(text: str, *, cluster: str, former: str | None = None) -> str | None:
    """The name of the other cluster that a policy belongs to by its `creator`; None if it belongs to no other.

    `former` is the cluster's name at the time when a resource last saw its own policy so marked, for a policy whose id
    the resource has recorded (`status.clusterName`, `status.policyID`). It tells a change of the setting clusterName
    from a take-over by another cluster:

    * An operator that takes a policy over (creationPolicy Adopt) writes its own cluster's name. A policy that carries
      `former` has therefore not been taken over since the resource saw it: our cluster's name has changed.
    * Any other name is another cluster's, also with this resource's namespace and name: the same manifests applied in
      two clusters, as in a migration, give the same ones. So these prove nothing, and are not compared.
    * Without `former` nothing is proved: the status was lost, or was written by a version that did not record it.

    Of two clusters with a copy of one status, the one that writes its name first owns the policy: the other then sees a
    name that it did not record, and leaves it alone.
    """
    made_by = parse_creator(text)
    return None if made_by is None or made_by.cluster in (cluster, former) else made_by.cluster
