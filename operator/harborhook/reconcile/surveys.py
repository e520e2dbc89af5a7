"""The results of listings of all resources in the cluster, including those that other operators work on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass
class Surveys:
    began: float | None = None
    """When the last listing began."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: dict[str, float] = field(default_factory=dict)
    """New resources of ours that wait for a listing, by UID, with the time since when."""
    refused: bool = False
    """This operator may not list resources outside its namespaces."""
    left: dict[str, float] = field(default_factory=dict)
    """Resources of ours that another operator has marked, by UID, with the time since when."""

    def forget(self, uid: str) -> None:
        self.waiting.pop(uid, None)
        self.left.pop(uid, None)
