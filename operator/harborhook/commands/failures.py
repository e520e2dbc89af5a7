"""How commands fail: exit codes, and the exception with the message for the user."""

from __future__ import annotations

NOT_WELL = 1
"""A resource is not Ready, the operator's answer is negative, or the command failed."""
WRONG_USAGE = 2
INTERRUPTED = 130
"""Ctrl-C: shells report this code for a process that SIGINT has ended."""


class FailedError(Exception):
    """The command failed; `str()` is a sentence for the user."""
