"""Two nodes on an underlay LAN and on a network of their own, a client on the LAN, a gateway and a host behind it.

Everything is a network namespace. Servers and clients are sockets of this process that were opened in one. Pods
get their interfaces by the real plugins, and our coordinator behind them.
"""

import json
import os
import selectors
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from weft.adapters import netns, pod_network
from weft.api.spider_coordinator import CoordinatorSpec, CoordinatorStatus, SpiderCoordinator
from weft.processes.underlay.coordinating import Coordinator
from weft.processes.underlay.plugins import Call
from weft.underlay.observed import Observed

PORT = 8080
NODE_PORT = 30080
SERVICE = {4: "10.96.0.10", 6: "fd00:96::10"}
CLIENT = {4: "10.6.0.50", 6: "fd00:6::50"}
OUTSIDE = {4: "10.7.212.101", 6: "fd00:7::101"}
GATEWAY = {4: "10.6.0.1", 6: "fd00:6::1"}
NODES: Mapping[str, Mapping[int, str]] = {
    "one": {4: "10.6.0.11", 6: "fd00:6::11"},
    "two": {4: "10.6.0.12", 6: "fd00:6::12"},
}
STATUS = CoordinatorStatus(
    phase="Synced",
    overlay_pod_cidr=("10.244.0.0/16", "fd00:244::/32"),
    service_cidr=("10.96.0.0/16", "fd00:96::/64"),
)
_PLACES = ("lan", "one", "two", "client", "gateway", "outside")
_LAN = """
link add lan type bridge
link add far type bridge
link add nodes type bridge
link set lan up
link set far up
link set nodes up
"""
_NO_WAITING = "net/ipv6/conf/default/accept_dad"
"""Set to 0 nobody waits for others that have the same address."""
_ALL = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")


@dataclass
class Pod:
    """A pod of a node. `results` has what was given for each interface, in order."""

    scene: "Scene"
    node: str
    name: str
    namespace: str
    results: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = field(default_factory=dict)
    addresses: dict[str, dict[int, str]] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def container(self) -> str:
        """A container id as runtimes give them."""
        return (self.name * 64).encode().hex()[:64]

    def call(self, command: str, interface: str, **config: Any) -> Call:
        """A call of the coordinator for an interface, behind what was made before."""
        previous = self.results[interface][1] if interface in self.results else None
        before = {"prevResult": previous} if previous else {}
        return Call(
            command,
            self.container,
            interface,
            f"/run/netns/{self.namespace}",
            "/var/run/netns/cni-1",
            "shop",
            self.name,
            "",
            {"name": "lan", "type": "coordinator", **before, **config},
        )

    def plug(self, interface: str, config: Mapping[str, Any], addresses: Sequence[str]) -> None:
        """Make an interface by a real plugin, with these addresses (and their LAN's gateways)."""
        ipam = {
            "type": "static",
            "addresses": [{"address": each, "gateway": _gateway(each, self.node)} for each in addresses],
            "routes": [{"dst": "::/0" if ":" in each else "0.0.0.0/0"} for each in addresses],
        }
        whole = {"cniVersion": "1.0.0", "name": "lan", **config, "ipam": ipam}
        result = self._plugin("ADD", interface, whole)
        self.results[interface] = (whole, json.loads(result))
        found = [each.partition("/")[0] for each in addresses]
        self.addresses[interface] = {ip_address(each).version: each for each in found}

    def unplug(self, interface: str) -> None:
        """Take it away."""
        whole, result = self.results.pop(interface)
        self._plugin("DEL", interface, {**whole, "prevResult": result})

    def _plugin(self, command: str, interface: str, config: Mapping[str, Any]) -> str:
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": self.container,
            "CNI_NETNS": f"/run/netns/{self.namespace}",
            "CNI_IFNAME": interface,
            "CNI_PATH": "/usr/lib/cni",
        }

        def work() -> subprocess.CompletedProcess[str]:
            # a child is in the namespace of the thread that makes it
            return subprocess.run(
                [f"/usr/lib/cni/{config['type']}"],
                input=json.dumps(config),
                env=os.environ | variables,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        done = netns.inside(self.scene.places[self.node], work)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def look(self) -> Observed:
        """What the pod has."""
        return pod_network.look(self.namespace)


@dataclass
class Scene:
    """The places, by the names of their namespaces, and what the cluster says of coordinators."""

    places: dict[str, str]
    mark: str
    spec: CoordinatorSpec = field(default_factory=CoordinatorSpec)
    pods: dict[str, Pod] = field(default_factory=dict)
    servers: "Servers" = field(default_factory=lambda: Servers())  # noqa: PLW0108 -- it is below

    def coordinator(self, node: str) -> Coordinator:
        """The plugin of a node's process."""

        async def annotations(call: Call) -> Mapping[str, str]:
            return self.pods[call.name].annotations

        return Coordinator(
            lambda: SpiderCoordinator(spec=self.spec, status=STATUS), annotations, node=self.places[node]
        )

    def pod(self, node: str, name: str) -> Pod:
        """A new pod without interfaces."""
        pod = Pod(self, node, name, f"{self.mark}-{name}")
        _ip("netns", "add", pod.namespace)
        self.pods[name] = pod

        def begin() -> None:
            batch("link set lo up")
            for path in (_NO_WAITING, "net/ipv4/conf/all/rp_filter"):
                (pod_network.SYSCTLS / path).write_text("0", encoding="utf-8")

        netns.inside(pod.namespace, begin)
        self.servers.serve(pod.namespace)
        return pod

    def remove(self, pod: Pod) -> None:
        """The pod's namespace goes, with what is in it; the kernel takes the node's ends away in its own time."""
        made = [each for _, result in pod.results.values() for each in result.get("interfaces", ())]
        ends = {each["name"] for each in made if not each.get("sandbox")} | {f"veth{pod.container[:11]}"}
        self.servers.close(pod.namespace)
        _ip("netns", "del", pod.namespace)
        del self.pods[pod.name]
        deadline = time.monotonic() + 30
        while not ends.isdisjoint(each.name for each in self.node_seen(pod.node).links):
            assert time.monotonic() < deadline, f"of {ends} some stay"
            time.sleep(0.02)

    def node_seen(self, node: str) -> Observed:
        """What a node has."""
        return pod_network.look(self.places[node])

    def at(self, place: str) -> str:
        """The namespace of a place or pod."""
        return self.pods[place].namespace if place in self.pods else self.places[place]

    def ask(self, place: str, address: str, port: int = PORT, *, source: str = "", seconds: float = 20.0) -> str:
        """Connect from a place; the address that the server saw, "" where nothing came back."""

        def asking() -> str:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as client:
                client.settimeout(seconds)
                if source:
                    client.bind((source, 0))
                try:
                    client.connect((address, port))
                    return client.recv(100).decode()
                except TimeoutError:
                    return ""

        return netns.inside(self.at(place), asking)

    def nft(self, place: str, text: str) -> None:
        """Rules of a place."""
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.at(place)}", "nft", "-f", "-"],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr


class Servers:
    """Listeners in namespaces; each connection is told the address that it comes from, and closed."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._listeners: dict[str, list[socket.socket]] = {}
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="servers")
        self._thread.start()

    def serve(self, namespace: str, port: int = PORT) -> None:
        """Listen there."""
        listener = netns.inside(
            namespace,
            lambda: socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64),
        )
        listener.settimeout(0)
        with self._lock:
            self._listeners.setdefault(namespace, []).append(listener)
            self._selector.register(listener, selectors.EVENT_READ)

    def close(self, namespace: str) -> None:
        """Listen there no more."""
        with self._lock:
            for listener in self._listeners.pop(namespace, ()):
                self._selector.unregister(listener)
                listener.close()

    def end(self) -> None:
        """Close all."""
        self._ending = True
        self._thread.join(30)
        for namespace in list(self._listeners):
            self.close(namespace)
        self._selector.close()

    def _run(self) -> None:
        while not self._ending:
            for key, _ in self._selector.select(0.05):
                with self._lock:
                    self._answer(key.fileobj)

    def _answer(self, listener: Any) -> None:
        try:
            connection, peer = listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(5)
            ip = ip_address(peer[0])
            connection.sendall(str(getattr(ip, "ipv4_mapped", None) or ip).encode())


@contextmanager
def running() -> Iterator[Scene]:
    """The whole scene; all of it goes at the end."""
    mark = f"weft-u{os.getpid():x}"
    scene = Scene({place: f"{mark}-{place}" for place in _PLACES}, mark)
    try:
        for place in scene.places.values():
            _ip("netns", "add", place)
            netns.inside(place, lambda: batch("link set lo up"))
        _build(scene)
        for place in ("one", "two", "client", "outside"):
            scene.servers.serve(scene.places[place])
        yield scene
    finally:
        scene.servers.end()
        for place in (*scene.places.values(), *(pod.namespace for pod in scene.pods.values())):
            subprocess.run(["ip", "netns", "del", place], check=False, capture_output=True, timeout=60)


def _build(scene: Scene) -> None:
    lines = [_LAN.strip()]
    wires = (
        ("one", "ens192", "lan"),
        ("two", "ens192", "lan"),
        ("client", "eth0", "lan"),
        ("gateway", "eth0", "lan"),
        ("gateway", "eth1", "far"),
        ("outside", "eth0", "far"),
        ("one", "eth0", "nodes"),
        ("two", "eth0", "nodes"),
    )
    for index, (place, name, bridge) in enumerate(wires):
        lines.append(f"link add w{index} type veth peer name {name} netns {scene.places[place]}")
        lines.append(f"link set w{index} master {bridge} up")
    _in(scene, "lan", "\n".join(lines))
    _equip(scene, "client", [("eth0", CLIENT, 16, 64)], GATEWAY)
    _equip(scene, "outside", [("eth0", OUTSIDE, 16, 64)], {4: "10.7.0.1", 6: "fd00:7::1"})
    _in(scene, "gateway", "addr add 10.16.0.1/16 dev eth0\naddr add 10.17.0.1/16 dev eth0")
    far = {4: "10.7.0.1", 6: "fd00:7::1"}
    _equip(scene, "gateway", [("eth0", GATEWAY, 16, 64), ("eth1", far, 16, 64)], {})
    for number, node in enumerate(NODES, 1):
        own = {4: f"192.168.49.{number + 1}", 6: f"fd00:49::{number + 1}"}
        _equip(scene, node, [("eth0", own, 24, 64), ("ens192", NODES[node], 16, 64)], GATEWAY)
        other = 3 - number
        routes = (
            f"route add 10.244.{other}.0/24 via 192.168.49.{other + 1}\n"
            f"route add fd00:244:{other}::/48 via fd00:49::{other + 1}"
        )
        _in(scene, node, routes)
        scene.nft(node, _NODE_RULES)


_NODE_RULES = """
table inet node {
    chain postrouting {
        type nat hook postrouting priority srcnat;
        ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 oifname "ens192" masquerade
        ip6 saddr fd00:244::/32 ip6 daddr != fd00:244::/32 oifname "ens192" masquerade
        ct status dnat ip saddr != 10.244.0.0/16 ct original ip daddr 10.96.0.0/16 masquerade
        ct status dnat ip6 saddr != fd00:244::/32 ct original ip6 daddr fd00:96::/64 masquerade
    }
}
"""


def service(backends: Sequence[Pod]) -> str:
    """What kube-proxy writes on a node: a service of all backends in turn, and local node ports."""
    lines, hairpins = [], []
    for version, family in ((4, "ip"), (6, "ip6")):
        for index, pod in enumerate(backends):
            address = pod.addresses["eth0"][version]
            target = f"dnat {family} to {f'[{address}]' if version == 6 else address}:{PORT}"
            hairpins.append(f"{family} saddr {address} {family} daddr {address} masquerade")
            left = len(backends) - index
            turn = f"numgen inc mod {left} 0" if left > 1 else ""
            lines.append(f"{family} daddr {SERVICE[version]} tcp dport 80 {turn} {target}")
            lines.append(f"meta nfproto ipv{version} fib daddr type local tcp dport {NODE_PORT + index} {target}")
    rules, returns = "\n".join(lines), "\n".join(hairpins)
    return f"""
        table inet services {{}}
        delete table inet services
        table inet services {{
            chain translated {{
                {rules}
            }}
            chain prerouting {{ type nat hook prerouting priority dstnat; jump translated; }}
            chain output {{ type nat hook output priority -100; jump translated; }}
            chain postrouting {{ type nat hook postrouting priority srcnat;
                {returns}
            }}
        }}
    """


def _equip(
    scene: Scene,
    place: str,
    links: Sequence[tuple[str, Mapping[int, str], int, int]],
    gateway: Mapping[int, str],
) -> None:
    lines = []
    for name, addresses, short, long in links:
        lines += [f"link set {name} up", f"addr add {addresses[4]}/{short} dev {name}"]
        lines += [f"addr add {addresses[6]}/{long} dev {name} nodad"]
    lines += [f"route add default via {each}" for each in gateway.values()]

    def work() -> None:
        (pod_network.SYSCTLS / _NO_WAITING).write_text("0", encoding="utf-8")
        for path in _ALL:
            (pod_network.SYSCTLS / path).write_text("1", encoding="utf-8")
        batch("\n".join(lines))

    netns.inside(scene.places[place], work)


def _gateway(address: str, node: str) -> str:
    if address.startswith("10.244."):
        return address.rpartition(".")[0] + ".1"
    if address.startswith(("10.16.", "10.17.")):
        return f"{address[:6]}0.1"
    if address.startswith("fd00:244:"):
        return f"fd00:244:{list(NODES).index(node) + 1}::1"
    return GATEWAY[ip_address(address.partition("/")[0]).version]


def _in(scene: Scene, place: str, text: str) -> None:
    netns.inside(scene.places[place], lambda: batch(text))


def batch(text: str) -> None:
    """Commands of ip(8), in this thread's namespace."""
    done = subprocess.run(
        ["ip", "-batch", "-"], input=text + "\n", capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{text}\n{done.stderr}"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=60, capture_output=True)
