"""Prints what the changelog says of a version, as the text of its release: python -m harness.release.notes VERSION."""

from __future__ import annotations

import re
import sys

from harness.chart_files import REPOSITORY


def notes(changelog: str, version: str) -> str:
    """The section of a version, without its heading; empty if there is none."""
    section = re.search(rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    return section[1].strip() if section else ""


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
