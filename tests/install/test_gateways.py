import json
from typing import Any

import kubernetes_validate as _kubernetes_validate
import pytest

from weft.cli.mesh import edge
from weft.install.manifests import Settings

Json = dict[str, Any]
kubernetes_validate: Any = _kubernetes_validate  # it has no types
OBJECTS = edge(Settings())


def one(kind: str, name: str) -> Json:
    found = [obj for obj in OBJECTS if obj["kind"] == kind and obj["metadata"]["name"] == name]
    assert len(found) == 1
    return found[0]


def proxy(name: str) -> Json:
    (container,) = one("Deployment", name)["spec"]["template"]["spec"]["containers"]
    return dict(container)


@pytest.mark.parametrize("obj", OBJECTS, ids=lambda obj: f"{obj['kind']}-{obj['metadata']['name']}")
def test_every_object_is_one_that_kubernetes_takes(obj: Json) -> None:
    kubernetes_validate.validate(obj, "1.34", strict=True)


def test_the_ingress_gateway_has_the_walkthroughs_ports_and_type() -> None:
    spec = one("Service", "istio-ingressgateway")["spec"]
    assert spec["type"] == "LoadBalancer"
    assert [(p["name"], p["port"], p["targetPort"]) for p in spec["ports"]] == [
        ("status-port", 15021, 15021),
        ("http2", 80, 8080),
        ("https", 443, 8443),
        ("tcp", 31400, 31400),
        ("tls", 15443, 15443),
    ]


def test_the_egress_gateway_is_within_the_cluster_alone() -> None:
    spec = one("Service", "istio-egressgateway")["spec"]
    assert spec["type"] == "ClusterIP"
    assert [(p["name"], p["port"], p["targetPort"]) for p in spec["ports"]] == [
        ("http2", 80, 8080),
        ("https", 443, 8443),
    ]


def test_the_pods_have_the_walkthroughs_labels() -> None:
    template = one("Deployment", "istio-ingressgateway")["spec"]["template"]
    assert template["metadata"]["labels"] == {
        "app": "istio-ingressgateway",
        "chart": "gateways",
        "heritage": "Tiller",
        "install.operator.istio.io/owning-resource": "unknown",
        "istio.io/rev": "default",
        "istio": "ingressgateway",
        "operator.istio.io/component": "IngressGateways",
        "release": "istio",
        "service.istio.io/canonical-name": "istio-ingressgateway",
        "service.istio.io/canonical-revision": "latest",
        "sidecar.istio.io/inject": "false",
    }


@pytest.mark.parametrize("name", ["istio-ingressgateway", "istio-egressgateway"])
def test_a_gateway_runs_the_agent_as_a_router_and_not_as_root(name: str) -> None:
    container = proxy(name)
    assert container["image"] == Settings().proxy_image
    assert container["args"][:2] == ["proxy", "router"]
    assert container["securityContext"]["runAsUser"] == 1337
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    found = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert found["ISTIO_META_WORKLOAD_NAME"] == name
    assert found["ISTIO_META_OWNER"] == f"kubernetes://apis/apps/v1/namespaces/istio-system/deployments/{name}"
    assert found["CA_ADDR"] == "istiod.istio-system.svc:15012"


@pytest.mark.parametrize("name", ["istio-ingressgateway", "istio-egressgateway"])
def test_a_gateway_may_be_served_the_secrets_of_its_namespace_and_read_none(name: str) -> None:
    (rule,) = one("Role", f"{name}-sds")["rules"]
    assert rule == {"apiGroups": [""], "resources": ["secrets/served"], "verbs": ["get"]}
    (subject,) = one("RoleBinding", f"{name}-sds")["subjects"]
    account = one("Deployment", name)["spec"]["template"]["spec"]["serviceAccountName"]
    assert subject == {"kind": "ServiceAccount", "name": account, "namespace": "istio-system"}
    one("ServiceAccount", account)


def test_a_single_gateway_can_leave_its_node() -> None:
    budget = one("PodDisruptionBudget", "istio-ingressgateway")["spec"]
    assert budget["maxUnavailable"] == 1
    assert one("HorizontalPodAutoscaler", "istio-ingressgateway")["spec"]["minReplicas"] == 1


def test_the_pod_tells_what_it_was_completed_with() -> None:
    annotations = one("Deployment", "istio-ingressgateway")["spec"]["template"]["metadata"]["annotations"]
    status = json.loads(annotations["sidecar.istio.io/status"])
    assert status["containers"] == ["istio-proxy"]
    assert status["initContainers"] is None
