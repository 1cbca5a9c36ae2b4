"""Which pools an interface may have its addresses from, in which order, and why not from the others."""

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from weft.api.spider_ippool import SpiderIPPool
from weft.api.underlay_shape import LabelSelector, Requirement, Route
from weft.underlay.addresses import (
    Address,
    Network,
    Ranges,
    Version,
    parse_address,
    parse_network,
)
from weft.underlay.ipam.annotations import DEFAULT_IPV4, DEFAULT_IPV6, Named, Names

Labels = Mapping[str, str]

ALL: Final = LabelSelector()


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool as it is decided on. `addresses` are its ips without those that are excluded."""

    name: str
    version: Version
    subnet: Network
    addresses: Ranges
    gateway: Address | None = None
    routes: tuple[Route, ...] = ()
    default: bool = False
    disabled: bool = False
    terminating: bool = False
    pods: LabelSelector = ALL
    nodes: LabelSelector = ALL
    node_names: tuple[str, ...] = ()
    namespaces: LabelSelector = ALL
    namespace_names: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    vlan: int = 0
    labels: Labels = field(default_factory=dict, hash=False)

    @property
    def usable(self) -> Ranges:
        """What it may give, whoever has it now: no address that is the gateway's, the subnet's or its routers'."""
        subnet, barred = self.subnet, [self.gateway] if self.gateway else []
        if subnet.max_prefixlen - subnet.prefixlen > 1:
            barred.append(subnet.network_address)
            barred += [subnet.broadcast_address] if subnet.version == 4 else []
        return self.addresses - Ranges.of(barred)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: a pod's interface. `network` is namespace/name of its attachment, "" where it is not known.

    Where only pools of its master's subnets will do, `master` names that, and these are the `subnets`.
    """

    labels: Labels
    namespace: str
    namespace_labels: Labels
    node: str
    node_labels: Labels
    network: str = ""
    master: str = ""
    subnets: frozenset[Network] = frozenset()


@dataclass(frozen=True, slots=True)
class Passed:
    """A pool that is not taken, and why."""

    pool: str
    why: str

    def __str__(self) -> str:
        return f"pool {self.pool}: {self.why}"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the names of pools come from, and the names by IP version."""

    where: str
    names: Names

    def of(self, version: Version) -> tuple[str, ...]:
        """The names for one IP version, in the order they are written."""
        return (self.names.ipv4 if version == 4 else self.names.ipv6) or ()


@dataclass(frozen=True, slots=True)
class Candidates:
    """The pools to try, best first, and those that are passed over."""

    fit: tuple[Pool, ...]
    passed: tuple[Passed, ...]


def read(obj: SpiderIPPool) -> Pool:
    """A pool of its object, or NotAddressesError where the object got past the webhook with nonsense."""
    spec, subnet = obj.spec, parse_network(obj.spec.subnet)
    return Pool(
        name=obj.metadata.name,
        version=subnet.version,
        subnet=subnet,
        addresses=Ranges.parse(spec.ips or ()) - Ranges.parse(spec.exclude_ips or ()),
        gateway=parse_address(spec.gateway) if spec.gateway else None,
        routes=spec.routes or (),
        default=bool(spec.default),
        disabled=bool(spec.disable),
        terminating=obj.metadata.deletion_timestamp is not None,
        pods=spec.pod_affinity or ALL,
        nodes=spec.node_affinity or ALL,
        node_names=spec.node_name or (),
        namespaces=spec.namespace_affinity or ALL,
        namespace_names=spec.namespace_name or (),
        networks=spec.multus_name or (),
        vlan=spec.vlan or 0,
        labels=obj.metadata.labels or {},
    )


def source(named: Named | None, namespace: Names, nad: Names, pools: Iterable[Pool]) -> Source:
    """The first that names any pool: pod, namespace, the network's configuration, or the cluster's defaults."""
    if named is not None:
        return Source(f"annotation {named.annotation}", named.names)
    if namespace.ipv4 or namespace.ipv6:
        keys = [key for key, has in ((DEFAULT_IPV4, namespace.ipv4), (DEFAULT_IPV6, namespace.ipv6)) if has]
        return Source(f"the namespace's annotation {' and '.join(keys)}", namespace)
    if nad.ipv4 or nad.ipv6:
        return Source("default_ipv4_ippool and default_ipv6_ippool of the network's ipam", nad)
    default = sorted((each for each in pools if each.default), key=lambda pool: pool.name)
    return Source(
        "pools with spec.default: true",
        Names(
            ipv4=tuple(each.name for each in default if each.version == 4) or None,
            ipv6=tuple(each.name for each in default if each.version == 6) or None,
        ),
    )


def candidates(
    names: Sequence[str], version: Version, pools: Mapping[str, Pool], asker: Asker, own: str
) -> Candidates:
    """What the names (with wildcards `*`, `?`, `[]`) are, for one IP version.

    `own` is the namespace of networks that `multusName` names without one. Pools made for somebody go before pools
    for everybody; where that decides nothing, the order in which the user wrote them does, and within a wildcard
    the order of names.
    """
    fit: list[Pool] = []
    passed: list[Passed] = []
    for name in _expanded(names, pools):
        pool = pools.get(name)
        if pool is None:
            told = "no pool has a name like this" if is_wildcard(name) else "it does not exist"
            passed.append(Passed(name, told))
        elif why := _refusal(pool, version, asker, own):
            passed.append(Passed(name, why))
        else:
            fit.append(pool)
    return Candidates(tuple(sorted(fit, key=_rank)), tuple(passed))


def names_of(names: Sequence[str], pools: Iterable[str]) -> frozenset[str]:
    """All pools that these names are, whether they fit or not."""
    return frozenset(_expanded(names, dict.fromkeys(pools)))


def is_wildcard(name: str) -> bool:
    """Whether a name stands for all pools like it."""
    return any(sign in name for sign in "*?[")


def _expanded(names: Sequence[str], pools: Mapping[str, object]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if is_wildcard(name):
            pattern = name.replace("[^", "[!")
            found = sorted(each for each in pools if fnmatch.fnmatchcase(each, pattern)) or [name]
        else:
            found = [name]
        for each in found:
            if each not in seen:
                seen.add(each)
                yield each


def _refusal(pool: Pool, version: Version, asker: Asker, own: str) -> str:
    """Why a pool does not serve; "" if it does."""
    if pool.terminating:
        return "it is being deleted"
    if pool.disabled:
        return "disabled (spec.disable: true)"
    if pool.version != version:
        return f"of IPv{pool.version}, and IPv{version} is wanted"
    return _not_for(pool, asker, own)


def _not_for(pool: Pool, asker: Asker, own: str) -> str:
    """For whom else a pool is; names go before affinities."""
    node, namespace = asker.node, asker.namespace
    if pool.node_names and node not in pool.node_names:
        return f"for other nodes (spec.nodeName has no {node})"
    if not pool.node_names and not selects(pool.nodes, asker.node_labels):
        return f"for other nodes (spec.nodeAffinity is not for the labels of {node})"
    if pool.namespace_names and namespace not in pool.namespace_names:
        return f"for other namespaces (spec.namespaceName has no {namespace})"
    if not pool.namespace_names and not selects(pool.namespaces, asker.namespace_labels):
        return f"for other namespaces (spec.namespaceAffinity is not for the labels of {namespace})"
    if not selects(pool.pods, asker.labels):
        return "for other pods (spec.podAffinity is not for this pod's labels)"
    networks = [each if "/" in each else f"{own}/{each}" for each in pool.networks]
    if networks and asker.network not in networks:
        return f"for other networks (spec.multusName has no {asker.network or 'network that is known'})"
    if asker.master and pool.subnet not in asker.subnets:
        return f"of another subnet: {asker.master} of {node} has no address in {pool.subnet} (matchMasterSubnet)"
    return ""


def _rank(pool: Pool) -> tuple[bool, ...]:
    made_for = (pool.pods, pool.node_names, pool.nodes, pool.namespace_names, pool.namespaces, pool.networks)
    return tuple(not each for each in made_for)


def selects(selector: LabelSelector, labels: Labels) -> bool:
    """Whether a selector is for something with these labels; an empty one is for all."""
    return all(labels.get(key) == value for key, value in (selector.match_labels or {}).items()) and all(
        _holds(each, labels) for each in selector.match_expressions or ()
    )


def _holds(requirement: Requirement, labels: Labels) -> bool:
    value, values = labels.get(requirement.key), requirement.values or ()
    match requirement.operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
