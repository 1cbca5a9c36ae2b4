"""Match conditions of webhooks, and ValidatingAdmissionPolicies in force."""

from ipaddress import IPv4Network

import pytest
from tests.cluster.apiserver.servers import Kubectl
from tests.cluster.apiserver.test_webhooks import HERE, Hooks, add_key, config_map, hooks

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import CONFIGMAPS
from weft.cluster.apiserver import bootstrap
from weft.cluster.apiserver.rest.server import Server

__all__ = ["hooks"]
_CONFIG_MAPS = {"resources": ["configmaps"]}

POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: few-replicas.example.com}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  matchConditions:
    - {name: not-excused, expression: "!(has(object.metadata.labels) && 'excused' in object.metadata.labels)"}
  variables:
    - {name: most, expression: "has(params.data.most) ? int(params.data.most) : 5"}
    - {name: tooMany, expression: "object.spec.replicas > variables.most"}
  paramKind: {apiVersion: v1, kind: ConfigMap}
  validations:
    - expression: "!variables.tooMany"
      messageExpression: "'at most ' + string(variables.most) + ' replicas, says ' + request.userInfo.username"
    - expression: object.metadata.name != 'banned'
      reason: Forbidden
    - expression: namespaceObject.metadata.name == request.namespace
"""
BINDING = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: everywhere}
spec:
  policyName: few-replicas.example.com
  validationActions: [Deny]
  paramRef: {name: limits, namespace: default, parameterNotFoundAction: Deny}
"""
LIMITS = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: limits, namespace: default}\ndata: {most: '3'}\n"


async def deploy(kubectl: Kubectl, name: str, replicas: int) -> str:
    args = ("create", "deployment", name, "--image=nginx", f"--replicas={replicas}")
    made = await kubectl(*args, ok=False)
    return made.out + made.err


async def test_a_webhook_is_called_where_its_conditions_hold(hooks: Hooks, kube: Kube) -> None:
    conditions = [
        {"name": "marked", "expression": "has(object.data.mark) && object.data.mark == 'x'"},
        {"name": "made", "expression": "request.operation == 'CREATE' && oldObject == null"},
        {"name": "may", "expression": "authorizer.group('').resource('secrets').check('get').allowed()"},
        {"name": "may-this", "expression": "authorizer.requestResource.check('delete').allowed()"},
        {"name": "admin", "expression": "'system:masters' in request.userInfo.groups && request.namespace != ''"},
    ]
    await hooks.add("marks", add_key, _CONFIG_MAPS, matchConditions=conditions)
    assert "b" not in (await kube.create(CONFIGMAPS, config_map("plain")))["data"]
    assert (await kube.create(CONFIGMAPS, config_map("marked", mark="x")))["data"]["b"] == "b"
    assert len(hooks.seen("marks")) == 1


async def test_an_error_of_a_condition_decides_by_the_failure_policy(hooks: Hooks, kube: Kube) -> None:
    broken = [{"name": "broken", "expression": "object.data.mark == 'x'"}]
    await hooks.add("ignores", add_key, _CONFIG_MAPS, matchConditions=broken, failurePolicy="Ignore")
    assert "b" not in (await kube.create(CONFIGMAPS, config_map("one")))["data"]
    await hooks.add("fails", lambda _: None, _CONFIG_MAPS, sort="validating", matchConditions=broken)
    said = r"expression 'object.data.mark == 'x'' resulted in error: no such key: mark"
    with pytest.raises(ApiError, match=said):
        await kube.create(CONFIGMAPS, config_map("two"))
    await hooks.add(
        "never",
        lambda _: "no",
        _CONFIG_MAPS,
        sort="validating",
        matchConditions=[*broken, {"name": "false", "expression": "false"}],
    )
    assert not hooks.seen("never")


async def test_a_condition_that_does_not_compile_is_refused(hooks: Hooks) -> None:
    where = r"webhooks\[0\].matchConditions\[0\].expression: Invalid value: "
    for expression, why in (
        ("objekt == 1", "undeclared reference to 'objekt'"),
        ("request.operaton == ''", "undefined field 'operaton'"),
        ("1 + 1", "must evaluate to bool"),
    ):
        with pytest.raises(ApiError, match=where + f".*{why}"):
            await hooks.add(
                "bad", add_key, _CONFIG_MAPS, matchConditions=[{"name": "x", "expression": expression}]
            )


async def test_a_policy_refuses_what_its_bindings_deny(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=POLICY)
    assert "created" in await deploy(kubectl, "unbound", 9)
    await kubectl("apply", "-f", "-", stdin=BINDING)
    missing = await deploy(kubectl, "early", 1)
    assert "no params found for policy binding with `Deny` parameterNotFoundAction" in missing
    await kubectl("apply", "-f", "-", stdin=LIMITS)
    refused = await deploy(kubectl, "many", 4)
    said = (
        "ValidatingAdmissionPolicy 'few-replicas.example.com' with binding 'everywhere' denied request:"
        " at most 3 replicas, says kubernetes-admin"
    )
    assert refused == f'error: failed to create deployment: deployments.apps "many" is forbidden: {said}\n'
    assert "created" in await deploy(kubectl, "few", 3)
    banned = await deploy(kubectl, "banned", 1)
    assert "denied request: failed expression: object.metadata.name != 'banned'" in banned
    scaled = await kubectl("patch", "deploy", "few", "-p", '{"spec":{"replicas":7}}', ok=False)
    assert said in scaled.err
    excused = await kubectl("label", "deploy", "unbound", "excused=yes")
    assert "labeled" in excused.out
    listed = await kubectl("get", "validatingadmissionpolicy,validatingadmissionpolicybinding")
    assert listed.out.split("\n")[0].split() == ["NAME", "VALIDATIONS", "PARAMKIND", "AGE"]
    assert "few-replicas.example.com   default/limits" in listed.out


async def test_a_binding_may_warn_instead(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=POLICY)
    await kubectl("apply", "-f", "-", stdin=LIMITS)
    await kubectl("apply", "-f", "-", stdin=BINDING.replace("[Deny]", "[Warn, Audit]"))
    warned = await deploy(kubectl, "many", 4)
    assert "created" in warned
    policy = "ValidatingAdmissionPolicy 'few-replicas.example.com' with binding 'everywhere'"
    assert f"Warning: Validation failed for {policy}: at most 3 replicas, says kubernetes-admin" in warned


async def test_a_binding_may_narrow_its_policy(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=POLICY)
    await kubectl("apply", "-f", "-", stdin=LIMITS)
    narrowed = BINDING + "  matchResources: {namespaceSelector: {matchLabels: {strict: 'yes'}}}\n"
    await kubectl("apply", "-f", "-", stdin=narrowed)
    assert "created" in await deploy(kubectl, "many", 4)
    await kubectl("label", "ns", HERE, "strict=yes")
    assert "denied request" in await deploy(kubectl, "more", 4)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("object.metadata.name != 'banned'", "objekt", "spec.validations[1].expression: Invalid value: "),
        ('variables.most"', 'variables.least"', "undefined field 'least'"),
        ("!variables.tooMany", "1 + 1", "must evaluate to bool"),
        ("  matchConstraints:", "  x:", "spec.matchConstraints: Required value"),
    ],
)
async def test_a_policy_that_does_not_compile_is_refused(kubectl: Kubectl, old: str, new: str, says: str) -> None:
    text = POLICY.replace(old, new)
    assert text != POLICY
    refused = await kubectl("create", "--validate=false", "-f", "-", stdin=text, ok=False)
    assert says in refused.err


async def test_a_broken_policy_can_be_mended(kubectl: Kubectl) -> None:
    closed = POLICY.replace("object.metadata.name != 'banned'", "object.spec.nope == 1")
    await kubectl("apply", "-f", "-", stdin=closed)
    await kubectl("apply", "-f", "-", stdin=LIMITS)
    await kubectl("apply", "-f", "-", stdin=BINDING)
    said = "expression 'object.spec.nope == 1' resulted in error: no such key: nope"
    assert said in await deploy(kubectl, "any", 1)
    await kubectl("apply", "-f", "-", stdin=closed.replace("failurePolicy: Fail", "failurePolicy: Ignore"))
    seen = ("get", "validatingadmissionpolicy", "few-replicas.example.com", "-o")
    assert (await kubectl(*seen, "jsonpath={.metadata.generation} {.status.observedGeneration}")).out == "2 2"
    assert "created" in await deploy(kubectl, "any", 1)


_CLOSED = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: closed}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: ['*'], apiVersions: ['*'], operations: ['*'], resources: [services]}]
  validations: [{expression: 'false', message: closed for today}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: closed}
spec: {policyName: closed, validationActions: [Deny]}
"""


async def test_a_policy_that_refuses_everything_does_not_keep_the_server_from_starting(
    kubectl: Kubectl, server: Server
) -> None:
    async def start(address: str) -> None:
        writing, network = server.resources.writing, IPv4Network("10.96.0.0/12")
        await bootstrap.run(server.cluster, writing, network, [(address, 6443)])

    await start("10.0.0.1")
    await kubectl("apply", "-f", "-", stdin=_CLOSED)
    refused = await kubectl("create", "service", "clusterip", "s", "--tcp=80", ok=False)
    assert "denied request: closed for today" in refused.err
    await start("10.0.0.2")
    addresses = await kubectl("get", "endpoints", "kubernetes", "-o", "jsonpath={.subsets[*].addresses[*].ip}")
    assert addresses.out == "10.0.0.2"
