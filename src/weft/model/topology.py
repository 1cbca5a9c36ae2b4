"""What stands before a gateway: whom to believe about the client (ProxyConfig.gatewayTopology)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from weft.api.proxy_settings import GatewayTopology
from weft.model.mesh_config import MeshConfig
from weft.model.services import Proxy

METADATA: Final = "GATEWAY_TOPOLOGY"
"""Key of a proxy's metadata: its own topology, as JSON."""


@dataclass(frozen=True, slots=True)
class Topology:
    """`trusted_proxies` entries of x-forwarded-for are believed, from the right.

    `forward_certificate` says what becomes of x-forwarded-client-cert, in Istio's words; `proxy_protocol` that
    each connection begins with that.
    """

    trusted_proxies: int = 0
    forward_certificate: str = "SANITIZE_SET"
    proxy_protocol: bool = False


NOTHING_BEFORE: Final = Topology()


def topology(proxy: Proxy, mesh: MeshConfig) -> Topology:
    """A gateway's topology: its own where its pod says one, else the mesh's default. What is not valid is none."""
    own = dict(proxy.metadata).get(METADATA, "")
    try:
        if own:
            return _translated(msgspec.json.decode(own, type=GatewayTopology))
        return _translated(msgspec.convert(mesh.default_config.get("gatewayTopology") or {}, GatewayTopology))
    except msgspec.ValidationError:
        return NOTHING_BEFORE


def told(proxy_config: object) -> str:
    """The topology of a PROXY_CONFIG as a proxy tells it, as JSON; empty if it has none."""
    found: Any = proxy_config.get("gatewayTopology") if isinstance(proxy_config, Mapping) else None
    return msgspec.json.encode(found, order="sorted").decode() if isinstance(found, Mapping) and found else ""


def _translated(written: GatewayTopology) -> Topology:
    forward = written.forward_client_cert_details
    return Topology(
        trusted_proxies=written.num_trusted_proxies or 0,
        forward_certificate=forward if forward and forward != "UNDEFINED" else NOTHING_BEFORE.forward_certificate,
        proxy_protocol=written.proxy_protocol is not None,
    )
