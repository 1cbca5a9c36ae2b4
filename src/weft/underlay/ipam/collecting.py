"""What is to be taken back, and what pools and endpoints say differently: decisions with their reasons.

A pod that is seen nowhere is gone for good if it is looked for after the pool was read, since it was there before
it had an address. So whoever asks reads pools and endpoints first, then pods, then all else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from weft.api.spider_endpoint import IPAllocation, SpiderEndpoint
from weft.underlay.addresses import Address
from weft.underlay.ipam import endpoints
from weft.underlay.ipam.allocation import Holder, State
from weft.underlay.ipam.endpoints import Leased
from weft.underlay.ipam.pools import Pool

Key = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as far as it counts here. `until` is when its grace is over, None while nobody deletes it."""

    uid: str
    node: str = ""
    ended: bool = False
    until: datetime | None = None
    machine: str = ""
    owner: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Replicas:
    """Which ordinals a StatefulSet has."""

    first: int
    count: int

    def has(self, ordinal: int | None) -> bool:
        """Whether there is to be a pod of this ordinal."""
        return ordinal is not None and self.first <= ordinal < self.first + self.count


@dataclass(frozen=True, slots=True)
class World:
    """All that decisions are made of. `nodes` are ready or not, `machines` are virtual machines that exist."""

    pools: Mapping[str, tuple[Pool, State]] = field(default_factory=dict)
    endpoints: Mapping[Key, SpiderEndpoint] = field(default_factory=dict)
    pods: Mapping[Key, Pod] = field(default_factory=dict)
    nodes: Mapping[str, bool] = field(default_factory=dict)
    sets: Mapping[Key, Replicas] = field(default_factory=dict)
    machines: frozenset[Key] = frozenset()


@dataclass(frozen=True, slots=True)
class Rules:
    """What is collected. A pod that ends too slowly is overdue `delay` after its grace.

    What may be just under way is acted on once it has been so for as long as `doubt`. A node that is Ready gives
    back itself what its pods had, when their containers have ended, be it late: it has `patience` for that.
    """

    stateful_sets: bool = True
    kubevirt: bool = True
    overdue_on_ready_nodes: bool = True
    overdue_on_other_nodes: bool = True
    delay: timedelta = timedelta(seconds=5)
    doubt: timedelta = timedelta(seconds=30)
    patience: timedelta = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Free:
    """An address goes back to its pool."""

    pool: str
    address: Address
    holder: Holder
    why: str


@dataclass(frozen=True, slots=True)
class Take:
    """An address that a living pod has is noted in its pool, which did not say so."""

    pool: str
    address: Address
    holder: Holder
    why: str


@dataclass(frozen=True, slots=True)
class Drop:
    """An endpoint is deleted, if it is still of this UID and revision."""

    namespace: str
    name: str
    uid: str
    version: str
    why: str


@dataclass(frozen=True, slots=True)
class Note:
    """An address that a living pod has is noted in its endpoint, which did not say so."""

    namespace: str
    name: str
    entry: IPAllocation
    pod: Pod
    why: str


@dataclass(frozen=True, slots=True)
class Clash:
    """Two say that they have one address, or a pool is not there: nothing can be done here."""

    namespace: str
    name: str
    why: str


Act = Free | Take | Drop | Note | Clash


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, and since when what may be just under way has been so."""

    acts: tuple[Act, ...]
    doubts: Mapping[Act, datetime]


def decide(world: World, rules: Rules, doubts: Mapping[Act, datetime], now: datetime) -> Plan:
    """What is to be done. `doubts` are those of the last time."""
    acts: list[Act] = []
    open_: dict[Act, datetime] = {}
    for act, wait in _findings(world, rules, _Judge(world, rules, now)):
        since = doubts.get(act, now)
        if now - since >= wait:
            acts.append(act)
        else:
            open_[act] = since
    return Plan(tuple(acts), open_)


def _findings(world: World, rules: Rules, judge: "_Judge") -> Iterator[tuple[Act, timedelta]]:
    """What there is to do, and how long it has to be so before."""
    for name, (pool, state) in sorted(world.pools.items()):
        for address, holder in state.taken.items():
            namespace, _, pod = holder.pod.partition("/")
            if why := judge.gone((namespace, pod), holder.uid):
                yield Free(name, address, holder, why), judge.patience((namespace, pod), holder.uid)
            else:
                for act in _unlike_endpoint(world, Leased(pool, address), holder, (namespace, pod)):
                    yield act, rules.doubt
    for key, endpoint in sorted(world.endpoints.items()):
        meta, current = endpoint.metadata, endpoint.status.current
        if why := judge.gone(key, current.uid):
            yield Drop(*key, current.uid, meta.resource_version, why), judge.patience(key, current.uid)
        else:
            for act in _unlike_pools(world, endpoint, key):
                yield act, rules.doubt


def _unlike_endpoint(world: World, lease: Leased, holder: Holder, key: Key) -> Iterator[Act]:
    """A pool says that a living pod has an address: does its endpoint?"""
    pod, endpoint = world.pods.get(key), world.endpoints.get(key)
    if endpoint is not None and endpoint.status.current.uid != holder.uid:
        return  # one of the two is about to be written
    entry = endpoints.held(endpoint.status.current, holder.interface) if endpoint is not None else None
    version = lease.pool.version
    listed = endpoints.addresses(entry).get(version) if entry else None
    if listed == (lease.pool.name, lease.address):
        return
    if listed is not None:
        why = f"{holder.pod} has {listed[1]} of pool {listed[0]} on {holder.interface} instead"
        yield Free(lease.pool.name, lease.address, holder, why)
    elif entry is None and holder.interface and pod is not None and pod.uid == holder.uid:
        made = endpoints.allocation(holder.interface, {version: lease}, clean_gateway=False, routes=())
        why = f"pool {lease.pool.name} says that it has {lease.address}"
        yield Note(*key, made, pod, why)


def _unlike_pools(world: World, endpoint: SpiderEndpoint, key: Key) -> Iterator[Act]:
    """An endpoint says that a living pod has addresses: do the pools?"""
    current = endpoint.status.current
    for entry in current.ips:
        for pool, address in endpoints.addresses(entry).values():
            if pool not in world.pools:
                yield Clash(*key, f"{address} is of pool {pool}, which does not exist")
                continue
            holder = world.pools[pool][1].taken.get(address)
            mine = Holder("/".join(key), current.uid, entry.interface)
            if holder is None:
                yield Take(pool, address, mine, f"the endpoint of {mine.pod} says that it has it")
            elif holder.pod != mine.pod:
                yield Clash(*key, f"{address} is also {holder.pod}'s by pool {pool}")


class _Judge:
    """Who is gone."""

    def __init__(self, world: World, rules: Rules, now: datetime) -> None:
        self._world, self._rules, self._now = world, rules, now
        self._machines = world.machines | {
            (key[0], pod.machine) for key, pod in world.pods.items() if pod.machine and not pod.ended
        }

    def gone(self, key: Key, uid: str) -> str:
        """Why nobody has a use for what this pod or machine has; "" while somebody has."""
        if self._rules.kubevirt and key in self._machines:
            return ""
        pod = self._world.pods.get(key)
        if why := self._pod_gone(pod, uid):
            return "" if self._is_kept(key, pod) else why
        return ""

    def patience(self, key: Key, uid: str) -> timedelta:
        """How long the node has to give back itself what this pod had: one deleted by force may still run."""
        pod, endpoint = self._world.pods.get(key), self._world.endpoints.get(key)
        if pod is not None and pod.uid == uid:
            node = "" if pod.ended else pod.node
        else:
            is_its = endpoint is not None and endpoint.status.current.uid == uid
            node = endpoint.status.current.node if endpoint is not None and is_its else ""
        return self._rules.patience if self._world.nodes.get(node, False) else timedelta()

    def _pod_gone(self, pod: Pod | None, uid: str) -> str:
        if pod is None:
            return "the pod is gone"
        if pod.uid != uid:
            return f"the pod is gone; another of its name is there (UID {pod.uid})"
        if pod.ended:
            return "the pod has ended"
        if pod.node and pod.node not in self._world.nodes:
            return f"its node {pod.node} is gone"
        if pod.until is not None and self._now > pod.until + self._rules.delay:
            is_ready = self._world.nodes.get(pod.node, False)
            rules = self._rules
            if rules.overdue_on_ready_nodes if is_ready else rules.overdue_on_other_nodes:
                return f"the pod was to have ended by {pod.until:%H:%M:%S}"
        return ""

    def _is_kept(self, key: Key, pod: Pod | None) -> bool:
        """Whether a pod of this name comes again: StatefulSets give names anew."""
        if not self._rules.stateful_sets:
            return False
        endpoint = self._world.endpoints.get(key)
        if pod is not None:
            kind, owner = pod.owner
        elif endpoint is not None:
            kind, owner = endpoint.status.owner_controller_type, endpoint.status.owner_controller_name
        else:
            return False
        replicas = self._world.sets.get((key[0], owner)) if kind == endpoints.STATEFUL_SET else None
        return replicas is not None and replicas.has(endpoints.ordinal(key[1], owner))
