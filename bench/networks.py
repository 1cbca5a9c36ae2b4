"""What several networks cost a pod: ADD and DEL by a runtime, from the start of the program to its end.

Beside it: the first network's plugin called as a runtime calls it without us.
`python -m bench.networks` prints the table, in a network namespace of its own.
"""

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from tests.processes.cni.api import NODE, Json
from tests.processes.cni.api import serving as api_serving
from tests.processes.cni.plugins import call
from tests.processes.underlay.node import Folders, Node, Sandbox, ip, serving

from weft.adapters.kube.kinds import NODES, SPIDERCOORDINATORS, SPIDERIPPOOLS

COUNT = 40
LINK = "weft-bench"


class Figure(NamedTuple):
    """Milliseconds."""

    what: str
    adds: list[float]
    deletes: list[float]


def main(folder: Path, console: Console) -> None:
    """Measure, and print the table."""
    console.print(f"adding {COUNT} pods each way")
    figures = asyncio.run(_measure(folder))
    table = Table(title="Networks of one pod", title_justify="left")
    for column in ("FIGURE", "ADD P50", "ADD P99", "DEL P50"):
        table.add_column(column, justify="left" if column == "FIGURE" else "right")
    for figure in figures:
        high = quantiles(figure.adds, n=100)[98]
        table.add_row(
            figure.what, f"{median(figure.adds):.3g} ms", f"{high:.3g} ms", f"{median(figure.deletes):.3g} ms"
        )
    console.print(table)


async def _measure(folder: Path) -> list[Figure]:
    folders = Folders(folder)
    pods = {"cniVersion": "1.0.0", "name": "pods", "plugins": [_ptp(folders)]}
    folders.write("10-pods.conflist", pods)
    ip("link", "add", LINK, "type", "veth", "peer", "name", f"{LINK}1")
    ip("link", "set", LINK, "up")
    lan = {"type": "macvlan", "master": LINK, "ipam": _host_local(folders, "10.86.0.0/16")}
    try:
        async with api_serving(folder) as kube, serving(kube, folders) as node:
            await node.network("lan", {"cniVersion": "1.0.0", "name": "lan", "plugins": [lan]})
            await _pools(node)
            pool = lan | {"ipam": {"type": "spiderpool", "default_ipv4_ippool": ["lan"]}}
            await node.network("pool", {"cniVersion": "1.0.0", "name": "pool", "plugins": [pool]})
            tuned = [pool, {"type": "coordinator", "mode": "auto"}]
            await node.network("tuned", {"cniVersion": "1.0.0", "name": "tuned", "plugins": tuned})
            return [
                await _alone(node, {**_ptp(folders), "cniVersion": "1.0.0", "name": "pods"}),
                await _ours(node, "multus: ptp", ""),
                await _ours(node, "multus: ptp, macvlan with host-local", "lan"),
                await _ours(node, "multus: ptp, macvlan with spiderpool", "pool"),
                await _ours(node, "multus: ptp, macvlan with spiderpool, coordinator", "tuned"),
            ]
    finally:
        ip("link", "del", LINK)


async def _pools(node: Node) -> None:
    """Addresses, and a coordinator that knows the cluster's ranges."""
    await node.kube.create(NODES, {"metadata": {"name": NODE}})
    spec = {"subnet": "10.84.0.0/16", "ips": ["10.84.1.1-10.84.1.250"], "ipVersion": 4}
    await node.kube.create(SPIDERIPPOOLS, {"metadata": {"name": "lan"}, "spec": spec})
    coordinator = {"metadata": {"name": "default"}, "spec": {"mode": "auto", "podCIDRType": "none"}}
    await node.kube.create(SPIDERCOORDINATORS, coordinator)
    status = {"phase": "Synced", "overlayPodCIDR": ["10.85.0.0/16"], "serviceCIDR": ["10.96.0.0/12"]}
    await node.kube.patch(SPIDERCOORDINATORS, "default", {"status": status}, subresource="status")
    await asyncio.sleep(1)


async def _alone(node: Node, config: Json) -> Figure:
    """A runtime's own call of the first network."""
    adds, deletes = list[float](), list[float]()
    for _ in range(COUNT):
        sandbox = Sandbox("alone")
        with sandbox.made():
            for verb, samples in (("ADD", adds), ("DEL", deletes)):
                began = time.monotonic()
                answer = await call(
                    node.folders.bin / "ptp", verb, config, path=node.folders.bin, **sandbox.variables
                )
                samples.append((time.monotonic() - began) * 1000)
                assert answer.code == 0, answer
    return Figure("ptp, without us", adds, deletes)


async def _ours(node: Node, what: str, networks: str) -> Figure:
    adds, deletes = list[float](), list[float]()
    for place in range(COUNT):
        sandbox = await node.pod(f"{networks or 'plain'}-{place}", networks)
        with sandbox.made():
            for verb, samples in (("ADD", adds), ("DEL", deletes)):
                began = time.monotonic()
                answer = await node.call(verb, sandbox)
                samples.append((time.monotonic() - began) * 1000)
                assert answer.code == 0, answer
    return Figure(what, adds, deletes)


def _ptp(folders: Folders) -> Json:
    return {"type": "ptp", "ipam": _host_local(folders, "10.85.0.0/16")}


def _host_local(folders: Folders, subnet: str) -> Json:
    return {"type": "host-local", "dataDir": str(folders.root / "addresses"), "ranges": [[{"subnet": subnet}]]}


if __name__ == "__main__":
    if "WEFT_BENCH_ALONE" not in os.environ:
        alone = ["unshare", "--net", "--mount", "--propagation", "private", "env", "WEFT_BENCH_ALONE=1"]
        mounted = 'mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && ip link set lo up && exec "$@"'
        os.execvp("unshare", [*alone, "sh", "-c", mounted, "bench", sys.executable, "-m", "bench.networks"])
    with tempfile.TemporaryDirectory() as made:
        main(Path(made), Console())
