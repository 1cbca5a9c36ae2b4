"""Two nodes with two pods each, in network namespaces of the test's own."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from weft.adapters import netlink, netns
from weft.cluster.machine import network, removal
from weft.cluster.machine.layout import Layout

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Place:
    """A namespace and its address."""

    namespace: str
    ip: str

    def run(self, *command: str, text: str | None = None, seconds: float = 10) -> subprocess.CompletedProcess[str]:
        words = [*netns.enter(self.namespace), *command]
        return subprocess.run(words, input=text, capture_output=True, text=True, timeout=seconds, check=False)

    @contextlib.contextmanager
    def serving(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen([*netns.enter(self.namespace), *command])
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Lan:
    """The machine, its nodes, and the pods: `pods[0:2]` on the first node, `pods[2:4]` on the second."""

    layout: Layout
    machine: Place
    nodes: tuple[Place, Place]
    pods: tuple[Place, ...]


def add_pod(layout: Layout, node_index: int, name: str, index: int) -> Place:
    """A pod as the CNI plugin `ptp` makes it: a pair of links, routed."""
    node = layout.nodes[node_index]
    ip = str(node.pods[10 + index])
    gateway = str(node.pods[1])
    netlink.batch([f"netns add {name}"])
    netlink.batch(
        [
            f"link add v{index} type veth peer name eth0 netns {name}",
            f"addr add {gateway}/32 dev v{index}",
            f"link set v{index} up",
            f"route add {ip}/32 dev v{index}",
        ],
        namespace=node.namespace,
    )
    netlink.batch(
        [
            "link set lo up",
            f"addr add {ip}/32 dev eth0",
            "link set eth0 up",
            f"route add {gateway}/32 dev eth0 scope link",
            f"route add default via {gateway} dev eth0",
        ],
        namespace=name,
    )
    return Place(name, ip)


@pytest.fixture(scope="module")
def lan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lan]:
    home: Path = tmp_path_factory.mktemp("lan")
    layout = Layout(home, node_count=2, run_root=home / "run")
    outer = f"{layout.tag}-outer"
    pods = [f"{layout.tag}-pod{number}" for number in range(4)]
    try:
        netlink.batch([f"netns add {outer}"])
        netlink.batch(["link set lo up"], namespace=outer)
        netns.inside(outer, lambda: network.ensure(layout))
        yield Lan(
            layout,
            Place(outer, str(layout.machine_ip)),
            (
                Place(layout.nodes[0].namespace, str(layout.nodes[0].ip)),
                Place(layout.nodes[1].namespace, str(layout.nodes[1].ip)),
            ),
            tuple(add_pod(layout, number // 2, name, number) for number, name in enumerate(pods)),
        )
    finally:
        # all of these names begin with the layout's tag, so this takes pods and machine too
        removal.remove(layout, data=False)


def call(
    place: Place, ip: str = "10.96.0.50", *, port: int = 80, count: int = 1, protocol: str = "tcp"
) -> Sequence[str]:
    words = (sys.executable, str(HERE / "call.py"), protocol, ip, str(port), str(count), "new")
    done = place.run(*words, seconds=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def servers(lan: Lan) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for number, pod in enumerate(lan.pods):
            words = (sys.executable, str(HERE / "echo.py"), f"pod{number}", pod.ip, "8080", "8053")
            stack.enter_context(pod.serving(*words))
        for pod in lan.pods:
            deadline = time.monotonic() + 10
            while call(lan.machine, pod.ip, port=8080)[0].split()[0] != f"pod{lan.pods.index(pod)}":
                assert time.monotonic() < deadline, pod
                time.sleep(0.05)
        yield
