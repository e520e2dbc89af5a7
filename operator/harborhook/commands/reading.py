"""Reads the objects for `status` with the caller's rights. A missing right is reported in a note and does not stop the
command."""

from __future__ import annotations

from collections.abc import Iterable

from harborhook.api.names import CLUSTER_HARBOR_CONNECTION, KIND_NAMES, Body, Key
from harborhook.commands.chain import Chain, ChainLink
from harborhook.commands.cluster import Cluster, MissingError, NotPermittedError
from harborhook.commands.lookup import find
from harborhook.commands.overview import Overview, connection_of, only_used, overview

_NAMESPACED = [name.kind for name in KIND_NAMES.values() if name.namespaced]


def read_overview(cluster: Cluster, namespace: str) -> Overview:
    """Reads a namespace, or with "" the cluster; without the right to that, the context's namespace.

    Raises FailedError if the caller may not read any kind there.
    """
    if namespace:
        return _of_namespace(cluster, namespace)
    found, refusals = _permitted(cluster, _NAMESPACED, "")
    if refusals:
        return _of_namespace(cluster, cluster.namespace, f"Only namespace {cluster.namespace} is shown. {refusals[0]}")
    connections, refused = _permitted(cluster, [CLUSTER_HARBOR_CONNECTION.kind], "")
    return overview([*connections, *found], list(map(str, refused)))


def _of_namespace(cluster: Cluster, namespace: str, *notes: str) -> Overview:
    found, refusals = _permitted(cluster, _NAMESPACED, namespace)
    if len(refusals) == len(_NAMESPACED):
        raise refusals[-1]
    connections, refused = _permitted(cluster, [CLUSTER_HARBOR_CONNECTION.kind], "")
    return overview([*only_used(connections, found), *found], [*notes, *map(str, [*refusals, *refused])])


def _permitted(cluster: Cluster, kinds: Iterable[str], namespace: str) -> tuple[list[Body], list[NotPermittedError]]:
    found: list[Body] = []
    refusals: list[NotPermittedError] = []
    for kind in kinds:
        try:
            found += _listed(cluster, kind, namespace)
        except NotPermittedError as refusal:
            refusals.append(refusal)
    return found, refusals


def _listed(cluster: Cluster, kind: str, namespace: str = "") -> list[Body]:
    return [{"kind": kind, **body} for body in cluster.objects(kind, namespace)]


def read_chain(cluster: Cluster, key: Key) -> Chain:
    """Reads a policy, its project and its connection. Raises FailedError if the policy does not exist or may not be
    read."""
    policy = find(cluster, key)
    reference = policy["spec"].get("projectRef")
    project = _link(cluster, Key("HarborProject", key.namespace, reference["name"])) if reference else None
    user = project.body if project is not None else policy
    connection = connection_of(user) if user is not None else connection_of(policy)
    return Chain(
        policy,
        project,
        _link(cluster, connection) if connection is not None else None,
        _events(cluster, key, policy["metadata"].get("uid", "")),
    )


def _link(cluster: Cluster, key: Key) -> ChainLink:
    try:
        return ChainLink(key, cluster.get(key))
    except MissingError:
        return ChainLink(key)
    except NotPermittedError as refusal:
        return ChainLink(key, refusal=str(refusal))


def _events(cluster: Cluster, key: Key, uid: str) -> list[Body]:
    try:
        return cluster.events(key, uid)
    except NotPermittedError:
        return []
