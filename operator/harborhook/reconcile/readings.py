"""A short-lived cache of lists read from one Harbor, shared by the resources of a connection.

A drift check of a thousand projects must not cost a thousand requests. A resync therefore reads all projects of the
connection in pages of 100, and all policies of a project at once. Resources reconciled soon after use the same reading.
Each of our writes invalidates the row that it touches. If Harbor refuses a list, its rows are read one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Generic, TypeVar

from harborhook.harbor.client import HarborClient
from harborhook.harbor.errors import HarborError, NotHarborError, RefusedError, ServerError, TransportError
from harborhook.harbor.models import Policy, Project, Registry
from harborhook.plan.target_values import refused, values_in

SHARED_FOR = 30.0
"""Maximum seconds that a shared reading serves resyncs; never longer than half the drift interval."""

UNREADABLE_FOR = 120.0
"""Seconds until a list that Harbor refused is requested again: meanwhile rows are read one by one."""

_UNREADABLE = (TransportError, NotHarborError, ServerError)
"""Errors of long lists: thousands of rows can take longer than Harbor, or a proxy in front of it, allows."""

Value = TypeVar("Value")


class _Shared(Generic[Value]):
    """Rows by name or id, read in bulk and valid for some seconds; single rows can be invalidated."""

    def __init__(
        self, read: Callable[[], Awaitable[Mapping[str | int, Value]]], clock: Callable[[], float], valid_for: float
    ) -> None:
        self._read = read
        self._clock = clock
        self._valid_for = valid_for
        self._rows: Mapping[str | int, Value] = {}
        self._read_at: float | None = None
        self._struck: set[str | int] = set()
        self._failure: HarborError | None = None
        self._failed_at = float("-inf")
        self._lock = asyncio.Lock()

    async def rows(self, *, again: bool = False) -> Mapping[str | int, Value]:
        """Returns the rows. Raises HarborError; after one of _UNREADABLE, raises it for UNREADABLE_FOR seconds without
        a request, unless `again`: for callers that cannot read a single row instead, and retry with pauses."""
        if self._failure is not None and self._lock.locked():
            raise self._failure.with_traceback(None)  # avoids another attempt that may take as long
        async with self._lock:
            if not again and self._failure is not None and self._clock() - self._failed_at < UNREADABLE_FOR:
                raise self._failure.with_traceback(None)
            if self._read_at is None or self._clock() - self._read_at > self._valid_for:
                await self._renew()
            return self._rows

    async def _renew(self) -> None:
        struck_before = set(self._struck)
        started = self._clock()
        try:
            self._rows = await self._read()
        except _UNREADABLE as error:
            self._failure, self._failed_at = error, self._clock()
            raise
        self._failure = None
        # The reading may or may not include writes made during it.
        self._struck -= struck_before
        self._read_at = started

    @property
    def is_over(self) -> bool:
        """Whether the reading has expired."""
        too_old = self._read_at is not None and self._clock() - self._read_at > self._valid_for
        return too_old and not self._lock.locked()

    def knows(self, row: str | int) -> bool:
        """Whether the reading is valid for this row."""
        return row not in self._struck

    def strike(self, row: str | int) -> None:
        self._struck.add(row)


class Readings:
    """Reads projects, policies and registries through `client`, or returns a shared reading that is recent enough."""

    def __init__(self, client: HarborClient, clock: Callable[[], float], shared_for: float = SHARED_FOR) -> None:
        self.client = client
        """Replaced when the connection's credentials or trust change."""
        self._clock = clock
        self._shared_for = shared_for
        self._projects: _Shared[Project] | None = None
        self._policies: dict[str, _Shared[Policy]] = {}
        self._registries: _Shared[Registry] | None = None
        self._swept_at = float("-inf")

    async def project(self, name: str, *, shared: bool) -> Project | None:
        """Returns the project. `shared` permits a reading up to SHARED_FOR seconds old."""
        if shared:
            reading = self._all_projects()
            with suppress(*_UNREADABLE):
                rows = await reading.rows()
                if reading.knows(name):
                    return rows.get(name)
        return await self.client.project(name)

    async def policies(self, project: str) -> Mapping[str | int, Policy]:
        """Returns all policies of a project by id, from a reading up to SHARED_FOR seconds old."""
        return await self._policies_of(project).rows(again=True)

    async def policy(self, project: str, policy_id: int, *, shared: bool) -> Policy | None:
        if shared:
            reading = self._policies_of(project)
            with suppress(*_UNREADABLE):
                rows = await reading.rows()
                if reading.knows(policy_id):
                    return rows.get(policy_id)
        return await self.client.policy(project, policy_id)

    async def registries(self, *, shared: bool) -> list[Registry]:
        """Returns all registry endpoints. `shared` permits a reading up to SHARED_FOR seconds old."""
        if self._registries is None or not shared:
            self._registries = self._read_registries()
        return list((await self._registries.rows(again=True)).values())

    # Invalidation

    def project_written(self, name: str) -> None:
        self._all_projects().strike(name)

    def policy_written(self, project: str, policy_id: int) -> None:
        self._policies_of(project).strike(policy_id)

    async def put_back(self, project: str, observed: Policy, body: Mapping[str, Any]) -> None:
        """Writes a policy in the form that Harbor has shown, with changes. A newer Harbor may refuse a policy stored by
        an older one."""
        self.policy_written(project, observed.id)
        try:
            await self.client.update_policy(project, observed.id, body)
        except RefusedError as error:
            raise refused(error, values_in(observed.raw.get("targets"))) from None

    def forget(self) -> None:
        """Drops all readings: they may predate a change of Harbor as a whole."""
        self._projects = None
        self._policies.clear()
        self._registries = None

    # The readings

    def _all_projects(self) -> _Shared[Project]:
        if self._projects is None:

            async def read() -> Mapping[str | int, Project]:
                return {project.name: project for project in await self.client.projects()}

            self._projects = _Shared(read, self._clock, self._shared_for)
        return self._projects

    def _policies_of(self, project: str) -> _Shared[Policy]:
        self._forget_old_readings()
        if project not in self._policies:

            async def read() -> Mapping[str | int, Policy]:
                return {policy.id: policy for policy in await self.client.policies(project)}

            self._policies[project] = _Shared(read, self._clock, self._shared_for)
        return self._policies[project]

    def _read_registries(self) -> _Shared[Registry]:
        async def read() -> Mapping[str | int, Registry]:
            return {registry.id: registry for registry in await self.client.registries()}

        return _Shared(read, self._clock, self._shared_for)

    def _forget_old_readings(self) -> None:
        """Drops expired readings, which take megabytes for thousands of policies; runs now and then."""
        if self._clock() - self._swept_at > self._shared_for:
            self._swept_at = self._clock()
            self._policies = {name: reading for name, reading in self._policies.items() if not reading.is_over}
