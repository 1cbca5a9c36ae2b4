"""`weft spiderpool-controller`: looks after the underlay networks of a cluster, as a Deployment."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from weft.adapters import clock, http_server
from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import (
    NETWORKATTACHMENTS,
    SPIDERCOORDINATORS,
    SPIDERIPPOOLS,
    SPIDERMULTUSCONFIGS,
    SPIDERSUBNETS,
)
from weft.api.network_attachment import NetworkAttachmentDefinition
from weft.api.spider_coordinator import SpiderCoordinator
from weft.api.spider_ippool import SpiderIPPool
from weft.api.spider_multus_config import SpiderMultusConfig
from weft.api.spider_subnet import SpiderSubnet
from weft.processes import limits
from weft.processes.cni import frame, health
from weft.processes.cni.flags import SettingsError
from weft.processes.cni.metrics import Registry
from weft.processes.cni.telling import Teller
from weft.processes.underlay.ipam_meters import Meters
from weft.processes.underlay.ipam_pools import Pools as Addresses
from weft.processes.underlay_controller import settings
from weft.processes.underlay_controller.certificates import Certificates
from weft.processes.underlay_controller.collecting import Collector, Orders
from weft.processes.underlay_controller.coordination import Coordination
from weft.processes.underlay_controller.following import Followed
from weft.processes.underlay_controller.networks import Networks
from weft.processes.underlay_controller.pools import Pools
from weft.processes.underlay_controller.settings import COMMAND, Collecting, Settings
from weft.processes.underlay_controller.subnets import Account, Subnets
from weft.processes.underlay_controller.webhooks import Existing, Webhooks
from weft.underlay.ipam.collecting import Rules

log = logging.getLogger("weft.underlay")


def main(argv: Sequence[str]) -> int:
    """Run until SIGTERM; 0 then, or 1 with a line on stderr when a part of it fails."""
    limits.widen()
    limits.no_core_dumps()
    try:
        chosen = settings.parse(argv, os.environ, host=socket.gethostname())
        frame.log_to_stderr(chosen.level)
        asyncio.run(_until_told(chosen))
    except SettingsError as error:
        sys.stderr.write(f"weft {COMMAND}: {error}\n")
        return 1
    except Exception as error:  # noqa: BLE001 -- it is told, and the Deployment starts us again
        frame.tell(COMMAND, error)
        return 1
    return 0


async def _until_told(chosen: Settings) -> None:
    await frame.until_told(_run(chosen))


async def _run(chosen: Settings) -> None:
    """Every part of the process; the first that fails ends all."""
    registry, state = Registry(), health.Health()
    access = chosen.api.access()
    async with contextlib.AsyncExitStack() as stack:
        kube = await stack.enter_async_context(Kube(access))
        teller = Teller(kube, chosen.pod, clock.now, component=COMMAND)
        existing = Existing(
            pools=Followed(kube, SPIDERIPPOOLS, SpiderIPPool),
            subnets=Followed(kube, SPIDERSUBNETS, SpiderSubnet),
            networks=Followed(kube, SPIDERMULTUSCONFIGS, SpiderMultusConfig),
            attachments=Followed(kube, NETWORKATTACHMENTS, NetworkAttachmentDefinition),
        )
        coordinators = Followed(kube, SPIDERCOORDINATORS, SpiderCoordinator)
        followed: tuple[Followed[Any], ...] = (
            existing.pools,
            existing.subnets,
            existing.networks,
            existing.attachments,
            coordinators,
        )
        works = [Pools(kube, existing.pools).run(), Coordination(kube, coordinators, chosen.cilium).run()]
        if chosen.networks:
            works.append(Networks(kube, existing.networks, existing.attachments, teller).run())
        collector = _collector(chosen.collecting, kube, registry)
        works.append(collector.run())
        if chosen.subnets.enabled:
            account = Account(existing.subnets, existing.pools)
            works.append(Subnets(kube, account, teller, chosen.subnets).run())
        following, told = state.expect("objects"), state.expect("webhooks")
        probes = health.probes(state)
        probes.router.add_post("/v1/gc", collector.answer)
        for app, port in (
            (probes, chosen.health),
            (health.monitoring(registry.text), chosen.metrics),
        ):
            await stack.enter_async_context(http_server.serving(app, f"0.0.0.0:{port}"))
        certificates = Certificates(kube, chosen.namespace, clock.now, told)
        await certificates.load()
        async with asyncio.TaskGroup() as group:
            for work in (*works, *(each.run() for each in followed), teller.run()):
                group.create_task(work)
            group.create_task(frame.while_trusted(chosen.api, access))
            following.waits("the API server has not told of all objects yet")
            for each in followed:
                await each.synced.wait()
            following.ready()
            # only now: what exists is known, so that nothing is let in that does not go with it
            webhooks = Webhooks(chosen, existing, registry, clock.elapsed)
            address = f"0.0.0.0:{chosen.webhooks}"
            await stack.enter_async_context(http_server.serving(webhooks.app(), address, certificates.context))
            group.create_task(certificates.run())


def _collector(chosen: Collecting, kube: Kube, registry: Registry) -> Collector:
    rules = Rules(
        stateful_sets=chosen.stateful_sets,
        kubevirt=chosen.kubevirt,
        overdue_on_ready_nodes=chosen.terminating,
        overdue_on_other_nodes=chosen.terminating,
        delay=timedelta(seconds=chosen.delay),
    )
    addresses = Addresses(
        kube, Meters(registry), now=clock.now, monotonic=clock.elapsed, rest=timedelta(seconds=chosen.rest)
    )
    orders = Orders(rules, interval=chosen.interval, enabled=chosen.enabled)
    return Collector(kube, addresses, orders, registry, now=clock.now, monotonic=clock.elapsed)
