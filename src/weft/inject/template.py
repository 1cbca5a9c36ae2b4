"""A pod with its sidecar: what Istio's injection template makes of it."""

from collections.abc import Mapping
from typing import Any, Final

from weft.inject import capture, container, environment, networks, probes, volumes
from weft.inject.annotations import Overrides
from weft.inject.overlay import overlaid, without_auto
from weft.inject.settings import InjectSettings
from weft.inject.status import status
from weft.inject.workload import Workload, canonical_labels, of_pod
from weft.model import enrolment, interception
from weft.model.enrolment import SIDECAR, STATUS
from weft.model.interception import READINESS_PORT, Owner

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
    own_init = [one for one in spec.get("initContainers") or () if one.get("name") != SIDECAR]
    wishes = without_auto(enrolment.proxy(pod) or {})
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
    if overrides.native:
        # before all others: they have a network then, and are in the mesh
        spec["initContainers"], spec["containers"] = [proxy, *own_init], probed
    else:
        spec["initContainers"] = own_init
        spec["containers"] = [proxy, *probed] if hold else [*probed, proxy]
    if overrides.interception.captures:
        owner = interception.owner({"spec": spec})
        spec["initContainers"] = _capturing(spec["initContainers"], owner, credentials, overrides, settings)
    else:
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
    init = [name] if (name := capture.name(overrides, settings)) else []
    native = overrides.native
    done = status(settings, init=[*init, SIDECAR] if native else init, containers=() if native else (SIDECAR,))
    if settings.cni:
        own |= interception.effective(overrides.interception, overrides.status_port)
        if overrides.interception.captures and settings.multus:
            own |= networks.annotation(own)
    return {**defaults, **own, "istio.io/rev": settings.revision, STATUS: done}


def _capturing(
    init: list[dict[str, Any]],
    owner: Owner,
    credentials: list[dict[str, Any]],
    overrides: Overrides,
    settings: InjectSettings,
) -> list[dict[str, Any]]:
    """The init containers with the one that captures, or sees that the pod's traffic is captured."""
    if settings.cni:
        # a pod that was missed ends here, before anything of it runs
        return [capture.validation(owner, credentials, overrides, settings), *init]
    made = capture.init(owner, credentials, overrides, settings)
    # the proxy of others would not run yet when their init containers do
    return [made, *init] if overrides.native else [*init, made]


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
