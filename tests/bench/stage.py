"""The stage of a scenario: a control plane, a Harbor (stand-in or real) and the operator, and their measurements.

Scenarios create objects by many parallel requests. The API server's audit log records each write with its time, the
stand-in's log each request, and /proc CPU and memory. No measurement sends requests to the operator while it works.
"""

from __future__ import annotations

import http.client
import json
import re
import secrets
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from bench.checkout import Checkout
from bench.options import POLICIES, Options
from bench.processes import CpuClock
from harness.control_plane import ControlPlane, audit
from harness.control_plane.audit import AuditEntry
from harness.crd_fixtures import install_crds
from harness.harbor.process import RequestRecord, StandIn
from harness.harbor_fixtures import HarborUnderTest, real_harbor, real_harbor_under_test, standing_in
from harness.operator_process import OperatorProcess
from harness.world import GROUP, OPERATOR_USER, PLURALS, Object, World, http_target, ready_condition

Say = Callable[[str], None]

NAMESPACE = "bench"
MEASURED = ("harborprojects", "webhookpolicies")
PATIENCE = 900.0
"""Timeout in seconds, far above the time that any step takes."""
CONNECTIONS = 16
"""Concurrent requests with which the benchmark creates objects."""


class BenchError(Exception):
    """A scenario did not finish."""


@dataclass
class Window:
    """Requests, writes and CPU use between two moments."""

    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
    """CPU seconds by process."""
    requests: Counter[str] = field(default_factory=Counter)
    """Requests to Harbor by method and endpoint class."""
    log: Sequence[RequestRecord] = ()
    """Each request, if Harbor is a stand-in."""
    entries: Sequence[AuditEntry] = ()
    """The operator's writes to Kubernetes."""

    @property
    def writes(self) -> Counter[str]:
        """Writes to Kubernetes by kind."""
        return Counter(kind_of_write(entry) for entry in self.entries)

    @property
    def harbor_writes(self) -> int:
        """Number of requests that are meant to change something; a login changes nothing."""
        return sum(
            count
            for name, count in self.requests.items()
            if not name.startswith(("GET ", "HEAD ")) and "/c/" not in name
        )


class Stage:
    """A control plane, a Harbor and an operator to measure; created by `set_up`."""

    def __init__(
        self, options: Options, say: Say, directory: Path, control_plane: ControlPlane, checkout: Checkout
    ) -> None:
        self.options = options
        self.say = say
        self.directory = directory
        self.control_plane = control_plane
        self.checkout = checkout
        self.harbor: HarborUnderTest
        self.operator: OperatorProcess
        self.world: World
        self.populated = 0
        """Number of existing projects, each with its policies."""
        self.prefix = f"bench-{secrets.token_hex(3)}"

    # The operator

    def restart_operator(self, *, wait: bool = True, **settings: object) -> None:
        """Starts a new process with these settings and otherwise the defaults, before anything is measured."""
        self.stop_operator()
        self.operator = self.world.operator = self.make_operator(settings)
        self.operator.restart(wait=wait)

    def make_operator(self, settings: dict[str, object]) -> OperatorProcess:
        """Returns a process that is not started yet."""
        package, python = self.checkout.package, self.checkout.python
        return OperatorProcess(self.control_plane, self.directory, settings, package=package, python=python)

    def stop_operator(self) -> None:
        """Stops the operator with SIGTERM. A process that is too busy to end is killed, since a benchmark does not test
        shutdown."""
        try:
            self.operator.stop()
        except subprocess.TimeoutExpired:
            self.say("The operator does not end within 30 s of SIGTERM; it is killed.")
            self.operator.kill()

    def visits(self) -> float:
        """Returns the number of visits to resources that the operator has made."""
        values = self.operator.metrics().items()
        return sum(value for name, value in values if name.startswith("harborhook_reconcile_total{"))

    def polls(self) -> int:
        """Returns the number of polls that the operator has made: none of a project twice within a minute."""
        return sum(count for kind, count in self._requests_by_metrics().items() if kind.endswith("/lasttrigger"))

    @property
    def pids(self) -> dict[str, int]:
        found = {"operator": self.operator.pid}
        if self.harbor.stand_in is not None:
            with suppress(RuntimeError):
                found["Harbor stand-in"] = self.harbor.stand_in.pid
        for server in (self.control_plane.api_server, self.control_plane.etcd):
            if server.pid is not None:
                found[server.name] = server.pid
        return found

    def undelivered(self) -> int:
        """Returns the number of events that the operator knows to be undelivered."""
        values = self.operator.metrics().items()
        return int(sum(value for name, value in values if name.startswith("harborhook_webhook_undelivered{")))

    # Measuring

    @contextmanager
    def window(self) -> Iterator[Window]:
        """Measures during the block, and fills the window in at its end. The operator must not be restarted inside
        it."""
        found = Window()
        stand_in = self.harbor.stand_in
        before = Counter[str]() if stand_in else self._requests_by_metrics()
        if stand_in is not None:
            stand_in.clear_requests()
        position = self.control_plane.audit_position()
        clock, started = self.cpu_clock(), time.monotonic()
        yield found
        found.seconds, found.cpu = time.monotonic() - started, clock.used()
        found.entries = self.control_plane.writes(OPERATOR_USER, since=position)
        if stand_in is None:
            found.requests = self._requests_by_metrics() - before
        else:
            found.log = [one for one in stand_in.requests() if not one.path.startswith("/_standin/")]
            found.requests = Counter(kind_of_request(one.method, one.path, one.query) for one in found.log)

    def cpu_clock(self) -> CpuClock:
        return CpuClock.begin(self.pids)

    def _requests_by_metrics(self) -> Counter[str]:
        found: Counter[str] = Counter()
        try:
            values = self.operator.metrics()
        except OSError:  # the operator is still starting
            return found
        for name, value in values.items():
            labels = dict(re.findall(r'(\w+)="([^"]*)"', name))
            if name.startswith("harborhook_harbor_requests_total{"):
                found[f"{labels['method']} {labels['endpoint']}"] += int(value)
        return found

    def follow(self) -> Follower:
        return Follower(self.control_plane.paths.audit_log, self.control_plane.audit_position())

    # Creating resources

    def project_manifest(self, number: int, **spec: Any) -> Object:
        return {
            "kind": "HarborProject",
            "metadata": {"name": f"{self.prefix}-{number}", "namespace": NAMESPACE},
            "spec": {"deletionPolicy": "Delete", "public": False, **spec},
        }

    def policy_manifest(self, project: int, number: int) -> Object:
        name = f"{self.prefix}-{project}"
        return {
            "kind": "WebhookPolicy",
            "metadata": {"name": f"{name}-{number}", "namespace": NAMESPACE},
            "spec": {
                "projectRef": {"name": name},
                "eventTypes": ["PUSH_ARTIFACT", "SCANNING_FAILED"],
                "targets": [http_target(f"https://ci.example.com/hook/{number}")],
            },
        }

    def manifests(self, projects: Iterable[int], policies: int) -> list[Object]:
        numbers = list(projects)
        found = [self.project_manifest(number) for number in numbers]
        return found + [self.policy_manifest(project, number) for project in numbers for number in range(policies)]

    def create(self, manifests: Sequence[Object]) -> float:
        """Creates all objects as fast as the API server accepts them. Returns the seconds that this took."""
        started = time.monotonic()
        waiting, lock = iter(manifests), threading.Lock()

        def take() -> Object | None:
            with lock:
                return next(waiting, None)

        with ThreadPoolExecutor(CONNECTIONS) as threads:
            for done in [threads.submit(self._create_from, take) for _ in range(CONNECTIONS)]:
                done.result()
        return time.monotonic() - started

    def _create_from(self, take: Callable[[], Object | None]) -> None:
        """Creates objects over one connection until none are left."""
        server = urlsplit(self.control_plane.url)
        trust = ssl.create_default_context(cafile=str(self.control_plane.ca_file))
        headers = {"Authorization": f"Bearer {self.control_plane.admin_token}", "Content-Type": "application/json"}
        with closing(http.client.HTTPSConnection(server.hostname or "", server.port, context=trust)) as connection:
            while (manifest := take()) is not None:
                path = _path(manifest["kind"], manifest["metadata"]["namespace"])
                connection.request("POST", path, json.dumps({"apiVersion": GROUP, **manifest}), headers)
                answer = connection.getresponse()
                said = answer.read()
                if answer.status != 201:
                    raise BenchError(f"{manifest['metadata']['name']}: {said.decode()}")

    def create_helm_secrets(self, number: int, size: int) -> None:
        """Creates Secrets like Helm's releases: one revision in each."""
        path = f"/api/v1/namespaces/{NAMESPACE}/secrets"
        for revision in range(1, number + 1):
            self.control_plane.admin.create(
                path,
                {
                    "metadata": {
                        "name": f"sh.helm.release.v1.shop.v{revision}",
                        "labels": {"owner": "helm", "name": "shop", "version": str(revision)},
                    },
                    "type": "helm.sh/release.v1",
                    "stringData": {"release": secrets.token_hex(size // 8 * 3)},
                },
            )

    def populate(self, projects: int) -> None:
        """Ensures that this many projects with their policies exist, all Ready, before the measurement."""
        self.say(f"Declaring {projects} projects with {POLICIES} policies each ...")
        follower = self.follow()
        manifests = self.manifests(range(projects), POLICIES)
        self.create(manifests)
        self.until_ready(follower, len(manifests))
        # Projects count their policies a little later.
        summary = f"{POLICIES}/{POLICIES}"
        wait(lambda: self._counted(summary) == projects, "all projects have counted their policies", pause=2.0)
        self.populated = projects

    def _counted(self, summary: str) -> int:
        return sum(found["status"].get("webhooks", {}).get("summary") == summary for found in self.all("HarborProject"))

    def until_ready(self, follower: Follower, number: int) -> None:
        """Waits until this many resources have a status, and then until all of them are Ready."""
        wait(lambda: len(follower.first_status()) >= number, f"{number} resources have a status", pause=0.1)
        wait(lambda: self.not_ready() == 0, "all resources are Ready", pause=1.0)

    def not_ready(self) -> int:
        """Returns the number of resources that are not Ready for their present spec."""
        return sum(not _is_ready(found) for kind in ("HarborProject", "WebhookPolicy") for found in self.all(kind))

    def ready_keys(self) -> set[tuple[str, str]]:
        """Returns the projects and policies of all namespaces that are Ready for their spec, by kind and name."""
        kinds = ("HarborProject", "WebhookPolicy")
        everything = ((kind, one) for kind in kinds for one in self.all(kind, namespace=None))
        return {(PLURALS[kind], one["metadata"]["name"]) for kind, one in everything if _is_ready(one)}

    def all(self, kind: str, *, namespace: str | None = NAMESPACE) -> Iterator[Object]:
        """Yields all objects of a kind in a namespace (None: in all), page by page: one list of thousands would slow
        down the API server."""
        token = ""
        while True:
            page = self.control_plane.admin.request("GET", f"{_path(kind, namespace)}?limit=500&continue={token}")
            yield from page["items"]
            token = page["metadata"].get("continue", "")
            if not token:
                return

    def until_visited(self, projects: int, policies: int) -> None:
        """Waits until the restarted operator has visited everything and its queue is empty."""

        def done() -> bool:
            values = self.operator.metrics()
            visits = {
                kind: values.get(f'harborhook_reconcile_total{{kind="{kind}",result="done"}}', 0.0)
                for kind in ("HarborProject", "WebhookPolicy")
            }
            everybody = visits["HarborProject"] >= projects and visits["WebhookPolicy"] >= policies
            return everybody and values["harborhook_queue_depth"] == 0

        wait(done, "everything has been visited", pause=1.0)  # reading the metrics costs the operator CPU too

    # Cleaning up

    def leave(self) -> None:
        """Deletes the created objects from a real Harbor; a stand-in loses its data when it ends."""
        if not self.harbor.is_real:
            return
        self.say("Removing what was made in Harbor ...")
        for kind in ("WebhookPolicy", "HarborProject"):
            self.control_plane.admin.request("DELETE", _path(kind, NAMESPACE))
            wait(lambda kind=kind: not list(self.all(kind)), f"no {kind} is left", pause=1.0)  # type: ignore[misc]


def _path(kind: str, namespace: str | None) -> str:
    within = f"namespaces/{namespace}/" if namespace else ""
    return f"/apis/{GROUP}/{within}{PLURALS[kind]}"


class Follower:
    """Reads the audit log from a position; each call continues where the last one ended."""

    def __init__(self, log: Path, position: int) -> None:
        self._log = log
        self._position = position
        self.entries: list[AuditEntry] = []

    def read(self) -> list[AuditEntry]:
        """Returns all entries since the start."""
        with self._log.open("rb") as lines:
            lines.seek(self._position)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                self._position += len(line)
                entry = audit.parse(line)
                if entry is not None:
                    self.entries.append(entry)
        return self.entries

    def by_operator(self) -> list[AuditEntry]:
        return [entry for entry in self.read() if entry.user == OPERATOR_USER]

    def first_status(self) -> dict[tuple[str, str], float]:
        """Returns the time of the operator's first status write of each project and policy."""
        return self._first(lambda entry: entry.user == OPERATOR_USER and entry.subresource == "status")

    def created(self) -> dict[tuple[str, str], float]:
        """Returns the creation time of each of them."""
        return self._first(lambda entry: entry.verb == "create")

    def _first(self, wanted: Callable[[AuditEntry], bool]) -> dict[tuple[str, str], float]:
        found: dict[tuple[str, str], float] = {}
        for entry in self.read():
            if entry.resource in MEASURED and wanted(entry) and 200 <= entry.code < 300:
                found.setdefault((entry.resource, entry.name), entry.answered)
        return found


@contextmanager
def set_up(options: Options, say: Say, checkout: Checkout, **settings: object) -> Iterator[Stage]:
    """Starts all processes with a working connection, and stops them at the end of the block."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="harborhook-bench-")))
        say("Starting a control plane, a Harbor and the operator ...")
        control_plane = stack.enter_context(ControlPlane.start(progress=say))
        install_crds(control_plane, checkout.base)
        control_plane.create_namespace(NAMESPACE)
        stage = Stage(options, say, directory, control_plane, checkout)
        stage.harbor = _harbor(stack, options)
        stage.operator = stage.make_operator(settings)
        stack.callback(stage.stop_operator)
        stage.world = World(control_plane, stage.harbor, stage.operator, NAMESPACE)
        stack.callback(stage.world.api.close)
        stage.operator.restart()
        limits = {
            "maxConcurrentRequests": options.max_concurrent_requests,
            "requestsPerSecond": options.requests_per_second,
        }
        stage.world.connect("default", limits=limits)
        stage.world.ready("ClusterHarborConnection", "default")
        yield stage
        stage.leave()


def _harbor(stack: ExitStack, options: Options) -> HarborUnderTest:
    if real_harbor():
        return real_harbor_under_test()
    found = StandIn.start(latency_ms=options.latency_ms, hash_cost_ms=options.hash_cost_ms)
    return standing_in(stack.enter_context(found), "2.16")


def wait(attempt: Callable[[], bool], what: str, *, pause: float, patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not attempt():
        if time.monotonic() > end:
            raise BenchError(f"after {patience:.0f} s this does not hold: {what}")
        time.sleep(pause)


def kind_of_write(entry: AuditEntry) -> str:
    """Counts writes by kind, such as `patch webhookpolicies/status` or `create events`; refused ones separately."""
    what = f"{entry.resource}/{entry.subresource}" if entry.subresource else entry.resource
    refused = f" ({entry.code})" if entry.code >= 400 else ""
    return f"{entry.verb} {what}{refused}"


_CLASSES = (
    (
        r"/projects/[^/]+/webhook/policies/[^/]+/executions.*",
        "/projects/{project}/webhook/policies/{policy}/executions",
    ),
    (r"/projects/[^/]+/webhook/policies/[^/]+", "/projects/{project}/webhook/policies/{policy}"),
    (r"/projects/[^/]+/(webhook/\w+|summary|\w+)", r"/projects/{project}/\1"),
    (r"/projects/[^/]+", "/projects/{project}"),
    (r"/quotas/[^/]+", "/quotas/{quota}"),
)


def kind_of_request(method: str, path: str, query: str = "") -> str:
    """Returns the endpoint class, such as `GET /projects/{project}`, as in the operator's own metrics."""
    bare = path.removeprefix("/api/v2.0")
    for pattern, name in _CLASSES:
        matched = re.fullmatch(pattern, bare)
        if matched:
            return f"{method} {matched.expand(name)}"
    return f"{method} {bare}"


def _is_ready(found: Object) -> bool:
    ready = ready_condition(found)
    return ready.get("status") == "True" and ready.get("observedGeneration") == found["metadata"]["generation"]
