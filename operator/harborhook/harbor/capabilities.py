"""Versions of Harbor, by which features are decided."""

from __future__ import annotations

import re

Version = tuple[int, int, int]

FLOOR: Version = (2, 3, 0)
"""The oldest supported Harbor."""


def short(version: Version) -> str:
    """Returns `2.16` for (2, 16, 0)."""
    return f"{version[0]}.{version[1]}"


def parse_version(text: str) -> Version | None:
    """Returns (2, 16, 0) for `v2.16.0-c50c7ddd`; None for a development build without a number."""
    found = re.match(r"v?([0-9]{1,9})\.([0-9]{1,9})(?:\.([0-9]{1,9}))?", text)
    if found is None:
        return None
    return int(found[1]), int(found[2]), int(found[3] or 0)
