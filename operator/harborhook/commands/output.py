"""Prints the results of commands, to a terminal, a pipe or a file."""

from __future__ import annotations

import errno
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from harborhook.commands.failures import FailedError
from harborhook.commands.tables import Block, Line, plain, rendered
from harborhook.foreign_text import escaped, printable

WATCH_PAUSE = 2.0
"""Seconds between two reads of `--watch`."""
WATCH_SHARE = 5
"""A slow read is followed by a pause of this many times its duration, to spare the API server."""


def say(text: str) -> None:
    """Prints for users, in their terminal's encoding; unsupported characters are replaced. Raises FailedError."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    _print(text.encode(encoding, errors="replace").decode(encoding))


def put_out(text: str) -> None:
    """Prints for programs: YAML and JSON are UTF-8, regardless of the locale. Raises FailedError."""
    _print(text.encode())


def _print(what: str | bytes) -> None:
    try:
        click.echo(what, nl=False)
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader has closed the pipe, which is not a failure: click ends the process
            raise
        raise FailedError(f"Standard output cannot be written: {error.strerror}.") from None


def put_out_as(format_name: str, found: dict[str, Any]) -> None:
    """Prints as `json` or `yaml`."""
    if format_name == "json":
        put_out(escaped(json.dumps(found, indent=2, ensure_ascii=False)) + "\n")
        return
    from harborhook.commands.unambiguous_yaml import manifest_yaml

    put_out(manifest_yaml(found))


def note(sentence: str) -> None:
    """Prints additional information on standard error."""
    click.echo(f"Note: {printable(sentence)}", err=True)


def is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def show(blocks: Sequence[Block]) -> None:
    """Prints tables: coloured and wrapped on a terminal, plain elsewhere. rich obeys NO_COLOR, COLUMNS and TERM."""
    if not is_terminal():
        say(plain(blocks))
        return
    from rich.console import Console

    console = Console(highlight=False)
    with console.capture() as captured:
        for piece in rendered(blocks, console):
            console.print(piece)
    say(captured.get())


def watch(read: Callable[[], Sequence[Block]]) -> None:
    """Prints the result of `read` repeatedly until Ctrl-C; if the output is not a terminal, only when it has
    changed."""
    if is_terminal():
        _redraw(read)
    last = ""
    for blocks in _readings(read):
        text = plain(blocks)
        if text != last:
            say(f"\n{text}" if last else text)
            last = text


def _redraw(read: Callable[[], Sequence[Block]]) -> None:
    from rich.console import Console, Group
    from rich.live import Live

    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    console = Console(highlight=False)
    readings = _readings(read)
    blocks = next(readings)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(Group(*rendered(blocks, console)), refresh=True)
            blocks = next(readings)


def _readings(read: Callable[[], Sequence[Block]]) -> Iterator[Sequence[Block]]:
    """Yields readings without end. After the first one, a failure is shown and does not end the watch."""
    started = time.monotonic()
    yield read()
    while True:
        time.sleep(max(WATCH_PAUSE, WATCH_SHARE * (time.monotonic() - started)))
        started = time.monotonic()
        try:
            blocks = read()
        except FailedError as error:
            blocks = [Line(str(error), "red")]
        took = time.monotonic() - started
        yield blocks
        started = time.monotonic() - took
