"""The switches over notifications: what the global one asks for, and which of all switches decides for a policy.

Three switches lie above each other, and each of them, when off, keeps Harbor from sending notifications:

1. the global one, a ConfigMap, which is enforced by Harbor's own switch or else on each policy;
2. `webhooks.enabled` of the HarborProject;
3. `enabled` of the WebhookPolicy.

`suspend` of the WebhookPolicy keeps the switches above the policy from reaching it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from harborhook.api.conditions import DeliveringReason
from harborhook.api.webhook_policy import WebhookPolicy

# The global switch: `data.enabled` for every Harbor, `data.enabled.<connection>` for the one that a
# ClusterHarborConnection reaches.

GENERAL = "enabled"
NAMED = "enabled."


@dataclass(frozen=True)
class SwitchRequest:
    """What the ConfigMap asks for one Harbor."""

    enabled: bool | None
    """None: nothing is enforced."""
    complaints: tuple[str, ...] = field(default=())
    """What is wrong with the ConfigMap, as sentences for its owner."""
    malformed: bool = False
    """The value that would count cannot be understood: the last good one stays."""


def switch_request(data: Mapping[str, bytes] | None, connections: Iterable[str]) -> SwitchRequest:
    """The value for the Harbor that the named ClusterHarborConnections reach; `data` None: there is no ConfigMap.

    A value for a connection takes precedence over the general one. Where several connections to one Harbor have
    different values, false wins.
    """
    values = {key: _parse(value) for key, value in _relevant(data or {}, connections).items()}
    bad = [key for key, value in values.items() if value is None]
    if bad:
        return SwitchRequest(None, tuple(_malformed(key) for key in bad), malformed=True)
    if len(set(values.values())) > 1:
        return SwitchRequest(False, (f"{', '.join(values)} speak of the same Harbor and differ: false is used.",))
    return SwitchRequest(next(iter(values.values()), None))


def _relevant(data: Mapping[str, bytes], connections: Iterable[str]) -> Mapping[str, bytes]:
    named = [f"{NAMED}{name}" for name in sorted(connections) if f"{NAMED}{name}" in data]
    return {key: data[key] for key in named or [GENERAL] if key in data}


def _parse(value: bytes) -> bool | None:
    return {b"true": True, b"false": False}.get(value.strip().lower())


def _malformed(key: str) -> str:
    return f'{key} is neither "true" nor "false": write one of them; until then the last good value stays.'


# All switches of one policy


@dataclass(frozen=True)
class SwitchesAbove:
    """The switches above a policy."""

    harbor_off: bool = False
    """Harbor's own switch is off: it sends nothing, and the policy itself need not be disabled."""
    policies_off: bool = False
    """The global switch is off, and is enforced on each policy."""
    project_off: bool = False
    """The HarborProject switches its webhooks off."""


@dataclass(frozen=True)
class EffectiveSwitch:
    """What all switches together mean for a policy."""

    off_by: DeliveringReason | None
    """The highest switch that keeps Harbor from sending notifications; None if none does."""
    enabled: bool
    """What `enabled` of the policy in Harbor has to be."""
    disables: bool
    """A switch above the policy disables it in Harbor, whatever its spec says."""
    disabled_before: bool
    """So one did when the status was last written."""
    is_lifted: bool
    """No switch above disables the policy any more; its spec decides again, and Harbor has to be brought in line."""
    harbor_off: bool

    @property
    def is_turned(self) -> bool:
        """A switch above the policy now says something else than the status knows."""
        return self.disables != self.disabled_before

    @property
    def decides(self) -> bool:
        """Whether `enabled` in Harbor is the switches' to decide, over driftPolicy."""
        return self.disables or self.disabled_before

    def sends(self, enabled: bool) -> bool:
        """Whether Harbor sends notifications for a policy that is so `enabled` there."""
        return enabled and not self.harbor_off


def effective_switch(policy: WebhookPolicy, above: SwitchesAbove) -> EffectiveSwitch:
    """Which switch decides for a policy, and what that means in Harbor."""
    is_reached = not policy.spec.suspend
    disables = is_reached and (above.policies_off or above.project_off)
    disabled_before = _was_disabled_from_above(policy)
    return EffectiveSwitch(
        off_by=_off_by(policy, above),
        enabled=policy.spec.enabled and not disables,
        disables=disables,
        disabled_before=disabled_before,
        is_lifted=is_reached and disabled_before and not disables,
        harbor_off=above.harbor_off,
    )


def _off_by(policy: WebhookPolicy, above: SwitchesAbove) -> DeliveringReason | None:
    # A suspended policy is off by a switch above it only if that had reached it before.
    is_reached = not policy.spec.suspend or policy.status.enabled is False
    if above.harbor_off or (above.policies_off and is_reached):
        return DeliveringReason.GLOBALLY_DISABLED
    if above.project_off and is_reached:
        return DeliveringReason.PROJECT_DISABLED
    return None if policy.spec.enabled else DeliveringReason.POLICY_DISABLED


def _was_disabled_from_above(policy: WebhookPolicy) -> bool:
    """By the status. What is listed there as drift was disabled by a person."""
    delivering = policy.status.condition("Delivering")
    is_chosen = any(row.field == "enabled" for row in policy.status.drift)
    return (
        not is_chosen
        and delivering is not None
        and delivering.reason in (DeliveringReason.GLOBALLY_DISABLED, DeliveringReason.PROJECT_DISABLED)
    )
