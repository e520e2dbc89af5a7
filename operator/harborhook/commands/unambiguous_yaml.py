"""Writes YAML that parsers of every YAML version read alike."""

from __future__ import annotations

import re
from typing import Any

import yaml

from harborhook.api.plain_yaml import PlainDumper

_DOUBTFUL = re.compile(
    r"[-+._]*[0-9][-+0-9a-fox_.:]*|[-+]?[.](inf|nan)?|~|y|n|yes|no|on|off|true|false|null", re.IGNORECASE
)
"""Strings that some version of YAML reads as another type: to kubectl `1e3`, `0o7` and `-_1` are numbers and `y` is
true, but the library used here would not quote them."""

_BREAKS = re.compile("[\x85\u2028\u2029]")
"""Line ends in YAML, which a parser drops unless they are escaped."""


class _Dumper(PlainDumper):
    pass


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if _BREAKS.search(text) else "'" if _DOUBTFUL.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _quoted)


def manifest_yaml(manifest: dict[str, Any]) -> str:
    text = _dumped(manifest, allow_unicode=True)
    if text.replace("\n", "").isprintable():
        return text
    return _dumped(manifest, allow_unicode=False)  # escape control characters, which a terminal would obey


def _dumped(manifest: dict[str, Any], *, allow_unicode: bool) -> str:
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, allow_unicode=allow_unicode, width=120)
