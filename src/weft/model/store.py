"""The mesh's objects as they come in, and the snapshots made of them.

The order in which objects arrive does not matter, and an object that arrives twice changes nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from weft.api import codes, kubernetes, mesh_config_decode
from weft.api.decode import KUBERNETES, check, decode, place
from weft.api.report import Report
from weft.api.resources import RESOURCES
from weft.api.service_entry import ServiceEntry
from weft.base.problem import Problem
from weft.model.ingresses import NOTHING, Ingresses
from weft.model.mesh_config import DEFAULT_MESH, MeshConfig
from weft.model.mesh_settings import mesh_config
from weft.model.namespaces import Namespaces
from weft.model.peer_authentications import PeerAuthentications, PeerRule
from weft.model.registry import Key, Registered, Registry
from weft.model.request_authentication import KeySource, key_sources
from weft.model.resolution import Directory
from weft.model.rule import Rule
from weft.model.rule_kinds import RULE_KINDS
from weft.model.snapshot import Snapshot
from weft.model.tables import put
from weft.model.view_memo import ViewMemo

MESH: Final = "ConfigMap"
"""The kind that holds the mesh's settings; the only object of it is the ConfigMap `istio`."""
KINDS: Final = (*KUBERNETES, *RESOURCES, MESH)
"""The kinds that the store takes in."""

_PEERS: Final = "PeerAuthentication"
_UNSCOPED: Final = frozenset({"IngressClass", "Namespace", "Node", MESH})
"""Kinds that live in no namespace, or whose objects count wherever they live."""

_REGISTERED: Final[Mapping[str, Callable[[Registry, Key, Any], None]]] = {
    "EndpointSlice": Registry.put_slice,
    "Pod": Registry.put_pod,
    "Node": Registry.put_node,
    "ServiceEntry": Registry.put_service_entry,
    "WorkloadEntry": Registry.put_workload_entry,
}
"""Kinds that only the registry of services needs."""

Object = Mapping[str, Any] | kubernetes.Partial
"""An object as JSON, or already decoded to its partial shape."""


class Store:
    """Takes in objects one by one. Not for several threads."""

    def __init__(self, domain: str = "cluster.local", mesh: MeshConfig = DEFAULT_MESH) -> None:
        self._domain = domain
        self._mesh = mesh
        self._settled = False
        self._namespaces = Namespaces(mesh)
        self.missed = False
        """Whether namespaces count now of which objects were passed over: they are to be given again."""
        self._registry = Registry(domain, mesh.trust_domain)
        self._keys: dict[str, set[Key]] = {kind: set() for kind in KINDS}
        self._rules: dict[str, dict[Key, Rule]] = {kind: {} for kind in RULE_KINDS}
        self._closed: set[tuple[str, Key]] = set()
        """Objects that were never valid, of which something closed is in force."""
        self._reported: dict[tuple[str, Key], tuple[Problem, ...]] = {}
        self._resolved: dict[str, dict[Key, tuple[Rule, Any, Rule]]] = {kind: {} for kind in RULE_KINDS}
        self._ingresses = Ingresses(domain)
        self._derived = NOTHING
        self._changed: set[str] = set()
        self._issuers_keys: Mapping[KeySource, str] = {}
        self._reports_changed = False
        self._memo = ViewMemo()
        self._snapshot = self._first()

    def configure(self, mesh: MeshConfig) -> None:
        """Take in the mesh's settings."""
        if mesh != self._mesh:
            self._mesh = mesh
            self._changed |= set(RULE_KINDS)
            self._registry.configure(mesh.service_export, mesh.trust_domain)
            self._select(more=self._namespaces.configure(mesh))

    @property
    def mesh(self) -> MeshConfig:
        """The mesh's settings in force; the same object as before if they have not changed."""
        return self._mesh

    @property
    def trust_domains(self) -> tuple[str, ...]:
        """Those of identities that are the mesh's own: the one in use first, then its aliases."""
        return (self._mesh.trust_domain, *self._mesh.trust_domain_aliases)

    def apply(self, kind: str, obj: Object) -> None:
        """Take in an object, new or changed. An invalid one is reported; its last valid version goes on.

        `kind` is one of KINDS; any other raises KeyError.
        """
        key = _key(kind, obj)
        if kind not in _UNSCOPED and not self._namespaces.selects(key[0]):
            self.delete(kind, *key)
            return
        self._keys[kind].add(key)
        if kind == MESH and isinstance(obj, Mapping):
            self._settle(key, obj)
            return
        if isinstance(obj, kubernetes.Partial):
            self._put(kind, key, obj)
            return
        shape: type[Any] = KUBERNETES.get(kind) or RESOURCES[kind].shape
        decoded = decode(shape, obj)
        if isinstance(decoded, tuple):
            self._report(kind, key, (*decoded, *self._instead(kind, key, obj, decoded)))
            return
        self._closed.discard((kind, key))
        self._report(kind, key, check(decoded))
        self._put(kind, key, decoded)

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Forget an object; one that is not there is no matter."""
        key = (namespace, name)
        self._keys[kind].discard(key)
        self._closed.discard((kind, key))
        self._report(kind, key, ())
        if kind == MESH:
            self.configure(replace(DEFAULT_MESH, root_namespace=namespace))
            self._settled = False
            return
        self._put(kind, key, None)

    def replace(self, kind: str, objects: Iterable[Object]) -> None:
        """Take in all objects of a kind, as a list gives them; those not among them are forgotten."""
        listed = list(objects)
        for namespace, name in self._keys[kind] - {_key(kind, each) for each in listed}:
            self.delete(kind, namespace, name)
        for each in listed:
            self.apply(kind, each)

    def entries(self) -> tuple[ServiceEntry, ...]:
        """All ServiceEntries that are in force; the same tuple as before if none has changed."""
        return self._registry.entries()

    def snapshot(self) -> Snapshot:
        """The state now; the same snapshot as before if nothing has changed."""
        if _PEERS in self._changed:
            peers = (rule for rule in self._rules[_PEERS].values() if isinstance(rule, PeerRule))
            self._registry.put_peers(PeerAuthentications(peers, self._mesh.root_namespace))
        services, workloads = self._registry.services(), self._registry.workloads()
        last = self._snapshot
        self._derive(services)
        directory = self._directory(services)
        same = directory is last.directory and workloads is last.workloads and self._mesh == last.mesh
        if same and not self._reports_changed:
            return last
        self._snapshot = Snapshot(
            revision=last.revision + 1,
            directory=directory,
            workloads=workloads,
            label_keys=last.label_keys if directory is last.directory else self._label_keys(directory),
            reported=(*(each for found in self._reported.values() for each in found), *self._derived.problems),
            derived=self._derived,
            domain=self._domain,
            mesh=self._mesh,
            memo=self._memo,
        )
        self._reports_changed = False
        return self._snapshot

    def put_keys(self, source: KeySource, keys: str | None) -> None:
        """Take in the keys of an issuer of tokens, a JWKS; None forgets them."""
        known = dict(self._issuers_keys)
        if put(known, source, keys):
            self._issuers_keys = known

    def key_sources(self) -> Mapping[KeySource, timedelta]:
        """Whom to ask for keys of issuers, and for how long at most."""
        return key_sources(self._rules["RequestAuthentication"].values())

    def ingress_statuses(self) -> tuple[tuple[Key, kubernetes.LoadBalancer], ...]:
        """The Ingresses whose status does not say yet where they are served, and what it is to say."""
        return tuple(self._ingresses.statuses(self._mesh))

    def _derive(self, services: Mapping[str, Registered]) -> None:
        """Put the rules that Ingresses amount to among the others."""
        before, self._derived = self._derived, self._ingresses.derive(self._mesh, services)
        if before is self._derived:
            return
        self._reports_changed = True
        for kind, *key in before.rules.keys() - self._derived.rules.keys():
            self._put_rule(kind, (key[0], key[1]), None)
        for (kind, namespace, name), rule in self._derived.rules.items():
            self._put_rule(kind, (namespace, name), rule)

    def _directory(self, services: Mapping[str, Registered]) -> Directory:
        """All that names mean now; each part is the one of the last directory if it has not changed."""
        last = self._snapshot.directory
        keys = self._issuers_keys
        same = services is last.services and self._mesh is last.mesh and keys is last.issuers_keys
        same = same and self._namespaces.names == last.namespaces
        if same and not self._changed:
            return last
        collected = {
            rules.field: rules.collect(self._exported(kind), self._mesh)
            for kind, rules in RULE_KINDS.items()
            if kind in self._changed
        }
        self._changed.clear()
        return replace(
            last,
            services=services,
            mesh=self._mesh,
            issuers_keys=keys,
            namespaces=self._namespaces.names,
            **collected,
        )

    def _exported(self, kind: str) -> Iterator[Rule]:
        """The rules of a kind with the namespaces that they hold in. What is equal stays the same object."""
        known, default = self._resolved[kind], RULE_KINDS[kind].exports
        written = None if default is None else default(self._mesh)
        kept: dict[Key, tuple[Rule, Any, Rule]] = {}
        for key, rule in self._rules[kind].items():
            last = known.get(key)
            if last is None or last[0] is not rule or last[1] != written:
                last = (rule, written, RULE_KINDS[kind].exported(rule, self._mesh))
            kept[key] = last
            yield last[2]
        self._resolved[kind] = kept

    def _first(self) -> Snapshot:
        services, workloads = self._registry.services(), self._registry.workloads()
        nothing: dict[str, Any] = {each.field: each.collect((), self._mesh) for each in RULE_KINDS.values()}
        directory = Directory(services, **nothing, mesh=self._mesh)
        return Snapshot(0, directory, workloads, frozenset(), (), self._domain, self._mesh, self._memo)

    def _label_keys(self, directory: Directory) -> frozenset[str]:
        asked = (key for rules in self._rules.values() for rule in rules.values() for key in rule.client_labels)
        return directory.near_labels.union(asked)

    def _settle(self, key: Key, config_map: Mapping[str, Any]) -> None:
        """Take in the ConfigMap of the mesh's settings; the last good ones stay while it is broken."""
        decoded = mesh_config_decode.decode(config_map, *key)
        written = decoded.mesh if self._settled else decoded.mesh or decoded.salvaged
        told = list(decoded.problems)
        report = Report(place(MESH, config_map))
        if decoded.mesh is None:
            kept = "the last valid settings stay" if self._settled else "the fields that are right are"
            hint = "Mend the fields named here."
            told.append(
                report.warning("", f"these settings are invalid, so {kept} in force.", hint, codes.KEPT_LAST_GOOD)
            )
        if written is not None:
            mesh = mesh_config(written, key[0])
            told.extend(self._forgets(mesh, report))
            self.configure(mesh)
            self._settled = True
        self._report(MESH, key, tuple(told))

    def _forgets(self, mesh: MeshConfig, report: Report) -> Iterator[Problem]:
        """Say so if certificates that workloads have count no longer; they turn over within a day."""
        before = self._mesh.trust_domain
        if before not in (mesh.trust_domain, *mesh.trust_domain_aliases):
            message = f'workloads whose certificates are still of "{before}" are refused.'
            hint = f'Add "{before}" to trustDomainAliases until all certificates are new.'
            yield report.warning("data.mesh.trustDomain", message, hint, codes.DOMAIN_FORGOTTEN)

    def _select(self, *, more: bool) -> None:
        """What namespaces count has changed: forget what no longer does; `more`: some do that did not."""
        self.missed |= more
        if not self._mesh.discovery:
            return
        for kind in set(self._keys) - _UNSCOPED:
            spaces = {namespace for namespace, _ in self._keys[kind]}
            gone = {each for each in spaces if not self._namespaces.selects(each)}
            for namespace, name in [key for key in self._keys[kind] if key[0] in gone]:
                self.delete(kind, namespace, name)

    def _put(self, kind: str, key: Key, value: Any) -> None:
        match kind:
            case "Namespace":
                labels = None if value is None else value.metadata.labels or {}
                self._select(more=self._namespaces.put(key[1], labels))
                self._registry.put_namespace(key, value)
            case "Service":
                self._registry.put_service(key, value)
                self._ingresses.put_service(key, value)
            case "Ingress":
                self._ingresses.put(key, value)
            case "IngressClass":
                self._ingresses.put_class(key[1], value)
            case _ if kind in _REGISTERED:
                _REGISTERED[kind](self._registry, key, value)
            case _ if kind in RULE_KINDS:
                rule = None if value is None else RULE_KINDS[kind].translate(value, self._domain)
                self._put_rule(kind, key, rule)

    def _put_rule(self, kind: str, key: Key, rule: Rule | None) -> None:
        table = self._rules[kind]
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
        return key in self._rules[kind] if kind in self._rules else self._registry.knows(kind, key)

    def _instead(
        self, kind: str, key: Key, obj: Mapping[str, Any], problems: tuple[Problem, ...]
    ) -> tuple[Problem, ...]:
        """Keep what holds in place of an invalid object, if anything, and say what that is."""
        report = Report(place(kind, obj))
        if self._in_force(kind, key) and (kind, key) not in self._closed:
            message = "this version is invalid, so the last valid one stays in force."
            return (report.warning("", message, "Mend the fields named here.", codes.KEPT_LAST_GOOD),)
        close = RULE_KINDS[kind].closed if kind in RULE_KINDS else None
        found = close(obj, problems) if close else None
        if (kind, key) in self._closed and found is None:
            self._closed.discard((kind, key))
            self._put_rule(kind, key, None)
        if found is None:
            return ()
        rule, effect = found
        self._closed.add((kind, key))
        self._put_rule(kind, key, rule)
        message = f"this policy is invalid, and until it is mended it {effect}."
        return (report.warning("", message, "Mend the fields named here, or delete it.", codes.CLOSED),)


def _key(kind: str, obj: Object) -> Key:
    if isinstance(obj, Mapping):
        at = place(kind, obj)
        return at.namespace, at.name
    meta: kubernetes.ObjectMeta = getattr(obj, "metadata", kubernetes.ObjectMeta())
    return meta.namespace, meta.name
