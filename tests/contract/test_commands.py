"""`doctor` and `export` with faults: in Harbor, in the environment, or at the destination of the output.

Each ends with a sentence, never with a traceback, and shows no secret.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import yaml

from harness import console
from harness.harbor.process import StandIn

CANARY = "canary-7f3a"
"""In the password, and in every header of a policy."""
PASSWORD = f"Passw0rd-{CANARY}"
LOCALE_WITHOUT_UNICODE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
COMMANDS = ("doctor", "export")


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandIn]:
    with StandIn.start(admin_password=PASSWORD) as found:
        for project in ("one", "two", "three"):
            make(found, "/projects", {"project_name": project, "metadata": {"public": "false"}})
            target = {"type": "http", "address": "https://ci.example.com", "auth_header": CANARY}
            policy = {"name": "☃", "enabled": True, "event_types": ["PUSH_ARTIFACT"], "targets": [target]}
            make(found, f"/projects/{project}/webhook/policies", policy)
        yield found


@pytest.fixture(autouse=True)
def no_faults(stand_in: StandIn) -> Iterator[None]:
    yield
    stand_in.clear_faults()


def make(stand_in: StandIn, path: str, body: object) -> None:
    url = f"{stand_in.url}/api/v2.0{path}"
    headers = {"X-Is-Resource-Name": "true"}
    httpx.post(url, json=body, auth=stand_in.admin, headers=headers, trust_env=False).raise_for_status()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "harborhook", *arguments]


def variables(extra: Mapping[str, str | bytes] | None = None) -> dict[str, str | bytes]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("HARBORHOOK_")}
    login = {"HARBORHOOK_USERNAME": "admin", "HARBORHOOK_PASSWORD": PASSWORD}
    return {**own, "PYTHONPATH": console.PATH, **login, **(extra or {})}


def by_url(stand_in: StandIn) -> tuple[str, ...]:
    return "--url", stand_in.url, "--allow-insecure-http"


def run(
    stand_in: StandIn, *arguments: str, env: Mapping[str, str | bytes] | None = None, stdin: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    name, *rest = arguments
    return checked(
        subprocess.run(
            command(name, *by_url(stand_in), *rest), env=variables(env), input=stdin, capture_output=True, timeout=90
        )
    )


def in_shell(stand_in: StandIn, script: str) -> subprocess.CompletedProcess[bytes]:
    """A script that has the command and its options as `"$@"` after the command's name."""
    arguments = ["bash", "-c", script, sys.executable, *by_url(stand_in)]
    return checked(subprocess.run(arguments, env=variables(), capture_output=True, timeout=90))


def checked(ended: subprocess.CompletedProcess[bytes]) -> subprocess.CompletedProcess[bytes]:
    said = ended.stdout + ended.stderr
    assert b"Traceback" not in said, said.decode(errors="replace")
    assert CANARY.encode() not in said
    return ended


# The output


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_told(stand_in: StandIn, name: str) -> None:
    ended = in_shell(stand_in, f'$0 -m harborhook {name} "$@" > /dev/full')
    assert ended.returncode == 1
    assert ended.stderr == b"Error: Standard output cannot be written: No space left on device.\n"


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("closed", ["2>&-", ">&-", "2>&- >&-", "<&-"])
def test_it_works_without_one_of_the_standard_streams(stand_in: StandIn, name: str, closed: str) -> None:
    assert in_shell(stand_in, f'$0 -m harborhook {name} "$@" {closed}').returncode == 0


def test_nobody_has_to_read_to_the_end(stand_in: StandIn) -> None:
    ended = in_shell(stand_in, '$0 -m harborhook export "$@" | head -c 1')
    assert ended.stdout == b"#"


@pytest.mark.parametrize("encoding", [{"PYTHONIOENCODING": "latin-1"}, LOCALE_WITHOUT_UNICODE])
def test_resources_are_utf_8_in_every_locale(stand_in: StandIn, encoding: dict[str, str]) -> None:
    ended = run(stand_in, "export", env=encoding)
    assert ended.returncode == 0
    found = [one for one in yaml.safe_load_all(ended.stdout.decode()) if one]
    assert [one["spec"]["policyName"] for one in found if one["kind"] == "WebhookPolicy"] == ["☃"] * 3


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_locale_without_the_characters_is_enough(stand_in: StandIn, output: str) -> None:
    ended = run(stand_in, "doctor", "--output", output, "--project", "☃", env={"PYTHONIOENCODING": "latin-1"})
    assert ended.returncode == 1
    assert ("shows no project '☃'".encode() if output == "json" else b"shows no project '?'") in ended.stdout


# The file of Secrets


def test_the_file_of_secrets_cannot_be_where_the_resources_go(stand_in: StandIn, tmp_path: Path) -> None:
    for name in (f"{tmp_path}/out.yaml", "/dev/stdout"):
        ended = in_shell(stand_in, f'$0 -m harborhook export "$@" --secrets-file {name} > {tmp_path}/out.yaml')
        assert ended.returncode == 1
        assert b"is where the resources go" in ended.stderr


def test_a_file_of_secrets_that_cannot_be_is_told_before_harbor_is_asked(stand_in: StandIn, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    stand_in.clear_requests()
    for name in ("loop", "x" * 300, "file/sub", "fifo"):
        ended = run(stand_in, "export", "--secrets-file", str(tmp_path / name))
        assert (ended.returncode, ended.stdout) == (1, b"")
        assert b"cannot be written" in ended.stderr or b"is not a file" in ended.stderr
    assert stand_in.requests() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "file", "loop"]


def test_a_file_of_secrets_behind_a_link_is_replaced_and_the_link_stays(stand_in: StandIn, tmp_path: Path) -> None:
    name = "x" * 250
    (tmp_path / "link").symlink_to(tmp_path / name)
    assert run(stand_in, "export", "--secrets-file", str(tmp_path / "link")).returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert CANARY in (tmp_path / name).read_text()


# Name and password


@pytest.mark.parametrize("name", COMMANDS)
def test_a_password_that_is_no_text_is_wrong_usage(stand_in: StandIn, name: str) -> None:
    wrong = PASSWORD.encode() + b"\xff"
    for env in ({}, LOCALE_WITHOUT_UNICODE):
        by_variable = run(stand_in, name, env={"HARBORHOOK_PASSWORD": wrong, **env})
        by_stdin = run(stand_in, name, "--password-stdin", stdin=wrong, env=env)
        for ended in (by_variable, by_stdin):
            assert ended.returncode == 2
            assert b"The password is not UTF-8 text." in ended.stderr


def test_a_password_is_utf_8_in_every_locale(stand_in: StandIn) -> None:
    password = f"Pässw0rd-{CANARY}"
    make(stand_in, "/users", {"username": "dev", "email": "d@example.com", "realname": "d", "password": password})
    login: dict[str, str | bytes] = {"HARBORHOOK_USERNAME": "dev", **LOCALE_WITHOUT_UNICODE}
    by_variable = run(stand_in, "export", env={**login, "HARBORHOOK_PASSWORD": password})
    by_stdin = run(stand_in, "export", "--password-stdin", env=login, stdin=f"{password}\n".encode())
    for ended in (by_variable, by_stdin):
        assert b"Exported: 1 of kind HarborProject" in ended.stderr, ended.stderr


def test_a_password_from_no_standard_input_is_wrong_usage(stand_in: StandIn) -> None:
    ended = in_shell(stand_in, '$0 -m harborhook doctor "$@" --password-stdin <&-')
    assert ended.returncode == 2
    assert b"there is no standard input" in ended.stderr


def test_a_password_is_not_shown_while_it_is_typed(stand_in: StandIn) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, command("doctor", *by_url(stand_in), "--password-stdin"), variables())
    shown = b""
    with suppress(OSError):  # which is how the end of the other side shows
        while True:
            shown += (read := os.read(terminal, 1024))
            if b"Password:" in read:
                os.write(terminal, f"{PASSWORD}\n".encode())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert CANARY.encode() not in shown


# The environment


@pytest.mark.parametrize("name", COMMANDS)
def test_a_proxy_that_cannot_be_used_is_told(stand_in: StandIn, name: str) -> None:
    ended = run(stand_in, name, env={"ALL_PROXY": f"socks5://user:{CANARY}@127.0.0.1:1", "NO_PROXY": ""})
    assert ended.returncode == 1
    assert b"names a proxy for it that cannot be used" in ended.stdout + ended.stderr
    assert (
        run(stand_in, name, env={"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "fd00::/8,127.0.0.0/8"}).returncode
        == 0
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_that_cannot_be_read_is_told(stand_in: StandIn, name: str) -> None:
    ended = run(stand_in, name, "--ca-file", "/proc/self/mem")
    assert ended.returncode == 1
    assert b"Input/output error" in ended.stdout + ended.stderr


# Harbor


def test_a_project_that_is_deleted_meanwhile_is_not_exported(stand_in: StandIn) -> None:
    make(stand_in, "/projects", {"project_name": "short-lived"})
    stand_in.set_fault({"path": "/projects/short-lived/summary"}, delay=4)
    stand_in.clear_requests()
    arguments = command("export", *by_url(stand_in))
    with subprocess.Popen(arguments, env=variables(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until_asked(stand_in, "/projects/two/webhook/policies")
        url = f"{stand_in.url}/api/v2.0/projects/short-lived"
        httpx.delete(url, auth=stand_in.admin, headers={"X-Is-Resource-Name": "true"}).raise_for_status()
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert b"short-lived" not in stdout + stderr


def test_the_doctor_goes_on_where_harbor_refuses_one_answer(stand_in: StandIn) -> None:
    stand_in.set_fault({"path": "/configurations|/webhook/events"}, status=500)
    said = run(stand_in, "doctor").stdout.decode()
    assert "note  Harbor's notifications are on; who can switch them is not known: Harbor refused GET" in said
    assert said.count("\nok    Permission ") == 14
    assert "note  Harbor does not list its event types: Harbor refused GET" in said
    assert said.endswith("\nThe operator can work with this Harbor.\n")


def test_a_project_that_no_resource_can_name_is_left_out_and_not_asked_about(stand_in: StandIn) -> None:
    rows = [{"project_id": 7, "name": "Former"}, {"project_id": 8, "name": "../one"}, {"project_id": 9, "name": "one"}]
    stand_in.set_fault({"method": "GET", "path": "/projects\\?"}, status=200, body=json.dumps(rows))
    stand_in.clear_requests()
    ended = run(stand_in, "export")
    assert ended.returncode == 1
    for name in ("Former", "../one"):
        assert (
            f"Warning: Project {name}: Project '{name}' is left out: no resource can name it." in ended.stderr.decode()
        )
    found = [one["metadata"]["name"] for one in yaml.safe_load_all(ended.stdout) if one]
    assert found == ["one", "one-policy"]
    asked = [request.path.split("/")[4] for request in stand_in.requests() if "/projects/" in request.path]
    assert set(asked) == {"one"}


@pytest.mark.parametrize("status", [500, 404, 403, 429])
def test_policies_that_cannot_be_read_are_told(stand_in: StandIn, status: int) -> None:
    stand_in.set_fault({"path": "/projects/two/webhook/policies"}, status=status, headers={"Retry-After": "0"})
    stand_in.set_fault({"method": "HEAD"}, status=500)
    ended = run(stand_in, "export")
    assert ended.returncode == 1
    assert b"Warning: Project two: Its webhook policies cannot be read: Harbor refused" in ended.stderr
    found = [one["metadata"]["name"] for one in yaml.safe_load_all(ended.stdout) if one]
    assert found == ["library", "one", "one-policy", "three", "three-policy", "two"]


def test_a_proxy_cache_is_exported_without_what_cannot_be_read(stand_in: StandIn) -> None:
    registry = {"name": "hub", "type": "docker-registry", "url": "http://127.0.0.1:9", "insecure": True}
    make(stand_in, "/registries", registry)
    make(stand_in, "/projects", {"project_name": "cache", "registry_id": 1})
    stand_in.set_fault({"path": "/registries"}, status=500)
    ended = run(stand_in, "export", "--project", "cache")
    assert ended.returncode == 1
    assert b"proxyCache: the name of its registry endpoint cannot be read." in ended.stderr
    assert [one["metadata"]["name"] for one in yaml.safe_load_all(ended.stdout) if one] == ["cache"]


@pytest.mark.parametrize("name", COMMANDS)
def test_an_interrupted_command_ends_at_once(stand_in: StandIn, name: str) -> None:
    stand_in.clear_requests()
    stand_in.set_fault({"path": "/projects/library/summary|/configurations"}, delay=60)
    arguments = command(name, *by_url(stand_in))
    with subprocess.Popen(arguments, env=variables(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until_asked(stand_in, "/c/login")
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout, stderr.strip()) == (130, b"", b"")


def until_asked(stand_in: StandIn, path: str) -> None:
    for _ in range(200):
        if any(path in request.path for request in stand_in.requests()):
            return
        time.sleep(0.05)
    raise AssertionError(f"nobody has asked for {path}")
