"""The commands for users with few rights, and with a missing name, context or installation."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from harness import console
from harness.control_plane import ControlPlane
from harness.world import World


@dataclass(frozen=True)
class Team:
    """A namespace with a project and a policy `ci`, and people in it."""

    world: World
    project: str

    def person(self, role: str = "") -> Path:
        """Returns a user with a ClusterRole in the namespace, or without any right."""
        name = role or "nobody"
        return console.user(self.world.control_plane, self.world.namespace, name, role)


@pytest.fixture
def team(world: World) -> Team:
    project = world.project_name()
    world.project(project)
    world.policy("ci", project)
    world.ready("HarborProject", project)
    world.ready("WebhookPolicy", "ci")
    return Team(world, project)


# Roles


def test_view_sees_the_namespace_and_is_told_what_it_may_not_see(team: Team) -> None:
    viewer, namespace = team.person("view"), team.world.namespace
    ended = console.run(viewer, "status")
    assert ended.code == 0
    assert "1 project, 1 policy: 2 ready." in ended.output
    assert ended.errors == (
        "Note: You may not list clusterharborconnections.harborhook.io in the cluster. The ClusterRole view (or "
        "harborhook-view), bound by a ClusterRoleBinding, gives that right; ask an administrator of the cluster.\n"
    )
    everything = console.run(viewer, "status", "-A")
    assert "1 project, 1 policy: 2 ready." in everything.output
    assert f"Note: Only namespace {namespace} is shown. You may not list " in everything.errors
    assert "in all namespaces." in everything.errors
    assert everything.code == 0
    one = console.run(viewer, "status", "ci")
    assert (one.code, one.errors) == (0, "")
    assert "Created webhook policy ci" in one.output, "view may read Events"
    assert "You may not get clusterharborconnections.harborhook.io default in the cluster." in one.output
    assert console.run(viewer, "deliveries", "ci").code == 0


@pytest.mark.parametrize(
    "command",
    [("reconcile", "whp/ci"), ("test", "ci"), ("redeliver", "ci"), ("suspend", "whp/ci"), ("release", "whp/ci", "-y")],
)
def test_view_may_not_write_and_is_told_which_role_may(team: Team, command: tuple[str, ...]) -> None:
    ended = console.run(team.person("view"), *command)
    namespace = team.world.namespace
    assert (ended.code, ended.output) == (1, "")
    assert ended.errors.endswith(
        f"You may not patch webhookpolicies.harborhook.io ci in namespace {namespace}. The ClusterRole edit (or "
        f"harborhook-edit), bound in namespace {namespace}, gives that right; ask an administrator of the cluster.\n"
    )


def test_edit_may_ask_the_operator_but_not_touch_connections(team: Team) -> None:
    editor = team.person("edit")
    ended = console.run(editor, "reconcile", "whp/ci", f"hproj/{team.project}")
    assert (ended.code, ended.errors) == (0, "")
    assert console.run(editor, "suspend", "whp/ci").code == 0
    assert console.run(editor, "resume", "whp/ci").code == 0
    ended = console.run(editor, "suspend", "hconn/mine")
    assert "There is no HarborConnection mine" in ended.errors
    ended = console.run(editor, "reconcile", "chconn/default")
    assert "The ClusterRole cluster-admin gives that right" in ended.errors
    ended = console.run(editor, "global", "off", "--yes")
    assert ended.code == 1
    assert "You may not get configmaps harborhook-global in namespace harborhook. The ClusterRole view" in ended.errors
    shown = console.run(editor, "global", "show")
    assert shown.code == 0
    assert "Note: You may not list clusterharborconnections.harborhook.io in the cluster." in shown.errors


def test_a_role_for_policies_alone_is_enough_for_what_it_gives(team: Team) -> None:
    namespace, cluster = team.world.namespace, team.world.control_plane
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "policies", "namespace": namespace},
        "rules": [
            {"apiGroups": ["harborhook.io"], "resources": ["webhookpolicies"], "verbs": ["get", "list", "patch"]}
        ],
    }
    cluster.apply(yaml.safe_dump(role))
    person = team.person()
    console.bind(cluster, namespace, "nobody", {"kind": "Role", "name": "policies"})
    ended = console.run(person, "status")
    assert ended.code == 0
    assert "1 policy: 1 ready." in ended.output
    assert f"You may not list harborprojects.harborhook.io in namespace {namespace}." in ended.errors
    assert console.run(person, "status", "ci").code == 0
    assert console.run(person, "reconcile", "whp/ci").code == 0


def test_who_may_nothing_is_told_so_in_one_sentence(team: Team) -> None:
    ended = console.run(team.person(), "status")
    assert (ended.code, ended.output) == (1, "")
    assert ended.errors.startswith("Error: You may not list webhookpolicies.harborhook.io in namespace ")
    assert ended.errors.count("\n") == 1


# Names


@pytest.mark.parametrize("command", [("status", "cii"), ("deliveries", "cii"), ("test", "cii"), ("redeliver", "cii")])
def test_a_wrong_name_gets_a_suggestion(team: Team, command: tuple[str, ...]) -> None:
    ended = console.run(team.person("edit"), *command)
    assert ended.code == 1
    assert f"There is no WebhookPolicy cii in namespace {team.world.namespace}. Did you mean ci?" in ended.errors


def test_a_name_of_another_namespace_is_found(team: Team) -> None:
    elsewhere = console.in_namespace(team.world.control_plane.kubeconfig, "default")
    name = team.project
    ended = console.run(elsewhere, "reconcile", f"hproj/{name}")
    assert f"There is one in namespace {team.world.namespace}: add -n." in ended.errors
    assert console.run(elsewhere, "reconcile", f"hproj/{name}", "-n", team.world.namespace).code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("reconcile", "ci"), "write KIND/NAME, for example whp/ci"),
        (("reconcile", "pod/ci"), "There is no kind 'pod': use chconn, hconn, hproj, whp"),
        (("reconcile",), "Missing argument"),
        (("test", "hproj/ci"), "this command is for WebhookPolicies"),
        (("redeliver", "ci", "x"), "is not a valid integer"),
        (("redeliver", "ci", "1", "--failed"), "--failed does not go with IDs"),
        (("status", "-A", "ci"), "--all-namespaces does not go with"),
        (("statsu",), "Did you mean 'status'?"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_hint(world: World, arguments: tuple[str, ...], said: str) -> None:
    ended = console.run(world.control_plane.kubeconfig, *arguments)
    assert ended.code == 2
    assert said in ended.errors


# Clusters


def test_a_wrong_context_or_kubeconfig_is_said_with_what_there_is(world: World, tmp_path: Path) -> None:
    kubeconfig = world.control_plane.kubeconfig
    known = yaml.safe_load(kubeconfig.read_text())["contexts"][0]["name"]
    ended = console.run(kubeconfig, "status", "--context", "prod")
    assert (ended.code, ended.errors) == (1, f"Error: The kubeconfig has no context 'prod'; it has: {known}.\n")
    assert console.run(kubeconfig, "status", "--context", known, "-n", world.namespace).code == 0
    missing = str(tmp_path / "missing")
    ended = console.run(kubeconfig, "status", "--kubeconfig", missing)
    assert ended.errors == f"Error: The kubeconfig {missing} does not exist.\n"


def test_a_cluster_that_does_not_answer_is_said(world: World, tmp_path: Path) -> None:
    content = yaml.safe_load(world.control_plane.kubeconfig.read_text())
    content["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(content))
    ended = console.run(file, "status")
    assert ended.code == 1
    assert "https://127.0.0.1:9, cannot be reached: Connection refused." in ended.errors


def test_refused_credentials_and_an_unknown_authority_are_said(world: World, tmp_path: Path) -> None:
    content = yaml.safe_load(world.control_plane.kubeconfig.read_text())
    file = tmp_path / "kubeconfig"
    content["users"][0]["user"] = {"token": "c4nary"}
    file.write_text(yaml.safe_dump(content))
    ended = console.run(file, "status")
    assert "does not accept your credentials: log in again." in ended.errors
    assert "c4nary" not in ended.errors
    cluster = content["clusters"][0]["cluster"]
    for name in [name for name in cluster if name.startswith("certificate-authority")]:
        del cluster[name]
    file.write_text(yaml.safe_dump(content))
    assert "its certificate is not trusted" in console.run(file, "status").errors


@pytest.fixture(scope="module")
def empty_cluster() -> Iterator[ControlPlane]:
    with ControlPlane.start(controllers=False) as running:
        yield running


@pytest.mark.parametrize(
    "command",
    [("status",), ("status", "ci"), ("deliveries", "ci"), ("reconcile", "whp/ci"), ("global", "show")],
)
def test_a_cluster_without_harborhook_is_said_and_how_to_install_it(
    empty_cluster: ControlPlane, command: tuple[str, ...]
) -> None:
    ended = console.run(empty_cluster.kubeconfig, *command)
    assert ended.code == 1
    assert "Harborhook is not installed in the cluster of context " in ended.errors
    assert "it does not serve harborhook.io/v1alpha1. Install it with its Helm chart, or choose another" in ended.errors


# kubectl


def test_kubectl_runs_it_as_a_plugin_and_completes_names(team: Team, tmp_path: Path) -> None:
    """With what the entry points of the package are."""
    programs = {"kubectl-harborhook": "kubectl", "kubectl_complete-harborhook": "kubectl_complete"}
    for name, function in programs.items():
        file = tmp_path / name
        file.write_text(f"#!{console.command()[0]}\nfrom harborhook.cli import {function}\n{function}()\n")
        file.chmod(0o755)
    kubeconfig = console.in_namespace(team.world.control_plane.kubeconfig, team.world.namespace)
    kubectl = team.world.control_plane.programs / "kubectl"

    def run(*arguments: str) -> str:
        environment = console.environment(kubeconfig)
        path = f"{tmp_path}:{environment['PATH']}"
        command = [str(kubectl), *arguments]
        return subprocess.run(command, env={**environment, "PATH": path}, capture_output=True, text=True).stdout

    assert "1 policy" in run("harborhook", "status")
    assert run("harborhook", "status", "--help").startswith("Usage: kubectl harborhook status")
    assert json.loads(run("harborhook", "status", "ci", "-o", "json"))["policy"]["ready"] is True
    for words, offered in (
        (("stat",), "status"),
        (("status", ""), "ci"),
        (("reconcile", "wh"), "whp/"),
        (("reconcile", "whp/"), "whp/ci"),
        (("reconcile", "hproj/t"), f"hproj/{team.project}"),
        (("status", "-n", team.world.namespace[:5]), team.world.namespace),
        (("status", "-o", "js"), "json"),
    ):
        lines = run("__complete", "harborhook", *words).splitlines()
        assert offered in [line.split("\t")[0] for line in lines], (words, lines)
        assert ":4" in lines
