"""The four kinds: what each is called in the API, and the model that parses it."""

from __future__ import annotations

from dataclasses import dataclass

from harborhook.api.base import Resource
from harborhook.api.connections import ClusterHarborConnection, HarborConnection
from harborhook.api.project import HarborProject
from harborhook.api.webhook_policy import WebhookPolicy


@dataclass(frozen=True)
class Kind:
    name: str
    plural: str
    short: str
    namespaced: bool
    model: type[Resource]


CLUSTER_HARBOR_CONNECTION = Kind(
    "ClusterHarborConnection", "clusterharborconnections", "chconn", False, ClusterHarborConnection
)
HARBOR_CONNECTION = Kind("HarborConnection", "harborconnections", "hconn", True, HarborConnection)
HARBOR_PROJECT = Kind("HarborProject", "harborprojects", "hproj", True, HarborProject)
WEBHOOK_POLICY = Kind("WebhookPolicy", "webhookpolicies", "whp", True, WebhookPolicy)

KINDS = {kind.name: kind for kind in (CLUSTER_HARBOR_CONNECTION, HARBOR_CONNECTION, HARBOR_PROJECT, WEBHOOK_POLICY)}
CONNECTION_KINDS = (CLUSTER_HARBOR_CONNECTION.name, HARBOR_CONNECTION.name)
