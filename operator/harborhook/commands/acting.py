"""The commands that send a request to the operator, or change one field, for one resource or several."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from harborhook.commands.caller import Caller, of_namespace, output_option
from harborhook.commands.completers import complete_policy, complete_resource
from harborhook.commands.failures import NOT_WELL, FailedError

if TYPE_CHECKING:
    from harborhook.api.names import Key
    from harborhook.commands.asking import ActionResult, ReportProgress, WaitOptions

_FORMATS = ("json", "yaml", "name")
_Perform = Callable[["Key", "WaitOptions"], "ActionResult"]


def _waits(seconds: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds --no-wait and --timeout."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        no_wait = click.option("--no-wait", is_flag=True, help="Do not wait for the operator's answer.")
        timeout = click.option(
            "--timeout",
            type=click.FloatRange(min=0, min_open=True),
            default=seconds,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait for the operator's answer.",
        )
        return no_wait(timeout(command))

    return decorate


_resources = click.argument(
    "resources", metavar="KIND/NAME...", nargs=-1, required=True, shell_complete=complete_resource
)
_resource = click.argument("resource", metavar="KIND/NAME", shell_complete=complete_resource)
_policy = click.argument("name", shell_complete=complete_policy)
_force = click.option("--force", is_flag=True, help="Also where a GitOps tool has set the field.")


@click.command()
@_resources
@of_namespace
@_waits(60)
@output_option(_FORMATS)
def reconcile(
    caller: Caller, resources: tuple[str, ...], no_wait: bool, timeout: float, output_format: str | None
) -> None:
    """Compare resources with Harbor now, and correct what differs.

    KIND/NAME is, for example, whp/ci or hproj/team-a. Ends with 1 if one of them is not Ready afterwards.
    """
    from harborhook.commands import asking

    _perform(
        caller, _keys(caller, resources), output_format, _seconds(no_wait, timeout),
        lambda key, wait: asking.reconcile(caller.cluster, key, wait),
    )  # fmt: skip


@click.command()
@_policy
@of_namespace
@_waits(60)
@output_option(_FORMATS)
def test(caller: Caller, name: str, no_wait: bool, timeout: float, output_format: str | None) -> None:
    """Send an empty notification to the targets of a WebhookPolicy.

    The operator sends it, where the connection has allowEndpointTests. Ends with 1 if a target did not answer.
    """
    from harborhook.commands import asking

    _perform(
        caller, [_policy_key(caller, name)], output_format, _seconds(no_wait, timeout),
        lambda key, wait: asking.send_test(caller.cluster, key, wait),
    )  # fmt: skip


@click.command()
@_policy
@click.argument("ids", metavar="[ID]...", nargs=-1, type=click.IntRange(min=1))
@of_namespace
@click.option("--failed", is_flag=True, help="All that failed and are still in Harbor, of any age; the default.")
@_waits(300)
@output_option(_FORMATS)
def redeliver(
    *,
    caller: Caller,
    name: str,
    ids: tuple[int, ...],
    failed: bool,
    no_wait: bool,
    timeout: float,
    output_format: str | None,
) -> None:
    """Send notifications of a WebhookPolicy again.

    Each ID is one that `deliveries` shows. The operator sends them, where the connection has allowRedelivery. Ends
    with 1 if something was not delivered.
    """
    from harborhook.commands import asking

    if ids and failed:
        raise click.UsageError("--failed does not go with IDs.")
    _perform(
        caller, [_policy_key(caller, name)], output_format, _seconds(no_wait, timeout),
        lambda key, wait: asking.redeliver(caller.cluster, key, ids, wait),
    )  # fmt: skip


@click.command()
@_resource
@of_namespace
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@_waits(60)
@output_option(_FORMATS)
def release(caller: Caller, resource: str, yes: bool, no_wait: bool, timeout: float, output_format: str | None) -> None:
    """Release a resource without touching Harbor, where its deletion cannot finish.

    Its object in Harbor stays there, unmanaged. A resource that is not being deleted is released when it is deleted.
    """
    from harborhook.commands import asking, lookup

    (key,) = _keys(caller, [resource])
    lookup.find(caller.cluster, key)
    confirm(f"{key} will be deleted, and its object in Harbor stays there, unmanaged. Continue?", yes=yes)
    _perform(
        caller, [key], output_format, _seconds(no_wait, timeout),
        lambda key, wait: asking.release(caller.cluster, key, wait),
    )  # fmt: skip


@click.command()
@_resources
@of_namespace
@_force
@output_option(_FORMATS)
def suspend(caller: Caller, resources: tuple[str, ...], force: bool, output_format: str | None) -> None:
    """Stop all writes to Harbor for resources: sets spec.suspend.

    For a connection: the operator sends no more requests to that Harbor, and all its resources keep their state.
    """
    _set_suspend(caller, resources, True, force, output_format)


@click.command()
@_resources
@of_namespace
@_force
@output_option(_FORMATS)
def resume(caller: Caller, resources: tuple[str, ...], force: bool, output_format: str | None) -> None:
    """Undo `suspend`."""
    _set_suspend(caller, resources, False, force, output_format)


def _set_suspend(
    caller: Caller, resources: Sequence[str], wanted: bool, force: bool, output_format: str | None
) -> None:
    from harborhook.commands import owned_fields

    _perform(
        caller, _keys(caller, resources), output_format, None,
        lambda key, _: owned_fields.set_suspend(caller.cluster, key, wanted, force=force),
    )  # fmt: skip


# Shared by the commands


def _keys(caller: Caller, resources: Sequence[str]) -> list[Key]:
    """Returns each key once, in the order of the command line."""
    from harborhook.commands.naming import key_of

    return list(dict.fromkeys(key_of(text, caller.namespace) for text in resources))


def _policy_key(caller: Caller, name: str) -> Key:
    from harborhook.commands.naming import policy_key

    return policy_key(name, caller.namespace)


def _seconds(no_wait: bool, timeout: float) -> float | None:
    return None if no_wait else timeout


def _perform(
    caller: Caller, keys: Sequence[Key], output_format: str | None, timeout: float | None, perform: _Perform
) -> None:
    """Performs the action for each key, also after a failure, and ends the command."""
    deadline = time.monotonic() + (timeout or 0)
    answers = [_performed(key, timeout, deadline, perform) for key in keys]
    _print(answers, output_format)
    raise SystemExit(0 if all(answer.is_well for answer in answers) else NOT_WELL)


def _performed(key: Key, timeout: float | None, deadline: float, perform: _Perform) -> ActionResult:
    from harborhook.commands.asking import ActionResult, WaitOptions

    try:
        with progress_line(str(key)) as progress:
            return perform(key, WaitOptions(timeout, progress, deadline))
    except FailedError as error:
        return ActionResult(key, False, str(error))


def _print(answers: Sequence[ActionResult], output_format: str | None) -> None:
    from harborhook.commands import output
    from harborhook.commands.naming import name_of
    from harborhook.foreign_text import printable

    if output_format == "name":
        output.put_out("".join(f"{name_of(answer.key)}\n" for answer in answers if answer.is_well))
    elif output_format:
        output.put_out_as(output_format, {"results": [answer.wire() for answer in answers]})
    for answer in answers:
        if not output_format:
            output.show(answer.blocks)
        if not answer.is_well:
            click.echo(f"Error: {printable(_named(answer))}", err=True)
        elif not output_format:
            output.say(f"{printable(_named(answer))}\n")


def _named(answer: ActionResult) -> str:
    """Failure messages mostly contain the resource's name already."""
    return answer.sentence if str(answer.key) in answer.sentence else f"{answer.key}: {answer.sentence}"


@contextmanager
def progress_line(what: str) -> Iterator[ReportProgress]:
    """Shows a progress line on standard error if that is a terminal; otherwise nothing."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True, highlight=False).status(what) as line:
        yield lambda said: line.update(f"{what}: {said}")


def confirm(question: str, *, yes: bool) -> None:
    """Asks on a terminal; scripts have to pass --yes. Raises click.UsageError, or click.Abort if the user declines."""
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError("This needs a confirmation: without a terminal, use --yes.")
    click.confirm(question, abort=True, err=True)
