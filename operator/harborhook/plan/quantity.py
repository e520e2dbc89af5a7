"""Converts storage quotas between the quantities of a spec and Harbor's bytes, without rounding."""

from __future__ import annotations

import re
from decimal import Decimal

UNLIMITED = "unlimited"
UNLIMITED_BYTES = -1
"""Harbor's value for an unlimited quota."""
MOST_BYTES = 1024 * 1024**4
"""The largest limit that Harbor accepts."""

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([kMGTP]|[KMGTP]i)?")
_DECIMAL = {suffix: 1000**power for power, suffix in enumerate("kMGTP", start=1)}
_BINARY = {f"{letter}i": 1024**power for power, letter in enumerate("KMGTP", start=1)}
_FACTORS = {**_DECIMAL, **_BINARY}


def parse_quota(stated: int | str) -> int:
    """Returns the bytes of a `storageQuota`: -1 for "unlimited"; a fraction of a byte is rounded up, as Kubernetes
    does.

    Raises ValueError for other texts, which the API server rejects.
    """
    if isinstance(stated, int):
        return stated
    if stated == UNLIMITED:
        return UNLIMITED_BYTES
    found = _QUANTITY.fullmatch(stated)
    if found is None:
        raise ValueError(f"{stated!r} is not a quantity")
    # Integers, since Decimal arithmetic rounds to the precision of its context.
    numerator, denominator = Decimal(found[1]).as_integer_ratio()
    numerator *= _FACTORS[found[2]] if found[2] else 1
    return -(-numerator // denominator)


def format_bytes(count: int) -> str:
    """Returns the exact size for users: with the largest binary suffix that divides it, otherwise in bytes."""
    if count == UNLIMITED_BYTES:
        return UNLIMITED
    fitting = [suffix for suffix, factor in _BINARY.items() if count and count % factor == 0]
    return f"{count // _BINARY[fitting[-1]]}{fitting[-1]}" if fitting else str(count)
