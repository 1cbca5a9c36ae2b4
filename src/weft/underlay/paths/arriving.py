"""What the kernel does with a packet that comes in: rp_filter, then delivery, forwarding, or neither.

As in ip_route_input_slow and __fib_validate_source (route.c, fib_frontend.c). rp_filter concerns IPv4 alone.
"""

from dataclasses import dataclass
from typing import Final

from weft.underlay.addresses import Address
from weft.underlay.observed import Observed
from weft.underlay.paths.routing import LOCAL, LOOPBACK, UNICAST, NoWay, Query, Way, look_up
from weft.underlay.paths.sources import interfaces

_STRICT: Final = 1


@dataclass(frozen=True, slots=True)
class Refused:
    """The kernel drops it, without a word to the sender. `hint` is the way out."""

    why: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Arrived:
    """Its route is `local` where it is delivered here, else it goes on. `filter` is what rp_filter said.

    `aside`: answers to it would leave by another interface than it came in by, the one named.
    """

    way: Way
    filter: str
    aside: str = ""


def arrive(
    observed: Observed, link: str, source: Address, destination: Address, mark: int = 0
) -> Arrived | Refused:
    """Where a packet goes that has come in by `link`."""
    way = look_up(observed, Query(destination, source, mark, link))
    if isinstance(way, NoWay):
        if not _forwards(observed, link, destination):
            return _not_forwarded(destination)
        return Refused(f"it is for others, and {way.why}")
    if way.route.kind not in {LOCAL, UNICAST}:
        return Refused(f"{destination} is a {way.route.kind} address here")
    if way.route.kind == UNICAST and not _forwards(observed, link, destination):
        return _not_forwarded(destination)
    if source.version == 6:
        return Arrived(way, "rp_filter does not concern IPv6")
    # an answer to what is forwarded would come in where that leaves
    answers_by = way.route.device if way.route.kind == UNICAST else LOOPBACK
    # the mark of a packet counts only where src_valid_mark says so
    marked = mark if any(_both(observed, link, "src_valid_mark")) else 0
    return _judge(observed, link, look_up(observed, Query(source, destination, marked, answers_by)), way, source)


def _judge(observed: Observed, link: str, back: Way | NoWay, way: Way, source: Address) -> Arrived | Refused:
    """What rp_filter says of a packet, by the way that its answer would take."""
    strictness = max(_both(observed, link, "rp_filter"))
    setting = f"rp_filter of {link} is {strictness}"
    if isinstance(back, NoWay):
        if strictness:
            return Refused(f"{setting}, and there is no way back to {source}", _way_out(link))
        return Arrived(way, f"{setting}: nothing is asked")
    if back.route.kind != UNICAST and not (
        back.route.kind == LOCAL and any(_both(observed, link, "accept_local"))
    ):
        return Refused(f"its source {source} is an address of this namespace itself")
    if back.route.device == link:
        return Arrived(way, f"{setting}: the way back to {source} is by {link} as well")
    aside = back.route.device
    other = f"the way back to {source} is by {aside}"
    if not strictness:
        return Arrived(way, f"{setting}: nothing is asked, though {other}", aside)
    if strictness == _STRICT:
        return Refused(f"{setting}, and {other}", _way_out(link))
    if not _has_ipv4(observed, link):
        return Refused(f"{setting}, {other}, and {link} has no IPv4 address", _way_out(link))
    return Arrived(way, f"{setting}: {other}, which is enough for it", aside)


def _forwards(observed: Observed, link: str, destination: Address) -> bool:
    if destination.version == 6:
        return bool(observed.sysctls.get("net/ipv6/conf/all/forwarding"))
    # conf/LINK/forwarding follows ip_forward unless somebody has set it apart
    everywhere = observed.sysctls.get("net/ipv4/ip_forward", 0)
    return bool(observed.sysctls.get(f"net/ipv4/conf/{link}/forwarding", everywhere))


def _not_forwarded(destination: Address) -> Refused:
    setting = "net.ipv4.ip_forward" if destination.version == 4 else "net.ipv6.conf.all.forwarding"
    return Refused(f"it is for others, and nothing is forwarded here ({setting} is 0)", f"Set {setting} to 1.")


def _way_out(link: str) -> str:
    return (
        f"Set net.ipv4.conf.all.rp_filter and net.ipv4.conf.{link}.rp_filter to 0 (for pods: podRPFilter of the "
        "SpiderCoordinator or SpiderMultusConfig), or have answers leave by the same interface (tunePodRoutes)."
    )


def _both(observed: Observed, link: str, name: str) -> tuple[int, ...]:
    """A setting of all links and of this one."""
    return tuple(observed.sysctls.get(f"net/ipv4/conf/{where}/{name}", 0) for where in ("all", link))


def _has_ipv4(observed: Observed, link: str) -> bool:
    found = observed.link(link)
    return found is not None and any(each.version == 4 for each in interfaces(found))
