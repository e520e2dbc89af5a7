"""Names are unique: no two classes of the package have the same name."""

from __future__ import annotations

import ast
from collections import defaultdict

from harness.paths import REPOSITORY

SOURCE = REPOSITORY / "operator/harborhook"


def test_no_two_classes_have_one_name() -> None:
    found = defaultdict(list)
    for path in SOURCE.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(path.relative_to(SOURCE)))

    assert len(found) > 100
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}
