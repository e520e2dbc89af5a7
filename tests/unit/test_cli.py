"""The console command: its output and its errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

import harborhook
from harborhook import cli
from harborhook.settings import Settings
from harness.paths import REPOSITORY


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignores variables of the shell that runs the tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"HARBORHOOK_{name.upper()}", raising=False)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Records the settings that the operator was started with, without starting it."""
    found: list[Settings] = []

    async def run(operator: object) -> None:
        found.append(operator.settings)  # type: ignore[attr-defined]

    monkeypatch.setattr(cli, "_run", run)
    monkeypatch.setattr("harborhook.telemetry.set_up_logging", lambda _: None)
    return found


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments)


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


# Output


def test_the_version_is_the_packages() -> None:
    result = invoke("--version")

    assert result.exit_code == 0
    assert result.output == f"harborhook, version {harborhook.__version__}\n"


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_the_commands(option: str) -> None:
    result = invoke(option)

    assert result.exit_code == 0
    assert set(cli.main.commands) == set(re.findall(r"^  (\w+)  ", result.output, re.MULTILINE))


def test_crds_prints_what_the_repository_ships() -> None:
    result = invoke("crds")

    printed = {crd["metadata"]["name"]: crd for crd in yaml.safe_load_all(result.output)}
    shipped = {
        crd["metadata"]["name"]: crd
        for file in (REPOSITORY / "crds").glob("harborhook.io_*.yaml")
        for crd in yaml.safe_load_all(file.read_text(encoding="utf-8"))
    }
    assert result.exit_code == 0
    assert printed == shipped
    assert len(printed) == 4


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_help_of_run_shows_flag_variable_and_default_of_each_setting(name: str) -> None:
    text = " ".join(invoke("run", "--help").output.split())

    field = Settings.model_fields[name]
    assert f"{flag(name)} VALUE" in text
    assert f"[HARBORHOOK_{name.upper()}]" in text
    assert (field.description or "?") in text
    if field.default not in ("", []):
        assert f"[HARBORHOOK_{name.upper()}] [default: {field.default}]" in text


def test_the_package_can_be_run_as_a_module() -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "operator")}
    command = [sys.executable, "-m", "harborhook", "--version"]

    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"harborhook, version {harborhook.__version__}\n"


# Start


def test_flags_and_variables_reach_the_operator(started: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARBORHOOK_WORKERS", "3")
    monkeypatch.setenv("HARBORHOOK_POLL_INTERVAL", "5")

    result = invoke("run", "--workers", "7", "--watch-namespaces", "a,b", "--watch-secrets", "false")

    assert result.exit_code == 0, result.output
    (settings,) = started
    assert (settings.workers, settings.poll_interval) == (7, 5.0)
    assert (settings.watch_namespaces, settings.watch_secrets) == (["a", "b"], False)


def test_without_flags_and_variables_the_defaults_count(started: list[Settings]) -> None:
    assert invoke("run").exit_code == 0
    assert started == [Settings()]


# Errors


@pytest.mark.parametrize(
    ("arguments", "variables", "name"),
    [
        (["--workers", "0"], {}, "workers"),
        (["--workers", "many"], {}, "workers"),
        (["--drift-interval", "-1"], {}, "drift_interval"),
        (["--watch-secrets", "perhaps"], {}, "watch_secrets"),
        (["--log-level", "LOUD"], {}, "log_level"),
        (["--watch-namespaces", '["a'], {}, "watch_namespaces"),
        ([], {"HARBORHOOK_WORKERS": "many"}, "workers"),
        ([], {"HARBORHOOK_LISTEN_PORT": "99999"}, "listen_port"),
        ([], {"HARBORHOOK_WATCH_NAMESPACES": '["a'}, "watch_namespaces"),
    ],
)
def test_a_wrong_value_is_refused_with_one_sentence_and_exit_code_1(
    started: list[Settings],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    variables: dict[str, str],
    name: str,
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)

    result = invoke("run", *arguments)

    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), "a traceback"
    assert result.output.count("\n") == 1
    assert result.output.startswith(f"Error: The settings are wrong: {name}: ")
    assert started == []


def test_all_wrong_values_are_named_at_once(started: list[Settings]) -> None:
    result = invoke("run", "--workers", "0", "--listen-port", "-1")

    assert re.fullmatch(r"Error: The settings are wrong: workers: .+; listen_port: .+\n", result.output)


def test_settings_that_do_not_go_together_are_told_in_words_of_ours_alone(started: list[Settings]) -> None:
    result = invoke("run", "--retry-period", "20")

    assert result.output == (
        "Error: The settings are wrong: retry_period must be less than renew_deadline, and that less than "
        "lease_duration\n"
    )


@pytest.mark.parametrize("arguments", [["run", "--no-such-flag"], ["no-such-command"], ["run", "argument"]])
def test_what_is_not_understood_is_refused_with_a_hint_at_the_help(arguments: list[str]) -> None:
    result = invoke(*arguments)

    assert result.exit_code == 2
    assert "--help" in result.output


@pytest.mark.parametrize("content", [None, "", "{", "a: [b", "apiVersion: v1\nkind: Config\n"])
def test_a_kubeconfig_that_cannot_be_used_is_told_in_one_sentence(tmp_path: Path, content: str | None) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    if content is not None:
        kubeconfig.write_text(content)
    ended = CliRunner().invoke(cli.main, ["run", "--listen-port", "0", "--kubeconfig", str(kubeconfig)])
    assert ended.exit_code == 1
    assert "cannot be used" in ended.output
    assert "Traceback" not in ended.output
