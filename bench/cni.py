"""What the CNI plugin adds to the start of a pod: ADD from the start of the program to its end, and its parts.

Beside it: a process that does nothing, and rules written by a process for each, as plugins used to do.
`python -m bench.cni` prints the table.
"""

import asyncio
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple, TypeVar

from rich.console import Console
from rich.table import Table
from tests.processes.cni.api import NODE, Json, serving
from tests.processes.cni.node import injected
from tests.processes.cni.plugins import BEFORE, attachment

from weft import cni_plugin
from weft.adapters import clock
from weft.adapters.kube.client import Kube
from weft.processes.cni.attaching import Attaching
from weft.processes.cni.metrics import Histogram, Registry
from weft.processes.cni.pods import Pods
from weft.processes.cni.telling import Teller
from weft.redirect import render
from weft.redirect.plan import plan
from weft.redirect.pod import capture

COUNT, FEW = 100, 10
PROGRAMS = {"python": cni_plugin.PYTHON, "self-contained": cni_plugin.SELF_CONTAINED}
POD = "web"
GOAL = 10.0
"""Milliseconds of the program by itself, its call of the node process included."""


T = TypeVar("T")


class Figure(NamedTuple):
    """Milliseconds."""

    what: str
    samples: list[float]


class Noted(Histogram):
    """A histogram that keeps what it was told."""

    def __init__(self) -> None:
        super().__init__("noted", "", "command", "part")
        self.samples: dict[tuple[str, ...], list[float]] = {}

    def took(self, seconds: float, *values: str) -> None:
        self.samples.setdefault(values, []).append(seconds * 1000)


class Registered(Registry):
    def __init__(self) -> None:
        super().__init__()
        self.noted = Noted()

    def histogram(self, name: str, text: str, *labels: str) -> Histogram:  # noqa: ARG002 -- there is but one
        return self.noted


def main(folder: Path, console: Console) -> None:
    """Measure, and print the table."""
    console.print(f"adding {COUNT} pods each way")
    figures = asyncio.run(_measure(folder))
    table = Table(title="The CNI plugin: ADD of one pod", title_justify="left")
    for column in ("FIGURE", "P50", "P99"):
        table.add_column(column, justify="left" if column == "FIGURE" else "right")
    for figure in figures:
        high = quantiles(figure.samples, n=100)[98]
        table.add_row(figure.what, f"{median(figure.samples):.3g} ms", f"{high:.3g} ms")
    console.print(table)
    console.print(f"goal: {GOAL:g} ms for the program and its call (STATUS)")


async def _measure(folder: Path) -> list[Figure]:
    (folder / "run").mkdir()
    async with serving(folder) as kube:
        await injected(kube, POD)
        figures = [Figure("a process that does nothing (true)", await _in_thread(lambda: _true(COUNT)))]
        for program in PROGRAMS:
            for native in (False, True):
                figures += await _program(kube, folder / "run", program, native=native)
        return [*figures, Figure("rules by a process for each, without a plugin", await _in_thread(_one_by_one))]


async def _program(kube: Kube, folder: Path, program: str, *, native: bool) -> list[Figure]:
    registry, pods, teller = Registered(), Pods(kube, NODE), Teller(kube, NODE, clock.now)
    attaching = Attaching(
        pods, teller, registry, time.monotonic, namespace="istio-system", excluded=frozenset(), native=native
    )
    following = asyncio.create_task(pods.run())
    await pods.synced.wait()
    config: Json = {"cniVersion": "1.1.0", "type": "istio-cni", "cni_agent_run_dir": str(folder)}
    config |= {"prevResult": BEFORE, "exclude_namespaces": ["kube-system"], "plugin_log_level": "none"}
    text, path = json.dumps(config).encode(), PROGRAMS[program]

    def calls() -> list[Figure]:
        name = f"{program}: "
        if native:
            return [Figure(f"{name}ADD, rules by nftables", _adds(path, text))]
        none = attachment("kube-system", "dns")
        return [
            Figure(
                f"{name}VERSION, which is the program alone",
                [_call(path, "VERSION", text, {}) for _ in range(COUNT)],
            ),
            Figure(
                f"{name}STATUS, which is the program and the wire",
                [_call(path, "STATUS", text, {}) for _ in range(COUNT)],
            ),
            Figure(
                f"{name}ADD of a pod that is left alone", [_call(path, "ADD", text, none) for _ in range(COUNT)]
            ),
            Figure(f"{name}ADD, rules by iptables", _adds(path, text)),
        ]

    async with attaching.serving(folder):
        figures = await _in_thread(calls)
    following.cancel()
    await asyncio.wait([following])
    samples = registry.noted.samples
    return [
        *figures,
        Figure("  of this the node process finds the pod in", samples["ADD", "pod"]),
        Figure("  and writes the rules in", samples["ADD", "rules"]),
    ]


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


def _true(count: int) -> list[float]:
    return [_call(Path("/bin/true"), "ADD", b"", {}) for _ in range(count)]


def _adds(program: Path, text: bytes) -> list[float]:
    with _namespaces(COUNT) as made:
        return [_call(program, "ADD", text, attachment("shop", POD, netns=f"/run/netns/{name}")) for name in made]


def _call(program: Path, command: str, text: bytes, variables: dict[str, str]) -> float:
    """Milliseconds from the start of a program to its end."""
    environment = {"CNI_COMMAND": command} | {f"CNI_{name}": value for name, value in variables.items()}
    start = time.monotonic()
    done = subprocess.run([program], input=text, capture_output=True, env=environment, check=False, timeout=90)
    spent = (time.monotonic() - start) * 1000
    assert done.returncode == 0, done
    return spent


def _one_by_one() -> list[float]:
    spent = []
    commands = list(_commands())
    with _namespaces(FEW) as made:
        for name in made:
            start = time.monotonic()
            for command in commands:
                inside = ["nsenter", f"--net=/run/netns/{name}", *command]
                subprocess.run(inside, check=True, capture_output=True, timeout=30)
            spent.append((time.monotonic() - start) * 1000)
    return spent


def _commands() -> Iterator[list[str]]:
    """What makes the pod's rules with iptables(8): a command for each chain and each rule."""
    pod = {"metadata": {"annotations": {}}, "spec": {"containers": [{"name": "istio-proxy"}]}}
    table = ""
    for line in render.explanation(plan(capture(pod))).splitlines():
        match line[0]:
            case "*":
                table = line[1:]
            case ":":
                yield ["iptables", "-w", "-t", table, "-N", line[1:].split()[0]]
            case "-":
                yield ["iptables", "-w", "-t", table, *line.split()]


@contextmanager
def _namespaces(count: int) -> Iterator[list[str]]:
    """New namespaces, with loopback up."""
    names = [f"weft-bench-{number}" for number in range(count)]
    try:
        _ip(*(f"netns add {name}" for name in names))
        for name in names:
            subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True, timeout=10)
        yield names
    finally:
        _ip(*(f"netns del {name}" for name in names))


def _ip(*lines: str) -> None:
    subprocess.run(["ip", "-force", "-batch", "-"], input="\n".join(lines), text=True, check=True, timeout=60)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary), Console())
