"""Text that others wrote (Harbor, receivers, certificates, proxies), made fit to be shown.

It is clipped where it enters, in harbor/. It is made printable once more where it leaves, since names have to stay
exact in between: in conditions, drift and Events, in the log, and in what our commands print.
"""

from __future__ import annotations

import re

TEXT_LIMIT = 300
CONTROL = "\N{REPLACEMENT CHARACTER}"

_UNPRINTABLE = re.compile(r"[^ -~]")


def printable(text: str) -> str:
    """One line of the same length without anything that a terminal obeys or that turns the direction of writing:
    control characters of both sets, ESC among them, format characters, half surrogates."""
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(char: str) -> str:
    if char.isprintable():
        return char
    return " " if char.isspace() else CONTROL


def cut(text: str, limit: int = TEXT_LIMIT) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def clip(text: str, limit: int = TEXT_LIMIT) -> str:
    """One printable line of sane length, with single spaces."""
    return cut(" ".join(printable(text[: 16 * limit]).split()), limit)


def escaped(document: str) -> str:
    """JSON on one line or many, in which every character that is not printable is written as an escape."""
    return _UNPRINTABLE.sub(_escape, document)


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    if char == "\n" or char.isprintable():
        return char
    code = ord(char)
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
