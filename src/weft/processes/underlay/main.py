"""`weft spiderpool-agent`: the node process of underlay networks, which a DaemonSet runs on every node."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from aiohttp import web

from weft.adapters import clock, http_server
from weft.adapters.cni_program import Programs
from weft.adapters.kube.client import Kube
from weft.processes import limits
from weft.processes.cni import frame, health, leaving
from weft.processes.cni.flags import SettingsError
from weft.processes.cni.metrics import Registry
from weft.processes.cni.pods import Pods
from weft.processes.cni.telling import Teller
from weft.processes.underlay import installing, settings
from weft.processes.underlay.choosing import Chooser
from weft.processes.underlay.coordinating import Cluster, Coordinator, annotations_by
from weft.processes.underlay.definitions import Definitions
from weft.processes.underlay.delegating import Delegator
from weft.processes.underlay.ipam import Ipam
from weft.processes.underlay.meta import Meta
from weft.processes.underlay.plugins import COORDINATOR, MULTUS, SPIDERPOOL, Plugin, Surroundings
from weft.processes.underlay.serving import Serving
from weft.processes.underlay.settings import Settings

COMMAND: Final = "spiderpool-agent"
"""Our subcommand, our DaemonSet, and who tells in Events."""

log = logging.getLogger("weft.underlay")


def main(argv: Sequence[str]) -> int:
    """Run until SIGTERM; 0 then, or 1 with a line on stderr when a part of it fails."""
    limits.widen()
    limits.no_core_dumps()
    try:
        chosen = settings.parse(argv, os.environ, host=socket.gethostname())
        frame.log_to_stderr(chosen.level)
        if chosen.uninstall:
            _uninstall(chosen)
        else:
            asyncio.run(_until_told(chosen))
    except SettingsError as error:
        sys.stderr.write(f"weft {COMMAND}: {error}\n")
        return 1
    except Exception as error:  # noqa: BLE001 -- it is told, and the DaemonSet starts us again
        frame.tell(COMMAND, error)
        return 1
    return 0


async def _until_told(chosen: Settings) -> None:
    if await frame.until_told(_run(chosen)) and await leaving.is_for_good(chosen.api, chosen.namespace, COMMAND):
        _uninstall(chosen)


def _uninstall(chosen: Settings) -> None:
    for line in installing.uninstall(chosen):
        log.info("uninstalled: %s", line)


async def _run(chosen: Settings) -> None:
    """Every part of the process; the first that fails ends all."""
    registry, state = Registry(), health.Health()
    access = chosen.api.access()
    folder = chosen.places.mounted_run_dir
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # its socket is between root and root
    async with contextlib.AsyncExitStack() as stack:
        kube = await stack.enter_async_context(Kube(access))
        pods, teller = Pods(kube, chosen.node), Teller(kube, chosen.node, clock.now, component=COMMAND)
        around = Surroundings(chosen, kube, pods, teller, registry, clock.elapsed)
        definitions = Definitions(kube)
        chooser = Chooser(chosen, definitions)
        ipam = Ipam(around, clock.now)
        cluster = Cluster(kube)
        coordinator = Coordinator(lambda: cluster.current, annotations_by(pods))
        ours: Mapping[str, Plugin] = {SPIDERPOOL: ipam, COORDINATOR: coordinator}
        serving = Serving(plugins(around, chooser, ours), registry, clock.elapsed)
        installer = installing.Installer(chosen, chooser, state.expect("installer"))
        following = state.expect("pods")
        for app, port in ((_probes(around, state), chosen.health), (_metrics(registry), chosen.metrics)):
            await stack.enter_async_context(http_server.serving(app, f"0.0.0.0:{port}"))
        # before the plugins are installed: whoever calls them finds us
        await stack.enter_async_context(serving.serving(folder))
        async with asyncio.TaskGroup() as group:
            for work in (
                pods.run(),
                teller.run(),
                definitions.run(),
                ipam.run(),
                cluster.run(),
                installer.run(),
                frame.follow(pods, following),
                frame.while_trusted(chosen.api, access),
            ):
                group.create_task(work)


def plugins(around: Surroundings, chooser: Chooser, ours: Mapping[str, Plugin]) -> Mapping[str, Plugin]:
    """What answers the calls of each type; `ours` are those that networks may have as their parts."""
    places = around.settings.places
    delegator = Delegator(ours, Programs(places.root, places.bin_dir), places.run_dir)
    return {MULTUS: Meta(around, chooser, delegator, ours), **ours}


def _probes(_around: Surroundings, state: health.Health) -> web.Application:
    """`/healthz`, `/readyz`, and what people ask of a node."""
    return health.probes(state)


def _metrics(registry: Registry) -> web.Application:
    return health.monitoring(registry.text)
