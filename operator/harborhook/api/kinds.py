"""The four kinds: their names in the API, and the models that parse them."""

from __future__ import annotations

from dataclasses import dataclass

from harborhook.api import names
from harborhook.api.base import Resource
from harborhook.api.connections import ClusterHarborConnection, HarborConnection
from harborhook.api.names import KindName
from harborhook.api.project import HarborProject
from harborhook.api.webhook_policy import WebhookPolicy


@dataclass(frozen=True)
class Kind:
    name: str
    plural: str
    short: str
    namespaced: bool
    model: type[Resource]


def _kind(name: KindName, model: type[Resource]) -> Kind:
    return Kind(name.kind, name.plural, name.short, name.namespaced, model)


CLUSTER_HARBOR_CONNECTION = _kind(names.CLUSTER_HARBOR_CONNECTION, ClusterHarborConnection)
HARBOR_CONNECTION = _kind(names.HARBOR_CONNECTION, HarborConnection)
HARBOR_PROJECT = _kind(names.HARBOR_PROJECT, HarborProject)
WEBHOOK_POLICY = _kind(names.WEBHOOK_POLICY, WebhookPolicy)

KINDS = {kind.name: kind for kind in (CLUSTER_HARBOR_CONNECTION, HARBOR_CONNECTION, HARBOR_PROJECT, WEBHOOK_POLICY)}
CONNECTION_KINDS = (CLUSTER_HARBOR_CONNECTION.name, HARBOR_CONNECTION.name)
