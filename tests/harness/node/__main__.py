"""`python -m harness.node COMMAND...`: builds what a node needs, then runs the command where one can be started.

That is in network, mount and process namespaces of its own. When the command ends, the kernel ends whatever it has
started, and its networks and mounts are gone. Where no node can run, says why and does nothing (exit code 0, unless
variable NODE_REQUIRED is set).
"""

from __future__ import annotations

import os
import subprocess
import sys

from harness.control_plane.errors import ControlPlaneError
from harness.node import images, programs, requirements

OWN_NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")


def main(command: list[str]) -> int:
    if reason := requirements.lacking():
        say(f"Not testing on a node. {reason}")
        return 1 if os.environ.get("NODE_REQUIRED") else 0
    try:
        variables = {
            "HARBORHOOK_NODE_PROGRAM": str(programs.build(say)),
            "HARBORHOOK_NODE_IMAGES": str(images.build(say)),
        }
    except ControlPlaneError as error:
        say(str(error))
        return 1
    return subprocess.run([*OWN_NAMESPACES, *command], env={**os.environ, **variables}).returncode


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
