"""A sidecar and a gateway before one application, each on a port of the loopback; `/admin` is denied to all."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.cases.edge_in_envoy import certificate
from tests.support import envoy
from tests.support.identities import Authority
from tests.support.ports import free_port
from tests.traffic.recorder import Recorder, recording

from weft.model.proxy_traits import traits
from weft.model.services import Proxy, ProxyKind
from weft.model.store import Store
from weft.model.views import view
from weft.xds.generate import Generator

ADDRESS = "127.0.0.1"


@dataclass
class Door:
    """Where a proxy takes requests, and the application behind it."""

    port: int
    recorder: Recorder


Maker = Callable[[int, int], tuple[Proxy, list[dict[str, Any]]]]
"""Makes a proxy that takes requests at a port, for the application at another; and the objects that lead there."""


def sidecar(port: int, application: int) -> tuple[Proxy, list[dict[str, Any]]]:
    """One whose application is dialled at a port of its own, in plaintext."""
    listener = {
        "port": {"number": port, "protocol": "HTTP", "name": "http"},
        "bind": ADDRESS,
        "captureMode": "NONE",
        "defaultEndpoint": f"{ADDRESS}:{application}",
    }
    return Proxy("p", "shop", "10.244.0.9"), [configured("Sidecar", ingress=[listener])]


def gateway(port: int, application: int) -> tuple[Proxy, list[dict[str, Any]]]:
    """One that leads every host to the application."""
    return _gateway({"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}, application)


def https(port: int, application: int) -> tuple[Proxy, list[dict[str, Any]]]:
    """The same by TLS."""
    tls = {"mode": "SIMPLE", "credentialName": "edge"}
    server = {"port": {"number": port, "name": "https", "protocol": "HTTPS"}, "hosts": ["*"], "tls": tls}
    return _gateway(server, application)


def _gateway(server: dict[str, Any], application: int) -> tuple[Proxy, list[dict[str, Any]]]:
    entry = {
        "hosts": ["app.example"],
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "resolution": "STATIC",
        "endpoints": [{"address": ADDRESS, "ports": {"http": application}}],
    }
    route = {"route": [{"destination": {"host": "app.example", "port": {"number": 80}}}]}
    proxy = Proxy("edge", "shop", "10.244.0.9", labels=(("istio", "edge"),), kind=ProxyKind.ROUTER)
    return proxy, [
        configured("Gateway", selector={"istio": "edge"}, servers=[server]),
        configured("ServiceEntry", **entry),
        configured("VirtualService", hosts=["*"], gateways=["door"], http=[route]),
    ]


DOORS: Mapping[str, Maker] = {"sidecar": sidecar, "gateway": gateway}


@contextlib.contextmanager
def standing(made: Maker, settings: dict[str, Any] | None = None) -> Iterator[Door]:
    """A proxy, running; `settings` are those of its pod."""
    with recording() as recorder:
        port = free_port()
        proxy, objects = made(port, recorder.port)
        proxy = replace(proxy, traits=traits(settings or {}, at_edge=proxy.kind is ProxyKind.ROUTER))
        store = Store()
        rule = {"to": [{"operation": {"paths": ["/admin", "/admin/*"]}}]}
        for each in (*objects, configured("AuthorizationPolicy", action="DENY", rules=[rule])):
            store.apply(each["kind"], each)
        pod = {"kind": "Pod", "metadata": {"name": "edge", "namespace": "shop", "labels": {"istio": "edge"}}}
        store.apply("Pod", {**pod, "status": {"podIP": "10.244.0.9"}})
        assert store.snapshot().problems == ()
        resources = Generator().resources(view(store.snapshot(), proxy))
        identity = Authority().issue("spiffe://cluster.local/ns/shop/sa/default")
        secrets = {"kubernetes://edge": certificate("kubernetes://edge", ("web",))}
        with envoy.started(resources, identity, secrets=secrets) as (_, management):
            assert management.rejected == []
            yield Door(port, recorder)


def configured(kind: str, **spec: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "door", "namespace": "shop"}, "spec": spec}
