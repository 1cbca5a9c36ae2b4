"""The cluster's network on the machine: look, plan, apply."""

import contextlib
import threading
from pathlib import Path

from weft.adapters import netlink, netns
from weft.cluster.machine import links
from weft.cluster.machine.layout import Layout


def ensure(layout: Layout) -> None:
    """Make or complete namespaces, links, addresses and routes; NetlinkError where the kernel refuses."""
    for batch in links.plan(layout, look(layout)):
        lines = [line.replace(links.MACHINE_END, str(threading.get_native_id())) for line in batch.lines]
        with contextlib.suppress(*([netlink.NetlinkError] if batch.optional else [])):
            netlink.batch(lines, namespace=batch.namespace)
    for node in layout.nodes:
        netns.inside(node.namespace, _set_sysctls)


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
        nodes_on_bridge=frozenset(int(port.removeprefix("node-")) for port in ports if port.startswith("node-")),
    )


def _set_sysctls() -> None:
    for key, value in links.SYSCTLS.items():
        path = Path("/proc/sys") / key
        if path.exists() and path.read_text().strip() != value:
            path.write_text(value)
