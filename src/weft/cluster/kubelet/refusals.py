"""Pods that a kubelet does not begin with: pure."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from weft.cluster.kubelet import quantity

# namespaced, and of no harm to others (docs: using sysctls in a Kubernetes cluster)
_SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)


class Refusal(NamedTuple):
    """Why a pod fails at once, as its status and event say it."""

    reason: str
    message: str


_ENDED_BY_NODE = ("Evicted", "OutOf")
"""How the reasons begin with which a node itself ends a pod, once and for all."""


def ended_by_node(status: Mapping[str, Any]) -> Refusal | None:
    """Why the node has ended the pod, if it has."""
    reason = str(status.get("reason") or "")
    return Refusal(reason, str(status.get("message") or "")) if reason.startswith(_ENDED_BY_NODE) else None


def no_room(
    pod: Mapping[str, Any], others: Iterable[Mapping[str, Any]], capacity: Mapping[str, Decimal]
) -> Refusal | None:
    """Why a pod that no scheduler placed does not fit beside the others; None where it does."""
    specs = [other["spec"] for other in others]
    if len(specs) >= capacity["pods"]:
        return _out_of("pods", 1, len(specs), int(capacity["pods"]))
    for resource, scale in (("cpu", 1000), ("memory", 1), ("ephemeral-storage", 1)):
        wanted = quantity.asked(pod["spec"], "requests", resource)
        used = sum((quantity.asked(spec, "requests", resource) for spec in specs), Decimal(0))
        if wanted and wanted + used > capacity[resource]:
            return _out_of(resource, *(int(each * scale) for each in (wanted, used, capacity[resource])))
    return None


def _out_of(resource: str, wanted: int, used: int, capacity: int) -> Refusal:
    amounts = f"requested: {wanted}, used: {used}, capacity: {capacity}"
    return Refusal(f"OutOf{resource}", f"Node didn't have enough resource: {resource}, {amounts}")


def refusal(pod: Mapping[str, Any]) -> Refusal | None:
    """Why the pod is not begun with; None for one that is."""
    for each in (pod["spec"].get("securityContext") or {}).get("sysctls") or ():
        # both ways of writing are one (sysctl(8))
        name = str(each["name"]).replace("/", ".")
        if name not in _SAFE_SYSCTLS:
            return Refusal("SysctlForbidden", f'forbidden sysctl: "{each["name"]}" not allowlisted')
    return None
