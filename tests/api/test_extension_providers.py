"""What is wrong in providers is told with its field, before any proxy gets it."""

from typing import Any

import pytest
import yaml

from weft.api.mesh_config_decode import decode

GOOD = {"service": "decides.shop.svc.cluster.local", "port": 80}
PLACE = "data.mesh.extensionProviders[0]"


def told(*providers: dict[str, Any]) -> list[tuple[str, str, str]]:
    mesh = yaml.safe_dump({"extensionProviders": list(providers)})
    found = decode({"data": {"mesh": mesh}}, "istio-system", "istio")
    return [(each.severity.name, each.code, each.at.field) for each in found.problems]


@pytest.mark.parametrize("kind", ["envoyExtAuthzHttp", "envoyExtAuthzGrpc"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("service", ""),
        ("service", "decides"),
        ("service", "*.example.com"),
        ("service", "Shop_/decides.example.com"),
        ("service", "a/b/decides.example.com"),
        ("port", 0),
        ("port", 65536),
        ("port", None),
        ("timeout", "5"),
        ("timeout", "0s"),
        ("statusOnError", "teapot"),
        ("statusOnError", "299"),
        ("statusOnError", 503),
        ("failOpen", "yes please"),
        ("includeRequestBodyInCheck.maxRequestBytes", 0),
        ("includeRequestBodyInCheck.maxRequestBytes", -1),
    ],
)
def test_a_mistake_in_a_provider_is_named(kind: str, field: str, value: object) -> None:
    name, _, inner = field.partition(".")
    provider = {"name": "a", kind: {**GOOD, name: {inner: value} if inner else value}}
    assert told(provider) == [("ERROR", "IST0106", f"{PLACE}.{kind}.{field}")]


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("pathPrefix", "check", ""),
        ("pathPrefix", "/check?a", ""),
        ("includeRequestHeadersInCheck", ["x-one", "*"], "[1]"),
        ("includeRequestHeadersInCheck", ["x one"], "[0]"),
        ("headersToUpstreamOnAllow", ["*x*"], "[0]"),
        ("headersToDownstreamOnDeny", [""], "[0]"),
        ("headersToDownstreamOnAllow", ["x-*-y"], "[0]"),
        ("includeAdditionalHeadersInCheck", {"x one": "a"}, '["x one"]'),
        ("includeAdditionalHeadersInCheck", {"x-one": "a\nb"}, '["x-one"]'),
    ],
)
def test_a_mistake_in_what_goes_over_http_is_named(field: str, value: object, where: str) -> None:
    provider = {"name": "a", "envoyExtAuthzHttp": {**GOOD, field: value}}
    assert told(provider) == [("ERROR", "IST0106", f"{PLACE}.envoyExtAuthzHttp.{field}{where}")]


def test_a_provider_is_one_thing_under_a_name_of_its_own() -> None:
    good = {"name": "a", "envoyExtAuthzHttp": GOOD}
    assert told(good) == []
    assert told({**good, "name": ""}) == [("ERROR", "IST0106", f"{PLACE}.name")]
    assert told(good, good) == [("ERROR", "IST0106", "data.mesh.extensionProviders[1].name")]
    assert told({"name": "a"}) == [("ERROR", "IST0106", PLACE)]
    assert told({**good, "envoyExtAuthzGrpc": GOOD}) == [("ERROR", "IST0106", PLACE)]


def test_providers_of_telemetry_and_old_names_are_told_of() -> None:
    assert told({"name": "a", "zipkin": {"service": "zipkin.example.com", "port": 9411}}) == [
        ("WARNING", "WEFT0001", f"{PLACE}.zipkin")
    ]
    old = {**GOOD, "includeHeadersInCheck": ["x-one"]}
    assert told({"name": "a", "envoyExtAuthzHttp": old}) == [
        ("WARNING", "IST0002", f"{PLACE}.envoyExtAuthzHttp.includeHeadersInCheck")
    ]
    assert told({"name": "a", "envoyExtAuthzGrpc": {**GOOD, "pathPrefix": "/a"}}) == [
        ("WARNING", "IST0133", f"{PLACE}.envoyExtAuthzGrpc.pathPrefix")
    ]
