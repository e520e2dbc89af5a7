"""Which settings of a project are written, and when an existing project is our own lost creation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harborhook.api.base import ANNOTATION_CREATE_PENDING
from harborhook.api.project import HarborProject, HarborProjectSpec
from harborhook.harbor.models import Project
from harborhook.plan.project import FIELDS, changed_metadata, field_names, is_lost_creation, stated_metadata

MADE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def observed(**metadata: Any) -> Project:
    project = Project.parse({"project_id": 7, "name": "team-a", "metadata": metadata})
    assert project is not None
    return project


# Settings


def test_a_spec_that_states_nothing_writes_nothing() -> None:
    spec = HarborProjectSpec()

    assert stated_metadata(spec) == {}
    assert changed_metadata(spec, observed(public="true")) == {}


@pytest.mark.parametrize(
    ("stated", "has", "written"),
    [
        (True, {}, {"public": "true"}),
        (True, {"public": "false"}, {"public": "true"}),
        (True, {"public": "true"}, {}),
        (True, {"public": "123"}, {"public": "true"}),
        (True, {"public": None}, {"public": "true"}),
        (False, {}, {}),
        (False, {"public": "false"}, {}),
        (False, {"public": "true"}, {"public": "false"}),
        (False, {"public": "123"}, {"public": "false"}),
        (None, {"public": "true"}, {}),
        (None, {"public": "123"}, {}),
        (None, {}, {}),
    ],
)
def test_public_is_written_exactly_where_harbor_differs_from_what_is_stated(
    stated: bool | None, has: dict[str, Any], written: dict[str, str]
) -> None:
    assert changed_metadata(HarborProjectSpec(public=stated), observed(**has)) == written


def test_metadata_values_are_strings_since_harbor_refuses_booleans() -> None:
    for value in (True, False):
        metadata = stated_metadata(HarborProjectSpec(public=value))
        assert all(isinstance(written, str) for written in metadata.values())
        assert metadata["public"] in ("true", "false")


def test_changes_are_told_by_the_names_of_the_spec() -> None:
    written = stated_metadata(HarborProjectSpec(public=True))

    assert field_names({}) == ""
    assert field_names(written) == "public"
    assert set(written) <= set(FIELDS)


@given(
    st.builds(HarborProjectSpec, public=st.sampled_from([None, True, False])),
    st.dictionaries(
        st.one_of(st.sampled_from(sorted(FIELDS)), st.text(max_size=5)),
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=6), st.sampled_from(["true", "false"])),
        max_size=5,
    ),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_after_one_write_nothing_is_left_to_write(spec: HarborProjectSpec, metadata: dict[str, Any]) -> None:
    before = observed(**metadata)

    changes = changed_metadata(spec, before)

    assert changes.items() <= stated_metadata(spec).items()
    assert changed_metadata(spec, observed(**{**metadata, **changes})) == {}


# Our own lost creation


def project(*, announced_for: str | None = "uid-1", reason: str | None = None) -> HarborProject:
    annotations = {} if announced_for is None else {ANNOTATION_CREATE_PENDING: announced_for}
    ready = {
        "type": "Ready",
        "status": "False",
        "reason": reason,
        "message": "",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }
    return HarborProject.model_validate(
        {
            "kind": "HarborProject",
            "metadata": {
                "name": "team-a",
                "namespace": "team",
                "uid": "uid-1",
                "creationTimestamp": "2026-01-02T03:04:05Z",
                "annotations": annotations,
            },
            "status": {"conditions": [ready] if reason else []},
        }
    )


def made_at(time: datetime | None) -> Project:
    return Project(7, "team-a", {}, time)


@pytest.mark.parametrize(
    ("resource", "made", "ours"),
    [
        (project(), MADE, True),
        (project(), MADE + timedelta(hours=1), True),
        (project(), MADE.astimezone(timezone(timedelta(hours=9))), True),
        (project(reason="HarborUnreachable"), MADE, True),
        (project(), MADE - timedelta(seconds=1), False),
        (project(), None, False),
        (project(announced_for=None), MADE, False),
        (project(announced_for="uid-0"), MADE, False),
        (project(announced_for=""), MADE, False),
        (project(reason="AlreadyExists"), MADE, False),
    ],
    ids=[
        "announced and made in the same second",
        "made later",
        "another time zone",
        "the answer was lost",
        "made before the resource",
        "time unknown",
        "never announced",
        "announced for the resource that had the name before",
        "announced for nothing",
        "refused since",
    ],
)
def test_an_existing_project_is_our_lost_creation_only_if_announced_not_refused_and_not_older(
    resource: HarborProject, made: datetime | None, ours: bool
) -> None:
    assert is_lost_creation(resource, made_at(made)) is ours


def test_parts_of_a_second_do_not_make_a_project_older_than_its_resource() -> None:
    assert is_lost_creation(project(), made_at(MADE + timedelta(milliseconds=400)))
