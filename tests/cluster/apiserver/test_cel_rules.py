"""Validation rules of custom resources, written as Gateway API and Istio write theirs."""

import pytest
import yaml
from tests.cluster.apiserver.servers import Kubectl

from weft.adapters.kube.client import Kube

_SPEC = """
type: object
required: [replicas]
x-kubernetes-validations:
  - rule: self.replicas <= self.maxReplicas
    message: replicas must be at most maxReplicas
    fieldPath: .replicas
  - rule: "!has(self.quota) || quantity(self.quota).isGreaterThan(quantity('1Mi'))"
    messageExpression: "'quota ' + self.quota + ' is too small'"
    reason: FieldValueForbidden
  - rule: self.mode != 'Fixed' || size(self.listeners) == 1
properties:
  replicas: {type: integer, minimum: 1}
  maxReplicas: {type: integer, default: 5}
  mode: {type: string, default: Free}
  quota: {type: string}
  class:
    type: string
    x-kubernetes-validations:
      - {rule: self == oldSelf, message: class is immutable}
  x-ref: {type: string, x-kubernetes-validations: [{rule: "self != 'no'"}]}
  port:
    x-kubernetes-int-or-string: true
    x-kubernetes-validations: [{rule: "type(self) == int ? self > 0 : self != ''"}]
  until:
    type: string
    format: date-time
    x-kubernetes-validations: [{rule: "self > timestamp('2020-01-01T00:00:00Z')"}]
  timeout:
    type: string
    format: duration
    x-kubernetes-validations: [{rule: "self <= duration('1h')", message: too long}]
  namespace: {type: string}
  labels:
    type: object
    additionalProperties:
      type: string
      x-kubernetes-validations: [{rule: "self.matches('^[a-z]+$')", message: letters only}]
  addresses:
    type: array
    items: {type: string}
    x-kubernetes-validations: [{rule: "self.all(a, isIP(a) && !ip(a).isLoopback())", message: must be addresses}]
  listeners:
    type: array
    default: []
    maxItems: 8
    x-kubernetes-list-type: map
    x-kubernetes-list-map-keys: [name]
    x-kubernetes-validations:
      - rule: "self.all(l, !has(l.tls) || l.protocol in ['HTTPS', 'TLS'])"
        message: tls must not be specified for protocols other than HTTPS and TLS
    items:
      type: object
      required: [name, port, protocol]
      properties:
        name: {type: string}
        port: {type: integer}
        protocol: {type: string}
        tls: {type: object, properties: {mode: {type: string}}}
      x-kubernetes-validations:
        - {rule: self.port == oldSelf.port, message: a listener keeps its port}
"""


_STATUS = """
type: object
properties: {ready: {type: integer}}
x-kubernetes-validations: [{rule: "!has(self.ready) || self.ready >= 0"}]
"""


def definition(schema: str = _SPEC, extra: str = "[]") -> str:
    properties = {"spec": yaml.safe_load(schema), "status": yaml.safe_load(_STATUS)}
    root = {"type": "object", "properties": properties, "x-kubernetes-validations": yaml.safe_load(extra)}
    version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}}
    return yaml.safe_dump(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.com"},
            "spec": {
                "group": "example.com",
                "scope": "Namespaced",
                "names": {"plural": "widgets", "kind": "Widget"},
                "versions": [{**version, "schema": {"openAPIV3Schema": root}}],
            },
        }
    )


def widget(spec: str) -> str:
    return f"apiVersion: example.com/v1\nkind: Widget\nmetadata: {{name: w}}\nspec: {spec}\n"


@pytest.fixture
async def served(kubectl: Kubectl) -> Kubectl:
    await kubectl("create", "-f", "-", stdin=definition())
    return kubectl


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("{replicas: 9}", 'spec.replicas: Invalid value: "object": replicas must be at most maxReplicas'),
        ("{replicas: 1, quota: 1Ki}", "spec: Forbidden: quota 1Ki is too small"),
        (
            "{replicas: 1, mode: Fixed}",
            "spec: Invalid value: \"object\": failed rule: self.mode != 'Fixed' || size(self.listeners) == 1",
        ),
        ("{replicas: 1, x-ref: 'no'}", "spec.x-ref: Invalid value: \"string\": failed rule: self != 'no'"),
        ("{replicas: 1, port: 0}", 'spec.port: Invalid value: "": failed rule: type(self) == int'),
        ("{replicas: 1, until: '2019-01-01T00:00:00Z'}", 'spec.until: Invalid value: "string": failed rule'),
        ("{replicas: 1, timeout: 2h}", 'spec.timeout: Invalid value: "string": too long'),
        ("{replicas: 1, labels: {a: X}}", 'spec.labels[a]: Invalid value: "string": letters only'),
        ("{replicas: 1, addresses: ['127.0.0.1']}", 'spec.addresses: Invalid value: "array": must be addresses'),
        (
            "{replicas: 1, listeners: [{name: a, port: 80, protocol: HTTP, tls: {}}]}",
            'spec.listeners: Invalid value: "array": tls must not be specified for protocols',
        ),
        ("{replicas: 1, until: soon}", 'spec.until in body must be of type date-time: "soon"'),
    ],
)
async def test_a_rule_refuses_in_kubernetes_words(served: Kubectl, spec: str, says: str) -> None:
    refused = await served("create", "-f", "-", stdin=widget(spec), ok=False)
    assert says in refused.err
    assert 'The Widget "w" is invalid' in refused.err


async def test_what_keeps_every_rule_is_made_with_its_defaults(served: Kubectl) -> None:
    good = "{replicas: 5, quota: 2Gi, class: a, port: http, until: '2024-01-01T00:00:00Z', timeout: 30m}"
    await served("create", "-f", "-", stdin=widget(good))
    assert (await served("get", "widget", "w", "-o", "jsonpath={.spec.maxReplicas}")).out == "5"


async def test_all_violations_are_told_at_once(served: Kubectl) -> None:
    refused = await served(
        "create", "-f", "-", stdin=widget("{replicas: 9, timeout: 2h, labels: {a: X}}"), ok=False
    )
    assert refused.err.count("* spec") == 3


async def test_rules_wait_for_a_sound_form(served: Kubectl) -> None:
    refused = await served("create", "-f", "-", stdin=widget("{labels: {a: X}}"), ok=False)
    assert "spec.replicas: Required value" in refused.err
    assert '<nil>: Invalid value: "null": some validation rules were not checked' in refused.err
    assert "letters only" not in refused.err


async def test_transition_rules_hold_on_updates_only_and_follow_the_keys_of_lists(served: Kubectl) -> None:
    x, z = "{name: x, port: 1, protocol: TCP}", "{name: z, port: 2, protocol: TCP}"
    first = f"{{replicas: 1, class: a, listeners: [{x}, {z}]}}"
    await served("apply", "-f", "-", stdin=widget(first))
    turned = f"{{replicas: 1, class: b, listeners: [{z}, {x.replace('1', '9')}]}}"
    refused = await served("apply", "-f", "-", stdin=widget(turned), ok=False)
    assert 'spec.class: Invalid value: "string": class is immutable' in refused.err
    assert 'spec.listeners[1]: Invalid value: "object": a listener keeps its port' in refused.err
    assert "spec.listeners[0]" not in refused.err


async def test_the_order_of_lists_that_are_maps_or_sets_is_no_change(kubectl: Kubectl) -> None:
    schema = yaml.safe_load(_SPEC)
    schema["properties"]["tags"] = {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}
    same = "self.listeners == oldSelf.listeners && self.tags == oldSelf.tags"
    schema["x-kubernetes-validations"] = [{"rule": same, "message": "nothing may change"}]
    await kubectl("create", "-f", "-", stdin=definition(yaml.safe_dump(schema)))
    x, z = "{name: x, port: 1, protocol: TCP}", "{name: z, port: 2, protocol: TCP}"
    await kubectl("apply", "-f", "-", stdin=widget(f"{{replicas: 1, listeners: [{x}, {z}], tags: [a, b]}}"))
    await kubectl("apply", "-f", "-", stdin=widget(f"{{replicas: 1, listeners: [{z}, {x}], tags: [b, a]}}"))
    fewer = widget(f"{{replicas: 1, listeners: [{z}, {x}], tags: [b]}}")
    assert "nothing may change" in (await kubectl("apply", "-f", "-", stdin=fewer, ok=False)).err


async def test_rules_hold_for_the_status(served: Kubectl) -> None:
    await served("apply", "-f", "-", stdin=widget("{replicas: 1}"))
    patch = ("patch", "widget", "w", "--subresource=status", "--type=merge", "-p")
    refused = await served(*patch, '{"status":{"ready":-1}}', ok=False)
    assert 'status: Invalid value: "object": failed rule: !has(self.ready) || self.ready >= 0' in refused.err
    await served(*patch, '{"status":{"ready":1}}')


async def test_what_was_wrong_before_and_is_unchanged_is_tolerated_with_a_warning(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=definition(_SPEC.replace("[a-z]+$')", ".*$')")))
    old = "labels: {a: X}, mode: 'long enough'}"
    await kubectl("apply", "-f", "-", stdin=widget("{replicas: 1, " + old))
    strict = _SPEC.replace("mode: {type: string,", "mode: {type: string, maxLength: 4,")
    await kubectl("apply", "-f", "-", stdin=definition(strict))
    kept = await kubectl("apply", "-f", "-", stdin=widget("{replicas: 2, " + old))
    assert 'Warning: spec.labels[a]: Invalid value: "string": letters only' in kept.err
    longer = widget("{replicas: 2, labels: {a: X}, mode: 'longer still'}")
    changed = await kubectl("apply", "-f", "-", stdin=longer, ok=False)
    assert "spec.mode: Too long: may not be more than 4 bytes" in changed.err
    again = await kubectl("apply", "-f", "-", stdin=widget("{replicas: 2, " + old.replace("X", "XX")), ok=False)
    assert "letters only" in again.err


async def test_an_optional_old_self_sees_creations_too(kubectl: Kubectl) -> None:
    rules = (
        "[{rule: 'oldSelf.hasValue() || self.spec.replicas == 1', optionalOldSelf: true, message: begin with one}]"
    )
    await kubectl("create", "-f", "-", stdin=definition(extra=rules))
    refused = await kubectl("apply", "-f", "-", stdin=widget("{replicas: 2}"), ok=False)
    assert '<nil>: Invalid value: "object": begin with one' in refused.err
    await kubectl("apply", "-f", "-", stdin=widget("{replicas: 1}"))
    await kubectl("apply", "-f", "-", stdin=widget("{replicas: 2}"))


async def test_the_name_of_an_object_is_there_for_rules_and_the_rest_of_its_metadata_is_not(
    kubectl: Kubectl,
) -> None:
    await kubectl("create", "-f", "-", stdin=definition(extra="[{rule: self.metadata.name.startsWith('x')}]"))
    refused = await kubectl("apply", "-f", "-", stdin=widget("{replicas: 1}"), ok=False)
    assert "failed rule: self.metadata.name.startsWith('x')" in refused.err
    labels = definition(extra="[{rule: size(self.metadata.labels) > 0}]")
    bad = await kubectl("apply", "-f", "-", stdin=labels, ok=False)
    assert "undefined field 'labels'" in bad.err


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("self.nope > 1", "compilation failed: ERROR: <input>:1:5: undefined field 'nope'"),
        ("self.replicas +", "compilation failed: ERROR: <input>:1:16: Syntax error"),
        ("self.replicas == 'x'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.replicas", "cel expression must evaluate to a bool"),
    ],
)
async def test_a_rule_that_does_not_compile_refuses_the_definition(kubectl: Kubectl, rule: str, says: str) -> None:
    schema = yaml.safe_load(_SPEC)
    schema["x-kubernetes-validations"][0] = {"rule": rule}
    refused = await kubectl("create", "-f", "-", stdin=definition(yaml.safe_dump(schema)), ok=False)
    where = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value: "
    assert where in refused.err
    assert says in refused.err


async def test_a_rule_that_compares_items_without_keys_refuses_the_definition(kubectl: Kubectl) -> None:
    schema = yaml.safe_load(_SPEC)
    schema["properties"]["addresses"]["items"]["x-kubernetes-validations"] = [{"rule": "self == oldSelf"}]
    refused = await kubectl("create", "-f", "-", stdin=definition(yaml.safe_dump(schema)), ok=False)
    why = (
        "oldSelf cannot be used on the uncorrelatable portion of the schema within spec.validation.openAPIV3Schema"
    )
    assert f"{why}.properties[spec].properties[addresses]" in refused.err


async def test_no_rule_hangs_the_server(kubectl: Kubectl, kube: Kube) -> None:
    heavy = "self.addresses.all(a, self.addresses.all(b, self.addresses.all(c, a + b + c != 'x')))"
    schema = yaml.safe_load(_SPEC)
    schema["properties"]["addresses"].pop("x-kubernetes-validations")
    schema["x-kubernetes-validations"] = [{"rule": heavy}]
    await kubectl("create", "-f", "-", stdin=definition(yaml.safe_dump(schema)))
    many = "{replicas: 1, addresses: [" + ", ".join("a" for _ in range(400)) + "]}"
    refused = await kubectl("create", "-f", "-", stdin=widget(many), ok=False)
    assert "actual cost limit exceeded" in refused.err
    assert "no further validation rules will be run due to call cost exceeds limit for rule" in refused.err


async def test_an_error_of_evaluation_names_its_rule(kubectl: Kubectl) -> None:
    schema = yaml.safe_load(_SPEC)
    schema["x-kubernetes-validations"] = [{"rule": "self.quota != ''"}, {"rule": "self.port + 1 > 0"}]
    await kubectl("create", "-f", "-", stdin=definition(yaml.safe_dump(schema)))
    refused = await kubectl("create", "-f", "-", stdin=widget("{replicas: 1, port: http}"), ok=False)
    assert "no such key: quota evaluating rule: self.quota != ''" in refused.err
    assert "'no such overload': call arguments did not match a supported operator" in refused.err
