"""The truth table of the redirect API: pods that differ by one annotation or variable, and what is captured.

The pods run as they are, like those of the selection. `shown` are connections whose fate tells the setting.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final, Literal

from tests.cni import selection
from tests.cni.selection import Json

_TRAFFIC: Final = "traffic.sidecar.istio.io/"

Way = Literal["in", "out", "dns"]


@dataclass(frozen=True)
class Traffic:
    """One connection: into the pod at `port`, or out of it to `address` and `port`. `dns` is a query by UDP.

    `uid` and `gid` are those of the process of the pod that makes it.
    """

    way: Way
    port: int
    captured: bool
    address: str = "192.0.2.1"
    """Without meaning for what comes in. The usual one is nobody's."""
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class Case:
    """`capture` are the fields of `weft.redirect.capture.Capture` that differ from the usual."""

    name: str
    pod: Json
    capture: Mapping[str, Any]
    shown: tuple[Traffic, ...]


def annotated(name: str, **annotations: str) -> Json:
    """The usual pod with annotations of traffic, by their last names."""
    made = selection.pod(name)
    made["metadata"]["annotations"] |= {f"{_TRAFFIC}{key}": value for key, value in annotations.items()}
    return made


def _mode(name: str, mode: str) -> Json:
    made = selection.pod(name)
    made["metadata"]["annotations"]["sidecar.istio.io/interceptionMode"] = mode
    return made


def _rerouted(name: str) -> Json:
    made = annotated(name, kubevirtInterfaces="tap0")
    made["metadata"]["annotations"]["istio.io/reroute-virtual-interfaces"] = "k6t-eth0"
    return made


def _status_port(name: str) -> Json:
    made = selection.pod(name)
    made["metadata"]["annotations"]["status.sidecar.istio.io/port"] = "15520"
    return made


def _variable(name: str, variable: str) -> Json:
    return selection.proxied(name, env=selection.env(variable, "true"))


def _as(name: str, uid: int, gid: int, *, whole: bool = False) -> Json:
    made = selection.pod(name)
    place = made["spec"] if whole else made["spec"]["containers"][0]
    place["securityContext"] = {"runAsUser": uid, "runAsGroup": gid}
    return made


def _into(port: int, *, captured: bool = True) -> Traffic:
    return Traffic("in", port, captured)


def _out(port: int = 80, *, address: str = "192.0.2.1", captured: bool = True) -> Traffic:
    return Traffic("out", port, captured, address)


def _by(uid: int, gid: int, *, captured: bool) -> Traffic:
    return Traffic("out", 80, captured, uid=uid, gid=gid)


def _query(*, captured: bool) -> Traffic:
    return Traffic("dns", 53, captured, "192.0.2.53")


_BOTH = (_into(8080), _out())
_BY_THE_PROXY = (_by(1337, 1337, captured=False), _by(1337, 0, captured=False), _by(0, 1337, captured=False))

CASES: Final = (
    Case(
        "usual",
        selection.pod("usual"),
        {},
        (
            *_BOTH,
            _query(captured=False),
            *(_into(port, captured=False) for port in (15020, 15021, 15090)),
            _out(15020, captured=False),
        ),
    ),
    Case("redirect", _mode("redirect", "REDIRECT"), {}, (*_BOTH, *_BY_THE_PROXY)),
    Case("tproxy", _mode("tproxy", "TPROXY"), {"mode": "TPROXY"}, _BOTH),
    Case("none", _mode("none", "NONE"), {"mode": "NONE"}, (_into(8080, captured=False), _out(captured=False))),
    Case(
        "include-inbound-ports",
        annotated("include-inbound-ports", includeInboundPorts="8080, 8081"),
        {"inbound_ports": (8080, 8081)},
        (_into(8080), _into(8081), _into(9090, captured=False), _out()),
    ),
    Case(
        "no-inbound-ports",
        annotated("no-inbound-ports", includeInboundPorts=""),
        {"inbound_ports": ()},
        (_into(8080, captured=False), _out()),
    ),
    Case(
        "exclude-inbound-ports",
        annotated("exclude-inbound-ports", excludeInboundPorts="9090"),
        {"excluded_inbound_ports": (15090, 15021, 9090, 15020)},
        (_into(9090, captured=False), _into(15021, captured=False), _into(8080)),
    ),
    Case(
        "status-port",
        _status_port("status-port"),
        {"excluded_inbound_ports": (15090, 15021, 15520, 15020)},
        (_into(15520, captured=False), _into(15020, captured=False), _into(8080)),
    ),
    Case(
        "include-outbound-ranges",
        annotated("include-outbound-ranges", includeOutboundIPRanges="192.0.2.0/25, 198.51.100.0/24"),
        {"outbound_networks": (ip_network("192.0.2.0/25"), ip_network("198.51.100.0/24"))},
        (_out(), _out(address="198.51.100.7"), _out(address="192.0.2.200", captured=False), _into(8080)),
    ),
    Case(
        "no-outbound-ranges",
        annotated("no-outbound-ranges", includeOutboundIPRanges=""),
        {"outbound_networks": ()},
        (_out(captured=False), _into(8080)),
    ),
    Case(
        "exclude-outbound-ranges",
        annotated("exclude-outbound-ranges", excludeOutboundIPRanges="192.0.2.0/25"),
        {"excluded_outbound_networks": (ip_network("192.0.2.0/25"),)},
        (_out(captured=False), _out(address="192.0.2.200")),
    ),
    Case(
        "include-outbound-ports",
        annotated("include-outbound-ports", includeOutboundIPRanges="", includeOutboundPorts="3306"),
        {"outbound_networks": (), "outbound_ports": (3306,)},
        (_out(3306), _out(80, captured=False)),
    ),
    Case(
        "exclude-outbound-ports",
        annotated("exclude-outbound-ports", excludeOutboundPorts="9090"),
        {"excluded_outbound_ports": (9090,)},
        (_out(9090, captured=False), _out(80), _out(15020)),
    ),
    Case(
        "exclude-interfaces",
        annotated("exclude-interfaces", excludeInterfaces="eth0"),
        {"excluded_interfaces": ("eth0",)},
        (_into(8080, captured=False), _out(captured=False)),
    ),
    Case(
        "kubevirt-interfaces",
        annotated("kubevirt-interfaces", kubevirtInterfaces="tap0"),
        {"virtual_interfaces": ("tap0",)},
        _BOTH,
    ),
    Case(
        "reroute-virtual-interfaces",
        _rerouted("reroute-virtual-interfaces"),
        {"virtual_interfaces": ("k6t-eth0",)},
        _BOTH,
    ),
    Case(
        "dns",
        _variable("dns", "ISTIO_META_DNS_CAPTURE"),
        {"resolvers": "*"},
        (_query(captured=True), *_BOTH),
    ),
    Case("invalid-drop", _variable("invalid-drop", "INVALID_DROP"), {"drop_invalid": True}, _BOTH),
    Case("dual-stack", _variable("dual-stack", "ISTIO_DUAL_STACK"), {"ipv6": True}, _BOTH),
    Case(
        "own-user",
        _as("own-user", 1400, 1401),
        {"proxy_uids": (1400,), "proxy_gids": (1401,)},
        (*_BOTH, _by(1400, 0, captured=False), _by(0, 1401, captured=False), _by(1337, 1337, captured=True)),
    ),
    Case(
        "user-of-the-pod",
        _as("user-of-the-pod", 1400, 1400, whole=True),
        {"proxy_uids": (1400,), "proxy_gids": (1400,)},
        (*_BOTH, _by(1400, 1400, captured=False), _by(1337, 1337, captured=True)),
    ),
    Case("root", _as("root", 0, 0), {}, (*_BOTH, *_BY_THE_PROXY)),
)
