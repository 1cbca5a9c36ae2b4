"""Addresses that this network namespace answers for on a LAN, beside its own, and telling the LAN of a new one."""

import contextlib
import socket
import struct
from ipaddress import IPv4Address

from weft.adapters import netlink

_LABEL = "lo:weft"
"""Marks the addresses as ours, so that they are known again after a crash."""

_BROADCAST = b"\xff" * 6
_ETH_P_ARP, _REQUEST = 0x0806, 1


def held() -> frozenset[str]:
    """The addresses that are answered for now."""
    found = netlink.show(["-4", "addr", "show", "dev", "lo"])
    return frozenset(
        one["local"] for link in found for one in link.get("addr_info", ()) if one.get("label") == _LABEL
    )


def answer(address: str, link: str) -> None:
    """Answer for an address from now on; neighbours on `link` that knew another machine for it learn the new one.

    The address is on the loopback: Linux answers ARP for all that is its own, on every link (arp_ignore 0).
    """
    netlink.batch([f"addr replace {address}/32 dev lo label {_LABEL}"])
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP)) as raw:
        raw.bind((link, _ETH_P_ARP))
        raw.send(gratuitous(address, raw.getsockname()[4]))


def forsake(address: str) -> None:
    """Answer for an address no more."""
    with contextlib.suppress(netlink.NetlinkError):  # it was taken away by somebody else
        netlink.batch([f"addr del {address}/32 dev lo"])


def gratuitous(address: str, mac: bytes) -> bytes:
    """A frame that tells every neighbour who has an address now (RFC 5227, 3: an ARP announcement)."""
    ip = IPv4Address(address).packed
    ethernet = _BROADCAST + mac + struct.pack("!H", _ETH_P_ARP)
    header = struct.pack("!HHBBH", 1, 0x0800, 6, 4, _REQUEST)
    return ethernet + header + mac + ip + bytes(6) + ip
