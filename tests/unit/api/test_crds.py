"""Requirements on every CRD, for any fields of the models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from pydantic import Field

from harborhook.api.base import CommonStatus, Resource
from harborhook.api.conditions import Reason
from harborhook.api.crds import crd, crds, crds_yaml, root_schema
from harborhook.api.kinds import KINDS, Kind
from harness import generate
from harness.paths import REPOSITORY
from harness.reference import reasons_page

each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


class Node(NamedTuple):
    """A node of a schema. Its path has `[]` for the items of a list."""

    path: str
    schema: dict[str, Any]


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[Node]:
    yield Node(path, schema)
    for name, field in schema.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


def paths_where(kind: Kind, found: Any) -> list[str]:
    return [node.path for node in nodes(root_schema(kind)) if found(node.schema)]


def defaults(kind: Kind, part: str) -> dict[str, Any]:
    schema = root_schema(kind)["properties"][part]
    return {node.path: node.schema["default"] for node in nodes(schema, part) if "default" in node.schema}


@each_kind
def test_every_field_and_every_object_in_a_list_has_a_description(kind: Kind) -> None:
    def lacks_description(node: Node) -> bool:
        is_scalar_item = node.path.endswith("[]") and node.schema["type"] != "object"
        is_described_by_kubernetes = node.path == ".metadata"
        return not (node.schema.get("description") or is_scalar_item or is_described_by_kubernetes)

    assert [node.path for node in nodes(root_schema(kind)) if lacks_description(node)] == []


@each_kind
def test_a_description_is_a_sentence(kind: Kind) -> None:
    descriptions = [node.schema["description"] for node in nodes(root_schema(kind)) if "description" in node.schema]
    assert [text for text in descriptions if text[-1] not in ".…" or "\n" in text] == []


@each_kind
def test_nothing_is_left_of_how_python_says_it(kind: Kind) -> None:
    leftovers = {"$ref", "$defs", "anyOf", "oneOf", "allOf", "title", "const", "nullable", "exclusiveMinimum"}
    assert paths_where(kind, lambda schema: leftovers & schema.keys()) == []


@each_kind
def test_every_node_has_a_type_or_is_integer_or_string(kind: Kind) -> None:
    assert paths_where(kind, lambda s: "type" not in s and not s.get("x-kubernetes-int-or-string")) == []


@each_kind
def test_integers_are_64_bits_wide(kind: Kind) -> None:
    assert paths_where(kind, lambda s: s.get("type") == "integer" and s.get("format") != "int64") == []


@each_kind
def test_every_list_says_how_it_merges_and_how_long_it_may_be(kind: Kind) -> None:
    needed = {"x-kubernetes-list-type", "maxItems"}
    assert paths_where(kind, lambda s: s.get("type") == "array" and not needed <= s.keys()) == []


@each_kind
def test_every_string_in_a_spec_has_a_bound_which_the_cost_of_rules_needs(kind: Kind) -> None:
    spec = root_schema(kind)["properties"]["spec"]
    bounds = {"maxLength", "enum", "format"}
    assert [n.path for n in nodes(spec) if n.schema.get("type") == "string" and not bounds & n.schema.keys()] == []


@each_kind
def test_a_status_has_no_defaults(kind: Kind) -> None:
    assert defaults(kind, "status") == {}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "ClusterHarborConnection",
            {
                "spec.allowInsecureHTTP": False,
                "spec.allowEndpointTests": False,
                "spec.allowRedelivery": False,
                "spec.suspend": False,
                "spec.credentialsSecretRef.usernameKey": "username",
                "spec.credentialsSecretRef.passwordKey": "password",
                "spec.tls.caBundleRef.kind": "ConfigMap",
                "spec.tls.caBundleRef.key": "ca.crt",
                "spec.tls.insecureSkipVerify": False,
                "spec.limits.maxConcurrentRequests": 8,
                "spec.limits.requestsPerSecond": 50,
            },
        ),
        (
            "HarborProject",
            {
                "spec.connectionRef.kind": "ClusterHarborConnection",
                "spec.creationPolicy": "Create",
                "spec.deletionPolicy": "Retain",
                "spec.driftPolicy": "Correct",
                "spec.suspend": False,
                "spec.webhooks.enabled": True,
                "spec.webhooks.prune": False,
            },
        ),
        (
            "WebhookPolicy",
            {
                "spec.connectionRef.kind": "ClusterHarborConnection",
                "spec.enabled": True,
                "spec.creationPolicy": "Create",
                "spec.driftPolicy": "Correct",
                "spec.redelivery.mode": "Manual",
                "spec.redelivery.maxAge": "24h",
                "spec.suspend": False,
            },
        ),
    ],
)
def test_only_what_steers_the_operator_has_a_default(kind: str, expected: dict[str, Any]) -> None:
    assert defaults(KINDS[kind], "spec") == expected


def test_a_connection_of_a_namespace_cannot_name_a_secret_elsewhere() -> None:
    spec = root_schema(KINDS["HarborConnection"])["properties"]["spec"]
    assert [node.path for node in nodes(spec) if node.path.endswith(".namespace")] == []


@each_kind
def test_each_kind_is_in_the_category_and_has_its_short_name(kind: Kind) -> None:
    spec = crd(kind)["spec"]
    assert spec["names"]["categories"] == ["harborhook"]
    assert spec["names"]["shortNames"] == [kind.short]
    assert spec["scope"] == ("Namespaced" if kind.namespaced else "Cluster")
    assert spec["versions"][0]["subresources"] == {"status": {}}


@each_kind
def test_each_rule_explains_itself(kind: Kind) -> None:
    rules = [rule for node in nodes(root_schema(kind)) for rule in node.schema.get("x-kubernetes-validations", [])]
    assert [rule for rule in rules if len(rule["message"].split()) < 5] == []


@each_kind
def test_printer_columns_show_fields_that_exist(kind: Kind) -> None:
    paths = {node.path for node in nodes(root_schema(kind))}
    columns = crd(kind)["spec"]["versions"][0]["additionalPrinterColumns"]
    shown = {column["jsonPath"].partition("[?")[0] for column in columns}
    assert shown - paths == {".metadata.creationTimestamp"}


def test_generated_files_are_in_step_with_the_models(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert generate.main(["--check"]) == 0, capsys.readouterr().err


def test_the_crds_directory_has_one_file_for_each_kind_and_lists_all() -> None:
    files = {path.name for path in (REPOSITORY / "crds").glob("*.yaml")} - {"kustomization.yaml"}
    listed = yaml.safe_load((REPOSITORY / "crds/kustomization.yaml").read_text())["resources"]
    assert files == set(listed) == {f"harborhook.io_{kind.plural}.yaml" for kind in KINDS.values()}


def test_check_names_the_files_that_are_out_of_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directories = ["--output", str(tmp_path / "crds"), "--docs", str(tmp_path / "docs")]
    assert generate.main(directories) == 0
    assert generate.main([*directories, "--check"]) == 0
    capsys.readouterr()
    (tmp_path / "docs/reasons.md").unlink()
    edited = tmp_path / "crds/harborhook.io_webhookpolicies.yaml"
    edited.write_text("edited by hand")

    assert generate.main([*directories, "--check"]) == 1

    named = [line.partition(" is out of step")[0] for line in capsys.readouterr().err.splitlines()]
    assert named == [str(edited), str(tmp_path / "docs/reasons.md")]
    assert edited.read_text() == "edited by hand"


def test_the_command_prints_all_crds_as_one_stream() -> None:
    assert list(yaml.safe_load_all(crds_yaml())) == crds()


def test_the_stream_of_crds_has_no_anchors() -> None:
    tokens = {type(token) for token in yaml.scan(crds_yaml())}
    assert not tokens & {yaml.AnchorToken, yaml.AliasToken}


def test_the_page_of_reasons_has_every_reason_with_its_sentence() -> None:
    page = reasons_page()
    assert [reason for reason in Reason if f"| `{reason}` |" not in page or reason.sentence not in page] == []


def test_a_field_that_could_be_two_things_is_refused_with_advice() -> None:
    class Undecided(CommonStatus):
        """Has a field of two types."""

        quota: int | str = Field(description="Either.")

    class Example(Resource):
        """A kind with such a field."""

        spec: Undecided
        status: Undecided

    with pytest.raises(ValueError, match="WithJsonSchema"):
        root_schema(Kind("Example", "examples", "ex", True, Example))
