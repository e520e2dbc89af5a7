"""The faults of the soak. Each is a context: the fault is active inside it and repaired at its end.

Edits continue meanwhile. Users do not connect through the proxy, so they can always reach the cluster. Harbor's UI
fails together with Harbor.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from bench.soak import edits
from bench.soak.invariants import differences, until
from bench.soak.scene import Scene

Seconds = float
Broken = Callable[[Scene, Seconds], AbstractContextManager[None]]


@dataclass(frozen=True)
class Fault:
    name: str
    broken: Broken
    seconds: Seconds
    """Duration of the fault."""
    brief: Seconds
    """Duration in a scaled-down soak."""
    harbor_works: bool = True
    cluster_works: bool = True
    """Whether users, who bypass the proxy, can write to the cluster."""


# Between the operator and the API server


def _answers(status: int, method: str = "*", path: str = ".", *, lost: bool = False, cut: bool = False) -> Broken:
    @contextmanager
    def broken(scene: Scene, _: Seconds) -> Iterator[None]:
        scene.proxy.fail(method, path, status, lost=lost)
        if cut:
            scene.proxy.cut_watches()
        yield
        scene.proxy.heal()

    return broken


@contextmanager
def _api_hangs(scene: Scene, _: Seconds) -> Iterator[None]:
    scene.proxy.hang()
    yield
    scene.proxy.heal()


@contextmanager
def _watches_stall(scene: Scene, seconds: Seconds) -> Iterator[None]:
    """Streams go silent without an end. The operator has to notice that if it lasts long enough."""
    scene.proxy.stall_watches()
    yield
    if seconds > KOPF_INACTIVITY:
        until(scene, lambda: differences(scene), KOPF_INACTIVITY, "a silent watch is not noticed")
    scene.proxy.cut_watches()


KOPF_INACTIVITY = 75.0
"""Seconds after which a watch without a sign of life is reopened, plus a margin."""


@contextmanager
def _watch_too_old(scene: Scene, _: Seconds) -> Iterator[None]:
    """Objects are deleted while the watches are cut, and the position of the watches is too old afterwards."""
    scene.proxy.fail("GET", "/harborhook.io/", 503)
    scene.proxy.cut_watches()
    edits.delete_policy(scene)
    edits.delete_policy(scene)
    yield
    edits.delete_project(scene)
    scene.proxy.heal()
    for plural in ("harborprojects", "webhookpolicies", "clusterharborconnections"):
        scene.proxy.fail("GET", f"/{plural}.*watch=true", 410, times=1)


@contextmanager
def _disk_is_full(scene: Scene, _: Seconds) -> Iterator[None]:
    with scene.control_plane.full_disk():
        yield


# Harbor


@contextmanager
def _harbor_down(scene: Scene, _: Seconds) -> Iterator[None]:
    scene.stand_in.kill()
    yield
    scene.stand_in.restart()


@contextmanager
def _harbor_hangs(scene: Scene, _: Seconds) -> Iterator[None]:
    """Connections stay open without answers. Harbor carries out requests after their senders have stopped waiting."""
    scene.may_be_late = True
    pid = scene.stand_in.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _harbor(*faults: dict[str, object]) -> Broken:
    @contextmanager
    def broken(scene: Scene, _: Seconds) -> Iterator[None]:
        for fault in faults:
            rest = {name: value for name, value in fault.items() if name != "match"}
            match = fault.get("match", {"path": "/api/"})
            assert isinstance(match, dict)
            scene.stand_in.set_fault(match, **rest)
        yield
        scene.stand_in.clear_faults()

    return broken


@contextmanager
def _sessions_lost(scene: Scene, _: Seconds) -> Iterator[None]:
    scene.stand_in.restart()
    scene.stand_in.expire_sessions()
    scene.stand_in.expire_csrf()
    yield


@contextmanager
def _old_backup(scene: Scene, _: Seconds) -> Iterator[None]:
    """Harbor returns to its state before the last edits: newer objects are gone and their ids are reused, and objects
    deleted since then are back without an owner."""
    until(scene, lambda: differences(scene), 180, "not as declared before the backup")
    backup = scene.state_file.with_suffix(".backup")
    shutil.copyfile(scene.state_file, backup)
    policies = {project: scene.world.harbor_policies(project) for project in scene.model.projects}
    owners = {
        (project, policy["id"]): resource.resource
        for project, found in policies.items()
        for policy in found
        for resource in scene.model.policies_of(project)
        if resource.name == policy["name"]
    }
    strangers, strange_projects = dict(scene.model.strangers), set(scene.model.strange_projects)
    yield
    scene.stand_in.kill()
    shutil.copyfile(backup, scene.state_file)
    gone = policies.keys() - scene.model.projects.keys()
    scene.model.strange_projects = strange_projects | gone
    scene.model.strangers = strangers
    for project, found in policies.items():
        for policy in found:
            if owners.get((project, policy["id"])) not in scene.model.policies:
                scene.model.strangers[project, policy["id"]] = policy
    scene.stand_in.restart()


# The operator


def _clock_is_off(by: Seconds) -> Broken:
    """Its wall clock jumps to a wrong time, and later back."""

    @contextmanager
    def broken(scene: Scene, _: Seconds) -> Iterator[None]:
        scene.operator.set_clock(by)
        yield
        scene.operator.set_clock(0)

    return broken


def _ends(number: signal.Signals) -> Broken:
    """It ends at random moments, several times, and is started again."""

    @contextmanager
    def broken(scene: Scene, seconds: Seconds) -> Iterator[None]:
        end = time.monotonic() + seconds / 2
        while True:
            for _ in range(scene.rng.randint(1, 4)):
                edits.act(scene)
            time.sleep(scene.rng.uniform(0, 0.6))
            scene.end_life(number)
            edits.act(scene)
            scene.begin_life()
            if time.monotonic() > end:
                break
        yield

    return broken


FAULTS = (
    Fault("the API server answers 503", _answers(503, cut=True), 130, 1),
    Fault("the API server answers 401", _answers(401, cut=True), 20, 1),
    Fault("the API server answers 403", _answers(403, cut=True), 30, 1),
    Fault("the API server hangs", _api_hangs, 45, 1),
    Fault("the watches go silent", _watches_stall, 80, 1),
    Fault("deletions in a gap, then 410", _watch_too_old, 10, 1),
    Fault("patches are refused with 500", _answers(500, "PATCH"), 40, 1),
    Fault("patches are carried out, but answered with 500", _answers(500, "PATCH", lost=True), 20, 1),
    Fault("patches meet a 409", _answers(409, "PATCH"), 20, 1),
    Fault("etcd's disk is full", _disk_is_full, 30, 1, cluster_works=False),
    Fault("Events are refused", _answers(403, "POST", "/events"), 15, 1),
    Fault("Harbor is down", _harbor_down, 40, 1, harbor_works=False),
    Fault("Harbor hangs with open connections", _harbor_hangs, 45, 1, harbor_works=False),
    Fault("Harbor is slow", _harbor({"delay": 3.0}), 30, 1, harbor_works=False),
    Fault("Harbor answers 429", _harbor({"status": 429, "headers": {"Retry-After": "1"}}), 20, 1, harbor_works=False),
    Fault("Harbor answers 500", _harbor({"status": 500}), 30, 1, harbor_works=False),
    Fault(
        "Harbor carries writes out, but drops the answers",
        _harbor({"match": {"method": "POST", "path": "/projects"}, "close": True, "after": True}),
        15,
        1,
        harbor_works=False,
    ),
    Fault(
        "Harbor has a page of HTML in front of it", _harbor({"html": True, "status": 200}), 20, 1, harbor_works=False
    ),
    Fault("Harbor restarts and forgets its sessions", _sessions_lost, 15, 1),
    Fault("Harbor is restored from an old backup", _old_backup, 25, 1),
    Fault("the clock is an hour behind", _clock_is_off(-3600), 20, 1),
    Fault("the clock is a day ahead", _clock_is_off(24 * 3600), 20, 1),
    Fault("the operator ends by SIGTERM", _ends(signal.SIGTERM), 20, 0),
    Fault("the operator is killed", _ends(signal.SIGKILL), 40, 0),
)
"""The faults that end the operator come last, so that its memory can be observed through all others."""
