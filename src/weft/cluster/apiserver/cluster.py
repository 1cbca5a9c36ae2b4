"""What every part of the server shares: the store, the kinds, the addresses, time and chance; and one request."""

from dataclasses import dataclass, field
from typing import Any, Literal

from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.scheme import Scheme, resource_of
from weft.cluster.apiserver.serviceips import ServiceAddresses
from weft.cluster.apiserver.store import Key, Row, Store
from weft.cluster.apiserver.users import User
from weft.cluster.apiserver.world import World

Obj = dict[str, Any]
Validation = Literal["Strict", "Warn", "Ignore"]
Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


@dataclass(frozen=True, slots=True)
class Cluster:
    """The state of one API server."""

    store: Store
    scheme: Scheme
    addresses: ServiceAddresses
    world: World

    def row(self, kind: Kind, namespace: str, name: str) -> Row | None:
        """The stored object of a kind, if it is there."""
        return self.store.get(Key(resource_of(kind), namespace, name))

    def core(self, plural: str, namespace: str, name: str) -> Obj | None:
        """An object of the core group, decoded."""
        row = self.store.get(Key(f"/{plural}", namespace, name))
        return row.decode() if row else None


@dataclass(slots=True)
class Call:
    """One request for an object or a collection. `warnings` gather what the answer's Warning headers say."""

    kind: Kind
    namespace: str
    name: str
    user: User
    subresource: str = ""
    dry_run: bool = False
    manager: str = ""
    validation: Validation = "Warn"
    force: bool = False
    warnings: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    """The fields that the body has twice, of which the last counts."""
    patch: str = ""
    """The patch, as refusals show it; empty where the request is none."""

    def key(self) -> Key:
        """What the object is stored under."""
        return Key(resource_of(self.kind), self.namespace, self.name)
