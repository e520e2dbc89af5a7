"""One visit to a resource: the status it ends with, the Events it makes, and the finalizer."""

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
"""What all resources of a connection have in common: its own Event says it once for all of them."""


@dataclass
class Visit(Generic[R]):
    """`resource` is as last seen, `status` is being built; `finish` writes it if it differs."""

    context: Context
    resource: R
    causes: Cause
    status: Any
    link: Link | None = None
    """The connection that the visit works over, once it is known."""
    once_written: list[Callable[[], None]] = field(default_factory=list)
    """To be done when the status that is being built has been written."""

    @property
    def may_share_reading(self) -> bool:
        """Whether a reading shared with others, which can be some seconds old, is new enough. It is not where a write
        is expected: a write needs the object as it is now, so the shared reading would be one more request."""
        return not self.causes & (Cause.CHANGE | Cause.RETRY | Cause.SECRET)

    @property
    def connection_is_lost(self) -> bool:
        """The trouble is the connection's, which reports it and wakes everybody when it is over."""
        return self.link is not None and self.link.key != self.resource.key and self.link.verdict is not None

    def record(self, **fields: Any) -> None:
        self.status = self.status.model_copy(update=fields)

    async def finish(self, verdict: Verdict) -> None:
        """Writes the status if it means something else than before, and reports a new reason by an Event. Of a
        connection that several operators share, one of them does."""
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

    async def tell(self, reason: str, note: str) -> None:
        await self.context.recorder.record(self.resource, "Normal", reason, note, action="Reconcile")

    async def warn(self, reason: str, note: str) -> None:
        await self.context.recorder.record(self.resource, "Warning", reason, note, action="Reconcile")

    # The finalizer

    @property
    def has_finalizer(self) -> bool:
        return self.context.finalizer(self.resource.key) in self.resource.metadata.finalizers

    async def prepare_creation(self, *, finalizer: bool, annotations: dict[str, str] | None = None) -> None:
        """The same before something is made in Harbor, and only for a resource that is still there: what the watch
        tells can be older than its end, and then nobody would ever remove what was made."""
        if await self.prepare(finalizer=finalizer, annotations=annotations):
            return
        metadata = (await self.context.gateway.get(self.resource.key))["metadata"]
        if metadata["uid"] != self.resource.metadata.uid or metadata.get("deletionTimestamp"):
            raise Wait  # for the watch to tell

    async def prepare(self, *, finalizer: bool, annotations: dict[str, str] | None = None) -> bool:
        """Makes the finalizer be there or not, and annotations be set, with one patch or none; whether with one."""
        metadata: dict[str, Any] = {}
        present = self.resource.metadata.annotations
        missing = {name: value for name, value in (annotations or {}).items() if present.get(name) != value}
        if missing:
            metadata["annotations"] = missing
        if finalizer != self.has_finalizer:
            ours = self.context.finalizer(self.resource.key)
            others = [name for name in self.resource.metadata.finalizers if name != ours]
            metadata["finalizers"] = [*others, ours] if finalizer else others
            # The list is replaced whole: refuse that if somebody else has changed it meanwhile.
            metadata["resourceVersion"] = self.resource.metadata.resource_version
        if metadata:
            patched = await self.context.patch(self.resource.key, self.resource.metadata.uid, {"metadata": metadata})
            self.resource = self.resource.model_copy(update={"metadata": patched})
        return bool(metadata)
