"""The console command `harborhook`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import click
from pydantic import ValidationError

from harborhook import __version__
from harborhook.api.crds import crds_yaml
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
    """Run the operator."""
    from harborhook.handlers import Operator
    from harborhook.kube.gateway import NoClusterError
    from harborhook.runtime.leader import LeadershipLostError
    from harborhook.telemetry import set_up_logging

    try:
        settings = Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        wrong = "; ".join(": ".join([*map(str, item["loc"]), item["msg"]]) for item in error.errors())
        raise click.ClickException(f"The settings are wrong: {wrong}") from None
    set_up_logging(settings.log_level)
    try:
        asyncio.run(_run(Operator(settings, kubeconfig)))
    except (NoClusterError, LeadershipLostError) as error:
        raise click.ClickException(str(error)) from None


async def _run(operator: Any) -> None:
    await operator.run()


@main.command()
def crds() -> None:
    """Print the CustomResourceDefinitions, for kubectl apply."""
    click.echo(crds_yaml(), nl=False)
