"""The delivery status: what the status of a WebhookPolicy reports about its notifications."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from harness.harbor.process import StandIn
from harness.own import own_harbor, standing
from harness.push import push_artifact
from harness.receiver import Receiver
from harness.world import World, condition, eventually, header_from, http_target, ready_condition

PUSH, PULL, DELETE = "PUSH_ARTIFACT", "PULL_ARTIFACT", "DELETE_ARTIFACT"


@pytest.fixture
def slower(world: World) -> Iterator[World]:
    """A stand-in in which retries take long enough to be observed."""
    with StandIn.start(time_scale=0.1) as stand_in, own_harbor(world, stand_in) as found:
        yield found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@pytest.fixture
def reachable(world: World) -> Iterator[str]:
    """The address of a receiver for the Harbor under test, which may be a real one."""
    if world.harbor.receiver_url is None:
        pytest.skip("nobody said where this Harbor reaches a receiver")
    url = urlsplit(world.harbor.receiver_url)
    with Receiver(host="0.0.0.0" if world.harbor.is_real else "127.0.0.1", port=url.port or 0) as found:
        yield f"{url.scheme}://{url.hostname}:{found.port}"


def declare(world: World, *addresses: str, name: str = "ci", events: tuple[str, ...] = (PUSH,), **spec: Any) -> str:
    """A project with one policy that notifies these addresses; the project's name."""
    project = world.project_name()
    world.project(project)
    world.policy(
        name, project, eventTypes=list(events), targets=[http_target(address) for address in addresses], **spec
    )
    world.ready("WebhookPolicy", name)
    return project


def deliveries(found: dict[str, Any]) -> dict[str, Any]:
    return dict(found["status"].get("deliveries") or {})


def row(found: dict[str, Any], event_type: str = PUSH) -> dict[str, Any]:
    return next(dict(one) for one in found["status"]["triggers"] if one["eventType"] == event_type)


def last_delivery(found: dict[str, Any], event_type: str = PUSH) -> dict[str, Any]:
    return dict(row(found, event_type).get("lastDelivery") or {})


def until_delivering(world: World, reason: str, name: str = "ci") -> dict[str, Any]:
    return world.until(
        "WebhookPolicy",
        name,
        lambda found: condition(found, "Delivering").get("reason") == reason,
        f"Delivering has not become {reason}",
    )


def until_row(world: World, status: str, event_type: str = PUSH, name: str = "ci") -> dict[str, Any]:
    return world.until(
        "WebhookPolicy", name, lambda found: last_delivery(found, event_type).get("status") == status, f"not {status}"
    )


def until_count(world: World, failures: int, name: str = "ci") -> dict[str, Any]:
    return world.until(
        "WebhookPolicy",
        name,
        lambda found: deliveries(found).get("consecutiveFailures") == failures and not deliveries(found)["inProgress"],
        f"not {failures} failures",
    )


def reasons(world: World, name: str = "ci") -> list[str]:
    """The reasons of the Events about deliveries."""
    told = ("DeliveryFailed", "DeliveryRecovered")
    return [event["reason"] for event in world.events(name) if event["reason"] in told]


def requests(world: World, start: int, part: str) -> list[str]:
    return [request.path for request in standing(world).requests()[start:] if part in request.path]


def polls(world: World, project: str, count: int = 3) -> None:
    """Waits for some more polls of the project."""
    start = len(standing(world).requests())
    path = f"/projects/{project}/webhook/lasttrigger"
    eventually(lambda: len(requests(world, start, path)) >= count, lambda: f"{project} is not polled")


def test_a_policy_that_was_never_triggered_says_so(world: World) -> None:
    declare(world, "https://ci.example.com/hook")
    found = world.get("WebhookPolicy", "ci")
    assert condition(found, "Delivering")["status"] == "Unknown"
    assert condition(found, "Delivering")["reason"] == "NeverTriggered"
    assert "deliveries" not in found["status"]


def test_a_push_that_arrives_shows_as_succeeded(world: World, reachable: str) -> None:
    project = declare(world, f"{reachable}/ok")
    push_artifact(world.harbor.url, world.harbor.username, world.harbor.password, f"{project}/app")
    found = until_delivering(world, "LastDeliverySucceeded")
    shown = last_delivery(found)
    assert (shown["status"], shown["attempts"], "message" in shown) == ("Succeeded", 1, False)
    assert found["status"]["lastTriggerTime"] <= shown["time"] == deliveries(found)["lastSuccessTime"]
    assert deliveries(found)["consecutiveFailures"] == deliveries(found)["inProgress"] == 0
    assert ready_condition(found)["status"] == "True"
    assert reasons(world) == []


def test_a_dead_receiver_is_failed_with_its_cause_in_the_end(world: World) -> None:
    project = declare(world, "http://127.0.0.1:9/hook")
    push_artifact(world.harbor.url, world.harbor.username, world.harbor.password, f"{project}/app")
    if world.harbor.is_real:
        retrying = until_row(world, "Retrying")
        assert condition(retrying, "Delivering")["status"] == "Unknown"
    cause = "127.0.0.1:9: dial tcp 127.0.0.1:9: connect: connection refused"
    eventually(
        lambda: last_delivery(world.get("WebhookPolicy", "ci")).get("status") == "Failed",
        lambda: f"not Failed: {world.get('WebhookPolicy', 'ci')['status']}",
        deadline=400 if world.harbor.is_real else 30,  # a real Harbor tries for up to 200 seconds
    )
    assert last_delivery(world.get("WebhookPolicy", "ci"))["message"] == cause


def test_what_fails_twice_and_then_arrives_is_retrying_and_then_succeeded(slower: World, receiver: Receiver) -> None:
    project = declare(slower, f"{receiver.url}/fail-times/2/x")
    standing(slower).happen(PUSH, project)
    retrying = until_row(slower, "Retrying")
    assert condition(retrying, "Delivering")["status"] == "Unknown"
    assert deliveries(retrying)["inProgress"] == 1
    slower.until(
        "WebhookPolicy", "ci", lambda found: "status 500" in last_delivery(found).get("message", ""), "no reason"
    )
    found = until_row(slower, "Succeeded")
    assert last_delivery(found)["attempts"] == 3
    assert "message" not in last_delivery(found)
    assert condition(found, "Delivering")["reason"] == "LastDeliverySucceeded"
    assert deliveries(found)["consecutiveFailures"] == 0
    assert reasons(slower) == []


def test_what_fails_three_times_is_failed_with_the_reason_from_the_log(own: World, receiver: Receiver) -> None:
    project = declare(own, f"{receiver.url}/status/500/secret-path")
    standing(own).happen(PUSH, project)
    found = until_delivering(own, "LastDeliveryFailed")
    shown = last_delivery(found)
    assert (shown["status"], shown["attempts"]) == ("Failed", 3)
    assert shown["message"] == "127.0.0.1 answered with status 500"
    assert condition(found, "Delivering")["status"] == "False"
    assert shown["message"] in condition(found, "Delivering")["message"]
    assert deliveries(found)["lastFailureMessage"] == shown["message"]
    assert deliveries(found)["consecutiveFailures"] == 1
    assert ready_condition(found)["status"] == "True"


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/redirect/302/ok", "Succeeded", None),
        ("/slow/10", "Failed", "context deadline exceeded"),
        ("/close", "Failed", "EOF"),
    ],
)
def test_each_kind_of_answer_is_told_as_what_it_is(
    own: World, receiver: Receiver, path: str, status: str, message: str | None
) -> None:
    project = declare(own, f"{receiver.url}{path}")
    standing(own).happen(PUSH, project)
    found = until_row(own, status)
    if message is not None:
        own.until("WebhookPolicy", "ci", lambda one: message in last_delivery(one).get("message", ""))
        assert urlsplit(receiver.url).netloc in last_delivery(found)["message"]
        assert path not in str(found["status"])


def test_a_receiver_that_refuses_for_hours_makes_one_event_and_the_count_goes_on(
    own: World, receiver: Receiver
) -> None:
    receiver.set_status("slack", 400)
    project = declare(own, f"{receiver.url}/toggle/slack")
    for number in range(3):
        standing(own).happen(PUSH, project, tag=f"v{number}")
        found = until_count(own, number + 1)
    assert reasons(own) == ["DeliveryFailed"]
    assert ready_condition(found)["status"] == "True"
    receiver.set_status("slack", 200)
    standing(own).happen(PUSH, project, tag="v9")
    found = until_delivering(own, "LastDeliverySucceeded")
    assert deliveries(found)["consecutiveFailures"] == 0
    assert deliveries(found)["lastFailureTime"] <= deliveries(found)["lastSuccessTime"]
    eventually(lambda: reasons(own) == ["DeliveryFailed", "DeliveryRecovered"], lambda: f"Events are {reasons(own)}")


def test_a_restart_counts_nothing_twice_and_loses_nothing(own: World, receiver: Receiver) -> None:
    project = declare(own, f"{receiver.url}/status/500")
    standing(own).happen(PUSH, project, tag="v0")
    before = until_count(own, 1)
    own.operator.kill()
    standing(own).happen(PUSH, project, tag="v1")  # while no operator runs
    own.operator.restart()
    found = until_count(own, 2)
    assert deliveries(found)["lastExecutionID"] > deliveries(before)["lastExecutionID"]
    own.counted(project)
    with own.counting() as writes:
        own.operator.kill()
        own.operator.restart()
        polls(own, project)
    assert writes.kubernetes == []
    assert deliveries(own.get("WebhookPolicy", "ci"))["consecutiveFailures"] == 2


def test_a_restart_in_the_middle_of_retries_settles_them_once(slower: World, receiver: Receiver) -> None:
    project = declare(slower, f"{receiver.url}/status/500")
    standing(slower).happen(PUSH, project)
    until_row(slower, "Retrying")
    slower.operator.kill()
    slower.operator.restart()
    until_count(slower, 1)
    polls(slower, project)
    assert deliveries(slower.get("WebhookPolicy", "ci"))["consecutiveFailures"] == 1


def test_an_old_time_and_result_stay_when_harbor_forgets_them(own: World, receiver: Receiver) -> None:
    project = declare(own, f"{receiver.url}/ok", events=(PUSH, PULL))
    standing(own).happen(PUSH, project)
    until_row(own, "Succeeded")
    first = row(own.get("WebhookPolicy", "ci"))
    time.sleep(1.1)  # the sweep compares whole seconds
    for number in range(60):
        standing(own).happen(PULL, project, tag=f"v{number}")
    until_row(own, "Succeeded", PULL)
    own.until("WebhookPolicy", "ci", lambda found: deliveries(found)["inProgress"] == 0)
    time.sleep(1)  # the executions take over the status
    standing(own).sweep()
    polls(own, project)
    answer = own.api.get(f"/projects/{project}/webhook/lasttrigger").json()
    assert {one["event_type"]: one["last_trigger_time"][:4] for one in answer}[PUSH] == "0001"
    assert row(own.get("WebhookPolicy", "ci")) == first
    own.operator.kill()
    own.operator.restart()
    polls(own, project)
    found = own.get("WebhookPolicy", "ci")
    assert row(found) == first
    assert condition(found, "Delivering")["reason"] == "LastDeliverySucceeded"


def test_a_failure_whose_log_is_gone_says_so(own: World, receiver: Receiver) -> None:
    project = declare(own, f"{receiver.url}/status/500")
    standing(own).set_fault({"path": "/log$"}, status=404, body='{"errors":[{"code":"NOT_FOUND","message":"gone"}]}')
    standing(own).happen(PUSH, project)
    found = until_delivering(own, "LastDeliveryFailed")
    assert last_delivery(found)["message"] == "Harbor no longer has the log with the reason."


def test_history_that_the_principal_may_not_read_is_unavailable(own: World, receiver: Receiver) -> None:
    project = declare(own, f"{receiver.url}/ok")
    forbidden = '{"errors":[{"code":"FORBIDDEN","message":"forbidden"}]}'
    standing(own).set_fault({"path": "/executions"}, status=403, body=forbidden)
    standing(own).happen(PUSH, project)
    found = until_delivering(own, "HistoryUnavailable")
    assert "notification-policy:read" in condition(found, "Delivering")["message"]
    assert ready_condition(found)["status"] == "True"
    standing(own).clear_faults()
    until_delivering(own, "LastDeliverySucceeded")


def test_what_was_swept_before_anybody_looked_is_unavailable(own: World, receiver: Receiver) -> None:
    project = declare(own, f"{receiver.url}/ok")
    standing(own).set_fault({"path": "/executions"}, status=200, body="[]")
    standing(own).happen(PUSH, project)
    found = until_delivering(own, "HistoryUnavailable")
    assert found["status"]["lastTriggerTime"]


def test_a_quota_event_shows_like_any_other(own: World, receiver: Receiver) -> None:
    project = declare(own, f"{receiver.url}/ok", events=("QUOTA_EXCEED",))
    quota = own.api.get("/quotas", params={"reference": "project", "page_size": 100}).json()
    mine = next(one for one in quota if one["ref"]["name"] == project)
    own.api.put(f"/quotas/{mine['id']}", json={"hard": {"storage": 1}}).raise_for_status()
    with pytest.raises(Exception, match="exceed the configured upper limit"):
        push_artifact(own.harbor.url, own.harbor.username, own.harbor.password, f"{project}/app")
    found = until_row(own, "Succeeded", "QUOTA_EXCEED")
    assert row(found, "QUOTA_EXCEED")["lastTriggerTime"]


def test_thirty_policies_of_a_project_cost_one_request_per_poll(own: World, receiver: Receiver) -> None:
    project = own.project_name()
    own.project(project)
    for number in range(30):
        own.secret(f"header-{number}", header=f"Bearer token-{number}")
        target = http_target(f"{receiver.url}/ok", authHeaderFrom=header_from(f"header-{number}"))
        own.policy(f"ci-{number}", project, targets=[target])
    for number in range(30):
        own.ready("WebhookPolicy", f"ci-{number}")
    polls(own, project)
    own.counted(project)
    start = len(standing(own).requests())
    with own.counting() as writes:
        began = time.monotonic()
        time.sleep(5)
        seconds = time.monotonic() - began
    asked = requests(own, start, "/webhook/lasttrigger")
    assert 3 <= len(asked) <= seconds / 0.9 + 1
    assert requests(own, start, "/executions") == []
    assert writes.kubernetes == []
    standing(own).happen(PUSH, project)
    for number in range(30):
        until_delivering(own, "LastDeliverySucceeded", f"ci-{number}")


def test_two_targets_of_which_one_fails_count_by_event_and_are_written_once(own: World, receiver: Receiver) -> None:
    project = declare(own, f"{receiver.url}/status/500", f"{receiver.url}/ok")
    standing(own).happen(PUSH, project, tag="first")
    until_count(own, 1)
    position = own.control_plane.audit_position()
    began = time.monotonic()
    for number in range(100):
        standing(own).happen(PUSH, project, tag=f"v{number}")
    found = until_count(own, 101)
    assert condition(found, "Delivering")["reason"] == "LastDeliveryFailed"
    written = [entry for entry in own.control_plane.writes(since=position) if entry.name == "ci"]
    seconds = time.monotonic() - began
    # The interval between two writes is 2 s here; one may belong to the event before, one to a changed condition.
    assert len(written) <= seconds / 2 + 2, f"{len(written)} writes in {seconds:.0f} s"
    assert reasons(own) == ["DeliveryFailed"]


def test_nothing_secret_reaches_status_events_log_or_metrics(own: World, receiver: Receiver) -> None:
    own.patch("ClusterHarborConnection", own.connection, {"spec": {"allowedTargetHosts": ["127.0.0.1"]}})
    own.secret("ci", header="Bearer c4nary-header")
    target = urlsplit(receiver.url).netloc
    address = f"http://user:c4nary-user@{target}/echo/500/c4nary-path?key=c4nary-query"
    project = own.project_name()
    own.project(project)
    own.policy("ci", project, targets=[http_target(address, authHeaderFrom=header_from("ci"))])
    own.policy("dead", project, targets=[http_target("http://user:c4nary-user@127.0.0.1:9/c4nary-path?c4nary-query")])
    for name in ("ci", "dead"):
        own.ready("WebhookPolicy", name)
    standing(own).happen(PUSH, project, operator="c4nary-payload")
    found = [until_delivering(own, "LastDeliveryFailed", name)["status"] for name in ("ci", "dead")]
    assert found[0]["deliveries"]["lastFailureMessage"] == "127.0.0.1 answered with status 500: you sent"
    assert (
        found[1]["deliveries"]["lastFailureMessage"] == "127.0.0.1:9: dial tcp 127.0.0.1:9: connect: connection refused"
    )
    told = [found, own.events("ci"), own.events("dead"), own.operator.log.read_text(), own.operator.metrics()]
    assert "c4nary" not in str(told)


def test_deleting_a_policy_that_harbor_still_retries_waits_and_tells_the_number(world: World) -> None:
    with StandIn.start(time_scale=0.3) as patient, own_harbor(world, patient) as slow:
        project = declare(slow, "http://127.0.0.1:9/hook")
        standing(slow).happen(PUSH, project)
        eventually(lambda: running(slow, project), lambda: "nothing is under way")
        slow.delete("WebhookPolicy", "ci", wait=False)
        found = slow.reason("WebhookPolicy", "ci", "DeliveriesPending")
        assert "1 notification is still in progress." in ready_condition(found)["message"]
        assert not slow.harbor_policy(project, "ci").get("enabled")
        slow.gone("WebhookPolicy", "ci")
        assert slow.harbor_policies(project) == []


def running(world: World, project: str) -> bool:
    policy = world.harbor_policy(project, "ci")["id"]
    rows = world.api.get(f"/projects/{project}/webhook/policies/{policy}/executions").json()
    return any(one["status"] == "Running" for one in rows)


def test_a_stopped_job_service_shows_as_stuck(own: World, receiver: Receiver) -> None:
    project = declare(own, f"{receiver.url}/ok")
    standing(own).settings(jobservice="stopped")
    standing(own).happen(PUSH, project)
    found = until_delivering(own, "DeliveriesStuck")
    assert condition(found, "Delivering")["status"] == "False"
    assert "job service" in condition(found, "Delivering")["message"]
    assert ready_condition(found)["status"] == "True"
    standing(own).settings(jobservice="running")
    standing(own).happen(PUSH, project, tag="v2")
    until_delivering(own, "LastDeliverySucceeded")
    eventually(lambda: reasons(own) == ["DeliveryFailed", "DeliveryRecovered"], lambda: f"Events are {reasons(own)}")
    own.annotate("WebhookPolicy", "ci", release="true")


def test_harbors_own_switch_shows_on_every_policy(own: World, receiver: Receiver) -> None:
    project = declare(own, f"{receiver.url}/ok")
    standing(own).happen(PUSH, project)
    until_delivering(own, "LastDeliverySucceeded")
    standing(own).settings(notification_enable=False)
    found = until_delivering(own, "GloballyDisabled")
    assert condition(found, "Delivering")["status"] == "False"
    assert found["status"]["enabled"] is False
    standing(own).settings(notification_enable=True)
    found = until_delivering(own, "LastDeliverySucceeded")
    assert reasons(own) == []


def test_a_disabled_policy_says_that_it_sends_nothing(world: World) -> None:
    declare(world, "https://ci.example.com/hook", enabled=False)
    assert condition(world.get("WebhookPolicy", "ci"), "Delivering")["reason"] == "PolicyDisabled"


def test_a_policy_made_again_goes_on_counting_and_keeps_its_times(own: World, receiver: Receiver) -> None:
    project = declare(own, f"{receiver.url}/status/500")
    standing(own).happen(PUSH, project)
    before = until_count(own, 1)["status"]
    own.api.delete(f"/projects/{project}/webhook/policies/{before['policyID']}").raise_for_status()
    found = own.until("WebhookPolicy", "ci", lambda one: one["status"]["policyID"] != before["policyID"], "made again")
    assert row(found) == before["triggers"][0]
    assert deliveries(found) == before["deliveries"]
    standing(own).happen(PUSH, project, tag="v2")
    until_count(own, 2)


def test_a_renamed_policy_keeps_its_history(own: World, receiver: Receiver) -> None:
    project = declare(own, f"{receiver.url}/ok")
    standing(own).happen(PUSH, project)
    before = until_delivering(own, "LastDeliverySucceeded")["status"]
    own.policy("ci", project, policyName="Renamed", targets=[http_target(f"{receiver.url}/ok")])
    own.ready("WebhookPolicy", "ci")
    polls(own, project)
    found = own.get("WebhookPolicy", "ci")
    assert (found["status"]["triggers"], deliveries(found)) == (before["triggers"], before["deliveries"])


def test_a_policy_adopted_with_a_long_history_costs_one_page(own: World, receiver: Receiver) -> None:
    project = own.project_name()
    own.make_project(project)
    policy_id = own.make_policy(project, "ci", targets=[http_target(f"{receiver.url}/ok")])
    for number in range(150):
        standing(own).happen(PUSH, project, tag=f"v{number}")
    time.sleep(3)
    start = len(standing(own).requests())
    own.policy("ci", projectName=project, connectionRef={"name": own.connection}, creationPolicy="Adopt")
    found = until_delivering(own, "LastDeliverySucceeded")
    polls(own, project)
    assert len(requests(own, start, f"/policies/{policy_id}/executions")) <= 3  # one page, the newest event's task
    assert deliveries(found)["consecutiveFailures"] == 0
    own.delete("WebhookPolicy", "ci")


def test_harbor_2_7_is_read_by_its_jobs(own_27: World, receiver: Receiver) -> None:
    own_27.patch("ClusterHarborConnection", own_27.connection, {"spec": {"deliveryMaxAttempts": 1}})
    receiver.set_status("legacy", 200)
    project = declare(own_27, f"{receiver.url}/toggle/legacy")
    standing(own_27).happen(PUSH, project)
    found = until_delivering(own_27, "LastDeliverySucceeded")
    assert last_delivery(found)["status"] == "Succeeded"
    receiver.set_status("legacy", 500)
    standing(own_27).happen(PUSH, project, tag="v2")
    found = until_delivering(own_27, "LastDeliveryFailed")
    assert last_delivery(found)["message"] == "Harbor reports the reason since version 2.8."
    assert requests(own_27, 0, "/executions") == []


def test_an_error_of_harbor_2_7_is_retrying_while_retries_can_come(own_27: World, receiver: Receiver) -> None:
    project = declare(own_27, f"{receiver.url}/status/500")
    standing(own_27).happen(PUSH, project)
    found = until_row(own_27, "Retrying")
    assert condition(found, "Delivering")["status"] == "Unknown"


def test_metrics_tell_of_each_policy_until_it_goes(own: World, receiver: Receiver) -> None:
    project = declare(own, f"{receiver.url}/status/500")
    labels = f'name="ci",namespace="{own.namespace}",project="{project}"'
    standing(own).happen(PUSH, project, tag="v0")
    until_count(own, 1)
    failed = f'harborhook_webhook_deliveries_total{{{labels},result="Failed"}}'
    before = own.operator.metrics().get(failed, 0)
    standing(own).happen(PUSH, project, tag="v1")
    until_count(own, 2)
    eventually(lambda: own.operator.metrics().get(failed) == before + 1, lambda: "the failure is not counted")
    shown = own.operator.metrics()
    assert shown[f"harborhook_webhook_consecutive_failures{{{labels}}}"] == 2
    assert shown[f"harborhook_webhook_last_trigger_timestamp_seconds{{{labels}}}"] > 1.7e9
    assert shown[f"harborhook_webhook_last_failure_timestamp_seconds{{{labels}}}"] > 1.7e9
    endpoint = "/projects/{project}/webhook/lasttrigger"
    assert shown[f'harborhook_harbor_requests_total{{endpoint="{endpoint}",method="GET",status="200"}}'] > 0
    connection = f'kind="ClusterHarborConnection",name="{own.connection}",namespace=""'
    assert shown[f"harborhook_connection_up{{{connection}}}"] == 1
    assert shown[f"harborhook_notifications_enabled{{{connection}}}"] == 1
    assert shown["harborhook_queue_depth"] >= 0
    assert shown["harborhook_queue_age_seconds"] >= 0
    assert shown['harborhook_reconcile_total{kind="WebhookPolicy",result="done"}'] > 0
    own.delete("WebhookPolicy", "ci")
    eventually(lambda: labels not in str(own.operator.metrics()), lambda: "the policy's metrics are still there")
