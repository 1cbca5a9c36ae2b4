"""A pod whose container `istio-proxy` is a gateway of its own: Istio's injection template `gateway`."""

from collections.abc import Mapping
from typing import Any, Final

from weft.inject import container, environment, volumes
from weft.inject.annotations import Overrides
from weft.inject.overlay import overlaid, without_auto
from weft.inject.settings import InjectSettings
from weft.inject.status import status
from weft.inject.workload import Workload, canonical_labels, of_pod
from weft.model.enrolment import SIDECAR, STATUS

_TLS_MODE: Final = "security.istio.io/tlsMode"


def gateway(
    namespace: str,
    pod: Mapping[str, Any],
    overrides: Overrides,
    settings: InjectSettings,
    workload: Workload | None = None,
) -> dict[str, Any]:
    """The pod as a gateway; what it says itself of `istio-proxy`, of volumes and of its context is kept.

    `workload` is what it belongs to where the pod is a template and has no owner yet.
    """
    metadata, spec = dict(pod.get("metadata") or {}), dict(pod.get("spec") or {})
    workload = workload or of_pod(metadata)
    containers = list(spec.get("containers") or ())
    own = next((one for one in containers if one.get("name") == SIDECAR), {"name": SIDECAR})
    others = [one for one in containers if one.get("name") != SIDECAR]
    env = environment.environment(namespace, containers, workload, overrides, settings)
    made = overlaid(container.proxy("router", env, [], overrides, settings), without_auto(own))
    spec["containers"] = [made, *others]
    spec["volumes"] = overlaid(
        {"volumes": [*volumes.volumes(), *volumes.own(overrides)]}, {"volumes": spec.get("volumes") or ()}
    )["volumes"]
    spec["securityContext"] = overlaid(container.UNPRIVILEGED, spec.get("securityContext") or {})
    metadata["labels"] = _labels(metadata, workload)
    metadata["annotations"] = _annotations(metadata, overrides, settings)
    return {**pod, "metadata": metadata, "spec": spec}


def _labels(metadata: Mapping[str, Any], workload: Workload) -> dict[str, str]:
    """The workload's names. Clients are not to speak the mesh's TLS to a gateway's ports, as to a sidecar's."""
    labels = metadata.get("labels") or {}
    names = {key: value for key, value in canonical_labels(labels, workload).items() if key != _TLS_MODE}
    return {**labels, **names}


def _annotations(metadata: Mapping[str, Any], overrides: Overrides, settings: InjectSettings) -> dict[str, str]:
    own = dict(metadata.get("annotations") or {})
    metrics = {
        "prometheus.io/path": "/stats/prometheus",
        "prometheus.io/port": str(overrides.status_port),
        "prometheus.io/scrape": "true",
    }
    done = status(settings, init=())
    return {**(metrics if overrides.merge_metrics else {}), **own, "istio.io/rev": settings.revision, STATUS: done}
