"""What is wrong with underlay networks as they are: each object by itself, and what they say of each other."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final

import msgspec

from weft.api import codes
from weft.api.network_attachment import NetworkAttachmentDefinition
from weft.api.report import Report
from weft.api.spider_coordinator import SpiderCoordinator
from weft.api.spider_ippool import SpiderIPPool
from weft.api.spider_multus_config import SpiderMultusConfig
from weft.api.spider_subnet import SpiderSubnet
from weft.api.underlay_shape import Object
from weft.base.problem import At, Problem
from weft.underlay import pod_analysis
from weft.underlay.addresses import NotAddressesError, Ranges
from weft.underlay.admission import validation
from weft.underlay.admission.validation import Known
from weft.underlay.ipam import pool_status, pools
from weft.underlay.ipam.pool_status import UnreadableStatusError
from weft.underlay.networks.asked import NetworksError, listed
from weft.underlay.networks.attachments import is_made_of
from weft.underlay.networks.network_config import attachment_name
from weft.underlay.pod_analysis import Networks, missing_pools

Json = dict[str, Any]

NEARLY: Final = 0.9
"""The share of a pool's addresses from which on it is told of."""
_POOL_DEFAULTS: Final = ("ipam.spidernet.io/default-ipv4-ippool", "ipam.spidernet.io/default-ipv6-ippool")


@dataclass(frozen=True, slots=True)
class Objects:
    """Objects as the API server has them, by kind."""

    by_kind: Mapping[str, Sequence[Json]] = field(default_factory=dict)
    system: str = "kube-system"
    """The namespace of names that are written without one for all pods."""

    def of(self, kind: str) -> Sequence[Json]:
        """Those of a kind."""
        return self.by_kind.get(kind, ())


def problems(objects: Objects) -> tuple[Problem, ...]:
    """Everything, sorted by place; what is the same of many pods of one owner is told of once."""
    known = Known(
        pools=_read(objects, SpiderIPPool),
        subnets=_read(objects, SpiderSubnet),
        networks=_read(objects, SpiderMultusConfig),
        attachments=_read(objects, NetworkAttachmentDefinition),
    )
    coordinators = _read(objects, SpiderCoordinator)
    found = [
        *_themselves(objects, known),
        *_coordinators(coordinators),
        *_pools(known.pools, coordinators, objects),
        *_networks(known),
        *_namespaces(objects, known.pools),
        *pod_analysis.problems(
            objects.of("Pod"),
            Networks(
                pools=frozenset(each.metadata.name for each in known.pools),
                attachments={(each.metadata.namespace, each.metadata.name): each for each in known.attachments},
                coordinator=coordinators[0] if coordinators else None,
                system=objects.system,
            ),
        ),
    ]
    return tuple(sorted(dict.fromkeys(found), key=lambda each: (each.at, each.code, each.message)))


def _read(objects: Objects, shape: type[Any]) -> tuple[Any, ...]:
    """Objects of a kind that can be read; of others their own check tells."""
    found = []
    for each in objects.of(shape.__name__):
        try:
            found.append(msgspec.convert(each, shape))
        except msgspec.ValidationError:
            continue
    return tuple(found)


def _themselves(objects: Objects, known: Known) -> Iterator[Problem]:
    """What the webhook would say of them today: some were there before it, or before what they do not fit to."""
    for kind in validation.SHAPES:
        for each in objects.of(kind):
            yield from validation.check("CREATE", kind, each, None, known)


def _coordinators(coordinators: Sequence[SpiderCoordinator]) -> Iterator[Problem]:
    if not coordinators:
        yield Report(At(kind="SpiderCoordinator", name="default")).error(
            "",
            "there is none, so no pod starts on an underlay network.",
            "spiderpool-init makes it: see kubectl get pods -n kube-system spiderpool-init.",
            codes.COORDINATOR_NOT_READY,
        )
    for each in coordinators:
        if each.status.phase != "Synced":
            yield _pen(each).error(
                "status.phase",
                f"is {each.status.phase}: {each.status.reason or 'the controller has not looked at it yet'}.",
                "Until it is Synced no pod starts on an underlay network. See the log of spiderpool-controller.",
                codes.COORDINATOR_NOT_READY,
            )


def _pools(
    listed_: Sequence[SpiderIPPool], coordinators: Sequence[SpiderCoordinator], objects: Objects
) -> Iterator[Problem]:
    ranges = {
        cidr: what
        for each in coordinators
        for what, cidrs in (
            ("the overlay network's pods", each.status.overlay_pod_cidr),
            ("services", each.status.service_cidr),
        )
        for cidr in cidrs or ()
    }
    nodes = dict(_node_addresses(objects.of("Node")))
    for each in listed_:
        try:
            pool, state = pools.read(each), pool_status.read(each.metadata.name, each.status)
        except (NotAddressesError, UnreadableStatusError) as error:
            yield _pen(each).error("", f"{error}.", "No address can be given of it.")
            continue
        if pool.terminating:
            yield _pen(each).warning(
                "metadata.deletionTimestamp",
                f"it is being deleted, and gives no more addresses; {len(state.taken)} are somebody's still.",
                f"It is gone when they are given back: weft underlay ip show --pool {pool.name}",
                codes.POOL_NEARLY_FULL,
            )
        yield from _overlaps(each, pool, ranges)
        for address, node in nodes.items():
            if address in pool.usable:
                yield _pen(each).error(
                    "spec.ips",
                    f"{address} is the address of node {node}.",
                    "Add it to excludeIPs, or keep it from all pools by a SpiderReservedIP.",
                    codes.ADDRESSES_OF_OTHERS,
                )
        size, taken = pool.usable.size, len(state.taken)
        if size and not pool.disabled and taken >= size * NEARLY:
            free = size - taken
            yield _pen(each).warning(
                "spec.ips",
                f"{taken} of {size} addresses are taken, "
                + (f"{free} {'is' if free == 1 else 'are'} free." if free > 0 else "none is free."),
                f"Add more, or see who has them: weft underlay ip show --pool {pool.name}",
                codes.POOL_NEARLY_FULL,
            )


def _overlaps(each: SpiderIPPool, pool: pools.Pool, ranges: Mapping[str, str]) -> Iterator[Problem]:
    for cidr, what in ranges.items():
        network = ip_network(cidr, strict=False)
        if pool.usable & Ranges.network(network):
            yield _pen(each).error(
                "spec.ips",
                f"has addresses of {cidr}, the range of {what}.",
                "Packets to them are led through the node. Choose addresses that the cluster does not use.",
                codes.ADDRESSES_OF_OTHERS,
            )


def _node_addresses(nodes: Iterable[Json]) -> Iterator[tuple[IPv4Address | IPv6Address, str]]:
    for node in nodes:
        for each in (node.get("status") or {}).get("addresses") or ():
            if each.get("type") in {"InternalIP", "ExternalIP"}:
                yield ip_address(each["address"]), node["metadata"]["name"]


def _networks(known: Known) -> Iterator[Problem]:
    """Networks that should be there, and those written by hand whose pools are not."""
    names = frozenset(each.metadata.name for each in known.pools)
    for config in known.networks:
        where = (config.metadata.namespace, attachment_name(config))
        if all((each.metadata.namespace, each.metadata.name) != where for each in known.attachments):
            yield _pen(config).warning(
                "",
                f'NetworkAttachmentDefinition "{where[1]}" has not been made of it: no pod can have the network.',
                "See its events (kubectl describe smc) and the log of spiderpool-controller.",
                codes.MISSING_NETWORK,
            )
    for attachment in known.attachments:
        if any(is_made_of(attachment, config) for config in known.networks):
            continue  # what is wrong with it is wrong with them
        for key, absent in _absent(attachment, names):
            yield _pen(attachment).error(
                "spec.config",
                f'{key}: there is no SpiderIPPool "{absent}".',
                "Make the pool, or correct its name.",
                codes.MISSING_POOL,
            )


def _absent(attachment: NetworkAttachmentDefinition, names: frozenset[str]) -> Iterator[tuple[str, str]]:
    if not attachment.spec.config:
        return
    try:
        plugins = listed(attachment.spec.config, attachment.metadata.name)["plugins"]
    except NetworksError:
        return  # pods that name it are told
    for plugin in plugins:
        ipam = plugin.get("ipam")
        if isinstance(ipam, dict) and ipam.get("type") == "spiderpool":
            for key in ("default_ipv4_ippool", "default_ipv6_ippool"):
                wanted = ipam.get(key)
                for absent in missing_pools(wanted if isinstance(wanted, list) else (), names):
                    yield key, absent


def _namespaces(objects: Objects, listed_: Sequence[SpiderIPPool]) -> Iterator[Problem]:
    names = frozenset(each.metadata.name for each in listed_)
    for namespace in objects.of("Namespace"):
        meta = namespace["metadata"]
        pen = Report(At(kind="Namespace", name=meta["name"]))
        annotations = meta.get("annotations") or {}
        for key in _POOL_DEFAULTS:
            for absent in missing_pools(pod_analysis.strings(annotations.get(key)), names):
                yield pen.error(
                    f"metadata.annotations[{key}]",
                    f'there is no SpiderIPPool "{absent}".',
                    "Make the pool, or correct its name: pods of the namespace do not start.",
                    codes.MISSING_POOL,
                )


def _pen(obj: Object) -> Report:
    meta = obj.metadata
    return Report(At(kind=type(obj).__name__, namespace=meta.namespace, name=meta.name))
