"""The finalizer of pools, subnets and coordinators: what is being deleted is let go once nothing needs it."""

from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import Kind
from weft.api.underlay_shape import FINALIZER, ObjectMeta


async def release(kube: Kube, kind: Kind, metadata: ObjectMeta) -> None:
    """Take our finalizer off the version of an object that was seen. Raises what the client raises."""
    held = metadata.finalizers or ()
    if FINALIZER not in held:
        return
    left = [each for each in held if each != FINALIZER]
    patch = {"metadata": {"resourceVersion": metadata.resource_version, "finalizers": left or None}}
    await kube.patch(kind, metadata.name, patch)
