"""One request, as admission sees it."""

from dataclasses import dataclass, field
from typing import Any

from weft.cluster.apiserver.cluster import Call, Obj, Operation


@dataclass(slots=True)
class Attributes:
    """`obj` is what would be stored (None on delete), `old` what is there; mutating admission replaces `obj`."""

    call: Call
    operation: Operation
    obj: Obj | None
    old: Obj | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The object's name, where it is known already."""
        given = (self.obj or self.old or {}).get("metadata", {}).get("name", "")
        return self.call.name or str(given)
