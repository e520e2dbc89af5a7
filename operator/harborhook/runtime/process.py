"""Ends the process on a signal: in order, and within a limit in any case.

Called by lifecycle.py. A task can swallow a cancellation and a thread can block for ever; neither may keep the process
alive beyond the grace period of Kubernetes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Collection
from typing import Any

logger = logging.getLogger(__name__)

END_LIMIT = 22.0
"""Seconds from SIGTERM until the process exits by force: more than all steps of an orderly end together, less than the
grace period of 30."""
CANCEL_LIMIT = 1.5
"""Seconds that cancelled tasks have to end. kopf's tasks may need longer: they can swallow a cancellation, for example
between two streams, and then never end."""


def stop_on_signals(stop: asyncio.Event) -> None:
    """Makes SIGTERM and SIGINT set `stop`, and exits the process by force if it has not ended END_LIMIT later."""

    def begin_the_end() -> None:
        stop.set()
        exit_after(END_LIMIT, code=0)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, begin_the_end)


def exit_after(limit: float, *, code: int) -> None:
    """Exits the process after `limit` seconds, from a thread: no task can prevent it."""
    timer = threading.Timer(limit, os._exit, (code,))
    timer.daemon = True
    timer.start()


async def cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancels tasks, a second time those that continue, and waits CANCEL_LIMIT for them. Logs the ones still
    running."""
    running = {task for task in tasks if not task.done()}
    for limit in (CANCEL_LIMIT / 2, CANCEL_LIMIT / 2):
        for task in running:
            task.cancel()
        if running:
            _, running = await asyncio.wait(running, timeout=limit)
    if running:
        logger.warning("Not ended in time: %s", ", ".join(sorted(task.get_name() for task in running)))
