"""Logging, metrics, and the HTTP endpoints for the probes of Kubernetes.

Metrics about the state of objects are computed from the objects on each request, not stored: they are right after a
restart and disappear with their object. No label holds an address or a value of a Secret.
"""

from __future__ import annotations

import json
import logging
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from harborhook.api.base import Key
from harborhook.api.kinds import CONNECTION_KINDS
from harborhook.foreign_text import escaped
from harborhook.harbor.models import parse_time
from harborhook.runtime.queue import Queue
from harborhook.runtime.store import Store


class JsonFormatter(logging.Formatter):
    """One JSON object per line, for a log collector; it contains no control characters."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return escaped(json.dumps(line, ensure_ascii=False))


def set_up_logging(level: str) -> None:
    """Sends all logs to stderr, at `level`; routine messages of kopf and the HTTP clients are limited to warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("kopf", "aiohttp.access"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))


POLICY_LABELS = ("namespace", "name", "project")


class Metrics:
    """All metrics of one operator, in a separate registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._deliveries = Counter(
            "harborhook_webhook_deliveries",
            "Events whose notifications are settled, by result, since the operator started.",
            (*POLICY_LABELS, "result"),
            registry=self.registry,
        )
        self._requests = Counter(
            "harborhook_harbor_requests",
            "Requests to Harbor by endpoint class, method and status (0: no answer).",
            ("endpoint", "method", "status"),
            registry=self.registry,
        )
        self._visits = Counter(
            "harborhook_reconcile", "Visits by kind and how they ended.", ("kind", "result"), registry=self.registry
        )
        self._visit_seconds = Histogram(
            "harborhook_reconcile_duration_seconds", "How long visits took.", ("kind",), registry=self.registry
        )
        self._drift = Counter(
            "harborhook_drift_corrected",
            "Differences in Harbor that were reverted to the spec, by kind and field.",
            ("kind", "field"),
            registry=self.registry,
        )
        self._redeliveries = Counter(
            "harborhook_redeliveries",
            "Redeliveries by result: succeeded, failed, expired, gone (from Harbor).",
            ("result",),
            registry=self.registry,
        )
        for result in ("succeeded", "failed", "expired", "gone"):
            self._redeliveries.labels(result)  # starts at 0, so that the first one counts as an increase
        self._released = Counter(
            "harborhook_released",
            "Resources that were released while their object stays in Harbor, because credentials were lost.",
            ("kind",),
            registry=self.registry,
        )
        self.leader = Gauge("harborhook_leader", "Whether this operator is the leader.", registry=self.registry)
        self._labels: defaultdict[Key, set[tuple[str, ...]]] = defaultdict(set)

    def watch(self, store: Store, queue: Queue, notifications: Callable[[], Mapping[Key, bool]]) -> None:
        """Adds the metrics that are computed from these."""
        self.registry.register(_State(store, queue, notifications))

    def count_request(self, method: str, endpoint: str, status: int) -> None:
        self._requests.labels(endpoint, method, str(status)).inc()

    def observe_visit(self, kind: str, result: str, seconds: float) -> None:
        self._visits.labels(kind, result).inc()
        self._visit_seconds.labels(kind).observe(seconds)

    def count_drift(self, kind: str, fields: Iterable[str]) -> None:
        for name in fields:
            self._drift.labels(kind, name).inc()

    def count_released(self, kind: str) -> None:
        self._released.labels(kind).inc()

    def count_redelivery(self, result: str) -> None:
        self._redeliveries.labels(result.lower()).inc()

    def count_deliveries(self, policy: Key, project: str, counted: Mapping[str, int]) -> None:
        for result, number in counted.items():
            labels = (policy.namespace, policy.name, project, result)
            self._labels[policy].add(labels)
            self._deliveries.labels(*labels).inc(number)

    def forget(self, policy: Key) -> None:
        """Removes the metrics of a deleted policy."""
        for labels in self._labels.pop(policy, ()):
            self._deliveries.remove(*labels)


class _State(Collector):
    """Metrics computed from the present objects on each request."""

    def __init__(self, store: Store, queue: Queue, notifications: Callable[[], Mapping[Key, bool]]) -> None:
        self._store = store
        self._queue = queue
        self._notifications = notifications

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("harborhook_queue_depth", "Keys that wait for a worker.", value=len(self._queue))
        yield GaugeMetricFamily(
            "harborhook_queue_age_seconds", "How long the oldest of them has waited, in seconds.", value=self._queue.age
        )
        yield GaugeMetricFamily("harborhook_workers_busy", "Workers that hold a key.", value=self._queue.held)
        yield from self._policies()
        yield from self._connections()

    def describe(self) -> Iterable[Metric]:
        return ()

    def _policies(self) -> Iterable[Metric]:
        families = {
            name: GaugeMetricFamily(f"harborhook_webhook_{name}", text, labels=POLICY_LABELS)
            for name, text in {
                "last_trigger_timestamp_seconds": "When Harbor last queued a notification of the policy.",
                "last_success_timestamp_seconds": "When an event was last delivered to every target.",
                "last_failure_timestamp_seconds": "When Harbor last stopped retrying a notification.",
                "consecutive_failures": "Events in a row, up to the newest, that were not delivered.",
                "deliveries_in_progress": "Notifications that are neither delivered nor finally failed.",
                "undelivered": "Events that failed, were not redelivered, and are still in Harbor.",
            }.items()
        }
        for key in self._store.all("WebhookPolicy"):
            status = (self._store.get(key) or {}).get("status") or {}
            labels = (key.namespace, key.name, status.get("projectName", ""))
            for name, value in _delivery_values(status).items():
                if value is not None:
                    families[name].add_metric(labels, value)
        return families.values()

    def _connections(self) -> Iterable[Metric]:
        names = ("kind", "namespace", "name")
        up = GaugeMetricFamily("harborhook_connection_up", "Whether the connection to Harbor works.", labels=names)
        enabled = GaugeMetricFamily(
            "harborhook_notifications_enabled", "Harbor's own switch for all notifications.", labels=names
        )
        for kind in CONNECTION_KINDS:
            for key in self._store.all(kind):
                conditions = ((self._store.get(key) or {}).get("status") or {}).get("conditions") or []
                ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
                up.add_metric(key, float(ready))
        for key, value in self._notifications().items():
            enabled.add_metric(key, float(value))
        return up, enabled


def _delivery_values(status: Mapping[str, Any]) -> dict[str, float | None]:
    deliveries = status.get("deliveries") or {}
    return {
        "last_trigger_timestamp_seconds": _timestamp(status.get("lastTriggerTime")),
        "last_success_timestamp_seconds": _timestamp(deliveries.get("lastSuccessTime")),
        "last_failure_timestamp_seconds": _timestamp(deliveries.get("lastFailureTime")),
        "consecutive_failures": deliveries.get("consecutiveFailures"),
        "deliveries_in_progress": deliveries.get("inProgress"),
        "undelivered": deliveries.get("undelivered"),
    }


def _timestamp(value: Any) -> float | None:
    time = parse_time(value)
    return time.timestamp() if time else None


async def serve_probes(
    host: str, port: int, *, alive: Callable[[], bool], ready: Callable[[], bool], metrics: Metrics
) -> web.AppRunner:
    """Serves /healthz (the workers make progress) and /readyz (all resources have been listed) with 200 or 503, and
    /metrics. Without a host it listens on all addresses, of IPv4 and IPv6."""

    def answer(check: Callable[[], bool]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def respond(_: web.Request) -> web.Response:
            return web.Response(text="ok\n") if check() else web.Response(text="not yet\n", status=503)

        return respond

    async def show(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    app = web.Application()
    app.router.add_get("/healthz", answer(alive))
    app.router.add_get("/readyz", answer(ready))
    app.router.add_get("/metrics", show)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, host or None, port).start()
    return runner
