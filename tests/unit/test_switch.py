"""The global switch: what the ConfigMap asks for."""

from __future__ import annotations

import pytest

from harborhook.plan.switch import Wish, wish


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
