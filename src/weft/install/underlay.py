"""The objects that give a cluster underlay networks: the node process, the controller, and what they start with.

Names are Spiderpool's: `spiderpool-agent` on every node, `spiderpool-controller`, `spiderpool-init`.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from weft.install import underlay_rights, underlay_webhooks
from weft.install.underlay_values import Values
from weft.install.underlay_webhooks import GROUP, VERSION

Json = dict[str, Any]

AGENT: Final = "spiderpool-agent"
CONTROLLER: Final = "spiderpool-controller"
INIT: Final = "spiderpool-init"
INIT_OBJECTS: Final = "SPIDERPOOL_INIT_OBJECTS"
_USER: Final = 1337
USUAL: Final = Values()
HOST_ROOT: Final = "/hostroot"
"""Where the node process sees the root of its node: plugins run there as the node's runtime runs them."""


@dataclass(frozen=True, slots=True)
class HostPaths:
    """Folders as the node's container runtime sees them, for what is written into its network configuration.

    `$(NODE_NAME)` stands for the node's name, where several nodes share a file system.
    """

    net_dir: str = "/etc/cni/net.d"
    bin_dir: str = "/opt/cni/bin"
    run_dir: str = "/var/run/spidernet"
    cache_dir: str = "/var/lib/cni/multus"


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator chooses. Images are `IMAGES/spiderpool-agent:VERSION` and the like.

    Without `paths` the node's runtime has its folders where the `values` say.
    """

    version: str = "0.1.0"
    images: str = "weft.local"
    namespace: str = "kube-system"
    values: Values = USUAL
    paths: HostPaths | None = None

    @property
    def run_dir(self) -> str:
        """The node's folder of our socket."""
        return str(PurePosixPath(self.values.global_.ipam_unix_socket_host_path).parent)

    @property
    def seen(self) -> HostPaths:
        """The node's folders as its runtime sees them."""
        known = self.values.global_
        return self.paths or HostPaths(known.cni_conf_host_path, known.cni_bin_host_path, self.run_dir)

    @property
    def registry(self) -> str:
        """Where images come from."""
        return self.values.global_.image_registry_override or self.images


def manifests(settings: Settings) -> list[Json]:
    """All objects but the definitions, in an order in which they can be applied."""
    values = settings.values
    own = {"namespace": settings.namespace}
    config = {"name": values.global_.config_name, **own, "labels": _labels(CONTROLLER)}
    return [
        *underlay_rights.agent(AGENT, settings.namespace, _labels(AGENT)),
        *underlay_rights.controller(
            CONTROLLER,
            settings.namespace,
            _labels(CONTROLLER),
            values.global_.cilium_config_map.rpartition("/")[2],
        ),
        *underlay_rights.init(INIT, settings.namespace, _labels(INIT)),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": config, "data": _config(settings)},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": INIT, **own, "labels": _labels(INIT)},
            "data": {INIT_OBJECTS: json.dumps(first_objects(values))},
        },
        _service(AGENT, own, {"metrics": values.agent.prometheus.port}),
        _service(
            CONTROLLER,
            own,
            {
                "http": values.controller.http_port,
                "metrics": values.controller.prometheus.port,
                "webhook": values.controller.webhook_port,
            },
        ),
        *underlay_webhooks.configurations(
            CONTROLLER,
            settings.namespace,
            values.controller.webhook_port,
            _labels(CONTROLLER),
            injects=values.controller.pod_resource_inject.enabled,
        ),
        _deployment(settings),
        _daemon_set(settings),
        _init(settings),
    ]


def first_objects(values: Values) -> list[Json]:
    """What `spiderpool-init` makes, when the definitions and the webhooks are there."""
    coordinator, pools = values.coordinator, values.default_pool
    chosen = {
        "mode": coordinator.mode,
        "podCIDRType": coordinator.pod_cidr_type,
        "tunePodRoutes": coordinator.tune_pod_routes,
        "hijackCIDR": list(coordinator.hijack_cidr),
        "vethLinkAddress": coordinator.veth_link_address or None,
        "detectGateway": coordinator.detect_gateway,
        "detectIPConflict": coordinator.detect_ip_conflict,
        "podDefaultRouteNIC": coordinator.pod_default_route_nic,
        "podMACPrefix": coordinator.pod_mac_prefix,
        "hostRuleTable": coordinator.host_rule_table,
        "podRPFilter": coordinator.pod_rp_filter,
        "txQueueLen": coordinator.tx_queue_len,
        "vethMTU": coordinator.veth_mtu,
    }
    made = [_own("SpiderCoordinator", coordinator.name, chosen)] if coordinator.enabled else []
    if pools.install_ipv4:
        made.append(_pool(pools.ipv4_name, 4, pools.ipv4_subnet, pools.ipv4_ranges, pools.ipv4_gateway))
    if pools.install_ipv6:
        made.append(_pool(pools.ipv6_name, 6, pools.ipv6_subnet, pools.ipv6_ranges, pools.ipv6_gateway))
    return made


def _pool(name: str, version: int, subnet: str, ranges: tuple[str, ...], gateway: str) -> Json:
    spec = {
        "ipVersion": version,
        "subnet": subnet,
        "ips": list(ranges),
        "gateway": gateway or None,
        "default": True,
    }
    return _own("SpiderIPPool", name, spec)


def _own(kind: str, name: str, spec: Json) -> Json:
    given = {key: value for key, value in spec.items() if value is not None}
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind, "metadata": {"name": name}, "spec": given}


def _labels(component: str) -> Json:
    return {
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/instance": "spiderpool",
        "app.kubernetes.io/name": "spiderpool",
    }


def _config(settings: Settings) -> dict[str, str]:
    """Settings under the names of their variables. Kubernetes before 1.24 takes no empty ones."""
    values = settings.values
    ipam, gc = values.ipam, values.ipam.gc
    data: dict[str, object] = {
        "SPIDERPOOL_CILIUM_CONFIGMAP_NAMESPACE_NAME": values.global_.cilium_config_map,
        "SPIDERPOOL_CLUSTER_NETWORK": values.multus.multus_cni.default,
        "SPIDERPOOL_DEFAULT_COORDINATOR_NAME": values.coordinator.name,
        "SPIDERPOOL_DEFAULT_FLEXIBLE_IP_NUMBER": ipam.spider_subnet.auto_pool.redundant,
        "SPIDERPOOL_ENABLE_AUTO_POOL": ipam.spider_subnet.auto_pool.enable,
        "SPIDERPOOL_ENABLE_GATEWAY_DETECTION": ipam.enable_gateway_detection,
        "SPIDERPOOL_ENABLE_IPV4": ipam.enable_ipv4,
        "SPIDERPOOL_ENABLE_IPV6": ipam.enable_ipv6,
        "SPIDERPOOL_ENABLE_IP_CONFLICT_DETECTION": ipam.enable_conflict_detection,
        "SPIDERPOOL_ENABLE_KUBEVIRT_STATIC_IP": ipam.enable_kubevirt,
        "SPIDERPOOL_ENABLE_MULTUS_CONFIG": values.multus.enable_multus_config,
        "SPIDERPOOL_ENABLE_STATEFULSET": ipam.enable_stateful_set,
        "SPIDERPOOL_ENABLE_SUBNET": ipam.spider_subnet.enable,
        "SPIDERPOOL_ENABLE_VALIDATING_RESOURCES_DELETED_WEBHOOK": values.controller.refuse_deletion,
        "SPIDERPOOL_GC_ADDITIONAL_GRACE_DELAY": gc.deleting.delay,
        "SPIDERPOOL_GC_DEFAULT_INTERVAL_DURATION": gc.gc_all.interval_in_second,
        "SPIDERPOOL_GC_IP_ENABLED": gc.enabled,
        "SPIDERPOOL_GC_TERMINATING_POD_IP_ENABLED": gc.deleting.enabled,
        "SPIDERPOOL_IP_REST_SECONDS": ipam.ip_rest_seconds,
        "SPIDERPOOL_INSTALL_MULTUS": values.multus.multus_cni.install,
    }
    told = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in data.items()}
    return {name: value for name, value in sorted(told.items()) if value}


def _service(name: str, own: Json, ports: dict[str, int]) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, **own, "labels": _labels(name)},
        "spec": {
            "selector": _labels(name),
            "ports": [
                {"name": port, "port": number, "protocol": "TCP", "targetPort": port}
                for port, number in ports.items()
            ],
        },
    }


def _template(settings: Settings, name: str, port: int, spec: Json) -> Json:
    digest = hashlib.sha256(json.dumps(_config(settings), sort_keys=True).encode()).hexdigest()[:16]
    return {
        "metadata": {
            "labels": {**_labels(name), "sidecar.istio.io/inject": "false"},
            "annotations": {
                # new settings are new pods
                "checksum/config": digest,
                "prometheus.io/path": "/metrics",
                "prometheus.io/port": str(port),
                "prometheus.io/scrape": "true",
                "sidecar.istio.io/inject": "false",
            },
        },
        "spec": {
            # pods' networks are made by them, so they have none of their own
            "hostNetwork": True,
            "dnsPolicy": "ClusterFirstWithHostNet",
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"operator": "Exists"}],
            "serviceAccountName": name,
            **spec,
        },
    }


def _environment(settings: Settings, level: str, ports: dict[str, int]) -> Json:
    return {
        "envFrom": [{"configMapRef": {"name": settings.values.global_.config_name}}],
        "env": [
            _field("NODE_NAME", "spec.nodeName"),
            _field("POD_NAME", "metadata.name"),
            _field("POD_NAMESPACE", "metadata.namespace"),
            {"name": "SPIDERPOOL_LOG_LEVEL", "value": level},
            *({"name": name, "value": str(number)} for name, number in ports.items()),
        ],
    }


def _ports(ports: dict[str, int]) -> list[Json]:
    return [{"containerPort": number, "name": name, "protocol": "TCP"} for name, number in ports.items()]


def _probes(port: int) -> Json:
    return {
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": port},
            "periodSeconds": 2,
            "timeoutSeconds": 5,
        },
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": port},
            "initialDelaySeconds": 10,
            "periodSeconds": 10,
            "timeoutSeconds": 5,
        },
    }


def _deployment(settings: Settings) -> Json:
    chosen = settings.values.controller
    ports = {"http": chosen.http_port, "metrics": chosen.prometheus.port, "webhook": chosen.webhook_port}
    variables = {
        "SPIDERPOOL_HEALTH_PORT": chosen.http_port,
        "SPIDERPOOL_METRIC_HTTP_PORT": chosen.prometheus.port,
        "SPIDERPOOL_WEBHOOK_PORT": chosen.webhook_port,
    }
    container = {
        "name": CONTROLLER,
        "image": f"{settings.registry}/{CONTROLLER}:{settings.version}",
        "imagePullPolicy": "IfNotPresent",
        **_environment(settings, chosen.debug.log_level, variables),
        "ports": _ports(ports),
        **_probes(chosen.http_port),
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsGroup": _USER,
            "runAsNonRoot": True,
            "runAsUser": _USER,
        },
    }
    spread = {"labelSelector": {"matchLabels": _labels(CONTROLLER)}, "topologyKey": "kubernetes.io/hostname"}
    spec = {
        "priorityClassName": "system-cluster-critical",
        # ports of the node are taken: two on one node would be in each other's way
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [spread]}},
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": CONTROLLER, "namespace": settings.namespace, "labels": _labels(CONTROLLER)},
        "spec": {
            "replicas": chosen.replicas,
            "selector": {"matchLabels": _labels(CONTROLLER)},
            # the new one would have no port beside the old one
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": _template(settings, CONTROLLER, chosen.prometheus.port, spec),
        },
    }


def _daemon_set(settings: Settings) -> Json:
    spec = {
        "priorityClassName": "system-node-critical",
        # plugins run within the node's root, and find their own network namespace in its /proc
        "hostPID": True,
        # to ask whether it ends for good, and to take the plugins away then
        "terminationGracePeriodSeconds": 10,
        "containers": [_agent(settings)],
        "volumes": [
            _host("cni-bin-dir", settings.values.global_.cni_bin_host_path, "DirectoryOrCreate"),
            _host("cni-net-dir", settings.values.global_.cni_conf_host_path, "DirectoryOrCreate"),
            _host("ipam-unix-socket-dir", settings.run_dir, "DirectoryOrCreate"),
            _host("cni-cache-dir", "/var/lib/cni", "DirectoryOrCreate"),
            _host("host-root", "/", "Directory"),
            {"name": "tmp", "emptyDir": {"medium": "Memory"}},
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": AGENT, "namespace": settings.namespace, "labels": _labels(AGENT)},
        "spec": {
            "selector": {"matchLabels": _labels(AGENT)},
            # one node after the other: while its node process is away, no pod starts on a node
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": _template(settings, AGENT, settings.values.agent.prometheus.port, spec),
        },
    }


def _agent(settings: Settings) -> Json:
    chosen, seen = settings.values.agent, settings.seen
    ports = {"health": chosen.http_port, "metrics": chosen.prometheus.port}
    variables = {
        "SPIDERPOOL_HEALTH_PORT": chosen.http_port,
        "SPIDERPOOL_METRIC_HTTP_PORT": chosen.prometheus.port,
    }
    told = _environment(settings, chosen.debug.log_level, variables)
    # after NODE_NAME, which may be a part of them
    told["env"] += [
        {"name": name, "value": value}
        for name, value in (
            ("CNI_NET_DIR", seen.net_dir),
            ("CNI_BIN_DIR", seen.bin_dir),
            ("SPIDERPOOL_RUN_DIR", seen.run_dir),
            ("MOUNTED_CNI_NET_DIR", "/host/etc/cni/net.d"),
            ("MOUNTED_CNI_BIN_DIR", "/host/opt/cni/bin"),
            ("MOUNTED_SPIDERPOOL_RUN_DIR", "/var/run/spidernet"),
            ("MULTUS_CACHE_DIR", seen.cache_dir),
            ("MOUNTED_MULTUS_CACHE_DIR", "/var/lib/cni/multus"),
            ("HOST_ROOT", HOST_ROOT),
        )
    ]
    return {
        "name": AGENT,
        "image": f"{settings.registry}/{AGENT}:{settings.version}",
        "imagePullPolicy": "IfNotPresent",
        **told,
        "ports": _ports(ports),
        **_probes(chosen.http_port),
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "securityContext": {
            # settings of pods' and the node's networks are written to /proc/sys, which others have to read only;
            # and the plugins of other networks are run with all that they have when the node's runtime runs them
            "privileged": True,
            "readOnlyRootFilesystem": True,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "runAsUser": 0,
        },
        "volumeMounts": [
            {"name": "cni-bin-dir", "mountPath": "/host/opt/cni/bin"},
            {"name": "cni-net-dir", "mountPath": "/host/etc/cni/net.d"},
            {"name": "ipam-unix-socket-dir", "mountPath": "/var/run/spidernet"},
            # which networks a pod has, for its end: it outlives us
            {"name": "cni-cache-dir", "mountPath": "/var/lib/cni"},
            {"name": "host-root", "mountPath": HOST_ROOT},
            # the lock of iptables
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 -- a folder of the container's own
        ],
    }


def _init(settings: Settings) -> Json:
    container = {
        "name": INIT,
        "image": f"{settings.registry}/{CONTROLLER}:{settings.version}",
        "imagePullPolicy": "IfNotPresent",
        "command": ["weft", "spiderpool-init"],
        "envFrom": [{"configMapRef": {"name": INIT}}],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsGroup": _USER,
            "runAsNonRoot": True,
            "runAsUser": _USER,
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": INIT,
            "namespace": settings.namespace,
            "labels": {**_labels(INIT), "sidecar.istio.io/inject": "false"},
        },
        "spec": {
            "hostNetwork": True,
            "restartPolicy": "OnFailure",
            "serviceAccountName": INIT,
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"operator": "Exists"}],
            "containers": [container],
        },
    }


def _host(name: str, path: str, kind: str) -> Json:
    return {"name": name, "hostPath": {"path": path, "type": kind}}


def _field(name: str, path: str) -> Json:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
