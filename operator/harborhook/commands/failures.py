"""How a command ends when it cannot do what was asked for, and with which exit code."""

from __future__ import annotations

NOT_WELL = 1
"""Something is not Ready, the operator's answer is no, or the command could not do what was asked for."""
WRONG_USAGE = 2
INTERRUPTED = 130
"""Ctrl-C, as shells report a process that SIGINT has ended."""


class FailedError(Exception):
    """The command cannot do what was asked for; `str()` is a sentence for a person."""
