"""ClusterHarborConnection and HarborConnection: how to reach a Harbor, and which namespaces may use it for which
projects."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from harborhook.api.base import ApiModel, CommonStatus, Resource, SecretKeyRef, rules
from harborhook.headers import NAME_LIMIT, NAME_PATTERN, NAME_RULE, RESERVED_PATTERN, RESERVED_RULE

SecretKeyName = Annotated[str, Field(min_length=1, max_length=253)]
ObjectName = Annotated[str, Field(min_length=1, max_length=253)]
_URL_RULES = rules(
    (
        "self.matches('^https?://')",
        "an address of Harbor begins with https://, or with http:// together with allowInsecureHTTP: true",
    ),
    (
        "!self.contains('@')",
        "an address holds no user name and password: put them into the Secret that credentialsSecretRef names",
    ),
    (
        "!self.matches('^[^:]*://[^/?#]*(/.|[?#])')",
        "an address of Harbor has no path, query or fragment: Harbor is always at the root of its host, "
        "for example https://harbor.example.com",
    ),
    (
        "!self.matches('^[^:]*://([/?#]|$)') && !self.matches('[ \\t\\n\\r\\f\\v\\\\\\\\]')",
        "an address has a host, and neither blanks nor backslashes",
    ),
)
"""CEL rules instead of a pattern, because the API server would answer a mistake with the bare pattern."""
UrlString = Annotated[str, Field(max_length=512, json_schema_extra=_URL_RULES)]
_IPV6_PART = "[A-Fa-f0-9.*]*"
HOST_PATTERN = rf"^([A-Za-z0-9.*-]+|\[?{_IPV6_PART}:{_IPV6_PART}:[A-Fa-f0-9:.*]*\]?)$"
"""A name, an IPv4 or an IPv6 address. A port is rejected, because it would never match."""
HostPattern = Annotated[str, Field(min_length=1, max_length=253, pattern=HOST_PATTERN)]


class CredentialsRef(ApiModel):
    """Names the Secret with the credentials for Harbor."""

    name: ObjectName = Field(description="Name of the Secret.")
    username_key: SecretKeyName = Field("username", description="Key of the Secret that holds the user or robot name.")
    password_key: SecretKeyName = Field("password", description="Key of the Secret that holds the password or secret.")


class ClusterCredentialsRef(CredentialsRef):
    namespace: ObjectName = Field(description="Namespace of the Secret.")


class ClusterSecretKeyRef(SecretKeyRef):
    name: ObjectName = Field(description="Name of the Secret.")
    namespace: ObjectName = Field(description="Namespace of the Secret.")


class HeaderFrom(ApiModel):
    """A header that is sent to Harbor with every request."""

    name: str = Field(
        description="Name of the header. Authorization, Cookie, Host, Content-* and others cannot be set.",
        min_length=1,
        max_length=NAME_LIMIT,
        json_schema_extra=rules(
            (f"self.matches('{NAME_PATTERN}')", NAME_RULE),
            (f"!self.matches('{RESERVED_PATTERN}')", RESERVED_RULE),
        ),
    )
    secret_key_ref: SecretKeyRef = Field(description="The key of a Secret that holds the value.")


class ClusterHeaderFrom(HeaderFrom):
    """A header that is sent to Harbor with every request."""

    secret_key_ref: ClusterSecretKeyRef = Field(description="The key of a Secret that holds the value.")


class ClientCertificateRef(ApiModel):
    """Names a Secret of type kubernetes.io/tls."""

    name: ObjectName = Field(description="Name of the Secret.")


class ClusterClientCertificateRef(ClientCertificateRef):
    namespace: ObjectName = Field(description="Namespace of the Secret.")


class CABundleRef(ApiModel):
    """Names the key with the trusted certificate authorities."""

    kind: Literal["ConfigMap", "Secret"] = Field("ConfigMap", description="ConfigMap or Secret.")
    name: ObjectName = Field(description="Name of the ConfigMap or Secret.")
    key: SecretKeyName = Field("ca.crt", description="Key that holds the certificates in PEM format.")


class ClusterCABundleRef(CABundleRef):
    namespace: ObjectName = Field(description="Namespace of the ConfigMap or Secret.")


_SERVER_NAME = "^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?([.][A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)*$"
_CLIENT_CERTIFICATE = (
    "Client certificate for a gateway in front of Harbor that requires one: a Secret of type "
    "kubernetes.io/tls, with keys tls.crt and tls.key. A change is picked up at once."
)


class TLS(ApiModel):
    """How Harbor's certificate is verified, and the client certificate."""

    ca_bundle_ref: CABundleRef | None = Field(
        None,
        description="Certificate authorities that are trusted besides the system's. A change is picked up at once.",
    )
    insecure_skip_verify: bool = Field(
        False,
        description=(
            "true accepts any certificate from Harbor. Anybody who can intercept the connection can then read the "
            "credentials."
        ),
    )
    server_name: str | None = Field(
        None,
        description=(
            "The host name that the server is asked for (SNI) and that its certificate must have, where that is not "
            "the host in url."
        ),
        min_length=1,
        max_length=253,
        json_schema_extra=rules(
            (f"self.matches('{_SERVER_NAME}')", "serverName is a host name, without https:// and without a port")
        ),
    )
    client_certificate_ref: ClientCertificateRef | None = Field(None, description=_CLIENT_CERTIFICATE)


class ClusterTLS(TLS):
    ca_bundle_ref: ClusterCABundleRef | None = Field(
        None,
        description="Certificate authorities that are trusted besides the system's. A change is picked up at once.",
    )
    client_certificate_ref: ClusterClientCertificateRef | None = Field(None, description=_CLIENT_CERTIFICATE)


class AccessRule(ApiModel):
    """Some namespaces, and the Harbor projects that they may declare."""

    namespaces: list[Annotated[str, Field(min_length=1, max_length=63)]] = Field(
        description='Namespaces that the rule applies to. Only * is special, for example "team-*".',
        min_length=1,
        max_length=64,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    projects: list[Annotated[str, Field(min_length=1, max_length=255)]] = Field(
        description=(
            "Harbor projects that these namespaces may declare. * is special, and {namespace} stands for the name of "
            'the resource\'s namespace: "{namespace}", "{namespace}.*".'
        ),
        min_length=1,
        max_length=64,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )


class Limits(ApiModel):
    max_concurrent_requests: int = Field(
        8, description="Maximum number of concurrent requests to this Harbor.", ge=1, le=256
    )
    requests_per_second: int = Field(
        50, description="Maximum average number of requests per second to this Harbor.", ge=1, le=10000
    )


class _ConnectionSpec(ApiModel):
    url: UrlString = Field(
        description=(
            "Address of Harbor without a path, such as https://harbor.example.com. It may change only when the old one "
            "is in aliases."
        )
    )
    allow_insecure_http: bool = Field(
        False,
        alias="allowInsecureHTTP",
        description="true permits an http:// url. Credentials then travel unencrypted.",
    )
    aliases: list[UrlString] = Field(
        [],
        description="Former or other addresses of the same Harbor.",
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    limits: Limits = Field(
        Limits(),
        description=(
            "Limits on requests to this Harbor. All connections to one host share those of the ClusterHarborConnection."
        ),
    )
    delivery_max_attempts: int | None = Field(
        None,
        description=(
            "How many times this Harbor tries to deliver a notification: webhook_job_max_retry in its harbor.yml. "
            "Absent: 3, which is Harbor's default, or 10 before Harbor 2.8."
        ),
        ge=1,
        le=100,
    )
    suspend: bool = Field(
        False,
        description="true stops all requests to this Harbor, such as during maintenance. Resources keep their state.",
    )

    @property
    def urls(self) -> frozenset[str]:
        """All addresses of this Harbor in canonical spelling. Ownership uses them as Harbor's identity."""
        return frozenset(canonical_url(url) for url in (self.url, *self.aliases))


CONNECTION_RULES = rules(
    (
        "!self.url.startsWith('http://') || (has(self.allowInsecureHTTP) && self.allowInsecureHTTP)",
        "an http:// url sends credentials unencrypted: use https://, or set allowInsecureHTTP: true to accept that",
    ),
    (
        "self.url == oldSelf.url || (has(self.aliases) && self.aliases.exists(a, a == oldSelf.url))",
        "url may only change to another address of the same Harbor: list the old url in aliases to say that it is",
    ),
    (
        "!self.url.startsWith('http://') || !has(self.tls) || "
        "(!has(self.tls.clientCertificateRef) && !has(self.tls.serverName))",
        "an http:// url has no TLS: use https://, or remove clientCertificateRef and serverName",
    ),
)


_HEADERS_FROM: Any = Field(
    [],
    description=(
        "Headers for a gateway in front of Harbor. They are sent with every request to Harbor and to no other host. "
        "A change is picked up at once."
    ),
    max_length=8,
    json_schema_extra={
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        **rules(
            (
                "self.all(a, self.exists_one(b, a.name.lowerAscii() == b.name.lowerAscii()))",
                "each header may be listed once: upper and lower case make no difference",
            )
        ),
    },
)


class ClusterHarborConnectionSpec(_ConnectionSpec):
    """How to reach Harbor, and which namespaces may use that for which projects."""

    model_config = ConfigDict(json_schema_extra=CONNECTION_RULES)

    credentials_secret_ref: ClusterCredentialsRef = Field(
        description="The Secret with the name and password of a Harbor robot account or user."
    )
    headers_from: list[ClusterHeaderFrom] = _HEADERS_FROM
    tls: ClusterTLS = Field(
        ClusterTLS(), description="How Harbor's certificate is verified, and the client certificate."
    )
    access: list[AccessRule] = Field(
        description="Which namespaces may declare which Harbor projects over this connection. At least one rule.",
        min_length=1,
        max_length=64,
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    allowed_target_hosts: list[HostPattern] | None = Field(
        None,
        description="Hosts, without ports, that webhook targets may have. Only * is special. Absent: any.",
        max_length=64,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    allow_endpoint_tests: bool = Field(
        False,
        description=(
            "Whether the operator itself may send a request to the targets of a WebhookPolicy when annotation "
            "harborhook.io/test-endpoint requests it. It is sent from the cluster, which may reach other hosts than "
            "Harbor does: allowedTargetHosts limits the hosts."
        ),
    )
    allow_redelivery: bool = Field(
        False,
        description=(
            "Whether the operator itself may send notifications again that Harbor could not deliver "
            "(spec.redelivery of a WebhookPolicy, annotation harborhook.io/redeliver). They are sent from the "
            "cluster: allowedTargetHosts limits the hosts."
        ),
    )


class HarborConnectionSpec(_ConnectionSpec):
    """How to reach Harbor."""

    model_config = ConfigDict(json_schema_extra=CONNECTION_RULES)

    credentials_secret_ref: CredentialsRef = Field(
        description="The Secret of this namespace with the name and password of a Harbor robot account or user."
    )
    headers_from: list[HeaderFrom] = _HEADERS_FROM
    tls: TLS = Field(TLS(), description="How Harbor's certificate is verified, and the client certificate.")


class Principal(ApiModel):
    """The account that the operator uses in Harbor."""

    name: str = Field(description="Name of the robot account or user that the operator works as.")
    kind: Literal["SystemAdmin", "User", "Robot"] = Field(description="SystemAdmin, User or Robot.")


class Notifications(ApiModel):
    """Whether Harbor sends notifications at all."""

    enabled: bool = Field(description="Whether the switches above a policy allow notifications.")
    source: Literal["Harbor", "ConfigMap"] = Field(
        description="Harbor (its own switch, as set in Harbor) or ConfigMap (the global switch of this cluster)."
    )
    enforcement: Literal["Harbor", "ManagedPolicies", "None"] = Field(
        description=(
            "Harbor (its own switch is set), ManagedPolicies (each policy is switched instead) or None (nothing is "
            "enforced)."
        )
    )
    message: str = Field("", description="Why it is enforced this way, and the limits of that.", max_length=512)


class ConnectionStatus(CommonStatus):
    """Observed state of the connection and of the Harbor behind it. Written by the operator."""

    harbor_version: str | None = Field(None, description="The version that Harbor reports.")
    principal: Principal | None = Field(None, description="The account that the operator uses in Harbor.")
    authentication: Literal["Session", "Basic"] | None = Field(
        None, description="Session (logged in once) or Basic (credentials with every request)."
    )
    supported_event_types: list[str] = Field(
        [],
        description="Event types that this Harbor supports. Known once there is a policy.",
        max_length=64,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    supported_payload_formats: list[str] = Field(
        [],
        description="Payload formats that this Harbor supports for http targets; none before Harbor 2.8.",
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    notifications: Notifications | None = Field(
        None, description="The state of the switch for all notifications of this Harbor."
    )
    read_only: bool | None = Field(None, description="Whether Harbor is in read-only mode.")


class ClusterHarborConnection(Resource):
    """How to reach one Harbor, for all allowed namespaces.

    The one named "default" serves every resource without connectionRef.
    """

    kind: str = "ClusterHarborConnection"
    spec: ClusterHarborConnectionSpec
    status: ConnectionStatus = ConnectionStatus()


class HarborConnection(Resource):
    """How to reach one Harbor with a team's own credentials, for one namespace only."""

    kind: str = "HarborConnection"
    spec: HarborConnectionSpec
    status: ConnectionStatus = ConnectionStatus()


AnyConnection = ClusterHarborConnection | HarborConnection


def canonical_url(url: str) -> str:
    """Returns the canonical spelling of an address: lower case, no trailing slash, no default port."""
    scheme, _, rest = url.lower().rstrip("/").partition("://")
    default_port = {"https": ":443", "http": ":80"}.get(scheme, "")
    return f"{scheme}://{rest.removesuffix(default_port) if default_port else rest}"
