"""Renders the chart for its tests: by the real Helm, into a list of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from harness.chart_files import CHART
from harness.helm import Helm

Object = dict[str, Any]
Values = dict[str, Any]

RELEASE = "harborhook"
NAMESPACE = "harborhook"

HELM_LABELS = ("helm.sh/chart", "app.kubernetes.io/version", "app.kubernetes.io/managed-by")
"""Labels that state chart, version and tool of an object; kustomize does not set them."""

CONNECTION: Values = {
    "create": True,
    "url": "https://harbor.example.com",
    "credentials": {"existingSecret": "harbor-credentials"},
    "access": [{"namespaces": ["team-*"], "projects": ["{namespace}", "{namespace}.*"]}],
    "allowedTargetHosts": ["*.example.com"],
}
"""Typical values of a connection."""


SERVED = ("--api-versions", "harborhook.io/v1alpha1/ClusterHarborConnection")
"""A cluster with the CRDs of an earlier installation."""


def render(
    helm: Helm, values: Values | None = None, *options: str, release: str = RELEASE, cluster: Sequence[str] = SERVED
) -> list[Object]:
    """Returns all objects of the chart, hooks included."""
    place = ("--namespace", NAMESPACE, "--values", "-")
    text = helm("template", release, CHART, *place, *cluster, *options, stdin=json.dumps(values or {})).stdout
    # The C parser: the schemas of the CRDs are long, and the tests render often.
    return [found for found in yaml.load_all(text, Loader=yaml.CSafeLoader) if found]


def refusal(helm: Helm, values: Values) -> str:
    """Returns Helm's error for refused values; empty if it accepts them."""
    done = helm("template", RELEASE, CHART, "--values", "-", stdin=json.dumps(values), check=False)
    return done.stderr if done.returncode else ""


def notes(helm: Helm, values: Values | None = None, cluster: Sequence[str] = SERVED) -> str:
    """Returns the notes of `helm install`, rendered into an object, since `helm template` omits them."""
    shown = 'kind: Notes\nmetadata: {}\nsaid: {{ include "harborhook/templates/NOTES.txt" . | quote }}'
    found = one(render(helm, {**(values or {}), "extraObjects": [shown]}, cluster=cluster), "Notes")
    return str(found["said"])


def one(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """Returns the only object of a kind, or of that name."""
    (found,) = [o for o in objects if o["kind"] == kind and name in (None, o["metadata"].get("name"))]
    return found


def kinds(objects: list[Object]) -> set[str]:
    return {found["kind"] for found in objects}


def is_hook(found: Object) -> bool:
    return "helm.sh/hook" in (found["metadata"].get("annotations") or {})


def container(objects: list[Object]) -> Object:
    """The operator's container."""
    (found,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(found)


def environment(objects: list[Object], *, namespace: str = NAMESPACE) -> dict[str, str]:
    """Returns the environment of the operator's container, resolved as by a kubelet."""
    variables = {}
    for variable in container(objects)["env"]:
        source = variable.get("valueFrom")
        assert source in (None, {"fieldRef": {"fieldPath": "metadata.namespace"}})
        variables[variable["name"]] = namespace if source else variable["value"]
    return variables


Grant = tuple[str, str, str, str, str]
"""Namespace ("" for all), API group, resource, name ("" for all) and verb."""


def grants(objects: list[Object]) -> set[Grant]:
    """Returns the operator's rights, however the rules are grouped: all Roles, and the ClusterRoles that are bound."""
    bound = [found for found in objects if found["kind"] in ("RoleBinding", "ClusterRoleBinding")]
    return {grant for binding in bound for grant in _granted_by(binding, objects)}


def _granted_by(binding: Object, objects: list[Object]) -> Iterator[Grant]:
    namespace = binding["metadata"].get("namespace", "")
    reference = binding["roleRef"]
    (role,) = [
        found
        for found in objects
        if found["kind"] == reference["kind"]
        and found["metadata"]["name"] == reference["name"]
        and found["metadata"].get("namespace", "") == (namespace if reference["kind"] == "Role" else "")
    ]
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", [""]):
                    for verb in rule["verbs"]:
                        yield namespace, group, resource, name, verb
