"""The steps of the demonstration: each has a sentence, the users' actions, and checks of their effects."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from harness.demo.current import CurrentCluster
from harness.demo.examples import TOKEN, receiver_path
from harness.demo.screen import first_lines, sections
from harness.demo.stage import OPERATOR_USER, Object, Stage

CI = receiver_path("https://ci.example.com/harbor")
EVENTS = receiver_path("https://events.example.com/harbor")
BROKEN = "/toggle/events"
SLACK = receiver_path("https://hooks.slack.com")
NEW_TOKEN = "second-token"
PROJECTS = ("team-a", "team-a.legacy", "library")
_SESSION = ("/c/login", "/c/log_out")
"""Harbor's paths for logging in and out, by POST."""
_SILENCE = 2.0
"""Seconds to wait for notifications that must not come; one takes far less."""
_QUOTA = 40 * 1024


@dataclass(frozen=True)
class Step:
    title: str
    sentence: str
    act: Callable[[Stage], None]


def install(stage: Stage) -> None:
    stage.kubectl("apply -k manifests/base", lambda text: first_lines(text, 3))
    stage.kubectl("wait --for=condition=Established crd --all --timeout=30s", lambda text: first_lines(text, 2))
    if isinstance(stage.control_plane, CurrentCluster):
        stage.kubectl("scale deployment/harborhook -n harborhook --replicas=0")
        why = "Harbor's stand-in is on this machine, which pods of the cluster cannot reach."
    else:
        why = "This cluster has no nodes to run the Deployment's pod on."
    stage.screen.say(
        f"{why} So the same program runs here as a process, with the same ServiceAccount. It looks for news every "
        "second and for drift every 3, instead of every minute and every 10."
    )
    stage.start_operator()
    for question, answer in (("patch webhookpolicies/status", "yes"), ("create pods", "no")):
        said = stage.kubectl(f"auth can-i {question} --as={OPERATOR_USER}", fails=answer == "no")
        stage.check(f"its roles {'let' if answer == 'yes' else 'do not let'} it {question}", said.split()[-1] == answer)


def connect(stage: Stage) -> None:
    stage.screen.say(
        "The examples are applied as they are, but for the placeholders: Harbor's address and password, the token, "
        "and the addresses of webhooks, which all lead to the receiver of this demonstration."
    )
    stage.screen.say("chconn is short for clusterharborconnections.")
    stage.apply("01-connection")
    stage.kubectl("wait --for=condition=Ready chconn/default --timeout=30s")
    stage.kubectl("get chconn")


def declare(stage: Stage) -> None:
    stage.screen.say("hproj is short for harborprojects, whp for webhookpolicies.")
    stage.apply("02-project", "03-webhook-http", "04-webhook-cloudevents", "05-webhook-slack")
    stage.kubectl("wait --for=condition=Ready hproj/team-a whp/ci whp/events whp/slack -n team-a --timeout=30s")
    stage.kubectl("get hproj -n team-a")
    stage.kubectl("get whp -n team-a -o wide")
    policies = stage.harbor_policies("team-a")
    stage.check(
        "Harbor has the project team-a with the webhook policies ci, events and Slack notifications",
        set(policies) == {"ci", "events", "Slack notifications"},
    )


def push(stage: Stage) -> None:
    stage.push("team-a/app", "v1", b"hello")
    notifications = [stage.receiver.wait(1, path)[0] for path in (CI, EVENTS)]
    stage.screen.say("Harbor notifies both receivers; the second asked for CloudEvents:")
    for notification in notifications:
        stage.screen.notification(notification)
    plain, cloud_event = notifications
    stage.check(
        "the header came from the Secret, and each notification has the format that was asked for",
        plain.headers.get("authorization") == f"Bearer {TOKEN}"
        and plain.json()["type"] == "PUSH_ARTIFACT"
        and cloud_event.json()["specversion"] == "1.0"
        and cloud_event.json()["type"] == "harbor.artifact.pushed",
    )


def last_triggers(stage: Stage) -> None:
    delivered = {"LastDeliverySucceeded"}
    stage.wait("both are delivering", lambda: {_delivering(stage, name) for name in ("ci", "events")} == delivered)
    stage.kubectl("get whp -n team-a")
    stage.kubectl("get whp ci -n team-a -o jsonpath='{.status.triggers}'")
    stage.check(
        "PUSH_ARTIFACT has its time and how its delivery went; SCANNING_COMPLETED has none, since nothing was scanned",
        _deliveries(stage, "ci") == {"PUSH_ARTIFACT": "Succeeded"},
    )


def fail(stage: Stage) -> None:
    stage.receiver.set_status("events", 500)
    before, address = stage.harbor_policies("team-a")["events"]["id"], f"{stage.receiver.url}{BROKEN}"
    patch = f"""'[{{"op": "replace", "path": "/spec/targets/0/address", "value": "{address}"}}]'"""
    stage.kubectl(f"patch whp events -n team-a --type=json -p {patch}")
    stage.until("Harbor has it, in the same policy", lambda: _address_by_id(stage).get(before) == address)
    stage.push("team-a/app", "v2", b"hello there")
    stage.screen.say("The new receiver answers with an error. Harbor tries three times, then stops.")
    stage.until(
        "Delivering is False, while Ready stays True: Harbor is as declared, the receiver is not",
        lambda: _delivering(stage, "events") == "LastDeliveryFailed" and stage.reason("whp", "events") == "Reconciled",
    )
    stage.kubectl("get whp -n team-a -o wide")
    stage.kubectl("""get whp events -n team-a -o jsonpath='{.status.conditions[?(@.type=="Delivering")].message}'""")
    stage.screen.say("The receiver is repaired, and the next push reaches it.")
    stage.receiver.set_status("events", 200)
    stage.push("team-a/app", "v3", b"hello once more")
    stage.until("Delivering is True again", lambda: _delivering(stage, "events") == "LastDeliverySucceeded")
    stage.wait("an Event says so", lambda: stage.event("WebhookPolicy", "events", "DeliveryRecovered"))
    stage.kubectl("describe whp events -n team-a", lambda text: sections(text, "Events"))


def redeliver(stage: Stage) -> None:
    host = httpx.URL(stage.receiver.url).host
    stage.screen.say(
        "The admin permits the operator to send again what Harbor could not deliver, to hosts that are named."
    )
    permission = f'{{"spec": {{"allowRedelivery": true, "allowedTargetHosts": ["{host}"]}}}}'
    stage.kubectl(f"patch chconn default --type=merge -p '{permission}'")
    stage.kubectl("""patch whp events -n team-a --type=merge -p '{"spec": {"redelivery": {"mode": "Automatic"}}}'""")
    stage.until("what was lost in the step before arrives", lambda: _sent_again(stage) == ["v2"])
    stage.screen.say("The receiver goes down again, and three images are pushed.")
    stage.receiver.set_status("events", 503)
    tags = ["lost-1", "lost-2", "lost-3"]
    for tag in tags:
        stage.push("team-a/app", tag, tag.encode())
    stage.until("Harbor has stopped retrying all three", lambda: _undelivered(stage) == 3)
    stage.kubectl("""get whp events -n team-a -o jsonpath='{.status.conditions[?(@.type=="Delivering")].message}'""")
    stage.screen.say("The receiver is repaired. Nobody pushes anything.")
    stage.receiver.set_status("events", 200)
    stage.until("all three arrive, oldest first", lambda: _sent_again(stage) == ["v2", *tags])
    stage.until("Delivering says so", lambda: _delivering(stage, "events") == "Redelivered")
    stage.wait("an Event says how many", lambda: stage.event("WebhookPolicy", "events", "Redelivered"))
    stage.kubectl("describe whp events -n team-a", lambda text: sections(text, "Events"))


def _sent_again(stage: Stage) -> list[str]:
    """Returns the tags of the notifications that the operator has redelivered and the receiver has accepted."""
    taken = [one for one in stage.receiver.received(BROKEN) if one.redelivery is not None and one.answered == 200]
    return [one.json()["data"]["resources"][0]["tag"] for one in taken]


def _undelivered(stage: Stage) -> int:
    deliveries = stage.get("whp", "events")["status"]["deliveries"]
    return 0 if deliveries["inProgress"] else deliveries.get("undelivered", 0)


def _delivering(stage: Stage, name: str) -> str:
    return stage.reason("whp", name, "Delivering")


def _deliveries(stage: Stage, name: str) -> dict[str, str]:
    """Returns the status of the last delivery by event type. On a busy machine a delivery may have taken more than one
    attempt."""
    rows = stage.get("whp", name)["status"]["triggers"]
    return {row["eventType"]: row["lastDelivery"]["status"] for row in rows if "lastDelivery" in row}


def _address_by_id(stage: Stage) -> dict[int, str]:
    return {policy["id"]: policy["targets"][0]["address"] for policy in stage.harbor_policies("team-a").values()}


def quota(stage: Stage) -> None:
    stage.screen.say(f"Harbor's administrator limits the project to {_QUOTA} bytes.")
    stage.limit_storage("team-a", _QUOTA)
    stage.push("team-a/app", "v4", bytes(34 * 1024))
    stage.screen.notification(stage.receiver.wait(1, SLACK)[0])
    stage.until(
        "the row of QUOTA_WARNING has its time",
        lambda: set(stage.trigger_times("slack")) == {"QUOTA_WARNING"},
    )
    stage.kubectl("get whp slack -n team-a")


def adopt(stage: Stage) -> None:
    stage.screen.say(
        "Long ago, somebody made the public project team-a.legacy in Harbor, with a webhook policy called Jenkins."
    )
    before = _make_legacy(stage)
    stage.apply("06-adopt-existing", "07-unmanaged-project")
    stage.kubectl("wait --for=condition=Ready hproj/legacy whp/legacy-ci whp/library -n team-a --timeout=30s")
    stage.kubectl("get whp -n team-a -o wide")
    stage.kubectl("describe whp legacy-ci -n team-a", lambda text: sections(text, "Conditions", "Origin", "Events"))
    project, policy = stage.harbor_project("team-a.legacy"), stage.harbor_policies("team-a.legacy")["Jenkins"]
    stage.check("the policy kept its id, and with it its history", policy["id"] == before["id"])
    stage.check(
        "its events are those of the resource now, while the project stayed public, since nobody stated otherwise",
        policy["event_types"] == ["PUSH_ARTIFACT"] and (project or {})["metadata"]["public"] == "true",
    )


def _make_legacy(stage: Stage) -> Object:
    stage.api("POST", "/projects", json={"project_name": "team-a.legacy", "metadata": {"public": "true"}})
    target = {"type": "http", "address": "https://jenkins.example.com/generic-webhook-trigger/invoke"}
    policy = {"name": "Jenkins", "enabled": True, "event_types": ["PULL_ARTIFACT"], "targets": [target]}
    stage.api("POST", "/projects/team-a.legacy/webhook/policies", json=policy)
    return stage.harbor_policies("team-a.legacy")["Jenkins"]


def drift(stage: Stage) -> None:
    stage.screen.say('In Harbor\'s UI, somebody switches off the policy "ci" ...')
    stage.change_policy("team-a", "ci", enabled=False)
    stage.until("it is on again in Harbor", lambda: stage.harbor_policies("team-a")["ci"]["enabled"])
    stage.wait("an Event says so", lambda: stage.event("WebhookPolicy", "ci", "DriftCorrected"))
    stage.screen.say('... and deletes the policy "events".')
    old = stage.harbor_policies("team-a")["events"]["id"]
    stage.delete_policy("team-a", "events")
    stage.until(
        "it is in Harbor again, under a new id that the status knows",
        lambda: (
            stage.get("whp", "events")["status"]["policyID"] not in (None, old)
            and stage.get("whp", "events")["status"]["policyID"] == stage.harbor_policies("team-a")["events"]["id"]
        ),
    )
    stage.wait("an Event says so", lambda: stage.event("WebhookPolicy", "events", "Recreated"))
    stage.screen.say("Events report both:")
    for name in ("ci", "events"):
        stage.kubectl(f"describe whp {name} -n team-a", lambda text: sections(text, "Events"))


def refuse(stage: Stage) -> None:
    patch = """'[{"op": "add", "path": "/spec/targets/0/payloadFormat", "value": "CloudEvents"}]'"""
    said = stage.kubectl(f"patch whp slack -n team-a --type=json -p {patch}", fails=True)
    stage.check(
        "the API server has refused it with a sentence that says what to do",
        "remove payloadFormat, or use type http" in said,
    )


def missing_secret(stage: Stage) -> None:
    stage.kubectl("delete secret ci-token -n team-a")
    _until_reason(stage, "SecretNotFound")
    stage.kubectl("create secret generic ci-token -n team-a --from-literal=token=oops")
    _until_reason(stage, "SecretKeyMissing")
    target = stage.harbor_policies("team-a")["ci"]["targets"][0]
    stage.check("meanwhile Harbor keeps the old header", target.get("auth_header") == f"Bearer {TOKEN}")
    stage.screen.say("Once the Secret is right, the new header reaches Harbor automatically:")
    stage.kubectl("delete secret ci-token -n team-a")
    stage.kubectl(f"create secret generic ci-token -n team-a --from-literal=header='Bearer {NEW_TOKEN}'")
    stage.kubectl("wait --for=condition=Ready whp/ci -n team-a --timeout=30s")
    already = len(stage.receiver.received(CI))
    stage.push("team-a/app", "v5", b"hello again")
    newest = stage.receiver.wait(already + 1, CI)[-1]
    stage.screen.notification(newest)
    stage.check("the push came with the new header", newest.headers.get("authorization") == f"Bearer {NEW_TOKEN}")


def _until_reason(stage: Stage, reason: str) -> None:
    stage.until(f"Ready is False because of {reason}", lambda: stage.reason("whp", "ci") == reason)
    stage.kubectl("""get whp ci -n team-a -o jsonpath='{.status.conditions[?(@.type=="Ready")].message}'""")


def switch(stage: Stage) -> None:
    stage.apply("08-global-switch")
    _set_switch(stage, "false")
    stage.until("all policies show that they are off", lambda: _enabled(stage) == {False})
    stage.kubectl("get chconn")
    stage.kubectl("get whp -n team-a")
    _settle(stage)
    before = len(stage.receiver.received())
    stage.push("team-a/app", "v6", b"hello, anybody?")
    time.sleep(_SILENCE)
    stage.check("nobody was notified of the push", len(stage.receiver.received()) == before)
    _set_switch(stage, "true")
    stage.until("all policies show that they are on again", lambda: _enabled(stage) == {True})


def _set_switch(stage: Stage, value: str) -> None:
    stage.kubectl(f"""patch configmap harborhook-global -n harborhook -p '{{"data": {{"enabled": "{value}"}}}}'""")


def _enabled(stage: Stage) -> set[bool]:
    return {policy["status"].get("enabled") for policy in stage.get("whp")["items"]}


def second_pass(stage: Stage) -> None:
    _settle(stage)
    written_to_kubernetes = stage.writes_from_now_on()
    stage.harbor.clear_requests()
    stage.screen.say("The operator is stopped and started, and looks at everything twice.")
    stage.restart_operator()
    stage.wait("the operator has looked at every project twice", lambda: _looks(stage) >= 2)
    requests = [request for request in stage.harbor.requests() if request.path not in _SESSION]
    written = [f"{request.method} {request.path}" for request in requests if request.writes]
    stage.check_none(f"of its {len(requests)} requests to Harbor, none wrote anything", written)
    stage.check_none("it wrote nothing to Kubernetes", written_to_kubernetes())


def _settle(stage: Stage) -> None:
    """Waits until the status of every policy includes the last push."""

    def delivered() -> bool:
        policies = [policy["status"] for policy in stage.get("whp")["items"]]
        rows = {(status["policyName"], row["eventType"]): row for status in policies for row in status["triggers"]}
        triggers = stage.harbor_triggers("team-a").items()
        return not any(status.get("deliveries", {}).get("inProgress") for status in policies) and all(
            rows[event].get("lastTriggerTime") == when and rows[event].get("lastDelivery", {}).get("time", "") >= when
            for event, when in triggers
            if event in rows
        )

    stage.wait("the last push is in the status", delivered)


def _looks(stage: Stage) -> int:
    """Returns the smallest number of reads that Harbor has got for the policies of a project."""
    paths = [request.path for request in stage.harbor.requests() if request.method == "GET"]
    return min(paths.count(f"/api/v2.0/projects/{name}/webhook/policies") for name in PROJECTS)


def delete(stage: Stage) -> None:
    stage.kubectl("delete -f manifests/examples --ignore-not-found --timeout=90s", lambda text: first_lines(text, 20))
    said = stage.kubectl("get chconn,hconn,hproj,whp -A")
    stage.check("no resource is left, so no finalizer is either", "No resources found" in said)
    policies = {project: sorted(stage.harbor_policies(project)) for project in PROJECTS}
    stage.check("Harbor has none of the webhook policies any more", not any(policies.values()))
    stage.check(
        "the projects, which were to be retained, are there with their images",
        (stage.harbor_project("team-a") or {}).get("repo_count") == 1
        and stage.harbor_project("team-a.legacy") is not None,
    )


STEPS = (
    Step(
        "Install the operator",
        "A cluster admin installs the kinds and the operator, whose own rights are few.",
        install,
    ),
    Step(
        "Connect it to Harbor",
        "The admin states where Harbor is, and which namespaces may have which projects there.",
        connect,
    ),
    Step(
        "Declare a project and its webhooks",
        "A team declares a Harbor project and three webhook policies, without any rights in Harbor.",
        declare,
    ),
    Step("Push an image", "Harbor notifies the receivers that the policies list.", push),
    Step(
        "See when each event last happened",
        "Whether and when it was delivered is in the status, per event type.",
        last_triggers,
    ),
    Step("Send events to a receiver that fails", "A new address reaches Harbor at once, in place.", fail),
    Step(
        "Lose notifications, and recover them",
        "Harbor stops retrying after minutes; the operator redelivers the notifications once the receiver is back.",
        redeliver,
    ),
    Step("Fill the quota", "Slack gets a warning when the project is nearly full, in Slack's own format.", quota),
    Step(
        "Adopt existing objects",
        "Projects and policies made by hand can be taken over, and a project that nobody manages can have a policy.",
        adopt,
    ),
    Step("Correct drift", "Changes and deletions made directly in Harbor are reverted.", drift),
    Step("Refuse a mistake", "The API server rejects invalid specs at once, before they reach Harbor.", refuse),
    Step(
        "Lose a Secret, and find it again",
        "A resource reports what it waits for, and continues automatically once that exists.",
        missing_secret,
    ),
    Step(
        "Switch all notifications off",
        "A cluster admin has one ConfigMap that switches the webhooks of a whole Harbor off and on.",
        switch,
    ),
    Step(
        "Do nothing when nothing is to be done", "A second pass over everything writes nothing anywhere.", second_pass
    ),
    Step(
        "Delete everything at once",
        "One command deletes connection, Secrets, project, policies and namespace; deletion policies are followed.",
        delete,
    ),
)
