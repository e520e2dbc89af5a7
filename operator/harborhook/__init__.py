"""Harborhook: a Kubernetes operator for Harbor projects and their webhook notifications."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("harborhook")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0.0.0"
