"""`python -m harness.node COMMAND...`: builds what a node needs, then runs the command where one can be started.

That is in network, mount and process namespaces of its own. When the command ends, the kernel ends whatever it has
started, and its networks and mounts are gone. Where no node can run it says why and fails; with variable NODE=optional
it says why and does nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys

from harness.control_plane.errors import ControlPlaneError
from harness.node import images, programs, requirements
from harness.node.requirements import NoNodeHere

OWN_NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")


def main(command: list[str]) -> int:
    try:
        if reason := requirements.lacking():
            raise NoNodeHere(reason)
        variables = {
            "HARBORHOOK_NODE_PROGRAM": str(programs.build(say)),
            "HARBORHOOK_NODE_IMAGES": str(images.build(say)),
        }
    except NoNodeHere as reason:
        say(f"No tests on a node. {reason}")
        return 0 if os.environ.get("NODE") == "optional" else 1
    except ControlPlaneError as error:
        say(str(error))
        return 1
    return subprocess.run([*OWN_NAMESPACES, *command], env={**os.environ, **variables}).returncode


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
