"""The commands that need a Harbor but no operator: `harborhook doctor` and `harborhook export`."""

from __future__ import annotations

from pathlib import Path

import click

from harborhook.commands.failures import NOT_WELL
from harborhook.commands.options import ByConnection, ByUrl, Where, which_harbor


@click.command()
@which_harbor
@click.option("--namespace", "-n", metavar="NAME", help="For --connection: it is a HarborConnection of this namespace.")
@click.option(
    "--project",
    metavar="NAME",
    help="Project in which to check permissions. Default: of the first 25, the one that allows most.",
)
@click.option("--output", "-o", type=click.Choice(["text", "json"]), default="text", show_default=True)
def doctor(where: Where, namespace: str | None, project: str | None, output: str) -> None:
    """Find out whether the operator can work with a Harbor.

    Connects, logs in, and reports its version, the account and its rights, and whether notifications are on. Only
    reads. Ends with 0 if the operator can work with it, with 1 otherwise.
    """
    import asyncio

    from harborhook.commands.doctor import as_json, as_text, examine, is_well
    from harborhook.commands.output import put_out, say

    findings = asyncio.run(examine(_within(where, namespace), project))
    put_out(as_json(findings)) if output == "json" else say(as_text(findings))
    raise SystemExit(0 if is_well(findings) else NOT_WELL)


@click.command()
@which_harbor
@click.option(
    "--project",
    "projects",
    metavar="NAME",
    multiple=True,
    help="A project in Harbor; can be repeated. Default: all visible projects.",
)
@click.option(
    "--namespace", "-n", metavar="NAME", help="Namespace of the resources. Default: none; kubectl apply -n decides."
)
@click.option("--connection-ref", metavar="NAME", help="The ClusterHarborConnection that the projects are to use.")
@click.option(
    "--secrets-file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the Secrets that the resources need to a file that only its owner can read.",
)
@click.option(
    "--include-managed",
    is_flag=True,
    help="Include policies that an operator created, to take them over from another cluster.",
)
def export(
    where: Where,
    projects: tuple[str, ...],
    namespace: str | None,
    connection_ref: str | None,
    secrets_file: Path | None,
    include_managed: bool,
) -> None:
    """Print the projects and webhook policies of a Harbor as manifests.

    The YAML adopts them: applying it changes nothing in Harbor. It contains no credentials but refers to Secrets that
    hold them. Ends with 1 if something could not be exported; comments and warnings say what.
    """
    from harborhook.commands.export import ExportRequest, run

    if isinstance(where, ByConnection) and where.namespace and namespace not in (None, where.namespace):
        raise click.UsageError(f"--namespace: a HarborConnection serves its own, which is {where.namespace}.")
    request = ExportRequest(projects, namespace or "", connection_ref or "", include_managed)
    raise SystemExit(run(where, request, secrets_file))


def _within(where: Where, namespace: str | None) -> Where:
    if namespace is None:
        return where
    if isinstance(where, ByUrl):
        raise click.UsageError("--namespace: only with --connection.")
    return where.within(namespace)
