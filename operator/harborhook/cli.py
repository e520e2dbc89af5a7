"""The console command `harborhook`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from harborhook import __version__
from harborhook.api.crds import crds_yaml
from harborhook.commands.options import ByConnection, ByUrl, Where, which_harbor
from harborhook.settings import Settings


def _flags_of_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Adds a flag per setting, so that flags, variables and documentation cannot differ."""
    for name, field in reversed(Settings.model_fields.items()):
        default = f"  [default: {field.default}]" if field.default not in ("", []) else ""
        option = click.option(
            f"--{name.replace('_', '-')}",
            name,
            default=None,
            show_envvar=False,
            metavar="VALUE",
            help=f"{field.description}  [HARBORHOOK_{name.upper()}]{default}",
        )
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="harborhook")
def main() -> None:
    """Declare Harbor projects and webhook policies in Kubernetes."""


@main.command()
@click.option("--kubeconfig", type=click.Path(dir_okay=False), help="Default: $KUBECONFIG or the service account.")
@_flags_of_settings
def run(kubeconfig: str | None, **flags: Any) -> None:
    """Run the operator.

    Each setting is a flag or a variable of the environment; the flag goes before. Times are in seconds.
    """
    from harborhook.kube.gateway import NoClusterError
    from harborhook.lifecycle import Operator
    from harborhook.runtime.leader import LeadershipLostError
    from harborhook.telemetry import set_up_logging

    try:
        settings = Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise click.ClickException(
            f"The settings are wrong: {'; '.join(map(_what_is_wrong, error.errors()))}"
        ) from None
    set_up_logging(settings.log_level)
    try:
        asyncio.run(_run(Operator(settings, kubeconfig)))
    except (NoClusterError, LeadershipLostError) as error:
        raise click.ClickException(str(error)) from None


def _what_is_wrong(item: ErrorDetails) -> str:
    """`drift_interval: Input should be ...`; what concerns several settings names them itself."""
    return ": ".join([*map(str, item["loc"]), item["msg"].removeprefix("Value error, ")])


async def _run(operator: Any) -> None:
    await operator.run()


@main.command()
def crds() -> None:
    """Print the CustomResourceDefinitions, for kubectl apply."""
    click.echo(crds_yaml(), nl=False)


@main.command()
@which_harbor
@click.option("--namespace", "-n", metavar="NAME", help="For --connection: it is a HarborConnection of this namespace.")
@click.option(
    "--project",
    metavar="NAME",
    help="The one in which to look at permissions. Default: that of the first 25 in which the most is allowed.",
)
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def doctor(where: Where, namespace: str | None, project: str | None, output: str) -> None:
    """Find out whether the operator can work with a Harbor.

    Reaches it, logs in, and tells its version, who the account is, what it may do, and whether notifications are on.
    Only reads. Ends with 0 if nothing is in the operator's way, with 1 if something is.
    """
    from harborhook.commands.connecting import FailedError
    from harborhook.commands.doctor import as_json, as_text, examine, is_well
    from harborhook.commands.output import put_out, say

    findings = asyncio.run(examine(_within(where, namespace), project))
    try:
        put_out(as_json(findings)) if output == "json" else say(as_text(findings))
    except FailedError as error:
        raise click.ClickException(str(error)) from None
    raise SystemExit(0 if is_well(findings) else 1)


@main.command()
@which_harbor
@click.option(
    "--project",
    "projects",
    metavar="NAME",
    multiple=True,
    help="A project in Harbor; can be repeated. Default: all that can be seen.",
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
    help="Also policies that an operator has made, to take them over from another cluster.",
)
def export(
    where: Where,
    projects: tuple[str, ...],
    namespace: str | None,
    connection_ref: str | None,
    secrets_file: Path | None,
    include_managed: bool,
) -> None:
    """Print what a Harbor has as resources.

    Projects and webhook policies come as YAML that adopts them: applying it changes nothing in Harbor. What can be a
    credential is not in it, but in Secrets that it refers to. Ends with 1 if something could not be exported, which
    comments and warnings tell.
    """
    from harborhook.commands.connecting import FailedError
    from harborhook.commands.export import ExportRequest, run

    if isinstance(where, ByConnection) and where.namespace and namespace not in (None, where.namespace):
        raise click.UsageError(f"--namespace: a HarborConnection serves its own, which is {where.namespace}.")
    request = ExportRequest(projects, namespace or "", connection_ref or "", include_managed)
    try:
        raise SystemExit(run(where, request, secrets_file))
    except FailedError as error:
        raise click.ClickException(str(error)) from None


def _within(where: Where, namespace: str | None) -> Where:
    if namespace is None:
        return where
    if isinstance(where, ByUrl):
        raise click.UsageError("--namespace: only with --connection.")
    return where.within(namespace)
