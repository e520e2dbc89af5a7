"""The options that select a Harbor: allowed combinations, and no password as an argument."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from harborhook import cli
from harborhook.commands.options import PASSWORD, USERNAME, ByConnection, ByUrl, Where, which_harbor

CANARY = "canary-7f3a"
URL = "https://harbor.example.com"
seen: list[Where] = []


@click.command()
@which_harbor
def look(where: Where) -> None:
    seen.append(where)


def given(*arguments: str, stdin: str = "", **variables: str) -> Result:
    seen.clear()
    environment: dict[str, str | None] = {USERNAME: None, PASSWORD: None, **variables}
    return CliRunner().invoke(look, arguments, env=environment, input=stdin)


def test_a_connection_is_named_with_or_without_its_namespace() -> None:
    assert given("--connection", "default").exit_code == 0
    assert seen == [ByConnection("default")]
    assert given("--connection", "team-a/mine", "--kubeconfig", "config").exit_code == 0
    assert seen == [ByConnection("mine", "team-a", "config")]


def test_credentials_come_from_variables_or_standard_input() -> None:
    login = {USERNAME: "robot$ci", PASSWORD: CANARY}
    assert given("--url", f"{URL}/", **login).exit_code == 0
    assert seen == [ByUrl(URL, "robot$ci", CANARY)]
    assert CANARY not in repr(seen)
    assert given("--url", URL, "--username", "dev", "--password-stdin", stdin=f" {CANARY}\r\n").exit_code == 0
    assert seen == [ByUrl(URL, "dev", f" {CANARY}")]


def test_what_a_gateway_wants_comes_from_files(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("token", "certificate", "key")]
    for path in paths:
        path.write_text(CANARY)
    token, certificate, key = paths
    pair = ("--client-certificate", str(certificate), "--client-key", str(key), "--server-name", "harbor.internal")
    headers = ("--header", f"X-Token=@{token}", "--header", f"X-Other=@{token}")
    assert given("--url", URL, *pair, *headers, **{USERNAME: "dev", PASSWORD: CANARY}).exit_code == 0
    (where,) = seen
    assert isinstance(where, ByUrl)
    assert where.headers == (("X-Token", token), ("X-Other", token))
    assert (where.client_certificate, where.client_key, where.server_name) == (certificate, key, "harbor.internal")
    assert CANARY not in repr(where)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--url", URL, "--connection", "default"),
        ("--url", URL),
        ("--url", URL, "--username", "dev"),
        ("--url", URL, "--username", "dev", "--password-stdin"),
        ("--url", "http://harbor.example.com", "--username", "dev"),
        ("--url", f"https://dev:{CANARY}@harbor.example.com", "--username", "dev"),
        ("--url", f"{URL}/api", "--username", "dev"),
        ("--url", "harbor.example.com", "--username", "dev"),
        ("--url", URL, "--kubeconfig", "config", "--username", "dev"),
        ("--connection", "default", "--username", "dev"),
        ("--connection", "default", "--insecure-skip-verify"),
        ("--connection", "a/b/c"),
        ("--connection", "/b"),
        ("--connection", "a/"),
        ("--url", URL, "--password", CANARY),
        ("--url", URL, "--username", "dev", "--header", f"X-Token={CANARY}"),
        ("--url", URL, "--username", "dev", "--header", f"Cookie=@{__file__}"),
        ("--url", URL, "--username", "dev", "--header", f"X Token=@{__file__}"),
        ("--url", URL, "--username", "dev", "--header", "X-Token=@/no/such/file"),
        ("--url", URL, "--username", "dev", "--client-certificate", __file__),
        ("--url", URL, "--username", "dev", "--client-key", __file__),
        ("--connection", "default", "--header", f"X-Token=@{__file__}"),
        ("--connection", "default", "--server-name", "harbor.internal"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(arguments: tuple[str, ...]) -> None:
    result = given(*arguments, stdin="\n")
    assert result.exit_code == 2
    assert seen == []
    assert CANARY not in result.output


@pytest.mark.parametrize("command", ["doctor", "export"])
def test_help_says_where_the_password_comes_from(command: str) -> None:
    text = " ".join(CliRunner().invoke(cli.main, [command, "--help"]).output.split())
    assert f"come from {USERNAME} and {PASSWORD}" in text
    assert "there is no flag for it" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("doctor", "--connection", "team-a/mine", "-n", "team-b"), "the connection is in team-a"),
        (("doctor", "--url", URL, "-n", "team-b"), "only with --connection"),
        (("export", "--connection", "team-a/mine", "-n", "team-b"), "serves its own, which is team-a"),
    ],
)
def test_a_namespace_has_to_fit_the_connection(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(cli.main, arguments, env={USERNAME: "dev", PASSWORD: CANARY})
    assert result.exit_code == 2
    assert said in result.output


def test_the_commands_take_no_time_to_load_for_those_who_do_not_use_them() -> None:
    heavy = "rich", "httpx", "kubernetes", "aiohttp", "kopf", "harborhook.reconcile"
    program = f"import sys, harborhook.cli; print([name for name in {heavy} if name in sys.modules])"
    source = Path(cli.__file__).parents[1]
    ended = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(source)}, capture_output=True, text=True, timeout=60
    )
    assert ended.stdout == "[]\n", ended.stderr
