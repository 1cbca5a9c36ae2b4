"""Probes of the application, asked through the agent.

The kubelet's plaintext probes would reach the application through the proxy; asked by the agent they do not.
So they say how the application is, whatever the mesh requires of its callers.
"""

from collections.abc import Mapping
from typing import Any

PREFIX = "/app-health"
_PROBES = {"readinessProbe": "readyz", "livenessProbe": "livez", "startupProbe": "startupz"}


def rewrite(container: Mapping[str, Any], status_port: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The container with its HTTP, TCP and gRPC probes sent to the agent, and those probes by the agent's path.

    The second is a part of `ISTIO_KUBE_APP_PROBERS`. Probes that run a command stay as they are.
    """
    changed, kept = dict(container), {}
    for field, name in _PROBES.items():
        probe = container.get(field)
        original = _original(probe, container) if isinstance(probe, Mapping) else None
        if not isinstance(probe, Mapping) or original is None:
            continue
        path = f"{PREFIX}/{container['name']}/{name}"
        timing = {key: value for key, value in probe.items() if key not in {"httpGet", "tcpSocket", "grpc"}}
        changed[field] = {**timing, "httpGet": {"path": path, "port": status_port, "scheme": "HTTP"}}
        kept[path] = {**original, "timeoutSeconds": probe.get("timeoutSeconds") or 1}
    return changed, kept


def _original(probe: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, Any] | None:
    match probe:
        case {"httpGet": {"port": port} as request}:
            return {"httpGet": {**request, "port": _number(port, container)}}
        case {"tcpSocket": {"port": port} as connection}:
            return {"tcpSocket": {**connection, "port": _number(port, container)}}
        case {"grpc": {"port": _} as call}:
            return {"grpc": dict(call)}
    return None


def _number(port: int | str, container: Mapping[str, Any]) -> int | str:
    """A named port's number. An unknown name stays: the agent then reports it as the probe's failure."""
    if isinstance(port, int):
        return port
    numbers = (p.get("containerPort") for p in container.get("ports") or () if p.get("name") == port)
    return next((int(number) for number in numbers if number), port)
