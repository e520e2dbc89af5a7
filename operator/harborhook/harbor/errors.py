"""Everything that can go wrong when Harbor is asked something.

    HarborError
    ├── TransportError            no answer of Harbor was had; the request may or may not have been carried out
    │   ├── UnreachableError      name resolution, connection, time-out
    │   └── UntrustedError        Harbor's certificate is not trusted
    ├── NotHarborError            something answered, but not Harbor's API
    └── RefusedError              Harbor answered with an error
        ├── InvalidError          400, 422: the request is wrong
        ├── UnauthorizedError     401
        ├── ForbiddenError        403
        │   └── ReadOnlyError     403 while Harbor is in read-only mode
        ├── NotFoundError         404
        ├── ConflictError         409: the object exists
        ├── PreconditionError     412: something stands in the way
        ├── ThrottledError        429
        └── ServerError           5xx

Texts never contain a request: neither its headers nor its body, which hold credentials and header values.
"""

from __future__ import annotations

TEXT_LIMIT = 300
SHORTEST_SECRET = 4
"""Characters that a string must have to be masked in a text: shorter ones are in every text and protect nothing."""


class HarborError(Exception):
    """Base of all; `str()` is a sentence for a person."""


class TransportError(HarborError):
    """No answer of Harbor was had; the request may or may not have been carried out."""

    def __init__(self, message: str, *, request: str = "") -> None:
        super().__init__(message)
        self.request = request
        """Method and endpoint, where the error is one of a single request."""


class UnreachableError(TransportError):
    pass


class UntrustedError(TransportError):
    pass


class NotHarborError(HarborError):
    """`finding` says what answered instead of Harbor's API, `advice` what to do if everything is answered like that."""

    def __init__(self, finding: str, advice: str = "") -> None:
        self.finding = finding.removesuffix(".")
        super().__init__(f"{self.finding}: {advice}." if advice else f"{self.finding}.")


class RefusedError(HarborError):
    """Harbor's answer: `status` is the HTTP status, `code` and `message` are those of its first error."""

    def __init__(self, status: int, code: str, message: str, *, request: str, retry_after: float | None = None) -> None:
        self.status = status
        self.code = code
        self.message = clip(message)
        self.request = request
        self.retry_after = retry_after
        super().__init__(f"Harbor answered {request} with {status} {code}: {self.message}")


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
    """The error for an answer's status; Harbor marks read-only mode by 403 with code DENIED."""
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else RefusedError)
    if kind is ForbiddenError and code == "DENIED":
        kind = ReadOnlyError
    return kind(status, code, message, request=request, retry_after=retry_after)


def clip(text: str, limit: int = TEXT_LIMIT) -> str:
    """One line of sane length out of whatever a server sent."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
