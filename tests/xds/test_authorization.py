"""Policies reach the proxies that they are for, and cost the others nothing."""

from typing import Any

from weft.model.services import Proxy
from weft.model.store import Store
from weft.model.views import view
from weft.xds.generate import Generator
from weft.xds.resource import CLUSTER, ENDPOINT, LISTENER, Resources


def policy(name: str, action: str, app: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"action": action, "selector": {"matchLabels": {"app": app}}, "rules": [{}], **more},
    }


def proxy(name: str, app: str, **labels: str) -> Proxy:
    return Proxy(name, "shop", "10.244.0.9", tuple(sorted({"app": app, **labels}.items())))


def given(app: str) -> dict[str, Any]:
    meta = {"name": app, "namespace": "shop"}
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    return {
        "kind": "Service",
        "metadata": meta,
        "spec": {"clusterIP": "10.96.0.1", "ports": ports, "selector": {"app": app}},
    }


def changed(before: Resources, after: Resources) -> list[str]:
    assert before.keys() == after.keys()
    return [name for kind in after for name, each in after[kind].items() if before[kind].get(name) is not each]


def test_a_policy_rebuilds_the_entrance_of_its_own_workloads_and_nothing_else() -> None:
    store, generator = Store(), Generator()
    for app in ("web", "till"):
        store.apply("Service", given(app))
    web, till = proxy("web-1", "web"), proxy("till-1", "till")
    before = {each: generator.resources(view(store.snapshot(), each)) for each in (web, till)}
    store.apply("AuthorizationPolicy", policy("deny", "DENY", "web"))
    after = {each: generator.resources(view(store.snapshot(), each)) for each in (web, till)}
    assert changed(before[web], after[web]) == ["virtualInbound"]
    assert changed(before[till], after[till]) == []
    store.delete("AuthorizationPolicy", "shop", "deny")
    gone = generator.resources(view(store.snapshot(), web))
    assert gone[LISTENER]["virtualInbound"].body == before[web][LISTENER]["virtualInbound"].body


def test_pods_that_the_same_policies_select_share_one_value() -> None:
    store = Store()
    store.apply("AuthorizationPolicy", policy("deny", "DENY", "web"))
    snapshot = store.snapshot()
    one, other = (view(snapshot, proxy(f"web-{each}", "web", version=each)).authorization for each in "12")
    assert one is other is not None
    assert view(snapshot, proxy("till-1", "till")).authorization is None


def test_policies_that_differ_in_their_rules_alone_are_told_apart() -> None:
    store, generator = Store(), Generator()
    store.apply("AuthorizationPolicy", policy("some", "DENY", "web"))
    first = generator.resources(view(store.snapshot(), proxy("web-1", "web")))
    ports = [{"to": [{"operation": {"ports": ["8080"]}}]}]
    store.apply("AuthorizationPolicy", policy("some", "DENY", "web", rules=ports))
    second = generator.resources(view(store.snapshot(), proxy("web-1", "web")))
    assert first[LISTENER]["virtualInbound"].body != second[LISTENER]["virtualInbound"].body


PROVIDERS = """
extensionProviders:
  - {name: decider, envoyExtAuthzHttp: {service: decider.login.svc.cluster.local, port: 80, failOpen: FAIL}}
"""


def settings(*, fail_open: bool) -> dict[str, Any]:
    meta = {"name": "istio", "namespace": "istio-system"}
    return {"metadata": meta, "data": {"mesh": PROVIDERS.replace("FAIL", str(fail_open).lower())}}


def test_who_asks_a_provider_knows_it_whatever_its_sidecar_lists_and_nobody_else_does() -> None:
    store, generator = Store(), Generator()
    decider = {**given("decider"), "metadata": {"name": "decider", "namespace": "login"}}
    store.apply("ConfigMap", settings(fail_open=False))
    store.apply("Service", decider)
    for app in ("web", "till"):
        store.apply("Service", given(app))
    scope = {"name": "default", "namespace": "shop"}
    store.apply("Sidecar", {"metadata": scope, "spec": {"egress": [{"hosts": ["./*"]}]}})
    store.apply("AuthorizationPolicy", policy("ask", "CUSTOM", "web", provider={"name": "decider"}))
    web, till = (generator.resources(view(store.snapshot(), proxy(f"{app}-1", app))) for app in ("web", "till"))
    name = "outbound|80||decider.login.svc.cluster.local"
    assert name in web[CLUSTER]
    assert name in web[ENDPOINT]
    assert not any("decider" in each or "_80" in each for each in web[LISTENER].keys() - till[LISTENER].keys())
    assert name not in till[CLUSTER]
    store.delete("Service", "login", "decider")
    gone = generator.resources(view(store.snapshot(), proxy("web-1", "web")))
    assert name not in gone[CLUSTER]
    assert b"-deny-due-to-bad-CUSTOM-action" in gone[LISTENER]["virtualInbound"].body


def test_settings_of_a_provider_rebuild_the_entrance_of_those_who_ask_and_nothing_else() -> None:
    store, generator = Store(), Generator()
    store.apply("ConfigMap", settings(fail_open=False))
    store.apply("Service", {**given("decider"), "metadata": {"name": "decider", "namespace": "login"}})
    for app in ("web", "till"):
        store.apply("Service", given(app))
    store.apply("AuthorizationPolicy", policy("ask", "CUSTOM", "web", provider={"name": "decider"}))
    proxies = proxy("web-1", "web"), proxy("till-1", "till")
    before = [generator.resources(view(store.snapshot(), each)) for each in proxies]
    store.apply("ConfigMap", settings(fail_open=True))
    after = [generator.resources(view(store.snapshot(), each)) for each in proxies]

    def differing(one: Resources, other: Resources) -> list[str]:
        return [name for kind in other for name, each in other[kind].items() if one[kind][name].body != each.body]

    assert differing(before[0], after[0]) == ["virtualInbound"]
    assert differing(before[1], after[1]) == []
