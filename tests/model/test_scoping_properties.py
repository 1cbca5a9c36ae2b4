"""However objects come and go, a proxy has what it would have if they had been there from the start."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.model.objects import JSON, port, service

from weft.model.services import Proxy
from weft.model.store import Store
from weft.model.views import view
from weft.xds.generate import Generator
from weft.xds.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resources

SPACES = ("shop", "money", "istio-system")
HOSTS = (
    "./*",
    "*/*.example.com",
    "*/*",
    "~/*",
    "money/*",
    "*/s1.shop.svc.cluster.local",
    "~shop/*",
    "*/~s1.money.svc.cluster.local",
)
RULED = ("s1.shop.svc.cluster.local", "*.money.svc.cluster.local", "s1.example.com", "*.example.com")
"""Hosts of VirtualServices; the latter two have no service, unless a ServiceEntry is there."""
MESHES = (
    "{}",
    "outboundTrafficPolicy: {mode: REGISTRY_ONLY}",
    'defaultServiceExportTo: ["."]',
    'defaultVirtualServiceExportTo: ["~"]',
    "connectTimeout: 3s",
    "defaultHttpRetryPolicy: {attempts: 5}",
    "accessLogFile: /dev/stdout",
    "connectTimeout: nonsense",
    "discoverySelectors: [{matchLabels: {kubernetes.io/metadata.name: shop}}]",
)
PROXIES = (
    Proxy("a", "shop", "10.244.0.9", labels=(("app", "a"),)),
    Proxy("b", "shop", "10.244.0.8"),
    Proxy("c", "money", "10.244.0.7"),
)


def _meta(name: str, namespace: str) -> JSON:
    return {"name": name, "namespace": namespace, "creationTimestamp": "2026-01-01T00:00:00Z"}


@st.composite
def objects(draw: st.DrawFn) -> JSON:
    """One object of a kind that scoping is about."""
    name, namespace = draw(st.sampled_from(("s1", "s2"))), draw(st.sampled_from(SPACES))
    match draw(
        st.sampled_from(("Service", "Sidecar", "VirtualService", "ServiceEntry", "DestinationRule", "ConfigMap"))
    ):
        case "Service":
            address = f"10.96.{SPACES.index(namespace)}.{name[1:]}"
            ports = draw(st.sampled_from(((port(80, "http"),), (port(80, "http"), port(9000, "tcp")))))
            found = service(name, namespace, *ports, clusterIP=address, clusterIPs=[address])
            return found | {"kind": "Service"}
        case "Sidecar":
            egress: JSON = {"hosts": draw(st.lists(st.sampled_from(HOSTS), min_size=1, max_size=3))}
            listeners = draw(st.sampled_from(((), ({"port": {"number": 80, "protocol": "HTTP"}, **egress},))))
            spec: JSON = {"egress": [*listeners, egress]}
            if draw(st.booleans()):
                spec["workloadSelector"] = {"labels": {"app": "a"}}
            if draw(st.booleans()):
                spec["outboundTrafficPolicy"] = {"mode": draw(st.sampled_from(("ALLOW_ANY", "REGISTRY_ONLY")))}
            return {"kind": "Sidecar", "metadata": _meta(name, namespace), "spec": spec}
        case "VirtualService":
            host = draw(st.sampled_from(RULED))
            to = {"host": draw(st.sampled_from(("s2.shop.svc.cluster.local", "s2.money.svc.cluster.local")))}
            spec = {"hosts": [host], "http": [{"route": [{"destination": to | {"port": {"number": 80}}}]}]}
            return {"kind": "VirtualService", "metadata": _meta(name, namespace), "spec": spec}
        case "ServiceEntry":
            numbers = draw(st.sampled_from((80, 8080)))
            listed = {"hosts": [draw(st.sampled_from(RULED[2:]))], "ports": [{"number": numbers, "name": "http"}]}
            return {"kind": "ServiceEntry", "metadata": _meta(name, namespace), "spec": listed}
        case "DestinationRule":
            spec = {"host": "*.svc.cluster.local", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}}
            return {"kind": "DestinationRule", "metadata": _meta(name, namespace), "spec": spec}
        case _:
            mesh = {"data": {"mesh": draw(st.sampled_from(MESHES))}}
            return {"kind": "ConfigMap", "metadata": _meta("istio", "istio-system"), **mesh}


STEPS = st.lists(st.tuples(objects(), st.sampled_from((True, True, True, False))), min_size=4, max_size=10)


def _spaces(store: Store) -> Store:
    for name in SPACES:
        labels = {"kubernetes.io/metadata.name": name}
        store.apply("Namespace", {"kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    return store


def _key(obj: JSON) -> tuple[str, str, str]:
    return obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"]


def _built(store: Store, generator: Generator, proxy: Proxy) -> dict[str, Any]:
    found: Resources = generator.resources(view(store.snapshot(), proxy))
    return {url: dict(found[url]) for url in (CLUSTER, ENDPOINT, LISTENER, ROUTE)}


@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_what_a_proxy_has_does_not_depend_on_what_was_there_before(steps: list[tuple[JSON, bool]]) -> None:
    store, generator = _spaces(Store()), Generator()
    there: dict[tuple[str, str, str], JSON] = {}
    for obj, stays in steps:
        key = _key(obj)
        broken = "nonsense" in str(obj)
        if stays:
            store.apply(key[0], obj)
            if not broken:
                there[key] = obj
        else:
            store.delete(*key)
            there.pop(key, None)
        if store.missed:
            store.missed = False
            for each in list(there.values()):
                store.apply(each["kind"], each)
        for proxy in PROXIES:
            _built(store, generator, proxy)
    fresh = _spaces(Store())
    for each in sorted(there.values(), key=lambda each: each["kind"] != "ConfigMap"):
        fresh.apply(each["kind"], each)
    for proxy in PROXIES:
        assert _built(store, generator, proxy) == _built(fresh, Generator(), proxy)
