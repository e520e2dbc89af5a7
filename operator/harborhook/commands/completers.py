"""Completions for shells: names from the cluster that the command line selects, or nothing.

The shell waits for the answer, and an error message would disturb the user's command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from harborhook.api.names import KIND_NAMES, WEBHOOK_POLICY

SECONDS = 3.0

Items = list[CompletionItem]


def _quietly(complete: Callable[[click.Context, str], Iterable[str]]) -> Callable[..., Items]:
    def completer(context: click.Context, _: click.Parameter, incomplete: str) -> Items:
        try:
            found = [name for name in complete(context, incomplete) if name.startswith(incomplete)]
        except Exception:  # the command itself will report the error
            return []
        return [CompletionItem(name) for name in sorted(found)]

    return completer


@_quietly
def complete_context(context: click.Context, _: str) -> Iterable[str]:
    from harborhook.commands.kubeconfig import contexts

    return contexts(context.params.get("kubeconfig"))


@_quietly
def complete_namespace(context: click.Context, _: str) -> Iterable[str]:
    found: list[str] = _cluster(context).namespaces()
    return found


@_quietly
def complete_policy(context: click.Context, _: str) -> Iterable[str]:
    return _names(context, WEBHOOK_POLICY.kind)


@_quietly
def complete_resource(context: click.Context, incomplete: str) -> Iterable[str]:
    """Completes kinds first, then the names of that kind."""
    from harborhook.commands.naming import kind_name

    spelling, slash, _ = incomplete.partition("/")
    if not slash:
        return [f"{name.short}/" for name in KIND_NAMES.values()]
    return [f"{spelling}/{name}" for name in _names(context, kind_name(spelling).kind)]


@_quietly
def complete_connection(context: click.Context, _: str) -> Iterable[str]:
    return _names(context, "ClusterHarborConnection")


def _names(context: click.Context, kind: str) -> list[str]:
    cluster = _cluster(context)
    stated = context.params.get("namespace") or cluster.namespace
    namespace = stated if KIND_NAMES[kind].namespaced and not context.params.get("all_namespaces") else ""
    return [key.name for key in cluster.names(kind, namespace)]


def _cluster(context: click.Context):  # type: ignore[no-untyped-def]  # its type takes time to load
    from harborhook.commands.cluster import Cluster

    return Cluster.connect(context.params.get("kubeconfig"), context.params.get("context"), timeout=SECONDS)
