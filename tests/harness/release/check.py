"""Lists what is missing for a release: python -m harness.release.check TAG ADDRESS-OF-THE-REPOSITORY."""

from __future__ import annotations

import sys

from harborhook import __version__
from harness.chart_files import REPOSITORY, project_metadata
from harness.release.notes import heading, notes


def missing(tag: str, address: str, changelog: str) -> list[str]:
    """Returns what to fix before this version can be released, a sentence each."""
    found = []
    if tag != f"v{__version__}":
        found.append(f"The tag is {tag} and the version in pyproject.toml is {__version__}: tag v{__version__}.")
    stated = project_metadata()["urls"]["Repository"]
    if address.rstrip("/").lower() != stated.rstrip("/").lower():
        found.append(
            f"The repository is {address}, and pyproject.toml says {stated}: "
            "correct the addresses in [project.urls] and run make generate."
        )
    if not notes(changelog, __version__):
        found.append(f"CHANGELOG.md has no section for version {__version__}.")
    elif "unreleased" in heading(changelog, __version__):
        found.append(f"CHANGELOG.md says that version {__version__} is unreleased: write the date in its heading.")
    return found


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    tag, address = arguments
    found = missing(tag, address, (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"))
    print("\n".join(found) or f"Version {__version__} can be released.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
