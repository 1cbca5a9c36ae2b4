"""What to do about subnets: pools of theirs for applications, and the account of who has which addresses."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import msgspec

from weft.api.spider_ippool import SpiderIPPool, allocations
from weft.api.spider_reserved_ip import SpiderReservedIP
from weft.api.spider_subnet import ControlledPool, SpiderSubnet, SubnetStatus, controlled_pools_text
from weft.underlay.addresses import NotAddressesError, Ranges, parse_network
from weft.underlay.admission.pool_checks import addresses
from weft.underlay.ipam import auto_pools
from weft.underlay.ipam.annotations import InvalidAnnotationError
from weft.underlay.ipam.auto_pools import Application, Ask

Json = dict[str, Any]

_MOST: Final = 5000
"""Addresses of one pool."""
_INT64: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Create:
    """A pool for an application."""

    manifest: Json


@dataclass(frozen=True, slots=True)
class Resize:
    """A pool with other addresses, for the version of it that was seen."""

    name: str
    version: str
    ips: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """A pool whose application is gone, or asks for it no longer."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Tell:
    """An application cannot have its pool."""

    application: Application
    reason: str
    message: str


Step = Create | Resize | Delete | Tell


@dataclass
class Ledger:
    """What is free in each subnet, less what has been promised while planning."""

    subnets: Mapping[str, SpiderSubnet]
    free: dict[str, Ranges] = field(default_factory=dict)

    def take(self, subnet: str, number: int) -> Ranges | None:
        """The lowest free addresses; None where there are not as many."""
        free = self.free.get(subnet, Ranges())
        if free.size < number:
            return None
        taken = Ranges.of(islice(iter(free), number))
        self.free[subnet] = free - taken
        return taken


def plan(
    subnets: Iterable[SpiderSubnet],
    pools: Iterable[SpiderIPPool],
    reserved: Iterable[SpiderReservedIP],
    applications: Iterable[Application],
    flexible: int,
) -> Iterator[Step]:
    """What is missing, too small, too large, or has nobody any more."""
    listed = tuple(pools)
    ledger = _ledger(subnets, listed, reserved)
    made = {each.metadata.name: each for each in listed if auto_pools.owner_uid(each.metadata.labels or {})}
    wanted = set[str]()
    for application in applications:
        try:
            asked = tuple(auto_pools.asks(application, flexible))
        except InvalidAnnotationError as error:
            yield Tell(application, "InvalidAnnotation", str(error))
            # what is asked for is not known: what it has stays
            wanted |= {name for name, each in made.items() if _owner(each) == application.uid}
            continue
        for ask in asked:
            name = auto_pools.pool_name(application, ask)
            wanted.add(name)
            yield from _one(application, ask, made.get(name), ledger)
    for name, pool in made.items():
        kept = name in wanted or pool.metadata.deletion_timestamp
        # an application that is there and asks no longer gives its pool back as one that is gone does
        if not kept and auto_pools.is_reclaimed(pool.metadata.labels or {}):
            yield Delete(name, pool.metadata.uid)


def status(subnet: SpiderSubnet, pools: Iterable[SpiderIPPool]) -> SubnetStatus:
    """Which pools have which addresses of a subnet."""
    of_it = [each for each in pools if _same(each, subnet)]
    had = Ranges()
    for each in of_it:
        had |= addresses(each.spec)
    controlled = {
        each.metadata.name: ControlledPool(
            ips=addresses(each.spec).texts(), application=auto_pools.owner_text(each.metadata.labels or {})
        )
        for each in of_it
    }
    return SubnetStatus(
        controlled_ippools=controlled_pools_text(controlled),
        total_ip_count=min(addresses(subnet.spec).size, _INT64),
        allocated_ip_count=min(had.size, _INT64),
    )


def _one(application: Application, ask: Ask, pool: SpiderIPPool | None, ledger: Ledger) -> Iterator[Step]:
    number = min(ask.addresses, _MOST)
    if pool is None:
        yield _created(application, ask, number, ledger)
        return
    if pool.metadata.deletion_timestamp:
        return  # it is made again once it is gone
    now = addresses(pool.spec)
    subnet = (pool.metadata.labels or {}).get(auto_pools.OWNER_SUBNET, "")
    if now.size < number:
        more = ledger.take(subnet, number - now.size)
        if more is None:
            yield _short(application, ask, (subnet,))
            return
        yield _resized(pool, now | more)
    elif now.size > number:
        taken = _taken(pool)
        spare = now - taken
        left = Ranges.of(islice(iter(spare), max(number - taken.size, 0))) | taken
        if left != now:
            yield _resized(pool, left)


def _created(application: Application, ask: Ask, number: int, ledger: Ledger) -> Step:
    for name in ask.subnets:
        subnet = ledger.subnets.get(name)
        if subnet is None or subnet.metadata.deletion_timestamp:
            continue
        taken = ledger.take(name, number)
        if taken is None:
            continue
        spec: Json = {
            "subnet": subnet.spec.subnet,
            "ips": list(taken.texts()),
            "podAffinity": {
                "matchLabels": auto_pools.owner_labels(application.kind, application.namespace, application.name)
            },
        }
        if subnet.spec.gateway:
            spec["gateway"] = subnet.spec.gateway
        if subnet.spec.routes:
            spec["routes"] = [{"dst": each.dst, "gw": each.gw} for each in subnet.spec.routes]
        labels = auto_pools.pool_labels(application, ask, name)
        return Create(
            {"metadata": {"name": auto_pools.pool_name(application, ask), "labels": labels}, "spec": spec}
        )
    return _short(application, ask, ask.subnets)


def _short(application: Application, ask: Ask, subnets: tuple[str, ...]) -> Tell:
    return Tell(
        application,
        "NoAddresses",
        f"SpiderSubnet {', '.join(subnets)} has not {ask.addresses} IPv{ask.version} addresses for "
        f"{ask.interface}. Add addresses to it, or name another one.",
    )


def _resized(pool: SpiderIPPool, ranges: Ranges) -> Resize:
    return Resize(pool.metadata.name, pool.metadata.resource_version, ranges.texts())


def _ledger(
    subnets: Iterable[SpiderSubnet], pools: tuple[SpiderIPPool, ...], reserved: Iterable[SpiderReservedIP]
) -> Ledger:
    withheld = Ranges()
    for each in reserved:
        try:
            withheld |= Ranges.parse(each.spec.ips or ())
        except NotAddressesError:
            continue  # the webhook was away when it was written
    for pool in pools:
        withheld |= addresses(pool.spec)
    by_name = {each.metadata.name: each for each in subnets}
    return Ledger(by_name, {name: addresses(each.spec) - withheld for name, each in by_name.items()})


def _taken(pool: SpiderIPPool) -> Ranges:
    try:
        return Ranges.parse(allocations(pool.status.allocated_ips)) & addresses(pool.spec)
    except (msgspec.DecodeError, NotAddressesError):
        return addresses(pool.spec)  # who has what is not known, so nothing is taken away


def _owner(pool: SpiderIPPool) -> str:
    return auto_pools.owner_uid(pool.metadata.labels or {})


def _same(pool: SpiderIPPool, subnet: SpiderSubnet) -> bool:
    try:
        return parse_network(pool.spec.subnet) == parse_network(subnet.spec.subnet)
    except NotAddressesError:
        return False
