"""The parts of a project that Harbor stores separately: its row with metadata and allowlist, and its quota.

reconcile/project.py processes each in the same steps: observe, compare, and write if differences are to be written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from harborhook.api.conditions import Reason, Verdict
from harborhook.api.project import HarborProject, QuotaStatus
from harborhook.harbor.capabilities import parse_version
from harborhook.harbor.errors import ForbiddenError, ReadOnlyError
from harborhook.harbor.models import Project, Quota, Registry
from harborhook.plan import project as plan
from harborhook.plan.drift import Difference
from harborhook.plan.quantity import format_bytes
from harborhook.reconcile.links import Link
from harborhook.reconcile.verdicts import harbors_refusal


class Part(Protocol):
    """One part of one project. All methods raise HarborError for errors that concern the whole project."""

    async def observe(self) -> Sequence[Verdict]:
        """Reads Harbor's state. Returns the stated fields that this project cannot have, or why they cannot be read."""

    def differences(self) -> Sequence[Difference]:
        """Returns the differences between the spec and the observed state."""

    async def write(self) -> Verdict | None:
        """Writes the differences. A verdict explains why this part could not be written; the other parts still are."""

    def status(self) -> Mapping[str, Any]:
        """Returns the fields of the status that this part provides."""


class ProjectRow:
    """The part that one PUT of the project changes: the settings kept as metadata, and the CVE allowlist."""

    def __init__(self, link: Link, project: HarborProject, observed: Project, *, is_new: bool) -> None:
        self._link = link
        self._spec = project.spec
        self._observed = observed
        self._is_new = is_new
        self._changes = plan.ProjectChanges()

    async def observe(self) -> Sequence[Verdict]:
        version = parse_version(self._link.version or "")
        registries = None if self._is_new else await self._registries()
        self._changes = plan.changes(self._spec, self._observed, version, registries)
        return plan.obstacles(self._spec, self._observed, version, registries)

    def differences(self) -> Sequence[Difference]:
        return self._changes.differences

    async def write(self) -> Verdict | None:
        self._link.readings.project_written(self._observed.name)
        await self._link.client.update_project(self._observed.name, self._changes.metadata, self._changes.allowlist)
        return None

    def status(self) -> Mapping[str, Any]:
        return {}

    async def _registries(self) -> list[Registry] | None:
        """Returns the registry endpoints if both spec and Harbor name one; None if the principal may not list them."""
        proxy = self._spec.proxy_cache
        if proxy is None or self._observed.registry_id is None:
            return None
        try:
            registries = await self._link.readings.registries(shared=True)
            if plan.registry_id(registries, proxy.registry_name) == self._observed.registry_id:
                return registries
            return await self._link.readings.registries(shared=False)  # an endpoint may be new or renamed
        except ForbiddenError:
            return None


class ProjectQuota:
    """The storage quota, a separate object in Harbor, which is read only if the spec states one.

    `is_left` is set if the POST that just created the project has set the quota: it is then observed later.
    """

    def __init__(self, link: Link, project: HarborProject, observed: Project, *, is_left: bool) -> None:
        self._link = link
        self._spec = project.spec
        self._observed = observed
        self._is_left = is_left
        self._quota: Quota | None = None

    async def observe(self) -> Sequence[Verdict]:
        if self._spec.storage_quota is None or self._is_left:
            return []
        try:
            self._quota = await self._link.client.quota_in_sight(self._observed, is_robot=self._link.is_robot)
        except ForbiddenError as error:
            return [Verdict(Reason.QUOTA_FORBIDDEN, f"{harbors_refusal(error)} {_cannot_see_quota(self._link)}")]
        return [] if self._quota else [_NO_QUOTA]

    def differences(self) -> Sequence[Difference]:
        difference = plan.quota_difference(self._spec, self._quota) if self._quota else None
        return [difference] if difference else []

    async def write(self) -> Verdict | None:
        stated = plan.stated_quota(self._spec)
        try:
            quota = await self._link.client.quota(self._observed.id)
            if quota is None or quota.id is None or stated is None:
                self._quota = None
                return _NO_QUOTA
            await self._link.client.set_quota(quota.id, stated)
        except ReadOnlyError:
            raise
        except ForbiddenError as error:
            return Verdict(Reason.QUOTA_FORBIDDEN, f"{harbors_refusal(error)} {_cannot_set_quota(self._link)}")
        self._quota = Quota(stated, quota.used, quota.id)
        return None

    def status(self) -> Mapping[str, Any]:
        if self._quota is None:
            return {"quota": None}
        return {"quota": QuotaStatus(hard=format_bytes(self._quota.hard), used=format_bytes(self._quota.used))}


_NO_QUOTA = Verdict(
    Reason.QUOTA_UNAVAILABLE,
    "storageQuota: Harbor keeps no quota for this project. Quotas per project are switched off there, or were when the "
    "project was made.",
)


def _cannot_see_quota(link: Link) -> str:
    if link.is_robot:
        return (
            "storageQuota: Harbor does not show the quota to this robot. Give it the permission quota:read, which "
            "robots can have since Harbor 2.11; the rest is applied."
        )
    return "storageQuota: Harbor does not show the quota to the connection's user; the rest is applied."


def _cannot_set_quota(link: Link) -> str:
    if link.is_robot:
        return (
            "storageQuota: the connection's robot may not change quotas. Give it the system permissions quota:list and "
            "quota:update, which robots can have since Harbor 2.12; the rest is applied."
        )
    return (
        "storageQuota: only a system administrator of Harbor, or a robot with quota:update (since Harbor 2.12), may "
        "change quotas, and the connection's user is neither; the rest is applied."
    )
