"""The CPU cost of each write to Kubernetes in the API server and etcd, by verb and content type.

It makes the three writes of a new resource in several ways, on objects as the operator leaves them, while one watch is
open like the operator's. The operator does not run. `costs` returns the figures. The ways take turns, so that other
load on the machine affects all of them alike.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from bench.figures import Figure, Kind
from bench.processes import CpuClock
from bench.stage import NAMESPACE, Stage
from harness.control_plane import ControlPlane
from harness.world import GROUP, PLURALS, Object

MERGE, PATCH = "application/merge-patch+json", "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
JSON = "application/json"
FINALIZER = "harborhook.io/cleanup"
ROUNDS = 5
"""Turns of each way."""
WRITES = 60
"""Writes of each way per turn, each to a different object."""


@dataclass(frozen=True)
class Way:
    """One way to make one of the writes."""

    write: str
    verb: str
    content_type: str
    body: Callable[[Object, int], Any]
    """Returns the body for the present object, and a number that differs in each turn."""
    path: str = "/{name}"
    query: str = ""

    @property
    def name(self) -> str:
        return f"{self.write}: {self.verb} {self.content_type.removeprefix('application/')}"


def _finalizers(number: int) -> list[str]:
    return [FINALIZER, f"harborhook.io/{number}"]


def _condition(number: int) -> Object:
    return {
        "type": "Ready",
        "status": "True",
        "reason": "Reconciled",
        "message": "Harbor has the project as declared.",
        "observedGeneration": number,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


def _status(number: int) -> Object:
    return {
        "observedGeneration": number,
        "projectID": number,
        "projectName": "bench",
        "origin": "Created",
        "connection": {"kind": "ClusterHarborConnection", "name": "default", "url": "https://harbor.example.com"},
        "conditions": [_condition(number)],
    }


def _applied(found: Object, **fields: Any) -> Object:
    metadata = {"name": found["metadata"]["name"], "namespace": NAMESPACE, **fields.pop("metadata", {})}
    return {"apiVersion": GROUP, "kind": found["kind"], "metadata": metadata, **fields}


def _with_finalizers(found: Object, number: int) -> Object:
    return {**found, "metadata": {**found["metadata"], "finalizers": _finalizers(number)}}


def _event(found: Object, number: int) -> Object:
    metadata = found["metadata"]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": f"{metadata['name']}-", "namespace": NAMESPACE},
        "type": "Normal",
        "reason": "Created",
        "note": f"Created project {metadata['name']} in Harbor, {number}.",
        "action": "Reconcile",
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "harborhook.io/harborhook",
        "reportingInstance": "bench",
        "regarding": {
            "apiVersion": GROUP,
            "kind": found["kind"],
            "namespace": NAMESPACE,
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
    }


def _finalizer_patch(found: Object, number: int) -> Object:
    metadata = {"finalizers": _finalizers(number), "resourceVersion": found["metadata"]["resourceVersion"]}
    return {"metadata": metadata}


MANAGER = "?fieldManager=bench&force=true"
AS_NOW = ("finalizer: PATCH merge-patch+json", "status: PATCH merge-patch+json", "Event: POST json")
"""The operator's present ways."""
WAYS = (
    Way("finalizer", "PATCH", MERGE, _finalizer_patch),
    Way(
        "finalizer",
        "PATCH",
        PATCH,
        lambda _, number: [{"op": "add", "path": "/metadata/finalizers", "value": _finalizers(number)}],
    ),
    Way(
        "finalizer",
        "PATCH",
        APPLY,
        lambda found, number: _applied(found, metadata={"finalizers": _finalizers(number)}),
        query=MANAGER,
    ),
    Way("finalizer", "PUT", JSON, _with_finalizers),
    Way("status", "PATCH", MERGE, lambda _, number: {"status": _status(number)}, "/{name}/status"),
    Way(
        "status",
        "PATCH",
        PATCH,
        lambda _, number: [{"op": "add", "path": "/status", "value": _status(number)}],
        "/{name}/status",
    ),
    Way(
        "status",
        "PATCH",
        APPLY,
        lambda found, number: _applied(found, status=_status(number)),
        "/{name}/status",
        MANAGER,
    ),
    Way("status", "PUT", JSON, lambda found, number: {**found, "status": _status(number)}, "/{name}/status"),
    Way("Event", "POST", JSON, _event, ""),
)


def costs(stage: Stage, name: str) -> list[Figure]:
    """Returns CPU milliseconds of the API server and etcd for one write of each way, and the Event's share of the three
    present writes of a new resource."""
    stage.stop_operator()
    cpu = dict.fromkeys((way.name for way in WAYS), 0.0)
    with closing(_Writer(stage.control_plane)) as writer, _watched(stage.control_plane):
        objects = _objects(stage, writer)
        for turn in range(1, ROUNDS + 1):
            for place, way in enumerate(WAYS):
                clock = CpuClock.begin(_servers(stage.control_plane))
                writer.write_all(way, objects, turn * len(WAYS) + place)
                cpu[way.name] += sum(clock.used().values())
    each = {way: 1000 * seconds / (ROUNDS * WRITES) for way, seconds in cpu.items()}
    figures = [Figure(name, way, value, Kind.SHOWN, "ms") for way, value in each.items()]
    share = 100 * each[AS_NOW[-1]] / sum(each[way] for way in AS_NOW)
    return [*figures, Figure(name, "the Event's share of a new resource's writes", share, Kind.SHOWN, "%")]


def _servers(control_plane: ControlPlane) -> Mapping[str, int]:
    servers = (control_plane.api_server, control_plane.etcd)
    return {server.name: server.pid for server in servers if server.pid is not None}


def _objects(stage: Stage, writer: _Writer) -> dict[str, Object]:
    """Creates projects with a finalizer and a status, as the operator leaves them."""
    manifests = [stage.project_manifest(number) for number in range(WRITES)]
    found = {one["metadata"]["name"]: writer.send("POST", "", JSON, {"apiVersion": GROUP, **one}) for one in manifests}
    for way in WAYS:
        if way.name in AS_NOW[:2]:
            writer.write_all(way, found, 1)
    return found


@dataclass
class _Writer:
    """One connection with administrator rights."""

    control_plane: ControlPlane
    _connection: http.client.HTTPSConnection = field(init=False)

    def __post_init__(self) -> None:
        server = urlsplit(self.control_plane.url)
        trust = ssl.create_default_context(cafile=str(self.control_plane.ca_file))
        self._connection = http.client.HTTPSConnection(server.hostname or "", server.port, context=trust)

    def close(self) -> None:
        self._connection.close()

    def write_all(self, way: Way, objects: dict[str, Object], number: int) -> None:
        """Writes to each object and stores the answers."""
        for name, found in objects.items():
            answer = self.send(
                way.verb, way.path.format(name=name) + way.query, way.content_type, way.body(found, number), way.write
            )
            if answer["kind"] == found["kind"]:
                objects[name] = answer

    def send(self, verb: str, path: str, content_type: str, body: Any, write: str = "") -> Object:
        group, plural = ("events.k8s.io/v1", "events") if write == "Event" else (GROUP, PLURALS["HarborProject"])
        headers = {
            "Authorization": f"Bearer {self.control_plane.admin_token}",
            "Content-Type": content_type,
            "Accept": JSON,
        }
        url = f"/apis/{group}/namespaces/{NAMESPACE}/{plural}{path}"
        self._connection.request(verb, url, json.dumps(body), headers)
        answer = self._connection.getresponse()
        said: Object = json.loads(answer.read())
        if answer.status >= 400:
            raise RuntimeError(f"{verb} {url}: {said}")
        return said


@contextmanager
def _watched(control_plane: ControlPlane) -> Iterator[None]:
    """Reads the events of a watch of the projects during the block."""
    with closing(_Writer(control_plane)) as reader:
        connection = reader._connection
        headers = {"Authorization": f"Bearer {control_plane.admin_token}"}
        connection.request("GET", f"/apis/{GROUP}/namespaces/{NAMESPACE}/harborprojects?watch=true", headers=headers)
        answer = connection.getresponse()
        thread = threading.Thread(target=_drain, args=(answer,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            connection.sock.shutdown(socket.SHUT_RDWR)  # a connection with a pending read cannot be closed
            thread.join()


def _drain(answer: http.client.HTTPResponse) -> None:
    try:
        while answer.readline():
            pass
    except (OSError, ValueError, http.client.HTTPException):
        return  # closed
