"""What must hold of load balancing by locality beyond its shape."""

from collections.abc import Iterator
from typing import Final

from weft.api.report import Report
from weft.api.traffic_policy import Distribute, Failover, LoadBalancer, LocalityLb, ZoneAwareLb
from weft.base.problem import Problem

_ALL: Final = 100
_DEEPEST: Final = 3
_ZONED: Final = frozenset(
    {"topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"}
)


def check_localities(
    balancer: LoadBalancer, field: str, report: Report, *, detects_failure: bool
) -> Iterator[Problem]:
    """Give all that is wrong with the settings of a load balancer that look at localities."""
    locality, zones = balancer.locality_lb_setting, balancer.zone_aware_lb_setting
    if locality is not None and zones is not None and zones.enabled is not False:
        hint = "Keep one of them."
        yield report.error(field, "localityLbSetting and zoneAwareLbSetting exclude each other.", hint)
    if zones is not None and zones.enabled and balancer.backend_utilization is not None:
        hint = "Keep one of them; regions are told apart all the same."
        message = "zones are of no account to weights by load."
        yield report.warning(f"{field}.zoneAwareLbSetting", message, hint)
    if locality is not None:
        yield from check_locality(locality, f"{field}.localityLbSetting", report)
        fails_over = locality.enabled is not False and (locality.failover or locality.failover_priority)
        if fails_over and not detects_failure:
            message = "nothing tells which endpoints are down, so nothing fails over."
            yield report.warning(f"{field}.localityLbSetting", message, "Add outlierDetection to the policy.")
    if zones is not None:
        yield from check_zones(zones, f"{field}.zoneAwareLbSetting", report)


def check_locality(setting: LocalityLb, field: str, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with one `localityLbSetting`."""
    if setting.distribute and (setting.failover or setting.failover_priority):
        other = "failover" if setting.failover else "failoverPriority"
        yield report.error(field, f"distribute and {other} exclude each other.", "Keep one of them.")
    seen: dict[str, int] = {}
    for index, each in enumerate(setting.distribute):
        here = f"{field}.distribute[{index}]"
        yield from _distribute(each, here, report)
        if (first := seen.setdefault(each.from_, index)) != index:
            message = f'"{each.from_}" is already in {field}.distribute[{first}].'
            yield report.error(f"{here}.from", message, "Keep one of them.")
    yield from _failovers(setting.failover, f"{field}.failover", report)
    yield from _priorities(setting.failover_priority, f"{field}.failoverPriority", report)


def check_zones(setting: ZoneAwareLb, field: str, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with one `zoneAwareLbSetting`."""
    yield from _failovers(setting.failover, f"{field}.failover", report)
    yield from _priorities(setting.failover_priority, f"{field}.failoverPriority", report)
    for index, each in enumerate(setting.failover_priority):
        label = each.partition("=")[0]
        if label in _ZONED:
            message = f"{label} is looked at anyway."
            yield report.error(f"{field}.failoverPriority[{index}]", message, "Take it out.")


def _distribute(each: Distribute, field: str, report: Report) -> Iterator[Problem]:
    yield from _locality(each.from_, f"{field}.from", report)
    for to, weight in each.to.items():
        yield from _locality(to, f"{field}.to", report)
        if not weight:
            yield report.error(f'{field}.to["{to}"]', "gets nothing.", "Write 1 or more, or leave it out.")
    if sum(each.to.values()) != _ALL:
        message = f"the weights sum to {sum(each.to.values())}."
        yield report.error(f"{field}.to", message, f"Make them sum to {_ALL}.")


def _locality(text: str, field: str, report: Report) -> Iterator[Problem]:
    parts = text.split("/")
    wild = "*" in text and any("*" in part for part in parts[:-1])
    partly = any("*" in part and part != "*" for part in parts)
    if not all(parts) or len(parts) > _DEEPEST or wild or partly:
        hint = "Write region, region/zone or region/zone/subzone; the last part may be *."
        yield report.error(field, f'"{text}" is no locality.', hint)


def _failovers(failovers: tuple[Failover, ...], field: str, report: Report) -> Iterator[Problem]:
    for index, each in enumerate(failovers):
        here = f"{field}[{index}]"
        for name, region in (("from", each.from_), ("to", each.to)):
            if not region or "/" in region or "*" in region:
                yield report.error(f"{here}.{name}", f'"{region}" is no region.', "Write a region alone.")
        if each.from_ == each.to:
            yield report.error(here, f"{each.from_} would fail over to itself.", "Write another region.")


def _priorities(labels: tuple[str, ...], field: str, report: Report) -> Iterator[Problem]:
    for index, each in enumerate(labels):
        if not each.partition("=")[0] or each.count("=") > 1:
            hint = "Write the key of a label, or key=value."
            yield report.error(f"{field}[{index}]", f'"{each}" is no label.', hint)
