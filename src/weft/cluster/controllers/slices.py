"""EndpointSlices: a Service's endpoints in pieces of a hundred, changed as little as can be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import ENDPOINTSLICES, Kind
from weft.cluster.controllers.backends import Backend, Ports, port_entry, ports_of, reference
from weft.cluster.controllers.changes import Change, Create, Delete, Put
from weft.cluster.controllers.objects import owner_reference

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
TRIGGERED = "endpoints.kubernetes.io/last-change-trigger-time"
HEADLESS = "service.kubernetes.io/headless"
_SAME_NODE = "PreferSameNode"
_ZONAL = {"PreferClose", "PreferSameZone", _SAME_NODE}
_MOST = 100


@dataclass(frozen=True, slots=True)
class Maker:
    """Whose slices these are: the object they follow, their manager, and what they carry."""

    kind: Kind
    owner: Json
    manager: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    def slice(self, family: str, ports: Ports, entries: Sequence[Json]) -> Json:
        """A new slice."""
        meta = self.owner["metadata"]
        return {
            "metadata": {
                "generateName": f"{meta['name']}-",
                "namespace": meta["namespace"],
                "labels": self.wanted_labels(),
                "annotations": dict(self.annotations),
                "ownerReferences": [owner_reference(self.kind, self.owner)],
            },
            "addressType": family,
            "endpoints": list(entries),
            "ports": [port_entry(port) for port in ports],
        }

    def wanted_labels(self) -> dict[str, str]:
        """The labels that every slice has."""
        return {**self.labels, SERVICE_NAME: self.owner["metadata"]["name"], MANAGED_BY: self.manager}


def is_managed_by(piece: Json, manager: str) -> bool:
    """Whether a slice is that manager's."""
    return (piece["metadata"].get("labels") or {}).get(MANAGED_BY) == manager


def entry(backend: Backend, zone: str = "", distribution: str = "") -> Json:
    """A pod as a slice writes it: with its node's zone, and the hints that a `trafficDistribution` asks for."""
    written: Json = {
        "addresses": [backend.address],
        "conditions": {
            "ready": backend.ready,
            "serving": backend.serving,
            "terminating": backend.terminating,
        },
        "targetRef": reference(backend.pod),
    }
    node = backend.pod["spec"].get("nodeName")
    if node:
        written["nodeName"] = node
    if backend.hostname:
        written["hostname"] = backend.hostname
    if zone:
        written["zone"] = zone
    if backend.ready and (hints := _hints(written, distribution)):
        written["hints"] = hints
    return written


def _hints(written: Json, distribution: str) -> Json:
    hints = {}
    if distribution in _ZONAL and written.get("zone"):
        hints["forZones"] = [{"name": written["zone"]}]
    if distribution == _SAME_NODE and written.get("nodeName"):
        hints["forNodes"] = [{"name": written["nodeName"]}]
    return hints


def reconcile(
    maker: Maker, wanted: Mapping[Ports, Sequence[Json]], pieces: Sequence[Json], family: str = "IPv4"
) -> list[Change]:
    """Make the slices hold exactly these entries: each stays where it is, new ones fill the gaps."""
    changes: list[Change] = []
    groups: dict[Ports, list[Json]] = {}
    for piece in pieces:
        groups.setdefault(ports_of(piece), []).append(piece)
    # one slice stays even without endpoints, so that the Service is known to have none
    goals: dict[Ports, Sequence[Json]] = dict(wanted)
    if not goals and len(pieces) == 0:
        goals = {(): []}
    elif not goals:
        goals = {ports_of(pieces[0]): []}
    for ports, held in groups.items():
        if ports not in goals:
            changes += [Delete(ENDPOINTSLICES, piece) for piece in held]
    for ports, entries in goals.items():
        changes += _fill(maker, ports, entries, groups.get(ports, []), family)
    return changes


def _fill(maker: Maker, ports: Ports, entries: Sequence[Json], held: Sequence[Json], family: str) -> list[Change]:
    missing = {_identity(one): one for one in entries}
    contents: list[list[Json]] = []
    for piece in held:
        kept = [missing.pop(mark) for one in piece.get("endpoints") or () if (mark := _identity(one)) in missing]
        contents.append(kept)
    fresh = list(missing.values())
    # the fullest with room first: fewer slices are touched
    for kept in sorted(contents, key=len, reverse=True):
        if fresh and len(kept) < _MOST:
            room = _MOST - len(kept)
            kept.extend(fresh[:room])
            fresh = fresh[room:]
    changes: list[Change] = []
    spare = max(0, len(held) - 1) if not entries else len(held)
    for piece, kept in zip(held, contents, strict=True):
        if not kept and (entries or spare):
            spare -= 1
            changes.append(Delete(ENDPOINTSLICES, piece))
        elif kept != (piece.get("endpoints") or []) or not _labelled(maker, piece):
            changes.append(Put(ENDPOINTSLICES, _rewritten(maker, piece, kept)))
    rows = [fresh[start : start + _MOST] for start in range(0, len(fresh), _MOST)]
    if not rows and not held:
        rows = [[]]
    return changes + [Create(ENDPOINTSLICES, maker.slice(family, ports, row)) for row in rows]


def _identity(one: Json) -> tuple[str, str]:
    return (one.get("targetRef") or {}).get("uid", ""), one["addresses"][0]


def _labelled(maker: Maker, piece: Json) -> bool:
    return bool((piece["metadata"].get("labels") or {}) == maker.wanted_labels())


def _rewritten(maker: Maker, piece: Json, entries: Sequence[Json]) -> Json:
    meta = piece["metadata"]
    annotations = (meta.get("annotations") or {}) | dict(maker.annotations)
    fresh = meta | {"labels": maker.wanted_labels(), "annotations": annotations}
    return piece | {"metadata": fresh, "endpoints": list(entries)}
