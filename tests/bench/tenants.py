"""Scenarios with several tenants and several Harbors: how one of them affects the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from bench import attack
from bench.figures import Figure, Kind, percentiles
from bench.options import POLICIES
from bench.processes import peak_rss
from bench.results import Result, bottleneck, memory_of, resources_of, tables_of
from bench.spec_changes import delays, shares_of_operator, spec_changes
from bench.stage import Follower, Stage, wait
from harness.harbor.process import StandIn
from harness.world import Object

CHANGES_PER_SECOND = 1.0
SETTLE_SECONDS = 5.0
"""Seconds of the attack before the first change is measured."""
SOON = 5.0
"""Maximum seconds until a change reaches Harbor, even if other tenants attack."""
SLOW_SECONDS = 10.0
"""Seconds that a slow Harbor takes for each request about a project."""
CREATORS = "bench-creators"
"""Namespace of the many new resources; the measured changes are in another one."""
WANTED_CHANGES = 20
"""Minimum number of changes for a meaningful p99."""


def neighbour(stage: Stage, name: str) -> Result:
    """One tenant changes its specs, first undisturbed and then while another tenant attacks with everything it may
    declare."""
    changes = range(stage.options.numbers.attacked_changes)
    stage.restart_operator(allowed_harbor_hosts=attack.ALLOWED)
    _declare(stage, [stage.project_manifest(number) for number in changes])
    with attack.prepared(stage) as attacker:
        with stage.window() as peace:
            made = spec_changes(stage, changes, CHANGES_PER_SECOND, public=True)
        undisturbed, before = delays(made, peace.log), peak_rss(stage.operator.pid)
        with attack.under_way(attacker):
            time.sleep(SETTLE_SECONDS if stage.options.size != "tiny" else 0)
            with stage.window() as war:
                made = spec_changes(stage, changes, CHANGES_PER_SECOND, public=False)
            disturbed = delays(made, war.log)
        counts = attacker.counts()
    what = "from a spec change to its request to Harbor"
    result = Result(
        [
            *percentiles(name, f"{what}, undisturbed", undisturbed),
            *percentiles(name, f"{what}, attacked", disturbed, p99_most=SOON),
            Figure(name, "CPU of the operator, undisturbed", _share(peace.cpu, peace.seconds), Kind.SHOWN, "%"),
            Figure(name, "CPU of the operator, attacked", _share(war.cpu, war.seconds), Kind.SHOWN, "%"),
            Figure(name, "peak memory before the attack", before, Kind.MEMORY, "MB"),
            *memory_of(stage, name),
        ],
        {"The attack": counts, **tables_of(war)},
    )
    result.remarks += bottleneck(war)
    return result


def _share(cpu: dict[str, float], seconds: float) -> float:
    return 100 * cpu["operator"] / seconds


def _declare(stage: Stage, manifests: list[Object]) -> None:
    follower = stage.follow()
    stage.create(manifests)
    stage.until_ready(follower, len(manifests))


def shared(stage: Stage, name: str) -> Result:
    """Creates projects and policies over many connections, some to a slow Harbor, while specs of other projects
    change."""
    numbers = stage.options.numbers
    victims = range(numbers.shared_projects, numbers.shared_projects + numbers.changes)
    with StandIn.start(latency_ms=stage.options.latency_ms) as slow:
        _connect(stage, slow)
        _declare(stage, [stage.project_manifest(number) for number in victims])
        slow.set_fault({"path": "/projects"}, delay=SLOW_SECONDS)
        manifests = [_over_connections(stage, one) for one in stage.manifests(range(numbers.shared_projects), POLICIES)]
        healthy = {_key(one) for one in manifests if _connection(stage, _number(one)) >= numbers.slow_connections}
        follower = stage.follow()
        with stage.window() as window:
            creation = _Creation(stage, manifests, healthy)
            made = spec_changes(stage, creation.changes(victims), CHANGES_PER_SECOND, public=True)
            creation.finish()
        waited = delays(made, window.log)
        after = shares_of_operator(made, waited, follower.read())
        slow.clear_faults()
    return Result(
        [
            Figure(name, f"until all {len(healthy):,} healthy ones are Ready", creation.took, Kind.TIME, "s"),
            Figure(name, "healthy ones made Ready", len(healthy) / creation.took, Kind.RATE, "/s"),
            *percentiles(name, "from a spec change meanwhile to its request to Harbor", waited, p99_most=SOON),
            *percentiles(name, "of this after the API server's answer", after),
            Figure(name, "others Ready by then", creation.others, Kind.SHOWN),
            *resources_of(stage, name, window, len(healthy)),
        ],
        tables_of(window),
        bottleneck(window),
    )


def _connect(stage: Stage, slow: StandIn) -> None:
    """Creates all connections, the first ones to the slow Harbor, and the namespace of their resources."""
    stage.control_plane.create_namespace(CREATORS)
    limits = {"maxConcurrentRequests": 8, "requestsPerSecond": stage.options.requests_per_second}
    numbers = stage.options.numbers
    for number in range(numbers.connections):
        url = slow.url if number < numbers.slow_connections else stage.harbor.url
        stage.world.connect(f"shared-{number}", url=url, limits=limits)
    for number in range(numbers.connections):
        stage.world.ready("ClusterHarborConnection", f"shared-{number}")


def _over_connections(stage: Stage, manifest: Object) -> Object:
    manifest["metadata"]["namespace"] = CREATORS
    if manifest["kind"] == "HarborProject":
        name = f"shared-{_connection(stage, _number(manifest))}"
        manifest["spec"]["connectionRef"] = {"name": name}
    return manifest


def _connection(stage: Stage, project: int) -> int:
    return project % stage.options.numbers.connections


def _number(manifest: Object) -> int:
    """Returns the number of a project, or of a policy's project."""
    project = manifest["spec"].get("projectRef", manifest["metadata"])["name"]
    return int(project.rpartition("-")[2])


def _key(manifest: Object) -> tuple[str, str]:
    kinds = {"HarborProject": "harborprojects", "WebhookPolicy": "webhookpolicies"}
    return kinds[manifest["kind"]], manifest["metadata"]["name"]


class _Creation:
    """Creates many resources in a thread, and measures the time until those of healthy connections are Ready."""

    def __init__(self, stage: Stage, manifests: list[Object], healthy: set[tuple[str, str]]) -> None:
        self._stage = stage
        self._healthy = healthy
        self._number = len(manifests)
        self._follower: Follower = stage.follow()
        self._thread = threading.Thread(target=stage.create, args=(manifests,), name="creation", daemon=True)
        self._thread.start()
        self.took = 0.0
        self.others = 0

    def changes(self, victims: Iterable[int]) -> Iterable[int]:
        """Yields projects to change while resources are being created, and then a few more for a meaningful p99."""
        for made, number in enumerate(victims):
            if made >= WANTED_CHANGES and self._done():
                return
            yield number

    def _done(self) -> bool:
        return self._healthy <= self._follower.first_status().keys()

    def finish(self) -> None:
        self._thread.join()
        wait(self._done, "each resource of a healthy connection has a status", pause=0.1)
        late = self._not_ready()
        wait(lambda: not self._not_ready(), "each resource of a healthy connection is Ready", pause=1.0)
        statuses, born = self._follower.first_status(), self._follower.created()
        last = time.time() if late else max(statuses[key] for key in self._healthy)
        self.took = last - min(born.values())
        self.others = sum(key not in self._healthy for key in self._stage.ready_keys() & born.keys())

    def _not_ready(self) -> set[tuple[str, str]]:
        return self._healthy - self._stage.ready_keys()
