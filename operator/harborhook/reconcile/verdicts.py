"""From Harbor's errors to reasons and sentences."""

from __future__ import annotations

from harborhook.api.conditions import Reason, Verdict
from harborhook.harbor import errors

_REASONS: tuple[tuple[type[errors.HarborError], Reason], ...] = (
    (errors.UntrustedError, Reason.TLS_UNTRUSTED),
    (errors.TransportError, Reason.HARBOR_UNREACHABLE),
    (errors.NotHarborError, Reason.NOT_A_HARBOR_API),
    (errors.UnauthorizedError, Reason.UNAUTHORIZED),
    (errors.ReadOnlyError, Reason.HARBOR_READ_ONLY),
    (errors.ForbiddenError, Reason.FORBIDDEN),
)

_PERMISSIONS = {
    "GET /projects": "project:list",
    "POST /projects": "project:create",
    "HEAD /projects": "project:list",
    "GET /projects/{project}": "project:read",
    "PUT /projects/{project}": "project:update",
    "DELETE /projects/{project}": "project:delete",
    "GET /projects/{project}/summary": "quota:read",
    "GET /projects/{project}/webhook/policies": "notification-policy:list",
    "POST /projects/{project}/webhook/policies": "notification-policy:create",
    "GET /projects/{project}/webhook/policies/{policy}": "notification-policy:read",
    "PUT /projects/{project}/webhook/policies/{policy}": "notification-policy:update",
    "DELETE /projects/{project}/webhook/policies/{policy}": "notification-policy:delete",
    "GET /projects/{project}/webhook/lasttrigger": "notification-policy:read",
    "GET /projects/{project}/webhook/policies/{policy}/executions": "notification-policy:read",
}
"""What a robot needs for each request, in Harbor's words."""


def verdict_of(error: errors.HarborError) -> Verdict:
    """The reason for an error, with what to do about it where that can be said."""
    reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), Reason.HARBOR_REJECTED)
    return Verdict(reason, f"{error}{_advice(reason, error)}")


def _advice(reason: Reason, error: errors.HarborError) -> str:
    if reason is Reason.FORBIDDEN and isinstance(error, errors.RefusedError):
        permission = _PERMISSIONS.get(error.request.replace("/api/v2.0", ""))
        missing = f" the permission {permission}" if permission else " the permission for it"
        return f". Give the connection's robot or user{missing} in this project."
    if reason is Reason.HARBOR_READ_ONLY:
        return ". Harbor's administrator has switched on read-only mode; writing goes on when it is off."
    return ""
