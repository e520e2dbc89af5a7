"""Features of the stand-in alone: faults, settings, a request log, its lifecycle."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.conftest import Api, error_of, unique
from harness.certificates import Authority
from harness.harbor.process import StandIn

MakeApi = Callable[..., Api]


@pytest.fixture(scope="module")
def shared_stand_in() -> Iterator[StandIn]:
    """A stand-in for the tests that leave nothing behind."""
    with StandIn.start() as found:
        yield found


@pytest.fixture
def faulty(shared_stand_in: StandIn) -> Iterator[StandIn]:
    """The shared one, whose faults are cleared afterwards."""
    shared_stand_in.clear_requests()
    yield shared_stand_in
    shared_stand_in.clear_faults()


def test_everything_survives_a_kill(stand_in: StandIn, api_of: MakeApi) -> None:
    api = api_of(stand_in)
    project = api.project(metadata={"public": "true"}, storage_limit=4096)
    key = api.policy(project)
    user, robot = (
        api.user(),
        api.robot({"kind": "project", "namespace": "*", "access": [{"resource": "project", "action": "read"}]}),
    )
    api.put("/configurations", {"notification_enable": False})
    before = [api.get(f"/projects/{project}"), api.get(f"/projects/{project}/webhook/policies/{key}")]

    stand_in.kill()
    stand_in.restart()

    assert [api.get(f"/projects/{project}"), api.get(f"/projects/{project}/webhook/policies/{key}")] == before
    assert api.get(f"/projects/{project}/summary")["quota"]["hard"] == {"storage": 4096}
    assert api.get("/systeminfo")["notification_enable"] is False
    assert api.as_(user).request("GET", "/users/current").status_code == 200
    assert api.as_(robot).request("GET", f"/projects/{project}").status_code == 200
    assert api.policy(project) > key


def test_a_request_whose_body_never_ends_reaches_nobody(faulty: StandIn) -> None:
    """As behind Harbor's front proxy, which forwards only complete requests."""
    host, _, port = faulty.url.removeprefix("http://").partition(":")
    lines = (
        "POST /api/v2.0/projects HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        "Content-Length: 99",
    )
    with socket.create_connection((host, int(port))) as client:
        client.sendall("\r\n".join([*lines, "", '{"project_name": ']).encode())
    httpx.get(f"{faulty.url}/api/v2.0/systeminfo")

    assert [request.path for request in faulty.requests() if request.method == "POST"] == []


def test_the_request_log_says_who_asked_what_and_how(faulty: StandIn, api_of: MakeApi) -> None:
    api = api_of(faulty)
    faulty.clear_requests()
    api.get("/projects?page_size=5")
    api.as_(None).request("POST", "/projects", {"project_name": "x"})

    first, second = faulty.requests()

    assert (first.method, first.path, first.query) == ("GET", "/api/v2.0/projects", "page_size=5")
    assert (first.user, first.auth, first.status, first.writes) == ("admin", "basic", 200, False)
    assert (second.user, second.auth, second.status, second.writes) == ("", "anonymous", 401, True)


def test_password_hashes_are_counted(faulty: StandIn, api_of: MakeApi) -> None:
    api = api_of(faulty)
    before = faulty.counters()["password_hashes"]

    api.get("/projects")
    api.get("/projects")

    assert faulty.counters()["password_hashes"] == before + 2


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ({"status": 503}, 503, "application/json"),
        ({"status": 502, "html": True}, 502, "text/html"),
        ({"status": 429, "headers": {"Retry-After": "7"}}, 429, "application/json"),
        ({"status": 200, "html": True}, 200, "text/html"),
        ({"redirect": "https://elsewhere.example.com/"}, 302, None),
    ],
)
def test_a_fault_meets_the_requests_it_matches_as_often_as_it_says(
    faulty: StandIn, api_of: MakeApi, fault: dict[str, Any], status: int, kind: str | None
) -> None:
    api = api_of(faulty)
    faulty.set_fault({"method": "GET", "path": "/projects$"}, times=1, **fault)

    other = api.request("GET", "/systeminfo")
    met = api.request("GET", "/projects")
    after = api.request("GET", "/projects")

    assert (other.status_code, met.status_code, after.status_code) == (200, status, 200)
    assert (met.headers.get("content-type") or "").partition(";")[0] == (kind or "")
    for name, value in fault.get("headers", {}).items():
        assert met.headers[name] == value


@pytest.mark.parametrize("fault", [{"close": True}, {"truncate": True, "status": 200, "body": "[1,2,3]"}])
def test_a_connection_can_break(faulty: StandIn, api_of: MakeApi, fault: dict[str, Any]) -> None:
    api = api_of(faulty)
    faulty.set_fault({"path": "/projects$"}, times=1, **fault)

    with pytest.raises(httpx.RemoteProtocolError):
        api.request("GET", "/projects")

    assert api.request("GET", "/projects").status_code == 200


def test_a_write_can_be_carried_out_although_its_answer_is_lost(faulty: StandIn, api_of: MakeApi) -> None:
    api = api_of(faulty)
    faulty.set_fault({"method": "POST", "path": "/projects$"}, times=1, after=True, close=True)
    name = unique("p")

    with pytest.raises(httpx.RemoteProtocolError):
        api.request("POST", "/projects", {"project_name": name})

    assert api.get(f"/projects/{name}")["name"] == name


def test_an_answer_may_never_end(stand_in: StandIn) -> None:
    stand_in.set_fault({"path": "/projects$"}, times=1, endless=True)

    with httpx.stream("GET", f"{stand_in.url}/api/v2.0/projects", trust_env=False) as answer:
        size = 0
        for chunk in answer.iter_bytes():
            size += len(chunk)
            if size > 1_000_000:
                break

    assert size > 1_000_000


def test_an_empty_answer(faulty: StandIn, api_of: MakeApi) -> None:
    faulty.set_fault({"path": "/projects$"}, times=1, empty=True)

    answer = api_of(faulty).request("GET", "/projects")

    assert (answer.status_code, answer.content) == (200, b"")


def test_faults_can_be_taken_back(faulty: StandIn, api_of: MakeApi) -> None:
    api = api_of(faulty)
    faulty.set_fault({"path": "/projects"}, status=500)
    assert api.request("GET", "/projects").status_code == 500

    faulty.clear_faults()

    assert api.request("GET", "/projects").status_code == 200


def test_an_unknown_setting_is_an_error(faulty: StandIn) -> None:
    with pytest.raises(ValueError, match="nosuch"):
        faulty.settings(nosuch=1)


def test_a_configuration_from_the_environment_cannot_be_changed(stand_in: StandIn, api_of: MakeApi) -> None:
    api = api_of(stand_in)
    stand_in.settings(config_overwrite=True)

    answer = api.request("PUT", "/configurations", {"notification_enable": False})

    assert error_of(answer)[:2] == (403, "FORBIDDEN")
    assert api.get("/configurations")["notification_enable"] == {"editable": False, "value": True}


def test_read_only_mode_refuses_every_write_but_the_one_that_ends_it(stand_in: StandIn, api_of: MakeApi) -> None:
    api = api_of(stand_in)
    stand_in.settings(read_only=True)

    refused = api.request("POST", "/projects", {"project_name": "x"})
    api.put("/configurations", {"read_only": False})

    message = "The system is in read only mode. Any modification is prohibited."
    assert error_of(refused) == (403, "DENIED", message)
    assert api.request("POST", "/projects", {"project_name": "x"}).status_code == 201


def test_without_project_quotas_there_is_none_even_later(stand_in: StandIn, api_of: MakeApi) -> None:
    api = api_of(stand_in)
    stand_in.settings(quota_per_project_enable=False)
    project = api.project(storage_limit=4096)
    stand_in.settings(quota_per_project_enable=True)

    project_id = api.get(f"/projects/{project}")["project_id"]

    assert api.get(f"/quotas?reference=project&reference_id={project_id}") == []
    assert "quota" not in api.get(f"/projects/{project}/summary")


def test_of_simultaneous_first_writes_of_metadata_some_fail(faulty: StandIn, api_of: MakeApi) -> None:
    api = api_of(faulty)
    statuses: set[int] = set()

    def write(project: str, gate: threading.Barrier) -> None:
        own = api.as_(faulty.admin)
        gate.wait()
        statuses.add(own.request("PUT", f"/projects/{project}", {"metadata": {"auto_scan": "true"}}).status_code)

    for _ in range(40):
        project, gate = api.project(), threading.Barrier(6)
        threads = [threading.Thread(target=write, args=(project, gate)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert api.get(f"/projects/{project}")["metadata"]["auto_scan"] == "true"
        if {500, 409} <= statuses:
            break

    assert statuses == {200, 409, 500}


def test_a_connection_is_closed_after_a_thousand_requests(faulty: StandIn) -> None:
    with httpx.Client(base_url=faulty.url, trust_env=False) as client:
        answers = [client.get("/api/v2.0/ping").headers.get("connection", "") for _ in range(1000)]

    assert answers == [""] * 999 + ["close"]


def test_headers_over_eight_kilobytes_are_refused_by_the_front_proxy(faulty: StandIn, api_of: MakeApi) -> None:
    answer = api_of(faulty).request("GET", "/projects", X_Long="x" * 9000)

    assert (answer.status_code, answer.headers["content-type"]) == (400, "text/html")


def test_a_body_over_ten_megabytes_is_refused(faulty: StandIn, api_of: MakeApi) -> None:
    answer = api_of(faulty).request("POST", "/projects", {"project_name": "x" * (11 * 1024 * 1024)})

    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (413, "text/plain")


def test_it_serves_tls_and_marks_the_csrf_cookie_secure(tmp_path: Path) -> None:
    certificate, key = Authority().certify(tmp_path, "127.0.0.1")
    extra = [f"--tls-cert={certificate}", f"--tls-key={key}"]
    with (
        StandIn.start(tmp_path / "data", extra=extra) as stand_in,
        httpx.Client(base_url=stand_in.url, verify=False, trust_env=False) as client,
    ):
        client.get("/api/v2.0/ping")
        answer = client.get("/api/v2.0/ping")

    assert stand_in.url.startswith("https://")
    assert "; Secure" in answer.headers["set-cookie"]


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from harness.harbor.process import StandIn\n"
        "found = StandIn.start(Path(sys.argv[1])); print(found.pid, found.url, flush=True); os._exit(0)"
    )
    output = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    ).stdout
    url = output.split()[1]

    for _ in range(1000):
        try:
            httpx.get(f"{url}/api/v2.0/ping", trust_env=False, timeout=5)
        except httpx.TransportError:
            return
    pytest.fail("it still answers")


def test_with_oidc_only_the_builtin_administrator_has_a_password(stand_in: StandIn, api_of: MakeApi) -> None:
    api = api_of(stand_in)
    user = api.user()
    stand_in.settings(auth_mode="oidc_auth", wrong_password_seconds=0)

    assert api.as_(user).request("GET", "/users/current").status_code == 401
    assert api.get("/systeminfo")["auth_mode"] == "oidc_auth"
