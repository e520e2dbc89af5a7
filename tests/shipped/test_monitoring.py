"""Alerts and dashboard use only existing metrics, and explain what to do.

tests/e2e/test_dashboard.py tests that each panel's query finds data of a running operator.
"""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from harborhook.api.base import Key
from harborhook.runtime.queue import Queue
from harborhook.runtime.store import Store
from harborhook.telemetry import Metrics
from harness.paths import REPOSITORY
from harness.promql import Series, grouped_labels, result_labels, scrape, selectors, unmet

MONITORING = REPOSITORY / "manifests/monitoring"
PAGE = (REPOSITORY / "docs/monitoring.md").read_text()
RULES = [
    rule
    for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["spec"]["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = [variable for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]

Object = dict[str, Any]


def filled_in(query: str) -> str:
    """Returns a panel's query as Grafana sends it with everything selected."""
    for name, value in {"$__rate_interval": "5m", "$namespace": ".*", "$project": ".*"}.items():
        query = query.replace(name, value)
    return query


QUERIES = [rule["expr"] for rule in RULES] + [filled_in(target["expr"]) for target in TARGETS]


@pytest.fixture(scope="module")
def shown() -> list[Series]:
    """Returns the /metrics page of an operator with an event of every kind."""
    metrics = Metrics()
    policy, connection = Key("WebhookPolicy", "team-a", "ci"), Key("ClusterHarborConnection", "", "default")
    store = Store(lambda _: ())
    for key, status in {
        connection: {"conditions": [{"type": "Ready", "status": "True"}]},
        policy: {
            "projectName": "team-a",
            "lastTriggerTime": "2026-01-02T03:04:05Z",
            "deliveries": {
                "inProgress": 1,
                "consecutiveFailures": 2,
                "undelivered": 1,
                "lastSuccessTime": "2026-01-02T03:04:05Z",
                "lastFailureTime": "2026-01-02T03:04:05Z",
            },
        },
    }.items():
        store.upsert(key, {"metadata": {"name": key.name, "resourceVersion": "1"}, "status": status})
    metrics.watch(store, Queue(lambda: 0.0), lambda: {connection: True})
    metrics.count_request("GET", "/projects", 500)
    metrics.count_drift("WebhookPolicy", ["targets"])
    metrics.count_released("WebhookPolicy")
    metrics.count_deliveries(policy, "team-a", {"Failed": 1})
    for result in ("done", "error", "kubernetes_error"):
        metrics.observe_visit("WebhookPolicy", result, 0.1)
    return scrape(generate_latest(metrics.registry).decode())


def labels_of(metric: str, shown: list[Series]) -> set[str]:
    return {label for series in shown if series.name == metric for label in series.labels}


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_selects_metrics_that_there_are(query: str, shown: list[Series]) -> None:
    assert selectors(query) != []
    assert unmet([query], shown) == []


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_labels_that_its_metrics_have(query: str, shown: list[Series]) -> None:
    known = [labels_of(selector.name, shown) for selector in selectors(query)]
    for selector, labels in zip(selectors(query), known, strict=True):
        assert selector.labels <= labels
    assert grouped_labels(query) <= set.union(*known)


def test_a_query_for_something_else_would_be_noticed(shown: list[Series]) -> None:
    assert unmet(['rate(harborhook_reconcile_total{result="done"}[5m])'], shown) == []
    assert len(unmet(["rate(harborhook_reconciles_total[5m])"], shown)) == 1
    assert len(unmet(['harborhook_reconcile_total{outcome="done"}'], shown)) == 1
    assert len(unmet(['harborhook_connection_up{namespace="team-a"} == 0'], shown)) == 1


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_happened_what_it_means_and_what_to_do(rule: Object) -> None:
    assert rule["alert"].startswith("Harborhook")
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"}, {"severity": "info"})
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    for text in rule["annotations"].values():
        assert re.fullmatch(r"[A-Z{].+\.", text)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_mentions_only_labels_that_its_result_has(rule: Object) -> None:
    mentioned = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    assert mentioned <= result_labels(rule["expr"])


def test_alerts_have_different_names() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_explains_itself_and_asks_the_chosen_data_source(panel: Object) -> None:
    assert panel["description"].endswith(".")
    for asking in (panel, *panel["targets"]):
        assert asking["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target["expr"])
def test_a_legend_names_labels_that_the_query_returns(target: Object) -> None:
    mentioned = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
    assert mentioned <= result_labels(filled_in(target["expr"]))


def test_panels_neither_share_an_id_nor_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable["name"])
def test_a_variable_of_the_dashboard_lists_a_label_that_there_is(variable: Object, shown: list[Series]) -> None:
    asked = re.fullmatch(r"label_values\((.+), (\w+)\)", filled_in(variable["query"]["query"]))
    assert asked is not None
    assert unmet([asked[1]], shown) == []
    assert asked[2] == variable["name"]
    assert asked[2] in labels_of(selectors(asked[1])[0].name, shown)


def test_the_kustomization_ships_every_file_beside_it() -> None:
    kustomization = yaml.safe_load((MONITORING / "kustomization.yaml").read_text())
    listed = kustomization["resources"] + kustomization["configMapGenerator"][0]["files"]
    assert set(listed) == {path.name for path in MONITORING.iterdir()} - {"kustomization.yaml"}


def test_prometheus_finds_the_port_on_which_the_operator_shows_its_metrics() -> None:
    def read(path: Path) -> Object:
        found: Object = yaml.safe_load(path.read_text())
        return found

    monitor, service = read(MONITORING / "servicemonitor.yaml"), read(MONITORING / "service.yaml")
    deployment = read(REPOSITORY / "manifests/base/deployment.yaml")
    pod = deployment["spec"]["template"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]] == ["metrics"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    (port,) = service["spec"]["ports"]
    assert port["name"] == "metrics"
    assert port["targetPort"] in [one["name"] for one in pod["spec"]["containers"][0]["ports"]]


def test_the_label_namespace_of_a_metric_is_not_replaced_by_that_of_the_operator() -> None:
    monitor = yaml.safe_load((MONITORING / "servicemonitor.yaml").read_text())
    assert [endpoint["honorLabels"] for endpoint in monitor["spec"]["endpoints"]] == [True]


def test_the_page_about_monitoring_describes_every_metric_and_alert_and_no_other(shown: list[Series]) -> None:
    names = {re.sub(r"_(bucket|sum|count)$", "", series.name) for series in shown}
    metrics = {name for name in names if not name.endswith("_created")}
    assert set(re.findall(r"`(harborhook_\w+)`", PAGE)) == metrics
    assert set(re.findall(r"`(Harborhook\w+)`", PAGE)) == {rule["alert"] for rule in RULES}
