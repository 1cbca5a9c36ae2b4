"""PeerAuthentication (security.istio.io): whether workloads ask their callers for mutual TLS."""

from typing import Annotated, Literal

from msgspec import Meta, field

from weft.api.shape import Resource, Shape, WorkloadSelector

PeerMode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]


class PeerMutualTls(Shape, frozen=True):
    """What is asked of callers."""

    mode: Annotated[
        PeerMode,
        Meta(
            description="STRICT: mTLS only. PERMISSIVE: mTLS or plaintext. DISABLE: plaintext only. "
            "UNSET: as the namespace has it, else the mesh, else PERMISSIVE."
        ),
    ] = "UNSET"


class PeerAuthenticationSpec(Shape, frozen=True):
    """What is asked of the callers of which workloads."""

    selector: Annotated[
        WorkloadSelector | None,
        Meta(description="Pods of this namespace. Without one: all of it; in the root namespace, of the mesh."),
    ] = None
    mtls: PeerMutualTls | None = None
    port_level_mtls: Annotated[
        dict[str, PeerMutualTls] | None,
        Meta(description="By port of the workload, not of a Service; only with a selector."),
    ] = field(default=None)


class PeerAuthentication(Resource, frozen=True, kw_only=True):
    """What is asked of callers."""

    spec: PeerAuthenticationSpec = PeerAuthenticationSpec()
