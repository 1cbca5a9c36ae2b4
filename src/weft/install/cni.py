"""The objects that put the node process onto every node: the DaemonSet `istio-cni-node`, settings and rights."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final, Literal

Json = dict[str, Any]

NAME: Final = "istio-cni-node"
_ACCOUNT: Final = "istio-cni"
_CONFIG: Final = "istio-cni-config"
_GROUP: Final = "rbac.authorization.k8s.io"
_CONTAINER: Final = "install-cni"


@dataclass(frozen=True, slots=True)
class HostPaths:
    """Folders as the node's container runtime sees them, for what is written into its network configuration.

    `$(NODE_NAME)` stands for the node's name, where several nodes share a file system.
    """

    net_dir: str = "/etc/cni/net.d"
    run_dir: str = "/var/run/istio-cni"


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator chooses. The image is `IMAGES/install-cni:VERSION`.

    `how`: an entry in the network's own configuration, a configuration of our own before it, or one by itself for
    Multus, which pods name. `repair` is what becomes of pods that are not captured. `net_dir` and `bin_dir` are
    mounted from the node; platforms have them elsewhere (GKE: /home/kubernetes/bin). The ports are the node's own.
    """

    version: str = "0.1.0"
    images: str = "weft.local"
    namespace: str = "istio-system"
    revision: str = "default"
    excluded: tuple[str, ...] = ("kube-system",)
    how: Literal["chained", "own", "multus"] = "chained"
    conf_name: str = ""
    native: bool = False
    repair: Literal["repair", "delete", "label", "tell", "off"] = "repair"
    level: str = "info"
    paths: HostPaths = HostPaths()
    net_dir: str = "/etc/cni/net.d"
    bin_dir: str = "/opt/cni/bin"
    health_port: int = 8000
    monitoring_port: int = 15014
    cpu: str = "100m"
    memory: str = "100Mi"


def manifests(settings: Settings) -> list[Json]:
    """All objects, in an order in which they can be applied; the namespace is there already."""
    labels = {
        "app": _ACCOUNT,
        "install.operator.istio.io/owning-resource": "unknown",
        "istio.io/rev": settings.revision,
        "operator.istio.io/component": "Cni",
        "release": "istio",
    }
    own = {"namespace": settings.namespace, "labels": labels}
    config = _config(settings)
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": _ACCOUNT, **own}},
        *_rights(settings, labels),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": _CONFIG, **own}, "data": config},
        *_networks(settings, labels),
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": NAME, **own, "labels": {**labels, "k8s-app": NAME}},
            "spec": _daemon_set(settings, config),
        },
    ]


def _rights(settings: Settings, labels: Json) -> list[Json]:
    subjects = [{"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": settings.namespace}]
    meta = {"name": _ACCOUNT, "labels": labels}
    own = {**meta, "namespace": settings.namespace}
    found = list[Json]()
    for kind, metadata, rules in (
        ("ClusterRole", meta, _rules(settings)),
        # whether our DaemonSet is gone: only then is the plugin taken away when we end
        ("Role", own, [_rule("apps", ["daemonsets"], ["get"], NAME)]),
    ):
        reference = {"apiGroup": _GROUP, "kind": kind, "name": _ACCOUNT}
        binding = {"metadata": metadata, "roleRef": reference, "subjects": subjects}
        found += [
            {"apiVersion": f"{_GROUP}/v1", "kind": kind, "metadata": metadata, "rules": rules},
            {"apiVersion": f"{_GROUP}/v1", "kind": f"{kind}Binding", **binding},
        ]
    return found


def _rules(settings: Settings) -> list[Json]:
    chosen = {
        # a pod that cannot be captured is deleted, and its owner makes a new one
        "delete": [_rule("", ["pods"], ["delete"])],
        # by its status a pod can be labelled; the right to change pods would be one to change their images
        "label": [_rule("", ["pods/status"], ["patch"])],
    }
    return [
        # the pods of this node, followed; and one by its name, where a call comes before the watch has told of it.
        # The plugin asks, too, with the same account, while the node process is away
        _rule("", ["pods"], ["get", "list", "watch"]),
        # why a pod does not start, and what was repaired, told where `kubectl describe` shows it; a second time,
        # it is counted
        _rule("", ["events"], ["get", "create", "patch"]),
        # whether all of our namespace is going, for the same reason as the DaemonSet
        _rule("", ["namespaces"], ["get"], settings.namespace),
        *chosen.get(settings.repair, []),
    ]


def _rule(group: str, resources: list[str], verbs: list[str], name: str = "") -> Json:
    rule: Json = {"apiGroups": [group], "resources": resources, "verbs": verbs}
    return {**rule, "resourceNames": [name]} if name else rule


def _config(settings: Settings) -> dict[str, str]:
    """Settings under the names of their variables. Kubernetes before 1.24 takes no empty ones."""
    excluded = dict.fromkeys((settings.namespace, *settings.excluded))
    data = {
        "CHAINED_CNI_PLUGIN": _said(yes=settings.how != "multus"),
        "EXCLUDE_NAMESPACES": ",".join(excluded),
        "HEALTH_PORT": str(settings.health_port),
        "ISTIO_OWNED_CNI_CONFIG": _said(yes=settings.how == "own"),
        "LOG_LEVEL": settings.level,
        "MONITORING_PORT": str(settings.monitoring_port),
        "NATIVE_NFTABLES": _said(yes=settings.native),
        "REPAIR_DELETE_PODS": _said(yes=settings.repair == "delete"),
        "REPAIR_ENABLED": _said(yes=settings.repair != "off"),
        "REPAIR_LABEL_PODS": _said(yes=settings.repair == "label"),
        "REPAIR_REPAIR_PODS": _said(yes=settings.repair == "repair"),
    }
    return {**data, "CNI_CONF_NAME": settings.conf_name} if settings.conf_name else data


def _said(*, yes: bool) -> str:
    return "true" if yes else "false"


def _networks(settings: Settings, labels: Json) -> list[Json]:
    """For Multus: the network that pods name, whose configuration is the file that the node process writes."""
    if settings.how != "multus":
        return []
    meta = {"name": "istio-cni", "namespace": "default", "labels": labels}
    return [{"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition", "metadata": meta}]


def _daemon_set(settings: Settings, config: dict[str, str]) -> Json:
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]
    return {
        "selector": {"matchLabels": {"k8s-app": NAME}},
        # one node after the other: while its node process is away, no pod of the mesh starts on a node
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
        "template": {
            "metadata": {
                "labels": {"k8s-app": NAME, "istio.io/dataplane-mode": "none", "sidecar.istio.io/inject": "false"},
                "annotations": {
                    # new settings are new pods
                    "checksum/config": digest,
                    # a runtime's usual profile allows neither to look into other processes nor to enter namespaces
                    f"container.apparmor.security.beta.kubernetes.io/{_CONTAINER}": "unconfined",
                    "prometheus.io/path": "/metrics",
                    "prometheus.io/port": str(settings.monitoring_port),
                    "prometheus.io/scrape": "true",
                    "sidecar.istio.io/inject": "false",
                },
            },
            "spec": {
                # it is what pods' networks need, so it has none of its own
                "hostNetwork": True,
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "tolerations": [{"operator": "Exists"}],
                "priorityClassName": "system-node-critical",
                "serviceAccountName": _ACCOUNT,
                # to ask whether it ends for good, and to take the plugin away then
                "terminationGracePeriodSeconds": 10,
                "containers": [_container(settings)],
                "volumes": [
                    _host("cni-bin-dir", settings.bin_dir, "DirectoryOrCreate"),
                    _host("cni-net-dir", settings.net_dir, "DirectoryOrCreate"),
                    _host("cni-socket-dir", "/var/run/istio-cni", "DirectoryOrCreate"),
                    _host("cni-host-procfs", "/proc", "Directory"),
                    _host("cni-host-usr", "/usr", "Directory"),
                    {"name": "tmp", "emptyDir": {"medium": "Memory"}},
                ],
            },
        },
    }


def _host(name: str, path: str, kind: str) -> Json:
    return {"name": name, "hostPath": {"path": path, "type": kind}}


def _container(settings: Settings) -> Json:
    return {
        "name": _CONTAINER,
        "image": f"{settings.images}/install-cni:{settings.version}",
        "imagePullPolicy": "IfNotPresent",
        "envFrom": [{"configMapRef": {"name": _CONFIG}}],
        "env": [
            _field("NODE_NAME", "spec.nodeName"),
            _field("POD_NAME", "metadata.name"),
            _field("POD_NAMESPACE", "metadata.namespace"),
            # after NODE_NAME, which may be a part of them
            {"name": "CNI_NET_DIR", "value": settings.paths.net_dir},
            {"name": "CNI_AGENT_RUN_DIR", "value": settings.paths.run_dir},
            {"name": "MOUNTED_CNI_AGENT_RUN_DIR", "value": "/var/run/istio-cni"},
        ],
        "ports": [{"containerPort": settings.monitoring_port, "name": "metrics", "protocol": "TCP"}],
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": settings.health_port},
            "periodSeconds": 2,
            "timeoutSeconds": 5,
        },
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": settings.health_port},
            "initialDelaySeconds": 10,
            "periodSeconds": 10,
            "timeoutSeconds": 5,
        },
        "resources": {"requests": {"cpu": settings.cpu, "memory": settings.memory}},
        "securityContext": {
            "capabilities": {"drop": ["ALL"], "add": list(_CAPABILITIES)},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "runAsUser": 0,
        },
        "volumeMounts": [
            {"name": "cni-bin-dir", "mountPath": "/host/opt/cni/bin"},
            {"name": "cni-net-dir", "mountPath": "/host/etc/cni/net.d"},
            {"name": "cni-socket-dir", "mountPath": "/var/run/istio-cni"},
            {"name": "cni-host-procfs", "mountPath": "/host/proc", "readOnly": True},
            # by its Python the node runs the plugin
            {"name": "cni-host-usr", "mountPath": "/host/usr", "readOnly": True},
            # the lock of iptables
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 -- a folder of the container's own
        ],
    }


_CAPABILITIES: Final = {
    "NET_ADMIN": "rules, routes and addresses in pods' network namespaces",
    "NET_RAW": "the nat table by the older iptables, which works on a raw socket",
    "SYS_ADMIN": "to enter a network namespace (setns)",
    "SYS_PTRACE": "to find pods' namespaces through the node's /proc",
    "DAC_OVERRIDE": "to write to the node's folders of plugins, whosever they are",
}
"""What root without any of its might needs, and for what."""


def _field(name: str, path: str) -> Json:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
