"""What is remembered of listings of all resources in the cluster, beyond those that this operator works on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass
class Surveys:
    began: float | None = None
    """When the last one did."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: dict[str, float] = field(default_factory=dict)
    """Since when new resources of ours wait for one, by UID."""
    refused: bool = False
    """This operator may not list what is beyond its namespaces."""
    left: dict[str, float] = field(default_factory=dict)
    """Since when resources of ours are known to be marked by another operator, by UID."""

    def forget(self, uid: str) -> None:
        self.waiting.pop(uid, None)
        self.left.pop(uid, None)
