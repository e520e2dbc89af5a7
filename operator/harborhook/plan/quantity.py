"""Storage quotas: from what a spec says to the number of bytes that Harbor keeps, and back. Exact throughout."""

from __future__ import annotations

import re
from decimal import Decimal

UNLIMITED = "unlimited"
UNLIMITED_BYTES = -1
"""Harbor's number for no limit."""
MOST_BYTES = 1024 * 1024**4
"""The largest limit that Harbor takes."""

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([kMGTP]|[KMGTP]i)?")
_DECIMAL = {suffix: 1000**power for power, suffix in enumerate("kMGTP", start=1)}
_BINARY = {f"{letter}i": 1024**power for power, letter in enumerate("KMGTP", start=1)}
_FACTORS = {**_DECIMAL, **_BINARY}


def parse_quota(stated: int | str) -> int:
    """The bytes of a `storageQuota`: -1 for "unlimited", a fraction of a byte rounded up as Kubernetes does.

    Raises ValueError for what is neither a quantity nor "unlimited", which the API server refuses.
    """
    if isinstance(stated, int):
        return stated
    if stated == UNLIMITED:
        return UNLIMITED_BYTES
    found = _QUANTITY.fullmatch(stated)
    if found is None:
        raise ValueError(f"{stated!r} is not a quantity")
    # A ratio of integers, since a Decimal's own arithmetic is rounded to its context's precision.
    numerator, denominator = Decimal(found[1]).as_integer_ratio()
    numerator *= _FACTORS[found[2]] if found[2] else 1
    return -(-numerator // denominator)


def format_bytes(count: int) -> str:
    """A number of bytes for a person, exact: with the largest binary suffix that divides it, else as plain bytes."""
    if count == UNLIMITED_BYTES:
        return UNLIMITED
    fitting = [suffix for suffix, factor in _BINARY.items() if count and count % factor == 0]
    return f"{count // _BINARY[fitting[-1]]}{fitting[-1]}" if fitting else str(count)
