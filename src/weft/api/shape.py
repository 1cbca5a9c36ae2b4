"""What all resource shapes share: strict structs, common field types, and the mark of fields without effect."""

from typing import Annotated, Final

import msgspec

ACTED_ON: Final = "acted_on"
"""Key in a field's extra metadata; False means that the mesh knows the field but does nothing about it yet."""

NUMBER_HINT: Final = "number_hint"
"""Key in a field's extra metadata: the way out for those who write a number there."""

NOT_YET = msgspec.Meta(description="Known, but not acted on yet.", extra={ACTED_ON: False})
"""Mark of such a field. It is accepted, and reported wherever someone sets it."""

INSTEAD: Final = "instead"
"""Key in the extra metadata of a field that will stay without effect: the way out."""


def not_in_istio(instead: str) -> msgspec.Meta:
    """Mark a field that Istio's API has and Istio does not implement; `instead` is what to write."""
    return msgspec.Meta(
        description="Without effect, as in Istio, which does not implement it.",
        extra={ACTED_ON: False, INSTEAD: instead},
    )


Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Status = Annotated[int, msgspec.Meta(ge=200, le=599, description="An HTTP status, 200 to 599.")]
Share = Annotated[float, msgspec.Meta(ge=0, le=100, description="A percentage, 0 to 100, fractions allowed.")]
UInt = Annotated[int, msgspec.Meta(ge=0)]
Duration = Annotated[
    str,
    msgspec.Meta(
        description="A duration such as 1h, 1m, 1s or 250ms; at least 1ms.",
        extra={NUMBER_HINT: "Write it with a unit: {}s."},
    ),
]
Host = Annotated[
    str, msgspec.Meta(description="A host name. One without dots is a service in the namespace of this rule.")
]
ExportTo = Annotated[
    tuple[str, ...],
    msgspec.Meta(description='Namespaces where this is in force: "*" (the default) is all, "." its own.'),
]


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A part of a resource exactly as users write it: camelCase, no unknown fields."""


class Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The few metadata fields that rules are told apart and ordered by."""

    name: str = ""
    namespace: str = ""
    creation_timestamp: str | None = None


class Resource(Shape, frozen=True):
    """A whole object; its kind is the name of its class. Each one has a `spec` besides."""

    api_version: str = ""
    kind: str = ""
    metadata: Metadata = Metadata()


class PortSelector(Shape, frozen=True):
    """A port by its number."""

    number: Annotated[Port, msgspec.Meta(description="The port's number, 1 to 65535.")]


class Percent(Shape, frozen=True):
    """A percentage with fractions."""

    value: Share = 0.0


class WorkloadSelector(Shape, frozen=True):
    """Workloads by their labels."""

    match_labels: dict[str, str] = msgspec.field(default_factory=dict)
