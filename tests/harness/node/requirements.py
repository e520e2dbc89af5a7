"""Checks whether a node can run on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "socat": "socat",
    "dnsmasq": "dnsmasq-base",
    "unshare": "util-linux",
}
"""Required programs, and their Debian packages."""

CNI_PLUGINS = Path("/usr/lib/cni")


class NoNodeHere(Exception):  # noqa: N818 - a fact about the machine, as a sentence
    """Why no node can run on this machine."""


def lacking() -> str | None:
    """Returns why no node can run on this machine, as a sentence; None if nothing speaks against it."""
    if sys.platform != "linux":
        return "A node needs Linux: containers are made of what its kernel offers."
    if os.geteuid() != 0:
        return "A node needs root: it makes networks and mounts for containers."
    if packages := missing_packages():
        return f"A node needs programs that are not here: apt-get install {' '.join(packages)}"
    return _refused_by_kernel()


def missing_packages() -> list[str]:
    """Returns the Debian packages of missing programs."""
    packages = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    return packages if (CNI_PLUGINS / "bridge").exists() else [*packages, "containernetworking-plugins"]


def _refused_by_kernel() -> str | None:
    """Tests by creating them whether the kernel allows namespaces, bridges and address translation."""
    trial = "ip link add trial type bridge && iptables -t nat -A OUTPUT -j RETURN && mount -t tmpfs trial /mnt"
    done = subprocess.run(["unshare", "--net", "--mount", "sh", "-c", trial], capture_output=True, text=True)
    if done.returncode != 0:
        return f"A node needs more than this machine's kernel permits: {done.stderr.strip()}"
    return None


if __name__ == "__main__":
    print(*missing_packages())
