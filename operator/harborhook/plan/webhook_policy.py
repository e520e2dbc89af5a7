"""Compares a WebhookPolicy with the policy in Harbor, and builds the bodies to send.

Harbor shows a policy differently from how it was sent: http targets gain `payload_format: Default`; false flags and
empty strings are absent. Both sides are therefore compared in one canonical form. Harbor's PUT replaces the whole row,
so an update is the body that Harbor showed, with our fields replaced.

A difference is written or only reported. That is decided for groups of fields that are written together: all targets
are one group, since the list is stated as a whole.
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
    """The desired form of a target; its repr does not show the header."""

    type: str
    address: str = field(repr=False)
    auth_header: str = field(default="", repr=False)
    skip_cert_verify: bool = False
    payload_format: str = ""

    def body(self) -> dict[str, Any]:
        """Returns the wire form; Harbor treats an empty string as absent."""
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
    """None keeps Harbor's description."""
    enabled: bool
    event_types: tuple[str, ...]
    targets: tuple[DesiredTarget, ...]


@dataclass(frozen=True)
class PolicyChanges:
    """The differences, and the content of the PUT that resolves them."""

    name: str
    """Name in Harbor after the PUT."""
    enabled: bool
    """`enabled` in Harbor after the PUT."""
    asked_for: tuple[Difference, ...] = ()
    """Written, because of a change in Kubernetes."""
    corrected: tuple[Difference, ...] = ()
    """Written, because of a change in Harbor."""
    reported: tuple[Difference, ...] = ()
    """Not written."""
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    """Body of the PUT, with headers in clear; None if there is nothing to write."""


DEFAULT_FORMAT = "Default"

_GROUP_OF = {
    "name": "policyName",
    "description": "description",
    "enabled": "enabled",
    "event_types": "eventTypes",
    "targets": "targets",
}
"""The fields of Harbor's policy that the operator writes, with their names in the spec."""
GROUPS = frozenset(_GROUP_OF.values())


def desired_policy(policy: WebhookPolicy, values: Sequence[TargetValues]) -> DesiredPolicy:
    """Builds the desired policy; `values` has the address and Authorization value of each target."""
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
    """Returns the body of the POST. `enabled` is always present (absent means disabled), `id` never (Harbor would use
    it)."""
    return {"creator": creator, **_our_fields(desired)}


def update_body(
    observed: Policy, desired: DesiredPolicy, groups: Collection[str] = GROUPS, *, creator: str | None = None
) -> dict[str, Any]:
    """Returns the body of the PUT: all that Harbor showed, including creator and creation time, with our fields of
    these groups replaced.

    `creator` is a new mark, for a policy that is taken over from another cluster.
    """
    ours = {name: value for name, value in _our_fields(desired).items() if _GROUP_OF[name] in groups}
    marked = {} if creator is None else {"creator": creator}
    return {**observed.raw, "id": observed.id, **ours, **marked}


def switching_body(observed: Policy, *, enabled: bool) -> dict[str, Any]:
    """Returns the body of a PUT that changes only `enabled`."""
    return {**observed.raw, "id": observed.id, "enabled": enabled}


def changes(
    observed: Policy,
    desired: DesiredPolicy,
    *,
    writable: Collection[str] = GROUPS,
    asked_for: Collection[str] = (),
    creator: str | None = None,
) -> PolicyChanges:
    """Sorts the differences: those in `writable` groups are written, the others reported. `creator` is a mark that is
    written in any case."""
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
    """Returns the state after our POST, which leaves no differences."""
    return PolicyChanges(desired.name, desired.enabled)


def differences(observed: Policy, desired: DesiredPolicy) -> list[Difference]:
    """Returns the fields in which Harbor's policy differs from the desired one."""
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
    """Returns the groups whose differences are written rather than reported.

    Under driftPolicy Report these are: all groups for a spec that was not yet applied (but not right after adoption),
    the targets when one of their Secrets has changed, and `enabled` where a switch above the policy decides. `origin`
    is the result of this visit.
    """
    # True until the first visit has succeeded: earlier writes may have failed.
    just_adopted = policy.status.applied_generation is None and origin == "Adopted"
    if policy.spec.drift_policy == "Correct" or (spec_is_new(policy) and not just_adopted):
        return GROUPS
    exceptions = {"targets": rotated and not just_adopted, "enabled": switch.decides}
    return frozenset(group for group, is_exception in exceptions.items() if is_exception)


def asked_for(policy: WebhookPolicy, *, turned: bool, rotated: bool) -> frozenset[str]:
    """Returns the groups that differ because of a change in Kubernetes: the spec, a switch that was `turned`, a Secret
    that was `rotated`. Any other difference is drift, regardless of the cause of the visit."""
    if spec_is_new(policy):
        return GROUPS
    causes = {"targets": rotated, "enabled": turned}
    return frozenset(group for group, is_cause in causes.items() if is_cause)


def spec_is_new(policy: WebhookPolicy) -> bool:
    """Whether the spec was not yet applied: a difference is then not drift."""
    return policy.status.applied_generation != policy.metadata.generation


def is_enabled(observed: Mapping[str, Any]) -> bool:
    """An absent flag means disabled, as in all of Harbor's policies."""
    return observed.get("enabled") is True


def merge_triggers(
    previous: Sequence[Trigger], event_types: Sequence[str], rows: Sequence[LastTrigger]
) -> list[Trigger]:
    """Returns one row per event type of the spec; a time never moves back, even if Harbor has lost it."""
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
    """Sorts the types, since order has no meaning; duplicates stay, because Harbor delivers them twice."""
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
    """Addresses and headers may be credentials: the values are not shown."""
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
    """Returns a target by the spec's names. An invalid target in Harbor becomes one without a type."""
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
