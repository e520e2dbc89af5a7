"""The YAML dumper of all commands. Imports no models."""

from __future__ import annotations

from typing import Any

import yaml


class PlainDumper(yaml.SafeDumper):
    """Writes repeated values out instead of using anchors, which are hard to read and which some tools reject."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
