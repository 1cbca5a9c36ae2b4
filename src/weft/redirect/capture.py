"""What of a pod's traffic goes through its proxy: the parameters of a plan."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final, Literal

Everything = Literal["*"]
EVERYTHING: Final[Everything] = "*"

Ports = Everything | tuple[int, ...]
Networks = Everything | tuple[IPv4Network, ...]
Resolvers = Everything | tuple[IPv4Address, ...]


@dataclass(frozen=True, slots=True)
class Capture:
    """Istio's knobs, parsed. The defaults are those of an injected pod.

    An include list says what is captured; an exclude list wins over it. Excluded inbound ports matter only
    where all inbound ports are included, as in Istio. `resolvers` are the DNS servers whose queries go to
    `dns_port`; with none, DNS is not captured.
    """

    outbound_port: int = 15001
    inbound_port: int = 15006
    tunnel_port: int = 15008
    proxy_uids: tuple[int, ...] = (1337,)
    proxy_gids: tuple[int, ...] = (1337,)
    inbound_ports: Ports = EVERYTHING
    excluded_inbound_ports: tuple[int, ...] = ()
    outbound_networks: Networks = EVERYTHING
    excluded_outbound_networks: tuple[IPv4Network, ...] = ()
    outbound_ports: tuple[int, ...] = ()
    excluded_outbound_ports: tuple[int, ...] = ()
    excluded_interfaces: tuple[str, ...] = ()
    virtual_interfaces: tuple[str, ...] = ()
    resolvers: Resolvers = ()
    dns_port: int = 15053
