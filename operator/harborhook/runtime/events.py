"""The event recorder: creates Events for users, suppresses repetitions, never fails.

The same note on the same object is not repeated within an hour: a condition shows an ongoing state.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from harborhook.api.base import API_VERSION, Resource
from harborhook.api.kinds import KINDS
from harborhook.foreign_text import printable
from harborhook.settings import EventSelection

logger = logging.getLogger(__name__)

NOTE_LIMIT = 1024
"""The API server's limit for a note, in bytes of UTF-8."""
REPEAT_AFTER = 3600.0
REMEMBERED = 20_000

FIRST_REASONS = frozenset({"Created", "Adopted"})
"""Reasons of a resource's first Event; `origin` in its status has the same meaning."""

EventLevel = Literal["Normal", "Warning"]
Post = Callable[[str, dict[str, Any]], Awaitable[None]]
"""Creates an events.k8s.io/v1 Event in a namespace."""


@dataclass
class Recorder:
    post: Post
    instance: str
    clock: Callable[[], float]
    selection: EventSelection = "all"
    _recorded: OrderedDict[tuple[str, str, str], float] = field(default_factory=OrderedDict)

    async def record(self, resource: Resource, kind: EventLevel, reason: str, note: str, *, action: str) -> None:
        """Records `note` on `resource`; a refusal by the API server (as in a terminating namespace) is only logged."""
        if not self._is_selected(kind, reason) or self._was_recorded(resource, reason, note):
            return
        namespace = resource.metadata.namespace or "default"
        try:
            await self.post(namespace, self._event(resource, namespace, kind, reason, note, action))
        except Exception as error:  # an Event must not make a visit fail
            self._recorded.pop((resource.metadata.uid, reason, note), None)
            logger.info("Event %s about %s was not recorded: %s", reason, resource.key, error)

    def _is_selected(self, kind: EventLevel, reason: str) -> bool:
        if kind == "Warning" or self.selection == "all":
            return True
        return self.selection == "changes" and reason not in FIRST_REASONS

    def _was_recorded(self, resource: Resource, reason: str, note: str) -> bool:
        said = (resource.metadata.uid, reason, note)
        now = self.clock()
        last = self._recorded.pop(said, None)
        self._recorded[said] = now if last is None or now - last >= REPEAT_AFTER else last
        while len(self._recorded) > REMEMBERED:
            self._recorded.popitem(last=False)
        return last is not None and now - last < REPEAT_AFTER

    def _event(
        self, resource: Resource, namespace: str, kind: EventLevel, reason: str, note: str, action: str
    ) -> dict[str, Any]:
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"generateName": _prefix(resource.metadata.name), "namespace": namespace},
            "type": kind,
            "reason": reason,
            "note": _cut(note),
            "action": action,
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": "harborhook.io/harborhook",
            "reportingInstance": self.instance,
            "regarding": {
                "apiVersion": API_VERSION if resource.kind in KINDS else "v1",
                "kind": resource.kind,
                "namespace": resource.metadata.namespace or None,
                "name": resource.metadata.name,
                "uid": resource.metadata.uid,
                "resourceVersion": resource.metadata.resource_version,
            },
        }


def _prefix(name: str) -> str:
    """Returns the beginning of the Event's name, to which the API server adds a suffix."""
    return f"{name[:200].rstrip('.-')}-"


def _cut(note: str) -> str:
    note = printable(note)
    encoded = note.encode()
    if len(encoded) <= NOTE_LIMIT:
        return note
    ellipsis = "…"
    return encoded[: NOTE_LIMIT - len(ellipsis.encode())].decode(errors="ignore") + ellipsis
