"""Harborhook: a Kubernetes operator for Harbor projects and their webhook notifications."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    __version__: str


def __getattr__(name: str) -> str:
    """Returns `__version__`, read on demand: the look-up takes longer than the rest of `harborhook --help`."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("harborhook")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0.0.0"
