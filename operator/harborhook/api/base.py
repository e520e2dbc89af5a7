"""The base of all resource models: metadata, references, common status fields, and CEL rules for the CRD schema.

A model is parsed from the API server's JSON (`model_validate`) and written back by `wire`. Python names are snake_case,
wire names camelCase by alias. An absent optional field is None in Python and left out on the wire, never null.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from harborhook.api.names import ANNOTATION_CREATE_PENDING as ANNOTATION_CREATE_PENDING
from harborhook.api.names import ANNOTATION_RECONCILE_AT as ANNOTATION_RECONCILE_AT
from harborhook.api.names import ANNOTATION_REDELIVER as ANNOTATION_REDELIVER
from harborhook.api.names import ANNOTATION_RELEASE as ANNOTATION_RELEASE
from harborhook.api.names import ANNOTATION_SHARD as ANNOTATION_SHARD
from harborhook.api.names import ANNOTATION_TEST_ENDPOINT as ANNOTATION_TEST_ENDPOINT
from harborhook.api.names import API_VERSION as API_VERSION
from harborhook.api.names import FINALIZER as FINALIZER
from harborhook.api.names import GROUP as GROUP
from harborhook.api.names import VERSION as VERSION
from harborhook.api.names import AnyKey as AnyKey
from harborhook.api.names import DeliveriesKey as DeliveriesKey
from harborhook.api.names import Key as Key
from harborhook.api.names import SenderKey as SenderKey

PROJECT_NAME_PATTERN = "^[a-z0-9]+([._-][a-z0-9]+)*$"
"""Harbor's own rule for project names."""
PROJECT_NAME_LIMIT = 255

RecordedProjectName = Annotated[
    str, WithJsonSchema({"type": "string", "maxLength": PROJECT_NAME_LIMIT, "pattern": PROJECT_NAME_PATTERN})
]
"""A project name in a status. The API server rejects invalid names. One that was stored earlier can still be read, but
it is not sent to Harbor."""


def _whole_seconds(value: datetime) -> datetime:
    return value.astimezone(UTC).replace(microsecond=0)


def format_time(value: datetime) -> str:
    """Returns RFC 3339 in UTC and whole seconds, the format of `metav1.Time`."""
    return _whole_seconds(value).strftime("%Y-%m-%dT%H:%M:%SZ")


Time = Annotated[
    datetime,
    AfterValidator(_whole_seconds),
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class ApiModel(BaseModel):
    """Base of all models in a spec or a status."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    def wire(self) -> dict[str, Any]:
        """Returns the object as the API server stores it: camelCase, absent fields left out instead of null."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """Returns CEL validation rules for a schema node; each pair is an expression and the message shown when it is
    false."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]}


class Metadata(ApiModel):
    """The parts of `metadata` that the operator reads."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: Time = datetime.fromtimestamp(0, UTC)
    deletion_timestamp: Time | None = None
    annotations: dict[str, str] = {}
    finalizers: list[str] = []

    @property
    def deleting(self) -> bool:
        return self.deletion_timestamp is not None

    @property
    def released(self) -> bool:
        """Whether the user asked to delete the object without a change in Harbor."""
        return self.annotations.get(ANNOTATION_RELEASE) == "true"


class Condition(ApiModel):
    """One observation about the resource, in the form that Kubernetes tools read."""

    type: str = Field(description="Name of the condition in CamelCase.", max_length=316)
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: str = Field(description="Why the condition has its status, as one CamelCase word.", max_length=1024)
    message: str = Field(
        "", description="What happened and what to do about it, in one or two sentences.", max_length=512
    )
    observed_generation: int = Field(description="The generation of the spec that the condition describes.")
    last_transition_time: Time = Field(description="When the status of the condition last changed.")


ConnectionKind = Literal["ClusterHarborConnection", "HarborConnection"]


class ConnectionRef(ApiModel):
    """Names a connection to Harbor."""

    kind: ConnectionKind = Field(
        "ClusterHarborConnection",
        description="ClusterHarborConnection (for the whole cluster) or HarborConnection (of the same namespace).",
    )
    name: str = Field(description="Name of the connection.", min_length=1, max_length=253)


class SecretKeyRef(ApiModel):
    """Names a key of a Secret."""

    name: str = Field(description="Name of a Secret of the same namespace.", min_length=1, max_length=253)
    key: str = Field(description="Key of the Secret.", min_length=1, max_length=253)


class RecordedConnection(ApiModel):
    """The connection over which an object in Harbor was created or adopted."""

    kind: ConnectionKind = Field(description="Kind of the connection in use.")
    name: str = Field(description="Name of the connection in use.")
    url: str = Field(description="URL of Harbor when the object was created or adopted.")


Origin = Literal["Created", "Adopted"]
CreationPolicy = Literal["Create", "Adopt", "CreateOrAdopt"]
DeletionPolicy = Literal["Retain", "Delete"]
DriftPolicy = Literal["Correct", "Report"]

Suspend = Annotated[
    bool,
    Field(description="true stops all writes to Harbor for this resource, except that deletion obeys deletionPolicy."),
]

DRIFT_ROWS = 32
DRIFT_VALUE_LIMIT = 256


class DriftRow(ApiModel):
    """One field in which Harbor differs from the spec."""

    field: str = Field(description="The field of the spec.", max_length=128)
    desired: str = Field(description="What the spec says.", max_length=DRIFT_VALUE_LIMIT)
    observed: str = Field(description="What Harbor has.", max_length=DRIFT_VALUE_LIMIT)


DriftList = Annotated[
    list[DriftRow],
    Field(
        description="Where Harbor differs from the spec, while driftPolicy is Report. At most 32 fields.",
        max_length=DRIFT_ROWS,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["field"]},
    ),
]

ConditionList = Annotated[
    list[Condition],
    Field(
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        description="Ready and Reconciling or Stalled, as kstatus defines them.",
        max_length=16,
    ),
]


class CommonStatus(ApiModel):
    """The part of the status that every kind has."""

    observed_generation: int | None = Field(None, description="The generation of the spec that this status describes.")
    last_handled_reconcile_at: str | None = Field(
        None, description="The last value of annotation harborhook.io/reconcile-at that was handled."
    )
    conditions: ConditionList = []

    def condition(self, kind: str) -> Condition | None:
        return next((condition for condition in self.conditions if condition.type == kind), None)

    @property
    def ready_reason(self) -> str:
        ready = self.condition("Ready")
        return ready.reason if ready else ""

    @property
    def is_ready(self) -> bool:
        ready = self.condition("Ready")
        return ready is not None and ready.status == "True"


class Resource(ApiModel):
    """One of our custom resources; subclasses add `spec` and extend `status`."""

    kind: str = ""
    metadata: Metadata
    status: CommonStatus = CommonStatus()

    @property
    def key(self) -> Key:
        return Key(self.kind, self.metadata.namespace, self.metadata.name)

    @property
    def reconcile_request(self) -> str | None:
        """The value of `harborhook.io/reconcile-at`; it is answered in `status.lastHandledReconcileAt`."""
        return self.metadata.annotations.get(ANNOTATION_RECONCILE_AT)

    @property
    def test_request(self) -> str | None:
        """The value of `harborhook.io/test-endpoint`; it is answered in `status.endpointTest`."""
        return self.metadata.annotations.get(ANNOTATION_TEST_ENDPOINT)

    @property
    def redeliver_request(self) -> str | None:
        """The value of `harborhook.io/redeliver`; it is answered in `status.redelivery`."""
        return self.metadata.annotations.get(ANNOTATION_REDELIVER)
