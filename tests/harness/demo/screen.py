"""The output of the demonstration: readable in a terminal and, without colour, in a log."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

from rich.console import Console

from harness.receiver import Received

_WIDTH = 100
_BODY = 230
_TITLE = "bold cyan"
_COMMAND = "bold"
_OUTPUT = "dim"
_GOOD = "green"
_BAD = "bold red"


class Screen:
    """Prints steps with a sentence, commands as typed, their output, and verified claims."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, markup=False, emoji=False, soft_wrap=True)

    def title(self, text: str) -> None:
        self._print(text, _TITLE)

    def step(self, number: int, title: str, sentence: str) -> None:
        self._print("")
        self._print(f"{number}. {title}", _TITLE)
        self.say(sentence)

    def say(self, text: str) -> None:
        for line in textwrap.wrap(text, _WIDTH - 3):
            self._print(f"   {line}")

    def lines(self, text: str) -> None:
        """Prints text with its line breaks."""
        self._print(textwrap.indent(text, "   "))

    def command(self, line: str) -> None:
        self._print("")
        self._print(f"   $ {line}", _COMMAND)

    def output(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._print(f"     {line}".rstrip(), _OUTPUT)

    def verified(self, text: str) -> None:
        wrapped = textwrap.wrap(text, _WIDTH - 5)
        self._print(f"   ✓ {wrapped[0]}", _GOOD)
        for line in wrapped[1:]:
            self._print(f"     {line}", _GOOD)

    def notification(self, received: Received) -> None:
        """Prints a request to the receiver, with its secret masked and its body shortened."""
        self._print("")
        self._print(f"   {received.method} {received.path}", _COMMAND)
        self.output(shown_headers(received.headers))
        self.output(textwrap.wrap(shortened(received.text, _BODY), _WIDTH - 5))

    def failure(self, text: str) -> None:
        self._print("")
        self._print(text, _BAD)

    def _print(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style)


def shown_headers(headers: dict[str, str]) -> list[str]:
    """Returns the headers that matter to a reader."""
    shown = {"authorization": "Authorization", "content-type": "Content-Type"}
    return [f"{shown[n]}: {masked(v) if n == 'authorization' else v}" for n, v in headers.items() if n in shown]


def masked(value: str) -> str:
    """Returns the scheme and the first two characters of the credential."""
    scheme, space, secret = value.rpartition(" ")
    return f"{scheme}{space}{secret[:2]}…"


def shortened(text: str, limit: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else f"{flat[:limit]} … ({len(text)} characters)"


def first_lines(text: str, count: int) -> list[str]:
    """Returns the first lines of a long output, and the number of lines left out."""
    lines = text.splitlines()
    left_out = len(lines) - count
    return lines if left_out <= 1 else [*lines[:count], f"… {left_out} more lines"]


def sections(described: str, *names: str) -> list[str]:
    """Returns the sections of these names from the output of `kubectl describe`, at any depth."""
    shown: list[str] = []
    depth: int | None = None
    for line in described.splitlines():
        indent = len(line) - len(line.lstrip())
        if depth is not None and line.strip() and indent > depth:
            shown.append(line)
            continue
        found = re.fullmatch(r"\s*(\w[\w ]*):(\s.*)?", line)
        depth = indent if found and found[1] in names else None
        if depth is not None:
            shown += ([] if shown and shown[-1] == "…" else ["…"]) + [line]
        elif shown and shown[-1] != "…" and line.strip():
            shown.append("…")
    return shown
