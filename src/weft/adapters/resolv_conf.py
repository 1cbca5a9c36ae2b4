"""Which resolvers this machine or pod asks, and how it completes names (resolv.conf(5))."""

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

_PATH = Path("/etc/resolv.conf")


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """`search` are domains in lower case without the final dot."""

    nameservers: tuple[IPv4Address, ...] = ()
    search: tuple[str, ...] = ()


def read(path: Path = _PATH) -> ResolvConf:
    """What the file says; nothing where there is none. Servers with IPv6 addresses are passed over."""
    try:
        return parse(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ResolvConf()


def parse(text: str) -> ResolvConf:
    """What a file with this text says."""
    servers: list[IPv4Address] = []
    search: tuple[str, ...] = ()
    for line in text.splitlines():
        match line.partition("#")[0].split():
            case ["nameserver", address, *_]:
                servers += _ipv4(address)
            case ["search" | "domain", *domains]:
                search = tuple(domain.lower().rstrip(".") for domain in domains)  # the last line counts
    return ResolvConf(tuple(servers), tuple(domain for domain in search if domain))


def _ipv4(text: str) -> list[IPv4Address]:
    try:
        return [IPv4Address(text)]
    except AddressValueError:
        return []
