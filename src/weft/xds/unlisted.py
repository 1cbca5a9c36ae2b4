"""What becomes of traffic to hosts that a proxy does not know: passed on, sent to a proxy, or refused."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from weft.model.mesh_config import MeshConfig, OutboundPolicy
from weft.model.sidecars import Unlisted
from weft.xds import names, routes
from weft.xds.proto import route_components_pb2

_ROUTE: Any = route_components_pb2
_NO_LIMIT: Final = timedelta(0)
_REFUSED: Final = 502
"""The status of requests to unknown hosts that may not leave, as Istio answers them."""


@dataclass(frozen=True, slots=True)
class Otherwise:
    """The clusters of unknown connections and requests. BlackHoleCluster: connections end, requests get 502."""

    connections: str = names.PASSTHROUGH
    requests: str = names.PASSTHROUGH

    @property
    def looks_up(self) -> bool:
        """Whether the proxy looks up the hosts of requests itself."""
        return self.requests == names.DYNAMIC_DNS


PASSED: Final = Otherwise()
REFUSED: Final = Otherwise(names.BLACK_HOLE, names.BLACK_HOLE)
RESOLVED: Final = Otherwise(names.PASSTHROUGH, names.DYNAMIC_DNS)
"""The hosts of requests are looked up by the proxy itself."""


def otherwise(unlisted: Unlisted | None, mesh: MeshConfig) -> Otherwise:
    """As a Sidecar has it, else as the mesh does."""
    if unlisted is None:
        match mesh.outbound:
            case OutboundPolicy.ALLOW_ANY:
                return PASSED
            case OutboundPolicy.ALLOW_ANY_DYNAMIC_DNS:
                return RESOLVED
            case OutboundPolicy.REGISTRY_ONLY:
                return REFUSED
    if not unlisted.allowed:
        return REFUSED
    proxy = unlisted.proxy
    if proxy is None:
        return PASSED
    cluster = names.outbound_cluster(proxy.host, proxy.port, proxy.subset)
    return Otherwise(cluster, cluster)


def virtual_host(to: Otherwise) -> bytes:
    """`allow_any` or `block_all`: the virtual host of all hosts that no other one has, listed."""
    if to.requests == names.BLACK_HOLE:
        name, action = "block_all", {"direct_response": _ROUTE.DirectResponseAction(status=_REFUSED)}
    else:
        forward = _ROUTE.RouteAction(cluster=to.requests, timeout=_NO_LIMIT, max_grpc_timeout=_NO_LIMIT)
        name, action = "allow_any", {"route": forward}
    route = _ROUTE.Route(name=name, match=_ROUTE.RouteMatch(prefix="/"), **action)
    host = _ROUTE.VirtualHost(name=name, domains=["*"], routes=[route], include_request_attempt_count=True)
    return routes.listed(host)
