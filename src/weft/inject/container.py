"""The container `istio-proxy`, as far as sidecars and gateways share it."""

from typing import Any, Final, Literal

from weft.inject import volumes
from weft.inject.annotations import Overrides, Readiness
from weft.inject.settings import InjectSettings, Resources
from weft.model.enrolment import SIDECAR
from weft.model.interception import METRICS_PORT, PROXY_USER, READINESS_PORT

# a proxy may listen on 80 and 443 without being root: the sysctl is the pod's own (Kubernetes' safe set)
UNPRIVILEGED: Final = {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]}


def proxy(
    role: Literal["sidecar", "router"],
    env: list[dict[str, Any]],
    credentials: list[dict[str, Any]],
    overrides: Overrides,
    settings: InjectSettings,
) -> dict[str, Any]:
    """The container; `credentials` are its mounts of the service account's token, where it needs one."""
    return {
        "args": [
            "proxy",
            role,
            "--domain",
            f"$(POD_NAMESPACE).svc.{settings.cluster_domain}",
            f"--proxyLogLevel={overrides.log_level}",
            f"--proxyComponentLogLevel={overrides.component_log_level}",
            f"--log_output_level={overrides.agent_log_level}",
        ],
        "env": env,
        "image": overrides.image,
        "imagePullPolicy": "IfNotPresent",
        "name": SIDECAR,
        "ports": [{"containerPort": METRICS_PORT, "name": "http-envoy-prom", "protocol": "TCP"}],
        "readinessProbe": _readiness(overrides.readiness),
        "resources": resources(overrides.resources),
        "securityContext": _security(transparent=overrides.proxy.settings.interception_mode == "TPROXY"),
        **termination(),
        "volumeMounts": [*volumes.mounts(), *credentials, *volumes.own_mounts(overrides)],
    }


def _security(*, transparent: bool) -> dict[str, Any]:
    """What the proxy may do. Transparent sockets take NET_ADMIN, which Kubernetes gives to root alone.

    The rules tell the proxy by its group then.
    """
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {**({"add": ["NET_ADMIN"]} if transparent else {}), "drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsGroup": PROXY_USER,
        "runAsNonRoot": not transparent,
        "runAsUser": 0 if transparent else PROXY_USER,
    }


def resources(wanted: Resources) -> dict[str, Any]:
    """Requests and limits as Kubernetes has them."""
    written = {
        "limits": {"cpu": wanted.cpu_limit, "memory": wanted.memory_limit},
        "requests": {"cpu": wanted.cpu, "memory": wanted.memory},
    }
    return {kind: {name: amount for name, amount in values.items() if amount} for kind, values in written.items()}


def termination() -> dict[str, str]:
    """Kubernetes' own defaults, written out so that an injected pod reads the same before and after defaulting."""
    return {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}


def _readiness(timing: Readiness) -> dict[str, Any]:
    return {
        "failureThreshold": timing.failures,
        "httpGet": {"path": "/healthz/ready", "port": READINESS_PORT, "scheme": "HTTP"},
        "initialDelaySeconds": timing.initial_delay,
        "periodSeconds": timing.period,
        "successThreshold": 1,
        "timeoutSeconds": 3,
    }
