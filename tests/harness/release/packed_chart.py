"""Packs the chart into an archive for Helm, with the image's repository filled in.

`helm package` writes the present time into its archives, so two runs would differ.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from pathlib import Path

NAME = "harborhook"
_REPOSITORY = re.compile(r"^(image:\n(?:  .*\n)*?  repository: ).*$", re.MULTILINE)


def packed(chart: Path, image_repository: str, date: int) -> bytes:
    """Returns the archive of a chart directory."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(path for path in chart.rglob("*") if path.is_file() and path.name != ".helmignore"):
            name = path.relative_to(chart).as_posix()
            content = path.read_bytes()
            if name == "values.yaml":
                content = with_image_repository(content.decode(), image_repository).encode()
            entry = tarfile.TarInfo(f"{NAME}/{name}")
            entry.size, entry.mtime, entry.mode = len(content), date, 0o644
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(archive.getvalue(), mtime=0)


def with_image_repository(values: str, repository: str) -> str:
    """Returns values.yaml with another default of `image.repository`; its comments stay."""
    changed, count = _REPOSITORY.subn(rf"\g<1>{repository}", values)
    if count != 1:
        raise ValueError("values.yaml has no image.repository")
    return changed
