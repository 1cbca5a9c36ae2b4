"""NetworkAttachmentDefinition (k8s.cni.cncf.io): a network that pods ask for by name."""

from typing import Annotated, Final

from msgspec import Meta

from weft.api.underlay_shape import Object, Part

GROUP: Final = "k8s.cni.cncf.io"
RESOURCE_NAME: Final = "k8s.v1.cni.cncf.io/resourceName"
"""Annotation: the device plugin's resource that a pod on this network needs."""


class NetworkAttachmentSpec(Part, frozen=True, kw_only=True):
    """The network's configuration; without one, a file of this name in the node's CNI folder is it."""

    config: Annotated[str, Meta(description="A CNI configuration, or a list of plugins, as JSON.")] = ""


class NetworkAttachmentDefinition(Object, frozen=True, kw_only=True):
    """A network that pods ask for by name."""

    spec: NetworkAttachmentSpec = NetworkAttachmentSpec()
