"""Pushes and their notifications, the same in the stand-in and in a real Harbor."""

from __future__ import annotations

import contextlib
import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from harness import push
from harness.harbor.process import StandIn
from harness.harbor_fixtures import HarborUnderTest
from harness.receiver import Received, Receiver

Wire = dict[str, Any]
EXECUTION_KEYS = {
    "end_time",
    "extra_attrs",
    "id",
    "metrics",
    "start_time",
    "status",
    "trigger",
    "vendor_id",
    "vendor_type",
}


@dataclass
class Project:
    """A project for one test, with the requests that these tests need."""

    harbor: HarborUnderTest
    name: str
    client: httpx.Client
    receiver: Receiver
    receiver_url: str

    @property
    def login(self) -> tuple[str, str, str]:
        return self.harbor.url, self.harbor.username, self.harbor.password

    def push(self, tag: str = "v1", content: bytes = b"hello", repository: str = "app") -> str:
        return push.push_artifact(*self.login, f"{self.name}/{repository}", tag, content)

    def policy(self, *paths: str, events: tuple[str, ...] = ("PUSH_ARTIFACT",), **target: Any) -> int:
        """Make an enabled policy with one target per path and return its id."""
        targets = [{"type": "http", "address": self.receiver_url + path} | target for path in paths]
        body = {"name": uuid.uuid4().hex, "enabled": True, "event_types": list(events), "targets": targets}
        answer = self.client.post(f"/projects/{self.name}/webhook/policies", json=body)
        assert answer.status_code == 201, answer.text
        return int(answer.headers["location"].rpartition("/")[2])

    def executions(self, policy: int) -> list[Wire]:
        path = f"/projects/{self.name}/webhook/policies/{policy}/executions"
        found: list[Wire] = self.client.get(path, params={"page_size": 100, "sort": "-id"}).json()
        return found

    def task(self, policy: int, execution: int) -> Wire:
        path = f"/projects/{self.name}/webhook/policies/{policy}/executions/{execution}/tasks"
        (task,) = self.client.get(path).json()
        return dict(task)

    def log(self, policy: int, execution: int, task: int) -> str:
        path = f"/projects/{self.name}/webhook/policies/{policy}/executions/{execution}/tasks/{task}/log"
        return self.client.get(path).text

    def delete(self, policy: int) -> int:
        return self.client.delete(f"/projects/{self.name}/webhook/policies/{policy}").status_code

    def limit(self, storage: int) -> None:
        """Set the project's quota."""
        project_id = self.client.get(f"/projects/{self.name}").json()["project_id"]
        (quota,) = self.client.get("/quotas", params={"reference": "project", "reference_id": project_id}).json()
        assert self.client.put(f"/quotas/{quota['id']}", json={"hard": {"storage": storage}}).status_code == 200

    def triggers(self) -> dict[str, str]:
        rows = self.client.get(f"/projects/{self.name}/webhook/lasttrigger").json()
        return {row["event_type"]: row["last_trigger_time"] for row in rows}

    def wait(self, count: int, path: str) -> list[Received]:
        return self.receiver.wait(count, path, timeout=60)


def until(condition: Callable[[], Any], *, seconds: float = 200) -> Any:
    """Waits until the condition holds; retries of a real Harbor take minutes."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def reachable_receiver(harbor: HarborUnderTest) -> Iterator[tuple[Receiver, str]]:
    """A receiver and the address under which Harbor reaches it."""
    if harbor.receiver_url is None:
        pytest.skip("nobody said where this Harbor reaches a receiver")
    url = httpx.URL(harbor.receiver_url)
    host = "0.0.0.0" if harbor.is_real else "127.0.0.1"
    with Receiver(host=host, port=url.port or 0) as receiver:
        yield receiver, f"{url.scheme}://{url.host}:{receiver.port}"


@pytest.fixture
def project(harbor: HarborUnderTest, reachable_receiver: tuple[Receiver, str]) -> Iterator[Project]:
    receiver, address = reachable_receiver
    receiver.clear()
    with _project(harbor, receiver, address) as made:
        yield made


@contextlib.contextmanager
def _project(harbor: HarborUnderTest, receiver: Receiver, address: str) -> Iterator[Project]:
    name = "deliveries-" + uuid.uuid4().hex[:12]
    options: Wire = {"auth": harbor.auth, "verify": False, "trust_env": False, "timeout": 60}
    headers = {"X-Is-Resource-Name": "true"}
    with httpx.Client(base_url=f"{harbor.url}/api/v2.0", headers=headers, **options) as client:
        client.event_hooks = {"request": [_forget_cookies]}
        body = {"project_name": name, "metadata": {"public": "false"}}
        assert client.post("/projects", json=body).status_code == 201
        made = Project(harbor, name, client, receiver, address)
        yield made
        _clean_up(made)


def _forget_cookies(request: httpx.Request) -> None:
    """A cookie sent back would make Harbor want a CSRF token."""
    request.headers.pop("cookie", None)


def _clean_up(project: Project) -> None:
    policies = project.client.get(f"/projects/{project.name}/webhook/policies", params={"page_size": 100}).json()
    for policy in policies:
        project.client.put(
            f"/projects/{project.name}/webhook/policies/{policy['id']}", json=policy | {"enabled": False}
        )
    for repository in project.client.get(f"/projects/{project.name}/repositories").json() or []:
        push.delete_repository(*project.login, repository["name"])
    project.client.delete(f"/projects/{project.name}")


# The registry


def test_what_was_pushed_can_be_pulled_by_tag_and_digest(project: Project) -> None:
    digest = project.push("v1", b"some content", "deep/er/app")
    for reference in ("v1", digest):
        got = push.pull_artifact(*project.login, f"{project.name}/deep/er/app", reference)
        assert got == b"some content"
    (repository,) = project.client.get(f"/projects/{project.name}/repositories").json()
    assert repository["name"] == f"{project.name}/deep/er/app"
    assert repository["artifact_count"] == 1


def test_pushing_needs_a_login_a_project_and_the_right_password(project: Project) -> None:
    url, username, password = project.login
    with pytest.raises(push.RegistryError) as refused:
        push.push_artifact(url, username, password + "x", f"{project.name}/app")
    assert refused.value.status == 401
    with pytest.raises(push.RegistryError) as refused:
        push.push_artifact(url, username, password, f"{project.name}-missing/app")
    assert refused.value.status in {401, 404}
    project.push()
    with pytest.raises(push.RegistryError) as refused:
        push.pull_artifact(url, "", "", f"{project.name}/app")
    assert refused.value.status == 401


def test_a_missing_tag_is_not_found(project: Project) -> None:
    project.push()
    with pytest.raises(push.RegistryError) as refused:
        push.pull_artifact(*project.login, f"{project.name}/app", "nothing")
    assert refused.value.status == 404
    assert json.loads(refused.value.text)["errors"][0]["code"] == "NOT_FOUND"


def test_a_push_over_the_quota_is_denied_and_told(project: Project) -> None:
    policy = project.policy("/ok/quota", events=("QUOTA_EXCEED",))
    project.limit(2048)
    with pytest.raises(push.RegistryError) as refused:
        project.push(content=b"x" * 5120)
    assert refused.value.status == 403
    (error,) = json.loads(refused.value.text)["errors"]
    sentence = r"adding 5\.0 KiB of storage resource, which when updated to current usage of .* "
    assert error["code"] == "DENIED"
    assert re.fullmatch(sentence + r"will exceed the configured upper limit of 2\.0 KiB\.", error["message"])
    (got,) = project.wait(1, "/ok/quota")
    assert got.json()["event_data"]["custom_attributes"] == {"Details": error["message"]}
    assert [one["extra_attrs"]["event_type"] for one in project.executions(policy)] == ["QUOTA_EXCEED"]


def test_a_push_that_nearly_fills_the_quota_is_warned_of(project: Project) -> None:
    project.policy("/ok/warning", events=("QUOTA_WARNING",))
    project.push("v1", b"x" * 30_000)
    project.limit(34_000)
    project.push("v2", b"y")
    got = project.wait(1, "/ok/warning")[0].json()
    details = got["event_data"]["custom_attributes"]["Details"]
    assert re.fullmatch(r"quota usage reach 85%: resource storage used [\d.]+ KiB of 33\.2 KiB", details)


# Deliveries


def test_a_push_becomes_an_execution_a_task_a_log_and_a_request(project: Project) -> None:
    policy = project.policy("/ok/push?token=1", auth_header="Bearer abc")
    digest = project.push("v7")
    (got,) = project.wait(1, "/ok/push")
    assert (got.query, got.headers["authorization"]) == ("token=1", "Bearer abc")
    assert got.headers["content-type"] == "application/json"
    body = got.json()
    (resource,) = body["event_data"]["resources"]
    assert (body["type"], resource["digest"], resource["tag"]) == ("PUSH_ARTIFACT", digest, "v7")
    assert body["event_data"]["repository"]["repo_full_name"] == f"{project.name}/app"
    (execution,) = until(lambda: [one for one in project.executions(policy) if one["status"] == "Success"])
    assert execution.keys() == EXECUTION_KEYS
    assert execution["extra_attrs"] == {"event_type": "PUSH_ARTIFACT", "payload": got.text}
    task = project.task(policy, execution["id"])
    assert (task["status"], task["run_count"], task["execution_id"]) == ("Success", 1, execution["id"])
    log = project.log(policy, execution["id"], task["id"])
    assert f"send request to remote endpoint, body: {got.text}\n" in log
    assert log.endswith("success to run webhook job\n")


def test_pulls_and_deletions_are_told_and_deleted_tags_are_not(project: Project) -> None:
    project.policy("/ok/all", events=("PULL_ARTIFACT", "DELETE_ARTIFACT"))
    digest = project.push("v1")
    project.push("v2")
    push.pull_artifact(*project.login, f"{project.name}/app", "v2")
    project.wait(1, "/ok/all")
    push.delete_tag(*project.login, f"{project.name}/app", "v2")
    push.delete_artifact(*project.login, f"{project.name}/app", "v1")
    pulled, deleted = [got.json() for got in project.wait(2, "/ok/all")]
    assert (pulled["type"], pulled["event_data"]["resources"][0]["tag"]) == ("PULL_ARTIFACT", "v2")
    resource = deleted["event_data"]["resources"][0]
    assert (deleted["type"], resource["tag"], resource["digest"]) == ("DELETE_ARTIFACT", "v1", digest)
    assert "date_created" in deleted["event_data"]["repository"]


def test_a_deleted_repository_has_no_creation_time(project: Project) -> None:
    project.policy("/ok/gone", events=("DELETE_ARTIFACT",))
    project.push("v1")
    push.delete_repository(*project.login, f"{project.name}/app")
    (got,) = project.wait(1, "/ok/gone")
    assert "date_created" not in got.json()["event_data"]["repository"]


def test_times_of_triggers_are_per_event_type(project: Project) -> None:
    project.policy("/ok/times", events=("PUSH_ARTIFACT", "PULL_ARTIFACT"))
    project.push()
    project.wait(1, "/ok/times")
    times = project.triggers()
    assert times["PULL_ARTIFACT"] == "0001-01-01T00:00:00.000Z"
    assert re.fullmatch(r"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", times["PUSH_ARTIFACT"])


def test_cloud_events_and_slack_in_one_policy(project: Project) -> None:
    targets = [
        {"type": "http", "address": project.receiver_url + "/ok/events", "payload_format": "CloudEvents"},
        {"type": "slack", "address": project.receiver_url + "/ok/slack", "auth_header": "Bearer abc"},
    ]
    body = {"name": "both", "enabled": True, "event_types": ["PUSH_ARTIFACT"], "targets": targets}
    answer = project.client.post(f"/projects/{project.name}/webhook/policies", json=body)
    policy = int(answer.headers["location"].rpartition("/")[2])
    project.push()
    (event,), (slack,) = project.wait(1, "/ok/events"), project.wait(1, "/ok/slack")
    assert event.headers["content-type"] == "application/cloudevents+json"
    assert (event.json()["specversion"], event.json()["type"]) == ("1.0", "harbor.artifact.pushed")
    assert event.json()["source"].endswith(f"/webhook/policies/{policy}")
    assert slack.text.startswith('{\n\t"blocks": [')
    assert "authorization" not in slack.headers
    assert sorted(one["vendor_type"] for one in project.executions(policy)) == ["SLACK", "WEBHOOK"]


FORMATS: dict[str, tuple[Wire, str]] = {
    "Default": ({"type": "http", "payload_format": "Default"}, "application/json"),
    "CloudEvents": ({"type": "http", "payload_format": "CloudEvents"}, "application/cloudevents+json"),
    "Slack": ({"type": "slack"}, "application/json"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_an_execution_keeps_the_body_that_was_sent_byte_for_byte(project: Project, name: str) -> None:
    target, content_type = FORMATS[name]
    path = f"/ok/{uuid.uuid4().hex}"
    policy = project.policy(path, events=("PUSH_ARTIFACT", "PULL_ARTIFACT"), **target)
    project.push("v1", content=b"<&> \xe2\x80\xa8")
    push.pull_artifact(*project.login, f"{project.name}/app", "v1")
    got = project.wait(2, path)

    kept = [one["extra_attrs"]["payload"].encode() for one in project.executions(policy)]
    assert sorted(kept) == sorted(one.body for one in got)
    assert {one.content_type for one in got} == {content_type}


def test_one_execution_of_a_policy_is_read_by_its_id(project: Project) -> None:
    policy = project.policy("/ok/one")
    for tag in ("v1", "v2", "v3"):
        project.push(tag, tag.encode())
    newest, middle, oldest = project.executions(policy)
    path = f"/projects/{project.name}/webhook/policies/{policy}/executions"

    def found(q: str) -> list[int]:
        return [one["id"] for one in project.client.get(path, params={"q": q, "sort": "id"}).json()]

    (alone,) = project.client.get(path, params={"q": f"id={middle['id']}"}).json()
    assert alone["extra_attrs"] == middle["extra_attrs"]
    assert found(f"id=[{oldest['id']}~{middle['id']}]") == [oldest["id"], middle["id"]]
    assert found(f"id={{{oldest['id']} {newest['id']}}}") == [oldest["id"], newest["id"]]
    assert found(f"id={newest['id'] + 100_000}") == []


def test_redirects_are_followed_as_go_does(project: Project) -> None:
    project.policy("/redirect/302/ok/get", "/redirect/307/ok/post", auth_header="Bearer abc")
    project.push()
    (get,), (post,) = project.wait(1, "/ok/get"), project.wait(1, "/ok/post")
    assert (get.method, get.body) == ("GET", b"")
    assert (post.method, post.json()["type"]) == ("POST", "PUSH_ARTIFACT")
    assert get.headers["authorization"] == post.headers["authorization"] == "Bearer abc"


def test_a_failing_delivery_is_tried_three_times_and_says_error_all_along(project: Project) -> None:
    path = f"/status/500/{uuid.uuid4().hex}"
    policy = project.policy(path)
    project.push()
    (execution,) = until(lambda: [one for one in project.executions(policy) if one["status"] == "Error"])
    task = project.task(policy, execution["id"])
    log = project.log(policy, execution["id"], task["id"])
    assert "exit webhook job, error: abnormal response code: 500, body: receiver answered 500\n" in log
    until(lambda: len(project.receiver.received(path)) == 3)
    until(lambda: project.task(policy, execution["id"])["run_count"] == 3)
    assert project.task(policy, execution["id"])["status"] == "Error"


def test_a_policy_cannot_be_deleted_while_an_execution_says_running(project: Project) -> None:
    policy = project.policy("/slow/30")
    project.push()
    until(lambda: project.executions(policy))
    assert project.delete(policy) == 412
    (execution,) = until(lambda: [one for one in project.executions(policy) if one["status"] == "Error"])
    task = project.task(policy, execution["id"])
    timed_out = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    assert timed_out in project.log(policy, execution["id"], task["id"])
    assert until(lambda: project.delete(policy) == 200)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:19000/x", 'error to generate request: parse "127.0.0.1:19000/x": first path segment in URL '),
        ("http://127.0.0.1:99999/x", "dial tcp: address 99999: invalid port"),
        ("http://127.0.0.1:1/x", "dial tcp 127.0.0.1:1: connect: connection refused"),
        ("http:///x", "http: no Host in request URL"),
    ],
)
def test_an_address_that_cannot_work_is_named_in_the_log(project: Project, address: str, reason: str) -> None:
    body = {"name": "bad", "enabled": True, "event_types": ["PUSH_ARTIFACT"]}
    targets = [{"type": "http", "address": address}]
    answer = project.client.post(f"/projects/{project.name}/webhook/policies", json=body | {"targets": targets})
    policy = int(answer.headers["location"].rpartition("/")[2])
    project.push()
    (execution,) = until(lambda: [one for one in project.executions(policy) if one["metrics"].get("error_task_count")])
    task = project.task(policy, execution["id"])
    assert reason in project.log(policy, execution["id"], task["id"])


def test_with_notifications_off_nothing_is_queued(project: Project) -> None:
    policy = project.policy("/ok/off")
    assert project.client.put("/configurations", json={"notification_enable": False}).status_code == 200
    try:
        project.push("v1")
    finally:
        project.client.put("/configurations", json={"notification_enable": True})
    project.push("v2")
    project.wait(1, "/ok/off")
    tags = [got.json()["event_data"]["resources"][0]["tag"] for got in project.receiver.received("/ok/off")]
    assert tags == ["v2"]
    assert len(project.executions(policy)) == 1


# Harbor 2.7


@pytest.fixture
def project_27(harbor_27: HarborUnderTest) -> Iterator[Project]:
    with Receiver() as receiver, _project(harbor_27, receiver, receiver.url) as made:
        yield made


def test_harbor_2_7_has_jobs_and_sends_to_the_last_target(project_27: Project) -> None:
    policy = project_27.policy("/ok/first", "/ok/last")
    project_27.push()
    project_27.wait(2, "/ok/last")
    path = f"/projects/{project_27.name}/webhook/jobs"

    def finished() -> list[Wire]:
        jobs: list[Wire] = project_27.client.get(path, params={"policy_id": policy}).json()
        return jobs if {job["status"] for job in jobs} == {"finished"} else []

    jobs = until(finished)
    assert [job["notify_type"] for job in jobs] == ["http", "http"]
    assert json.loads(jobs[0]["job_detail"])["type"] == "PUSH_ARTIFACT"
    assert project_27.receiver.received("/ok/first") == []
    assert project_27.delete(policy) == 200


def test_jobs_keep_the_body_that_was_sent_and_are_read_by_their_ids(project_27: Project) -> None:
    policy = project_27.policy("/ok/kept")
    for tag in ("v1", "v2", "v3"):
        project_27.push(tag, tag.encode())
    got = project_27.wait(3, "/ok/kept")
    path = f"/projects/{project_27.name}/webhook/jobs"

    def found(**params: Any) -> list[Wire]:
        rows: list[Wire] = project_27.client.get(path, params={"policy_id": policy, "sort": "id", **params}).json()
        return rows

    jobs = found()
    ids = [job["id"] for job in jobs]
    assert sorted(job["job_detail"].encode() for job in jobs) == sorted(one.body for one in got)
    assert [job["job_detail"] for job in found(q=f"id={ids[1]}")] == [jobs[1]["job_detail"]]
    assert [job["id"] for job in found(q=f"id=[{ids[0]}~{ids[1]}]")] == ids[:2]
    assert [job["id"] for job in found(q=f"id={{{ids[0]} {ids[2]}}}")] == [ids[0], ids[2]]


def test_the_daily_sweep_leaves_fifty_of_each_kind_with_their_bodies(stand_in: StandIn) -> None:
    username, password = stand_in.admin
    harbor = HarborUnderTest(stand_in.url, username, password, "2.16", False, stand_in, None)
    with Receiver() as receiver, _project(harbor, receiver, receiver.url) as project:
        down = project.policy("/toggle/swept", "/toggle/swept")
        slack = project.policy("/toggle/swept", type="slack")
        receiver.down()
        for number in range(60):
            stand_in.happen("PUSH_ARTIFACT", project.name, tag=f"v{number}")
        settled = until(lambda: _all_failed(project, down, 120) and _all_failed(project, slack, 60))

        stand_in.sweep()

        assert settled
        for policy in (down, slack):
            left = _all_of(project, policy)
            assert len(left) == 50
            tags = {re.search(r"v\d+", one["extra_attrs"]["payload"].partition("app:")[2])[0] for one in left}  # type: ignore[index]
            assert tags <= {f"v{number}" for number in range(10, 60)}, "the newest"


def _all_of(project: Project, policy: int) -> list[Wire]:
    path = f"/projects/{project.name}/webhook/policies/{policy}/executions"
    found: list[Wire] = project.client.get(path, params={"page_size": 0}).json()
    return found


def _all_failed(project: Project, policy: int, count: int) -> bool:
    return [one["status"] for one in _all_of(project, policy)] == ["Error"] * count


# A stand-in alone


def test_a_killed_stand_in_comes_back_with_executions_images_and_pending_retries(stand_in: StandIn) -> None:
    username, password = stand_in.admin
    harbor = HarborUnderTest(stand_in.url, username, password, "2.16", False, stand_in, None)
    with Receiver() as receiver, _project(harbor, receiver, receiver.url) as project:
        policy = project.policy("/toggle/killed")
        receiver.set_status("killed", 500)
        digest = project.push()
        until(lambda: [one for one in project.executions(policy) if one["metrics"].get("error_task_count")])
        stand_in.kill()
        receiver.set_status("killed", 200)
        stand_in.restart()
        (execution,) = until(lambda: [one for one in project.executions(policy) if one["status"] == "Success"])
        assert project.task(policy, execution["id"])["run_count"] >= 2
        assert push.pull_artifact(*project.login, f"{project.name}/app", digest) == b"hello"
