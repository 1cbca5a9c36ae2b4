"""What the webhook says of an object that is about to be written: errors refuse it, warnings go along."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import msgspec

from weft.api.network_attachment import NetworkAttachmentDefinition
from weft.api.report import Report
from weft.api.spider_coordinator import SpiderCoordinator
from weft.api.spider_ippool import SpiderIPPool
from weft.api.spider_multus_config import SpiderMultusConfig
from weft.api.spider_reserved_ip import SpiderReservedIP
from weft.api.spider_subnet import SpiderSubnet
from weft.api.underlay_shape import Object
from weft.base.problem import At, Problem, Severity
from weft.underlay.admission import network_checks, pool_checks
from weft.underlay.admission.pool_checks import ALL_FAMILIES, Families
from weft.underlay.coordinator import checks as coordinator_checks

Operation = Literal["CREATE", "UPDATE", "DELETE"]

SHAPES: Final[Mapping[str, type[Object]]] = {
    each.__name__: each
    for each in (SpiderCoordinator, SpiderIPPool, SpiderMultusConfig, SpiderReservedIP, SpiderSubnet)
}
"""The kinds that are checked, by name."""


@dataclass(frozen=True, slots=True)
class Known:
    """What exists, and the settings that count."""

    pools: tuple[SpiderIPPool, ...] = ()
    subnets: tuple[SpiderSubnet, ...] = ()
    networks: tuple[SpiderMultusConfig, ...] = ()
    attachments: tuple[NetworkAttachmentDefinition, ...] = ()
    families: Families = ALL_FAMILIES
    keeps_used: bool = False
    """Whether pools and subnets in use are kept from being deleted."""


def check(
    operation: Operation, kind: str, new: Mapping[str, Any] | None, old: Mapping[str, Any] | None, known: Known
) -> tuple[Problem, ...]:
    """All that is to be said. Kinds that are none of ours have nothing to be said about."""
    shape = SHAPES.get(kind)
    if shape is None:
        return ()
    subject = old if operation == "DELETE" else new
    meta = (subject or {}).get("metadata") or {}
    pen = Report(At(kind=kind, namespace=str(meta.get("namespace") or ""), name=str(meta.get("name") or "")))
    try:
        after = msgspec.convert(new, shape) if new else None
    except msgspec.ValidationError as error:
        return (pen.error("", f"{error}.", f"Compare it with kubectl explain {kind.lower()}."),)
    before = _lenient(old, shape)
    if operation == "DELETE":
        return tuple(_deletion(before, known, pen)) if known.keeps_used else ()
    if after is None or after.metadata.deletion_timestamp:
        return ()  # only finalizers may change, which are nobody's concern
    # what was wrong before keeps nobody from changing something else
    old_faults = {(each.at, each.message) for each in _whole(before, known, pen)} if before else set()
    found = (
        replace(each, severity=Severity.WARNING) if (each.at, each.message) in old_faults else each
        for each in _whole(after, known, pen)
    )
    return (*_changed(before, after, pen), *found)


def _deletion(old: Object | None, known: Known, pen: Report) -> Iterator[Problem]:
    match old:
        case SpiderIPPool():
            yield from pool_checks.check_pool_deletion(old, pen)
        case SpiderSubnet():
            yield from pool_checks.check_subnet_deletion(old, known.pools, pen)


def _changed(old: Object | None, new: Object, pen: Report) -> Iterator[Problem]:
    match old, new:
        case SpiderIPPool(), SpiderIPPool():
            yield from pool_checks.check_pool_change(old, new, pen)
        case SpiderSubnet(), SpiderSubnet():
            yield from pool_checks.check_subnet_change(old, new, pen)
        case SpiderMultusConfig(), SpiderMultusConfig():
            yield from network_checks.check_network_change(old, new, pen)


def _whole(new: Object, known: Known, pen: Report) -> Iterator[Problem]:
    match new:
        case SpiderIPPool():
            yield from pool_checks.check_pool(new, known.pools, known.subnets, known.families, pen)
        case SpiderSubnet():
            yield from pool_checks.check_subnet(new, known.subnets, known.pools, known.families, pen)
        case SpiderReservedIP():
            yield from pool_checks.check_reserved(new, known.families, pen)
        case SpiderMultusConfig():
            by_name = {each.metadata.name: each for each in known.pools}
            yield from network_checks.check_network(new, known.networks, known.attachments, by_name, pen)
        case SpiderCoordinator():
            yield from coordinator_checks.check_coordinator(new, pen)


def _lenient(obj: Mapping[str, Any] | None, shape: type[Object]) -> Object | None:
    """What was there before; None where it is of a form that is read no longer."""
    if not obj:
        return None
    try:
        return msgspec.convert(obj, shape)
    except msgspec.ValidationError:
        return None
