"""A world around a Harbor of the test's own, which it may break, and a connection to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.harbor.process import StandIn
from harness.harbor_fixtures import HarborUnderTest
from harness.world import World


@contextmanager
def own_harbor(world: World, stand_in: StandIn, version: str, **connection: Any) -> Iterator[World]:
    """The namespace of `world`, connected to `stand_in`; what the test leaves there is removed."""
    harbor = HarborUnderTest(stand_in.url, *stand_in.admin, version, False, stand_in, None)
    found = World(world.control_plane, harbor, world.operator, world.namespace, connection=f"own-{world._unique}")
    found.connect(found.connection, **connection)
    found.ready("ClusterHarborConnection", found.connection)
    yield found
    stand_in.clear_faults()
    stand_in.settings(jobservice="running")
    found.clean_up()
    for kind in ("WebhookPolicy", "HarborProject"):
        for item in found.all(kind):
            found.gone(kind, item["metadata"]["name"])
    found.delete("ClusterHarborConnection", found.connection)
