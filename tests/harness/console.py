"""Runs the console command as a user does: in a pipe or a terminal, with the rights of various users."""

from __future__ import annotations

import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path

import yaml

from harness.control_plane import ControlPlane
from harness.operator_process import AS_SHIPPED, SOURCE

SECONDS = 90.0
PATH = os.pathsep.join([str(SOURCE), str(AS_SHIPPED)])
"""PYTHONPATH of a command: without what the image does not have, which takes seconds to import."""


@dataclass(frozen=True)
class Ended:
    """`output` combines both streams if a terminal shows them as one."""

    code: int
    output: str
    errors: str = ""


def run(kubeconfig: Path, *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Ended:
    """Runs the command in a pipe."""
    done = subprocess.run(
        command(*arguments),
        env=environment(kubeconfig, env),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


def in_terminal(
    kubeconfig: Path,
    *arguments: str,
    columns: int = 120,
    typed: str = "",
    interrupt_after: str = "",
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Runs the command in a terminal of `columns` columns; presses Ctrl-C once it shows `interrupt_after`."""
    leader, follower = pty.openpty()
    ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        command(*arguments),
        env=environment(kubeconfig, {"TERM": "xterm-256color", **(env or {})}),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    os.write(leader, typed.encode())
    shown = _read(leader, process, interrupt_after.encode())
    os.close(leader)
    text = shown.decode(errors="replace").replace("\r\n", "\n")
    assert "Traceback" not in text, text
    return Ended(process.wait(timeout=SECONDS), text)


def _read(leader: int, process: subprocess.Popen[bytes], interrupt_after: bytes) -> bytes:
    shown, deadline, interrupted = b"", time.monotonic() + SECONDS, False
    while time.monotonic() < deadline:
        ready, _, _ = select.select([leader], [], [], 0.1)
        try:
            shown += os.read(leader, 65536) if ready else b""
        except OSError:  # the other end is closed
            return shown
        if interrupt_after and interrupt_after in shown and not interrupted:
            interrupted = True
            process.send_signal(signal.SIGINT)
    process.kill()
    raise AssertionError(f"it did not end; it has shown {shown.decode(errors='replace')}")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "harborhook", *arguments]


def environment(kubeconfig: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the environment of the tests without variables that change the command's appearance."""
    left_out = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM")
    own = {name: value for name, value in os.environ.items() if not name.startswith("HARBORHOOK_")}
    kept = {name: value for name, value in own.items() if name not in left_out}
    return {**kept, "PYTHONPATH": PATH, "KUBECONFIG": str(kubeconfig), **(extra or {})}


# Users


def user(control_plane: ControlPlane, namespace: str, name: str, role: str = "") -> Path:
    """Returns a kubeconfig of a user with a ClusterRole in that namespace, or without any right."""
    if role:
        bind(control_plane, namespace, name, {"kind": "ClusterRole", "name": role})
    return control_plane.service_account_kubeconfig(namespace, name)


def bind(control_plane: ControlPlane, namespace: str, name: str, role: Mapping[str, str]) -> None:
    """Creates a role, and binds it to a ServiceAccount of its namespace."""
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"{name}-{role['name']}", "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", **role},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
    control_plane.apply(yaml.safe_dump(binding))


def in_namespace(kubeconfig: Path, namespace: str) -> Path:
    """Returns a kubeconfig of the same user with another namespace in the context."""
    content = yaml.safe_load(kubeconfig.read_text())
    for context in content["contexts"]:
        context["context"]["namespace"] = namespace
    file = kubeconfig.with_name(f"{kubeconfig.stem}-{namespace}.kubeconfig")
    file.write_text(yaml.safe_dump(content))
    file.chmod(0o600)
    return file
