"""Decides which of the switches over notifications applies to a policy.

There are three levels. Each of them, when off, stops Harbor's notifications:

1. the global switch (plan/global_switch.py), enforced by Harbor's own switch or else on each policy;
2. `webhooks.enabled` of the HarborProject;
3. `enabled` of the WebhookPolicy.

`suspend` of the WebhookPolicy keeps the switches above the policy from reaching it.
"""

from __future__ import annotations

from dataclasses import dataclass

from harborhook.api.conditions import DeliveringReason
from harborhook.api.names import Body
from harborhook.api.webhook_policy import WebhookPolicy


@dataclass(frozen=True)
class SwitchesAbove:
    """The states of the switches above a policy."""

    harbor_off: bool = False
    """Harbor's own switch is off: Harbor sends nothing, and the policy itself need not be disabled."""
    policies_off: bool = False
    """The global switch is off and enforced on each policy."""
    project_off: bool = False
    """The HarborProject switches its webhooks off."""


@dataclass(frozen=True)
class EffectiveSwitch:
    """The combined effect of all switches on a policy."""

    off_by: DeliveringReason | None
    """The highest switch that stops notifications; None if none does."""
    enabled: bool
    """The desired `enabled` of the policy in Harbor."""
    disables: bool
    """A switch above the policy disables it in Harbor, regardless of its spec."""
    disabled_before: bool
    """A switch above had disabled it when the status was last written."""
    is_lifted: bool
    """The switches above no longer disable the policy: its spec decides again, and Harbor has to follow."""
    harbor_off: bool

    @property
    def is_turned(self) -> bool:
        """Whether the effect of the switches above differs from the one in the status."""
        return self.disables != self.disabled_before

    @property
    def decides(self) -> bool:
        """Whether the switches decide over `enabled` in Harbor, even under driftPolicy Report."""
        return self.disables or self.disabled_before

    def sends(self, enabled: bool) -> bool:
        """Whether Harbor sends notifications for the policy, given its `enabled` in Harbor."""
        return enabled and not self.harbor_off


def switches_off(project: Body | None) -> bool:
    """Whether the body of a HarborProject switches the webhooks of its policies off; not if there is no project."""
    webhooks = ((project or {}).get("spec") or {}).get("webhooks") or {}
    return webhooks.get("enabled") is False


def effective_switch(policy: WebhookPolicy, above: SwitchesAbove) -> EffectiveSwitch:
    """Combines the switches for a policy."""
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
    # A suspended policy is off by a switch above it only if the switch took effect before.
    is_reached = not policy.spec.suspend or policy.status.enabled is False
    if above.harbor_off or (above.policies_off and is_reached):
        return DeliveringReason.GLOBALLY_DISABLED
    if above.project_off and is_reached:
        return DeliveringReason.PROJECT_DISABLED
    return None if policy.spec.enabled else DeliveringReason.POLICY_DISABLED


def _was_disabled_from_above(policy: WebhookPolicy) -> bool:
    """Reads the status. A policy listed there with drift in `enabled` was disabled by a user."""
    delivering = policy.status.condition("Delivering")
    is_chosen = any(row.field == "enabled" for row in policy.status.drift)
    return (
        not is_chosen
        and delivering is not None
        and delivering.reason in (DeliveringReason.GLOBALLY_DISABLED, DeliveringReason.PROJECT_DISABLED)
    )
