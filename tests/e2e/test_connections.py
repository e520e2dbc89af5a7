"""Connections: the account in Harbor, failures on the way to Harbor, and their effect on resources."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.certificates import Authority
from harness.harbor.process import StandIn
from harness.own import (
    EVERYTHING,
    access,
    connection,
    leave,
    logins,
    make_robot,
    make_user,
    standing,
    until_connection,
    use_credentials,
    world_of,
)
from harness.world import OPERATOR_USER, World, eventually, header_from, http_target, ready_condition

PASSWORD = "Test-Passw0rd"  # for users that the tests create


def test_an_administrator_works_by_session(own: World) -> None:
    status = connection(own)["status"]
    assert status["principal"] == {"name": "admin", "kind": "SystemAdmin"}
    assert status["authentication"] == "Session"
    assert status["harborVersion"].startswith("v2.16")
    assert status["readOnly"] is False
    hashes = standing(own).counters()["password_hashes"]
    name = own.project_name()
    own.project(name)
    own.policy("ci", name)
    own.ready("WebhookPolicy", "ci")
    own.reconcile_all()
    assert standing(own).counters()["password_hashes"] == hashes, "a session pays no password hash per request"


def test_a_user_works_by_session_on_projects_of_its_own(own: World) -> None:
    make_user(own, "dev", PASSWORD)
    use_credentials(own, "dev", PASSWORD)
    own.until(
        "ClusterHarborConnection",
        own.connection,
        lambda found: found["status"].get("principal") == {"name": "dev", "kind": "User"},
    )
    name = own.project_name()
    own.project(name, public=True)
    own.policy("ci", name)
    own.ready("WebhookPolicy", "ci")
    own.delete("WebhookPolicy", "ci")
    own.delete("HarborProject", name)
    assert own.harbor_project(name) is None


def test_a_robot_works_by_basic_without_cookies(own: World) -> None:
    username, secret = make_robot(own, *EVERYTHING)
    use_credentials(own, username, secret)
    own.until(
        "ClusterHarborConnection",
        own.connection,
        lambda found: found["status"].get("principal") == {"name": username, "kind": "Robot"},
    )
    assert connection(own)["status"]["authentication"] == "Basic"
    name = own.project_name()
    own.project(name, public=True)
    own.policy("ci", name)
    own.ready("WebhookPolicy", "ci")
    own.policy("ci", name, enabled=False)
    own.ready("WebhookPolicy", "ci")
    own.delete("WebhookPolicy", "ci")
    own.delete("HarborProject", name)
    assert own.harbor_project(name) is None


def test_a_new_project_and_a_new_policy_cost_one_request_each(own: World) -> None:
    first = own.project_name("first")
    own.project(first)
    own.policy("first", first)
    own.ready("WebhookPolicy", "first")  # so that the supported types are known
    second = own.project_name("second")
    standing(own).clear_requests()
    own.project(second)
    own.ready("HarborProject", second)
    own.policy("second", second)
    own.ready("WebhookPolicy", "second")
    mine = [
        r for r in standing(own).requests() if second in r.path or (r.method, r.path) == ("POST", "/api/v2.0/projects")
    ]
    assert [(r.method, r.path) for r in mine][:2] == [
        ("POST", "/api/v2.0/projects"),
        ("POST", f"/api/v2.0/projects/{second}/webhook/policies"),
    ]


def test_expired_sessions_are_renewed_with_one_login(own: World) -> None:
    names = [own.project_name(f"team{number}") for number in range(10)]
    for name in names:
        own.project(name)
        own.ready("HarborProject", name)
    before = logins(own)
    standing(own).expire_sessions()
    for number, name in enumerate(names):
        own.project(name, public=number % 2 == 0)
    for name in names:
        own.ready("HarborProject", name)
    assert logins(own) == before + 1


def test_an_expired_csrf_cookie_needs_no_login(own: World) -> None:
    name = own.project_name()
    own.project(name)
    own.ready("HarborProject", name)
    before = logins(own)
    standing(own).expire_csrf()
    own.project(name, public=True)
    own.ready("HarborProject", name)
    assert logins(own) == before


def test_an_old_harbor_is_not_written_to(world: World) -> None:
    with StandIn.start(version="2.2") as old:
        own = world_of(world, old, "2.2")
        own.connect(own.connection)
        name = own.project_name()
        own.project(name)
        until_connection(own, "UnsupportedHarborVersion")
        refused = own.reason("HarborProject", name, "ConnectionNotReady")
        assert "UnsupportedHarborVersion" in ready_condition(refused)["message"]
        assert [request for request in old.requests() if request.writes and request.path != "/c/login"] == []
        leave(own)


def test_harbor_27_has_chart_events_and_no_formats(own_27: World) -> None:
    name = own_27.project_name()
    own_27.project(name)
    own_27.policy("chart", name, eventTypes=["UPLOAD_CHART", "PUSH_ARTIFACT"])
    own_27.ready("WebhookPolicy", "chart")
    own_27.policy("cloud", name, targets=[http_target(payloadFormat="CloudEvents")])
    refused = own_27.reason("WebhookPolicy", "cloud", "UnsupportedPayloadFormat")
    assert "2.8" in ready_condition(refused)["message"]
    with own_27.counting() as writes:
        own_27.reconcile_all()
    assert writes.harbor == []
    own_27.delete("WebhookPolicy", "chart")
    assert own_27.harbor_policies(name) == []


def test_an_event_type_that_harbor_lacks_is_named_with_those_it_has(own: World) -> None:
    name = own.project_name()
    own.project(name)
    own.policy("ci", name)
    own.policy("chart", name, eventTypes=["PUSH_ARTIFACT", "UPLOAD_CHART"])
    refused = own.reason("WebhookPolicy", "chart", "UnsupportedEventType")
    message = ready_condition(refused)["message"]
    assert "UPLOAD_CHART" in message
    assert "SCANNING_COMPLETED" in message
    own.ready("WebhookPolicy", "ci")
    own.until(
        "ClusterHarborConnection", own.connection, lambda found: "supportedEventTypes" in found["status"], "shown"
    )


def test_a_wrong_password_is_said_and_a_right_one_picked_up(own: World) -> None:
    use_credentials(own, "admin", "wrong-Passw0rd")
    found = until_connection(own, "Unauthorized")
    assert "wrong-Passw0rd" not in str(found)
    name = own.project_name()
    own.project(name)
    own.reason("HarborProject", name, "Unauthorized")
    use_credentials(own, *own.harbor.auth)
    until_connection(own, "Reconciled")
    own.ready("HarborProject", name)


def test_a_rotated_password_loses_nothing(own: World) -> None:
    username, secret = make_robot(own, *EVERYTHING)
    use_credentials(own, username, secret)
    own.until(
        "ClusterHarborConnection", own.connection, lambda f: f["status"].get("principal", {}).get("kind") == "Robot"
    )
    robot = own.api.get("/robots", params={"q": f"name={username}"}).json()[0]["id"]
    names = [own.project_name(f"team{number}") for number in range(10)]
    for number, name in enumerate(names):
        if number == 5:
            rotated = "R0tated-secret"
            own.api.patch(f"/robots/{robot}", json={"secret": rotated}).raise_for_status()
            use_credentials(own, username, rotated)
        own.project(name)
    for name in names:
        own.ready("HarborProject", name)
    assert all(own.harbor_project(name) for name in names)


def test_somebody_elses_wrong_password_causes_no_false_unauthorized(own: World) -> None:
    names = [own.project_name(f"team{number}") for number in range(5)]
    for name in names:
        own.project(name)
        own.ready("HarborProject", name)
    stop = threading.Event()

    def guess() -> None:
        with httpx.Client(base_url=f"{own.harbor.url}/api/v2.0", timeout=10) as somebody:
            while not stop.is_set():
                somebody.get("/users/current", auth=("admin", "guessed"))

    guesser = threading.Thread(target=guess)
    guesser.start()
    try:
        for turn in (True, False, True):
            for name in names:
                own.project(name, public=turn)
            for name in names:
                own.ready("HarborProject", name)
    finally:
        stop.set()
        guesser.join()
    reasons = {event["reason"] for name in names for event in own.events(name)}
    events = own.control_plane.admin.request("GET", "/apis/events.k8s.io/v1/namespaces/default/events")["items"]
    reasons |= {event["reason"] for event in events if event["regarding"]["name"] == own.connection}
    assert "Unauthorized" not in reasons
    assert "Recreated" not in reasons


def test_lost_rights_are_named_and_regained_ones_used(own: World) -> None:
    name = own.project_name()
    own.project(name)
    own.ready("HarborProject", name)
    project_only = {"kind": "project", "namespace": "*", "access": access("project", "read", "update", "delete")}
    username, secret = make_robot(own, EVERYTHING[0], project_only)
    use_credentials(own, username, secret)
    own.until(
        "ClusterHarborConnection", own.connection, lambda f: f["status"].get("principal", {}).get("kind") == "Robot"
    )
    own.policy("ci", name)
    refused = own.reason("WebhookPolicy", "ci", "Forbidden")
    assert "notification-policy:create" in ready_condition(refused)["message"]
    use_credentials(own, *own.harbor.auth)
    own.ready("WebhookPolicy", "ci")


def test_read_only_mode_is_one_reason_for_all_and_ends_by_itself(own: World) -> None:
    name = own.project_name()
    own.project(name)
    own.policy("ci", name)
    own.ready("WebhookPolicy", "ci")
    own.api.put("/configurations", json={"read_only": True}).raise_for_status()
    own.policy("ci", name, enabled=False)
    own.policy("late", name)
    for policy in ("ci", "late"):
        own.reason("WebhookPolicy", policy, "HarborReadOnly")
    own.until("ClusterHarborConnection", own.connection, lambda found: found["status"].get("readOnly") is True)
    own.api.put("/configurations", json={"read_only": False}).raise_for_status()
    for policy in ("ci", "late"):
        own.ready("WebhookPolicy", policy)
    assert not own.harbor_policy(name, "ci").get("enabled")


def test_an_outage_is_written_once_and_ends_by_itself(own: World) -> None:
    names = [own.project_name(f"team{number}") for number in range(5)]
    for name in names:
        own.project(name)
        own.ready("HarborProject", name)
    position = own.control_plane.audit_position()
    standing(own).kill()
    until_connection(own, "HarborUnreachable")
    for name in names:
        own.project(name, public=True)
    for name in names:
        own.reason("HarborProject", name, "HarborUnreachable")
    writes = own.control_plane.writes(OPERATOR_USER, since=position)
    status_writes = [write for write in writes if write.namespace == own.namespace and write.subresource == "status"]
    assert len(status_writes) <= 2 * len(names), "one for the outage, one for the new generation"
    standing(own).restart()
    for name in names:
        own.ready("HarborProject", name)
        found = own.harbor_project(name)
        assert found is not None
        assert found["metadata"]["public"] == "true"


def test_deleting_while_harbor_is_down_waits_and_says_so(own: World) -> None:
    name = own.project_name()
    own.project(name)
    own.ready("HarborProject", name)
    standing(own).kill()
    own.delete("HarborProject", name, wait=False)
    own.until(
        "HarborProject", name, lambda f: ready_condition(f).get("reason") == "HarborUnreachable", "it says why it waits"
    )
    standing(own).restart()
    own.gone("HarborProject", name)
    assert own.harbor_project(name) is None


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"status": 200, "html": True, "body": "<html>login</html>"}, "NotAHarborAPI"),
        ({"status": 404, "html": True, "body": "<html>nothing here</html>"}, "NotAHarborAPI"),
        ({"truncate": True}, "HarborUnreachable"),
        ({"empty": True}, "NotAHarborAPI"),
        ({"endless": True}, "NotAHarborAPI"),
        ({"redirect": "https://login.example.com/"}, "NotAHarborAPI"),
        ({"close": True}, "HarborUnreachable"),
        ({"status": 502, "html": True, "body": "<html>502</html>"}, "HarborUnreachable"),
    ],
)
def test_whatever_answers_instead_of_harbor_has_its_reason(own: World, fault: dict[str, Any], reason: str) -> None:
    standing(own).set_fault({"path": "/api/v2.0/systeminfo"}, **fault)
    found = until_connection(own, reason)
    assert ready_condition(found)["message"]
    standing(own).clear_faults()
    until_connection(own, "Reconciled")
    assert "unexpected error" not in own.operator.log.read_text()


def test_a_throttling_proxy_is_obeyed(own: World) -> None:
    name = own.project_name()
    standing(own).set_fault(
        {"method": "POST", "path": "/projects$"}, times=1, status=429, headers={"Retry-After": "1"}, body="slow down"
    )
    own.project(name)
    own.ready("HarborProject", name)


def test_a_lost_answer_to_a_creation_is_no_loss(own: World) -> None:
    name = own.project_name()
    standing(own).set_fault({"method": "POST", "path": "/projects$"}, times=1, close=True, after=True)
    own.project(name)
    assert own.ready("HarborProject", name)["status"]["origin"] == "Created"
    standing(own).set_fault({"method": "POST", "path": "/policies$"}, times=1, close=True, after=True)
    own.policy("ci", name)
    assert own.ready("WebhookPolicy", "ci")["status"]["origin"] == "Created"
    assert len(own.harbor_policies(name)) == 1


def test_a_claim_over_a_connection_that_cannot_work_does_not_count(own: World) -> None:
    broken = f"broken-{own._unique}"
    own.connect(broken, url="http://127.0.0.1:9", aliases=[own.harbor.url])
    own.reason("ClusterHarborConnection", broken, "HarborUnreachable")
    name = own.project_name()
    own.project("squatter", projectName=name, connectionRef={"name": broken})
    own.reason("HarborProject", "squatter", "HarborUnreachable")
    own.project("owner", projectName=name)
    own.ready("HarborProject", "owner")
    own.delete("HarborProject", "squatter")
    own.delete("ClusterHarborConnection", broken)


def test_a_new_host_name_in_aliases_keeps_everything(own: World) -> None:
    name = own.project_name()
    own.project(name)
    own.policy("ci", name)
    before = own.ready("HarborProject", name)["status"], own.ready("WebhookPolicy", "ci")["status"]
    renamed = own.harbor.url.replace("127.0.0.1", "localhost")
    with own.counting() as writes:
        own.connect(own.connection, aliases=[own.harbor.url])
        own.connect(own.connection, url=renamed, aliases=[own.harbor.url])
        until_connection(own, "Reconciled")
        own.until("HarborProject", name, lambda found: found["status"]["connection"]["url"] == renamed, "moved")
        own.until("WebhookPolicy", "ci", lambda found: found["status"]["connection"]["url"] == renamed, "moved")
    assert writes.harbor == []
    after = own.ready("HarborProject", name)["status"], own.ready("WebhookPolicy", "ci")["status"]
    assert [one["projectID"] for one in after] == [one["projectID"] for one in before]


def test_a_silent_move_to_another_harbor_is_refused(own: World) -> None:
    name = own.project_name()
    own.project(name)
    own.ready("HarborProject", name)
    with StandIn.start() as other:
        elsewhere = f"elsewhere-{own._unique}"
        own.secret(f"{elsewhere}-credentials", "harborhook", username=other.admin[0], password=other.admin[1])
        reference = {"namespace": "harborhook", "name": f"{elsewhere}-credentials"}
        own.connect(elsewhere, url=other.url, credentialsSecretRef=reference)
        own.ready("ClusterHarborConnection", elsewhere)
        own.project(name, connectionRef={"name": elsewhere})
        refused = own.reason("HarborProject", name, "ConnectionChanged")
        assert own.harbor.url in ready_condition(refused)["message"]
        assert [request for request in other.requests() if request.writes and "/c/login" not in request.path] == []
        own.project(name)
        own.ready("HarborProject", name)
        own.delete("ClusterHarborConnection", elsewhere)


def test_a_certificate_authority_is_trusted_when_named_and_rotated_without_restart(
    world: World, tmp_path: Path
) -> None:
    first, second = Authority(), Authority()
    certificate, key = first.certify(tmp_path, "127.0.0.1")
    with StandIn.start(extra=[f"--tls-cert={certificate}", f"--tls-key={key}"]) as stand_in:
        own = world_of(world, stand_in)
        own.connect(own.connection, tls={}, allowInsecureHTTP=False)
        refused = until_connection(own, "TLSUntrusted")
        assert "caBundleRef" in ready_condition(refused)["message"]
        assert f"The issuer is {first.name}." in ready_condition(refused)["message"]
        bundle = {"kind": "ConfigMap", "namespace": "harborhook", "name": own.connection, "key": "ca.crt"}
        own.config_map(own.connection, "harborhook", **{"ca.crt": first.bundle})
        own.connect(own.connection, tls={"caBundleRef": bundle}, allowInsecureHTTP=False)
        until_connection(own, "Reconciled")
        name = own.project_name()
        own.project(name)
        own.ready("HarborProject", name)
        second.certify(tmp_path, "127.0.0.1")
        stand_in.restart()
        until_connection(own, "TLSUntrusted")
        own.project(name, public=True)
        own.config_map(own.connection, "harborhook", **{"ca.crt": second.bundle})
        until_connection(own, "Reconciled")
        own.ready("HarborProject", name)
        leave(own)


def test_credentials_with_a_newline_work_and_empty_ones_are_refused(own: World) -> None:
    use_credentials(own, "admin\n", f"{own.harbor.password}\n")
    own.annotate("ClusterHarborConnection", own.connection, reconcile_at="1")
    until_connection(own, "Reconciled")
    use_credentials(own, "admin", "")
    until_connection(own, "InvalidSpec")
    use_credentials(own, *own.harbor.auth)
    until_connection(own, "Reconciled")


def test_a_header_of_five_kilobytes_arrives_whole(own: World) -> None:
    header = "Bearer " + "x" * 5000
    own.secret("ci", header=f"{header}\n")
    name = own.project_name()
    own.project(name)
    own.policy("ci", name, targets=[http_target(authHeaderFrom=header_from("ci"))])
    own.ready("WebhookPolicy", "ci")
    assert own.harbor_policy(name, "ci")["targets"][0]["auth_header"] == header


def test_a_suspended_connection_asks_harbor_nothing(own: World) -> None:
    name = own.project_name()
    own.project(name)
    before = own.ready("HarborProject", name)
    own.connect(own.connection, suspend=True)
    own.reason("ClusterHarborConnection", own.connection, "Suspended")
    standing(own).clear_requests()
    own.project(name, public=True, connectionRef={"name": own.connection})
    own.reason("HarborProject", name, "Suspended")
    assert standing(own).requests() == []
    assert ready_condition(own.get("HarborProject", name))["status"] == ready_condition(before)["status"] == "True"
    own.connect(own.connection, suspend=False)
    until_connection(own, "Reconciled")
    own.ready("HarborProject", name)


def test_a_team_has_a_connection_of_its_own_to_a_known_host_only(own: World) -> None:
    own.secret("robot", username=own.harbor.username, password=own.harbor.password)
    spec = {"url": own.harbor.url, "allowInsecureHTTP": True, "credentialsSecretRef": {"name": "robot"}}
    own.apply({"kind": "HarborConnection", "metadata": {"name": "team"}, "spec": spec})
    own.ready("HarborConnection", "team")
    name = own.project_name()
    own.project(name, connectionRef={"kind": "HarborConnection", "name": "team"})
    assert own.ready("HarborProject", name)["status"]["connection"]["kind"] == "HarborConnection"
    elsewhere = {**spec, "url": "http://harbor.elsewhere.example"}
    own.apply({"kind": "HarborConnection", "metadata": {"name": "elsewhere"}, "spec": elsewhere})
    refused = own.reason("HarborConnection", "elsewhere", "NotAllowedByConnection")
    assert "harbor.elsewhere.example" in ready_condition(refused)["message"]
    own.delete("HarborConnection", "team", wait=False)
    own.reason("HarborConnection", "team", "InUse")
    own.delete("HarborProject", name)
    own.gone("HarborConnection", "team")


def test_a_connection_without_its_secret_says_so_and_goes_on_when_it_comes(own: World) -> None:
    own.connect(f"late-{own._unique}", credentialsSecretRef={"namespace": "harborhook", "name": f"late-{own._unique}"})
    own.reason("ClusterHarborConnection", f"late-{own._unique}", "SecretNotFound")
    own.secret(f"late-{own._unique}", "harborhook", username="admin", password=own.harbor.password)
    own.ready("ClusterHarborConnection", f"late-{own._unique}")
    own.delete("ClusterHarborConnection", f"late-{own._unique}")


def test_credentials_that_are_deleted_with_everything_else_still_delete(own: World) -> None:
    name = own.project_name()
    own.project(name)
    own.policy("ci", name)
    own.ready("WebhookPolicy", "ci")
    secret = f"/api/v1/namespaces/harborhook/secrets/{own.connection}-credentials"
    own.control_plane.admin.request("DELETE", secret)
    until_connection(own, "SecretNotFound")
    own.delete("HarborProject", name, wait=False)
    own.delete("WebhookPolicy", "ci", wait=False)
    own.gone("WebhookPolicy", "ci")
    own.gone("HarborProject", name)
    eventually(lambda: own.harbor_project(name) is None, lambda: "the project is still in Harbor")


def test_drift_of_many_projects_costs_few_requests(own: World) -> None:
    names = [own.project_name(f"team{number}") for number in range(120)]
    own.apply_all(
        [
            {"kind": "HarborProject", "metadata": {"name": n}, "spec": {"connectionRef": {"name": own.connection}}}
            for n in names
        ]
    )
    for name in names:
        own.ready("HarborProject", name)
    standing(own).clear_requests()
    own.operator.stop()
    own.operator.restart()
    eventually(lambda: _page_reads(own) >= 2, lambda: "the projects are not looked at")
    single = [request for request in standing(own).requests() if request.path.startswith("/api/v2.0/projects/")]
    assert single == []


def _page_reads(world: World) -> int:
    return sum(1 for request in standing(world).requests() if request.path == "/api/v2.0/projects")
