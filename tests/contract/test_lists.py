"""Paging, filters and order of lists."""

from __future__ import annotations

import pytest

from contract.conftest import Api, error_of


@pytest.fixture
def three(api: Api) -> str:
    """A project with three policies: a1, a2, b."""
    project = api.project()
    for name in ("a1", "a2", "b"):
        api.policy(project, name=name)
    return f"/projects/{project}/webhook/policies"


def _names(api: Api, path: str) -> list[str]:
    return [policy["name"] for policy in api.get(path)]


def test_a_page_has_a_total_and_relative_links(api: Api, three: str) -> None:
    answer = api.request("GET", f"{three}?page_size=1&page=2&sort=id")

    assert [policy["name"] for policy in answer.json()] == ["a2"]
    assert answer.headers["x-total-count"] == "3"
    path = f"/api/v2.0{three}"
    assert answer.headers["link"] == (
        f'<{path}?page=1&page_size=1&sort=id>; rel="prev" , <{path}?page=3&page_size=1&sort=id>; rel="next"'
    )


def test_a_page_size_of_zero_gives_everything(api: Api, three: str) -> None:
    answer = api.request("GET", f"{three}?page_size=0&sort=id")

    assert [policy["name"] for policy in answer.json()] == ["a1", "a2", "b"]
    assert "link" not in answer.headers


def test_more_than_a_hundred_rows_are_refused(api: Api, three: str) -> None:
    answer = api.request("GET", f"{three}?page_size=101")

    message = "validation failure list:\npage_size in query should be less than or equal to 100"
    assert error_of(answer) == (422, "UNPROCESSABLE_ENTITY", message)


def test_a_page_behind_the_last_is_empty(api: Api, three: str) -> None:
    answer = api.request("GET", f"{three}?page=99")

    assert (answer.json(), answer.headers["x-total-count"]) == ([], "3")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("q=name=a1", ["a1"]),
        ("q=name=~a", ["a1", "a2"]),
        ("q=name=nosuch", []),
        ("q=nosuch=x", ["a1", "a2", "b"]),
        ("name=a1", ["a1", "a2", "b"]),
        ("sort=nosuch,id", ["a1", "a2", "b"]),
    ],
)
def test_unknown_filters_and_orders_are_ignored(api: Api, three: str, query: str, names: list[str]) -> None:
    joiner = "" if "sort" in query else "&sort=id"

    assert _names(api, f"{three}?{query}{joiner}") == names


@pytest.mark.parametrize("query", ["name", "name=", "=x", "name=a,b", "name=[a"])
def test_a_malformed_filter_is_refused(api: Api, three: str, query: str) -> None:
    answer = api.request("GET", f"{three}?q={query}")

    assert answer.status_code == 400


def test_projects_are_found_by_exact_name_and_by_part_of_it(api: Api) -> None:
    name = api.project()

    exact = api.get(f"/projects?q=name={name}")
    part = api.get(f"/projects?name={name[:-1]}")

    assert [project["name"] for project in exact] == [name]
    assert name in [project["name"] for project in part]
    assert api.get(f"/projects?q=name={name[:-1]}") == []


def test_project_ids_order_pages_stably(api: Api) -> None:
    api.project()
    api.project()

    found = [project["project_id"] for project in api.get("/projects?sort=-project_id&page_size=2")]

    assert found == sorted(found, reverse=True)
