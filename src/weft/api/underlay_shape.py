"""What Spiderpool's kinds share: metadata, routes, selectors, and fields of older releases.

Fields that are not known are skipped while decoding: the API server has checked objects against the definitions.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, field

GROUP: Final = "spiderpool.spidernet.io"
VERSION: Final = "v2beta1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

FINALIZER: Final = GROUP
"""The finalizer of pools and subnets: they stay until nobody has an address of theirs."""

PAST: Final = "past"
"""Key in a field's extra metadata: what an older release's field was replaced by."""


def past(instead: str) -> Meta:
    """Mark a field that only older releases acted on; `instead` tells what serves now."""
    return Meta(description=f"Of an older release, without effect. {instead}", extra={PAST: instead})


IPVersion = Literal[4, 6]
VlanID = Annotated[int, Meta(ge=0, le=4094)]
Natural = Annotated[int, Meta(ge=0)]
Cidrs = tuple[str, ...]


class Part(Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of an object, as users write it."""


class OwnerReference(Part, frozen=True, kw_only=True):
    """Whom an object belongs to."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Part, frozen=True, kw_only=True):
    """Metadata of an object."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: tuple[str, ...] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None


class Route(Part, frozen=True, kw_only=True):
    """A route that pods get with an address."""

    dst: Annotated[str, Meta(description="The range of addresses that it leads to.")]
    gw: Annotated[str, Meta(description="The gateway, an address of the subnet.")]


class Requirement(Part, frozen=True, kw_only=True):
    """One condition on labels."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] | None = None


class LabelSelector(Part, frozen=True, kw_only=True):
    """Objects by their labels; all conditions hold at once."""

    match_labels: dict[str, str] | None = None
    match_expressions: tuple[Requirement, ...] | None = None

    def __bool__(self) -> bool:
        return bool(self.match_labels or self.match_expressions)


class Object(Part, frozen=True, kw_only=True):
    """A whole object; its kind is the name of its class."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)


Json = dict[str, Any]
