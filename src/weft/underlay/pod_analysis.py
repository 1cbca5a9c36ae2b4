"""What is wrong with the networks that pods ask for: some would not start, others start and cannot be reached."""

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from weft.api import codes
from weft.api.network_attachment import NetworkAttachmentDefinition
from weft.api.report import Report
from weft.api.spider_coordinator import SpiderCoordinator
from weft.base.problem import At, Problem
from weft.model import enrolment
from weft.underlay.ipam.annotations import IPPOOL, IPPOOLS
from weft.underlay.networks import asked as networks
from weft.underlay.networks.asked import DEFAULT_NETWORK, NETWORKS, NetworksError, Selection
from weft.underlay.observed import Version

Json = dict[str, Any]

DEFAULT_ROUTE_NIC: Final = "ipam.spidernet.io/default-route-nic"
VETH: Final = "veth0"
"""The interface that the coordinator gives pods without one of an overlay network."""
_WILD: Final = frozenset("*?[]")
_OVER: Final = frozenset({"Succeeded", "Failed"})
_EXAMPLES: Final = {4: "169.254.100.1", 6: "fe80::1"}


@dataclass(frozen=True, slots=True)
class Networks:
    """What pods may ask for. `system` is the namespace of default networks that name none."""

    pools: frozenset[str]
    attachments: Mapping[tuple[str, str], NetworkAttachmentDefinition]
    coordinator: SpiderCoordinator | None
    system: str


def problems(pods: Iterable[Json], known: Networks) -> Iterator[Problem]:
    """Of all pods that are there; of several that one owner has made, the first speaks for all."""
    spoken: set[object] = set()
    for pod in pods:
        meta = pod["metadata"]
        if (pod.get("status") or {}).get("phase") in _OVER or (pod.get("spec") or {}).get("hostNetwork"):
            continue
        owner = next((each.get("uid") for each in meta.get("ownerReferences") or ()), meta.get("uid"))
        for problem in _of(pod, known):
            same = (owner, problem.code, problem.at.field, problem.message)
            if same not in spoken:
                spoken.add(same)
                yield problem


def _of(pod: Json, known: Networks) -> Iterator[Problem]:
    meta, annotations = pod["metadata"], pod["metadata"].get("annotations") or {}
    pen = Report(At(kind="Pod", namespace=meta["namespace"], name=meta["name"]))
    chosen, first = tuple[Selection, ...](), tuple[Selection, ...]()
    try:
        chosen = networks.selections(annotations.get(NETWORKS, ""), meta["namespace"])
        first = networks.selections(annotations.get(DEFAULT_NETWORK, ""), known.system, DEFAULT_NETWORK)
        interfaces = networks.interfaces(chosen, "eth0")
    except NetworksError as error:
        yield pen.error("metadata.annotations", f"{error}.", "The pod does not start.", codes.SCHEMA)
        return
    for key, each in [*((NETWORKS, one) for one in chosen), *((DEFAULT_NETWORK, one) for one in first)]:
        if (each.namespace, each.name) not in known.attachments:
            yield pen.error(
                f"metadata.annotations[{key}]",
                f'there is no NetworkAttachmentDefinition "{each.name}" in namespace "{each.namespace}".',
                f"Make it, or a SpiderMultusConfig of that name. See: kubectl get smc -n {each.namespace}",
                codes.MISSING_NETWORK,
            )
    for key in (IPPOOL, IPPOOLS):
        for absent in missing_pools(_named(annotations.get(key)), known.pools):
            yield pen.error(
                f"metadata.annotations[{key}]",
                f'there is no SpiderIPPool "{absent}".',
                "Make the pool, or correct its name: the pod does not start.",
                codes.MISSING_POOL,
            )
    wanted = annotations.get(DEFAULT_ROUTE_NIC, "")
    if wanted and wanted not in {"eth0", *interfaces}:
        yield pen.error(
            f"metadata.annotations[{DEFAULT_ROUTE_NIC}]",
            f'the pod has no interface "{wanted}"; it has {", ".join(("eth0", *interfaces))}.',
            "Name one of them.",
            codes.MISSING_INTERFACE,
        )
    yield from _swallowing(pod, first, known)


def _swallowing(pod: Json, first: tuple[Selection, ...], known: Networks) -> Iterator[Problem]:
    """A pod of the mesh that meets its node by veth0, which is given no address."""
    if not first or not enrolment.has_status(pod) or enrolment.proxy(pod) is None:
        return
    attachment = known.attachments.get((first[0].namespace, first[0].name))
    if attachment is not None and _is_swallowing(attachment, known.coordinator):
        meta = pod["metadata"]
        yield swallowing(meta["namespace"], meta["name"], VETH, 4)


def _is_swallowing(attachment: NetworkAttachmentDefinition, coordinator: SpiderCoordinator | None) -> bool:
    try:
        plugins = networks.listed(attachment.spec.config, attachment.metadata.name)["plugins"]
    except NetworksError:
        return False
    own = next((each for each in plugins if each["type"] == "coordinator"), None)
    if own is None:
        return False
    cluster = coordinator.spec if coordinator else None
    said = own.get("mode")
    mode = said if said not in {None, "", "auto"} else cluster.mode if cluster else "auto"
    address = own.get("vethLinkAddress") or (cluster.veth_link_address if cluster else None)
    return mode in {None, "auto", "underlay"} and not address


def swallowing(namespace: str, name: str, interface: str, version: Version) -> Problem:
    """A pod of the mesh has an interface on which the mesh's redirection would let connections vanish."""
    example = _EXAMPLES[version]
    return Report(At(kind="Pod", namespace=namespace, name=name)).warning(
        "",
        f"it is in the mesh, and its interface {interface} has no IPv{version} address: connections that come in "
        "by it are redirected to the proxy, and the kernel drops them without a word.",
        f"Set vethLinkAddress: {example} in the SpiderCoordinator (kubectl patch spidercoordinators default "
        f'--type=merge -p \'{{"spec":{{"vethLinkAddress":"{example}"}}}}\') or in spec.coordinator of its '
        "SpiderMultusConfig, and have the pod made anew.",
        codes.SWALLOWING_INTERFACE,
    )


def missing_pools(wanted: Iterable[Any], names: frozenset[str]) -> tuple[str, ...]:
    """Names that no pool has, or no pool matches."""
    return tuple(
        each
        for each in wanted
        if isinstance(each, str) and not (fnmatch.filter(names, each) if _WILD & set(each) else each in names)
    )


def strings(text: str | None) -> tuple[str, ...]:
    """A list of names as JSON; nothing where it is none, of which whoever acts on it tells."""
    try:
        return msgspec.json.decode(text or "[]", type=tuple[str, ...])
    except msgspec.DecodeError:
        return ()


def _named(text: str | None) -> Iterator[str]:
    """The pools of `ippool` or `ippools`."""
    try:
        found = msgspec.json.decode(text or "[]")
    except msgspec.DecodeError:
        return
    for each in found if isinstance(found, list) else [found]:
        for version in ("ipv4", "ipv6"):
            names = each.get(version) if isinstance(each, dict) else None
            yield from names if isinstance(names, list) else ()
