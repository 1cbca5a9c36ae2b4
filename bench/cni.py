"""What the CNI plugin adds to the start of a pod: ADD from the start of the program to its end, and its parts.

Beside it: a process that does nothing, and rules written by a process for each, as plugins used to do. And what
the node process costs on a node of many pods.
`python -m bench.cni` prints the table.
"""

import asyncio
import json
import os
import subprocess
import sys
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
from tests.support.cluster import eventually
from tests.support.ports import free_port

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

COUNT, FEW, REST_SECONDS = 100, 10, 5
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
    for what, value, unit in asyncio.run(_node_process(folder)):
        console.print(f"the node process with {COUNT} pods: {what} {value:.3g} {unit}")
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
                f"{name}VERSION: the program alone",
                [_call(path, "VERSION", text, {}) for _ in range(COUNT)],
            ),
            Figure(
                f"{name}STATUS: the program and the wire",
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


async def _node_process(folder: Path) -> list[tuple[str, float, str]]:
    """What `weft install-cni` takes: at rest, and for each pod of the mesh that starts."""
    home, run = folder / "node", folder / "node" / "run"
    (home / "net.d").mkdir(parents=True)
    async with serving(folder / "api") as kube:
        for number in range(COUNT):
            await injected(kube, f"{POD}-{number}")
        command = [sys.executable, "-m", "weft", "install-cni", "--kubeconfig", str(folder / "api" / "kubeconfig")]
        command += ["--node-name", NODE, "--mounted-cni-net-dir", str(home / "net.d")]
        command += ["--mounted-cni-bin-dir", str(home / "bin"), "--mounted-cni-agent-run-dir", str(run)]
        command += ["--health-port", str(free_port()), "--monitoring-port", str(free_port())]
        command += ["--host-proc", "/proc", "--repair-enabled", "false"]
        # it takes a moment, in which the API server has nothing to do
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:  # noqa: ASYNC220
            try:
                return await _in_thread(lambda: _costs(process.pid, run))
            finally:
                process.terminate()


def _costs(pid: int, run: Path) -> list[tuple[str, float, str]]:
    text = json.dumps({"cniVersion": "1.1.0", "cni_agent_run_dir": str(run), "plugin_log_level": "none"}).encode()
    program = PROGRAMS["self-contained"]
    eventually(lambda: _run(program, "STATUS", text, {}).returncode == 0)
    time.sleep(REST_SECONDS)
    before = _processor(pid)
    time.sleep(REST_SECONDS)
    resting = (_processor(pid) - before) / REST_SECONDS
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    memory = int(next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1]) / 1024
    before = _processor(pid)
    with _namespaces(COUNT) as made:
        for number, name in enumerate(made):
            _call(program, "ADD", text, attachment("shop", f"{POD}-{number}", netns=f"/run/netns/{name}"))
    adding = (_processor(pid) - before) / COUNT
    return [
        ("memory (PSS)", memory, "MiB"),
        ("processor at rest", resting * 100, "% of one"),
        ("processor for one ADD, with its iptables", adding * 1000, "ms"),
    ]


def _processor(pid: int) -> float:
    """Seconds that a process and its children that have ended have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


def _true(count: int) -> list[float]:
    return [_call(Path("/bin/true"), "ADD", b"", {}) for _ in range(count)]


def _adds(program: Path, text: bytes) -> list[float]:
    with _namespaces(COUNT) as made:
        return [_call(program, "ADD", text, attachment("shop", POD, netns=f"/run/netns/{name}")) for name in made]


def _call(program: Path, command: str, text: bytes, variables: dict[str, str]) -> float:
    """Milliseconds from the start of a program to its end."""
    start = time.monotonic()
    done = _run(program, command, text, variables)
    spent = (time.monotonic() - start) * 1000
    assert done.returncode == 0, done
    return spent


def _run(
    program: Path, command: str, text: bytes, variables: dict[str, str]
) -> "subprocess.CompletedProcess[bytes]":
    environment = {"CNI_COMMAND": command} | {f"CNI_{name}": value for name, value in variables.items()}
    return subprocess.run([program], input=text, capture_output=True, env=environment, check=False, timeout=90)


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
