"""Pods on an underlay LAN, reached by real packets after the coordinator has put their routes in order."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.processes.underlay import scene as scenes
from tests.processes.underlay.scene import CLIENT, NODE_PORT, NODES, OUTSIDE, Pod, Scene

from weft.adapters import netlink, netns, pod_network
from weft.api.spider_coordinator import CoordinatorStatus, SpiderCoordinator
from weft.processes.cni.calls import CallError
from weft.processes.underlay.coordinating import Coordinator
from weft.processes.underlay.plugins import Call
from weft.underlay.coordinator import facts as coordinator_facts
from weft.underlay.observed import Observed

MACVLAN = {"type": "macvlan", "master": "ens192", "mode": "bridge"}
PTP = {"type": "ptp"}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with scenes.running() as found:
        underlay(found, "one", "u1", 1)
        underlay(found, "one", "u2", 2)
        underlay(found, "two", "u3", 3)
        overlay(found, "one", "o1", 4)
        overlay(found, "two", "o2", 5)
        yield found


def underlay(scene: Scene, node: str, name: str, number: int) -> Pod:
    pod = scene.pod(node, name)
    pod.plug("eth0", MACVLAN, [f"10.6.212.{number}/16", f"fd00:6::2:{number}/64"])
    asyncio.run(scene.coordinator(node).add(pod.call("ADD", "eth0")))
    return pod


def overlay(scene: Scene, node: str, name: str, number: int) -> Pod:
    pod = scene.pod(node, name)
    index = list(NODES).index(node) + 1
    pod.plug("eth0", PTP, [f"10.244.{index}.{number}/24", f"fd00:244:{index}::{number}/64"])
    pod.plug("net1", MACVLAN, [f"10.6.212.{number}/16", f"fd00:6::2:{number}/64"])
    asyncio.run(scene.coordinator(node).add(pod.call("ADD", "net1")))
    return pod


def test_everybody_reaches_everybody(scene: Scene) -> None:
    """By IPv4 and IPv6; who asks is seen as itself, unless the overlay's node speaks for it."""
    wrong = []
    for place in (*NODES, "client", "outside", *scene.pods):
        for name, version, address in targets(scene, place):
            seen = scene.ask(place, address)
            # a node has several addresses, and hides its overlay's pods from the world
            if place not in NODES and name != "outside" and seen not in own(scene, place, version):
                wrong.append((place, name, address, seen))
            elif not seen:
                wrong.append((place, name, address, "nothing"))
    assert wrong == []


def targets(scene: Scene, place: str) -> Iterator[tuple[str, int, str]]:
    """What a place can reach: name, IP version, address."""
    for pod in scene.pods.values():
        for interface, addresses in pod.addresses.items():
            overlaid = interface == "eth0" and len(pod.addresses) > 1
            if not (overlaid and place in {"client", "outside"}):
                yield from ((pod.name, version, address) for version, address in addresses.items())
    for name, where in {"client": CLIENT, "outside": OUTSIDE, **NODES}.items():
        if place in scene.pods:
            yield from ((name, version, address) for version, address in where.items())


def own(scene: Scene, place: str, version: int) -> set[str]:
    if place in scene.pods:
        return {addresses[version] for addresses in scene.pods[place].addresses.values()}
    return {(CLIENT if place == "client" else OUTSIDE)[version]}


def test_services_are_reached_by_the_node_and_node_ports_answered_by_it(scene: Scene) -> None:
    """Also under a strict rp_filter, and by a pod of whom nobody would guess that it has come by the node."""
    with pod(scene, "one", "s1", 20, podRPFilter=1) as strict:
        scene.nft("one", scenes.service([strict, scene.pods["o1"]]))
        for version, address in scenes.SERVICE.items():
            for place in ("one", "u1", "u2", "o1", "s1"):
                assert scene.ask(place, address, 80), (place, version)
            for port in (NODE_PORT, NODE_PORT + 1):
                node = NODES["one"][version]
                assert scene.ask("outside", node, port) == OUTSIDE[version], (port, version)
                assert scene.ask("client", node, port) == CLIENT[version], (port, version)
        assert scene.ask("client", strict.addresses["eth0"][4]) == CLIENT[4]
        assert scene.ask("one", strict.addresses["eth0"][4]) == NODES["one"][4]
        # who came by the node is answered by the node, whoever it is
        filters = strict.look().sysctls
        assert [filters[f"net/ipv4/conf/{name}/rp_filter"] for name in ("all", "eth0", "veth0")] == [0, 1, 0]


def test_redirected_connections_need_the_link_address(scene: Scene) -> None:
    rules = """
        table inet mesh { chain prerouting { type nat hook prerouting priority dstnat;
            iifname "veth0" tcp dport 9999 redirect to :8080;
        }; }
    """
    with (
        pod(scene, "one", "r1", 21) as bare,
        pod(scene, "one", "r2", 22, vethLinkAddress="169.254.100.1") as cured,
    ):
        assert cured.look().link("veth0").addresses[0] == "169.254.100.1/32"  # type: ignore[union-attr]
        scene.nft("r1", rules)
        scene.nft("r2", rules)
        assert scene.ask("one", bare.addresses["eth0"][4], 9999, seconds=1) == ""
        assert scene.ask("one", cured.addresses["eth0"][4], 9999) == NODES["one"][4]
        # the kernel gives links an address of IPv6 itself, and nobody waits for its neighbours to object
        assert scene.ask("one", bare.addresses["eth0"][6], 9999) == NODES["one"][6]


def test_the_default_route_moves_where_the_pod_wants_it_and_comes_back(scene: Scene) -> None:
    moved = scene.pod("one", "m1")
    moved.annotations["ipam.spidernet.io/default-route-nic"] = "net1"
    moved.plug("eth0", PTP, ["10.244.1.30/24", "fd00:244:1::30/64"])
    bare, node = moved.look(), scene.node_seen("one")
    moved.plug("net1", MACVLAN, ["10.6.212.30/16", "fd00:6::2:30/64"])
    plugin = scene.coordinator("one")
    asyncio.run(plugin.add(moved.call("ADD", "net1")))
    for version in (4, 6):
        own = {name: addresses[version] for name, addresses in moved.addresses.items()}
        assert scene.ask("m1", OUTSIDE[version]) == own["net1"]
        assert scene.ask("m1", scene.pods["o2"].addresses["eth0"][version]) == own["eth0"]
        assert scene.ask("m1", NODES["one"][version]) == own["eth0"]
        for address in own.values():
            assert scene.ask("one", address)
        assert scene.ask("outside", own["net1"]) == OUTSIDE[version]
        assert scene.ask("o1", own["eth0"]) == scene.pods["o1"].addresses["eth0"][version]
    asyncio.run(plugin.check(moved.call("CHECK", "net1")))
    asyncio.run(plugin.delete(moved.call("DEL", "net1")))
    moved.unplug("net1")
    assert pictured(moved.look()) == pictured(bare)
    assert pictured(scene.node_seen("one")) == pictured(node)
    scene.remove(moved)


def test_each_of_four_interfaces_answers_by_itself(scene: Scene) -> None:
    many = scene.pod("two", "f1")
    plugin = scene.coordinator("two")
    seen = []
    for index, name in enumerate(("eth0", "net1", "net2", "net3")):
        seen.append((many.look(), scene.node_seen("two")))
        many.plug(name, MACVLAN, [f"10.6.212.{40 + index}/16" if index < 2 else f"10.{14 + index}.0.9/16"])
        asyncio.run(plugin.add(many.call("ADD", name, txQueueLen=500 + index, podMACPrefix="0a:1b")))
    tables = {rule.table for rule in many.look().rules if rule.source}
    assert tables == {99, 101, 102, 103}
    for name, addresses in many.addresses.items():
        for to in ("10.7.212.101", "10.6.0.50"):
            way = netlink.show(["route", "get", to, "from", addresses[4]], namespace=many.namespace)
            assert way[0]["dev"] == name, (name, to)
        for to in (NODES["two"][4], "10.96.0.1", "10.244.1.1"):
            way = netlink.show(["route", "get", to, "from", addresses[4]], namespace=many.namespace)
            assert way[0]["dev"] == "veth0", (name, to)
        assert scene.ask("two", addresses[4]) == NODES["two"][4]
        link = many.look().link(name)
        assert link is not None
        packed = bytes(map(int, addresses[4].split("."))).hex(":")
        assert (link.mac, link.queue) == (f"0a:1b:{packed}", 500 + int(name[-1]))
    # each goes as it came
    for name, (pod_before, node_before) in zip(("net3", "net2", "net1", "eth0"), reversed(seen), strict=True):
        asyncio.run(plugin.delete(many.call("DEL", name)))
        many.unplug(name)
        assert pictured(many.look()) == pictured(pod_before), name
        assert pictured(scene.node_seen("two")) == pictured(node_before), name
    scene.remove(many)


def test_an_add_changes_everything_or_nothing_and_once(scene: Scene) -> None:
    plugin = scene.coordinator("one")
    with pod(scene, "one", "t1", 50, coordinated=False) as tried:
        before = tried.look(), scene.node_seen("one")
        # the kernel takes no broadcast address for a gateway
        wrong = [{"dst": "10.99.0.0/16", "gw": "10.6.255.255"}]
        with pytest.raises(CallError, match=r"route 10\.99\.0\.0/16 via 10\.6\.255\.255 dev eth0") as failed:
            asyncio.run(plugin.add(tried.call("ADD", "eth0", policyRoutes=wrong, podMACPrefix="0a:1b")))
        assert failed.value.code == 102
        assert "Not undone" not in failed.value.msg
        assert (pictured(tried.look()), pictured(scene.node_seen("one"))) == tuple(map(pictured, before))
        right = [{"dst": "10.99.0.0/16", "gw": "10.6.0.77"}]
        result = asyncio.run(plugin.add(tried.call("ADD", "eth0", policyRoutes=right, podMACPrefix="0a:1b")))
        assert result["interfaces"][0]["mac"] == "0a:1b:0a:06:d4:32"
        once = tried.look(), scene.node_seen("one")
        assert (
            asyncio.run(plugin.add(tried.call("ADD", "eth0", policyRoutes=right, podMACPrefix="0a:1b"))) == result
        )
        assert (pictured(tried.look()), pictured(scene.node_seen("one"))) == tuple(map(pictured, once))
        asyncio.run(plugin.check(tried.call("CHECK", "eth0", policyRoutes=right)))
        netns.inside(tried.namespace, lambda: scenes.batch("route del 10.96.0.0/16\nrule del fwmark 1"))
        with pytest.raises(
            CallError, match=r"missing: route 10\.96\.0\.0/16 via 10\.6\.0\.11 dev veth0.*rule 32759"
        ):
            asyncio.run(plugin.check(tried.call("CHECK", "eth0")))
        asyncio.run(plugin.delete(tried.call("DEL", "eth0")))
        asyncio.run(plugin.delete(tried.call("DEL", "eth0")))
        assert pictured(tried.look(), own_mac="eth0") == pictured(before[0], own_mac="eth0")
        assert pictured(scene.node_seen("one")) == pictured(before[1])


def test_what_dead_pods_left_on_the_node_is_found(scene: Scene) -> None:
    plugin = scene.coordinator("two")
    with pod(scene, "two", "g1", 60) as kept, pod(scene, "two", "g2", 61) as left:
        # a link that lost its namespace, but for us, does not: so the attachment is not valid any more
        valid = [{"containerID": each.container, "ifname": "eth0"} for each in (kept, scene.pods["u3"])]
        for name, there in (("another", True), ("lan", False)):
            config = {"cni.dev/valid-attachments": valid, "name": name}
            asyncio.run(plugin.gc(left.call("GC", "eth0", **config)))
            node = scene.node_seen("two")
            assert (node.link(coordinator_facts.end_on_node(left.container)) is not None) == there
            assert node.link(coordinator_facts.end_on_node(kept.container)) is not None
        assert scene.ask("two", kept.addresses["eth0"][4])
    # DEL without a namespace
    gone = Call("DEL", kept.container, "eth0", "", "", "shop", "g1", "", {"name": "lan"})
    asyncio.run(plugin.delete(gone))
    assert scene.node_seen("two").link(coordinator_facts.end_on_node(kept.container)) is None


def test_neighbours_learn_of_a_new_hardware_address(scene: Scene) -> None:
    with pod(scene, "one", "n1", 70, coordinated=False) as named:
        assert scene.ask("client", named.addresses["eth0"][4]) == CLIENT[4]
        asyncio.run(scene.coordinator("one").add(named.call("ADD", "eth0", podMACPrefix="0a:1b")))
        known = {each.address: each.mac for each in pod_network.look(scene.at("client")).neighbours}
        assert known[named.addresses["eth0"][4]] == "0a:1b:0a:06:d4:46"
        assert scene.ask("client", named.addresses["eth0"][4]) == CLIENT[4]


def test_a_pod_of_ipv6_alone_is_reached(scene: Scene) -> None:
    only = scene.pod("two", "v6")
    only.plug("eth0", MACVLAN, ["fd00:6::2:99/64"])
    asyncio.run(scene.coordinator("two").add(only.call("ADD", "eth0", vethLinkAddress="169.254.100.1")))
    address = only.addresses["eth0"][6]
    for place, seen in (("two", NODES["two"][6]), ("client", CLIENT[6]), ("outside", OUTSIDE[6])):
        assert scene.ask(place, address) == seen
    for to in (NODES["two"][6], scene.pods["o2"].addresses["eth0"][6], CLIENT[6]):
        assert scene.ask("v6", to) == address
    # of the other version there is nothing
    assert not [each for each in only.look().routes if each.version == 4 and each.table != 255]
    scene.remove(only)


@pytest.mark.parametrize(
    ("coordinator", "told"),
    [
        (None, "there is no SpiderCoordinator default"),
        (
            SpiderCoordinator(status=CoordinatorStatus(phase="NotReady", reason="no ranges")),
            r"default is NotReady \(no ranges\).*kubectl get spidercoordinators default",
        ),
    ],
)
async def test_pods_wait_until_the_ranges_are_known(coordinator: SpiderCoordinator | None, told: str) -> None:
    async def annotations(_call: Call) -> dict[str, str]:
        return {}

    plugin = Coordinator(lambda: coordinator, annotations)
    for config in ({}, {"mode": "disabled"}):
        whole = {"prevResult": {"ips": []}, **config}
        call = Call("ADD", "c1", "eth0", "/nowhere", "", "shop", "web", "", whole)
        if config:
            # who is not coordinated need not wait
            assert await plugin.add(call) == {"ips": []}
        else:
            for work in (plugin.add, plugin.status):
                with pytest.raises(CallError, match=told) as refused:
                    await work(call)
                assert refused.value.code == 11


@contextmanager
def pod(
    scene: Scene, node: str, name: str, number: int, *, coordinated: bool = True, **config: Any
) -> Iterator[Pod]:
    """A pod with an interface on the LAN."""
    made = scene.pod(node, name)
    try:
        made.plug("eth0", MACVLAN, [f"10.6.212.{number}/16", f"fd00:6::2:{number:x}/64"])
        if coordinated:
            asyncio.run(scene.coordinator(node).add(made.call("ADD", "eth0", **config)))
        yield made
    finally:
        scene.remove(made)


def pictured(seen: Observed, own_mac: str = "") -> set[str]:
    """What counts of a picture: neighbours that were asked come and go, and addresses of IPv6 make themselves."""
    links = [
        (
            link.name,
            link.kind,
            link.up,
            link.alias,
            *(each for each in link.addresses if not each.startswith("fe80")),
            *(() if link.name == own_mac else (link.mac, link.queue)),
        )
        for link in seen.links
    ]
    routes = [each for each in seen.routes if not each.destination.startswith(("fe80", "ff"))]
    entries = [each for each in seen.neighbours if each.state == "permanent"]
    sysctls = [one for one in seen.sysctls.items() if "/accept_ra" not in one[0]]
    return set(map(str, (*links, *routes, *seen.rules, *entries, *sysctls, *seen.marks)))
