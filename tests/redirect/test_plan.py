"""What a plan does to packets, by the interpreter, for any parameters."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_network
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from weft.redirect.capture import EVERYTHING, Capture, Resolvers
from weft.redirect.decide import Captured, Dropped, Packet, Tracked, Untouched, inbound, outbound
from weft.redirect.plan import plan


# what they do takes no time, but a machine may be busy with other things
def given(*strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return lambda test: settings(deadline=None)(drawn(*strategies)(test))


INJECTED = Capture(excluded_inbound_ports=(15090, 15021, 15020))
POD = IPv4Address("10.244.0.7")
SERVICE = IPv4Address("10.100.93.113")
LOCALHOST = IPv4Address("127.0.0.1")
PASSTHROUGH = IPv4Address("127.0.0.6")

OWN_PORTS = {15008, 15090, 15021, 15020}
ports = st.integers(1, 65535)
addresses = st.integers(0x0A000000, 0xDFFFFFFF).filter(lambda n: n >> 24 != 127).map(IPv4Address)
users = st.integers(0, 65535).filter(lambda uid: uid != 1337)
prefixes = st.tuples(addresses, st.integers(8, 32)).map(lambda pair: IPv4Network(pair, strict=False))
captures = st.builds(
    Capture,
    inbound_ports=st.just(EVERYTHING) | st.lists(ports, max_size=3).map(tuple),
    excluded_inbound_ports=st.lists(ports, max_size=3).map(tuple),
    outbound_networks=st.just(EVERYTHING) | st.lists(prefixes, max_size=3).map(tuple),
    excluded_outbound_networks=st.lists(prefixes, max_size=2).map(tuple),
    outbound_ports=st.lists(ports, max_size=2).map(tuple),
    excluded_outbound_ports=st.lists(ports, max_size=2).map(tuple),
)


def leaving(address: IPv4Address, port: int, uid: int, interface: str = "eth0") -> Packet:
    source = POD if interface == "eth0" else LOCALHOST
    return Packet(source, address, port, interface, uid=uid, gid=uid)


@given(addresses, ports, users)
def test_an_application_goes_out_through_the_proxy(address: IPv4Address, port: int, uid: int) -> None:
    decision = outbound(leaving(address, port, uid), plan(INJECTED))
    assert isinstance(decision, Captured)
    assert decision.port == 15001


@given(captures, addresses, ports)
def test_the_proxy_itself_goes_out_untouched_whatever_is_configured(
    capture: Capture, address: IPv4Address, port: int
) -> None:
    packet = leaving(address, port, 1337)
    decision = outbound(packet, plan(capture))
    if port in capture.excluded_outbound_ports:
        assert decision == Untouched(f"outbound port {port} is excluded")
    else:
        assert decision == Untouched("the proxy's own connections would loop")


@given(captures, ports)
def test_the_proxys_connections_to_the_application_never_loop(capture: Capture, port: int) -> None:
    packet = Packet(PASSTHROUGH, POD, port, "lo", uid=1337, gid=1337)
    assert isinstance(outbound(packet, plan(capture)), Untouched)


@given(addresses, ports)
def test_what_comes_in_goes_to_the_proxy_but_for_the_meshs_own_ports(address: IPv4Address, port: int) -> None:
    decision = inbound(Packet(address, POD, port), plan(INJECTED))
    if port in OWN_PORTS:
        assert isinstance(decision, Untouched)
    else:
        assert isinstance(decision, Captured)
        assert decision.port == 15006


@given(captures, addresses, ports, st.none() | users)
def test_udp_is_never_captured(capture: Capture, address: IPv4Address, port: int, uid: int | None) -> None:
    packet = Packet(POD, address, port, tcp=False, uid=uid, gid=uid)
    assert isinstance(inbound(packet, plan(capture)), Untouched)
    assert isinstance(outbound(packet, plan(capture)), Untouched)


RESOLVER = IPv4Address("10.96.0.10")
transports = st.sampled_from(["tcp", "udp"])
resolvers = st.just(EVERYTHING) | st.just((RESOLVER,)) | st.just((IPv4Address("127.0.0.53"), RESOLVER))


@given(captures, resolvers, users, transports)
def test_an_applications_query_goes_to_the_proxy_unless_its_port_is_excluded(
    capture: Capture, asked: Resolvers, uid: int, transport: str
) -> None:
    rules = plan(replace(capture, resolvers=asked))
    decision = outbound(Packet(POD, RESOLVER, 53, tcp=transport == "tcp", uid=uid, gid=uid), rules)
    if 53 in capture.excluded_outbound_ports:
        assert isinstance(decision, Untouched)
    else:
        assert isinstance(decision, Captured)
        assert decision.port == 15053


@given(captures, resolvers, transports)
def test_the_proxys_own_queries_reach_the_resolver(capture: Capture, asked: Resolvers, transport: str) -> None:
    rules = plan(replace(capture, resolvers=asked))
    packet = Packet(POD, RESOLVER, 53, tcp=transport == "tcp", uid=1337, gid=1337)
    assert isinstance(outbound(packet, rules), Untouched)


def test_a_resolver_on_loopback_is_asked_of_the_proxy_too() -> None:
    local = IPv4Address("127.0.0.53")
    rules = plan(replace(INJECTED, resolvers=(local,)))
    for tcp in (True, False):
        decision = outbound(Packet(LOCALHOST, local, 53, "lo", tcp=tcp, uid=0, gid=0), rules)
        assert isinstance(decision, Captured)
        assert decision.port == 15053


def test_queries_to_other_resolvers_and_other_udp_stay_untouched() -> None:
    rules = plan(replace(INJECTED, resolvers=(RESOLVER,)))
    elsewhere = IPv4Address("9.9.9.9")
    assert isinstance(outbound(Packet(POD, elsewhere, 53, tcp=False, uid=0, gid=0), rules), Untouched)
    assert isinstance(outbound(Packet(POD, RESOLVER, 123, tcp=False, uid=0, gid=0), rules), Untouched)


@given(captures, addresses, ports, users)
def test_excluded_beats_included_on_the_way_out(
    capture: Capture, address: IPv4Address, port: int, uid: int
) -> None:
    decision = outbound(leaving(address, port, uid), plan(capture))
    excluded = port in capture.excluded_outbound_ports or any(
        address in network for network in capture.excluded_outbound_networks
    )
    networks = capture.outbound_networks
    included = networks == EVERYTHING or any(address in network for network in networks)
    assert isinstance(decision, Captured) == (not excluded and (included or port in capture.outbound_ports))


@given(captures, addresses, ports)
def test_inbound_follows_its_lists(capture: Capture, address: IPv4Address, port: int) -> None:
    decision = inbound(Packet(address, POD, port), plan(capture))
    everything = capture.inbound_ports == EVERYTHING
    included = port not in capture.excluded_inbound_ports if everything else port in capture.inbound_ports
    assert isinstance(decision, Captured) == (included and port != 15008)


def test_an_application_that_calls_its_own_service_comes_in_through_the_proxy() -> None:
    # the proxy has chosen this very pod as the endpoint
    decision = outbound(Packet(POD, POD, 80, "lo", uid=1337, gid=1337), plan(INJECTED))
    assert isinstance(decision, Captured)
    assert decision.port == 15006
    assert decision.reasons[-2] == "the application calls itself by its service"


@pytest.mark.parametrize("address", [POD, LOCALHOST])
def test_an_application_that_calls_its_own_address_stays_local(address: IPv4Address) -> None:
    decision = outbound(Packet(address, address, 80, "lo", uid=0, gid=0), plan(INJECTED))
    assert decision == Untouched("the application calls itself by its own address")


def test_an_excluded_interface_is_left_alone_both_ways() -> None:
    rules = plan(Capture(excluded_interfaces=("net1",)))
    assert inbound(Packet(SERVICE, POD, 80, "net1"), rules) == Untouched("interface net1 is excluded")
    packet = Packet(POD, SERVICE, 80, "net1", uid=0, gid=0)
    assert outbound(packet, rules) == Untouched("interface net1 is excluded")


def test_a_guests_traffic_is_outbound_though_it_comes_in() -> None:
    rules = plan(Capture(virtual_interfaces=("k6t-eth0",)))
    decision = inbound(Packet(IPv4Address("10.0.2.2"), SERVICE, 80, "k6t-eth0"), rules)
    assert isinstance(decision, Captured)
    assert decision.port == 15001


def test_every_rule_has_its_reason() -> None:
    assert all(rule.reason for rule in plan(INJECTED).rules)


GUEST = IPv4Address("10.0.2.2")


def test_a_guests_traffic_heeds_the_outbound_lists_and_is_never_inbound() -> None:
    capture = Capture(
        virtual_interfaces=("k6t-eth0",),
        outbound_networks=(IPv4Network("10.0.0.0/8"),),
        excluded_outbound_networks=(IPv4Network("10.1.0.0/16"),),
        outbound_ports=(3306,),
        excluded_outbound_ports=(22,),
    )
    rules = plan(capture)

    def fate(address: str, port: int) -> int | str:
        decision = inbound(Packet(GUEST, IPv4Address(address), port, "k6t-eth0"), rules)
        return decision.port if isinstance(decision, Captured) else str(decision)

    assert fate("10.2.0.1", 80) == 15001
    assert fate("192.0.2.1", 3306) == 15001
    assert "10.1.0.0/16 is excluded" in str(fate("10.1.0.1", 80))
    assert "port 22 is excluded" in str(fate("10.2.0.1", 22))
    assert "nobody's" in str(fate("192.0.2.1", 80))


def test_only_processes_of_the_included_groups_are_captured() -> None:
    rules = plan(replace(INJECTED, owner_groups=(101, 202)))
    for gid, captured in ((101, True), (202, True), (0, False)):
        decision = outbound(Packet(POD, SERVICE, 80, uid=0, gid=gid), rules)
        assert isinstance(decision, Captured) == captured


def test_processes_of_excluded_groups_go_their_own_way() -> None:
    rules = plan(replace(INJECTED, excluded_owner_groups=(101,)))
    decision = outbound(Packet(POD, SERVICE, 80, uid=0, gid=101), rules)
    assert decision == Untouched("processes of group 101 are excluded")


def test_no_mode_means_no_rules() -> None:
    assert plan(replace(INJECTED, mode="NONE")).rules == ()


def test_ipv6_is_captured_by_the_same_rules_or_not_at_all() -> None:
    packet = Packet(IPv6Address("fd00::7"), IPv6Address("fd00::8"), 80, uid=0, gid=0)
    decision = outbound(packet, plan(replace(INJECTED, ipv6=True)))
    assert isinstance(decision, Captured)
    assert outbound(packet, plan(INJECTED)) == Untouched("IPv6 is not captured")


def test_the_proxys_ipv6_connections_to_the_application_come_from_an_address_of_their_own() -> None:
    rules = plan(replace(INJECTED, ipv6=True))
    own = Packet(IPv6Address("::6"), IPv6Address("fd00::7"), 80, "lo", uid=1337, gid=1337)
    assert outbound(own, rules) == Untouched("the proxy's inbound connection to the application")
    assert rules.loopback_addresses == (IPv6Address("::6"),)


def test_an_ipv6_range_says_nothing_about_ipv4() -> None:
    rules = plan(replace(INJECTED, outbound_networks=(ip_network("fd00::/8"),)))
    assert isinstance(outbound(Packet(POD, SERVICE, 80, uid=0, gid=0), rules), Untouched)


TRANSPARENT = plan(replace(INJECTED, mode="TPROXY", drop_invalid=True))
CALLER = IPv4Address("10.244.0.99")


def test_the_transparent_proxy_gets_connections_as_they_are() -> None:
    decision = inbound(Packet(CALLER, POD, 8080), TRANSPARENT)
    assert isinstance(decision, Captured)
    assert (decision.port, decision.transparent) == (15006, True)
    assert isinstance(inbound(Packet(CALLER, POD, 15021), TRANSPARENT), Untouched)


def test_the_transparent_proxys_connections_with_the_callers_address_do_not_loop() -> None:
    to_application = Packet(CALLER, POD, 8080, "lo", uid=1337, gid=1337, mark=1337)
    assert isinstance(inbound(to_application, TRANSPARENT), Untouched)


def test_an_application_that_calls_its_own_service_comes_in_through_the_transparent_proxy() -> None:
    # it runs as root, so that its group alone tells it
    decision = outbound(Packet(POD, POD, 8080, "lo", uid=0, gid=1337), TRANSPARENT)
    assert isinstance(decision, Captured)
    assert (decision.port, decision.transparent) == (15006, True)


def test_packets_of_established_connections_go_on() -> None:
    packet = Packet(CALLER, POD, 8080, tracked=Tracked.ESTABLISHED)
    assert inbound(packet, TRANSPARENT) == Untouched("an established connection goes on")


def test_what_fits_no_connection_is_dropped_where_that_is_asked_for() -> None:
    packet = Packet(CALLER, POD, 8080, tracked=Tracked.INVALID)
    assert isinstance(inbound(packet, TRANSPARENT), Dropped)
    assert isinstance(inbound(packet, plan(INJECTED)), Untouched)
