"""The look-up of routes, and what is done with packets that come in, held against the kernel's own answers.

A namespace gets addresses, routes and rules by chance; then the kernel is asked (RTM_GETROUTE) and so are we.
"""

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyroute2.netlink.exceptions import NetlinkError
from tests.support.netns import namespace

from weft.adapters import netns, pod_network
from weft.underlay.addresses import Address, parse_address
from weft.underlay.observed import Observed
from weft.underlay.paths.arriving import Refused, arrive
from weft.underlay.paths.routing import NoWay, Query, look_up

LINKS: Final = ("neta", "netb", "netc")
"""The last has no address."""
TABLES: Final = (254, 254, 100, 101, 102)
REFUSALS: Final = {13: "prohibit", 22: "blackhole", 101: "unreachable", 113: "unreachable"}
"""Where there is no route, the kernel says `unreachable` too."""
FAMILY: Final = {4: 2, 6: 10}
NAMESPACE: Final = "weft-routing"


@pytest.fixture(scope="module", autouse=True)
def _namespace() -> Iterator[None]:
    with namespace(NAMESPACE):
        yield


@dataclass
class Kernel:
    """The namespace that chance has filled, and what one may ask about it."""

    ip: Any
    chance: random.Random
    index: dict[str, int]
    own: list[Any]

    def subnet(self, version: int, *lengths: int) -> IPv4Network | IPv6Network:
        """A subnet near to the addresses."""
        pick = self.chance
        if version == 4:
            base = pick.choice(
                (f"10.{pick.randint(0, 2)}.{pick.randint(0, 1)}.{pick.randint(0, 255)}", "192.0.2.9")
            )
            return ip_network(f"{base}/{pick.choice(lengths or (0, 8, 15, 16, 24, 25, 32))}", strict=False)
        base = pick.choice((f"fd00:{pick.randint(0, 2)}::{pick.randint(0, 255):x}", "2001:db8::9"))
        return ip_network(f"{base}/{pick.choice(lengths or (0, 16, 32, 48, 64, 120, 128))}", strict=False)

    def address(self, version: int) -> Address:
        """An address, of its own in one of four cases; never of 0.0.0.0/8."""
        own = [each.ip for each in self.own if each.version == version]
        if own and self.chance.random() < 0.25:
            return parse_address(str(self.chance.choice(own)))
        subnet = self.subnet(version, *((24, 25, 32) if version == 4 else (120, 128)))
        found: Address = subnet[self.chance.randrange(min(256, subnet.num_addresses))]
        return found


@contextlib.contextmanager
def kernel(seed: int, *, routes: int, rules: int) -> Iterator[Kernel]:
    """Links with addresses, routes and rules by chance; some are refused, and left out. All goes at the end."""
    chance = random.Random(seed)
    with pod_network.opened() as ip:
        for name in LINKS:
            ip.link("add", ifname=name, kind="veth", peer={"ifname": f"{name}-far"})
        index = {link.get("ifname"): link["index"] for link in ip.get_links()}
        for number in index.values():
            ip.link("set", index=number, state="up")
        made = Kernel(ip, chance, index, [])
        try:
            for name in LINKS[:2]:
                for text in (
                    f"10.{chance.randint(0, 2)}.0.{chance.randint(1, 99)}/{chance.choice((16, 24, 32))}",
                    f"10.{chance.randint(0, 2)}.0.{chance.randint(100, 200)}/{chance.choice((16, 24, 32))}",
                    f"fd00:{chance.randint(0, 2)}::{chance.randint(1, 99):x}/{chance.choice((32, 64, 128))}",
                ):
                    each = ip_interface(text)
                    made.own.append(each)
                    asked = {"index": index[name], "address": str(each.ip), "prefixlen": each.network.prefixlen}
                    # without duplicate address detection
                    ip.addr("add", **asked, **({"flags": 2} if each.version == 6 else {}))
            for _ in range(routes):
                with contextlib.suppress(NetlinkError):
                    ip.route("add", **_route(made))
            for _ in range(rules):
                with contextlib.suppress(NetlinkError):
                    ip.rule("add", **_rule(made))
            yield made
        finally:
            for name in LINKS:
                ip.link("del", index=index[name])
            for family in FAMILY.values():
                for table in set(TABLES):
                    ip.flush_routes(family=family, table=table)
                ip.flush_rules(family=family, priority=lambda value: value and value < 32766)


def _route(made: Kernel) -> dict[str, Any]:
    chance, version = made.chance, made.chance.choice((4, 6))
    asked: dict[str, Any] = {
        "dst": str(made.subnet(version)),
        "family": FAMILY[version],
        "table": chance.choice(TABLES),
        "priority": chance.choice((5, 10, 20, 300)),
    }
    if chance.random() < 0.2:
        return asked | {"type": chance.choice(("unreachable", "prohibit", "blackhole", "throw"))}
    asked["oif"] = made.index[chance.choice(LINKS)]
    if chance.random() < 0.5:
        asked |= {"gateway": str(made.subnet(version)[0]), "flags": 4}  # onlink
    elif version == 4:
        asked["scope"] = 253
    if chance.random() < 0.3:
        asked["prefsrc"] = str(chance.choice([each.ip for each in made.own if each.version == version]))
    return asked


def _rule(made: Kernel) -> dict[str, Any]:
    chance, version = made.chance, made.chance.choice((4, 6))
    asked: dict[str, Any] = {
        "family": FAMILY[version],
        "priority": chance.randint(1, 32000),
        "table": chance.choice(TABLES),
    }
    own = [ip_network(each.ip) for each in made.own if each.version == version]
    for end, likely in (("src", 0.6), ("dst", 0.3)):
        if chance.random() < likely:
            subnet = chance.choice((made.subnet(version), chance.choice(own)))
            asked |= {end: str(subnet.network_address), f"{end}_len": subnet.prefixlen}
    if chance.random() < 0.3:
        asked["fwmark"] = chance.randint(1, 3)
    if chance.random() < 0.1:
        asked["iifname"] = chance.choice(("lo", LINKS[0]))
    if chance.random() < 0.1:
        asked["action"] = chance.choice((6, 7, 8))
    return asked


Answer = tuple[str, str, str, str]
"""Type of route, interface, next hop and source; a refusal has only the first."""


def kernels(made: Kernel, query: Query) -> Answer:
    names = {number: name for name, number in made.index.items()}
    asked: dict[str, Any] = {
        "dst": str(query.destination),
        "family": FAMILY[query.destination.version],
        "mark": query.mark,
    }
    if query.source is not None:
        asked["src"] = str(query.source)
    try:
        (found,) = made.ip.route("get", **asked)
    except NetlinkError as error:
        return REFUSALS[error.code], "", "", ""
    kind = pod_network.KINDS[found["type"]]
    if kind in REFUSALS.values():
        return kind, "", "", ""
    source = "" if query.source else found.get("prefsrc") or ""
    device = "lo" if kind == "local" else names.get(found.get("oif"), "")
    return kind, device, found.get("gateway") or "", source


def ours(observed: Observed, query: Query) -> Answer:
    found = look_up(observed, query)
    if isinstance(found, NoWay):
        return found.kind or "unreachable", "", "", ""
    source = "" if query.source or found.source is None else str(found.source)
    # the table of local addresses names the interface that has one, the answer says lo
    device = "lo" if found.route.kind == "local" else found.route.device
    return found.route.kind, device, found.route.via, source


def inside(seed: int, routes: int, rules: int, compare: Any) -> None:
    def work() -> None:
        with kernel(seed, routes=routes, rules=rules) as made:
            compare(made, pod_network.look())

    netns.inside(NAMESPACE, work)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32))
def test_the_kernel_sends_a_packet_where_we_say_from_the_source_that_we_say(seed: int) -> None:
    def compare(made: Kernel, observed: Observed) -> None:
        for _ in range(200):
            version = made.chance.choice((4, 6))
            own = [each.ip for each in made.own if each.version == version]
            source = made.chance.choice((None, made.chance.choice(own)))
            query = Query(made.address(version), source, made.chance.choice((0, 0, 1, 2, 3)))
            assert ours(observed, query) == kernels(made, query), (query, observed)

    inside(seed, 50, 16, compare)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32))
def test_the_kernel_delivers_forwards_and_filters_what_comes_in_as_we_say(seed: int) -> None:
    def compare(made: Kernel, observed: Observed) -> None:
        for number in range(150):
            if number % 30 == 0:
                observed = replace(observed, sysctls=_settings(made.chance))
            source, target = made.address(4), made.address(4)
            link, mark = made.chance.choice(LINKS), made.chance.choice((0, 1))
            asked = {"dst": str(target), "src": str(source), "iif": made.index[link], "mark": mark, "family": 2}
            told = arrive(observed, link, source, target, mark)
            if isinstance(told, Refused) and "broadcast" in told.why:
                continue  # nothing that one would send
            try:
                (found,) = made.ip.route("get", **asked)
                kernels_word = pod_network.KINDS[found["type"]]
            except NetlinkError:
                kernels_word = "refused"
            word = "refused" if isinstance(told, Refused) else told.way.route.kind
            assert word == kernels_word, (asked, told, observed)

    inside(seed, 25, 5, compare)


def _settings(chance: random.Random) -> dict[str, int]:
    """Settings by chance, which are in force then."""
    chosen = {"net/ipv4/ip_forward": chance.choice((0, 1, 1))}
    for link in ("all", *LINKS):
        chosen[f"net/ipv4/conf/{link}/rp_filter"] = chance.choice((0, 0, 1, 2) if link == "all" else (0, 1, 2))
        chosen[f"net/ipv4/conf/{link}/src_valid_mark"] = chance.choice((0, 0, 1))
        chosen[f"net/ipv4/conf/{link}/accept_local"] = chance.choice((0, 0, 0, 1))
    for name, value in chosen.items():
        (Path("/proc/sys") / name).write_text(str(value))
    return chosen
