"""Neighbours of a real link, asked and told."""

from ipaddress import ip_address

import pytest
from tests.support.istio_iptables import empty_namespace, run

from weft.adapters import neighbours, pod_network

SETUP = """
link set lo up
link add eth0 type veth peer name net1 address 02:00:00:00:00:22
addr add 10.6.0.1/16 dev net1
addr add fd00:6::1/64 dev net1 nodad
link set net1 up
"""
OWNER = "02:00:00:00:00:22"


async def test_neighbours_answer_and_hear() -> None:
    with empty_namespace() as name:
        done = run(name, "ip", "-batch", "-", stdin=SETUP)
        assert done.returncode == 0, done.stderr
        for taken, free in (("10.6.0.1", "10.6.0.2"), ("fd00:6::1", "fd00:6::2")):
            # the interface is down, as it is when IPAM is asked
            assert await neighbours.conflict(name, "eth0", ip_address(taken), timeout=5) == OWNER
            assert not any(each.address == free for each in pod_network.look(name).neighbours)
            assert await neighbours.conflict(name, "eth0", ip_address(free), timeout=0.02, tries=2) is None
            source = ip_address(free)
            assert await neighbours.reachable(name, "eth0", ip_address(taken), source, timeout=5) == OWNER
        told = {each.address for each in pod_network.look(name).neighbours}
        assert {"10.6.0.2", "fd00:6::2"} <= told
        await neighbours.announce(name, "lo", ip_address("127.0.0.1"))
        with pytest.raises(OSError, match="No such device"):
            await neighbours.conflict(name, "eth9", ip_address("10.6.0.1"))


async def test_a_neighbour_learns_of_an_address_that_moved() -> None:
    with empty_namespace() as name:
        done = run(name, "ip", "-batch", "-", stdin=SETUP)
        assert done.returncode == 0, done.stderr
        for address in ("10.6.0.9", "fd00:6::9"):
            entry = ("neigh", "add", address, "lladdr", "02:00:00:00:00:99", "dev", "net1", "nud", "stale")
            assert run(name, "ip", *entry).returncode == 0
            await neighbours.announce(name, "eth0", ip_address(address))
        mac = next(link.mac for link in pod_network.look(name).links if link.name == "eth0")
        told = {each.address: each.mac for each in pod_network.look(name).neighbours}
        assert (told["10.6.0.9"], told["fd00:6::9"]) == (mac, mac)
