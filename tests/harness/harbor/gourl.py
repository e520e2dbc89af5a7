"""Checks target addresses like Harbor: its ParseEndpoint on top of Go's url.ParseRequestURI."""

from __future__ import annotations

import json
import re

_HEX_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_HOST_ALLOWED = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~!$&'()*+,;=:[]<>\"%")
_USERINFO = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")


def refusal(address: str) -> str | None:
    """Returns Harbor's reason for refusing this address; None if Harbor accepts it."""
    endpoint = address.strip(" ").rstrip("/")
    if not endpoint:
        return "empty URL"
    scheme, found, _ = endpoint.partition("://")
    if found and scheme not in ("http", "https"):
        return f"invalid scheme: {scheme}"
    url = endpoint if found else f"http://{endpoint}"
    reason = _parse(url)
    return None if reason is None else f"parse {_quote(url)}: {reason}"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _parse(url: str) -> str | None:
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in url):
        return "net/url: invalid control character in URL"
    rest = url.split("?", 1)[0].split("://", 1)[1]
    authority, slash, path = rest.partition("/")
    return _check_authority(authority) or _check_escapes(slash + path)


def _check_authority(authority: str) -> str | None:
    userinfo, at, host = authority.rpartition("@")
    reason = _check_host(host)
    if reason:
        return reason
    if at and not _USERINFO.fullmatch(userinfo):
        return "net/url: invalid userinfo"
    return _check_escapes(userinfo) if at else None


def _check_host(host: str) -> str | None:
    port = ""
    if host.startswith("["):
        end = host.rfind("]")
        if end < 0:
            return "missing ']' in host"
        port = host[end + 1 :]
    elif ":" in host:
        port = host[host.rindex(":") :]
    if port and not re.fullmatch(r":[0-9]*", port):
        return f"invalid port {_quote(port)} after host"
    for character in host:
        if ord(character) < 0x80 and character not in _HOST_ALLOWED:
            return f"invalid character {_quote(character)} in host name"
    return _check_escapes(host)


def _check_escapes(text: str) -> str | None:
    at = text.find("%")
    while at >= 0:
        if not _HEX_ESCAPE.match(text, at):
            return f"invalid URL escape {_quote(text[at : at + 3])}"
        at = text.find("%", at + 3)
    return None
