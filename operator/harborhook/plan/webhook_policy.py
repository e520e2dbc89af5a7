"""WebhookPolicy: the policy that Harbor should have, how it differs from the one it has, and the bodies to send.

Harbor shows a policy differently from what it was sent: http targets gain `payload_format: Default`, false flags and
empty strings are absent. Both sides are therefore compared in one canonical form. Harbor's PUT replaces the whole row,
so an update is the body that Harbor showed, with our fields put in.

What differs is written, or only reported. For that the fields come in groups that are written together: all targets
are one, since a list is stated whole.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harborhook.api.base import Origin
from harborhook.api.webhook_policy import Target, Trigger, WebhookPolicy
from harborhook.harbor.models import LastTrigger, Policy
from harborhook.plan.drift import Difference
from harborhook.plan.switch import EffectiveSwitch
from harborhook.plan.target_values import TargetValues


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


@dataclass(frozen=True)
class PolicyChanges:
    """What differs, and what one PUT has to say to mend it."""

    name: str
    """The policy's name in Harbor after the PUT."""
    enabled: bool
    """Whether it is enabled there after the PUT."""
    asked_for: tuple[Difference, ...] = ()
    """Written, because something was changed here."""
    corrected: tuple[Difference, ...] = ()
    """Written, because something was changed in Harbor."""
    reported: tuple[Difference, ...] = ()
    """Left as it is in Harbor."""
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    """For the PUT, with headers in clear; None if nothing is to be written."""


DEFAULT_FORMAT = "Default"

_GROUP_OF = {
    "name": "policyName",
    "description": "description",
    "enabled": "enabled",
    "event_types": "eventTypes",
    "targets": "targets",
}
"""Harbor's fields of a policy that are ours to write, and the spec's names for them."""
GROUPS = frozenset(_GROUP_OF.values())


def desired_policy(policy: WebhookPolicy, values: Sequence[TargetValues]) -> DesiredPolicy:
    """What the spec asks for; `values` has the address and Authorization value of each target."""
    spec = policy.spec
    return DesiredPolicy(
        name=policy.harbor_name,
        description=spec.description,
        enabled=spec.enabled,
        event_types=tuple(dict.fromkeys(spec.event_types)),
        targets=tuple(_desired_target(target, value) for target, value in zip(spec.targets, values, strict=True)),
    )


def _desired_target(target: Target, values: TargetValues) -> DesiredTarget:
    return DesiredTarget(
        type=target.type,
        address=values.address,
        auth_header=values.header,
        skip_cert_verify=target.verify_remote_certificate is False,
        payload_format=(target.payload_format or DEFAULT_FORMAT) if target.type == "http" else "",
    )


def creation_body(desired: DesiredPolicy, *, creator: str) -> dict[str, Any]:
    """For POST. `enabled` is always said (absent means disabled), `id` never (Harbor would take it)."""
    return {"creator": creator, **_our_fields(desired)}


def update_body(
    observed: Policy, desired: DesiredPolicy, groups: Collection[str] = GROUPS, *, creator: str | None = None
) -> dict[str, Any]:
    """For PUT: everything Harbor showed, creator and creation time among it, with our fields of these groups put in.

    `creator`: a mark to set, where a policy is taken over from another cluster.
    """
    ours = {name: value for name, value in _our_fields(desired).items() if _GROUP_OF[name] in groups}
    marked = {} if creator is None else {"creator": creator}
    return {**observed.raw, "id": observed.id, **ours, **marked}


def switching_body(observed: Policy, *, enabled: bool) -> dict[str, Any]:
    """For PUT: what Harbor showed, enabled or disabled."""
    return {**observed.raw, "id": observed.id, "enabled": enabled}


def changes(
    observed: Policy,
    desired: DesiredPolicy,
    *,
    writable: Collection[str] = GROUPS,
    asked_for: Collection[str] = (),
    creator: str | None = None,
) -> PolicyChanges:
    """What to do about the differences: write those in groups that are `writable`, and report the others. `creator`: a
    mark to write in any case."""
    found = differences(observed, desired)
    written = [difference for difference in found if difference.group in writable]
    drift = tuple(difference for difference in found if difference.group not in writable)
    groups = {difference.group for difference in written}
    kept = {difference.group for difference in drift}
    return PolicyChanges(
        name=observed.name if "policyName" in kept else desired.name,
        enabled=is_enabled(observed.raw) if "enabled" in kept else desired.enabled,
        asked_for=tuple(difference for difference in written if difference.group in asked_for),
        corrected=tuple(difference for difference in written if difference.group not in asked_for),
        reported=drift,
        body=update_body(observed, desired, groups, creator=creator) if written or creator is not None else None,
    )


def as_created(desired: DesiredPolicy) -> PolicyChanges:
    """Nothing is left to do after our POST."""
    return PolicyChanges(desired.name, desired.enabled)


def differences(observed: Policy, desired: DesiredPolicy) -> list[Difference]:
    """The fields in which Harbor's policy differs from the desired one; empty if none does."""
    seen = observed.raw
    description = seen.get("description") or ""
    pairs = {
        "policyName": (desired.name, seen.get("name")),
        "description": (description if desired.description is None else desired.description, description),
        "enabled": (desired.enabled, is_enabled(seen)),
        "eventTypes": (sorted(desired.event_types), _sorted_events(seen.get("event_types"))),
    }
    found = [
        Difference(name, _display(should), _display(has)) for name, (should, has) in pairs.items() if has != should
    ]
    return [*found, *_differences_of_targets(seen.get("targets"), desired.targets)]


def writable_groups(
    policy: WebhookPolicy, origin: Origin | None, switch: EffectiveSwitch, *, rotated: bool
) -> frozenset[str]:
    """Which differences are written rather than reported.

    Under driftPolicy Report that is everything for a spec that was not yet applied (but not right at the adoption),
    the targets when one of their Secrets has changed, and `enabled` where a switch above the policy decides. `origin`
    is what this visit has found out.
    """
    # Until its first visit has come to an end: what was written then may have failed.
    just_adopted = policy.status.applied_generation is None and origin == "Adopted"
    if policy.spec.drift_policy == "Correct" or (spec_is_new(policy) and not just_adopted):
        return GROUPS
    exceptions = {"targets": rotated and not just_adopted, "enabled": switch.decides}
    return frozenset(group for group, is_exception in exceptions.items() if is_exception)


def asked_for(policy: WebhookPolicy, *, turned: bool, rotated: bool) -> frozenset[str]:
    """Which differences Harbor has because something was changed here: the spec, a switch that was `turned`, a Secret
    that was `rotated`. Any other difference is drift, whatever the policy is reconciled for."""
    if spec_is_new(policy):
        return GROUPS
    causes = {"targets": rotated, "enabled": turned}
    return frozenset(group for group, is_cause in causes.items() if is_cause)


def spec_is_new(policy: WebhookPolicy) -> bool:
    """The spec was not yet applied, so a difference in Harbor is no drift."""
    return policy.status.applied_generation != policy.metadata.generation


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


def _sorted_events(event_types: Any) -> list[str]:
    """Order means nothing to Harbor, but a type given twice is delivered twice: that is a difference."""
    return sorted(map(str, event_types)) if isinstance(event_types, list) else []


def _differences_of_targets(observed: Any, desired: Sequence[DesiredTarget]) -> list[Difference]:
    seen = [_canonical(target) for target in observed] if isinstance(observed, list) else []
    should = [_canonical(target.body()) for target in desired]
    if len(seen) != len(should):
        return [Difference("targets", _counted(should), _counted(seen))]
    return [
        difference
        for index, (one, other) in enumerate(zip(should, seen, strict=True))
        for difference in _differences_of_target(f"targets[{index}]", one, other)
    ]


def _differences_of_target(name: str, desired: Mapping[str, Any], observed: Mapping[str, Any]) -> list[Difference]:
    """An address and a header are credentials, or may be: they only differ."""
    return [
        Difference(
            f"{name}.{field}", *(("differs", "differs") if field in _HIDDEN else (_display(should), _display(has)))
        )
        for field, should in desired.items()
        if (has := observed[field]) != should
    ]


_HIDDEN = ("address", "authHeaderFrom")


def _counted(targets: Sequence[Any]) -> str:
    return "1 target" if len(targets) == 1 else f"{len(targets)} targets"


def _canonical(target: Any) -> dict[str, Any]:
    """By the spec's names. Junk in Harbor is a target of no type."""
    seen = target if isinstance(target, dict) else {}
    default_format = DEFAULT_FORMAT if seen.get("type") == "http" else ""
    return {
        "type": seen.get("type"),
        "address": seen.get("address"),
        "authHeaderFrom": seen.get("auth_header") or "",
        "verifyRemoteCertificate": seen.get("skip_cert_verify") is not True,
        "payloadFormat": seen.get("payload_format") or default_format,
    }


def _display(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "(none)")
