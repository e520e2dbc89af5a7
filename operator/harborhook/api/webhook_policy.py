"""WebhookPolicy: one webhook policy of one Harbor project, and the observed state of its notifications."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from harborhook.api.base import (
    PROJECT_NAME_LIMIT,
    PROJECT_NAME_PATTERN,
    ApiModel,
    CommonStatus,
    ConnectionRef,
    CreationPolicy,
    DeletionPolicy,
    DriftList,
    DriftPolicy,
    Origin,
    RecordedConnection,
    RecordedProjectName,
    Resource,
    SecretKeyRef,
    Suspend,
    Time,
    rules,
)
from harborhook.api.deliveries import Deliveries, LastDelivery
from harborhook.api.names import ANNOTATION_LIMIT

ADDRESS_PATTERN = r"^https?://[^\s/?#\\]+[^\s\\]*$"
ADDRESS_LIMIT = 2048
DESCRIPTION_LIMIT = 4096
DURATION_PATTERN = "^([0-9]{1,3}h)?([0-9]{1,5}m)?$"
EventType = Annotated[str, Field(min_length=1, max_length=64, pattern="^[A-Z_]+$")]


class ValueFrom(ApiModel):
    """Source of a value that does not belong in a spec."""

    secret_key_ref: SecretKeyRef = Field(description="The key of a Secret that holds the value.")


class ProjectRef(ApiModel):
    """Names a HarborProject."""

    name: str = Field(description="Name of a HarborProject of the same namespace.", min_length=1, max_length=253)


class Target(ApiModel):
    """One receiver of notifications. An absent field has its default."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.address) != has(self.addressFrom)",
                "set exactly one of address and addressFrom (a key of a Secret that holds the address)",
            ),
            (
                "self.type != 'slack' || !has(self.payloadFormat)",
                "Harbor sends Slack's own format to a slack target: remove payloadFormat, or use type http",
            ),
            (
                "self.type != 'slack' || !has(self.authHeaderFrom)",
                "Harbor sends no Authorization header to a slack target: remove authHeaderFrom, or use type http",
            ),
        )
    )

    type: Literal["http", "slack"] = Field(
        description="http (Harbor posts its own JSON, or CloudEvents) or slack (Harbor posts a Slack message)."
    )
    address: str | None = Field(
        None,
        description="URL that Harbor posts to: http:// or https://, in lower case, with a host.",
        max_length=ADDRESS_LIMIT,
        pattern=ADDRESS_PATTERN,
    )
    address_from: ValueFrom | None = Field(
        None,
        description="Where the URL comes from if it holds a credential, as Slack's do: a key of a Secret.",
    )
    auth_header_from: ValueFrom | None = Field(
        None,
        description=(
            "Where the whole value of the Authorization header comes from. Absent: no header is sent. Only for http."
        ),
    )
    payload_format: Literal["Default", "CloudEvents"] | None = Field(
        None,
        description="Default (Harbor's own JSON) or CloudEvents (1.0, structured). Absent: Default. Only for http.",
    )
    verify_remote_certificate: bool | None = Field(
        None, description="false makes Harbor accept any certificate of the target. Absent: true."
    )


class Redelivery(ApiModel):
    """Which notifications the operator sends again when Harbor has stopped retrying.

    The ClusterHarborConnection has to permit it by allowRedelivery.
    """

    mode: Literal["Automatic", "Manual"] = Field(
        "Manual",
        description=(
            "Automatic (failed notifications are sent again until they arrive or are older than maxAge) or Manual "
            "(only those requested by annotation harborhook.io/redeliver)."
        ),
    )
    max_age: str = Field(
        "24h",
        description="Automatic ignores older events: 5m to 168h, such as 90m or 24h.",
        min_length=2,
        max_length=16,
        pattern=DURATION_PATTERN,
        json_schema_extra=rules(
            (
                "duration(self) >= duration('5m') && duration(self) <= duration('168h')",
                "maxAge has to be between 5m and 168h",
            )
        ),
    )


SPEC_RULES = rules(
    (
        "!has(self.redelivery) || self.redelivery.mode != 'Automatic' || "
        "self.targets.all(t, self.targets.exists_one(u, u.type == t.type && "
        "(has(u.payloadFormat) ? u.payloadFormat : 'Default') == "
        "(has(t.payloadFormat) ? t.payloadFormat : 'Default')))",
        "Harbor does not record which of two targets of the same type and payloadFormat a notification was for: "
        "declare a WebhookPolicy for each of them, or set redelivery.mode to Manual",
    ),
    (
        "has(self.projectRef) != has(self.projectName)",
        "set exactly one of projectRef (a HarborProject of this namespace) and projectName (a project nobody manages)",
    ),
    (
        "!has(self.connectionRef) || has(self.projectName)",
        "connectionRef goes with projectName only: with projectRef the connection is the project's",
    ),
    (
        "has(self.projectRef) == has(oldSelf.projectRef) && "
        "(!has(self.projectRef) || self.projectRef.name == oldSelf.projectRef.name) && "
        "(!has(self.projectName) || self.projectName == oldSelf.projectName)",
        "a webhook policy cannot move to another project: projectRef and projectName are immutable, "
        "declare another WebhookPolicy instead",
    ),
)


class WebhookPolicySpec(ApiModel):
    """Desired state of the webhook policy."""

    model_config = ConfigDict(json_schema_extra=SPEC_RULES)

    project_ref: ProjectRef | None = Field(
        None, description="The HarborProject of this namespace that the policy belongs to. Immutable."
    )
    project_name: str | None = Field(
        None,
        description="Name of a project in Harbor that no HarborProject manages. Immutable.",
        min_length=1,
        max_length=PROJECT_NAME_LIMIT,
        pattern=PROJECT_NAME_PATTERN,
    )
    connection_ref: ConnectionRef | None = Field(
        None,
        description=(
            'The connection to use; only with projectName. Absent: the ClusterHarborConnection named "default". '
            "With projectRef it is the project's."
        ),
    )
    policy_name: str | None = Field(
        None,
        description="Name of the policy in Harbor, if it is not metadata.name. A change renames it in place.",
        min_length=1,
        max_length=256,
    )
    description: str | None = Field(
        None, description="Description shown in Harbor. Absent: Harbor's is kept.", max_length=DESCRIPTION_LIMIT
    )
    enabled: bool = Field(True, description="false stops notifications; the policy stays in Harbor.")
    event_types: list[EventType] = Field(
        description=(
            "Events that Harbor notifies about, by Harbor's names: PUSH_ARTIFACT, PULL_ARTIFACT, DELETE_ARTIFACT, "
            "SCANNING_COMPLETED, …"
        ),
        min_length=1,
        max_length=32,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    targets: list[Target] = Field(
        description="Where notifications are sent. Each event is sent to every target.",
        min_length=1,
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    creation_policy: CreationPolicy = Field(
        "Create",
        description=(
            "Create (create the policy; refuse one that exists), Adopt (take over an existing one, never create "
            "one) or CreateOrAdopt (either)."
        ),
    )
    deletion_policy: DeletionPolicy | None = Field(
        None,
        description=(
            "Delete (the policy is deleted in Harbor with this resource) or Retain (it stays). "
            "Absent: Delete if this resource created it, Retain if it was adopted."
        ),
    )
    drift_policy: DriftPolicy = Field(
        "Correct",
        description=(
            "Correct (differences in Harbor are reverted to the spec) or Report (a changed spec and a changed Secret "
            "are applied; other differences, including those found at adoption, are only listed in status.drift)."
        ),
    )
    redelivery: Redelivery | None = Field(
        None, description="Whether notifications that Harbor could not deliver are sent again. Absent: on request only."
    )
    suspend: Suspend = False


class Trigger(ApiModel):
    """The last trigger and delivery of one event type."""

    event_type: EventType = Field(description="The event type of this row.")
    last_trigger_time: Time | None = Field(
        None, description="When Harbor last queued a notification of this type. It never moves back."
    )
    last_delivery: LastDelivery | None = Field(None, description="Result of the newest event of this type.")


class AppliedSecret(ApiModel):
    """A Secret in the version that was last applied to Harbor."""

    name: str = Field(description="Name of the Secret.", max_length=253)
    resource_version: str = Field(description="Its resourceVersion.", max_length=64)


class EndpointResult(ApiModel):
    """The answer of one target."""

    target: int = Field(description="Index of the target in spec.targets, from 0.")
    reachable: bool = Field(description="Whether the target answered, with any status.")
    http_status: int | None = Field(None, alias="httpStatus", description="HTTP status of the answer.")
    message: str = Field(description="What the status means, or why there was no answer.", max_length=256)


class EndpointTest(ApiModel):
    """The last requested test of the targets."""

    request: str = Field(description="The value of annotation harborhook.io/test-endpoint that was answered.")
    time: Time = Field(description="When it was answered.")
    results: list[EndpointResult] = Field(
        [],
        description="One row per target.",
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["target"]},
    )


class RedeliveryAnswer(ApiModel):
    """The answer to annotation harborhook.io/redeliver."""

    request: str = Field(description="The value of the annotation.", max_length=ANNOTATION_LIMIT)
    time: Time | None = Field(None, description="When it was finished. Absent while it is in progress.")
    succeeded: int = Field(0, description="How many notifications have arrived.", ge=0)
    failed: int = Field(0, description="How many have not.", ge=0)
    message: str = Field("", description="What happened, and why something was not sent.", max_length=512)


class WebhookPolicyStatus(CommonStatus):
    """Observed state of the policy in Harbor, and of its notifications. Written by the operator."""

    policy_id: int | None = Field(None, alias="policyID", description="Harbor's id of the policy.")
    project_id: int | None = Field(None, alias="projectID", description="Harbor's id of the project.")
    project_name: RecordedProjectName | None = Field(None, description="Name of the project in Harbor.")
    policy_name: str | None = Field(None, description="Name of the policy in Harbor.")
    origin: Origin | None = Field(
        None, description="Created (by this resource) or Adopted. Absent until the resource owns its policy."
    )
    connection: RecordedConnection | None = Field(None, description="The connection that reaches the policy.")
    cluster_name: str | None = Field(
        None,
        description=(
            "Name of this cluster in the field creator of the policy in Harbor. When the operator's setting "
            "clusterName has changed, it proves that a policy with the former name belongs to this resource."
        ),
    )
    enabled: bool | None = Field(
        None,
        description=(
            "Whether notifications are sent: the policy is enabled in Harbor, and so are Harbor's notifications."
        ),
    )
    last_trigger_time: Time | None = Field(
        None, description="When Harbor last queued a notification of any type. It never moves back."
    )
    triggers: list[Trigger] = Field(
        [],
        description="One row per event type of the spec.",
        max_length=32,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["eventType"]},
    )
    deliveries: Deliveries | None = Field(None, description="Whether notifications arrive. Absent before the first.")
    endpoint_test: EndpointTest | None = Field(
        None, description="The last test requested by annotation harborhook.io/test-endpoint."
    )
    redelivery: RedeliveryAnswer | None = Field(
        None, description="The last redelivery requested by annotation harborhook.io/redeliver."
    )
    drift: DriftList = Field([])
    applied_generation: int | None = Field(
        None,
        description=("The generation of the spec that was last applied in full: later differences are drift."),
    )
    applied_secrets: list[AppliedSecret] | None = Field(
        None,
        description=(
            "The Secrets of the targets as last applied, while driftPolicy is Report: a newer version is applied, too."
        ),
        max_length=32,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )


class WebhookPolicy(Resource):
    """One webhook policy of one Harbor project."""

    kind: str = "WebhookPolicy"
    spec: WebhookPolicySpec
    status: WebhookPolicyStatus = WebhookPolicyStatus()

    @property
    def harbor_name(self) -> str:
        return self.spec.policy_name or self.metadata.name

    @property
    def effective_deletion_policy(self) -> DeletionPolicy:
        if self.spec.deletion_policy:
            return self.spec.deletion_policy
        if self.status.origin is None:
            return "Retain" if self.spec.creation_policy == "Adopt" else "Delete"
        return "Retain" if self.status.origin == "Adopted" else "Delete"
