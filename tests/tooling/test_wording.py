"""The wording checker finds the listed words, also across lines, and only as whole words."""

from __future__ import annotations

import pytest

from harness.wording import WORDS, hits, main, words

LISTED = words(WORDS.read_text())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is listed anew.", ["anew"]),
        ("Anew, then.", ["Anew"]),
        ("a canew b", []),
        ("what the status says of it", ["says of"]),
        ("what the status says\n    # of it", ["says # of"]),
        ("it lets go, whoever has it", ["lets go", "whoever"]),
        ("The leader releases it again.", []),
    ],
)
def test_a_word_of_the_list_is_found(text: str, found: list[str]) -> None:
    assert sorted(hit.found for hit in hits(text, LISTED)) == sorted(found)


def test_a_hit_has_its_line_and_what_to_write_instead() -> None:
    (hit,) = hits("one\ntwo\nmade anew", LISTED)
    assert (hit.line, hit.instead) == (3, "again, or recreated, reopened")


def test_the_repository_has_none_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0, capsys.readouterr().out
