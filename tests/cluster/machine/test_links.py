"""The cluster's links as a plan, and on the kernel."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from weft.adapters import files, netlink, netns
from weft.cluster.machine import links, network, removal
from weft.cluster.machine.layout import Layout


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[tuple[Layout, str]]:
    """A layout, and a namespace without a way out that plays the machine."""
    layout = Layout(tmp_path / "home", node_count=2, run_root=tmp_path / "run")
    outer = f"outer-{layout.id}"
    netlink.batch([f"netns add {outer}"])
    netlink.batch(["link set lo up"], namespace=outer)
    yield layout, outer
    removal.remove(layout, data=True)
    netns.remove(outer)


def snapshot(layout: Layout, outer: str) -> tuple[object, ...]:
    """What the kernel shows of a cluster: namespaces, mounts, control groups, and the machine's links and routes.

    Other clusters may come and go beside it, so only what bears its names is looked at.
    """
    words = (layout.tag, str(layout.home), str(layout.run))
    return (
        sorted(name for name in netns.names() if name.startswith(layout.tag)),
        sorted(str(path) for path in files.mounts() if any(word in str(path) for word in words)),
        files.cgroups(layout.tag),
        sorted(link["ifname"] for link in netlink.show(["link"], namespace=outer)),
        netlink.show(["-4", "route"], namespace=outer),
    )


def reach(namespace: str, address: str) -> bool:
    """Whether packets to an address come to a machine that answers: a refused connection is an answer."""
    family = "AF_INET6" if ":" in address else "AF_INET"
    code = (
        f"import socket; s=socket.socket(socket.{family}); s.settimeout(1); print(s.connect_ex(({address!r}, 9)))"
    )
    words = [*netns.enter(namespace), "python3", "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip() == "111"  # ECONNREFUSED


def test_machine_and_nodes_reach_each_other_and_nothing_else(machine: tuple[Layout, str]) -> None:
    layout, outer = machine
    netns.inside(outer, lambda: network.ensure(layout))
    one, two = layout.nodes

    for namespace in (outer, one.namespace, two.namespace):
        for address in (layout.machine_ip, one.ip, two.ip):
            assert reach(namespace, str(address)), (namespace, address)
        assert not any(route["dst"] == "default" for route in netlink.show(["-4", "route"], namespace=namespace))


def test_the_nodes_second_links_join_a_lan_of_their_own(machine: tuple[Layout, str]) -> None:
    layout, outer = machine
    netns.inside(outer, lambda: network.ensure(layout))
    one, two = layout.nodes
    for number, node in enumerate((one, two), 1):
        (link,) = netlink.show(["addr", "show", "dev", links.UNDERLAY], namespace=node.namespace)
        assert "UP" in link["flags"]
        assert not link["addr_info"], "its addresses are for pods to choose"
        netlink.batch([f"addr add 172.16.41.{number}/24 dev {links.UNDERLAY}"], namespace=node.namespace)

    assert reach(one.namespace, "172.16.41.2")
    assert not reach(outer, "172.16.41.2")


def test_services_are_reached_through_a_node_that_runs(machine: tuple[Layout, str]) -> None:
    layout, outer = machine
    netns.inside(outer, lambda: network.ensure(layout))

    def gateway() -> str:
        (route,) = netlink.show(["-4", "route", "show", str(layout.services)], namespace=outer)
        return str(route["gateway"])

    assert gateway() == str(layout.nodes[0].ip)
    removal.remove_node(layout, layout.nodes[0], data=False)
    netns.inside(outer, lambda: network.ensure(layout, network.running(layout)))
    assert gateway() == str(layout.nodes[1].ip)
    assert network.running(layout) == (layout.nodes[1],)
    netns.inside(outer, lambda: network.ensure(layout))
    assert gateway() == str(layout.nodes[0].ip)


def test_a_second_time_changes_nothing(machine: tuple[Layout, str]) -> None:
    layout, outer = machine
    netns.inside(outer, lambda: network.ensure(layout))
    before = snapshot(layout, outer)
    netns.inside(outer, lambda: network.ensure(layout))

    assert snapshot(layout, outer) == before


def test_a_node_that_was_taken_away_is_made_again(machine: tuple[Layout, str]) -> None:
    layout, outer = machine
    netns.inside(outer, lambda: network.ensure(layout))
    netns.remove(layout.nodes[1].namespace)
    netns.inside(outer, lambda: network.ensure(layout))

    assert reach(outer, str(layout.nodes[1].ip))


def test_more_nodes_join_those_that_there_are(machine: tuple[Layout, str]) -> None:
    layout, outer = machine
    netns.inside(outer, lambda: network.ensure(Layout(layout.home, run_root=layout.run_root)))
    netns.inside(outer, lambda: network.ensure(layout))

    assert reach(layout.nodes[0].namespace, str(layout.nodes[1].ip))


def test_removal_leaves_what_was_before_and_can_be_repeated(machine: tuple[Layout, str]) -> None:
    layout, outer = machine
    before = snapshot(layout, outer)
    netns.inside(outer, lambda: network.ensure(layout))
    assert snapshot(layout, outer) != before

    assert removal.remove(layout, data=True).counts["namespaces"] == 3
    assert snapshot(layout, outer) == before
    assert removal.remove(layout, data=True).counts == {}


def test_a_whole_network_needs_no_new_links() -> None:
    layout = Layout(Path("/srv/weft"), node_count=2)
    names = frozenset({layout.lan_namespace, *(node.namespace for node in layout.nodes)})
    present = links.Present(namespaces=names, machine_link=True, nodes_on_bridge=frozenset({1, 2}))

    lines = [line for batch in links.plan(layout, present) for line in batch.lines]

    assert not [line for line in lines if " add " in line]


def test_two_homes_are_two_clusters() -> None:
    one, other = Layout(Path("/srv/a")), Layout(Path("/srv/b"))

    assert one.tag != other.tag
    assert len(one.tag) < 16, "a link's name (IFNAMSIZ)"


def test_on_an_underlay_nodes_and_a_host_of_another_subnet_reach_each_other(machine: tuple[Layout, str]) -> None:
    plain, outer = machine
    layout = replace(plain, underlay=True)
    netns.inside(outer, lambda: network.ensure(plain))  # a cluster may get one later
    netns.inside(outer, lambda: network.ensure(layout))
    before = snapshot(layout, outer)
    netns.inside(outer, lambda: network.ensure(layout))
    assert snapshot(layout, outer) == before
    one, two = layout.nodes
    for address in ("10.6.0.1", "10.6.212.132", "10.7.212.101", "fd00:10:6::132", "fd00:10:7::101"):
        assert any(reach(one.namespace, address) for _ in range(30)), address
    for address in ("10.6.212.131", "fd00:10:6::132"):
        # where IPv6 was on before, the gateway's own address on the link may still be on trial
        assert any(reach(layout.outside_namespace, address) for _ in range(30)), address
    assert not reach(outer, "10.6.0.1"), "the machine is not on it"
    # pods are known to the gateway by their nodes
    netlink.batch([f"addr add {two.pods[5]}/32 dev lo"], namespace=two.namespace)
    assert reach(layout.outside_namespace, str(two.pods[5]))
    assert removal.remove(layout, data=True).counts["namespaces"] == 4
