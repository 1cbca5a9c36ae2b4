from collections.abc import Iterator
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
import yaml
from kubernetes_validate.utils import validate

from weft.api.decode import decode
from weft.api.resources import RESOURCES
from weft.install.crds import crds

ACTED_ON = sorted(RESOURCES)


def crd(kind: str) -> dict[str, Any]:
    return next(each for each in crds() if each["spec"]["names"]["kind"] == kind)


def schema(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for each in node.get("properties", {}).values():
        yield from nodes(each)
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from nodes(node[key])


def at(node: dict[str, Any], path: str) -> dict[str, Any]:
    for part in path.split("."):
        node = node["properties"][part.removesuffix("[]")]
        node = node["items"] if part.endswith("[]") else node
    return node


def test_the_walkthroughs_definitions_are_there() -> None:
    assert [each["metadata"]["name"] for each in crds()] == [
        "authorizationpolicies.security.istio.io",
        "destinationrules.networking.istio.io",
        "envoyfilters.networking.istio.io",
        "gateways.networking.istio.io",
        "istiooperators.install.istio.io",
        "peerauthentications.security.istio.io",
        "proxyconfigs.networking.istio.io",
        "requestauthentications.security.istio.io",
        "serviceentries.networking.istio.io",
        "sidecars.networking.istio.io",
        "telemetries.telemetry.istio.io",
        "virtualservices.networking.istio.io",
        "wasmplugins.extensions.istio.io",
        "workloadentries.networking.istio.io",
        "workloadgroups.networking.istio.io",
    ]


@pytest.mark.parametrize("made", crds(), ids=lambda each: each["spec"]["names"]["kind"])
def test_kubernetes_takes_each_definition(made: dict[str, Any]) -> None:
    validate(made, "1.36", strict=True)
    assert sum(version["storage"] for version in made["spec"]["versions"]) == 1
    assert all(version["subresources"] == {"status": {}} for version in made["spec"]["versions"])


def test_names_and_columns_are_istios() -> None:
    spec = crd("VirtualService")["spec"]
    assert spec["names"] == {
        "kind": "VirtualService",
        "listKind": "VirtualServiceList",
        "plural": "virtualservices",
        "singular": "virtualservice",
        "shortNames": ["vs"],
        "categories": ["istio-io", "networking-istio-io"],
    }
    assert [each["name"] for each in spec["versions"]] == ["v1", "v1beta1", "v1alpha3"]
    columns = spec["versions"][2]["additionalPrinterColumns"]
    assert [(each["name"], each["type"]) for each in columns] == [
        ("Gateways", "string"),
        ("Hosts", "string"),
        ("Age", "date"),
    ]
    short = {each["spec"]["names"]["kind"]: each["spec"]["names"].get("shortNames") for each in crds()}
    assert short["DestinationRule"] == ["dr"]
    assert short["Sidecar"] is None


@pytest.mark.parametrize("kind", [each["spec"]["names"]["kind"] for each in crds()])
def test_schemas_are_structural(kind: str) -> None:
    for node in nodes(schema(kind)):
        assert node["type"] in {"object", "array", "string", "integer", "number", "boolean"}
        assert not {"$ref", "anyOf", "oneOf", "title", "default"} & set(node)
        assert not ("properties" in node and "additionalProperties" in node)
        assert node.get("type") != "array" or "items" in node


@pytest.mark.parametrize("kind", ACTED_ON)
def test_every_object_of_a_kind_that_is_acted_on_lists_its_fields(kind: str) -> None:
    spec = schema(kind)["properties"]["spec"]
    for node in nodes(spec):
        # a part of Envoy's configuration has no schema here
        if node.get("description", "").startswith("A part of Envoy's configuration"):
            assert node["x-kubernetes-preserve-unknown-fields"]
            continue
        if node["type"] == "object":
            assert "properties" in node or "additionalProperties" in node
        assert "x-kubernetes-preserve-unknown-fields" not in node


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("VirtualService", "spec.hosts", {"type": "array"}),
        ("VirtualService", "spec.http[].route[].destination", {"required": ["host"]}),
        ("VirtualService", "spec.http[].match[].port", {"type": "integer", "minimum": 1, "maximum": 65535}),
        ("VirtualService", "spec.http[].fault.abort.percentage.value", {"type": "number", "maximum": 100}),
        ("VirtualService", "spec.http[].mirror_percent", {"type": "integer"}),
        ("VirtualService", "spec.tls[].match[].sniHosts", {"type": "array"}),
        ("DestinationRule", "spec", {"required": ["host"]}),
        ("DestinationRule", "spec.subsets[].trafficPolicy.outlierDetection.consecutive5xxErrors", {"minimum": 0}),
        (
            "DestinationRule",
            "spec.trafficPolicy.loadBalancer.localityLbSetting.failover[].from",
            {"type": "string"},
        ),
        (
            "DestinationRule",
            "spec.trafficPolicy.tls.mode",
            {"enum": ["DISABLE", "ISTIO_MUTUAL", "MUTUAL", "SIMPLE"], "type": "string"},
        ),
    ],
)
def test_a_field_has_the_type_of_its_shape(kind: str, path: str, expected: dict[str, Any]) -> None:
    assert expected.items() <= at(schema(kind), path).items()


@pytest.mark.parametrize(
    ("kind", "spec", "good"),
    [
        (
            "VirtualService",
            "{hosts: [a], http: [{route: [{destination: {host: a}, weight: 100}], timeout: 2s}]}",
            True,
        ),
        ("VirtualService", "{hosts: [a], http: [{route: [{destination: {}}]}]}", False),
        ("VirtualService", "{hosts: [a], http: [{route: [{destination: {host: a}, weight: many}]}]}", False),
        ("VirtualService", "{hosts: a}", False),
        ("DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {simple: RANDOM}}}", True),
        ("DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {simple: RANDUM}}}", False),
        ("DestinationRule", "{host: a, subsets: [{labels: {a: b}}]}", False),
    ],
)
def test_the_schema_and_the_shape_agree(kind: str, spec: str, *, good: bool) -> None:
    obj = {"metadata": {"name": "a", "namespace": "b"}, "spec": yaml.safe_load(spec)}
    fits = jsonschema.Draft202012Validator(schema(kind)).is_valid(obj)
    assert fits is good
    assert (not isinstance(decode(RESOURCES[kind].shape, obj), tuple)) is good
