"""One request, as admission sees it."""

from dataclasses import dataclass, field
from typing import Any

from weft.cluster.apiserver.cluster import Call, Obj, Operation
from weft.cluster.apiserver.kinds import Kind


@dataclass(slots=True)
class Attributes:
    """`obj` is what would be stored (None on delete), `old` what is there; mutating admission replaces `obj`."""

    call: Call
    operation: Operation
    obj: Obj | None
    old: Obj | None = None
    options: dict[str, Any] = field(default_factory=dict)
    views: dict[str, tuple[Obj | None, Obj | None]] = field(default_factory=dict)
    """`obj` and `old` in other versions, by apiVersion, where a webhook has converted them."""

    def shown(self, kind: Kind) -> tuple[str, Obj | None, Obj | None]:
        """The kind's name, the object and the old one, in the version that a webhook asks for."""
        if self.operation == "CONNECT" and self.obj is not None:
            return str(self.obj["kind"]), self.obj, None  # the options of the connection
        if kind.api_version in self.views:
            return kind.kind, *self.views[kind.api_version]
        return kind.kind, _as(kind, self.obj), _as(kind, self.old)

    @property
    def name(self) -> str:
        """The object's name, where it is known already."""
        given = (self.obj or self.old or {}).get("metadata", {}).get("name", "")
        return self.call.name or str(given)


def _as(kind: Kind, obj: Obj | None) -> Obj | None:
    return None if obj is None else {**obj, "apiVersion": kind.api_version}
