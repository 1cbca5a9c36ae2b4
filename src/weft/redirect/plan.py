"""From parameters to rules. The order is Istio's, so that a pod's iptables-save reads as users know it."""

from collections.abc import Iterator
from ipaddress import IPv4Network

from weft.redirect import dns
from weft.redirect.capture import EVERYTHING, Capture
from weft.redirect.rules import (
    ByGroup,
    ByUser,
    Chain,
    Destination,
    Enters,
    Jump,
    Leaves,
    Match,
    Plan,
    Redirect,
    Return,
    Rule,
    Source,
    Tcp,
    ToPort,
    ToPorts,
)

LOCALHOST = IPv4Network("127.0.0.1/32")
PASSTHROUGH = IPv4Network("127.0.0.6/32")
"""Where the proxy's inbound connections to the application come from."""

LOOPBACK = "lo"


def plan(capture: Capture) -> Plan:
    """The rules that capture what `capture` says, each with its reason."""
    rules = [*_hooks(capture), *_inbound(capture), *_redirects(capture), *_outbound(capture), *dns.rules(capture)]
    order = list(Chain)
    return Plan(tuple(sorted(rules, key=lambda rule: order.index(rule.chain))))


def _hooks(capture: Capture) -> Iterator[Rule]:
    for interface in capture.virtual_interfaces:
        yield from _virtual_interface(capture, interface)
    for interface in capture.excluded_interfaces:
        reason = f"interface {interface} is excluded"
        yield Rule(Chain.PREROUTING, (Enters(interface),), Return(), reason)
        yield Rule(Chain.OUTPUT, (Leaves(interface),), Return(), reason)
    if capture.inbound_ports:
        yield Rule(Chain.PREROUTING, (Tcp(),), Jump(Chain.ISTIO_INBOUND), "what comes in may be captured")
    # queries are UDP too
    matches: tuple[Match, ...] = () if capture.resolvers else (Tcp(),)
    yield Rule(Chain.OUTPUT, matches, Jump(Chain.ISTIO_OUTPUT), "what goes out may be captured")


def _virtual_interface(capture: Capture, interface: str) -> Iterator[Rule]:
    """A guest machine's traffic enters by an interface, but it is outbound traffic of the pod."""
    reason = f"a guest's traffic by {interface} is outbound"
    if capture.outbound_networks == EVERYTHING:
        yield Rule(Chain.PREROUTING, (Enters(interface),), Jump(Chain.ISTIO_REDIRECT), reason)
        return
    for network in reversed(capture.outbound_networks):
        matches: tuple[Match, ...] = (Destination(network), Enters(interface))
        yield Rule(Chain.PREROUTING, matches, Jump(Chain.ISTIO_REDIRECT), reason)


def _inbound(capture: Capture) -> Iterator[Rule]:
    chain = Chain.ISTIO_INBOUND
    tunnel = "the tunnel's port is the proxy's own"
    yield Rule(chain, (ToPort(capture.tunnel_port),), Return(), tunnel)
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
        yield Rule(chain, (ToPort(port),), Return(), f"outbound port {port} is excluded")
    own = "the proxy's inbound connection to the application"
    yield Rule(chain, (Source(PASSTHROUGH), Leaves(LOOPBACK)), Return(), own)
    for uid in capture.proxy_uids:
        yield from _proxy(capture, ByUser(uid), ByUser(uid, negated=True))
    for gid in capture.proxy_gids:
        yield from _proxy(capture, ByGroup(gid), ByGroup(gid, negated=True))
    if capture.resolvers:
        yield Rule(chain, (), Jump(Chain.ISTIO_OUTPUT_DNS), "names may be asked of the proxy")
    yield Rule(chain, (Destination(LOCALHOST),), Return(), "localhost stays local")
    for network in capture.excluded_outbound_networks:
        yield Rule(chain, (Destination(network),), Return(), f"outbound range {network} is excluded")
    to_proxy = Jump(Chain.ISTIO_REDIRECT)
    for port in capture.outbound_ports:
        yield Rule(chain, (ToPort(port),), to_proxy, f"outbound port {port} is included")
    if capture.outbound_networks == EVERYTHING:
        yield Rule(chain, (), to_proxy, "everything else that goes out is captured")
        return
    for network in capture.outbound_networks:
        yield Rule(chain, (Destination(network),), to_proxy, f"outbound range {network} is included")


def _proxy(capture: Capture, proxy: Match, others: Match) -> Iterator[Rule]:
    chain = Chain.ISTIO_OUTPUT
    # a resolver on loopback is asked of the proxy like any other
    asked = bool(capture.resolvers)
    foreign = ToPorts((dns.PORT, capture.tunnel_port)) if asked else ToPort(capture.tunnel_port, negated=True)
    to_self: tuple[Match, ...] = (Destination(LOCALHOST, negated=True), Leaves(LOOPBACK), foreign, proxy)
    yield Rule(chain, to_self, Jump(Chain.ISTIO_IN_REDIRECT), "the application calls itself by its service")
    # where loopback itself is among the captured ranges, an application's calls to it must go on (istio-iptables)
    if not _captures_loopback(capture):
        reason = "the application calls itself by its own address"
        not_dns = (ToPort(dns.PORT, negated=True),) if asked else ()
        yield Rule(chain, (Leaves(LOOPBACK), *not_dns, others), Return(), reason)
    yield Rule(chain, (proxy,), Return(), "the proxy's own connections would loop")


def _captures_loopback(capture: Capture) -> bool:
    networks = capture.outbound_networks
    return networks != EVERYTHING and any(network.network_address.is_loopback for network in networks)
