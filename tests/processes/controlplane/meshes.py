"""Small meshes made by hand, a discovery service that serves them on a Unix socket, and an Envoy that asks it."""

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from tests.support.envoy import ENVOY, Running, bootstrap, scratch
from tests.support.proto import cluster_pb2, endpoint_pb2, listener_pb2, route_pb2

from weft.adapters.grpc_server import Peer, Server
from weft.processes.controlplane.connection import Client
from weft.processes.controlplane.discovery import Discovery
from weft.processes.controlplane.identities import Caller
from weft.processes.controlplane.metrics import Metrics
from weft.xds.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, Resources

for _extension in ("network.http_connection_manager", "http.router"):
    # JSON of type Any is understood once the message's module is there
    import_module(f"envoy.extensions.filters.{_extension}.v3.{_extension.rpartition('.')[2]}_pb2")

_ADS = {"ads": {}, "resource_api_version": "V3"}
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def resource(type_url: str, name: str, kind: Any, body: dict[str, Any]) -> Resource:
    encoded = json_format.ParseDict(body, kind()).SerializeToString(deterministic=True)
    return Resource(type_url, name, hashlib.sha256(encoded).hexdigest()[:12], encoded)


def cluster(name: str, timeout: str = "1s") -> Resource:
    body = {"name": name, "type": "EDS", "connect_timeout": timeout, "eds_cluster_config": {"eds_config": _ADS}}
    return resource(CLUSTER, name, cluster_pb2.Cluster, body)


def bad_cluster(name: str) -> Resource:
    """One that Envoy refuses: a health check without an interval."""
    body = {"name": name, "type": "STATIC", "health_checks": [{"timeout": "1s", "tcp_health_check": {}}]}
    return resource(CLUSTER, name, cluster_pb2.Cluster, body)


def endpoints(name: str, port: int) -> Resource:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    body = {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}
    return resource(ENDPOINT, name, endpoint_pb2.ClusterLoadAssignment, body)


def listener(port: int) -> Resource:
    manager = {
        "@type": _HCM,
        "stat_prefix": "test",
        "rds": {"route_config_name": "80", "config_source": _ADS},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }
    body = {
        "name": "out",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return resource(LISTENER, "out", listener_pb2.Listener, body)


def routes(target: str, *, name: str = "80", header: str = "") -> Resource:
    added = [{"header": {"key": "x-change", "value": header}}] if header else []
    host = {
        "name": "all",
        "domains": ["*"],
        "response_headers_to_add": added,
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": target}}],
    }
    return resource(ROUTE, name, route_pb2.RouteConfiguration, {"name": name, "virtual_hosts": [host]})


def bad_routes(name: str = "80") -> Resource:
    """One that Envoy refuses: the same domain twice."""
    hosts = [{"name": one, "domains": ["same"]} for one in ("a", "b")]
    return resource(ROUTE, name, route_pb2.RouteConfiguration, {"name": name, "virtual_hosts": hosts})


def mesh(*parts: Resource) -> Resources:
    by_type: dict[str, dict[str, Resource]] = {CLUSTER: {}, ENDPOINT: {}, LISTENER: {}, ROUTE: {}}
    for one in parts:
        by_type[one.type_url][one.name] = one
    return by_type


async def anyone(peer: Peer) -> Caller | None:
    return None


class ControlPlane:
    """A discovery service whose snapshot is set by hand: one configuration for all, or one for each proxy."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.resources: Resources = {}
        self.metrics = Metrics()
        self.discovery: Discovery[Resources] = Discovery(
            source=lambda: self.resources,
            configure=self.configure,
            identify=self.identify,
            metrics=self.metrics,
            monotonic=time.monotonic,
        )
        self.server = Server()
        self.port = 0

    async def identify(self, peer: Peer) -> Caller | None:
        return await anyone(peer)

    def configure(self, snapshot: Resources, client: Client) -> Resources:
        return snapshot

    def set(self, *parts: Resource) -> None:
        self.resources = mesh(*parts)
        self.discovery.changed()

    async def settled(self, seconds: float = 10) -> None:
        """Wait until every proxy has confirmed what is set."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            connections = list(self.discovery.connections)
            await asyncio.sleep(0.001)
            if connections and not self.discovery._dirty.is_set() and all(one.settled for one in connections):
                return
        raise AssertionError(f"not settled: {[one.status() for one in self.discovery.connections]}")

    async def connected(self, proxies: int = 1, seconds: float = 20) -> None:
        """Wait until so many proxies are connected."""
        deadline = time.monotonic() + seconds
        while len(self.discovery.connections) < proxies:
            assert time.monotonic() < deadline, f"{len(self.discovery.connections)} of {proxies} proxies connected"
            await asyncio.sleep(0.02)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["ControlPlane"]:
        self.discovery.serve(self.server)
        self.port = self.server.listen(self.address)
        await self.server.start()
        pushing = asyncio.create_task(self.discovery.run())
        try:
            yield self
        finally:
            pushing.cancel()
            await asyncio.gather(pushing, return_exceptions=True)
            await self.server.stop()


@contextlib.contextmanager
def asking_envoy(
    xds: Path, kind: str = "DELTA_GRPC", *, sds: Path | None = None, node: str = ""
) -> Iterator[Running]:
    """An Envoy that asks for its configuration by one stream, and for secrets at `sds` if that is given."""
    with scratch() as folder:
        admin, log, file = folder / "admin", folder / "log", folder / "envoy.json"
        config = bootstrap(xds, admin)
        config["dynamic_resources"]["ads_config"]["api_type"] = kind
        config["node"]["id"] = node or config["node"]["id"]
        if sds is not None:
            (secrets,) = (one for one in config["static_resources"]["clusters"] if one["name"] == "sds-grpc")
            (locality,) = secrets["load_assignment"]["endpoints"]
            locality["lb_endpoints"] = [{"endpoint": {"address": {"pipe": {"path": str(sds)}}}}]
        file.write_text(json.dumps(config))
        command = [str(ENVOY), "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, env=dict(os.environ))
        try:
            yield Running(process, admin, log)
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
