"""The mesh's objects as they come in, and the snapshots made of them.

The order in which objects arrive does not matter, and an object that arrives twice changes nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from weft.api import codes, kubernetes
from weft.api.decode import KUBERNETES, RESOURCES, check, decode, place
from weft.api.destination_rule import DestinationRule
from weft.api.report import Report
from weft.api.virtual_service import VirtualService
from weft.base.problem import Problem
from weft.model.destination_rules import DestinationRules, TrafficRule, traffic_rule
from weft.model.registry import Key, Registered, Registry
from weft.model.resolution import Directory
from weft.model.routing_rule import RoutingRule, routing_rule
from weft.model.snapshot import Snapshot
from weft.model.view_memo import ViewMemo
from weft.model.virtual_services import VirtualServices

KINDS: Final = (*KUBERNETES, *RESOURCES)
"""The kinds that the store takes in."""

Object = Mapping[str, Any] | kubernetes.Partial
"""An object as JSON, or already decoded to its partial shape."""


class Store:
    """Takes in objects one by one. Not for several threads."""

    def __init__(
        self,
        domain: str = "cluster.local",
        trust_domain: str = "cluster.local",
        root_namespace: str = "istio-system",
    ) -> None:
        self._domain = domain
        self._trust_domain = trust_domain
        self._root_namespace = root_namespace
        self._registry = Registry(domain, trust_domain)
        self._keys: dict[str, set[Key]] = {kind: set() for kind in KINDS}
        self._routing: dict[Key, RoutingRule] = {}
        self._traffic: dict[Key, TrafficRule] = {}
        self._reported: dict[tuple[str, Key], tuple[Problem, ...]] = {}
        self._changed: set[str] = set()
        self._reports_changed = False
        self._memo = ViewMemo()
        self._snapshot = self._first()

    def apply(self, kind: str, obj: Object) -> None:
        """Take in an object, new or changed. An invalid one is reported; its last valid version goes on.

        `kind` is one of KINDS; any other raises KeyError.
        """
        key = _key(kind, obj)
        self._keys[kind].add(key)
        if isinstance(obj, kubernetes.Partial):
            self._put(kind, key, obj)
            return
        shape: type[Any] = KUBERNETES.get(kind) or RESOURCES[kind]
        decoded = decode(shape, obj)
        if isinstance(decoded, tuple):
            self._report(kind, key, (*decoded, *self._kept(kind, key, obj)))
            return
        self._report(kind, key, check(decoded))
        self._put(kind, key, decoded)

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Forget an object; one that is not there is no matter."""
        key = (namespace, name)
        self._keys[kind].discard(key)
        self._report(kind, key, ())
        self._put(kind, key, None)

    def replace(self, kind: str, objects: Iterable[Object]) -> None:
        """Take in all objects of a kind, as a list gives them; those not among them are forgotten."""
        listed = list(objects)
        for namespace, name in self._keys[kind] - {_key(kind, each) for each in listed}:
            self.delete(kind, namespace, name)
        for each in listed:
            self.apply(kind, each)

    def snapshot(self) -> Snapshot:
        """The state now; the same snapshot as before if nothing has changed."""
        services, workloads = self._registry.services(), self._registry.workloads()
        last = self._snapshot
        directory = self._directory(services)
        if directory is last.directory and workloads is last.workloads and not self._reports_changed:
            return last
        self._snapshot = Snapshot(
            revision=last.revision + 1,
            directory=directory,
            workloads=workloads,
            label_keys=last.label_keys if directory is last.directory else self._label_keys(),
            reported=tuple(each for found in self._reported.values() for each in found),
            domain=self._domain,
            trust_domain=self._trust_domain,
            memo=self._memo,
        )
        self._reports_changed = False
        return self._snapshot

    def _directory(self, services: Mapping[str, Registered]) -> Directory:
        """All that names mean now; each part is the one of the last directory if it has not changed."""
        last = self._snapshot.directory
        if services is last.services and not self._changed:
            return last
        routing, traffic = last.virtual_services, last.destination_rules
        if "VirtualService" in self._changed:
            routing = VirtualServices(self._routing.values())
        if "DestinationRule" in self._changed:
            traffic = DestinationRules(self._traffic.values(), self._root_namespace)
        self._changed.clear()
        return Directory(services, routing, traffic)

    def _first(self) -> Snapshot:
        services, workloads = self._registry.services(), self._registry.workloads()
        directory = Directory(services, VirtualServices(()), DestinationRules((), self._root_namespace))
        nothing: frozenset[str] = frozenset()
        return Snapshot(0, directory, workloads, nothing, (), self._domain, self._trust_domain, self._memo)

    def _label_keys(self) -> frozenset[str]:
        asked = {key for rule in self._routing.values() for key in rule.label_keys}
        return frozenset(asked | {key for rule in self._traffic.values() for key, _ in rule.selector})

    def _put(self, kind: str, key: Key, value: Any) -> None:
        match kind:
            case "Service":
                self._registry.put_service(key, value)
            case "EndpointSlice":
                self._registry.put_slice(key, value)
            case "Pod":
                self._registry.put_pod(key, value)
            case "VirtualService":
                self._put_rule(kind, self._routing, key, _routing_rule(value, self._domain))
            case "DestinationRule":
                self._put_rule(kind, self._traffic, key, _traffic_rule(value, self._domain))

    def _put_rule(
        self, kind: str, table: dict[Key, Any], key: Key, rule: RoutingRule | TrafficRule | None
    ) -> None:
        if table.get(key) == rule:
            return
        self._changed.add(kind)
        if rule is None:
            del table[key]
        else:
            table[key] = rule

    def _report(self, kind: str, key: Key, problems: tuple[Problem, ...]) -> None:
        if self._reported.get((kind, key), ()) == problems:
            return
        self._reports_changed = True
        if problems:
            self._reported[kind, key] = problems
        else:
            del self._reported[kind, key]

    def _in_force(self, kind: str, key: Key) -> bool:
        match kind:
            case "VirtualService":
                return key in self._routing
            case "DestinationRule":
                return key in self._traffic
            case _:
                return self._registry.knows(kind, key)

    def _kept(self, kind: str, key: Key, obj: Mapping[str, Any]) -> tuple[Problem, ...]:
        """Say so if an older version goes on."""
        if not self._in_force(kind, key):
            return ()
        message = "this version is invalid, so the last valid one stays in force."
        return (
            Report(place(kind, obj)).warning("", message, "Mend the fields named here.", codes.KEPT_LAST_GOOD),
        )


def _routing_rule(source: VirtualService | None, domain: str) -> RoutingRule | None:
    return None if source is None else routing_rule(source, domain)


def _traffic_rule(source: DestinationRule | None, domain: str) -> TrafficRule | None:
    return None if source is None else traffic_rule(source, domain)


def _key(kind: str, obj: Object) -> Key:
    if isinstance(obj, Mapping):
        at = place(kind, obj)
        return at.namespace, at.name
    meta: kubernetes.ObjectMeta = getattr(obj, "metadata", kubernetes.ObjectMeta())
    return meta.namespace, meta.name
