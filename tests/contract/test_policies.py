"""Creating, changing and deleting webhook policies."""

from __future__ import annotations

import concurrent.futures
from typing import Any

import pytest

from contract.conftest import TARGET, Api, error_of, unique

NEVER = "0001-01-01T00:00:00.000Z"
EVENTS = ["PUSH_ARTIFACT"]


def _path(project: str, key: int) -> str:
    return f"/projects/{project}/webhook/policies/{key}"


def _full(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": "d",
        "enabled": True,
        "creator": "somebody",
        "event_types": EVENTS,
        "targets": [{**TARGET, "auth_header": "Bearer x", "skip_cert_verify": True, "payload_format": "CloudEvents"}],
    }


def test_put_replaces_the_whole_policy(api: Api) -> None:
    project = api.project()
    key = api.policy(project, **_full(unique("w")))
    before = api.get(_path(project, key))

    api.put(_path(project, key), {"event_types": EVENTS, "targets": [TARGET]})

    assert api.get(_path(project, key)) == {
        "creation_time": NEVER,
        "enabled": False,
        "event_types": EVENTS,
        "id": key,
        "project_id": before["project_id"],
        "targets": [{**TARGET, "payload_format": "Default"}],
        "update_time": before["update_time"],
    }


def test_putting_back_what_get_shows_changes_nothing(api: Api) -> None:
    project = api.project()
    key = api.policy(project, **_full(unique("w")))
    before = api.get(_path(project, key))

    api.put(_path(project, key), before)

    assert api.get(_path(project, key)) == before


def test_renaming_keeps_the_id_and_a_name_in_use_changes_nothing(api: Api) -> None:
    project = api.project()
    first, second = unique("w"), unique("w")
    key = api.policy(project, name=first)
    api.policy(project, name=second)
    policy = api.get(_path(project, key))

    renamed = unique("w")
    api.put(_path(project, key), {**policy, "name": renamed})
    assert api.get(_path(project, key)) == {**policy, "name": renamed}

    answer = api.request("PUT", _path(project, key), {**policy, "name": second})
    assert error_of(answer) == (409, "CONFLICT", f"notification policy named {second} already exists")
    assert api.get(_path(project, key))["name"] == renamed


def test_what_get_shows_differs_from_what_was_sent(api: Api) -> None:
    project = api.project()
    sent = [
        {**TARGET, "skip_cert_verify": False, "auth_header": ""},
        {"type": "slack", "address": "http://127.0.0.1:9/slack", "skip_cert_verify": False},
    ]

    key = api.policy(project, targets=sent, description="", event_types=["PUSH_ARTIFACT", "PUSH_ARTIFACT"])

    policy = api.get(_path(project, key))
    assert policy["targets"] == [
        {**TARGET, "payload_format": "Default"},
        {"type": "slack", "address": "http://127.0.0.1:9/slack"},
    ]
    assert "description" not in policy
    assert policy["event_types"] == ["PUSH_ARTIFACT", "PUSH_ARTIFACT"]


def test_a_policy_without_enabled_is_disabled(api: Api) -> None:
    project = api.project()
    key = api.post(f"/projects/{project}/webhook/policies", {"name": "w", "event_types": EVENTS, "targets": [TARGET]})

    assert api.get(_path(project, key))["enabled"] is False


def test_an_auth_header_comes_back_in_clear(api: Api) -> None:
    project = api.project()
    key = api.policy(project, targets=[{**TARGET, "auth_header": "Bearer s3cret"}])

    assert api.get(_path(project, key))["targets"][0]["auth_header"] == "Bearer s3cret"


def test_names_are_exact(api: Api) -> None:
    project = api.project()
    names = ["Deploy", "deploy", "Deploy ", " Deploy", "caf\u00e9", "cafe\u0301", "a/b", "100%"]

    for name in names:
        api.policy(project, name=name)

    found = [policy["name"] for policy in api.get(f"/projects/{project}/webhook/policies?page_size=0&sort=id")]
    assert found == names


@pytest.mark.parametrize("field", ["name", "creator"])
def test_a_name_and_a_creator_have_256_characters_at_most(api: Api, field: str) -> None:
    project = api.project()
    body = {"name": "w", "event_types": EVENTS, "targets": [TARGET]}

    key = api.policy(project, **{**body, field: "x" * 256})
    too_long = {**body, "name": "other", field: "x" * 257}
    made = api.request("POST", f"/projects/{project}/webhook/policies", too_long)
    put = api.request("PUT", _path(project, key), too_long)

    assert error_of(made) == error_of(put) == (500, "UNKNOWN", "internal server error")
    assert api.get(_path(project, key))[field] == "x" * 256


def test_of_many_who_want_a_name_at_once_one_gets_it(api: Api) -> None:
    project = api.project()
    body = {"name": "wanted", "event_types": EVENTS, "targets": [TARGET]}

    def attempt(_: int) -> int:
        own = api.as_(api.harbor.auth)
        return own.request("POST", f"/projects/{project}/webhook/policies", body).status_code

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        found = sorted(pool.map(attempt, range(20)))

    assert found == [201] + [409] * 19


def test_a_policy_belongs_to_its_project(api: Api) -> None:
    project, other = api.project(), api.project()
    key = api.policy(project)
    other_id = api.get(f"/projects/{other}")["project_id"]
    expected = (404, "NOT_FOUND", f"resource not found: project id:{other_id}, webhook policy id: {key} not found")

    body = {"name": "x", "event_types": EVENTS, "targets": [TARGET]}
    answers = [api.request(method, _path(other, key), body) for method in ("GET", "PUT", "DELETE")]

    assert [error_of(answer) for answer in answers] == [expected] * 3


def test_a_policy_that_is_gone_is_not_found(api: Api) -> None:
    project = api.project()
    key = api.policy(project)
    assert api.request("DELETE", _path(project, key)).status_code == 200

    answer = api.request("DELETE", _path(project, key))

    assert error_of(answer) == (404, "NOT_FOUND", f"notificationPolicy {key} not found")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"event_types": []}, "empty event type"),
        ({"event_types": ["NOPE"]}, "unsupported event type NOPE"),
        ({"targets": []}, "empty notification target with policy w"),
        ({"targets": [{"type": "email", "address": "http://x"}]}, "unsupported target type email with policy w"),
        ({"targets": [{"type": "http", "address": ""}]}, "empty URL"),
        ({"targets": [{"type": "http", "address": "HTTP://x"}]}, "invalid scheme: HTTP"),
        (
            {"targets": [{"type": "slack", "address": "http://x", "payload_format": "Default"}]},
            "set payload format is not allowed for slack",
        ),
        (
            {"targets": [{"type": "http", "address": "http://x", "payload_format": "Nope"}]},
            "unsupported payload format type: Nope",
        ),
    ],
)
def test_what_a_policy_may_not_say_is_refused_with_a_reason(api: Api, changed: dict[str, Any], message: str) -> None:
    project = api.project()
    body = {"name": "w", "event_types": EVENTS, "targets": [TARGET]} | changed

    answer = api.request("POST", f"/projects/{project}/webhook/policies", body)

    assert error_of(answer) == (400, "BAD_REQUEST", message)


def test_the_newest_policy_is_listed_first_and_one_put_without_its_time_before_that(api: Api) -> None:
    project = api.project()
    first, second = api.policy(project), api.policy(project)

    def order() -> list[int]:
        return [policy["id"] for policy in api.get(f"/projects/{project}/webhook/policies")]

    assert order() == [second, first]
    api.put(_path(project, first), {"name": "w", "event_types": EVENTS, "targets": [TARGET]})
    assert order() == [first, second]


def test_last_triggers_have_a_row_for_each_event_type_and_no_id(api: Api) -> None:
    project = api.project()
    api.policy(project, name="on", event_types=["PUSH_ARTIFACT", "PULL_ARTIFACT"])
    api.policy(project, name="off", enabled=False)

    rows = api.get(f"/projects/{project}/webhook/lasttrigger")

    assert [(row["policy_name"], row["event_type"], row.get("enabled")) for row in rows] == [
        ("off", "PUSH_ARTIFACT", None),
        ("on", "PUSH_ARTIFACT", True),
        ("on", "PULL_ARTIFACT", True),
    ]
    assert {row["last_trigger_time"] for row in rows} == {NEVER}
    assert {frozenset(row) - {"enabled"} for row in rows} == {
        frozenset({"creation_time", "event_type", "last_trigger_time", "policy_name"})
    }


def test_simultaneous_puts_never_mix(api: Api) -> None:
    project = api.project()
    key = api.policy(project)
    policy = api.get(_path(project, key))
    bodies = [{**policy, "description": f"d{at}", "targets": [{**TARGET, "auth_header": f"d{at}"}]} for at in range(8)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda body: api.as_(api.harbor.auth).put(_path(project, key), body), bodies))

    found = api.get(_path(project, key))
    assert found["description"] == found["targets"][0]["auth_header"]
