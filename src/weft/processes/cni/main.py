"""`weft install-cni`: the node process of the mesh, which the DaemonSet `istio-cni-node` runs on every node."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Sequence

from weft.adapters import clock, http_server
from weft.adapters.kube.client import Kube
from weft.processes import limits
from weft.processes.cni import frame, health, installing, leaving, logsocket, settings
from weft.processes.cni.attaching import Attaching
from weft.processes.cni.flags import SettingsError
from weft.processes.cni.metrics import Registry
from weft.processes.cni.pods import Pods
from weft.processes.cni.repairing import Repairer, orders
from weft.processes.cni.settings import Settings
from weft.processes.cni.telling import Teller

log = logging.getLogger("weft.cni")


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
        sys.stderr.write(f"weft install-cni: {error}\n")
        return 1
    except Exception as error:  # noqa: BLE001 -- it is told, and the DaemonSet starts us again
        frame.tell("install-cni", error)
        return 1
    return 0


async def _until_told(chosen: Settings) -> None:
    if await frame.until_told(_run(chosen)) and await leaving.is_for_good(
        chosen.api, chosen.namespace, leaving.DAEMON_SET
    ):
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
    folder.chmod(0o700)  # its sockets are between root and root
    async with contextlib.AsyncExitStack() as stack:
        kube = await stack.enter_async_context(Kube(access))
        pods, teller = Pods(kube, chosen.node), Teller(kube, chosen.node, clock.now)
        repairer = _repairer(chosen, kube, pods, teller, registry)
        attaching = Attaching(
            pods,
            teller,
            registry,
            clock.elapsed,
            namespace=chosen.namespace,
            excluded=chosen.excluded,
            native=chosen.native,
            captured=repairer.captured if repairer else lambda _: None,
        )
        installer = installing.Installer(chosen, state.expect("installer"), registry)
        following = state.expect("pods")
        await stack.enter_async_context(logsocket.serving(folder, frame.LEVELS[chosen.plugin.level]))
        for app, port in (
            (health.probes(state), chosen.health),
            (health.monitoring(registry.text), chosen.monitoring),
        ):
            await stack.enter_async_context(http_server.serving(app, f"0.0.0.0:{port}"))
        # before the plugin is installed: whoever calls it finds us
        await stack.enter_async_context(attaching.serving(folder))
        async with asyncio.TaskGroup() as group:
            for work in (pods.run(), teller.run(), installer.run(), frame.follow(pods, following)):
                group.create_task(work)
            if repairer:
                group.create_task(repairer.run())
            group.create_task(frame.while_trusted(chosen.api, access))


def _repairer(chosen: Settings, kube: Kube, pods: Pods, teller: Teller, registry: Registry) -> Repairer | None:
    if not chosen.repair.enabled:
        return None
    return Repairer(kube, pods, orders(chosen), teller, registry, elapsed=clock.elapsed, now=clock.now)
