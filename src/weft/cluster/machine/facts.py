"""Gathering what preflight judges."""

import os
import shutil
import socket
import subprocess
import tempfile
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

from weft.adapters import files, netlink
from weft.cluster.machine.layout import Layout
from weft.cluster.machine.preflight import PACKAGES, Facts, Network

_PROBE = r"""
try() { name=$1; shift; said=$("$@" 2>&1) || printf '%s\t%s\n' "$name" "$(printf %s "$said" | head -n 1)"; }
overlay() {
    mkdir "$0/lower" "$0/upper" "$0/work" "$0/merged" &&
    mount -t overlay overlay -o "lowerdir=$0/lower,upperdir=$0/upper,workdir=$0/work" "$0/merged" &&
    umount "$0/merged"
}
rules() {
    nft -f - <<'END'
table ip weft-probe {
    map m { type ipv4_addr . inet_proto . inet_service : verdict; }
    chain c {
        type nat hook prerouting priority dstnat; policy accept;
        fib daddr type local accept
        meta l4proto tcp dnat to numgen random mod 2 map { 0 : 10.0.0.1 . 80, 1 : 10.0.0.2 . 80 }
        meta l4proto tcp dnat to jhash ip saddr mod 2 map { 0 : 10.0.0.1 . 80, 1 : 10.0.0.2 . 80 }
    }
    chain f { type filter hook forward priority filter; policy accept; meta l4proto tcp reject with tcp reset; }
    chain p { type nat hook postrouting priority srcnat; policy accept; ct status dnat masquerade; }
}
END
}
redirect() { printf '*nat\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n' | iptables-restore; }
try veth ip link add probe0 type veth peer name probe1
try bridge ip link add probe2 type bridge
try nft rules
try iptables redirect
try overlay overlay
"""
"""Runs in namespaces that end with it, so that nothing of it stays. Its only argument is a scratch folder."""


def gather(layout: Layout, *, fresh: bool) -> Facts:
    """Look at the machine. What an earlier `up` of this very cluster made is not held against it.

    `fresh`: nothing of this cluster runs, so its port and its ranges must be free.
    """
    if os.geteuid():
        return Facts(root=False)
    missing = frozenset(program for program in PACKAGES if shutil.which(program) is None)
    return Facts(
        missing=missing,
        failed_features=_features(layout.home) if fresh and not missing else {},
        api_port_taken=fresh and _taken(layout.api_port),
        networks=_networks(layout) if "ip" not in missing else (),
        processors=os.cpu_count() or 1,
        free=shutil.disk_usage(_nearest(layout.home)).free if fresh else None,
    )


def knows_sysctl(name: str) -> bool:
    """Whether the kernel has this setting (`net.ipv4.ip_forward`)."""
    return Path("/proc/sys", *name.split(".")).exists()


def resolvers(settings: Path = Path("/etc/resolv.conf")) -> tuple[str, ...]:
    """The machine's own resolvers, where it has a way out to ask them (IPv4; at most three, as resolv.conf(5))."""
    try:
        ways_out = any(route["dst"] == "default" for route in netlink.show(["-4", "route"]))
    except (netlink.NetlinkError, OSError):
        return ()
    words = [line.split() for line in (files.read(settings) or "").splitlines()] if ways_out else []
    named = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver" and ":" not in line[1]]
    return tuple(named[:3])


def _features(home: Path) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix=".weft-probe-", dir=_nearest(home)) as scratch:
        done = subprocess.run(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", _PROBE, scratch],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    if done.returncode and not done.stdout:
        return {"netns": done.stderr.strip().partition("\n")[0]}
    return dict(line.split("\t", 1) for line in done.stdout.splitlines())


def _nearest(home: Path) -> Path:
    """The folder that is there: the home, or what it will be made in."""
    return next(folder for folder in (home, *home.parents) if folder.is_dir())


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        # as servers do: the remains of closed connections are no user of the port
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _networks(layout: Layout) -> tuple[Network, ...]:
    found = [
        Network(IPv4Network(route["dst"]), f"route by {route.get('dev', 'nowhere')}")
        for route in netlink.show(["-4", "route"])
        if route.get("dev") != layout.tag and route["dst"] != "default"
    ]
    for link in netlink.show(["-4", "addr"]):
        if link["ifname"] != layout.tag:
            found += [
                Network(
                    IPv4Interface(f"{one['local']}/{one['prefixlen']}").network, f"address of {link['ifname']}"
                )
                for one in link.get("addr_info", ())
            ]
    return tuple(found)
