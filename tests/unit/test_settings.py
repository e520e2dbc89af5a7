"""The operator's settings, from variables and from code."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from harborhook.settings import Settings

OTHER_VALUES: dict[str, tuple[Any, Any]] = {
    "namespace": ("tools", "tools"),
    "watch_namespaces": ("a, b,", ["a", "b"]),
    "cluster_name": ("prod-1", "prod-1"),
    "watch_secrets": ("false", False),
    "leader_election": ("true", True),
    "lease_name": ("harborhook-2", "harborhook-2"),
    "lease_duration": ("30", 30),
    "renew_deadline": ("9.5", 9.5),
    "retry_period": ("1", 1.0),
    "allowed_harbor_hosts": ('["*.example.com"]', ["*.example.com"]),
    "drift_interval": ("30", 30.0),
    "poll_interval": ("7.5", 7.5),
    "connection_interval": ("5", 5.0),
    "relist_interval": ("60", 60.0),
    "workers": ("4", 4),
    "listen_host": ("127.0.0.1", "127.0.0.1"),
    "listen_port": ("0", 0),
    "log_level": ("DEBUG", "DEBUG"),
}
"""For the known settings: a value as text that differs from the default, and its meaning."""


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignores variables of the shell that runs the tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"HARBORHOOK_{name.upper()}", raising=False)


def test_everything_has_a_default() -> None:
    settings = Settings()

    assert settings.watch_namespaces == []
    assert settings.drift_interval == 600.0
    assert settings.poll_interval == 60.0


@pytest.mark.parametrize("name", sorted(OTHER_VALUES))
def test_each_setting_can_be_set_by_a_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, value = OTHER_VALUES[name]
    assert getattr(Settings(), name) != value

    monkeypatch.setenv(f"HARBORHOOK_{name.upper()}", text)

    assert getattr(Settings(), name) == value


@pytest.mark.parametrize("name", sorted(OTHER_VALUES))
def test_a_flag_means_the_same_as_a_variable_and_beats_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, value = OTHER_VALUES[name]
    monkeypatch.setenv(f"HARBORHOOK_{name.upper()}", str(Settings.model_fields[name].default))

    assert getattr(Settings(**{name: text}), name) == value


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_each_setting_is_described(name: str) -> None:
    description = Settings.model_fields[name].description or ""

    assert description.endswith(".")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        (" a , b ,", ["a", "b"]),
        ("[]", []),
        ('["a", "b"]', ["a", "b"]),
        (' [ "a" ]', ["a"]),
        ("[::1]", ["[::1]"]),
    ],
)
def test_a_list_is_names_separated_by_commas_or_a_json_list(text: str, names: list[str]) -> None:
    assert Settings(allowed_harbor_hosts=text).allowed_harbor_hosts == names


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("watch_namespaces", '["a'),
        ("watch_namespaces", '["a", 1]'),
        ("watch_secrets", "perhaps"),
        ("cluster_name", "a/b"),
        ("cluster_name", "x" * 101),
        ("shard", "A"),
        ("shard", "a" * 41),
        ("resource_selector", "team=a b"),
        ("resource_selector", "team=a,"),
        ("resource_selector", "team in a"),
        ("resource_selector", "team in (a"),
        ("resource_selector", "-team"),
        ("resource_selector", "team=a\n"),
        ("drift_interval", "soon"),
        ("drift_interval", 0),
        ("drift_interval", -1),
        ("drift_interval", "inf"),
        ("poll_interval", "nan"),
        ("connection_interval", 0),
        ("relist_interval", 0),
        ("workers", 0),
        ("workers", 513),
        ("workers", "1.5"),
        ("listen_port", 65536),
        ("log_level", "debug"),
        ("log_level", "TRACE"),
    ],
)
def test_a_value_that_cannot_work_is_refused_under_its_name(name: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refusal:
        Settings(**{name: value})

    assert [error["loc"][0] for error in refusal.value.errors()] == [name]


def test_a_wrong_variable_is_refused_under_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARBORHOOK_WATCH_NAMESPACES", '["a')

    with pytest.raises(ValidationError) as refusal:
        Settings()

    assert [error["loc"][0] for error in refusal.value.errors()] == ["watch_namespaces"]


def test_a_cluster_name_cannot_blur_the_mark_that_it_is_part_of() -> None:
    assert Settings(cluster_name="Prod_1.eu-west").cluster_name == "Prod_1.eu-west"
    for name in ("a/b", "a b", "a\n", "ä"):
        with pytest.raises(ValidationError):
            Settings(cluster_name=name)


@pytest.mark.parametrize(
    ("duration", "deadline", "period"), [(10, 10, 2), (10, 11, 2), (15, 2, 2), (15, 2, 3), (2, 10, 1)]
)
def test_a_leader_has_to_stop_before_others_may_begin(duration: int, deadline: float, period: float) -> None:
    with pytest.raises(ValidationError, match="retry_period must be less than renew_deadline"):
        Settings(lease_duration=duration, renew_deadline=deadline, retry_period=period)


@pytest.mark.parametrize(
    "selector",
    [
        "team",
        "!team",
        "team=a",
        "team==a",
        "team != a",
        "team=",
        "example.com/team=a,tier in (gold, silver), !legacy",
        "team notin (a)",
        " team = a , tier ",
    ],
)
def test_a_label_selector_is_taken_as_kubernetes_writes_them(selector: str) -> None:
    settings = Settings(resource_selector=selector, shard="a", leader_election=True)
    assert settings.resource_selector == selector


@pytest.mark.parametrize("settings", [{"resource_selector": "team=a"}, {"manage_connections": False}])
def test_one_of_several_operators_needs_a_name(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="needs a name in shard"):
        Settings(**settings)


@pytest.mark.parametrize(
    ("settings", "lease"),
    [({}, "harborhook"), ({"shard": "a"}, "harborhook-a"), ({"shard": "a", "lease_name": "mine"}, "mine")],
)
def test_each_shard_has_a_lease_of_its_own(settings: dict[str, Any], lease: str) -> None:
    assert Settings(**settings, leader_election=True).lease == lease


def test_two_with_one_mark_would_have_one_lease() -> None:
    with pytest.raises(ValidationError, match="needs leader_election"):
        Settings(shard="a")
    first, second = (Settings(shard="a", namespace=name, leader_election=True) for name in ("x", "y"))
    assert (first.mark, second.mark, Settings().mark) == ("x/a", "y/a", "")


def test_settings_do_not_change_while_the_operator_runs() -> None:
    with pytest.raises(ValidationError):
        Settings().workers = 5  # type: ignore[misc]
