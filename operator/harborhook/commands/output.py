"""What a command prints, wherever that goes."""

from __future__ import annotations

import errno
import sys

import click

from harborhook.commands.connecting import FailedError


def say(text: str) -> None:
    """For people, in the encoding of their terminal: what that lacks is replaced. Raises FailedError."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    _print(text.encode(encoding, errors="replace").decode(encoding))


def put_out(text: str) -> None:
    """For programs: YAML and JSON are UTF-8, whatever the locale says. Raises FailedError."""
    _print(text.encode())


def _print(what: str | bytes) -> None:
    try:
        click.echo(what, nl=False)
    except OSError as error:
        if error.errno == errno.EPIPE:  # nobody reads on, which is no failure: click ends the process
            raise
        raise FailedError(f"Standard output cannot be written: {error.strerror}.") from None
