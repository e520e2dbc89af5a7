"""The directory of a control plane: data, certificates, kubeconfigs and logs.

A temporary one is removed at the end. A killed run cannot do that. So each run holds a lock on its directory, and the
next one removes the unlocked directories.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
import time
from pathlib import Path

from harness.control_plane.errors import ControlPlaneError

_PREFIX = "harborhook-control-plane-"
_SECONDS_TO_LOCK = 60  # between creating the file and locking it: younger ones are skipped


class Workspace:
    """A directory held by this process."""

    def __init__(self, directory: Path | None = None) -> None:
        self._temporary = directory is None
        if directory is None:
            _remove_abandoned()
            directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory.absolute()
        self._lock = (directory / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise ControlPlaneError(f"Another control plane is using {directory}") from None

    def close(self) -> None:
        """Releases the directory, and removes it if it is temporary."""
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)
        self._lock.close()


def _remove_abandoned() -> None:
    for lock_file in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/.lock"):
        try:
            with lock_file.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - lock_file.stat().st_mtime > _SECONDS_TO_LOCK:
                    shutil.rmtree(lock_file.parent, ignore_errors=True)
        except OSError:  # still locked, another user's, or just removed
            continue
