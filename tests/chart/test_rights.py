"""The operator under the roles that the chart renders: the API server's audit log shows that it uses each of their
rights, and lacks none. docs/permissions.md has the rights as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from harness import console
from harness.certificates import Authority
from harness.chart import Grant, Object, Values, grants, render
from harness.installed_chart import QUICK, Cluster
from harness.paths import REPOSITORY
from harness.trail import Trail
from harness.world import World, header_from, http_target

INSTALLATIONS: dict[str, Values] = {
    "cluster-wide": {},
    "watchSecrets: false": {"watchSecrets": False},
    "watchNamespaces": {"watchNamespaces": ["team-a"]},
}
TABLE = "\n".join
PAGE = (REPOSITORY / "docs/permissions.md").read_text()


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_every_right_of_an_installation_is_used_and_none_is_missing(cluster: Cluster, name: str) -> None:
    trail = Trail()
    trail.started(cluster.control_plane, since=cluster.control_plane.audit_position())
    values = {**INSTALLATIONS[name], "globalSwitch": {"create": True, "enabled": True}}
    cluster.credentials()
    cluster.install(values)
    cluster.install({**values, **cluster.connection()}, "upgrade")
    operator = cluster.operate()
    world = cluster.world(operator, "team-a")

    everything_declared_and_deleted(world)
    for kind, connection in (("ClusterHarborConnection", "default"), ("HarborConnection", "team")):
        examine(world, kind, connection)
    world.delete("HarborConnection", "team")
    operator.stop()  # which ends its watches, and so logs them

    assert trail.leaks() == []
    assert trail.new_refusals() == []
    rights = grants(render(cluster.helm, {"settings": QUICK, **values}))
    used = trail.used[operator.user]
    assert sorted(grant for grant in rights if not is_used(grant, used)) == []


def everything_declared_and_deleted(world: World) -> None:
    """Over the connection of the chart and over one of the team's own, with values out of Secrets and ConfigMaps."""
    world.secret("team", username=world.harbor.username, password=world.harbor.password, header="Bearer c4nary-header")
    world.config_map("authorities", world.namespace, **{"ca.crt": Authority().bundle})
    spec: Object = {
        "url": world.harbor.url,
        "allowInsecureHTTP": True,
        "credentialsSecretRef": {"name": "team"},
        "tls": {"caBundleRef": {"kind": "ConfigMap", "name": "authorities"}},
    }
    world.apply({"kind": "HarborConnection", "metadata": {"name": "team"}, "spec": spec})
    names = {"default": world.project_name(), "team": world.project_name("own")}
    world.project(names["default"])
    world.project(names["team"], connectionRef={"kind": "HarborConnection", "name": "team"})
    for name in names.values():
        world.policy(name, name, targets=[http_target(authHeaderFrom=header_from("team"))])
    for name in names.values():
        world.ready("WebhookPolicy", name)
        world.delete("WebhookPolicy", name)
        world.delete("HarborProject", name)


def examine(world: World, kind: str, name: str) -> None:
    """As somebody in the operator's pod does, with the operator's rights."""
    place = ["--namespace", world.namespace] if kind == "HarborConnection" else []
    ended = console.run(world.operator.kubeconfig, "doctor", "--connection", name, *place)
    assert ended.code == 0, ended


def is_used(grant: Grant, used: Iterable[tuple[str, Any]]) -> bool:
    namespace, _, resource, _, verb = grant
    return any((resource, verb) == right and namespace in ("", where) for where, right in used)
