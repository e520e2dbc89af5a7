"""Creating projects and changing their settings."""

from __future__ import annotations

import pytest

from contract.conftest import Api, error_of, unique


def test_put_merges_metadata_and_ignores_everything_else(api: Api) -> None:
    name = api.project(metadata={"public": "false", "auto_scan": "true"})
    before = api.get(f"/projects/{name}/summary")

    api.put(
        f"/projects/{name}",
        {"metadata": {"severity": "high"}, "storage_limit": 4096, "public": True, "project_name": unique("p")},
    )

    assert api.get(f"/projects/{name}")["metadata"] == {"public": "false", "auto_scan": "true", "severity": "high"}
    assert api.get(f"/projects/{name}/summary") == before


def test_put_stores_values_that_post_refuses(api: Api) -> None:
    name = api.project()

    api.put(f"/projects/{name}", {"metadata": {"public": "123"}})

    assert api.get(f"/projects/{name}")["metadata"]["public"] == "123"
    answer = api.request("POST", "/projects", {"project_name": unique("p"), "metadata": {"public": "123"}})
    assert error_of(answer) == (400, "BAD_REQUEST", "metadata.public should only be 'true' or 'false', but got: '123'")


def test_a_boolean_in_metadata_is_refused(api: Api) -> None:
    name = api.project()

    answer = api.request("PUT", f"/projects/{name}", {"metadata": {"auto_scan": True}})

    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("stored", "shown"), [("High", "high"), ("negligible", "none"), ("junk", "unknown"), ("critical", "critical")]
)
def test_a_severity_is_normalised_when_it_is_read(api: Api, stored: str, shown: str) -> None:
    name = api.project()

    api.put(f"/projects/{name}", {"metadata": {"severity": stored}})

    assert api.get(f"/projects/{name}")["metadata"]["severity"] == shown


@pytest.mark.parametrize("value", ["", None])
def test_an_empty_or_null_public_changes_nothing(api: Api, value: str | None) -> None:
    name = api.project(metadata={"public": "true"})

    api.put(f"/projects/{name}", {"metadata": {"public": value}})

    assert api.get(f"/projects/{name}")["metadata"] == {"public": "true"}


def test_the_allowlist_is_replaced_as_a_whole_and_keeps_its_order(api: Api) -> None:
    name = api.project()
    items = [{"cve_id": "CVE-2024-2"}, {"cve_id": "CVE-2024-1"}]
    api.put(f"/projects/{name}", {"cve_allowlist": {"items": items, "expires_at": 1900000000}})

    allowlist = api.get(f"/projects/{name}")["cve_allowlist"]
    assert (allowlist["items"], allowlist["expires_at"]) == (items, 1900000000)

    api.put(f"/projects/{name}", {"metadata": {"auto_scan": "true"}})
    assert api.get(f"/projects/{name}")["cve_allowlist"]["items"] == items

    api.put(f"/projects/{name}", {"cve_allowlist": {"items": items[:1]}})
    allowlist = api.get(f"/projects/{name}")["cve_allowlist"]
    assert allowlist["items"] == items[:1]
    assert "expires_at" not in allowlist

    api.put(f"/projects/{name}", {"cve_allowlist": {}})
    assert api.get(f"/projects/{name}")["cve_allowlist"]["items"] == []


@pytest.mark.parametrize("ids", [["CVE-2024-1", "CVE-2024-1"], [""]])
def test_a_repeated_or_empty_entry_fails_and_nothing_changes(api: Api, ids: list[str]) -> None:
    name = api.project()
    api.put(f"/projects/{name}", {"cve_allowlist": {"items": [{"cve_id": "CVE-2020-1"}]}})

    body = {"metadata": {"auto_scan": "true"}, "cve_allowlist": {"items": [{"cve_id": cve_id} for cve_id in ids]}}
    answer = api.request("PUT", f"/projects/{name}", body)

    assert error_of(answer) == (500, "UNKNOWN", "internal server error")
    project = api.get(f"/projects/{name}")
    assert project["cve_allowlist"]["items"] == [{"cve_id": "CVE-2020-1"}]
    assert "auto_scan" not in project["metadata"]


def test_the_allowlist_at_creation_is_ignored(api: Api) -> None:
    name = api.project(cve_allowlist={"items": [{"cve_id": "CVE-2024-1"}]})

    assert api.get(f"/projects/{name}")["cve_allowlist"]["items"] == []


def test_a_quota_has_an_id_of_its_own_and_shows_in_the_summary(api: Api) -> None:
    name = api.project(storage_limit=1048576)
    project_id = api.get(f"/projects/{name}")["project_id"]
    (quota,) = api.get(f"/quotas?reference=project&reference_id={project_id}")
    assert quota["ref"]["id"] == project_id

    api.put(f"/quotas/{quota['id']}", {"hard": {"storage": 2097152}})

    assert api.get(f"/projects/{name}/summary")["quota"] == {"hard": {"storage": 2097152}, "used": {"storage": 0}}


def test_an_ordinary_users_storage_limit_is_ignored(api: Api) -> None:
    user = api.as_(api.user())
    name = user.project(storage_limit=777)

    assert api.get(f"/projects/{name}/summary")["quota"]["hard"] != {"storage": 777}


def test_deletable_is_told_without_deleting(api: Api) -> None:
    name = api.project()

    assert api.get(f"/projects/{name}/_deletable") == {"deletable": True}
    assert api.get(f"/projects/{name}")["name"] == name


@pytest.mark.parametrize("name", ["A", "a--b", "a..b", "-a", "a-", "a b", "a/b", "trail "])
def test_a_name_that_is_not_lower_case_words_is_refused(api: Api, name: str) -> None:
    answer = api.request("POST", "/projects", {"project_name": name})

    message = "project name is not in lower case or contains illegal characters"
    assert error_of(answer) == (400, "BAD_REQUEST", message)


def test_a_name_may_be_taken_once(api: Api) -> None:
    name = api.project()

    answer = api.request("POST", "/projects", {"project_name": name})

    assert error_of(answer) == (409, "CONFLICT", f"The project named {name} already exists")


def test_answers_to_writes_have_no_body(api: Api) -> None:
    name = unique("p")

    answers = [
        api.request("POST", "/projects", {"project_name": name}),
        api.request("PUT", f"/projects/{name}", {"metadata": {"auto_scan": "true"}}),
        api.request("DELETE", f"/projects/{name}"),
    ]

    assert [(answer.status_code, answer.content) for answer in answers] == [(201, b""), (200, b""), (200, b"")]
