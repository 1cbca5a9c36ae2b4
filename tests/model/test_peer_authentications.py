"""Which policy is in force for a workload's port, and what a change of one touches."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.model.objects import JSON, endpoint, endpoint_slice, pod, service, store_of

from weft.model.peer_authentications import PeerAuthentications, PeerMode, PeerRule
from weft.model.services import Proxy
from weft.model.store import Store
from weft.model.view import View
from weft.model.views import view
from weft.xds.generate import Generator
from weft.xds.resource import CLUSTER, ENDPOINT, LISTENER

ROOT, PORT = "istio-system", 8080


def policy(name: str, namespace: str = "shop", mode: str = "DISABLE", **spec: Any) -> JSON:
    meta = {"name": name, "namespace": namespace, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"kind": "PeerAuthentication", "metadata": meta, "spec": {"mtls": {"mode": mode}, **spec}}


def mesh() -> Store:
    """`web` and `other` in shop, each with a pod and a sidecar."""
    store = Store()
    for number, name in enumerate(("web", "other"), 1):
        address = f"10.244.0.{number}"
        store.apply("Service", service(name, clusterIP=f"10.96.0.{number}", clusterIPs=[f"10.96.0.{number}"]))
        store.apply("Pod", pod(f"{name}-1", address, app=name))
        store.apply("EndpointSlice", endpoint_slice(name, endpoint(address, f"{name}-1")))
    return store


def seen(store: Store, namespace: str = "shop", **labels: str) -> View:
    return view(store.snapshot(), Proxy("p", namespace, "10.244.0.9", labels=tuple(sorted(labels.items()))))


def taking_mtls(store: Store) -> dict[str, bool]:
    found = store.snapshot().directory.services.values()
    return {each.service.name: all(one.mutual_tls for port in each.endpoints for one in port) for each in found}


def test_callers_follow_what_the_workload_takes_as_policies_come_and_go() -> None:
    store = mesh()
    assert taking_mtls(store) == {"web": True, "other": True}
    store.apply("PeerAuthentication", policy("web", selector={"matchLabels": {"app": "web"}}))
    assert taking_mtls(store) == {"web": False, "other": True}
    store.apply("PeerAuthentication", policy("default", mode="STRICT"))
    assert taking_mtls(store) == {"web": False, "other": True}
    store.apply("PeerAuthentication", policy("default"))
    assert taking_mtls(store) == {"web": False, "other": False}
    store.delete("PeerAuthentication", "shop", "default")
    store.delete("PeerAuthentication", "shop", "web")
    assert taking_mtls(store) == {"web": True, "other": True}


def test_a_pod_that_comes_later_is_told_of_as_the_policy_has_it() -> None:
    store = store_of(policy("default", ROOT))
    store.snapshot()
    for each in (
        service("web"),
        pod("web-1", "10.244.0.1"),
        endpoint_slice("web", endpoint("10.244.0.1", "web-1")),
    ):
        store.apply(each["kind"], each)
    assert taking_mtls(store) == {"web": False}


def test_a_changed_root_namespace_changes_whose_policy_is_the_meshs() -> None:
    store = mesh()
    store.apply("PeerAuthentication", policy("default", "security"))
    assert taking_mtls(store) == {"web": True, "other": True}
    settings = {"metadata": {"name": "istio", "namespace": ROOT}, "data": {"mesh": "rootNamespace: security"}}
    store.apply("ConfigMap", {"kind": "ConfigMap", **settings})
    assert taking_mtls(store) == {"web": False, "other": False}


def test_a_changed_policy_touches_its_workloads_only() -> None:
    store, generator = mesh(), Generator()
    before = generator.resources(seen(store, app="web"))
    store.apply("PeerAuthentication", policy("other", mode="STRICT", selector={"matchLabels": {"app": "other"}}))
    assert generator.resources(seen(store, app="web")) is before
    store.apply("PeerAuthentication", policy("other", selector={"matchLabels": {"app": "other"}}))
    after = generator.resources(seen(store, app="web"))
    changed = {
        name
        for url in (CLUSTER, ENDPOINT, LISTENER)
        for name in after[url]
        if after[url][name] is not before[url].get(name)
    }
    # its cluster names the identities of those that take mTLS
    assert changed == {"outbound|80||other.shop.svc.cluster.local"}


def test_an_invalid_policy_leaves_the_last_valid_one_in_force() -> None:
    store = mesh()
    store.apply("PeerAuthentication", policy("default"))
    store.apply("PeerAuthentication", policy("default", mode="NEVER"))
    assert taking_mtls(store) == {"web": False, "other": False}
    assert {each.code for each in store.snapshot().problems} == {"IST0106", "WEFT0002"}


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, JSON | tuple[str, str]]:
    """An object that comes or changes, or the namespace and name of one that goes."""
    names, spaces = st.sampled_from(("web", "other")), st.sampled_from((ROOT, "shop"))
    name, kind = draw(names), draw(st.sampled_from(("PeerAuthentication", "Pod")))
    space = draw(spaces) if kind == "PeerAuthentication" else "shop"
    if draw(st.booleans()):
        return kind, (space, name if kind == "PeerAuthentication" else f"{name}-1")
    if kind == "Pod":
        address = {"web": "10.244.0.1", "other": "10.244.0.2"}[name]
        return kind, pod(f"{name}-1", address, app=name, tier=draw(st.sampled_from(("front", "back"))))
    labels = draw(st.sampled_from(({}, {"app": "web"}, {"tier": "front"})))
    mode = draw(st.sampled_from(("UNSET", *PeerMode)))
    return kind, policy(name, space, mode, **({"selector": {"matchLabels": labels}} if labels else {}))


@settings(max_examples=60, deadline=None)
@given(st.lists(changes(), min_size=1, max_size=12))
def test_changes_one_by_one_come_to_the_same_as_all_at_once(
    made: list[tuple[str, JSON | tuple[str, str]]],
) -> None:
    store = mesh()
    for kind, change in made:
        if isinstance(change, tuple):
            store.delete(kind, *change)
        else:
            store.apply(kind, change)
        store.snapshot()
    at_once = mesh()
    for kind, change in made:
        if isinstance(change, tuple):
            at_once.delete(kind, *change)
        else:
            at_once.apply(kind, change)
    one, other = store.snapshot().directory.services, at_once.snapshot().directory.services
    assert dict(one) == dict(other)
    for labels in ({"app": "web"}, {"app": "other", "tier": "front"}):
        assert seen(store, **labels).peer_modes == seen(at_once, **labels).peer_modes


MODES = st.sampled_from((None, *PeerMode))
RULES = st.lists(
    st.builds(
        PeerRule,
        name=st.sampled_from("abc"),
        namespace=st.sampled_from((ROOT, "shop", "money")),
        created=st.sampled_from(("2026-01-01", "2026-01-02")),
        selector=st.sampled_from((None, (("app", "web"),), (("app", "web"), ("tier", "front")))),
        mode=MODES,
    ).flatmap(
        lambda rule: st.builds(
            PeerRule,
            name=st.just(rule.name),
            namespace=st.just(rule.namespace),
            created=st.just(rule.created),
            selector=st.just(rule.selector),
            mode=st.just(rule.mode),
            ports=st.just(()) if rule.selector is None else st.tuples(st.tuples(st.just(PORT), MODES)),
        )
    ),
    max_size=6,
    unique_by=lambda rule: rule.full_name,
)


def plainly(rules: list[PeerRule], namespace: str, labels: dict[str, str], port: int) -> PeerMode:
    """The same as Istio documents it, one question after the other."""
    oldest = sorted(rules, key=lambda rule: (rule.created, rule.namespace, rule.name))
    here = [rule for rule in oldest if rule.namespace == namespace]
    workload = [
        rule
        for rule in here
        if namespace != ROOT and rule.selector and all(labels.get(key) == value for key, value in rule.selector)
    ]
    whole = [rule for rule in here if rule.selector is None]
    everywhere = [rule for rule in oldest if rule.namespace == ROOT and rule.selector is None]
    if workload and dict(workload[0].ports).get(port):
        return dict(workload[0].ports)[port] or PeerMode.PERMISSIVE
    for found in (workload, whole, everywhere):
        if found and found[0].mode is not None:
            return found[0].mode
    return PeerMode.PERMISSIVE


@settings(max_examples=150, deadline=None)
@given(
    RULES,
    st.sampled_from((ROOT, "shop", "money", "post")),
    st.sampled_from(({}, {"app": "web"}, {"app": "web", "tier": "front"})),
    st.sampled_from((PORT, 9090)),
)
def test_any_policies_together_are_in_force_as_istio_documents(
    rules: list[PeerRule], namespace: str, labels: dict[str, str], port: int
) -> None:
    peers = PeerAuthentications(rules, ROOT)
    own = tuple(sorted(labels.items()))
    wanted = plainly(rules, namespace, labels, port)
    assert peers.modes(namespace, own).at(port) is wanted
    decided = peers.deciding(namespace, own, port)
    assert (decided.says(port) if decided else PeerMode.PERMISSIVE) is wanted
