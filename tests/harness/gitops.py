"""What Argo CD does with a manifest, as far as it can be seen in the cluster: mark it, apply it, and compare.

It compares in one of two ways, and both are played here. The older one: what was applied last, what is in Git now, and
what is live make a three-way merge patch; if applying that changes nothing, the resource is in sync. The newer one: a
server-side apply that is only tried; if its result is what is live, the resource is in sync. Argo CD does not run here.
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
    """One Application: its name is on all its resources."""

    world: World
    server_side: bool
    name: str = "team-a"

    def sync(self, *manifests: Object) -> None:
        """Applies, without forcing: a conflict with another field manager is an error."""
        options = ["--server-side"] if self.server_side else []
        listed = {"apiVersion": "v1", "kind": "List", "items": [self.tracked(manifest) for manifest in manifests]}
        self.world.control_plane.apply(json.dumps(listed), f"--field-manager={MANAGER}", "--validate=strict", *options)

    def tracked(self, manifest: Object) -> Object:
        """The manifest as Argo CD applies it: in its namespace, and marked as its own in both of the usual ways."""
        found = {"apiVersion": GROUP, **copy.deepcopy(manifest)}
        metadata = found["metadata"]
        if found["kind"] != "ClusterHarborConnection":
            metadata["namespace"] = self.world.namespace
        place = f"harborhook.io/{found['kind']}:{metadata.get('namespace', '')}/{metadata['name']}"
        metadata["annotations"] = {**metadata.get("annotations", {}), TRACKING: f"{self.name}:{place}"}
        metadata["labels"] = {**metadata.get("labels", {}), "app.kubernetes.io/instance": self.name}
        return found

    def differences(self, *manifests: Object) -> list[str]:
        """The fields in which live resources differ from the manifests, in either way of comparing."""
        found = set()
        for manifest in manifests:
            wanted = self.tracked(manifest)
            live = _without_bookkeeping(self.world.get(wanted["kind"], wanted["metadata"]["name"]))
            found |= set(_differing(live, three_way(live, wanted)))
            found |= set(_differing(live, self._tried(wanted)))
        return sorted(found)

    def _tried(self, wanted: Object) -> Object:
        """What a server-side apply would make of it. What was applied in the older way it has to take over."""
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
    """Live with what is wanted, and without what was applied before and is wanted no more."""
    stated = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    return _merged(live, json.loads(stated) if stated else wanted, wanted)


def _merged(live: Any, applied: Any, wanted: Any) -> Any:
    """Maps are merged key by key; anything else, lists too, is replaced."""
    if not isinstance(wanted, dict) or not isinstance(live, dict):
        return wanted
    applied = applied if isinstance(applied, dict) else {}
    kept = {key: value for key, value in live.items() if key in wanted or key not in applied}
    return {**kept, **{key: _merged(live.get(key), applied.get(key), value) for key, value in wanted.items()}}


def _without_bookkeeping(found: Object) -> Object:
    """Without what says who wrote what when, and without the status, which Argo CD does not compare either."""
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
