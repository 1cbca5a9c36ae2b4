"""What traffic policies inherit from the mesh's settings, field by field."""

from dataclasses import fields, replace
from typing import Any, Final, TypeVar

from weft.model.mesh_config import NO_LIMITS, MeshConfig
from weft.model.traffic import ConnectionPool, HostTraffic, OutlierDetection, TrafficPolicy

T = TypeVar("T", ConnectionPool, OutlierDetection)

_UNSET: Final = OutlierDetection()


def inherited(traffic: HostTraffic, mesh: MeshConfig) -> HostTraffic:
    """What a host's rules leave out, as the mesh has it (MeshConfig, defaultTrafficPolicy and older fields)."""
    if mesh.pool == NO_LIMITS and mesh.outliers is None:
        return traffic
    return replace(
        traffic,
        policy=policy_over(traffic.policy, mesh),
        ports=tuple((port, policy_over(policy, mesh)) for port, policy in traffic.ports),
        subsets=tuple(
            replace(
                subset,
                policy=policy_over(subset.policy, mesh),
                ports=tuple((port, policy_over(policy, mesh)) for port, policy in subset.ports),
            )
            for subset in traffic.subsets
        ),
    )


def policy_over(policy: TrafficPolicy, mesh: MeshConfig) -> TrafficPolicy:
    """A policy, and below it the mesh's."""
    outliers = policy.outliers
    if mesh.outliers is not None:
        outliers = _over(outliers or _UNSET, mesh.outliers, _UNSET)
    return replace(policy, pool=pool_over(policy.pool, mesh.pool), outliers=outliers)


def pool_over(pool: ConnectionPool, base: ConnectionPool) -> ConnectionPool:
    """Limits, and below them others; a pool that follows the client's protocol inherits no upgrade."""
    if pool.use_client_protocol:
        base = replace(base, upgrade_to_http2=None)
    return _over(pool, base, NO_LIMITS)


def _over(value: T, base: T, unset: T) -> T:
    """`value` with the fields of `base` where it has none of its own."""
    changes: dict[str, Any] = {
        each.name: getattr(base, each.name)
        for each in fields(value)
        if getattr(value, each.name) == getattr(unset, each.name)
    }
    return replace(value, **changes)
