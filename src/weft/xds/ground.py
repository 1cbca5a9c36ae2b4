"""What the listeners of services' own ports stand on: their address, and where goes what none of them knows."""

from dataclasses import dataclass

from weft.model.mesh_config import MeshConfig
from weft.model.sidecars import Capture
from weft.model.view import ScopeView
from weft.xds.unlisted import PASSED, Otherwise, otherwise


@dataclass(frozen=True, slots=True)
class Ground:
    """`address` empty: those of the services. `bound`: the application dials it; else iptables leads there."""

    mesh: MeshConfig
    otherwise: Otherwise = PASSED
    address: str = ""
    bound: bool = False


def ground(scope: ScopeView, mesh: MeshConfig) -> Ground:
    """The ground of a proxy."""
    bound = scope.capture is Capture.DIALLED
    address = scope.address or ("127.0.0.1" if bound else "")
    return Ground(mesh, otherwise(scope.unlisted, mesh), address, bound)
