"""Whether the node process ends for good, or another takes its place."""

import asyncio
import logging
from typing import Final

import aiohttp

from weft.adapters.kube.access import AccessError
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import DAEMONSETS, NAMESPACES
from weft.processes.cni.flags import Api

log = logging.getLogger("weft.cni")

DAEMON_SET: Final = "istio-cni-node"
_PATIENCE: Final = 3.0
"""Seconds for the question; a pod that ends has few of them."""
_GONE: Final = frozenset({401, 403, 404})
"""Our account, our rights, or what we asked for."""


async def is_for_good(api: Api, namespace: str, daemon_set: str) -> bool:
    """Whether a DaemonSet's node processes are taken away, so that nobody would answer the plugin any more.

    That is so when our DaemonSet or namespace is gone or going, and when we have lost the right to ask: who takes
    all away takes our account, too. No, if it cannot be found out: a plugin that stays keeps pods of the mesh from
    starting, one that is taken away in an upgrade lets them start outside the mesh.
    """
    try:
        async with asyncio.timeout(_PATIENCE), Kube(api.access()) as kube:
            home = await kube.get(NAMESPACES, namespace)
            ours = await kube.get(DAEMONSETS, daemon_set, namespace)
    except ApiError as error:
        if error.code in _GONE:
            return True
        log.warning("the plugin stays, since the API server does not say whether we are to go: %s", error)
        return False
    except (AccessError, aiohttp.ClientError, OSError, TimeoutError) as error:
        log.warning("the plugin stays, since the API server cannot be asked whether we are to go: %r", error)
        return False
    return any("deletionTimestamp" in each["metadata"] for each in (home, ours))
