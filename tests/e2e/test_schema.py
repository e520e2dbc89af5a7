"""The CRDs on a real API server: accepted objects, rejected ones with their messages, and kubectl's output."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from harborhook.api.base import API_VERSION
from harborhook.api.crds import root_schema
from harborhook.api.kinds import KINDS
from harness.control_plane import ControlPlane
from harness.control_plane.waiting import poll_until
from harness.readme import manifests_of

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = sorted((REPOSITORY / "manifests/examples").glob("*.yaml"))
NAMESPACE = "schema-tests"

Spec = dict[str, Any]


@pytest.fixture(scope="module")
def cluster(crds_installed: ControlPlane) -> Iterator[ControlPlane]:
    """The control plane with the CRDs, and a namespace for these tests."""
    crds_installed.create_namespace(NAMESPACE)
    yield crds_installed
    crds_installed.delete_namespace(NAMESPACE)


# Samples: each is a working spec, changed by the fields given. A field given as None is left out.


def manifest(kind: str, name: str, spec: Spec) -> str:
    metadata = {"name": name} | ({"namespace": NAMESPACE} if KINDS[kind].namespaced else {})
    stated = {field: value for field, value in spec.items() if value is not None}
    return json.dumps({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": stated})


def cluster_connection(name: str = "sample", **fields: Any) -> str:
    spec: Spec = {
        "url": "https://harbor.example.com",
        "credentialsSecretRef": {"namespace": "harborhook", "name": "harbor"},
        "access": [{"namespaces": ["*"], "projects": ["{namespace}", "{namespace}.*"]}],
    }
    return manifest("ClusterHarborConnection", name, spec | fields)


def connection(name: str = "sample", **fields: Any) -> str:
    spec: Spec = {"url": "https://harbor.example.com", "credentialsSecretRef": {"name": "harbor"}}
    return manifest("HarborConnection", name, spec | fields)


def header(name: str) -> Spec:
    """A header for a gateway, of a cluster's connection."""
    return {"name": name, "secretKeyRef": {"namespace": "harborhook", "name": "gateway", "key": "token"}}


def project(name: str = "sample", **fields: Any) -> str:
    return manifest("HarborProject", name, fields)


def policy(name: str = "sample", **fields: Any) -> str:
    spec: Spec = {
        "projectRef": {"name": "team-a"},
        "eventTypes": ["PUSH_ARTIFACT"],
        "targets": [http()],
    }
    return manifest("WebhookPolicy", name, spec | fields)


def http(address: str = "https://ci.example.com/harbor", **fields: Any) -> Spec:
    return {"type": "http", "address": address, **fields}


def slack(**fields: Any) -> Spec:
    return {"type": "slack", "address": "https://hooks.slack.com/services/T0/B0/X", **fields}


HEADER = {"secretKeyRef": {"name": "ci-token", "key": "header"}}

NAME_RULE = "should match '^[a-z0-9]+([._-][a-z0-9]+)*$'"

ACCEPTED = {
    "a project named by its metadata": project("team-a"),
    "a project with an underscore in its name": project("team-a", projectName="team_a"),
    "a project named like an id": project("numbers", projectName="123"),
    "a project whose name has all separators": project(projectName="a.b-c_d"),
    "a project with a name of 255 characters": project(projectName="a" * 255),
    "a project with a Kubernetes name that Harbor refuses, but a Harbor name": project("a--b", projectName="a-b"),
    "a project with everything": project(
        public=False,
        storageQuota="50Gi",
        vulnerability={"autoScan": True, "preventPull": {"enabled": True, "severity": "high"}},
        sbom={"autoGenerate": True},
        contentTrust={"cosign": True, "notation": False},
        cveAllowlist={"reuseSystem": False, "items": ["CVE-2024-1234"], "expiresAt": "2027-01-01T00:00:00Z"},
        webhooks={"enabled": False, "prune": True},
        driftPolicy="Report",
    ),
    "a proxy cache with everything": project(
        contentTrust={"cosign": True},
        proxyCache={
            "registryName": "dockerhub",
            "speedLimitKbps": -1,
            "maxUpstreamConnections": 20,
            "serveLocalOnNotFound": True,
            "referrerAPI": True,
            "filter": {"pattern": "library/**", "kind": "doublestar"},
        },
    ),
    "an empty allowlist": project(cveAllowlist={"items": []}),
    "an unlimited quota": project(storageQuota="unlimited"),
    "a quota with a fraction": project(storageQuota="1.5Gi"),
    "a quota in decimal units": project(storageQuota="50G"),
    "a quota in bytes": project(storageQuota=1),
    "a quota in bytes as a string": project(storageQuota="1048576"),
    "the largest quota": project(storageQuota="1024Ti"),
    "the largest quota in bytes": project(storageQuota=1125899906842624),
    "a project over a connection of the namespace": project(connectionRef={"kind": "HarborConnection", "name": "ours"}),
    "a slack target": policy(targets=[slack()]),
    "a slack target whose certificate is not verified": policy(targets=[slack(verifyRemoteCertificate=False)]),
    "an http target with everything": policy(
        targets=[http(authHeaderFrom=HEADER, payloadFormat="CloudEvents", verifyRemoteCertificate=False)]
    ),
    "a slack target whose address is in a Secret": policy(targets=[{"type": "slack", "addressFrom": HEADER}]),
    "drift that is only reported": policy(driftPolicy="Report"),
    "an address with a query string": policy(targets=[http("https://ci.example.com/hook?token=a%20b&x=1#part")]),
    "an address with credentials": policy(targets=[http("https://user:secret@ci.example.com/hook")]),
    "an address with a port and no path": policy(targets=[http("http://10.0.0.1:8080")]),
    "an IPv6 address": policy(targets=[http("http://[2001:db8::1]:8080/hook")]),
    "sixteen targets": policy(targets=[http()] * 16),
    "redelivery on request, to two targets alike": policy(targets=[http(), http()], redelivery={"mode": "Manual"}),
    "automatic redelivery to targets that a notification tells apart": policy(
        targets=[http(), http(payloadFormat="CloudEvents"), slack()],
        redelivery={"mode": "Automatic", "maxAge": "90m"},
    ),
    "redelivery for a week": policy(redelivery={"maxAge": "168h"}),
    "redelivery for hours and minutes": policy(redelivery={"mode": "Automatic", "maxAge": "1h30m"}),
    "all event types of Harbor 2.7": policy(
        eventTypes=[
            *("PUSH_ARTIFACT", "PULL_ARTIFACT", "DELETE_ARTIFACT", "UPLOAD_CHART", "DOWNLOAD_CHART", "DELETE_CHART"),
            *("QUOTA_EXCEED", "QUOTA_WARNING", "SCANNING_FAILED", "SCANNING_COMPLETED", "SCANNING_STOPPED"),
            *("REPLICATION", "TAG_RETENTION"),
        ]
    ),
    "a policy name with spaces and umlauts": policy(policyName="Für Slack: alles, was zählt"),
    "a policy in an unmanaged project": policy(projectRef=None, projectName="library"),
    "a policy in an unmanaged project over a connection": policy(
        projectRef=None, projectName="library", connectionRef={"name": "other"}
    ),
    "a connection with port and slash": cluster_connection(url="https://harbor.example.com:8443/"),
    "an http:// connection that says it is meant": cluster_connection(
        url="http://harbor.local", allowInsecureHTTP=True
    ),
    "a connection of a namespace": connection(tls={"caBundleRef": {"name": "corp-ca"}}),
    "a connection with a certificate authority": cluster_connection(
        tls={"caBundleRef": {"kind": "Secret", "namespace": "harborhook", "name": "corp-ca", "key": "ca.pem"}}
    ),
    "a connection with an IPv6 address": cluster_connection(url="https://[2001:db8::1]:8443"),
    "a connection behind a gateway": cluster_connection(
        headersFrom=[header("X-Gateway-Token"), header("CF-Access-Client-Id"), header("x_token")],
        tls={"clientCertificateRef": {"namespace": "pki", "name": "mtls"}, "serverName": "harbor.internal"},
    ),
    "a connection of a namespace behind a gateway": connection(
        headersFrom=[{"name": "X-Gateway-Token", "secretKeyRef": {"name": "gateway", "key": "token"}}],
        tls={"clientCertificateRef": {"name": "mtls"}, "serverName": "harbor"},
    ),
    "as many and as long headers and addresses as there may be": cluster_connection(
        url=f"https://{'a' * 504}",
        aliases=[f"https://{number:0>503}" for number in range(16)],
        headersFrom=[header(f"X-{number}-{'a' * 60}") for number in range(8)],
        tls={"serverName": ".".join(["a" * 62] * 4)},
    ),
    "target hosts": cluster_connection(
        allowedTargetHosts=["*.example.com", "hooks.slack.com", "10.0.0.1", "[2001:db8::1]", "2001:db8::1", "*"]
    ),
}

NO_PATH = "an address of Harbor has no path, query or fragment: Harbor is always at the root of its host"
NO_LOGIN = "an address holds no user name and password: put them into the Secret that credentialsSecretRef names"
SCHEME = "an address of Harbor begins with https://, or with http:// together with allowInsecureHTTP: true"
HAS_A_HOST = "an address has a host, and neither blanks nor backslashes"
RESERVED = "the operator sets this header itself (Authorization, Cookie, Host, Content-* and others)"
HEADER_NAME = "a header's name has letters, digits, - and _"
SERVER_NAME = "serverName is a host name, without https:// and without a port"
QUOTA_RULE = 'storageQuota is a quantity such as 50Gi, or a number of bytes, above 0 and at most 1024Ti, or "unlimited"'

REFUSED = {
    # names of projects
    "two dashes in a project's name": (project(projectName="a--b"), NAME_RULE),
    "an upper-case project name": (project(projectName="A"), NAME_RULE),
    "a slash in a project's name": (project(projectName="a/b"), NAME_RULE),
    "a trailing space in a project's name": (project(projectName="team_a "), NAME_RULE),
    "a trailing newline in a project's name": (project(projectName="team_a\n"), NAME_RULE),
    "a project name of 256 characters": (project(projectName="a" * 256), "may not be more than 255"),
    "an empty project name": (project(projectName=""), "spec.projectName"),
    "a Kubernetes name that Harbor refuses": (
        project("a--b"),
        "metadata.name is not a valid Harbor project name (lower-case letters and digits, separated by single . _ or "
        "-): set spec.projectName",
    ),
    # quotas
    "a quota of nothing": (project(storageQuota="0"), QUOTA_RULE),
    "a quota of nothing as a number": (project(storageQuota=0), QUOTA_RULE),
    "Harbor's number for unlimited": (project(storageQuota=-1), QUOTA_RULE),
    "Harbor's number for unlimited as a string": (project(storageQuota="-1"), QUOTA_RULE),
    "Harbor's number for unlimited with a unit": (project(storageQuota="-1Gi"), QUOTA_RULE),
    "a quota above what Harbor takes": (project(storageQuota="99999Ti"), QUOTA_RULE),
    "a quota a byte above what Harbor takes": (project(storageQuota=1125899906842625), QUOTA_RULE),
    "a quota with an exponent": (project(storageQuota="1e3"), QUOTA_RULE),
    "a quota in thousandths": (project(storageQuota="500m"), QUOTA_RULE),
    "a quota with a space": (project(storageQuota="50 Gi"), QUOTA_RULE),
    "a quota in another language": (project(storageQuota="unbegrenzt"), QUOTA_RULE),
    # settings
    "a CVE given twice": (
        project(cveAllowlist={"items": ["CVE-1", "CVE-2", "CVE-1"]}),
        'spec.cveAllowlist.items[2]: Duplicate value: "CVE-1"',
    ),
    "an empty CVE": (project(cveAllowlist={"items": [""]}), "spec.cveAllowlist.items[0]"),
    "an expiry without a list": (
        project(cveAllowlist={"expiresAt": "2027-01-01T00:00:00Z"}),
        "expiresAt needs a list: state items too, [] for none",
    ),
    "an expiry that is no time": (project(cveAllowlist={"items": [], "expiresAt": "tomorrow"}), "expiresAt"),
    "an unknown severity": (
        project(vulnerability={"preventPull": {"severity": "High"}}),
        'supported values: "none", "low", "medium", "high", "critical"',
    ),
    "a proxy cache without a registry": (project(proxyCache={"speedLimitKbps": 1}), "registryName: Required value"),
    "a filter without its kind": (
        project(proxyCache={"registryName": "hub", "filter": {"pattern": "library/**"}}),
        "filter.kind: Required value",
    ),
    "a proxy cache that demands Notation signatures": (
        project(proxyCache={"registryName": "hub"}, contentTrust={"notation": True}),
        "a proxy cache cannot require Notation signatures in Harbor: remove contentTrust.notation",
    ),
    "an unknown drift policy": (project(driftPolicy="Ignore"), 'supported values: "Correct", "Report"'),
    "an unknown creation policy": (project(creationPolicy="Take"), 'supported values: "Create", "Adopt"'),
    # targets
    "slack with a payload format": (
        policy(targets=[slack(payloadFormat="Default")]),
        "Harbor sends Slack's own format to a slack target: remove payloadFormat, or use type http",
    ),
    "slack with a header": (
        policy(targets=[http(), slack(authHeaderFrom=HEADER)]),
        "Harbor sends no Authorization header to a slack target: remove authHeaderFrom, or use type http",
    ),
    "an address without scheme": (policy(targets=[http("ci.example.com/hook")]), "targets[0].address"),
    "an address with an upper-case scheme": (policy(targets=[http("HTTP://ci.example.com")]), "targets[0].address"),
    "an address without host": (policy(targets=[http("http://")]), "targets[0].address"),
    "an address with a path only": (policy(targets=[http("http:///hook")]), "targets[0].address"),
    "an address relative to a scheme": (policy(targets=[http("//ci.example.com/hook")]), "targets[0].address"),
    "an address with a leading space": (policy(targets=[http(" https://ci.example.com")]), "targets[0].address"),
    "an address with a space": (policy(targets=[http("https://ci.example.com/a b")]), "targets[0].address"),
    "an address with a newline": (policy(targets=[http("https://ci.example.com/\n")]), "targets[0].address"),
    "an address with another scheme": (policy(targets=[http("ftp://ci.example.com")]), "targets[0].address"),
    "a target without address": (
        policy(targets=[{"type": "http"}]),
        "set exactly one of address and addressFrom (a key of a Secret that holds the address)",
    ),
    "a target with two addresses": (
        policy(targets=[http(addressFrom=HEADER)]),
        "set exactly one of address and addressFrom (a key of a Secret that holds the address)",
    ),
    "an unknown drift policy of a policy": (policy(driftPolicy="Ignore"), 'supported values: "Correct", "Report"'),
    "an unknown type of target": (policy(targets=[http() | {"type": "teams"}]), 'supported values: "http", "slack"'),
    "no targets": (policy(targets=[]), "should have at least 1 items"),
    "seventeen targets": (policy(targets=[http()] * 17), "must have at most 16 items"),
    # redelivery
    "automatic redelivery to two targets alike": (
        policy(targets=[http(), http(payloadFormat="Default")], redelivery={"mode": "Automatic"}),
        "Harbor does not record which of two targets of the same type and payloadFormat a notification was for",
    ),
    "redelivery for too short": (policy(redelivery={"maxAge": "4m"}), "maxAge has to be between 5m and 168h"),
    "redelivery for too long": (policy(redelivery={"maxAge": "169h"}), "maxAge has to be between 5m and 168h"),
    "redelivery for days": (policy(redelivery={"maxAge": "2d"}), "spec.redelivery.maxAge"),
    "redelivery for nothing": (policy(redelivery={"maxAge": ""}), "spec.redelivery.maxAge"),
    "redelivery over a connection of a namespace": (
        connection(allowRedelivery=True),
        'unknown field "spec.allowRedelivery"',
    ),
    # event types
    "an event type given twice": (
        policy(eventTypes=["PUSH_ARTIFACT", "PULL_ARTIFACT", "PUSH_ARTIFACT"]),
        'spec.eventTypes[2]: Duplicate value: "PUSH_ARTIFACT"',
    ),
    "an event type of Harbor 1": (policy(eventTypes=["pushImage"]), "should match '^[A-Z_]+$'"),
    "no event types": (policy(eventTypes=[]), "should have at least 1 items"),
    # projects of policies
    "projectRef and projectName": (
        policy(projectName="library"),
        "set exactly one of projectRef (a HarborProject of this namespace) and projectName",
    ),
    "neither projectRef nor projectName": (
        policy(projectRef=None),
        "set exactly one of projectRef (a HarborProject of this namespace) and projectName",
    ),
    "projectRef and connectionRef": (
        policy(connectionRef={"name": "other"}),
        "connectionRef goes with projectName only: with projectRef the connection is the project's",
    ),
    # connections
    "an http:// connection": (
        cluster_connection(url="http://harbor.local"),
        "an http:// url sends credentials unencrypted: use https://, or set allowInsecureHTTP: true to accept that",
    ),
    "an http:// connection that says it is not meant": (
        connection(url="http://harbor.local", allowInsecureHTTP=False),
        "an http:// url sends credentials unencrypted",
    ),
    "a target host with a port": (cluster_connection(allowedTargetHosts=["ci:8080"]), "allowedTargetHosts[0]"),
    "a target address with a port": (cluster_connection(allowedTargetHosts=["10.0.0.1:80"]), "allowedTargetHosts[0]"),
    "a connection with a path": (cluster_connection(url="https://harbor.example.com/harbor"), NO_PATH),
    "a connection with a path after a port": (connection(url="https://harbor.example.com:8443/harbor/"), NO_PATH),
    "a connection with two slashes": (cluster_connection(url="https://harbor.example.com//"), NO_PATH),
    "a connection with a query": (cluster_connection(url="https://harbor.example.com?x=1"), NO_PATH),
    "a connection with a fragment": (cluster_connection(url="https://harbor.example.com/#/projects"), NO_PATH),
    "a connection with credentials": (cluster_connection(url="https://admin:x@harbor.example.com"), NO_LOGIN),
    "a connection without scheme": (cluster_connection(url="harbor.example.com"), SCHEME),
    "a connection with another scheme": (cluster_connection(url="oci://harbor.example.com"), SCHEME),
    "a connection with an upper-case scheme": (cluster_connection(url="HTTPS://harbor.example.com"), SCHEME),
    "a connection without host": (cluster_connection(url="https://"), HAS_A_HOST),
    "a connection with slashes only": (cluster_connection(url="https:///"), HAS_A_HOST),
    "a connection with a blank": (cluster_connection(url="https://harbor.example.com "), HAS_A_HOST),
    "a connection with a newline": (cluster_connection(url="https://harbor.example.com\n"), HAS_A_HOST),
    "a connection with a backslash": (cluster_connection(url="https://harbor\\.example.com"), HAS_A_HOST),
    "a former address with a path": (cluster_connection(aliases=["https://harbor.example.com/harbor"]), NO_PATH),
    "a former address with credentials": (cluster_connection(aliases=["https://u:p@harbor.example.com"]), NO_LOGIN),
    **{
        f"a header that the operator sets: {name}": (cluster_connection(headersFrom=[header(name)]), RESERVED)
        for name in (
            *("Authorization", "authorization", "COOKIE", "Host", "Content-Type", "content-length", "Connection"),
            *("Keep-Alive", "Proxy-Authorization", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"),
            *("X-Is-Resource-Name", "X-Harbor-CSRF-Token", "Accept", "User-Agent"),
        )
    },
    "a header of a namespace's connection that the operator sets": (
        connection(headersFrom=[{"name": "Cookie", "secretKeyRef": {"name": "gateway", "key": "token"}}]),
        RESERVED,
    ),
    "a header with a colon": (cluster_connection(headersFrom=[header("X-Token:")]), HEADER_NAME),
    "a header with a newline": (cluster_connection(headersFrom=[header("X-Token\n")]), HEADER_NAME),
    "a header without name": (cluster_connection(headersFrom=[header("")]), "headersFrom[0].name"),
    "a header given twice": (cluster_connection(headersFrom=[header("X-A"), header("X-A")]), "Duplicate value"),
    "a header given twice in other letters": (
        cluster_connection(headersFrom=[header("X-A"), header("x-a")]),
        "each header may be listed once: upper and lower case make no difference",
    ),
    "nine headers": (
        cluster_connection(headersFrom=[header(f"X-{number}") for number in range(9)]),
        "must have at most 8 items",
    ),
    "a header without its Secret's namespace": (
        cluster_connection(headersFrom=[{"name": "X-A", "secretKeyRef": {"name": "gateway", "key": "token"}}]),
        "headersFrom[0].secretKeyRef.namespace: Required value",
    ),
    "a header of a namespace's connection from elsewhere": (
        connection(headersFrom=[header("X-A")]),
        'unknown field "spec.headersFrom[0].secretKeyRef.namespace"',
    ),
    "a server name with a port": (cluster_connection(tls={"serverName": "harbor:8443"}), SERVER_NAME),
    "a server name with a scheme": (connection(tls={"serverName": "https://harbor"}), SERVER_NAME),
    "a server name that ends with a dot": (connection(tls={"serverName": "harbor."}), SERVER_NAME),
    "a server name with a label that is too long": (connection(tls={"serverName": "a" * 64}), SERVER_NAME),
    "a client certificate without TLS": (
        connection(url="http://harbor.local", allowInsecureHTTP=True, tls={"clientCertificateRef": {"name": "mtls"}}),
        "an http:// url has no TLS: use https://, or remove clientCertificateRef and serverName",
    ),
    "a client certificate from elsewhere": (
        connection(tls={"clientCertificateRef": {"namespace": "pki", "name": "mtls"}}),
        'unknown field "spec.tls.clientCertificateRef.namespace"',
    ),
    "a connection for nobody": (cluster_connection(access=[]), "should have at least 1 items"),
    "a connection that says nothing of access": (cluster_connection(access=None), "spec.access: Required value"),
    "a connection without credentials": (
        connection(credentialsSecretRef=None),
        "spec.credentialsSecretRef: Required value",
    ),
    "a connection of a namespace with a Secret elsewhere": (
        connection(credentialsSecretRef={"namespace": "kube-system", "name": "harbor"}),
        'unknown field "spec.credentialsSecretRef.namespace"',
    ),
    # missing objects
    "a field that does not exist": (policy(event_types=["PUSH_ARTIFACT"]), 'unknown field "spec.event_types"'),
    "a field of a target that does not exist": (
        policy(targets=[http(authHeader="Bearer x")]),
        'unknown field "spec.targets[0].authHeader"',
    ),
}


def test_the_api_server_finds_nothing_wrong_with_the_crds(cluster: ControlPlane) -> None:
    for kind in KINDS.values():
        crd = json.loads(cluster.kubectl("get", "crd", f"{kind.plural}.harborhook.io", "-o", "json").stdout)
        conditions = {condition["type"]: condition["status"] for condition in crd["status"]["conditions"]}
        assert conditions == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.parametrize("sample", ACCEPTED.values(), ids=ACCEPTED)
def test_it_accepts(sample: str, cluster: ControlPlane) -> None:
    done = dry_run(cluster, sample)
    assert done == "", done


@pytest.mark.parametrize(("sample", "sentence"), REFUSED.values(), ids=REFUSED)
def test_it_refuses(sample: str, sentence: str, cluster: ControlPlane) -> None:
    assert sentence in dry_run(cluster, sample)


def dry_run(cluster: ControlPlane, sample: str) -> str:
    """Returns the API server's objection to an object; empty if it accepts it."""
    done = cluster.apply(sample, "--dry-run=server", "--validate=strict", check=False)
    return done.stderr.replace('\\"', '"')


# Later changes. Each row: the present object, the change, and the message of the refusal ("" = allowed).

NAME_IS_IMMUTABLE = "Harbor cannot rename a project: projectName is immutable, declare another HarborProject instead"
POLICY_STAYS = "a webhook policy cannot move to another project: projectRef and projectName are immutable"
URL_STAYS = "url may only change to another address of the same Harbor: list the old url in aliases to say that it is"

CHANGES = {
    "a project is renamed": (
        project("rename", projectName="team_a"),
        project("rename", projectName="team_b"),
        NAME_IS_IMMUTABLE,
    ),
    "the name of a project is removed": (
        project("remove-name", projectName="team_a"),
        project("remove-name"),
        NAME_IS_IMMUTABLE,
    ),
    "a project gets another name than its metadata's": (
        project("add-name"),
        project("add-name", projectName="team_a"),
        NAME_IS_IMMUTABLE,
    ),
    "a project states the name that it has": (
        project("state-name"),
        project("state-name", projectName="state-name"),
        "",
    ),
    "a project no longer states the name that it has anyway": (
        project("unstate-name", projectName="unstate-name"),
        project("unstate-name"),
        "",
    ),
    "a proxy cache follows its registry to a new name": (
        project("recache", proxyCache={"registryName": "hub"}),
        project("recache", proxyCache={"registryName": "docker-hub"}),
        "",
    ),
    "a quota changes from a number to a quantity": (
        project("requota", storageQuota=1024),
        project("requota", storageQuota="unlimited"),
        "",
    ),
    "a policy moves to another project": (
        policy("move"),
        policy("move", projectRef={"name": "team-b"}),
        POLICY_STAYS,
    ),
    "a policy moves to an unmanaged project": (
        policy("leave"),
        policy("leave", projectRef=None, projectName="library"),
        POLICY_STAYS,
    ),
    "a policy moves to another unmanaged project": (
        policy("move-on", projectRef=None, projectName="library"),
        policy("move-on", projectRef=None, projectName="mirror"),
        POLICY_STAYS,
    ),
    "the project of a policy is removed": (
        policy("homeless"),
        policy("homeless", projectRef=None),
        "set exactly one of projectRef",
    ),
    "a policy is renamed": (policy("called", policyName="One"), policy("called", policyName="Two"), ""),
    "a connection changes its url": (
        cluster_connection("moved"),
        cluster_connection("moved", url="https://registry.example.com"),
        URL_STAYS,
    ),
    "a connection of a namespace changes its url": (
        connection("moved"),
        connection("moved", url="https://registry.example.com"),
        URL_STAYS,
    ),
    "a connection changes its url and keeps the old one as an alias": (
        cluster_connection("renamed"),
        cluster_connection("renamed", url="https://registry.example.com", aliases=["https://harbor.example.com"]),
        "",
    ),
    "a connection falls back to http without saying that it is meant": (
        connection("weaker"),
        connection("weaker", url="http://harbor.example.com", aliases=["https://harbor.example.com"]),
        "an http:// url sends credentials unencrypted",
    ),
}


@pytest.mark.parametrize(("before", "after", "sentence"), CHANGES.values(), ids=CHANGES)
def test_a_change(before: str, after: str, sentence: str, cluster: ControlPlane) -> None:
    with existing(cluster, before):
        refusal = dry_run(cluster, after)
    assert sentence in refusal if sentence else refusal == ""


@contextmanager
def existing(cluster: ControlPlane, sample: str) -> Iterator[None]:
    """Creates the object during the test; leaves nothing for another test's operator."""
    cluster.apply(sample, "--validate=strict")
    try:
        yield
    finally:
        cluster.kubectl("delete", "--wait=false", "-f", "-", stdin=sample)


def test_an_address_is_kept_exactly(cluster: ControlPlane) -> None:
    address = "https://user:p%40ss@CI.example.com:8443/Hook/?b=2&a=%20&empty=#part"
    done = cluster.apply(policy(targets=[http(address)]), "--dry-run=server", "-o", "json")
    assert json.loads(done.stdout)["spec"]["targets"] == [{"type": "http", "address": address}]


def test_the_api_server_adds_nothing_to_a_spec_but_what_steers_the_operator(cluster: ControlPlane) -> None:
    def added(sample: str) -> Spec:
        stored = json.loads(cluster.apply(sample, "--dry-run=server", "-o", "json").stdout)["spec"]
        stated = json.loads(sample)["spec"]
        return {field: value for field, value in stored.items() if value != stated.get(field)}

    assert added(project()) == {
        "creationPolicy": "Create",
        "deletionPolicy": "Retain",
        "driftPolicy": "Correct",
        "suspend": False,
    }
    assert added(policy()) == {
        "creationPolicy": "Create",
        "driftPolicy": "Correct",
        "enabled": True,
        "suspend": False,
    }
    assert added(connection()) == {
        "allowInsecureHTTP": False,
        "suspend": False,
        "credentialsSecretRef": {"name": "harbor", "usernameKey": "username", "passwordKey": "password"},
    }


@pytest.mark.parametrize("kind", ["harborproject", "webhookpolicy"])
def test_a_status_names_a_project_and_no_other_path(cluster: ControlPlane, kind: str) -> None:
    """The operator sends requests for the project that a status names."""
    cluster.apply(project("named") if kind == "harborproject" else policy("named"))
    named = (kind, "named", f"--namespace={NAMESPACE}", "--subresource=status", "--type=merge", "-p")
    for name in ("../library", "a/b", "a%2Fb", ".", "", "UPPER", "x" * 256):
        refused = cluster.kubectl("patch", *named, json.dumps({"status": {"projectName": name}}), check=False)
        assert "status.projectName" in refused.stderr, name
    cluster.kubectl("patch", *named, json.dumps({"status": {"projectName": "a.b_c-32"}}))


def test_a_status_in_a_manifest_is_ignored(cluster: ControlPlane) -> None:
    with_status = json.loads(policy()) | {"status": {"policyID": 7}}
    done = cluster.apply(json.dumps(with_status), "--dry-run=server", "--validate=strict", "-o", "json")
    assert "status" not in json.loads(done.stdout)


# kubectl's output


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_api_server_accepts_the_example(path: Path, cluster: ControlPlane) -> None:
    cluster.create_namespace("team-a")  # the one they are for
    # Other tests have a connection `default`, whose url must not change.
    text = path.read_text().replace("\n  name: default\n", "\n  name: default-of-example\n")
    cluster.apply(text, "--dry-run=server", "--validate=strict")


@pytest.mark.parametrize("field", ["spec", "spec.targets", "status", "status.triggers"])
def test_explain_reads_as_documentation(field: str, cluster: ControlPlane) -> None:
    explained = words(cluster.kubectl("explain", f"webhookpolicies.{field}").stdout)

    schema = root_schema(KINDS["WebhookPolicy"])
    for name in field.split("."):
        schema = schema["properties"][name]
    own, fields = schema["description"], schema.get("items", schema)["properties"]
    for description in (own, *(child["description"] for child in fields.values())):
        assert words(description) in explained


def words(text: str) -> str:
    return " ".join(text.split())


READY = {
    "type": "Ready",
    "status": "True",
    "reason": "Reconciled",
    "message": "",
    "observedGeneration": 1,
    "lastTransitionTime": "2026-01-02T03:04:05Z",
}

DELIVERING = READY | {"type": "Delivering", "status": "False", "reason": "LastDeliveryFailed"}

LISTINGS: dict[str, tuple[str, Spec, str, str]] = {
    "chconn": (
        cluster_connection("listed"),
        {"harborVersion": "v2.16.0", "principal": {"name": "robot$k8s", "kind": "Robot"}},
        "NAME URL VERSION PRINCIPAL NOTIFICATIONS READY AGE | REASON",
        "listed https://harbor.example.com v2.16.0 robot$k8s True AGE Reconciled",
    ),
    "hconn": (
        connection("listed"),
        {"harborVersion": "v2.16.0", "principal": {"name": "robot$k8s", "kind": "Robot"}},
        "NAME URL VERSION PRINCIPAL NOTIFICATIONS READY AGE | REASON",
        "listed https://harbor.example.com v2.16.0 robot$k8s True AGE Reconciled",
    ),
    "hproj": (
        project("listed"),
        {
            "projectName": "listed",
            "projectID": 32,
            "repositoryCount": 5,
            "quota": {"hard": "50Gi", "used": "1536"},
            "webhooks": {"declared": 2, "ready": 1, "summary": "1/2"},
        },
        "NAME PROJECT ID READY POLICIES AGE | REASON REPOS QUOTA USED",
        "listed listed 32 True 1/2 AGE Reconciled 5 50Gi 1536",
    ),
    "whp": (
        policy("listed"),
        {
            "projectName": "team-a",
            "policyID": 7,
            "enabled": True,
            "lastTriggerTime": "2020-01-01T00:00:00Z",
            "deliveries": {"consecutiveFailures": 2},
        },
        "NAME PROJECT ENABLED READY DELIVERING LAST TRIGGER AGE | REASON POLICY ID FAILURES",
        "listed team-a true True False AGE AGE Reconciled 7 2",
    ),
}


@pytest.mark.parametrize("short_name", LISTINGS)
def test_get_shows_what_people_look_for(short_name: str, cluster: ControlPlane) -> None:
    sample, status, columns, row = LISTINGS[short_name]
    with_status = json.dumps({"status": status | {"conditions": [READY, DELIVERING]}})
    named = (short_name, "listed", "-n", NAMESPACE)
    with existing(cluster, sample):
        cluster.kubectl("patch", *named, "--subresource=status", "--type=merge", "-p", with_status)
        narrow = rows(cluster.kubectl("get", *named).stdout)
        wide = rows(cluster.kubectl("get", *named, "-o", "wide").stdout)

    assert narrow[0] == columns.partition(" | ")[0]
    assert wide == [columns.replace(" | ", " "), row]


def rows(table: str) -> list[str]:
    """The lines of kubectl's table with single spaces; an age, which the clock decides, is shown as AGE."""
    return [re.sub(r"\b\d+[smhdy](\d+[smhd])?(?= |$)", "AGE", words(line)) for line in table.splitlines()]


def test_the_category_lists_all_kinds(cluster: ControlPlane) -> None:
    shown = cluster.kubectl("api-resources", "--categories=harborhook", "-o", "name").stdout.split()
    assert sorted(shown) == sorted(f"{kind.plural}.harborhook.io" for kind in KINDS.values())


# Roles

OPERATOR = "system:serviceaccount:harborhook:harborhook"
KIND_NAMES = [f"{kind.plural}.harborhook.io" for kind in KINDS.values()]


def can_i(cluster: ControlPlane, user: str, *question: str) -> bool:
    done = cluster.kubectl("auth", "can-i", *question, f"--as={user}", check=False)
    assert done.stdout.strip() in ("yes", "no"), done.stderr
    return done.stdout.strip() == "yes"


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_the_operator_may_watch_and_patch_the_kind_and_its_status_but_not_make_or_delete_any(
    kind: str, cluster: ControlPlane
) -> None:
    def may(verb: str, *options: str) -> bool:
        return can_i(cluster, OPERATOR, verb, kind, "--all-namespaces", *options)

    assert all(may(verb) for verb in ("get", "list", "watch", "patch"))
    assert may("patch", "--subresource=status")
    assert not any(may(verb) for verb in ("create", "update", "delete"))
    assert not any(may("update", f"--subresource={part}") for part in ("status", "finalizers"))


def test_the_operator_reads_secrets_and_config_maps_and_writes_none(cluster: ControlPlane) -> None:
    for what in ("secrets", "configmaps"):
        assert all(can_i(cluster, OPERATOR, verb, what, "-A") for verb in ("get", "list", "watch"))
        assert not any(can_i(cluster, OPERATOR, verb, what, "-A") for verb in ("create", "update", "patch", "delete"))


def test_the_operator_sees_one_namespace_object_only(cluster: ControlPlane) -> None:
    assert can_i(cluster, OPERATOR, "get", "namespaces/kube-system")
    assert not can_i(cluster, OPERATOR, "get", "namespaces/default")
    assert not can_i(cluster, OPERATOR, "list", "namespaces")


def test_the_pod_of_the_operator_meets_the_restricted_pod_security_standard(cluster: ControlPlane) -> None:
    deployment = yaml.safe_load((REPOSITORY / "manifests/base/deployment.yaml").read_text())
    cluster.apply(json.dumps(deployment), "--dry-run=server", "--validate=strict")
    named = {"name": "sample", "namespace": "harborhook"}
    pod = {"apiVersion": "v1", "kind": "Pod", **deployment["spec"]["template"], "metadata": named}

    cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))

    pod["spec"]["containers"][0].pop("securityContext")
    refused = cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod), check=False)
    assert 'violates PodSecurity "restricted' in refused.stderr


def test_the_operator_may_record_events(cluster: ControlPlane) -> None:
    assert can_i(cluster, OPERATOR, "create", "events.events.k8s.io", "-A")
    assert not can_i(cluster, OPERATOR, "patch", "events.events.k8s.io", "-A")


@pytest.fixture(scope="module")
def people(cluster: ControlPlane) -> None:
    """Three users, each with one of the cluster's own roles in the namespace of these tests."""
    for role, user in (("view", "viewer"), ("edit", "editor"), ("admin", "administrator")):
        binding = (f"their-{role}", f"--clusterrole={role}", f"--user={user}", f"--namespace={NAMESPACE}")
        cluster.kubectl("create", "rolebinding", *binding)
    assert poll_until(lambda: have_our_rules(cluster), timeout=20, interval=0.5), (
        "no controller aggregates ClusterRoles"
    )


def have_our_rules(cluster: ControlPlane) -> bool:
    """Whether the controller that aggregates the cluster's roles has run: it takes a moment for each."""
    here = f"--namespace={NAMESPACE}"
    return (
        can_i(cluster, "viewer", "list", "webhookpolicies.harborhook.io", here)
        and can_i(cluster, "editor", "create", "webhookpolicies.harborhook.io", here)
        and can_i(cluster, "administrator", "list", "harborconnections.harborhook.io", here)
        and can_i(cluster, "administrator", "create", "harborconnections.harborhook.io", here)
    )


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("user", "may_change"),
    [
        ("viewer", []),
        ("editor", ["harborprojects", "webhookpolicies"]),
        ("administrator", ["harborprojects", "webhookpolicies", "harborconnections"]),
    ],
    ids=["view", "edit", "admin"],
)
def test_the_roles_of_the_cluster_have_our_kinds(user: str, may_change: list[str], cluster: ControlPlane) -> None:
    def may(verb: str, plural: str) -> bool:
        return can_i(cluster, user, verb, f"{plural}.harborhook.io", f"--namespace={NAMESPACE}")

    namespaced = [kind.plural for kind in KINDS.values() if kind.namespaced]
    assert [plural for plural in namespaced if not may("list", plural)] == []
    for verb in ("create", "update", "patch", "delete"):
        assert {plural for plural in namespaced if may(verb, plural)} == set(may_change)
    assert not may("create", "clusterharborconnections")


@pytest.mark.usefixtures("people")
def test_a_user_with_the_role_edit_is_refused_a_connection_and_gets_a_policy(cluster: ControlPlane) -> None:
    create = ("create", "--dry-run=server", "-f", "-", "--as=editor")
    refused = cluster.kubectl(*create, stdin=connection(), check=False)
    assert "harborconnections.harborhook.io is forbidden" in refused.stderr
    cluster.kubectl(*create, stdin=policy())


# The documentation


@pytest.mark.parametrize("page", sorted((REPOSITORY / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_the_manifests_of_the_documentation_are_accepted(cluster: ControlPlane, page: Path) -> None:
    for found in manifests_of(page.read_text()):
        if KINDS[found["kind"]].namespaced:
            found["metadata"]["namespace"] = NAMESPACE
        else:  # other tests may have one of that name, whose url must not change
            found["metadata"]["name"] = f"documented-{found['metadata']['name']}"
        cluster.apply(yaml.safe_dump(found), "--dry-run=server", "--validate=strict")
