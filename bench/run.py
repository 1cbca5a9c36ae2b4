"""What Weft costs and how fast it is on this machine, as a table with each figure's goal."""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import apiserver, certificates, cni, controlplane, underlay
from rich.console import Console
from rich.table import Table
from tests.e2e.manifests import NGINX, TOOLBOX, service, virtual_service
from tests.support.cluster import Cluster, eventually, machine

CHANGES = 30
console = Console()


class Figure(NamedTuple):
    what: str
    value: float
    goal: float
    unit: str


def main() -> None:
    with machine("weft-bench") as namespace, tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder) / "home", namespace)
        try:
            figures = [*bring_up(cluster), idle_memory(cluster), *traffic(cluster)]
        finally:
            cluster.weft("down", "--home", str(cluster.home), seconds=120)
    table = Table(title="Weft on this machine", title_justify="left")
    for column in ("FIGURE", "VALUE", "GOAL", "VALUE / GOAL"):
        table.add_column(column, justify="left" if column == "FIGURE" else "right")
    for figure in figures:
        shown = [f"{number:.4g} {figure.unit}" for number in (figure.value, figure.goal)]
        table.add_row(figure.what, *shown, f"{figure.value / figure.goal:.2f}")
    console.print(table)
    controlplane.main(console)
    certificates.main(console)
    with tempfile.TemporaryDirectory() as folder:
        apiserver.main(Path(folder), console)
    with tempfile.TemporaryDirectory() as folder:
        cni.main(Path(folder), console)
    with tempfile.TemporaryDirectory() as folder:
        underlay.main(Path(folder), console)
    # plugins change settings of the network that they are in, so it is one of its own
    subprocess.run([sys.executable, "-m", "bench.networks"], check=True)


def bring_up(cluster: Cluster) -> list[Figure]:
    console.print("bringing a cluster up, twice")
    figures = []
    for what, goal in (("weft up to ready", 10), ("weft up, when all runs already", 1)):
        start = time.monotonic()
        done = cluster.weft("up", "--home", str(cluster.home), seconds=180)
        assert done.returncode == 0, done.stdout + done.stderr
        figures.append(Figure(what, time.monotonic() - start, goal, "s"))
    return figures


def idle_memory(cluster: Cluster) -> Figure:
    time.sleep(5)
    shown = cluster.weft("status", "--home", str(cluster.home)).stdout
    total = re.search(r"^together\s+\d+\s+(\d+)\s*$", shown, re.MULTILINE)
    assert total, shown
    return Figure("memory of the idle cluster (PSS)", float(total[1]), 600, "MiB")


def traffic(cluster: Cluster) -> list[Figure]:
    cluster.injected("bench")
    console.print("deploying a server and a client, and waiting for the first meshed answer")
    wait = (
        "until curl -s -m 1 -o /dev/null -w '%{http_code}' nginx | grep -q 200; do sleep 0.02; done; date +%s.%N"
    )
    client = json.loads(TOOLBOX)
    client["spec"]["template"]["spec"]["containers"][0]["command"] = [
        "sh",
        "-c",
        f"{wait}; exec tail -f /dev/null",
    ]
    start = time.time()
    cluster.apply("bench", NGINX, service("nginx", "nginx"), json.dumps(client))

    def told() -> list[str]:
        return cluster.try_kubectl("logs", "-n", "bench", "deploy/toolbox").stdout.split()

    answered = float(eventually(told, seconds=90)[0])
    first = Figure("first meshed 200 after kubectl apply", answered - start, 4, "s")
    cluster.roll_out("bench", "nginx-deployment", "toolbox")
    cluster.kubectl("scale", "-n", "bench", "deployment/nginx-deployment", "--replicas=4")
    cluster.roll_out("bench", "nginx-deployment")
    time.sleep(2)
    console.print(f"changing a VirtualService {CHANGES} times for five proxies")
    times = [change(cluster, number) for number in range(CHANGES)]
    return [first, Figure("VirtualService change to every proxy's ACK (median)", median(times) * 1000, 20, "ms")]


def change(cluster: Cluster, number: int) -> float:
    """Seconds from the control plane's notice of a change to its ACK, the mean over the proxies."""
    before = convergence(cluster)
    route = {"route": [{"destination": {"host": "nginx"}}], "timeout": f"{number + 1}s"}
    cluster.apply("bench", virtual_service("nginx", route))
    after = eventually(lambda: (now := convergence(cluster))[1] > before[1] and now)
    return (after[0] - before[0]) / (after[1] - before[1])


def convergence(cluster: Cluster) -> tuple[float, int]:
    command = ["weft", "controlplane", "request", "GET", "/metrics"]
    text = cluster.kubectl("exec", "-n", "istio-system", "deploy/istiod", "--", *command)
    found = {
        name: float(value)
        for name, value in re.findall(r"^pilot_proxy_convergence_time_(sum|count) (\S+)$", text, re.MULTILINE)
    }
    return float(found["sum"]), int(found["count"])


if __name__ == "__main__":
    main()
