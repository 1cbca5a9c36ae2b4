"""CustomResourceDefinitions: what is refused of them, what their status says, and what they make possible."""

import json
from typing import Any

import pytest
from tests.cluster.apiserver.servers import Kubectl

from weft.cluster.apiserver.crds import CLEANUP
from weft.cluster.apiserver.rest.server import Server
from weft.cluster.apiserver.store import Key

SPEC: dict[str, Any] = {
    "type": "object",
    "properties": {
        "replicas": {"type": "integer", "minimum": 1, "maximum": 9, "description": "How many."},
        "color": {"type": "string", "enum": ["red", "blue"], "default": "blue"},
        "note": {"type": "string", "nullable": True, "default": "none"},
        "step": {"type": "number", "multipleOf": 0.5},
        "ports": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
            },
        },
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "template": {
            "type": "object",
            "x-kubernetes-embedded-resource": True,
            "x-kubernetes-preserve-unknown-fields": True,
        },
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "host": {"type": "string", "format": "ipv4"},
        "mark": {"type": "string", "pattern": "^(a+)+$"},
    },
}
STATUS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "replicas": {"type": "integer"},
        "selector": {"type": "string"},
        "since": {"type": "string", "format": "date-time"},
        "ready": {"type": "boolean"},
    },
}


def definition(plural: str = "gears", kind: str = "Gear", **changes: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"spec": SPEC, "status": STATUS}}
    version: dict[str, Any] = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "selectableFields": [{"jsonPath": ".spec.color"}],
        "additionalPrinterColumns": [
            {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
            {"name": "Since", "type": "date", "jsonPath": ".status.since"},
            {"name": "Ready", "type": "boolean", "jsonPath": ".status.ready"},
            {"name": "Step", "type": "number", "jsonPath": ".spec.step"},
            {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
        ],
    }
    names = {"plural": plural, "kind": kind, "shortNames": [f"{plural[:2]}x"], "categories": ["all", "tools"]}
    found: dict[str, Any] = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    found["spec"] |= changes
    return found


def gear(name: str = "g", **spec: Any) -> str:
    return json.dumps({"apiVersion": "example.com/v1", "kind": "Gear", "metadata": {"name": name}, "spec": spec})


async def create(kubectl: Kubectl, crd: dict[str, Any], *, ok: bool = True) -> str:
    found = await kubectl("apply", "-f", "-", stdin=json.dumps(crd), ok=ok)
    return found.out + found.err


async def conditions(kubectl: Kubectl, name: str) -> dict[str, str]:
    crd = json.loads((await kubectl("get", "crd", name, "-o", "json")).out)
    return {item["type"]: f"{item['status']} {item['reason']}" for item in crd["status"]["conditions"]}


def _with(path: str, value: Any) -> dict[str, Any]:
    """The definition with something else at a path of its schema; None takes it away."""
    crd: dict[str, Any] = json.loads(json.dumps(definition()))
    node = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    *parts, last = path.split("/")
    for part in parts:
        node = node[part]
    if value is None:
        node.pop(last)
    else:
        node[last] = value
    return crd


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("type", None, "openAPIV3Schema.type: Required value: must not be empty at the root"),
        (
            "properties/spec/properties/color/type",
            None,
            "properties[color].type: Required value: must not be empty for specified object fields",
        ),
        (
            "properties/spec/properties/tags/items",
            None,
            "properties[tags].items: Required value: must be specified",
        ),
        (
            "properties/spec/anyOf",
            [{"properties": {"replicas": {"type": "integer"}}}],
            "properties[spec].anyOf[0].properties[replicas].type: Forbidden: must be empty to be structural",
        ),
        (
            "properties/spec/oneOf",
            [{"required": ["a"], "properties": {"a": {}}}],
            "properties[a]: Required value: because it is defined in spec.validation.openAPIV3Schema",
        ),
        (
            "properties/spec/properties/color/default",
            "green",
            'properties[color].default: Unsupported value: "green": supported values: "red", "blue"',
        ),
        (
            "properties/spec/additionalProperties",
            {"type": "string"},
            "additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            "properties/spec/properties/ports/items/required",
            None,
            "x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
        ("properties/spec/properties/color/type", "text", 'Unsupported value: "text": supported values: "array"'),
        (
            "properties/metadata",
            {"type": "object", "properties": {"labels": {"type": "object"}}},
            "must not specify anything other than name and generateName, but metadata is implicitly specified",
        ),
        ("properties/spec/uniqueItems", True, "uniqueItems cannot be set to true"),
        (
            "properties/spec/properties/color/pattern",
            "[a",
            "but isn't: error parsing regexp: missing closing ]: `[a`",
        ),
    ],
)
async def test_a_schema_that_is_not_structural_is_refused(
    kubectl: Kubectl, path: str, value: Any, says: str
) -> None:
    refused = await create(kubectl, _with(path, value), ok=False)
    assert 'The CustomResourceDefinition "gears.example.com" is invalid' in refused
    assert says in refused


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scope": "Everywhere"}, 'spec.scope: Unsupported value: "Everywhere"'),
        ({"group": "example"}, "should be a domain with at least one dot"),
        ({"preserveUnknownFields": True}, "spec.preserveUnknownFields: Invalid value: true: cannot set to true"),
        ({"conversion": {"strategy": "Webhook"}}, "spec.conversion.webhookClientConfig: Required value"),
        ({"group": "x.k8s.io"}, "protected groups must have approval annotation"),
    ],
)
async def test_a_definition_that_makes_no_sense_is_refused(
    kubectl: Kubectl, changes: dict[str, Any], says: str
) -> None:
    crd = definition(**changes)
    crd["metadata"]["name"] = f"gears.{crd['spec']['group']}"
    assert says in await create(kubectl, crd, ok=False)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"replicas": 0}, "spec.replicas in body should be greater than or equal to 1"),
        ({"replicas": 10}, "spec.replicas in body should be less than or equal to 9"),
        ({"color": "pink"}, 'spec.color: Unsupported value: "pink": supported values: "red", "blue"'),
        ({"step": 0.3}, "spec.step in body should be a multiple of 0.5"),
        ({"ports": [{"name": "a"}, {"name": "a"}]}, 'spec.ports[1]: Duplicate value: {"name":"a"}'),
        ({"tags": ["a", "a"]}, 'spec.tags[1]: Duplicate value: "a"'),
        ({"template": {"spec": {}}}, "spec.template.apiVersion: Required value: must not be empty"),
        # an engine that goes back and tries again would be at this for hours
        ({"mark": "a" * 64 + "b"}, "spec.mark in body should match '^(a+)+$'"),
        ({"host": "nowhere"}, 'spec.host in body must be of type ipv4: "nowhere"'),
    ],
)
async def test_an_object_is_held_to_its_schema(kubectl: Kubectl, spec: dict[str, Any], says: str) -> None:
    await create(kubectl, definition())
    refused = await kubectl("create", "-f", "-", stdin=gear(**spec), ok=False)
    assert says in refused.err


async def test_objects_are_pruned_and_defaulted(kubectl: Kubectl) -> None:
    await create(kubectl, definition())
    template = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "odd": 1}, "spec": {"any": "thing"}}
    given = gear(template=template, free={"a": {"b": 1}}, note=None, odd=1)
    await kubectl("create", "--validate=ignore", "-f", "-", stdin=given)
    made = json.loads((await kubectl("get", "gear", "g", "-o", "json")).out)
    assert made["spec"]["color"] == "blue"
    assert made["spec"]["note"] is None
    assert "odd" not in made["spec"]
    assert made["spec"]["free"] == {"a": {"b": 1}}
    assert made["spec"]["template"]["spec"] == {"any": "thing"}
    assert "odd" not in made["spec"]["template"]["metadata"]


async def test_names_categories_columns_and_selectors(kubectl: Kubectl) -> None:
    await create(kubectl, definition())
    await kubectl("create", "-f", "-", stdin=gear(replicas=3, step=1.5))
    await kubectl("create", "-f", "-", stdin=gear("r", replicas=2, color="red"))
    assert (await kubectl("get", "gex")).out.split("\n")[0].split() == [
        "NAME",
        "REPLICAS",
        "SINCE",
        "READY",
        "STEP",
    ]
    wide = (await kubectl("get", "gears", "-o", "wide")).out.split("\n")
    assert wide[0].split()[-1] == "COLOR"
    assert "gear.example.com/g" in (await kubectl("get", "all")).out
    assert "gear.example.com/g" in (await kubectl("get", "tools", "-o", "name")).out
    red = await kubectl("get", "gears", "--field-selector", "spec.color=red", "-o", "name")
    assert red.out == "gear.example.com/r\n"
    refused = await kubectl("get", "gears", "--field-selector", "spec.replicas=2", ok=False)
    assert "field label not supported: spec.replicas" in refused.err


async def test_scale_and_status_are_apart_and_generations_count_what_is_wanted(kubectl: Kubectl) -> None:
    await create(kubectl, definition())
    await kubectl("create", "-f", "-", stdin=gear(replicas=3))
    status = {"replicas": 2, "selector": "a=b", "since": "2020-01-01T00:00:00Z", "ready": True}
    patch = json.dumps({"status": status, "spec": {"replicas": 9}})
    await kubectl("patch", "gear", "g", "--subresource=status", "--type=merge", "-p", patch)
    await kubectl("patch", "gear", "g", "--type=merge", "-p", '{"status":{"replicas":7}}')
    await kubectl("scale", "gear/g", "--replicas=5")
    path = "/apis/example.com/v1/namespaces/default/gears/g/scale"
    scale = json.loads((await kubectl("get", "--raw", path)).out)
    assert (scale["spec"]["replicas"], scale["status"]) == (5, {"replicas": 2, "selector": "a=b"})
    assert (await kubectl("get", "gear", "g", "-o", "jsonpath={.metadata.generation}")).out == "2"
    line = (await kubectl("get", "gear", "g", "--no-headers")).out.split()
    assert (line[0], line[1], line[3]) == ("g", "5", "true")
    refused = await kubectl("scale", "gear/g", "--replicas=50", ok=False)
    assert "should be less than or equal to 9" in refused.err


async def test_lists_that_are_maps_merge_by_key(kubectl: Kubectl) -> None:
    await create(kubectl, definition())
    one, two = gear(ports=[{"name": "a", "port": 1}]), gear(ports=[{"name": "b", "port": 2}])
    await kubectl("apply", "--server-side", "--field-manager=one", "-f", "-", stdin=one)
    await kubectl("apply", "--server-side", "--field-manager=two", "-f", "-", stdin=two)
    ports = json.loads((await kubectl("get", "gear", "g", "-o", "jsonpath={.spec.ports}")).out)
    assert ports == [{"name": "a", "port": 1}, {"name": "b", "port": 2}]
    other = gear(ports=[{"name": "a", "port": 9}])
    refused = await kubectl("apply", "--server-side", "--field-manager=two", "-f", "-", stdin=other, ok=False)
    assert 'conflict with "one": .spec.ports[name="a"].port' in refused.err


async def test_explain_knows_custom_fields(kubectl: Kubectl, old_kubectl: Kubectl) -> None:
    await create(kubectl, definition())
    newest = (await kubectl("explain", "gear", "--recursive")).out
    assert "replicas\t<integer>" in newest
    assert "ports\t<[]Object>" in newest
    assert "How many." in (await kubectl("explain", "gear.spec.replicas")).out
    older = (await old_kubectl("explain", "gear", "--recursive")).out
    assert "replicas\t<integer>" in older


async def test_a_schema_changes_under_living_objects(kubectl: Kubectl) -> None:
    await create(kubectl, definition())
    await kubectl("create", "-f", "-", stdin=gear(replicas=9))
    await create(kubectl, _with("properties/spec/properties/replicas/maximum", 5))
    await kubectl("label", "gear", "g", "a=b")
    refused = await kubectl("create", "-f", "-", stdin=gear("h", replicas=9), ok=False)
    assert "should be less than or equal to 5" in refused.err
    await create(kubectl, _with("properties/spec/properties/extra", {"type": "string"}))
    await kubectl("create", "-f", "-", stdin=gear("i", extra="yes"))


async def test_the_status_tells_what_was_stored_and_the_names_that_were_had(kubectl: Kubectl) -> None:
    crd = definition()
    crd["spec"]["versions"].insert(0, {**crd["spec"]["versions"][0], "name": "v2", "storage": False})
    await create(kubectl, crd)
    stored = ("get", "crd", "gears.example.com", "-o", "jsonpath={.status.storedVersions}")
    assert (await kubectl(*stored)).out == '["v1"]'
    await kubectl("create", "-f", "-", stdin=gear(replicas=1))
    crd["spec"]["versions"][0]["storage"], crd["spec"]["versions"][1]["storage"] = True, False
    await create(kubectl, crd)
    assert (await kubectl(*stored)).out == '["v1","v2"]'
    seen = await kubectl("get", "gears.v2.example.com", "g", "-o", "jsonpath={.apiVersion}")
    assert seen.out == "example.com/v2"
    listed = json.loads((await kubectl("get", "gears", "-o", "json")).out)
    assert [item["apiVersion"] for item in listed["items"]] == ["example.com/v2"]
    crd["spec"]["versions"].pop(1)
    refused = await create(kubectl, crd, ok=False)
    assert 'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions' in refused
    scope = await create(kubectl, definition(scope="Cluster"), ok=False)
    assert 'spec.scope: Invalid value: "Cluster": field is immutable' in scope


async def test_names_that_are_taken_are_had_once_they_are_free(kubectl: Kubectl) -> None:
    await create(kubectl, definition())
    await create(kubectl, definition("cogs", "Gear"))
    found = await conditions(kubectl, "cogs.example.com")
    assert found["NamesAccepted"].startswith("False ")
    assert found["Established"] == "False NotAccepted"
    assert "doesn't have a resource type" in (await kubectl("get", "cogs", ok=False)).err
    await kubectl("delete", "crd", "gears.example.com", "--timeout=10s")
    await kubectl("wait", "crd/cogs.example.com", "--for=condition=Established", "--timeout=10s")
    assert (await conditions(kubectl, "cogs.example.com"))["NamesAccepted"] == "True NoConflicts"
    await kubectl("get", "cogs")


async def test_an_approved_kind_says_so(kubectl: Kubectl) -> None:
    crd = definition(group="x.k8s.io")
    crd["metadata"] = {
        "name": "gears.x.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes/enhancements/pull/1"},
    }
    await create(kubectl, crd)
    found = await conditions(kubectl, "gears.x.k8s.io")
    assert found["KubernetesAPIApprovalPolicyConformant"] == "True ApprovedAnnotation"


async def test_a_definition_takes_its_objects_along_and_waits_for_their_finalizers(kubectl: Kubectl) -> None:
    await create(kubectl, definition())
    await create(kubectl, definition("levers", "Lever"))
    await kubectl("create", "-f", "-", stdin=gear())
    await kubectl("patch", "gear", "g", "--type=merge", "-p", '{"metadata":{"finalizers":["example.com/wait"]}}')
    await kubectl("delete", "crd", "gears.example.com", "--wait=false")
    assert (await conditions(kubectl, "gears.example.com"))["Terminating"] == "True InstanceDeletionInProgress"
    refused = await kubectl("create", "-f", "-", stdin=gear("late"), ok=False)
    assert "create not allowed while custom resource definition is terminating" in refused.err
    await kubectl("delete", "crd", "levers.example.com", "--timeout=10s")
    await kubectl("patch", "gear", "g", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    await kubectl("wait", "crd/gears.example.com", "--for=delete", "--timeout=10s")


async def test_a_definition_that_an_older_server_took_can_go(kubectl: Kubectl, server: Server) -> None:
    crd = _with("type", None)
    crd["metadata"] |= {"uid": "1", "creationTimestamp": "2020-01-01T00:00:00Z", "finalizers": [CLEANUP]}
    crd["spec"]["names"] |= {"singular": "gear", "listKind": "GearList"}
    crd["spec"]["conversion"] = {"strategy": "None"}
    key = Key("apiextensions.k8s.io/customresourcedefinitions", "", "gears.example.com")
    await server.cluster.store.create(key, crd)
    await kubectl("label", "crd", "gears.example.com", "a=b")
    await kubectl("delete", "crd", "gears.example.com", "--timeout=10s")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("properties/spec/properties/tags/items", 5),
        ("properties/spec/properties/tags/items", [{"type": "string"}]),
        ("properties/spec/additionalProperties", 5),
        ("properties/spec/allOf", [1]),
        ("properties/spec/properties", []),
        ("properties/spec/properties/color", None),
        ("properties/spec/properties/color/default", {"a": [None]}),
        ("properties/spec/properties/color/enum", 5),
        ("properties/spec/x-kubernetes-validations", 5),
        ("properties/spec/x-kubernetes-validations", [{"rule": 5}]),
        ("properties/spec/x-kubernetes-validations", [{"message": "x"}]),
        ("properties/spec/x-kubernetes-validations", [{"rule": "(" * 4000 + "true"}]),
        ("properties/spec/x-kubernetes-validations", [{"rule": "true", "fieldPath": "]["}]),
        ("properties/spec/properties/ports/x-kubernetes-list-map-keys", [{}]),
    ],
)
async def test_no_schema_is_too_odd_for_an_answer(kubectl: Kubectl, path: str, value: Any) -> None:
    text = json.dumps(_with(path, value))
    answered = await kubectl("create", "--validate=false", "-f", "-", stdin=text, ok=False)
    assert "InternalError" not in answered.err
    assert "its log says why" not in answered.err
    made = await kubectl("create", "--validate=false", "-f", "-", stdin=gear(tags=["a"], color="red"), ok=False)
    assert "its log says why" not in made.err


async def test_a_deprecated_version_warns(kubectl: Kubectl) -> None:
    crd = definition()
    old = {**crd["spec"]["versions"][0], "name": "v1beta1", "storage": False, "deprecated": True}
    older = {**old, "name": "v1alpha1", "deprecationWarning": "v1alpha1 is no good"}
    crd["spec"]["versions"] += [old, older]
    await create(kubectl, crd)
    seen = await kubectl("get", "gears.v1beta1.example.com")
    assert "Warning: example.com/v1beta1 Gear is deprecated; use example.com/v1 Gear\n" in seen.err
    made = await kubectl("create", "-f", "-", stdin=gear().replace("example.com/v1", "example.com/v1alpha1"))
    assert "Warning: v1alpha1 is no good\n" in made.err
    assert "Warning" not in (await kubectl("get", "gears")).err
