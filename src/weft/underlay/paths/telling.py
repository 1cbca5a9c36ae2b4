"""Rules, routes and neighbours in words, as `ip` writes them where it has a form."""

from weft.underlay.addresses import Address
from weft.underlay.observed import Link, Observed, Route, Rule
from weft.underlay.paths.routing import Passed, Way, table_name


def rule(found: Rule) -> str:
    """A rule, as `ip rule` lists it."""
    words = [f"{found.priority}: {'not ' if found.inverted else ''}from {_short(found.source) or 'all'}"]
    if found.destination:
        words.append(f"to {_short(found.destination)}")
    if found.mark:
        mask = f"/{found.mask:#x}" if found.mask not in {0, 0xFFFFFFFF} else ""
        words.append(f"fwmark {found.mark:#x}{mask}")
    words += [f"{name} {value}" for name, value in (("iif", found.incoming), ("oif", found.outgoing)) if value]
    words.append(f"lookup {table_name(found.table)}" if found.action == "table" else found.action)
    return " ".join(words)


def route(found: Route) -> str:
    """A route, as `ip route` lists it."""
    words = [found.kind] if found.kind != "unicast" else []
    words.append("default" if found.default else _short(found.destination))
    words += [f"via {found.via}"] if found.via else []
    words += [f"dev {found.device}"] if found.device else []
    words += [f"src {found.source}"] if found.source else []
    words += ["onlink"] if found.onlink else []
    return " ".join(words)


def _short(subnet: str) -> str:
    return subnet.removesuffix("/32").removesuffix("/128")


def way(found: Way) -> str:
    """What decides, and what did not."""
    decided = f"rule {rule(found.rule)}: {route(found.route)}"
    # the table of local addresses is asked first by everybody
    passed = [_passed(each) for each in found.passed if table_name(each.rule.table) != "local"]
    return f"{decided}; passed: {', '.join(passed)}" if passed else decided


def _passed(each: Passed) -> str:
    return f"{each.rule.priority} ({each.why})"


def source(observed: Observed, found: Way) -> str:
    """Why a packet has its source."""
    if found.route.source:
        return f"the route {route(found.route)} says so"
    if found.route.kind == "local":
        return "it talks to itself"
    link = observed.link(found.route.device)
    its = link is not None and any(each.partition("/")[0] == str(found.source) for each in link.addresses)
    whose = f"of {found.route.device}" if its else f"of another link, since {found.route.device} has none"
    return f"an address {whose}, by which the route {route(found.route)} leads"


def neighbour(observed: Observed, link: Link, hop: Address) -> str:
    """What is known of the hardware address of the next hop."""
    for each in observed.neighbours:
        if each.device == link.name and each.address == str(hop):
            if each.state == "failed":
                return f"nobody answered for it on {link.name} a moment ago"
            return f"{each.mac or 'its address'} is known on {link.name} ({each.state})"
    return f"asked for on {link.name} by {'ARP' if hop.version == 4 else 'neighbour discovery'}"
