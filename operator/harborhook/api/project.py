"""HarborProject: one project of a Harbor."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, WithJsonSchema

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
    Suspend,
    Time,
    rules,
)

PROJECT_ROOT_RULES = rules(
    (
        f"has(self.spec.projectName) || (self.metadata.name.matches('{PROJECT_NAME_PATTERN}') "
        "&& self.metadata.name.size() <= 255)",
        "metadata.name is not a valid Harbor project name (lower-case letters and digits, separated by single . _ or "
        "-): set spec.projectName",
    ),
    (
        "(has(self.spec.projectName) ? self.spec.projectName : self.metadata.name) == "
        "(has(oldSelf.spec.projectName) ? oldSelf.spec.projectName : oldSelf.metadata.name)",
        "Harbor cannot rename a project: projectName is immutable, declare another HarborProject instead",
    ),
)

QUOTA_RULE = rules(
    (
        "type(self) == int ? (self > 0 && self <= 1125899906842624) : (self == 'unlimited' || "
        "(self.matches('^[0-9]+([.][0-9]+)?([kMGTP]|[KMGTP]i)?$') && "
        "quantity(self).isGreaterThan(quantity('0')) && quantity(self).compareTo(quantity('1024Ti')) <= 0))",
        'storageQuota is a quantity such as 50Gi, or a number of bytes, above 0 and at most 1024Ti, or "unlimited"',
    )
)

StorageQuota = Annotated[
    int | str,
    WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 32, **QUOTA_RULE}),
]
"""A quantity, a number of bytes or "unlimited"; plan/quantity.py reads it."""

Severity = Literal["none", "low", "medium", "high", "critical"]


class PreventPull(ApiModel):
    """Whether images with vulnerabilities can be pulled."""

    enabled: bool | None = Field(None, description="Whether pulling is prevented. Absent: Harbor's value is kept.")
    severity: Severity | None = Field(
        None,
        description=(
            "Lowest severity that prevents pulling: none, low, medium, high or critical. "
            "Absent: Harbor's value is kept."
        ),
    )


class Vulnerability(ApiModel):
    """What Harbor does about vulnerabilities."""

    auto_scan: bool | None = Field(
        None, description="Whether images are scanned when they are pushed. Absent: Harbor's value is kept."
    )
    prevent_pull: PreventPull | None = Field(
        None, description="Whether images with vulnerabilities can be pulled. Absent: Harbor's values are kept."
    )


class Sbom(ApiModel):
    """Software bills of materials."""

    auto_generate: bool | None = Field(
        None,
        description=(
            "Whether an SBOM is generated when an image is pushed. Absent: Harbor's value is kept. Since Harbor 2.11."
        ),
    )


class ContentTrust(ApiModel):
    """Which signatures an image must have to be pulled."""

    cosign: bool | None = Field(
        None,
        description=(
            "Whether only images signed by Cosign can be pulled. Absent: Harbor's value is kept. Since Harbor 2.5."
        ),
    )
    notation: bool | None = Field(
        None,
        description=(
            "Whether only images signed by Notation can be pulled. Absent: Harbor's value is kept. "
            "Since Harbor 2.9. Not for proxy caches."
        ),
    )


CveId = Annotated[str, Field(min_length=1, max_length=128)]


class CveAllowlist(ApiModel):
    """Vulnerabilities that are ignored."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.expiresAt) || has(self.items)",
                "expiresAt needs a list: state items too, [] for none",
            )
        )
    )

    reuse_system: bool | None = Field(
        None,
        description=(
            "Whether Harbor's system-wide list is used instead of the project's. Absent: Harbor's value is kept."
        ),
    )
    items: list[CveId] | None = Field(
        None,
        description=(
            "The whole list of the project, for example CVE-2024-1234. Absent: Harbor's list and expiry are kept."
        ),
        max_length=1024,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    expires_at: Time | None = Field(
        None, description="When the list stops being valid. Absent while items are stated: never."
    )


class ProxyCacheFilter(ApiModel):
    """Which repositories of the upstream registry are served."""

    pattern: str = Field(description="The pattern that repositories must match.", min_length=1, max_length=1024)
    kind: Literal["doublestar", "regex"] = Field(description="Syntax of the pattern: doublestar or regex.")


class ProxyCache(ApiModel):
    """Makes the project a cache of another registry. Harbor fixes this when the project is created."""

    registry_name: str = Field(
        description=(
            "Name of the registry endpoint in Harbor, created there by an administrator. It can change only to "
            "the new name of the same endpoint, when that was renamed: the project keeps its registry."
        ),
        min_length=1,
        max_length=256,
    )
    speed_limit_kbps: int | None = Field(
        None,
        description=(
            "Maximum kilobits per second for one request, -1 for no limit. "
            "Absent: Harbor's value is kept. Since Harbor 2.12."
        ),
        ge=-1,
        le=2147483647,
    )
    max_upstream_connections: int | None = Field(
        None,
        description=(
            "Maximum number of connections to the upstream registry for one artifact, -1 for no limit. "
            "Absent: Harbor's value is kept. Since Harbor 2.15."
        ),
        ge=-1,
        le=2147483647,
    )
    serve_local_on_not_found: bool | None = Field(
        None,
        description=(
            "Whether the cached image is served when the upstream registry no longer has it. "
            "Absent: Harbor's value is kept. Since Harbor 2.16."
        ),
    )
    referrer_api: bool | None = Field(
        None,
        alias="referrerAPI",
        description=(
            "Whether signatures and SBOMs are fetched by the upstream's referrers API. "
            "Absent: Harbor's value is kept. Since Harbor 2.16."
        ),
    )
    filter: ProxyCacheFilter | None = Field(
        None,
        description=(
            "Which repositories of the upstream registry are served. Absent: Harbor's value is kept. Since Harbor 2.16."
        ),
    )


class ProjectWebhooks(ApiModel):
    """Settings for all webhook policies of the project."""

    enabled: bool = Field(
        True,
        description=(
            "false disables every WebhookPolicy of this project in Harbor, regardless of their specs; undeclared "
            "policies are not changed."
        ),
    )
    prune: bool = Field(
        False,
        description=("true removes undeclared webhook policies, ten minutes after an Event has announced it."),
    )


SPEC_RULES = rules(
    (
        "!has(self.proxyCache) || !has(self.contentTrust) || !has(self.contentTrust.notation)",
        "a proxy cache cannot require Notation signatures in Harbor: remove contentTrust.notation",
    ),
)


class HarborProjectSpec(ApiModel):
    """Desired state of the project. An absent setting keeps its value in Harbor."""

    model_config = ConfigDict(json_schema_extra=SPEC_RULES)

    connection_ref: ConnectionRef | None = Field(
        None, description='The connection to use. Absent: the ClusterHarborConnection named "default".'
    )
    project_name: str | None = Field(
        None,
        description=(
            "Name of the project in Harbor, if it is not metadata.name: lower-case letters and digits, separated by "
            "single . _ or -. Immutable."
        ),
        min_length=1,
        max_length=PROJECT_NAME_LIMIT,
        pattern=PROJECT_NAME_PATTERN,
    )
    public: bool | None = Field(
        None,
        description="Whether anonymous users may pull. Absent: Harbor's value is kept (false for a new project).",
    )
    storage_quota: StorageQuota | None = Field(
        None,
        description=(
            'Maximum storage of the project: a quantity such as 50Gi, a number of bytes, or "unlimited". '
            "At most 1024Ti. Absent: Harbor's value is kept (Harbor's default for a new project)."
        ),
    )
    vulnerability: Vulnerability | None = Field(
        None, description="Vulnerability settings. Absent: Harbor's values are kept."
    )
    sbom: Sbom | None = Field(None, description="Software bills of materials. Absent: Harbor's value is kept.")
    content_trust: ContentTrust | None = Field(
        None,
        description="Which signatures an image must have to be pulled. Absent: Harbor's values are kept.",
    )
    cve_allowlist: CveAllowlist | None = Field(
        None, description="Vulnerabilities that are ignored. Absent: Harbor's values are kept."
    )
    proxy_cache: ProxyCache | None = Field(
        None,
        description=(
            "Makes the project a cache of another registry. It cannot be added to a project that is not "
            "one, and its registry cannot be changed."
        ),
    )
    webhooks: ProjectWebhooks = Field(
        ProjectWebhooks(), description="Settings for all webhook policies of the project."
    )
    creation_policy: CreationPolicy = Field(
        "Create",
        description=(
            "Create (create the project; refuse one that exists), Adopt (take over an existing one, never "
            "create one) or CreateOrAdopt (either)."
        ),
    )
    deletion_policy: DeletionPolicy = Field(
        "Retain",
        description=(
            "Retain (the project stays in Harbor when this resource is deleted) or Delete (it is deleted, but only "
            "when Harbor says that it is empty)."
        ),
    )
    drift_policy: DriftPolicy = Field(
        "Correct",
        description=(
            "Correct (differences in Harbor are reverted to the spec) or Report (a changed spec is applied; "
            "other differences, including those found at adoption, are only listed in status.drift)."
        ),
    )
    suspend: Suspend = False


class QuotaStatus(ApiModel):
    """The project's quota as Harbor has it."""

    hard: str = Field(description='The most storage that may be used, exact, or "unlimited".', max_length=32)
    used: str = Field(description="The storage in use, exact.", max_length=32)


class WebhooksStatus(ApiModel):
    """The webhook policies of the project."""

    declared: int = Field(description="How many WebhookPolicies refer to this project.")
    ready: int = Field(description="How many of these are Ready.")
    summary: str = Field(description="ready/declared, as kubectl get shows it.", max_length=32)
    unmanaged: list[Annotated[str, Field(max_length=256)]] = Field(
        [],
        description="Names of policies in Harbor that no WebhookPolicy declares, at most 20.",
        max_length=20,
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class HarborProjectStatus(CommonStatus):
    """Observed state of the project in Harbor. Written by the operator."""

    project_id: int | None = Field(None, alias="projectID", description="Harbor's id of the project.")
    project_name: RecordedProjectName | None = Field(None, description="Name of the project in Harbor.")
    origin: Origin | None = Field(
        None, description="Created (by this resource) or Adopted. Absent until the resource owns its project."
    )
    connection: RecordedConnection | None = Field(None, description="The connection that reaches the project.")
    repository_count: int | None = Field(None, description="How many repositories the project has.")
    quota: QuotaStatus | None = Field(
        None, description="The quota as Harbor has it. Absent unless storageQuota is stated and Harbor has one."
    )
    webhooks: WebhooksStatus | None = Field(None, description="The webhook policies of the project.")
    drift: DriftList = Field([])
    applied_generation: int | None = Field(
        None,
        description=("The generation of the spec that was last applied in full: later differences are drift."),
    )


class HarborProject(Resource):
    """One project of a Harbor registry."""

    kind: str = "HarborProject"
    spec: HarborProjectSpec = HarborProjectSpec()
    status: HarborProjectStatus = HarborProjectStatus()

    @property
    def harbor_name(self) -> str:
        return self.spec.project_name or self.metadata.name
