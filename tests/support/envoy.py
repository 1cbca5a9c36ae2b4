"""The real Envoy, for tests: given resources by a real xDS stream, inside a network namespace if wanted."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
from google.protobuf import any_pb2, json_format
from tests.support.proto import bootstrap_pb2, cluster_pb2, discovery_pb2, listener_pb2, secret_pb2

from weft.xds.resource import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, SECRET, Resources

ENVOY = Path(sysconfig.get_path("purelib")) / "envoy" / "_bin" / "envoy"
PROXY_UID = 1337
_BY_NAME = {ENDPOINT, ROUTE, SECRET, EXTENSION}


@dataclass(frozen=True)
class Identity:
    """A workload's certificate chain and key, and the roots that it trusts; all PEM."""

    chain: str
    key: str
    roots: str


@dataclass
class Management:
    """An xDS and SDS server on a Unix socket: gives each Envoy the same resources and identity.

    `rejected` lists what Envoy refused, as `(type URL, message)`; `heard` counts what it asked for and took in.
    `secrets` are serialized and go before the identity's; None stands for one that is not there.
    """

    path: Path
    resources: Resources
    identity: Identity | None = None
    rejected: list[tuple[str, str]] = field(default_factory=list)
    heard: Counter[str] = field(default_factory=Counter)
    secrets: Mapping[str, bytes | None] = field(default_factory=dict)
    _streams: list["Queue[Any]"] = field(default_factory=list)

    @contextlib.contextmanager
    def serving(self) -> Iterator["Management"]:
        # each stream holds a thread for as long as it lives: one ADS stream and one for each secret's watcher
        executor = ThreadPoolExecutor(max_workers=256)
        server = grpc.server(executor)
        for service, method in (
            ("envoy.service.discovery.v3.AggregatedDiscoveryService", "StreamAggregatedResources"),
            ("envoy.service.secret.v3.SecretDiscoveryService", "StreamSecrets"),
        ):
            handler = grpc.stream_stream_rpc_method_handler(
                self._stream,
                request_deserializer=discovery_pb2.DiscoveryRequest.FromString,
                response_serializer=discovery_pb2.DiscoveryResponse.SerializeToString,
            )
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        server.add_insecure_port(f"unix:{self.path}")
        server.start()
        self.path.chmod(0o666)
        try:
            yield self
        finally:
            server.stop(grace=0).wait()
            executor.shutdown(wait=True, cancel_futures=True)

    def update(self, resources: Resources) -> None:
        """Send what changed, and by that what Envoy has."""
        changed = [kind for kind in self.resources if self.resources[kind] != resources[kind]]
        if CLUSTER in changed and ENDPOINT not in changed:
            changed.append(ENDPOINT)  # a cluster that changed warms up anew, with endpoints that are told again
        self.resources = resources
        for events in list(self._streams):
            for kind in changed:
                events.put(kind)

    def renew(self, secrets: Mapping[str, bytes | None]) -> None:
        """Hand out other secrets from now on."""
        self.secrets = secrets
        for events in list(self._streams):
            events.put(SECRET)

    def _stream(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        """Answer requests for other names than before; and updates, which come as a type URL."""
        events: Queue[Any] = Queue()
        reader = threading.Thread(target=_forward, args=(requests, events), daemon=True)
        reader.start()
        self._streams.append(events)
        asked: dict[str, frozenset[str]] = {}
        for number in count():
            match events.get():
                case None:
                    return
                case str(type_url):
                    if type_url not in asked:
                        continue
                case request:
                    type_url, names = request.type_url, frozenset(request.resource_names)
                    if request.HasField("error_detail"):
                        self.rejected.append((type_url, request.error_detail.message))
                        continue
                    self.heard[type_url] += 1
                    if asked.get(type_url) == names:
                        continue
                    asked[type_url] = names
            yield discovery_pb2.DiscoveryResponse(
                version_info=str(number),
                nonce=str(number),
                type_url=type_url,
                resources=self._answer(type_url, asked[type_url]),
            )

    def _answer(self, type_url: str, names: frozenset[str]) -> list[any_pb2.Any]:
        if type_url == SECRET:
            found = (self.secrets[name] if name in self.secrets else self._secret(name) for name in sorted(names))
            return [any_pb2.Any(type_url=SECRET, value=each) for each in found if each is not None]
        known = self.resources.get(type_url, {})
        return [
            any_pb2.Any(type_url=type_url, value=resource.body)
            for name, resource in known.items()
            if type_url not in _BY_NAME or name in names
        ]

    def _secret(self, name: str) -> bytes:
        assert self.identity is not None
        is_key = name.startswith("file-cert:") or (name.startswith("kubernetes:") and not name.endswith("-cacert"))
        return certificate(name, self.identity) if name == "default" or is_key else roots(name, self.identity)


def certificate(name: str, identity: Identity) -> bytes:
    """The secret of a certificate and its key."""
    chain, key = {"inline_string": identity.chain}, {"inline_string": identity.key}
    return _serialized(name, {"tls_certificate": {"certificate_chain": chain, "private_key": key}})


def roots(name: str, identity: Identity, revoked: str = "") -> bytes:
    """The secret of the roots behind an identity, with a list of revoked certificates if any."""
    body: dict[str, Any] = {"trusted_ca": {"inline_string": identity.roots}}
    if revoked:
        body["crl"] = {"inline_string": revoked}
    return _serialized(name, {"validation_context": body})


def _serialized(name: str, body: dict[str, Any]) -> bytes:
    return bytes(json_format.ParseDict({"name": name, **body}, secret_pb2.Secret()).SerializeToString())


def _forward(requests: Iterator[Any], events: "Queue[Any]") -> None:
    with contextlib.suppress(grpc.RpcError):  # the stream was cut
        for request in requests:
            events.put(request)
    events.put(None)


class Running:
    """An Envoy that runs; its admin interface is a Unix socket, so that any namespace will do."""

    def __init__(self, process: subprocess.Popen[bytes], admin: Path, log: Path) -> None:
        self._process = process
        self._admin = admin
        self._log = log

    def get(self, path: str, *, post: bool = False) -> str:
        """The admin interface's answer."""
        connection = http.client.HTTPConnection("envoy", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(str(self._admin))
            connection.request("POST" if post else "GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def json(self, path: str) -> dict[str, Any]:
        """The admin interface's answer, decoded."""
        decoded: dict[str, Any] = json.loads(self.get(path))
        return decoded

    def log(self) -> str:
        """What Envoy wrote so far."""
        return self._log.read_text()

    def wait_ready(self, seconds: float = 20) -> None:
        """Wait until Envoy has its clusters and listeners."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise AssertionError(f"Envoy ended: {self.log()}")
            with contextlib.suppress(OSError):
                if self.get("/ready").strip() == "LIVE":
                    return
            time.sleep(0.05)
        raise AssertionError(f"Envoy is not ready after {seconds} s: {self.log()}")

    def awaited_secrets(self) -> set[str]:
        """The secrets that Envoy has asked for and does not have: it serves without them after a while."""
        dump = self.json("/config_dump?resource=dynamic_warming_secrets")
        return {each["name"] for each in dump.get("configs", ())}


def bootstrap(
    server: Path,
    admin: Path,
    *,
    listeners: tuple[Any, ...] = (),
    clusters: tuple[Any, ...] = (),
    resolver: str = "",
) -> dict[str, Any]:
    """Envoy's first configuration: where xDS and SDS are, and the DNS, if not the machine's; static resources."""
    pipe = {"endpoint": {"address": {"pipe": {"path": str(server)}}}}
    stream = [
        {
            "name": name,
            "type": "STATIC",
            "connect_timeout": "5s",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [pipe]}]},
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}},
                }
            },
        }
        for name in ("xds-grpc", "sds-grpc")
    ]
    ads = {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
    }
    dynamic: dict[str, Any] = {"ads_config": ads}
    if not listeners:
        by_ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
        dynamic |= {"cds_config": by_ads, "lds_config": by_ads}
    return {
        **({"typed_dns_resolver_config": _resolver(resolver)} if resolver else {}),
        "node": {"id": "sidecar~10.0.0.1~test.default~default.svc.cluster.local", "cluster": "test.default"},
        "admin": {"address": {"pipe": {"path": str(admin)}}},
        "dynamic_resources": dynamic,
        "static_resources": {
            "clusters": [*stream, *(json_format.MessageToDict(cluster) for cluster in clusters)],
            "listeners": [json_format.MessageToDict(listener) for listener in listeners],
        },
    }


def _resolver(address: str) -> dict[str, Any]:
    return {
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [{"socket_address": {"address": address, "port_value": 53}}],
            "dns_resolver_options": {"no_default_search_domain": True},
        },
    }


def validate(resources: Resources, seconds: float = 60) -> str:
    """What `envoy --mode validate` has against the clusters and listeners; empty if it takes them.

    Routes and endpoints come by streams only: see `accepted`.
    """
    with scratch() as folder:
        clusters = tuple(cluster_pb2.Cluster.FromString(item.body) for item in resources[CLUSTER].values())
        listeners = tuple(listener_pb2.Listener.FromString(item.body) for item in resources[LISTENER].values())
        config = bootstrap(folder / "xds", folder / "admin", listeners=listeners, clusters=clusters)
        json_format.ParseDict(config, bootstrap_pb2.Bootstrap())
        (folder / "envoy.json").write_text(json.dumps(config))
        command = [str(ENVOY), "--mode", "validate", "-c", str(folder / "envoy.json"), "-l", "error"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        return "" if done.returncode == 0 else done.stdout + done.stderr


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder that the proxy's user can use too, with a path short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="weft-envoy-", dir="/tmp"))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def open_to_proxies(folder: Path) -> None:
    """Let the proxy's user read what lies in one of pytest's folders."""
    for each in (folder, *folder.parents):
        if each == Path(tempfile.gettempdir()):
            return
        each.chmod(0o755)


@contextlib.contextmanager
def running(
    server: Path,
    *,
    namespace: str = "",
    env: Mapping[str, str] | None = None,
    resolver: str = "",
    options: tuple[str, ...] = (),
) -> Iterator[Running]:
    """Start Envoy on the xDS server at `server`; as the proxy's user where it has a namespace of its own."""
    with scratch() as folder:
        admin, log, config = folder / "admin", folder / "log", folder / "envoy.json"
        config.write_text(json.dumps(bootstrap(server, admin, resolver=resolver)))
        command = [str(ENVOY), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
        # as Istio does: the routes' maxGrpcTimeout is deprecated, and Envoy says so for each
        command += ["--component-log-level", "misc:error", *options]
        if namespace:
            user = ["setpriv", f"--reuid={PROXY_UID}", f"--regid={PROXY_UID}", "--clear-groups", "--"]
            command = ["nsenter", f"--net=/run/netns/{namespace}", *user, *command]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **(env or {})})
        try:
            yield Running(process, admin, log)
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


@contextlib.contextmanager
def started(
    resources: Resources,
    identity: Identity | None = None,
    *,
    namespace: str = "",
    resolver: str = "",
    secrets: Mapping[str, bytes | None] | None = None,
    options: tuple[str, ...] = (),
) -> Iterator[tuple[Running, Management]]:
    """An Envoy that got `resources` by xDS and is ready."""
    with (
        scratch() as folder,
        Management(folder / "xds", resources, identity, secrets=secrets or {}).serving() as management,
        running(management.path, namespace=namespace, resolver=resolver, options=options) as envoy,
    ):
        envoy.wait_ready()
        yield envoy, management


def wait_until(what: Any, seconds: float = 10) -> None:
    """Wait until `what()` is true; fail with what it last gave."""
    deadline = time.monotonic() + seconds
    while not (last := what()):
        assert time.monotonic() < deadline, f"still {last!r} after {seconds} s"
        threading.Event().wait(0.05)
