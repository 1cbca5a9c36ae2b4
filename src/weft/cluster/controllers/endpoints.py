"""Endpoints and EndpointSlices: which pods answer for a Service."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import ENDPOINTS, ENDPOINTSLICES, PODS, SERVICES, Kind
from weft.cluster.controllers.changes import Change, Create, Delete, Plan, Put
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import (
    Key,
    is_finished,
    is_going,
    is_ready,
    key_of,
    owner_reference,
    selects,
)

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"

Ports = tuple[tuple[str, int, str, str], ...]
"""Name, number, transport and application protocol of each port, as one pod serves them."""


@dataclass(frozen=True, slots=True)
class _Backend:
    """One pod behind a Service, with the ports it resolves to (named target ports differ between pods)."""

    pod: Json
    ports: Ports
    ready: bool
    serving: bool
    terminating: bool


class EndpointsController(Controller):
    """Writes both forms: EndpointSlices for programs of today, Endpoints for kubectl and older ones."""

    name = "endpoints-controller"
    watches: tuple[Kind, ...] = (SERVICES, PODS, ENDPOINTSLICES, ENDPOINTS)

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:
        """The Service itself, those that select a pod (or did: their slices name it), or a slice's Service."""
        if kind in {SERVICES, ENDPOINTS}:
            return [key_of(obj)]
        namespace = obj["metadata"]["namespace"]
        if kind == ENDPOINTSLICES:
            return [(namespace, (obj["metadata"].get("labels") or {}).get(SERVICE_NAME, ""))]
        services = world.of(SERVICES).within(namespace)
        holding = {
            (namespace, piece["metadata"]["labels"][SERVICE_NAME])
            for piece in world.of(ENDPOINTSLICES).within(namespace)
            if _is_ours(piece) and any(_names(entry, obj) for entry in piece.get("endpoints") or ())
        }
        return holding | {key_of(service) for service in services if _selects(service, obj)}

    def plan(self, key: Key, world: World) -> Plan:
        """Make slices and Endpoints say what the pods are."""
        service = world.of(SERVICES).get(key)
        pieces = [
            piece for piece in world.of(ENDPOINTSLICES).within(key[0]) if _is_ours(piece) and _belongs(piece, key)
        ]
        if service is None or not service["spec"].get("selector"):
            return Plan([Delete(ENDPOINTSLICES, piece) for piece in pieces] if service is None else [])
        if is_going(service):
            return Plan()
        pods = [pod for pod in world.of(PODS).within(key[0]) if _selects(service, pod)]
        backends = [backend for pod in pods if (backend := _backend(service, pod))]
        backends.sort(key=lambda backend: str(backend.pod["metadata"]["name"]))
        changes = _slices(service, backends, pieces)
        return Plan([*changes, *_endpoints(service, backends, world.of(ENDPOINTS).get(key))])


def _is_ours(piece: Json) -> bool:
    return (piece["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER


def _belongs(piece: Json, key: Key) -> bool:
    return bool(piece["metadata"]["labels"].get(SERVICE_NAME) == key[1])


def _names(entry: Json, pod: Json) -> bool:
    return bool((entry.get("targetRef") or {}).get("uid") == pod["metadata"]["uid"])


def _selects(service: Json, pod: Json) -> bool:
    selector = service["spec"].get("selector")
    return bool(selector) and selects({"matchLabels": selector}, pod["metadata"].get("labels"))


def _backend(service: Json, pod: Json) -> _Backend | None:
    if is_finished(pod) or not pod.get("status", {}).get("podIP"):
        return None
    serving = is_ready(pod) or bool(service["spec"].get("publishNotReadyAddresses"))
    ports = [_port(port, pod) for port in service["spec"].get("ports") or ()]
    going = is_going(pod)
    return _Backend(
        pod=pod,
        ports=tuple(port for port in ports if port),
        ready=serving and (not going or bool(service["spec"].get("publishNotReadyAddresses"))),
        serving=serving,
        terminating=going,
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


def _slices(service: Json, backends: Sequence[_Backend], pieces: Sequence[Json]) -> list[Change]:
    wanted: dict[Ports, list[Json]] = {}
    for backend in backends:
        wanted.setdefault(backend.ports, []).append(_entry(backend))
    held = {_ports_of(piece): piece for piece in pieces}
    changes: list[Change] = [
        Delete(ENDPOINTSLICES, piece) for piece in pieces if held[_ports_of(piece)] is not piece
    ]
    for ports, piece in held.items():
        entries = wanted.pop(ports, [] if not wanted and len(held) == 1 else None)
        if entries is None:
            changes.append(Delete(ENDPOINTSLICES, piece))
        elif entries != piece.get("endpoints", []):
            changes.append(Put(ENDPOINTSLICES, piece | {"endpoints": entries}))
    changes += [Create(ENDPOINTSLICES, _slice(service, ports, entries)) for ports, entries in wanted.items()]
    return changes


def _slice(service: Json, ports: Ports, entries: Sequence[Json]) -> Json:
    meta = service["metadata"]
    labels = (meta.get("labels") or {}) | {SERVICE_NAME: meta["name"], MANAGED_BY: MANAGER}
    if service["spec"].get("clusterIP") == "None":
        labels |= {"service.kubernetes.io/headless": ""}
    return {
        "metadata": {
            "generateName": f"{meta['name']}-",
            "namespace": meta["namespace"],
            "labels": labels,
            "ownerReferences": [owner_reference(SERVICES, service)],
        },
        "addressType": "IPv4",
        "endpoints": list(entries),
        "ports": [_port_entry(port) for port in ports],
    }


def _port_entry(port: tuple[str, int, str, str]) -> Json:
    name, number, transport, application = port
    entry: Json = {"name": name, "port": number, "protocol": transport}
    return entry | ({"appProtocol": application} if application else {})


def _ports_of(piece: Json) -> Ports:
    return tuple(
        (port.get("name") or "", port["port"], port.get("protocol", "TCP"), port.get("appProtocol") or "")
        for port in piece.get("ports") or ()
    )


def _entry(backend: _Backend) -> Json:
    pod = backend.pod
    entry: Json = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": backend.ready,
            "serving": backend.serving,
            "terminating": backend.terminating,
        },
        "targetRef": _reference(pod),
    }
    if pod["spec"].get("nodeName"):
        entry["nodeName"] = pod["spec"]["nodeName"]
    if pod["spec"].get("hostname") and pod["spec"].get("subdomain"):
        entry["hostname"] = pod["spec"]["hostname"]
    return entry


def _reference(pod: Json) -> Json:
    meta = pod["metadata"]
    return {"kind": "Pod", "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]}


def _endpoints(service: Json, backends: Sequence[_Backend], held: Json | None) -> list[Change]:
    groups: dict[Ports, tuple[list[Json], list[Json]]] = {}
    for backend in backends:
        if backend.terminating and not backend.ready:
            continue  # Endpoints know no terminating pods
        ready, unready = groups.setdefault(backend.ports, ([], []))
        pod = backend.pod
        address: Json = {"ip": pod["status"]["podIP"], "targetRef": _reference(pod)}
        if pod["spec"].get("nodeName"):
            address["nodeName"] = pod["spec"]["nodeName"]
        if pod["spec"].get("hostname") and pod["spec"].get("subdomain"):
            address["hostname"] = pod["spec"]["hostname"]
        (ready if backend.ready else unready).append(address)
    subsets = [
        {key: value for key, value in (("addresses", ready), ("notReadyAddresses", unready)) if value}
        | {"ports": [_port_entry(port) for port in ports]}
        for ports, (ready, unready) in groups.items()
    ]
    if held is None:
        meta = service["metadata"]
        metadata = {"name": meta["name"], "namespace": meta["namespace"], "labels": meta.get("labels") or {}}
        return [Create(ENDPOINTS, {"metadata": metadata, "subsets": subsets})]
    if (held.get("subsets") or []) != subsets:
        return [Put(ENDPOINTS, held | {"subsets": subsets})]
    return []
