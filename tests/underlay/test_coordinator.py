"""The coordinator's decisions, without a kernel: settings, plans, what is missing of them, and what DEL takes."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st

from weft.api.spider_coordinator import CoordinatorSpec, CoordinatorStatus
from weft.underlay.coordinator import facts as coordinator_facts
from weft.underlay.coordinator import plan as coordinator
from weft.underlay.coordinator import removal as coordinator_removal
from weft.underlay.coordinator.changes import missing, undoing
from weft.underlay.coordinator.facts import Facts
from weft.underlay.coordinator.lines import (
    Address,
    Gone,
    Line,
    Mac,
    Marks,
    Pair,
    Queue,
    Sysctl,
    Up,
)
from weft.underlay.coordinator.plan import CannotCoordinateError
from weft.underlay.coordinator.settings import Settings, SettingsError, settings
from weft.underlay.observed import EVERYWHERE, MAIN, Link, Neighbour, Observed, Route, Rule, Version

SYNCED = CoordinatorStatus(phase="Synced", overlay_pod_cidr=("10.244.0.0/16",), service_cidr=("10.96.0.0/12",))
HIJACKED = tuple(map(ip_network, ("10.96.0.0/12", "10.244.0.0/16", "fd00:96::/108")))
NODE = Observed(
    links=(
        Link(index=1, name="lo", addresses=("127.0.0.1/8", "::1/128")),
        Link(index=2, name="eth0", addresses=("192.168.49.2/24", "fe80::2/64")),
        Link(index=3, name="ens192", addresses=("10.6.0.11/16", "fd00:6::11/64")),
        Link(index=4, name="docker0", addresses=("172.17.0.1/16",)),
        Link(index=9, name="cali1", kind="veth", mac="ee:ee:ee:ee:ee:ee", peer=2, peer_elsewhere=True),
    )
)
OVERLAY = Link(
    index=2,
    name="eth0",
    kind="veth",
    mac="02:00:00:00:00:02",
    addresses=("10.244.1.4/32",),
    peer=9,
    peer_elsewhere=True,
)


def macvlan(name: str, index: int, *addresses: str) -> Link:
    return Link(index=index, name=name, kind="macvlan", mac=f"02:00:00:00:00:{index:02x}", addresses=addresses)


def facts(interface: str, pod: Observed, node: Observed = NODE) -> Facts:
    link = pod.link(interface)
    gateways = {4: "10.6.0.1", 6: "fd00:6::1"}
    ips = [
        {"address": each, "gateway": gateways[6 if ":" in each else 4]}
        for each in (link.addresses if link else ())
    ]
    return Facts(
        network="lan",
        container="c0ffee00" * 8,
        interface=interface,
        addresses=coordinator_facts.addresses({"ips": ips}, interface),
        pod=pod,
        node=node,
    )


def pod_of(*links: Link) -> Observed:
    """A pod as the plugins leave it."""
    pod = Observed()
    for link in links:
        pod = plugged(pod, link)
    return pod


def plugged(pod: Observed, link: Link) -> Observed:
    """The pod with one more interface; its default route comes before the others."""
    routes = list(pod.routes)
    for address in link.addresses:
        version: Version = 6 if ":" in address else 4
        via = {4: "10.6.0.1", 6: "fd00:6::1"}[version] if link.kind == "macvlan" else "169.254.1.1"
        network = str(ip_interface(address).network)
        routes.append(Route(table=MAIN, destination=network, device=link.name, scope="link", protocol=2))
        everywhere = EVERYWHERE[version]
        routes.insert(0, Route(table=MAIN, destination=everywhere, device=link.name, via=via, protocol=3))
    return replace(pod, links=(*pod.links, link), routes=tuple(routes))


@pytest.mark.parametrize(
    ("plugin", "cluster", "annotations", "wanted"),
    [
        ({}, {}, {}, Settings(hijacked=HIJACKED[:2])),
        ({"mode": "auto"}, {"mode": "overlay"}, {}, Settings(mode="overlay", hijacked=HIJACKED[:2])),
        ({"mode": "underlay"}, {"mode": "overlay"}, {}, Settings(mode="underlay", hijacked=HIJACKED[:2])),
        ({"mode": "disable"}, {}, {}, Settings(mode="disabled", hijacked=HIJACKED[:2])),
        ({"tunePodRoutes": False}, {"tune_pod_routes": True}, {}, Settings(tune=False, hijacked=HIJACKED[:2])),
        (
            {"podDefaultRouteNIC": "net1"},
            {"pod_default_route_nic": "eth0"},
            {"ipam.spidernet.io/default-route-nic": "net2"},
            Settings(default_nic="net2", hijacked=HIJACKED[:2]),
        ),
        (
            {"podDefaultRouteNIC": "net1"},
            {"pod_default_route_nic": "eth0"},
            {},
            Settings(default_nic="net1", hijacked=HIJACKED[:2]),
        ),
        (
            {"serviceCIDR": [], "overlayPodCIDR": ["10.1.0.0/16"], "detectGateway": False, "tuneMode": "x"},
            {"hijack_cidr": ("169.254.0.0/16",)},
            {},
            Settings(hijacked=(ip_network("10.1.0.0/16"), ip_network("169.254.0.0/16"))),
        ),
        (
            {"podMACPrefix": "0A:1b", "vethLinkAddress": "169.254.100.1", "hostRuleTable": 600},
            {"veth_link_address": "169.254.9.9", "pod_rp_filter": 1, "tx_queue_len": 7},
            {},
            Settings(
                mac_prefix="0a:1b",
                link_address=ip_address("169.254.100.1"),
                table=600,
                rp_filter=1,
                queue=7,
                hijacked=HIJACKED[:2],
            ),
        ),
    ],
)
def test_the_pod_is_heard_before_its_network_and_that_before_the_cluster(
    plugin: Mapping[str, Any], cluster: Mapping[str, Any], annotations: Mapping[str, str], wanted: Settings
) -> None:
    assert settings(plugin, CoordinatorSpec(**cluster), SYNCED, annotations) == wanted


@pytest.mark.parametrize(
    ("plugin", "told"),
    [
        ({"mode": "sideways"}, "Use auto, underlay, overlay or disabled"),
        ({"podMACPrefix": "01:00"}, "begins no unicast address"),
        ({"podMACPrefix": "0a"}, "Write two bytes as 0a:1b"),
        ({"vethLinkAddress": "nowhere"}, "vethLinkAddress"),
        ({"hijackCIDR": ["10.0.0.0/99"]}, "Write a range as"),
        ({"podRPFilter": 3}, "podRPFilter is 3"),
        ({"tunePodRoutes": "yes"}, "configuration of plugin coordinator"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(plugin: Mapping[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(plugin, CoordinatorSpec(), SYNCED, {})
    assert told in str(refused.value)


FIRST = macvlan("eth0", 5, "10.6.212.1/16")
SECOND = macvlan("net1", 6, "10.6.212.2/16", "fd00:6::2:2/64")


@pytest.mark.parametrize(
    ("mode", "interface", "pod", "device"),
    [
        ("auto", "eth0", pod_of(FIRST), "veth0"),
        ("auto", "net1", pod_of(OVERLAY, SECOND), "eth0"),
        ("auto", "net1", pod_of(FIRST, SECOND, Link(index=9, name="veth0", kind="veth")), "veth0"),
        ("underlay", "net1", pod_of(OVERLAY, SECOND), "veth0"),
        ("overlay", "eth0", pod_of(FIRST), "veth0"),
        ("overlay", "eth0", pod_of(OVERLAY), ""),
        ("disabled", "eth0", pod_of(FIRST), ""),
    ],
)
def test_the_mode_says_by_which_link_the_node_is_reached(
    mode: Any, interface: str, pod: Observed, device: str
) -> None:
    plan = coordinator.plan(Settings(mode=mode, hijacked=HIJACKED), facts(interface, pod))
    by = {line.thing.device for line in plan.lines if isinstance(line.thing, Neighbour) and line.side == "pod"}
    assert by == ({device} if device else set())
    assert bool(plan.why) == (not device)


def test_an_overlay_without_an_end_on_the_node_is_refused_with_the_way_out() -> None:
    pod = pod_of(replace(OVERLAY, peer=77), SECOND)
    with pytest.raises(CannotCoordinateError, match="Set mode underlay"):
        coordinator.plan(Settings(mode="overlay"), facts("net1", pod))
    with pytest.raises(CannotCoordinateError, match="has no interface net7"):
        coordinator.plan(Settings(), replace(facts("net1", pod), interface="net7"))


def test_addresses_of_docker_and_of_links_are_not_the_nodes() -> None:
    assert [str(each) for each in facts("eth0", pod_of(FIRST)).node_addresses] == [
        "10.6.0.11",
        "192.168.49.2",
        "fd00:6::11",
    ]


@st.composite
def situations(draw: st.DrawFn) -> tuple[Settings, list[Link]]:
    dual = draw(st.booleans())
    first = draw(st.sampled_from((OVERLAY, replace(FIRST, addresses=("10.6.212.1/16", "fd00:6::2:1/64")))))
    links = [first]
    for index in range(draw(st.integers(0, 3))):
        own = (f"10.6.212.{10 + index}/16", f"fd00:6::2:{10 + index}/64")
        links.append(macvlan(f"net{index + 1}", 20 + index, *(own if dual else own[:1])))
    names = [link.name for link in links if link is not OVERLAY]
    chosen = Settings(
        hijacked=HIJACKED,
        tune=draw(st.booleans()),
        default_nic=draw(st.sampled_from(["", *names, "net9"])),
        mac_prefix=draw(st.sampled_from(["", "0a:1b"])),
        queue=draw(st.sampled_from([0, 99])),
        rp_filter=draw(st.sampled_from([-1, 0, 1, 2])),
        link_address=draw(st.sampled_from([None, ip_address("169.254.100.1"), ip_address("fe80::1")])),
        policy_routes=draw(st.sampled_from([(), ((ip_network("10.99.0.0/16"), ip_address("10.6.0.9")),)])),
    )
    return chosen, links


@bounded(deadline=None, max_examples=40)
@given(situations())
def test_a_plan_that_was_applied_is_the_same_plan_and_lacks_nothing(
    situation: tuple[Settings, list[Link]],
) -> None:
    chosen, links = situation
    pod, node, before = Observed(), NODE, []
    for link in links:
        before.append(pod)
        pod = plugged(pod, link)
        if link == OVERLAY:
            continue
        plan = coordinator.plan(chosen, facts(link.name, pod, node))
        lacking = missing(plan.lines, pod, node)
        done_pod, done_node = done(lacking, pod, node)
        again = coordinator.plan(chosen, facts(link.name, done_pod, done_node))
        assert missing(again.lines, done_pod, done_node) == ()
        # what undoes it leads back
        back = [way for line in reversed(lacking) if (way := undoing(line, pod, node)) is not None]
        undone = done(back, done_pod, done_node)
        assert tuple(map(routing, undone)) == (routing(pod), routing(node))
        pod, node = done_pod, done_node
    # interfaces go as they came
    for link, bare in zip(reversed(links), reversed(before), strict=True):
        if link != OVERLAY:
            pod, node = done(coordinator_removal.removal(facts(link.name, pod, node), 500), pod, node)
            rules = coordinator_removal.unused_rules(500, {each.version for each in node.table(500)}, node)
            pod, node = done(rules, pod, node)
        pod = without(pod, link.name)
        assert routing(bare) - routing(pod) == set()
    assert (routing(pod), routing(node)) == (set(), routing(NODE))


@bounded(deadline=None, max_examples=40)
@given(situations())
def test_main_never_has_two_defaults_and_each_interface_its_own(
    situation: tuple[Settings, list[Link]],
) -> None:
    chosen, links = situation
    pod, node = Observed(), NODE
    for link in links:
        pod = plugged(pod, link)
        if link != OVERLAY:
            lines = missing(coordinator.plan(chosen, facts(link.name, pod, node)).lines, pod, node)
            pod, node = done(lines, pod, node)
    if not chosen.tune:
        return
    for version in (4, 6):
        own = {link.name: [a for a in link.addresses if (":" in a) == (version == 6)] for link in links}
        having = {name: addresses for name, addresses in own.items() if addresses}
        mains = [route.device for route in pod.table(MAIN) if route.default and route.version == version]
        if "eth0" in having:
            assert mains == [chosen.default_nic if chosen.default_nic in having else "eth0"]
        for name, addresses in having.items() if len(links) > 1 else ():
            sources = {f"{ip_interface(each).ip}/{32 if version == 4 else 128}" for each in addresses}
            (table,) = {rule.table for rule in pod.rules if rule.source in sources}
            ways = [route.device for route in pod.table(table) if route.default and route.version == version]
            assert ways == [name]


def done(lines: Any, pod: Observed, node: Observed) -> tuple[Observed, Observed]:
    """The pictures after the lines, as a kernel would have it: what stands on a link goes with it."""
    sides = {"pod": pod, "node": node}
    for line in lines:
        _do(line, sides)
    return sides["pod"], sides["node"]


def _do(line: Line, sides: dict[str, Observed]) -> None:
    here = sides[line.side]
    match line.thing:
        case Pair() as pair:
            sides["node"] = replace(
                here,
                links=(
                    *here.links,
                    Link(index=99, name=pair.on_node, mac=pair.mac_on_node, alias=pair.alias, kind="veth"),
                ),
            )
            end = Link(index=98, name="veth0", kind="veth", mac=pair.mac_in_pod, up=False)
            sides["pod"] = replace(sides["pod"], links=(*sides["pod"].links, end))
        case Gone(Pair(on_node=name)):
            sides["node"], sides["pod"] = without(here, name), without(sides["pod"], "veth0")
        case Route() as route:
            sides[line.side] = replace(here, routes=(*here.routes, route))
        case Rule() as rule:
            sides[line.side] = replace(here, rules=(*here.rules, rule))
        case Neighbour() as entry:
            sides[line.side] = replace(here, neighbours=(*here.neighbours, entry))
        case Gone(thing):
            alike = Observed(
                routes=tuple(
                    each
                    for each in here.routes
                    if missing([Line("pod", thing, "")], Observed(routes=(each,)), NODE)
                )
                if isinstance(thing, Route)
                else here.routes,
                rules=tuple(each for each in here.rules if each != thing),
                neighbours=tuple(each for each in here.neighbours if each != thing),
            )
            sides[line.side] = replace(here, routes=alike.routes, rules=alike.rules, neighbours=alike.neighbours)
        case Marks(marks):
            sides[line.side] = replace(here, marks=marks)
        case Sysctl(path, value):
            sides[line.side] = replace(here, sysctls={**here.sysctls, path: value})
        case Up() | Mac() | Queue() | Address() as thing:
            sides[line.side] = replace(
                here,
                links=tuple(_linked(link, thing) if link.name == thing.device else link for link in here.links),
            )


def _linked(link: Link, thing: Up | Mac | Queue | Address) -> Link:
    match thing:
        case Up():
            return replace(link, up=True)
        case Mac(_, mac):
            return replace(link, mac=mac)
        case Queue(_, length):
            return replace(link, queue=length)
        case Address(_, address):
            return replace(link, addresses=(*link.addresses, address))


def without(seen: Observed, device: str) -> Observed:
    """The picture after a link has gone."""
    return replace(
        seen,
        links=tuple(link for link in seen.links if link.name != device),
        routes=tuple(route for route in seen.routes if route.device != device),
        neighbours=tuple(entry for entry in seen.neighbours if entry.device != device),
    )


def routing(seen: Observed) -> set[str]:
    return set(
        map(str, (*seen.routes, *seen.rules, *seen.neighbours, *seen.marks, *(link.name for link in seen.links)))
    )
