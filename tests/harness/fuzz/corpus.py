"""The corpus: seeds, one JSON list of strings per target in tests/data/fuzz, and texts derived from them."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

CORPUS = Path(__file__).parents[2] / "data/fuzz"
PIECES = [
    *("\r\n", "\0", "\x1b[2J", "\x9b", "\u202e", "\ud800", "\u0661"),
    *("%00", "%2F..%2F", "@", "://", ":", "[::1]", "..", "/", "?", "#", "\\", '"'),
    *("9" * 40, "-1", "1e999", "NaN", "null", "true", '{"', "[[[[", "]}", "\\u0000", "```", "<!date^"),
]


def seeds(target: str) -> list[str]:
    found: list[str] = json.loads((CORPUS / f"{target}.json").read_text())
    return found


def keep(target: str, text: str) -> None:
    """Adds a text on which the target has failed, so that every later run tries it."""
    found = dict.fromkeys([*seeds(target), text])
    (CORPUS / f"{target}.json").write_text(json.dumps(list(found), indent=2) + "\n")


def texts(target: str) -> SearchStrategy[str]:
    """Generates texts: seeds cut, joined, repeated and mixed with pieces that often break parsers, and any text."""
    known = seeds(target)
    junk = st.text(st.characters(), max_size=20) | st.sampled_from(PIECES)
    seed, place = st.sampled_from(known), st.integers(0, 400)
    mutated = st.builds(_spliced, seed, seed, junk, place, place)
    repeated = st.builds(lambda text, times: text[:40] * times, seed | junk, st.integers(0, 300))
    return seed | mutated | repeated | st.lists(junk, max_size=8).map("".join)


def _spliced(one: str, other: str, between: str, end: int, start: int) -> str:
    return one[: end % (len(one) + 1)] + between + other[start % (len(other) + 1) :]
