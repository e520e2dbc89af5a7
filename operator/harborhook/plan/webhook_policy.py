"""WebhookPolicy: the policy that Harbor should have, how it differs from the one it has, and the bodies to send.

Harbor shows a policy differently from what it was sent: http targets gain `payload_format: Default`, false flags and
empty strings are absent. Both sides are therefore compared in one canonical form. Harbor's PUT replaces the whole row,
so an update is the body that Harbor showed, with our fields put in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harborhook.api.webhook_policy import Target, Trigger, WebhookPolicy
from harborhook.harbor.models import LastTrigger, Policy


@dataclass(frozen=True)
class DesiredTarget:
    """A target as it should be; the header's value shows in no repr."""

    type: str
    address: str = field(repr=False)
    auth_header: str = field(default="", repr=False)
    skip_cert_verify: bool = False
    payload_format: str = ""

    def body(self) -> dict[str, Any]:
        """The wire form; an empty string means the same as absence to Harbor."""
        optional = {"auth_header": self.auth_header, "payload_format": self.payload_format}
        return {
            "type": self.type,
            "address": self.address,
            "skip_cert_verify": self.skip_cert_verify,
            **{name: value for name, value in optional.items() if value},
        }


@dataclass(frozen=True)
class DesiredPolicy:
    name: str
    description: str | None
    """None leaves Harbor's description alone."""
    enabled: bool
    event_types: tuple[str, ...]
    targets: tuple[DesiredTarget, ...]


DEFAULT_FORMAT = "Default"


def desired_policy(policy: WebhookPolicy, headers: Sequence[str]) -> DesiredPolicy:
    """What the spec asks for; `headers` has the resolved Authorization value of each target, "" for none."""
    spec = policy.spec
    return DesiredPolicy(
        name=policy.harbor_name,
        description=spec.description,
        enabled=spec.enabled,
        event_types=tuple(dict.fromkeys(spec.event_types)),
        targets=tuple(_desired_target(target, header) for target, header in zip(spec.targets, headers, strict=True)),
    )


def _desired_target(target: Target, header: str) -> DesiredTarget:
    return DesiredTarget(
        type=target.type,
        address=target.address,
        auth_header=header,
        skip_cert_verify=target.verify_remote_certificate is False,
        payload_format=(target.payload_format or DEFAULT_FORMAT) if target.type == "http" else "",
    )


def creation_body(desired: DesiredPolicy, *, creator: str) -> dict[str, Any]:
    """For POST. `enabled` is always said (absent means disabled), `id` never (Harbor would take it)."""
    return {"creator": creator, **_our_fields(desired)}


def update_body(observed: Policy, desired: DesiredPolicy) -> dict[str, Any]:
    """For PUT: everything Harbor showed, creator and creation time among it, with our fields put in."""
    return {**observed.raw, "id": observed.id, **_our_fields(desired)}


def disabling_body(observed: Policy) -> dict[str, Any]:
    return {**observed.raw, "id": observed.id, "enabled": False}


def differences(observed: Policy, desired: DesiredPolicy) -> list[str]:
    """The names of the spec's fields in which Harbor's policy differs; empty if none does."""
    seen = observed.raw
    pairs = {
        "policyName": (seen.get("name"), desired.name),
        "description": (seen.get("description") or "", _stated(desired.description, seen.get("description") or "")),
        "enabled": (seen.get("enabled") is True, desired.enabled),
        "eventTypes": (_sorted_events(seen.get("event_types")), sorted(desired.event_types)),
        "targets": (
            _canonical_targets(seen.get("targets")),
            [_canonical(target.body()) for target in desired.targets],
        ),
    }
    return [name for name, (has, should) in pairs.items() if has != should]


def is_enabled(observed: Mapping[str, Any]) -> bool:
    """Absent means disabled, as everywhere in Harbor's policies."""
    return observed.get("enabled") is True


def merge_triggers(
    previous: Sequence[Trigger], event_types: Sequence[str], rows: Sequence[LastTrigger]
) -> list[Trigger]:
    """One row per event type of the spec; a time never goes back, not even when Harbor has forgotten it."""
    known = {row.event_type: row.last_trigger_time for row in previous}
    for row in rows:
        before = known.get(row.event_type)
        if row.time is not None and (before is None or row.time.replace(microsecond=0) > before):
            known[row.event_type] = row.time
    return [Trigger(event_type=name, last_trigger_time=known.get(name)) for name in dict.fromkeys(event_types)]


def _our_fields(desired: DesiredPolicy) -> dict[str, Any]:
    body: dict[str, Any] = {
        "name": desired.name,
        "enabled": desired.enabled,
        "event_types": list(desired.event_types),
        "targets": [target.body() for target in desired.targets],
    }
    if desired.description is not None:
        body["description"] = desired.description
    return body


def _stated(value: str | None, otherwise: str) -> str:
    return otherwise if value is None else value


def _sorted_events(event_types: Any) -> list[str]:
    """Order means nothing to Harbor, but a type given twice is delivered twice: that is a difference."""
    return sorted(map(str, event_types)) if isinstance(event_types, list) else []


def _canonical_targets(targets: Any) -> list[tuple[Any, ...]]:
    return [_canonical(target) for target in targets] if isinstance(targets, list) else []


def _canonical(target: Any) -> tuple[Any, ...]:
    if not isinstance(target, dict):
        return (target,)
    default_format = DEFAULT_FORMAT if target.get("type") == "http" else ""
    return (
        target.get("type"),
        target.get("address"),
        target.get("auth_header") or "",
        target.get("skip_cert_verify") is True,
        target.get("payload_format") or default_format,
    )
