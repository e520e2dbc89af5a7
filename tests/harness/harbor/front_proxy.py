"""Computes the path that Harbor's core gets from its front proxy.

nginx has `proxy_pass` with a path: it decodes and normalises the path of a request, and encodes the result again for
core. So `/projects/none%2F..%2Fvictim` becomes a request for `victim` (measured on Harbor 2.16), and a part that core
needs encoded must be encoded twice.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

BAD_REQUEST = b"""<html>\r
<head><title>400 Bad Request</title></head>\r
<body>\r
<center><h1>400 Bad Request</h1></center>\r
<hr><center>nginx</center>\r
</body>\r
</html>\r
"""
_HEX = b"0123456789abcdefABCDEF"


def core_path(raw: bytes) -> str | None:
    """Returns the path that core serves, decoded. None: nginx refuses the request with BAD_REQUEST."""
    if not _is_encoded_well(raw):
        return None
    decoded = unquote_to_bytes(raw)
    if not decoded.startswith(b"/") or b"\0" in decoded:
        return None
    segments: list[bytes] = []
    for segment in decoded.split(b"/")[1:]:
        if segment == b"..":
            if not segments:
                return None  # it would lead above the root
            segments.pop()
        elif segment not in (b"", b"."):
            segments.append(segment)
    slash = b"/" if segments and decoded.endswith((b"/", b"/.", b"/..")) else b""
    return (b"/" + b"/".join(segments) + slash).decode(errors="replace")


def _is_encoded_well(raw: bytes) -> bool:
    escapes = raw.split(b"%")[1:]
    return all(len(text) >= 2 and text[0] in _HEX and text[1] in _HEX for text in escapes)
