"""What the listeners of services' own ports stand on: their address, and where goes what none of them knows."""

from dataclasses import dataclass

from weft.model.mesh_config import MeshConfig
from weft.model.services import Proxy
from weft.model.sidecars import Capture
from weft.model.view import ScopeView
from weft.xds.unlisted import PASSED, Otherwise, otherwise


@dataclass(frozen=True, slots=True)
class Lookups:
    """How names become addresses around a proxy. `answered`: it answers the DNS queries of its application.

    `ipv6`: its own addresses are of that family, so that it can reach no others.
    """

    answered: bool = False
    ipv6: bool = False


def lookups(proxy: Proxy) -> Lookups:
    """Those of a proxy."""
    return Lookups(("DNS_CAPTURE", "true") in proxy.metadata, ":" in proxy.address)


@dataclass(frozen=True, slots=True)
class Ground:
    """`address` empty: those of the services. `bound`: the application dials it; else iptables leads there."""

    mesh: MeshConfig
    otherwise: Otherwise = PASSED
    address: str = ""
    bound: bool = False
    lookups: Lookups = Lookups()


def ground(scope: ScopeView, mesh: MeshConfig, lookups: Lookups) -> Ground:
    """The ground of a proxy."""
    bound = scope.capture is Capture.DIALLED
    address = scope.address or ("127.0.0.1" if bound else "")
    return Ground(mesh, otherwise(scope.unlisted, mesh), address, bound, lookups)
