"""The pods behind a Service: their addresses, ports and readiness."""

from collections.abc import Sequence
from dataclasses import dataclass

from weft.adapters.kube.client import Json
from weft.cluster.controllers.objects import is_finished, is_going, is_ready, selects

Ports = tuple[tuple[str, int, str, str], ...]
"""Name, number, transport and application protocol of each port, as one pod serves them."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One pod behind a Service, with the ports it resolves to (named target ports differ between pods)."""

    pod: Json
    address: str
    ports: Ports
    ready: bool
    serving: bool
    terminating: bool
    hostname: str


def selected(service: Json, pod: Json) -> bool:
    """Whether a Service selects a pod."""
    selector = service["spec"].get("selector")
    return bool(selector) and selects({"matchLabels": selector}, pod["metadata"].get("labels"))


def backends(service: Json, pods: Sequence[Json]) -> list[Backend]:
    """The Service's pods that have an address, by name."""
    found = [backend for pod in pods if selected(service, pod) and (backend := _backend(service, pod))]
    found.sort(key=lambda backend: str(backend.pod["metadata"]["name"]))
    return found


def _backend(service: Json, pod: Json) -> Backend | None:
    address = pod.get("status", {}).get("podIP")
    if is_finished(pod) or not address:
        return None
    anyway = bool(service["spec"].get("publishNotReadyAddresses"))
    going, spec = is_going(pod), pod["spec"]
    ports = [_port(port, pod) for port in service["spec"].get("ports") or ()]
    # a pod's own name in the Service's domain (`ShouldSetHostname`)
    named = spec.get("subdomain") == service["metadata"]["name"]
    return Backend(
        pod=pod,
        address=address,
        ports=tuple(port for port in ports if port),
        ready=anyway or (is_ready(pod) and not going),
        serving=is_ready(pod),
        terminating=going,
        hostname=(spec.get("hostname") or "") if named else "",
    )


def _port(port: Json, pod: Json) -> tuple[str, int, str, str] | None:
    target: int | str = port.get("targetPort") or port["port"]
    transport = port.get("protocol", "TCP")
    if isinstance(target, str):
        named = [
            offered["containerPort"]
            for container in (*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ()))
            for offered in container.get("ports") or ()
            if offered.get("name") == target and offered.get("protocol", "TCP") == transport
        ]
        if not named:
            return None
        target = named[0]
    return port.get("name", ""), int(target), transport, port.get("appProtocol", "")


def reference(pod: Json) -> Json:
    """How endpoints refer to a pod."""
    meta = pod["metadata"]
    return {"kind": "Pod", "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]}


def port_entry(port: tuple[str, int, str, str]) -> Json:
    """A port as endpoints write it."""
    name, number, transport, application = port
    entry: Json = {"name": name, "port": number, "protocol": transport}
    return entry | ({"appProtocol": application} if application else {})


def ports_of(piece: Json) -> Ports:
    """The ports that a slice or subset writes."""
    return tuple(
        (port.get("name") or "", port["port"], port.get("protocol", "TCP"), port.get("appProtocol") or "")
        for port in piece.get("ports") or ()
    )
