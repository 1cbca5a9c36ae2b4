"""The control plane alone: a thousand services, two hundred proxies that only confirm, one change after the other.

The proxies live in a process of their own and read of a response no more than its type and nonce, so that what is
measured is the control plane. Goals are what prototypes reached that had no model: only encoding and streams.
REBUILT counts the resources that a change made anew, over all proxies. `python -m bench.controlplane` prints them.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table
from tests.model.objects import endpoint, endpoint_slice, pod, port, service, virtual_service

from weft.adapters.grpc_server import Server
from weft.model.snapshot import Snapshot
from weft.model.store import Store
from weft.processes.controlplane.configuring import Configurer
from weft.processes.controlplane.discovery import Discovery
from weft.processes.controlplane.metrics import Metrics
from weft.xds.generate import Generator

SERVICES, PROXIES, NAMESPACES, DEPENDENCIES = 1000, 200, 10, 10
CHANGES = 15
ADDRESS = "127.0.0.1:15999"
Json = dict[str, Any]


@dataclass
class Goals:
    """What prototypes reached: milliseconds from a change to the last confirmation, seconds, MiB."""

    endpoint: float
    route: float
    service: float
    cold: float
    memory: float


FULL = Goals(endpoint=12, route=39, service=71, cold=1.3, memory=90)
SCOPED = Goals(endpoint=0.7, route=0.7, service=1.1, cold=0.15, memory=79)


@dataclass
class Result:
    """Times in seconds; `rebuilt` counts the resources that a change of a kind made anew, over all proxies."""

    cold: float = 0.0
    times: dict[str, list[float]] = field(default_factory=dict)
    rebuilt: dict[str, int] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    memory: float = 0.0
    resources: int = 0


def main(console: Console) -> None:
    """Measure both meshes, each in a process of its own so that memory is its own too."""
    for title, scope, goals in (("everything", "", FULL), (f"{DEPENDENCIES} dependencies", "scoped", SCOPED)):
        console.print(f"measuring {PROXIES} proxies that get {title}")
        done = subprocess.run(
            [sys.executable, "-m", "bench.controlplane", "measure", scope],
            stdout=subprocess.PIPE,
            check=True,
            timeout=300,
            text=True,
        )
        console.print(_table(title, Result(**json.loads(done.stdout)), goals))


def _table(title: str, result: Result, goals: Goals) -> Table:
    table = Table(title=f"{SERVICES} services, {PROXIES} proxies that get {title}", title_justify="left")
    for column in ("FIGURE", "VALUE", "GOAL", "VALUE / GOAL", "CPU", "REBUILT"):
        table.add_column(column, justify="left" if column == "FIGURE" else "right")
    rows = [("cold start", result.cold, goals.cold, "s", "", f"{result.resources}")]
    for kind, goal in (("endpoint", goals.endpoint), ("route", goals.route), ("service", goals.service)):
        took, cpu = median(result.times[kind]) * 1000, f"{result.cpu[kind] * 1000:.1f} ms"
        rows.append((f"{kind} change", took, goal, "ms", cpu, str(result.rebuilt[kind])))
    rows.append(("memory", result.memory, goals.memory, "MiB", "", ""))
    for what, value, goal, unit, cpu, rebuilt in rows:
        table.add_row(what, f"{value:.4g} {unit}", f"{goal:g} {unit}", f"{value / goal:.2f}", cpu, rebuilt)
    return table


def objects() -> list[Json]:
    """Services with ten endpoints each, spread over the namespaces."""
    found: list[Json] = []
    for number in range(SERVICES):
        found += one_service(number)
    return found


def one_service(number: int) -> list[Json]:
    """A service, its pods and its endpoints."""
    name, space = f"svc-{number}", f"ns-{number % NAMESPACES}"
    address = f"10.{100 + number // 250}.{number % 250}.1"
    pods = [(f"{name}-{index}", f"10.{10 + number // 250}.{number % 250}.{index + 1}") for index in range(10)]
    ends = []
    for pod_name, ip in pods:
        end = endpoint(ip, pod_name)
        end["targetRef"]["namespace"] = space
        ends.append(end)
    return [
        service(name, space, port(80, "http", 8080), clusterIP=address, clusterIPs=[address]),
        *(pod(pod_name, ip, space, app=name) for pod_name, ip in pods),
        endpoint_slice(name, *ends, namespace=space),
    ]


def sidecar(space: str) -> Json:
    """The scope of a namespace: ten services of its own."""
    number = int(space.partition("-")[2])
    first = [number + NAMESPACES * each for each in range(DEPENDENCIES)]
    # and those that are to come
    later = [SERVICES + NAMESPACES * each for each in range(CHANGES)] if number == 0 else []
    hosts = [f"./svc-{each}.{space}.svc.cluster.local" for each in (*first, *later)]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Sidecar",
        "metadata": {"name": "default", "namespace": space},
        "spec": {"egress": [{"hosts": hosts}]},
    }


class Recorder(Metrics):
    """Keeps how long each confirmation took, in seconds from the change."""

    def __init__(self) -> None:
        super().__init__()
        self.confirmed: list[float] = []

    def converged(self, seconds: float) -> None:
        self.confirmed.append(seconds)


class Bench:
    """A control plane without watches: changes are given to its store."""

    def __init__(self, *, scoped: bool) -> None:
        self.store, self.recorder = Store(), Recorder()
        self.pushed = asyncio.Event()
        for each in objects():
            self.store.apply(each["kind"], each)
        for number in range(NAMESPACES if scoped else 0):
            self.store.apply("Sidecar", sidecar(f"ns-{number}"))
        self.discovery: Discovery[Snapshot] = Discovery(
            source=self.store.snapshot,
            configure=Configurer(Generator()),
            identify=_nobody,
            metrics=self.recorder,
            monotonic=time.monotonic,
        )

    async def run(self) -> Result:
        result = Result()
        server = Server()
        self.discovery.serve(server)
        server.listen(ADDRESS)
        await server.start()
        pushing = asyncio.create_task(self.discovery.run(on_push=self.pushed.set))
        clients = subprocess.Popen(  # noqa: ASYNC220  # it starts once, before anything is measured
            [sys.executable, "-m", "bench.fake_proxies", ADDRESS, str(PROXIES), str(NAMESPACES)]
        )
        try:
            while len(self.discovery.connections) < 1:
                await asyncio.sleep(0.002)
            began = time.monotonic()
            self.discovery.changed()
            while len(self.discovery.connections) < PROXIES or not self._settled():
                await asyncio.sleep(0.002)
            result.cold = time.monotonic() - began
            result.resources = len(self._resources())
            for kind, change in (("endpoint", self._endpoint), ("route", self._route), ("service", self._service)):
                await self._measure(result, kind, change)
            result.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        finally:
            clients.terminate()
            clients.wait(10)
            pushing.cancel()
            await server.stop()
        return result

    async def _measure(self, result: Result, kind: str, change: Callable[[int], None]) -> None:
        times, spent, rebuilt = [], 0.0, 0
        for number in range(CHANGES):
            before = self._resources()
            await asyncio.sleep(0.02)
            self.pushed.clear()
            self.recorder.confirmed.clear()
            cpu = time.process_time()
            change(number)
            self.discovery.changed()
            await self.pushed.wait()
            while not self._settled():
                await asyncio.sleep(0.001)
            spent += time.process_time() - cpu
            times.append(max(self.recorder.confirmed))
            rebuilt += len(self._resources() - before)
        result.times[kind] = times
        result.cpu[kind] = spent / CHANGES
        result.rebuilt[kind] = round(rebuilt / CHANGES)

    def _settled(self) -> bool:
        return all(each.settled for each in self.discovery.connections)

    def _resources(self) -> set[tuple[str, str, int]]:
        """All resources that exist for some proxy, each once. Equal ones that were built twice count twice."""
        found = set()
        for each in self.discovery.connections:
            for kind, listed in (self.discovery.resources_of(each.client.name) or {}).items():
                found |= {(kind, one.name, id(one)) for one in listed.values()}
        return found

    def _endpoint(self, number: int) -> None:
        """One of the endpoints of a service becomes unready, or ready again."""
        *_, slices = one_service(0)
        slices["endpoints"][0]["conditions"] = {"ready": bool(number % 2)}
        self.store.apply("EndpointSlice", slices)

    def _route(self, number: int) -> None:
        way = {"route": [{"destination": {"host": "svc-0"}}], "timeout": f"{number + 1}s"}
        self.store.apply("VirtualService", virtual_service("svc-0", way, namespace="ns-0"))

    def _service(self, number: int) -> None:
        """A new service in a namespace, as everybody sees it."""
        for each in one_service(SERVICES + number * NAMESPACES):
            self.store.apply(each["kind"], each)


async def _nobody(_: object) -> None:
    return None


def measure(scope: str) -> None:
    print(json.dumps(asyncio.run(Bench(scoped=bool(scope)).run()).__dict__))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    if sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2])
    else:
        main(Console())
