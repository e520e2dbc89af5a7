"""JSON out of an answer, or out of a payload that an answer quotes, within limits that no Harbor comes near.

Without them a server that is no Harbor decides how much memory the operator takes: an empty list is two bytes in an
answer and 64 in memory, and a structure of great depth breaks what later walks through it.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

DEPTH_LIMIT = 32
"""Lists and objects within each other; Harbor's own answers have 8."""
VALUES_LIMIT = 1_000_000
"""Values in one document, counted by its commas and brackets: at most some 100 MB in memory."""

_HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")
"""Half of an escaped character: two make one, alone it is none. Harbor, written in Go, never sends one alone."""


def parse(text: str | bytes) -> Any:
    """The value. Raises ValueError for what is broken, too deep or of too many values, and for what Go never writes:
    half a character and a number that is none."""
    document = text.decode() if isinstance(text, bytes) else text
    if sum(map(document.count, ",[{")) > VALUES_LIMIT:
        raise ValueError("too many values")
    try:
        value = json.loads(document, parse_float=_finite, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("too deep") from None
    if _is_too_deep(value):
        raise ValueError("too deep")
    if _HALF_CHARACTER.search(document):
        json.dumps(value, ensure_ascii=False).encode()  # refuses half a character, which nothing can be done with
    return value


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH_LIMIT):
        level = [child for parent in level for child in _children(parent) if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _children(parent: Any) -> Any:
    if isinstance(parent, dict):
        return parent.values()
    return parent if isinstance(parent, list) else ()


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number that is too large")
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
