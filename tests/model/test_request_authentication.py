"""Which tokens a proxy accepts, out of all RequestAuthentications, and with which keys."""

from datetime import timedelta
from typing import Any

import pytest

from weft.model.fake_key import NO_KEYS
from weft.model.request_authentication import KeySource, KeyTrouble, problems
from weft.model.services import Proxy, ProxyKind
from weft.model.store import Store
from weft.model.views import view

KEYS = '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'


def authentication(name: str, namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    spec.setdefault("jwtRules", [{"issuer": f"https://{name}", "jwks": KEYS}])
    meta = {"name": name, "namespace": namespace}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": meta,
        "spec": spec,
    }


def store(*objects: dict[str, Any]) -> Store:
    made = Store()
    for each in objects:
        made.apply("RequestAuthentication", each)
    return made


def issuers(made: Store, proxy: Proxy) -> list[str]:
    return [each.issuer.removeprefix("https://") for each in view(made.snapshot(), proxy).tokens]


ALL = store(
    authentication("mesh", "istio-system"),
    authentication("mesh-web", "istio-system", selector={"matchLabels": {"app": "web"}}),
    authentication("all-of-shop"),
    authentication("web", selector={"matchLabels": {"app": "web", "tier": "front"}}),
    authentication("front", targetRef={"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "front"}),
    authentication("elsewhere", "other"),
)


@pytest.mark.parametrize(
    ("namespace", "labels", "expected"),
    [
        ("shop", {}, ["all-of-shop", "mesh"]),
        ("shop", {"app": "web"}, ["all-of-shop", "mesh", "mesh-web"]),
        ("shop", {"app": "web", "tier": "front"}, ["all-of-shop", "mesh", "mesh-web", "web"]),
        ("shop", {"gateway.networking.k8s.io/gateway-name": "front"}, ["all-of-shop", "front", "mesh"]),
        ("other", {"app": "web", "tier": "front"}, ["elsewhere", "mesh", "mesh-web"]),
        ("third", {"gateway.networking.k8s.io/gateway-name": "front"}, ["mesh"]),
    ],
)
@pytest.mark.parametrize("kind", list(ProxyKind))
def test_policies_of_the_mesh_the_namespace_and_the_workload_add_up(
    kind: ProxyKind, namespace: str, labels: dict[str, str], expected: list[str]
) -> None:
    proxy = Proxy("p", namespace, "10.0.0.1", labels=tuple(sorted(labels.items())), kind=kind)
    assert issuers(ALL, proxy) == expected


def test_what_two_policies_say_alike_is_said_once() -> None:
    rules = [{"issuer": "https://one", "jwks": KEYS}]
    made = store(authentication("a", jwtRules=rules), authentication("b", "istio-system", jwtRules=rules))
    assert issuers(made, Proxy("p", "shop", "10.0.0.1")) == ["one"]


def test_keys_come_in_once_they_are_fetched_and_change_nothing_else() -> None:
    fetched = [
        {"issuer": "https://one", "jwksUri": "https://one/keys", "timeout": "9s"},
        {"issuer": "https://two/"},
    ]
    made = store(authentication("a", jwtRules=fetched))
    proxy = Proxy("p", "shop", "10.0.0.1")
    one, two = (
        KeySource("https://one/keys"),
        KeySource("https://two/.well-known/openid-configuration", discovery=True),
    )
    assert made.key_sources() == {one: timedelta(seconds=9), two: timedelta(seconds=5)}
    assert [each.keys for each in view(made.snapshot(), proxy).tokens] == [NO_KEYS, NO_KEYS]
    before = made.snapshot()
    made.put_keys(one, KEYS)
    assert [each.keys for each in view(made.snapshot(), proxy).tokens] == [KEYS, NO_KEYS]
    assert view(made.snapshot(), proxy).services is view(before, proxy).services
    last = made.snapshot()
    made.put_keys(one, KEYS)
    assert made.snapshot() is last
    made.put_keys(one, None)
    assert [each.keys for each in view(made.snapshot(), proxy).tokens] == [NO_KEYS, NO_KEYS]


def test_troubles_with_keys_are_told_at_each_rule_that_asks_for_them() -> None:
    rules = [{"issuer": "https://one", "jwks": KEYS}, {"issuer": "https://two"}, {"jwksUri": "https://three/keys"}]
    found = store(authentication("a", jwtRules=rules)).snapshot().directory.request_authentications
    troubles = (
        KeyTrouble(KeySource("https://two/.well-known/openid-configuration", discovery=True), "gone", kept=False),
        KeyTrouble(KeySource("https://three/keys"), "slow", kept=True),
    )
    assert [(each.at.field, each.hint) for each in problems(found, troubles)] == [
        ("spec.jwtRules[1].issuer", "Tokens of this issuer are refused until its keys are there."),
        ("spec.jwtRules[2].jwksUri", "The last keys that were fetched stay in force."),
    ]
