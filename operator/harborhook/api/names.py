"""The API's names: group, kinds, annotations, and the key of an object. Imports only modules that load fast.

The console commands read objects as plain JSON and need nothing but these names. The operator imports the same names
from api/base.py and api/kinds.py, next to the models.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

GROUP = "harborhook.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

FINALIZER = f"{GROUP}/cleanup"
ANNOTATION_RELEASE = f"{GROUP}/release"
ANNOTATION_RECONCILE_AT = f"{GROUP}/reconcile-at"
ANNOTATION_TEST_ENDPOINT = f"{GROUP}/test-endpoint"
ANNOTATION_REDELIVER = f"{GROUP}/redeliver"
ANNOTATION_CREATE_PENDING = f"{GROUP}/create-pending"
ANNOTATION_SHARD = f"{GROUP}/shard"
"""The operator that works on the resource, where several share a cluster."""
ANNOTATION_LIMIT = 1024
"""Characters of a requesting annotation's value that the status repeats in its answer."""


class KindName(NamedTuple):
    """The spellings of one kind."""

    kind: str
    plural: str
    short: str
    namespaced: bool


CLUSTER_HARBOR_CONNECTION = KindName("ClusterHarborConnection", "clusterharborconnections", "chconn", False)
HARBOR_CONNECTION = KindName("HarborConnection", "harborconnections", "hconn", True)
HARBOR_PROJECT = KindName("HarborProject", "harborprojects", "hproj", True)
WEBHOOK_POLICY = KindName("WebhookPolicy", "webhookpolicies", "whp", True)

KIND_NAMES = {
    name.kind: name for name in (CLUSTER_HARBOR_CONNECTION, HARBOR_CONNECTION, HARBOR_PROJECT, WEBHOOK_POLICY)
}


Body = dict[str, Any]
"""An object as the API server returns it."""


class Key(NamedTuple):
    """Names one object: one of our resources, or a Secret, ConfigMap or claim that they depend on.

    `namespace` is "" for a cluster-scoped object.
    """

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class DeliveriesKey(NamedTuple):
    """Names the deliveries of all webhook policies of one Harbor project; one poll over a connection reads them
    together."""

    connection: Key
    project: str

    @property
    def kind(self) -> str:
        """Label in logs and metrics, next to the kinds of objects."""
        return "Deliveries"

    def __str__(self) -> str:
        return f"{self.kind} of project {self.project} over {self.connection}"


class SenderKey(NamedTuple):
    """Names the pending requests to the receivers of a WebhookPolicy: an endpoint test, or redeliveries."""

    purpose: Literal["EndpointTest", "Redelivery"]
    policy: Key

    @property
    def kind(self) -> str:
        """Label in logs and metrics, next to the kinds of objects."""
        return self.purpose

    @property
    def namespace(self) -> str:
        return self.policy.namespace

    def __str__(self) -> str:
        return f"{self.kind} of {self.policy}"


AnyKey = Key | DeliveriesKey | SenderKey
"""A key in the work queue; also something that an object can depend on."""
