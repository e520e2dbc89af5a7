"""What can go wrong with a control plane, always with a sentence that says what to do about it."""

from __future__ import annotations

import subprocess


class ControlPlaneError(Exception):
    """A control plane, or one of its programs, could not be had."""


class KubectlError(subprocess.CalledProcessError):
    """A kubectl command that failed; unlike its parent it shows what kubectl said."""

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.stderr}"


class RefusedError(ControlPlaneError):
    """The API server answered a request with an error; `code` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
