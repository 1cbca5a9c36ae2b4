"""Pod Security, priority, runtime and storage classes: what a namespace or a class asks of a pod."""

from typing import Any

import pytest
import yaml
from tests.cluster.apiserver.servers import Kubectl

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import PERSISTENTVOLUMECLAIMS, PODS, SERVICEACCOUNTS, STORAGECLASSES
from weft.cluster.apiserver.admission.podsecurity import checks

RESTRICTED = (
    'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "web" must set'
    ' securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "web" must set'
    ' securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "web" must set'
    ' securityContext.runAsNonRoot=true), seccompProfile (pod or container "web" must set'
    ' securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
)
GOOD = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture
async def account(kube: Kube) -> None:
    await kube.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "default"}})


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    containers = spec.pop("containers", [{"name": "web", "image": "x:1"}])
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"containers": containers, **spec}}


async def test_a_restricted_namespace_refuses_an_ordinary_pod(kubectl: Kubectl, account: None) -> None:
    await kubectl("label", "ns", "default", "pod-security.kubernetes.io/enforce=restricted")
    refused = await kubectl("run", "web", "--image=x:1", ok=False)
    assert f'pods "web" is forbidden: {RESTRICTED}' in refused.err
    good = {
        "apiVersion": "v1",
        "kind": "Pod",
        **pod(containers=[{"name": "w", "image": "x:1", "securityContext": GOOD}]),
    }
    await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(good))


async def test_a_warning_names_what_a_workloads_pods_would_violate(kubectl: Kubectl, account: None) -> None:
    await kubectl("label", "ns", "default", "pod-security.kubernetes.io/warn=restricted")
    warned = await kubectl("create", "deployment", "web", "--image=x:1")
    assert f"Warning: would {RESTRICTED.replace('violates', 'violate')}".replace('"web"', '"x"') in warned.err


async def test_a_new_level_warns_of_the_pods_that_are_there(kubectl: Kubectl, kube: Kube, account: None) -> None:
    for name in ("a", "b"):
        await kube.create(PODS, pod(name, hostNetwork=True))
    warned = await kubectl("label", "ns", "default", "pod-security.kubernetes.io/enforce=baseline")
    assert (
        'existing pods in namespace "default" violate the new PodSecurity enforce level "baseline:latest"'
        in warned.err
    )
    assert "a (and 1 other pod): host namespaces" in warned.err
    refused = await kubectl("label", "ns", "default", "pod-security.kubernetes.io/audit=strict", ok=False)
    assert '"strict": must be one of privileged, baseline, restricted' in refused.err


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"hostNetwork": True, "hostPID": True}, "host namespaces (hostNetwork=true, hostPID=true)"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, 'hostPath volumes (volume "v")'),
        (
            {"containers": [{"name": "a", "securityContext": {"privileged": True}}]},
            'privileged (container "a" must not set securityContext.privileged=true)',
        ),
        (
            {
                "containers": [
                    {"name": "a", "securityContext": {"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}}},
                    {"name": "b", "securityContext": {"capabilities": {"add": ["SYS_TIME"]}}},
                ]
            },
            (
                'non-default capabilities (containers "a", "b" must not include "NET_ADMIN", "SYS_TIME" in'
                " securityContext.capabilities.add)"
            ),
        ),
        (
            {"containers": [{"name": "a", "ports": [{"hostPort": 80}]}]},
            'hostPort (container "a" uses hostPort 80)',
        ),
        (
            {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
            'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
        ({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}]}}, "forbidden sysctls (kernel.msgmax)"),
        (
            {"securityContext": {"seLinuxOptions": {"type": "x", "user": "u"}}},
            'seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "x"; user may not be set)',
        ),
    ],
)
def test_baseline_says_what_it_refuses(spec: dict[str, Any], said: str) -> None:
    assert [str(one) for one in checks.refusals("baseline", spec)] == [said]
    assert not checks.refusals("privileged", spec)


def test_a_pod_may_say_for_its_containers_what_restricted_wants() -> None:
    context = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}
    spec: dict[str, Any] = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "Localhost"}},
        "containers": [{"name": "a", "securityContext": context}],
        "volumes": [{"name": "v", "emptyDir": {}}],
    }
    assert not checks.refusals("restricted", spec)
    spec["volumes"].append({"name": "n", "nfs": {}})
    spec["containers"].append({"name": "b", "securityContext": {**context, "runAsUser": 0, "runAsNonRoot": False}})
    assert [str(one) for one in checks.refusals("restricted", spec)] == [
        'restricted volume types (volume "n" uses restricted volume type "nfs")',
        'runAsNonRoot != true (container "b" must not set securityContext.runAsNonRoot=false)',
        'runAsUser=0 (container "b" must not set runAsUser=0)',
    ]


async def test_priority_comes_from_its_class_alone(kubectl: Kubectl, kube: Kube, account: None) -> None:
    create = ["create", "priorityclass"]
    await kubectl(*create, "usual", "--value=7", "--global-default=true", "--preemption-policy=Never")
    again = await kubectl(*create, "other", "--value=8", "--global-default=true", ok=False)
    assert "PriorityClass usual is already marked as default. Only one default can exist" in again.err
    made = (await kube.create(PODS, pod("a")))["spec"]
    assert (made["priorityClassName"], made["priority"], made["preemptionPolicy"]) == ("usual", 7, "Never")
    with pytest.raises(ApiError, match="no PriorityClass with name none was found"):
        await kube.create(PODS, pod("b", priorityClassName="none"))
    with pytest.raises(ApiError, match=r"the integer value of priority \(9\) must not be provided in pod spec"):
        await kube.create(PODS, pod("b", priority=9))


async def test_a_runtime_class_is_there_and_brings_overhead_and_place(
    kubectl: Kubectl, kube: Kube, account: None
) -> None:
    runtime = {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": "r"},
        "handler": "runc",
        "overhead": {"podFixed": {"cpu": "10m"}},
        "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists"}]},
    }
    await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(runtime))
    made = (await kube.create(PODS, pod("a", runtimeClassName="r")))["spec"]
    assert (made["overhead"], made["nodeSelector"]) == ({"cpu": "10m"}, {"a": "b"})
    assert {"key": "k", "operator": "Exists"} in made["tolerations"]
    with pytest.raises(ApiError, match=r'pod rejected: RuntimeClass "none" not found'):
        await kube.create(PODS, pod("b", runtimeClassName="none"))
    with pytest.raises(ApiError, match=r"conflict: runtimeClass\.scheduling.nodeSelector"):
        await kube.create(PODS, pod("b", runtimeClassName="r", nodeSelector={"a": "c"}))


async def test_a_claim_gets_the_default_class_as_it_is_made(kube: Kube) -> None:
    marks = {"storageclass.kubernetes.io/is-default-class": "true"}
    await kube.create(STORAGECLASSES, {"metadata": {"name": "usual", "annotations": marks}, "provisioner": "x"})
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    for name, given, wanted in (("a", {}, "usual"), ("b", {"storageClassName": ""}, "")):
        claim = {"metadata": {"name": name, "namespace": "default"}, "spec": {**spec, **given}}
        assert (await kube.create(PERSISTENTVOLUMECLAIMS, claim))["spec"]["storageClassName"] == wanted


async def test_a_pod_waits_a_moment_for_its_new_namespaces_account(kubectl: Kubectl, kube: Kube) -> None:
    with pytest.raises(
        ApiError, match='error looking up service account default/bot: serviceaccount "bot" not found'
    ):
        await kube.create(PODS, pod(serviceAccountName="bot"))
    with pytest.raises(
        ApiError, match='error looking up service account default/default: serviceaccount "default"'
    ):
        await kube.create(PODS, pod())


async def test_a_claim_grows_only_where_its_class_lets_it(kube: Kube) -> None:
    for name, grows in (("fixed", False), ("wide", True)):
        await kube.create(
            STORAGECLASSES, {"metadata": {"name": name}, "provisioner": "x", "allowVolumeExpansion": grows}
        )
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": name,
            "resources": {"requests": {"storage": "1Gi"}},
        }
        await kube.create(
            PERSISTENTVOLUMECLAIMS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec}
        )
        bound = {"status": {"phase": "Bound"}}
        await kube.patch(PERSISTENTVOLUMECLAIMS, name, bound, "default", subresource="status")
    more = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    await kube.patch(PERSISTENTVOLUMECLAIMS, "wide", more, "default")
    with pytest.raises(ApiError, match="only dynamically provisioned pvc can be resized and the storageclass"):
        await kube.patch(PERSISTENTVOLUMECLAIMS, "fixed", more, "default")


async def test_an_ingress_gets_the_default_class(kubectl: Kubectl) -> None:
    marks = {"ingressclass.kubernetes.io/is-default-class": "true"}
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass"}
    usual = {**kind, "metadata": {"name": "usual", "annotations": marks}, "spec": {"controller": "x/y"}}
    await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(usual))
    await kubectl("create", "ingress", "a", "--rule=a.example/=web:80")
    assert (await kubectl("get", "ingress", "a", "-o", "jsonpath={.spec.ingressClassName}")).out == "usual"
