"""The table of a project's settings: a new setting needs only a row and a field of the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import Field

from harborhook.api.base import ApiModel
from harborhook.api.conditions import Reason
from harborhook.api.crds import root_schema
from harborhook.api.kinds import HARBOR_PROJECT
from harborhook.api.project import HarborProjectSpec
from harborhook.commands import export_plan
from harborhook.commands.export_plan import Destination, QuotaSeen, export_project
from harborhook.harbor.capabilities import FLOOR, short
from harborhook.harbor.models import Project
from harborhook.plan import project_settings
from harborhook.plan.project import changes, creation_metadata, obstacles
from harborhook.plan.project_settings import NUMBER, SETTINGS, Projects, Setting, stated_settings

NOT_METADATA = {
    "connectionRef.kind",
    "connectionRef.name",
    "projectName",
    "storageQuota",
    "cveAllowlist.items",
    "cveAllowlist.expiresAt",
    "proxyCache.registryName",
    "webhooks.enabled",
    "webhooks.prune",
    "creationPolicy",
    "deletionPolicy",
    "driftPolicy",
    "suspend",
}
"""Fields that Harbor stores elsewhere, or that only configure the operator."""

each_setting = pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.field)


def leaves(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in schema.get("properties", {}).items():
        if "properties" in field:
            yield from leaves(field, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


FIELDS = dict(leaves(root_schema(HARBOR_PROJECT)["properties"]["spec"]))


def test_every_field_of_the_spec_is_in_the_table_or_known_to_be_something_else() -> None:
    assert {setting.field for setting in SETTINGS} == FIELDS.keys() - NOT_METADATA


def test_no_key_and_no_field_is_in_the_table_twice() -> None:
    assert len({setting.key for setting in SETTINGS}) == len({setting.field for setting in SETTINGS}) == len(SETTINGS)


@each_setting
def test_kubectl_explain_says_since_which_harbor_a_setting_exists(setting: Setting) -> None:
    parent = root_schema(HARBOR_PROJECT)["properties"]["spec"]["properties"]
    *objects, _ = setting.field.split(".")
    described = [FIELDS[setting.field]["description"]]
    for name in objects:
        described.append(parent[name]["description"])
        parent = parent[name]["properties"]
    since = f"Since Harbor {short(setting.since)}."
    assert any(since in text for text in described) is (setting.since > FLOOR)


# A setting of some future Harbor


class Retries(ApiModel):
    limit: int | None = Field(None, description="Made up.")


class NewerSpec(HarborProjectSpec):
    retries: Retries | None = Field(None, description="Made up.")


MADE_UP = Setting("retries.limit", "retry_limit", NUMBER, since=(2, 17, 0), projects=Projects.NOT_PROXY_CACHES)


@pytest.fixture
def with_a_made_up_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_settings, "SETTINGS", (*SETTINGS, MADE_UP))
    monkeypatch.setattr(export_plan, "SETTINGS", (*SETTINGS, MADE_UP))
    monkeypatch.setattr(export_plan, "HarborProjectSpec", NewerSpec)


@pytest.mark.usefixtures("with_a_made_up_row")
def test_a_made_up_row_is_created_compared_written_and_refused_by_older_harbors() -> None:
    spec = NewerSpec.model_validate({"public": True, "retries": {"limit": 3}})
    assert stated_settings(spec)[MADE_UP] == "3"
    assert creation_metadata(spec, (2, 17, 0)) == {"public": "true", "retry_limit": "3"}
    assert creation_metadata(spec, (2, 16, 0)) == {"public": "true"}
    project = Project(7, "team-a", {"public": "true", "retry_limit": "5"})
    found = changes(spec, project, (2, 17, 0))
    assert found.metadata == {"retry_limit": "3"}
    assert [(one.field, one.desired, one.observed) for one in found.differences] == [("retries.limit", "3", "5")]
    assert changes(spec, project, (2, 16, 0)).differences == ()
    (obstacle,) = obstacles(spec, project, (2, 16, 0))
    assert obstacle.reason is Reason.UNSUPPORTED_HARBOR_VERSION
    assert "retries.limit (since 2.17)" in obstacle.message
    (obstacle,) = obstacles(spec, Project(7, "team-a", registry_id=3), (2, 17, 0))
    assert obstacle.message.startswith("retries.limit: Harbor does not offer it for a proxy cache.")


@pytest.mark.usefixtures("with_a_made_up_row")
def test_a_made_up_row_is_exported() -> None:
    project = Project(7, "team-a", {"public": "true", "retry_limit": "5"})
    exported = export_project(project, "team-a", Destination(), version=(2, 17, 0), quota=QuotaSeen(), registry=None)
    assert exported.complaints == ()
    assert exported.manifest is not None
    assert exported.manifest["spec"] == {"creationPolicy": "Adopt", "public": True, "retries": {"limit": 5}}
    older = export_project(project, "team-a", Destination(), version=(2, 16, 0), quota=QuotaSeen(), registry=None)
    assert older.complaints == ("retries.limit with the value '5' cannot be stated.",)
