"""Shows progress on standard error: a bar on a terminal, otherwise a plain line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import Progress

PAUSE = 10.0
"""Seconds between two plain lines."""

Advance = Callable[[], None]


@contextmanager
def progress(what: str, total: int) -> Iterator[Advance]:
    """Yields a function to call after each of `total` steps."""
    if sys.stderr is not None and sys.stderr.isatty():
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda: bar.advance(task)
    else:
        yield _plain(what, total)


def _plain(what: str, total: int) -> Advance:
    done, reported = 0, time.monotonic()

    def advance() -> None:
        nonlocal done, reported
        done += 1
        if time.monotonic() - reported >= PAUSE:
            reported = time.monotonic()
            click.echo(f"{what}: {done} of {total}", err=True)

    return advance
