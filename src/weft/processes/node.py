"""`weft node`: one node's kubelet, service addresses and DNS, inside the node's network namespace."""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from weft.processes import limits

_log = logging.getLogger("weft.node")


def main(argv: Sequence[str]) -> int:
    """Run until SIGTERM; containers go on running. 0 then, 1 with one line on stderr if it cannot run."""
    options = _options(argv)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    logging.Formatter.converter = time.gmtime
    limits.widen()
    try:
        asyncio.run(_until_stopped(options))
    except Exception as error:  # noqa: BLE001, whatever it is: one line, and a supervisor may start us again
        for each in _flat(error):
            _log.error("%s: %s", type(each).__name__, each)
        return 1
    return 0


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="weft node", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the cluster's home folder")
    parser.add_argument("--name", required=True, help="the node's name")
    parser.add_argument("--ip", required=True, help="the node's address")
    parser.add_argument("--pod-cidr", required=True, help="the range of the node's pods")
    parser.add_argument("--upstream", action="append", default=[], help="a resolver for names outside the cluster")
    return parser.parse_args(argv)


async def _until_stopped(options: argparse.Namespace) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = asyncio.create_task(_run(options))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not running.done():
        running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def _run(options: argparse.Namespace) -> None:
    from weft.adapters.kube.access import Access
    from weft.adapters.kube.client import Kube
    from weft.cluster.kubelet import kubelet
    from weft.cluster.kubelet.podspec import ClusterDns
    from weft.cluster.kubelet.runtime_config import RuntimePaths
    from weft.cluster.machine import record
    from weft.cluster.machine.layout import CLUSTER_DOMAIN, Layout
    from weft.cluster.network import dns, health_checks, policy_keeper, service_proxy
    from weft.cluster.network.directory import Directory

    home = options.home.absolute()
    # `weft up` may have been given other ranges than the usual ones
    saved = record.load(home)
    layout = saved.layout() if saved is not None else Layout(home)
    folder = home / "nodes" / options.name
    settings = kubelet.Settings(
        home=home,
        name=options.name,
        ip=options.ip,
        pod_cidr=options.pod_cidr,
        paths=RuntimePaths(home=folder, run=layout.run / options.name),
        cgroup_parent=f"/{layout.tag}/{options.name}",
        dns=ClusterDns(str(layout.dns_ip), CLUSTER_DOMAIN),
        api=(str(layout.api_service_ip), 443),
    )
    async with (
        Kube(Access.from_kubeconfig(folder / "kubeconfig")) as kube,
        Kube(Access.from_kubeconfig(folder / "network.kubeconfig")) as watcher,
        asyncio.TaskGroup() as group,
    ):
        directory = Directory(options.name)
        group.create_task(directory.run(kube))
        ranges = {"service_range": str(layout.services), "pods": str(layout.pods)}
        group.create_task(service_proxy.run(kube, options.name, **ranges, directory=directory))
        group.create_task(policy_keeper.Keeper(options.name).run(watcher))
        group.create_task(health_checks.run(directory, options.ip, options.name))
        group.create_task(
            dns.run(
                kube,
                options.ip,
                options.upstream,
                place=lambda: record.machine(home),
                directory=directory,
                domain=CLUSTER_DOMAIN,
            )
        )
        group.create_task(kubelet.run(kube, settings, time.time))


def _flat(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _flat(each)]
    return [error]
