"""The demonstration is honest: a step that does not come true ends it, and no secret is shown."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from rich.console import Console

from harness.demo.__main__ import perform
from harness.demo.examples import EXAMPLES, fill_in, receiver_path
from harness.demo.screen import Screen, first_lines, masked, sections, shortened
from harness.demo.stage import REPOSITORY, DemoError, Stage
from harness.demo.story import Step

DESCRIBED = """\
Name:  ci
Status:
  Conditions:
    Reason:  Reconciled
  Origin:    Created
  Policy ID: 1
Events:
  Normal  Created  1s
"""


class Printed:
    """Returns a stage without parts, and its output."""

    def __init__(self, directory: Path, log: str = "") -> None:
        self._file = io.StringIO()
        console = Console(file=self._file, highlight=False, markup=False, soft_wrap=True)
        nobody = cast(Any, SimpleNamespace())
        self.stage = Stage(Screen(console), directory, nobody, nobody, nobody)
        if log:
            (directory / "operator.log").write_text(log)
            self.stage.operator = cast(Any, SimpleNamespace(log=directory / "operator.log"))

    @property
    def text(self) -> str:
        return self._file.getvalue()


def test_a_step_that_does_not_come_true_ends_the_demonstration_with_its_name_and_the_operators_last_words(
    tmp_path: Path,
) -> None:
    printed = Printed(tmp_path, log="early\n" * 50 + "the last words\n")

    def claim(stage: Stage) -> None:
        stage.until("the moon is made of cheese", lambda: False, deadline=0)

    def never(_stage: Stage) -> None:
        pytest.fail("the story went on")

    code = perform(printed.stage, [Step("Look up", "Stars.", claim), Step("Go on", "Further.", never)])

    assert code == 1
    assert 'Step 1, "Look up", failed: DemoError: after 0 s this does not hold: the moon' in printed.text
    assert printed.text.rstrip().endswith("the last words")
    assert printed.text.count("early") < 50
    assert "✓" not in printed.text


def test_an_unexpected_error_in_a_step_ends_it_too(tmp_path: Path) -> None:
    printed = Printed(tmp_path)

    def stumble(_stage: Stage) -> None:
        raise KeyError("status")

    assert perform(printed.stage, [Step("Walk", "On.", stumble)]) == 1
    assert "Step 1, \"Walk\", failed: KeyError: 'status'" in printed.text


def test_steps_that_come_true_end_with_exit_code_0(tmp_path: Path) -> None:
    printed = Printed(tmp_path)

    def claim(stage: Stage) -> None:
        stage.check("two and two are four", 2 + 2 == 4)

    assert perform(printed.stage, [Step("Count", "With fingers.", claim)]) == 0
    assert "1. Count\n   With fingers.\n   ✓ two and two are four\n" in printed.text


def test_what_does_not_hold_is_never_ticked_off(tmp_path: Path) -> None:
    printed = Printed(tmp_path)

    with pytest.raises(DemoError, match="two and two are five"):
        printed.stage.check("two and two are five", False)

    assert printed.text == ""


@pytest.mark.parametrize(
    ("value", "shown"),
    [("Bearer secret-token", "Bearer se…"), ("secret-token", "se…"), ("Basic dXNlcg==", "Basic dX…")],
)
def test_of_a_header_only_the_scheme_and_two_characters_are_shown(value: str, shown: str) -> None:
    assert masked(value) == shown


def test_a_long_output_says_what_it_leaves_out() -> None:
    assert first_lines("a\nb\nc\nd\n", 2) == ["a", "b", "… 2 more lines"]
    assert first_lines("a\nb\nc\n", 2) == ["a", "b", "c"]
    assert shortened("some  words\nin lines", 10) == "some words … (20 characters)"


def test_sections_of_a_description_are_shown_with_a_mark_where_others_were() -> None:
    assert sections(DESCRIBED, "Conditions", "Events") == [
        "…",
        "  Conditions:",
        "    Reason:  Reconciled",
        "…",
        "Events:",
        "  Normal  Created  1s",
    ]


def test_the_examples_are_filled_in_and_otherwise_as_they_are(tmp_path: Path) -> None:
    filled = tmp_path / "filled"
    source = REPOSITORY / EXAMPLES

    fill_in(source, filled, harbor="http://127.0.0.1:1", password="pw", receiver="http://127.0.0.1:2")

    assert {path.name for path in filled.iterdir()} == {path.name for path in source.iterdir()}
    for path in source.iterdir():
        for before, after in zip(manifests(path), manifests(filled / path.name), strict=True):
            assert changed(before, after) <= {"url", "allowInsecureHTTP", "address", "password", "header"}


def test_every_address_of_the_examples_leads_to_the_receiver(tmp_path: Path) -> None:
    filled = tmp_path / "filled"

    fill_in(REPOSITORY / EXAMPLES, filled, harbor="http://127.0.0.1:1", password="pw", receiver="http://127.0.0.1:2")

    declared = [manifest for path in filled.iterdir() for manifest in manifests(path)]
    targets = [target for manifest in declared for target in manifest.get("spec", {}).get("targets", [])]
    addresses = [target["address"] for target in targets if "address" in target]
    addresses += [m["stringData"]["url"] for m in declared if "url" in m.get("stringData", {})]
    assert len(addresses) >= 6
    assert all(address.startswith("http://127.0.0.1:2/") for address in addresses)
    assert receiver_path("https://ci.example.com/harbor?token=x") == "/ci.example.com/harbor"


def test_a_placeholder_that_nobody_fills_in_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "new.yaml").write_text("key: REPLACE-THIS\n")

    with pytest.raises(ValueError, match=r"new\.yaml has a placeholder"):
        fill_in(tmp_path, tmp_path / "filled", harbor="", password="", receiver="")


def manifests(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def changed(before: Any, after: Any, key: str = "") -> set[str]:
    """Returns the keys of the values that differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        return {k for name in before.keys() | after.keys() for k in changed(before.get(name), after.get(name), name)}
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return {k for one, other in zip(before, after, strict=True) for k in changed(one, other, key)}
    return set() if before == after else {key}
