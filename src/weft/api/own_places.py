"""Places of a proxy's own, to which no endpoint may lead: who gets there commands the proxy, or has its keys."""

import posixpath
from ipaddress import ip_address
from typing import Final

_PORTS: Final = frozenset({15000, 15004, 15020})
_FOLDERS: Final = ("/etc/istio/", "/run/secrets/", "/proc/")
_UNIX: Final = "unix://"


def is_loopback(address: str) -> bool:
    """Whether an address leads back to whoever dials it, as far as it says so itself."""
    name = address.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        found = ip_address(address)
    except ValueError:
        return False
    inner = getattr(found, "ipv4_mapped", None) or found
    return bool(inner.is_loopback or inner.is_unspecified)


def is_own_port(address: str, port: int) -> bool:
    """Whether an endpoint is a port of the proxy that dials it, for its own pod alone."""
    return port in _PORTS and is_loopback(address)


def is_own_socket(address: str) -> bool:
    """Whether `unix://PATH` is a socket between a proxy and its agent, or lies where credentials are mounted."""
    path = posixpath.normpath(address.removeprefix(_UNIX)).removeprefix("/var")
    return address.startswith(_UNIX) and f"/{path.lstrip('/')}/".startswith(_FOLDERS)
