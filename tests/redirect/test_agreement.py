"""The simulator, iptables of both kinds and native nftables agree on any packet, under any description."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.redirect.kernel import POD, PROXY, World, world

from weft.adapters import netns, redirection
from weft.redirect.capture import EVERYTHING, Capture
from weft.redirect.decide import Captured, Packet, Untouched, inbound, outbound
from weft.redirect.plan import plan
from weft.redirect.rules import Plan

BACKENDS: Final = {
    "iptables-nft": redirection.Backend(variant="nft"),
    "iptables-legacy": redirection.Backend(variant="legacy", own_lock=True),
    "nftables": redirection.Backend(native=True),
}
RESOLVERS: Final = (IPv4Address("10.96.0.10"), IPv4Address("127.0.0.53"), IPv6Address("fd00::a"))
NETWORKS: Final = tuple(
    map(ip_network, ("10.0.0.0/8", "10.1.0.0/16", "192.0.2.7/32", "172.16.0.0/12", "fd00::/8", "2001:db8::/32"))
)
PORTS: Final = (53, 80, 443, 8080, 15008, 15020)


def few(values: tuple[object, ...]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


all_or = st.just(EVERYTHING)
captures = st.builds(
    Capture,
    mode=st.sampled_from(("REDIRECT", "TPROXY", "REDIRECT", "TPROXY", "NONE")),
    ipv6=st.booleans(),
    proxy_uids=st.sampled_from(((PROXY,), (PROXY, 1400))),
    inbound_ports=all_or | few(PORTS),
    excluded_inbound_ports=few(PORTS),
    outbound_networks=all_or | few(NETWORKS) | st.just((ip_network("127.0.0.1/32"), NETWORKS[0])),
    excluded_outbound_networks=few(NETWORKS),
    outbound_ports=few(PORTS),
    excluded_outbound_ports=few(PORTS),
    owner_groups=all_or | few((1000, 2000)),
    excluded_owner_groups=few((1000, 2000)),
    excluded_interfaces=st.sampled_from(((), (), ("net1",))),
    virtual_interfaces=st.sampled_from(((), (), ("net1",))),
    resolvers=st.sampled_from(((), EVERYTHING, RESOLVERS)),
    drop_invalid=st.booleans(),
)

OWNERS: Final = ((0, 0), (0, PROXY), (1000, 1000), (PROXY, PROXY), (PROXY, 2000), (1400, 2000))
AWAY: Final = {
    "eth0": ("10.1.2.3", "10.96.0.10", "192.0.2.7", "fd01::3", "fd00::a", "2001:db8::7"),
    "net1": ("172.20.0.5", "fd20::5"),
}


@st.composite
def leaving(draw: st.DrawFn) -> tuple[bool, Packet]:
    interface = draw(st.sampled_from(("eth0", "eth0", "net1")))
    destination = ip_address(draw(st.sampled_from(AWAY[interface])))
    uid, gid = draw(st.sampled_from(OWNERS))
    source = POD[interface][destination.version]
    return False, _transported(draw, Packet(source, destination, 0, interface, uid=uid, gid=gid))


@st.composite
def local(draw: st.DrawFn) -> tuple[bool, Packet]:
    own = [POD["eth0"][4], POD["eth0"][6], IPv4Address("127.0.0.1"), IPv4Address("127.0.0.53"), IPv6Address("::1")]
    destination = draw(st.sampled_from(own))
    usual = IPv4Address("127.0.0.1") if destination.is_loopback and destination.version == 4 else destination
    passthrough = destination in POD["eth0"].values() and destination.version == 4 and draw(st.booleans())
    source = IPv4Address("127.0.0.6") if passthrough else usual
    uid, gid = draw(st.sampled_from(OWNERS))
    mark = draw(st.sampled_from((0, 0, 1337)))
    return False, _transported(draw, Packet(source, destination, 0, "lo", uid=uid, gid=gid, mark=mark))


@st.composite
def arriving(draw: st.DrawFn) -> tuple[bool, Packet]:
    interface, version = draw(st.sampled_from(("eth0", "eth0", "net1"))), draw(st.sampled_from((4, 6)))
    source = ip_address("203.0.113.5" if version == 4 else "2001:db8:1::5")
    return True, _transported(draw, Packet(source, POD[interface][version], 0, interface))


def _transported(draw: st.DrawFn, packet: Packet) -> Packet:
    tcp = draw(st.sampled_from((True, True, False)))
    return replace(packet, tcp=tcp, port=draw(st.sampled_from(PORTS if tcp else (53, 123))))


packets = st.lists(leaving() | local() | arriving(), min_size=40, max_size=40)


@pytest.fixture(scope="module")
def worlds() -> Iterator[dict[str, World]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(world(f"weft-{os.getpid():x}-{name}")) for name in BACKENDS}


@given(captures, packets)
# to shrink would take minutes of real packets; what differs says enough
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)
def test_simulator_iptables_and_nftables_agree_on_any_packet(
    worlds: dict[str, World], capture: Capture, packets: list[tuple[bool, Packet]]
) -> None:
    wanted = plan(capture)
    expected = [simulated(wanted, way, packet) for way, packet in packets]
    for name, backend in BACKENDS.items():
        # each plan takes the place of the one before, whatever that was
        again, missing = netns.inside(worlds[name].pod, partial(applied_twice, wanted, backend))
        assert (again, missing) == (False, ())
        fates = worlds[name].fates(packets)
        differing = [
            (packet, said, fate)
            for (_, packet), said, fate in zip(packets, expected, fates, strict=True)
            if said != fate
        ]
        assert not differing, f"{name}: {differing[0]}"


def applied_twice(wanted: Plan, backend: redirection.Backend) -> tuple[bool, tuple[str, ...]]:
    redirection.apply(wanted, backend)
    return redirection.apply(wanted, backend).changed, redirection.missing(wanted, backend)


def simulated(wanted: Plan, inward: object, packet: Packet) -> str:
    match (inbound if inward else outbound)(packet, wanted):
        case Captured(port):
            return f"captured {port}"
        case Untouched():
            return "untouched"
        case dropped:
            raise AssertionError(dropped)
