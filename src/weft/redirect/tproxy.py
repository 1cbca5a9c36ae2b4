"""Inbound capture by TPROXY: the proxy gets connections unchanged, and may go on with the sender's address.

Three kinds of packets must not be mixed up, and marks tell them apart:

- What the proxy sends to the application with the sender's address has `tproxy_mark` (its listener filter
  `original_src` sets it). The connection takes the mark over, so the application's answers have it as well, and
  a routing rule brings them to the proxy, not to the sender.
- What the proxy sends to the application as a caller has OUTBOUND_MARK: the application has called its own
  service, and comes in through the proxy by loopback.
- Whatever else is on loopback is not the proxy's business.
"""

from collections.abc import Iterator
from typing import Final

from weft.redirect.capture import EVERYTHING, Capture, Network
from weft.redirect.loopback import LOOPBACK, loopbacks
from weft.redirect.rules import (
    Accept,
    ByGroup,
    ByUser,
    Chain,
    ConnectionMarked,
    Destination,
    Enters,
    Established,
    Jump,
    Leaves,
    Mark,
    Marked,
    Match,
    Owner,
    RestoreMark,
    Return,
    Rule,
    SaveMark,
    Source,
    Tcp,
    ToPort,
    Transparent,
)

OUTBOUND_MARK: Final = 1338


def rules(capture: Capture, passthrough: tuple[Network, ...]) -> Iterator[Rule]:
    """The rules of table mangle; none where nothing comes in through the proxy."""
    if not capture.inbound_ports:
        return
    yield Rule(
        Chain.MANGLE_PREROUTING, (Tcp(),), Jump(Chain.MANGLE_ISTIO_INBOUND), "what comes in may be captured"
    )
    yield Rule(Chain.MANGLE_OUTPUT, (Tcp(),), Jump(Chain.MANGLE_ISTIO_OUTPUT), "what goes out may be the proxy's")
    yield from _inbound(capture, passthrough)
    yield from _outbound(capture)
    divert, transparent = Chain.MANGLE_ISTIO_DIVERT, Transparent(capture.inbound_port, capture.tproxy_mark)
    yield Rule(divert, (), Mark(capture.tproxy_mark), "the packet stays in the pod")
    yield Rule(divert, (), Accept(), "its socket is found by its addresses")
    for local in loopbacks(capture):
        matches: tuple[Match, ...] = (Destination(local, negated=True), Tcp())
        yield Rule(Chain.MANGLE_ISTIO_TPROXY, matches, transparent, "to the proxy's inbound listener")


def _inbound(capture: Capture, passthrough: tuple[Network, ...]) -> Iterator[Rule]:
    chain, from_proxy = Chain.MANGLE_ISTIO_INBOUND, Marked(capture.tproxy_mark)
    for interface in capture.excluded_interfaces:
        yield Rule(chain, (Enters(interface),), Return(), f"interface {interface} is excluded")
    for interface in capture.virtual_interfaces:
        yield Rule(chain, (Enters(interface),), Return(), f"a guest's traffic by {interface} is outbound")
    yield Rule(chain, (Tcp(), from_proxy), SaveMark(), "answers to the proxy must find it")
    yield Rule(chain, (Tcp(), from_proxy), Return(), "the proxy's connections to the application would loop")
    for source in passthrough:
        own = "the proxy's inbound connection to the application"
        yield Rule(chain, (Source(source), Enters(LOOPBACK), Tcp()), Return(), own)
    local: tuple[Match, ...] = (Enters(LOOPBACK), Tcp(), Marked(OUTBOUND_MARK, negated=True))
    yield Rule(chain, local, Return(), "the application calls itself by its own address")
    yield Rule(chain, (ToPort(capture.tunnel_port),), Return(), "the tunnel's port is the proxy's own")
    if capture.inbound_ports == EVERYTHING:
        for port in capture.excluded_inbound_ports:
            yield Rule(chain, (ToPort(port),), Return(), f"inbound port {port} is excluded")
        yield from _captured(Tcp(), "all other inbound ports are captured")
        return
    for port in capture.inbound_ports:
        yield from _captured(ToPort(port), f"inbound port {port} is included")


def _captured(match: Tcp | ToPort, reason: str) -> Iterator[Rule]:
    chain = Chain.MANGLE_ISTIO_INBOUND
    yield Rule(chain, (match, Established()), Jump(Chain.MANGLE_ISTIO_DIVERT), "an established connection goes on")
    yield Rule(chain, (match,), Jump(Chain.MANGLE_ISTIO_TPROXY), reason)


def _outbound(capture: Capture) -> Iterator[Rule]:
    chain, mark = Chain.MANGLE_ISTIO_OUTPUT, capture.tproxy_mark
    for interface in capture.excluded_interfaces:
        yield Rule(chain, (Leaves(interface),), Return(), f"interface {interface} is excluded")
    owners: tuple[Owner, ...] = (*map(ByUser, capture.proxy_uids), *map(ByGroup, capture.proxy_gids))
    marked = "the proxy's connections to the application have their mark"
    yield Rule(chain, (Leaves(LOOPBACK), Tcp(), Marked(mark)), Return(), marked)
    for local in loopbacks(capture):
        for owner in owners:
            matches: tuple[Match, ...] = (Destination(local, negated=True), Leaves(LOOPBACK), Tcp(), owner)
            yield Rule(chain, matches, Mark(OUTBOUND_MARK), "the application calls itself by its service")
    answers = "answers to the proxy go to it, whomever they are addressed to"
    yield Rule(chain, (Tcp(), ConnectionMarked(mark)), RestoreMark(), answers)
