"""Whether a pod gets a sidecar. The webhook's selectors have chosen the namespace already."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

INJECT = "sidecar.istio.io/inject"
STATUS = "sidecar.istio.io/status"
SIDECAR = "istio-proxy"
INIT = "istio-init"

_SYSTEM_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease", "local-path-storage"})
_YES = frozenset({"true", "yes", "y", "on"})
_NO = frozenset({"false", "no", "n", "off"})


@dataclass(frozen=True, slots=True)
class Inject:
    """The pod joins the mesh."""


@dataclass(frozen=True, slots=True)
class Leave:
    """The pod stays as it is."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """The pod asks for something that cannot be; `message` names the field and the way out."""

    message: str


Decision = Inject | Leave | Refuse


def decide(namespace: str, pod: Mapping[str, Any]) -> Decision:
    """What becomes of a new pod of `namespace`."""
    spec = pod.get("spec") or {}
    if namespace in _SYSTEM_NAMESPACES:
        return Leave(f"namespace {namespace} belongs to Kubernetes")
    if spec.get("hostNetwork"):
        # its rules would capture the whole node's traffic
        return Leave("the pod uses the host's network")
    match _wish(pod.get("metadata") or {}):
        case Inject():
            return _already(pod, spec)
        case other:
            return other


def _wish(metadata: Mapping[str, Any]) -> Decision:
    """What the pod says itself: the label wins over the annotation, as in Istio; silence is consent."""
    for kind in ("labels", "annotations"):
        text = (metadata.get(kind) or {}).get(INJECT)
        if text is None:
            continue
        value = str(text).lower()
        if value in _YES:
            return Inject()
        if value in _NO:
            return Leave(f"{kind[:-1]} {INJECT} is {text}")
        return Refuse(f'{kind[:-1]} {INJECT}: "{text}" is neither "true" nor "false". Set one of them.')
    return Inject()


def _already(pod: Mapping[str, Any], spec: Mapping[str, Any]) -> Decision:
    names = {one.get("name") for key in ("containers", "initContainers") for one in spec.get(key) or ()}
    if not names & {SIDECAR, INIT}:
        return Inject()
    if STATUS in ((pod.get("metadata") or {}).get("annotations") or {}):
        return Leave("the pod has its sidecar already")
    taken = min(names & {SIDECAR, INIT})
    return Refuse(f'spec: the container name "{taken}" is kept for the mesh. Rename the container.')
