"""`weft install-cni`: the node process of the mesh, which the DaemonSet `istio-cni-node` runs on every node."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence

from weft.adapters import clock, http_server
from weft.adapters.kube.access import Access, AccessError
from weft.adapters.kube.client import Kube
from weft.processes import limits
from weft.processes.cni import health, installing, leaving, logsocket, settings
from weft.processes.cni.attaching import Attaching
from weft.processes.cni.metrics import Registry
from weft.processes.cni.pods import Pods
from weft.processes.cni.repairing import Repairer, orders
from weft.processes.cni.settings import Settings, SettingsError
from weft.processes.cni.telling import Teller

log = logging.getLogger("weft.cni")

_TRUST_LOOK = 60.0
"""Seconds between looks at the API server's authority."""

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "none": logging.CRITICAL + 1,
}


def main(argv: Sequence[str]) -> int:
    """Run until SIGTERM; 0 then, or 1 with a line on stderr when a part of it fails."""
    limits.widen()
    limits.no_core_dumps()
    try:
        chosen = settings.parse(argv, os.environ, host=socket.gethostname())
        logging.basicConfig(
            level=_LEVELS[chosen.level], format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
        )
        logging.Formatter.converter = time.gmtime
        if chosen.uninstall:
            _uninstall(chosen)
        else:
            asyncio.run(_until_told(chosen))
    except SettingsError as error:
        sys.stderr.write(f"weft install-cni: {error}\n")
        return 1
    except Exception as error:  # whatever it is: a line, and the DaemonSet starts us again
        log.debug("what failed", exc_info=True)
        for each in _flat(error):
            sys.stderr.write(f"weft install-cni: {type(each).__name__}: {each}\n")
        return 1
    return 0


async def _until_told(chosen: Settings) -> None:
    """Run until a signal asks to stop, or a part fails."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running, stopping = asyncio.create_task(_run(chosen)), asyncio.create_task(stop.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    asked = not running.done()
    if asked:
        log.info("stopping")
        running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    if asked and await leaving.is_for_good(chosen):
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
        await stack.enter_async_context(logsocket.serving(folder, _LEVELS[chosen.plugin.level]))
        for app, port in (
            (health.probes(state), chosen.health),
            (health.monitoring(registry.text), chosen.monitoring),
        ):
            await stack.enter_async_context(http_server.serving(app, f"0.0.0.0:{port}"))
        # before the plugin is installed: whoever calls it finds us
        await stack.enter_async_context(attaching.serving(folder))
        async with asyncio.TaskGroup() as group:
            for work in (pods.run(), teller.run(), installer.run(), _follow(pods, following)):
                group.create_task(work)
            if repairer:
                group.create_task(repairer.run())
            group.create_task(_while_trusted(chosen, access))


def _repairer(chosen: Settings, kube: Kube, pods: Pods, teller: Teller, registry: Registry) -> Repairer | None:
    if not chosen.repair.enabled:
        return None
    return Repairer(kube, pods, orders(chosen), teller, registry, elapsed=clock.elapsed, now=clock.now)


async def _follow(pods: Pods, part: health.Part) -> None:
    part.waits("the API server has not told of this node's pods yet")
    await pods.synced.wait()
    part.ready()


async def _while_trusted(chosen: Settings, access: Access) -> None:
    """Fail when the API server is to be verified by another authority: all of us speaks to it."""
    while True:
        await asyncio.sleep(_TRUST_LOOK)
        try:
            now = chosen.api.access()
        except (AccessError, OSError) as error:
            log.warning("our credentials cannot be read: %s", error)
            continue
        if now.ca != access.ca:
            raise AccessError("the API server has another authority now. We start again with it.")


def _flat(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _flat(each)]
    return [error]
