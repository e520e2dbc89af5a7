"""The operator's settings: one model, filled from HARBORHOOK_* variables and the flags of `harborhook run`."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, FiniteFloat, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _listed(value: Any) -> Any:
    """Parses `a,b`, which is easy to write by hand, or `["a", "b"]`, which templates produce."""
    if not isinstance(value, str):
        return value
    if re.match(r'\s*\[\s*["\]]', value):  # [::1] is a host
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("this is not a JSON list; names separated by commas work as well") from None
    return [name.strip() for name in value.split(",") if name.strip()]


Names = Annotated[list[str], NoDecode, BeforeValidator(_listed)]


EventSelection = Literal["all", "changes", "warnings"]
"""Which Events are recorded."""

_LABEL = r"([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
_VALUE = r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?"
_VALUES = rf"\( *{_VALUE} *(, *{_VALUE} *)*\)"
_REQUIREMENT = rf" *(!?{_LABEL}|{_LABEL} *(=|==|!=) *{_VALUE}|{_LABEL} +(in|notin) *{_VALUES}) *"
_SELECTOR = rf"^({_REQUIREMENT}(,{_REQUIREMENT})*)?$"
"""Label selectors in Kubernetes' syntax: `team=a`, `team in (a, b), !legacy`."""


class Settings(BaseSettings):
    """Times are in seconds. Each field is a flag of `run` and a variable HARBORHOOK_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="HARBORHOOK_", frozen=True)

    namespace: str = Field("harborhook", description="The namespace that the operator runs in.")
    watch_namespaces: Names = Field(
        [], description="Namespaces to watch, separated by commas. Empty: the whole cluster."
    )
    resource_selector: str = Field(
        "",
        pattern=_SELECTOR,
        description=(
            "Label selector for the HarborProjects and WebhookPolicies to work on, for several operators in one "
            "cluster. Empty: all."
        ),
    )
    shard: str = Field(
        "",
        pattern=r"^([a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?)?$",
        description=(
            "Name of this operator among several in one cluster. It marks the resources that it works on, and "
            "ignores those that another one has marked. Goes with leader_election."
        ),
    )
    manage_connections: bool = Field(
        True,
        description=(
            "Whether this operator writes the status of shared connections, and switches "
            "Harbor's notifications. Exactly one operator of a cluster should."
        ),
    )
    cluster_name: str = Field(
        "",
        max_length=100,
        pattern=r"^[A-Za-z0-9._-]*$",
        description=(
            "Name of this cluster, by which the operator recognises its webhook policies in Harbor. "
            "Empty: the UID of namespace kube-system."
        ),
    )
    watch_secrets: bool = Field(
        True,
        description="Whether Secrets are watched. If not, a rotated Secret is noticed at the next drift check.",
    )
    global_config_map: str = Field(
        "harborhook-global",
        description="Name of the ConfigMap in the operator's namespace that switches all notifications on or off.",
    )
    leader_election: bool = Field(
        False,
        description=(
            "Whether replicas elect a leader by a Lease in the operator's namespace. "
            "Needed for more than one replica, and for starting a new pod before the old one has ended."
        ),
    )
    lease_name: str = Field("", description="Name of the Lease. Empty: harborhook, or harborhook-<shard> for a shard.")
    lease_duration: int = Field(
        15, gt=0, description="How long followers wait before they take over from an unresponsive leader."
    )
    renew_deadline: FiniteFloat = Field(
        10.0, gt=0, description="How long a leader that cannot renew the Lease continues; less than the lease duration."
    )
    retry_period: FiniteFloat = Field(
        2.0, gt=0, description="How often the Lease is renewed or checked; less than the renew deadline."
    )
    allowed_harbor_hosts: Names = Field(
        [],
        description=(
            "Hosts that the url and aliases of a HarborConnection may have, separated by commas, with :PORT unless "
            "that is the default; * is special. Empty: hosts and ports of the ClusterHarborConnections."
        ),
    )
    drift_interval: FiniteFloat = Field(600.0, gt=0, description="How often each resource is compared with Harbor.")
    poll_interval: FiniteFloat = Field(
        60.0, gt=0, description="How often the last-trigger times of a project are read."
    )
    open_poll_interval: FiniteFloat = Field(
        15.0, gt=0, description="The same for a project with notifications in progress."
    )
    status_interval: FiniteFloat = Field(
        60.0,
        ge=0,
        description=(
            "How often the status of a policy is written for delivery news that changes no condition, "
            "and that of a project for counts and quota."
        ),
    )
    prune_after: FiniteFloat = Field(
        600.0,
        gt=0,
        description="How long an undeclared webhook policy stays after its pruning was announced.",
    )
    stuck_after: FiniteFloat = Field(
        60.0, gt=0, description="How long Harbor may take to hand a notification to its job service."
    )
    redelivery_pause: FiniteFloat = Field(
        60.0, gt=0, description="How long redelivery waits before the first attempt; each failure doubles it."
    )
    redelivery_longest_pause: FiniteFloat = Field(
        1800.0, gt=0, description="The longest pause between two attempts of redelivery at one target."
    )
    release_after: FiniteFloat = Field(
        300.0,
        gt=0,
        description=(
            "How long a resource of a terminating namespace waits for lost credentials before it is released "
            "and its object stays in Harbor."
        ),
    )
    connection_interval: FiniteFloat = Field(60.0, gt=0, description="How often a connection is checked.")
    relist_interval: FiniteFloat = Field(
        900.0, gt=0, description="How often all resources are listed again, in case the watch missed a deletion."
    )
    workers: int = Field(
        40,
        ge=1,
        le=512,
        description=(
            "How many resources are reconciled at the same time. One connection gets at most about half of them, so "
            "that a slow Harbor leaves workers for the others."
        ),
    )
    senders: int = Field(
        8, ge=1, le=128, description="How many receivers are tested or sent failed notifications at the same time."
    )
    events: EventSelection = Field(
        "all",
        description=(
            "Which Events are recorded: all, changes (none when a resource is first created or adopted, which its "
            "status shows) or warnings."
        ),
    )
    listen_host: str = Field(
        "", description="Address of the probes and metrics. Empty: all addresses, of IPv4 and of IPv6."
    )
    listen_port: int = Field(8080, ge=0, le=65535, description="Port of the probes and metrics. 0: none.")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="DEBUG, INFO, WARNING or ERROR.")

    @property
    def lease(self) -> str:
        return self.lease_name or "-".join(filter(None, ("harborhook", self.shard)))

    @property
    def mark(self) -> str:
        """The mark that this operator writes to its resources; "" without a shard name. It contains the namespace, so
        that of two operators with the same mark only one can hold the Lease."""
        return f"{self.namespace}/{self.shard}" if self.shard else ""

    @property
    def divides(self) -> bool:
        """Whether this operator is one of several that share the resources of a cluster."""
        return bool(self.shard and (self.resource_selector or self.watch_namespaces))

    @model_validator(mode="after")
    def _check_shard(self) -> Self:
        """Rejects shards without a name, which others could not recognise, and without a Lease, since two processes
        could then have the same name."""
        if not self.shard and (self.resource_selector or not self.manage_connections):
            raise ValueError("an operator with resource_selector or without manage_connections needs a name in shard")
        if self.shard and not self.leader_election:
            raise ValueError("an operator with a name in shard needs leader_election")
        return self

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        """The time between the renew deadline and the end of the lease keeps two leaders apart."""
        if not self.retry_period < self.renew_deadline < self.lease_duration:
            raise ValueError("retry_period must be less than renew_deadline, and that less than lease_duration")
        return self
