"""HarborProject: which settings of the project in Harbor differ from the spec.

Harbor keeps a project's settings as metadata, strings throughout. A field that the spec does not state is not looked
at: Harbor's value is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from harborhook.api.base import ANNOTATION_CREATE_PENDING
from harborhook.api.conditions import Reason
from harborhook.api.project import HarborProject, HarborProjectSpec
from harborhook.harbor.models import Project

FIELDS = {"public": "public"}
"""Harbor's metadata keys and the spec's names for them."""


def stated_metadata(spec: HarborProjectSpec) -> dict[str, str]:
    """The metadata that the spec speaks of, as Harbor wants it."""
    stated: dict[str, bool | None] = {"public": spec.public}
    return {key: _flag(value) for key, value in stated.items() if value is not None}


def changed_metadata(spec: HarborProjectSpec, observed: Project) -> dict[str, str]:
    """The part of the stated metadata that Harbor does not have. Junk in Harbor is a difference like any other."""
    return {key: value for key, value in stated_metadata(spec).items() if _observed(observed, key) != value}


def field_names(metadata: Mapping[str, str]) -> str:
    """The spec's names of metadata keys, for a person."""
    return ", ".join(FIELDS[key] for key in metadata)


def is_lost_creation(project: HarborProject, observed: Project) -> bool:
    """Whether a project that exists although we never heard of its creation is what our own lost POST made.

    So it is if we had announced the POST (annotation create-pending) in an earlier visit, were not refused since, and
    the project is not older than the resource.
    """
    announced = project.metadata.annotations.get(ANNOTATION_CREATE_PENDING) == project.metadata.uid
    refused = project.status.ready_reason == Reason.ALREADY_EXISTS
    # The resource's time has whole seconds, so Harbor's is cut to them too.
    younger = (
        observed.creation_time is not None
        and observed.creation_time.replace(microsecond=0) >= project.metadata.creation_timestamp
    )
    return announced and not refused and younger


def _observed(observed: Project, key: str) -> str:
    return observed.metadata.get(key, "false")


def _flag(value: bool) -> str:
    return "true" if value else "false"
