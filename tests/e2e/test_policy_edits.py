"""Three hundred random edits, in the cluster and in Harbor, end with Harbor as declared, and then no writes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from harness.world import Object, World, eventually, header_from, http_target, ready_condition

EDITS = 300
RESTARTS = 4
SEED = 20251125
NAMES = ("ci", "chat", "audit", "slow")
SECRETS = ("one", "two", "three")
EVENTS = ("PUSH_ARTIFACT", "PULL_ARTIFACT", "DELETE_ARTIFACT", "SCANNING_COMPLETED", "QUOTA_EXCEED")


@dataclass
class Edits:
    """Makes random edits and tracks the expected state of Harbor."""

    world: World
    project: str
    luck: random.Random
    specs: dict[str, Object] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        for name in SECRETS:
            self.change_secret(name)
        for name in NAMES:
            self.specs[name] = {"targets": [http_target()], "eventTypes": ["PUSH_ARTIFACT"], "description": ""}
            self._apply(name)
            self.world.ready("WebhookPolicy", name)

    def make(self) -> None:
        """One edit of a random kind to a random policy."""
        edit: Callable[[str], None] = self.luck.choice(
            [self.edit_spec, self.edit_spec, self.edit_spec, self.edit_in_ui, self.edit_in_ui, self.remove_in_ui]
        )
        if self.luck.random() < 0.2:
            self.change_secret(self.luck.choice(SECRETS))
        else:
            edit(self.luck.choice(NAMES))

    # In the cluster

    def change_secret(self, name: str) -> None:
        self.values[name] = f"value-{self.luck.randrange(10**6)}"
        self.world.secret(
            name, header=f"Bearer {self.values[name]}", url=f"https://ci.example.com/{self.values[name]}?x=y"
        )

    def edit_spec(self, name: str) -> None:
        changes: Object = {
            "policyName": f"{name}-{self.luck.randrange(3)}",
            "description": self.luck.choice(["", "one", "two"]),
            "enabled": self.luck.random() < 0.7,
            "eventTypes": self.luck.sample(EVENTS, self.luck.randrange(1, 4)),
            "targets": [self._target() for _ in range(self.luck.randrange(1, 4))],
        }
        for changed in self.luck.sample(sorted(changes), self.luck.randrange(1, 3)):
            self.specs[name][changed] = changes[changed]
        self._apply(name)

    def _target(self) -> Object:
        target: Object = {"type": self.luck.choice(["http", "http", "slack"])}
        if self.luck.random() < 0.4:
            target["addressFrom"] = header_from(self.luck.choice(SECRETS), "url")
        else:
            target["address"] = f"https://ci.example.com/{self.luck.randrange(5)}"
        if target["type"] == "http" and self.luck.random() < 0.5:
            target["authHeaderFrom"] = header_from(self.luck.choice(SECRETS))
        if target["type"] == "http" and self.luck.random() < 0.3:
            target["payloadFormat"] = "CloudEvents"
        if self.luck.random() < 0.3:
            target["verifyRemoteCertificate"] = False
        return target

    def _apply(self, name: str) -> None:
        self.world.policy(name, self.project, **self.specs[name])

    # In Harbor's UI

    def edit_in_ui(self, name: str) -> None:
        policy = self._in_harbor(name)
        if policy is None:
            return
        changes: Object = {
            "enabled": not policy.get("enabled", False),
            "event_types": self.luck.sample(EVENTS, 2),
            "targets": [http_target(auth_header="Bearer typed-by-hand")],
            "description": "by hand",
        }
        changed = self.luck.choice(sorted(changes))
        path = f"/projects/{self.project}/webhook/policies/{policy['id']}"
        # It may have been removed since it was read.
        self.world.api.put(path, json={**policy, changed: changes[changed]})

    def remove_in_ui(self, name: str) -> None:
        policy = self._in_harbor(name)
        if policy is not None:
            self.world.api.delete(f"/projects/{self.project}/webhook/policies/{policy['id']}")

    def _in_harbor(self, name: str) -> Object | None:
        found = [one for one in self.world.harbor_policies(self.project) if one["creator"].endswith(f"/{name}")]
        return found[0] if found else None

    # The end

    def expected(self) -> list[Object]:
        return sorted((self._expected(name) for name in NAMES), key=lambda one: str(one["name"]))

    def _expected(self, name: str) -> Object:
        spec = self.specs[name]
        return {
            "name": spec.get("policyName", name),
            "description": spec["description"],
            "enabled": spec.get("enabled", True),
            "event_types": sorted(spec["eventTypes"]),
            "targets": [self._expected_target(target) for target in spec["targets"]],
        }

    def _expected_target(self, target: Object) -> Object:
        def value(source: Object, shape: str) -> str:
            return shape.format(self.values[source["secretKeyRef"]["name"]])

        address = target.get("address") or value(target["addressFrom"], "https://ci.example.com/{}?x=y")
        shown: Object = {"type": target["type"], "address": address}
        if target["type"] == "http":
            shown["payload_format"] = target.get("payloadFormat", "Default")
        if "authHeaderFrom" in target:
            shown["auth_header"] = value(target["authHeaderFrom"], "Bearer {}")
        if target.get("verifyRemoteCertificate") is False:
            shown["skip_cert_verify"] = True
        return shown

    def actual(self) -> list[Object]:
        policies = sorted(self.world.harbor_policies(self.project), key=lambda one: str(one["name"]))
        return [
            {
                "name": one["name"],
                "description": one.get("description", ""),
                "enabled": one.get("enabled", False),
                "event_types": sorted(one["event_types"]),
                "targets": one["targets"],
            }
            for one in policies
        ]


def test_after_three_hundred_edits_harbor_is_as_the_specs_say_and_nothing_more_is_written(own: World) -> None:
    project = own.project_name()
    own.project(project)
    edits = Edits(own, project, random.Random(SEED))
    edits.begin()
    restarts = edits.luck.sample(range(EDITS), RESTARTS)
    for number in range(EDITS):
        edits.make()
        if number in restarts:
            restart(own, graceful=number % 2 == 0)
        time.sleep(edits.luck.choice([0, 0, 0, 0.05, 0.2]))
    eventually(lambda: edits.actual() == edits.expected(), lambda: f"{edits.actual()} instead of {edits.expected()}")
    for name in NAMES:
        own.ready("WebhookPolicy", name)
    own.reconcile_all()
    own.counted(project)
    with own.counting() as writes:
        own.reconciled_since_restart(project)
    assert (writes.harbor, writes.kubernetes) == ([], [])
    assert edits.actual() == edits.expected()
    assert {ready_condition(one)["status"] for one in own.all("WebhookPolicy")} == {"True"}


def restart(world: World, *, graceful: bool) -> None:
    if graceful:
        world.operator.stop()
    else:
        world.operator.kill()
    world.operator.restart()
