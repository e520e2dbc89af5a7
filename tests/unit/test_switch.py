"""The global switch: what the ConfigMap asks for, and how the three switches combine."""

from __future__ import annotations

import pytest

from harborhook.plan.switch import Wish, off_by, wish


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
def test_a_named_value_goes_before_the_general_one(data: dict[str, bytes] | None, expected: bool | None) -> None:
    assert wish(data, ["main"]) == Wish(expected)


@pytest.mark.parametrize("value", [b"ja", b"", b"0", b"yes", b"\xff", b"true false"])
def test_a_value_that_cannot_be_understood_changes_nothing_and_is_complained_about(value: bytes) -> None:
    asked = wish({"enabled": value}, ["main"])
    assert asked.malformed
    assert asked.enabled is None
    assert '"true"' in asked.complaints[0]


def test_of_two_values_for_one_harbor_false_wins_with_a_complaint() -> None:
    asked = wish({"enabled.a": b"true", "enabled.b": b"false", "enabled": b"true"}, ["b", "a"])
    assert asked.enabled is False
    assert "enabled.a, enabled.b" in asked.complaints[0]


@pytest.mark.parametrize(
    ("globally", "project", "policy", "expected"),
    [
        (True, True, True, ""),
        (True, True, False, "PolicyDisabled"),
        (True, False, True, "ProjectDisabled"),
        (True, False, False, "ProjectDisabled"),
        (False, True, True, "GloballyDisabled"),
        (False, True, False, "GloballyDisabled"),
        (False, False, True, "GloballyDisabled"),
        (False, False, False, "GloballyDisabled"),
    ],
)
def test_the_highest_switch_that_is_off_is_the_reason(
    globally: bool, project: bool, policy: bool, expected: str
) -> None:
    assert off_by(globally=globally, project=project, policy=policy) == expected
