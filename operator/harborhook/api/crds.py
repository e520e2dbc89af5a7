"""Generates the CustomResourceDefinitions from the models, for `harborhook crds`, the chart and the repository.

A model's JSON schema becomes a structural schema for the API server: references are inlined, an optional field is a
field that is not required, and only fields that configure the operator keep their defaults. The models are the only
source: a CRD has no field that its model lacks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from harborhook.api.base import GROUP, VERSION
from harborhook.api.kinds import (
    CLUSTER_HARBOR_CONNECTION,
    HARBOR_CONNECTION,
    HARBOR_PROJECT,
    KINDS,
    WEBHOOK_POLICY,
    Kind,
)
from harborhook.api.plain_yaml import PlainDumper
from harborhook.api.project import PROJECT_ROOT_RULES

Schema = dict[str, Any]

CATEGORY = "harborhook"


def crds() -> list[dict[str, Any]]:
    """Returns one CustomResourceDefinition for each kind."""
    return [crd(kind) for kind in KINDS.values()]


def crds_yaml() -> str:
    """Returns all CustomResourceDefinitions as one YAML stream for `kubectl apply -f -`."""
    return "---\n".join(to_yaml(definition) for definition in crds())


def to_yaml(manifest: dict[str, Any]) -> str:
    return yaml.dump(manifest, Dumper=PlainDumper, sort_keys=False, allow_unicode=True, width=120)


def crd(kind: Kind) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short],
                "categories": [CATEGORY],
            },
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _PRINTER_COLUMNS[kind],
                    "schema": {"openAPIV3Schema": root_schema(kind)},
                }
            ],
        },
    }


# The columns that `kubectl get` prints after the name.


def _column(name: str, type_: str, path: str, *, wide: bool = False) -> dict[str, Any]:
    """Returns a printer column; a wide one appears only with `kubectl get -o wide`."""
    return {"name": name, "type": type_, "jsonPath": path} | ({"priority": 1} if wide else {})


_READY = _column("Ready", "string", '.status.conditions[?(@.type=="Ready")].status')
_REASON = _column("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', wide=True)
_DELIVERING = _column("Delivering", "string", '.status.conditions[?(@.type=="Delivering")].status')
_AGE = _column("Age", "date", ".metadata.creationTimestamp")

_CONNECTION_COLUMNS = [
    _column("URL", "string", ".spec.url"),
    _column("Version", "string", ".status.harborVersion"),
    _column("Principal", "string", ".status.principal.name"),
    _column("Notifications", "boolean", ".status.notifications.enabled"),
    _READY,
    _AGE,
    _REASON,
]

_PRINTER_COLUMNS: dict[Kind, list[dict[str, Any]]] = {
    CLUSTER_HARBOR_CONNECTION: _CONNECTION_COLUMNS,
    HARBOR_CONNECTION: _CONNECTION_COLUMNS,
    HARBOR_PROJECT: [
        _column("Project", "string", ".status.projectName"),
        _column("ID", "integer", ".status.projectID"),
        _READY,
        _column("Policies", "string", ".status.webhooks.summary"),
        _AGE,
        _REASON,
        _column("Repos", "integer", ".status.repositoryCount", wide=True),
        _column("Quota", "string", ".status.quota.hard", wide=True),
        _column("Used", "string", ".status.quota.used", wide=True),
    ],
    WEBHOOK_POLICY: [
        _column("Project", "string", ".status.projectName"),
        _column("Enabled", "boolean", ".status.enabled"),
        _READY,
        _DELIVERING,
        _column("Last Trigger", "date", ".status.lastTriggerTime"),
        _AGE,
        _REASON,
        _column("Policy ID", "integer", ".status.policyID", wide=True),
        _column("Failures", "integer", ".status.deliveries.consecutiveFailures", wide=True),
    ],
}


# From a model's JSON schema to a structural schema.

_ROOT_RULES: dict[Kind, Schema] = {HARBOR_PROJECT: PROJECT_ROOT_RULES}

_TYPE_META: Schema = {
    "apiVersion": {"description": "Version of the schema that this object is written in.", "type": "string"},
    "kind": {"description": "The kind of this object.", "type": "string"},
    "metadata": {"type": "object"},  # the API server knows its schema, and rejects more detail here
}


def root_schema(kind: Kind) -> Schema:
    """Returns the schema of a whole object of a kind."""
    generated = kind.model.model_json_schema(by_alias=True)
    definitions = generated.get("$defs", {})
    spec, status = (_inline(generated["properties"][part], definitions) for part in ("spec", "status"))
    return {
        "description": _unwrapped(generated["description"]),
        "type": "object",
        "required": ["spec"],
        "properties": {
            **_TYPE_META,
            "spec": _structural(spec, definitions, _keep_scalar_default),
            "status": _structural(status, definitions, _keep_no_default),
        },
        **_ROOT_RULES.get(kind, {}),
    }


KeepDefault = Callable[[Any], bool]


def _keep_no_default(_default: Any) -> bool:
    """For the status: a default would report something that the operator has not observed."""
    return False


def _keep_scalar_default(default: Any) -> bool:
    """For the spec: a default object or list would appear in every `kubectl get -o yaml` and in GitOps diffs."""
    return isinstance(default, str | int)


def _structural(node: Schema, definitions: Schema, keep_default: KeepDefault) -> Schema:
    """Returns the structural schema of a node and of everything below it."""
    node = _inline(node, definitions)
    made: Schema = {name: node[name] for name in ("description", "type") if name in node}
    for name, value in node.items():
        match name:
            case "description":
                made[name] = _unwrapped(value)
            case "properties":
                made[name] = {field: _structural(child, definitions, keep_default) for field, child in value.items()}
            case "items" | "additionalProperties":
                made[name] = _structural(value, definitions, keep_default)
            case "const":
                made["enum"] = [value]
            case _ if _is_kept(name, value, keep_default):
                made[name] = value
    if made.get("type") == "integer":
        made.setdefault("format", "int64")
    return made


def _is_kept(name: str, value: Any, keep_default: KeepDefault) -> bool:
    """Drops the title, which pydantic derives from the field's name."""
    return keep_default(value) if name == "default" else name != "title"


def _inline(node: Schema, definitions: Schema) -> Schema:
    """Returns the node with its reference or its only alternative inlined; the node's own keywords take precedence."""
    if "$ref" in node:
        target = definitions[node["$ref"].removeprefix("#/$defs/")]
        return _inline({**target, **_without(node, "$ref")}, definitions)
    if "anyOf" in node:
        target = _only_alternative(node["anyOf"])
        return _inline({**target, **_without(node, "anyOf")}, definitions)
    return node


def _only_alternative(alternatives: list[Schema]) -> Schema:
    """Rewrites `X | None` as X: None stands for an absent field, and the API server rejects null."""
    real = [schema for schema in alternatives if schema.get("type") != "null"]
    if len(real) != 1:
        raise ValueError(f"a structural schema has one type for a field, not {real}: give it one by WithJsonSchema")
    return real[0]


def _without(node: Schema, name: str) -> Schema:
    return {key: value for key, value in node.items() if key != name}


def _unwrapped(text: str) -> str:
    """Joins a docstring into one line: kubectl and the reference documentation wrap it themselves."""
    return " ".join(text.split())
