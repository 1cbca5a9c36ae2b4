"""A small mesh for tests: the real Envoy as the sidecar of each pod, in network namespaces."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import envoy, mesh, netns
from tests.support.identities import Authority

from weft.model.routing import Destination, HostRoutes, HttpRoute, MatchKind, RequestMatch, StringMatch
from weft.model.services import Endpoint, InboundPort, Protocol
from weft.model.traffic import HostTraffic, LoadBalancer, Subset, TrafficPolicy
from weft.model.view import ServiceView, View
from weft.xds.generate import Generator

APP = Path(__file__).parent / "echo.py"
HOST = "canary.canary.svc.cluster.local"
V1, V2 = Destination(HOST, 80, "v1", 100), Destination(HOST, 80, "v2", 100)
BY_USER = RequestMatch(headers=(("user", StringMatch(MatchKind.EXACT, "zhongmingmao")),))
CANARY = HostRoutes((HttpRoute((V2,), matches=(BY_USER,)), HttpRoute((V1,))), rule="canary.canary")
SUBSETS = (
    Subset("v1", (("version", "v1"),), TrafficPolicy(LoadBalancer.RANDOM)),
    Subset("v2", (("version", "v2"),), TrafficPolicy(LoadBalancer.ROUND_ROBIN)),
)
TRAFFIC = HostTraffic(TrafficPolicy(LoadBalancer.RANDOM), SUBSETS, rule="canary.canary")
INBOUND = (
    InboundPort(8080, Protocol.HTTP, HOST, 80),
    InboundPort(9000, Protocol.TCP, "greeter.canary.svc.cluster.local", 9000),
    InboundPort(9090, Protocol.GRPC, "rpc.canary.svc.cluster.local", 9090),
)


@dataclass
class City:
    """A client's pod, two servers behind sidecars, and a pod outside the mesh."""

    client: netns.Pod
    v1: netns.Pod
    v2: netns.Pod
    outside: netns.Pod
    authority: Authority
    generator: Generator
    sidecars: dict[str, ExitStack] = field(default_factory=dict)
    servers: dict[str, envoy.Running] = field(default_factory=dict)

    def services(
        self,
        routes: HostRoutes | None = None,
        traffic: HostTraffic = TRAFFIC,
        ready: tuple[str, ...] = ("v1", "v2"),
    ) -> tuple[ServiceView, ...]:
        """Services with the versions in `ready` behind them; `routes` and `traffic` are those of canary."""

        def endpoints(port: int) -> tuple[Endpoint, ...]:
            return tuple(
                mesh.endpoint(
                    pod.address, port, namespace="canary", account="canary", labels=(("version", version),)
                )
                for pod, version in ((self.v1, "v1"), (self.v2, "v2"))
                if version in ready
            )

        outside = (Endpoint(self.outside.address, 8080, workload="outside", namespace="canary"),)
        return (
            mesh.service_view(
                "canary",
                "10.96.0.50",
                [("http", 80, Protocol.HTTP)],
                namespace="canary",
                endpoints=endpoints(8080),
                routes=routes,
                traffic=traffic,
            ),
            mesh.service_view(
                "auto", "10.96.0.52", [("x", 7000, Protocol.AUTO)], namespace="canary", endpoints=endpoints(8080)
            ),
            mesh.service_view(
                "speaks", "10.96.0.52", [("y", 7001, Protocol.AUTO)], namespace="canary", endpoints=endpoints(9000)
            ),
            mesh.service_view(
                "greeter",
                "10.96.0.51",
                [("tcp", 9000, Protocol.TCP)],
                namespace="canary",
                endpoints=endpoints(9000),
            ),
            mesh.service_view(
                "rpc", "10.96.0.53", [("grpc", 9090, Protocol.GRPC)], namespace="canary", endpoints=endpoints(9090)
            ),
            mesh.service_view(
                "pods",
                "",
                [("http", 8080, Protocol.HTTP)],
                namespace="canary",
                endpoints=endpoints(8080),
                headless=True,
            ),
            # TCP on a port that others use for HTTP
            mesh.service_view(
                "tcp-80", "10.96.0.54", [("tcp", 80, Protocol.TCP)], namespace="canary", endpoints=endpoints(9000)
            ),
            mesh.service_view(
                "legacy", "10.96.0.55", [("http", 80, Protocol.HTTP)], namespace="canary", endpoints=outside
            ),
        )

    def view(self, routes: HostRoutes | None = None, inbound: tuple[InboundPort, ...] = (), **more: Any) -> View:
        """What a proxy in namespace canary gets."""
        return mesh.view(*self.services(routes, **more), namespace="canary", inbound=inbound)

    @contextmanager
    def calling(self, routes: HostRoutes | None = None, **more: Any) -> Iterator[envoy.Running]:
        """The client's sidecar, with these routes for the service canary."""
        with self.managed(routes, **more) as (sidecar, _):
            yield sidecar

    @contextmanager
    def managed(
        self, routes: HostRoutes | None = None, **more: Any
    ) -> Iterator[tuple[envoy.Running, envoy.Management]]:
        """The client's sidecar and what manages it."""
        identity = self.authority.issue("spiffe://cluster.local/ns/canary/sa/toolbox")
        resources = self.generator.resources(self.view(routes, **more))
        with envoy.started(resources, identity, namespace=self.client.namespace) as (sidecar, management):
            assert management.rejected == []
            yield sidecar, management

    def start_server(self, pod: netns.Pod) -> None:
        """Start the sidecar of a server's pod."""
        identity = self.authority.issue("spiffe://cluster.local/ns/canary/sa/canary")
        resources = self.generator.resources(self.view(None, INBOUND))
        stack = self.sidecars[pod.namespace] = ExitStack()
        self.servers[pod.namespace], management = stack.enter_context(
            envoy.started(resources, identity, namespace=pod.namespace)
        )
        assert management.rejected == []

    def stop_server(self, pod: netns.Pod) -> None:
        """Stop it, as it stands."""
        self.sidecars.pop(pod.namespace).close()

    def get(self, url: str = "http://10.96.0.50/", *options: str, pod: netns.Pod | None = None) -> dict[str, Any]:
        """What the application saw of a request."""
        seen: dict[str, Any] = json.loads(self.curl(url, "--fail", *options, pod=pod))
        return seen

    def curl(self, url: str, *options: str, pod: netns.Pod | None = None) -> str:
        """The answer to a request, from the client unless another pod is named."""
        return (pod or self.client).run("curl", "-sS", "--max-time", "15", *options, url)

    def statuses(self, count: int, *options: str) -> Counter[str]:
        """The answers to `count` requests."""
        url = f"http://10.96.0.50/?[1-{count}]"
        out = self.client.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}\n", *options, url, seconds=60)
        return Counter(out.split())


@contextmanager
def running_city() -> Iterator[City]:
    """All pods with their applications and the servers' sidecars; traffic is captured but the outsider's."""
    with ExitStack() as stack:
        client, v1, v2, outside = stack.enter_context(netns.pods(4))
        city = City(client, v1, v2, outside, Authority(), Generator())
        for pod, name in ((v1, "v1"), (v2, "v2"), (outside, "outside")):
            stack.enter_context(pod.serving(APP, name, "8080", "9000", "9090"))
        try:
            for pod in (v1, v2):
                city.start_server(pod)
                pod.capture()
            client.capture()
            yield city
        finally:
            for sidecar in list(city.sidecars.values()):
                sidecar.close()
