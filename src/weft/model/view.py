"""What one proxy is to know: the part of a snapshot that it depends on, resolved."""

from dataclasses import dataclass, field
from typing import Final

from weft.model.authorization import Authorization
from weft.model.inbound import ServedPort
from weft.model.mesh_config import DEFAULT_MESH, MeshConfig
from weft.model.patches import Patch
from weft.model.peer_authentications import PERMISSIVE, PeerModes
from weft.model.request_authentication import TokenRule
from weft.model.router import Router
from weft.model.routing import HostRoutes
from weft.model.services import Endpoint, Labels, Proxy, Service
from weft.model.sidecars import Capture, Listening, Unlisted
from weft.model.streams import StreamRoute
from weft.model.traffic import HostTraffic


@dataclass(frozen=True, slots=True)
class PortView:
    """One service port: its endpoints and, for HTTP and AUTO ports, the routes of requests to it.

    `streams` are the routes of connections, on all but HTTP ports; without any, all go to the service itself.
    """

    number: int
    endpoints: tuple[Endpoint, ...]
    routes: HostRoutes
    streams: tuple[StreamRoute, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceView:
    """One service with all that a client of it needs. `ports` has one entry per port of the service, in order.

    `near` are the client's labels by which endpoints are near to it or far; none where it makes no difference.
    """

    service: Service
    traffic: HostTraffic
    ports: tuple[PortView, ...]
    near: Labels = ()


@dataclass(frozen=True, slots=True)
class HostView:
    """A host that no service has (`*.example.com` perhaps), and the routes of requests to it on port 80."""

    hostname: str
    routes: HostRoutes


@dataclass(frozen=True, slots=True)
class EgressView:
    """A listener of a Sidecar for some services; each has the ports that are called through it.

    `hosts` are known without a service.
    """

    listening: Listening
    services: tuple[ServiceView, ...]
    hosts: tuple[HostView, ...] = ()


@dataclass(frozen=True, slots=True)
class ScopeView:
    """What a Sidecar makes of a proxy's outbound side.

    `egress` are listeners beside those of the services' own ports. `address` is where the latter are, empty for
    the usual, and `capture` how connections come to them. `reached` are services that only the routes of others
    lead to, and providers that are asked. `unlisted` None: as the mesh has it. `rule` names the Sidecar.
    """

    egress: tuple[EgressView, ...] = ()
    reached: tuple[ServiceView, ...] = ()
    unlisted: Unlisted | None = None
    address: str = ""
    capture: Capture = Capture.LED
    rule: str = field(default="", compare=False)


WHOLE_MESH: Final = ScopeView()


@dataclass(frozen=True, slots=True)
class View:
    """Everything one proxy gets. Services are sorted by hostname. Proxies of one namespace share the services.

    `hosts` are known without a service, sorted as well.

    `served` are the ports of its workload, None: the proxy's own `inbound`, as they are. `peer_modes` is what it
    asks of its callers.

    `router` is for proxies at the edge of the mesh: what they do with connections that come in. `patches` are the
    changes of EnvoyFilters, in order. `authorization` is who may call its workload, None:
    anybody. `client` are those of its labels that set it apart, `peers` the pods of
    its workload, where it asks for them. `tokens` are those that it accepts with requests to it.
    """

    proxy: Proxy
    services: tuple[ServiceView, ...]
    hosts: tuple[HostView, ...] = field(default=(), kw_only=True)
    domain: str = "cluster.local"
    mesh: MeshConfig = DEFAULT_MESH
    router: Router | None = None
    scope: ScopeView = WHOLE_MESH
    served: tuple[ServedPort, ...] | None = None
    peer_modes: PeerModes = PERMISSIVE
    patches: tuple[Patch, ...] = ()
    client: Labels = ()
    peers: tuple[Endpoint, ...] = ()
    authorization: Authorization | None = None
    tokens: tuple[TokenRule, ...] = ()

    @property
    def known(self) -> tuple[ServiceView, ...]:
        """Every service that the proxy knows by name, on whichever listener; one entry for each host."""
        if not self.scope.egress:
            return self.services
        more = (each for listener in self.scope.egress for each in listener.services)
        found = {each.service.hostname: each for each in (*more, *self.services)}
        return tuple(found[hostname] for hostname in sorted(found))
