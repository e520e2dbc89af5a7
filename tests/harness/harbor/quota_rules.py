"""The limits of a quota."""

from __future__ import annotations

_MAX = 1125899906842624


def refusal(value: int) -> str | None:
    """Returns why a number of bytes is not a valid quota: -1 is unlimited, other values below 1 are invalid, 1024 TiB
    is the maximum."""
    if value <= 0 and value != -1:
        return f"invalid non-positive value for quota limit, value={value}"
    if value > _MAX:
        return f"exceeded 1024TB, which is {_MAX} Bytes, value={value}"
    return None
