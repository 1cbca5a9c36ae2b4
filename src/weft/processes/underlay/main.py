"""`weft spiderpool-agent`: the node process of underlay networks, which a DaemonSet runs on every node."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Sequence
from typing import Final

from weft.adapters import clock, http_server, pod_network
from weft.adapters.kube.client import Kube
from weft.processes import limits
from weft.processes.cni import frame, health, leaving
from weft.processes.cni.flags import SettingsError
from weft.processes.cni.metrics import Registry
from weft.processes.cni.pods import Pods
from weft.processes.cni.telling import Teller
from weft.processes.underlay import installing, observing, settings
from weft.processes.underlay.parts import assembled
from weft.processes.underlay.plugins import Surroundings
from weft.processes.underlay.serving import Serving
from weft.processes.underlay.settings import Settings

COMMAND: Final = "spiderpool-agent"
"""Our subcommand, our DaemonSet, and who tells in Events."""

log = logging.getLogger("weft.underlay")


def main(argv: Sequence[str]) -> int:
    """Run until SIGTERM; 0 then, or 1 with a line on stderr when a part of it fails.

    `observe [NAMESPACE/POD]` asks the node process of this container what it sees, and ends.
    """
    limits.widen()
    limits.no_core_dumps()
    asked = argv[1:] if argv[:1] == ["observe"] else None
    try:
        chosen = settings.parse(argv if asked is None else [], os.environ, host=socket.gethostname())
        if asked is not None:
            return observing.request("".join(asked[:1]), chosen.places.mounted_run_dir)
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
        parts = assembled(around, clock.now)
        serving = Serving(parts.plugins, registry, clock.elapsed)
        installer = installing.Installer(chosen, parts.chooser, state.expect("installer"))
        following = state.expect("pods")
        for app, port in (
            (health.probes(state), chosen.health),
            (health.monitoring(registry.text), chosen.metrics),
        ):
            await stack.enter_async_context(http_server.serving(app, f"0.0.0.0:{port}"))
        # before the plugins are installed: whoever calls them finds us
        await stack.enter_async_context(serving.serving(folder))
        await stack.enter_async_context(observing.serving(folder, chosen.node, pods))
        async with asyncio.TaskGroup() as group:
            for work in (
                pods.run(),
                teller.run(),
                installer.run(),
                frame.follow(pods, following),
                frame.while_trusted(chosen.api, access),
                asyncio.to_thread(pod_network.prepare),
                *(work() for work in parts.works),
            ):
                group.create_task(work)
