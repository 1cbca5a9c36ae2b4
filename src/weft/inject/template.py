"""A pod with its sidecar: what Istio's injection template makes of it."""

import json
from collections.abc import Mapping
from typing import Any

from weft.inject import environment, probes, volumes
from weft.inject.annotations import Overrides, Readiness
from weft.inject.policy import INIT, SIDECAR, STATUS
from weft.inject.settings import InjectSettings, Resources
from weft.inject.workload import Workload, canonical_labels, of_pod

_PROXY_USER = 1337
_METRICS_PORT = 15090
_READINESS_PORT = 15021
_API_CREDENTIALS = "/var/run/secrets/kubernetes.io/serviceaccount"


def sidecar(
    namespace: str, pod: Mapping[str, Any], overrides: Overrides, settings: InjectSettings
) -> dict[str, Any]:
    """The pod in the mesh; `pod` itself is left as it is. `namespace` counts where the pod names none."""
    metadata, spec = dict(pod.get("metadata") or {}), dict(pod.get("spec") or {})
    workload = of_pod(metadata)
    metadata["labels"] = _labels(metadata, workload)
    application = list(spec.get("containers") or ())
    probed, kept = _probed(application, overrides)
    env = [
        *environment.environment(namespace, application, workload, overrides, settings),
        *environment.probers(kept),
        *(environment.scraped(metadata.get("annotations") or {}) if overrides.merge_metrics else ()),
    ]
    credentials = _api_credentials(application)
    proxy = _proxy(env, credentials, overrides, settings)
    spec["containers"] = [proxy, *probed] if overrides.proxy.hold_application else [*probed, proxy]
    spec["initContainers"] = [*(spec.get("initContainers") or ()), _init(credentials, overrides)]
    spec["volumes"] = [*volumes.volumes(), *(spec.get("volumes") or ())]
    metadata["annotations"] = _annotations(metadata, application, overrides, settings)
    return {**pod, "metadata": metadata, "spec": spec}


def _labels(metadata: Mapping[str, Any], workload: Workload) -> dict[str, str]:
    labels = metadata.get("labels") or {}
    return {**labels, **canonical_labels(labels, workload)}


def _annotations(
    metadata: Mapping[str, Any],
    application: list[Mapping[str, Any]],
    overrides: Overrides,
    settings: InjectSettings,
) -> dict[str, str]:
    own = dict(metadata.get("annotations") or {})
    first = str(application[0]["name"]) if application else ""
    defaults = {
        "kubectl.kubernetes.io/default-container": first,
        "kubectl.kubernetes.io/default-logs-container": first,
    }
    if overrides.merge_metrics and own.get("prometheus.io/scrape") != "false":
        own |= {
            "prometheus.io/path": "/stats/prometheus",
            "prometheus.io/port": str(overrides.status_port),
            "prometheus.io/scrape": "true",
        }
    return {**defaults, **own, "istio.io/rev": settings.revision, STATUS: _status(settings)}


def _status(settings: InjectSettings) -> str:
    """What was added, for tools that take it out again."""
    status = {
        "initContainers": [INIT],
        "containers": [SIDECAR],
        "volumes": [volume["name"] for volume in volumes.volumes()],
        "imagePullSecrets": None,
        "revision": settings.revision,
    }
    return json.dumps(status, separators=(",", ":"))


def _probed(
    application: list[Mapping[str, Any]], overrides: Overrides
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    if not overrides.rewrite_probes:
        return [dict(container) for container in application], {}
    pairs = [probes.rewrite(container, overrides.status_port) for container in application]
    return [container for container, _ in pairs], {path: one for _, kept in pairs for path, one in kept.items()}


def _api_credentials(application: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The mount of the service account's token, where the API server has given the application one.

    Kubernetes mounts it into every container, but a server that did so before this webhook may not do it again.
    """
    mounts = (mount for container in application for mount in container.get("volumeMounts") or ())
    return [dict(mount) for mount in mounts if mount.get("mountPath") == _API_CREDENTIALS][:1]


def _proxy(
    env: list[dict[str, Any]],
    credentials: list[dict[str, Any]],
    overrides: Overrides,
    settings: InjectSettings,
) -> dict[str, Any]:
    wait = {"postStart": {"exec": {"command": [*settings.agent_command, "wait"]}}}
    return {
        "args": [
            "proxy",
            "sidecar",
            "--domain",
            f"$(POD_NAMESPACE).svc.{settings.cluster_domain}",
            f"--proxyLogLevel={overrides.log_level}",
            f"--proxyComponentLogLevel={overrides.component_log_level}",
            f"--log_output_level={overrides.agent_log_level}",
        ],
        "env": env,
        "image": overrides.image,
        "imagePullPolicy": "IfNotPresent",
        **({"lifecycle": wait} if overrides.proxy.hold_application else {}),
        "name": SIDECAR,
        "ports": [{"containerPort": _METRICS_PORT, "name": "http-envoy-prom", "protocol": "TCP"}],
        "readinessProbe": _readiness(overrides.readiness),
        "resources": _resources(overrides.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsGroup": _PROXY_USER,
            "runAsNonRoot": True,
            "runAsUser": _PROXY_USER,
        },
        **_termination(),
        "volumeMounts": [*volumes.mounts(), *credentials],
    }


def _init(credentials: list[dict[str, Any]], overrides: Overrides) -> dict[str, Any]:
    optional = (
        ("-q", overrides.include_outbound_ports),
        ("-o", overrides.exclude_outbound_ports),
        ("-k", overrides.kubevirt_interfaces),
        ("-c", overrides.exclude_interfaces),
    )
    return {
        "args": [
            *("istio-iptables", "-p", "15001", "-z", "15006", "-u", str(_PROXY_USER), "-m", "REDIRECT"),
            *("-i", overrides.include_outbound_ranges, "-x", overrides.exclude_outbound_ranges),
            *("-b", overrides.include_inbound_ports, "-d", _excluded_inbound(overrides)),
            *(part for flag, value in optional if value for part in (flag, value)),
            f"--log_output_level={overrides.agent_log_level}",
        ],
        "image": overrides.image,
        "imagePullPolicy": "IfNotPresent",
        "name": INIT,
        "resources": _resources(overrides.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": False,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "runAsUser": 0,
        },
        **_termination(),
        **({"volumeMounts": credentials} if credentials else {}),
    }


def _excluded_inbound(overrides: Overrides) -> str:
    """The mesh's own ports, the pod's exclusions, and the agent's port last: Istio's order."""
    chosen = [port for port in overrides.exclude_inbound_ports.split(",") if port]
    status = str(overrides.status_port)
    own = [str(_METRICS_PORT), str(_READINESS_PORT)]
    return ",".join([*own, *chosen, *([] if status in chosen else [status])])


def _readiness(timing: Readiness) -> dict[str, Any]:
    return {
        "failureThreshold": timing.failures,
        "httpGet": {"path": "/healthz/ready", "port": _READINESS_PORT, "scheme": "HTTP"},
        "initialDelaySeconds": timing.initial_delay,
        "periodSeconds": timing.period,
        "successThreshold": 1,
        "timeoutSeconds": 3,
    }


def _resources(resources: Resources) -> dict[str, Any]:
    wanted = {
        "limits": {"cpu": resources.cpu_limit, "memory": resources.memory_limit},
        "requests": {"cpu": resources.cpu, "memory": resources.memory},
    }
    return {kind: {name: amount for name, amount in values.items() if amount} for kind, values in wanted.items()}


def _termination() -> dict[str, str]:
    """Kubernetes' own defaults, written out so that an injected pod reads the same before and after defaulting."""
    return {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
