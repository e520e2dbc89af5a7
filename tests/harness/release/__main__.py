"""Creates the files of a release in a separate directory.

    python -m harness.release [--image-repository ghcr.io/OWNER/harborhook] [--output dist]

They are the wheel, the chart, `install.yaml` (kinds, roles and operator), the plugin for Krew with its manifest, the
bill of materials, and their checksums. The same commit gives the same bytes with the same Python: only tracked files
are packed, all with the commit's time.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from harborhook import __version__
from harness import krew
from harness.chart_files import REPOSITORY, project_metadata
from harness.control_plane import ControlPlaneError, binaries
from harness.release.bill_of_materials import bill_of_materials
from harness.release.packed_chart import packed
from harness.release.sources import ReleaseError, copy_tracked, differs_from_commit, source_date

CHECKSUMS = "SHA256SUMS"


def release(output: Path, image_repository: str) -> None:
    """Writes all files; removes the directory's former content."""
    date = source_date()
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="harborhook-release-") as directory:
        sources = Path(directory)
        copy_tracked(sources, date)
        chart = packed(sources / "helm-chart", image_repository, date)
        (output / f"harborhook-{__version__}.tgz").write_bytes(chart)
        (output / "install.yaml").write_text(installation(sources, image_repository), encoding="utf-8")
        plugin = krew.archive(sources)
        (output / krew.archive_name()).write_bytes(plugin)
        (output / "harborhook.yaml").write_text(plugin_manifest(plugin), encoding="utf-8")
        bill = bill_of_materials((sources / "requirements.lock").read_text(encoding="utf-8"), date)
        (output / f"harborhook-{__version__}.cdx.json").write_text(bill, encoding="utf-8")
        build_wheel(sources, output, date)
    (output / CHECKSUMS).write_text(checksums(output), encoding="utf-8")


def build_wheel(sources: Path, output: Path, date: int) -> None:
    """Builds with the pinned setuptools, which is installed beside this program."""
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet")
    command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(output), str(sources)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(date)}
    # setuptools writes the wheel's metadata, with modes that depend on the umask.
    done = subprocess.run(command, env=environment, umask=0o022, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"The wheel cannot be built; pip says:\n{done.stderr}")


def installation(sources: Path, image_repository: str) -> str:
    """Returns manifests/base in one file, with the image of this version."""
    overlay = sources / "installation"
    overlay.mkdir()
    image = {"name": "harborhook", "newName": image_repository, "newTag": __version__}
    kustomization = {"resources": ["../manifests/base"], "images": [image]}
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    kubectl = binaries.find(_say, controllers=False).kubectl
    done = subprocess.run([kubectl, "kustomize", overlay], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"manifests/base cannot be rendered; kubectl says:\n{done.stderr}")
    return f"# Harborhook {__version__}: kubectl apply --server-side -f install.yaml\n{done.stdout}"


def plugin_manifest(plugin: bytes) -> str:
    """Returns the manifest for kubectl krew install --manifest=harborhook.yaml."""
    urls = project_metadata()["urls"]
    downloads = f"{urls['Repository']}/releases/download/v{{version}}/{{archive}}"
    return yaml.safe_dump(krew.manifest(downloads, urls["Homepage"], plugin), sort_keys=False)


def checksums(directory: Path) -> str:
    """Returns checksums in the format of `sha256sum --check`."""
    files = sorted(path for path in directory.iterdir() if path.name != CHECKSUMS)
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m harness.release", description=__doc__.partition("\n")[0])
    parser.add_argument("--image-repository", default="harborhook", help="where the image is (default: harborhook)")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "dist", help="default: dist")
    options = parser.parse_args(arguments)
    try:
        if differs_from_commit():
            _say("Tracked files differ from the last commit: these files are of no commit.")
        release(options.output, options.image_repository)
    except (ReleaseError, ControlPlaneError) as error:
        _say(str(error))
        return 1
    print(f"{options.output}: {', '.join(sorted(path.name for path in options.output.iterdir()))}")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
