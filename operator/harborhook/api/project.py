"""HarborProject: one project of a Harbor."""

from __future__ import annotations

from pydantic import Field

from harborhook.api.base import (
    PROJECT_NAME_PATTERN,
    ApiModel,
    CommonStatus,
    ConnectionRef,
    CreationPolicy,
    DeletionPolicy,
    Origin,
    RecordedConnection,
    Resource,
    rules,
)

PROJECT_ROOT_RULES = rules(
    (
        f"has(self.spec.projectName) || (self.metadata.name.matches('{PROJECT_NAME_PATTERN}') "
        "&& self.metadata.name.size() <= 255)",
        "metadata.name is no valid Harbor project name (lower-case letters and digits, separated by single . _ or -): "
        "set spec.projectName",
    ),
    (
        "(has(self.spec.projectName) ? self.spec.projectName : self.metadata.name) == "
        "(has(oldSelf.spec.projectName) ? oldSelf.spec.projectName : oldSelf.metadata.name)",
        "Harbor cannot rename a project: projectName is immutable, declare another HarborProject instead",
    ),
)


class HarborProjectSpec(ApiModel):
    """What the project should be like. A setting that is absent is left as it is in Harbor."""

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
        max_length=255,
        pattern=PROJECT_NAME_PATTERN,
    )
    public: bool | None = Field(
        None, description="Whether anybody may pull. Absent: Harbor's value is left alone (false for a new project)."
    )
    creation_policy: CreationPolicy = Field(
        "Create",
        description=(
            "Create (make the project; refuse one that exists and is not ours), Adopt (take an existing one, never "
            "make one) or CreateOrAdopt (either)."
        ),
    )
    deletion_policy: DeletionPolicy = Field(
        "Retain",
        description=(
            "Retain (the project stays in Harbor when this resource is deleted) or Delete (it is deleted, but only "
            "when Harbor says that it is empty)."
        ),
    )
    suspend: bool = Field(
        False,
        description="true stops all writes to Harbor for this resource, except that deletion obeys deletionPolicy.",
    )


class HarborProjectStatus(CommonStatus):
    """What Harbor has. Written by the operator."""

    project_id: int | None = Field(None, alias="projectID", description="Harbor's id of the project.")
    project_name: str | None = Field(None, description="Name of the project in Harbor.")
    origin: Origin | None = Field(
        None, description="Created (by this resource) or Adopted. Absent until the resource owns its project."
    )
    connection: RecordedConnection | None = Field(None, description="The connection that reaches the project.")


class HarborProject(Resource):
    """One project of a Harbor registry."""

    kind: str = "HarborProject"
    spec: HarborProjectSpec = HarborProjectSpec()
    status: HarborProjectStatus = HarborProjectStatus()

    @property
    def harbor_name(self) -> str:
        return self.spec.project_name or self.metadata.name
