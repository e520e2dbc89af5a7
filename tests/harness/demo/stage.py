"""The parts of the demonstration and their use: a cluster, a Harbor, a webhook receiver, the operator."""

from __future__ import annotations

import json
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from harness.control_plane import ControlPlane
from harness.demo.current import CurrentCluster
from harness.demo.examples import EXAMPLES, fill_in
from harness.demo.screen import Screen
from harness.harbor.process import StandIn
from harness.operator_process import OperatorProcess
from harness.push import push_artifact
from harness.receiver import Receiver

REPOSITORY = Path(__file__).parents[3]
OPERATOR_USER = "system:serviceaccount:harborhook:harborhook"
SETTINGS = {
    "poll_interval": 1,
    "open_poll_interval": 1,
    "status_interval": 1,
    "drift_interval": 3,
    "connection_interval": 5,
    "redelivery_pause": 1,
    "redelivery_longest_pause": 2,
}
"""Intervals in seconds; by default an operator polls deliveries every minute and checks for drift every ten."""

_BY_NAME = {"X-Is-Resource-Name": "true"}

Object = dict[str, Any]
Shown = Callable[[str], list[str]]


class DemoError(Exception):
    """A claim of the demonstration did not come true."""


@dataclass
class Stage:
    screen: Screen
    directory: Path
    control_plane: ControlPlane | CurrentCluster
    harbor: StandIn
    receiver: Receiver
    operator: OperatorProcess | None = None

    # Actions of users

    def kubectl(self, line: str, show: Shown = str.splitlines, *, fails: bool = False) -> str:
        """Shows a kubectl command as a user types it, runs it as the cluster's administrator, and shows its output."""
        self.screen.command(f"kubectl {line}")
        arguments = [self._resolved(argument) for argument in shlex.split(line)]
        done = self.control_plane.kubectl(*arguments, check=not fails)
        if fails and done.returncode == 0:
            raise DemoError(f"kubectl {line} should have been refused")
        said = done.stdout + done.stderr
        self.screen.output(show(said.replace(f"{self.directory}/", "")))
        return said

    def apply(self, *names: str) -> None:
        """Applies examples with the placeholders filled in."""
        for name in names:
            self.kubectl(f"apply -f {EXAMPLES}/{name}.yaml")

    def push(self, repository: str, tag: str, content: bytes) -> None:
        self.screen.say(f"A developer pushes the image {repository}:{tag} ({len(content)} bytes).")
        push_artifact(self.harbor.url, *self.harbor.admin, repository, tag, content)

    def _resolved(self, argument: str) -> str:
        if argument.startswith(EXAMPLES):
            return str(self.directory / argument)
        return str(REPOSITORY / argument) if argument.startswith("manifests/") else argument

    # Verification

    def until(self, what: str, attempt: Callable[[], Any], deadline: float = 30.0) -> Any:
        """Waits for a true result; prints `what`, the claim, once it holds."""
        found = self.wait(what, attempt, deadline)
        self.screen.verified(what)
        return found

    def wait(self, what: str, attempt: Callable[[], Any], deadline: float = 30.0) -> Any:
        end = time.monotonic() + deadline
        while not (found := attempt()):
            if time.monotonic() > end:
                raise DemoError(f"after {deadline:.0f} s this does not hold: {what}")
            time.sleep(0.1)
        return found

    def check(self, what: str, holds: bool) -> None:
        if not holds:
            raise DemoError(f"this does not hold: {what}")
        self.screen.verified(what)

    def check_none(self, what: str, exceptions: Sequence[str]) -> None:
        if exceptions:
            raise DemoError(f"this does not hold: {what}; there were {', '.join(exceptions)}")
        self.screen.verified(what)

    # Reads, which are not shown

    def get(self, kind: str, *name: str) -> Object:
        """The object, or the list of all of that kind."""
        found: Object = json.loads(self.control_plane.kubectl("get", kind, *name, "-n", "team-a", "-o", "json").stdout)
        return found

    def reason(self, kind: str, name: str, condition: str = "Ready") -> str:
        """The condition's reason for the present spec, "" before there is one."""
        found = self.get(kind, name)
        for one in found.get("status", {}).get("conditions", []):
            if one["type"] == condition and one["observedGeneration"] == found["metadata"]["generation"]:
                return str(one["reason"])
        return ""

    def event(self, kind: str, name: str, reason: str) -> str:
        """Returns the note of the newest Event with that reason about the object; "" if there is none."""
        selector = f"regarding.kind={kind},regarding.name={name},reason={reason}"
        path = f"/apis/events.k8s.io/v1/namespaces/team-a/events?fieldSelector={selector}"
        events = json.loads(self.control_plane.kubectl("get", "--raw", path).stdout)["items"]
        return str(max(events, key=lambda event: str(event["eventTime"]))["note"]) if events else ""

    def writes_from_now_on(self) -> Callable[[], list[str]]:
        """Returns a function that lists the operator's writes to the cluster since this call."""
        cluster = self.control_plane
        if isinstance(cluster, CurrentCluster):
            return cluster.changes()
        position = cluster.audit_position()
        return lambda: [
            f"{write.verb} {write.resource}/{write.subresource} {write.name}"
            for write in cluster.writes(OPERATOR_USER, since=position)
        ]

    def trigger_times(self, name: str) -> dict[str, str]:
        """Returns lastTriggerTime of the WebhookPolicy by event type."""
        triggers = self.get("whp", name)["status"].get("triggers", [])
        return {row["eventType"]: row["lastTriggerTime"] for row in triggers if "lastTriggerTime" in row}

    # Harbor, as its administrator

    def api(self, method: str, path: str, **options: Any) -> Any:
        """Returns the answer of Harbor's API, None for an empty one. Uses no session, so that no CSRF token is
        needed."""
        url = f"{self.harbor.url}/api/v2.0{path}"
        answer = httpx.request(method, url, auth=self.harbor.admin, headers=_BY_NAME, trust_env=False, **options)
        if answer.is_error:
            raise DemoError(f"Harbor answered {method} {path} with {answer.status_code}: {answer.text}")
        return answer.json() if answer.content else None

    def harbor_project(self, name: str) -> Object | None:
        found = self.api("GET", "/projects", params={"name": name})
        return next((project for project in found if project["name"] == name), None)

    def harbor_policies(self, project: str) -> dict[str, Object]:
        """Returns the policies by name."""
        found = self.api("GET", f"/projects/{project}/webhook/policies", params={"page_size": 100})
        return {policy["name"]: policy for policy in found}

    def harbor_triggers(self, project: str) -> dict[tuple[str, str], str]:
        """Returns the time of Harbor's last notification by policy and event type, in whole seconds as in a status."""
        found = self.api("GET", f"/projects/{project}/webhook/lasttrigger")
        times = {(row["policy_name"], row["event_type"]): row.get("last_trigger_time", "") for row in found}
        return {event: f"{time[:19]}Z" for event, time in times.items() if time and not time.startswith("0001")}

    def change_policy(self, project: str, name: str, **fields: Any) -> None:
        """Changes a policy as a user of Harbor's UI does."""
        policy = self.harbor_policies(project)[name]
        self.api("PUT", f"/projects/{project}/webhook/policies/{policy['id']}", json={**policy, **fields})

    def delete_policy(self, project: str, name: str) -> None:
        policy = self.harbor_policies(project)[name]
        self.api("DELETE", f"/projects/{project}/webhook/policies/{policy['id']}")

    def limit_storage(self, project: str, limit: int) -> None:
        found = self.harbor_project(project) or {}
        query = {"reference": "project", "reference_id": found["project_id"]}
        (quota,) = self.api("GET", "/quotas", params=query)
        self.api("PUT", f"/quotas/{quota['id']}", json={"hard": {"storage": limit}})

    # The operator

    def start_operator(self) -> None:
        self.operator = OperatorProcess.start(self.control_plane, self.directory, **SETTINGS)

    def restart_operator(self) -> None:
        if self.operator is None:
            raise DemoError("the operator was not started")
        self.operator.stop()
        self.operator.restart()

    def stop_operator(self) -> None:
        if self.operator is not None:
            self.operator.stop()

    def log_tail(self, lines: int = 20) -> list[str]:
        """Returns the end of the operator's log."""
        return self.operator.log.read_text(errors="replace").splitlines()[-lines:] if self.operator else []


@contextmanager
def set_up(screen: Screen, *, current: bool = False) -> Iterator[Stage]:
    """Starts everything except the operator; all ends with the block. With `current` it uses the kubeconfig's
    cluster."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="harborhook-demo-")))
        control_plane = _current(stack, directory, screen) if current else _own(stack, screen)
        screen.say("Starting a stand-in for Harbor and a receiver of webhooks ...")
        harbor = stack.enter_context(StandIn.start())
        receiver = stack.enter_context(Receiver.start())
        stage = Stage(screen, directory, control_plane, harbor, receiver)
        stack.callback(stage.stop_operator)
        fill_in(
            REPOSITORY / EXAMPLES,
            directory / EXAMPLES,
            harbor=harbor.url,
            password=harbor.admin[1],
            receiver=receiver.url,
        )
        yield stage


def _own(stack: ExitStack, screen: Screen) -> ControlPlane:
    screen.say("Starting a Kubernetes control plane ...")
    # Without the controller manager, which no published archive contains: the demonstration needs only its end of
    # namespaces.
    starting = ControlPlane.start(controllers=False, finish_namespaces=True, progress=screen.say)
    return stack.enter_context(starting)


def _current(stack: ExitStack, directory: Path, screen: Screen) -> CurrentCluster:
    cluster = CurrentCluster(directory)
    cluster.refuse_unless_empty()
    cluster.ask()
    screen.say(f"Using the cluster of context {cluster.context}; what is made there is removed at the end.")

    def remove() -> None:
        screen.say(f"Removing what was made in the cluster of context {cluster.context} ...")
        cluster.clean_up(REPOSITORY / "manifests/base")

    stack.callback(remove)
    return cluster
