from typing import Any

import yaml

from weft.model.services import Proxy, ProxyKind
from weft.model.store import Store

PATCH = "{applyTo: CLUSTER, match: {context: %s}, patch: {operation: MERGE, value: {alt_stat_name: x}}}"


def envoy_filter(name: str, namespace: str = "shop", created: str = "", **spec: Any) -> dict[str, Any]:
    spec.setdefault("configPatches", [yaml.safe_load(PATCH % "ANY")])
    meta = {"name": name, "namespace": namespace, "creationTimestamp": created}
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": meta,
        "spec": spec,
    }


def origins(store: Store, proxy: Proxy) -> list[str]:
    return [each.origin for each in store.snapshot().directory.envoy_filters.patches(proxy)]


def test_priority_goes_first_then_the_root_namespace_then_age_then_the_name() -> None:
    store = Store()
    for each in (
        envoy_filter("b", created="2"),
        envoy_filter("a", created="2"),
        envoy_filter("c", created="1"),
        envoy_filter("mesh", "istio-system", created="9"),
        envoy_filter("late", "istio-system", created="0", priority=5),
        envoy_filter("early", created="8", priority=-5),
        envoy_filter("elsewhere", "other"),
    ):
        store.apply("EnvoyFilter", each)
    proxy = Proxy("p", "shop", "10.0.0.1")
    assert origins(store, proxy) == [
        *("early.shop", "mesh.istio-system", "c.shop", "a.shop", "b.shop", "late.istio-system")
    ]


def test_proxies_of_one_class_get_the_very_same_changes() -> None:
    store = Store()
    store.apply("EnvoyFilter", envoy_filter("a", workloadSelector={"labels": {"app": "web"}}))
    filters = store.snapshot().directory.envoy_filters
    web, pod = (("app", "web"),), (("app", "web"), ("pod-template-hash", "1"))
    one, two = Proxy("p", "shop", "10.0.0.1", web), Proxy("q", "shop", "10.0.0.2", pod)
    assert filters.patches(one) is filters.patches(two)
    assert filters.patches(Proxy("r", "shop", "10.0.0.3")) == ()


def test_a_gateway_gets_what_is_for_gateways_and_what_targets_it() -> None:
    store = Store()
    by_context = [yaml.safe_load(PATCH % each) for each in ("GATEWAY", "SIDECAR_OUTBOUND", "ANY", "WAYPOINT")]
    store.apply("EnvoyFilter", envoy_filter("all", configPatches=by_context))
    target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge", "namespace": "shop"}
    store.apply("EnvoyFilter", envoy_filter("targeted", targetRefs=[target]))
    label = (("gateway.networking.k8s.io/gateway-name", "edge"),)
    plain = Proxy("g", "shop", "10.0.0.1", kind=ProxyKind.ROUTER)
    assert origins(store, plain) == ["all.shop", "all.shop"]
    assert origins(store, Proxy("g", "shop", "10.0.0.1", label, kind=ProxyKind.ROUTER))[-1] == "targeted.shop"
    assert origins(store, Proxy("s", "shop", "10.0.0.1")) == ["all.shop", "all.shop"]


def test_an_invalid_version_leaves_the_last_valid_one_in_force() -> None:
    store = Store()
    store.apply("EnvoyFilter", envoy_filter("a"))
    broken = envoy_filter(
        "a", configPatches=[{"applyTo": "CLUSTER", "patch": {"operation": "MERGE", "value": {"type": 1.5}}}]
    )
    store.apply("EnvoyFilter", broken)
    proxy = Proxy("p", "shop", "10.0.0.1")
    assert origins(store, proxy) == ["a.shop"]
    assert [each.code for each in store.snapshot().problems] == ["WEFT0002", "IST0106"]
    store.delete("EnvoyFilter", "shop", "a")
    assert origins(store, proxy) == []
