"""`harborhook export`: objects created by hand in Harbor are exported, applied and adopted, without a write to
Harbor."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from harness import console
from harness.own import EVERYTHING, access, make_robot, make_user, standing
from harness.readme import blocks
from harness.world import Object, World, http_target

GI = 2**30
CANARY = "canary-7f3a"
"""In every header, in every address with a credential, and in the password."""
PASSWORD = f"Passw0rd-{CANARY}"
SECRET_ADDRESS = f"https://hooks.slack.com/services/T000/B000/{CANARY}"
DOUBTFUL = (
    "1e3",
    "y",
    "0o17",
    "~",
    "null",
    "- x",
    "a: b",
    "#x",
    "Ünï ☃",
    "=",
    "tab\there",
    "it's",
    "a\u2028b",
    " line\n",
    "x" * 256,
)
"""Names of policies that YAML may read as another type."""


def harborhook(
    *arguments: str, username: str = "", password: str = "", stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs the command as a user does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HARBORHOOK_")}
    variables = {"PYTHONPATH": console.PATH, "HARBORHOOK_USERNAME": username, "HARBORHOOK_PASSWORD": password}
    return subprocess.run(
        [sys.executable, "-m", "harborhook", *arguments],
        env={**environment, **{name: value for name, value in variables.items() if value}},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
    )


def exported(own: World, *arguments: str, **login: str) -> subprocess.CompletedProcess[str]:
    """Exports the world's Harbor by its address, as its administrator unless stated."""
    credentials = {"username": own.harbor.username, "password": own.harbor.password, **login}
    where = ("--url", own.harbor.url, "--allow-insecure-http", "--connection-ref", own.connection)
    return harborhook("export", *where, *arguments, **credentials)


def by_connection(own: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    kubeconfig = str(own.control_plane.kubeconfig)
    return harborhook("export", "--connection", own.connection, "--kubeconfig", kubeconfig, *arguments)


def resources(text: str) -> list[Object]:
    return [found for found in yaml.safe_load_all(text) if found]


def make_settings(own: World, metadata: dict[str, str]) -> None:
    """Projects with every setting that this Harbor has."""
    plain, strict, limited, free = (own.project_name(base) for base in ("plain", "strict_one", "limited", "1e3"))
    own.make_project(plain)
    own.make_project(free, public="true")
    own.make_project(strict, **metadata)
    own.change_project(
        strict, {"items": [{"cve_id": "CVE-2024-2"}, {"cve_id": "CVE-2024-1"}], "expires_at": 1900000000}
    )
    own.make_project(limited, reuse_sys_cve_allowlist="false")
    own.change_project(limited, {"items": [{"cve_id": "CVE-2024-3"}]})
    own.change_quota(limited, 50 * GI + 1)


def make_policies(own: World, *, formats: bool) -> None:
    """Policies of every kind, and with every name that is hard to write."""
    project = own.project_name("hooks")
    own.make_project(project)
    cloud = {"payload_format": "CloudEvents"} if formats else {}
    header = f"Bearer {CANARY}"
    own.make_policy(project, "plain", description="What it is for: everything.\n\nNo.")
    own.make_policy(project, "Plain", enabled=False, event_types=["PULL_ARTIFACT", "DELETE_ARTIFACT"])
    own.make_policy(project, "header", targets=[http_target(auth_header=header, skip_cert_verify=True, **cloud)])
    own.make_policy(project, "slack", targets=[{"type": "slack", "address": SECRET_ADDRESS}])
    targets = [http_target(f"https://u:{CANARY}@x.example.com/"), http_target(f"https://x.example.com/?t={CANARY}")]
    own.make_policy(project, "secret addresses", targets=targets)
    own.make_policy(project, "token", targets=[http_target(f"https://x.example.com/api/webhooks/12345/{CANARY}-Zz")])
    for name in DOUBTFUL:
        own.make_policy(project, name, description=name)


def make_proxy(own: World, **metadata: str) -> None:
    body = {"name": "Docker Hub", "type": "docker-registry", "url": "http://127.0.0.1:15000", "insecure": True}
    answer = own.api.post("/registries", json=body).raise_for_status()
    registry = int(answer.headers["Location"].rpartition("/")[2])
    project = {"project_name": own.project_name("cache"), "registry_id": registry, "metadata": metadata}
    own.api.post("/projects", json=project).raise_for_status()


def everything_in(own: World) -> list[Any]:
    """Returns Harbor's state without times and counts."""
    projects = sorted(own.api.get("/projects", params={"page_size": 0}).json(), key=lambda one: str(one["name"]))
    return [(project, own.quota(project["name"]), own.harbor_policies(project["name"])) for project in projects]


def writes(own: World) -> list[str]:
    """Returns the writes to Harbor; a login does not count."""
    return [f"{one.method} {one.path}" for one in standing(own).requests() if one.writes and one.path != "/c/login"]


def adopt_all(own: World, ended: subprocess.CompletedProcess[str], secrets: Path) -> list[Object]:
    """Applies the export and waits until everything matches the spec."""
    own.control_plane.apply(secrets, "--namespace", own.namespace)
    own.control_plane.apply(ended.stdout, "--namespace", own.namespace)
    keys = [(resource["kind"], resource["metadata"]["name"]) for resource in resources(ended.stdout)]
    for key in keys:
        own.ready(*key)
    own.reconcile_all()
    time.sleep(2.5)  # a drift check, which the tests' operator makes every two seconds
    return [own.ready(*key) for key in keys]


def check_nothing_changes(own: World, secrets: Path) -> None:
    before = everything_in(own)
    standing(own).clear_requests()
    ended = exported(own, "--secrets-file", str(secrets))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == exported(own, "--secrets-file", str(secrets)).stdout, "not the same each time"
    found = adopt_all(own, ended, secrets)
    assert standing(own).requests(), "nothing was counted"
    assert writes(own) == []
    assert everything_in(own) == before
    statuses = [one["status"] for one in found]
    assert {status["origin"] for status in statuses} == {"Adopted"}
    assert [status["drift"] for status in statuses if status.get("drift")] == []
    assert len([one for one in found if one["kind"] == "WebhookPolicy"]) == 6 + len(DOUBTFUL)
    assert {policy["name"] for row in before for policy in row[2]} == {
        status["policyName"] for status in statuses if "policyName" in status
    }
    assert CANARY not in ended.stdout + ended.stderr
    assert CANARY in secrets.read_text()


def test_what_harbor_has_is_adopted_without_one_write(own: World, tmp_path: Path) -> None:
    flags = ("auto_scan", "prevent_vul", "auto_sbom_generation", "enable_content_trust_cosign", "enable_content_trust")
    make_settings(own, {**dict.fromkeys(flags, "true"), "severity": "critical", "public": "true"})
    make_policies(own, formats=True)
    make_proxy(
        own,
        proxy_speed_kb="100",
        max_upstream_conn="-1",
        proxy_cache_local_on_not_found="true",
        proxy_referrer_api="false",
        proxy_cache_filter_pattern="library/**",
        proxy_cache_filter_kind="doublestar",
        auto_scan="true",
    )
    check_nothing_changes(own, tmp_path / "secrets.yaml")


def test_what_harbor_27_has_is_adopted_without_one_write(own_27: World, tmp_path: Path) -> None:
    flags = ("auto_scan", "prevent_vul", "enable_content_trust_cosign")
    make_settings(own_27, {**dict.fromkeys(flags, "true"), "severity": "low"})
    make_policies(own_27, formats=False)
    make_proxy(own_27)
    check_nothing_changes(own_27, tmp_path / "secrets.yaml")


def test_the_connection_of_the_cluster_does_as_well(own: World, tmp_path: Path) -> None:
    make_policies(own, formats=True)
    by_url = exported(own)
    ended = by_connection(own)
    assert (ended.returncode, ended.stdout) == (0, by_url.stdout)
    assert CANARY not in by_url.stdout + by_url.stderr + ended.stderr
    assert "--secrets-file" in ended.stderr


def test_over_the_connection_of_a_namespace_the_resources_are_of_that_namespace(own: World) -> None:
    own.secret("team", username=own.harbor.username, password=own.harbor.password)
    spec = {"url": own.harbor.url, "allowInsecureHTTP": True, "credentialsSecretRef": {"name": "team"}}
    own.apply({"kind": "HarborConnection", "metadata": {"name": "mine"}, "spec": spec})
    kubeconfig = str(own.control_plane.kubeconfig)
    ended = harborhook("export", "--connection", f"{own.namespace}/mine", "--kubeconfig", kubeconfig)
    (library,) = resources(ended.stdout)
    assert library["metadata"] == {"name": "library", "namespace": own.namespace}
    assert library["spec"]["connectionRef"] == {"kind": "HarborConnection", "name": "mine"}
    own.control_plane.apply(ended.stdout)
    own.ready("HarborProject", "library")
    assert writes(own) == []


def test_only_the_projects_that_are_named_are_exported(own: World) -> None:
    one, other, third = (own.project_name(base) for base in ("one", "other", "third"))
    for name in (one, other, third):
        own.make_project(name)
        own.make_policy(name, "ci")
    ended = exported(own, "--project", other, "--project", one, "--namespace", "team-x")
    assert [found["metadata"] for found in resources(ended.stdout)] == [
        {"name": name, "namespace": "team-x"} for name in (one, f"{one}-ci", other, f"{other}-ci")
    ]
    refused = exported(own, "--project", "nope")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "Harbor shows no project 'nope'" in refused.stderr


def test_the_file_of_secrets_is_for_its_owner_only(own: World, tmp_path: Path) -> None:
    make_policies(own, formats=True)
    secrets = tmp_path / "secrets.yaml"
    secrets.write_text("old")
    secrets.chmod(0o644)
    assert exported(own, "--secrets-file", str(secrets), "--namespace", "x").returncode == 0
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    assert {found["metadata"]["namespace"] for found in resources(secrets.read_text())} == {"x"}
    assert [path.name for path in tmp_path.iterdir()] == ["secrets.yaml"]
    refused = exported(own, "--secrets-file", str(tmp_path / "no" / "such.yaml"))
    assert refused.returncode == 1
    assert "cannot be written" in refused.stderr
    refused = exported(own, "--secrets-file", "/dev/null")
    assert refused.returncode == 1
    assert "/dev/null is not a file" in refused.stderr
    own.make_project(own.project_name("none"))
    assert exported(own, "--project", own.project_name("none"), "--secrets-file", str(secrets)).returncode == 0
    assert secrets.read_text() == "# No Secrets are needed.\n"


def test_what_cannot_be_stated_is_told_and_fails(own: World) -> None:
    project = own.project_name()
    own.make_project(project)
    own.change_project(project, public="123")
    own.make_policy(project, "no scheme", targets=[http_target(f"x.example.com/{CANARY}")])
    own.make_policy(project, "twice", event_types=["PUSH_ARTIFACT", "PUSH_ARTIFACT"])
    own.make_policy(project, "newline", targets=[http_target(auth_header=f"Bearer {CANARY}\n")])
    own.make_policy(project, "slack", targets=[{"type": "slack", "address": SECRET_ADDRESS, "auth_header": CANARY}])
    own.make_policy(project, "fine")
    ended = exported(own, "--project", project)
    assert ended.returncode == 1
    assert CANARY not in ended.stdout + ended.stderr
    assert [found["metadata"]["name"] for found in resources(ended.stdout)] == [project, f"{project}-fine"]
    assert "public" not in resources(ended.stdout)[0]["spec"]
    told = [line for line in ended.stdout.splitlines() if line.startswith("# NOT EXPORTED: ")]
    assert len(told) == 5
    for line in told:
        assert f"Warning: Project {project}: {line.removeprefix('# NOT EXPORTED: ')}" in ended.stderr


def test_what_an_operator_has_made_is_left_out_unless_asked_for(own: World) -> None:
    project = own.project_name()
    own.make_project(project)
    own.make_policy(project, "ours", creator="harborhook/other/team-x/ci")
    ended = exported(own, "--project", project)
    assert ended.returncode == 0
    assert [found["kind"] for found in resources(ended.stdout)] == ["HarborProject"]
    assert "WebhookPolicy team-x/ci of cluster other" in ended.stdout
    taken = exported(own, "--project", project, "--include-managed")
    assert [found["kind"] for found in resources(taken.stdout)] == ["HarborProject", "WebhookPolicy"]
    standing(own).clear_requests()
    own.control_plane.apply(taken.stdout, "--namespace", own.namespace)
    found = own.ready("WebhookPolicy", f"{project}-ours")
    assert found["status"]["origin"] == "Adopted"
    assert len(writes(own)) == 1, "the mark, as the comment says"


def test_a_robot_exports_what_it_may_read_and_says_what_it_may_not(own: World) -> None:
    project = own.project_name()
    own.make_project(project)
    own.make_policy(project, "ci")
    make_proxy(own)
    able = make_robot(own, *EVERYTHING)
    ended = exported(own, username=able[0], password=able[1])
    assert ended.returncode == 1, "the registry endpoint's name cannot be read"
    assert "proxyCache" in ended.stderr
    assert {found["kind"] for found in resources(ended.stdout)} == {"HarborProject", "WebhookPolicy"}
    own._unique += "x"
    reader = make_robot(own, {"kind": "project", "namespace": project, "access": access("project", "read")})
    ended = exported(own, "--project", project, username=reader[0], password=reader[1])
    assert ended.returncode == 1
    assert "notification-policy:list" in ended.stderr
    assert "storageQuota cannot be read" in ended.stderr
    assert [found["kind"] for found in resources(ended.stdout)] == ["HarborProject"]


def test_the_password_comes_by_standard_input_too_and_is_never_shown(own: World) -> None:
    make_user(own, "dev", PASSWORD)
    where = ("--url", own.harbor.url, "--allow-insecure-http", "--username", "dev", "--password-stdin")
    ended = harborhook("export", *where, stdin=f"{PASSWORD}\n")
    assert "kind: HarborProject" in ended.stdout
    refused = harborhook("export", *where, stdin=f"{PASSWORD}!\n")
    assert refused.returncode == 1
    assert "does not accept these credentials" in refused.stderr
    assert CANARY not in ended.stdout + ended.stderr + refused.stdout + refused.stderr


def test_the_documentation_shows_what_is_really_printed(own: World, tmp_path: Path) -> None:
    own.make_project("team-a", auto_scan="true")
    own.change_quota("team-a", 50 * GI)
    targets = [http_target("https://ci.example.com/harbor", auth_header="Bearer x")]
    own.make_policy("team-a", "Jenkins", targets=targets)
    login = {"username": own.harbor.username, "password": own.harbor.password}
    where = ("--url", own.harbor.url, "--allow-insecure-http", "--namespace", "team-a", "--project", "team-a")
    ended = harborhook("export", *where, "--secrets-file", str(tmp_path / "secrets.yaml"), **login)
    (block,) = blocks((Path(__file__).parents[2] / "docs" / "commands.md").read_text(), "yaml")
    assert ended.stdout.replace(own.harbor.url, "https://harbor.example.com") == block
