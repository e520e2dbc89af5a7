"""docs/security.md claims no protection without a test."""

from __future__ import annotations

import re

from harness.paths import REPOSITORY

PAGE = (REPOSITORY / "docs/security.md").read_text()
SHOWN_BY = re.findall(r"\| `(tests/[^`]*)` \|$", PAGE, re.MULTILINE)


def test_each_attack_names_a_test_that_exists() -> None:
    assert len(SHOWN_BY) > 40
    for proof in SHOWN_BY:
        file, _, name = proof.partition("::")
        assert re.search(rf"^(?:async )?def {name}\(", (REPOSITORY / file).read_text(), re.MULTILINE), proof


def test_each_row_of_the_attacks_names_one_test_and_no_two_the_same() -> None:
    attacks = PAGE.partition("\n## Attacks\n")[2].partition("\n## ")[0]
    rows = [row for row in attacks.splitlines() if row.startswith("| ") and not row.startswith(("| threat", "| ---"))]

    assert len(rows) == len(SHOWN_BY) == len(set(SHOWN_BY))
