"""Whether this machine can hold a cluster: pure checks over gathered facts, each with its way out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from weft.cluster.machine import links
from weft.cluster.machine.layout import Layout
from weft.cluster.machine.trouble import Trouble

PACKAGES: Mapping[str, str] = {
    "containerd": "containerd",
    "runc": "runc",
    "iptables-restore": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "busybox": "busybox-static",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "/usr/lib/cni/host-local": "containernetworking-plugins",
    "/usr/lib/cni/portmap": "containernetworking-plugins",
    "/usr/lib/cni/loopback": "containernetworking-plugins",
    "/usr/lib/cni/tuning": "containernetworking-plugins",
    "/usr/lib/cni/macvlan": "containernetworking-plugins",
}
"""Each program that the cluster runs, and the Debian package that brings it."""

FEATURES: Mapping[str, str] = {
    "netns": "network namespaces (CONFIG_NET_NS, and the right to make them: CAP_SYS_ADMIN)",
    "veth": "veth links (module veth)",
    "bridge": "bridges (module bridge)",
    "nft": "address translation by nftables (modules nf_tables, nft_nat, nft_numgen, nft_fib_ipv4)",
    "iptables": "iptables' nat table (modules iptable_nat or nft_compat, xt_REDIRECT)",
    "overlay": "overlay mounts under the home folder (module overlay)",
}
"""What is tried in a scratch namespace, and how to say that it failed."""

SPACE = 100 << 20
"""Bytes of disk that a new cluster needs: containerd's and our databases, logs, and some room for pods."""

_POD_RANGES = ("10.244.0.0/16", "10.42.0.0/16", "172.30.0.0/16", "100.80.0.0/16", "192.168.128.0/17")
_SERVICE_RANGES = ("10.96.0.0/12", "10.43.0.0/16", "172.31.0.0/16", "100.81.0.0/16")
_LAN_RANGES = ("192.168.49.0/24", "192.168.149.0/24", "172.29.49.0/24", "100.82.49.0/24")


@dataclass(frozen=True, slots=True)
class Network:
    """An address range that the machine uses, and for what: `route by eth1`, `address of docker0`."""

    range: IPv4Network
    use: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found on the machine. `failed_features` maps a key of FEATURES to what the kernel said."""

    root: bool = True
    missing: frozenset[str] = frozenset()
    failed_features: Mapping[str, str] = field(default_factory=dict)
    api_port_taken: bool = False
    networks: tuple[Network, ...] = ()
    processors: int = 1
    free: int | None = None
    """Bytes that are left where the home is; None if nobody looked."""


def check(layout: Layout, facts: Facts) -> tuple[Trouble, ...]:
    """All that is wrong. Without root nothing else can be tried, so nothing else is said."""
    if not facts.root:
        return (
            Trouble("weft up must run as root: it makes network namespaces and containers.", "Try: sudo weft up"),
        )
    return (
        *_programs(facts.missing),
        *(_feature(name, said) for name, said in facts.failed_features.items()),
        *_port(layout, facts),
        *_space(layout, facts),
        *_sizes(layout),
        *_ranges(layout, facts.networks),
    )


def _programs(missing: frozenset[str]) -> Iterator[Trouble]:
    by_package: dict[str, list[str]] = {}
    for program in sorted(missing):
        by_package.setdefault(PACKAGES[program], []).append(program)
    for package, programs in by_package.items():
        yield Trouble(f"{', '.join(programs)} not found.", f"Try: apt-get install {package}")


def _feature(name: str, said: str) -> Trouble:
    reason = f" ({said})" if said else ""
    return Trouble(
        f"The kernel refuses {FEATURES[name]}{reason}.",
        "Load the module with modprobe, or run on a machine (not in an unprivileged container) that has it.",
    )


def _port(layout: Layout, facts: Facts) -> Iterator[Trouble]:
    if facts.api_port_taken:
        yield Trouble(
            f"Port {layout.api_port} of 127.0.0.1 is in use (see: ss -ltnp 'sport = :{layout.api_port}').",
            f"Choose another for the API server: weft up --api-port {layout.api_port + 1}",
        )


def _space(layout: Layout, facts: Facts) -> Iterator[Trouble]:
    if facts.free is not None and facts.free < SPACE:
        yield Trouble(
            f"{layout.home} has {facts.free >> 20} MiB left; a cluster needs {SPACE >> 20} MiB to begin with.",
            "Choose a folder on another disk: weft up --home DIR",
        )


def _sizes(layout: Layout) -> Iterator[Trouble]:
    pods = max(1, 1 << max(0, 24 - layout.pods.prefixlen))
    if layout.node_count > pods:
        yield Trouble(
            f"The pod range {layout.pods} has room for {pods} node(s) of 256 addresses, not {layout.node_count}.",
            f"Give a larger one: weft up --pod-cidr {_POD_RANGES[0]}",
        )
    if layout.node_count > layout.lan.num_addresses - 3:
        yield Trouble(
            f"The node range {layout.lan} is too small for {layout.node_count} nodes.", "Use fewer nodes."
        )
    if layout.services.prefixlen > 24:
        yield Trouble(
            f"The service range {layout.services} is too small.",
            f"Give at least a /24: weft up --service-cidr {_SERVICE_RANGES[0]}",
        )
    ranges = (("--pod-cidr", layout.pods), ("--service-cidr", layout.services), ("--node-cidr", layout.lan))
    taken = {"the underlay's": links.GATEWAY, "the outside host's": links.BEYOND} if layout.underlay else {}
    for whose, (four, _) in taken.items():
        for option, one in ranges:
            if one.overlaps(IPv4Network(str(four.network))):
                yield Trouble(f"{option} {one} and {whose} range {four.network} overlap.", "Give another one.")
    for index, (option, one) in enumerate(ranges):
        for other_option, other in ranges[index + 1 :]:
            if one.overlaps(other):
                yield Trouble(f"{option} {one} and {other_option} {other} overlap.", "Give ranges that do not.")


def _ranges(layout: Layout, networks: tuple[Network, ...]) -> Iterator[Trouble]:
    wanted = (
        ("pod", "--pod-cidr", layout.pods, _POD_RANGES),
        ("service", "--service-cidr", layout.services, _SERVICE_RANGES),
        ("node", "--node-cidr", layout.lan, _LAN_RANGES),
    )
    for what, option, wanted_range, others in wanted:
        # a default route says nothing about who owns a range
        taken = [one for one in networks if one.range.prefixlen and one.range.overlaps(wanted_range)]
        if taken:
            free = _free(others, layout, networks)
            way_out = f"Choose another: weft up {option} {free}" if free else f"Choose another by {option}."
            yield Trouble(
                f"The {what} range {wanted_range} is taken on this machine: {taken[0].range} ({taken[0].use}).",
                way_out,
            )


def _free(candidates: tuple[str, ...], layout: Layout, networks: tuple[Network, ...]) -> str:
    used = [layout.pods, layout.services, layout.lan, *(one.range for one in networks if one.range.prefixlen)]
    return next((one for one in candidates if not any(IPv4Network(one).overlaps(other) for other in used)), "")
