"""From a description to rules. The order is Istio's, so that a pod's iptables-save reads as users know it."""

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import Final

from weft.redirect import dns, tproxy
from weft.redirect.capture import EVERYTHING, Capture
from weft.redirect.loopback import LOOPBACK, loopbacks
from weft.redirect.rules import (
    ByGroup,
    ByUser,
    Chain,
    Destination,
    Drop,
    Enters,
    Invalid,
    Jump,
    Leaves,
    MarkedIsLocal,
    Match,
    Owner,
    Plan,
    Redirect,
    Return,
    Rule,
    Source,
    Tcp,
    ToPort,
    ToPorts,
)

PASSTHROUGH: Final = (IPv4Network("127.0.0.6/32"), IPv6Network("::6/128"))
"""Where the proxy's inbound connections to the application come from."""


def plan(capture: Capture) -> Plan:
    """The rules that capture what `capture` says, each with its reason."""
    if capture.mode == "NONE":
        return Plan((), ipv6=capture.ipv6)
    rules = [
        *_hooks(capture),
        *_inbound(capture),
        *_redirects(capture),
        *_outbound(capture),
        *dns.rules(capture),
        *_invalid(capture),
        *(tproxy.rules(capture, PASSTHROUGH) if capture.mode == "TPROXY" else ()),
    ]
    order = list(Chain)
    return Plan(
        tuple(
            sorted(
                (rule for rule in rules if capture.ipv6 or rule.concerns(4)),
                key=lambda rule: order.index(rule.chain),
            )
        ),
        ipv6=capture.ipv6,
        marked=MarkedIsLocal(capture.tproxy_mark, capture.tproxy_table),
        # IPv4 has all of 127.0.0.0/8 on loopback, IPv6 has ::1 alone
        loopback_addresses=(IPv6Address("::6"),) if capture.ipv6 else (),
    )


def _hooks(capture: Capture) -> Iterator[Rule]:
    for interface in capture.virtual_interfaces:
        yield from _virtual_interface(capture, interface)
    for interface in capture.excluded_interfaces:
        reason = f"interface {interface} is excluded"
        yield Rule(Chain.PREROUTING, (Enters(interface),), Return(), reason)
        yield Rule(Chain.OUTPUT, (Leaves(interface),), Return(), reason)
    if capture.inbound_ports and capture.mode == "REDIRECT":
        yield Rule(Chain.PREROUTING, (Tcp(),), Jump(Chain.ISTIO_INBOUND), "what comes in may be captured")
    # queries are UDP too
    matches: tuple[Match, ...] = () if capture.resolvers else (Tcp(),)
    yield Rule(Chain.OUTPUT, matches, Jump(Chain.ISTIO_OUTPUT), "what goes out may be captured")


def _virtual_interface(capture: Capture, interface: str) -> Iterator[Rule]:
    """A guest machine's traffic enters by an interface, but it is outbound traffic of the pod."""
    chain, guest, to_proxy = Chain.PREROUTING, Enters(interface), Jump(Chain.ISTIO_REDIRECT)
    reason = f"a guest's traffic by {interface} is outbound"
    for port in capture.excluded_outbound_ports:
        yield Rule(chain, (guest, ToPort(port)), Return(), f"outbound port {port} is excluded")
    for network in capture.excluded_outbound_networks:
        yield Rule(chain, (Destination(network), guest), Return(), f"outbound range {network} is excluded")
    for port in capture.outbound_ports:
        yield Rule(chain, (guest, ToPort(port)), to_proxy, reason)
    if capture.outbound_networks == EVERYTHING:
        yield Rule(chain, (guest,), to_proxy, reason)
    else:
        for network in capture.outbound_networks:
            yield Rule(chain, (Destination(network), guest), to_proxy, reason)
    yield Rule(chain, (guest,), Return(), f"the rest of a guest's traffic by {interface} is nobody's")


def _inbound(capture: Capture) -> Iterator[Rule]:
    chain = Chain.ISTIO_INBOUND
    tunnel = "the tunnel's port is the proxy's own"
    yield Rule(chain, (ToPort(capture.tunnel_port),), Return(), tunnel)
    if capture.mode == "TPROXY":
        return
    if capture.inbound_ports == EVERYTHING:
        for port in capture.excluded_inbound_ports:
            yield Rule(chain, (ToPort(port),), Return(), f"inbound port {port} is excluded")
        yield Rule(chain, (Tcp(),), Jump(Chain.ISTIO_IN_REDIRECT), "all other inbound ports are captured")
        return
    for port in capture.inbound_ports:
        yield Rule(chain, (ToPort(port),), Jump(Chain.ISTIO_IN_REDIRECT), f"inbound port {port} is included")


def _redirects(capture: Capture) -> Iterator[Rule]:
    inbound, outbound = Redirect(capture.inbound_port), Redirect(capture.outbound_port)
    yield Rule(Chain.ISTIO_IN_REDIRECT, (Tcp(),), inbound, "to the proxy's inbound listener")
    yield Rule(Chain.ISTIO_REDIRECT, (Tcp(),), outbound, "to the proxy's outbound listener")


def _outbound(capture: Capture) -> Iterator[Rule]:
    chain = Chain.ISTIO_OUTPUT
    for port in capture.excluded_outbound_ports:
        yield from dns.of_every_transport(capture, chain, port, f"outbound port {port} is excluded")
    own = "the proxy's inbound connection to the application"
    for source in PASSTHROUGH:
        yield Rule(chain, (Source(source), Leaves(LOOPBACK)), Return(), own)
    for uid in capture.proxy_uids:
        yield from _proxy(capture, ByUser(uid), ByUser(uid, negated=True))
    for gid in capture.proxy_gids:
        yield from _proxy(capture, ByGroup(gid), ByGroup(gid, negated=True))
    yield from _owner_groups(capture)
    if capture.resolvers:
        yield Rule(chain, (), Jump(Chain.ISTIO_OUTPUT_DNS), "names may be asked of the proxy")
    for local in loopbacks(capture):
        yield Rule(chain, (Destination(local),), Return(), "localhost stays local")
    yield from _included(capture)


def _included(capture: Capture) -> Iterator[Rule]:
    chain, to_proxy = Chain.ISTIO_OUTPUT, Jump(Chain.ISTIO_REDIRECT)
    for network in capture.excluded_outbound_networks:
        yield Rule(chain, (Destination(network),), Return(), f"outbound range {network} is excluded")
    for port in capture.outbound_ports:
        yield Rule(chain, (ToPort(port),), to_proxy, f"outbound port {port} is included")
    if capture.outbound_networks == EVERYTHING:
        yield Rule(chain, (), to_proxy, "everything else that goes out is captured")
        return
    for network in capture.outbound_networks:
        yield Rule(chain, (Destination(network),), to_proxy, f"outbound range {network} is included")


def _proxy(capture: Capture, proxy: Owner, others: Owner) -> Iterator[Rule]:
    chain = Chain.ISTIO_OUTPUT
    # a resolver on loopback is asked of the proxy like any other
    asked = bool(capture.resolvers)
    foreign = ToPorts((dns.PORT, capture.tunnel_port)) if asked else ToPort(capture.tunnel_port, negated=True)
    for local in loopbacks(capture):
        to_self: tuple[Match, ...] = (Destination(local, negated=True), Leaves(LOOPBACK), foreign, proxy)
        yield Rule(chain, to_self, Jump(Chain.ISTIO_IN_REDIRECT), "the application calls itself by its service")
    # where loopback itself is among the captured ranges, an application's calls to it must go on (istio-iptables)
    if not _captures_loopback(capture):
        reason = "the application calls itself by its own address"
        not_dns = (ToPort(dns.PORT, negated=True),) if asked else ()
        yield Rule(chain, (Leaves(LOOPBACK), *not_dns, others), Return(), reason)
    yield Rule(chain, (proxy,), Return(), "the proxy's own connections would loop")


def _owner_groups(capture: Capture) -> Iterator[Rule]:
    if capture.owner_groups == EVERYTHING:
        for gid in capture.excluded_owner_groups:
            yield Rule(Chain.ISTIO_OUTPUT, (ByGroup(gid),), Return(), f"processes of group {gid} are excluded")
        return
    strangers = tuple(ByGroup(gid, negated=True) for gid in capture.owner_groups)
    yield Rule(Chain.ISTIO_OUTPUT, strangers, Return(), "processes of other groups are not captured")


def _captures_loopback(capture: Capture) -> bool:
    networks = capture.outbound_networks
    return networks != EVERYTHING and any(network.network_address.is_loopback for network in networks)


def _invalid(capture: Capture) -> Iterator[Rule]:
    if capture.drop_invalid:
        drop, reason = Chain.MANGLE_ISTIO_DROP, "a reset for a packet that fits no connection would end a live one"
        yield Rule(Chain.MANGLE_PREROUTING, (Invalid(),), Jump(drop), reason)
        yield Rule(drop, (), Drop(), "without an answer")
