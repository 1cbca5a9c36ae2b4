"""The finalizer of pools, subnets and coordinators: what is being deleted is let go once nothing needs it."""

from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import Kind
from weft.api.underlay_shape import FINALIZER, ObjectMeta


async def hold(kube: Kube, kind: Kind, metadata: ObjectMeta) -> None:
    """Put our finalizer on the version of an object that was seen. Raises what the client raises.

    A webhook would be earlier, but the API server then warns whoever applies of a name that is not theirs.
    """
    held = metadata.finalizers or ()
    if FINALIZER not in held:
        await _write(kube, kind, metadata, (*held, FINALIZER))


async def release(kube: Kube, kind: Kind, metadata: ObjectMeta) -> None:
    """Take our finalizer off the version of an object that was seen. Raises what the client raises."""
    held = metadata.finalizers or ()
    if FINALIZER in held:
        await _write(kube, kind, metadata, tuple(each for each in held if each != FINALIZER))


async def _write(kube: Kube, kind: Kind, metadata: ObjectMeta, finalizers: tuple[str, ...]) -> None:
    patch = {"metadata": {"resourceVersion": metadata.resource_version, "finalizers": finalizers or None}}
    await kube.patch(kind, metadata.name, patch)
