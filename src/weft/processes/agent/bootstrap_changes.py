"""What EnvoyFilters change of Envoy's bootstrap: asked of istiod once, before Envoy starts."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from weft.adapters.istiod import Istiod, TroubleError
from weft.inject.node import Node
from weft.xds.resource import BOOTSTRAP

PATIENCE: Final = 5.0
"""Seconds to wait for istiod: Envoy without these changes is better than none."""

_METHOD: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"

_log = logging.getLogger("weft.agent")
_xds: Any = discovery_pb2


async def ask(istiod: Istiod, node: Node, patience: float = PATIENCE) -> tuple[bytes, ...]:
    """The changes for this proxy, in order, each a serialized Bootstrap. None where istiod cannot tell in time."""
    try:
        async with asyncio.timeout(patience):
            return await _ask(istiod, node)
    except (TroubleError, TimeoutError, DecodeError) as error:
        _log.warning(
            "Envoy starts without what EnvoyFilters may change of its bootstrap: %s", error or "no answer"
        )
        return ()


def applied(bootstrap: Mapping[str, Any], changes: tuple[bytes, ...]) -> dict[str, Any]:
    """The bootstrap with all changes merged into it."""
    if not changes:
        return dict(bootstrap)
    # most pods have none, and do without the memory that Envoy's message types take
    from weft.xds.bootstrap_patches import patched

    return patched(bootstrap, changes)


async def _ask(istiod: Istiod, node: Node) -> tuple[bytes, ...]:
    answered = asyncio.Event()

    async def requests() -> AsyncIterator[bytes]:
        first = _xds.DeltaDiscoveryRequest(type_url=BOOTSTRAP)
        first.node.id, first.node.cluster = node.id, node.cluster
        json_format.Parse(json.dumps(dict(node.metadata)), first.node.metadata)
        yield first.SerializeToString()
        await answered.wait()  # the stream lives for as long as it has something to ask

    try:
        async for message in istiod.stream(_METHOD, requests()):
            response = _xds.DeltaDiscoveryResponse.FromString(message)
            if response.type_url == BOOTSTRAP:
                listed = sorted(response.resources, key=lambda each: str(each.name))
                return tuple(each.resource.value for each in listed)
    finally:
        answered.set()
    return ()
