"""The operator under the roles that the chart renders: the API server's audit log shows that it uses each of their
rights and lacks none. docs/permissions.md has the rights as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import yaml

from harness import console
from harness.certificates import Authority
from harness.chart import NAMESPACE, Grant, Object, Values, grants, render
from harness.helm import Helm
from harness.installed_chart import QUICK, Cluster
from harness.paths import REPOSITORY
from harness.readme import blocks
from harness.trail import Trail
from harness.world import World, eventually, header_from, http_target, ready_condition

INSTALLATIONS: dict[str, Values] = {
    "cluster-wide": {},
    "watchSecrets: false": {"watchSecrets": False},
    "watchNamespaces": {"watchNamespaces": ["team-a"]},
}
TABLE = "\n".join
GLOBAL_SWITCH = "harborhook-global"
PLACES = {"": "the cluster", "team-a": "a watched namespace", NAMESPACE: "its own namespace", "default": "`default`"}
OPERATIONS = (REPOSITORY / "docs/operations.md").read_text()
PAGE = (REPOSITORY / "docs/permissions.md").read_text()


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_every_right_of_an_installation_is_used_and_none_is_missing(cluster: Cluster, name: str) -> None:
    trail = Trail()
    trail.started(cluster.control_plane, since=cluster.control_plane.audit_position())
    values = {**INSTALLATIONS[name], "globalSwitch": {"create": True, "enabled": True}}
    cluster.credentials()
    cluster.control_plane.kubectl("delete", "lease", "--all", "--namespace", NAMESPACE)
    cluster.install(values)
    cluster.install({**values, **cluster.connection()}, "upgrade")
    operator = cluster.operate()
    world = cluster.world(operator, "team-a")

    world.ready("ClusterHarborConnection", "default")
    everything_declared_and_deleted(world)
    lost_and_found(world)
    for kind, connection in (("ClusterHarborConnection", "default"), ("HarborConnection", "team")):
        examine(world, kind, connection)
    world.delete("HarborConnection", "team")
    operator.stop()  # ends its watches, so that the log has them

    assert trail.leaks() == []
    assert trail.new_refusals() == []
    rights = grants(render(cluster.helm, {"settings": QUICK, **values}))
    used = trail.used[operator.user]
    assert sorted(grant for grant in rights if not is_used(grant, used)) == []


def test_the_page_of_permissions_has_these_rights_as_a_table(helm: Helm) -> None:
    rights = {name: grants(render(helm, values)) for name, values in INSTALLATIONS.items()}

    assert table(rights) in PAGE


def test_the_documented_role_for_the_cluster_is_the_one_of_the_chart(helm: Helm) -> None:
    (text,) = (block for block in blocks(OPERATIONS, "yaml") if "harborhook-connections" in block)
    documented = [found for found in yaml.safe_load_all(text) if found["kind"] in ("ClusterRole", "ClusterRoleBinding")]
    one_of_several = render(helm, {"watchNamespaces": ["team-a"], "shard": {"name": "a"}})

    assert grants(documented) == {grant for grant in grants(one_of_several) if not grant[0]}


def table(rights: dict[str, set[Grant]]) -> str:
    """Returns a table with a row per place and resource, and a column per installation."""
    rows = sorted(
        {(list(PLACES).index(where), resource) for found in rights.values() for where, _, resource, *_ in found}
    )
    lines = [["where", "resource", *(f"`{name}`" if ":" in name else name for name in rights)], ["---"] * 5]
    for number, resource in rows:
        where = list(PLACES)[number]
        lines.append([PLACES[where], f"`{resource}`", *(verbs(found, where, resource) for found in rights.values())])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def verbs(rights: set[Grant], where: str, resource: str) -> str:
    found = {verb for namespace, _, other, _, verb in rights if (namespace, other) == (where, resource)}
    return ", ".join(f"`{verb}`" for verb in sorted(found)) or "-"


def everything_declared_and_deleted(world: World) -> None:
    """Declares objects over the chart's connection and over one of the team, with values from Secrets and
    ConfigMaps."""
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
        made_again(world, name)
        world.delete("WebhookPolicy", name)
        world.delete("HarborProject", name)


def made_again(world: World, project: str) -> None:
    """The operator recreates an object; before that it reads whether the resource still exists."""
    world.remove_project(project)
    eventually(lambda: world.harbor_policies(project), lambda: f"{project} is not made again")


def lost_and_found(world: World) -> None:
    """The connection's Harbor stops answering for a while, and the global switch is unreadable: both cause an Event."""
    world.config_map(GLOBAL_SWITCH, NAMESPACE, enabled="perhaps")
    assert world.harbor.stand_in is not None
    world.harbor.stand_in.set_fault({}, status=503)
    world.until("ClusterHarborConnection", "default", lambda found: ready_condition(found)["status"] != "True")
    world.harbor.stand_in.clear_faults()
    world.ready("ClusterHarborConnection", "default")
    eventually(lambda: about_the_switch(world), lambda: "no Event about the global switch")


def about_the_switch(world: World) -> bool:
    found = world.elsewhere(NAMESPACE).events(GLOBAL_SWITCH)
    return any(event["reason"] == "InvalidGlobalSwitch" for event in found)


def examine(world: World, kind: str, name: str) -> None:
    """Runs the command like a user in the operator's pod, with the operator's rights."""
    place = ["--namespace", world.namespace] if kind == "HarborConnection" else []
    ended = console.run(world.operator.kubeconfig, "doctor", "--connection", name, *place)
    assert ended.code == 0, ended


def is_used(grant: Grant, used: Iterable[tuple[str, Any]]) -> bool:
    namespace, _, resource, _, verb = grant
    return any((resource, verb) == right and namespace in ("", where) for where, right in used)
