"""With any combination of switches, the chart renders objects that every supported Kubernetes accepts.

Each pair of switches is rendered in all four combinations, which shows conflicts between two templates. The resulting
objects are checked once each, against the schemas of several versions of Kubernetes and by a real API server.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from typing import Any

import kubernetes_validate
import pytest
import yaml

from harborhook import telemetry
from harborhook.plan.references import references
from harborhook.runtime.queue import Queue
from harborhook.runtime.store import Store
from harborhook.settings import Settings
from harness.chart import (
    CONNECTION,
    NAMESPACE,
    Object,
    Values,
    container,
    environment,
    grants,
    kinds,
    notes,
    one,
    render,
)
from harness.chart_files import CHART, REPOSITORY
from harness.control_plane import ControlPlane
from harness.helm import Helm
from harness.operator_process import free_port

OLDEST_KUBERNETES = 29
NEWEST_KUBERNETES = int(kubernetes_validate.latest_version().split(".")[1])
VERSIONS = sorted({*range(OLDEST_KUBERNETES, NEWEST_KUBERNETES, 4), NEWEST_KUBERNETES})

WITHOUT_SCHEMA = {"ClusterHarborConnection", "ServiceMonitor", "PrometheusRule"}
"""Kinds that are not Kubernetes' own."""

SWITCHES: dict[str, tuple[Values, Values]] = {
    "leaderElection": ({"replicas": 2}, {"leaderElection": {"enabled": False}}),
    "shard": ({}, {"shard": {"name": "west", "resourceSelector": "team=a", "manageConnections": False}}),
    "watchNamespaces": ({}, {"watchNamespaces": ["team-a", "team-b"]}),
    "ownNamespace": ({}, {"extraEnv": [{"name": "A", "value": "b"}], "extraArgs": ["--workers=3"]}),
    "watchSecrets": ({}, {"watchSecrets": False}),
    "clusterName": ({}, {"settings": {"clusterName": "west", "allowedHarborHosts": ["a.example.com"]}}),
    "connection": ({}, {"connection": CONNECTION}),
    "globalSwitch": ({}, {"globalSwitch": {"create": True, "connections": {"staging": False}}}),
    "crds.install": ({}, {"crds": {"install": False}}),
    "crds.keep": ({}, {"crds": {"keep": False}}),
    "rbac.create": ({}, {"rbac": {"create": False}}),
    "rbac.aggregate": ({}, {"rbac": {"aggregate": False}}),
    "serviceAccount": ({}, {"serviceAccount": {"create": False, "name": "own"}}),
    "service": ({}, {"service": {"create": True, "annotations": {"a/b": "c"}}}),
    "podDisruptionBudget": ({}, {"podDisruptionBudget": {"create": True}}),
    "networkPolicy": ({}, {"networkPolicy": {"create": True, "egress": [{"ports": [{"port": 443}]}]}}),
    "restrictEgress": ({}, {"networkPolicy": {"create": True, "restrictEgress": True}}),
    "ingressFrom": ({}, {"networkPolicy": {"ingressFrom": [{"namespaceSelector": {}}]}}),
    "serviceMonitor": ({}, {"serviceMonitor": {"create": True, "labels": {"release": "prometheus"}}}),
    "otherNamespace": ({}, {"serviceMonitor": {"namespace": "monitoring"}, "dashboard": {"namespace": "monitoring"}}),
    "prometheusRule": ({}, {"prometheusRule": {"create": True}}),
    "dashboard": ({}, {"dashboard": {"create": True, "annotations": {"folder": "Registry"}}}),
    "test": (
        {
            "test": {
                "podLabels": {"sidecar.istio.io/inject": "false"},
                "podAnnotations": {"linkerd.io/inject": "disabled"},
            }
        },
        {"test": {"create": False}},
    ),
    "probes": ({}, {"startupProbe": {"failureThreshold": 30}, "livenessProbe": {}, "readinessProbe": {}}),
    "image": ({}, {"image": {"digest": f"sha256:{'0' * 64}", "pullSecrets": [{"name": "registry"}]}}),
    "labels": ({}, {"commonLabels": {"team": "platform"}, "podLabels": {"x": "y"}, "podAnnotations": {"x": "y"}}),
    "security": ({}, {"podSecurityContext": {}, "securityContext": {}, "resources": {}}),
    "placement": (
        {},
        {
            "priorityClassName": "system-cluster-critical",
            "nodeSelector": {"kubernetes.io/os": None, "disk": "ssd"},
            "tolerations": [{"key": "infra", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": {"matchLabels": {"app.kubernetes.io/instance": "{{ .Release.Name }}"}},
                }
            ],
            "hostAliases": [{"ip": "127.0.0.1", "hostnames": ["harbor.example.com"]}],
        },
    ),
    "volumes": (
        {},
        {
            "extraVolumes": [{"name": "tmp", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            "extraEnvFrom": [{"secretRef": {"name": "proxy", "optional": True}}],
        },
    ),
    "extraObjects": (
        {},
        {
            "extraObjects": [
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-extra"}},
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: extra-text",
            ]
        },
    ),
    "names": ({}, {"nameOverride": "hooks", "fullnameOverride": "registry-hooks", "port": 9000}),
}


def settings_of_switches() -> list[tuple[bool, ...]]:
    """Returns a few settings of all switches that contain each pair of switches in all four combinations. Each switch
    gets a row of 8 that is half on, with the first one on: any two different such rows agree and differ in every way.
    There are 35 of them."""
    rows = [
        tuple(position in on for position in range(8))
        for on in ({0, *rest} for rest in itertools.combinations(range(1, 8), 3))
    ]
    assert len(SWITCHES) <= len(rows)
    return list(zip(*rows[: len(SWITCHES)], strict=True))


def values_of(on: tuple[bool, ...]) -> Values:
    values: Values = {}
    for switched_on, (off_values, on_values) in zip(on, SWITCHES.values(), strict=True):
        for name, value in (on_values if switched_on else off_values).items():
            known = values.get(name)
            values[name] = {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value
    return values


COMBINATIONS = [
    *settings_of_switches(),
    tuple(False for _ in SWITCHES),
    tuple(True for _ in SWITCHES),
]


def test_the_combinations_hold_every_pair_of_switches_in_every_way() -> None:
    for one_switch, other in itertools.combinations(range(len(SWITCHES)), 2):
        seen = {(setting[one_switch], setting[other]) for setting in settings_of_switches()}
        assert len(seen) == 4


@pytest.fixture(scope="module")
def renderings(helm: Helm) -> list[tuple[Values, list[Object]]]:
    return [(values_of(on), render(helm, values_of(on))) for on in COMBINATIONS]


@pytest.fixture(scope="module")
def all_objects(renderings: list[tuple[Values, list[Object]]]) -> list[Object]:
    """Every object that any combination renders, once."""
    distinct = {json.dumps(found, sort_keys=True): found for _, objects in renderings for found in objects}
    return list(distinct.values())


def test_all_combinations_make_many_different_objects(all_objects: list[Object]) -> None:
    assert len(all_objects) > 60
    assert kinds(all_objects) >= WITHOUT_SCHEMA | {"Deployment", "NetworkPolicy", "PodDisruptionBudget", "Role"}


@pytest.mark.parametrize("minor", VERSIONS)
def test_a_version_of_kubernetes_knows_every_field(all_objects: list[Object], minor: int) -> None:
    for found in all_objects:
        if found["kind"] not in WITHOUT_SCHEMA:
            kubernetes_validate.validate(found, f"1.{minor}", strict=True)


def test_that_check_refuses_an_unknown_field(default_objects: list[Object]) -> None:
    wrong = json.loads(json.dumps(one(default_objects, "Deployment")))
    wrong["spec"]["template"]["spec"]["containers"][0]["imagePolicy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError, match="imagePolicy"):
        kubernetes_validate.validate(wrong, f"1.{NEWEST_KUBERNETES}", strict=True)


def test_the_api_server_takes_every_object(all_objects: list[Object], crds_installed: ControlPlane) -> None:
    for namespace in (NAMESPACE, "team-a", "team-b", "monitoring"):
        crds_installed.create_namespace(namespace)
    known = [found for found in all_objects if found["kind"] not in ("ServiceMonitor", "PrometheusRule")]
    listed = {"apiVersion": "v1", "kind": "List", "items": [renamed(found, n) for n, found in enumerate(known)]}
    crds_installed.apply(json.dumps(listed), "--dry-run=server", "--validate=strict")


def renamed(found: Object, number: int) -> Object:
    """Renames the objects so that they do not conflict; CRDs must keep their names."""
    if found["kind"] in ("CustomResourceDefinition", "ClusterHarborConnection"):
        return found
    return {**found, "metadata": {**found["metadata"], "name": f"object-{number}"}}


def test_kubernetes_1_28_is_refused(helm: Helm) -> None:
    assert render(helm, {}, "--kube-version", "1.29.0")
    refused = helm("template", "x", CHART, "--kube-version", "1.28.9", check=False)
    assert "incompatible with Kubernetes" in refused.stderr


# Rules for every combination


def test_every_object_says_what_it_belongs_to(renderings: list[tuple[Values, list[Object]]]) -> None:
    for values, objects in renderings:
        for found in objects:
            if "extra" not in found["metadata"]["name"] and not is_test(found):
                labels = found["metadata"]["labels"]
                assert labels["app.kubernetes.io/part-of"] == "harborhook"
                assert labels["app.kubernetes.io/instance"] == "harborhook"
                assert values.get("commonLabels", {}).items() <= labels.items()


def is_test(found: Object) -> bool:
    return (found["metadata"].get("annotations") or {}).get("helm.sh/hook") == "test"


def test_no_two_objects_have_one_name(renderings: list[tuple[Values, list[Object]]]) -> None:
    for _, objects in renderings:
        places = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
        assert len(places) == len(set(places))


def test_selectors_find_the_pod_of_the_operator_and_not_that_of_the_test(
    renderings: list[tuple[Values, list[Object]]],
) -> None:
    for _, objects in renderings:
        pod = one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
        others = [o["metadata"]["labels"] for o in objects if o["kind"] == "Pod"]
        selectors = [one(objects, "Deployment")["spec"]["selector"]["matchLabels"]]
        selectors += [o["spec"]["selector"] for o in objects if o["kind"] == "Service"]
        for kind, key in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
            selectors += [o["spec"][key]["matchLabels"] for o in objects if o["kind"] == kind]
        for selector in selectors:
            assert selector.items() <= pod.items()
            assert not any(selector.items() <= other.items() for other in others)


def test_the_ports_are_the_one_that_the_operator_listens_on(
    renderings: list[tuple[Values, list[Object]]],
) -> None:
    for values, objects in renderings:
        port = values.get("port", 8080)
        (declared,) = container(objects)["ports"]
        assert declared == {"name": "health", "containerPort": port}
        assert environment(objects).get("HARBORHOOK_LISTEN_PORT", "8080") == str(port)
        assert Settings.model_fields["listen_port"].default == 8080
        for service in (o for o in objects if o["kind"] == "Service"):
            assert [(p["port"], p["targetPort"]) for p in service["spec"]["ports"]] == [(port, "health")]


def test_a_service_monitor_finds_the_service(renderings: list[tuple[Values, list[Object]]]) -> None:
    for _, objects in renderings:
        for monitor in (o for o in objects if o["kind"] == "ServiceMonitor"):
            service = one([o for o in objects if not is_test(o)], "Service")
            assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
            elsewhere = monitor["metadata"]["namespace"] != NAMESPACE
            assert ("namespaceSelector" in monitor["spec"]) == elsewhere
            assert [e["port"] for e in monitor["spec"]["endpoints"]] == [p["name"] for p in service["spec"]["ports"]]


def test_the_roles_are_bound_to_the_account_of_the_pod(renderings: list[tuple[Values, list[Object]]]) -> None:
    for values, objects in renderings:
        account = one(objects, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"]
        assert (account == "own") == ("serviceAccount" in values)
        for binding in (o for o in objects if o["kind"] in ("RoleBinding", "ClusterRoleBinding")):
            assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]


def test_the_kinds_are_those_of_the_models_and_are_kept_unless_told_otherwise(
    renderings: list[tuple[Values, list[Object]]],
) -> None:
    shipped = [yaml.safe_load(path.read_text()) for path in sorted((REPOSITORY / "crds").glob("harborhook.io_*"))]
    for values, objects in renderings:
        crds = [o for o in objects if o["kind"] == "CustomResourceDefinition"]
        assert [crd["spec"] for crd in crds] == [c["spec"] for c in shipped if "install" not in values.get("crds", {})]
        for crd in crds:
            annotations = crd["metadata"].get("annotations") or {}
            assert (annotations.get("helm.sh/resource-policy") == "keep") == ("keep" not in values.get("crds", {}))


# Single values


def test_the_default_pod_meets_the_security_level_restricted(default_objects: list[Object]) -> None:
    """The rules that Kubernetes states for it; the API server enforces them in test_install.py."""
    pods = [one(default_objects, "Deployment")["spec"]["template"]["spec"], one(default_objects, "Pod")["spec"]]
    for pod in pods:
        assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        for each in pod["containers"]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_labels_of_the_pod_go_before_those_of_all_objects(helm: Helm) -> None:
    objects = render(helm, {"commonLabels": {"a": "all", "b": "all"}, "podLabels": {"b": "pod"}})
    deployment = one(objects, "Deployment")
    assert deployment["metadata"]["labels"].items() >= {"a": "all", "b": "all"}.items()
    assert deployment["spec"]["template"]["metadata"]["labels"].items() >= {"a": "all", "b": "pod"}.items()


def test_the_test_of_the_release_needs_no_rights(default_objects: list[Object]) -> None:
    assert one(default_objects, "Pod")["spec"]["automountServiceAccountToken"] is False


async def test_the_test_of_the_release_asks_the_operator_whether_it_is_ready(default_objects: list[Object]) -> None:
    (container_of_test,) = one(default_objects, "Pod")["spec"]["containers"]
    python, *arguments = container_of_test["command"]
    assert python == "python3"
    assert container_of_test["env"] == [{"name": "OPERATOR", "value": "http://harborhook-test.harborhook:8080"}]
    metrics = telemetry.Metrics()
    metrics.watch(Store(references), Queue(clock=time.monotonic), dict)
    port, ready = free_port(), [True]
    probes = await telemetry.serve_probes("127.0.0.1", port, alive=bool, ready=lambda: ready[0], metrics=metrics)
    operator = f"http://127.0.0.1:{port}"

    async def run() -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            env={"OPERATOR": operator, "SECONDS": "0"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        return process.returncode, said.decode()

    assert await run() == (0, f"{operator} is ready\n")
    ready[0] = False
    code, said = await run()
    assert code == 1
    assert f"{operator} is not ready" in said
    await probes.cleanup()


def test_two_pods_never_work_at_once_without_leader_election(helm: Helm) -> None:
    alone = render(helm, {"leaderElection": {"enabled": False}})
    assert one(alone, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    assert "HARBORHOOK_LEADER_ELECTION" not in environment(alone)


def test_leader_election_adds_rights_for_leases_in_its_own_namespace_only(
    helm: Helm, default_objects: list[Object]
) -> None:
    added = grants(default_objects) - grants(render(helm, {"leaderElection": {"enabled": False}}))
    assert added == {(NAMESPACE, "coordination.k8s.io", "leases", "", v) for v in ("get", "create", "update")}


def test_without_watching_secrets_none_can_be_listed(helm: Helm, default_objects: list[Object]) -> None:
    lost = grants(default_objects) - grants(render(helm, {"watchSecrets": False}))
    assert lost == {("", "", "secrets", "", "list"), ("", "", "secrets", "", "watch")}


def test_a_named_cluster_need_not_be_looked_up(helm: Helm, default_objects: list[Object]) -> None:
    lost = grants(default_objects) - grants(render(helm, {"settings": {"clusterName": "west"}}))
    assert lost == {("", "", "namespaces", "kube-system", "get")}


def test_serving_some_namespaces_gives_no_right_to_the_others(helm: Helm, default_objects: list[Object]) -> None:
    alone = {"leaderElection": {"enabled": False}}
    some = render(helm, {"watchNamespaces": ["team-a", "team-b"], **alone})
    everywhere = {grant for grant in grants(default_objects) if "clusterharborconnections" not in grant[2]}
    of_resources = {grant[1:] for grant in everywhere if grant[2] not in ("namespaces", "leases")}
    for namespace in ("team-a", "team-b"):
        assert {grant[1:] for grant in grants(some) if grant[0] == namespace} == of_resources
    own = {grant[1:] for grant in grants(some) if grant[0] == NAMESPACE}
    assert own < of_resources
    assert {verb for group, _, _, verb in own if group == "harborhook.io"} == {"list", "watch"}
    assert {grant[1:] for grant in grants(some) if grant[0] == "default"} == {("events.k8s.io", "events", "", "create")}
    clusterwide = {(group, resource) for namespace, group, resource, _, _ in grants(some) if not namespace}
    assert {resource.partition("/")[0] for _, resource in clusterwide} == {"clusterharborconnections", "namespaces"}


def test_one_of_several_for_some_namespaces_may_also_list_what_the_others_claim(helm: Helm) -> None:
    some = {"watchNamespaces": ["team-a"]}
    more = grants(render(helm, {**some, "shard": {"name": "west"}})) - grants(render(helm, some))
    assert more == {("", "harborhook.io", plural, "", "list") for plural in ("harborprojects", "webhookpolicies")}


def test_serving_the_own_namespace_needs_one_role_there(helm: Helm) -> None:
    objects = render(helm, {"watchNamespaces": [NAMESPACE, "default"], "leaderElection": {"enabled": False}})
    roles = [(o["metadata"]["namespace"], o["metadata"]["name"]) for o in objects if o["kind"] == "Role"]
    assert sorted(roles) == [("default", "harborhook"), (NAMESPACE, "harborhook")]


def test_the_connection_is_as_the_values_say_and_is_kept(helm: Helm) -> None:
    values = {
        **CONNECTION,
        "aliases": ["https://old.example.com"],
        "tls": {
            "insecureSkipVerify": True,
            "caBundle": {"name": "corp-ca"},
            "serverName": "harbor.internal",
            "clientCertificate": {"name": "mtls"},
        },
        "headersFrom": [
            {"name": "X-Gateway-Token", "secretKeyRef": {"name": "gateway", "key": "token"}},
            {"name": "X-Other", "secretKeyRef": {"namespace": "vault", "name": "other", "key": "1"}},
        ],
        "credentials": {"existingSecret": "robot", "namespace": "vault", "usernameKey": "user", "passwordKey": "pass"},
        "allowEndpointTests": True,
        "allowRedelivery": True,
        "limits": {"maxConcurrentRequests": 2, "requestsPerSecond": 5},
        "deliveryMaxAttempts": 5,
        "suspend": True,
    }
    found = one(render(helm, {"connection": values}), "ClusterHarborConnection")
    assert found["metadata"]["name"] == "default"
    assert found["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert found["spec"] == {
        "url": "https://harbor.example.com",
        "aliases": ["https://old.example.com"],
        "credentialsSecretRef": {
            "namespace": "vault",
            "name": "robot",
            "usernameKey": "user",
            "passwordKey": "pass",
        },
        "tls": {
            "insecureSkipVerify": True,
            "caBundleRef": {"kind": "ConfigMap", "namespace": NAMESPACE, "name": "corp-ca", "key": "ca.crt"},
            "serverName": "harbor.internal",
            "clientCertificateRef": {"namespace": NAMESPACE, "name": "mtls"},
        },
        "headersFrom": [
            {"name": "X-Gateway-Token", "secretKeyRef": {"namespace": NAMESPACE, "name": "gateway", "key": "token"}},
            {"name": "X-Other", "secretKeyRef": {"namespace": "vault", "name": "other", "key": "1"}},
        ],
        "access": CONNECTION["access"],
        "allowedTargetHosts": ["*.example.com"],
        "allowEndpointTests": True,
        "allowRedelivery": True,
        "limits": {"maxConcurrentRequests": 2, "requestsPerSecond": 5},
        "deliveryMaxAttempts": 5,
        "suspend": True,
    }


def test_the_connection_waits_until_its_kind_is_served(helm: Helm) -> None:
    """Helm refuses a release with a resource of a kind that the same release installs."""
    values = {"connection": CONNECTION}
    assert "ClusterHarborConnection" not in kinds(render(helm, values, cluster=()))
    assert "run this again as an upgrade" in notes(helm, values, cluster=())
    assert "ClusterHarborConnection" in kinds(render(helm, values))
    assert "run this again" not in notes(helm, values)
    elsewhere = {**values, "crds": {"install": False}}
    assert "ClusterHarborConnection" in kinds(render(helm, elsewhere, cluster=()))


def test_without_a_cluster_to_ask_a_value_renders_the_connection(helm: Helm) -> None:
    objects = render(helm, {"connection": {**CONNECTION, "alwaysRender": True}}, cluster=())
    assert one(objects, "ClusterHarborConnection")["spec"]["url"] == CONNECTION["url"]
    without = {**CONNECTION, "create": False, "alwaysRender": True}
    assert "ClusterHarborConnection" not in kinds(render(helm, {"connection": without}, cluster=()))


def test_labels_and_annotations_keep_the_pod_of_the_test_out_of_a_mesh(helm: Helm) -> None:
    stated = {"podLabels": {"sidecar.istio.io/inject": "false"}, "podAnnotations": {"linkerd.io/inject": "disabled"}}
    metadata = one(render(helm, {"test": stated}), "Pod")["metadata"]
    assert metadata["labels"].items() >= stated["podLabels"].items()
    assert metadata["annotations"].items() >= stated["podAnnotations"].items()
    assert metadata["annotations"]["helm.sh/hook"] == "test"


def test_pods_are_placed_on_linux_unless_the_values_say_otherwise(helm: Helm, default_objects: list[Object]) -> None:
    def selectors(objects: list[Object]) -> list[Any]:
        pods = [one(objects, "Deployment")["spec"]["template"]["spec"], one(objects, "Pod")["spec"]]
        return [pod.get("nodeSelector") for pod in pods]

    assert selectors(default_objects) == [{"kubernetes.io/os": "linux"}] * 2
    added = render(helm, {"nodeSelector": {"disk": "ssd"}})
    assert selectors(added) == [{"kubernetes.io/os": "linux", "disk": "ssd"}] * 2
    assert selectors(render(helm, {"nodeSelector": {"kubernetes.io/os": None}})) == [None] * 2


def test_the_switch_is_what_the_operator_reads(helm: Helm) -> None:
    stated = {"create": True, "name": "switch", "enabled": False, "connections": {"staging": True}}
    objects = render(helm, {"globalSwitch": stated})
    found = one(objects, "ConfigMap", "switch")
    assert found["data"] == {"enabled": "false", "enabled.staging": "true"}
    assert environment(objects)["HARBORHOOK_GLOBAL_CONFIG_MAP"] == "switch"


def test_dashboard_and_alerts_are_those_of_the_repository(helm: Helm) -> None:
    monitoring = REPOSITORY / "manifests/monitoring"
    objects = render(helm, {"prometheusRule": {"create": True}, "dashboard": {"create": True}})
    rule: Any = yaml.safe_load((monitoring / "alerts.yaml").read_text())
    assert one(objects, "PrometheusRule")["spec"] == rule["spec"]
    dashboard = one(objects, "ConfigMap", "harborhook-dashboard")["data"]["dashboard.json"]
    assert json.loads(dashboard) == json.loads((monitoring / "dashboard.json").read_text())


def test_a_network_policy_lets_the_test_in_where_only_some_may_read(helm: Helm) -> None:
    only = {"create": True, "ingressFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]}
    objects = render(helm, {"networkPolicy": only})
    (rule,) = one(objects, "NetworkPolicy")["spec"]["ingress"]
    allowed = [peer["podSelector"]["matchLabels"] for peer in rule["from"] if "podSelector" in peer]
    assert allowed == [one(objects, "Pod")["metadata"]["labels"]]


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("https://harbor.example.com", [443, 6443]),
        ("https://harbor.example.com:8443/", [443, 6443, 8443]),
        ("http://[fd00::1]:8080", [443, 6443, 8080]),
        ("http://harbor.example.com", [443, 6443, 80]),
    ],
)
def test_one_value_limits_egress_to_dns_the_api_server_and_harbor(helm: Helm, url: str, ports: list[int]) -> None:
    extra = {"to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}]}
    values = {"networkPolicy": {"create": True, "restrictEgress": True, "egress": [extra]}, "connection": {"url": url}}
    spec = one(render(helm, values), "NetworkPolicy")["spec"]
    dns, tcp, added = spec["egress"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert {rule["port"] for rule in dns["ports"]} == {53}
    assert [rule["port"] for rule in tcp["ports"]] == ports
    assert added == extra


def test_another_release_has_names_of_its_own(helm: Helm, default_objects: list[Object]) -> None:
    def own(objects: list[Object]) -> set[tuple[str, str]]:
        return {(o["kind"], o["metadata"]["name"]) for o in objects if o["kind"] != "CustomResourceDefinition"}

    assert own(render(helm, release="second")) & own(default_objects) == set()
