"""What a Harbor can do, by its version."""

from __future__ import annotations

import re

Version = tuple[int, int, int]

FLOOR: Version = (2, 3, 0)
"""The oldest Harbor that is supported."""


def short(version: Version) -> str:
    """(2, 16, 0) to `2.16`."""
    return f"{version[0]}.{version[1]}"


def parse_version(text: str) -> Version | None:
    """`v2.16.0-c50c7ddd` to (2, 16, 0); None for a development build without a number."""
    found = re.match(r"v?([0-9]{1,9})\.([0-9]{1,9})(?:\.([0-9]{1,9}))?", text)
    if found is None:
        return None
    return int(found[1]), int(found[2]), int(found[3] or 0)
