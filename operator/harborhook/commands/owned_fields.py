"""Sets fields that belong to users: `spec.suspend` of a resource, or a value of the global switch's ConfigMap.

If a GitOps tool has written the field, it would soon revert the change. Kubernetes records the writer of each field.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from harborhook.api.names import Body, Key
from harborhook.commands.asking import ActionResult
from harborhook.commands.cluster import Cluster
from harborhook.commands.failures import FailedError
from harborhook.commands.lookup import find

_GITOPS = re.compile(r"argocd|argo-cd|kustomize-controller|helm-controller|^helm$|fleet|flux", re.IGNORECASE)
"""Field managers of Argo CD, Flux, Fleet and Helm."""


def set_suspend(cluster: Cluster, key: Key, wanted: bool, *, force: bool) -> ActionResult:
    """Raises FailedError if a GitOps tool owns the field, unless `force` is set."""
    body = find(cluster, key)
    if bool(body["spec"].get("suspend")) is wanted:
        return ActionResult(key, True, f"It is {'already' if wanted else 'not'} suspended.")
    check_owner(body, ("spec", "suspend"), str(key), force=force)
    cluster.patch(key, {"spec": {"suspend": wanted}})
    if not wanted:
        return ActionResult(key, True, "Resumed.")
    return ActionResult(key, True, "Suspended: the operator writes nothing to Harbor for it until it is resumed.")


def check_owner(body: Body, path: Sequence[str], what: str, *, force: bool) -> None:
    """Raises FailedError if a GitOps tool has written that field."""
    owner = next((manager for manager in owners(body, path) if _GITOPS.search(manager)), None)
    if owner is not None and not force:
        raise FailedError(
            f"{'.'.join(path)} of {what} is set by {owner}, which would set it back: change it in Git, or use --force."
        )


def owners(body: Body, path: Sequence[str]) -> list[str]:
    """Returns the field managers of a field, from metadata.managedFields."""
    entries = body["metadata"].get("managedFields") or []
    return [str(entry.get("manager", "")) for entry in entries if _has(entry.get("fieldsV1") or {}, path)]


def _has(fields: Body, path: Sequence[str]) -> bool:
    for name in path:
        if f"f:{name}" not in fields:
            return False
        fields = fields[f"f:{name}"]
    return True
