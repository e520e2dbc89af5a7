"""One WebhookPolicy with all its dependencies, for unit tests of its visits: no process, no network, no waiting."""

from __future__ import annotations

import copy
from typing import Any, cast

from harborhook.api.base import FINALIZER, Key
from harborhook.api.connections import ClusterHarborConnection
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.harbor.client import HarborClient
from harborhook.harbor.models import Policy, Supported
from harborhook.kube.gateway import Gateway
from harborhook.reconcile import changes, webhook_policy
from harborhook.reconcile.context import Context
from harborhook.reconcile.links import Link
from harborhook.reconcile.secrets import Data
from harborhook.reconcile.visit import Visit
from harborhook.runtime.events import Recorder
from harborhook.runtime.queue import Cause
from harness.alone import Clock, bare_context

Object = dict[str, Any]

CONNECTION = Key("ClusterHarborConnection", "", "default")
PROJECT = Key("HarborProject", "team", "team-a")
POLICY = Key("WebhookPolicy", "team", "ci")
SECRET = Key("Secret", "team", "ci")
URL = "https://harbor.example.com"
RECORDED = {"kind": CONNECTION.kind, "name": CONNECTION.name, "url": URL}


class Harbor:
    """One project with its policies; records the requests."""

    def __init__(self) -> None:
        self.policies_by_id: dict[int, Object] = {}
        self.requests: list[str] = []

    async def policies(self, project: str) -> list[Policy]:
        self.requests.append("list")
        return [_parsed(row) for row in self.policies_by_id.values()]

    async def policy(self, project: str, policy_id: int) -> Policy | None:
        self.requests.append("GET")
        row = self.policies_by_id.get(policy_id)
        return None if row is None else _parsed(row)

    async def create_policy(self, project: str, body: Object) -> int:
        self.requests.append("POST")
        self.policies_by_id[5] = {**copy.deepcopy(body), "id": 5, "project_id": 2}
        return 5

    async def update_policy(self, project: str, policy_id: int, body: Object) -> None:
        self.requests.append("PUT")
        self.policies_by_id[policy_id] = copy.deepcopy(dict(body))

    async def delete_policy(self, project: str, policy_id: int) -> None:
        self.requests.append("DELETE")
        del self.policies_by_id[policy_id]


def _parsed(row: Object) -> Policy:
    policy = Policy.parse(copy.deepcopy(row))
    assert policy is not None
    return policy


class Api:
    """The API server, for writes of statuses."""

    def __init__(self, context: Context) -> None:
        self.context = context

    async def get(self, key: Key) -> Object:
        body = self.context.store.get(key)
        assert body is not None
        return body

    async def patch(self, key: Key, patch: Object) -> Object:
        body = await self.get(key)
        return {**body, "metadata": {**body["metadata"], **patch["metadata"], "resourceVersion": _next_version(body)}}

    async def patch_status(self, key: Key, patch: Object) -> Object:
        body = await self.get(key)
        status = _merged(body.get("status") or {}, patch)
        return {**body, "metadata": {**body["metadata"], "resourceVersion": _next_version(body)}, "status": status}


def _merged(value: Any, patch: Any) -> Any:
    """Applies a JSON merge patch."""
    if not isinstance(patch, dict):
        return patch
    old = value if isinstance(value, dict) else {}
    kept = {name: old[name] for name in old if name not in patch}
    return kept | {name: _merged(old.get(name), change) for name, change in patch.items() if change is not None}


def _next_version(body: Object) -> str:
    return str(int(body["metadata"]["resourceVersion"]) + 1)


class Stage:
    """A policy, its project, its connection, a Secret with its header, and an operator that can be restarted."""

    def __init__(self, project: Object | None = None, **spec: Any) -> None:
        self.harbor = self._new_harbor()
        self.secrets: dict[Key, tuple[str, Data]] = {SECRET: ("1", {"header": b"Bearer one"})}
        self.bodies: dict[Key, Object] = {}
        self.bodies[CONNECTION] = _body(
            CONNECTION,
            url=URL,
            credentialsSecretRef={"namespace": "x", "name": "y"},
            access=[{"namespaces": ["*"], "projects": ["*"]}],
        )
        self.bodies[PROJECT] = _body(PROJECT, **project or {}) | {
            "status": {"projectID": 2, "projectName": "team-a", "connection": RECORDED, "observedGeneration": 1}
        }
        self.bodies[POLICY] = _body(
            POLICY,
            projectRef={"name": PROJECT.name},
            eventTypes=["PUSH_ARTIFACT"],
            targets=[_target()],
            **spec,
        )
        self.events: list[str] = []
        self._start()

    def _new_harbor(self) -> Harbor:
        return Harbor()

    def restart(self) -> None:
        """Replaces the operator by a new process: its memory is lost, the objects in the API server stay."""
        self.bodies = {key: self.stored(key) for key in self.bodies}
        self._start()

    def _start(self) -> None:
        self.context = context = bare_context(Clock())
        context.gateway = cast(Gateway, Api(context))
        context.recorder = Recorder(self._record, instance="test", clock=context.queue.clock)
        context.secrets.read = self._read
        for key, body in self.bodies.items():
            context.store.upsert(key, body)
        connection = ClusterHarborConnection.model_validate(self.bodies[CONNECTION])
        client = cast(HarborClient, self.harbor)
        self.link = context.links[CONNECTION] = Link.over(connection, client, clock=context.queue.clock)
        self.link.supported = Supported(frozenset({"PUSH_ARTIFACT"}), frozenset({"Default"}))
        self.link.notifications_enabled = True
        context.offered[CONNECTION] = self.link.offer

    async def _record(self, namespace: str, event: Object) -> None:
        self.events.append(f"{event['reason']}: {event['note']}")

    async def _read(self, key: Key) -> tuple[str, Data] | None:
        return self.secrets.get(key)

    def stored(self, key: Key) -> Object:
        body = self.context.store.get(key)
        assert body is not None
        return body

    def change(self, key: Key, **spec: Any) -> None:
        """Changes a spec as a user does with kubectl."""
        body = copy.deepcopy(self.stored(key))
        body["spec"].update(spec)
        body["metadata"]["resourceVersion"] = _next_version(body)
        body["metadata"]["generation"] += 1
        changes.saw(self.context, key, body)

    def write_secret(self, version: str, header: str) -> None:
        self.secrets[SECRET] = version, {"header": header.encode()}
        changes.saw_secret(self.context, SECRET, version)

    def in_ui(self, **fields: Any) -> None:
        self.harbor.policies_by_id[5].update(fields)

    @property
    def in_harbor(self) -> Object:
        return self.harbor.policies_by_id[5]

    async def visit(self, causes: Cause | None = None) -> list[str]:
        """Visits the policy, for its pending causes or the given ones; returns the requests to Harbor."""
        if causes is None:
            causes = self.waiting()
        self.harbor.requests.clear()
        self.events.clear()
        resource = WebhookPolicy.model_validate(self.stored(POLICY))
        visit = Visit(self.context, resource, causes, status=resource.status)
        verdict = await webhook_policy.reconcile(visit)
        await visit.finish(verdict)
        return list(self.harbor.requests)

    async def delete(self) -> list[str]:
        """Visits the policy for its deletion; returns the requests to Harbor."""
        self.harbor.requests.clear()
        resource = WebhookPolicy.model_validate(self.stored(POLICY))
        await webhook_policy.delete(Visit(self.context, resource, Cause.CHANGE, status=resource.status))
        return list(self.harbor.requests)

    def waiting(self) -> Cause:
        waiting = self.context.queue._waiting.pop(POLICY)
        assert waiting.visit is not None
        return waiting.visit[1]

    @property
    def drift(self) -> float:
        """Returns how many fields the metrics have counted as drift since the operator's start."""
        families = self.context.metrics.registry.collect()
        samples = [sample for family in families for sample in family.samples]
        return sum(one.value for one in samples if one.name == "harborhook_drift_corrected_total")


def _body(key: Key, **spec: Any) -> Object:
    metadata = {"name": key.name, "uid": key.name, "generation": 1, "resourceVersion": "1", "finalizers": [FINALIZER]}
    space = {"namespace": key.namespace} if key.namespace else {}
    return {
        "kind": key.kind,
        "metadata": {**metadata, **space, "creationTimestamp": "2026-01-02T03:04:05Z"},
        "spec": spec,
    }


def _target() -> Object:
    header = {"secretKeyRef": {"name": SECRET.name, "key": "header"}}
    return {"type": "http", "address": "https://ci.example.com", "authHeaderFrom": header}
