"""Tests with a separate Harbor, which they may break: the world around it, its users and robots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.harbor.process import StandIn
from harness.harbor_fixtures import HarborUnderTest
from harness.world import World


def world_of(world: World, stand_in: StandIn, version: str = "2.16") -> World:
    """Returns a world with another Harbor in the same cluster and namespace; the connection to it is not declared
    yet."""
    harbor = HarborUnderTest(stand_in.url, *stand_in.admin, version, False, stand_in, None)
    return World(world.control_plane, harbor, world.operator, world.namespace, connection=f"own-{world._unique}")


@contextmanager
def own_harbor(world: World, stand_in: StandIn, version: str = "2.16", **connection: Any) -> Iterator[World]:
    """Yields that world with its connection declared and ready; removes the remains of the test."""
    found = world_of(world, stand_in, version)
    found.connect(found.connection, **connection)
    found.ready("ClusterHarborConnection", found.connection)
    yield found
    stand_in.clear_faults()
    stand_in.settings(jobservice="running")
    leave(found)


def leave(own: World) -> None:
    """Removes the remains of the test, while its Harbor still exists."""
    own.clean_up()
    for kind in ("WebhookPolicy", "HarborProject"):
        for item in own.all(kind):
            own.gone(kind, item["metadata"]["name"])
    own.delete("ClusterHarborConnection", own.connection)


def standing(world: World) -> StandIn:
    assert world.harbor.stand_in is not None
    return world.harbor.stand_in


def make_user(world: World, name: str, password: str) -> None:
    body = {"username": name, "email": f"{name}@example.com", "realname": name, "password": password}
    world.api.post("/users", json=body).raise_for_status()


def make_robot(world: World, *permissions: dict[str, Any]) -> tuple[str, str]:
    body = {"name": f"r{world._unique}", "level": "system", "duration": -1, "permissions": list(permissions)}
    made = world.api.post("/robots", json=body).raise_for_status().json()
    return made["name"], made["secret"]


def logins(world: World) -> int:
    return sum(1 for r in standing(world).requests() if r.path == "/c/login" and r.status == 200)


def access(resource: str, *actions: str) -> list[dict[str, str]]:
    return [{"resource": resource, "action": action} for action in actions]


EVERYTHING = (
    {"kind": "system", "namespace": "/", "access": access("project", "list", "create")},
    {
        "kind": "project",
        "namespace": "*",
        "access": [
            *access("project", "read", "update", "delete"),
            *access("quota", "read"),
            *access("notification-policy", "list", "read", "create", "update", "delete"),
        ],
    },
)


def use_credentials(world: World, username: str, password: str) -> None:
    world.secret(f"{world.connection}-credentials", "harborhook", username=username, password=password)


def connection(world: World) -> dict[str, Any]:
    return world.get("ClusterHarborConnection", world.connection)


def until_connection(world: World, reason: str) -> dict[str, Any]:
    return world.reason("ClusterHarborConnection", world.connection, reason)


def use_robot(world: World, username: str, secret: str, kind: str = "Robot") -> None:
    """Changes the connection's credentials and waits until they are in use."""
    use_credentials(world, username, secret)
    principal = {"name": username, "kind": kind}
    world.until(
        "ClusterHarborConnection", world.connection, lambda found: found["status"].get("principal") == principal, kind
    )
