"""Objects in Harbor as manifests: they change nothing, contain no credentials, and have good names; exceptions are
reported."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from harborhook.api.connections import ClusterHarborConnection
from harborhook.api.project import HarborProject, HarborProjectSpec
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.commands import progress
from harborhook.commands.export_plan import (
    Destination,
    Exported,
    QuotaSeen,
    export_policy,
    export_project,
    may_hold_credential,
    with_access,
)
from harborhook.commands.manifests import document, documents
from harborhook.commands.object_names import LENGTH, is_project_name, policy_names, project_names
from harborhook.harbor.capabilities import Version
from harborhook.harbor.models import Allowlist, Policy, Project, Quota
from harborhook.plan.project import changes, obstacles
from harborhook.plan.project_settings import FLAG, SETTINGS, Projects
from harborhook.plan.quantity import MOST_BYTES
from harborhook.plan.target_values import TargetValues
from harborhook.plan.webhook_policy import desired_policy, differences

calm = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NEW: Version = (2, 16, 0)
OLD: Version = (2, 7, 4)
CANARY = "canary-7f3a"
DNS_NAME = "[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*"


def project_with(**metadata: str) -> Project:
    return Project(7, "team-a", metadata)


def exported_project(
    project: Project,
    *,
    version: Version | None = NEW,
    quota: QuotaSeen | None = None,
    registry: str | None = None,
    destination: Destination | None = None,
) -> Exported:
    return export_project(
        project,
        project.name,
        destination or Destination(),
        version=version,
        quota=quota or QuotaSeen(),
        registry=registry,
    )


def spec_of(exported: Exported) -> dict[str, Any]:
    assert exported.manifest is not None
    found: dict[str, Any] = exported.manifest["spec"]
    return found


def policy_with(**fields: Any) -> Policy:
    target = {"type": "http", "address": "https://ci.example.com/hook", "payload_format": "Default"}
    row = {"id": 5, "project_id": 7, "name": "ci", "enabled": True, "event_types": ["PUSH_ARTIFACT"]}
    policy = Policy.parse({**row, "targets": [target], **fields})
    assert policy is not None
    return policy


def exported_policy(policy: Policy, **options: Any) -> Exported:
    return export_policy(policy, "team-a-ci", "team-a", Destination(), **options)


# Projects


def test_a_project_that_nobody_has_configured_states_only_whether_it_is_public() -> None:
    metadata = {"public": "false", "auto_scan": "false", "reuse_sys_cve_allowlist": "true", "retention_id": "3"}
    found = exported_project(project_with(**metadata))
    assert found.manifest == {
        "apiVersion": "harborhook.io/v1alpha1",
        "kind": "HarborProject",
        "metadata": {"name": "team-a"},
        "spec": {"creationPolicy": "Adopt", "public": False},
    }
    assert found.complaints == ()


FLAGS = [one.key for one in SETTINGS if one.kind is FLAG and one.projects is not Projects.PROXY_CACHES]


@pytest.mark.parametrize("key", FLAGS)
def test_a_flag_that_is_set_is_stated(key: str) -> None:
    found = exported_project(project_with(**{key: "true"}))
    assert found.complaints == ()
    assert changes(HarborProject.model_validate(found.manifest).spec, project_with(), NEW).metadata[key] == "true"


def test_a_proxy_cache_states_its_settings_with_the_name_of_the_registry() -> None:
    metadata = {"proxy_speed_kb": "-1", "proxy_cache_filter_pattern": "a/**", "proxy_cache_filter_kind": "doublestar"}
    cache = replace(project_with(**metadata, proxy_referrer_api="false"), registry_id=3)
    assert spec_of(exported_project(cache, registry="hub"))["proxyCache"] == {
        "registryName": "hub",
        "speedLimitKbps": -1,
        "referrerAPI": False,
        "filter": {"pattern": "a/**", "kind": "doublestar"},
    }
    unknown = exported_project(cache)
    assert "proxyCache" not in spec_of(unknown)
    assert unknown.complaints == ("proxyCache: the name of its registry endpoint cannot be read.",)


@pytest.mark.parametrize(
    ("hard", "stated"),
    [(-1, None), (1, "1"), (50 * 2**30, "50Gi"), (MOST_BYTES, "1Pi"), (2**30 + 1, "1073741825")],
)
def test_a_quota_is_stated_where_it_limits(hard: int, stated: str | None) -> None:
    found = exported_project(project_with(), quota=QuotaSeen(Quota(hard, 0)))
    assert spec_of(found).get("storageQuota") == stated
    assert found.complaints == ()


@pytest.mark.parametrize(
    "seen", [QuotaSeen(Quota(0, 0)), QuotaSeen(Quota(MOST_BYTES + 1, 0)), QuotaSeen(refusal="No.")]
)
def test_a_quota_that_cannot_be_stated_or_read_is_told(seen: QuotaSeen) -> None:
    found = exported_project(project_with(), quota=seen)
    assert "storageQuota" not in spec_of(found)
    assert len(found.complaints) == 1


def test_what_an_older_harbor_means_by_a_key_is_not_stated() -> None:
    found = exported_project(project_with(enable_content_trust="true"), version=OLD)  # Notary, at that time
    assert "contentTrust" not in spec_of(found)
    assert found.complaints == ("contentTrust.notation with the value 'true' cannot be stated.",)


def test_where_the_resources_belong_is_stated_as_asked() -> None:
    destination = Destination("team-x", {"kind": "HarborConnection", "name": "mine"})
    found = export_project(
        Project(7, "team_a"), "team-a", destination, version=NEW, quota=QuotaSeen(), registry=None
    ).manifest
    assert found is not None
    assert found["metadata"] == {"name": "team-a", "namespace": "team-x"}
    assert found["spec"]["connectionRef"] == {"kind": "HarborConnection", "name": "mine"}
    assert found["spec"]["projectName"] == "team_a"


values = st.sampled_from(["true", "false", "", "high", "High", "none", "junk", "-1", "7", "99999999999", "doublestar"])
versions = st.sampled_from([None, NEW, OLD, (2, 3, 0), (2, 12, 0)])
projects = st.builds(
    Project,
    st.just(7),
    st.just("team-a"),
    st.dictionaries(
        st.sampled_from([*(setting.key for setting in SETTINGS), "retention_id"]), values | st.text(max_size=5)
    ),
    allowlist=st.builds(
        Allowlist,
        st.lists(st.text(min_size=1, max_size=130), max_size=3, unique=True).map(tuple),
        st.none() | st.integers(-(2**40), 2**40) | st.just(2**62),
    ),
    registry_id=st.none() | st.just(3),
)


@calm
@given(projects, versions, st.none() | st.just("hub"))
def test_an_exported_project_differs_in_nothing_and_nothing_is_lost_silently(
    project: Project, version: Version | None, registry: str | None
) -> None:
    found = exported_project(project, version=version, registry=registry)
    spec = HarborProject.model_validate(found.manifest).spec
    assert changes(spec, project, version).differences == ()
    assert obstacles(spec, project, version) == []
    if project.allowlist != Allowlist() and spec.cve_allowlist is None:
        assert "cveAllowlist cannot be stated." in found.complaints


# Webhook policies


def test_a_policy_is_stated_whole() -> None:
    targets = [
        {
            "type": "http",
            "address": "https://a.example.com/x",
            "payload_format": "CloudEvents",
            "skip_cert_verify": True,
        }
    ]
    found = exported_policy(policy_with(name="CI: push", description="Why.", enabled=False, targets=targets))
    assert spec_of(found) == {
        "projectRef": {"name": "team-a"},
        "policyName": "CI: push",
        "creationPolicy": "Adopt",
        "description": "Why.",
        "enabled": False,
        "eventTypes": ["PUSH_ARTIFACT"],
        "targets": [
            {
                "type": "http",
                "address": "https://a.example.com/x",
                "payloadFormat": "CloudEvents",
                "verifyRemoteCertificate": False,
            }
        ],
    }
    assert (found.secret, found.complaints, found.remarks) == (None, (), ())


def test_credentials_go_into_one_secret_per_policy_and_nowhere_else() -> None:
    targets = [
        {"type": "http", "address": "https://a.example.com/x", "auth_header": f"Bearer {CANARY}"},
        {"type": "slack", "address": f"https://hooks.slack.com/services/{CANARY}"},
    ]
    found = exported_policy(policy_with(targets=targets))
    assert found.secret is not None
    assert found.secret["metadata"] == {"name": "team-a-ci-targets"}
    assert found.secret["stringData"] == {
        "header-0": f"Bearer {CANARY}",
        "address-1": f"https://hooks.slack.com/services/{CANARY}",
    }
    assert found.remarks == (
        "Needs Secret team-a-ci-targets, key header-0: the Authorization value of targets[0].",
        "Needs Secret team-a-ci-targets, key address-1: the address of targets[1].",
    )
    assert CANARY not in json.dumps(found.manifest) + repr(found) + document(found)


@pytest.mark.parametrize(
    ("address", "is_secret"),
    [
        ("https://ci.example.com/harbor", False),
        ("https://ci.example.com:8443/generic-webhook-trigger/invoke", False),
        ("https://ci.example.com/api/v2/notifications", False),
        ("https://user@ci.example.com/harbor", True),
        ("https://ci.example.com/harbor?token=x", True),
        ("https://ci.example.com/harbor#x", True),
        ("https://discord.com/api/webhooks/112233445566778899/aBcDeFgH", True),
        ("https://x.webhook.office.com/webhookb2/3f2504e0-4f89-11d3-9a0c-0305e82c3301", True),
        ("https://[::1", True),
    ],
)
def test_an_address_that_may_hold_a_credential_is_taken_for_one(address: str, is_secret: bool) -> None:
    assert may_hold_credential(address) is is_secret


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"event_types": ["PUSH_ARTIFACT", "PUSH_ARTIFACT"]}, "what Harbor has in eventTypes"),
        ({"event_types": ["pushImage"]}, "eventTypes[0]"),
        ({"event_types": []}, "eventTypes"),
        ({"event_types": ["UPLOAD_CHART"]}, "no event type UPLOAD_CHART"),
        ({"name": "x" * 257}, "policyName"),
        ({"name": ""}, "policyName"),
        ({"targets": [{"type": "teams", "address": "https://a.example.com"}]}, "targets[0].type"),
        ({"targets": [{"type": "http", "address": f"a.example.com/{CANARY}"}]}, "targets[0].address"),
        (
            {"targets": [{"type": "slack", "address": f"ftp://{CANARY}"}]},
            "what would be in its Secret is not an address",
        ),
        (
            {"targets": [{"type": "http", "address": "https://a.example.com", "auth_header": f"{CANARY}\n"}]},
            "targets[0].authHeaderFrom",
        ),
        (
            {"targets": [{"type": "slack", "address": "https://a.example.com", "auth_header": CANARY}]},
            "targets[0].authHeaderFrom",
        ),
        ({"targets": ["junk"]}, "targets"),
    ],
)
def test_a_policy_that_no_resource_can_have_is_left_out_and_told(fields: dict[str, Any], reason: str) -> None:
    found = exported_policy(policy_with(**fields), event_types=["PUSH_ARTIFACT"])
    assert (found.manifest, found.secret) == (None, None)
    (complaint,) = found.complaints
    assert reason in complaint
    assert "(id 5) is left out" in complaint
    assert CANARY not in complaint


def test_a_description_that_is_too_long_is_left_alone() -> None:
    found = exported_policy(policy_with(description="x" * 4097))
    assert "description" not in spec_of(found)
    assert found.complaints == ("Webhook policy 'ci' (id 5): its description is too long to be stated.",)


def test_what_an_operator_has_made_is_left_out_unless_asked_for() -> None:
    ours = policy_with(creator="harborhook/prod/team-x/hook")
    found = exported_policy(ours)
    assert (found.manifest, found.complaints) == (None, ())
    assert "is declared by WebhookPolicy team-x/hook of cluster prod" in found.remarks[0]
    taken = exported_policy(ours, managed_too=True)
    assert taken.manifest is not None
    assert taken.remarks[0] == (
        "Declared by WebhookPolicy team-x/hook of cluster prod: applied in another cluster, this takes the policy "
        "over, which writes to Harbor once; in the same cluster it reports OwnedByOther while that resource exists."
    )


texts = st.text(max_size=6) | st.sampled_from(
    ["https://a.example.com/x", "https://a.example.com/?x=1", "http", "slack"]
)
targets = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["http", "slack"]) | texts,
        "address": texts,
        "auth_header": texts,
        "skip_cert_verify": st.booleans(),
        "payload_format": st.sampled_from(["Default", "CloudEvents"]) | texts,
    },
)
events = st.lists(st.sampled_from(["PUSH_ARTIFACT", "PULL_ARTIFACT", "pushImage"]), max_size=3)


@calm
@given(
    st.fixed_dictionaries(
        {}, optional={"name": texts, "description": texts, "event_types": events, "targets": st.lists(targets)}
    )
)
def test_an_exported_policy_differs_in_nothing(fields: dict[str, Any]) -> None:
    policy = policy_with(**fields)
    found = exported_policy(policy)
    if found.manifest is None:
        assert found.complaints
        return
    resource = WebhookPolicy.model_validate(found.manifest)
    data = found.secret["stringData"] if found.secret else {}
    resolved = [
        TargetValues(
            data[target.address_from.secret_key_ref.key] if target.address_from else target.address or "",
            data[target.auth_header_from.secret_key_ref.key] if target.auth_header_from else "",
        )
        for target in resource.spec.targets
    ]
    assert differences(policy, desired_policy(resource, resolved)) == []


# Denied by the connection


def connection(**spec: Any) -> ClusterHarborConnection:
    secret = {"namespace": "harborhook", "name": "credentials"}
    required = {"url": "https://harbor.example.com", "credentialsSecretRef": secret}
    access = [{"namespaces": ["team-*"], "projects": ["{namespace}"]}]
    body = {"metadata": {"name": "default"}, "spec": {**required, "access": access, **spec}}
    return ClusterHarborConnection.model_validate({"kind": "ClusterHarborConnection", **body})


def test_a_namespace_that_the_connection_does_not_give_the_project_to_is_told() -> None:
    told = with_access(exported_project(project_with(), destination=Destination("other")), "team-a", connection())
    assert told.remarks == (
        "ClusterHarborConnection default does not give project team-a to namespace other: see its access.",
    )
    for destination in (Destination("team-a"), Destination()):
        assert (
            with_access(exported_project(project_with(), destination=destination), "team-a", connection()).remarks == ()
        )


def test_a_host_that_the_connection_does_not_allow_is_told_without_the_address() -> None:
    slack = {"type": "slack", "address": f"https://hooks.slack.com/services/{CANARY}"}
    found = exported_policy(policy_with(targets=[slack, {"type": "http", "address": "https://ci.example.com/x"}]))
    told = with_access(found, "team-a", connection(allowedTargetHosts=["ci.example.com"])).remarks
    assert "ClusterHarborConnection default does not allow the host of targets[0]: see its allowedTargetHosts." in told
    assert not [remark for remark in told if CANARY in remark or "allow the host of targets[1]" in remark]
    assert with_access(found, "team-a", None) == found


# Progress


def test_a_terminal_has_a_bar_and_a_file_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.progress("Projects", 2) as advance:
        advance()
    bar = capsys.readouterr()
    assert "Projects" in bar.err
    assert "\x1b" in bar.err or "%" in bar.err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    with progress.progress("Projects", 2) as advance:
        advance()
        advance()
    plain = capsys.readouterr()
    assert plain.err == "Projects: 1 of 2\nProjects: 2 of 2\n"
    assert bar.out + plain.out == ""


# Names


def test_a_project_has_its_own_name_where_kubernetes_allows_it() -> None:
    assert project_names(["team_a", "team-a", "a.b", "a_b"]) == {
        "team-a": "team-a",
        "a.b": "a.b",
        "a_b": "a-b",
        "team_a": "team-a-112cd0",
    }


@pytest.mark.parametrize("name", ["", "Upper", "a__b", "a b", "x" * 256, "a\n", "../x", "\x1b[31m"])
def test_a_name_that_harbor_gives_no_more_can_be_no_resource(name: str) -> None:
    assert not is_project_name(name)
    with pytest.raises(ValidationError):
        HarborProjectSpec.model_validate({"projectName": name})


def test_a_policy_has_the_name_of_its_project_before_its_own() -> None:
    wanted = {("p", "CI: push!"): "p", ("p", "ci push"): "p", ("p", "☃"): "p", ("q", "ci push"): "q"}
    found = policy_names(wanted)
    assert found["p", "CI: push!"] == "p-ci-push"
    assert re.fullmatch("p-ci-push-[0-9a-f]{6}", found["p", "ci push"])
    assert found["p", "☃"] == "p-policy"
    assert found["q", "ci push"] == "q-ci-push"


parts = st.text("ab_.-1", min_size=1, max_size=6) | st.just("a" * 255)
harbor_names = parts.filter(lambda text: re.fullmatch("[a-z0-9]+([._-][a-z0-9]+)*", text) is not None)


@calm
@given(st.lists(harbor_names, unique=True), st.lists(st.text(max_size=300), unique=True))
def test_names_are_valid_different_and_the_same_each_time(names: list[str], policies: list[str]) -> None:
    given_names = project_names(names)
    assert given_names == project_names(names[::-1])
    wanted = {(project, policy): given_names[project] for project in names[:3] for policy in policies}
    found = [*given_names.values()], [*policy_names(wanted).values()]
    for listed in found:
        assert len(set(listed)) == len(listed)
        assert all(re.fullmatch(DNS_NAME, name) and len(name) < LENGTH + 20 for name in listed)


# YAML


@calm
@example("\x85")
@example("a\u2028b\n")
@given(st.text(max_size=20) | st.from_regex(r"[-+.0-9a-fxoXO_:e~]{1,6}", fullmatch=True))
def test_yaml_gives_every_text_back(text: str) -> None:
    assert list(yaml.safe_load_all(documents([{"a": text}, {"b": [text]}]))) == [{"a": text}, {"b": [text]}]


@pytest.mark.parametrize(
    "text", ["1e3", "0o17", "y", "N", "1_000", "12:30", ".5", "~", "0x1F", "+1", "-_1", "2026-01-02"]
)
def test_what_some_tool_takes_for_something_else_is_quoted(text: str) -> None:
    assert documents([{"a": text}]) == f"---\na: '{text}'\n"


def test_what_is_told_stands_in_comments() -> None:
    found = document(Exported({"a": 1}, remarks=("One\nline.",), complaints=("Another.",)))
    assert found == "---\n# One line.\n# NOT EXPORTED: Another.\na: 1\n"
    assert document(Exported(None, remarks=("Left out.",))) == "# Left out.\n"
