"""Extracts the code blocks of Markdown files, so that tests can check them."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import yaml

from harborhook.api.kinds import KINDS


def blocks(markdown: str, *languages: str) -> list[str]:
    """Returns the code blocks of these languages, or all of them, including those within a list."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", markdown, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(text) for _, language, text in found if not languages or language in languages]


def commands(markdown: str) -> list[str]:
    """Returns the commands in `sh` blocks (every line, without its comment) and `console` blocks (the lines after a
    prompt)."""
    typed = [line for block in blocks(markdown, "sh") for line in block.splitlines()]
    typed += [line[2:] for block in blocks(markdown, "console") for line in block.splitlines() if line[:2] == "$ "]
    return [command for line in typed if (command := line.partition("  #")[0].strip())]


def manifests_of(markdown: str) -> list[dict[str, Any]]:
    """Returns the complete resources of our kinds in `yaml` blocks. Fragments are left out: blocks without a kind, and
    those that leave some fields "as before"."""
    whole = [block for block in blocks(markdown, "yaml") if ": as before" not in block]
    found = [manifest for block in whole for manifest in yaml.safe_load_all(block)]
    return [manifest for manifest in found if manifest and manifest.get("kind") in KINDS]
