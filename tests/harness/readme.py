"""Reads the code blocks of a Markdown file, so that tests can hold it to them."""

from __future__ import annotations

import re


def blocks(markdown: str, *languages: str) -> list[str]:
    """The code blocks of these languages, or all of them."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)
    return [text for language, text in found if not languages or language in languages]


def commands(markdown: str) -> list[str]:
    """The commands in blocks `sh` (every line, without its comment) and `console` (the lines after a prompt)."""
    typed = [line for block in blocks(markdown, "sh") for line in block.splitlines()]
    typed += [line[2:] for block in blocks(markdown, "console") for line in block.splitlines() if line[:2] == "$ "]
    return [command for line in typed if (command := line.partition("  #")[0].strip())]
