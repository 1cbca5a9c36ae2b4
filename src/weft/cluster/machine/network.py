"""The cluster's network on the machine: look, plan, apply."""

import contextlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from weft.adapters import netlink, netns
from weft.cluster.machine import links
from weft.cluster.machine.layout import Layout, Node


def ensure(layout: Layout, running: Sequence[Node] | None = None) -> None:
    """Make or complete namespaces, links, addresses and routes; NetlinkError where the kernel refuses.

    Of the nodes those in `running` get theirs, all if None.
    """
    nodes = layout.nodes if running is None else running
    for batch in links.plan(layout, look(layout), running):
        # a node that has had no IPv6 takes no address of it
        _tune(layout, batch.namespace)
        lines = [line.replace(links.MACHINE_END, str(threading.get_native_id())) for line in batch.lines]
        with contextlib.suppress(*([netlink.NetlinkError] if batch.optional else [])):
            netlink.batch(lines, namespace=batch.namespace)
    for node in nodes:
        _tune(layout, node.namespace)


def running(layout: Layout) -> tuple[Node, ...]:
    """The nodes that are not stopped: a stopped one, like a machine without power, has no network at all."""
    names = netns.names()
    return tuple(node for node in layout.nodes if node.namespace in names)


def drop(layout: Layout, node: Node) -> None:
    """Take away the routes to the pods of a node that was removed for good."""
    places = [("", layout.tag), *((other.namespace, "eth0") for other in running(layout))]
    for namespace, link in places:
        with contextlib.suppress(netlink.NetlinkError):
            netlink.batch([f"route del {node.pods} dev {link}"], namespace=namespace)


def look(layout: Layout) -> links.Present:
    """What of the network is there."""
    namespaces = netns.names()
    machine_links = {entry["ifname"] for entry in netlink.show(["link"])}
    ports: set[str] = set()
    if layout.lan_namespace in namespaces:
        ports = {entry["ifname"] for entry in netlink.show(["link"], namespace=layout.lan_namespace)}
    return links.Present(
        namespaces=namespaces,
        machine_link=layout.tag in machine_links and "machine" in ports,
        outside_link="out" in ports and layout.outside_namespace in namespaces,
        nodes_on_bridge=frozenset(int(port.removeprefix("node-")) for port in ports if port.startswith("node-")),
    )


def _tune(layout: Layout, namespace: str) -> None:
    if wanted := links.sysctls(layout, namespace):
        netns.inside(namespace, lambda: _set(wanted))


def _set(wanted: Mapping[str, str]) -> None:
    for key, value in wanted.items():
        path = Path("/proc/sys") / key
        if path.exists() and path.read_text().strip() != value:
            path.write_text(value)
