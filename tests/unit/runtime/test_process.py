"""The end of the process: tasks that do not end cannot prevent it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress

import pytest

from harborhook.runtime import process

STUBBORN = """
import asyncio, os, signal, sys, time
from harborhook.runtime import process

process.END_LIMIT = 1

async def stubborn():
    while True:
        try:
            {await_or_block}
        except asyncio.CancelledError:
            pass

async def main():
    stop = asyncio.Event()
    process.stop_on_signals(stop)
    os.kill(os.getpid(), signal.SIGTERM)
    await stop.wait()
    asyncio.create_task(stubborn())
    await asyncio.sleep(0)

asyncio.run(main())
"""


@pytest.mark.parametrize("what", ["await asyncio.sleep(3600)", "time.sleep(3600)"])
def test_a_process_that_is_told_to_end_does_so_in_any_case(what: str) -> None:
    script = STUBBORN.format(await_or_block=what)

    done = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)

    assert done.returncode == 0


async def test_a_task_that_swallows_one_cancellation_is_cancelled_again() -> None:
    async def deaf_in_one_ear() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        await asyncio.sleep(3600)

    task = asyncio.create_task(deaf_in_one_ear())
    await asyncio.sleep(0)

    await process.cancel({task})

    assert task.cancelled()


async def test_a_task_that_swallows_all_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    enough = asyncio.Event()

    async def deaf() -> None:
        while not enough.is_set():
            with suppress(asyncio.CancelledError):
                await enough.wait()

    task = asyncio.create_task(deaf(), name="deaf")
    await asyncio.sleep(0)

    await process.cancel({task})

    assert not task.done()
    assert "deaf" in caplog.text
    enough.set()
    await task
