"""Parses JSON from an answer, or from a payload that an answer quotes, within limits that no Harbor reaches.

Without limits a hostile server could exhaust the operator's memory: an empty list takes two bytes in an answer and 64
in memory, and a very deep structure exhausts the stack of code that walks it.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

DEPTH_LIMIT = 32
"""Maximum nesting of lists and objects; Harbor's own answers have 8."""
VALUES_LIMIT = 1_000_000
"""Maximum values in a document, counted by its commas and brackets: at most about 100 MB in memory."""

_HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")
"""An escaped surrogate; valid only in pairs. Harbor, written in Go, never sends a lone one."""


def parse(text: str | bytes) -> Any:
    """Returns the value. Raises ValueError for invalid, too deep or too large documents, and for lone surrogates and
    NaN or infinity, which Go never writes."""
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
        json.dumps(value, ensure_ascii=False).encode()  # raises for lone surrogates
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
