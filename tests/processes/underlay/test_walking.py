"""What is said of packets, held against real ones: in a sound network, and in one broken in each way in turn."""

import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Final

import msgspec
import pytest
from tests.processes.underlay import scene as scenes
from tests.processes.underlay.scene import CLIENT, NODES, OUTSIDE, Scene
from tests.processes.underlay.test_coordinating import overlay, underlay

from weft.adapters import pod_network
from weft.api.spider_coordinator import CoordinatorSpec
from weft.underlay.observed import Observed
from weft.underlay.paths.verdicts import Verdict, Word, verdict
from weft.underlay.paths.walking import Packet
from weft.underlay.paths.world import Place, World

LINK_ADDRESS: Final = "169.254.100.1"
LOST_SECONDS: Final = 0.7
"""What is said to be lost is waited for so long."""
WIRES: Final = {
    "client": {"eth0": "ens192"},
    "gateway": {"eth0": "ens192", "eth1": "far"},
    "outside": {"eth0": "far"},
}
"""LANs are told by the names of the nodes' links: others are called so in what was observed."""
STRICT: Final = "sysctl -qw net.ipv4.conf.all.rp_filter=1"
LOOSE: Final = "sysctl -qw net.ipv4.conf.all.rp_filter=2"
NO_FILTER: Final = "sysctl -qw net.ipv4.conf.all.rp_filter=0"
FORWARDING: Final = "sysctl -qw net.ipv4.ip_forward={0} net.ipv6.conf.all.forwarding={0}"
RULE: Final = "ip rule {} pref 32760 from 10.6.212.4 lookup 101"
FAULTS: Final[dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]]] = {
    "none": ("u1", (), ()),
    "strict filters in an underlay pod": ("u1", (STRICT,), (NO_FILTER,)),
    "strict filters in an overlay pod": ("o1", (STRICT,), (NO_FILTER,)),
    "strict filters on a node": ("one", (STRICT,), (NO_FILTER,)),
    "loose filters in an underlay pod": ("u1", (LOOSE,), (NO_FILTER,)),
    "no forwarding": ("one", (FORWARDING.format(0),), (FORWARDING.format(1),)),
    "net1 without its rule": ("o1", (RULE.format("del"),), (RULE.format("add"),)),
    "net1 without its rule, filtered": ("o1", (RULE.format("del"), STRICT), (RULE.format("add"), NO_FILTER)),
    "a node without the rule for pods": (
        "one",
        ("ip rule del pref 1000",),
        ("ip rule add pref 1000 from all lookup 500",),
    ),
    "a refusing rule": (
        "u1",
        ("ip rule add pref 5 to 10.6.0.50 prohibit",),
        ("ip rule del pref 5 to 10.6.0.50 prohibit",),
    ),
    "a route into nowhere": (
        "u1",
        ("ip route add blackhole 10.6.212.3/32",),
        ("ip route del blackhole 10.6.212.3/32",),
    ),
    # what cannot be taken back comes last
    "replies without marks": ("u1", ("nft flush ruleset",), ()),
    "net1 down": ("o1", ("ip link set net1 down",), ()),
    "veth0 down": ("u1", ("ip link set veth0 down",), ()),
}


BREAKING: Final = frozenset(
    {
        "no forwarding",
        "net1 without its rule, filtered",
        "a node without the rule for pods",
        "a refusing rule",
        "a route into nowhere",
        "net1 down",
        "veth0 down",
    }
)
"""Faults by which something is lost; others only lead it another way, or are none to routes in good order."""


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with scenes.running() as found:
        found.spec = CoordinatorSpec(veth_link_address=LINK_ADDRESS)
        underlay(found, "one", "u1", 1)
        underlay(found, "one", "u2", 2)
        underlay(found, "two", "u3", 3)
        overlay(found, "one", "o1", 4)
        yield found


def observed(scene: Scene, place: str) -> Observed:
    text = msgspec.json.encode(pod_network.look(scene.at(place))).decode()
    for name, wire in WIRES.get(place, {}).items():
        text = text.replace(f'"{name}"', f'"{wire}"').replace(f"/{name}/", f"/{wire}/")
    return msgspec.json.decode(text, type=Observed)


@pytest.fixture(scope="module")
def sound(scene: Scene) -> dict[str, Observed]:
    return {place: observed(scene, place) for place in (*NODES, *WIRES, *scene.pods)}


def world(scene: Scene, seen: dict[str, Observed]) -> World:
    nodes = {name: pod.node for name, pod in scene.pods.items()}
    return World(tuple(Place(name, found, nodes.get(name, "")) for name, found in seen.items()))


def flows(scene: Scene) -> Iterator[tuple[str, str]]:
    """From whom to which address. What nodes hide behind their own address is not followed, and left out."""
    pods = [(each, addresses) for each in scene.pods.values() for addresses in each.addresses.values()]
    for place in ("u1", "o1", "client", "outside"):
        for pod, addresses in pods:
            if pod.name != place and (place in scene.pods or "10.244" not in addresses[4]):
                yield from ((place, address) for address in addresses.values())
        if place in scene.pods:
            listed = (CLIENT, NODES["one"], NODES["two"], OUTSIDE)
            yield from ((place, address) for each in listed for address in each.values())


def test_nothing_is_sent_from_the_link_address_of_veth0(scene: Scene) -> None:
    assert any(each.startswith(LINK_ADDRESS) for link in scene.pods["u1"].look().links for each in link.addresses)
    # its node, by veth0 on the link and by a router's way
    for address in (NODES["one"][4], "192.168.49.2", "10.244.1.4"):
        assert scene.ask("u1", address) == "10.6.212.1"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_packet_arrives_and_is_answered_where_we_say_so_and_nowhere_else(
    scene: Scene, sound: dict[str, Observed], fault: str
) -> None:
    place, broken, mended = FAULTS[fault]
    run(scene, place, broken)
    try:
        seen = world(scene, sound | {place: observed(scene, place)})
        told = ((flow, verdict(seen, seen.place(flow[0]), Packet(ip_address(flow[1])))) for flow in flows(scene))
        said = {flow: verdict_ for flow, verdict_ in told if not is_hidden(verdict_)}

        def ask(flow: tuple[str, str]) -> bool:
            seconds = 20.0 if said[flow].word is Word.OK else LOST_SECONDS
            try:
                return bool(scene.ask(*flow, seconds=seconds))
            except OSError:
                return False

        with ThreadPoolExecutor(16) as threads:
            found = dict(zip(said, threads.map(ask, said), strict=True))
        wrong = {
            flow: [str(told.word), told.reason, *told.lines()]
            for flow, told in said.items()
            if (told.word is Word.OK) != found[flow]
        }
        assert wrong == {}
        assert len(said) > 25
        assert fault not in BREAKING or any(told.word is not Word.OK for told in said.values())
    finally:
        run(scene, place, mended)
        if not mended:
            sound[place] = observed(scene, place)


def is_hidden(verdict_: Verdict) -> bool:
    """Whether the node hides a pod of the overlay behind its own address, which is not followed."""
    packet = verdict_.there.packet
    overlaid = str(packet.source).startswith(("10.244.", "fd00:244:"))
    return overlaid and str(packet.destination) in {*CLIENT.values(), *OUTSIDE.values()}


def run(scene: Scene, place: str, commands: Iterable[str]) -> None:
    for command in commands:
        enter = ["nsenter", f"--net=/run/netns/{scene.at(place)}"]
        subprocess.run([*enter, *command.split()], check=True, timeout=30)
