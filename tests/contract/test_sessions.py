"""Cookies, CSRF tokens and sessions."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import pytest

from contract.conftest import TOKEN, Api, Browser, error_of, grant, unique
from harness.harbor.process import StandIn
from harness.harbor_fixtures import HarborUnderTest


@pytest.fixture
def browser(harbor: HarborUnderTest) -> Iterator[Browser]:
    with Browser(harbor) as found:
        yield found


def test_a_write_in_a_session_needs_the_token_and_a_read_does_not(api: Api, browser: Browser) -> None:
    assert browser.login(*api.harbor.auth).status_code == 200
    name = api.project()
    body = {"metadata": {"auto_scan": "true"}}

    assert browser.request("GET", f"/api/v2.0/projects/{name}").status_code == 200
    refused = browser.request("PUT", f"/api/v2.0/projects/{name}", json=body)
    assert error_of(refused)[:2] == (403, "FORBIDDEN")
    assert "CSRF token" in refused.text
    assert browser.request("PUT", f"/api/v2.0/projects/{name}", browser.token, json=body).status_code == 200


def test_the_first_token_keeps_working(api: Api, browser: Browser) -> None:
    browser.login(*api.harbor.auth)
    name = api.project()

    answers = [
        browser.request("PUT", f"/api/v2.0/projects/{name}", browser.token, json={"metadata": {"auto_scan": value}})
        for value in ("true", "false", "true", "false")
    ]

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers[TOKEN] for answer in answers}) == 4


def test_right_credentials_with_a_session_cookie_are_refused_to_write(api: Api) -> None:
    with httpx.Client(base_url=api.harbor.url, auth=api.harbor.auth, verify=False, trust_env=False) as client:
        assert client.get("/api/v2.0/projects?page_size=1").status_code == 200

        answer = client.post("/api/v2.0/projects", json={"project_name": unique("p")})

    assert error_of(answer)[:2] == (403, "FORBIDDEN")
    assert "CSRF token" in answer.text


@pytest.mark.parametrize("path", ["/v2/", "/service/token?service=harbor-registry"])
def test_the_registry_sets_a_session_cookie_too(api: Api, path: str) -> None:
    with httpx.Client(base_url=api.harbor.url, auth=api.harbor.auth, verify=False, trust_env=False) as client:
        first = client.get(path)
        again = client.get(path)

    assert "sid=" in first.headers["set-cookie"]
    assert TOKEN not in first.headers
    assert "sid=" not in again.headers["set-cookie"], "the session lives"
    assert "_gorilla_csrf=" in again.headers["set-cookie"]
    assert again.headers[TOKEN]


def test_a_push_with_a_session_cookie_is_refused_without_a_token(api: Api) -> None:
    project = api.project()
    uploads = f"/v2/{project}/app/blobs/uploads/"
    with httpx.Client(base_url=api.harbor.url, auth=api.harbor.auth, verify=False, trust_env=False) as client:
        client.get("/v2/")
        refused = client.post(uploads)
        client.cookies.clear()
        accepted = client.post(uploads)

    assert error_of(refused) == (403, "FORBIDDEN", "CSRF token not found in request")
    assert accepted.status_code == 202


def test_a_session_that_is_over_looks_anonymous_and_sets_a_new_cookie(api: Api, browser: Browser) -> None:
    name = api.project()
    browser.login(*api.harbor.auth)
    dead = dict(browser.client.cookies)
    browser.request("GET", "/c/log_out")

    def ask(path: str) -> httpx.Response:
        browser.client.cookies.clear()
        browser.client.cookies.update(dead)
        return browser.request("GET", path)

    answers = [ask(f"/api/v2.0{path}") for path in ("/users/current", "/projects", "/systeminfo", f"/projects/{name}")]

    assert [answer.status_code for answer in answers] == [401, 200, 200, 401]
    assert all("sid=" in answer.headers.get("set-cookie", "") for answer in answers)
    assert name not in answers[1].text


def test_a_living_session_sets_no_cookie(api: Api, browser: Browser) -> None:
    browser.login(*api.harbor.auth)

    answer = browser.request("GET", "/api/v2.0/projects?page_size=1")

    assert "sid=" not in answer.headers.get("set-cookie", "")


def test_a_robot_cannot_log_in(api: Api, browser: Browser) -> None:
    robot = api.robot(grant("*", "project:read"))

    assert browser.login(*robot).status_code == 401


def test_a_lost_csrf_cookie_is_repaired_by_the_refusal_itself(api: Api, browser: Browser) -> None:
    browser.login(*api.harbor.auth)
    name = api.project()
    body = {"metadata": {"auto_scan": "true"}}
    del browser.client.cookies["_gorilla_csrf"]

    refused = browser.request("PUT", f"/api/v2.0/projects/{name}", browser.token, json=body)
    again = browser.request("PUT", f"/api/v2.0/projects/{name}", refused.headers[TOKEN], json=body)

    assert error_of(refused) == (403, "FORBIDDEN", "CSRF token invalid")
    assert again.status_code == 200


def test_a_wrong_password_in_flight_refuses_the_right_one(stand_in: StandIn) -> None:
    stand_in.settings(time_scale=1.0, wrong_password_seconds=2.0)
    name, password = stand_in.admin
    url = f"{stand_in.url}/api/v2.0/users/current"
    statuses: list[int] = []

    def wrong() -> None:
        statuses.append(httpx.get(url, auth=(name, "Wrong12345"), trust_env=False).status_code)

    thread = threading.Thread(target=wrong)
    thread.start()
    while httpx.get(url, auth=(name, password), trust_env=False).status_code != 401:
        assert thread.is_alive(), "the wrong password was never in flight"
    thread.join()

    assert statuses == [401]
    assert httpx.get(url, auth=(name, password), trust_env=False).status_code == 200
