"""The objects that put the mesh onto a cluster, the CRDs aside: namespace, rights, settings, istiod, webhooks."""

from dataclasses import dataclass
from typing import Any, Literal

from weft.install import rights, webhooks

Json = dict[str, Any]

_NAME = "istiod"
_USER = 1337
_EXTRA_ROOTS = "pilot-jwks-extra-cacerts"
"""The ConfigMap of further roots, in its key `extra.pem`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator chooses. Images are `IMAGES/pilot:VERSION` and `IMAGES/proxyv2:VERSION`.

    `signers` of the cluster sign workloads' certificates where there are any, the first of them by default. With
    `cni` pods are captured by the CNI plugin, which "multus" as `cni_provider` runs where a pod names its network.
    `untaint`: istiod takes the taint `cni.istio.io/not-ready` off a node once the node process is ready there.
    """

    version: str = "0.1.0"
    images: str = "weft.local"
    namespace: str = "istio-system"
    revision: str = "default"
    cluster_id: str = "Kubernetes"
    cluster_domain: str = "cluster.local"
    trust_domain: str = "cluster.local"
    replicas: int = 1
    cpu: str = "100m"
    memory: str = "128Mi"
    signers: tuple[str, ...] = ()
    cni: bool = False
    cni_provider: Literal["default", "multus"] = "default"
    untaint: bool = False

    @property
    def proxy_image(self) -> str:
        """The image of the sidecars that are injected."""
        return f"{self.images}/proxyv2:{self.version}"


def manifests(settings: Settings) -> list[Json]:
    """All objects, in an order in which they can be applied one after the other."""
    labels = _labels(settings)
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": settings.namespace}},
        *rights.rights(settings.namespace, labels, settings.signers, untaint=settings.untaint),
        _mesh_config(settings, labels),
        _service(settings, labels),
        _deployment(settings, labels),
        *webhooks.configurations(settings.namespace, settings.revision, settings.version, _NAME),
    ]


def _labels(settings: Settings) -> dict[str, str]:
    return {"app": _NAME, "istio.io/rev": settings.revision, "release": "istio"}


def _mesh_config(settings: Settings, labels: Json) -> Json:
    """Istio's MeshConfig. istiod follows it: a change needs no restart."""
    mesh = f"rootNamespace: {settings.namespace}\ntrustDomain: {settings.trust_domain}\n"
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": settings.namespace, "labels": labels},
        "data": {"mesh": mesh},
    }


def _service(settings: Settings, labels: Json) -> Json:
    # names and numbers are Istio's: proxy-config shows them as listeners and clusters of every proxy. On 15010
    # nobody answers unless istiod is started with --grpcAddr: its callers prove nothing
    ports = (("grpc-xds", 15010, 15010), ("https-dns", 15012, 15012), ("https-webhook", 443, 15017))
    monitoring = ("http-monitoring", 15014, 15014)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": _NAME, "namespace": settings.namespace, "labels": {**labels, "istio": "pilot"}},
        "spec": {
            "ports": [
                {"name": name, "port": port, "protocol": "TCP", "targetPort": target}
                for name, port, target in (*ports, monitoring)
            ],
            "selector": {"app": _NAME, "istio": "pilot"},
        },
    }


def _deployment(settings: Settings, labels: Json) -> Json:
    pod_labels = {
        "app": _NAME,
        "install.operator.istio.io/owning-resource": "unknown",
        "istio": "pilot",
        "istio.io/rev": settings.revision,
        "operator.istio.io/component": "Pilot",
        "sidecar.istio.io/inject": "false",
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": _NAME, "namespace": settings.namespace, "labels": {**labels, "istio": "pilot"}},
        "spec": {
            "replicas": settings.replicas,
            "selector": {"matchLabels": {"app": _NAME, "istio": "pilot"}},
            "strategy": {"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": "25%"}, "type": "RollingUpdate"},
            "template": {
                "metadata": {
                    "annotations": {
                        "prometheus.io/port": "15014",
                        "prometheus.io/scrape": "true",
                        "sidecar.istio.io/inject": "false",
                    },
                    "labels": pod_labels,
                },
                "spec": {
                    "containers": [_container(settings)],
                    "serviceAccountName": _NAME,
                    # it is not captured; and where all nodes are new, somebody has to take the taint off
                    "tolerations": [{"key": "cni.istio.io/not-ready", "operator": "Exists"}],
                    "volumes": [{"name": "extracacerts", "configMap": {"name": _EXTRA_ROOTS, "optional": True}}],
                },
            },
        },
    }


def _container(settings: Settings) -> Json:
    ports = (
        ("http-debug", 8080),
        ("tls-xds", 15012),
        ("https-webhooks", 15017),
        ("http-monitoring", 15014),
    )
    return {
        "name": "discovery",
        "image": f"{settings.images}/pilot:{settings.version}",
        "imagePullPolicy": "IfNotPresent",
        "args": [
            "discovery",
            "--monitoringAddr=:15014",
            "--log_output_level=default:info",
            "--domain",
            settings.cluster_domain,
        ],
        "env": [
            {"name": "REVISION", "value": settings.revision},
            {"name": "CLUSTER_ID", "value": settings.cluster_id},
            {"name": "WEFT_PROXY_IMAGE", "value": settings.proxy_image},
            *_signing(settings.signers),
            *_capturing(settings),
            *_untainting(untaint=settings.untaint),
            _field("POD_NAME", "metadata.name"),
            _field("POD_NAMESPACE", "metadata.namespace"),
            _field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        ],
        "ports": [{"containerPort": port, "name": name, "protocol": "TCP"} for name, port in ports],
        # asked every second: the mesh is ready when istiod is
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 5},
        "resources": {"requests": {"cpu": settings.cpu, "memory": settings.memory}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsGroup": _USER,
            "runAsNonRoot": True,
            "runAsUser": _USER,
        },
        "volumeMounts": [{"name": "extracacerts", "mountPath": "/cacerts", "readOnly": True}],
    }


def _signing(signers: tuple[str, ...]) -> list[Json]:
    if not signers:
        return []
    return [
        {"name": "EXTERNAL_CA", "value": "ISTIOD_RA_KUBERNETES_API"},
        {"name": "K8S_SIGNER", "value": signers[0]},
    ]


def _capturing(settings: Settings) -> list[Json]:
    if not settings.cni:
        return []
    return [
        {"name": "WEFT_CNI", "value": "true"},
        {"name": "WEFT_CNI_PROVIDER", "value": settings.cni_provider},
    ]


def _untainting(*, untaint: bool) -> list[Json]:
    return [{"name": "PILOT_ENABLE_NODE_UNTAINT_CONTROLLERS", "value": "true"}] if untaint else []


def _field(name: str, path: str) -> Json:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
