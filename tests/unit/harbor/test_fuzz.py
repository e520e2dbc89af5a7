"""Each parser of foreign text withstands the kept corpus, and some texts derived from it. `make fuzz` runs longer."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.fuzz.corpus import CORPUS, seeds, texts
from harness.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_breaks_no_parser(name: str) -> None:
    for text in seeds(name):
        TARGETS[name](text)


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_text_breaks_a_parser(name: str, data: st.DataObject) -> None:
    TARGETS[name](data.draw(texts(name)))


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {path.stem for path in CORPUS.glob("*.json")} == set(TARGETS)
