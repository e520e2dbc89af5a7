"""Resources as YAML that every tool reads the same way, with comments."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

from harborhook.api.crds import PlainDumper
from harborhook.commands.export_plan import Exported, Manifest

_DOUBTFUL = re.compile(
    r"[-+._]*[0-9][-+0-9a-fox_.:]*|[-+]?[.](inf|nan)?|~|y|n|yes|no|on|off|true|false|null", re.IGNORECASE
)
"""Strings that one version of YAML or another takes for something else: `1e3`, `0o7` and `-_1` are numbers to kubectl,
and `y` is true, but not to the library that writes them here."""

_BREAKS = re.compile("[\x85\u2028\u2029]")
"""Ends of lines to YAML, and then lost, unless they are escaped."""


class _Dumper(PlainDumper):
    pass


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if _BREAKS.search(text) else "'" if _DOUBTFUL.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _quoted)


def document(exported: Exported) -> str:
    """A YAML document with its comments, or comments alone."""
    said = commented(*exported.remarks, *(f"NOT EXPORTED: {complaint}" for complaint in exported.complaints))
    return f"---\n{said}{_yaml(exported.manifest)}" if exported.manifest else said


def documents(manifests: Iterable[Manifest]) -> str:
    return "".join(f"---\n{_yaml(manifest)}" for manifest in manifests)


def commented(*lines: str) -> str:
    return "".join(f"# {' '.join(line.split())}\n" for line in lines)


def _yaml(manifest: dict[str, Any]) -> str:
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
