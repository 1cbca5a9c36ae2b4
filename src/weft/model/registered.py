"""One service of the registry with its endpoints, and those that share its name."""

from dataclasses import dataclass

from weft.model.clients import is_visible
from weft.model.kubernetes import Listing
from weft.model.services import Endpoint, Service

Key = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A ServiceEntry of `namespace` that has no effect for the host in `field`, and why."""

    namespace: str
    name: str
    field: str
    reason: str


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

    def seen_from(self, namespace: str) -> "Registered | None":
        """The one of this name that clients in a namespace mean: Kubernetes', else their own, else the oldest."""
        if not self.others:
            return self if is_visible(self.listing.export_to, namespace) else None
        visible = [each for each in self.all if is_visible(each.listing.export_to, namespace)]
        kubernetes = (each for each in visible if each.service.kubernetes)
        own = (each for each in visible if each.service.namespace == namespace)
        return next(iter((*kubernetes, *own, *visible)), None)
