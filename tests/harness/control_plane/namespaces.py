"""Finishes the deletion of namespaces without kube-controller-manager, in the way of its namespace controller.

A thread finds namespaces that are being deleted, deletes their contents, and removes the namespace's own finalizer once
nothing is left. Finalizers of the contents are respected.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from harness.control_plane.api import Api
from harness.control_plane.errors import RefusedError

Object = dict[str, Any]


class NamespaceFinisher:
    """Started and stopped like a server."""

    def __init__(self, api: Api, interval: float = 0.3) -> None:
        self._api = api
        self._interval = interval
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._ended.clear()
        self._thread = threading.Thread(target=self._run, name="namespaces", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._ended.wait(self._interval):
            try:
                self._look()
            except (OSError, RefusedError):
                continue  # the API server is down, or an object has changed: the next pass retries

    def _look(self) -> None:
        for namespace in self._api.request("GET", "/api/v1/namespaces")["items"]:
            if namespace["metadata"].get("deletionTimestamp") and namespace["spec"].get("finalizers"):
                self._finish(namespace)

    def _finish(self, namespace: Object) -> None:
        name = namespace["metadata"]["name"]
        left = [path for path in self._collections(name) if self._clear(path)]
        if not left:
            path = f"/api/v1/namespaces/{name}/finalize"
            self._api.request("PUT", path, {**namespace, "spec": {**namespace["spec"], "finalizers": []}})

    def _clear(self, path: str) -> bool:
        """Returns whether a collection had objects; deletes it unless that is in progress."""
        items = self._api.request("GET", path)["items"]
        if any("deletionTimestamp" not in item["metadata"] for item in items):
            self._api.request("DELETE", path)
        return bool(items)

    def _collections(self, namespace: str) -> Iterator[str]:
        """Yields the paths of all namespaced collections, in the versions that the API server prefers."""
        groups = self._api.request("GET", "/apis")["groups"]
        for version in ("/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups)):
            for resource in self._api.request("GET", version)["resources"]:
                if resource["namespaced"] and {"list", "deletecollection"} <= set(resource["verbs"]):
                    yield f"{version}/namespaces/{namespace}/{resource['name']}"
