"""One encoded resource, ready for every proxy that wants it."""

import weakref
from collections.abc import Mapping
from dataclasses import dataclass

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
EXTENSION = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
BOOTSTRAP = "type.googleapis.com/envoy.config.bootstrap.v3.Bootstrap"
"""Not for Envoy: what the agent merges into the bootstrap before it starts Envoy."""
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105, a type's name
NAME_TABLE = "type.googleapis.com/istio.networking.nds.v1.NameTable"
PROXY_CONFIG = "type.googleapis.com/istio.mesh.v1alpha1.ProxyConfig"
"""Not for Envoy either: what the agent is to verify others with (Istio's PCDS)."""


@dataclass(frozen=True, slots=True)
class Resource:
    """`version` is a hash of the content; `body` is the serialized message inside the Any of type `type_url`."""

    type_url: str
    name: str
    version: str
    body: bytes


Resources = Mapping[str, Mapping[str, Resource]]
"""All of one proxy's resources: type URL → name → resource."""


class ResourceMap(dict[str, Resource]):
    """The resources of one type by name, which remembers how it differs from the map before it.

    Many proxies go from the same map to the same next one: they ask the same question. Not changed once made.
    """

    __slots__ = ("__weakref__", "_before", "_changed")

    def changed_from(self, before: Mapping[str, Resource]) -> frozenset[str]:
        """The names that are new, gone, or of another version than in `before`."""
        known = getattr(self, "_before", None)
        if known is None or known() is not before:
            self._changed = _changed(before, self)
            # a weak reference: no map keeps all that were there before it
            self._before = weakref.ref(before) if isinstance(before, ResourceMap) else _nothing
        return self._changed


def changed_names(before: Mapping[str, Resource], after: Mapping[str, Resource]) -> frozenset[str]:
    """The names that differ between two maps."""
    return after.changed_from(before) if isinstance(after, ResourceMap) else _changed(before, after)


def _changed(before: Mapping[str, Resource], after: Mapping[str, Resource]) -> frozenset[str]:
    changed = {name for name, one in after.items() if (old := before.get(name)) is not one and _differ(old, one)}
    return frozenset(changed.union(name for name in before if name not in after))


def _differ(old: Resource | None, new: Resource) -> bool:
    return old is None or old.version != new.version


def _nothing() -> None:
    return None
