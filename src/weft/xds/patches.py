"""EnvoyFilters at work: resources as the mesh builds them, and as users change them.

A changed resource is remembered by the resource and the changes, as all resources are by their input. Proxies
without changes never come here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from weft.model.patches import Context, Operation, Part, Patch
from weft.xds import encode, patch_clusters, patch_listeners, patch_routes
from weft.xds.memo import Memo
from weft.xds.proto import cluster_pb2, extension_pb2, listener_pb2, route_pb2
from weft.xds.resource import BOOTSTRAP, CLUSTER, EXTENSION, LISTENER, ROUTE, Resource, ResourceMap, Resources


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one type of resource is changed: by which parts of EnvoyFilters, and what ADD adds, if anything."""

    message: Any
    parts: frozenset[Part]
    patch: Callable[[Any, Sequence[Patch], Context], bool | None]
    added: Part | None = None


_KINDS: Final = {
    LISTENER: _Kind(listener_pb2.Listener, patch_listeners.PARTS, patch_listeners.patch_listener, Part.LISTENER),
    CLUSTER: _Kind(
        cluster_pb2.Cluster,
        patch_clusters.PARTS,
        lambda cluster, patches, _: patch_clusters.patch_cluster(cluster, patches),
        Part.CLUSTER,
    ),
    ROUTE: _Kind(route_pb2.RouteConfiguration, patch_routes.PARTS, patch_routes.patch_table),
}
_BY_DEFAULT: Final = frozenset({Context.SIDECAR_OUTBOUND, Context.GATEWAY})
"""Where listeners and clusters are added that name no context."""


@dataclass(frozen=True, slots=True)
class _One:
    resource: Resource
    patches: tuple[Patch, ...]
    context: Context


@dataclass(frozen=True, slots=True)
class _All:
    resources: Resources
    patches: tuple[Patch, ...]
    context: Context


class Patcher:
    """Changes resources, and remembers what became of which."""

    def __init__(self) -> None:
        self._one: Memo[_One, Resource | None] = Memo(_changed, depth=8)
        self._all: Memo[_All, Resources] = Memo(self._change_all, depth=8, capacity=4096)

    def __call__(
        self, label: object, resources: Resources, patches: tuple[Patch, ...], context: Context
    ) -> Resources:
        """The resources after all changes for this side of a proxy. `label` says whose they are."""
        if not patches:
            return resources
        return self._all((label, context, len(patches)), _All(resources, patches, context))

    def _change_all(self, value: _All) -> Resources:
        context = value.context
        mine = tuple(each for each in value.patches if each.context in {Context.ANY, context})
        found: dict[str, Mapping[str, Resource]] = dict(value.resources)
        for url, kind in _KINDS.items():
            patches = tuple(each for each in mine if each.part in kind.parts)
            if patches and url in found:
                found[url] = self._of_kind(url, kind, found[url], patches, context)
        if context is not Context.SIDECAR_INBOUND:
            found |= _beside(value.patches)
        return found

    def _of_kind(
        self,
        url: str,
        kind: _Kind,
        resources: Mapping[str, Resource],
        patches: tuple[Patch, ...],
        context: Context,
    ) -> Mapping[str, Resource]:
        changed = ResourceMap()
        for name, resource in resources.items():
            after = self._one((url, name, context), _One(resource, patches, context))
            if after is not None:
                changed[after.name] = after
        for each in patches:
            by_default = each.context is not Context.ANY or context in _BY_DEFAULT
            if each.part is kind.added and each.operation is Operation.ADD and by_default:
                message = kind.message.FromString(each.value)
                # one of the mesh's own of the same name goes before: Envoy takes no two
                changed.setdefault(message.name, encode.resource(url, message.name, message))
        return changed


def _beside(patches: Sequence[Patch]) -> Resources:
    """Types that the mesh itself has nothing of: filters by ECDS, and changes of the bootstrap."""
    extensions: dict[str, Resource] = {}
    for each in patches:
        if each.part is Part.EXTENSION_CONFIG and each.operation is Operation.ADD:
            message = extension_pb2.TypedExtensionConfig.FromString(each.value)
            extensions[message.name] = encode.resource(EXTENSION, message.name, message)
    merged = [each.value for each in patches if each.part is Part.BOOTSTRAP and each.operation.merges]
    changes = {
        # by number: the agent makes them in this order
        name: encode.from_bytes(BOOTSTRAP, name, body)
        for name, body in ((f"{index:04}", body) for index, body in enumerate(merged))
    }
    found = {EXTENSION: extensions, BOOTSTRAP: changes}
    return {url: ResourceMap(resources) for url, resources in found.items() if resources}


def _changed(value: _One) -> Resource | None:
    resource, kind = value.resource, _KINDS[value.resource.type_url]
    message = kind.message.FromString(resource.body)
    match kind.patch(message, value.patches, value.context):
        case None:
            return None
        case True:
            return encode.resource(resource.type_url, message.name or resource.name, message)
        case _:
            return resource
