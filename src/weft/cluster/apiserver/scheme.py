"""Which kinds the server serves now: the built-in ones and those that CustomResourceDefinitions add."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from weft.cluster.apiserver.catalog import BUILT_IN
from weft.cluster.apiserver.cel.engine import Engine
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.schemas import Schema, Schemas


@dataclass(frozen=True, slots=True)
class CustomVersion:
    """One served version of a custom kind. `schema` is its structural schema; `columns` as the CRD writes them."""

    kind: Kind
    crd: str
    storage_version: str
    schema: Schema
    columns: tuple[dict[str, Any], ...]
    subresources: dict[str, Any]
    selectable: tuple[str, ...] = ()
    ruled: bool = False
    """Whether the schema has CEL rules."""
    conversion: dict[str, Any] = field(default_factory=dict)
    list_kind: str = ""
    deprecation: str = ""
    """What every request in this version is warned of."""
    ending: bool = False
    """Whether the definition is being deleted."""


@dataclass(slots=True)
class Scheme:
    """The registry of kinds. Only `set_custom` and `remove_custom` change it."""

    schemas: Schemas
    cel: Engine = field(default_factory=Engine)
    clock: Callable[[], float] = lambda: 0.0
    """Counts the processor seconds that CEL rules take; without one, they have no limit in time."""
    _built_in: dict[tuple[str, str, str], Kind] = field(
        default_factory=lambda: {(kind.group, kind.version, kind.plural): kind for kind in BUILT_IN}
    )
    _custom: dict[tuple[str, str, str], CustomVersion] = field(default_factory=dict)

    def kinds(self) -> tuple[Kind, ...]:
        """All kinds, built-in ones first."""
        return (*self._built_in.values(), *(custom.kind for custom in self._custom.values()))

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind of a path's resource."""
        key = (group, version, plural)
        if kind := self._built_in.get(key):
            return kind
        custom = self._custom.get(key)
        return custom.kind if custom else None

    def by_kind(self, group: str, kind: str) -> Kind | None:
        """Any served version of a kind, found by group and kind name."""
        return next((known for known in self.kinds() if (known.group, known.kind) == (group, kind)), None)

    def custom(self, kind: Kind) -> CustomVersion | None:
        """What the definition of a custom kind says; None for a built-in kind."""
        return self._custom.get((kind.group, kind.version, kind.plural))

    def customs(self) -> tuple[CustomVersion, ...]:
        """Every served version of every custom kind."""
        return tuple(self._custom.values())

    def set_custom(self, crd: str, versions: list[CustomVersion]) -> None:
        """Serve these versions for the definition named `crd`, and no others of it."""
        self.remove_custom(crd)
        for version in versions:
            self._custom[version.kind.group, version.kind.version, version.kind.plural] = version

    def remove_custom(self, crd: str) -> None:
        """Stop serving the kinds of a definition."""
        self._custom = {key: custom for key, custom in self._custom.items() if custom.crd != crd}


def resource_of(kind: Kind) -> str:
    """What objects of a kind are stored under; the two Event kinds share one place, as in Kubernetes."""
    if kind.group == "events.k8s.io":
        return "/events"
    return f"{kind.group}/{kind.plural}"


def storage_api_version(kind: Kind, scheme: Scheme) -> str:
    """The `apiVersion` that stored objects of a kind carry."""
    if kind.group == "events.k8s.io":
        return "v1"
    if kind.group == "autoscaling":
        return "autoscaling/v2"
    custom = scheme.custom(kind)
    return f"{kind.group}/{custom.storage_version}" if custom else kind.api_version
