"""What proxies see by Sidecars and by the mesh's settings, and what it costs."""

import json
from typing import Any

import pytest
from tests.model.objects import JSON, pod, port, service

from weft.base.problem import Severity
from weft.model.mesh_config import OutboundPolicy
from weft.model.services import Proxy
from weft.model.store import Store
from weft.model.view import View
from weft.model.views import view
from weft.xds.generate import Generator
from weft.xds.resource import CLUSTER, ENDPOINT, LISTENER, Resources


def sidecar(name: str, namespace: str, *hosts: str, labels: dict[str, str] | None = None, **spec: Any) -> JSON:
    selector = {"workloadSelector": {"labels": labels}} if labels else {}
    meta = {"name": name, "namespace": namespace, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"kind": "Sidecar", "metadata": meta, "spec": {"egress": [{"hosts": list(hosts)}], **selector, **spec}}


def settings(text: str) -> JSON:
    return {
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": {"mesh": text},
    }


def mesh(*objects: JSON, services: int = 60) -> Store:
    """Services in three namespaces, by turns."""
    store = Store()
    for number in range(services):
        numbers = (port(80, "http"), port(9000 + number, "tcp"))
        space = ("shop", "money", "post")[number % 3]
        address = f"10.96.{number // 200}.{number % 200 + 1}"
        store.apply("Service", service(f"s{number}", space, *numbers, clusterIP=address, clusterIPs=[address]))
    for each in objects:
        store.apply(each["kind"], each)
    return store


def seen(store: Store, namespace: str = "shop", name: str = "p", **labels: str) -> View:
    proxy = Proxy(name, namespace, "10.244.0.9", labels=tuple(sorted(labels.items())))
    return view(store.snapshot(), proxy)


def count(resources: Resources) -> int:
    return sum(len(resources[url]) for url in (CLUSTER, ENDPOINT, LISTENER))


def hosts(found: View) -> set[str]:
    return {each.service.hostname.partition(".svc")[0] for each in found.services}


def test_a_sidecar_makes_a_proxy_cheaper() -> None:
    generator = Generator()
    whole = generator.resources(seen(mesh(services=600)))
    few = ("./s0.shop.svc.cluster.local", "./s3.shop.svc.cluster.local")
    scoped = generator.resources(seen(mesh(sidecar("few", "shop", *few), services=600)))
    # two clusters, two assignments and a listener of its own for each service; the rest is the proxy's own
    assert (count(whole), count(scoped)) == (3006, 16)


def test_proxies_of_several_sidecars_share_what_they_both_see() -> None:
    both = ("./s0.shop.svc.cluster.local", "./s3.shop.svc.cluster.local")
    store = mesh(
        sidecar("one", "shop", *both, labels={"app": "one"}),
        sidecar("two", "shop", both[0], labels={"app": "two"}),
    )
    one, two, other = seen(store, app="one"), seen(store, app="two"), seen(store, app="other")
    assert (hosts(one), hosts(two), len(other.services)) == ({"s0.shop", "s3.shop"}, {"s0.shop"}, 60)
    assert one.services[0] is two.services[0] is next(each for each in other.services if each is two.services[0])
    generator = Generator()
    built = [
        generator.resources(each)[CLUSTER]["outbound|80||s0.shop.svc.cluster.local"] for each in (one, two, other)
    ]
    assert built[0] is built[1] is built[2]


def test_a_change_of_what_a_proxy_does_not_see_leaves_it_as_it_was() -> None:
    store = mesh(sidecar("own", "shop", "./*"))
    generator = Generator()
    before, one = seen(store), generator.resources(seen(store))
    store.apply("Service", service("s1", "money", port(80, "http"), port(81, "http-more")))
    store.apply("Service", service("new", "money"))
    after = seen(store)
    assert after.services is before.services
    assert generator.resources(after) is one
    store.apply("Service", service("new", "shop", clusterIP="10.97.0.1", clusterIPs=["10.97.0.1"]))
    grown = generator.resources(seen(store))
    changed = {name for name in grown[CLUSTER] if grown[CLUSTER][name] is not one[CLUSTER].get(name)}
    assert changed == {"outbound|80||new.shop.svc.cluster.local"}


def test_a_changed_sidecar_changes_what_is_seen_and_its_end_gives_all_back() -> None:
    store = mesh(sidecar("own", "shop", "./*"))
    assert len(seen(store).services) == 20
    store.apply("Sidecar", sidecar("own", "shop", "./*", "money/*"))
    assert len(seen(store).services) == 40
    assert len(seen(store, "money").services) == 60
    store.delete("Sidecar", "shop", "own")
    assert len(seen(store).services) == 60


def test_an_invalid_sidecar_leaves_the_last_valid_one_in_force() -> None:
    store = mesh(sidecar("own", "shop", "./*"))
    store.apply("Sidecar", sidecar("own", "shop", "nonsense"))
    assert len(seen(store).services) == 20
    assert {each.code for each in store.snapshot().problems} == {"IST0106", "WEFT0002"}


def test_broken_settings_leave_the_last_good_ones_in_force_and_say_so() -> None:
    store = mesh(settings("outboundTrafficPolicy: {mode: REGISTRY_ONLY}"))
    assert store.snapshot().mesh.outbound is OutboundPolicy.REGISTRY_ONLY
    for broken in ("outboundTrafficPolicy: [", "outboundTrafficPolicy: {mode: NONE}", "- a", "connectTimeout: 1"):
        store.apply("ConfigMap", settings(broken))
        assert store.snapshot().mesh.outbound is OutboundPolicy.REGISTRY_ONLY
        told = store.snapshot().problems
        assert Severity.ERROR in {each.severity for each in told}
        assert "the last valid settings stay" in " ".join(each.message for each in told)
    store.apply("ConfigMap", settings("outboundTrafficPolicy: {mode: ALLOW_ANY}"))
    assert (store.snapshot().mesh.outbound, store.snapshot().problems) == (OutboundPolicy.ALLOW_ANY, ())
    store.apply("ConfigMap", settings("outboundTrafficPolicy: {mode: REGISTRY_ONLY}"))
    store.delete("ConfigMap", "istio-system", "istio")
    assert store.snapshot().mesh.outbound is OutboundPolicy.ALLOW_ANY


def test_another_trust_domain_names_all_workloads_anew() -> None:
    service = {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.1.1", "ports": [{"port": 80, "name": "http"}]},
    }
    slice_ = {
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"port": 80, "name": "http"}],
        "endpoints": [
            {"addresses": ["10.244.0.1"], "targetRef": {"kind": "Pod", "name": "v1", "namespace": "shop"}}
        ],
    }
    pod = {
        "metadata": {"name": "v1", "namespace": "shop"},
        "spec": {"serviceAccountName": "web"},
        "status": {"podIP": "10.244.0.1"},
    }
    entry = {
        "metadata": {"name": "db", "namespace": "shop"},
        "spec": {
            "hosts": ["db.example"],
            "ports": [{"number": 81, "name": "tcp"}],
            "resolution": "STATIC",
            "workloadSelector": {"labels": {"app": "db"}},
        },
    }
    machine = {
        "metadata": {"name": "db-1", "namespace": "shop"},
        "spec": {"address": "10.0.0.9", "labels": {"app": "db"}, "serviceAccount": "db"},
    }
    written = {
        "hosts": ["own.example"],
        "ports": [{"number": 82, "name": "tcp"}],
        "resolution": "STATIC",
        "endpoints": [{"address": "10.0.0.8", "serviceAccount": "own"}],
    }
    own = {"metadata": {"name": "own", "namespace": "shop"}, "spec": written}
    objects: list[tuple[str, JSON]] = [
        ("Service", service),
        ("EndpointSlice", slice_),
        ("Pod", pod),
        ("ServiceEntry", entry),
    ]
    objects += [("WorkloadEntry", machine), ("ServiceEntry", own)]

    def identities(store: Store) -> set[str]:
        shared = store.snapshot().directory.services.values()
        return {one.identity for each in shared for found in each.endpoints for one in found}

    store = mesh(settings("trustDomain: cluster.local"))
    for kind, obj in objects:
        store.apply(kind, obj)
    accounts = ("web", "db", "own")
    assert identities(store) == {f"spiffe://cluster.local/ns/shop/sa/{each}" for each in accounts}
    store.apply("ConfigMap", settings("{trustDomain: other.example, trustDomainAliases: [cluster.local]}"))
    assert identities(store) == {f"spiffe://other.example/ns/shop/sa/{each}" for each in accounts}
    assert store.snapshot().workloads["shop", "v1"].identity == "spiffe://other.example/ns/shop/sa/web"
    assert (store.trust_domains, store.snapshot().problems) == (("other.example", "cluster.local"), ())


def test_who_forgets_a_trust_domain_is_told_whom_that_shuts_out() -> None:
    store = mesh(settings("trustDomain: other.example"))
    assert store.snapshot().mesh.trust_domain == "other.example"
    [told] = store.snapshot().problems
    assert (told.code, told.at.field) == ("WEFT0004", "data.mesh.trustDomain")
    assert 'Add "cluster.local" to trustDomainAliases' in str(told)


@pytest.mark.parametrize("domain", ["a/b", "Prod", "a b", "*", "spiffe://a"])
def test_what_is_no_trust_domain_is_an_error(domain: str) -> None:
    for text in (f"trustDomain: {domain!r}", f"trustDomainAliases: [{domain!r}]"):
        assert "is not a trust domain" in " ".join(map(str, mesh(settings(text)).snapshot().problems))


def test_the_same_settings_again_are_no_change() -> None:
    store = mesh(settings("accessLogFile: /dev/stdout"))
    before = store.snapshot()
    store.apply("ConfigMap", settings("accessLogFile: /dev/stdout # as before"))
    assert store.snapshot() is before


def test_namespaces_outside_the_selectors_are_forgotten_and_asked_for_again_when_they_count() -> None:
    def space(name: str, **labels: str) -> JSON:
        return {"kind": "Namespace", "metadata": {"name": name, "labels": labels}}

    store = mesh(space("shop", mesh="on"), space("money"), pod("p", "10.244.0.9", "money"))
    assert not store.missed
    store.apply("ConfigMap", settings("discoverySelectors: [{matchLabels: {mesh: 'on'}}]"))
    assert {each.partition(".")[2] for each in hosts(seen(store))} == {"shop"}
    assert ("money", "p") not in store.snapshot().workloads
    store.apply("Service", service("late", "money"))
    assert len(seen(store).services) == 20
    assert not store.missed
    store.apply("Namespace", space("money", mesh="on"))
    assert store.missed


@pytest.mark.parametrize("text", ["", "null", "{}", "# nothing"])
def test_no_settings_are_the_defaults(text: str) -> None:
    store = mesh()
    before = store.snapshot().mesh
    store.apply("ConfigMap", settings(text))
    assert (store.snapshot().mesh, store.snapshot().problems) == (before, ())


def test_names_of_the_protobuf_are_understood_too() -> None:
    store = mesh(settings(json.dumps({"outbound_traffic_policy": {"mode": "REGISTRY_ONLY"}, "mesh_mTLS": None})))
    assert store.snapshot().mesh.outbound is OutboundPolicy.REGISTRY_ONLY
