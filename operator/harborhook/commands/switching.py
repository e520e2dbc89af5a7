"""`harborhook global`: one switch over all notifications, for administrators of the cluster."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import click

from harborhook.commands.acting import confirm, progress_line
from harborhook.commands.caller import Caller, of_cluster, output_option
from harborhook.commands.completers import complete_connection
from harborhook.commands.failures import NOT_WELL


@click.group("global")
def global_() -> None:
    """Switch the notifications of all policies on or off.

    A ConfigMap in the operator's namespace is the switch; docs/global-switch.md says how it is enforced.
    """


def _of_map(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options for the ConfigMap's name, and passes them to the command as one argument, `ref`."""

    @functools.wraps(command)
    def with_ref(operator_namespace: str, config_map: str, **given: Any) -> Any:
        from harborhook.commands.switch_map import ConfigMapRef

        return command(ref=ConfigMapRef(operator_namespace, config_map), **given)

    wrapped: Callable[..., Any] = with_ref
    for option in (
        click.option("--config-map", default="harborhook-global", show_default=True, metavar="NAME", help="Its name."),
        click.option(
            "--operator-namespace",
            "-n",
            default="harborhook",
            show_default=True,
            metavar="NAME",
            help="The namespace that the operator runs in.",
        ),
    ):
        wrapped = option(wrapped)
    return of_cluster(wrapped)


def _switches(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--no-wait", is_flag=True, help="Do not wait until the connections follow."),
        click.option(
            "--timeout",
            type=click.FloatRange(min=0, min_open=True),
            default=60,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait until the connections follow.",
        ),
        click.option("--force", is_flag=True, help="Also where a GitOps tool has set the value."),
        click.option("--yes", "-y", is_flag=True, help="Do not ask."),
        click.option(
            "--connection",
            metavar="NAME",
            shell_complete=complete_connection,
            help="Only the Harbor of this ClusterHarborConnection.",
        ),
    ):
        command = option(command)
    return _of_map(command)


@global_.command()
@_of_map
@output_option(("json", "yaml"))
def show(caller: Caller, ref: Any, output_format: str | None) -> None:
    """Show the switch, and its effect on each connection."""
    from harborhook.commands import output, switch_map

    found = switch_map.read(caller.cluster, ref, must_read_map=False)
    if output_format:
        output.put_out_as(output_format, switch_map.wire(found))
        return
    output.show(switch_map.blocks(found))
    for said in found.notes:
        output.note(said)


@global_.command()
@_switches
def on(**given: Any) -> None:
    """Switch notifications on."""
    _switch(True, **given)


@global_.command()
@_switches
def off(**given: Any) -> None:
    """Switch notifications off. Harbor drops every event meanwhile."""
    _switch(False, **given)


def _switch(
    enabled: bool,
    *,
    caller: Caller,
    ref: Any,
    connection: str | None,
    yes: bool,
    force: bool,
    timeout: float,
    no_wait: bool,
) -> None:
    from harborhook.commands import output, switch_map
    from harborhook.commands.asking import WaitOptions

    found = switch_map.read(caller.cluster, ref, must_read_map=True)
    wanted = switch_map.change(found, enabled, connection)
    confirm(wanted.question(found), yes=yes)
    switch_map.write(caller.cluster, found, wanted, force=force)
    output.say(f'{ref}: {wanted.key} is "{wanted.value}".\n')
    if no_wait:
        return
    with progress_line("Global switch") as progress:
        lagging = switch_map.until_followed(
            caller.cluster, wanted, WaitOptions(timeout, progress, time.monotonic() + timeout)
        )
    followed = len(wanted.connections) - len(lagging)
    output.say(f"{followed} of {len(wanted.connections)} connections have switched {'on' if enabled else 'off'}.\n")
    for said in lagging:
        output.note(said)
    raise SystemExit(NOT_WELL if lagging else 0)
