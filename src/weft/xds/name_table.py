"""Names for the DNS server of a proxy's agent (NDS): one resource a service, so that a change sends no more."""

from collections.abc import Mapping

from weft.model.naming import named
from weft.model.view import ServiceView, View
from weft.xds import encode
from weft.xds.memo import Memo
from weft.xds.name_messages import encoded
from weft.xds.resource import NAME_TABLE, Resource, Resources


class NameTables:
    """Builds the resources of this type, and remembers them."""

    def __init__(self) -> None:
        self._resources: Memo[ServiceView, Resource | None] = Memo(_resource, depth=8)
        self._tables: Memo[tuple[ServiceView, ...], Mapping[str, Resource]] = Memo(self._table, depth=64)
        self._together: Memo[tuple[Resources, Mapping[str, Resource]], Resources] = Memo(_together, capacity=4096)

    def beside(self, resources: Resources, view: View) -> Resources:
        """The resources of a proxy, with names where it answers queries; who sees the same shares them."""
        if ("DNS_CAPTURE", "true") not in view.proxy.metadata:
            return resources
        table = self._tables(view.scope.rule, view.known)
        return self._together((view.proxy.namespace, view.proxy.inbound), (resources, table))

    def _table(self, services: tuple[ServiceView, ...]) -> Mapping[str, Resource]:
        found = (self._resources(view.service.hostname, view) for view in services)
        return {each.name: each for each in found if each is not None}


def _together(value: tuple[Resources, Mapping[str, Resource]]) -> Resources:
    resources, table = value
    return {**resources, NAME_TABLE: table}


def _resource(view: ServiceView) -> Resource | None:
    infos = named(view)
    return encode.from_bytes(NAME_TABLE, view.service.hostname, encoded(infos)) if infos else None
