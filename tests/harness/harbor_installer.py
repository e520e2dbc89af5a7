"""Writes the configuration of Harbor's offline installer, for the tests against a real Harbor.

    HARBOR_PASSWORD=... python -m harness.harbor_installer DIRECTORY --hostname ADDRESS --data DIRECTORY

The directory is the unpacked installer. Harbor will serve plain HTTP at port 80 of the address.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import yaml


def configuration(template: str, hostname: str, password: str, data: str) -> str:
    """Returns harbor.yml from the installer's harbor.yml.tmpl; other settings keep the installer's values."""
    settings = yaml.safe_load(template)
    del settings["https"]
    settings |= {"hostname": hostname, "harbor_admin_password": password, "data_volume": data}
    return yaml.safe_dump(settings, sort_keys=False)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m harness.harbor_installer", description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path, help="the unpacked installer")
    parser.add_argument("--hostname", required=True, help="address of this machine, not of its loopback")
    parser.add_argument("--data", type=Path, required=True, help="where Harbor keeps its data")
    options = parser.parse_args(arguments)
    password = os.environ.get("HARBOR_PASSWORD")
    if not password:
        print("HARBOR_PASSWORD is not set: it becomes the administrator's password.", file=sys.stderr)
        return 1
    template = (options.directory / "harbor.yml.tmpl").read_text(encoding="utf-8")
    written = options.directory / "harbor.yml"
    written.touch(mode=0o600)
    written.write_text(configuration(template, options.hostname, password, str(options.data)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
