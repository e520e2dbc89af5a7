"""The senders: tasks that send to receivers, apart from the workers, which must not wait for a receiver.

They take keys from a separate queue, so that only one sender at a time sends for a policy.
"""

from __future__ import annotations

import logging

from harborhook.api.base import AnyKey, SenderKey
from harborhook.harbor.errors import HarborError
from harborhook.kube.gateway import KubeError
from harborhook.reconcile import endpoint_test, redelivery
from harborhook.reconcile.context import Context
from harborhook.runtime.leader import LeadershipLostError

logger = logging.getLogger(__name__)


async def send_waiting(context: Context) -> None:
    """One sender; runs until it is cancelled."""
    while True:
        key, _ = await context.sending.get()
        started = context.sending.clock()
        try:
            result = await _attempt(context, key)
            context.metrics.observe_visit(key.kind, result, context.sending.clock() - started)
        finally:
            context.sending.done(key)


async def _attempt(context: Context, key: AnyKey) -> str:
    """Sends for a key and handles every error; returns the outcome for the metrics."""
    assert isinstance(key, SenderKey)
    try:
        if key.purpose == "EndpointTest":
            await endpoint_test.run(context, key.policy)
        else:
            await redelivery.make_step(context, key.policy)
    except (HarborError, KubeError) as error:
        logger.info("%s: %s; tried again in %.0f s", key, error, context.sending.retry(key))
        return "error"
    except LeadershipLostError:
        return "leadership_lost"  # this process ends
    except Exception:
        logger.exception("%s: unexpected error; tried again in %.0f s", key, context.sending.retry(key))
        return "error"
    context.sending.succeeded(key)
    return "done"
