"""Simulates the part of Argo CD that is visible in the cluster: it marks, applies and compares manifests.

Argo CD has two ways of comparing, and both are simulated. The older one merges three versions: the last applied one,
the one in Git, and the live one; if the merge equals the live resource, it is in sync. The newer one is a dry-run of
server-side apply; if its result equals the live resource, it is in sync. Argo CD itself does not run here.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any

from harness.world import GROUP, Object, World

MANAGER = "argocd-controller"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
TRACKING = "argocd.argoproj.io/tracking-id"


@dataclass
class Application:
    """One Application: all its resources carry its name."""

    world: World
    server_side: bool
    name: str = "team-a"

    def sync(self, *manifests: Object) -> None:
        """Applies without force: a conflict with another field manager is an error."""
        options = ["--server-side"] if self.server_side else []
        listed = {"apiVersion": "v1", "kind": "List", "items": [self.tracked(manifest) for manifest in manifests]}
        self.world.control_plane.apply(json.dumps(listed), f"--field-manager={MANAGER}", "--validate=strict", *options)

    def tracked(self, manifest: Object) -> Object:
        """Returns the manifest as Argo CD applies it: in its namespace, marked in both of the usual ways."""
        found = {"apiVersion": GROUP, **copy.deepcopy(manifest)}
        metadata = found["metadata"]
        if found["kind"] != "ClusterHarborConnection":
            metadata["namespace"] = self.world.namespace
        place = f"harborhook.io/{found['kind']}:{metadata.get('namespace', '')}/{metadata['name']}"
        metadata["annotations"] = {**metadata.get("annotations", {}), TRACKING: f"{self.name}:{place}"}
        metadata["labels"] = {**metadata.get("labels", {}), "app.kubernetes.io/instance": self.name}
        return found

    def differences(self, *manifests: Object) -> list[str]:
        """Returns the fields in which live resources differ from the manifests, by either comparison."""
        found = set()
        for manifest in manifests:
            wanted = self.tracked(manifest)
            live = _without_bookkeeping(self.world.get(wanted["kind"], wanted["metadata"]["name"]))
            found |= set(_differing(live, three_way(live, wanted)))
            found |= set(_differing(live, self._tried(wanted)))
        return sorted(found)

    def _tried(self, wanted: Object) -> Object:
        """Returns the result of a dry-run server-side apply. It takes over fields that a client-side apply has set."""
        force = "false" if self.server_side else "true"
        path = self.world._path(wanted["kind"], wanted["metadata"]["name"])
        return _without_bookkeeping(
            self.world.control_plane.admin.request(
                "PATCH",
                f"{path}?dryRun=All&fieldManager={MANAGER}&fieldValidation=Strict&force={force}",
                wanted,
                content_type="application/apply-patch+yaml",
            )
        )


def three_way(live: Object, wanted: Object) -> Any:
    """Returns the live resource with the wanted fields, and without fields that were applied before and are no longer
    wanted."""
    stated = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    return _merged(live, json.loads(stated) if stated else wanted, wanted)


def _merged(live: Any, applied: Any, wanted: Any) -> Any:
    """Merges maps key by key; replaces anything else, including lists."""
    if not isinstance(wanted, dict) or not isinstance(live, dict):
        return wanted
    applied = applied if isinstance(applied, dict) else {}
    kept = {key: value for key, value in live.items() if key in wanted or key not in applied}
    return {**kept, **{key: _merged(live.get(key), applied.get(key), value) for key, value in wanted.items()}}


def _without_bookkeeping(found: Object) -> Object:
    """Drops managed fields and the status, which Argo CD does not compare either."""
    found = copy.deepcopy(found)
    for key in ("managedFields", "resourceVersion", "generation"):
        found["metadata"].pop(key, None)
    found.pop("status", None)
    return found


def _differing(live: Any, predicted: Any, path: str = "") -> list[str]:
    if isinstance(live, dict) and isinstance(predicted, dict):
        keys = {**live, **predicted}
        return [p for key in keys for p in _differing(live.get(key), predicted.get(key), f"{path}.{key}".strip("."))]
    return [] if live == predicted else [path]
