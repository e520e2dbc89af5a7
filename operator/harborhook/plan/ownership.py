"""Decides which of several resources may write to an object in Harbor.

A resource with a recorded `status.origin` holds the object until the resource is deleted. Otherwise the eligible claims
compete by age, then by namespace and name. A claim is ineligible if its connection does not work, if access rules deny
it, or if its request cannot be met: an unusable resource cannot block a name.

Claims that a cluster administrator has granted, by the access rules of a ClusterHarborConnection, take precedence over
claims made over a team's own HarborConnection, even over one that holds the object.

Harbor keeps the `creator` that a webhook policy was created with. The operator stores the resource's name in it, and
recognises its own policies by it.
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
    """Made over a ClusterHarborConnection whose access rules allow the namespace this project."""


def owner(claims: Iterable[Claim]) -> Key | None:
    """Returns the key of the claim that wins; None if no claim is eligible."""
    candidates = [claim for claim in claims if claim.holds or claim.eligible]
    strongest = [claim for claim in candidates if claim.granted] or candidates
    holders = [claim for claim in strongest if claim.holds]
    winner = min(
        holders or strongest, key=lambda claim: (claim.created, claim.key.namespace, claim.key.name), default=None
    )
    return winner.key if winner else None


def is_younger(made: datetime | None, metadata: Metadata) -> bool:
    """Whether an object made in Harbor at that time can belong to this resource rather than to a deleted one of the
    same name."""
    # creationTimestamp has whole seconds, so Harbor's time is truncated too.
    return made is not None and made.replace(microsecond=0) >= metadata.creation_timestamp


CREATOR_PREFIX = "harborhook"
CREATOR_LIMIT = 255
"""Harbor's column has 256 characters; Harbor answers a longer value with 500 (HARBOR: varchar(256))."""
_CUT = "~"
"""Separates the beginning of a truncated name from its hash. Names in Kubernetes cannot contain it."""
_HASH_DIGITS = 32


class Creator(NamedTuple):
    """The resource that created a policy, as `creator` in Harbor names it."""

    cluster: str
    namespace: str
    name: str
    """Truncated and followed by a hash if the whole name does not fit."""


def creator(cluster: str, key: Key) -> str:
    """Returns the `creator` of a policy that a resource of this cluster creates.

    A name that does not fit is truncated, and a hash of it distinguishes it from others. Cluster and namespace are
    never truncated: the settings limit the name of a cluster to 100 characters, Kubernetes that of a namespace to 63.
    """
    head = f"{CREATOR_PREFIX}/{cluster}/{key.namespace}/"
    if len(head) + len(key.name) <= CREATOR_LIMIT:
        return head + key.name
    digest = hashlib.sha256(key.name.encode()).hexdigest()[:_HASH_DIGITS]
    room = CREATOR_LIMIT - len(head) - len(_CUT) - _HASH_DIGITS
    return f"{head}{key.name[:room]}{_CUT}{digest}"


def parse_creator(text: str) -> Creator | None:
    """Returns the resource, of any cluster, that a `creator` names; None if no operator created the policy."""
    prefix, *parts = text.split("/")
    return Creator(*parts) if prefix == CREATOR_PREFIX and len(parts) == 3 else None


def names_resource(text: str, key: Key, *, cluster: str, former: str | None) -> bool:
    """Whether a `creator` names this resource, under the cluster's present or former name. It identifies a policy whose
    id was lost, so namespace and name have to match."""
    return text == creator(cluster, key) or (former is not None and text == creator(former, key))


def foreign_cluster(text: str, *, cluster: str, former: str | None = None) -> str | None:
    """Returns the name of the other cluster that owns a policy according to its `creator`; None if no other cluster
    does.

    `former` is the name that this cluster had when the resource last saw this mark on its own policy. It applies only
    to a policy whose id the resource has recorded (`status.clusterName`, `status.policyID`). It distinguishes a change
    of the setting clusterName from a takeover by another cluster:

    * An operator that takes a policy over (creationPolicy Adopt) writes its own cluster's name. A policy that still
      carries `former` was therefore not taken over since the resource saw it: our cluster was renamed.
    * Any other name belongs to another cluster, even with this resource's namespace and name: the same manifests
      applied in two clusters, as in a migration, have equal namespaces and names. They prove nothing and are not
      compared.
    * Without `former` nothing is proved: the status was lost, or a version that did not record the name wrote it.

    If two clusters have copies of one status, the one that writes its name first owns the policy. The other then sees a
    name that it did not record, and does not touch the policy.
    """
    made_by = parse_creator(text)
    return None if made_by is None or made_by.cluster in (cluster, former) else made_by.cluster
