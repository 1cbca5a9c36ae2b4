"""Changes a mesh at random, without ever asking for a failure: routes, subsets, gateways, services, endpoints.

A program of its own, on the cluster's machine: `python -m tests.e2e.churn KUBECONFIG NAMESPACE SECONDS SEED`.
Prints each change with its time since the epoch.
"""

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weft.adapters.kube import kinds
from weft.adapters.kube.access import Access
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import Kind

Change = Callable[[], Awaitable[str]]
PAUSES = (0.0, 0.0, 0.02, 0.05, 0.1, 0.3, 0.5)
GATEWAYS = Kind("networking.istio.io", "v1", "Gateway", "gateways")
HOST = "churn.example.com"
_MANAGER = "envoy.filters.network.http_connection_manager"
_MANAGER_TYPE = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


@dataclass
class Churn:
    """The state that the random changes keep sound: no route leads to a subset that no rule names."""

    kube: Kube
    namespace: str
    chance: random.Random
    subsets: bool = False
    made: int = 0
    routed: set[str] = field(default_factory=set)
    more: set[tuple[str, str]] = field(default_factory=set)

    async def step(self) -> str:
        """Make one change; its name."""
        change = self.chance.choice(self._possible())
        return await change()

    def _possible(self) -> list[Change]:
        found: list[Change] = [self._subsets, self._subsets, self._route, self._route, self._edge_route]
        found += [self._new_subsets] * 3
        if self.subsets:
            found += [self._nothing] * 2
        found += [self._endpoints, self._endpoints, self._scale, self._service]
        found += [self._gateway, self._more_gateway, self._filter]
        if self.routed:
            found.append(self._no_route)
        if self.subsets and not self.routed:
            found.append(self._no_subsets)
        if self.more:
            found += [self._fewer, self._fewer]
        return found

    # -- subsets and routes -------------------------------------------------------------------------------------

    async def _subsets(self) -> str:
        names = ["v1", "v2", *self.chance.sample(["v3", "v4"], self.chance.randint(0, 2))]
        balancer = self.chance.choice(["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"])
        policy: dict[str, Any] = {"loadBalancer": {"simple": balancer}}
        if self.chance.random() < 0.5:
            policy["connectionPool"] = {"tcp": {"maxConnections": self.chance.randint(1000, 2000)}}
        subsets = [{"name": name, "labels": {"version": name}} for name in names]
        await self._put(
            kinds.DESTINATIONRULES, "web", {"host": "web", "subsets": subsets, "trafficPolicy": policy}
        )
        self.subsets = True
        return f"DestinationRule web: {','.join(names)} {balancer}"

    async def _new_subsets(self) -> str:
        """Subsets under names that were never there, and at once routes that use them."""
        self.made += 1
        labels = {f"{version}-{self.made}": version for version in ("v1", "v2")}
        subsets = [{"name": name, "labels": {"version": version}} for name, version in labels.items()]
        if self.subsets:
            # those that routes may use now stay until the new routes are written
            subsets += [{"name": version, "labels": {"version": version}} for version in ("v1", "v2")]
        old = self.subsets
        await self._put(kinds.DESTINATIONRULES, "web", {"host": "web", "subsets": subsets})
        host = f"web.{self.namespace}.svc.cluster.local"
        route = {"route": [{"destination": {"host": host, "subset": name}, "weight": 50} for name in labels]}
        await self._put(kinds.VIRTUALSERVICES, "web", {"hosts": ["web"], "http": [route]})
        await self._put(kinds.VIRTUALSERVICES, "edge", {"hosts": [HOST], "gateways": ["edge"], "http": [route]})
        if old:
            await self._put(kinds.DESTINATIONRULES, "web", {"host": "web", "subsets": subsets[:2]})
        # and back to the usual names, as quickly
        self.subsets = True
        usual = [{"name": version, "labels": {"version": version}} for version in ("v1", "v2")]
        await self._put(kinds.DESTINATIONRULES, "web", {"host": "web", "subsets": [*subsets[:2], *usual]})
        await self._route()
        await self._edge_route()
        await self._put(kinds.DESTINATIONRULES, "web", {"host": "web", "subsets": usual})
        return f"subsets {self.made} come and go"

    async def _nothing(self) -> str:
        """Routes, and at once the subsets that they used, are gone."""
        self.routed.clear()
        await self._drop(kinds.VIRTUALSERVICES, "web")
        await self._edge_route(plain=True)
        self.subsets = False
        await self._drop(kinds.DESTINATIONRULES, "web")
        return "no routes and no subsets"

    async def _no_subsets(self) -> str:
        self.subsets = False
        await self._drop(kinds.DESTINATIONRULES, "web")
        return "no DestinationRule web"

    def _destinations(self) -> list[dict[str, Any]]:
        names = ["", "v1", "v2"] if self.subsets else [""]
        chosen = self.chance.sample(names, self.chance.randint(1, len(names)))
        parts = [self.chance.randint(1, 5) for _ in chosen]
        host = f"web.{self.namespace}.svc.cluster.local"
        return [
            {"destination": {"host": host} | ({"subset": name} if name else {}), "weight": part}
            for name, part in zip(chosen, parts, strict=True)
        ]

    def _routes(self) -> list[dict[str, Any]]:
        by_header = {"match": [{"headers": {"x-user": {"exact": "reader"}}}], "route": self._destinations()}
        last: dict[str, Any] = {"route": self._destinations(), "timeout": "29s"}
        if self.chance.random() < 0.5:
            last["headers"] = {"response": {"add": {"x-churn": str(self.chance.random())}}}
        return [by_header, last] if self.chance.random() < 0.5 else [last]

    def _uses_subsets(self, routes: list[dict[str, Any]], name: str) -> None:
        used = any("subset" in each["destination"] for route in routes for each in route["route"])
        (self.routed.add if used else self.routed.discard)(name)

    async def _route(self) -> str:
        routes = self._routes()
        self._uses_subsets(routes, "web")
        await self._put(kinds.VIRTUALSERVICES, "web", {"hosts": ["web"], "http": routes})
        return f"VirtualService web: {len(routes)} routes"

    async def _no_route(self) -> str:
        self.routed.discard("web")
        await self._drop(kinds.VIRTUALSERVICES, "web")
        return await self._edge_route(plain=True) + ", no VirtualService web"

    # -- the edge -----------------------------------------------------------------------------------------------

    async def _edge_route(self, *, plain: bool = False) -> str:
        routes = [{"route": [{"destination": {"host": "web"}}]}] if plain else self._routes()
        self._uses_subsets(routes, "edge")
        await self._put(kinds.VIRTUALSERVICES, "edge", {"hosts": [HOST], "gateways": ["edge"], "http": routes})
        return f"VirtualService edge: {len(routes)} routes"

    async def _gateway(self) -> str:
        others = [f"{name}.example.com" for name in self.chance.sample("abcdef", self.chance.randint(0, 4))]
        await self.gateway("edge", [HOST, *others], 80)
        return f"Gateway edge: {len(others)} more hosts"

    async def _more_gateway(self) -> str:
        name = f"more-{self.chance.randint(1, 4)}"
        port = self.chance.choice([80, 80, 8081])
        await self.gateway(name, [f"{name}.example.com"], port)
        await self._put(
            kinds.VIRTUALSERVICES,
            name,
            {
                "hosts": [f"{name}.example.com"],
                "gateways": [name],
                "http": [{"route": [{"destination": {"host": "web"}}]}],
            },
        )
        self.more |= {("Gateway", name), ("VirtualService", name)}
        return f"Gateway {name} on {port}"

    async def gateway(self, name: str, hosts: list[str], port: int) -> None:
        """Apply a Gateway of the ingress."""
        servers = [{"port": {"number": port, "name": f"http-{port}", "protocol": "HTTP"}, "hosts": hosts}]
        await self._put(GATEWAYS, name, {"selector": {"istio": "ingressgateway"}, "servers": servers})

    # -- endpoints and services ---------------------------------------------------------------------------------

    async def _endpoints(self) -> str:
        """Another choice of the pods that stay, as the endpoints of a Service without a selector."""
        pods = await self.kube.list(kinds.PODS, self.namespace, labels="app=web,version=v1")
        addresses = sorted(each["status"]["podIP"] for each in pods if each["status"].get("podIP"))
        chosen = self.chance.sample(addresses, self.chance.randint(1, len(addresses)))
        await self.endpoints(chosen)
        return f"endpoints of plain: {len(chosen)}"

    async def endpoints(self, addresses: list[str]) -> None:
        """Write the endpoints of `plain`."""
        slice_ = {
            "metadata": {
                "name": "plain-1",
                "namespace": self.namespace,
                "labels": {"kubernetes.io/service-name": "plain"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
            "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in addresses],
        }
        await self.kube.apply(kinds.ENDPOINTSLICES, slice_, manager="churn")

    async def _scale(self) -> str:
        replicas = self.chance.randint(1, 3)
        await self.kube.patch(
            kinds.DEPLOYMENTS, "web-v2", {"spec": {"replicas": replicas}}, namespace=self.namespace
        )
        return f"Deployment web-v2: {replicas}"

    async def _service(self) -> str:
        name = f"other-{self.chance.randint(1, 4)}"
        port = self.chance.choice(
            [{"name": "http", "port": 80}, {"name": "http", "port": 8082}, {"name": "tcp", "port": 8083}]
        )
        spec = {"selector": {"app": "web"}, "ports": [{**port, "targetPort": 80}]}
        meta = {"name": name, "namespace": self.namespace}
        try:
            await self.kube.create(kinds.SERVICES, {"metadata": meta, "spec": spec}, self.namespace)
        except ApiError as error:
            if error.code != 409:
                raise
            await self._drop(kinds.SERVICES, name)
            self.more.discard(("Service", name))
            return f"no Service {name}"
        self.more.add(("Service", name))
        return f"Service {name} on {port['port']}"

    # -- filters ------------------------------------------------------------------------------------------------

    async def _filter(self) -> str:
        """A change of the listeners that requests are on their way through."""
        context = self.chance.choice(["SIDECAR_OUTBOUND", "SIDECAR_INBOUND", "GATEWAY", "ANY"])
        kind = f"type.googleapis.com/{_MANAGER_TYPE}"
        idle = f"{self.chance.randint(100, 200)}s"
        patch = {
            "applyTo": "NETWORK_FILTER",
            "match": {"context": context, "listener": {"filterChain": {"filter": {"name": _MANAGER}}}},
            "patch": {
                "operation": "MERGE",
                "value": {"typed_config": {"@type": kind, "common_http_protocol_options": {"idle_timeout": idle}}},
            },
        }
        namespace = self.chance.choice([self.namespace, "istio-system"])
        obj = {"metadata": {"name": "idle", "namespace": namespace}, "spec": {"configPatches": [patch]}}
        await self.kube.apply(kinds.ENVOYFILTERS, obj, manager="churn")
        return f"EnvoyFilter idle in {namespace}: {context} {idle}"

    async def _fewer(self) -> str:
        kind, name = self.chance.choice(sorted(self.more))
        self.more.discard((kind, name))
        of = {"Gateway": GATEWAYS, "VirtualService": kinds.VIRTUALSERVICES, "Service": kinds.SERVICES}[kind]
        await self._drop(of, name)
        return f"no {kind} {name}"

    async def _put(self, kind: Kind, name: str, spec: dict[str, Any]) -> None:
        obj = {"metadata": {"name": name, "namespace": self.namespace}, "spec": spec}
        await self.kube.apply(kind, obj, manager="churn")

    async def _drop(self, kind: Kind, name: str) -> None:
        await self.kube.delete(kind, name, self.namespace)


async def main(kubeconfig: Path, namespace: str, seconds: float, seed: int) -> None:
    async with Kube(Access.from_kubeconfig(kubeconfig)) as kube:
        churn = Churn(kube, namespace, random.Random(seed))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            print(f"{time.time():.3f} {await churn.step()}", flush=True)
            await asyncio.sleep(churn.chance.choice(PAUSES))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
