"""Projects are addressed by name or by id, and a name may look like an id."""

from __future__ import annotations

import base64
import http.client
import json
import secrets
import ssl
from functools import partial

import httpx
import pytest

from contract.conftest import TARGET, Api, error_of, unique

BY_NAME = {"X_Is_Resource_Name": "true"}


LARGEST_ID = 2**31 - 1


def _number() -> str:
    """A number that is not the id of a project, but could be."""
    return str(LARGEST_ID - secrets.randbelow(10**8))


def test_a_numeric_name_is_an_id_unless_the_header_is_sent(api: Api) -> None:
    victim = api.project()
    victim_id = api.get(f"/projects/{victim}")["project_id"]
    api.post("/projects", {"project_name": str(victim_id)})

    plain = api.get(f"/projects/{victim_id}")
    named = api.get(f"/projects/{victim_id}", **BY_NAME)

    assert (plain["name"], named["name"]) == (victim, str(victim_id))
    assert api.request("DELETE", f"/projects/{victim_id}", **BY_NAME).status_code == 200
    assert api.get(f"/projects/{victim}")["project_id"] == victim_id


def test_a_numeric_name_whose_number_is_no_id_is_not_found_without_the_header(api: Api) -> None:
    number = _number()
    project_id = api.post("/projects", {"project_name": number})

    assert error_of(api.request("GET", f"/projects/{number}")) == (404, "NOT_FOUND", f"project {number} not found")
    assert api.get(f"/projects/{number}", **BY_NAME)["project_id"] == project_id


def test_a_policy_can_be_made_for_a_project_id_that_does_not_exist(api: Api) -> None:
    number = _number()

    key = api.policy(number)

    orphans = api.get(f"/projects/{number}/webhook/policies")
    assert [policy["id"] for policy in orphans] == [key]
    body = {"name": "x", "event_types": ["PUSH_ARTIFACT"], "targets": [TARGET]}
    answer = api.request("POST", f"/projects/{number}/webhook/policies", body, **BY_NAME)
    assert error_of(answer) == (404, "NOT_FOUND", f"project {number} not found")


def test_a_number_that_no_id_can_be_is_an_error_of_the_server(api: Api) -> None:
    project = api.project()
    body = {"name": "x", "event_types": ["PUSH_ARTIFACT"], "targets": [TARGET]}
    number = str(LARGEST_ID + 1)

    answers = [
        api.request("GET", f"/projects/{number}"),
        api.request("DELETE", f"/projects/{number}"),
        api.request("GET", f"/projects/{number}/webhook/policies"),
        api.request("POST", f"/projects/{number}/webhook/policies", body),
        api.request("GET", f"/projects/{project}/webhook/policies/{number}"),
    ]

    assert [error_of(answer) for answer in answers] == [(500, "UNKNOWN", "internal server error")] * len(answers)
    named = api.request("GET", f"/projects/{number}", **BY_NAME)
    assert error_of(named) == (404, "NOT_FOUND", f"project {number} not found")


@pytest.mark.parametrize("written", ["none%2F..%2F{}", ".%2F{}", "%2e/{}", "x/..//{}", "%2E%2E/projects/{}", "%2F{}"])
def test_the_front_proxy_decodes_and_normalises_a_path(api: Api, written: str) -> None:
    """An encoded part of a path can still lead to another project."""
    project = api.project()

    answer = sent_as_it_is(api, "GET", f"/api/v2.0/projects/{written.format(project)}")

    assert answer[0] == 200
    assert json.loads(answer[1])["name"] == project


@pytest.mark.parametrize("written", ["/../x", "/api/%2e%2e/%2e%2e/x", "/api/v2.0/ping%00", "/api/v2.0/pi%zz"])
def test_the_front_proxy_refuses_a_path_that_is_none(api: Api, written: str) -> None:
    status, body = sent_as_it_is(api, "GET", written)

    assert (status, body[:6].lower()) == (400, b"<html>")


def test_what_was_encoded_twice_reaches_core_encoded(api: Api) -> None:
    status, body = sent_as_it_is(api, "GET", "/api/v2.0/projects/a%252Fb")

    assert (status, json.loads(body)["errors"][0]["message"]) == (400, "invalid project name: 'a%2Fb'")


def sent_as_it_is(api: Api, method: str, path: str) -> tuple[int, bytes]:
    """Returns status and body of the answer to a path that no client has normalised."""
    url = httpx.URL(api.harbor.url)
    secure = ssl._create_unverified_context() if url.scheme == "https" else None
    kind = partial(http.client.HTTPSConnection, context=secure) if secure else http.client.HTTPConnection
    connection = kind(url.host, url.port or (443 if secure else 80), timeout=60)
    name, password = api.harbor.auth
    basic = base64.b64encode(f"{name}:{password}".encode()).decode()
    try:
        connection.request(method, path, headers={"Authorization": f"Basic {basic}"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_project_made_again_has_a_new_id_and_no_policies(api: Api) -> None:
    name = api.project()
    before = api.get(f"/projects/{name}")["project_id"]
    key = api.policy(name)
    assert api.request("DELETE", f"/projects/{name}").status_code == 200

    after = api.post("/projects", {"project_name": name})

    assert after != before
    assert api.get(f"/projects/{name}/webhook/policies") == []
    assert [policy["id"] for policy in api.get(f"/projects/{before}/webhook/policies")] == [key]


def test_the_location_of_a_policy_repeats_how_the_project_was_written(api: Api) -> None:
    name = api.project()
    project_id = api.get(f"/projects/{name}")["project_id"]
    body = {"event_types": ["PUSH_ARTIFACT"], "targets": [TARGET]}

    answers = [
        api.request("POST", f"/projects/{written}/webhook/policies", {"name": unique("w"), **body})
        for written in (name, project_id)
    ]

    prefixes = [answer.headers["location"].rsplit("/", 1)[0] for answer in answers]
    assert prefixes == [f"/api/v2.0/projects/{written}/webhook/policies" for written in (name, project_id)]


def test_a_missing_project_is_404_for_administrators_403_for_others_and_401_for_nobody(api: Api) -> None:
    other = api.as_(api.user())
    path = f"/projects/{unique('none')}"

    answers = [caller.request("GET", path).status_code for caller in (api, other, api.as_(None))]

    assert answers == [404, 403, 401]


def test_head_tells_anybody_who_is_logged_in_whether_a_project_exists(api: Api) -> None:
    name = api.project()
    other = api.as_(api.user())

    assert other.request("HEAD", f"/projects?project_name={name}").status_code == 200
    assert other.request("HEAD", f"/projects?project_name={name}x").status_code == 404
    assert api.as_(None).request("HEAD", f"/projects?project_name={name}").status_code == 401
