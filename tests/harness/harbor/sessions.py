"""Cookies: the `sid` of a session, and the CSRF token that a write with a `sid` needs.

Clients with Basic credentials leave thousands of sessions behind. The `sid` of a session without a login is therefore
self-signed and needs no memory. Sessions with a login are in the state.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import time

from .capabilities import Capabilities
from .errors import HarborError, forbidden
from .state import Record, State

CSRF_COOKIE = "_gorilla_csrf"
CSRF_HEADER = "x-harbor-csrf-token"
CSRF_LIFETIME = 12 * 3600
_SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
_TOKEN_BYTES = 32


class Sessions:
    """The valid `sid` cookies and their users."""

    def __init__(self, state: State, timeout_minutes: int = 60) -> None:
        self._state = state
        self._seen: dict[str, float] = {}
        self._key = _key(state, "session")
        self.timeout = timeout_minutes * 60.0
        self.issued = 0

    def anonymous(self) -> str:
        """Starts a session without a login."""
        self.issued += 1
        nonce = f"{int(time.time()):08x}{os.urandom(4).hex()}"
        return nonce + self._sign(nonce)

    def alive(self, sid: str) -> bool:
        """Whether the session exists; using it extends it."""
        if len(sid) == 32 and hmac.compare_digest(sid[16:], self._sign(sid[:16])):
            return time.time() - int(sid[:8], 16) < self.timeout
        return self.user(sid) is not None

    def user(self, sid: str) -> int | None:
        """Returns the user of this session."""
        record: Record | None = self._state.table("sessions").get(sid)
        if record is None:
            return None
        if time.time() - self._seen.setdefault(sid, record["since"]) >= self.timeout:
            self.end(sid)
            return None
        self._seen[sid] = time.time()
        return int(record["user_id"])

    def login(self, user_id: int) -> str:
        """Starts a session for a user."""
        sid = os.urandom(16).hex()
        self._state.put("sessions", sid, {"user_id": user_id, "since": time.time()})
        return sid

    def end(self, sid: str) -> None:
        """Ends the session, as a logout or its expiry does."""
        self._seen.pop(sid, None)
        if sid in self._state.table("sessions"):
            self._state.delete("sessions", sid)

    def end_all(self) -> None:
        """Ends all sessions, also those without a login, as a flush of Redis does."""
        for sid in list(self._state.table("sessions")):
            self.end(sid)
        self._key = _renew(self._state, "session")

    def _sign(self, nonce: str) -> str:
        return hashlib.blake2b(nonce.encode(), key=self._key, digest_size=8).hexdigest()


class Csrf:
    """gorilla/csrf: a cookie with the real token, and a header with a masked copy that differs every time."""

    def __init__(self, state: State, capabilities: Capabilities) -> None:
        self._state = state
        self._capabilities = capabilities
        self._key = _key(state, "csrf")
        self.lifetime = float(CSRF_LIFETIME)

    def open(self, cookie: str | None) -> bytes | None:
        """Returns the real token of a cookie; None if it is missing, too old or not ours."""
        if not cookie:
            return None
        try:
            raw = base64.urlsafe_b64decode(cookie)
        except ValueError:
            return None
        born, token, signature = raw[:8], raw[8:40], raw[40:]
        if len(token) != _TOKEN_BYTES or not hmac.compare_digest(signature, self._sign(born + token)):
            return None
        return token if time.time() - int.from_bytes(born) < self.lifetime else None

    def seal(self, token: bytes) -> str:
        """Returns the cookie for a token."""
        raw = int(time.time()).to_bytes(8) + token
        return base64.urlsafe_b64encode(raw + self._sign(raw)).decode()

    def mask(self, token: bytes) -> str:
        """Returns the token for a header: a one-time pad and the token encrypted with it."""
        pad = os.urandom(_TOKEN_BYTES)
        return base64.b64encode(pad + _xor(pad, token)).decode()

    def refusal(self, method: str, token: bytes | None, header: str | None) -> HarborError | None:
        """Returns the 403 for a write without the right token; None if it is allowed."""
        if method in _SAFE:
            return None
        if not header:
            return forbidden(self._capabilities.csrf_missing_message)
        if token is None or self._capabilities.csrf_broken or not _unmasks(header, token):
            return forbidden("CSRF token invalid")
        return None

    def forget(self) -> None:
        """Invalidates all cookies, as their age does after twelve hours."""
        self._key = _renew(self._state, "csrf")

    def _sign(self, raw: bytes) -> bytes:
        return hashlib.blake2b(raw, key=self._key, digest_size=16).digest()


def new_token() -> bytes:
    """A real CSRF token."""
    return os.urandom(_TOKEN_BYTES)


def _unmasks(header: str, token: bytes) -> bool:
    try:
        raw = base64.b64decode(header)
    except ValueError:
        return False
    pad, masked = raw[:_TOKEN_BYTES], raw[_TOKEN_BYTES:]
    return len(masked) == _TOKEN_BYTES and hmac.compare_digest(_xor(pad, masked), token)


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left) ^ int.from_bytes(right)).to_bytes(len(left))


def _key(state: State, name: str) -> bytes:
    stored = state.table("sequences").get(f"key-{name}")
    return bytes.fromhex(stored) if stored else _renew(state, name)


def _renew(state: State, name: str) -> bytes:
    key = os.urandom(32)
    state.put("sequences", f"key-{name}", key.hex())
    return key
