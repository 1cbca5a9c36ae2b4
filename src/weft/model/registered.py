"""One service of the registry with its endpoints, and those that share its name."""

from dataclasses import dataclass

from weft.model.clients import is_visible
from weft.model.imports import Imports
from weft.model.kubernetes import Listing
from weft.model.services import Endpoint, Service

Key = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A ServiceEntry of `namespace` of which `field` has no effect, why, and the way out."""

    namespace: str
    name: str
    field: str
    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class Registered:
    """A service with its endpoints, one tuple for each port in order.

    `others` are further services of the same name, one of each namespace, in order of precedence; `left_out` are
    the entries that none of them is made of.
    """

    listing: Listing
    endpoints: tuple[tuple[Endpoint, ...], ...]
    others: tuple["Registered", ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def service(self) -> Service:
        """The service itself."""
        return self.listing.service

    @property
    def all(self) -> tuple["Registered", ...]:
        """All services of this name."""
        return (self, *self.others)

    def seen_from(self, namespace: str, imports: Imports | None = None) -> "Registered | None":
        """The one of this name that clients in a namespace mean: Kubernetes', else their own, else the oldest.

        `imports` is what they see at all, None for everything.
        """
        if not self.others:
            return self if _is_seen(self, namespace, imports) else None
        visible = [each for each in self.all if _is_seen(each, namespace, imports)]
        kubernetes = (each for each in visible if each.service.kubernetes)
        own = (each for each in visible if each.service.namespace == namespace)
        return next(iter((*kubernetes, *own, *visible)), None)


def _is_seen(each: Registered, namespace: str, imports: Imports | None) -> bool:
    if not is_visible(each.listing.export_to, namespace):
        return False
    if imports is None:
        return True
    service = each.service
    has_port = not imports.port or any(port.number == imports.port for port in service.ports)
    return has_port and imports.service(service.hostname, service.namespace)
