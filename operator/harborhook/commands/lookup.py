"""Finds the object that a command names, with a hint if there is none of that name."""

from __future__ import annotations

from difflib import get_close_matches

from harborhook.api.names import Body, Key
from harborhook.commands.cluster import ApiRefusedError, Cluster, MissingError
from harborhook.commands.failures import FailedError

NEAR = 3
"""Maximum number of suggested names."""


def find(cluster: Cluster, key: Key) -> Body:
    """Returns the object. Raises FailedError, which suggests similar names or other namespaces."""
    try:
        return cluster.get(key)
    except MissingError:
        raise FailedError(_missing(cluster, key)) from None


def _missing(cluster: Cluster, key: Key) -> str:
    said = f"There is no {key.kind} {key.name}" + (f" in namespace {key.namespace}." if key.namespace else ".")
    elsewhere = _seen(cluster, key.kind, name=key.name) if key.namespace else []
    if elsewhere:
        return f"{said} There is one in {_listed([found.namespace for found in elsewhere])}: add -n."
    near = get_close_matches(key.name, [found.name for found in _seen(cluster, key.kind, key.namespace)], n=NEAR)
    return f"{said} Did you mean {' or '.join(near)}?" if near else said


def _seen(cluster: Cluster, kind: str, namespace: str = "", name: str = "") -> list[Key]:
    """Returns nothing if the caller may not list: the result only serves a hint."""
    try:
        return cluster.names(kind, namespace, name=name)
    except ApiRefusedError:
        return []


def _listed(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:NEAR])
    return f"namespace {shown}" if len(names) == 1 else f"namespaces {shown}" + (", …" if len(names) > NEAR else "")
