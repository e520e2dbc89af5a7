"""Errors of a control plane; each text says how to fix the problem."""

from __future__ import annotations

import subprocess


class ControlPlaneError(Exception):
    """A control plane, or one of its programs, is not available."""


class KubectlError(subprocess.CalledProcessError):
    """A failed kubectl command; unlike its parent it shows kubectl's output."""

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.stderr}"


class RefusedError(ControlPlaneError):
    """The API server answered a request with an error; `code` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
