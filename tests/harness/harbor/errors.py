"""Harbor's error answers."""

from __future__ import annotations

import json

_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    412: "PRECONDITION",
    422: "UNPROCESSABLE_ENTITY",
    500: "UNKNOWN",
}


class HarborError(Exception):
    """An answer of the form `{"errors": [{"code", "message"}]}`."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or _CODES[status]

    def body(self) -> bytes:
        """The JSON that Harbor sends, one error in the list."""
        return json.dumps({"errors": [{"code": self.code, "message": self.message}]}).encode() + b"\n"


def unauthorized() -> HarborError:
    """401, for every kind of request."""
    return HarborError(401, "unauthorized")


def forbidden(message: str = "forbidden") -> HarborError:
    """403; for system-wide resources Harbor puts the user's name into the message."""
    return HarborError(403, message)


def not_found(message: str) -> HarborError:
    """404."""
    return HarborError(404, message)


def bad_request(message: str) -> HarborError:
    """400."""
    return HarborError(400, message)


def conflict(message: str) -> HarborError:
    """409."""
    return HarborError(409, message)


def invalid(message: str) -> HarborError:
    """422, go-openapi's wording."""
    return HarborError(422, f"validation failure list:\n{message}")


def internal() -> HarborError:
    """500: Harbor hides the reason."""
    return HarborError(500, "internal server error")
