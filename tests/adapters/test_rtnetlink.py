"""Links and addresses as the kernel tells them, held against ip(8)."""

from ipaddress import ip_interface

from tests.support.istio_iptables import empty_namespace, run

from weft.adapters import netlink, netns, rtnetlink
from weft.adapters.rtnetlink import Link

SETUP = """
link set lo up
link add br0 type bridge
link add p0 type veth peer name p1
link set p0 master br0
link set p0 up
addr add 10.1.2.3/24 dev p1
addr add 10.1.2.4/24 dev p1
addr add 192.0.2.1 peer 192.0.2.2/31 dev p1
addr add fd00::1/64 dev p1 nodad
addr add fd00::5 peer fd00::6 dev p1
link set p1 up
"""


def test_links_are_those_that_ip_shows() -> None:
    with empty_namespace() as name:
        done = run(name, "ip", "-batch", "-", stdin=SETUP)
        assert done.returncode == 0, done.stderr
        # more of them than one message holds
        many = "".join(f"addr add 10.2.{number}.1/24 dev br0\n" for number in range(250))
        assert run(name, "ip", "-batch", "-", stdin=many).returncode == 0
        shown = tuple(
            Link(
                str(link["ifname"]),
                tuple(ip_interface(f"{one['local']}/{one['prefixlen']}") for one in link.get("addr_info", ())),
                "UP" in link["flags"],
                "master" in link,
            )
            for link in netlink.show(["addr"], namespace=name)
        )
        found = netns.inside(name, rtnetlink.links)
    assert found == shown
    assert [link.name for link in found if link.enslaved] == ["p0"]
    assert len(found) == 4
