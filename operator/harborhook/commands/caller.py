"""The options that select a cluster, as in kubectl, and the output format.

Imports only modules that load fast.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from harborhook.commands.completers import complete_context, complete_namespace

if TYPE_CHECKING:
    from harborhook.commands.cluster import Cluster

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass
class Caller:
    """The cluster and namespace of the command line; connects when first needed."""

    kubeconfig: str | None = None
    context: str | None = None
    stated_namespace: str | None = None
    _cluster: Cluster | None = field(default=None, repr=False)

    @property
    def cluster(self) -> Cluster:
        """Raises FailedError."""
        if self._cluster is None:
            from harborhook.commands.cluster import Cluster

            self._cluster = Cluster.connect(self.kubeconfig, self.context)
        return self._cluster

    @property
    def namespace(self) -> str:
        """The stated namespace, or that of the context. Raises FailedError."""
        return self.stated_namespace or self.cluster.namespace


def of_cluster(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --kubeconfig and --context, and passes them to the command as one argument, `caller`."""

    @functools.wraps(command)
    def with_caller(kubeconfig: str | None, context: str | None, namespace: str | None = None, **given: Any) -> Any:
        return command(caller=Caller(kubeconfig, context, namespace), **given)

    wrapped: Callable[..., Any] = with_caller
    for option in (
        click.option("--context", metavar="NAME", shell_complete=complete_context, help="The kubeconfig's context."),
        click.option("--kubeconfig", type=click.Path(dir_okay=False), help="Default: $KUBECONFIG, ~/.kube/config."),
    ):
        wrapped = option(wrapped)
    return wrapped


def of_namespace(command: Callable[..., Any]) -> Callable[..., Any]:
    """Also adds --namespace."""
    return click.option(
        "--namespace",
        "-n",
        metavar="NAME",
        shell_complete=complete_namespace,
        help="Default: that of the context.",
    )(of_cluster(command))


def output_option(formats: Sequence[str]) -> _Decorator:
    """Adds `-o`, whose default is text."""
    return click.option(
        "--output",
        "-o",
        "output_format",
        type=click.Choice(formats),
        default=None,
        help="Default: text for people. json and yaml are stable.",
    )
