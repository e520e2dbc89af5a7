"""Prints the changelog of a version, as the text of its release: python -m harness.release.notes VERSION."""

from __future__ import annotations

import re
import sys

from harness.chart_files import REPOSITORY


def notes(changelog: str, version: str) -> str:
    """Returns the section of a version, without its heading; empty if there is none."""
    section = _section(changelog, version)
    return section["text"].strip() if section else ""


def heading(changelog: str, version: str) -> str:
    """Returns the heading of a version's section; empty if there is none."""
    section = _section(changelog, version)
    return section["heading"] if section else ""


def _section(changelog: str, version: str) -> re.Match[str] | None:
    pattern = rf"^(?P<heading>## \[{re.escape(version)}\][^\n]*)\n(?P<text>.*?)(?=^## |\Z)"
    return re.search(pattern, changelog, re.MULTILINE | re.DOTALL)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    found = notes((REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), arguments[0])
    if not found:
        print(f"CHANGELOG.md has no section for version {arguments[0]}: write one before the release.", file=sys.stderr)
        return 1
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
