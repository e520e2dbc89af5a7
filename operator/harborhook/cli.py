"""The console command `harborhook`, also available as `kubectl harborhook`.

Modules that load slowly are imported only by the commands that need them: `--help` has to answer at once.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from harborhook.commands import acting, completion, examining, switching, viewing
from harborhook.commands.failures import INTERRUPTED, FailedError
from harborhook.foreign_text import printable

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class _Program(click.Group):
    """Handles errors and interrupts of every command in the same way."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FailedError as error:
            raise click.ClickException(printable(str(error))) from None
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "harborhook":
                raise
            raise click.ClickException(
                f"This command needs the Python package {error.name}, which is not installed: pipx install harborhook "
                "installs everything."
            ) from None
        except KeyboardInterrupt:
            click.echo(err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None


class _Run(click.Command):
    """Has a flag for each setting, so that flags, variables and documentation cannot differ."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = [parameter for parameter in super().get_params(ctx) if not parameter.is_eager]
        eager = [parameter for parameter in super().get_params(ctx) if parameter.is_eager]
        return [*own, *_flags_of_settings(), *eager]


def _flags_of_settings() -> list[click.Parameter]:
    from harborhook.settings import Settings

    return [
        click.Option(
            [f"--{name.replace('_', '-')}", name],
            default=None,
            show_envvar=False,
            metavar="VALUE",
            help=f"{field.description}  [HARBORHOOK_{name.upper()}]"
            + (f"  [default: {field.default}]" if field.default not in ("", []) else ""),
        )
        for name, field in Settings.model_fields.items()
    ]


def _print_version(ctx: click.Context, _: click.Parameter, is_asked: bool) -> None:
    if is_asked:
        from harborhook import __version__

        click.echo(f"harborhook, version {__version__}")
        ctx.exit()


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show the version."
)
def main() -> None:
    """Declare Harbor projects and webhook policies in Kubernetes.

    Exit codes: 0 all is well, 1 something is not (or could not be done), 2 wrong usage, 130 interrupted.
    """


def kubectl() -> None:
    """The same program under the name that kubectl looks for."""
    main(prog_name="kubectl harborhook")


def kubectl_complete() -> None:
    """The program kubectl_complete-harborhook, which kubectl runs on Tab with the words typed so far."""
    sys.stdout.write(completion.answer_for_kubectl(main, sys.argv[1:]))


@main.command(cls=_Run)
@click.option("--kubeconfig", type=click.Path(dir_okay=False), help="Default: $KUBECONFIG or the service account.")
def run(kubeconfig: str | None, **flags: Any) -> None:
    """Run the operator.

    Each setting is a flag or an environment variable; the flag takes precedence. Times are in seconds.
    """
    import asyncio

    from harborhook.kube.gateway import NoClusterError
    from harborhook.lifecycle import Operator, RestoredError
    from harborhook.runtime.leader import LeadershipLostError
    from harborhook.settings import Settings
    from harborhook.telemetry import set_up_logging

    settings = _settings(Settings, {name: value for name, value in flags.items() if value is not None})
    set_up_logging(settings.log_level)
    _collect_garbage_rarely()
    try:
        asyncio.run(_run(Operator(settings, kubeconfig)))
    except (NoClusterError, LeadershipLostError, RestoredError) as error:
        raise click.ClickException(str(error)) from None


def _collect_garbage_rarely() -> None:
    """Takes a tenth of the CPU off a new resource: hardly any of an operator's many small objects are in cycles, and
    what the imports have made stays for ever. Python's default is a collection per 700 new objects."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _settings(model: Any, stated: Mapping[str, Any]) -> Any:
    from pydantic import ValidationError

    try:
        return model(**stated)
    except ValidationError as error:
        raise click.ClickException(
            f"The settings are wrong: {'; '.join(map(_what_is_wrong, error.errors()))}"
        ) from None


def _what_is_wrong(item: ErrorDetails) -> str:
    """Returns `drift_interval: Input should be ...`; a message about several settings names them itself."""
    return ": ".join([*map(str, item["loc"]), item["msg"].removeprefix("Value error, ")])


async def _run(operator: Any) -> None:
    await operator.run()


@main.command()
def crds() -> None:
    """Print the CustomResourceDefinitions, for kubectl apply."""
    from harborhook.api.crds import crds_yaml

    click.echo(crds_yaml(), nl=False)


for _command in (
    viewing.status,
    viewing.deliveries,
    acting.reconcile,
    acting.test,
    acting.redeliver,
    acting.release,
    acting.suspend,
    acting.resume,
    switching.global_,
    examining.doctor,
    examining.export,
    completion.completion,
):
    main.add_command(_command)
