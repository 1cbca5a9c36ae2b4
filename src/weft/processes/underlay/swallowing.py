"""Pods of the mesh that connections would not reach: REDIRECT drops what comes in by an interface without address.

veth0 of the coordinator is such an interface, unless the coordinator is told `vethLinkAddress`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from weft.adapters import netns, redirection
from weft.model.enrolment import CHECKS, container
from weft.redirect import pod as pods
from weft.redirect.flags import Host
from weft.redirect.interfaces import Interface, Swallowing, swallowing
from weft.redirect.pod import RedirectError

Pod = Mapping[str, Any]

_ITSELF: Final = "istio-init"
"""The check that leaves a pod to its own `istio-init`, whose rules are the same."""


def swallowed(pod: Pod, interfaces: Sequence[Interface]) -> tuple[Swallowing, ...]:
    """The interfaces of a pod on which redirected connections would vanish; none where it is not in the mesh."""
    if not is_meshed(pod):
        return ()
    try:
        capture = pods.capture(pod, Host(has_ipv6=any(one.reaches(6) for one in interfaces)))
    except RedirectError:
        return ()  # such a pod is not captured, and whoever captures says so
    return swallowing(capture, interfaces)


def is_meshed(pod: Pod) -> bool:
    """Whether the traffic of a pod is redirected to its sidecar, by whomever."""
    return all(check.name == _ITSELF or not check.reason(pod) for check in CHECKS)


def captures_itself(pod: Pod) -> bool:
    """Whether its own `istio-init` does it, which tells nobody of such interfaces as the mesh's plugin does."""
    return is_meshed(pod) and container(pod, _ITSELF) is not None


def look(pod: Pod, namespace: str) -> tuple[Swallowing, ...]:
    """The same of a network namespace as it is. It blocks; OSError where the namespace is gone."""
    return swallowed(pod, netns.inside(namespace, redirection.interfaces))
