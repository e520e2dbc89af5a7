"""Runs a program that must not outlive the process that asked for it, however that one ends.

    python leash.py PARENT_PID PROGRAM [ARGUMENT]...

On Linux the kernel keeps the promise: this process asks to be killed with its parent (PR_SET_PDEATHSIG) and then
becomes the program. Elsewhere it stays between the two, passes on SIGTERM and looks every second whether its parent
is still there. It is started as a script and imports nothing of the harness, so that it costs some 20 ms.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress
from types import FrameType

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        _die_with(parent)
        os.execv(command[0], command)
    sys.exit(watch_over(command, parent))


def _die_with(parent: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the promise was made
        os._exit(1)


def watch_over(command: list[str], parent: int) -> int:
    child = subprocess.Popen(command)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    while True:
        with suppress(subprocess.TimeoutExpired):
            return child.wait(timeout=1)
        if os.getppid() != parent:
            child.kill()


if __name__ == "__main__":
    main()
