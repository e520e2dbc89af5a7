"""Judges one resource by its JSON: a state to sort by, and the sentence to act on. No I/O.

`status` sorts its tables by the state. Scripts depend on `is_ready` alone: condition Ready for the present spec.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from harborhook.api.names import Body


class State(Enum):
    """Worst first. The second value is the colour on a terminal."""

    STALLED = ("Stalled", "bold red")
    """Only a user's change can help."""
    NOT_READY = ("NotReady", "red")
    """The operator keeps trying."""
    DELETING = ("Deleting", "yellow")
    PENDING = ("Pending", "yellow")
    """The operator has not reconciled the present spec."""
    FAILING = ("Failing", "bold yellow")
    """Harbor matches the spec, but notifications do not arrive."""
    SWITCHED_OFF = ("Off", "yellow")
    """Nothing is sent, because a user has switched notifications off."""
    DRIFTED = ("Drifted", "yellow")
    SUSPENDED = ("Suspended", "cyan")
    READY = ("Ready", "green")

    @property
    def label(self) -> str:
        return self.value[0]

    @property
    def style(self) -> str:
        return self.value[1]

    @property
    def rank(self) -> int:
        return list(State).index(self)


SWITCHED_OFF_REASONS = frozenset({"GloballyDisabled", "ProjectDisabled", "PolicyDisabled"})
"""Reasons of condition Delivering that are a user's decision, not a receiver's fault."""

NOT_RECONCILED = (
    "The operator has not reconciled it yet. If that does not change: does the operator run, and does it serve this "
    "namespace?"
)
CHANGE_NOT_RECONCILED = "The operator has not reconciled the latest change yet."


@dataclass(frozen=True)
class Health:
    """The state of a resource. `since`: RFC 3339, when it began; empty if unknown."""

    state: State
    reason: str
    sentence: str
    since: str = ""
    is_ready: bool = False


def condition(body: Body, kind: str) -> Body:
    """Returns the condition of that type; empty if there is none."""
    conditions = (body.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one.get("type") == kind), {})


def health(body: Body) -> Health:
    ready, is_current = condition(body, "Ready"), _is_current(body)
    is_ready = ready.get("status") == "True" and is_current and "deletionTimestamp" not in body["metadata"]
    state, reason, sentence, since = _judged(body, ready, is_current=is_current)
    return Health(state, reason, sentence, since, is_ready)


_Judged = tuple[State, str, str, str]


def _judged(body: Body, ready: Body, *, is_current: bool) -> _Judged:
    metadata = body["metadata"]
    if "deletionTimestamp" in metadata:
        said = ready.get("message", "") if ready.get("status") == "False" else ""
        return State.DELETING, ready.get("reason", ""), said or "It is being deleted.", metadata["deletionTimestamp"]
    if not ready:
        return State.PENDING, "", NOT_RECONCILED, metadata.get("creationTimestamp", "")
    if not is_current:
        return State.PENDING, ready.get("reason", ""), CHANGE_NOT_RECONCILED, ""
    if (body.get("spec") or {}).get("suspend"):
        return _as(State.SUSPENDED, ready)
    if ready.get("status") != "True":
        return _as(_unready(body, ready), ready)
    return _of_notifications(body) or _of_ready(body, ready)


def _unready(body: Body, ready: Body) -> State:
    if ready.get("status") == "Unknown":
        return State.PENDING
    return State.STALLED if condition(body, "Stalled").get("status") == "True" else State.NOT_READY


def _of_notifications(body: Body) -> _Judged | None:
    """Returns None if notifications arrive."""
    delivering = condition(body, "Delivering")
    if delivering.get("status") == "False":
        is_off = delivering.get("reason") in SWITCHED_OFF_REASONS
        return _as(State.SWITCHED_OFF if is_off else State.FAILING, delivering)
    switch = (body.get("status") or {}).get("notifications") or {}
    if switch.get("enabled") is False:
        source = "the ConfigMap" if switch.get("source") == "ConfigMap" else "Harbor's own switch"
        said = f"Notifications are switched off by {source}. {switch.get('message', '')}".strip()
        return State.SWITCHED_OFF, "NotificationsOff", said, ""
    return None


def _of_ready(body: Body, ready: Body) -> _Judged:
    if ready.get("reason") == "DriftDetected":
        return _as(State.DRIFTED, ready)
    if body.get("kind") != "WebhookPolicy":
        return _as(State.READY, ready)
    count = ((body.get("status") or {}).get("deliveries") or {}).get("undelivered") or 0
    waiting = f" {undelivered(count)}" if count else ""
    said = ready if ready.get("reason") != "Reconciled" else condition(body, "Delivering") or ready
    return State.READY, ready.get("reason", ""), f"{said.get('message', '')}{waiting}".strip(), _since(ready)


def undelivered(count: int) -> str:
    return "1 earlier event was not delivered." if count == 1 else f"{count} earlier events were not delivered."


def _as(state: State, found: Body) -> _Judged:
    return state, found.get("reason", ""), found.get("message", ""), _since(found)


def _since(found: Body) -> str:
    return str(found.get("lastTransitionTime", ""))


def _is_current(body: Body) -> bool:
    """Whether the status describes the present spec."""
    observed = (body.get("status") or {}).get("observedGeneration")
    return observed is None or bool(observed >= body["metadata"].get("generation", 0))
