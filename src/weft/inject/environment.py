"""The sidecar's environment, in the order of Istio's template."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from weft.inject import volumes
from weft.inject.annotations import Overrides
from weft.inject.settings import InjectSettings
from weft.inject.workload import Workload

_PORT_FIELDS = ("name", "hostPort", "containerPort", "protocol", "hostIP")


def environment(
    namespace: str,
    containers: Sequence[Mapping[str, Any]],
    workload: Workload,
    overrides: Overrides,
    settings: InjectSettings,
) -> list[dict[str, Any]]:
    """What every sidecar is told; `containers` are the application's."""
    return [
        _value("JWT_POLICY", "third-party-jwt"),
        _value("PILOT_CERT_PROVIDER", "istiod"),
        _value("CA_ADDR", settings.ca_address),
        _field("POD_NAME", "metadata.name"),
        _field("POD_NAMESPACE", "metadata.namespace"),
        _field("INSTANCE_IP", "status.podIP"),
        _field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        _field("HOST_IP", "status.hostIP"),
        _resource("ISTIO_CPU_LIMIT", "limits.cpu"),
        _value("PROXY_CONFIG", json.dumps(overrides.proxy.written, separators=(",", ":")) + "\n"),
        _value("ISTIO_META_POD_PORTS", _pod_ports(containers)),
        _value("ISTIO_META_APP_CONTAINERS", ",".join(str(one["name"]) for one in containers)),
        _resource("GOMEMLIMIT", "limits.memory"),
        _resource("GOMAXPROCS", "limits.cpu"),
        _value("ISTIO_META_CLUSTER_ID", settings.cluster_id),
        _field("ISTIO_META_NODE_NAME", "spec.nodeName"),
        _value("ISTIO_META_INTERCEPTION_MODE", overrides.proxy.settings.interception_mode or "REDIRECT"),
        _value("ISTIO_META_WORKLOAD_NAME", workload.name),
        _value("ISTIO_META_OWNER", workload.owner(namespace)),
        _value("ISTIO_META_MESH_ID", overrides.proxy.settings.mesh_id or settings.mesh_id),
        _value("TRUST_DOMAIN", settings.trust_domain),
        *(_value("ISTIO_BOOTSTRAP_OVERRIDE", volumes.BOOTSTRAP_FILE) for _ in [0] if overrides.bootstrap_override),
        *own(overrides),
    ]


def own(overrides: Overrides) -> list[dict[str, Any]]:
    """The variables that the pod's settings ask for; `istio-init` gets them too."""
    return [_value(name, value) for name, value in overrides.proxy.metadata]


def probers(probes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The application's own probes, which the agent is to ask; nothing where there are none."""
    return [_value("ISTIO_KUBE_APP_PROBERS", _json(probes))] if probes else []


def scraped(annotations: Mapping[str, str]) -> list[dict[str, Any]]:
    """Where the application's own metrics are, for the agent to merge; nothing where it has none."""
    if annotations.get("prometheus.io/scrape") != "true":
        return []
    place = {key: annotations.get(f"prometheus.io/{key}", "") for key in ("scrape", "path", "port")}
    return [_value("ISTIO_PROMETHEUS_ANNOTATIONS", _json(place))]


def _pod_ports(containers: Sequence[Mapping[str, Any]]) -> str:
    """A JSON array with one port a line, in the template's layout."""
    ports = [port for container in containers for port in container.get("ports") or ()]
    lines = [_json({key: port[key] for key in _PORT_FIELDS if port.get(key)}) for port in ports]
    return "\n".join(["[", *(f"    {',' if index else ''}{line}" for index, line in enumerate(lines)), "]"])


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _value(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "value": value}


def _field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _resource(name: str, resource: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"resourceFieldRef": {"divisor": "0", "resource": resource}}}
