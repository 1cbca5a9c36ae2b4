"""Endpoints and EndpointSlices: which pods answer for a Service."""

from collections.abc import Iterable, Iterator, Sequence

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import ENDPOINTS, ENDPOINTSLICES, NODES, PODS, SERVICES, Kind
from weft.cluster.controllers import slices
from weft.cluster.controllers.backends import Backend, Ports, backends, port_entry, reference, selected
from weft.cluster.controllers.changes import Change, Create, Delete, Plan, Put
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import Key, condition, is_going, key_of
from weft.cluster.controllers.slices import HEADLESS, MANAGED_BY, SERVICE_NAME, TRIGGERED, is_managed_by

MANAGER = "endpointslice-controller.k8s.io"
_ENDPOINTS_MANAGER = "endpoint-controller"
_TRUNCATED = "endpoints.kubernetes.io/over-capacity"
_ZONE = "topology.kubernetes.io/zone"
_MOST = 1000  # addresses in one Endpoints


class EndpointsController(Controller):
    """Writes both forms: EndpointSlices for programs of today, Endpoints for kubectl and older ones."""

    name = "endpoints-controller"
    watches: tuple[Kind, ...] = (SERVICES, PODS, ENDPOINTSLICES, ENDPOINTS, NODES)

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:
        """The Service itself, those that select a pod (or did: their slices name it), or a slice's Service.

        A node concerns those that have an endpoint on it which tells another zone.
        """
        if kind == NODES:
            return {key for piece in world.of(ENDPOINTSLICES) for key in _of_zone(piece, obj)}
        if kind in {SERVICES, ENDPOINTS}:
            return [key_of(obj)]
        namespace = obj["metadata"]["namespace"]
        if kind == ENDPOINTSLICES:
            return [(namespace, (obj["metadata"].get("labels") or {}).get(SERVICE_NAME, ""))]
        services = world.of(SERVICES).within(namespace)
        holding = {
            (namespace, piece["metadata"]["labels"][SERVICE_NAME])
            for piece in world.of(ENDPOINTSLICES).within(namespace)
            if is_managed_by(piece, MANAGER) and any(_names(entry, obj) for entry in piece.get("endpoints") or ())
        }
        return holding | {key_of(service) for service in services if selected(service, obj)}

    def plan(self, key: Key, world: World) -> Plan:
        """Make slices and Endpoints say what the pods are."""
        service = world.of(SERVICES).get(key)
        pieces = [
            piece
            for piece in world.of(ENDPOINTSLICES).within(key[0])
            if is_managed_by(piece, MANAGER) and piece["metadata"]["labels"].get(SERVICE_NAME) == key[1]
        ]
        held = world.of(ENDPOINTS).get(key)
        if service is None:
            ours = held is not None and _is_ours(held)
            gone: list[Change] = [Delete(ENDPOINTSLICES, piece) for piece in pieces]
            return Plan([*gone, Delete(ENDPOINTS, held)] if held and ours else gone)
        if (
            not service["spec"].get("selector")
            or service["spec"].get("type") == "ExternalName"
            or is_going(service)
        ):
            return Plan()
        found = backends(service, world.of(PODS).within(key[0]))
        wanted: dict[Ports, list[Json]] = {}
        distribution = service["spec"].get("trafficDistribution") or ""
        for backend in found:
            zone = _zone(backend.pod, world)
            wanted.setdefault(backend.ports, []).append(slices.entry(backend, zone, distribution))
        meta = service["metadata"]
        when = _triggered(service, found)
        headless = {HEADLESS: ""} if service["spec"].get("clusterIP") == "None" else {}
        labels = (meta.get("labels") or {}) | headless
        maker = slices.Maker(SERVICES, service, MANAGER, labels, {TRIGGERED: when})
        changes = slices.reconcile(maker, wanted, pieces)
        return Plan([*changes, *_endpoints(service, found, held, labels | {MANAGED_BY: _ENDPOINTS_MANAGER}, when)])


def _zone(pod: Json, world: World) -> str:
    node = world.of(NODES).get(("", pod["spec"].get("nodeName") or "")) or {"metadata": {}}
    return str((node["metadata"].get("labels") or {}).get(_ZONE, ""))


def _is_ours(endpoints: Json) -> bool:
    return (endpoints["metadata"].get("labels") or {}).get(MANAGED_BY) == _ENDPOINTS_MANAGER


def _of_zone(piece: Json, node: Json) -> Iterator[Key]:
    """The Service of a slice that names another zone for this node than the node itself does."""
    zone = (node["metadata"].get("labels") or {}).get(_ZONE, "")
    here = (one for one in piece.get("endpoints") or () if one.get("nodeName") == node["metadata"]["name"])
    if is_managed_by(piece, MANAGER) and any(one.get("zone", "") != zone for one in here):
        yield piece["metadata"]["namespace"], piece["metadata"]["labels"].get(SERVICE_NAME, "")


def _names(entry: Json, pod: Json) -> bool:
    return bool((entry.get("targetRef") or {}).get("uid") == pod["metadata"]["uid"])


def _triggered(service: Json, found: Sequence[Backend]) -> str:
    """When the last change came about that these endpoints tell: a pod's readiness, or the Service itself."""
    moments = [str(condition(backend.pod, "Ready").get("lastTransitionTime") or "") for backend in found]
    return max([str(service["metadata"].get("creationTimestamp") or ""), *moments])


def _endpoints(
    service: Json, found: Sequence[Backend], held: Json | None, labels: dict[str, str], when: str
) -> list[Change]:
    groups: dict[Ports, tuple[list[Json], list[Json]]] = {}
    shown = [backend for backend in found if backend.ready or not backend.terminating]  # they know no terminating
    shown.sort(key=lambda backend: not backend.ready)
    for backend in shown[:_MOST]:
        ready, unready = groups.setdefault(backend.ports, ([], []))
        pod = backend.pod
        address: Json = {"ip": backend.address, "targetRef": reference(pod)}
        if pod["spec"].get("nodeName"):
            address["nodeName"] = pod["spec"]["nodeName"]
        if backend.hostname:
            address["hostname"] = backend.hostname
        (ready if backend.ready else unready).append(address)
    subsets = [
        {key: value for key, value in (("addresses", ready), ("notReadyAddresses", unready)) if value}
        | {"ports": [port_entry(port) for port in ports]}
        for ports, (ready, unready) in groups.items()
    ]
    annotations = {TRIGGERED: when} | ({_TRUNCATED: "truncated"} if len(shown) > _MOST else {})
    if held is None:
        meta = service["metadata"]
        metadata = {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": labels,
            "annotations": annotations,
        }
        return [Create(ENDPOINTS, {"metadata": metadata, "subsets": subsets})]
    before = held["metadata"].get("annotations") or {}
    truncated = before.get(_TRUNCATED) == annotations.get(_TRUNCATED)
    if (held.get("subsets") or []) == subsets and (held["metadata"].get("labels") or {}) == labels and truncated:
        return []
    kept = {key: value for key, value in before.items() if key != _TRUNCATED}
    return [
        Put(
            ENDPOINTS,
            held
            | {
                "metadata": held["metadata"] | {"labels": labels, "annotations": kept | annotations},
                "subsets": subsets,
            },
        )
    ]
