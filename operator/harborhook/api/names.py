"""What the API is called: group, kinds, annotations, and the key of an object. Imports nothing that takes time to load.

The console commands read objects as plain JSON and know them by these names alone; the operator gets the same names
through api/base.py and api/kinds.py, next to the models.
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
"""Which of several operators works on the resource."""
ANNOTATION_LIMIT = 1024
"""Characters of a request in an annotation that are repeated in its answer."""


class KindName(NamedTuple):
    """How one of our kinds is spelled."""

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
"""An object as the API server has it."""


class Key(NamedTuple):
    """Names one object: one of ours, or a Secret, ConfigMap or claim that ours depend on.

    `namespace` is "" for a cluster-scoped object.
    """

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class DeliveriesKey(NamedTuple):
    """Names the deliveries of all webhook policies of one Harbor project, which are read together over a connection."""

    connection: Key
    project: str

    @property
    def kind(self) -> str:
        """For logs and metrics, beside the kinds of objects."""
        return "Deliveries"

    def __str__(self) -> str:
        return f"{self.kind} of project {self.project} over {self.connection}"


class SenderKey(NamedTuple):
    """Names what is to be sent to the receivers of a WebhookPolicy: a test, or notifications that failed."""

    purpose: Literal["EndpointTest", "Redelivery"]
    policy: Key

    @property
    def kind(self) -> str:
        """For logs and metrics, beside the kinds of objects."""
        return self.purpose

    @property
    def namespace(self) -> str:
        return self.policy.namespace

    def __str__(self) -> str:
        return f"{self.kind} of {self.policy}"


AnyKey = Key | DeliveriesKey | SenderKey
"""What the work queues hold and what an object can depend on."""
