"""The rules that bring the application's DNS queries to the proxy, in Istio's order.

A query by UDP keeps its source port when it is redirected, and the proxy may ask the same resolver from the same
port: two connection-tracking zones keep such a pair apart (zone 2: application and proxy, 1: proxy and resolver).
"""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Final

from weft.redirect.capture import EVERYTHING, Capture
from weft.redirect.rules import (
    ByGroup,
    ByUser,
    Chain,
    Destination,
    Jump,
    Match,
    Redirect,
    Return,
    Rule,
    Source,
    ToPort,
    UdpFrom,
    UdpTo,
    Zone,
)

PORT: Final = 53
_ASKING, _ASKED = Zone(1), Zone(2)


def rules(capture: Capture) -> Iterator[Rule]:
    """The rules of the DNS chains; none where DNS is not captured."""
    if not capture.resolvers:
        return
    proxy: tuple[Match, ...] = (*map(ByUser, capture.proxy_uids), *map(ByGroup, capture.proxy_gids))
    yield from _redirects(capture, proxy)
    yield from _zones(capture, proxy)


def of_every_transport(capture: Capture, chain: Chain, port: int, reason: str) -> Iterator[Rule]:
    """Rules that let be what goes to a port: TCP, and UDP where any of it is captured."""
    yield Rule(chain, (ToPort(port),), Return(), reason)
    if capture.resolvers:
        yield Rule(chain, (UdpTo(port),), Return(), reason)


def _redirects(capture: Capture, proxy: tuple[Match, ...]) -> Iterator[Rule]:
    chain, to_proxy = Chain.ISTIO_OUTPUT_DNS, Redirect(capture.dns_port)
    for to in _to_resolvers(capture):
        yield Rule(chain, (*to, ToPort(PORT)), to_proxy, "a query by TCP goes to the proxy")
    for owner in proxy:
        yield Rule(chain, (UdpTo(PORT), owner), Return(), "the proxy's own queries would loop")
    for to in _to_resolvers(capture):
        yield Rule(chain, (*to, UdpTo(PORT)), to_proxy, "a query by UDP goes to the proxy")


def _zones(capture: Capture, proxy: tuple[Match, ...]) -> Iterator[Rule]:
    outgoing, incoming = Chain.RAW_ISTIO_OUTPUT_DNS, Chain.RAW_ISTIO_INBOUND
    yield Rule(Chain.RAW_PREROUTING, (), Jump(incoming), "answers of resolvers have a zone of their own")
    yield Rule(Chain.RAW_OUTPUT, (), Jump(outgoing), "queries have a zone of their own")
    for owner in proxy:
        yield Rule(outgoing, (UdpTo(PORT), owner), _ASKING, "the proxy asks a resolver")
        yield Rule(outgoing, (UdpFrom(capture.dns_port), owner), _ASKED, "the proxy answers the application")
    for to in _to_resolvers(capture):
        yield Rule(outgoing, (*to, UdpTo(PORT)), _ASKED, "the application asks")
    for come_from in _from_resolvers(capture):
        yield Rule(incoming, (*come_from, UdpFrom(PORT)), _ASKING, "a resolver answers the proxy")


def _to_resolvers(capture: Capture) -> Iterator[tuple[Match, ...]]:
    """One match for each resolver; one that all packets have where every resolver counts."""
    if capture.resolvers == EVERYTHING:
        yield ()
        return
    for address in capture.resolvers:
        yield (Destination(ip_network(address)),)


def _from_resolvers(capture: Capture) -> Iterator[tuple[Match, ...]]:
    if capture.resolvers == EVERYTHING:
        yield ()
        return
    for address in capture.resolvers:
        yield (Source(ip_network(address)),)
