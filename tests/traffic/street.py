"""A client and a server, each with the real Envoy as its sidecar, and a pod outside the mesh."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from tests.support import envoy, mesh, netns
from tests.support.identities import Authority

from weft.adapters.netns import inside
from weft.model.peer_authentications import PERMISSIVE, PeerModes
from weft.model.routing import HostRoutes
from weft.model.services import Endpoint, InboundPort, Protocol
from weft.model.traffic import ConnectionPool, HostTraffic, TrafficPolicy
from weft.model.view import ServiceView, View
from weft.xds.generate import Generator

T = TypeVar("T")
APPLICATION = Path(__file__).parent / "application.py"
XFCC = "x-forwarded-client-cert"

WEB, UPGRADED, KEPT, RPC, GREETER, COUNTER, TRAILED, ANY, RPC_WEB = (f"10.96.7.{each}" for each in range(1, 10))
"""Addresses of the services, all of them on port 80."""

_PORTS = (
    ("web", WEB, 8080, Protocol.HTTP),
    ("upgraded", UPGRADED, 8080, Protocol.HTTP),
    ("kept", KEPT, 8080, Protocol.HTTP),
    ("rpc", RPC, 9090, Protocol.GRPC),
    ("greeter", GREETER, 9000, Protocol.TCP),
    ("counter", COUNTER, 9001, Protocol.TCP),
    ("trailed", TRAILED, 8081, Protocol.HTTP),
    ("any", ANY, 8080, Protocol.AUTO),
    ("rpc-web", RPC_WEB, 9090, Protocol.GRPC_WEB),
)
_UPGRADE = HostTraffic(TrafficPolicy(pool=ConnectionPool(upgrade_to_http2=True)), rule="upgraded.street")
_KEEP = HostTraffic(TrafficPolicy(pool=ConnectionPool(use_client_protocol=True)), rule="kept.street")
_TRAFFIC = {"upgraded": _UPGRADE, "kept": _KEEP}
INBOUND = tuple(
    InboundPort(port, Protocol.GRPC_WEB if port == 9090 else protocol, f"{name}.street.svc.cluster.local", 80)
    for name, port, protocol in (
        ("web", 8080, Protocol.HTTP),
        ("trailed", 8081, Protocol.HTTP),
        ("greeter", 9000, Protocol.TCP),
        ("counter", 9001, Protocol.TCP),
        ("rpc", 9090, Protocol.GRPC),
    )
)


@dataclass
class Street:
    """The pods, their sidecars, and what manages these."""

    client: netns.Pod
    server: netns.Pod
    outside: netns.Pod
    authority: Authority
    generator: Generator = field(default_factory=Generator)
    at_client: envoy.Running = field(init=False)
    at_server: envoy.Running = field(init=False)
    client_management: envoy.Management = field(init=False)
    server_management: envoy.Management = field(init=False)

    def services(
        self, routes: dict[str, HostRoutes] | None = None, pods: tuple[netns.Pod, ...] = ()
    ) -> tuple[ServiceView, ...]:
        """All services with these routes, by their names; `pods` are those behind them, else the server's."""
        given = routes or {}

        def endpoints(port: int) -> tuple[Endpoint, ...]:
            return tuple(mesh.endpoint(pod.address, port, namespace="street") for pod in pods or (self.server,))

        listed = tuple(
            mesh.service_view(
                name,
                address,
                [("p", 80, protocol)],
                namespace="street",
                endpoints=endpoints(port),
                routes=given.get(name),
                traffic=_TRAFFIC.get(name),
            )
            for name, address, port, protocol in _PORTS
        )
        headless = mesh.service_view(
            "pods",
            "",
            [("http", 8080, Protocol.HTTP), ("tcp", 9000, Protocol.TCP)],
            namespace="street",
            endpoints=endpoints(8080),
            headless=True,
        )
        return (*listed, headless)

    def view(self, *services: ServiceView, inbound: tuple[InboundPort, ...] = ()) -> View:
        """What a proxy gets."""
        return mesh.view(*(services or self.services()), namespace="street", inbound=inbound)

    def give_client(self, *services: ServiceView) -> None:
        """Tell the client's sidecar of these services, and wait until it has taken them in."""
        self._give(self.client_management, self.view(*services))

    def give_server(self, inbound: tuple[InboundPort, ...], modes: PeerModes = PERMISSIVE) -> None:
        """Tell the server's sidecar of its ports and of what callers may speak, and wait until it has that."""
        self._give(self.server_management, replace(self.view(inbound=inbound), peer_modes=modes))

    def _give(self, management: envoy.Management, view: View) -> None:
        resources = self.generator.resources(view)
        before = management.heard.copy()
        changed = [kind for kind in before if management.resources.get(kind) != resources.get(kind)]
        management.update(resources)
        envoy.wait_until(lambda: all(management.heard[kind] > before[kind] for kind in changed))
        assert management.rejected == []

    def at(self, pod: netns.Pod, what: Callable[[], T]) -> T:
        """Do something as an application of the pod."""
        return inside(pod.namespace, what)

    def curl(self, url: str, *options: str, pod: netns.Pod | None = None, stdin: str | None = None) -> str:
        """The answer to a request, from the client unless another pod is named."""
        return (pod or self.client).run("curl", "-sS", "--max-time", "20", *options, url, stdin=stdin)

    def seen(self, url: str, *options: str, pod: netns.Pod | None = None) -> dict[str, Any]:
        """What the application saw of a request."""
        found: dict[str, Any] = json.loads(self.curl(url, "--fail", *options, pod=pod))
        return found

    def python(self, script: str, *arguments: str) -> list[str]:
        """The lines that a script prints in the client's pod."""
        return self.client.run(sys.executable, "-c", script, *arguments, seconds=60).splitlines()


def counted(running: envoy.Running, pattern: str) -> int:
    """The sum of all counters that a pattern finds."""
    lines = running.get(f"/stats?usedonly&filter={pattern}").splitlines()
    return sum(int(line.rpartition(": ")[2]) for line in lines)


@contextmanager
def running_street(*options: str) -> Iterator[Street]:
    """Everything, running, Envoy with these options; the traffic of both meshed pods is captured."""
    with ExitStack() as stack:
        client, server, outside = stack.enter_context(netns.pods(3))
        street = Street(client, server, outside, Authority())
        stack.enter_context(server.serving(APPLICATION))
        identity = street.authority.issue("spiffe://cluster.local/ns/street/sa/client")
        resources = street.generator.resources(street.view())
        street.at_client, street.client_management = stack.enter_context(
            envoy.started(resources, identity, namespace=client.namespace, options=options)
        )
        identity = street.authority.issue("spiffe://cluster.local/ns/street/sa/default")
        resources = street.generator.resources(street.view(inbound=INBOUND))
        street.at_server, street.server_management = stack.enter_context(
            envoy.started(resources, identity, namespace=server.namespace, options=options)
        )
        assert street.client_management.rejected == street.server_management.rejected == []
        client.capture()
        server.capture()
        yield street
