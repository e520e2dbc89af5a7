"""The merge patch of a status: applied to the old one it gives the new one, and it is minimal."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harborhook.plan.status import merge_patch

Object = dict[str, Any]

calm = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def applied(target: Any, patch: Any) -> Any:
    """RFC 7386, section 2, word for word."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = applied(result.get(name), value)
    return result


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        ({}, {}, {}),
        ({"a": 1}, {"a": 1}, {}),
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {}, {"a": None}),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, {"b": 3}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, {"a": {"c": 3}}),
        ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": None}}),
        ({"a": {"b": 1}}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {}}, {"a": {}}, {}),
        ({}, {"a": {}}, {"a": {}}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": [1]}),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1}]}, {}),
        ({"a": ""}, {"a": 0}, {"a": 0}),
    ],
)
def test_the_patch_says_only_what_differs(old: Object, new: Object, patch: Object) -> None:
    assert merge_patch(old, new) == patch


SCALARS = st.booleans() | st.integers(-3, 3) | st.text(max_size=3)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
STATUSES = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)


@given(STATUSES, STATUSES)
@example({"a": {"b": 1}}, {"a": {}})
@calm
def test_applying_the_patch_to_the_old_status_gives_the_new_one(old: Object, new: Object) -> None:
    assert applied(old, merge_patch(old, new)) == new


@given(STATUSES, STATUSES)
@calm
def test_the_patch_is_empty_exactly_if_nothing_differs(old: Object, new: Object) -> None:
    assert (merge_patch(old, new) == {}) == (old == new)
    assert merge_patch(old, copy.deepcopy(old)) == {}


@given(STATUSES, STATUSES)
@calm
def test_making_the_patch_changes_neither_status(old: Object, new: Object) -> None:
    before = copy.deepcopy((old, new))

    merge_patch(old, new)

    assert (old, new) == before
