"""The gateways at the edge that a mesh starts with: `istio-ingressgateway` and `istio-egressgateway`.

Their pods are written as Istio's own charts for gateways write them: a container `istio-proxy` with image `auto`,
which injection completes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from weft.model.enrolment import SIDECAR

Json = dict[str, Any]
Complete = Callable[[str, Json], Json]
"""Makes a pod's template whole, as injection would, given the name of its Deployment."""

_RBAC: Final = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the Service; pods listen on `target`, above 1024 as clients of Istio's gateways expect."""

    name: str
    number: int
    target: int


@dataclass(frozen=True, slots=True)
class Gateway:
    """One gateway. `most` is how many pods it may grow to under load."""

    role: str
    component: str
    service_type: str
    ports: tuple[Port, ...]
    cpu: str = "100m"
    memory: str = "128Mi"
    most: int = 5

    @property
    def name(self) -> str:
        """`istio-ingressgateway`."""
        return f"istio-{self.role}"

    @property
    def account(self) -> str:
        """The service account, which names the gateway to others in the mesh."""
        return f"{self.name}-service-account"


_HTTP: Final = (Port("http2", 80, 8080), Port("https", 443, 8443))
INGRESS: Final = Gateway(
    "ingressgateway",
    "IngressGateways",
    "LoadBalancer",
    (Port("status-port", 15021, 15021), *_HTTP, Port("tcp", 31400, 31400), Port("tls", 15443, 15443)),
)
EGRESS: Final = Gateway("egressgateway", "EgressGateways", "ClusterIP", _HTTP)


def gateways(namespace: str, revision: str, complete: Complete) -> list[Json]:
    """All objects of both, in an order in which they can be applied."""
    return [obj for gateway in (INGRESS, EGRESS) for obj in objects(gateway, namespace, revision, complete)]


def objects(gateway: Gateway, namespace: str, revision: str, complete: Complete) -> list[Json]:
    """The objects of one gateway."""
    labels = _labels(gateway, revision)

    def meta(name: str) -> Json:
        return {"name": name, "namespace": namespace, "labels": labels}

    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(gateway.account)},
        *_secrets(gateway, namespace, meta),
        {"apiVersion": "v1", "kind": "Service", "metadata": meta(gateway.name), "spec": _service(gateway)},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta(gateway.name),
            "spec": _deployment(gateway, labels, complete),
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": meta(gateway.name),
            # at most one at a time; asking for one that stays, a single gateway could never leave its node
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _selector(gateway)}},
        },
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": meta(gateway.name),
            "spec": _autoscaling(gateway),
        },
    ]


def _labels(gateway: Gateway, revision: str) -> dict[str, str]:
    return {
        **_selector(gateway),
        "install.operator.istio.io/owning-resource": "unknown",
        "istio.io/rev": revision,
        "operator.istio.io/component": gateway.component,
        "release": "istio",
    }


def _selector(gateway: Gateway) -> dict[str, str]:
    return {"app": gateway.name, "istio": gateway.role}


def _secrets(gateway: Gateway, namespace: str, meta: Callable[[str], Json]) -> list[Json]:
    """The right to be served the certificates of its namespace by istiod.

    Istio's gateways may read all Secrets of istio-system, the key of the mesh's authority among them. None has to:
    istiod reads for them. `secrets/served` is a name that RBAC alone knows, and opens nothing at the API server.
    """
    name = f"{gateway.name}-sds"
    rule = {"apiGroups": [""], "resources": ["secrets/served"], "verbs": ["get"]}
    return [
        {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": meta(name), "rules": [rule]},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": meta(name),
            "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": gateway.account, "namespace": namespace}],
        },
    ]


def _service(gateway: Gateway) -> Json:
    ports = [
        {"name": each.name, "port": each.number, "protocol": "TCP", "targetPort": each.target}
        for each in gateway.ports
    ]
    return {"type": gateway.service_type, "ports": ports, "selector": _selector(gateway)}


def _deployment(gateway: Gateway, labels: Mapping[str, str], complete: Complete) -> Json:
    pod_labels = {
        **labels,
        "chart": "gateways",
        "heritage": "Tiller",
        "service.istio.io/canonical-name": gateway.name,
        "service.istio.io/canonical-revision": "latest",
        # the pod is whole as it is
        "sidecar.istio.io/inject": "false",
    }
    template = {"metadata": {"labels": pod_labels}, "spec": _pod(gateway)}
    return {
        "selector": {"matchLabels": _selector(gateway)},
        "strategy": {"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": "25%"}, "type": "RollingUpdate"},
        "template": complete(gateway.name, template),
    }


def _pod(gateway: Gateway) -> Json:
    files = {f"{gateway.role}-{kind}": f"/etc/istio/{gateway.role}-{kind}" for kind in ("certs", "ca-certs")}
    return {
        "serviceAccountName": gateway.account,
        "securityContext": {"runAsGroup": 1337, "runAsNonRoot": True, "runAsUser": 1337},
        "containers": [
            {
                "name": SIDECAR,
                "image": "auto",
                "ports": [{"containerPort": each.target, "protocol": "TCP"} for each in gateway.ports],
                "resources": {"requests": {"cpu": gateway.cpu, "memory": gateway.memory}},
                # a gateway that has just started is asked soon, and often, whether it serves
                "readinessProbe": {"initialDelaySeconds": 0, "periodSeconds": 1},
                "volumeMounts": [
                    {"mountPath": path, "name": name, "readOnly": True} for name, path in files.items()
                ],
            }
        ],
        "volumes": [{"name": name, "secret": {"optional": True, "secretName": f"istio-{name}"}} for name in files],
    }


def _autoscaling(gateway: Gateway) -> Json:
    target = {"type": "Utilization", "averageUtilization": 80}
    return {
        "minReplicas": 1,
        "maxReplicas": gateway.most,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": gateway.name},
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }
