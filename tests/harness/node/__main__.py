"""`python -m harness.node COMMAND...`: builds the parts of a node, then runs the command in an environment for one.

That environment has separate network, mount and process namespaces. When the command ends, the kernel ends all its
descendants and removes its networks and mounts. If no node can run here, it says why and fails; with variable
NODE=optional it says why and succeeds.
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
