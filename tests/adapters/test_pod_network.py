"""The picture of a namespace, held against what ip(8) and the kernel were told."""

from dataclasses import replace

import msgspec
from tests.support.istio_iptables import empty_namespace, run

from weft.adapters import libnftables, netns, pod_network
from weft.underlay.coordinator import marking
from weft.underlay.observed import Mark, Neighbour, Observed, Route, Rule

SETUP = """
link set lo up
link add br0 type bridge
link add p0 type veth peer name p1
link set p0 master br0
link set p0 alias mine
link set p1 mtu 1400 txqueuelen 77
link set p0 up
link set p1 up
addr add 10.1.2.3/24 dev p1
addr add fd00::1/64 dev p1 nodad
neigh add 10.1.2.9 lladdr 02:00:00:00:00:09 dev p1 nud permanent protocol 77
rule add fwmark 1 lookup 100 pref 500
rule add from 10.1.2.3 lookup 101 pref 600 protocol 77
rule add not fwmark 0x2/0xff iif p1 lookup 100 pref 700
rule add from 10.9.0.0/16 to 10.8.0.0/16 blackhole pref 800
route add default via 10.1.2.1
route add 10.3.0.0/16 via 10.99.0.1 dev p1 onlink table 900
route add 10.4.0.0/16 via inet6 fe80::1 dev p1 table 900
route add 10.7.0.0/16 dev p1 table 901
route add fd00:7::/64 dev p1 table 901
link set br0 up
route add 10.8.0.0/16 dev br0 table 901
route add unreachable 10.5.0.0/16 metric 7 table 900
route add default via fd00::2 table 900
route append default via fd00::3 table 900
"""

SETTINGS = {"net/ipv4/conf/p1/rp_filter": 2, "net/ipv4/ip_forward": 1, "net/ipv4/conf/all/arp_ignore": 1}


def test_a_picture_has_what_there_is() -> None:
    with empty_namespace() as name:
        done = run(name, "ip", "-batch", "-", stdin=SETUP)
        assert done.returncode == 0, done.stderr
        # a new namespace begins with the machine's own settings
        for path, value in SETTINGS.items():
            setting = pod_network.SYSCTLS / path
            netns.inside(name, lambda setting=setting, value=value: setting.write_text(str(value)))  # type: ignore[misc]
        mark = Mark(interface="p1", mark=1)
        netns.inside(name, lambda: libnftables.apply(marking.transaction([mark], replacing=False)))
        netns.inside(name, lambda: libnftables.apply(marking.transaction([mark], replacing=True)))
        found, glanced = pod_network.look(name), pod_network.glance(name, ["p1", "nobody", 77], 901)
        netns.inside(name, lambda: libnftables.apply(marking.transaction([], replacing=True)))
        assert pod_network.look(name).marks == ()
    _, bridge, one, other = (found.link(each) for each in ("lo", "br0", "p0", "p1"))
    assert bridge
    assert one
    assert other
    assert (one.kind, one.master, one.alias, one.peer) == ("veth", bridge.index, "mine", other.index)
    assert (other.mtu, other.queue, other.up, other.addresses[:2]) == (
        1400,
        77,
        True,
        ("10.1.2.3/24", "fd00::1/64"),
    )
    assert [rule for rule in found.rules if rule.version == 4 and 0 < rule.priority < 1000] == [
        Rule(version=4, priority=500, table=100, mark=1, mask=0xFFFFFFFF),
        Rule(version=4, priority=600, table=101, source="10.1.2.3/32", protocol=77),
        Rule(version=4, priority=700, table=100, mark=2, mask=0xFF, incoming="p1", inverted=True),
        Rule(version=4, priority=800, source="10.9.0.0/16", destination="10.8.0.0/16", action="blackhole"),
    ]
    assert Route(table=254, destination="0.0.0.0/0", via="10.1.2.1", device="p1", protocol=3) in found.routes
    assert found.table(900) == (
        Route(table=900, destination="10.3.0.0/16", via="10.99.0.1", device="p1", onlink=True, protocol=3),
        Route(table=900, destination="10.4.0.0/16", via="fe80::1", device="p1", protocol=3),
        Route(table=900, destination="10.5.0.0/16", kind="unreachable", metric=7, protocol=3),
        Route(table=900, destination="::/0", via="fd00::2", device="p1", metric=1024, protocol=3),
        Route(table=900, destination="::/0", via="fd00::3", device="p1", metric=1024, protocol=3),
    )
    assert Neighbour(address="10.1.2.9", device="p1", mac="02:00:00:00:00:09", protocol=77) in found.neighbours
    assert found.sysctls.items() >= SETTINGS.items()
    assert found.marks == (mark,)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Observed) == found
    # a glance is the same, of what was asked for
    assert glanced.link("p1") == replace(other, addresses=other.addresses[:2])
    assert [link.name for link in glanced.links] == ["p1"]
    assert glanced.routes == tuple(replace(route, metric=0) for route in found.table(901) if route.device == "p1")
    assert glanced.rules == found.rules
    assert set(glanced.neighbours) == {each for each in found.neighbours if each.device == "p1"}
