"""A pod with its sidecar: what Istio's injection template makes of it."""

from collections.abc import Mapping
from typing import Any, Final

from weft.inject import container, environment, probes, volumes
from weft.inject.annotations import Overrides
from weft.inject.container import METRICS_PORT, PROXY_USER, READINESS_PORT
from weft.inject.overlay import overlaid, without_auto
from weft.inject.settings import InjectSettings
from weft.inject.status import status
from weft.inject.workload import Workload, canonical_labels, of_pod
from weft.model.enrolment import INIT, SIDECAR, STATUS

_NATIVE: Final[Mapping[str, Any]] = {
    "restartPolicy": "Always",
    # the application's containers start when it succeeds: no need to hold them
    "startupProbe": {
        "failureThreshold": 600,
        "httpGet": {"path": "/healthz/ready", "port": READINESS_PORT, "scheme": "HTTP"},
        "periodSeconds": 1,
        "successThreshold": 1,
        "timeoutSeconds": 3,
    },
}
_API_CREDENTIALS = "/var/run/secrets/kubernetes.io/serviceaccount"


def sidecar(
    namespace: str, pod: Mapping[str, Any], overrides: Overrides, settings: InjectSettings
) -> dict[str, Any]:
    """The pod in the mesh; `pod` itself is left as it is. `namespace` counts where the pod names none."""
    metadata, spec = dict(pod.get("metadata") or {}), dict(pod.get("spec") or {})
    workload = of_pod(metadata)
    metadata["labels"] = _labels(metadata, workload)
    containers = list(spec.get("containers") or ())
    application = [one for one in containers if one.get("name") != SIDECAR]
    wishes = next((without_auto(one) for one in containers if one.get("name") == SIDECAR), {})
    probed, kept = _probed(application, overrides)
    env = [
        *environment.environment(namespace, application, workload, overrides, settings),
        *environment.probers(kept),
        *(environment.scraped(metadata.get("annotations") or {}) if overrides.merge_metrics else ()),
    ]
    credentials = _api_credentials(application)
    proxy = container.proxy("sidecar", env, credentials, overrides, settings)
    hold = overrides.proxy.settings.hold_application_until_proxy_starts and not overrides.native
    if hold:
        proxy["lifecycle"] = {"postStart": {"exec": {"command": [*settings.agent_command, "wait"]}}}
    if overrides.native:
        proxy |= _NATIVE
    proxy = overlaid(proxy, wishes)
    own_init = list(spec.get("initContainers") or ())
    captured = overrides.proxy.settings.interception_mode != "NONE"
    init = [_init(credentials, overrides, settings)] if captured else []
    if overrides.native:
        # before all others: they have a network then, and are in the mesh
        spec["initContainers"], spec["containers"] = [*init, proxy, *own_init], probed
    else:
        spec["initContainers"] = [*own_init, *init]
        spec["containers"] = [proxy, *probed] if hold else [*probed, proxy]
    if not captured:
        # its listeners are those of the services' ports
        spec["securityContext"] = overlaid(container.UNPRIVILEGED, spec.get("securityContext") or {})
    # the pod's own volume of a name, that of somebody else's SDS for one, takes the place of ours
    wanted = {"volumes": [*volumes.own(overrides), *(spec.get("volumes") or ())]}
    spec["volumes"] = overlaid({"volumes": volumes.volumes()}, wanted)["volumes"]
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
    init = (INIT,) if overrides.proxy.settings.interception_mode != "NONE" else ()
    native = overrides.native
    done = status(settings, init=(*init, SIDECAR) if native else init, containers=() if native else (SIDECAR,))
    return {**defaults, **own, "istio.io/rev": settings.revision, STATUS: done}


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


def _init(credentials: list[dict[str, Any]], overrides: Overrides, settings: InjectSettings) -> dict[str, Any]:
    optional = (
        ("-q", overrides.include_outbound_ports),
        ("-o", overrides.exclude_outbound_ports),
        ("-k", overrides.kubevirt_interfaces),
        ("-c", overrides.exclude_interfaces),
    )
    return {
        "args": [
            *("istio-iptables", "-p", str(settings.outbound_port), "-z", str(settings.inbound_port)),
            *("-u", str(PROXY_USER), "-m", overrides.proxy.settings.interception_mode or "REDIRECT"),
            *("-i", overrides.include_outbound_ranges, "-x", overrides.exclude_outbound_ranges),
            *("-b", overrides.include_inbound_ports, "-d", _excluded_inbound(overrides)),
            *(part for flag, value in optional if value for part in (flag, value)),
            f"--log_output_level={overrides.agent_log_level}",
        ],
        **({"env": own} if (own := environment.own(overrides)) else {}),
        "image": overrides.image,
        "imagePullPolicy": "IfNotPresent",
        "name": INIT,
        "resources": container.resources(overrides.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": False,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "runAsUser": 0,
        },
        **container.termination(),
        **({"volumeMounts": credentials} if credentials else {}),
    }


def _excluded_inbound(overrides: Overrides) -> str:
    """The mesh's own ports, the pod's exclusions, and the agent's port last: Istio's order."""
    chosen = [port for port in overrides.exclude_inbound_ports.split(",") if port]
    status = str(overrides.status_port)
    own = [str(METRICS_PORT), str(READINESS_PORT)]
    return ",".join([*own, *chosen, *([] if status in chosen else [status])])
