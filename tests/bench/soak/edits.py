"""The edits that users make: they declare, change and delete resources in the cluster, and edit objects in Harbor's UI.

Each edit changes the model along with the world. The operator corrects changes of managed objects in Harbor, so the
model keeps their declared state. Unmanaged objects must stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx

from bench.soak.model import Policy, Project
from bench.soak.scene import Scene
from harness.world import http_target

MOST_PROJECTS = 8
MOST_POLICIES = 24
MOST_STRANGERS = 8
EVENT_TYPES = (
    "PUSH_ARTIFACT",
    "PULL_ARTIFACT",
    "DELETE_ARTIFACT",
    "SCANNING_COMPLETED",
    "SCANNING_FAILED",
    "QUOTA_WARNING",
)
MEBIBYTE = 1024 * 1024

Edit = Callable[[Scene], str]
"""Makes one edit and returns its description; "" if there was no object to edit."""


def begin(scene: Scene) -> None:
    """Creates the first objects, and a project that the operator does not manage."""
    for _ in range(3):
        create_project(scene)
    for _ in range(6):
        create_policy(scene)
    strange = scene.next_name("strange")
    scene.world.make_project(strange)
    scene.model.strange_projects.add(strange)
    _make_stranger(scene, strange)


def act(scene: Scene, *, harbor_works: bool = True, cluster_works: bool = True) -> str:
    """Makes one random edit of those that are possible now."""
    possible = [*(IN_THE_CLUSTER if cluster_works else []), *(IN_HARBOR if harbor_works else [])]
    edits, weights = zip(*possible, strict=True)
    (edit,) = scene.rng.choices(edits, weights)
    scene.edits += 1
    done: str = edit(scene)
    return done


# In the cluster


def create_project(scene: Scene) -> str:
    if len(scene.model.projects) >= MOST_PROJECTS:
        return ""
    quota = scene.rng.choice([None, None, scene.rng.randrange(1, 100) * MEBIBYTE])
    project = Project(scene.next_name("team"), scene.rng.random() < 0.5, quota)
    scene.model.projects[project.name] = project
    scene.world.project(project.name, **project.spec())
    return f"create project {project.name}"


def create_policy(scene: Scene) -> str:
    model, rng = scene.model, scene.rng
    if not model.projects or len(model.policies) >= MOST_POLICIES:
        return ""
    name = scene.next_name("hook")
    policy = Policy(
        resource=name,
        project=rng.choice(sorted(model.projects)),
        name=name,
        events=_some_events(scene),
        address=f"{scene.receiver.url}/{rng.choice(['ok', 'ok', 'status/500'])}/{name}",
        secret=rng.choice([None, *sorted(model.secrets)]) if model.secrets else None,
    )
    model.policies[name] = policy
    _declare(scene, policy)
    return f"create policy {name}"


def change_project(scene: Scene) -> str:
    if not scene.model.projects:
        return ""
    project = scene.model.projects[scene.rng.choice(sorted(scene.model.projects))]
    project.public = not project.public
    if scene.rng.random() < 0.3:
        project.quota = scene.rng.randrange(1, 100) * MEBIBYTE
    scene.world.project(project.name, **project.spec())
    return f"change project {project.name}"


def change_policy(scene: Scene) -> str:
    policy = _some_policy(scene)
    if policy is None:
        return ""
    what = scene.rng.choice(["events", "description", "enabled", "name", "secret"])
    if what == "events":
        policy.events = _some_events(scene)
    elif what == "description":
        policy.description = f"change {scene.edits}"
    elif what == "enabled":
        policy.enabled = not policy.enabled
    elif what == "name":
        policy.name = scene.next_name(policy.resource)
    else:
        policy.secret = scene.rng.choice([None, *sorted(scene.model.secrets)])
    _declare(scene, policy)
    return f"change {what} of policy {policy.resource}"


def delete_policy(scene: Scene) -> str:
    policy = _some_policy(scene)
    if policy is None:
        return ""
    del scene.model.policies[policy.resource]
    scene.deleted.add(policy.name)
    scene.world.delete("WebhookPolicy", policy.resource, wait=False)
    return f"delete policy {policy.resource}"


def delete_project(scene: Scene) -> str:
    """Deletes a project and its policies, in any order, as `kubectl delete` of a directory does."""
    if len(scene.model.projects) < 3:
        return ""
    name = scene.rng.choice(sorted(scene.model.projects))
    doomed = [("HarborProject", name), *(("WebhookPolicy", one.resource) for one in scene.model.policies_of(name))]
    scene.rng.shuffle(doomed)
    scene.deleted |= {name, *(one.name for one in scene.model.policies_of(name))}
    scene.model.forget_project(name)
    for kind, resource in doomed:
        scene.world.delete(kind, resource, wait=False)
    return f"delete project {name} and its {len(doomed) - 1} policies"


def change_secret(scene: Scene) -> str:
    """Creates a Secret or rotates one."""
    known = sorted(scene.model.secrets)
    name = scene.rng.choice(known) if len(known) >= 3 else scene.next_name("secret")
    scene.model.secrets[name] = f"Bearer {scene.rng.getrandbits(64):x}"
    scene.world.secret(name, header=scene.model.secrets[name])
    return f"change secret {name}"


# In Harbor, without the operator


def click_project(scene: Scene) -> str:
    name = scene.rng.choice([*sorted(scene.model.projects), ""])
    if not name or scene.world.harbor_project(name) is None:
        return ""
    public = str(scene.rng.random() < 0.5).lower()
    scene.world.change_project(name, public=public)
    return f"in Harbor: make project {name} public={public}"


def click_policy(scene: Scene) -> str:
    """Changes or deletes a managed policy."""
    policy = _some_policy(scene)
    found = _in_harbor(scene, policy) if policy else None
    if policy is None or found is None:
        return ""
    path = f"/projects/{policy.project}/webhook/policies/{found['id']}"
    if scene.rng.random() < 0.3:
        scene.world.api.delete(path)
        return f"in Harbor: delete policy {policy.name}"
    scene.world.api.put(path, json={**found, "enabled": not found["enabled"], "description": "changed in the UI"})
    return f"in Harbor: change policy {policy.name}"


def remove_project(scene: Scene) -> str:
    """Deletes a managed project with everything in it; unmanaged policies in it are lost."""
    name = scene.rng.choice([*sorted(scene.model.projects), ""])
    if not name or scene.world.harbor_project(name) is None:
        return ""
    for policy in scene.world.harbor_policies(name):
        scene.world.api.delete(f"/projects/{name}/webhook/policies/{policy['id']}")
    if scene.world.api.delete(f"/projects/{name}").is_success:
        scene.model.forget_strangers(name)
        return f"in Harbor: delete project {name}"
    known = {policy["id"] for policy in scene.world.harbor_policies(name)}
    for key in [key for key in scene.model.strangers if key[0] == name and key[1] not in known]:
        del scene.model.strangers[key]
    return f"in Harbor: delete the policies of project {name}"


def make_stranger(scene: Scene) -> str:
    projects = sorted({*scene.model.projects, *scene.model.strange_projects})
    name = scene.rng.choice(projects)
    if len(scene.model.strangers) >= MOST_STRANGERS or scene.world.harbor_project(name) is None:
        return ""
    _make_stranger(scene, name)
    return f"in Harbor: make a policy in {name} that nobody declares"


def push(scene: Scene) -> str:
    """Causes an event in Harbor, which sends notifications."""
    name = scene.rng.choice([*sorted(scene.model.projects), ""])
    if not name or scene.world.harbor_project(name) is None:
        return ""
    scene.stand_in.happen(scene.rng.choice(["PUSH_ARTIFACT", "SCANNING_COMPLETED"]), name)
    return f"in Harbor: something happens in {name}"


IN_THE_CLUSTER: list[tuple[Edit, int]] = [
    (create_project, 2),
    (create_policy, 5),
    (change_project, 3),
    (change_policy, 6),
    (delete_policy, 2),
    (delete_project, 1),
    (change_secret, 2),
]
IN_HARBOR: list[tuple[Edit, int]] = [
    (click_project, 2),
    (click_policy, 3),
    (remove_project, 1),
    (make_stranger, 1),
    (push, 3),
]


def _declare(scene: Scene, policy: Policy) -> None:
    scene.world.apply({"kind": "WebhookPolicy", "metadata": {"name": policy.resource}, "spec": policy.spec()})


def _some_policy(scene: Scene) -> Policy | None:
    names = sorted(scene.model.policies)
    return scene.model.policies[scene.rng.choice(names)] if names else None


def _some_events(scene: Scene) -> list[str]:
    return scene.rng.sample(EVENT_TYPES, scene.rng.randint(1, 3))


def _in_harbor(scene: Scene, policy: Policy) -> dict[str, object] | None:
    found = scene.world.harbor_policies(policy.project)
    return next((one for one in found if one["name"] == policy.name), None)


def _make_stranger(scene: Scene, project: str) -> None:
    name = scene.next_name("stranger")
    try:
        number = scene.world.make_policy(project, name, targets=[http_target(f"{scene.receiver.url}/ok/{name}")])
    except httpx.HTTPStatusError:  # the project has just been deleted
        return
    found = scene.world.api.get(f"/projects/{project}/webhook/policies/{number}")
    if found.is_success:
        scene.model.strangers[project, number] = found.json()
