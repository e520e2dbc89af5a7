"""The limits on requests of connections."""

from __future__ import annotations

import gc

import pytest

from harborhook.api.connections import AnyConnection, ClusterHarborConnection, HarborConnection
from harborhook.harbor.limiter import Limiter
from harborhook.reconcile.clients import Clients


def declared(url: str, namespace: str = "", name: str = "x", **limits: int) -> AnyConnection:
    metadata = {"name": name, "uid": name, "resourceVersion": "1"}
    spec = {"url": url, "credentialsSecretRef": {"namespace": "y", "name": "z"}, "limits": limits}
    if namespace:
        return HarborConnection.model_validate(
            {"kind": "HarborConnection", "metadata": {**metadata, "namespace": namespace}, "spec": spec}
        )
    return ClusterHarborConnection.model_validate(
        {
            "kind": "ClusterHarborConnection",
            "metadata": metadata,
            "spec": {**spec, "access": [{"namespaces": ["*"], "projects": ["*"]}]},
        }
    )


@pytest.mark.parametrize(
    ("url", "shared"),
    [
        ("https://harbor.example.com:443", True),
        ("https://harbor.example.com:8443", False),
        ("http://harbor.example.com", False),
        ("https://other.example.com", False),
    ],
)
def test_a_limiter_is_shared_by_the_connections_to_one_server(url: str, shared: bool) -> None:
    clients = Clients()
    (of_cluster,) = clients.limit(declared("https://harbor.example.com"))

    own, of_server = clients.limit(declared(url, "team"))

    assert (of_server is of_cluster) is shared
    assert own is not of_server


def test_a_connection_that_is_limited_again_keeps_its_limiter() -> None:
    clients = Clients()
    (before,) = clients.limit(declared("https://harbor.example.com"))  # as its client has it

    (after,) = clients.limit(declared("https://harbor.example.com", requestsPerSecond=7))

    assert isinstance(after, Limiter)
    assert after is before


def test_connections_that_come_and_go_leave_nothing_behind() -> None:
    clients = Clients()
    of_cluster = clients.limit(declared("https://harbor.example.com"))

    for number in range(100):
        clients.limit(declared(f"https://harbor-{number}.example.com", "team", f"name-{number}"))

    gc.collect()
    assert list(clients._limiters.values()) == list(of_cluster)
