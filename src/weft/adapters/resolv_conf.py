"""Which resolvers this machine or pod asks, and how it completes names (resolv.conf(5))."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

_PATH = Path("/etc/resolv.conf")


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """`search` are domains in lower case without the final dot."""

    nameservers: tuple[IPv4Address, ...] = ()
    search: tuple[str, ...] = ()
    ipv6_nameservers: tuple[IPv6Address, ...] = ()


def read(path: Path = _PATH) -> ResolvConf:
    """What the file says; nothing where there is none."""
    try:
        return parse(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ResolvConf()


def parse(text: str) -> ResolvConf:
    """What a file with this text says."""
    servers: list[IPv4Address | IPv6Address] = []
    search: tuple[str, ...] = ()
    for line in text.splitlines():
        match line.partition("#")[0].split():
            case ["nameserver", address, *_]:
                servers += _address(address)
            case ["search" | "domain", *domains]:
                search = tuple(domain.lower().rstrip(".") for domain in domains)  # the last line counts
    return ResolvConf(
        tuple(server for server in servers if isinstance(server, IPv4Address)),
        tuple(domain for domain in search if domain),
        tuple(server for server in servers if isinstance(server, IPv6Address)),
    )


def _address(text: str) -> list[IPv4Address | IPv6Address]:
    try:
        return [ip_address(text)]
    except ValueError:
        return []
