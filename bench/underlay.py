"""What an address of a pool costs: of one pod at a time, and of as many pods at once as there are addresses.

The API server is a process of its own; three nodes' IPAM share one more, so that what is measured are calls as a
node answers them. `python -m bench.underlay` prints the table.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from tests.processes.underlay import ipam_api as api
from tests.processes.underlay.ipam_node import Node, running

from weft.adapters.kube.client import Kube
from weft.processes.underlay import settings
from weft.underlay.ipam import annotations

MANY, ALONE = 300, 50
NODES = ("node-1", "node-2", "node-3")
GOAL = 20.0
"""Milliseconds of an ADD by itself: upstream's, with macvlan, is 90 to 160."""

Json = dict[str, Any]


class Figure(NamedTuple):
    """Milliseconds."""

    what: str
    samples: list[float]


class Parts:
    """How long the parts of calls took, in milliseconds."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.samples: dict[str, list[float]] = {}
        for node in nodes:
            endpoints, leasing = node.ipam._endpoints, node.ipam._leasing  # noqa: SLF001 -- parts are inside
            self._time(endpoints, "find", "the pod's endpoint is looked for")
            self._time(leasing, "lease", "an address is found, and written into the pool")
            self._time(endpoints, "note", "the endpoint is written")

    def _time(self, whose: object, name: str, what: str) -> None:
        work = getattr(whose, name)

        async def timed(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return await work(*arguments)
            finally:
                self.samples.setdefault(what, []).append((time.perf_counter() - began) * 1000)

        setattr(whose, name, timed)


def main(folder: Path, console: Console) -> None:
    """Measure, and print the table."""
    console.print(f"giving {MANY} pods on {len(NODES)} nodes the {MANY} addresses of a pool, and taking them back")
    figures, rates = asyncio.run(_measure(folder))
    table = Table(title="IPAM: addresses of pods", title_justify="left")
    for column in ("FIGURE", "P50", "P99"):
        table.add_column(column, justify="left" if column == "FIGURE" else "right")
    for figure in figures:
        high = quantiles(figure.samples, n=100)[98]
        table.add_row(figure.what, f"{median(figure.samples):.3g} ms", f"{high:.3g} ms")
    console.print(table)
    for what, value in rates:
        console.print(f"{what}: {value:.3g}")
    console.print(f"goal: {GOAL:g} ms for one ADD by itself")


async def _measure(folder: Path) -> tuple[list[Figure], list[tuple[str, float]]]:
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(_served(folder))
        await api.pool(kube, "pool", f"10.6.0.2-10.6.{(MANY + 1) // 256}.{(MANY + 1) % 256}", gateway="10.6.255.1")
        nodes = [
            await stack.enter_async_context(
                running(kube, folder / "kubeconfig", name, "--spiderpool-ip-rest-seconds", "0")
            )
            for name in NODES
        ]
        wish = {annotations.IPPOOL: '{"ipv4":["pool"]}'}
        pods = [await api.pod(kube, f"pod-{each}", NODES[each % 3], wish) for each in range(MANY)]
        alone = [await _timed(lambda pod=pod: nodes[0].add(pod)) for pod in pods[: ALONE * 3 : 3]]
        for pod in pods[: ALONE * 3 : 3]:
            await api.end(kube, pod)
            await nodes[0].delete(pod)
            await api.gone(kube, pod)
        pods[: ALONE * 3 : 3] = [await api.pod(kube, f"new-{each}", NODES[0], wish) for each in range(ALONE)]
        before, parts, began = _writes(nodes), Parts(nodes), time.perf_counter()
        adds = await asyncio.gather(
            *(_timed(lambda place=place, pod=pod: nodes[place % 3].add(pod)) for place, pod in enumerate(pods))
        )
        added, taken = time.perf_counter() - began, len(await api.taken(kube, "pool"))
        assert taken == MANY, taken
        written = _writes(nodes)
        for pod in pods:
            await api.end(kube, pod)
        began = time.perf_counter()
        deletes = await asyncio.gather(
            *(_timed(lambda place=place, pod=pod: nodes[place % 3].delete(pod)) for place, pod in enumerate(pods))
        )
        deleted = time.perf_counter() - began
        assert await api.taken(kube, "pool") == {}
        return (
            [
                Figure("ADD of one pod after the other", alone),
                Figure(f"ADD of {MANY} pods at once", [*adds]),
                *(Figure(f"  {what}", samples) for what, samples in parts.samples.items()),
                Figure(f"DEL of {MANY} pods at once", [*deletes]),
            ],
            [
                (f"addresses given per second ({MANY} pods in {added:.2f} s)", MANY / added),
                (f"addresses taken back per second ({MANY} pods in {deleted:.2f} s)", MANY / deleted),
                ("pods per write of the pool, ADD", MANY / max(written - before, 1)),
                ("pods per write of the pool, DEL", MANY / max(_writes(nodes) - written, 1)),
            ],
        )


@asynccontextmanager
async def _served(folder: Path) -> AsyncIterator[Kube]:
    """An API server in a process of its own."""
    words = (sys.executable, "-m", "tests.processes.underlay.ipam_api", str(folder), *NODES)
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe)
    assert server.stdin is not None
    assert server.stdout is not None
    assert await server.stdout.readline()
    access = settings.parse(["--kubeconfig", str(folder / "kubeconfig")], {}, host="bench").api.access()
    try:
        async with Kube(access) as kube:
            yield kube
    finally:
        server.stdin.close()
        await server.wait()


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1000


def _writes(nodes: Sequence[Node]) -> int:
    name = "spiderpool_ipam_pool_writes_total "
    lines = [line for node in nodes for line in node.registry.text().splitlines() if line.startswith(name)]
    return sum(int(line.removeprefix(name)) for line in lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary), Console())
