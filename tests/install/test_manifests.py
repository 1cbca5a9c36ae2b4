from importlib.metadata import version
from typing import Any

import kubernetes_validate as _kubernetes_validate
import pytest

from weft.install.manifests import Settings, manifests
from weft.processes.controlplane.untainting import TAINT

Json = dict[str, Any]
kubernetes_validate: Any = _kubernetes_validate  # it has no types
OBJECTS = manifests(Settings())


def one(kind: str, name: str) -> Json:
    found = [obj for obj in OBJECTS if obj["kind"] == kind and obj["metadata"]["name"] == name]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("obj", OBJECTS, ids=lambda obj: f"{obj['kind']}-{obj['metadata']['name']}")
def test_every_object_is_one_that_kubernetes_takes(obj: Json) -> None:
    kubernetes_validate.validate(obj, "1.34", strict=True)


def test_the_objects_come_in_an_order_that_can_be_applied() -> None:
    assert [obj["kind"] for obj in OBJECTS] == [
        "Namespace",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "ConfigMap",
        "Service",
        "Deployment",
        "MutatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    ]


def test_the_images_carry_the_version_of_this_distribution() -> None:
    container = one("Deployment", "istiod")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == f"weft.local/pilot:{version('weft')}"
    assert {"name": "WEFT_PROXY_IMAGE", "value": f"weft.local/proxyv2:{version('weft')}"} in container["env"]


def test_istiod_is_told_that_the_cni_plugin_captures() -> None:
    def told(settings: Settings) -> dict[str, str]:
        [found] = [one for one in manifests(settings) if one["kind"] == "Deployment"]
        env = found["spec"]["template"]["spec"]["containers"][0]["env"]
        return {each["name"]: each["value"] for each in env if each["name"].startswith("WEFT_CNI")}

    assert told(Settings()) == {}
    assert told(Settings(cni=True)) == {"WEFT_CNI": "true", "WEFT_CNI_PROVIDER": "default"}
    assert told(Settings(cni=True, cni_provider="multus"))["WEFT_CNI_PROVIDER"] == "multus"


def test_the_service_has_istios_ports() -> None:
    ports = one("Service", "istiod")["spec"]["ports"]
    assert [(p["name"], p["port"], p["targetPort"]) for p in ports] == [
        ("grpc-xds", 15010, 15010),
        ("https-dns", 15012, 15012),
        ("https-webhook", 443, 15017),
        ("http-monitoring", 15014, 15014),
    ]


def test_the_service_selects_the_pods_of_the_deployment() -> None:
    labels = one("Deployment", "istiod")["spec"]["template"]["metadata"]["labels"]
    assert one("Service", "istiod")["spec"]["selector"].items() <= labels.items()
    assert labels["sidecar.istio.io/inject"] == "false"


def test_istiod_is_granted_no_wildcards_and_of_secrets_what_it_follows() -> None:
    for rule in one("ClusterRole", "istiod-clusterrole-istio-system")["rules"]:
        assert "*" not in {*rule["verbs"], *rule["apiGroups"], *rule["resources"]}
        if "secrets" in rule["resources"]:
            assert set(rule["verbs"]) == {"list", "watch"}


def test_istiod_changes_only_its_own_secrets_and_settings_by_name() -> None:
    named = {tuple(rule["resources"]): rule.get("resourceNames") for rule in one("Role", "istiod")["rules"][:2]}
    assert named == {
        ("configmaps",): ["istio"],
        ("secrets",): ["istio-ca-secret", "cacerts", "weft-trusted-roots"],
    }


def test_the_named_injector_is_deactivated_as_in_the_walkthrough() -> None:
    found = one("MutatingWebhookConfiguration", "istio-sidecar-injector")
    assert found["metadata"]["labels"] == {
        "app": "sidecar-injector",
        "install.operator.istio.io/owning-resource": "installed-state",
        "install.operator.istio.io/owning-resource-namespace": "istio-system",
        "istio.io/rev": "default",
        "operator.istio.io/component": "Pilot",
        "operator.istio.io/managed": "Reconcile",
        "operator.istio.io/version": version("weft"),
        "release": "istio",
    }
    never = {"matchLabels": {"istio.io/deactivated": "never-match"}}
    names = [webhook["name"].removesuffix(".sidecar-injector.istio.io") for webhook in found["webhooks"]]
    assert names == ["rev.namespace", "rev.object", "namespace", "object"]
    for webhook in found["webhooks"]:
        assert {key: webhook[key] for key in webhook if key != "name"} == {
            "admissionReviewVersions": ["v1beta1", "v1"],
            "clientConfig": {
                "service": {"name": "istiod", "namespace": "istio-system", "path": "/inject", "port": 443}
            },
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            "namespaceSelector": never,
            "objectSelector": never,
            "reinvocationPolicy": "Never",
            "rules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE"],
                    "resources": ["pods"],
                    "scope": "*",
                }
            ],
            "sideEffects": "None",
            "timeoutSeconds": 10,
        }


def matches(selector: Json, labels: dict[str, str]) -> bool:
    """Kubernetes' label selectors."""
    for one_ in selector["matchExpressions"]:
        key, values = one_["key"], one_.get("values")
        match one_["operator"]:
            case "In":
                good = labels.get(key) in values
            case "NotIn":
                good = labels.get(key) not in values
            case "DoesNotExist":
                good = key not in labels
            case other:
                raise AssertionError(other)
        if not good:
            return False
    return True


def calls(namespace: dict[str, str], pod: dict[str, str]) -> list[str]:
    webhooks = one("MutatingWebhookConfiguration", "istio-revision-tag-default")["webhooks"]
    chosen = (
        w for w in webhooks if matches(w["namespaceSelector"], namespace) and matches(w["objectSelector"], pod)
    )
    return [webhook["name"].removesuffix(".sidecar-injector.istio.io") for webhook in chosen]


@pytest.mark.parametrize(
    ("namespace", "pod", "expected"),
    [
        ({}, {}, []),
        ({"istio-injection": "enabled"}, {}, ["namespace"]),
        ({"istio-injection": "enabled"}, {"sidecar.istio.io/inject": "false"}, []),
        ({"istio-injection": "disabled"}, {"sidecar.istio.io/inject": "true"}, []),
        ({"istio.io/rev": "default"}, {}, ["rev.namespace"]),
        ({"istio.io/rev": "canary"}, {}, []),
        ({"istio-injection": "enabled", "istio.io/rev": "default"}, {}, ["namespace"]),
        ({}, {"sidecar.istio.io/inject": "true"}, ["object"]),
        ({}, {"sidecar.istio.io/inject": "true", "istio.io/rev": "default"}, ["rev.object"]),
        ({}, {"istio.io/rev": "default"}, ["rev.object"]),
        ({"kubernetes.io/metadata.name": "kube-system"}, {"sidecar.istio.io/inject": "true"}, []),
    ],
)
def test_a_pod_is_injected_once_or_not_at_all(
    namespace: dict[str, str], pod: dict[str, str], expected: list[str]
) -> None:
    assert calls(namespace, pod) == expected


@pytest.mark.parametrize("labels", [{}, {"istio.io/rev": "default"}])
def test_a_resource_is_checked_by_one_webhook(labels: dict[str, str]) -> None:
    found = [obj for obj in OBJECTS if obj["kind"] == "ValidatingWebhookConfiguration"]
    webhooks = [webhook for obj in found for webhook in obj["webhooks"]]
    assert len([w for w in webhooks if matches(w["objectSelector"], labels)]) == 1
    assert all(w["clientConfig"]["service"]["path"] == "/validate" for w in webhooks)
    assert all(w["failurePolicy"] == "Ignore" for w in webhooks)


def test_a_revision_of_its_own_has_a_name_of_its_own() -> None:
    found = [obj["metadata"]["name"] for obj in manifests(Settings(revision="canary"))]
    assert "istio-sidecar-injector-canary" in found


def test_istiod_reads_further_roots_of_issuers_where_istios_does_and_starts_without_them() -> None:
    pod = one("Deployment", "istiod")["spec"]["template"]["spec"]
    assert {"name": "pilot-jwks-extra-cacerts", "optional": True} in [
        each["configMap"] for each in pod["volumes"] if "configMap" in each
    ]
    (container,) = pod["containers"]
    assert "/cacerts" in [each["mountPath"] for each in container["volumeMounts"]]


def test_istiod_may_approve_requests_to_the_signers_that_are_named_and_to_no_others() -> None:
    objects = manifests(Settings(signers=("example.com/mesh", "example.com/other")))
    for each in objects:
        kubernetes_validate.validate(each, "1.34", strict=True)
    role = next(each for each in objects if each["kind"] == "ClusterRole")
    asked = [each for each in role["rules"] if each["apiGroups"] == ["certificates.k8s.io"]]
    assert [(each["resources"], each["verbs"], each.get("resourceNames")) for each in asked] == [
        (["certificatesigningrequests"], ["create", "get", "list", "watch", "delete"], None),
        (["certificatesigningrequests/approval"], ["update"], None),
        (["signers"], ["approve"], ["example.com/mesh", "example.com/other"]),
    ]
    container = next(each for each in objects if each["kind"] == "Deployment")["spec"]["template"]["spec"]
    told = {each["name"]: each.get("value") for each in container["containers"][0]["env"]}
    assert (told["EXTERNAL_CA"], told["K8S_SIGNER"]) == ("ISTIOD_RA_KUBERNETES_API", "example.com/mesh")
    usual = next(each for each in OBJECTS if each["kind"] == "ClusterRole")
    assert "certificates.k8s.io" not in {group for each in usual["rules"] for group in each["apiGroups"]}


def test_istiod_runs_on_nodes_that_wait_for_their_node_process() -> None:
    (toleration,) = one("Deployment", "istiod")["spec"]["template"]["spec"]["tolerations"]
    assert toleration == {"key": TAINT, "operator": "Exists"}


def test_an_istiod_that_opens_nodes_is_told_so() -> None:
    def told(settings: Settings) -> list[str]:
        (istiod,) = [each for each in manifests(settings) if each["kind"] == "Deployment"]
        return [each["name"] for each in istiod["spec"]["template"]["spec"]["containers"][0]["env"]]

    assert set(told(Settings(untaint=True))) - set(told(Settings())) == {"PILOT_ENABLE_NODE_UNTAINT_CONTROLLERS"}
