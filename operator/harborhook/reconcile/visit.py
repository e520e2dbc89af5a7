"""One visit to a resource: its resulting status, its Events, and the finalizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from harborhook.api.base import CommonStatus, Resource
from harborhook.api.conditions import Outcome, Reason, Verdict, conditions_for
from harborhook.api.kinds import CONNECTION_KINDS
from harborhook.plan.status import merge_patch
from harborhook.reconcile.context import Context, Wait
from harborhook.reconcile.links import Link
from harborhook.runtime.queue import Cause

R = TypeVar("R", bound=Resource)

CONNECTION_REASONS = frozenset(
    {
        Reason.HARBOR_UNREACHABLE,
        Reason.TLS_UNTRUSTED,
        Reason.NOT_A_HARBOR_API,
        Reason.UNAUTHORIZED,
        Reason.HARBOR_READ_ONLY,
    }
)
"""Reasons that all resources of a connection share: the connection's own Event reports them once."""


@dataclass
class Visit(Generic[R]):
    """`resource` is as last seen, `status` is being built; `finish` writes it if it differs."""

    context: Context
    resource: R
    causes: Cause
    status: Any
    link: Link | None = None
    """The connection that the visit works over, once known."""
    once_written: list[Callable[[], None]] = field(default_factory=list)
    """Callbacks to run once the status has been written."""

    @property
    def may_share_reading(self) -> bool:
        """Whether a reading shared with others, up to some seconds old, is recent enough. It is not if a write is
        expected: the write needs the present object, so a shared reading would only add a request."""
        return not self.causes & (Cause.CHANGE | Cause.RETRY | Cause.SECRET)

    @property
    def connection_is_lost(self) -> bool:
        """Whether the reason is the connection's failure, which the connection reports and whose end wakes all
        resources."""
        return self.link is not None and self.link.key != self.resource.key and self.link.verdict is not None

    def record(self, **fields: Any) -> None:
        self.status = self.status.model_copy(update=fields)

    async def finish(self, verdict: Verdict) -> None:
        """Writes the status if its meaning has changed, and records an Event for a new reason. For a connection that
        several operators share, only one of them does."""
        if not self.context.reports_on(self.resource.key):
            self._follow_up()
            return
        before: CommonStatus = self.resource.status
        self.record(
            observed_generation=self.resource.metadata.generation,
            last_handled_reconcile_at=self.resource.reconcile_request,
            conditions=conditions_for(
                verdict,
                self.status.conditions,
                generation=self.resource.metadata.generation,
                now=self.context.now(),
            ),
        )
        await self.write_status()
        failed = verdict.reason.outcome in (Outcome.STALLED, Outcome.RECONCILING)
        if failed and before.ready_reason != verdict.reason and not self._is_shown_by_connection(verdict):
            await self.warn(verdict.reason, verdict.message)

    def _is_shown_by_connection(self, verdict: Verdict) -> bool:
        """Whether an Event of the connection reports the same for all of its resources."""
        if self.resource.kind in CONNECTION_KINDS or verdict.reason not in CONNECTION_REASONS:
            return False
        return self.connection_is_lost or (self.link is not None and self.link.read_only is True)

    async def write_status(self) -> None:
        body = self.context.store.get(self.resource.key)
        patch = merge_patch((body or {}).get("status") or {}, self.status.wire())
        if patch:
            await self.context.patch_status(self.resource.key, self.resource.metadata.uid, patch)
        self._follow_up()

    def _follow_up(self) -> None:
        for follow_up in self.once_written:
            follow_up()
        self.once_written.clear()

    # Events

    async def inform(self, reason: str, note: str) -> None:
        await self.context.recorder.record(self.resource, "Normal", reason, note, action="Reconcile")

    async def warn(self, reason: str, note: str) -> None:
        await self.context.recorder.record(self.resource, "Warning", reason, note, action="Reconcile")

    # The finalizer

    @property
    def has_finalizer(self) -> bool:
        return self.context.finalizer(self.resource.key) in self.resource.metadata.finalizers

    async def prepare_creation(self, *, finalizer: bool, annotations: dict[str, str] | None = None) -> None:
        """Does the same as `prepare` before something is created in Harbor, but raises Wait if the resource no longer
        exists. The watch may lag behind its deletion, and then nothing would ever remove the created object."""
        if await self.prepare(finalizer=finalizer, annotations=annotations):
            return
        metadata = (await self.context.gateway.get(self.resource.key))["metadata"]
        if metadata["uid"] != self.resource.metadata.uid or metadata.get("deletionTimestamp"):
            raise Wait  # until the watch reports it

    async def prepare(self, *, finalizer: bool, annotations: dict[str, str] | None = None) -> bool:
        """Adds or removes the finalizer and sets annotations, with at most one patch; returns whether it sent one."""
        metadata: dict[str, Any] = {}
        present = self.resource.metadata.annotations
        missing = {name: value for name, value in (annotations or {}).items() if present.get(name) != value}
        if missing:
            metadata["annotations"] = missing
        if finalizer != self.has_finalizer:
            ours = self.context.finalizer(self.resource.key)
            others = [name for name in self.resource.metadata.finalizers if name != ours]
            metadata["finalizers"] = [*others, ours] if finalizer else others
            # The patch replaces the list: the version makes it fail if somebody else has changed the list meanwhile.
            metadata["resourceVersion"] = self.resource.metadata.resource_version
        if metadata:
            patched = await self.context.patch(self.resource.key, self.resource.metadata.uid, {"metadata": metadata})
            self.resource = self.resource.model_copy(update={"metadata": patched})
        return bool(metadata)
