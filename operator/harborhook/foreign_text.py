"""Makes text from others (Harbor, receivers, certificates, proxies) safe to show.

harbor/ clips it on input. It is made printable on output, since names have to stay exact in between: in conditions,
drift and Events, in the log, and in the output of commands.
"""

from __future__ import annotations

import re

TEXT_LIMIT = 300
CONTROL = "\N{REPLACEMENT CHARACTER}"

_UNPRINTABLE = re.compile(r"[^ -~]")


def printable(text: str) -> str:
    """Replaces characters that control a terminal or change the writing direction: C0 and C1 controls with ESC, format
    characters, lone surrogates. Returns one line of the same length."""
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(char: str) -> str:
    if char.isprintable():
        return char
    return " " if char.isspace() else CONTROL


def cut(text: str, limit: int = TEXT_LIMIT) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def clip(text: str, limit: int = TEXT_LIMIT) -> str:
    """Returns one printable line within the limit, with single spaces."""
    return cut(" ".join(printable(text[: 16 * limit]).split()), limit)


def escaped(document: str) -> str:
    """Escapes all unprintable characters in a JSON document, whether on one line or many."""
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
