"""Whether a pod gets a sidecar or becomes a gateway. The webhook's selectors have chosen the namespace already."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weft.inject.overlay import AUTO
from weft.model import enrolment
from weft.model.enrolment import INIT, INJECT, SIDECAR, VALIDATION, Leave

TEMPLATES_WANTED = "inject.istio.io/templates"
SIDECAR_TEMPLATE, GATEWAY = "sidecar", "gateway"
TEMPLATES = (SIDECAR_TEMPLATE, GATEWAY)
_LISTED = " and ".join(TEMPLATES)

_SYSTEM_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease", "local-path-storage"})


@dataclass(frozen=True, slots=True)
class Inject:
    """The pod joins the mesh, by one of the templates."""

    template: str = SIDECAR_TEMPLATE


@dataclass(frozen=True, slots=True)
class Refuse:
    """The pod asks for something that cannot be; `message` names the field and the way out."""

    message: str


Decision = Inject | Leave | Refuse


def decide(namespace: str, pod: Mapping[str, Any]) -> Decision:
    """What becomes of a new pod of `namespace`. Silence is consent."""
    reason = enrolment.excluded_namespace(namespace, _SYSTEM_NAMESPACES)
    if reason := reason or enrolment.host_network(pod) or enrolment.opted_out(pod):
        return Leave(reason)
    said = enrolment.wish(pod)
    if said and said.said is None:
        return Refuse(f'{said.place} {INJECT}: "{said.text}" is neither "true" nor "false". Set one of them.')
    return _already(pod)


def _already(pod: Mapping[str, Any]) -> Decision:
    """A container of the sidecar's name holds wishes for it where its image is `auto`, or the pod is a gateway."""
    if enrolment.has_status(pod):
        return Leave("the pod has its proxy already")
    templates = wanted_templates(pod)
    if unknown := [name for name in templates if name not in TEMPLATES]:
        return Refuse(f'annotation {TEMPLATES_WANTED}: no template "{unknown[0]}". There are {_LISTED}.')
    if len(templates) > 1:
        return Refuse(
            f"annotation {TEMPLATES_WANTED}: a pod is a gateway or has a sidecar. Name one of {_LISTED}."
        )
    named = list(enrolment.containers(pod))
    kept = [one["name"] for one in named if one.get("name") in {INIT, VALIDATION}]
    own = [one["name"] for one in named if one.get("name") == SIDECAR and one.get("image") != AUTO]
    if kept or (own and templates != (GATEWAY,)):
        hint = "Rename it." if kept else "Rename the container, or set image: auto to change the sidecar."
        return Refuse(f'spec: the container name "{(kept or own)[0]}" is kept for the mesh. {hint}')
    return Inject(templates[0])


def wanted_templates(pod: Mapping[str, Any]) -> tuple[str, ...]:
    """The templates that a pod names; the sidecar's where it names none."""
    text = str(_annotations(pod).get(TEMPLATES_WANTED, ""))
    return tuple(name.strip() for name in text.split(",") if name.strip()) or (SIDECAR_TEMPLATE,)


def _annotations(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    annotations: Mapping[str, Any] = (pod.get("metadata") or {}).get("annotations") or {}
    return annotations
