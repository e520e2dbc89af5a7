"""The switches over notifications: which of them decides for a policy.

Three switches lie above each other, and each of them, when off, keeps Harbor from sending notifications:

1. the global one (plan/global_switch.py), which is enforced by Harbor's own switch or else on each policy;
2. `webhooks.enabled` of the HarborProject;
3. `enabled` of the WebhookPolicy.

`suspend` of the WebhookPolicy keeps the switches above the policy from reaching it.
"""

from __future__ import annotations

from dataclasses import dataclass

from harborhook.api.conditions import DeliveringReason
from harborhook.api.webhook_policy import WebhookPolicy


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
