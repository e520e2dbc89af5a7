"""Everything that can go wrong when Harbor is asked something.

    HarborError
    ├── TransportError            no answer of Harbor was had; the request may or may not have been carried out
    │   ├── UnreachableError      name resolution, connection, time-out
    │   └── UntrustedError        Harbor's certificate is not trusted, whatever the reason
    ├── NotHarborError            something answered, but not Harbor's API
    ├── ProjectNameError          what should name a project cannot; nothing was sent
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

from harborhook.foreign_text import clip
from harborhook.tls import Failure

CODE_SHOWN = 64
"""The most of an error's code that is kept; Harbor's own have 20 characters."""
NAME_SHOWN = 80
"""The most of a name that an error shows which cannot be one."""
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
    """`broke_off`: the connection was made, and ended by the other side before an answer."""

    def __init__(self, message: str, *, broke_off: bool = False) -> None:
        self.broke_off = broke_off
        super().__init__(message)


class UntrustedError(TransportError):
    """`failure` says what is wrong with the certificate."""

    def __init__(self, message: str, failure: Failure) -> None:
        self.failure = failure
        super().__init__(message)


class NotHarborError(HarborError):
    """`finding` says what answered instead of Harbor's API, `advice` what to do if everything is answered like that."""

    def __init__(self, finding: str, advice: str = "") -> None:
        self.finding = clip(finding).removesuffix(".")
        super().__init__(f"{self.finding}: {advice}." if advice else f"{self.finding}.")


class ProjectNameError(HarborError):
    """What should name a project cannot: put into a path it could lead to another one. Nothing was sent."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f'"{clip(name, NAME_SHOWN)}" cannot be the name of a Harbor project: '
            "it has to begin with a letter or digit, and to consist of at most 255 letters, digits, dots, "
            "underscores and hyphens."
        )


class RefusedError(HarborError):
    """Harbor's answer: `status` is the HTTP status, `code` and `message` are those of its first error."""

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
    """The error for an answer's status; Harbor marks read-only mode by 403 with code DENIED."""
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else RefusedError)
    if kind is ForbiddenError and code == "DENIED":
        kind = ReadOnlyError
    return kind(status, code, message, request=request, retry_after=retry_after)
