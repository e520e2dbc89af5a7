"""Webhook policies: bodies, differences, and one write that resolves all of them."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harborhook.api.webhook_policy import Trigger, WebhookPolicy
from harborhook.harbor.models import LastTrigger, Policy
from harborhook.plan.switch import SwitchesAbove, effective_switch
from harborhook.plan.target_values import TargetValues
from harborhook.plan.webhook_policy import (
    DesiredPolicy,
    DesiredTarget,
    asked_for,
    changes,
    creation_body,
    desired_policy,
    differences,
    is_enabled,
    merge_triggers,
    switching_body,
    update_body,
    writable_groups,
)

calm = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])

HTTP = DesiredTarget("http", "https://ci.example.com/harbor", payload_format="Default")
SLACK = DesiredTarget("slack", "https://hooks.slack.com/services/T/B/X")


def desired(
    *targets: DesiredTarget,
    name: str = "hook",
    description: str | None = None,
    enabled: bool = True,
    event_types: tuple[str, ...] = ("PUSH_ARTIFACT", "PULL_ARTIFACT"),
) -> DesiredPolicy:
    return DesiredPolicy(name, description, enabled, event_types, targets or (HTTP,))


def as_harbor_shows(body: dict[str, Any]) -> dict[str, Any]:
    """Returns Harbor's GET for the body of a PUT or POST: http targets gain `payload_format: Default`; false
    `skip_cert_verify` and empty strings are absent. An id and a creation time are always present."""

    def target(sent: dict[str, Any]) -> dict[str, Any]:
        shown = dict(sent)
        if shown.get("type") == "http" and not shown.get("payload_format"):
            shown["payload_format"] = "Default"
        return {name: value for name, value in shown.items() if value not in (False, "")}

    shown = {"id": 5, "project_id": 2, "creation_time": "2026-01-02T03:04:05.678Z", **copy.deepcopy(body)}
    shown["targets"] = [target(sent) for sent in shown["targets"]]
    return {name: value for name, value in shown.items() if value != ""}


def groups(observed: Policy, policy: DesiredPolicy) -> list[str]:
    """Returns the groups to write, each once."""
    return list(dict.fromkeys(difference.group for difference in differences(observed, policy)))


def parsed(body: dict[str, Any]) -> Policy:
    policy = Policy.parse(body)
    assert policy is not None
    return policy


def shown(policy: DesiredPolicy, **changes: Any) -> Policy:
    """Returns the policy in Harbor after our POST, with some fields changed since."""
    return parsed({**as_harbor_shows(creation_body(policy, creator="harborhook/c/ns/hook")), **changes})


# From the spec


def resource(**spec: Any) -> WebhookPolicy:
    return WebhookPolicy.model_validate(
        {
            "kind": "WebhookPolicy",
            "metadata": {"name": "hook", "namespace": "team"},
            "spec": {
                "projectRef": {"name": "team-a"},
                "eventTypes": ["PUSH_ARTIFACT"],
                "targets": [{"type": "http", "address": "https://ci.example.com/harbor"}],
                **spec,
            },
        }
    )


def at(*headers: str, address: str = "https://ci.example.com/harbor") -> list[TargetValues]:
    """The values of targets at one address, one for each header or else one without."""
    return [TargetValues(address, header) for header in headers or ("",)]


def test_a_minimal_spec_is_an_enabled_policy_named_like_the_resource() -> None:
    assert desired_policy(resource(), at()) == desired(HTTP, event_types=("PUSH_ARTIFACT",))


def test_every_field_of_the_spec_reaches_the_desired_policy() -> None:
    target = {
        "type": "http",
        "address": "https://ci.example.com/harbor?x=y",
        "payloadFormat": "CloudEvents",
        "verifyRemoteCertificate": False,
    }
    policy = resource(policyName="A name", description="", enabled=False, targets=[target])

    assert desired_policy(policy, at("Bearer x", address="https://ci.example.com/harbor?x=y")) == DesiredPolicy(
        "A name",
        "",
        False,
        ("PUSH_ARTIFACT",),
        (DesiredTarget("http", "https://ci.example.com/harbor?x=y", "Bearer x", True, "CloudEvents"),),
    )


def test_an_event_type_that_is_given_twice_is_sent_once() -> None:
    policy = resource(eventTypes=["PUSH_ARTIFACT", "PULL_ARTIFACT", "PUSH_ARTIFACT"])

    assert desired_policy(policy, at()).event_types == ("PUSH_ARTIFACT", "PULL_ARTIFACT")


@pytest.mark.parametrize(("verify", "skip"), [(None, False), (True, False), (False, True)])
def test_a_certificate_is_verified_unless_the_spec_says_false(verify: bool | None, skip: bool) -> None:
    target = {"type": "http", "address": "https://ci.example.com"}
    policy = resource(targets=[target if verify is None else {**target, "verifyRemoteCertificate": verify}])

    assert desired_policy(policy, at()).targets[0].skip_cert_verify is skip


def test_a_slack_target_is_sent_without_a_payload_format() -> None:
    policy = resource(targets=[{"type": "slack", "address": "https://hooks.slack.com/services/x"}])
    body = creation_body(desired_policy(policy, at()), creator="x")

    assert "payload_format" not in body["targets"][0]


def test_each_target_gets_its_own_header_and_a_missing_one_is_an_error() -> None:
    target = {"type": "http", "address": "https://ci.example.com"}
    policy = resource(targets=[target, target])

    assert [t.auth_header for t in desired_policy(policy, at("a", "")).targets] == ["a", ""]
    with pytest.raises(ValueError, match="shorter"):
        desired_policy(policy, at("a"))


def test_no_repr_shows_a_header_or_an_address() -> None:
    policy = desired(DesiredTarget("http", "https://user:canary@example.com", "Bearer canary"))

    assert "canary" not in repr(policy)


# Bodies


def test_a_new_policy_is_sent_with_its_creator_and_without_an_id() -> None:
    body = creation_body(desired(), creator="harborhook/c/ns/hook")

    assert body == {
        "creator": "harborhook/c/ns/hook",
        "name": "hook",
        "enabled": True,
        "event_types": ["PUSH_ARTIFACT", "PULL_ARTIFACT"],
        "targets": [
            {
                "type": "http",
                "address": "https://ci.example.com/harbor",
                "skip_cert_verify": False,
                "payload_format": "Default",
            }
        ],
    }


@pytest.mark.parametrize("enabled", [True, False])
def test_a_new_policy_always_says_whether_it_is_enabled(enabled: bool) -> None:
    assert creation_body(desired(enabled=enabled), creator="x")["enabled"] is enabled


@pytest.mark.parametrize(("description", "sent"), [(None, "by hand"), ("", ""), ("ours", "ours")])
def test_a_description_is_changed_only_if_the_spec_states_one(description: str | None, sent: str) -> None:
    observed = shown(desired(), description="by hand")

    assert update_body(observed, desired(description=description))["description"] == sent


def test_an_update_keeps_what_harbor_showed_and_we_do_not_speak_of() -> None:
    observed = shown(desired(), creator="admin", update_time="2026-01-01T00:00:00Z", future={"field": [1]})

    body = update_body(observed, desired(name="renamed"))

    assert body == {**observed.raw, **body}
    assert (body["id"], body["project_id"], body["creator"]) == (5, 2, "admin")
    assert body["creation_time"] == "2026-01-02T03:04:05.678Z"
    assert body["future"] == {"field": [1]}
    assert body["name"] == "renamed"


def test_an_update_does_not_change_what_was_observed() -> None:
    observed = shown(desired())
    before = copy.deepcopy(dict(observed.raw))

    update_body(observed, desired(name="renamed", enabled=False))
    switching_body(observed, enabled=False)

    assert observed.raw == before


def test_a_header_that_the_spec_no_longer_has_does_not_reach_the_new_address() -> None:
    observed = shown(desired(DesiredTarget("http", "https://old.example.com", "Bearer old", True, "CloudEvents")))
    moved = desired(DesiredTarget("http", "https://new.example.com", payload_format="Default"))

    body = update_body(observed, moved)

    assert "Bearer old" not in str(body)
    assert body["targets"] == [moved.targets[0].body()]


@pytest.mark.parametrize("enabled", [True, False])
def test_enabling_and_disabling_change_nothing_else(enabled: bool) -> None:
    observed = shown(desired(), future=1, description="by hand")

    assert switching_body(observed, enabled=enabled) == {**observed.raw, "enabled": enabled}


# Differences


def test_what_was_just_made_does_not_differ() -> None:
    policy = desired(HTTP, SLACK, DesiredTarget("http", "http://x", "Bearer t", True, "CloudEvents"))

    assert groups(shown(policy), policy) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "other"}, ["policyName"]),
        ({"name": None}, ["policyName"]),
        ({"enabled": False}, ["enabled"]),
        ({"enabled": None}, ["enabled"]),
        ({"enabled": "true"}, ["enabled"]),
        ({"event_types": ["PUSH_ARTIFACT"]}, ["eventTypes"]),
        ({"event_types": []}, ["eventTypes"]),
        ({"event_types": None}, ["eventTypes"]),
        ({"event_types": "PUSH_ARTIFACT"}, ["eventTypes"]),
        ({"event_types": ["PUSH_ARTIFACT", "PULL_ARTIFACT", "PULL_ARTIFACT"]}, ["eventTypes"]),
        ({"event_types": ["PULL_ARTIFACT", "PUSH_ARTIFACT"]}, []),
        ({"targets": []}, ["targets"]),
        ({"targets": None}, ["targets"]),
        ({"targets": 7}, ["targets"]),
        ({"targets": {"type": "http"}}, ["targets"]),
        ({"targets": "http"}, ["targets"]),
        ({"targets": [None]}, ["targets"]),
        ({"targets": [[]]}, ["targets"]),
        ({"description": "by hand"}, []),
        ({"description": None}, []),
        ({"creator": "admin", "update_time": "now", "future": 1}, []),
        ({"name": "other", "enabled": False, "targets": []}, ["policyName", "enabled", "targets"]),
    ],
)
def test_only_what_the_spec_says_otherwise_is_a_difference(changes: dict[str, Any], expected: list[str]) -> None:
    assert groups(shown(desired(), **changes), desired()) == expected


@pytest.mark.parametrize(
    ("has", "stated", "differs"),
    [
        (None, None, False),
        ("by hand", None, False),
        (None, "", False),
        ("", "", False),
        ("by hand", "", True),
        (None, "ours", True),
        ("ours", "ours", False),
        (7, None, False),
        (7, "ours", True),
    ],
)
def test_a_description_differs_only_from_one_that_is_stated(has: Any, stated: str | None, differs: bool) -> None:
    policy = desired(description=stated)

    assert groups(shown(policy, description=has), policy) == (["description"] if differs else [])


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "slack"},
        {"address": "https://ci.example.com/harbor/"},
        {"address": None},
        {"auth_header": "Bearer x"},
        {"skip_cert_verify": True},
        {"payload_format": "CloudEvents"},
    ],
)
def test_every_part_of_a_target_counts(changes: dict[str, Any]) -> None:
    target = {**as_harbor_shows(creation_body(desired(), creator="x"))["targets"][0], **changes}

    assert groups(shown(desired(), targets=[target]), desired()) == ["targets"]


@pytest.mark.parametrize(
    "changes", [{"skip_cert_verify": False}, {"skip_cert_verify": None}, {"auth_header": ""}, {"payload_format": ""}]
)
def test_absent_false_and_empty_mean_the_same_in_a_target(changes: dict[str, Any]) -> None:
    target = {**as_harbor_shows(creation_body(desired(), creator="x"))["targets"][0], **changes}

    assert groups(shown(desired(), targets=[target]), desired()) == []


def test_the_order_of_targets_is_a_difference() -> None:
    assert groups(shown(desired(HTTP, SLACK)), desired(SLACK, HTTP)) == ["targets"]


def test_a_target_that_harbor_has_twice_is_a_difference() -> None:
    assert groups(shown(desired(HTTP, HTTP)), desired(HTTP)) == ["targets"]


@pytest.mark.parametrize(("body", "enabled"), [({}, False), ({"enabled": True}, True), ({"enabled": None}, False)])
def test_a_policy_is_enabled_only_if_harbor_says_so(body: dict[str, Any], enabled: bool) -> None:
    assert is_enabled(body) is enabled


# One write is enough, for any state of Harbor

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
EVENTS = st.sampled_from(["PUSH_ARTIFACT", "PULL_ARTIFACT", "DELETE_ARTIFACT", "QUOTA_EXCEED"])
ADDRESSES = st.sampled_from(["https://a.example.com", "http://b.example.com/x?y=z", "https://u:p@c.example.com"])

HTTP_TARGETS = st.builds(
    DesiredTarget,
    type=st.just("http"),
    address=ADDRESSES,
    auth_header=st.sampled_from(["", "Bearer x"]),
    skip_cert_verify=st.booleans(),
    payload_format=st.sampled_from(["Default", "CloudEvents"]),
)
SLACK_TARGETS = st.builds(
    DesiredTarget, type=st.just("slack"), address=ADDRESSES, skip_cert_verify=st.booleans(), payload_format=st.just("")
)
DESIRED = st.builds(
    DesiredPolicy,
    name=st.text(min_size=1, max_size=8),
    description=st.none() | st.text(max_size=8),
    enabled=st.booleans(),
    event_types=st.lists(EVENTS, min_size=1, unique=True).map(tuple),
    targets=st.lists(HTTP_TARGETS | SLACK_TARGETS, min_size=1, max_size=3).map(tuple),
)

OBSERVED_TARGET = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["http", "slack"]) | JUNK,
        "address": ADDRESSES | JUNK,
        "auth_header": st.just("Bearer x") | JUNK,
        "skip_cert_verify": st.booleans() | JUNK,
        "payload_format": st.sampled_from(["Default", "CloudEvents"]) | JUNK,
        "future": JUNK,
    },
)
OBSERVED = st.fixed_dictionaries(
    {"id": st.integers(1, 99)},
    optional={
        "project_id": st.integers(1, 99) | JUNK,
        "name": st.text(max_size=8) | JUNK,
        "description": st.text(max_size=8) | JUNK,
        "enabled": st.booleans() | JUNK,
        "event_types": st.lists(EVENTS, max_size=3) | JUNK,
        "targets": st.lists(OBSERVED_TARGET | JUNK, max_size=3) | JUNK,
        "creator": st.text(max_size=8) | JUNK,
        "creation_time": st.just("2026-01-02T03:04:05Z") | JUNK,
        "future": JUNK,
    },
)
OURS = {"id", "name", "description", "enabled", "event_types", "targets"}


@given(OBSERVED, DESIRED)
@calm
def test_one_update_leaves_no_difference_from_any_state_of_harbor(raw: dict[str, Any], policy: DesiredPolicy) -> None:
    observed = parsed(raw)
    body = update_body(observed, policy)

    assert groups(parsed(as_harbor_shows(body)), policy) == []
    assert body["id"] == observed.id
    assert {name: value for name, value in body.items() if name not in OURS} == {
        name: value for name, value in raw.items() if name not in OURS
    }


@given(OBSERVED, DESIRED)
@calm
def test_differences_are_names_of_the_spec_in_its_order(raw: dict[str, Any], policy: DesiredPolicy) -> None:
    found = groups(parsed(raw), policy)

    names = ["policyName", "description", "enabled", "eventTypes", "targets"]
    assert found == [name for name in names if name in found]


@given(DESIRED)
@calm
def test_a_creation_leaves_no_difference(policy: DesiredPolicy) -> None:
    body = creation_body(policy, creator="harborhook/c/ns/hook")

    assert "id" not in body
    assert groups(parsed(as_harbor_shows(body)), policy) == []


@given(DESIRED, DESIRED)
@calm
def test_two_policies_that_are_stated_differently_differ(one: DesiredPolicy, other: DesiredPolicy) -> None:
    def meaning(policy: DesiredPolicy) -> tuple[object, ...]:
        return policy.name, policy.enabled, sorted(policy.event_types), policy.targets

    found = groups(parsed(as_harbor_shows(creation_body(one, creator="x"))), other)

    assert ({"policyName", "enabled", "eventTypes", "targets"} & set(found) != set()) == (
        meaning(one) != meaning(other)
    )


# Last-trigger times

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def row(event_type: str, time: datetime | None) -> LastTrigger:
    return LastTrigger("hook", event_type, time)


def test_each_event_type_of_the_spec_has_one_row_in_its_order() -> None:
    rows = [row("PULL_ARTIFACT", T0), row("QUOTA_EXCEED", T0)]

    assert merge_triggers([], ["PUSH_ARTIFACT", "PULL_ARTIFACT", "PUSH_ARTIFACT"], rows) == [
        Trigger(event_type="PUSH_ARTIFACT"),
        Trigger(event_type="PULL_ARTIFACT", last_trigger_time=T0),
    ]


@pytest.mark.parametrize(
    ("before", "now", "after"),
    [
        (None, None, None),
        (None, T0, T0),
        (T0, None, T0),
        (T0, T0 - timedelta(days=1), T0),
        (T0, T0 + timedelta(days=1), T0 + timedelta(days=1)),
    ],
)
def test_a_time_never_goes_back_not_even_when_harbor_forgets_it(
    before: datetime | None, now: datetime | None, after: datetime | None
) -> None:
    previous = [Trigger(event_type="PUSH_ARTIFACT", last_trigger_time=before)]

    assert merge_triggers(previous, ["PUSH_ARTIFACT"], [row("PUSH_ARTIFACT", now)]) == [
        Trigger(event_type="PUSH_ARTIFACT", last_trigger_time=after)
    ]


def test_a_part_of_a_second_is_no_news() -> None:
    previous = [Trigger(event_type="PUSH_ARTIFACT", last_trigger_time=T0)]

    assert (
        merge_triggers(previous, ["PUSH_ARTIFACT"], [row("PUSH_ARTIFACT", T0 + timedelta(milliseconds=900))])
        == previous
    )


def test_an_event_type_that_left_the_spec_loses_its_row() -> None:
    previous = [Trigger(event_type="QUOTA_EXCEED", last_trigger_time=T0)]

    assert merge_triggers(previous, ["PUSH_ARTIFACT"], []) == [Trigger(event_type="PUSH_ARTIFACT")]


TIMES = st.none() | st.integers(0, 10_000).map(lambda tenths: T0 + timedelta(seconds=tenths / 10))
EVENT_LISTS = st.lists(EVENTS, min_size=1, max_size=5)


@given(EVENT_LISTS, st.lists(st.lists(st.builds(row, EVENTS, TIMES), max_size=5), max_size=5), st.randoms())
@calm
def test_times_are_the_greatest_seen_in_any_order_of_readings(
    event_types: list[str], readings: list[list[LastTrigger]], random: object
) -> None:
    triggers: list[Trigger] = []
    for rows in readings:
        before = {trigger.event_type: trigger.last_trigger_time for trigger in triggers}
        random.shuffle(rows)  # type: ignore[attr-defined]
        triggers = merge_triggers(triggers, event_types, rows)
        for trigger in triggers:
            past = before.get(trigger.event_type)
            assert past is None or (trigger.last_trigger_time is not None and trigger.last_trigger_time >= past)

    if readings:
        greatest = {
            name: max(
                (r.time.replace(microsecond=0) for rows in readings for r in rows if r.event_type == name and r.time),
                default=None,
            )
            for name in dict.fromkeys(event_types)
        }
        assert {trigger.event_type: trigger.last_trigger_time for trigger in triggers} == greatest


# Report


def reporting(*, applied: int | None = 3, origin: str | None = "Created") -> WebhookPolicy:
    """Generation 3 of a policy under driftPolicy Report."""
    found = resource(driftPolicy="Report")
    metadata = found.metadata.model_copy(update={"generation": 3})
    status = {"appliedGeneration": applied, "origin": origin}
    return found.model_copy(update={"metadata": metadata, "status": type(found.status).model_validate(status)})


def written(
    policy: WebhookPolicy, origin: Any = "Created", *, switched: bool = False, rotated: bool = False
) -> list[str]:
    switch = effective_switch(policy, SwitchesAbove(policies_off=switched))
    return sorted(writable_groups(policy, origin, switch, rotated=rotated))


EVERYTHING = ["description", "enabled", "eventTypes", "policyName", "targets"]


def test_drift_is_corrected_unless_the_spec_says_report() -> None:
    assert written(resource()) == EVERYTHING


def test_under_report_a_new_spec_is_applied_and_drift_is_not() -> None:
    assert written(reporting(applied=2)) == EVERYTHING
    assert written(reporting(applied=None)) == EVERYTHING
    assert written(reporting()) == []


def test_under_report_nothing_is_written_at_the_adoption() -> None:
    adopted = reporting(applied=None, origin=None)
    assert written(adopted, "Adopted", rotated=True) == []
    assert written(adopted, "Created") == EVERYTHING


def test_under_report_an_adoption_whose_first_visit_failed_is_still_one() -> None:
    assert written(reporting(applied=None, origin="Adopted"), "Adopted") == []
    assert written(reporting(applied=2, origin="Adopted"), "Adopted") == EVERYTHING


def test_under_report_a_changed_secret_is_applied_to_the_targets_alone() -> None:
    assert written(reporting(), rotated=True) == ["targets"]


def test_only_what_was_changed_here_was_asked_for() -> None:
    def groups(policy: WebhookPolicy, *, turned: bool = False, rotated: bool = False) -> list[str]:
        return sorted(asked_for(policy, turned=turned, rotated=rotated))

    assert groups(reporting()) == []
    assert groups(reporting(), rotated=True) == ["targets"]
    assert groups(reporting(), turned=True) == ["enabled"]
    assert groups(reporting(applied=2)) == EVERYTHING


def test_a_switch_takes_precedence_over_report() -> None:
    assert written(reporting(), switched=True) == ["enabled"]
    assert written(reporting(applied=None, origin=None), "Adopted", switched=True) == ["enabled"]


@pytest.mark.parametrize(
    ("origin", "creation", "deletion"),
    [
        (None, "Create", "Delete"),
        (None, "Adopt", "Retain"),
        ("Created", "Adopt", "Delete"),
        ("Adopted", "CreateOrAdopt", "Retain"),
    ],
)
def test_what_was_made_here_is_deleted_and_what_was_adopted_is_retained(
    origin: str | None, creation: str, deletion: str
) -> None:
    policy = resource(creationPolicy=creation)
    status = type(policy.status).model_validate({"origin": origin})
    assert policy.model_copy(update={"status": status}).effective_deletion_policy == deletion


def test_an_update_of_some_groups_leaves_the_others_as_harbor_has_them() -> None:
    observed = shown(desired(), name="other", enabled=False)

    body = update_body(observed, desired(), {"enabled"})

    assert body == {**observed.raw, "enabled": True}


def test_a_policy_that_is_taken_over_gets_our_mark() -> None:
    observed = shown(desired(), creator="harborhook/other/ns/hook")

    assert update_body(observed, desired(), (), creator="ours") == {**observed.raw, "creator": "ours"}


def test_drift_tells_values_but_of_an_address_and_a_header_only_that_they_differ() -> None:
    target = {
        "type": "http",
        "address": "https://canary.example.com",
        "auth_header": "canary",
        "payload_format": "CloudEvents",
        "skip_cert_verify": True,
    }
    seen = shown(desired(), name="other", enabled=False, event_types=["SCANNING_FAILED"], targets=[target])

    assert [(one.field, one.desired, one.observed) for one in differences(seen, desired())] == [
        ("policyName", "hook", "other"),
        ("enabled", "true", "false"),
        ("eventTypes", "PULL_ARTIFACT, PUSH_ARTIFACT", "SCANNING_FAILED"),
        ("targets[0].address", "differs", "differs"),
        ("targets[0].authHeaderFrom", "differs", "differs"),
        ("targets[0].verifyRemoteCertificate", "true", "false"),
        ("targets[0].payloadFormat", "Default", "CloudEvents"),
    ]


# Handling of differences


def test_what_may_not_be_written_is_reported_and_stays_as_harbor_has_it() -> None:
    observed = shown(desired(), name="other", enabled=False, event_types=[])

    found = changes(observed, desired(), writable=["eventTypes", "enabled"], asked_for=["enabled"])

    assert [one.field for one in found.asked_for] == ["enabled"]
    assert [one.field for one in found.corrected] == ["eventTypes"]
    assert [one.field for one in found.reported] == ["policyName"]
    assert (found.name, found.enabled) == ("other", True)
    assert found.body == {**observed.raw, "enabled": True, "event_types": list(desired().event_types)}


def test_what_is_only_reported_is_not_sent() -> None:
    observed = shown(desired(), enabled=False)

    found = changes(observed, desired(), writable=[])

    assert (found.body, found.enabled, [one.field for one in found.reported]) == (None, False, ["enabled"])


def test_a_mark_is_written_though_nothing_differs() -> None:
    observed = shown(desired())

    assert changes(observed, desired()).body is None
    assert changes(observed, desired(), writable=[], creator="ours").body == {**observed.raw, "creator": "ours"}


def test_no_repr_shows_what_is_to_be_sent() -> None:
    stated = desired(DesiredTarget("http", "https://c4nary.example.com", "c4nary"))

    assert "c4nary" not in repr(changes(shown(desired()), stated))


@given(OBSERVED, DESIRED, st.sets(st.sampled_from(EVERYTHING)), st.sets(st.sampled_from(EVERYTHING)))
@calm
def test_each_difference_is_written_or_reported_once(
    raw: dict[str, Any], policy: DesiredPolicy, writable: set[str], asked: set[str]
) -> None:
    observed = parsed(raw)
    found = changes(observed, policy, writable=writable, asked_for=asked)

    sorted_out = [*found.asked_for, *found.corrected, *found.reported]
    assert sorted(sorted_out, key=repr) == sorted(differences(observed, policy), key=repr)
    after = observed if found.body is None else parsed(dict(found.body))
    left = {difference.group for difference in differences(after, policy)}
    assert left == {difference.group for difference in found.reported}
    assert found.enabled is is_enabled(after.raw)


def test_another_number_of_targets_is_one_difference() -> None:
    (found,) = differences(shown(desired(HTTP, SLACK)), desired(HTTP))

    assert (found.field, found.desired, found.observed) == ("targets", "1 target", "2 targets")
