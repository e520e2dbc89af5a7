"""Turns objects in Harbor into manifests that adopt them unchanged. Called by commands/export.py.

Every stated field passes the operator's own comparison with Harbor, which must find no difference. A value that cannot
be stated is left out if Harbor's value then stays, and is named in a complaint. Values that may be credentials go into
a Secret that the manifest refers to.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from harborhook.api.base import API_VERSION, format_time
from harborhook.api.connections import AnyConnection, ClusterHarborConnection
from harborhook.api.project import HarborProjectSpec
from harborhook.api.webhook_policy import DESCRIPTION_LIMIT, Target, WebhookPolicy
from harborhook.foreign_text import clip
from harborhook.harbor.capabilities import Version
from harborhook.harbor.models import Allowlist, Policy, Project, Quota
from harborhook.plan.access import allows_host, allows_project
from harborhook.plan.drift import field_names
from harborhook.plan.ownership import Creator, parse_creator
from harborhook.plan.project import changes, obstacles, quota_difference
from harborhook.plan.project_settings import SETTINGS, Projects, Setting, SettingValue
from harborhook.plan.quantity import MOST_BYTES, UNLIMITED_BYTES, format_bytes
from harborhook.plan.target_values import TargetValues, UnusableError, address_of, header_of
from harborhook.plan.webhook_policy import DEFAULT_FORMAT, desired_policy, differences, is_enabled

Manifest = dict[str, Any]

TOKEN_LENGTH = 12
"""A part of a path of at least this length may be a credential, unless it looks like words."""


@dataclass(frozen=True)
class Destination:
    """Namespace and connection of the manifests, if stated."""

    namespace: str = ""
    connection_ref: Mapping[str, str] | None = None

    def metadata(self, name: str) -> dict[str, str]:
        return {"name": name, **({"namespace": self.namespace} if self.namespace else {})}


@dataclass(frozen=True)
class Exported:
    """One manifest; None if the object cannot be exported. No repr shows the Secret."""

    manifest: Manifest | None
    secret: Manifest | None = field(default=None, repr=False)
    remarks: tuple[str, ...] = ()
    """Notes for the user."""
    complaints: tuple[str, ...] = ()
    """Values in Harbor that the manifest does not state."""


def with_access(exported: Exported, project: str, connection: AnyConnection | None) -> Exported:
    """Adds a remark if the connection, if known, will deny the resource access. `project` is Harbor's name.

    Access depends on the namespace, so without a stated one nothing is added.
    """
    if not isinstance(connection, ClusterHarborConnection) or exported.manifest is None:
        return exported
    remarks = [*exported.remarks]
    namespace = exported.manifest["metadata"].get("namespace")
    access, hosts = connection.spec.access, connection.spec.allowed_target_hosts
    if namespace and not allows_project(access, namespace=namespace, project=project):
        remarks.append(f"{connection.key} does not give project {project} to namespace {namespace}: see its access.")
    values = (exported.secret or {}).get("stringData", {})
    for index, target in enumerate(exported.manifest["spec"].get("targets", [])):
        address = target.get("address") or values[target["addressFrom"]["secretKeyRef"]["key"]]
        if not allows_host(hosts, address):
            remarks.append(f"{connection.key} does not allow the host of targets[{index}]: see its allowedTargetHosts.")
    return replace(exported, remarks=tuple(remarks))


# Projects


@dataclass(frozen=True)
class QuotaSeen:
    """A project's quota; None: Harbor keeps none. `refusal`: why it could not be read."""

    quota: Quota | None = None
    refusal: str = ""


def export_project(
    project: Project,
    name: str,
    destination: Destination,
    *,
    version: Version | None,
    quota: QuotaSeen,
    registry: str | None,
) -> Exported:
    """`name`: that of the HarborProject. `registry`: the endpoint of a proxy cache, None if unknown."""
    spec: Manifest = {
        **({"connectionRef": dict(destination.connection_ref)} if destination.connection_ref else {}),
        **({"projectName": project.name} if project.name != name else {}),
        "creationPolicy": "Adopt",
    }
    complaints = []
    for what, part in _parts(project, registry):
        if part is not None and _leaves_alone(part, project, version):
            _merge(spec, part)
        else:
            complaints.append(f"{what} cannot be stated.")
    for complaint, limit in _quota(quota):
        complaints += [complaint] if complaint else []
        _merge(spec, limit)
    if project.registry_id is not None and registry is None:
        complaints.append("proxyCache: the name of its registry endpoint cannot be read.")
    manifest = {
        "apiVersion": API_VERSION,
        "kind": "HarborProject",
        "metadata": destination.metadata(name),
        "spec": spec,
    }
    return Exported(manifest, complaints=tuple(complaints))


def _parts(project: Project, registry: str | None) -> Iterator[tuple[str, Manifest | None]]:
    """Yields Harbor's values, each as a part of a spec that is valid alone; None for a value that a spec cannot
    state."""
    for texts in _texts(project, of_a_cache=False):
        if not all(map(_is_as_in_a_new_project, texts, texts.values())):
            yield _describe_settings(texts), _joined(_nested_settings(texts))
    if project.registry_id is not None and registry is not None:
        cache = _nested("proxyCache.registryName", registry)
        yield _describe("proxyCache.registryName", registry), cache
        for texts in _texts(project, of_a_cache=True):
            if any(texts.values()):
                yield _describe_settings(texts), _joined([cache, *_nested_settings(texts)])
    if project.allowlist != Allowlist():
        yield "cveAllowlist", _allowlist(project.allowlist)


def _texts(project: Project, *, of_a_cache: bool) -> Iterator[dict[Setting, str]]:
    """Yields Harbor's strings; settings that can only be stated together come together. "" stands for an absent
    value."""
    for settings in dict.fromkeys(setting.written_with for setting in SETTINGS):
        if (settings[0].projects is Projects.PROXY_CACHES) is of_a_cache:
            yield {setting: project.metadata.get(setting.key, "") for setting in settings}


def _is_as_in_a_new_project(setting: Setting, text: str) -> bool:
    """Defaults are left out of the export, except that `public` is always stated."""
    return setting.key != "public" and text in ("", setting.kind.absent)


def _describe_settings(texts: Mapping[Setting, str]) -> str:
    return ", ".join(_describe(setting.field, text or setting.kind.absent) for setting, text in texts.items())


def _nested_settings(texts: Mapping[Setting, str]) -> list[Manifest | None]:
    return [
        _nested(one.field, one.kind.read(one.kind.canonical(text or one.kind.absent))) for one, text in texts.items()
    ]


def _joined(parts: Iterable[Manifest | None]) -> Manifest | None:
    whole: Manifest = {}
    for part in parts:
        if part is None:
            return None
        _merge(whole, part)
    return whole


def _allowlist(allowlist: Allowlist) -> Manifest | None:
    stated: Manifest = {"items": list(allowlist.items)}
    if allowlist.expires_at is not None:
        try:
            stated["expiresAt"] = format_time(datetime.fromtimestamp(allowlist.expires_at, UTC))
        except (OverflowError, ValueError, OSError):  # Harbor accepts any integer
            return None
    return {"cveAllowlist": stated}


def _quota(seen: QuotaSeen) -> Iterator[tuple[str, Manifest]]:
    if seen.refusal:
        yield f"storageQuota cannot be read: {seen.refusal}", {}
    quota = seen.quota
    if quota is None or quota.hard == UNLIMITED_BYTES:
        return
    part = {"storageQuota": format_bytes(quota.hard)}
    is_stated = 0 < quota.hard <= MOST_BYTES and not quota_difference(HarborProjectSpec.model_validate(part), quota)
    yield ("", part) if is_stated else (f"storageQuota of {quota.hard} bytes cannot be stated.", {})


def _leaves_alone(part: Manifest, project: Project, version: Version | None) -> bool:
    """Whether a spec with only this part is valid, possible in this Harbor, and equal to Harbor's state."""
    try:
        spec = HarborProjectSpec.model_validate(part)
    except ValidationError:
        return False
    return not changes(spec, project, version).differences and not obstacles(spec, project, version)


def _nested(path: str, value: SettingValue | None) -> Manifest | None:
    """Returns {a: {b: value}} for `a.b` and value."""
    if value is None:
        return None
    first, _, rest = path.partition(".")
    return {first: _nested(rest, value) if rest else value}


def _merge(spec: Manifest, part: Manifest) -> None:
    for name, value in part.items():
        if isinstance(value, dict):
            _merge(spec.setdefault(name, {}), value)
        else:
            spec[name] = value


def _describe(path: str, value: str) -> str:
    return f"{path} with the value {clip(value, 80)!r}"


# Webhook policies


def export_policy(
    policy: Policy,
    name: str,
    project: str,
    destination: Destination,
    *,
    event_types: Collection[str] | None = None,
    managed_too: bool = False,
) -> Exported:
    """`name`, `project`: those of the WebhookPolicy and the HarborProject. `event_types`: those that Harbor supports.

    A policy created by an operator is declared already, so it is left out unless requested.
    """
    made_by = parse_creator(policy.creator)
    if made_by is not None and not managed_too:
        return Exported(None, remarks=(clip(f"{_titled(policy)} is declared by {_declarer(made_by)}, and left out."),))
    targets, data = _targets(policy, f"{name}-targets")
    secret = _secret(f"{name}-targets", destination, data) if data else None
    description = policy.raw.get("description") or ""
    is_too_long = len(str(description)) > DESCRIPTION_LIMIT
    manifest = {
        "apiVersion": API_VERSION,
        "kind": "WebhookPolicy",
        "metadata": destination.metadata(name),
        "spec": {
            "projectRef": {"name": project},
            **({"policyName": policy.name} if policy.name != name else {}),
            "creationPolicy": "Adopt",
            **({"description": description} if description and not is_too_long else {}),
            "enabled": is_enabled(policy.raw),
            "eventTypes": policy.raw.get("event_types"),
            "targets": targets,
        },
    }
    reasons = list(_reasons_against(manifest, policy, data, event_types))
    if reasons:
        return Exported(None, complaints=(f"{_titled(policy)} is left out: {'; '.join(reasons)}.",))
    return Exported(
        manifest,
        secret,
        remarks=tuple(_remarks(targets, made_by)),
        complaints=(f"{_titled(policy)}: its description is too long to be stated.",) if is_too_long else (),
    )


def _titled(policy: Policy) -> str:
    return f"Webhook policy {clip(policy.name, 80)!r} (id {policy.id})"


def _targets(policy: Policy, secret: str) -> tuple[list[Manifest], dict[str, str]]:
    """Returns the targets, and the data of the Secret that they refer to."""
    listed = policy.raw.get("targets")
    rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
    data: dict[str, str] = {}
    return [_target(index, row, secret, data) for index, row in enumerate(rows)], data


def _target(index: int, row: Mapping[str, Any], secret: str, data: dict[str, str]) -> Manifest:
    def kept(what: str, value: str) -> Manifest:
        key = f"{what}-{index}"
        data[key] = value
        return {"secretKeyRef": {"name": secret, "key": key}}

    kind, address, header = row.get("type"), str(row.get("address") or ""), str(row.get("auth_header") or "")
    is_secret = kind == "slack" or may_hold_credential(address)
    payload_format = row.get("payload_format") or DEFAULT_FORMAT
    return {
        "type": kind,
        **({"addressFrom": kept("address", address)} if is_secret else {"address": address}),
        **({"authHeaderFrom": kept("header", header)} if header and kind == "http" else {}),
        **({"payloadFormat": payload_format} if kind == "http" and payload_format != DEFAULT_FORMAT else {}),
        **({"verifyRemoteCertificate": False} if row.get("skip_cert_verify") is True else {}),
    }


def _secret(name: str, destination: Destination, data: Mapping[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": destination.metadata(name),
        "type": "Opaque",
        "stringData": dict(data),
    }


def may_hold_credential(address: str) -> bool:
    """Whether an address has a login, a query, or a path segment that looks like a token. Errs on the side of true."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return True
    return bool("@" in parts.netloc or parts.query or parts.fragment or any(map(_is_token, parts.path.split("/"))))


def _is_token(text: str) -> bool:
    return len(text) >= TOKEN_LENGTH and re.fullmatch("[a-z]+([._-][a-z]+)*", text) is None


def _reasons_against(
    manifest: Manifest, policy: Policy, data: Mapping[str, str], event_types: Collection[str] | None
) -> Iterator[str]:
    """Yields reasons why a manifest cannot adopt the policy unchanged. They quote no value from Harbor: it may be a
    secret."""
    try:
        resource = WebhookPolicy.model_validate(manifest)
    except ValidationError as error:
        yield from (f"{_path(found['loc'][1:])}: {_what_is_wrong(found)}" for found in error.errors())
        return
    try:
        values = [_values(target, data) for target in resource.spec.targets]
    except UnusableError as error:
        yield f"what would be in its Secret {str(error).rstrip('.')}"
        return
    found = differences(policy, desired_policy(resource, values))
    if found:
        yield f"a resource cannot say what Harbor has in {field_names(found)}"
    unknown = set(resource.spec.event_types) - set(event_types or resource.spec.event_types)
    if unknown:
        yield f"this Harbor has no event type {', '.join(sorted(unknown))}"


def _path(location: Iterable[int | str]) -> str:
    """Returns `targets[0].address` for ("targets", 0, "address")."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def _what_is_wrong(found: ErrorDetails) -> str:
    if found["type"] == "string_pattern_mismatch" and found["loc"][-1] == "address":
        return "it does not begin with http:// or https:// and a host"
    return found["msg"][:1].lower() + found["msg"][1:]


def _values(target: Target, data: Mapping[str, str]) -> TargetValues:
    """Returns the values that the operator will read from the Secret. Raises UnusableError."""
    address, header = target.address_from, target.auth_header_from
    return TargetValues(
        address_of(data[address.secret_key_ref.key].encode()) if address else target.address or "",
        header_of(data[header.secret_key_ref.key].encode()) if header else "",
    )


def _declarer(made_by: Creator) -> str:
    return f"WebhookPolicy {made_by.namespace}/{made_by.name} of cluster {made_by.cluster}"


def _remarks(targets: Iterable[Manifest], made_by: Creator | None) -> Iterator[str]:
    if made_by is not None:
        yield clip(
            f"Declared by {_declarer(made_by)}: applied in another cluster, this takes the policy over, which writes "
            "to Harbor once; in the same cluster it reports OwnedByOther while that resource exists."
        )
    for index, target in enumerate(targets):
        for field_name, what in (("addressFrom", "the address"), ("authHeaderFrom", "the Authorization value")):
            if field_name in target:
                ref = target[field_name]["secretKeyRef"]
                yield f"Needs Secret {ref['name']}, key {ref['key']}: {what} of targets[{index}]."
