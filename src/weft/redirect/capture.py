"""What of a pod's traffic goes through its proxy: the description that a plan is made of."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, Literal

Everything = Literal["*"]
EVERYTHING: Final[Everything] = "*"
LOCALHOST: Final = IPv4Network("127.0.0.1/32")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

Mode = Literal["REDIRECT", "TPROXY", "NONE"]
Ports = Everything | tuple[int, ...]
Networks = Everything | tuple[Network, ...]
Resolvers = Everything | tuple[Address, ...]
Groups = Everything | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Capture:
    """Istio's knobs, parsed. The defaults are those of an injected pod with IPv4.

    An include list says what is captured; an exclude list wins over it. Excluded inbound ports matter only
    where all inbound ports are included, as in Istio. `resolvers` are the DNS servers whose queries go to
    `dns_port`; with none, DNS is not captured. `owner_groups` are the groups of processes whose outbound traffic
    is captured; `excluded_owner_groups` count where that is all of them.
    """

    mode: Mode = "REDIRECT"
    """How inbound connections reach the proxy. TPROXY keeps the sender's address; NONE captures nothing at all."""
    ipv6: bool = False
    """Whether IPv6 is captured too, by the same rules."""
    outbound_port: int = 15001
    inbound_port: int = 15006
    tunnel_port: int = 15008
    proxy_uids: tuple[int, ...] = (1337,)
    proxy_gids: tuple[int, ...] = (1337,)
    inbound_ports: Ports = EVERYTHING
    excluded_inbound_ports: tuple[int, ...] = ()
    outbound_networks: Networks = EVERYTHING
    excluded_outbound_networks: tuple[Network, ...] = ()
    outbound_ports: tuple[int, ...] = ()
    excluded_outbound_ports: tuple[int, ...] = ()
    owner_groups: Groups = EVERYTHING
    excluded_owner_groups: tuple[int, ...] = ()
    excluded_interfaces: tuple[str, ...] = ()
    virtual_interfaces: tuple[str, ...] = ()
    """Interfaces of guest machines: what comes in by them is outbound traffic of the pod."""
    resolvers: Resolvers = ()
    dns_port: int = 15053
    drop_invalid: bool = False
    """Whether packets that fit no connection are dropped, where the kernel would answer with a reset."""
    tproxy_mark: int = 1337
    tproxy_table: int = 133
    loopback: IPv4Network = LOCALHOST
    """The IPv4 addresses that stay local when applications call them; for IPv6 that is ::1."""
