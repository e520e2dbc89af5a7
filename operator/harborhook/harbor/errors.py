"""The errors of requests to Harbor, raised by the transport and the client.

    HarborError
    ├── TransportError            no answer; Harbor may or may not have executed the request
    │   ├── UnreachableError      name resolution, connection, time-out
    │   └── UntrustedError        Harbor's certificate could not be verified
    ├── NotHarborError            the answer is not from Harbor's API
    ├── ProjectNameError          an invalid project name; nothing was sent
    └── RefusedError              Harbor answered with an error
        ├── InvalidError          400, 422: the request is wrong
        ├── UnauthorizedError     401
        ├── ForbiddenError        403
        │   └── ReadOnlyError     403 while Harbor is in read-only mode
        ├── NotFoundError         404
        ├── ConflictError         409: the object exists
        ├── PreconditionError     412: the state of the object prevents it
        ├── ThrottledError        429
        └── ServerError           5xx

Texts never contain a request: neither its headers nor its body, which hold credentials and header values.
"""

from __future__ import annotations

from harborhook.foreign_text import clip
from harborhook.tls import Failure

CODE_SHOWN = 64
"""Characters kept of an error's code; Harbor's own codes have up to 20."""
NAME_SHOWN = 80
"""Characters of an invalid name that an error shows."""
SHORTEST_SECRET = 4
"""Minimum length of a string to be masked: shorter ones occur in every text and protect nothing."""


class HarborError(Exception):
    """Base of all errors; `str()` is a sentence for users."""


class TransportError(HarborError):
    """Harbor has not answered; it may or may not have executed the request."""

    def __init__(self, message: str, *, request: str = "") -> None:
        super().__init__(message)
        self.request = request
        """Method and endpoint, if the error concerns a single request."""


class UnreachableError(TransportError):
    """`broke_off`: the connection was established, and closed by the other side before an answer."""

    def __init__(self, message: str, *, broke_off: bool = False) -> None:
        self.broke_off = broke_off
        super().__init__(message)


class UntrustedError(TransportError):
    """`failure` classifies the failure.
    `finding` describes what answered instead of Harbor's API; `advice` is the remedy if every request gets such an
    answer.
    """

    def __init__(self, message: str, failure: Failure) -> None:
        self.failure = failure
        super().__init__(message)


class NotHarborError(HarborError):
    """`finding` says what answered instead of Harbor's API, `advice` what to do if everything is answered like that."""

    def __init__(self, finding: str, advice: str = "") -> None:
        self.finding = clip(finding).removesuffix(".")
        super().__init__(f"{self.finding}: {advice}." if advice else f"{self.finding}.")


class ProjectNameError(HarborError):
    """An invalid project name, which in a path could address another project. Nothing was sent."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f'"{clip(name, NAME_SHOWN)}" cannot be the name of a Harbor project: '
            "it has to begin with a letter or digit, and to consist of at most 255 letters, digits, dots, "
            "underscores and hyphens."
        )


class RefusedError(HarborError):
    """Harbor's error answer: `status` is the HTTP status, `code` and `message` are those of its first error."""

    def __init__(self, status: int, code: str, message: str, *, request: str, retry_after: float | None = None) -> None:
        self.status = status
        self.code = clip(code, CODE_SHOWN)
        self.message = clip(message)
        self.request = request
        self.retry_after = retry_after
        super().__init__(f"Harbor answered {request} with {status} {self.code}: {self.message}")


class InvalidError(RefusedError):
    pass


class UnauthorizedError(RefusedError):
    pass


class ForbiddenError(RefusedError):
    pass


class ReadOnlyError(ForbiddenError):
    pass


class NotFoundError(RefusedError):
    pass


class ConflictError(RefusedError):
    pass


class PreconditionError(RefusedError):
    pass


class ThrottledError(RefusedError):
    pass


class ServerError(RefusedError):
    pass


_BY_STATUS: dict[int, type[RefusedError]] = {
    400: InvalidError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    412: PreconditionError,
    422: InvalidError,
    429: ThrottledError,
}


def refusal(status: int, code: str, message: str, *, request: str, retry_after: float | None = None) -> RefusedError:
    """Returns the error for a status. Harbor marks read-only mode by 403 with code DENIED."""
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else RefusedError)
    if kind is ForbiddenError and code == "DENIED":
        kind = ReadOnlyError
    return kind(status, code, message, request=request, retry_after=retry_after)
