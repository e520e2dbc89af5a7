"""What a Harbor can do, by its version."""

from __future__ import annotations

import re

Version = tuple[int, int, int]

FLOOR: Version = (2, 3, 0)
"""The oldest Harbor that is supported."""

METADATA_SINCE: dict[str, Version] = {
    "enable_content_trust": (2, 9, 0),  # as Notation; before, the key meant Notary, which is gone
    "enable_content_trust_cosign": (2, 5, 0),
    "auto_sbom_generation": (2, 11, 0),
    "proxy_speed_kb": (2, 12, 0),
    "max_upstream_conn": (2, 15, 0),
    "proxy_cache_local_on_not_found": (2, 16, 0),
    "proxy_referrer_api": (2, 16, 0),
    "proxy_cache_filter_pattern": (2, 16, 0),
    "proxy_cache_filter_kind": (2, 16, 0),
}
"""Since which Harbor a project has a metadata key; keys that are not here are older than FLOOR. An older Harbor drops
them without a word."""


def knows(version: Version | None, key: str) -> bool:
    """Whether a Harbor has a metadata key; one of unknown version is taken for a new one."""
    return version is None or version >= METADATA_SINCE.get(key, FLOOR)


def short(version: Version) -> str:
    """(2, 16, 0) to `2.16`."""
    return f"{version[0]}.{version[1]}"


def parse_version(text: str) -> Version | None:
    """`v2.16.0-c50c7ddd` to (2, 16, 0); None for a development build without a number."""
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    if found is None:
        return None
    return int(found[1]), int(found[2]), int(found[3] or 0)
