"""A minute of fuzzing in each run of all tests, and the handling of a text that breaks a parser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.fuzz import corpus
from harness.fuzz.__main__ import main
from harness.fuzz.targets import TARGETS


def test_a_minute_of_texts_breaks_no_parser(capsys: pytest.CaptureFixture[str]) -> None:
    ended = main(["--minutes", "1"])

    said = capsys.readouterr()
    with capsys.disabled():
        print(f"\nfuzzed for a minute: {said.out}{said.err}", end="")
    assert ended == 0, said.err
    tried = dict(re.findall(r"([a-z-]+) (\d+)", said.out.partition(": ")[2]))
    assert tried.keys() == TARGETS.keys()
    assert all(int(count) > 0 for count in tried.values())


def test_a_text_that_breaks_a_parser_is_kept_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(text: str) -> None:
        assert text.count("1.2.3") < 3  # many of the hundred texts are a seed repeated

    monkeypatch.setattr(corpus, "CORPUS", tmp_path)
    for name in ("version", "date"):
        (tmp_path / f"{name}.json").write_text('["1.2.3"]')
    monkeypatch.setitem(TARGETS, "version", fails)

    ended = main(["--minutes", "0", "--target", "version", "--target", "date"])

    said = capsys.readouterr()
    kept = json.loads((tmp_path / "version.json").read_text())
    assert ended == 1
    assert "BROKEN version: " in said.err
    assert kept[0] == "1.2.3"
    assert kept[1:] == ["1.2.31.2.31.2.3"]
    assert json.loads((tmp_path / "date.json").read_text()) == ["1.2.3"]
