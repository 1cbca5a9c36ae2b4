"""Slices for Endpoints that people write themselves, for a Service without a selector."""

from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import ENDPOINTS, ENDPOINTSLICES, SERVICES, Kind
from weft.cluster.controllers import slices
from weft.cluster.controllers.backends import Ports, ports_of
from weft.cluster.controllers.changes import Change, Delete, Plan
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import Key, is_going, key_of
from weft.cluster.controllers.slices import SERVICE_NAME, is_managed_by

MANAGER = "endpointslicemirroring-controller.k8s.io"
_SKIP = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_NOT_COPIED = {"kubectl.kubernetes.io/last-applied-configuration", slices.TRIGGERED}


class Mirroring(Controller):
    """Keeps slices in step with hand-made Endpoints."""

    name = "endpointslice-mirroring-controller"
    watches: tuple[Kind, ...] = (SERVICES, ENDPOINTS, ENDPOINTSLICES)

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:  # noqa: ARG002, the names are in the object
        """The Service's name, which is that of its Endpoints too."""
        if kind == ENDPOINTSLICES:
            name = (obj["metadata"].get("labels") or {}).get(SERVICE_NAME)
            return [(obj["metadata"]["namespace"], name)] if name and is_managed_by(obj, MANAGER) else []
        return [key_of(obj)]

    def plan(self, key: Key, world: World) -> Plan:
        """Mirror, or take the mirror away."""
        service, endpoints = world.of(SERVICES).get(key), world.of(ENDPOINTS).get(key)
        pieces = [
            piece
            for piece in world.of(ENDPOINTSLICES).within(key[0])
            if is_managed_by(piece, MANAGER) and piece["metadata"]["labels"].get(SERVICE_NAME) == key[1]
        ]
        if service is None or endpoints is None or not _is_mirrored(service, endpoints):
            return Plan([Delete(ENDPOINTSLICES, piece) for piece in pieces])
        meta = endpoints["metadata"]
        given = meta.get("annotations") or {}
        annotations = {name: value for name, value in given.items() if name not in _NOT_COPIED}
        labels = {name: value for name, value in (meta.get("labels") or {}).items() if name != slices.HEADLESS}
        maker = slices.Maker(ENDPOINTS, endpoints, MANAGER, labels, annotations)
        changes: list[Change] = []
        for family in ("IPv4", "IPv6"):
            held = [piece for piece in pieces if piece["addressType"] == family]
            wanted = _wanted(endpoints, family)
            if wanted:
                changes += slices.reconcile(maker, wanted, held, family)
            else:
                changes += [Delete(ENDPOINTSLICES, piece) for piece in held]
        return Plan(changes)


def _is_mirrored(service: Json, endpoints: Json) -> bool:
    meta = endpoints["metadata"]
    return (
        not service["spec"].get("selector")
        and not is_going(service)
        and not is_going(endpoints)
        and (meta.get("labels") or {}).get(_SKIP) != "true"
        and _LEADER not in (meta.get("annotations") or {})
    )


def _wanted(endpoints: Json, family: str) -> dict[Ports, list[Json]]:
    groups: dict[Ports, list[Json]] = {}
    for subset in endpoints.get("subsets") or ():
        for name, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(name) or ():
                if ("IPv6" if isinstance(ip_address(address["ip"]), IPv6Address) else "IPv4") == family:
                    groups.setdefault(ports_of(subset), []).append(_entry(address, ready=ready))
    return groups


def _entry(address: Json, *, ready: bool) -> Json:
    entry: Json = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    entry |= {name: address[name] for name in ("hostname", "nodeName", "targetRef") if address.get(name)}
    return entry
