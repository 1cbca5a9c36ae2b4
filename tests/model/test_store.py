import copy
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.model.objects import (
    destination_rule,
    endpoint,
    endpoint_slice,
    pod,
    port,
    route,
    service,
    snapshot_of,
    store_of,
    virtual_service,
)

from weft.api import kubernetes
from weft.api.decode import KUBERNETES, decode
from weft.api.resources import RESOURCES
from weft.model.services import Proxy
from weft.model.store import Store
from weft.model.view import ServiceView, View
from weft.model.views import view

SHAPES: dict[str, Any] = {**KUBERNETES, **{kind: each.shape for kind, each in RESOURCES.items()}}
CLUSTER = [
    service("web"),
    service("api"),
    service("far", "away"),
    endpoint_slice("web", endpoint("10.244.0.6", "web-1"), endpoint("10.244.0.7", "web-2")),
    endpoint_slice("api", endpoint("10.244.0.8", "api-1")),
    pod("web-1", "10.244.0.6", version="v1"),
    pod("web-2", "10.244.0.7", version="v2"),
    pod("api-1", "10.244.0.8", app="api"),
    virtual_service("web", route("web", "v1"), created="2026-01-01T00:00:00Z"),
    virtual_service("young", route("api"), hosts=["web"], created="2026-01-02T00:00:00Z"),
    virtual_service("api", route("nobody")),
    destination_rule("web", "v1", "v2"),
    destination_rule("far.away.svc.cluster.local", namespace="shop"),
]
MORE = [
    service("nobody"),
    service("web", selector=None, annotations={"networking.istio.io/exportTo": "."}),
    service("api", "shop", port(80, "http"), port(81, "http-b")),
    virtual_service("wild", route("web", "v9"), hosts=["*.shop.svc.cluster.local"]),
    virtual_service(
        "all", route("far.away.svc.cluster.local"), namespace="away", hosts=["*"], exportTo=["away", "other"]
    ),
    virtual_service("web", route("web", match=[{"sourceLabels": {"app": "x"}}]), route("api")),
    virtual_service("api", {"route": "broken"}),
    virtual_service(
        "gone", route("api", match=[{"sourceLabels": {"app": "web"}}]), hosts=["shop.example.com", "web"]
    ),
    virtual_service("outside", route("web", "v1"), hosts=["*.example.com"], created="2026-01-03T00:00:00Z"),
    virtual_service("near", route("api"), hosts=["shop.example.com"], exportTo=["."]),
    {
        "kind": "ServiceEntry",
        "metadata": {"name": "outside", "namespace": "away"},
        "spec": {"hosts": ["shop.example.com"], "ports": [{"number": 8080, "name": "http"}], "resolution": "DNS"},
    },
    destination_rule("api", "v9", workloadSelector={"matchLabels": {"app": "web"}}),
    destination_rule(
        "root", "v9", namespace="istio-system", host="*", trafficPolicy={"loadBalancer": {"simple": "RANDOM"}}
    ),
]
PROXIES = [
    Proxy("web-1", "shop", "10.244.0.6", (("app", "web"),)),
    Proxy("api-1", "shop", "10.244.0.8", (("app", "api"),)),
    Proxy("x", "other", "10.244.0.9", (("app", "x"),)),
    Proxy("y", "away", "10.244.0.10"),
]


def views(store: Store) -> list[View]:
    snapshot = store.snapshot()
    return [view(snapshot, proxy) for proxy in PROXIES]


def is_broken(obj: dict[str, Any]) -> bool:
    return isinstance(decode(SHAPES[obj["kind"]], obj), tuple)


def by_name(seen: View) -> dict[str, ServiceView]:
    return {each.service.name: each for each in seen.services}


@settings(deadline=None, max_examples=60)
@given(st.permutations(CLUSTER), st.integers(0, len(CLUSTER)))
def test_the_order_in_which_objects_arrive_does_not_matter(shuffled: list[dict[str, Any]], early: int) -> None:
    store = Store()
    for index, each in enumerate(shuffled):
        store.apply(each["kind"], each)
        if index == early:
            views(store)
    expected = store_of(*CLUSTER)
    assert views(store) == views(expected)
    assert store.snapshot().problems == expected.snapshot().problems


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(CLUSTER + MORE), st.booleans()), max_size=40))
def test_what_happened_before_does_not_matter(events: list[tuple[dict[str, Any], bool]]) -> None:
    store = Store()
    kept: dict[str, dict[str, Any]] = {}
    for obj, applied in events:
        meta = obj["metadata"]
        name = f"{obj['kind']}/{meta['namespace']}/{meta['name']}"
        if applied:
            store.apply(obj["kind"], obj)
            # a version that is invalid changes nothing but what is said
            kept[name] = kept.get(name, obj) if is_broken(obj) else obj
        else:
            store.delete(obj["kind"], meta["namespace"], meta["name"])
            kept.pop(name, None)
        views(store)
    fresh = store_of(*kept.values())
    assert views(store) == views(fresh)


@pytest.mark.parametrize("again", CLUSTER, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_an_object_that_arrives_twice_changes_nothing(again: dict[str, Any]) -> None:
    store = store_of(*CLUSTER)
    before = store.snapshot()
    repeated = copy.deepcopy(again)
    repeated["metadata"] |= {"resourceVersion": "7", "managedFields": [{}]}
    store.apply(again["kind"], repeated)
    assert store.snapshot() is before


def test_a_partial_shape_is_taken_in_like_its_json() -> None:
    store = Store()
    for each in CLUSTER[:8]:
        decoded = decode(KUBERNETES[each["kind"]], each)
        assert isinstance(decoded, kubernetes.Partial)
        store.apply(each["kind"], decoded)
    assert views(store) == views(store_of(*CLUSTER[:8]))


def test_revisions_grow_with_every_change() -> None:
    store = Store()
    revisions = [store.snapshot().revision]
    for each in CLUSTER:
        store.apply(each["kind"], each)
        revisions.append(store.snapshot().revision)
    assert all(one < other for one, other in pairwise(revisions))


def test_a_list_replaces_all_objects_of_its_kind() -> None:
    store = store_of(*CLUSTER)
    store.replace("Service", [service("web"), service("new")])
    names = [each.service.name for each in store.snapshot().directory.services.values()]
    assert names == ["new", "web"]
    store.replace("VirtualService", [])
    assert by_name(views(store)[0])["web"].ports[0].routes.rule == ""


def test_a_kind_that_is_not_stored_is_our_mistake() -> None:
    with pytest.raises(KeyError):
        Store().apply("Nothing", {"metadata": {"name": "x"}})


def test_a_rule_that_no_longer_decodes_stays_in_force_as_it_was_and_is_reported() -> None:
    store = store_of(*CLUSTER)
    before = views(store)
    broken = virtual_service("web", {**route("web", "v2"), "retrys": {}}, created="2026-01-01T00:00:00Z")
    store.apply("VirtualService", broken)
    assert views(store) == before
    told = [each for each in store.snapshot().problems if each.at.name == "web" and each.at.namespace == "shop"]
    assert [(each.code, each.at.field) for each in told] == [("WEFT0002", ""), ("IST0106", "spec.http[0].retrys")]
    store.apply("VirtualService", CLUSTER[8])
    assert views(store) == before
    assert not [each for each in store.snapshot().problems if each.code in {"WEFT0002", "IST0106"}]


def test_a_rule_that_never_decoded_is_reported_and_has_no_effect() -> None:
    store = store_of(*CLUSTER[:8])
    before = views(store)
    store.apply("VirtualService", virtual_service("web", {"route": "web"}))
    assert views(store) == before
    assert [each.code for each in store.snapshot().problems] == ["IST0106"]
    store.delete("VirtualService", "shop", "web")
    assert store.snapshot().problems == ()


def test_a_service_that_does_not_decode_is_reported_and_the_others_go_on() -> None:
    store = store_of(*CLUSTER[:8])
    store.apply(
        "Service", {"metadata": {"name": "odd", "namespace": "shop"}, "spec": {"ports": [{"port": "http"}]}}
    )
    assert [(each.at.name, each.at.field) for each in store.snapshot().problems] == [("odd", "spec.ports[0].port")]
    assert len(views(store)[0].services) == 3


def test_one_changed_endpoint_leaves_every_other_service_the_same_object() -> None:
    store = store_of(*CLUSTER)
    before = by_name(views(store)[0])
    store.apply("EndpointSlice", endpoint_slice("api", endpoint("10.244.0.8", "api-1"), endpoint("10.244.0.11")))
    after = by_name(views(store)[0])
    assert after["web"] is before["web"]
    assert after["far"] is before["far"]
    assert [each.address for each in after["api"].ports[0].endpoints] == ["10.244.0.11", "10.244.0.8"]
    assert after["api"].ports[0].routes == before["api"].ports[0].routes


def test_a_change_that_a_proxy_does_not_see_leaves_it_the_same_services() -> None:
    store = store_of(*CLUSTER)
    before = views(store)[0].services
    store.apply("Service", service("hidden", "away", annotations={"networking.istio.io/exportTo": "."}))
    store.apply("Pod", pod("web-1", "10.244.0.6", version="v1") | {"status": {"podIP": "10.244.0.6", "x": 1}})
    assert views(store)[0].services is before
    assert "hidden" in by_name(views(store)[3])


def test_a_changed_label_of_a_pod_reaches_its_endpoints() -> None:
    store = store_of(*CLUSTER)
    views(store)
    store.apply("Pod", pod("web-1", "10.244.0.6", version="v7"))
    labels = [dict(each.labels)["version"] for each in by_name(views(store)[0])["web"].ports[0].endpoints]
    assert labels == ["v7", "v2"]
    store.delete("Pod", "shop", "web-1")
    assert by_name(views(store)[0])["web"].ports[0].endpoints[0].labels == ()


def test_a_rule_follows_what_it_refers_to() -> None:
    store = store_of(*CLUSTER)
    views(store)
    store.apply("Service", service("nobody"))
    [[to]] = [each.destinations for each in by_name(views(store)[0])["api"].ports[0].routes.routes]
    assert getattr(to, "hostname", "") == "nobody.shop.svc.cluster.local"
    store.delete("DestinationRule", "shop", "web")
    [[to]] = [each.destinations for each in by_name(views(store)[0])["web"].ports[0].routes.routes]
    assert getattr(to, "reason", "") == 'subset not found "v1": "web" has no DestinationRule'


def test_snapshots_do_not_change_once_taken() -> None:
    store = store_of(*CLUSTER)
    old = store.snapshot()
    before, problems = view(old, PROXIES[0]), old.problems
    for each in CLUSTER:
        store.delete(each["kind"], each["metadata"]["namespace"], each["metadata"]["name"])
    assert views(store)[0].services == ()
    assert view(old, PROXIES[0]) == before
    assert old.problems == problems
    assert snapshot_of().problems == store.snapshot().problems
