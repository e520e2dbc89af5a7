"""Sessions: a user logs in once, since each request with a user's password costs Harbor a slow password hash.

Called by transport.py. It uses Harbor's own login form in three requests:

1. A request without cookies starts an anonymous session (cookie `sid`).
2. The next request gets a CSRF token (header) with its cookie (`_gorilla_csrf`).
3. The login with both gets a new `sid`.

Cookies are sent by hand: the CSRF cookie is marked Secure if Harbor's external URL is https, but inside a cluster
Harbor may be reached over plain http. Cookies in later answers are ignored: each answer sets another token, and a new
`sid` means that the session is dead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlencode

from harborhook.harbor.http import SAFE_METHODS, Client, Headers, Response

TOKEN_HEADER = "X-Harbor-CSRF-Token"  # noqa: S105 - the name of a header
SESSION_COOKIE = "sid"
CSRF_COOKIE = "_gorilla_csrf"
ANSWER_LIMIT = 64 * 1024
"""Maximum bytes read of the answer to a login or log-out; the content is not used."""


class LoginRefusedError(Exception):
    """Harbor started no session: for a robot, a wrong password, or an installation without this login."""


@dataclass
class Session:
    sid: str = field(repr=False)
    csrf_cookie: str = field(repr=False)
    token: str = field(repr=False)

    def headers(self, method: str) -> dict[str, str]:
        """Returns the headers that prove the login; with the token only for methods that change something."""
        cookies = {"Cookie": f"{SESSION_COOKIE}={self.sid}; {CSRF_COOKIE}={self.csrf_cookie}"}
        return cookies if method in SAFE_METHODS else {**cookies, TOKEN_HEADER: self.token}

    def renew_token(self, headers: Headers) -> None:
        """Takes token and cookie from an answer that refused the old token. The old cookie lives twelve hours."""
        self.token = headers.get(TOKEN_HEADER, self.token)
        self.csrf_cookie = cookies_of(headers).get(CSRF_COOKIE, self.csrf_cookie)


async def log_in(http: Client, root: str, username: str, password: str) -> Session:
    """Logs in with three requests. Raises LoginRefusedError and NoAnswerError."""
    ping = f"{root}/api/v2.0/systeminfo"
    first = await briefly(http, "GET", ping, headers={})
    sid = cookies_of(first.headers).get(SESSION_COOKIE, "")
    second = await briefly(http, "GET", ping, headers={"Cookie": f"{SESSION_COOKIE}={sid}"})
    anonymous = Session(sid, cookies_of(second.headers).get(CSRF_COOKIE, ""), second.headers.get(TOKEN_HEADER, ""))
    form = {"Content-Type": "application/x-www-form-urlencoded", **anonymous.headers("POST")}
    said = urlencode({"principal": username, "password": password}).encode()
    answer = await briefly(http, "POST", f"{root}/c/login", headers=form, content=said)
    new_sid = cookies_of(answer.headers).get(SESSION_COOKIE)
    if answer.status != 200 or not new_sid:
        raise LoginRefusedError(f"the login was answered with {answer.status}")
    return Session(new_sid, anonymous.csrf_cookie, anonymous.token)


async def briefly(
    http: Client, method: str, url: str, *, headers: Mapping[str, str], content: bytes | None = None
) -> Response:
    """Performs an exchange for its status and headers. Reads a short body, so that the connection can be reused, and
    stops in a longer one."""
    async with http.exchange(method, url, headers=headers, content=content) as response:
        taken = 0
        async for chunk in response.chunks():
            taken += len(chunk)
            if taken > ANSWER_LIMIT:
                break
    return response


def cookies_of(headers: Headers) -> dict[str, str]:
    """Returns the cookies that an answer sets, by name."""
    found: dict[str, str] = {}
    for line in headers.getall("Set-Cookie", []):
        try:
            found |= {name: morsel.value for name, morsel in SimpleCookie(line).items()}
        except CookieError:
            continue
    return found
