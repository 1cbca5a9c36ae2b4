"""Pods that a kubelet does not begin with: pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

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


def refusal(pod: Mapping[str, Any]) -> Refusal | None:
    """Why the pod is not begun with; None for one that is."""
    for each in (pod["spec"].get("securityContext") or {}).get("sysctls") or ():
        # both ways of writing are one (sysctl(8))
        name = str(each["name"]).replace("/", ".")
        if name not in _SAFE_SYSCTLS:
            return Refusal("SysctlForbidden", f'forbidden sysctl: "{each["name"]}" not allowlisted')
    return None
