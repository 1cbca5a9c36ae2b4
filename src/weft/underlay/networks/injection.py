"""Networks that a pod asks for by a word: all SpiderMultusConfigs that carry the same one, and their resources."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from weft.api.spider_multus_config import NETWORK_INJECT, RDMA_INJECT, OnMaster, SpiderMultusConfig
from weft.underlay.networks import network_config
from weft.underlay.networks.asked import NETWORKS, NetworksError, selections
from weft.underlay.networks.network_config import attachment_name, resource

Json = dict[str, Any]

_KEYS: Final = (NETWORK_INJECT, RDMA_INJECT)
_TYPES: Final = frozenset({"macvlan", "ipvlan", "vlan", "sriov", "ib-sriov", "ipoib"})


class NoNetworksError(ValueError):
    """The pod's word leads to no network; the message says the way out."""


def inject(pod: Mapping[str, Any], namespace: str, configs: Iterable[SpiderMultusConfig]) -> Json:
    """The pod with the networks that its word leads to; the same pod where it has none. NoNetworksError."""
    noted = (pod.get("metadata") or {}).get("annotations") or {}
    key = next((each for each in _KEYS if each in noted), None)
    if key is None:
        return dict(pod)
    found = [each for each in configs if _carries(each, key, noted[key])]
    if not found:
        raise NoNetworksError(
            f'no SpiderMultusConfig has the annotation {key}: "{noted[key]}", which this pod has. Add it to those '
            f"that the pod is to have, of cniType {', '.join(sorted(_TYPES))}."
        )
    found.sort(key=_place)
    try:
        networks = _with(str(noted.get(NETWORKS, "")), namespace, found)
    except NetworksError as error:
        raise NoNetworksError(str(error)) from None
    metadata = {**pod["metadata"], "annotations": {**noted, NETWORKS: networks}}
    wanted = Counter(filter(None, (resource(each.spec) for each in found)))
    return {**pod, "metadata": metadata, "spec": _with_resources(pod.get("spec") or {}, wanted)}


def _carries(config: SpiderMultusConfig, key: str, word: str) -> bool:
    noted = config.metadata.annotations or {}
    return noted.get(key) == word and config.spec.cni_type in _TYPES and not config.metadata.deletion_timestamp


def _place(config: SpiderMultusConfig) -> tuple[str, str, str]:
    """By the card on the node, so that the same interface of every pod is on the same one."""
    of = network_config.block(config.spec)
    if isinstance(of, OnMaster):
        card = of.bond.name if of.bond and len(of.master) > 1 else next(iter(of.master), "")
    else:
        card = str(getattr(of, "resource_name", "") or getattr(of, "master", ""))
    return card, config.metadata.namespace, config.metadata.name


def _with(written: str, namespace: str, configs: Iterable[SpiderMultusConfig]) -> str:
    """The annotation with more networks, in the form that it has."""
    present = {(each.namespace, each.name) for each in selections(written, namespace)}
    named = ((each.metadata.namespace, attachment_name(each)) for each in configs)
    new = [each for each in named if each not in present]
    if any(one in written for one in '[{"'):
        more = [{"name": name, "namespace": where} for where, name in new]
        return json.dumps([*json.loads(written), *more], separators=(",", ":"))
    return ",".join((*filter(None, [written.strip()]), *(f"{where}/{name}" for where, name in new)))


def _with_resources(spec: Mapping[str, Any], wanted: Mapping[str, int]) -> Json:
    """The first container asks for them: what one container of a pod has, the pod has."""
    containers = list(spec.get("containers") or ())
    if not wanted or not containers:
        return dict(spec)
    first = containers[0]
    asked = first.get("resources") or {}
    more = {part: {**dict(_texts(wanted)), **(asked.get(part) or {})} for part in ("requests", "limits")}
    return {**spec, "containers": [{**first, "resources": {**asked, **more}}, *containers[1:]]}


def _texts(wanted: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    for name, count in wanted.items():
        yield name, str(count)
