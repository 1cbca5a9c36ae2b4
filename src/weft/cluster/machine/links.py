"""The cluster's network as data: which namespaces, links, addresses and routes there are to be.

```
machine  weft-ID 192.168.49.1 ──┐
node 1   eth0    192.168.49.2 ──┤ br0, in weft-ID-lan
node 2   eth0    192.168.49.3 ──┘

node 1   ens192  no address ────┐ br1, in weft-ID-lan: the underlay, a LAN apart from the nodes' own,
node 2   ens192  no address ────┘ for pods that get a second interface on it
```
No default route anywhere: what runs in the cluster reaches the cluster, and nothing else.

With `layout.underlay` the second LAN is one that hosts live on, with a way out of it:
```
node 1   ens192  10.6.212.131 ──┐ br1 10.6.0.1, the gateway     weft-ID-out
node 2   ens192  10.6.212.132 ──┘          └── out 10.7.0.1 ─── eth0 10.7.212.101, a host of another subnet
```
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from weft.cluster.machine.layout import Layout, Node

UNDERLAY = "ens192"
"""A node's link to the underlay, called as a virtual machine's second one usually is."""

SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",  # replies may come back by another way than a strict filter expects
    "net/ipv4/conf/default/rp_filter": "0",
    # balanced traffic may leave by the link it came in by: its sender knows no better way, and redirects
    # use up the allowance for `port unreachable` (ip_rt_send_redirect and icmpv4_xrlim_allow share it)
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv4/conf/eth0/send_redirects": "0",
    "net/ipv4/conf/all/route_localnet": "1",  # hostPort and NodePort on 127.0.0.1
    "net/ipv6/conf/all/disable_ipv6": "1",  # no IPv6 in this cluster: no waiting for router advertisements
    "net/ipv6/conf/default/disable_ipv6": "1",
}
"""A node's settings; the other namespaces keep the kernel's."""

_AT_ONCE = {"net/ipv6/conf/default/accept_dad": "0"}
"""Addresses are the plan's, of which there are no two: none has to wait until it is known to be alone."""

UNDERLAY_SYSCTLS = {
    **SYSCTLS,
    "net/ipv6/conf/all/disable_ipv6": "0",
    "net/ipv6/conf/default/disable_ipv6": "0",
    "net/ipv6/conf/all/accept_ra": "0",  # addresses and routes are the plan's, and nobody waits for others
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv6/conf/all/forwarding": "1",
    **_AT_ONCE,
}
"""A node's settings where there is IPv6 on the underlay."""

GATEWAY_SYSCTLS = {"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1", **_AT_ONCE}
"""Settings of the namespace with the bridges, which is the underlay's gateway then."""

Interfaces = tuple[IPv4Interface | IPv6Interface, ...]

GATEWAY: Interfaces = (ip_interface("10.6.0.1/16"), ip_interface("fd00:10:6::1/64"))
_FIRST_NODE: Interfaces = (ip_interface("10.6.212.131/16"), ip_interface("fd00:10:6::131/64"))
BEYOND: Interfaces = (ip_interface("10.7.0.1/16"), ip_interface("fd00:10:7::1/64"))
"""The gateway's addresses in the other subnet."""
OUTSIDE: Interfaces = (ip_interface("10.7.212.101/16"), ip_interface("fd00:10:7::101/64"))
"""The host there."""


@dataclass(frozen=True, slots=True)
class Present:
    """What is there already: namespaces, and the machine's routes that leave by our link."""

    namespaces: frozenset[str] = frozenset()
    machine_link: bool = False
    outside_link: bool = False
    nodes_on_bridge: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Batch:
    """Commands for `ip -batch` in one namespace; the machine's own is the empty name."""

    namespace: str
    lines: tuple[str, ...]
    optional: bool = False
    """Whether what it asks for may have come about by itself."""


def sysctls(layout: Layout, namespace: str) -> Mapping[str, str]:
    """The settings of a namespace, in order; none of the machine's own."""
    if namespace == layout.lan_namespace:
        return GATEWAY_SYSCTLS if layout.underlay else {}
    if namespace == layout.outside_namespace:
        return _AT_ONCE
    if not namespace:
        return {}
    return UNDERLAY_SYSCTLS if layout.underlay else SYSCTLS


def plan(layout: Layout, present: Present, running: Sequence[Node] | None = None) -> tuple[Batch, ...]:
    """The batches that make the network whole, in order. Applied to a whole network they change nothing.

    Links are made only where they are missing; addresses and routes are set with `replace`, which is idempotent.
    Of the nodes those in `running` are to be there, all if None; the machine reaches services through the first.
    """
    nodes = layout.nodes if running is None else tuple(running)
    outside = (layout.outside_namespace,) if layout.underlay else ()
    wanted = (layout.lan_namespace, *outside, *(node.namespace for node in nodes))
    lan_is_new = layout.lan_namespace not in present.namespaces
    machine_link = present.machine_link and not lan_is_new
    on_bridge = frozenset() if lan_is_new else present.nodes_on_bridge
    missing_nodes = [
        node for node in nodes if node.number not in on_bridge or node.namespace not in present.namespaces
    ]
    batches = [
        Batch("", tuple(f"netns add {name}" for name in wanted if name not in present.namespaces)),
        Batch(layout.lan_namespace, tuple(_bridge(new=lan_is_new))),
    ]
    if not machine_link:
        batches.append(Batch(layout.lan_namespace, _machine_cable(layout)))
    for node in missing_nodes:
        if node.number in on_bridge:
            # the kernel takes the link of a removed namespace away too, but in its own time
            batches += [
                Batch(layout.lan_namespace, (f"link del {name}-{node.number}",), optional=True)
                for name in ("node", "underlay")
            ]
        batches.append(Batch(layout.lan_namespace, _node_cable(node)))
    batches += [Batch(node.namespace, tuple(_node(layout, node))) for node in nodes]
    if layout.underlay:
        batches += _underlay(layout, nodes, cabled=present.outside_link and not lan_is_new)
    batches.append(Batch("", tuple(_machine(layout, nodes))))
    return tuple(batch for batch in batches if batch.lines)


def _bridge(*, new: bool) -> Iterator[str]:
    if new:
        yield "link add br0 type bridge"
        yield "link add br1 type bridge"
    yield "link set lo up"
    yield "link set br0 up"
    yield "link set br1 up"


def _machine_cable(layout: Layout) -> tuple[str, ...]:
    # made inside the LAN's namespace; the adapter moves the far end to the machine's (see `MACHINE_END`)
    return (
        f"link add machine type veth peer name {layout.tag} netns {MACHINE_END}",
        "link set machine master br0",
        "link set machine up",
    )


MACHINE_END = "@machine"
"""Stands for the id of a task in the machine's namespace; `ip` takes namespaces' names or such ids."""


def _node_cable(node: Node) -> tuple[str, ...]:
    return (
        f"link add node-{node.number} type veth peer name eth0 netns {node.namespace}",
        f"link set node-{node.number} master br0",
        f"link set node-{node.number} up",
        f"link add underlay-{node.number} type veth peer name {UNDERLAY} netns {node.namespace}",
        f"link set underlay-{node.number} master br1",
        f"link set underlay-{node.number} up",
    )


def _node(layout: Layout, node: Node) -> Iterator[str]:
    yield "link set lo up"
    yield f"addr replace {node.ip}/{layout.lan.prefixlen} dev eth0"
    yield "link set eth0 up"
    yield f"link set {UNDERLAY} up"
    # a route for service addresses, so that connections to them get as far as the rules that translate them
    yield f"route replace {layout.services} dev eth0 scope link"
    for other in layout.nodes:
        if other.number != node.number:
            yield f"route replace {other.pods} via {other.ip} dev eth0"


def _underlay(layout: Layout, nodes: Sequence[Node], *, cabled: bool) -> Iterator[Batch]:
    """Addresses on the second LAN, its gateway, and a host beyond it."""
    for node in nodes:
        ways = (
            f"route replace {beyond.network} via {gateway.ip} dev {UNDERLAY}"
            for beyond, gateway in zip(BEYOND, GATEWAY, strict=True)
        )
        yield Batch(node.namespace, (*_addresses(UNDERLAY, on_underlay(node)), *ways))
    if not cabled:
        cable = f"link add out type veth peer name eth0 netns {layout.outside_namespace}"
        yield Batch(layout.lan_namespace, (cable, "link set out up"))
    # the gateway knows the nodes' pods as routers of data centres do: so addresses stay what they are on the way
    pods = (f"route replace {node.pods} via {on_underlay(node)[0].ip} dev br1" for node in nodes)
    yield Batch(layout.lan_namespace, (*_addresses("br1", GATEWAY), *_addresses("out", BEYOND), *pods))
    ways = (f"route replace default via {each.ip}" for each in BEYOND)
    host = ("link set lo up", *_addresses("eth0", OUTSIDE), "link set eth0 up", *ways)
    yield Batch(layout.outside_namespace, host)


def on_underlay(node: Node) -> Interfaces:
    """A node's addresses on the underlay."""
    return tuple(ip_interface(f"{each.ip + node.number - 1}/{each.network.prefixlen}") for each in _FIRST_NODE)


def _addresses(link: str, addresses: Interfaces) -> Iterator[str]:
    for each in addresses:
        yield f"addr replace {each} dev {link}{' nodad' if each.version == 6 else ''}"


def _machine(layout: Layout, nodes: Sequence[Node]) -> Iterator[str]:
    yield f"addr replace {layout.machine_ip}/{layout.lan.prefixlen} dev {layout.tag}"
    yield f"link set {layout.tag} up"
    for node in nodes:
        yield f"route replace {node.pods} via {node.ip} dev {layout.tag}"
    if nodes:
        yield f"route replace {layout.services} via {nodes[0].ip} dev {layout.tag}"
