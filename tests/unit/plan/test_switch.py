"""The switches over notifications: the ConfigMap's value, and which of all switches decides for a policy."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from harborhook.api.conditions import DeliveringReason
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.plan.global_switch import SwitchRequest, switch_request
from harborhook.plan.switch import EffectiveSwitch, SwitchesAbove, effective_switch

# The global switch


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (None, None),
        ({}, None),
        ({"enabled": b"true"}, True),
        ({"enabled": b"false"}, False),
        ({"enabled": b" False\n"}, False),
        ({"enabled": b"TRUE"}, True),
        ({"other": b"false"}, None),
        ({"enabled.elsewhere": b"false"}, None),
        ({"enabled": b"true", "enabled.main": b"false"}, False),
        ({"enabled": b"false", "enabled.main": b"true"}, True),
        ({"enabled": b"ja", "enabled.main": b"true"}, True),
    ],
)
def test_a_named_value_takes_precedence_over_the_general_one(
    data: dict[str, bytes] | None, expected: bool | None
) -> None:
    assert switch_request(data, ["main"]) == SwitchRequest(expected)


@pytest.mark.parametrize("value", [b"ja", b"", b"0", b"yes", b"\xff", b"true false"])
def test_a_value_that_cannot_be_understood_changes_nothing_and_is_complained_about(value: bytes) -> None:
    asked = switch_request({"enabled": value}, ["main"])
    assert asked.malformed
    assert asked.enabled is None
    assert '"true"' in asked.complaints[0]


def test_of_two_values_for_one_harbor_false_wins_with_a_complaint() -> None:
    asked = switch_request({"enabled.a": b"true", "enabled.b": b"false", "enabled": b"true"}, ["b", "a"])
    assert asked.enabled is False
    assert "enabled.a, enabled.b" in asked.complaints[0]


# All switches of one policy

GLOBAL, PROJECT, OWN = (
    DeliveringReason.GLOBALLY_DISABLED,
    DeliveringReason.PROJECT_DISABLED,
    DeliveringReason.POLICY_DISABLED,
)


def policy(
    *,
    enabled: bool = True,
    suspended: bool = False,
    shown: bool | None = True,
    delivering: str = "LastDeliverySucceeded",
    drift: tuple[str, ...] = (),
) -> WebhookPolicy:
    """`shown`: status.enabled; `delivering`: the reason of that condition; `drift`: the fields that are listed."""
    condition = {
        "type": "Delivering",
        "status": "False",
        "reason": delivering,
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }
    return WebhookPolicy.model_validate(
        {
            "kind": "WebhookPolicy",
            "metadata": {"name": "hook", "namespace": "team"},
            "spec": {
                "projectRef": {"name": "team-a"},
                "eventTypes": ["PUSH_ARTIFACT"],
                "targets": [{"type": "http", "address": "https://ci.example.com/harbor"}],
                "enabled": enabled,
                "suspend": suspended,
            },
            "status": {
                "enabled": shown,
                "conditions": [condition] if delivering else [],
                "drift": [{"field": name, "desired": "true", "observed": "false"} for name in drift],
            },
        }
    )


def switch(harbor: str = "on", policies: str = "on", project: str = "on", **fields: Any) -> EffectiveSwitch:
    above = SwitchesAbove(harbor_off=harbor == "off", policies_off=policies == "off", project_off=project == "off")
    return effective_switch(policy(**fields), above)


TABLE = [
    # harbor, policies, project, spec, suspended, status.enabled -> off by, enabled in Harbor
    ("on", "on", "on", True, False, True, None, True),
    ("on", "on", "on", False, False, True, OWN, False),
    ("on", "on", "off", True, False, True, PROJECT, False),
    ("on", "on", "off", False, False, True, PROJECT, False),
    ("on", "off", "on", True, False, True, GLOBAL, False),
    ("on", "off", "on", False, False, True, GLOBAL, False),
    ("on", "off", "off", True, False, True, GLOBAL, False),
    ("on", "off", "off", False, False, True, GLOBAL, False),
    # Harbor's own switch is enough: the policy itself follows its spec and its project.
    ("off", "on", "on", True, False, True, GLOBAL, True),
    ("off", "on", "on", False, False, True, GLOBAL, False),
    ("off", "on", "off", True, False, True, GLOBAL, False),
    ("off", "on", "off", False, False, True, GLOBAL, False),
    ("off", "off", "on", True, False, True, GLOBAL, False),
    ("off", "off", "on", False, False, True, GLOBAL, False),
    ("off", "off", "off", True, False, True, GLOBAL, False),
    ("off", "off", "off", False, False, True, GLOBAL, False),
    # Switches above a suspended policy do not reach it: an enabled one stays enabled.
    ("on", "on", "on", True, True, True, None, True),
    ("on", "on", "on", False, True, True, OWN, False),
    ("on", "on", "off", True, True, True, None, True),
    ("on", "off", "on", True, True, True, None, True),
    ("on", "off", "off", False, True, True, OWN, False),
    ("on", "on", "off", True, True, None, None, True),
    ("off", "on", "on", True, True, True, GLOBAL, True),
    ("off", "off", "off", False, True, True, GLOBAL, False),
    # One that was switched off before it was suspended stays off, by the same switch.
    ("on", "on", "off", True, True, False, PROJECT, True),
    ("on", "off", "on", True, True, False, GLOBAL, True),
    ("on", "off", "off", False, True, False, GLOBAL, False),
    ("on", "on", "on", False, True, False, OWN, False),
    ("off", "on", "on", True, True, False, GLOBAL, True),
]


@pytest.mark.parametrize(
    ("harbor", "policies", "project", "enabled", "suspended", "shown", "off_by", "enabled_in_harbor"), TABLE
)
def test_the_highest_switch_that_is_off_decides(
    harbor: str,
    policies: str,
    project: str,
    enabled: bool,
    suspended: bool,
    shown: bool | None,
    off_by: DeliveringReason | None,
    enabled_in_harbor: bool,
) -> None:
    found = switch(harbor, policies, project, enabled=enabled, suspended=suspended, shown=shown)

    assert (found.off_by, found.enabled) == (off_by, enabled_in_harbor)


STATES = list(
    itertools.product(
        ("on", "off"),
        ("on", "off"),
        ("on", "off"),
        (True, False),
        (True, False),
        (True, False, None),
        [*(GLOBAL, PROJECT, OWN), ""],
    )
)


@pytest.mark.parametrize(("harbor", "policies", "project", "enabled", "suspended", "shown", "before"), STATES)
def test_in_every_state_the_answers_agree_with_each_other(
    harbor: str, policies: str, project: str, enabled: bool, suspended: bool, shown: bool | None, before: str
) -> None:
    found = switch(harbor, policies, project, enabled=enabled, suspended=suspended, shown=shown, delivering=str(before))
    below = not suspended and "off" in (policies, project)

    assert found.disables is below
    assert found.enabled is (enabled and not below)
    assert found.disabled_before is (before in (GLOBAL, PROJECT))
    assert found.is_turned is (found.disables is not found.disabled_before)
    assert found.decides is (found.disables or found.disabled_before)
    assert found.is_lifted is (found.disabled_before and not below and not suspended)
    assert found.sends(True) is (harbor == "on")
    assert found.sends(False) is False
    if found.off_by is None:
        assert found.enabled, "nothing is sent for a policy that is disabled in Harbor"
        assert found.sends(found.enabled)
    if not found.enabled and not suspended:
        assert found.off_by is not None, "somebody has to be able to see why"


@pytest.mark.parametrize(
    ("delivering", "drift", "disabled"),
    [
        (GLOBAL, (), True),
        (PROJECT, (), True),
        (PROJECT, ("targets",), True),
        (OWN, (), False),
        ("LastDeliverySucceeded", (), False),
        ("", (), False),
        (GLOBAL, ("enabled",), False),  # a user disabled the policy that is listed as drift
        (PROJECT, ("enabled", "targets"), False),
    ],
)
def test_what_a_switch_disabled_is_told_from_what_a_person_disabled(
    delivering: str, drift: tuple[str, ...], disabled: bool
) -> None:
    found = switch(delivering=str(delivering), drift=drift)

    assert (found.disabled_before, found.is_lifted, found.is_turned) == (disabled, disabled, disabled)
