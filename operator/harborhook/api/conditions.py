"""The reasons, the condition status that each implies, and the functions that turn a verdict into conditions.

They follow the rules of kstatus: `Ready` is present after the first visit; `Reconciling` and `Stalled` are present only
while True.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import Literal

from harborhook.api.base import Condition
from harborhook.foreign_text import cut, printable

MESSAGE_LIMIT = 512


class Outcome(Enum):
    """The effect of a reason on the conditions."""

    READY = "Ready is True"
    STALLED = "Ready is False, and only a user's change can help"
    RECONCILING = "Ready is False, and the operator keeps trying"
    UNCHANGED = "Ready keeps its status"


class Reason(StrEnum):
    """Why a resource is or is not ready. Each reason has an outcome, and a sentence for the reference documentation."""

    outcome: Outcome
    sentence: str

    def __new__(cls, value: str, outcome: Outcome, sentence: str) -> Reason:
        member = str.__new__(cls, value)
        member._value_ = value
        member.outcome = outcome
        member.sentence = sentence
        return member

    RECONCILED = "Reconciled", Outcome.READY, "Harbor matches the spec."
    QUOTA_UNAVAILABLE = (
        "QuotaUnavailable",
        Outcome.READY,
        "Harbor matches the spec except for storageQuota: it keeps no quota for the project.",
    )
    DRIFT_DETECTED = (
        "DriftDetected",
        Outcome.READY,
        "Harbor differs from the spec in the fields that status.drift lists; driftPolicy Report leaves them.",
    )

    ALREADY_EXISTS = (
        "AlreadyExists",
        Outcome.STALLED,
        "Harbor has an object of that name that this resource did not create; set creationPolicy to adopt it.",
    )
    OWNED_BY_OTHER = "OwnedByOther", Outcome.STALLED, "Another resource or another cluster owns that object in Harbor."
    NOT_ALLOWED_BY_CONNECTION = (
        "NotAllowedByConnection",
        Outcome.STALLED,
        "The connection's access rules do not give that Harbor project to this namespace.",
    )
    TARGET_HOST_NOT_ALLOWED = (
        "TargetHostNotAllowed",
        Outcome.STALLED,
        "The connection's allowedTargetHosts do not include the host of a target.",
    )
    UNSUPPORTED_EVENT_TYPE = (
        "UnsupportedEventType",
        Outcome.STALLED,
        "This Harbor does not support one of the event types.",
    )
    UNSUPPORTED_PAYLOAD_FORMAT = (
        "UnsupportedPayloadFormat",
        Outcome.STALLED,
        "This Harbor does not support one of the payload formats.",
    )
    UNSUPPORTED_HARBOR_VERSION = (
        "UnsupportedHarborVersion",
        Outcome.STALLED,
        "This Harbor is older than 2.3, the oldest version that is supported, or than a field of the spec needs; "
        "fields that it knows are applied.",
    )
    INVALID_SPEC = "InvalidSpec", Outcome.STALLED, "The spec, or a value it refers to, cannot be sent to Harbor."
    IMMUTABLE_FIELD = (
        "ImmutableField",
        Outcome.STALLED,
        "Harbor sets that field only when it creates a project, and this one has another value; the rest is applied. "
        "For a webhook policy: its HarborProject is now another project.",
    )
    QUOTA_FORBIDDEN = (
        "QuotaForbidden",
        Outcome.STALLED,
        "The principal may not change the project's quota; the rest is applied.",
    )
    CONNECTION_CHANGED = (
        "ConnectionChanged",
        Outcome.STALLED,
        "The resource now points to another Harbor than the one its object lives in.",
    )
    PROJECT_NOT_EMPTY = (
        "ProjectNotEmpty",
        Outcome.STALLED,
        "Harbor deletes only empty projects, and the operator never removes images.",
    )

    SECRET_NOT_FOUND = "SecretNotFound", Outcome.RECONCILING, "A Secret or ConfigMap that the spec names is missing."
    SECRET_KEY_MISSING = "SecretKeyMissing", Outcome.RECONCILING, "A key that the spec names is missing."
    CONNECTION_NOT_FOUND = "ConnectionNotFound", Outcome.RECONCILING, "The connection does not exist."
    CONNECTION_NOT_READY = "ConnectionNotReady", Outcome.RECONCILING, "The connection to Harbor does not work yet."
    PROJECT_NOT_READY = (
        "ProjectNotReady",
        Outcome.RECONCILING,
        "The HarborProject of a policy is missing or has no project in Harbor yet.",
    )
    NOT_FOUND = (
        "NotFound",
        Outcome.RECONCILING,
        "Harbor has no such object: creationPolicy Adopt creates none, and a proxy cache needs its registry endpoint.",
    )
    HARBOR_UNREACHABLE = "HarborUnreachable", Outcome.RECONCILING, "Harbor does not answer."
    TLS_UNTRUSTED = "TLSUntrusted", Outcome.RECONCILING, "Harbor's certificate is not trusted."
    NOT_A_HARBOR_API = "NotAHarborAPI", Outcome.RECONCILING, "Something answers at the URL, but not Harbor's API."
    UNAUTHORIZED = "Unauthorized", Outcome.RECONCILING, "Harbor refuses the credentials."
    FORBIDDEN = "Forbidden", Outcome.RECONCILING, "The principal lacks a permission in Harbor."
    HARBOR_READ_ONLY = "HarborReadOnly", Outcome.RECONCILING, "Harbor is in read-only mode."
    REQUEST_FAILED = (
        "RequestFailed",
        Outcome.RECONCILING,
        "A request for this resource gets no answer from Harbor, although the connection works: a gateway blocks it, "
        "or it takes too long.",
    )
    HARBOR_REJECTED = "HarborRejected", Outcome.RECONCILING, "Harbor refused a request; the message has its reason."
    DELIVERIES_PENDING = (
        "DeliveriesPending",
        Outcome.RECONCILING,
        "Harbor does not delete a policy while notifications are in progress.",
    )
    WAITING_FOR_POLICIES = (
        "WaitingForPolicies",
        Outcome.RECONCILING,
        "A project that is being deleted waits until its webhook policies are deleted.",
    )
    IN_USE = "InUse", Outcome.RECONCILING, "A connection that is being deleted waits until no resource uses it."

    SUSPENDED = "Suspended", Outcome.UNCHANGED, "Nothing is written to Harbor while suspend is true."


class DeliveringReason(StrEnum):
    """Why condition `Delivering` has its status. These reasons do not affect Ready."""

    status: Literal["True", "False", "Unknown"]
    sentence: str

    def __new__(cls, value: str, status: Literal["True", "False", "Unknown"], sentence: str) -> DeliveringReason:
        member = str.__new__(cls, value)
        member._value_ = value
        member.status = status
        member.sentence = sentence
        return member

    LAST_DELIVERY_SUCCEEDED = "LastDeliverySucceeded", "True", "The newest event was delivered to every target."
    REDELIVERED = "Redelivered", "True", "Every event that had failed was sent again and has arrived."
    LAST_DELIVERY_FAILED = (
        "LastDeliveryFailed",
        "False",
        "The newest event was not delivered, and Harbor has stopped retrying.",
    )
    DELIVERIES_STUCK = "DeliveriesStuck", "False", "Harbor's job service does not send notifications."
    GLOBALLY_DISABLED = "GloballyDisabled", "False", "Notifications are switched off for the whole Harbor."
    PROJECT_DISABLED = "ProjectDisabled", "False", "Notifications are switched off for the project."
    POLICY_DISABLED = "PolicyDisabled", "False", "The policy is disabled."
    NEVER_TRIGGERED = "NeverTriggered", "Unknown", "No event of the policy's types has occurred yet."
    HISTORY_UNAVAILABLE = (
        "HistoryUnavailable",
        "Unknown",
        "Harbor does not report the results of notifications: it has deleted them, or the principal may not read them.",
    )


@dataclass(frozen=True)
class Delivering:
    """Reason and message of condition `Delivering`."""

    reason: DeliveringReason
    message: str = ""


@dataclass(frozen=True)
class Verdict:
    """The result of a visit: one reason and one message for the user."""

    reason: Reason
    message: str = ""


class NotReady(Exception):  # noqa: N818 - an answer to a visit, not a fault in the program
    """Raised when a visit cannot continue. Carries the verdict and, if known, the seconds until the next attempt."""

    def __init__(self, reason: Reason, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"{reason}: {message}")
        self.verdict = Verdict(reason, message)
        self.retry_after = retry_after


def conditions_for(
    verdict: Verdict, previous: Iterable[Condition], *, generation: int, now: datetime
) -> list[Condition]:
    """Returns all conditions after a visit; an unchanged condition keeps its lastTransitionTime."""
    before = {condition.type: condition for condition in previous}
    wanted = {"Ready": _ready_status(verdict, before.get("Ready"))}
    if verdict.reason.outcome is Outcome.STALLED:
        wanted["Stalled"] = "True"
    if verdict.reason.outcome is Outcome.RECONCILING:
        wanted["Reconciling"] = "True"

    made = [
        _condition(kind, status, verdict.reason, verdict.message, before.get(kind), generation=generation, now=now)
        for kind, status in wanted.items()
    ]
    return made + [condition for kind, condition in before.items() if kind not in ("Ready", "Stalled", "Reconciling")]


def with_delivering(
    delivering: Delivering, conditions: Iterable[Condition], *, generation: int, now: datetime
) -> list[Condition]:
    """Returns the conditions with `Delivering` replaced; the others are unchanged."""
    listed = list(conditions)
    old = next((condition for condition in listed if condition.type == "Delivering"), None)
    reason = delivering.reason
    new = _condition("Delivering", reason.status, reason, delivering.message, old, generation=generation, now=now)
    return [condition for condition in listed if condition.type != "Delivering"] + [new]


def _condition(
    kind: str,
    status: str,
    reason: Reason | DeliveringReason,
    message: str,
    before: Condition | None,
    *,
    generation: int,
    now: datetime,
) -> Condition:
    """Returns the condition; an empty message is replaced by the reason's sentence."""
    is_unchanged = before is not None and before.status == status
    return Condition.model_validate(
        {
            "type": kind,
            "status": status,
            "reason": reason.value,
            "message": shorten(message or reason.sentence),
            "observed_generation": generation,
            "last_transition_time": before.last_transition_time if before and is_unchanged else now,
        }
    )


def _ready_status(verdict: Verdict, previous: Condition | None) -> str:
    if verdict.reason.outcome is Outcome.UNCHANGED:
        return previous.status if previous else "Unknown"
    return "True" if verdict.reason.outcome is Outcome.READY else "False"


def shorten(message: str, limit: int = MESSAGE_LIMIT) -> str:
    """Returns the message within the limit of a status field."""
    return printable(cut(message, limit))
