"""The how-tos of docs/receivers as a team follows them: their YAML and commands, moved to the team's namespace."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from harness.paths import REPOSITORY
from harness.readme import blocks, commands

PAGES = REPOSITORY / "docs/receivers"
NAMESPACE = "team-a"
"""The namespace on every page, and the name of its HarborProject."""

Object = dict[str, Any]


def objects_of(page: str, namespace: str, **filled_in: str) -> dict[str, Object]:
    """Returns the objects of a page by kind and name (`Secret/harbor-webhook`), with placeholders and addresses filled
    in."""
    text = "\n---\n".join(blocks((PAGES / page).read_text(), "yaml")).replace(NAMESPACE, namespace)
    for placeholder, value in filled_in.items():
        if placeholder not in text:
            raise ValueError(f"{page} has no {placeholder}")
        text = text.replace(placeholder, value)
    found = [one for one in yaml.safe_load_all(text) if one]
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in found}


def kubectl_commands(page: str, namespace: str) -> list[list[str]]:
    """Returns the arguments of the page's kubectl commands."""
    typed = [shlex.split(command) for command in commands((PAGES / page).read_text().replace(NAMESPACE, namespace))]
    return [arguments for program, *arguments in typed if program == "kubectl"]
