"""Finds the keys that an object depends on. The store wakes the object when one of them changes.

Two kinds of keys do not name Kubernetes objects. A *claim* names an object in Harbor, which connects all resources that
want it. A *DeliveriesKey* names a Harbor project whose last-trigger times are polled for its policies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeGuard

from harborhook.api.names import AnyKey, Body, DeliveriesKey, Key

DEFAULT_CONNECTION = Key("ClusterHarborConnection", "", "default")
PROJECT_CLAIM = "ProjectClaim"
POLICY_CLAIM = "PolicyClaim"


def references(body: Body) -> Iterator[AnyKey]:
    """Yields the keys that the object with this body depends on."""
    yield from _REFERENCES[body["kind"]](body)


def connection_key(ref: Body | None, namespace: str) -> Key:
    """Returns the connection that a `connectionRef` in `namespace` refers to."""
    if ref is None:
        return DEFAULT_CONNECTION
    kind = ref.get("kind", DEFAULT_CONNECTION.kind)
    return Key(kind, namespace if kind == "HarborConnection" else "", ref["name"])


def project_claim(project_name: str) -> Key:
    return Key(PROJECT_CLAIM, "", project_name)


def policy_claim(body: Body, name: str | None = None) -> Key:
    """Returns the claim of a policy; `name` overrides the spec's name.

    Policies compete within a HarborProject, or within a project named directly. The two groups never meet, because
    `projectName` cannot refer to a project that a HarborProject manages.
    """
    spec, metadata = body["spec"], body["metadata"]
    scope = f"{metadata['namespace']}/{spec['projectRef']['name']}" if "projectRef" in spec else spec["projectName"]
    return Key(POLICY_CLAIM, scope, name or spec.get("policyName") or metadata["name"])


def held_policy_claim(body: Body) -> Key | None:
    """Returns the claim to the policy's present name in Harbor, which the resource keeps until a rename has been
    applied."""
    status = body.get("status") or {}
    held = status.get("policyName") if status.get("origin") else None
    return policy_claim(body, held) if held else None


def is_claim(key: AnyKey) -> TypeGuard[Key]:
    return key.kind in (PROJECT_CLAIM, POLICY_CLAIM)


def admission_secrets(connection: Body) -> Iterator[Key]:
    """Yields the Secrets that a connection of either kind needs to log in to its Harbor."""
    yield _source(connection, connection["spec"]["credentialsSecretRef"])
    client = (connection["spec"].get("tls") or {}).get("clientCertificateRef")
    if client:
        yield _source(connection, client)
    for header in connection["spec"].get("headersFrom") or ():
        yield _source(connection, header["secretKeyRef"])


def _of_connection(body: Body) -> Iterator[Key]:
    yield from admission_secrets(body)
    bundle = (body["spec"].get("tls") or {}).get("caBundleRef")
    if bundle:
        yield _source(body, bundle, bundle.get("kind", "ConfigMap"))


def _source(connection: Body, ref: Body, kind: str = "Secret") -> Key:
    """References of a HarborConnection stay in its own namespace."""
    return Key(kind, ref.get("namespace", connection["metadata"].get("namespace", "")), ref["name"])


def _of_project(body: Body) -> Iterator[Key]:
    spec, metadata = body.get("spec") or {}, body["metadata"]
    yield connection_key(spec.get("connectionRef"), metadata["namespace"])
    yield from _recorded_connection(body)
    yield project_claim(spec.get("projectName") or metadata["name"])


def _of_policy(body: Body) -> Iterator[AnyKey]:
    spec, namespace = body["spec"], body["metadata"]["namespace"]
    if "projectRef" in spec:
        yield Key("HarborProject", namespace, spec["projectRef"]["name"])
    else:
        yield connection_key(spec.get("connectionRef"), namespace)
        yield project_claim(spec["projectName"])
    yield policy_claim(body)
    held = held_policy_claim(body)
    if held:
        yield held
    for target in spec["targets"]:
        for source in (target.get("addressFrom"), target.get("authHeaderFrom")):
            if source:
                yield Key("Secret", namespace, source["secretKeyRef"]["name"])
    yield from _recorded_connection(body)
    yield from _deliveries(body)


def recorded_connection(body: Body | None) -> Key | None:
    """Returns the connection recorded in the status, over which the object in Harbor was created; None without a body
    or record."""
    recorded = (body.get("status") or {}).get("connection") if body is not None else None
    return connection_key(recorded, body["metadata"].get("namespace", "")) if body and recorded else None


def _recorded_connection(body: Body) -> Iterator[Key]:
    recorded = recorded_connection(body)
    if recorded:
        yield recorded


def _deliveries(body: Body) -> Iterator[DeliveriesKey]:
    recorded, status = recorded_connection(body), body.get("status") or {}
    if recorded and status.get("projectName"):
        yield DeliveriesKey(recorded, status["projectName"])


_REFERENCES: dict[str, Callable[[Body], Iterator[AnyKey]]] = {
    "ClusterHarborConnection": _of_connection,
    "HarborConnection": _of_connection,
    "HarborProject": _of_project,
    "WebhookPolicy": _of_policy,
}
