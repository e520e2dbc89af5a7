"""Polls for a condition that no event announces."""

from __future__ import annotations

import time
from collections.abc import Callable


def poll_until(condition: Callable[[], bool], *, timeout: float, interval: float = 0.05) -> bool:
    """Polls until `condition` holds; returns False if it does not within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True
