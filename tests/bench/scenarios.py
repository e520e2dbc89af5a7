"""The scenarios, each a few steps on a stage and the figures that come of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

from bench.figures import Figure, Kind, percentiles
from bench.options import POLICIES, Size
from bench.processes import cpu_seconds, peak_rss, rss
from bench.results import (
    LASTTRIGGER,
    Result,
    bottleneck,
    memory_of,
    per_resource,
    resources_of,
    tables_of,
    without_polls,
)
from bench.spec_changes import delays, spec_changes
from bench.stage import MEASURED, Follower, Stage, Window, kind_of_request, kind_of_write, wait
from bench.tenants import neighbour, shared
from bench.writes import costs
from harness.control_plane.audit import AuditEntry
from harness.world import condition, http_target

OF_THE_CONNECTION = ("GET /systeminfo", "GET /users/current", "POST /c/login", "GET /c/login", "GET /c/log_out")
PAGES = ("GET /projects", "GET /registries", "GET /projects/{project}/webhook/events")
"""Requests that serve all resources of a connection together."""
SETTLE_SECONDS = 8.0
"""Seconds after the visits of a start until the operator has done the rest of the start, except for first polls."""
QUICK_DRIFT = 20
"""Drift interval in seconds that keeps the operator busy with drift checks all the time."""
CHANGES_PER_SECOND = 5.0
NOBODY = "http://127.0.0.1:9"
"""An address without a receiver."""
STATED_FOR = 5000
"""Maximum number of resources to which the target for a restart applies."""


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    projects: Callable[[Size], int]
    """Returns the number of projects (with four policies each) that must exist at the start, for a Size; 0: none."""
    run: Callable[[Stage, str], Result]
    needs_stand_in: str = ""
    """The reason why it cannot run with a real Harbor; empty if it can."""
    needs_fields: tuple[str, ...] = ()
    """Fields of the CRDs that it reads or sets; an older operator may lack them."""
    alone: bool = False
    """Whether it needs a cluster without other objects."""


@dataclass(frozen=True)
class Spell:
    """The operator's work during a part of an outage."""

    entries: Sequence[AuditEntry]
    cpu: float
    seconds: float

    @property
    def by_kind(self) -> Counter[str]:
        return Counter(map(kind_of_write, self.entries))

    @property
    def statuses(self) -> Counter[tuple[str, str]]:
        """Number of status writes of each project and policy."""
        written = (one for one in self.entries if one.resource in MEASURED and one.subresource == "status")
        return Counter((one.resource, one.name) for one in written)


# Creating


def create(stage: Stage, name: str) -> Result:
    """Creates all projects and policies at once, and waits until the last one is Ready."""
    number = stage.options.numbers.created
    manifests = stage.manifests(range(number), 1)
    with stage.window() as window:
        follower = stage.follow()
        took = stage.create(manifests)
        wait(lambda: len(follower.first_status()) >= len(manifests), "each resource has a status", pause=0.1)
        late = stage.not_ready()
        stage.until_ready(follower, len(manifests))
    statuses, born = follower.first_status(), follower.created()
    elapsed = max(statuses.values()) - min(born.values())
    ready = [statuses[key] - born[key] for key in statuses]
    policies = [statuses[key] - born[key] for key in statuses if key[0] == "webhookpolicies"]
    others = Counter(
        {
            kind: count
            for kind, count in window.requests.items()
            if kind not in (*OF_THE_CONNECTION, *PAGES, LASTTRIGGER, *_CREATIONS.values())
        }
    )
    result = Result(
        [
            Figure(name, "resources made Ready", len(manifests) / elapsed, Kind.RATE, "/s", least=150),
            Figure(name, "until the last one is Ready", elapsed, Kind.TIME, "s"),
            *percentiles(name, "from creation to Ready", ready),
            *percentiles(name, "from creation to Ready, policies only", policies),
            *_requests_per_resource(name, window, number),
            Figure(name, "other requests to Harbor, not shared", others.total(), Kind.COUNT, most=0),
            *_writes_per_resource(name, window, len(manifests)),
            Figure(name, "not Ready with their first status", late, Kind.COUNT, most=0),
            *resources_of(stage, name, window, len(manifests)),
        ],
        tables_of(window),
        [f"The API server took the {len(manifests)} resources within {took:.1f} s of these."],
    )
    result.remarks += bottleneck(window)
    return result


_CREATIONS = {"project": "POST /projects", "policy": "POST /projects/{project}/webhook/policies"}


def _requests_per_resource(name: str, window: Window, number: int) -> list[Figure]:
    return [
        Figure(name, f"requests to Harbor per new {what}", window.requests[kind] / number, Kind.COUNT, most=1)
        for what, kind in _CREATIONS.items()
    ]


def _writes_per_resource(name: str, window: Window, number: int) -> list[Figure]:
    own = sum(entry.resource in MEASURED for entry in window.entries)
    return [
        Figure(name, "writes to Kubernetes per new resource", own / number, Kind.COUNT, most=2),
        Figure(name, "Events per new resource", _events(window.writes) / number, Kind.COUNT, most=1),
    ]


def _events(writes: Counter[str]) -> int:
    return sum(count for kind, count in writes.items() if "events" in kind)


# Steady state


def restart(stage: Stage, name: str) -> Result:
    """Starts a new process that finds nothing to change."""
    projects = stage.populated
    follower = stage.follow()
    stage.restart_operator(wait=False)
    began = time.monotonic()
    with stage.window() as window:
        stage.operator.wait_until_ready()
        listed = time.monotonic() - began
        stage.until_visited(projects, projects * POLICIES)
        steady = time.monotonic() - began
        cpu = cpu_seconds(stage.operator.pid)
        time.sleep(SETTLE_SECONDS)
    writes = follower.by_operator()
    number = projects * (1 + POLICIES)
    most = 10 if number <= STATED_FOR else None
    result = Result(
        [
            Figure(name, f"until it is steady, {number:,} resources", steady, Kind.TIME, "s", most=most),
            Figure(name, "until /readyz", listed, Kind.TIME, "s"),
            Figure(name, "CPU of the operator until then", cpu, Kind.CPU, "s"),
            per_resource(name, cpu, number),
            Figure(name, "writes to Kubernetes", len(writes), Kind.COUNT, most=0),
            Figure(name, "writes to Harbor", window.harbor_writes, Kind.COUNT, most=0),
            Figure(name, "requests to Harbor", without_polls(window), Kind.PACED),
            *memory_of(stage, name),
        ],
        tables_of(window),
    )
    result.remarks += bottleneck(window)
    return result


def memory(stage: Stage, name: str) -> Result:
    """Measures memory after a start with a full drift check, and again after a while of work."""
    projects = stage.populated
    number = projects * (1 + POLICIES)
    stage.restart_operator(drift_interval=QUICK_DRIFT)
    stage.until_visited(projects, projects * POLICIES)
    after_start = peak_rss(stage.operator.pid)
    time.sleep(2.5 * QUICK_DRIFT if stage.options.size != "tiny" else 1)
    return Result(
        [
            Figure(name, f"peak memory after the start, {number:,} resources", after_start, Kind.MEMORY, "MB"),
            Figure(
                name, f"peak memory, {number:,} resources", peak_rss(stage.operator.pid), Kind.MEMORY, "MB", most=200
            ),
        ]
    )


def idle(stage: Stage, name: str) -> Result:
    """Measures a minute without changes, after the first polls of all projects, which belong to the start."""
    projects, seconds = stage.options.numbers.idle_projects, stage.options.numbers.idle_seconds
    stage.restart_operator()
    stage.until_visited(projects, projects * POLICIES)
    if stage.options.size != "tiny":
        wait(lambda: stage.polls() >= projects, "each project has been polled", pause=2.0)
    time.sleep(SETTLE_SECONDS)
    with stage.window() as window:
        time.sleep(seconds)
    polls = window.requests[LASTTRIGGER]
    allowed = projects * max(1.0, seconds / 60)
    lists = sum(count for kind, count in window.requests.items() if kind not in (LASTTRIGGER, *OF_THE_CONNECTION))
    return Result(
        [
            Figure(name, f"lasttrigger requests in {seconds:.0f} s", polls, Kind.PACED, most=allowed),
            Figure(name, "other requests to Harbor, without the connection's", lists, Kind.PACED),
            Figure(name, "writes to Kubernetes", window.writes.total(), Kind.COUNT, most=0),
            Figure(name, "writes to Harbor", window.harbor_writes, Kind.COUNT, most=0),
            Figure(name, "CPU of the operator", 100 * window.cpu["operator"] / window.seconds, Kind.SHOWN, "%"),
            Figure(name, "CPU seconds of the operator", window.cpu["operator"], Kind.CPU, "s"),
            per_resource(name, window.cpu["operator"], projects * (1 + POLICIES)),
            *memory_of(stage, name),
        ],
        tables_of(window),
    )


def undelivered(stage: Stage, name: str) -> Result:
    """Measures a minute before, and a minute after, many notifications of all policies have failed."""
    stand_in = stage.harbor.stand_in
    assert stand_in is not None
    projects, failures = stage.options.numbers.failing_projects, stage.options.numbers.failures
    for number in range(projects):
        for policy in range(POLICIES):
            target = {"targets": [http_target(f"{NOBODY}/{policy}")]}
            stage.world.patch("WebhookPolicy", f"{stage.prefix}-{number}-{policy}", {"spec": target})
    stage.restart_operator(status_interval=2)
    stage.until_visited(projects, projects * POLICIES)
    time.sleep(SETTLE_SECONDS)
    before, memory_before = _minute(stage), rss(stage.operator.pid)
    for number in range(projects):
        for event in range(failures):
            stand_in.happen("PUSH_ARTIFACT", f"{stage.prefix}-{number}", tag=f"v{event}")
    number = projects * POLICIES * failures
    wait(lambda: stage.undelivered() == number, f"{number} events are known to be undelivered", pause=2.0)
    time.sleep(SETTLE_SECONDS)
    after, memory_after = _minute(stage), rss(stage.operator.pid)
    return Result(
        [
            Figure(name, "CPU seconds of the operator in a minute before", before.cpu["operator"], Kind.CPU, "s"),
            Figure(name, f"CPU seconds in a minute, {number:,} undelivered", after.cpu["operator"], Kind.CPU, "s"),
            Figure(name, "requests to Harbor in a minute before", before.requests.total(), Kind.PACED),
            Figure(name, f"requests to Harbor, {number:,} undelivered", after.requests.total(), Kind.PACED),
            Figure(name, "writes to Kubernetes meanwhile", after.writes.total(), Kind.COUNT, most=0),
            Figure(name, "memory before", memory_before, Kind.SHOWN, "MB"),
            Figure(name, f"memory with {number:,} undelivered", memory_after, Kind.MEMORY, "MB"),
            *memory_of(stage, name),
        ],
        tables_of(after),
    )


def _minute(stage: Stage) -> Window:
    with stage.window() as window:
        time.sleep(stage.options.numbers.idle_seconds)
    return window


HELM_SECRET_BYTES = 700_000
"""Bytes of a release in one Secret; the limit of Kubernetes is 1 MB."""


def writes(stage: Stage, name: str) -> Result:
    """Measures what the writes of a new resource cost the API server and etcd, made in several ways."""
    return Result(costs(stage, name))


def helm(stage: Stage, name: str) -> Result:
    """Measures memory before and after Helm has stored its releases in the cluster, across a restart and a change of
    all."""
    number = stage.options.numbers.helm_secrets
    stage.restart_operator()
    time.sleep(SETTLE_SECONDS)
    without = peak_rss(stage.operator.pid)
    stage.create_helm_secrets(number, HELM_SECRET_BYTES)
    time.sleep(SETTLE_SECONDS)
    created = peak_rss(stage.operator.pid)
    stage.restart_operator()
    time.sleep(SETTLE_SECONDS)
    restarted = peak_rss(stage.operator.pid)
    return Result(
        [
            Figure(name, "peak memory without them", without, Kind.MEMORY, "MB"),
            Figure(name, f"peak memory while {number} Secrets are created", created, Kind.MEMORY, "MB"),
            Figure(name, "peak memory after a restart", restarted, Kind.MEMORY, "MB"),
            Figure(name, "what they cost", max(created, restarted) - without, Kind.SHOWN, "MB", most=10),
        ]
    )


# Outages, and changes during other work


def outage(stage: Stage, name: str) -> Result:
    """Harbor is down for a minute."""
    stand_in = stage.harbor.stand_in
    assert stand_in is not None
    projects, seconds = stage.populated, stage.options.numbers.outage_seconds
    number = projects * (1 + POLICIES)
    stage.restart_operator()
    stage.until_visited(projects, projects * POLICIES)
    follower = stage.follow()
    clock = stage.cpu_clock()
    stand_in.kill()
    began = time.monotonic()
    time.sleep(seconds)
    down = Spell(follower.by_operator(), clock.used()["operator"], time.monotonic() - began)
    stand_in.restart()
    back, clock = time.monotonic(), stage.cpu_clock()
    recovery = stage.follow()
    wait(lambda: _recovered(stage, recovery, down.statuses.keys()), "everything is Ready again", pause=0.2)
    recovered = time.monotonic() - back
    asked = Counter(kind_of_request(one.method, one.path) for one in stand_in.requests())
    wait(lambda: stage.not_ready() == 0, "everything is Ready again", pause=0.5)
    again = Spell(recovery.by_operator(), clock.used()["operator"], recovered)
    most, events = max(down.statuses.values(), default=0), _events(down.by_kind)
    share = 100 * down.cpu / down.seconds
    return Result(
        [
            Figure(name, "most status writes to one resource", most, Kind.COUNT, most=1),
            Figure(name, f"status writes during it, {number:,} resources", down.statuses.total(), Kind.PACED),
            Figure(
                name,
                "Events during it",
                events,
                Kind.PACED,
            ),
            Figure(name, "CPU of the operator during it", share, Kind.SHOWN, "%", most=10),
            Figure(name, "CPU seconds of the operator during it", down.cpu, Kind.CPU, "s"),
            Figure(name, "recovered after", recovered, Kind.TIME, "s", most=15),
            Figure(name, "CPU seconds of the operator for that", again.cpu, Kind.CPU, "s"),
            *memory_of(stage, name),
        ],
        {
            "Writes to Kubernetes, Harbor down": dict(down.by_kind),
            "Writes to Kubernetes, recovery": dict(again.by_kind),
            "Requests to Harbor, recovery": dict(asked),
        },
    )


def _recovered(stage: Stage, follower: Follower, touched: Set[tuple[str, str]]) -> bool:
    """Whether each resource that reported the outage has written its status again, and the connection works."""
    if not touched <= follower.first_status().keys():
        return False
    connection = stage.world.get("ClusterHarborConnection", "default")
    return condition(connection, "Ready").get("status") == "True"


def change(stage: Stage, name: str) -> Result:
    """Changes specs while the operator checks everything for drift."""
    projects = stage.populated
    changes = min(projects, stage.options.numbers.changes)
    stage.restart_operator(drift_interval=QUICK_DRIFT)
    stage.until_visited(projects, projects * POLICIES)
    time.sleep(QUICK_DRIFT if stage.options.size != "tiny" else 1)  # waits for the first drift check
    visits = stage.visits()
    with stage.window() as window:
        made = spec_changes(stage, range(changes), CHANGES_PER_SECOND, public=True)
    visits = stage.visits() - visits
    result = Result(
        [
            *percentiles(name, "from a spec change to its request to Harbor", delays(made, window.log), p99_most=1.0),
            Figure(name, "visits meanwhile", visits / window.seconds, Kind.SHOWN, "/s"),
            *resources_of(stage, name, window, len(made)),
        ],
        tables_of(window),
    )
    result.remarks += bottleneck(window)
    for project in made:
        stage.world.patch("HarborProject", project, {"spec": {"public": False}})
    wait(lambda: stage.not_ready() == 0, "the changes have been taken back", pause=1.0)
    return result


SCENARIOS = (
    Scenario("create", "projects and policies created at once", lambda size: 0, create),
    Scenario("helm", "Secrets of Helm, 700 kB each", lambda size: 0, helm),
    Scenario("idle", "a minute in which nothing happens", lambda size: size.idle_projects, idle),
    Scenario("restart", "a restart with nothing to do", lambda size: size.projects, restart),
    Scenario(
        "change",
        "spec changes during a look at everything",
        lambda size: size.projects,
        change,
        "a real Harbor does not tell when it was asked",
    ),
    Scenario("outage", "Harbor is away for a while", lambda size: size.projects, outage, "it has to be stopped"),
    Scenario("memory", "memory with many resources", lambda size: size.projects, memory),
    Scenario(
        "undelivered",
        "many notifications that could not be delivered",
        lambda size: size.failing_projects,
        undelivered,
        "it would take hours",
        ("webhookpolicies.status.deliveries.undelivered",),
    ),
    Scenario(
        "neighbour",
        "spec changes of one tenant while another one attacks",
        lambda size: 0,
        neighbour,
        "a real Harbor does not tell when it was asked",
        ("harborconnections.spec.url", "webhookpolicies.status.endpointTest"),
        alone=True,
    ),
    Scenario(
        "shared",
        "many connections, some of them to a slow Harbor",
        lambda size: 0,
        shared,
        "it would have to be slow",
        alone=True,
    ),
    Scenario("writes", "what each write costs the API server", lambda size: 0, writes, alone=True),
    Scenario("restart-many", "a restart with very many resources", lambda size: size.many_projects, restart),
)
"""Scenarios with the same population follow each other and share it."""
