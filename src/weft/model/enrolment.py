"""Which pods the mesh takes in: what the webhook, the CNI plugin and its repair all go by.

The checks of a pod that has its sidecar are Istio's selection of its CNI plugin, in Istio's order.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from weft.base.flags import is_true

INJECT: Final = "sidecar.istio.io/inject"
STATUS: Final = "sidecar.istio.io/status"
SIDECAR: Final = "istio-proxy"
INIT: Final = "istio-init"
VALIDATION: Final = "istio-validation"

_ROLE: Final = "sidecar"
_YES: Final = frozenset({"true", "yes", "y", "on"})
_NO: Final = frozenset({"false", "no", "n", "off", "0", "f"})

Pod = Mapping[str, Any]
"""A Pod as the API server writes it."""


@dataclass(frozen=True, slots=True)
class Captured:
    """The pod has a sidecar, and its traffic is the sidecar's."""


@dataclass(frozen=True, slots=True)
class Leave:
    """The pod stays as it is."""

    reason: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What a pod says itself of having a sidecar; `said` is None where that is neither yes nor no."""

    place: str
    """"label" or "annotation"."""
    text: str
    said: bool | None


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the selection. `reason` tells why a pod is left alone, "" where there is none by this line."""

    name: str
    reason: Callable[[Pod], str]


def captured(namespace: str, pod: Pod, excluded: Collection[str]) -> Captured | Leave:
    """Whether the traffic of a pod that was created is to be redirected to its sidecar.

    `excluded` are the namespaces whose pods are left alone whatever they say.
    """
    if reason := excluded_namespace(namespace, excluded):
        return Leave(reason)
    reasons = (check.reason(pod) for check in CHECKS)
    return next((Leave(reason) for reason in reasons if reason), Captured())


def excluded_namespace(namespace: str, excluded: Collection[str]) -> str:
    """Why the pods of a namespace are left alone, "" where they are not."""
    return f"namespace {namespace} is excluded" if namespace in excluded else ""


def host_network(pod: Pod) -> str:
    """Why a pod without a network of its own is left alone."""
    # its rules would capture the whole node's traffic
    return "the pod uses the host's network" if _spec(pod).get("hostNetwork") else ""


def opted_out(pod: Pod) -> str:
    """Why a pod that wants no sidecar is left alone."""
    said = wish(pod)
    return f"{said.place} {INJECT} is {said.text}" if said and said.said is False else ""


def wish(pod: Pod) -> Wish | None:
    """What the pod says itself: the label wins over the annotation, as in Istio. None where it says nothing."""
    metadata = pod.get("metadata") or {}
    for place in ("label", "annotation"):
        text = (metadata.get(f"{place}s") or {}).get(INJECT)
        if text is not None:
            value = str(text).lower()
            return Wish(place, str(text), True if value in _YES else False if value in _NO else None)
    return None


def has_status(pod: Pod) -> bool:
    """Whether the pod was injected."""
    return STATUS in ((pod.get("metadata") or {}).get("annotations") or {})


def containers(pod: Pod) -> Iterator[Mapping[str, Any]]:
    """All containers of a pod, init containers first: a sidecar may be one of them (a native sidecar)."""
    for key in ("initContainers", "containers"):
        yield from _spec(pod).get(key) or ()


def container(pod: Pod, name: str) -> Mapping[str, Any] | None:
    """The container of a name, whether it is an init container or not."""
    return next((one for one in containers(pod) if one.get("name") == name), None)


def proxy(pod: Pod) -> Mapping[str, Any] | None:
    """The container `istio-proxy`."""
    return container(pod, SIDECAR)


def environment(one: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a container whose values the pod itself holds."""
    return {str(entry["name"]): str(entry["value"]) for entry in one.get("env") or () if entry.get("value")}


def _spec(pod: Pod) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = pod.get("spec") or {}
    return spec


def _captures_itself(pod: Pod) -> str:
    return f"the pod captures its traffic itself: it has a container {INIT}" if container(pod, INIT) else ""


def _without_proxy(pod: Pod) -> str:
    return "" if proxy(pod) else f"the pod has no container {SIDECAR}"


def _proxyless(pod: Pod) -> str:
    named = proxy(pod) or {}
    return "its proxy has no Envoy (DISABLE_ENVOY)" if is_true(environment(named).get("DISABLE_ENVOY", "")) else ""


def _of_another_role(pod: Pod) -> str:
    """With fewer than two arguments, or others, the image's own say that it is a sidecar."""
    match (proxy(pod) or {}).get("args") or []:
        case ["proxy", role, *_] if role != _ROLE:
            return f"its proxy is no sidecar but a {role}"
        case _:
            return ""


def _not_injected(pod: Pod) -> str:
    return "" if has_status(pod) else f"the pod was not injected: it has no annotation {STATUS}"


CHECKS: Final = (
    Check("host network", host_network),
    Check("istio-init", _captures_itself),
    Check("istio-proxy", _without_proxy),
    Check("proxyless", _proxyless),
    Check("role", _of_another_role),
    Check("inject", opted_out),
    Check("status", _not_injected),
)
"""What is asked of a pod outside the excluded namespaces, in this order. The first that answers decides."""
