"""The invariants after a fault: everything is as declared, and stays so without a single write."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

from bench.soak.model import Fields, policy_differences, project_differences
from bench.soak.scene import NAMESPACE, Scene
from harness.control_plane import RefusedError
from harness.world import OPERATOR_USER, Object, ready_condition

PROGRESS_EVERY = 10.0
"""Seconds between two reports on the wait."""
LIBRARY = "library"
"""The project that every Harbor has from the start."""


class BrokenInvariantError(Exception):
    """An invariant does not hold within the time allowed."""


def check(scene: Scene, patience: float) -> float:
    """Waits until everything is as declared. Returns the seconds that it took."""
    started = time.monotonic()
    until(scene, lambda: differences(scene), patience, "not as declared")
    return time.monotonic() - started


def check_quiet(scene: Scene, patience: float, quiet: float) -> None:
    """Waits until the operator has written nothing for `quiet` seconds, then checks the invariants again."""
    # Deliveries in progress, and counts that are written a little later, may still be reported.
    until(scene, lambda: writes_within(scene, quiet), patience, f"never quiet for {quiet:.0f} s")
    until(scene, lambda: differences(scene), 5, "not as declared any more")


def clear_late(scene: Scene) -> list[str]:
    """Removes objects that Harbor created after the operator had given up the request and the resource had been
    deleted. The operator cannot know of them. Returns their names."""
    found = []
    for project in sorted({*scene.model.projects, *scene.deleted}):
        for policy in scene.world.harbor_policies(project):
            if policy["name"] in scene.deleted:
                scene.world.api.delete(f"/projects/{project}/webhook/policies/{policy['id']}")
                found.append(f"policy {policy['name']}")
        if project in scene.deleted and scene.world.api.delete(f"/projects/{project}").is_success:
            found.append(f"project {project}")
    return found


def until(scene: Scene, look: Callable[[], list[str]], patience: float, complaint: str) -> None:
    end = time.monotonic() + patience
    told = time.monotonic()
    while True:
        found = look()
        if found and time.monotonic() - told > PROGRESS_EVERY:
            told = time.monotonic()
            scene.say("   not yet: " + "; ".join(found[:3]))
        scene.sample()
        if not found:
            return
        if time.monotonic() > end:
            raise BrokenInvariantError(f"{complaint}, after {patience:.0f} s: " + "; ".join(found[:10]))
        time.sleep(0.3)


def differences(scene: Scene) -> list[str]:
    """Returns all differences from the declared state."""
    try:
        return [*_of_projects(scene), *_of_policies(scene), *_of_strangers(scene), *_left_over(scene)]
    except (httpx.HTTPError, RefusedError, OSError) as error:
        return [f"{type(error).__name__}: {error}"]


def writes_within(scene: Scene, seconds: float) -> list[str]:
    """Returns the operator's writes to Harbor and Kubernetes within this many seconds."""
    position, known = scene.control_plane.audit_position(), len(scene.stand_in.requests())
    time.sleep(seconds)
    entries = scene.control_plane.writes(OPERATOR_USER, since=position)
    found = [f"{entry.verb} {entry.resource}/{entry.subresource} {entry.name}" for entry in entries]
    requests = [one for one in scene.stand_in.requests()[known:] if one.writes and not one.path.startswith("/c/")]
    return found + [f"{request.method} {request.path}" for request in requests]


def _of_projects(scene: Scene) -> list[str]:
    found = {item["metadata"]["name"]: item for item in scene.world.all("HarborProject")}
    complaints = []
    for name, project in scene.model.projects.items():
        in_harbor = scene.world.harbor_project(name)
        quota = scene.world.quota(name) if in_harbor and project.quota is not None else None
        complaints += project_differences(project, in_harbor, quota)
        complaints += _status(found.get(name), "projectID", in_harbor and in_harbor["project_id"], f"project {name}")
    return complaints


def _of_policies(scene: Scene) -> list[str]:
    """Checks that each declared policy exists once, as declared, and with the id in its status; and that no other
    policy is in its project."""
    found = {item["metadata"]["name"]: item for item in scene.world.all("WebhookPolicy")}
    complaints = []
    for project in scene.model.projects:
        in_harbor = scene.world.harbor_policies(project)
        declared = scene.model.policies_of(project)
        known = {number for owner, number in scene.model.strangers if owner == project}
        for policy in declared:
            same = [one for one in in_harbor if one["name"] == policy.name and one["id"] not in known]
            if len(same) != 1:
                complaints.append(f"policy {policy.resource}: {len(same)} times in Harbor as {policy.name!r}")
                continue
            header = scene.model.secrets[policy.secret] if policy.secret else ""
            complaints += policy_differences(policy, same[0], header)
            complaints += _status(found.get(policy.resource), "policyID", same[0]["id"], f"policy {policy.resource}")
        names = {policy.name for policy in declared}
        others = [one["name"] for one in in_harbor if one["name"] not in names and one["id"] not in known]
        others = [name for name in others if not _is_late(scene, name)]
        complaints += [f"project {project}: policy {name!r} is nobody's" for name in others]
    return complaints


def _status(found: Object | None, field: str, number: object, what: str) -> list[str]:
    """Checks that the status is correct: Ready for the present spec, with the id in Harbor."""
    if found is None:
        return [f"{what} is not in the cluster"]
    status, ready = found.get("status") or {}, ready_condition(found)
    complaints = []
    if ready.get("status") != "True":
        complaints.append(f"{what}: Ready is {ready.get('reason')}: {ready.get('message')}")
    if status.get("observedGeneration") != found["metadata"]["generation"]:
        complaints.append(f"{what}: the status is of generation {status.get('observedGeneration')}")
    if status.get(field) != number:
        complaints.append(f"{what}: {field} is {status.get(field)}, not {number}")
    return complaints


def _of_strangers(scene: Scene) -> list[str]:
    complaints = []
    for (project, number), wanted in scene.model.strangers.items():
        answer = scene.world.api.get(f"/projects/{project}/webhook/policies/{number}")
        if not answer.is_success:
            complaints.append(f"the stranger {wanted['name']} is gone ({answer.status_code})")
        elif not _same(answer.json(), wanted):
            complaints.append(f"the stranger {wanted['name']} has been changed: {answer.json()}")
    gone = [project for project in scene.model.strange_projects if scene.world.harbor_project(project) is None]
    return complaints + [f"the strange project {project} is gone" for project in sorted(gone)]


def _same(found: Fields, wanted: Fields) -> bool:
    return {**found, "creation_time": ""} == {**wanted, "creation_time": ""}


def _left_over(scene: Scene) -> list[str]:
    """Checks that deleted objects are gone, in the cluster and in Harbor."""
    model = scene.model
    kinds = {"HarborProject": model.projects.keys(), "WebhookPolicy": model.policies.keys()}
    complaints = [
        f"{kind} {item['metadata']['name']} is still in namespace {NAMESPACE}: {ready_condition(item).get('reason')}"
        for kind, declared in kinds.items()
        for item in scene.world.all(kind)
        if item["metadata"]["name"] not in declared
    ]
    known = {*model.projects, *model.strange_projects, LIBRARY}
    page = scene.world.api.get("/projects", params={"page_size": 100}).raise_for_status().json()
    others = [one["name"] for one in page if one["name"] not in known and not _is_late(scene, one["name"])]
    return complaints + [f"project {name} is nobody's" for name in others]


def _is_late(scene: Scene, name: str) -> bool:
    return scene.may_be_late and name in scene.deleted
