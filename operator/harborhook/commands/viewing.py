"""`harborhook status` and `harborhook deliveries`: declared resources, their state, and the results of
notifications."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from harborhook.commands.caller import Caller, of_namespace, output_option
from harborhook.commands.completers import complete_policy
from harborhook.commands.failures import NOT_WELL

if TYPE_CHECKING:
    from harborhook.commands.overview import Overview
    from harborhook.commands.tables import Block

_FOR_PROGRAMS = ("json", "yaml", "name")

watch_option = click.option("--watch", "-w", is_flag=True, help="Refresh until Ctrl-C.")


@click.command()
@click.argument("name", required=False, shell_complete=complete_policy)
@of_namespace
@click.option("--all-namespaces", "-A", is_flag=True, help="Everything in the cluster.")
@output_option(["wide", *_FOR_PROGRAMS])
@watch_option
@click.option("--exit-zero", is_flag=True, help="End with 0 also if something is not Ready.")
def status(
    caller: Caller, name: str | None, all_namespaces: bool, output_format: str | None, watch: bool, exit_zero: bool
) -> None:
    """Show the state of all resources, or of one policy.

    Without NAME: connections, projects and policies in one table, worst first, each with the sentence to act on. With
    the NAME of a WebhookPolicy: its connection, project, targets and deliveries on one screen, and any fault with its
    place.

    Ends with 0 if everything that is shown is Ready, else with 1. A receiver that fails leaves a policy Ready.
    """
    if all_namespaces and (caller.stated_namespace or name):
        raise click.UsageError("--all-namespaces does not go with --namespace or NAME.")
    _check_watch(watch, output_format)
    view = _chain_view(caller, name) if name else _overview_view(caller, all_namespaces)
    is_well = view(output_format, watch)
    raise SystemExit(0 if is_well or exit_zero else NOT_WELL)


_View = Callable[[str | None, bool], bool]
"""Prints in a format, or watches; returns whether everything is Ready."""


def _overview_view(caller: Caller, all_namespaces: bool) -> _View:
    from harborhook.commands import output, reading

    def view(output_format: str | None, watch: bool) -> bool:
        namespace = "" if all_namespaces else caller.namespace
        wide = output_format == "wide"
        if watch:
            output.watch(lambda: _watched(reading.read_overview(caller.cluster, namespace), all_namespaces, wide))
        found = reading.read_overview(caller.cluster, namespace)
        if output_format == "name":
            output.put_out(found.names())
        elif output_format in _FOR_PROGRAMS:
            output.put_out_as(str(output_format), found.wire())
        else:
            output.show(found.blocks(with_namespace=all_namespaces, wide=wide))
            for said in found.notes:
                output.note(said)
        return found.is_well

    return view


def _watched(found: Overview, with_namespace: bool, wide: bool) -> Sequence[Block]:
    """Puts the most important first: a terminal cuts the end of a long table."""
    from harborhook.commands.tables import Line

    heading = [Line(f"Note: {said}") for said in found.notes] + ([Line(found.summary)] if found.rows else [])
    return [*heading, Line(""), found.blocks(with_namespace=with_namespace, wide=wide)[0]]


def _chain_view(caller: Caller, name: str) -> _View:
    from harborhook.commands import chain, naming, output, reading

    def view(output_format: str | None, watch: bool) -> bool:
        key = naming.policy_key(name, caller.namespace)
        if watch:
            output.watch(lambda: chain.blocks(reading.read_chain(caller.cluster, key)))
        found = reading.read_chain(caller.cluster, key)
        _print(output_format, lambda: chain.wire(found), lambda: chain.blocks(found), naming.name_of(key))
        return chain.is_well(found)

    return view


@click.command()
@click.argument("name", shell_complete=complete_policy)
@of_namespace
@click.option("--failed", is_flag=True, help="Only those that have not arrived.")
@output_option(["wide", *_FOR_PROGRAMS])
@watch_option
def deliveries(caller: Caller, name: str, failed: bool, output_format: str | None, watch: bool) -> None:
    """Show the recent deliveries of a WebhookPolicy, newest first.

    ID is the argument of `redeliver`. The operator keeps the newest 10 events in the status of the policy.
    """
    from harborhook.commands import chain, lookup, naming, output

    _check_watch(watch, output_format)
    key = naming.policy_key(name, caller.namespace)

    def read() -> dict[str, Any]:
        return dict((lookup.find(caller.cluster, key).get("status") or {}).get("deliveries") or {})

    def blocks(found: dict[str, Any]) -> Sequence[Block]:
        return [chain.recent_table(found, failed_only=failed, wide=output_format == "wide")]

    if watch:
        output.watch(lambda: blocks(read()))
    found = read()
    wire = {**found, "recent": chain.recent(found, failed_only=failed)}
    _print(output_format, lambda: wire, lambda: blocks(found), naming.name_of(key))


def _print(
    output_format: str | None, wire: Callable[[], dict[str, Any]], blocks: Callable[[], Sequence[Block]], name: str
) -> None:
    from harborhook.commands import output

    if output_format == "name":
        output.put_out(f"{name}\n")
    elif output_format in _FOR_PROGRAMS:
        output.put_out_as(str(output_format), wire())
    else:
        output.show(blocks())


def _check_watch(watch: bool, output_format: str | None) -> None:
    if watch and output_format in _FOR_PROGRAMS:
        raise click.UsageError(f"--watch is for people: it does not go with -o {output_format}.")
