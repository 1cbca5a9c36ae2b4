"""Service addresses on one node: Services and EndpointSlices, kept as nftables rules."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator

from weft.adapters import nft
from weft.adapters.kube.client import Kube
from weft.cluster.network import announcer
from weft.cluster.network.directory import Directory
from weft.cluster.network.ruleset import ruleset
from weft.cluster.network.service_ports import Balanced, balanced

_LOG = logging.getLogger(__name__)

MERGE_SECONDS = 0.01
"""Changes that come this close after an applied one are applied together."""

_RETRY_SECONDS = 1.0


async def run(
    kube: Kube,
    node_name: str,
    *,
    service_range: str = "",
    pods: str = "",
    directory: Directory | None = None,
) -> None:
    """Keep the node's rules true, and answer for its share of load balancers' addresses, for ever.

    Run it inside the node's network namespace.
    `service_range` (CIDR) lets connections to addresses that are no service's fail at once; `pods` is the range of
    the cluster's pods. A `directory` that something else runs is shared; without one, this follows the API server
    itself.
    """
    own = directory or Directory()
    async with asyncio.TaskGroup() as group:
        if directory is None:
            group.create_task(own.run(kube))
        group.create_task(follow(own, node_name, service_range=service_range, pods=pods))
        group.create_task(announcer.run(kube, node_name, own))


async def follow(
    directory: Directory,
    node_name: str,
    *,
    service_range: str = "",
    pods: str = "",
    apply: Callable[[str], Awaitable[None]] = nft.apply,
    forget: Callable[[str, int, str], Awaitable[None]] = nft.forget_udp,
) -> None:
    """Apply the rules of each picture: the first change at once, those within the next moment together."""
    stirred = asyncio.Event()
    directory.listen(stirred.set)
    held: list[Balanced] | None = None
    while True:
        await stirred.wait()
        stirred.clear()
        wanted = balanced(directory.picture, node_name)
        if wanted != held:
            try:
                await apply(ruleset(wanted, service_range=service_range, pods=pods, held=held))
            except (nft.NftError, OSError) as error:
                # the rules that were in force stay; the next try begins the table anew, whatever became of it
                _LOG.error("the service rules were refused: %s", error)
                held = None
                asyncio.get_running_loop().call_later(_RETRY_SECONDS, stirred.set)
                continue
            for flow in _stale(held or [], wanted):
                await forget(*flow)
            held = wanted
        await asyncio.sleep(MERGE_SECONDS)


def _stale(before: list[Balanced], after: list[Balanced]) -> list[tuple[str, int, str]]:
    """UDP has no end of connection: flows to targets that are gone must be forgotten by hand.

    So must those that went nowhere before there was a target: the kernel remembers that nobody translated them.
    """
    old, new = ({flow for port in ports for flow in _flows(port)} for ports in (before, after))
    fresh = {(address, number, "") for address, number, _ in new} - {
        (address, number, "") for address, number, _ in old
    }
    return sorted((old - new) | fresh)


def _flows(port: Balanced) -> Iterator[tuple[str, int, str]]:
    """Where a port's UDP flows go to: address (empty: any, for a node port), port, and the target's address."""
    if port.protocol != "udp":
        return
    for target in {*port.inside, *port.outside, *port.everywhere}:
        for address in (port.cluster_ip, *port.external_ips, *port.balancer_ips):
            yield address, port.port, target.ip
        if port.node_port:
            yield "", port.node_port, target.ip
