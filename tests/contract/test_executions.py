"""Lists of executions: filters, order, and missing objects. No test here waits for the end of a delivery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from contract.conftest import TARGET, Api, error_of
from harness.push import delete_repository, push_artifact


@dataclass
class Pushed:
    """A project with a policy that has been triggered by three pushes."""

    api: Api
    name: str
    key: int

    @property
    def policy(self) -> str:
        """The path of the policy."""
        return f"/projects/{self.name}/webhook/policies/{self.key}"

    def ids(self, query: str = "") -> list[int]:
        """The ids of the executions that a query finds."""
        return [execution["id"] for execution in self.api.get(f"{self.policy}/executions?{query}")]


@pytest.fixture
def pushed(api: Api) -> Any:
    name = api.project()
    targets = [TARGET, {"type": "slack", "address": TARGET["address"]}]
    key = api.policy(name, targets=targets)
    for tag in ("v1", "v2", "v3"):
        push_artifact(api.harbor.url, *api.harbor.auth, f"{name}/app", tag, tag.encode())
    yield Pushed(api, name, key)
    delete_repository(api.harbor.url, *api.harbor.auth, f"{name}/app")


def test_each_event_makes_an_execution_for_each_target(pushed: Pushed) -> None:
    executions = pushed.api.get(f"{pushed.policy}/executions")

    assert sorted(execution["vendor_type"] for execution in executions) == ["SLACK"] * 3 + ["WEBHOOK"] * 3
    assert {execution["extra_attrs"]["event_type"] for execution in executions} == {"PUSH_ARTIFACT"}
    assert {execution["vendor_id"] for execution in executions} == {pushed.key}


def test_ids_order_executions(pushed: Pushed) -> None:
    ids = pushed.ids("sort=id")

    assert ids == sorted(ids)
    assert pushed.ids("sort=-id") == ids[::-1]
    assert pushed.ids("sort=id&page=2&page_size=4") == ids[4:]


def test_executions_are_filtered_by_what_they_are(pushed: Pushed) -> None:
    ids = pushed.ids("sort=id")

    assert pushed.ids(f"q=id={ids[3]}") == [ids[3]]
    assert pushed.ids(f"q=id=[{ids[3]}~]&sort=id") == ids[3:]
    assert pushed.ids(f"q=id=[~{ids[3]}]&sort=id") == ids[:4]
    assert pushed.ids(f"q=id=[{ids[1]}~{ids[3]}]&sort=id") == ids[1:4]
    assert pushed.ids(f"q=id={{{ids[0]} {ids[4]}}}&sort=id") == [ids[0], ids[4]]
    assert pushed.ids("q=status={Running Error Success}&sort=id") == ids
    assert pushed.ids("q=status=Stopped") == []
    assert pushed.ids("q=status=running") == []
    assert pushed.ids("q=start_time=[2000-01-01T00:00:00Z~]&sort=id") == ids
    assert pushed.ids("q=start_time=[~2000-01-01T00:00:00Z]") == []
    assert pushed.ids("q=nosuch=1&sort=id") == ids


def test_a_filter_on_the_vendor_type_is_ignored(pushed: Pushed) -> None:
    """Harbor sets this filter itself; further filters apply in addition."""
    ids = pushed.ids("sort=id")

    assert pushed.ids("q=vendor_type=SLACK&sort=id") == ids
    assert pushed.ids(f"q=vendor_type=SLACK,id={ids[0]}") == [ids[0]]


def test_a_time_that_is_none_fails(pushed: Pushed) -> None:
    answer = pushed.api.request("GET", f"{pushed.policy}/executions?q=start_time=junk")

    assert error_of(answer) == (500, "UNKNOWN", "internal server error")


def test_an_execution_has_one_task_and_no_page_of_its_own(pushed: Pushed) -> None:
    execution = pushed.ids("sort=id")[0]

    (task,) = pushed.api.get(f"{pushed.policy}/executions/{execution}/tasks")
    answer = pushed.api.request("GET", f"{pushed.policy}/executions/{execution}")

    assert task["execution_id"] == execution
    message = f"path /api/v2.0{pushed.policy}/executions/{execution} was not found"
    assert error_of(answer) == (404, "NOT_FOUND", message)


def test_an_execution_belongs_to_its_policy(pushed: Pushed) -> None:
    other = pushed.api.policy(pushed.name)
    execution = pushed.ids("sort=id")[0]
    base = f"/projects/{pushed.name}/webhook/policies"

    foreign = pushed.api.request("GET", f"{base}/{other}/executions/{execution}/tasks")
    missing = pushed.api.request("GET", f"{base}/{other}/executions/99999999/tasks")
    no_task = pushed.api.request("GET", f"{base}/{pushed.key}/executions/{execution}/tasks/99999999/log")

    message = f"resource not found: execution {execution} not found in policy {other}"
    assert error_of(foreign) == (404, "NOT_FOUND", message)
    assert error_of(missing) == (404, "NOT_FOUND", "execution 99999999 not found")
    assert error_of(no_task) == (404, "NOT_FOUND", "task 99999999 not found")


def test_a_disabled_policy_meets_no_event(api: Api, pushed: Pushed) -> None:
    key = api.policy(pushed.name, enabled=False)
    push_artifact(api.harbor.url, *api.harbor.auth, f"{pushed.name}/app", "v4", b"v4")

    assert api.get(f"/projects/{pushed.name}/webhook/policies/{key}/executions") == []


def test_a_project_with_images_is_not_deleted(api: Api, pushed: Pushed) -> None:
    sentence = "the project contains repositories, can not be deleted"

    assert api.get(f"/projects/{pushed.name}/_deletable") == {"message": sentence}
    answer = api.request("DELETE", f"/projects/{pushed.name}")
    assert error_of(answer) == (412, "PRECONDITION", f"precondition failed: {sentence}")
    assert api.request("GET", f"/projects/{pushed.name}").status_code == httpx.codes.OK
