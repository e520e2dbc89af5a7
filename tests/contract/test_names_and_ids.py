"""Projects are addressed by name or by id, and a name may look like an id."""

from __future__ import annotations

import secrets

from contract.conftest import TARGET, Api, error_of, unique

BY_NAME = {"X_Is_Resource_Name": "true"}


def _number() -> str:
    return f"9{secrets.randbelow(10**9):09d}"


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
