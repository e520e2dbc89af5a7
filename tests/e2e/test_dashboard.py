"""Every panel of the dashboard shows data of an operator that has been running."""

from __future__ import annotations

import json
from pathlib import Path

from harness.harbor.process import StandIn
from harness.own import own_harbor, standing
from harness.promql import scrape, unmet
from harness.receiver import Receiver
from harness.world import World, condition, eventually, http_target

DASHBOARD = json.loads((Path(__file__).parents[2] / "manifests/monitoring/dashboard.json").read_text())


def queries(namespace: str, project: str) -> list[str]:
    """The queries of all panels for one project."""
    chosen = {"$__rate_interval": "5m", "$namespace": namespace, "$project": project}
    found = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    for variable, value in chosen.items():
        found = [query.replace(variable, value) for query in found]
    return found


def test_every_panel_shows_something_once_notifications_arrived_and_failed_and_drift_was_corrected(
    world: World, stand_in: StandIn
) -> None:
    with own_harbor(world, stand_in) as own, Receiver() as receiver:
        project = own.project_name()
        own.project(project, public=False)
        own.policy("ci", project, targets=[http_target(f"{receiver.url}/ok")])
        own.ready("WebhookPolicy", "ci")
        _deliver(own, project, "LastDeliverySucceeded")
        own.patch("WebhookPolicy", "ci", {"spec": {"targets": [http_target(f"{receiver.url}/status/500")]}})
        own.ready("WebhookPolicy", "ci")
        _deliver(own, project, "LastDeliveryFailed")
        own.change_project(project, public="true")
        eventually(
            lambda: unmet(queries(own.namespace, project), scrape(own.operator.metrics_page())) == [],
            lambda: str(unmet(queries(own.namespace, project), scrape(own.operator.metrics_page()))),
        )


def _deliver(own: World, project: str, reason: str) -> None:
    standing(own).happen("PUSH_ARTIFACT", project)
    own.until(
        "WebhookPolicy",
        "ci",
        lambda found: condition(found, "Delivering").get("reason") == reason,
        f"Delivering has not become {reason}",
    )
