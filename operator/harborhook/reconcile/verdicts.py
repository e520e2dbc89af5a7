"""Turns Harbor's errors into reasons and sentences for conditions."""

from __future__ import annotations

from typing import Protocol

from harborhook.api.conditions import Reason, Verdict
from harborhook.harbor import errors
from harborhook.harbor.capabilities import parse_version
from harborhook.plan.permissions import BOTH_LEVELS, PERMISSIONS

_REASONS: tuple[tuple[type[errors.HarborError], Reason], ...] = (
    (errors.UntrustedError, Reason.TLS_UNTRUSTED),
    (errors.TransportError, Reason.HARBOR_UNREACHABLE),
    (errors.NotHarborError, Reason.NOT_A_HARBOR_API),
    (errors.UnauthorizedError, Reason.UNAUTHORIZED),
    (errors.ReadOnlyError, Reason.HARBOR_READ_ONLY),
    (errors.ForbiddenError, Reason.FORBIDDEN),
    (errors.InvalidError, Reason.INVALID_SPEC),
    (errors.ProjectNameError, Reason.INVALID_SPEC),
)

_PERMISSIONS = {
    "GET /projects": "project:list",
    "POST /projects": "project:create",
    "HEAD /projects": "project:list",
    "GET /projects/{project}": "project:read",
    "PUT /projects/{project}": "project:update",
    "DELETE /projects/{project}": "project:delete",
    "GET /projects/{project}/summary": "quota:read",
    "GET /registries": "registry:list",
    "GET /projects/{project}/webhook/policies": "notification-policy:list",
    "POST /projects/{project}/webhook/policies": "notification-policy:create",
    "GET /projects/{project}/webhook/policies/{policy}": "notification-policy:read",
    "PUT /projects/{project}/webhook/policies/{policy}": "notification-policy:update",
    "DELETE /projects/{project}/webhook/policies/{policy}": "notification-policy:delete",
    "GET /projects/{project}/webhook/lasttrigger": "notification-policy:read",
    "GET /projects/{project}/webhook/policies/{policy}/executions": "notification-policy:read",
    "GET /projects/{project}/webhook/jobs": "notification-policy:list",
}
"""The permission that a robot needs for each request, in Harbor's terms. A user needs the role of a project
administrator."""


class Requester(Protocol):
    """The principal and version of Harbor that an answer depends on."""

    @property
    def is_robot(self) -> bool: ...

    @property
    def version(self) -> str | None: ...


def verdict_of(error: errors.HarborError, requester: Requester | None = None) -> Verdict:
    """Returns the reason for an error, with advice where the remedy is known."""
    reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), Reason.HARBOR_REJECTED)
    if isinstance(error, errors.ForbiddenError) and reason is Reason.FORBIDDEN:
        return Verdict(reason, f"{harbors_refusal(error)} {_missing_permission(error, requester)}")
    if isinstance(error, errors.RefusedError):
        return Verdict(reason, harbors_refusal(error))
    return Verdict(reason, str(error))


def verdict_of_one_request(error: errors.HarborError, requester: Requester) -> Verdict:
    """Returns the verdict for an error of a single request while the connection itself works."""
    verdict = verdict_of(error, requester)
    if isinstance(error, errors.NotHarborError):
        advice = "a gateway or firewall in front of Harbor seems to block this request. Allow it there."
        return Verdict(Reason.REQUEST_FAILED, f"{error.finding}. The connection works otherwise: {advice}")
    if isinstance(error, errors.TransportError):
        failed = f"{error.request} failed: " if error.request else ""
        advice = "The connection works otherwise; the request is tried again."
        return Verdict(Reason.REQUEST_FAILED, f"{failed}{verdict.message} {advice}")
    if isinstance(error, errors.UnauthorizedError):
        return Verdict(Reason.REQUEST_FAILED, verdict.message)
    return verdict


def harbors_refusal(error: errors.RefusedError) -> str:
    """Returns Harbor's own words. Every message about a refused request begins with them: our explanation may be wrong
    (Harbor before 2.8 answers 412 for Helm charts as well as for repositories)."""
    said = f": {error.message}" if error.message else ""
    return f"Harbor refused {error.request} ({error.status}{said})."


def _missing_permission(error: errors.ForbiddenError, requester: Requester | None) -> str:
    return advice_on(_PERMISSIONS.get(error.request.replace("/api/v2.0", "")), requester)


def advice_on(name: str | None, requester: Requester | None) -> str:
    """Returns advice on a missing permission; `name` is None if it is unknown which."""
    if requester is None or not requester.is_robot:
        return "The connection's user has to be an administrator of this project, or of Harbor."
    version = parse_version(requester.version or "")
    if version is not None and version < BOTH_LEVELS:
        return (
            "Before Harbor 2.10 a robot with system permissions loses its project permissions: "
            "let the connection use a user instead of a robot."
        )
    if name is None:
        return "The robot lacks a permission."
    return f"Give the connection's robot the permission {name}{PERMISSIONS[name].since()}."
