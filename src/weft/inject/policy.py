"""Whether a pod gets a sidecar or becomes a gateway. The webhook's selectors have chosen the namespace already."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weft.inject.overlay import AUTO

INJECT = "sidecar.istio.io/inject"
STATUS = "sidecar.istio.io/status"
SIDECAR = "istio-proxy"
INIT = "istio-init"
TEMPLATES_WANTED = "inject.istio.io/templates"
SIDECAR_TEMPLATE, GATEWAY = "sidecar", "gateway"
TEMPLATES = (SIDECAR_TEMPLATE, GATEWAY)
_LISTED = " and ".join(TEMPLATES)

_SYSTEM_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease", "local-path-storage"})
_YES = frozenset({"true", "yes", "y", "on"})
_NO = frozenset({"false", "no", "n", "off"})


@dataclass(frozen=True, slots=True)
class Inject:
    """The pod joins the mesh, by one of the templates."""

    template: str = SIDECAR_TEMPLATE


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
    """A container of the sidecar's name holds wishes for it where its image is `auto`, or the pod is a gateway."""
    if STATUS in _annotations(pod):
        return Leave("the pod has its proxy already")
    templates = wanted_templates(pod)
    if unknown := [name for name in templates if name not in TEMPLATES]:
        return Refuse(f'annotation {TEMPLATES_WANTED}: no template "{unknown[0]}". There are {_LISTED}.')
    if len(templates) > 1:
        return Refuse(
            f"annotation {TEMPLATES_WANTED}: a pod is a gateway or has a sidecar. Name one of {_LISTED}."
        )
    named = [one for key in ("containers", "initContainers") for one in spec.get(key) or ()]
    taken = [one["name"] for one in named if one.get("name") == INIT]
    if templates != (GATEWAY,):
        taken += [one["name"] for one in named if one.get("name") == SIDECAR and one.get("image") != AUTO]
    if taken:
        hint = (
            "Rename the container, or set image: auto to change the sidecar."
            if INIT not in taken
            else "Rename it."
        )
        return Refuse(f'spec: the container name "{taken[0]}" is kept for the mesh. {hint}')
    return Inject(templates[0])


def wanted_templates(pod: Mapping[str, Any]) -> tuple[str, ...]:
    """The templates that a pod names; the sidecar's where it names none."""
    text = str(_annotations(pod).get(TEMPLATES_WANTED, ""))
    return tuple(name.strip() for name in text.split(",") if name.strip()) or (SIDECAR_TEMPLATE,)


def _annotations(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    annotations: Mapping[str, Any] = (pod.get("metadata") or {}).get("annotations") or {}
    return annotations
