"""What a quota may be."""

from __future__ import annotations

_MAX = 1125899906842624


def refusal(value: int) -> str | None:
    """Why a number of bytes is no quota: -1 is unlimited, 0 and below are not, 1024 TiB is the most."""
    if value <= 0 and value != -1:
        return f"invalid non-positive value for quota limit, value={value}"
    if value > _MAX:
        return f"exceeded 1024TB, which is {_MAX} Bytes, value={value}"
    return None
