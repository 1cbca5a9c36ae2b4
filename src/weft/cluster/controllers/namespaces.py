"""Namespaces: what every one of them holds from its start."""

from collections.abc import Iterable

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import CONFIGMAPS, NAMESPACES, SERVICEACCOUNTS, Kind
from weft.cluster.controllers.changes import Change, Create, Patch, Plan
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import Key, is_going

_ROOT_CA = "kube-root-ca.crt"


class Namespaces(Controller):
    """Gives each namespace its default ServiceAccount and the cluster's root certificate."""

    name = "namespace-controller"
    watches: tuple[Kind, ...] = (NAMESPACES, SERVICEACCOUNTS, CONFIGMAPS)

    def __init__(self, root_ca: str) -> None:
        self._root_ca = root_ca

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:  # noqa: ARG002, the key is in the object
        """The namespace, or that of an object which every namespace must hold."""
        meta = obj["metadata"]
        if kind == NAMESPACES:
            return [("", meta["name"])]
        needed = (kind, meta["name"]) in {(SERVICEACCOUNTS, "default"), (CONFIGMAPS, _ROOT_CA)}
        return [("", meta["namespace"])] if needed else []

    def plan(self, key: Key, world: World) -> Plan:
        """Create what is missing; restore a root certificate that somebody changed."""
        namespace = world.of(NAMESPACES).get(key)
        if namespace is None or is_going(namespace):
            return Plan()
        name, changes = key[1], list[Change]()
        if world.of(SERVICEACCOUNTS).get((name, "default")) is None:
            changes.append(Create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": name}}))
        data = {"ca.crt": self._root_ca}
        held = world.of(CONFIGMAPS).get((name, _ROOT_CA))
        if held is None:
            changes.append(Create(CONFIGMAPS, {"metadata": {"name": _ROOT_CA, "namespace": name}, "data": data}))
        elif held.get("data") != data:
            changes.append(Patch(CONFIGMAPS, held, {"data": data}))
        return Plan(changes)
