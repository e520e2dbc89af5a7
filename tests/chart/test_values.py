"""The chart accepts valid values, rejects all others, and documents each."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from harborhook import __version__
from harborhook.api.kinds import KINDS
from harborhook.settings import Settings
from harness import chart_files
from harness.chart import CONNECTION, Values, container, environment, notes, one, refusal, render
from harness.chart_files import CHART
from harness.helm import Helm

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
FOR_UMBRELLAS = {"global", "enabled"}


def connection(**changed: Any) -> Values:
    return {"connection": {**CONNECTION, **changed}}


NONSENSE: dict[str, tuple[Values, str]] = {
    "an unknown value": ({"replica": 2}, "replica"),
    "an unknown value within another": ({"image": {"repo": "x"}}, "repo"),
    "an unknown setting": ({"settings": {"pollIntervall": 5}}, "pollIntervall"),
    "negative replicas": ({"replicas": -1}, "replicas"),
    "replicas as text": ({"replicas": "two"}, "replicas"),
    "a switch as text": ({"watchSecrets": "no"}, "watchSecrets"),
    "a namespace in capitals": ({"watchNamespaces": ["Team"]}, "watchNamespaces"),
    "a namespace twice": ({"watchNamespaces": ["a", "a"]}, "watchNamespaces"),
    "namespaces as text": ({"watchNamespaces": "a,b"}, "watchNamespaces"),
    "no time between two looks": ({"settings": {"driftInterval": 0}}, "driftInterval"),
    "too many workers": ({"settings": {"workers": 1000}}, "workers"),
    "a selector of a shard without a name": ({"shard": {"resourceSelector": "team=a"}}, "/shard/name"),
    "an unknown selection of Events": ({"settings": {"events": "some"}}, "events"),
    "an unknown log level": ({"settings": {"logLevel": "LOUD"}}, "logLevel"),
    "a cluster name with a slash": ({"settings": {"clusterName": "a/b"}}, "clusterName"),
    "a pull policy of one's own": ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    "a digest that is none": ({"image": {"digest": "latest"}}, "digest"),
    "a tag with a colon": ({"image": {"tag": "v1:2"}}, "tag"),
    "a privileged port": ({"port": 80}, "port"),
    "a connection to nowhere": ({"connection": {**CONNECTION, "url": ""}}, "url"),
    "a connection with a path": (connection(url="https://harbor.example.com/api"), "url"),
    "an unencrypted connection": (connection(url="http://harbor.example.com"), "url"),
    "a connection for nobody": (connection(access=[]), "access"),
    "a rule without projects": (connection(access=[{"namespaces": ["*"]}]), "projects"),
    "a connection without credentials": (connection(credentials={}), "existingSecret"),
    "credentials in the values": (connection(credentials={"password": "s3cret"}), "password"),
    "a limit of none": (connection(limits={"requestsPerSecond": 0}), "requestsPerSecond"),
    "a CA of another kind": (connection(tls={"caBundle": {"kind": "File"}}), "kind"),
    "a switch with a word": ({"globalSwitch": {"enabled": "off"}}, "enabled"),
    "a label with a space": ({"commonLabels": {"a": "b c" * 30}}, "commonLabels"),
    "a label of the test pod that selectors need": (
        {"test": {"podLabels": {"app.kubernetes.io/name": "harborhook"}}},
        "podLabels",
    ),
    "a label that selectors need": ({"podLabels": {"app.kubernetes.io/name": "x"}}, "podLabels"),
    "a variable without a name": ({"extraEnv": [{"value": "x"}]}, "extraEnv"),
    "a probe of another endpoint": ({"livenessProbe": {"httpGet": {"path": "/"}}}, "httpGet"),
    "a scrape interval without a unit": ({"serviceMonitor": {"interval": "30"}}, "interval"),
    "a budget of a half": ({"podDisruptionBudget": {"maxUnavailable": "half"}}, "maxUnavailable"),
}


@pytest.mark.parametrize(("values", "named"), NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_refused_by_name(helm: Helm, values: Values, named: str) -> None:
    said = refusal(helm, values)
    assert "don't meet the specifications of the schema" in said
    assert named in said


def merged(defaults: Values, values: Values) -> Values:
    """Values over the defaults, as Helm lays them."""
    both = {k: merged(defaults[k], v) for k, v in values.items() if isinstance(v, dict) and defaults.get(k)}
    return {**defaults, **values, **both}


SENSIBLE: list[Values] = [
    {},
    {"global": {"imageRegistry": "registry.example.com"}, "enabled": True},
    connection(),
    connection(url="http://harbor.example.com", allowInsecureHTTP=True),
    connection(allowedTargetHosts=None),
    {"replicas": 0},
    {"podDisruptionBudget": {"create": True, "minAvailable": "50%"}},
]


@pytest.mark.parametrize("values", SENSIBLE, ids=range(len(SENSIBLE)))
def test_what_makes_sense_is_taken(helm: Helm, values: Values) -> None:
    assert refusal(helm, values) == ""


def test_the_schema_names_exactly_the_values_there_are() -> None:
    assert set(schema_paths(SCHEMA)) - FOR_UMBRELLAS == {path for path, _ in leaves(DEFAULTS, SCHEMA)}


def test_no_object_with_known_parts_takes_unknown_ones() -> None:
    def loose(schema: Any) -> list[Any]:
        if isinstance(schema, list):
            return [found for one in schema for found in loose(one)]
        if not isinstance(schema, dict):
            return []
        conditional = {k: v for k, v in schema.items() if k not in ("if", "then", "else")}
        open_to_all = "properties" in schema and schema.get("additionalProperties") is not False
        return [schema] * open_to_all + [found for one in conditional.values() for found in loose(one)]

    allowed = [SCHEMA["properties"]["extraEnv"]["items"]]  # the API server knows the other fields
    assert [found for found in loose(SCHEMA) if found not in allowed] == []


def schema_paths(schema: Any, path: str = "") -> list[str]:
    properties = schema.get("properties")
    if not properties:
        return [path]
    return [p for key, part in properties.items() for p in schema_paths(part, f"{path}.{key}".strip("."))]


def leaves(values: Any, schema: Any, path: str = "") -> list[tuple[str, Any]]:
    """Returns the values down to the level that the schema describes."""
    if isinstance(values, dict) and "properties" in schema:
        parts = schema["properties"]
        known = [(k, v, parts[k]) for k, v in values.items()]
        missing = [(k, None, parts[k]) for k in parts if not values]
        return [p for k, v, part in known + missing for p in leaves(v, part, f"{path}.{k}".strip("."))]
    return [(path, values)]


def test_every_value_is_described() -> None:
    assert [path for path, _, description in chart_files.values() if not description] == []


def test_the_readme_lists_the_values_and_is_in_step() -> None:
    assert chart_files.main(["--check"]) == 0


def test_chart_and_operator_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def test_artifact_hub_gets_every_kind_with_an_example_that_the_operator_reads() -> None:
    annotations = yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]
    told = yaml.safe_load(annotations["artifacthub.io/crds"])
    assert {(kind["kind"], kind["name"]) for kind in told} == {
        (kind.name, f"{kind.plural}.harborhook.io") for kind in KINDS.values()
    }
    for example in yaml.safe_load(annotations["artifacthub.io/crdsExamples"]):
        KINDS[example["kind"]].model.model_validate(example)


REACHED: dict[str, tuple[Values, Any]] = {
    "watch_namespaces": ({"watchNamespaces": ["a", "b"]}, ["a", "b"]),
    "watch_secrets": ({"watchSecrets": False}, False),
    "leader_election": ({}, True),
    "lease_name": ({"leaderElection": {"leaseName": "other"}}, "other"),
    "lease_duration": ({"leaderElection": {"leaseDuration": 30}}, 30),
    "renew_deadline": ({"leaderElection": {"renewDeadline": 20.5}}, 20.5),
    "retry_period": ({"leaderElection": {"retryPeriod": 5}}, 5.0),
    "shard": ({"shard": {"name": "west"}}, "west"),
    "resource_selector": ({"shard": {"resourceSelector": "team in (a, b)"}}, "team in (a, b)"),
    "manage_connections": ({"shard": {"manageConnections": False}}, False),
    "global_config_map": ({"globalSwitch": {"name": "other"}}, "other"),
    "listen_port": ({"port": 9000}, 9000),
    "cluster_name": ({"settings": {"clusterName": "west"}}, "west"),
    "allowed_harbor_hosts": ({"settings": {"allowedHarborHosts": ["*.example.com", "[::1]"]}}, None),
    "log_level": ({"settings": {"logLevel": "DEBUG"}}, "DEBUG"),
    "events": ({"settings": {"events": "changes"}}, "changes"),
    "workers": ({"settings": {"workers": 5}}, 5),
    "listen_host": ({"settings": {"listenHost": "::"}}, "::"),
    "senders": ({"settings": {"senders": 3}}, 3),
    "redelivery_pause": ({"settings": {"redeliveryPause": 7}}, 7.0),
    "redelivery_longest_pause": ({"settings": {"redeliveryLongestPause": 70}}, 70.0),
    "drift_interval": ({"settings": {"driftInterval": 7}}, 7.0),
    "poll_interval": ({"settings": {"pollInterval": 7.5}}, 7.5),
    "open_poll_interval": ({"settings": {"openPollInterval": 7}}, 7.0),
    "status_interval": ({"settings": {"statusInterval": 0}}, 0.0),
    "prune_after": ({"settings": {"pruneAfter": 1_000_000}}, 1_000_000.0),
    "release_after": ({"settings": {"releaseAfter": 7}}, 7.0),
    "stuck_after": ({"settings": {"stuckAfter": 7}}, 7.0),
    "connection_interval": ({"settings": {"connectionInterval": 7}}, 7.0),
    "relist_interval": ({"settings": {"relistInterval": 7}}, 7.0),
}
"""Maps settings of the operator to the chart's value for them, and to the value that the operator then reads."""


def test_every_setting_of_the_operator_can_be_set(helm: Helm, monkeypatch: pytest.MonkeyPatch) -> None:
    values: Values = {}
    for stated, _ in REACHED.values():
        values = merged(values, stated)
    for name, value in environment(render(helm, values), namespace="elsewhere").items():
        monkeypatch.setenv(name, value)
    read = Settings()
    assert read.namespace == "elsewhere"
    assert read.allowed_harbor_hosts == ["*.example.com", "[::1]"]
    for name in set(Settings.model_fields) - {"namespace", "allowed_harbor_hosts"}:
        assert getattr(read, name) == REACHED[name][1], name


def test_without_values_the_operators_own_defaults_hold(helm: Helm) -> None:
    stated = {"HARBORHOOK_NAMESPACE": "harborhook", "HARBORHOOK_LEADER_ELECTION": "true"}
    assert environment(render(helm)) == stated


def test_further_variables_and_arguments_reach_the_operator(helm: Helm) -> None:
    values = {"extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}], "extraArgs": ["--log-level=DEBUG"]}
    found = container(render(helm, values))
    assert {"name": "HTTPS_PROXY", "value": "http://proxy:3128"} in found["env"]
    assert found["args"] == ["run", "--log-level=DEBUG"]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({}, f"harborhook:{__version__}"),
        ({"repository": "registry.example.com/a/harborhook", "tag": "v9"}, "registry.example.com/a/harborhook:v9"),
        ({"tag": "v9", "digest": f"sha256:{'0' * 64}"}, f"harborhook@sha256:{'0' * 64}"),
    ],
)
def test_the_image_is_the_one_that_was_named(helm: Helm, image: Values, expected: str) -> None:
    objects = render(helm, {"image": image})
    assert container(objects)["image"] == expected
    assert one(objects, "Pod")["spec"]["containers"][0]["image"] == expected


@pytest.mark.parametrize("values", [{}, connection()], ids=["defaults", "connection"])
def test_helm_finds_nothing_to_complain_of(helm: Helm, values: Values) -> None:
    done = helm("lint", "--strict", CHART, "--values", "-", stdin=json.dumps(values))
    complaints = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert complaints == ["[INFO] Chart.yaml: icon is recommended"]


# Notes of `helm install`


def test_the_notes_tell_the_next_step_by_short_names(helm: Helm) -> None:
    said = notes(helm)
    assert "kubectl get chconn" in said
    assert re.search(r"hproj.*whp", said, re.DOTALL)
    assert "helm test harborhook --namespace harborhook" in said


def test_safe_values_cause_no_warning(helm: Helm) -> None:
    assert "Warnings:" not in notes(helm)
    assert "Warnings:" not in notes(helm, connection())


RISKY: dict[str, Values] = {
    "connection.access is open for all": connection(access=[{"namespaces": ["*"], "projects": ["*"]}]),
    "connection.allowedTargetHosts is not set": connection(allowedTargetHosts=None),
    "connection.tls.insecureSkipVerify": connection(tls={"insecureSkipVerify": True}),
    "connection.allowInsecureHTTP": connection(allowInsecureHTTP=True),
    "globalSwitch.enabled is false": {"globalSwitch": {"create": True, "enabled": False}},
    "watchSecrets is false": {"watchSecrets": False},
    "replicas is more than 1 without leaderElection": {"replicas": 2, "leaderElection": {"enabled": False}},
    "replicas is 0": {"replicas": 0},
    "crds.keep is false": {"crds": {"keep": False}},
    "rbac.create is false": {"rbac": {"create": False}},
}


@pytest.mark.parametrize(("warning", "values"), RISKY.items(), ids=RISKY)
def test_a_risky_value_causes_a_warning_and_no_other(helm: Helm, warning: str, values: Values) -> None:
    warnings = [line for line in notes(helm, values).splitlines() if line.startswith("* ")]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"* {warning}")


def test_several_replicas_with_leader_election_are_fine(helm: Helm) -> None:
    assert "Warnings:" not in notes(helm, {"replicas": 3})
