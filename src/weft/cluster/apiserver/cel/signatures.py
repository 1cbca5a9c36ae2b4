"""How the functions are described that Kubernetes adds to CEL.

The engine carries no values of foreign types, so that a quantity or an address is a map with one entry at run
time: its type and what it holds. The checker knows them by their own types.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

QUANTITY, SEMVER, IP, CIDR = "kubernetes.Quantity", "kubernetes.Semver", "net.IP", "net.CIDR"
URL, FORMAT = "kubernetes.URL", "kubernetes.NamedFormat"
PATH_CHECK, GROUP_CHECK = "kubernetes.authorization.PathCheck", "kubernetes.authorization.GroupCheck"
RESOURCE_CHECK, DECISION = "kubernetes.authorization.ResourceCheck", "kubernetes.authorization.Decision"
AUTHORIZER = "kubernetes.authorization.Authorizer"
OPAQUE = frozenset(
    {QUANTITY, SEMVER, IP, CIDR, URL, FORMAT, PATH_CHECK, GROUP_CHECK, RESOURCE_CHECK, DECISION, AUTHORIZER}
)
Box = dict[str, Any]
"""A value of a foreign type: `{type: content}`."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One overload: `parameters` and `result` are names of types, the receiver first where it is a `member`."""

    name: str
    parameters: tuple[str, ...]
    result: str
    work: Callable[..., Any]
    member: bool = False


def function(name: str, parameters: str, result: str, work: Callable[..., Any]) -> Signature:
    """`name(a, b)`; `parameters` are parted by spaces."""
    return Signature(name, tuple(parameters.split()), result, work)


def method(name: str, parameters: str, result: str, work: Callable[..., Any]) -> Signature:
    """`receiver.name(b)`."""
    return Signature(name, tuple(parameters.split()), result, work, member=True)


def box(kind: str, content: Any) -> Box:
    """A value of a foreign type."""
    return {kind: content}


def content(value: Box) -> Any:
    """What a box holds."""
    return next((held for kind, held in value.items() if kind in OPAQUE), None)
