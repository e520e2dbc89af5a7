"""The model of the soak: the declared objects, and the unmanaged objects that have to stay in Harbor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Fields = dict[str, Any]


@dataclass
class Project:
    """A HarborProject; its name in Harbor is that of the resource."""

    name: str
    public: bool
    quota: int | None = None
    """Bytes; None: not stated."""

    def spec(self) -> Fields:
        stated = {} if self.quota is None else {"storageQuota": self.quota}
        return {"deletionPolicy": "Delete", "creationPolicy": "CreateOrAdopt", "public": self.public, **stated}


@dataclass
class Policy:
    """A WebhookPolicy with one target."""

    resource: str
    project: str
    name: str
    """The name in Harbor."""
    events: list[str]
    address: str
    description: str = ""
    enabled: bool = True
    secret: str | None = None
    """The Secret with its Authorization header."""

    def spec(self) -> Fields:
        target: Fields = {"type": "http", "address": self.address}
        if self.secret is not None:
            target["authHeaderFrom"] = {"secretKeyRef": {"name": self.secret, "key": "header"}}
        return {
            "projectRef": {"name": self.project},
            "policyName": self.name,
            "creationPolicy": "CreateOrAdopt",
            "description": self.description,
            "enabled": self.enabled,
            "eventTypes": self.events,
            "targets": [target],
        }


@dataclass
class Model:
    projects: dict[str, Project] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    """By the resource's name."""
    secrets: dict[str, str] = field(default_factory=dict)
    """Header values by the Secret's name."""
    strangers: dict[tuple[str, int], Fields] = field(default_factory=dict)
    """Unmanaged webhook policies in their original state, by project and id."""
    strange_projects: set[str] = field(default_factory=set)
    """Unmanaged projects."""

    def policies_of(self, project: str) -> list[Policy]:
        return [policy for policy in self.policies.values() if policy.project == project]

    def forget_project(self, name: str) -> None:
        """Removes the project and all policies in it, including unmanaged ones."""
        del self.projects[name]
        for policy in self.policies_of(name):
            del self.policies[policy.resource]
        self.forget_strangers(name)

    def forget_strangers(self, project: str) -> None:
        self.strangers = {key: value for key, value in self.strangers.items() if key[0] != project}


# Comparison with Harbor


def project_differences(project: Project, found: Fields | None, quota: int | None) -> list[str]:
    if found is None:
        return [f"project {project.name} is not in Harbor"]
    differences = []
    if found["metadata"].get("public") != str(project.public).lower():
        differences.append(f"project {project.name}: public is {found['metadata'].get('public')}")
    if project.quota is not None and quota != project.quota:
        differences.append(f"project {project.name}: quota is {quota}, not {project.quota}")
    return differences


def policy_differences(policy: Policy, found: Fields, header: str) -> list[str]:
    target = found["targets"][0]
    pairs = {
        "name": (policy.name, found["name"]),
        "events": (sorted(policy.events), sorted(found["event_types"])),
        "description": (policy.description, found.get("description", "")),
        "enabled": (policy.enabled, found["enabled"]),
        "targets": (1, len(found["targets"])),
        "address": (policy.address, target["address"]),
        "header": (header, target.get("auth_header", "")),
    }
    return [
        f"policy {policy.resource}: {name} is {observed!r}, not {wanted!r}"
        for name, (wanted, observed) in pairs.items()
        if wanted != observed
    ]
