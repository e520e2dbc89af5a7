"""`harborhook doctor`: its findings about a Harbor and an account there; it writes nothing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from e2e.test_export import CANARY, PASSWORD, harborhook, writes
from harness.certificates import Authority
from harness.harbor.process import StandIn
from harness.own import EVERYTHING, access, make_robot, make_user, own_harbor, standing
from harness.readme import blocks
from harness.world import World

COMMANDS = Path(__file__).parents[2] / "docs" / "commands.md"
HARBOR_LISTS_IT = "Harbor lists it among the rights in project"


def examined(own: World, *arguments: str, **login: str) -> subprocess.CompletedProcess[str]:
    """Runs `doctor` by address, as Harbor's administrator unless stated."""
    credentials = {"username": own.harbor.username, "password": own.harbor.password, **login}
    return harborhook("doctor", "--url", own.harbor.url, "--allow-insecure-http", *arguments, **credentials)


def by_connection(own: World, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `doctor` with the operator's own rights in the cluster, as in its pod."""
    kubeconfig = str(own.control_plane.service_account_kubeconfig("harborhook", "harborhook"))
    return harborhook("doctor", "--connection", name, "--kubeconfig", kubeconfig, *arguments)


def lines(ended: subprocess.CompletedProcess[str], mark: str) -> list[str]:
    return [line[5:].strip() for line in ended.stdout.splitlines() if line.startswith(mark)]


def test_an_administrator_lacks_nothing(own: World) -> None:
    standing(own).clear_requests()
    ended = examined(own)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert lines(ended, "FAIL") + lines(ended, "note") == []
    said = ended.stdout
    assert f"Harbor v2.16.0-c50c7ddd answers at {own.harbor.url}." in said
    assert "system administrator admin; they log in once" in said
    assert "this system administrator can switch them" in said
    assert "PUSH_ARTIFACT" in said
    assert "CloudEvents, Default" in said
    assert said.endswith("\nThe operator can work with this Harbor.\n")
    assert writes(own) == []


def test_a_robot_with_the_documented_permissions_lacks_nothing_that_all_need(own: World) -> None:
    own.make_project(own.project_name())
    name, secret = make_robot(own, *EVERYTHING)
    standing(own).clear_requests()
    ended = examined(own, username=name, password=secret)
    assert ended.returncode == 0
    assert len([line for line in lines(ended, "ok") if HARBOR_LISTS_IT in line]) == 9
    notes = "\n".join(lines(ended, "note"))
    assert "Permission project:create (creating projects) is not known: only a write to Harbor would show it." in notes
    assert "Give the robot quota:list on the system, which robots can have since Harbor 2.12." in notes
    assert writes(own) == []


def test_each_permission_that_a_robot_lacks_is_named_with_what_to_do(own: World) -> None:
    project = own.project_name()
    own.make_project(project)
    rights = {"kind": "project", "namespace": project, "access": access("notification-policy", "list", "read")}
    name, secret = make_robot(own, rights)
    ended = examined(own, username=name, password=secret)
    assert ended.returncode == 1
    failed = lines(ended, "FAIL")
    assert [line.split()[1] for line in failed] == [
        "project:read",
        "project:update",
        "notification-policy:create",
        "notification-policy:update",
        "notification-policy:delete",
    ]
    assert failed[0].endswith(
        f"Give the robot project:read for project {project}, which robots can have since Harbor 2.8."
    )
    assert ended.stdout.endswith("\n5 problems found.\n")


def test_a_robot_of_an_old_harbor_is_advised_against(own: World, stand_in_27: StandIn) -> None:
    with own_harbor(own, stand_in_27, "2.7") as old:
        name, secret = make_robot(old, *EVERYTHING)
        ended = examined(old, username=name, password=secret)
        assert ended.returncode == 1
        assert "Before Harbor 2.10 a robot with any system permission has no project permission at all." in ended.stdout
        assert "use a user" in lines(ended, "FAIL")[0]
        assert examined(old).returncode == 0


def test_a_user_is_looked_at_in_the_project_that_is_named(own: World) -> None:
    mine = own.project_name("mine")
    make_user(own, "dev", PASSWORD)
    login = {"username": "dev", "password": PASSWORD}
    nowhere = examined(own, **login)
    assert nowhere.returncode == 0
    assert "a user has every right in a project that it creates" in nowhere.stdout
    library = examined(own, "--project", "library", **login)
    assert library.returncode == 1
    assert "Make dev a project administrator, or a system administrator of Harbor." in library.stdout
    missing = examined(own, "--project", mine, **login)
    assert missing.returncode == 1
    assert f"Harbor shows no project '{mine}' to dev" in missing.stdout
    own.make_project(mine)
    member = {"role_id": 1, "member_user": {"username": "dev"}}
    own.api.post(f"/projects/{mine}/members", json=member).raise_for_status()
    found = examined(own, "--project", mine, **login)
    assert found.returncode == 0
    assert CANARY not in "".join(one.stdout + one.stderr for one in (nowhere, library, missing, found))


def test_read_only_mode_is_in_the_way_and_notifications_that_are_off_are_told(own: World) -> None:
    standing(own).settings(read_only=True, notification_enable=False)
    ended = examined(own)
    standing(own).settings(read_only=False, notification_enable=True)
    assert ended.returncode == 1
    assert lines(ended, "FAIL") == [
        "Harbor is in read-only mode: nothing can be written. Switch it off in Harbor's configuration."
    ]
    assert lines(ended, "note")[0].startswith("Harbor's notifications are off: no webhook is sent")


def test_scripts_have_the_same_as_json(own: World) -> None:
    found = json.loads(examined(own, "--output", "json").stdout)
    assert found["ok"] is True
    assert {"topic", "result", "message"} == set(found["findings"][0])
    refused = json.loads(examined(own, "--output", "json", password="wrong").stdout)
    assert refused["ok"] is False


def test_the_documentation_shows_what_is_really_said(own: World) -> None:
    own.make_project("team-a")
    system, projects = EVERYTHING
    rights = [right for right in projects["access"] if right != access("notification-policy", "create")[0]]
    name, secret = make_robot(own, system, {**projects, "access": rights})
    ended = examined(own, "--project", "team-a", username=name, password=secret)
    said = ended.stdout.replace(own.harbor.url, "https://harbor.example.com").replace(name, "robot$ci")
    (block,) = (block for block in blocks(COMMANDS.read_text(), "console") if "harborhook doctor" in block)
    shown = [line for line in block.splitlines()[1:] if line not in ("", "...")]
    assert len(shown) > 8
    for line in shown:
        for part in line.split(" ..."):
            assert part in said


# Connections of the cluster


def test_a_connection_is_examined_with_its_own_secret_and_with_what_the_operator_says(own: World) -> None:
    standing(own).clear_requests()
    ended = by_connection(own, own.connection)
    assert ended.returncode == 0, ended.stdout
    assert "The operator reports about the connection: Reconciled: Connected to Harbor v2.16" in ended.stdout
    assert [one for one in writes(own) if "standin" not in one] == []
    own.connect(own.connection, credentialsSecretRef={"namespace": "harborhook", "name": "no-such"})
    ended = by_connection(own, own.connection)
    own.connect(own.connection)
    own.ready("ClusterHarborConnection", own.connection)
    assert ended.returncode == 1
    assert lines(ended, "FAIL") == ["Secret harborhook/no-such does not exist: create it, or name another one."]


def test_a_connection_of_a_namespace_is_named_with_it(own: World) -> None:
    own.secret("team", username=own.harbor.username, password=own.harbor.password)
    spec = {"url": own.harbor.url, "allowInsecureHTTP": True, "credentialsSecretRef": {"name": "team"}}
    own.apply({"kind": "HarborConnection", "metadata": {"name": "mine"}, "spec": spec})
    own.until("HarborConnection", "mine", lambda found: (found.get("status") or {}).get("conditions"))
    both = [by_connection(own, f"{own.namespace}/mine"), by_connection(own, "mine", "--namespace", own.namespace)]
    assert [ended.returncode for ended in both] == [0, 0], both[0].stdout
    missing = by_connection(own, "mine")
    assert missing.returncode == 1
    assert lines(missing, "FAIL") == ["There is no ClusterHarborConnection mine in the cluster."]


# Servers that are not Harbor, or not ours


def test_what_does_not_answer_is_told_in_the_operators_words(own: World) -> None:
    login = ("--allow-insecure-http", "--username", "admin", "--password-stdin")
    ended = harborhook("doctor", "--url", "http://127.0.0.1:9", *login, stdin=PASSWORD)
    assert ended.returncode == 1
    assert lines(ended, "FAIL")[0].startswith("Harbor at http://127.0.0.1:9 cannot be reached: ")
    ended = harborhook("doctor", "--url", own.operator.url, *login, stdin=PASSWORD)
    assert ended.returncode == 1
    assert "Harbor's own address without a path" in ended.stdout
    assert CANARY not in ended.stdout + ended.stderr


def test_a_certificate_is_trusted_by_file_or_not_at_all(own: World, tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = authority.certify(tmp_path, "127.0.0.1")
    bundle = tmp_path / "ca.pem"
    bundle.write_text(authority.bundle)
    with StandIn.start(extra=[f"--tls-cert={certificate}", f"--tls-key={key}"]) as stand_in:
        username, password = stand_in.admin

        def visit(*arguments: str) -> subprocess.CompletedProcess[str]:
            return harborhook("doctor", "--url", stand_in.url, *arguments, username=username, password=password)

        untrusted = visit()
        assert untrusted.returncode == 1
        assert "is not trusted" in untrusted.stdout
        assert f"The issuer is {authority.name.split(',')[0]}" in untrusted.stdout
        assert "Here --ca-file is tls.caBundleRef." in untrusted.stdout
        assert visit("--ca-file", str(bundle)).returncode == 0
        assert visit("--insecure-skip-verify").returncode == 0
        bundle.write_text("nonsense")
        wrong = visit("--ca-file", str(bundle))
        assert wrong.returncode == 1
        assert "holds no certificates in PEM format" in wrong.stdout
