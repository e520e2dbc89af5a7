"""Live connections to Harbor: the client, what is known of the Harbor behind it, and observations shared by many.

Looking for drift in a thousand projects must not cost a thousand requests. A resync therefore reads all projects of
the connection by pages of 100, and all policies of a project at once, and every resource that is visited soon after
is served from that reading. Own writes strike out what they touched.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from harborhook.api.base import Key
from harborhook.api.conditions import Verdict
from harborhook.api.connections import AnyConnection, Principal
from harborhook.harbor.client import HarborClient
from harborhook.harbor.errors import RefusedError
from harborhook.harbor.models import LastTrigger, Policy, Project, Registry, Supported
from harborhook.plan.deliveries import History


@dataclass
class Memory:
    """What is remembered of our setting Harbor's own switch."""

    set_to: bool | None = None
    """What we last set or found as wanted; None while nothing is enforced."""
    restored: list[float] = field(default_factory=list)
    """When it was changed behind our back and set again."""


@dataclass
class Doomed:
    """A webhook policy that nobody declares and that is going to be removed."""

    announced_at: float
    disabled: bool = False


Prune = dict[int, Doomed]
"""By the policy's id."""


SHARED_FOR = 30.0
"""Seconds for which a shared reading serves resyncs, at most; and never longer than half the drift interval."""

CLOSE_AFTER = 60.0
"""Seconds that requests in flight have to end before a client that was given up is closed."""

Value = TypeVar("Value")


class _Shared(Generic[Value]):
    """Rows by name or id, read in bulk, valid for so many seconds; single rows can be struck out."""

    def __init__(
        self, read: Callable[[], Awaitable[Mapping[str | int, Value]]], clock: Callable[[], float], valid_for: float
    ) -> None:
        self._read = read
        self._clock = clock
        self._valid_for = valid_for
        self._rows: Mapping[str | int, Value] = {}
        self._read_at: float | None = None
        self._struck: set[str | int] = set()
        self._lock = asyncio.Lock()

    async def rows(self) -> Mapping[str | int, Value]:
        async with self._lock:
            if self._read_at is None or self._clock() - self._read_at > self._valid_for:
                struck_before = set(self._struck)
                started = self._clock()
                self._rows = await self._read()
                # What was written while we read may be in the reading or not.
                self._struck -= struck_before
                self._read_at = started
            return self._rows

    @property
    def is_over(self) -> bool:
        """Nobody will be served from this reading any more."""
        too_old = self._read_at is not None and self._clock() - self._read_at > self._valid_for
        return too_old and not self._lock.locked()

    def knows(self, row: str | int) -> bool:
        """Whether the reading can be believed for this row."""
        return row not in self._struck

    def strike(self, row: str | int) -> None:
        self._struck.add(row)


@dataclass(frozen=True)
class News:
    """The last reading of a policy's last-trigger times and of its notifications (None: not read yet)."""

    policy_id: int
    rows: tuple[LastTrigger, ...] = ()
    history: History | None = None


@dataclass
class Link:
    """A connection that has worked at least once in this process."""

    key: Key
    connection: AnyConnection
    client: HarborClient
    clock: Callable[[], float]
    shared_for: float = SHARED_FOR
    fingerprint: tuple[object, ...] = field(default=(), repr=False)
    """What the client was made of (url, credentials, trust): a change means a new client."""
    verdict: Verdict | None = None
    """Why the connection does not work at the moment; None while it does."""
    notifications_enabled: bool | None = None
    """Harbor's own switch for all notifications."""
    policies_off: bool = False
    """The global switch is off and has to be enforced on each policy."""
    switch: Memory = field(default_factory=Memory)
    read_only: bool | None = None
    """Harbor's read-only mode: nothing can be written."""
    version: str | None = None
    is_robot: bool = False
    username: str = ""
    principal: Principal | None = None
    wants_session: bool = True
    """Whether a login is worth trying: Harbor has not refused one yet."""
    supported: Supported | None = None
    """What policies can have in this Harbor; read with the first policy."""
    news: dict[Key, News] = field(default_factory=dict)
    """What is known of the notifications of each WebhookPolicy."""
    polled: set[str] = field(default_factory=set)
    """Harbor projects whose last-trigger times are read in a rhythm of their own."""
    told: dict[Key, float] = field(default_factory=dict)
    """When the status of a WebhookPolicy was last written for delivery news."""
    _locks: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    holding: asyncio.Lock = field(default_factory=asyncio.Lock)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _policies: dict[str, _Shared[Policy]] = field(default_factory=dict)
    _swept_at: float = float("-inf")
    _projects: _Shared[Project] | None = None
    _registries: _Shared[Registry] | None = None
    listed: dict[Key, float] = field(default_factory=dict)
    """When the policies of a HarborProject were last listed to find those that nobody declares."""
    prune: dict[str, Prune] = field(default_factory=dict)
    """Per project, the webhook policies that are about to be removed."""

    def writing(self, project: str) -> asyncio.Lock:
        """To be held while writing to a project: Harbor answers simultaneous writes to one with 409 and 500."""
        return self._locks[project]

    async def project(self, name: str, *, shared: bool) -> Project | None:
        """The project of that name. `shared` permits a reading up to SHARED_FOR seconds old."""
        if shared:
            reading = self._all_projects()
            rows = await reading.rows()
            if reading.knows(name):
                return rows.get(name)
        return await self.client.project(name)

    async def policies(self, project: str) -> Mapping[str | int, Policy]:
        """All policies of a project by id, as read at most SHARED_FOR seconds ago."""
        return await self._policies_of(project).rows()

    async def registries(self, *, shared: bool) -> list[Registry]:
        """All registry endpoints. `shared` permits a reading up to SHARED_FOR seconds old."""
        if self._registries is None or not shared:

            async def read() -> Mapping[str | int, Registry]:
                return {registry.id: registry for registry in await self.client.registries()}

            self._registries = _Shared(read, self.clock, self.shared_for)
        return list((await self._registries.rows()).values())

    async def policy(self, project: str, policy_id: int, *, shared: bool) -> Policy | None:
        if shared:
            reading = self._policies_of(project)
            rows = await reading.rows()
            if reading.knows(policy_id):
                return rows.get(policy_id)
        return await self.client.policy(project, policy_id)

    async def what_is_supported(self, project: str) -> Supported | None:
        """Asked once per connection and Harbor version; None if the principal may not know."""
        async with self._asking:
            if self.supported is None:
                try:
                    self.supported = await self.client.supported(project)
                except RefusedError:
                    return None
            return self.supported

    def project_written(self, name: str) -> None:
        self._all_projects().strike(name)

    def policy_written(self, project: str, policy_id: int) -> None:
        self._policies_of(project).strike(policy_id)

    def forget_readings(self) -> None:
        """What was read before may be of another time."""
        self._projects = None
        self._policies.clear()
        self._registries = None

    def _all_projects(self) -> _Shared[Project]:
        if self._projects is None:

            async def read() -> Mapping[str | int, Project]:
                return {project.name: project for project in await self.client.projects()}

            self._projects = _Shared(read, self.clock, self.shared_for)
        return self._projects

    def _forget_old_readings(self) -> None:
        """Readings that have served their time, which for thousands of policies are megabytes; now and then."""
        if self.clock() - self._swept_at > self.shared_for:
            self._swept_at = self.clock()
            self._policies = {name: reading for name, reading in self._policies.items() if not reading.is_over}

    def _policies_of(self, project: str) -> _Shared[Policy]:
        self._forget_old_readings()
        if project not in self._policies:

            async def read() -> Mapping[str | int, Policy]:
                return {policy.id: policy for policy in await self.client.policies(project)}

            self._policies[project] = _Shared(read, self.clock, self.shared_for)
        return self._policies[project]


def retire(client: HarborClient) -> None:
    """Closes a client that nobody will take any more, when the requests in flight have had time to end."""

    async def close() -> None:
        await asyncio.sleep(CLOSE_AFTER)
        await client.close()

    task = asyncio.create_task(close(), name="close a retired Harbor client")
    _closing.add(task)
    task.add_done_callback(_closing.discard)


_closing: set[asyncio.Task[None]] = set()
