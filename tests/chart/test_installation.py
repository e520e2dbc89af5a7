"""The chart on a real API server: installed, upgraded, rolled back and uninstalled by Helm, with a running operator.

There is no node, so the operator runs outside the cluster, but with the arguments and variables of its Deployment, the
ServiceAccount and the roles of the release.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess

import pytest

from harborhook import __version__
from harness.chart import NAMESPACE, RELEASE, one, render
from harness.chart_files import CHART, REPOSITORY
from harness.installed_chart import QUICK, Cluster
from harness.readme import blocks, commands
from harness.world import FINALIZER, GROUP, PLURALS, header_from, http_target

INSTALL = (REPOSITORY / "docs/install.md").read_text()
(ANOTHER_NAME,) = [part for part in INSTALL.split("\n### ") if part.startswith("Under another release name")]
READMES = [(REPOSITORY / page).read_text() for page in ("README.md", "helm-chart/README.md")]


def test_a_release_is_installed_upgraded_and_rolled_back_while_resources_stay_as_they_are(cluster: Cluster) -> None:
    cluster.credentials()
    assert "run this again as an upgrade" in cluster.install(cluster.connection())
    assert "ClusterHarborConnection" not in cluster.in_release()
    assert "kubectl get chconn default" in cluster.install(cluster.connection(), "upgrade")

    operator = cluster.operate()
    world = cluster.world(operator, "team-a")
    connection = world.ready("ClusterHarborConnection", "default")
    name = world.project_name()
    world.project(name)
    world.policy("ci", name)
    before = world.ready("HarborProject", name), world.ready("WebhookPolicy", "ci")

    changed = {**cluster.connection(limits={"requestsPerSecond": 20}), "settings": {**QUICK, "workers": 3}}
    cluster.install(changed, "upgrade")
    upgraded = world.ready("ClusterHarborConnection", "default")
    assert upgraded["metadata"]["uid"] == connection["metadata"]["uid"]
    assert upgraded["spec"]["limits"]["requestsPerSecond"] == 20
    operator.stop()
    world.operator = cluster.operate()

    cluster.helm("rollback", RELEASE, "1", "--namespace", NAMESPACE)
    assert "ClusterHarborConnection" not in cluster.in_release()
    kept = world.get("ClusterHarborConnection", "default")
    assert kept["metadata"]["uid"] == connection["metadata"]["uid"]
    assert "deletionTimestamp" not in kept["metadata"]
    world.reconcile_all()
    after = world.get("HarborProject", name), world.get("WebhookPolicy", "ci")
    for was, found in zip(before, after, strict=True):
        assert found["metadata"]["uid"] == was["metadata"]["uid"]
        assert found["metadata"]["generation"] == was["metadata"]["generation"]
    assert after[1]["status"]["policyID"] == before[1]["status"]["policyID"]


def test_uninstalled_too_early_nothing_is_lost_and_in_order_only_the_kinds_stay(cluster: Cluster) -> None:
    cluster.credentials()
    cluster.install()
    cluster.install(cluster.connection(), "upgrade")
    operator = cluster.operate()
    world = cluster.world(operator, "team-a")
    name = world.project_name()
    world.project(name)
    for policy in ("ci", "forgotten", "kept"):
        world.policy(policy, name)
    for policy in ("ci", "forgotten", "kept"):
        world.ready("WebhookPolicy", policy)

    # Too early: resources deleted now wait for the operator.
    operator.stop()
    assert "These resources were kept" in cluster.uninstall()
    assert world.exists("ClusterHarborConnection", "default")
    for policy in ("ci", "forgotten"):
        world.delete("WebhookPolicy", policy, wait=False)
    waiting = world.get("WebhookPolicy", "ci")["metadata"]
    assert waiting["deletionTimestamp"]
    assert waiting["finalizers"] == [FINALIZER]

    # By hand, for an operator that will not return: Harbor keeps the policy.
    kubectl = cluster.control_plane.kubectl
    (by_hand,) = [command for command in commands(INSTALL) if command.startswith("kubectl patch whp ci ")]
    kubectl(*shlex.split(by_hand.replace(" ci ", " forgotten "))[1:])
    world.gone("WebhookPolicy", "forgotten")
    assert [policy["name"] for policy in world.harbor_policies(name)] == ["ci", "forgotten", "kept"]

    # Installed again, the operator continues.
    cluster.install(cluster.connection())
    world.operator = operator = cluster.operate()
    world.gone("WebhookPolicy", "ci")
    assert [policy["name"] for policy in world.harbor_policies(name)] == ["forgotten", "kept"]

    # In order: resources, connections, the operator.
    kubectl("delete", "whp,hproj", "--all", "--all-namespaces")
    assert world.harbor_project(name) is None
    kubectl("delete", "hconn", "--all", "--all-namespaces")
    kubectl("delete", "chconn", "--all")
    operator.stop()
    cluster.uninstall()
    assert cluster.kinds() == set(PLURALS)
    owned = "deployments,serviceaccounts,clusterroles,clusterrolebindings,roles,rolebindings,configmaps"
    left = kubectl("get", owned, "--all-namespaces", "--selector=app.kubernetes.io/part-of=harborhook", "--output=name")
    assert left.stdout == ""
    kubectl("delete", "crd", "--selector=app.kubernetes.io/part-of=harborhook", "--wait=false")
    cluster.remove_kinds()


@pytest.mark.parametrize("helm_is_old", [False, True], ids=["take-ownership", "annotated"])
def test_a_release_of_another_name_and_namespace_takes_over_what_the_first_has_left(
    cluster: Cluster, helm_is_old: bool
) -> None:
    cluster.credentials()
    cluster.install()
    cluster.install(cluster.connection(), "upgrade")
    world = cluster.world(operator := cluster.operate(), "team-a")
    connection = world.ready("ClusterHarborConnection", "default")
    name = world.project_name()
    world.project(name)
    world.policy("ci", name)
    before = [world.ready("HarborProject", name), world.ready("WebhookPolicy", "ci")]
    operator.stop()
    cluster.uninstall()

    values = cluster.connection(credentials={"existingSecret": "harbor", "namespace": NAMESPACE})
    (cluster.directory / "values.yaml").write_text(json.dumps({"settings": QUICK, **values}))
    shutil.copytree(CHART, cluster.directory / "helm-chart")
    taking, *annotating, installing = commands(ANOTHER_NAME)
    refused = cluster.helm(*in_directory(cluster, installing), check=False)
    assert "invalid ownership metadata" in refused.stderr
    for command in [*annotating, installing] if helm_is_old else [taking]:
        as_written(cluster, command)

    place = ("registry-hooks", "--namespace", "platform")
    assert "kind: ClusterHarborConnection" in cluster.helm("get", "manifest", *place).stdout
    cluster.helm("upgrade", place[0], CHART, *place[1:], "--reuse-values")
    world.operator = cluster.operate("platform", "registry-hooks-harborhook")
    assert world.ready("ClusterHarborConnection", "default")["metadata"]["uid"] == connection["metadata"]["uid"]
    world.reconcile_all()
    after = [world.get("HarborProject", name), world.get("WebhookPolicy", "ci")]
    assert [found["metadata"]["uid"] for found in after] == [found["metadata"]["uid"] for found in before]
    assert after[1]["status"]["policyID"] == before[1]["status"]["policyID"]
    cluster.helm("uninstall", *place)


def in_directory(cluster: Cluster, command: str) -> list[str]:
    """The arguments of a documented helm command, with paths that hold in any directory."""
    files = {name: str(cluster.directory / name) for name in ("helm-chart", "values.yaml")}
    return [files.get(argument, argument) for argument in shlex.split(command)[1:]]


def test_where_the_kinds_are_served_before_the_first_installation_has_the_connection(cluster: Cluster) -> None:
    """As with Flux: the CRDs by a Kustomization, the chart by a HelmRelease without them."""
    cluster.credentials()
    cluster.control_plane.apply(REPOSITORY / "crds")
    cluster.until_kinds_are_served()
    said = cluster.install({**cluster.connection(), "crds": {"install": False}})
    assert "kubectl get chconn default" in said
    assert "ClusterHarborConnection" in cluster.in_release()


def test_rendered_without_a_cluster_everything_can_be_applied(cluster: Cluster) -> None:
    cluster.credentials()
    values = cluster.connection(alwaysRender=True)
    place = ("--namespace", NAMESPACE, "--values", "-", "--skip-tests")
    rendered = cluster.helm("template", RELEASE, CHART, *place, stdin=json.dumps(values)).stdout
    first = cluster.control_plane.apply(rendered, check=False)
    if first.returncode:  # the API server did not serve the kinds soon enough
        assert "no matches for kind" in first.stderr
    cluster.until_kinds_are_served()
    cluster.control_plane.apply(rendered)
    assert cluster.control_plane.admin.exists(f"/apis/{GROUP}/clusterharborconnections/default")
    cluster.control_plane.kubectl("delete", "chconn", "default")
    cluster.control_plane.kubectl("delete", "-f", "-", "--wait=false", "--ignore-not-found", stdin=rendered)


def test_a_release_with_the_least_rights_serves_its_namespaces_and_no_other(cluster: Cluster) -> None:
    for namespace in ("team-a", "team-b", "team-c"):
        cluster.control_plane.create_namespace(namespace)
    least = {
        "watchNamespaces": ["team-a", "team-b"],
        "watchSecrets": False,
        "settings": {**QUICK, "clusterName": "west"},
        "globalSwitch": {"create": True, "enabled": True},
    }
    cluster.credentials()
    cluster.install({**least, **cluster.connection()})
    cluster.install({**least, **cluster.connection()}, "upgrade")
    operator = cluster.operate()
    worlds = [cluster.world(operator, namespace) for namespace in ("team-a", "team-b", "team-c")]
    worlds[0].ready("ClusterHarborConnection", "default")
    names = [world.project_name() for world in worlds]
    for world, name in zip(worlds, names, strict=True):
        world.secret("ci", header="Bearer s3cret")
        world.project(name)
        world.policy("ci", name, targets=[http_target(authHeaderFrom=header_from("ci"))])
    for world, name in zip(worlds[:2], names[:2], strict=True):
        world.ready("WebhookPolicy", "ci")
        assert world.harbor_policy(name, "ci")["creator"] == f"harborhook/west/{world.namespace}/ci"
    # The switch is read from a namespace that the operator does not serve.
    switched_off = {"globalSwitch": {"create": True, "enabled": False}}
    cluster.install({**least, **cluster.connection(), **switched_off}, "upgrade")
    worlds[0].until("WebhookPolicy", "ci", lambda found: found["status"].get("enabled") is False, "not switched off")
    assert not worlds[2].get("WebhookPolicy", "ci").get("status")
    assert worlds[2].harbor_project(names[2]) is None
    for world in worlds[:2]:
        world.delete("WebhookPolicy", "ci")
    refused = [line for line in operator.log.read_text().splitlines() if "403" in line or "orbidden" in line]
    assert refused == []


def test_the_pods_of_the_release_are_allowed_in_a_restricted_namespace(cluster: Cluster) -> None:
    admin = cluster.control_plane.admin
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    admin.create("/api/v1/namespaces", {"metadata": {"name": "restricted", "labels": level}})
    objects = render(cluster.helm)
    template = one(objects, "Deployment")["spec"]["template"]
    cluster.control_plane.kubectl("create", "serviceaccount", "harborhook", "--namespace=restricted")
    for name, pod in (("operator", template), ("test", one(objects, "Pod"))):
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod["spec"]}
        admin.request("POST", "/api/v1/namespaces/restricted/pods?dryRun=All&fieldValidation=Strict", body)


def test_the_commands_of_the_documentation_work_in_the_order_in_which_they_are_written(cluster: Cluster) -> None:
    """All but those for a release that was uninstalled, which other tests run. Those of the READMEs come first."""
    cluster.remove_namespace()
    for part in ("helm-chart", "manifests", "crds"):
        shutil.copytree(REPOSITORY / part, cluster.directory / part)
    values = next(block for block in blocks(INSTALL, "yaml") if "connection:" in block)
    (cluster.directory / "values.yaml").write_text(values)
    for readme in READMES:
        (command,) = [command for command in commands(readme) if command.startswith("helm ")]
        as_written(cluster, command)
    first, *others = commands(INSTALL)
    assert first == "kubectl create namespace harborhook", "which the commands before have done"
    elsewhere = commands(ANOTHER_NAME)
    for command in others:
        if command not in elsewhere and not command.startswith("kubectl patch whp ci "):
            as_written(cluster, command)
    assert (cluster.directory / f"harborhook-{__version__}.tgz").exists()


def as_written(cluster: Cluster, command: str) -> None:
    """Runs a command, and gives the API server the time to begin and to stop serving kinds."""
    program, *arguments = shlex.split(command)
    programs = {"helm": cluster.helm.program, "kubectl": cluster.control_plane.programs / "kubectl"}
    removes_kinds = arguments[:2] in (["delete", "crd"], ["delete", "-k"])
    done = subprocess.run(
        [programs[program], *arguments, *(["--wait=false"] if removes_kinds else [])],
        cwd=cluster.directory,
        env=cluster.helm.environment(),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    if removes_kinds:
        cluster.remove_kinds()
    else:
        cluster.until_kinds_are_served()
