"""Endless retries against the Kubernetes API: an outage of the API server must not end the operator."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from harborhook.kube.gateway import KubeError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class Backoffs:
    """Yields pauses in seconds between attempts to reach the API server: doubling up to 30, with jitter, endless."""

    def __iter__(self) -> Iterator[float]:
        pause = 0.5
        while True:
            yield pause * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
            pause = min(30.0, pause * 2)


async def until_answered(request: Callable[[], Awaitable[Result]], what: str) -> Result:
    """Repeats a request until the API server answers it. Logs refusals, since an administrator has to grant the
    right."""
    for pause in Backoffs():
        try:
            return await request()
        except KubeError as error:
            logger.warning("Could not %s: %s; tried again in %.0f s", what, error, pause)
            await asyncio.sleep(pause)
    raise AssertionError("the pauses are endless")
