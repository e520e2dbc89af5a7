"""Manifests as YAML that every tool reads alike, with comments."""

from __future__ import annotations

from collections.abc import Iterable

from harborhook.commands.export_plan import Exported, Manifest
from harborhook.commands.unambiguous_yaml import manifest_yaml
from harborhook.foreign_text import printable


def document(exported: Exported) -> str:
    """Returns a YAML document with its comments, or only comments."""
    said = commented(*exported.remarks, *(f"NOT EXPORTED: {complaint}" for complaint in exported.complaints))
    return f"---\n{said}{manifest_yaml(exported.manifest)}" if exported.manifest else said


def documents(manifests: Iterable[Manifest]) -> str:
    return "".join(f"---\n{manifest_yaml(manifest)}" for manifest in manifests)


def commented(*lines: str) -> str:
    return "".join(f"# {' '.join(printable(line).split())}\n" for line in lines)
