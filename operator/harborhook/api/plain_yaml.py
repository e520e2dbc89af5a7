"""How YAML is written. Imports nothing of the models."""

from __future__ import annotations

from typing import Any

import yaml


class PlainDumper(yaml.SafeDumper):
    """Writes what occurs twice twice: anchors are hard to read, and some tools refuse them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
